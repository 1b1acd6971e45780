//! Listeners that answer well, badly, and not at all.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpListener;

use crate::{Exit, Surroundings, run};

/// What `health` makes of a listener that answers so; and what it asked.
fn asked(words: &[&str], answer: &'static str) -> (Exit, String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = Vec::new();
        let mut byte = [0];
        while !heard.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            heard.extend(byte);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(heard).unwrap()
    });
    let (exit, said) = health(&[words, &["--address", &address]].concat());
    let heard = server.join().unwrap().replace(&address, "<address>");
    (exit, said.replace(&address, "<address>"), heard)
}

fn health(words: &[&str]) -> (Exit, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let words = ["keepgate", "health"].iter().chain(words);
    let exit = run(
        words.map(OsString::from),
        Surroundings {
            variables: Vec::new(),
            stdout: &mut stdout,
            stderr: &mut stderr,
        },
    );
    stdout.extend(stderr);
    (exit, String::from_utf8(stdout).unwrap())
}

#[test]
fn a_gateway_that_answers_well_is_well() {
    let (exit, said, heard) = asked(&[], "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
    assert_eq!((exit, said.as_str()), (Exit::Success, "ok\n"));
    assert_eq!(
        heard,
        "GET /livez HTTP/1.1\r\nHost: <address>\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn whether_it_takes_calls_is_another_question() {
    let answer = "HTTP/1.1 503 Service Unavailable\r\n\r\nready: no\naudit: full\n";
    let (exit, said, heard) = asked(&["--ready"], answer);
    assert_eq!(exit, Exit::Negative);
    let expected = "answers 503: `<address>/readyz`\nready: no\naudit: full\n";
    assert!(said.contains(expected), "{said}");
    assert!(heard.starts_with("GET /readyz "), "{heard}");
}

#[test]
fn what_is_no_gateway_is_not_well() {
    for answer in ["", "HTTP/1.1 2", "SSH-2.0-OpenSSH\r\n", "HTTP/1.1 abc\r\n"] {
        let (exit, said, _) = asked(&[], answer);
        assert_eq!(exit, Exit::Negative, "{answer:?}: {said}");
    }
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap().to_string();
    drop(gone);
    let (exit, said) = health(&["--address", &address]);
    assert_eq!(exit, Exit::Negative);
    assert!(said.contains("no answer"), "{said}");
}
