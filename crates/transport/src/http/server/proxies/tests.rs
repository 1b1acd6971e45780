//! Whose word on the client's address is taken, and how it is read.

use http::HeaderValue;

use super::*;

const PROXY: &str = "10.0.0.1:7";
const OLD: &str = "x-forwarded-for";
const NEW: &str = "forwarded";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

fn client(peer: &str, lines: &[(&'static str, &str)]) -> String {
    let networks = ["10.0.0.0/8", "2001:db8:1::/48"];
    let networks: Vec<Network> = networks.iter().map(|text| text.parse().unwrap()).collect();
    let client = Proxies::from(networks).client(peer.parse().unwrap(), &headers(lines));
    client.map_or_else(|| "-".to_owned(), |client| client.to_string())
}

#[test]
fn nobody_but_a_trusted_proxy_names_a_client() {
    for (peer, lines) in [
        ("192.0.2.1:7", &[(OLD, "198.51.100.1")][..]),
        ("192.0.2.1:7", &[(NEW, "for=198.51.100.1")]),
        ("192.0.2.1:7", &[(OLD, "10.0.0.1, 10.0.0.1")]),
        // A proxy that speaks for itself.
        (PROXY, &[]),
    ] {
        assert_eq!(client(peer, lines), peer, "{lines:?}");
    }
    let mapped = client("[::ffff:10.0.0.1]:7", &[(OLD, "198.51.100.1")]);
    assert_eq!(mapped, "198.51.100.1:0");
}

#[test]
fn the_first_hop_from_the_right_that_is_no_proxy_is_the_client() {
    for (name, value, expected) in [
        (OLD, "198.51.100.1", "198.51.100.1:0"),
        (OLD, "198.51.100.1:4711", "198.51.100.1:0"),
        (OLD, "[2001:db8::1]:4711", "[2001:db8::1]:0"),
        (OLD, "2001:db8::1", "[2001:db8::1]:0"),
        // What the client wrote itself stands further left.
        (OLD, "10.9.9.9, 198.51.100.1, 10.0.0.2", "198.51.100.1:0"),
        (OLD, "evil, 198.51.100.1", "198.51.100.1:0"),
        (OLD, "10.9.9.9, 2001:db8:1::7", "10.9.9.9:0"),
        (NEW, "for=\"[2001:db8::1]\"", "[2001:db8::1]:0"),
        (
            NEW,
            "for=192.0.2.9;by=x, For=\"198.51.100.1:5\";proto=https",
            "198.51.100.1:0",
        ),
        (NEW, "for=\"192.0.2.9, for=198.51.100.1", "198.51.100.1:0"),
        // Nobody is better than somebody else.
        (OLD, "unknown", "-"),
        (OLD, "198.51.100.1, ", "-"),
        (OLD, "198.51.100.1\u{e9}", "-"),
        (NEW, "for=_hidden", "-"),
        (NEW, "by=198.51.100.1", "-"),
        (NEW, "for=198.51.100.1;for=198.51.100.2", "-"),
    ] {
        assert_eq!(client(PROXY, &[(name, value)]), expected, "{name}: {value}");
    }
    let lines = [(OLD, "10.9.9.9"), (OLD, "198.51.100.1,10.0.0.2")];
    assert_eq!(client(PROXY, &lines), "198.51.100.1:0");
    let long = vec!["10.0.0.9"; 10_000].join(",");
    assert_eq!(client(PROXY, &[(OLD, &long)]), "10.0.0.9:0");
}

#[test]
fn two_headers_count_only_where_they_agree() {
    for (old, new, expected) in [
        ("198.51.100.1", "for=198.51.100.1", "198.51.100.1:0"),
        ("198.51.100.1", "for=198.51.100.2", "-"),
        ("198.51.100.1", "for=unknown", "-"),
        ("unknown", "for=unknown", "-"),
    ] {
        assert_eq!(
            client(PROXY, &[(OLD, old), (NEW, new)]),
            expected,
            "{old} {new}"
        );
    }
}
