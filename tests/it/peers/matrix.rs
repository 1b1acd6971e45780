//! Sloppy servers and the clients people run, direct and through the gateway: one table of what works and what does not.
//!
//! Each client is one process that walks all servers. The table is compared with `matrix/golden.txt`; a cell that works
//! direct and not through the gateway has a reason in [`MEANT`], or the test fails.

mod answers;
mod lists;
mod sessions;
mod stdio;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    net::SocketAddr,
};

use keepgate_tests::{
    FakeServer, Heard, Say,
    upstream::{behave, said},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::gate::Home;
use super::process::{PATIENCE, Running, command, peer, program, repository, run};

/// Clients in the order of the columns.
const CLIENTS: [&str; 6] = [
    "ts 1.x",
    "ts 2.x",
    "python",
    "fastmcp",
    "rmcp",
    "mcp-remote",
];
const WAYS: [&str; 2] = ["direct", "gateway"];

/// Rows with a cell that works direct and not through the gateway, and why it has to be so.
const MEANT: [(&str, &str); 6] = [
    (
        "`ping` in a session is answered 404 with a page",
        "404 to what names a session ends it (2025-11-25 transports); some clients ignore that, others begin again.",
    ),
    (
        "2099-01-01, whatever is asked for",
        "nobody here knows what a call means in that revision.",
    ),
    (
        "an answer that is cut off before the whole one",
        "what may be the answer and cannot be read is not waited out.",
    ),
    (
        "an answer of 7 MiB over `limits.result`",
        "the operator chose 6 MiB here; the refusal names it in `data.limit`.",
    ),
    (
        "an answer of 7 MiB over `limits.result`, on stdio",
        "the operator chose 6 MiB here; the refusal names it in `data.limit`.",
    ),
    (
        "each POST is redirected (307) to the path with a slash",
        "redirects of a server would carry credentials to where nobody sent them; `url` names the endpoint itself.",
    ),
];

/// Answers a request in a way of its own, or leaves it to [`polite`].
type Script = fn(&Heard) -> Option<Vec<Say>>;

/// A server of the matrix.
enum Server {
    Http(Script),
    /// Like `Http`, and its clients send the id of a session that is over with `initialize`.
    Replayed(Script),
    /// A behaviour of `sloppy-stdio.mjs`.
    Stdio(&'static str),
}

/// Behaviours by theme.
fn themes() -> [(&'static str, Vec<(&'static str, Server)>); 4] {
    let http = |rows: &[(&'static str, Script)]| {
        let rows = rows
            .iter()
            .map(|&(name, script)| (name, Server::Http(script)));
        rows.collect::<Vec<_>>()
    };
    let mut opening = http(&sessions::ROWS);
    opening.extend(sessions::REPLAYED.map(|(name, script)| (name, Server::Replayed(script))));
    let children = stdio::ROWS.map(|(name, behaviour)| (name, Server::Stdio(behaviour)));
    [
        ("sessions", opening),
        ("lists", http(&lists::ROWS)),
        ("answers", http(&answers::ROWS)),
        ("child processes", children.into()),
    ]
}

/// Answers as a server without faults.
fn polite(heard: &Heard) -> Vec<Say> {
    behave(heard).unwrap_or_else(|| Say::json(&said(&heard.json()["id"], "hello")))
}

/// Adds the id of a session that is over to the first request of each connection, if that is `initialize`.
async fn replay(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.ok()?;
                let mut text = first_request(&mut client).await?;
                if text.contains("\"initialize\"") {
                    text = text.replacen("\r\n", "\r\nmcp-session-id: over\r\n", 1);
                }
                server.write_all(text.as_bytes()).await.ok()?;
                tokio::io::copy_bidirectional(&mut client, &mut server)
                    .await
                    .ok()
            });
        }
    });
    addr
}

/// Reads a request whose length its head has.
async fn first_request(client: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |value| value.trim().parse().unwrap_or(0));
        if body.len() >= length {
            return Some(text);
        }
    }
}

/// Starts every server and the gateway in front of them: the gateway's home, and the targets of each row by way.
async fn servers() -> (Home, Vec<FakeServer>, Vec<(String, Value)>) {
    let mut home = Home::new().with(|it| {
        it["limits"] = json!({
            // As many bytes as these clients take without minutes of work.
            "result": "6MiB",
            "sessions_per_caller": 2000,
            "processes": {"server": 100, "caller": 500},
            "rate": {"session": "off", "caller": "off", "opening": "off"},
            "concurrency": {"session": "off", "caller": "off", "caller_per_server": "off"},
        });
    });
    let (mut running, mut targets) = (Vec::new(), Vec::new());
    for (index, (_, server)) in themes().into_iter().flat_map(|(_, rows)| rows).enumerate() {
        let name = format!("s{index}");
        let target = match server {
            Server::Http(script) | Server::Replayed(script) => {
                let fake =
                    FakeServer::start(move |heard| script(heard).unwrap_or_else(|| polite(heard)))
                        .await;
                let url = fake.url();
                home = home.url(&name, &url);
                running.push(fake);
                json!(url)
            }
            Server::Stdio(behaviour) => {
                home = home.child(&name, &["sloppy", behaviour]);
                json!([peer("server.sh"), "sloppy", behaviour])
            }
        };
        targets.push((name, target));
    }
    (home, running, targets)
}

/// Lets one client walk all targets: outcomes by `ROW WAY`.
async fn walk(client: &str, targets: &[(String, Value)]) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().expect("a folder");
    let list = folder.path().join("list.json");
    fs::write(&list, json!(targets).to_string()).expect("a file");
    let list = list.display().to_string();
    let done = match client {
        "ts 1.x" => run("walk.mjs", &["sdk1", &list], &[]).await,
        "ts 2.x" => run("walk.mjs", &["sdk2", &list], &[]).await,
        "mcp-remote" => run("walk.mjs", &["mcp-remote", &list], &[]).await,
        "python" => run("walk.py", &["mcp", &list], &[]).await,
        "fastmcp" => run("walk.py", &["fastmcp", &list], &[]).await,
        _ => {
            let words = ["rmcp-walk", &list];
            let walk = Running::start("rmcp", command(program("keepgate-demo"), &words));
            walk.finished(PATIENCE * 5).await
        }
    };
    let printed = done.good();
    let lines = printed.lines().filter_map(|line| line.split_once('\t'));
    lines
        .map(|(name, outcome)| (name.to_owned(), outcome.to_owned()))
        .collect()
}

/// Outcomes by row, way and client.
type Cells = BTreeMap<(usize, usize, usize), String>;

async fn outcomes() -> Cells {
    let (home, _running, targets) = servers().await;
    let gate = home.serve().await;
    let replayed = replay(gate.addr).await;
    let mut ways = Vec::new();
    let rows: Vec<_> = themes().into_iter().flat_map(|(_, rows)| rows).collect();
    for (index, ((name, target), (_, server))) in targets.iter().zip(&rows).enumerate() {
        let (direct, through) = match server {
            Server::Http(_) => (target.clone(), json!(gate.url(name))),
            Server::Stdio(_) => (target.clone(), json!(gate.url(name))),
            Server::Replayed(_) => {
                let url = target.as_str().expect("a URL");
                let addr = url.trim_start_matches("http://").trim_end_matches("/mcp");
                let direct = replay(addr.parse().expect("an address")).await;
                (
                    json!(format!("http://{direct}/mcp")),
                    json!(format!("http://{replayed}/{name}/mcp")),
                )
            }
        };
        ways.push((format!("{index} 0"), direct));
        ways.push((format!("{index} 1"), through));
    }
    let walks = CLIENTS.map(|client| {
        let ways = ways.clone();
        async move {
            let is_bridge = client == "mcp-remote";
            // A bridge to a child process is no bridge.
            let ways = ways
                .into_iter()
                .filter(|(_, to)| !is_bridge || to.is_string());
            let ways: Vec<_> = ways.collect();
            let found = walk(client, &ways).await;
            assert_eq!(found.len(), ways.len(), "{client}");
            found
        }
    });
    let mut cells = Cells::new();
    for (client, found) in futures_util::future::join_all(walks)
        .await
        .into_iter()
        .enumerate()
    {
        for (place, outcome) in found {
            let (row, way) = place.split_once(' ').expect("a row and a way");
            let place = (
                row.parse().expect("a row"),
                way.parse().expect("a way"),
                client,
            );
            cells.insert(place, outcome);
        }
    }
    cells
}

/// Draws the table, and lists what works direct and not through the gateway.
fn draw(cells: &Cells) -> (String, BTreeSet<&'static str>) {
    let mut table = String::new();
    let mut lost = BTreeSet::new();
    let head: String = CLIENTS
        .iter()
        .map(|client| format!("| {client:22} "))
        .collect();
    writeln!(table, "{:72} {head}", "").expect("memory");
    let mut row = 0;
    for (theme, rows) in themes() {
        writeln!(table, "\n{theme}").expect("memory");
        for (name, _) in rows {
            let cell = |way, client| cells.get(&(row, way, client)).map_or("", String::as_str);
            for (way, title) in WAYS.into_iter().enumerate() {
                let name = if way == 0 { name } else { "" };
                let line: String = (0..CLIENTS.len())
                    .map(|client| format!("| {:22} ", cell(way, client)))
                    .collect();
                writeln!(table, "  {name:62} {title:7} {}", line.trim_end()).expect("memory");
            }
            if (0..CLIENTS.len()).any(|it| cell(0, it) == "works" && cell(1, it) != "works") {
                lost.insert(name);
            }
            row += 1;
        }
    }
    writeln!(table, "\nmeant").expect("memory");
    for (name, reason) in MEANT {
        writeln!(table, "  {name}:\n      {reason}").expect("memory");
    }
    (table, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn sloppy_servers_work_through_the_gateway_as_they_do_direct() {
    let cells = outcomes().await;
    let (table, lost) = draw(&cells);
    let path = repository().join("tests/it/peers/matrix/golden.txt");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &table).expect("written");
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(table, golden, "run with UPDATE=1 and read what changed");
    let meant = MEANT.iter().map(|&(name, _)| name).collect();
    assert_eq!(lost, meant, "works direct and not through the gateway");
}
