//! `import --probe`: starts the servers with a command once, in the sandbox a gateway would start them in, and asks for their
//! tools. Servers on the network are not asked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::StreamExt;
use keepgate_files::FileError;
use keepgate_gateway::upstream::child::child_settings;
use keepgate_mcp::{Body, Id, Limits, Message, Method, decode, encode};
use keepgate_transport::duplex::{CallMode, Connection, Owner, Sharing};
use keepgate_transport::stdio::ChildSettings;
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::import::policy::Tool;
use crate::import::{Import, Named, Surroundings};

/// Time one server has for everything, downloads of `npx` and `uvx` too.
const PATIENCE: Duration = Duration::from_secs(120);
/// Most pages of a list.
const PAGES: i64 = 50;
/// Most tools of a server.
const MAX_TOOLS: usize = 10_000;
const HELLO: &str = r#"{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"keepgate-import","version":"1"}}"#;

/// Tools by server, and for servers that gave none the reason.
type Probed = (BTreeMap<String, BTreeSet<Tool>>, Vec<(String, String)>);

/// Asks the servers that the person agrees to start.
pub(super) fn tools(
    import: &Import,
    around: Surroundings<'_>,
    yes: bool,
) -> Result<Probed, Failure> {
    // In place of the policies, which are not written yet: hidden from the processes like them.
    let policies = Scratch::new().map_err(|error| Failure::caused(Exit::State, &error))?;
    let configuration = import
        .configuration(around, &policies.path)
        .map_err(|error| Failure::caused(Exit::Configuration, &error))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused(Exit::Start, &error))?;
    let (mut tools, mut problems) = (BTreeMap::new(), Vec::new());
    for named in &import.servers {
        let servers = &configuration.gateway.servers;
        let server = servers.iter().find(|(name, _)| name.as_str() == named.name);
        let Some((name, server)) = server else {
            continue;
        };
        if !is_child(server) {
            problems.push((
                named.name.clone(),
                "not asked for its tools: it is on the network".to_owned(),
            ));
            continue;
        }
        let (mut settings, _shared) = child_settings(name, server, &configuration.gateway.limits);
        settings
            .env
            .extend(named.secret_variables(around.variables));
        if !agreed(named, &settings, yes)? {
            problems.push((named.name.clone(), "not asked for its tools".to_owned()));
            continue;
        }
        let asked = async {
            match tokio::time::timeout(PATIENCE, ask(settings)).await {
                Ok(found) => found,
                Err(_elapsed) => Err(format!("no answer in {} s", PATIENCE.as_secs())),
            }
        };
        match runtime.block_on(asked) {
            Ok(found) => {
                tools.insert(named.name.clone(), found);
            }
            Err(problem) => {
                problems.push((
                    named.name.clone(),
                    format!("its tools are not known: {problem}"),
                ));
            }
        }
    }
    Ok((tools, problems))
}

/// An empty directory, for as long as this lives.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new() -> Result<Self, FileError> {
        let name = format!("keepgate-import-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        keepgate_files::create_directory(&path)?;
        Ok(Self { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Empty, and in a directory that is cleared anyway.
        drop(std::fs::remove_dir(&self.path));
    }
}

fn is_child(server: &keepgate_gateway::settings::Server) -> bool {
    use keepgate_gateway::settings::Upstream;
    match &server.upstream {
        Upstream::Child { .. } => true,
        Upstream::Http { .. } => false,
    }
}

/// Shows the command with its surroundings and asks, unless the flag has answered. On standard error, where a person reads it
/// whatever goes to standard output.
fn agreed(named: &Named, settings: &ChildSettings, yes: bool) -> std::io::Result<bool> {
    let mut person = std::io::stderr().lock();
    writeln!(person, "{}: {}", named.name, named.target())?;
    // A variable can make a program do anything. Only names: the values of some are secrets.
    let inherited = settings.inherit.iter().map(String::as_str);
    let set = settings.env.iter().map(|(name, _)| name.as_str());
    let names: BTreeSet<&str> = inherited.chain(set).collect();
    let names: Vec<&str> = names.into_iter().collect();
    if !names.is_empty() {
        writeln!(person, "  with variables: {}", names.join(", "))?;
    }
    if let Some(directory) = &settings.directory {
        writeln!(person, "  in directory: {}", directory.display())?;
    }
    if yes {
        return Ok(true);
    }
    writeln!(person, "start it, in the sandbox? [y/N]")?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

/// Starts the process, lists its tools, and ends it.
async fn ask(settings: ChildSettings) -> Result<BTreeSet<Tool>, String> {
    let problem = |error: &(dyn std::error::Error + 'static)| crate::failure::chain(error);
    let connection = Connection::start(settings, Sharing::Exclusive, None)
        .await
        .map_err(|error| problem(&error))?;
    let found = list(&connection).await;
    connection.close().await;
    found
}

async fn list(connection: &Connection) -> Result<BTreeSet<Tool>, String> {
    call(connection, 0, "initialize", HELLO.to_owned()).await?;
    let ready = encode::notification(&Method::parse("notifications/initialized"), None);
    let Ok(Body::Single(Message::Notification(ready))) = decode(ready, &Limits::request()) else {
        return Err("not a message".to_owned());
    };
    let sent = connection.notify_for(Owner(0), &ready).await;
    sent.map_err(|error| crate::failure::chain(&error))?;
    let mut tools = BTreeSet::new();
    let mut cursor = Value::Null;
    for page in 1..=PAGES {
        let params = if cursor.is_null() {
            "{}".to_owned()
        } else {
            serde_json::json!({ "cursor": cursor }).to_string()
        };
        let result = call(connection, page, "tools/list", params).await?;
        let listed = result.get("tools").and_then(Value::as_array);
        let listed = listed.map(Vec::as_slice).unwrap_or_default();
        for tool in listed {
            let Some(name) = tool.get("name").and_then(Value::as_str) else {
                continue;
            };
            let hint = tool.pointer("/annotations/readOnlyHint");
            let reads = hint == Some(&Value::Bool(true));
            let name = name.to_owned();
            tools.insert(Tool { name, reads });
        }
        if tools.len() > MAX_TOOLS {
            return Err("it lists too many tools".to_owned());
        }
        let next = result.get("nextCursor").cloned().unwrap_or_default();
        if next.is_null() || next == cursor {
            break;
        }
        cursor = next;
    }
    Ok(tools)
}

/// One request and the result of its answer.
async fn call(
    connection: &Connection,
    id: i64,
    method: &str,
    params: String,
) -> Result<Value, String> {
    let id = Id::from_integer(id);
    let bytes = encode::request(&id, &Method::parse(method), Some(&params));
    let Ok(Body::Single(Message::Request(request))) = decode(bytes, &Limits::request()) else {
        return Err("not a message".to_owned());
    };
    let mut replies = connection
        .call_for(Owner(0), &request, CallMode::KeepOnDrop)
        .await
        .map_err(|error| crate::failure::chain(&error))?;
    while let Some(reply) = replies.next().await {
        let reply = reply.map_err(|error| crate::failure::chain(&error))?;
        if let Message::Response(response) = reply {
            let result = response
                .result()
                .ok_or_else(|| format!("it refuses `{method}`"))?;
            return serde_json::from_str(result.as_str()).map_err(|error| error.to_string());
        }
    }
    Err("it ended".to_owned())
}
