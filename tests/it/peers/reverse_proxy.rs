//! nginx on either side of the gateway, configured with as little as `proxy_pass`: it speaks HTTP/1.0 to what is behind it,
//! buffers answers, puts its own name in `Host`, and answers for a dead server with pages of HTML.

use std::{net::SocketAddr, path::Path};

use keepgate_tests::{Client, FakeServer, Say, free_port, upstream::said};
use serde_json::json;

use super::{
    drivers::all_passed,
    gate::{Gate, Home, of_kind},
    process::{Running, command, run, serve, until},
};

/// A running nginx with its address, and the folder of its files.
struct Nginx {
    addr: SocketAddr,
    process: Running,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts one with these locations; `None`, with the skip recorded, on a machine without.
    async fn start(port: u16, locations: &str) -> Option<Self> {
        let program = keepgate_machine::installed("nginx")?;
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};", path(kind)))
            .concat();
        let addr = SocketAddr::from(([127, 0, 0, 1], port));
        // Its workers are to read and write the folder of this test, which is closed to others.
        let user = if nix::unistd::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let text = format!(
            "daemon off; {user} worker_processes 1; pid {}; error_log stderr warn;\nevents {{}}\nhttp {{ access_log off; {places}\nserver {{ listen {addr};\n{locations}\n}} }}\n",
            path("pid"),
        );
        std::fs::write(path("nginx.conf"), text).expect("a file");
        let process = begin(&program, &path("nginx.conf"));
        until("nginx to listen", async || {
            tokio::net::TcpStream::connect(addr).await.is_ok()
        })
        .await;
        Some(Self {
            addr,
            process,
            _folder: folder,
        })
    }
}

fn begin(program: &Path, configuration: &str) -> Running {
    Running::start(
        "nginx",
        command(program, &["-e", "stderr", "-c", configuration]),
    )
}

/// Runs clients of three SDKs in both eras against `url`.
async fn drive(url: &str) {
    let out = tempfile::tempdir().expect("a folder");
    let folder = out.path().display().to_string();
    let environment = [
        ("OUT", folder.as_str()),
        ("ONLY_DRIVERS", "ts-client2 ts-sdk1 py_mcp"),
    ];
    println!("{}", run("drivers.sh", &[url], &environment).await.good());
    all_passed(out.path(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_work_behind_a_plain_nginx() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let port = free_port();
    let gate = Home::new()
        .url("up", &upstream)
        .with(|it| it["public_url"] = json!(format!("http://127.0.0.1:{port}/gateway")))
        .serve()
        .await;
    // The path is left as it is for one, and taken off for the other.
    for slash in ["", "/"] {
        let locations = format!(
            "location /gateway/ {{ proxy_pass http://{}{slash}; }}",
            gate.addr
        );
        let Some(nginx) = Nginx::start(port, &locations).await else {
            return;
        };
        drive(&format!("http://{}/gateway/up/mcp", nginx.addr)).await;
    }
    gate.end().await;
}

async fn up() -> FakeServer {
    FakeServer::with_tools(|heard| Say::json(&said(&heard.json()["id"], "done"))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_only_the_proxy_uses_is_refused_by_its_name_and_logged_with_the_way_out() {
    let server = up().await;
    let mut gate = Home::new().url("up", &server.url()).serve().await;
    // nginx sends the name of the group as `Host`.
    let locations = format!(
        "location /a/ {{ proxy_pass http://backend/; }} }} upstream backend {{ server {};",
        gate.addr
    );
    let Some(nginx) = Nginx::start(free_port(), &locations).await else {
        return;
    };
    let client = Client::new(nginx.addr).path("/a/up/mcp");
    let answer = client.call_modern("echo", json!({})).await;
    assert_eq!(
        (answer.status, answer.code().as_deref()),
        (403, Some("host_refused"))
    );
    assert!(answer.masked().contains("named: backend"), "{answer:?}");
    gate.says(
        "rejected a request: add the name to `hosts` if it is yours",
        1,
    )
    .await;
    gate.home = gate.home.with(|it| it["hosts"] = json!(["backend"]));
    gate.says("configuration reloaded", 1).await;
    assert_eq!(client.call_modern("echo", json!({})).await.status, 200);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_behind_nginx_has_the_address_nginx_saw_whatever_it_claims() {
    let server = up().await;
    let gate = Home::new()
        .url("up", &server.url())
        .with(|it| it["trusted_proxies"] = json!(["127.0.0.1/32"]))
        .serve()
        .await;
    let locations = format!(
        "set_real_ip_from 127.0.0.1; real_ip_header X-Test-Peer;\nlocation / {{ proxy_pass http://{}; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }}",
        gate.addr
    );
    let Some(nginx) = Nginx::start(free_port(), &locations).await else {
        return;
    };
    let client = Client::new(nginx.addr).path("/up/mcp");
    let client = client
        .header("x-test-peer", "203.0.113.7")
        .header("x-forwarded-for", "10.9.9.9");
    assert_eq!(client.call_modern("echo", json!({})).await.status, 200);
    let records = gate.end().await;
    let intents = of_kind(&records, "call.intent");
    assert_eq!(intents[0]["src"]["ip"], "203.0.113.7", "{intents:?}");
}

/// Answers of nginx itself, for a server that is dead, slow or not asked at all.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_a_proxy_in_front_of_a_server_become_refusals_that_name_the_status() {
    let slow = FakeServer::with_tools(|_| vec![Say::Hang]).await;
    let port = free_port();
    let address = format!("http://127.0.0.1:{port}");
    let home = Home::new().with(|it| {
        for name in [
            "dead", "slow", "small", "busy", "moved", "missing", "closed",
        ] {
            it["servers"][name] = json!({"url": format!("{address}/{name}")});
        }
    });
    let gate = home.serve().await;
    let locations = format!(
        "location /dead {{ proxy_pass http://127.0.0.1:{dead}; }}
         location /slow {{ proxy_pass {slow}; proxy_read_timeout 200ms; }}
         location /small {{ client_max_body_size 1k; proxy_pass {slow}; }}
         location /busy {{ return 429; }}
         location /moved {{ return 301 /other; }}
         location /missing {{ root /nonexistent; }}
         location /closed {{ return 403; }}",
        dead = free_port(),
        slow = slow.url().trim_end_matches("/mcp"),
    );
    let Some(nginx) = Nginx::start(port, &locations).await else {
        return;
    };
    let long = "x".repeat(2_000);
    for (server, status) in [
        ("dead", 502),
        ("slow", 504),
        ("small", 413),
        ("busy", 429),
        ("moved", 301),
        ("missing", 404),
        ("closed", 403),
    ] {
        let client = gate.client(server);
        let answer = client.call_modern("echo", json!({"text": long})).await;
        assert_eq!(
            answer.code().as_deref(),
            Some("upstream_refused"),
            "{server}: {answer:?}"
        );
        let text = answer.masked();
        assert!(text.contains(&format!("HTTP {status}")), "{server}: {text}");
        assert!(!text.contains("nginx"), "{server}: {text}");
    }
    drop(nginx);
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn official_clients_reach_a_server_behind_a_plain_nginx() {
    let (_server, upstream) = serve("fixture", &[]).await;
    let behind = upstream.trim_end_matches("/mcp");
    let locations = format!("location / {{ proxy_pass {behind}; }}");
    let Some(nginx) = Nginx::start(free_port(), &locations).await else {
        return;
    };
    let gate = Home::new()
        .url("up", &format!("http://{}/mcp", nginx.addr))
        .serve()
        .await;
    drive(&gate.url("up")).await;
    println!("{}", nginx.process.stderr());
    end(gate).await;
}

async fn end(gate: Gate) {
    let records = gate.end().await;
    assert!(
        !of_kind(&records, "call.intent").is_empty(),
        "nothing was called"
    );
}
