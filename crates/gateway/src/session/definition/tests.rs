//! Tests of what another place is, and what is not.

use std::{collections::BTreeMap, path::PathBuf};

use super::{Destination, destination};
use crate::settings::{HttpWay, Server, Upstream};

fn child(change: impl Fn(&mut Server)) -> Destination {
    let mut server = Server {
        upstream: Upstream::Child {
            program: "npx".to_owned(),
            arguments: vec!["-y".to_owned(), "server".to_owned()],
            environment: BTreeMap::from([("API".to_owned(), "a".to_owned())]),
            directory: None,
            shared: false,
            launch: None,
        },
        ..server()
    };
    change(&mut server);
    destination(&server)
}

fn http(
    url: &str,
    change: impl Fn(&mut HttpWay, &mut Vec<(http::HeaderName, http::HeaderValue)>),
) -> Destination {
    let (mut way, mut headers) = (HttpWay::default(), Vec::new());
    change(&mut way, &mut headers);
    let upstream = Upstream::Http {
        transport: keepgate_call::HttpTransport::Streamable,
        url: url.parse().expect("a URL"),
        way,
        headers,
    };
    destination(&Server {
        upstream,
        ..server()
    })
}

fn server() -> Server {
    Server {
        upstream: Upstream::Child {
            program: String::new(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            directory: None,
            shared: false,
            launch: None,
        },
        owner: None,
        environment: None,
        trust: Default::default(),
        instructions: crate::settings::Instructions::Drop,
        labels: Vec::new(),
        timeouts: Default::default(),
        idle: None,
        credentials: Vec::new(),
        limits: Default::default(),
        definition: None,
        arguments: Default::default(),
        plaintext: false,
        validation: Default::default(),
        listen_sse: false,
    }
}

fn parts(
    server: &mut Server,
) -> (
    &mut String,
    &mut Vec<String>,
    &mut BTreeMap<String, String>,
    &mut Option<PathBuf>,
    &mut bool,
) {
    match &mut server.upstream {
        Upstream::Child {
            program,
            arguments,
            environment,
            directory,
            shared,
            launch: _,
        } => (program, arguments, environment, directory, shared),
        Upstream::Http { .. } => panic!("a process"),
    }
}

#[test]
fn another_command_or_url_is_another_place() {
    let own = child(|_| {});
    assert_eq!(&*own.address, "npx -y server");
    assert_eq!(own.environment, [Box::from("API")]);
    let others = [
        child(|it| *parts(it).0 = "npm".to_owned()),
        child(|it| parts(it).1.push("--all".to_owned())),
        child(|it| *parts(it).1 = vec!["-y server".to_owned()]),
        child(|it| {
            parts(it).2.insert("API".to_owned(), "b".to_owned());
        }),
        child(|it| parts(it).2.clear()),
        child(|it| *parts(it).3 = Some("/srv".into())),
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(*other, own, "{at}");
    }
    let same = child(|it| {
        *parts(it).4 = true;
        it.owner = Some("ann".to_owned());
    });
    assert_eq!(same, own);

    let own = http("https://crm.example/mcp", |_, _| {});
    assert_eq!(&*own.address, "https://crm.example/mcp");
    let others = [
        http("https://crm.example/mcp2", |_, _| {}),
        http("https://crm2.example/mcp", |_, _| {}),
        http("https://crm.example/mcp", |way, _| {
            way.ca = Some("/etc/other.pem".into());
        }),
        http("https://crm.example/mcp", |_, headers| {
            let value = http::HeaderValue::from_static("b");
            headers.push((http::HeaderName::from_static("x-tenant"), value));
        }),
    ];
    for (at, other) in others.iter().enumerate() {
        assert_ne!(*other, own, "{at}");
    }
}
