//! Traces and metrics, taken by programs that are not ours: a collector (rotel) and Prometheus.

use std::path::Path;

use keepgate_tests::{Client, FakeServer, Say, free_port, installed, upstream::said};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::gate::{Gate, Home};
use super::process::{Finished, PATIENCE, Running, command, repository, run, until};
use super::tls::{Authority, secure};

/// The trace a client is in, and its span there.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
/// What must stand in no span and no metric.
const CANARIES: [&str; 3] = ["ARGUMENT-CANARY", "RESULT-CANARY", "BAGGAGE-CANARY"];

/// The collector, and its ports for gRPC and HTTP.
async fn collector() -> (Running, u16, u16) {
    let (grpc, http) = (free_port(), free_port());
    let python = repository().join(".peers/py/bin/python");
    let find = "import rotel, pathlib; print(pathlib.Path(rotel.__file__).parent / 'rotel-agent')";
    let found = Running::start("rotel", command(python, &["-c", find]));
    let agent = found.finished(PATIENCE).await.good();
    let grpc_at = format!("127.0.0.1:{grpc}");
    let http_at = format!("127.0.0.1:{http}");
    let words = [
        "start",
        "--otlp-grpc-endpoint",
        &grpc_at,
        "--otlp-http-endpoint",
        &http_at,
        "--exporter",
        "blackhole",
        "--debug-log",
        "traces",
        "--debug-log",
        "metrics",
        "--debug-log-verbosity",
        "detailed",
    ];
    let process = Running::start("rotel-agent", command(agent.trim(), &words));
    until("the collector", async || {
        tokio::net::TcpStream::connect(&grpc_at).await.is_ok()
            && tokio::net::TcpStream::connect(&http_at).await.is_ok()
    })
    .await;
    (process, grpc, http)
}

/// A server whose answers carry a canary, and whose tool `fail` fails.
async fn server() -> FakeServer {
    FakeServer::with_tools(|heard| {
        let call = heard.json();
        let mut answer = said(&call["id"], "RESULT-CANARY");
        if call["params"]["name"] == "delete" {
            answer["result"]["isError"] = json!(true);
        }
        Say::json(&answer)
    })
    .await
}

/// A span as the collector prints it: its lines by what stands before the colon.
#[derive(Debug)]
struct Seen(Vec<String>);

impl Seen {
    fn all(said: &str) -> Vec<Self> {
        let mut spans: Vec<Self> = Vec::new();
        let mut within = false;
        for line in said.lines() {
            if line.starts_with("Span #") {
                spans.push(Self(Vec::new()));
                within = true;
            } else if line.starts_with("Resource") || line.starts_with("Scope") {
                within = false;
            } else if let Some(span) = spans.last_mut().filter(|_| within) {
                span.0
                    .push(line.trim().trim_start_matches("-> ").to_owned());
            }
        }
        spans
    }

    fn is(&self, key: &str) -> Option<&str> {
        self.0.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            let bare = ["Str(", "Int("]
                .iter()
                .find_map(|kind| value.strip_prefix(kind)?.strip_suffix(')'));
            (name.trim() == key).then(|| bare.unwrap_or(value))
        })
    }
}

fn of<'a>(spans: &'a [Seen], name: &str, kind: &str) -> Option<&'a Seen> {
    spans.iter().find(|span| {
        span.is("Name") == Some(name) && span.is("Kind") == Some(&format!("SPAN_KIND_{kind}"))
    })
}

async fn traced(gate: &Gate, mode: &str) -> Finished {
    let url = gate.url("up");
    let words = [&url, "echo", "ARGUMENT-CANARY", TRACE, SPAN, mode];
    run("py_traced.py", &words, &[]).await
}

/// What the server heard of the trace: in the header, and in `_meta`.
fn told(server: &FakeServer) -> (String, Value) {
    let heard = server.heard_of("tools/call").pop().expect("a call");
    let header = heard.header("traceparent").unwrap_or_default().to_owned();
    (header, heard.json()["params"]["_meta"].clone())
}

/// The spans of both calls say what they are of, in the client's trace and one below the other.
fn hang_together(spans: &[Seen]) {
    let outer = of(spans, "tools/call echo", "SERVER").expect("a server span");
    let inner = of(spans, "tools/call echo", "CLIENT").expect("a client span");
    assert_eq!(outer.is("Trace ID"), Some(TRACE));
    assert_ne!(outer.is("Parent ID"), Some(""));
    assert_eq!(inner.is("Trace ID"), Some(TRACE));
    assert_eq!(inner.is("Parent ID"), outer.is("ID"));
    for (key, value) in [
        ("mcp.method.name", "tools/call"),
        ("gen_ai.tool.name", "echo"),
        ("gen_ai.operation.name", "execute_tool"),
        ("keepgate.policy.effect", "allow"),
        ("keepgate.server.name", "up"),
        ("network.transport", "tcp"),
    ] {
        assert_eq!(outer.is(key), Some(value), "{outer:?}");
    }
    assert_eq!(inner.is("server.address"), Some("127.0.0.1"));
    assert_eq!(outer.is("error.type"), None);
    let failed = of(spans, "tools/call delete", "SERVER").expect("a server span");
    assert_eq!(failed.is("error.type"), Some("tool_error"));
}

/// The server heard, with the call of `echo`, of the span that waits for it, in both places.
fn is_told_the_span(server: &FakeServer, waits: &Seen) {
    let heard = server.heard_of("tools/call");
    let heard = heard
        .iter()
        .find(|heard| heard.json()["params"]["name"] == "echo")
        .expect("a call");
    let context = format!("00-{TRACE}-{}-01", waits.is("ID").expect("an id"));
    assert_eq!(heard.header("traceparent"), Some(context.as_str()));
    assert_eq!(heard.json()["params"]["_meta"]["traceparent"], context);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_has_the_spans_of_an_sdk_clients_call_as_part_of_its_trace() {
    let (mut collector, grpc, http) = collector().await;
    for (port, mode) in [(grpc, "legacy"), (http, "auto")] {
        let server = server().await;
        let protocol = if port == grpc {
            "grpc"
        } else {
            "http/protobuf"
        };
        let gate = Home::new()
            .url("up", &server.url())
            .with(|it| {
                it["telemetry"] = json!({
                    "service_name": format!("gate{port}"),
                    "otlp": {"endpoint": format!("http://127.0.0.1:{port}")},
                    "traces": {"trust_clients": true},
                    "metrics": {"interval": "1s"},
                });
                if protocol == "grpc" {
                    it["telemetry"]["otlp"]["protocol"] = json!("grpc");
                }
            })
            .serve()
            .await;
        assert_eq!(traced(&gate, mode).await.good().trim(), "RESULT-CANARY");
        let failed = gate.client("up").initialize("2025-11-25").await;
        failed.call("delete", json!({"text": CANARIES[0]})).await;
        gate.end().await;

        let named = format!("service.name: Str(gate{port})");
        let spans = collector
            .says("the spans", |log| {
                let from = log.find(&named)?;
                let spans = Seen::all(&log[from..]);
                let both = of(&spans, "tools/call echo", "SERVER").is_some()
                    && of(&spans, "tools/call delete", "SERVER").is_some();
                both.then_some(spans)
            })
            .await;
        hang_together(&spans);
        let inner = of(&spans, "tools/call echo", "CLIENT").expect("a client span");
        is_told_the_span(&server, inner);
        let log = collector.stdout() + &collector.stderr();
        assert!(log.contains("Name: mcp.server.operation.duration"));
        for canary in CANARIES {
            assert!(!log.contains(canary), "{canary} over {protocol}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_trusted_is_not_followed_and_its_baggage_stays_here() {
    let server = server().await;
    let file = tempfile::tempdir().expect("a folder");
    let file = file.path().join("traces.jsonl");
    let gate = Home::new()
        .url("up", &server.url())
        .with(|it| it["telemetry"] = json!({"traces": {"file": file}}))
        .serve()
        .await;
    let client = gate.client("up").initialize("2025-11-25").await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    let params = json!({
        "name": "echo",
        "arguments": {"text": CANARIES[0]},
        "_meta": {"traceparent": parent, "tracestate": "a=b", "baggage": "user=BAGGAGE-CANARY", "own": [1.0]},
    });
    client.ask("tools/call", params).await;
    let (header, meta) = told(&server);
    assert!(!header.contains(TRACE), "{header}");
    assert_eq!(meta["traceparent"], header);
    assert_eq!(meta, json!({"traceparent": header, "own": [1.0]}));
    gate.end().await;

    let text = std::fs::read_to_string(&file).expect("traces");
    let spans: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("OTLP JSON"))
        .flat_map(|batch| {
            let spans = &batch["resourceSpans"][0]["scopeSpans"][0]["spans"];
            spans.as_array().cloned().expect("spans")
        })
        .collect();
    let call = spans
        .iter()
        .find(|span| span["name"] == "tools/call echo" && span["kind"] == 2)
        .expect("a server span");
    assert_eq!(call["links"][0]["traceId"], TRACE, "{call}");
    assert_eq!(call["links"][0]["spanId"], SPAN);
    assert_eq!(call["parentSpanId"], "");
    assert_ne!(call["traceId"], TRACE);
    // The list the gateway asked for, to know the tool, is part of the call.
    let list = spans
        .iter()
        .find(|span| span["name"] == "tools/list" && span["kind"] == 1)
        .expect("the gateway's own call");
    assert_eq!(list["parentSpanId"], call["spanId"]);
    for canary in CANARIES {
        assert!(!text.contains(canary), "{canary}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_recorded_goes_to_the_server_as_it_came() {
    let server = server().await;
    let gate = Home::new()
        .url("up", &server.url())
        .with(|it| {
            let file = "traces.jsonl";
            it["telemetry"] = json!({"traces": {"file": file, "sample": 0}});
        })
        .serve()
        .await;
    let client = gate.client("up").initialize("2025-11-25").await;
    let body = format!(
        r#"{{"jsonrpc":"2.0", "id":7,"method":"tools/call","params":{{"name":"echo", "arguments":{{}},"_meta":{{"traceparent": "00-{TRACE}-{SPAN}-01"}}}}}}"#
    );
    client.post(body.clone()).await;
    let heard = server.heard_of("tools/call").pop().expect("a call");
    // But for the id, which is ours.
    assert_eq!(heard.under("7"), body);
    assert_eq!(heard.header("traceparent"), None);
    gate.end().await;
}

/// A number among the meters: the sum of the lines that begin so.
async fn meter(gate: &Gate, name: &str) -> f64 {
    let text = gate.metrics().await;
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_or_is_dead_costs_spans_and_no_call() {
    // Takes connections and whatever comes over them, and never says a word.
    let hanging = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let hangs_at = hanging.local_addr().expect("a port").port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = hanging.accept().await {
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    for (port, timeout) in [(hangs_at, "100ms"), (free_port(), "10s"), (hangs_at, "1h")] {
        let server = server().await;
        let gate = Home::new()
            .url("up", &server.url())
            .with(|it| {
                it["telemetry"] = json!({
                    "otlp": {"endpoint": format!("http://127.0.0.1:{port}"), "timeout": timeout},
                });
            })
            .serve_with(&[
                ("OTEL_BSP_MAX_QUEUE_SIZE", "16"),
                ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
                ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ])
            .await;
        let client = gate.client("up").initialize("2025-11-25").await;
        for _ in 0..100 {
            assert_eq!(client.call("echo", json!({})).await.status, 200);
        }
        until("dropped spans", async || {
            meter(&gate, "keepgate_telemetry_dropped_total").await >= 1.0
        })
        .await;
        // Ends in order, although the last spans cannot be sent.
        gate.end().await;
    }
}

/// Has `promtool` check the metrics.
async fn promtool_finds_nothing(promtool: &Path, text: &str, folder: &Path) {
    let file = folder.join("metrics.txt");
    std::fs::write(&file, text).expect("a file");
    let script = format!("{} check metrics < {}", promtool.display(), file.display());
    let checked = Running::start("promtool", command("sh", &["-c", &script]));
    let checked = checked.finished(PATIENCE).await;
    assert_eq!(
        checked.code,
        Some(0),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
}

/// A Prometheus that scrapes the gateway each second, and a client of it.
async fn scraping(prometheus: &Path, gate: &Gate, folder: &Path) -> (Running, Client) {
    let port = free_port();
    let configuration = folder.join("prometheus.yaml");
    let written = json!({
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{
            "job_name": "keepgate",
            "static_configs": [{"targets": [gate.admin.to_string()]}],
            "authorization": {"credentials_file": gate.home.path("state/admin-token")},
        }],
    });
    std::fs::write(&configuration, written.to_string()).expect("a file");
    let words = [
        format!("--config.file={}", configuration.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address=127.0.0.1:{port}"),
    ];
    let running = Running::start("prometheus", command(prometheus, &words));
    let at = format!("127.0.0.1:{port}");
    until("Prometheus", async || {
        tokio::net::TcpStream::connect(&at).await.is_ok()
    })
    .await;
    (running, Client::new(at.parse().expect("an address")))
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_gateway_and_finds_nothing_wrong() {
    let (Some(prometheus), Some(promtool)) = (installed("prometheus"), installed("promtool"))
    else {
        return;
    };
    let server = server().await;
    let gate = Home::new().url("up", &server.url()).serve().await;
    let client = gate.client("up").initialize("2025-11-25").await;
    client.call("echo", json!({"text": CANARIES[0]})).await;
    client.call("delete", json!({})).await;
    client.call("made-up-by-a-client", json!({})).await;
    client.ask("made/up", json!({})).await;

    let folder = tempfile::tempdir().expect("a folder");
    let text = gate.metrics().await;
    for canary in CANARIES.iter().chain(&["made-up-by-a-client", "made/up"]) {
        assert!(!text.contains(canary), "{canary}\n{text}");
    }
    promtool_finds_nothing(&promtool, &text, folder.path()).await;

    let (mut running, at) = scraping(&prometheus, &gate, folder.path()).await;
    for query in [
        r#"up{job="keepgate"}==1"#,
        r#"mcp_server_operation_duration_seconds_count{gen_ai_tool_name="echo",error_type=""}"#,
        r#"mcp_client_operation_duration_seconds_bucket{gen_ai_tool_name="delete",error_type="tool_error",le="+Inf"}"#,
        r#"mcp_server_operation_duration_seconds_count{gen_ai_tool_name="_OTHER"}"#,
        r#"keepgate_decisions_total{keepgate_policy_effect="allow"}"#,
        r#"keepgate_upstream_up{keepgate_server_name="up"}==1"#,
        "keepgate_build_info",
    ] {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        until(query, async || {
            let answer = at.clone().path(&path).send("GET", "").await;
            // Until its storage is open it answers 503, in words.
            answer.status == 200
                && answer.json()["data"]["result"]
                    .as_array()
                    .is_some_and(|found| !found.is_empty())
        })
        .await;
    }
    running.signal(Signal::SIGTERM);
    running.ended(PATIENCE).await;
    gate.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_alerts_fire_when_they_should() {
    let folder = repository().join("deploy/prometheus");
    let Some(promtool) = installed("promtool") else {
        return;
    };
    for (act, file) in [("check", "alerts.yaml"), ("test", "alerts_test.yaml")] {
        let path = folder.join(file).display().to_string();
        let command = command(&promtool, &[act, "rules", &path]);
        let ran = Running::start("promtool", command).finished(PATIENCE).await;
        ran.good();
    }
}

/// Labels that are named like metrics.
const LABELS: [&str; 19] = [
    "keepgate_certificate",
    "keepgate_bundle",
    "keepgate_server_name",
    "keepgate_result",
    "keepgate_policy_effect",
    "keepgate_code",
    "keepgate_part",
    "mcp_method_name",
    "keepgate_reason",
    "keepgate_signal",
    "keepgate_tenant",
    "keepgate_place",
    "keepgate_scope",
    "keepgate_credential",
    "keepgate_provider",
    "keepgate_limit",
    "keepgate_state",
    "keepgate_target",
    "keepgate_outcome",
];

/// The metrics that a text names and the gateway does not have.
fn not_there<'a>(text: &'a str, there: &[&str]) -> Vec<&'a str> {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = text.split(|it: char| !letter(it));
    let used = words.filter(|word| word.starts_with("keepgate_") || word.starts_with("mcp_"));
    used.filter(|word| !LABELS.contains(word))
        .filter(|word| {
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| word.strip_suffix(suffix))
                .unwrap_or(word);
            !there.contains(word) && !there.contains(&base)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_documented_and_every_shown_one_exists() {
    let server = server().await;
    // With all that has metrics of its own.
    let home = Home::new().url("up", &server.url()).with(|it| {
        it["decisions"] = json!({"upload": {"url": "http://127.0.0.1:9/"}});
        it["shadow"] = json!({"policies": it["policies"].clone()});
        let target =
            json!({"kind": "generic", "url": "http://127.0.0.1:9/", "secret": "env:NOTIFY"});
        it["approvals"] = json!({"notify": {"ops": target}});
        it["admin"]["public_url"] = json!("https://console.example");
    });
    let home = home.env("NOTIFY", "0123456789abcdef0123456789");
    let authority = Authority::new();
    let (home, ..) = secure(home, &authority);
    let gate = home.serve().await;
    let text = gate.metrics().await;
    let there: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let read = |name: &str| std::fs::read_to_string(repository().join(name)).expect("a file");
    let page = read("docs/telemetry.md");
    let missing: Vec<_> = there
        .iter()
        .filter(|name| !page.contains(&format!("`{name}`")))
        .collect();
    assert!(missing.is_empty(), "not in docs/telemetry.md: {missing:?}");
    let documented = page.lines().filter_map(|line| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        (name.starts_with("keepgate_") || name.starts_with("mcp_")).then_some(name)
    });
    let gone: Vec<_> = documented.filter(|name| !there.contains(name)).collect();
    assert!(gone.is_empty(), "documented but not there: {gone:?}");
    let dashboard = read("deploy/grafana/keepgate.json");
    serde_json::from_str::<Value>(&dashboard).expect("a JSON model");
    for (file, text) in [
        ("keepgate.json", dashboard),
        ("alerts.yaml", read("deploy/prometheus/alerts.yaml")),
    ] {
        let absent = not_there(&text, &there);
        assert!(absent.is_empty(), "{file}: {absent:?}");
    }
    gate.end().await;
}
