//! What the demo itself does as a client: it reads the support desk's ledger past the gate, and
//! tells people how to come through it with a client of their own.

use std::io;

use rmcp::ServiceError;
use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation,
    ReadResourceRequestParams, ResourceContents,
};

use super::stage::Stage;
use crate::connect::{self, ConnectError, Era, Target};
use crate::console::Console;
use crate::crm;

/// Why the ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub enum VisitError {
    /// No connection.
    #[error("failed to connect")]
    Connect(#[source] ConnectError),
    /// No answer.
    #[error("failed to read it")]
    Read(#[source] ServiceError),
    /// The connection would not close.
    #[error("failed to close the connection")]
    Close(#[source] tokio::task::JoinError),
}

/// The calls that reached the support desk at `target`, one a line.
pub(super) async fn ledger(target: &Target) -> Result<String, VisitError> {
    let era = Era::Stateless;
    let name = Implementation::new("demo-operator", env!("CARGO_PKG_VERSION"));
    let config = ClientConfig::new(ClientCapabilities::default(), name);
    let client = connect::connect(config, target, era, era.revision())
        .await
        .map_err(VisitError::Connect)?;
    let request = ReadResourceRequestParams::new(crm::LEDGER);
    let read = client
        .read_resource(request)
        .await
        .map_err(VisitError::Read)?;
    client.cancel().await.map_err(VisitError::Close)?;
    let text = read.contents.into_iter().find_map(|contents| {
        if let ResourceContents::TextResourceContents { text, .. } = contents {
            Some(text)
        } else {
            None
        }
    });
    Ok(text.unwrap_or_default())
}

/// Answer to a call.
#[derive(Debug)]
pub(super) struct Asked {
    /// Whether it was let through.
    pub(super) through: bool,
    pub(super) text: String,
    /// The approval it waits for.
    pub(super) approval: Option<String>,
}

/// Calls one tool at `target` and gives what is answered: whether it was let through, and the text.
pub(super) async fn call(
    target: &Target,
    tool: &'static str,
) -> Result<(bool, String), VisitError> {
    let asked = ask(target, tool, serde_json::Value::Null).await?;
    Ok((asked.through, asked.text))
}

/// Calls one tool at `target` with these arguments.
pub(super) async fn ask(
    target: &Target,
    tool: &'static str,
    arguments: serde_json::Value,
) -> Result<Asked, VisitError> {
    let era = Era::Stateless;
    let name = Implementation::new("support-agent", env!("CARGO_PKG_VERSION"));
    let config = ClientConfig::new(ClientCapabilities::default(), name);
    let client = connect::connect(config, target, era, era.revision())
        .await
        .map_err(VisitError::Connect)?;
    let mut request = CallToolRequestParams::new(tool);
    if arguments.is_object() {
        request = request.with_arguments(crate::reply::object(arguments));
    }
    let called = client.call_tool(request).await;
    client.cancel().await.map_err(VisitError::Close)?;
    match called {
        Ok(result) => {
            let text = result.content.iter().find_map(|block| block.as_text());
            let text = text.map(|block| block.text.clone()).unwrap_or_default();
            let meta = serde_json::to_value(&result.meta).unwrap_or_default();
            let approval = meta.pointer("/dev.keepgate~1refusal/approval/id");
            Ok(Asked {
                through: result.is_error != Some(true),
                text,
                approval: approval.and_then(|id| id.as_str()).map(str::to_owned),
            })
        }
        Err(ServiceError::McpError(error)) => Ok(Asked {
            through: false,
            text: error.message.into_owned(),
            approval: None,
        }),
        Err(error) => Err(VisitError::Read(error)),
    }
}

/// Says how to connect a client of one's own.
pub(super) fn invite(
    console: &Console,
    stage: &Stage,
    key: &str,
    approver: &str,
) -> io::Result<()> {
    let base = stage.base();
    let policy = stage.policy_file();
    console.heading("Your turn")?;
    console.print(&format!(
        "  Any MCP client that speaks Streamable HTTP can come in, in every revision since 2025-03-26.\n\
         \x20 Endpoints  {base}/crm/mcp\n\
         \x20            {base}/notes/mcp\n\
         \x20 Header     Authorization: Bearer {key}\n\n\
         \x20 Many clients read this from a file:\n"
    ))?;
    console.print(&snippet(&base, key))?;
    console.print(&format!(
        "\n  The console is at {}/console; a call waits there for a person.\n\
         \x20 Sign in with the token of dana, who may approve: {approver}",
        stage.console()
    ))?;
    console.print(&format!(
        "\n  Others take it on the command line, in the manner of\n\
         \x20   <client> mcp add --transport http crm {base}/crm/mcp --header \"Authorization: Bearer {key}\"\n\n\
         \x20 Change {} and try again: it is read anew at once.\n\
         \x20 Ctrl-C ends it.",
        policy.display()
    ))
}

/// The usual `mcpServers` file.
fn snippet(base: &str, key: &str) -> String {
    let server = |name: &str| {
        serde_json::json!({
            "type": "http",
            "url": format!("{base}/{name}/mcp"),
            "headers": { "Authorization": format!("Bearer {key}") },
        })
    };
    let file = serde_json::json!({
        "mcpServers": { "crm": server("crm"), "notes": server("notes") },
    });
    let text = serde_json::to_string_pretty(&file).unwrap_or_default();
    text.lines()
        .map(|line| format!("    {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
