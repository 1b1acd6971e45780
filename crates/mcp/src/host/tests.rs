//! Tests of `host`.

use super::{AddressClass, Host, locate};

fn host(text: &str) -> Option<(String, &'static str)> {
    Host::read(text).map(|host| (host.name, host.class.as_str()))
}

/// Spellings of one host, its name and class.
const HOSTS: &[(&[&str], &str, &str)] = &[
    (
        &[
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "①②⑦.0.0.1",
            "127。0。0。1",
            "%31%32%37.0.0.1",
        ],
        "127.0.0.1",
        "loopback",
    ),
    (
        &["[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]"],
        "[::1]",
        "loopback",
    ),
    (
        &[
            "localhost",
            "LOCALHOST",
            "localhost.",
            "loc%61lhost",
            "ｌocalhost",
        ],
        "localhost",
        "loopback",
    ),
    (&["0.0.0.0", "0", "0x0"], "0.0.0.0", "loopback"),
    (
        &[
            "169.254.169.254",
            "2852039166",
            "0xa9fea9fe",
            "0251.0376.0251.0376",
            "[::ffff:a9fe:a9fe]",
            "169.254.43518",
        ],
        "169.254.169.254",
        "metadata",
    ),
    (
        &["metadata.google.internal", "METADATA.google.internal."],
        "metadata.google.internal",
        "metadata",
    ),
    (&["[fd00:ec2::254]"], "[fd00:ec2::254]", "metadata"),
    (&["169.254.1.1"], "169.254.1.1", "link_local"),
    (&["[fe80::1]"], "[fe80::1]", "link_local"),
    (&["10.0.0.1", "167772161"], "10.0.0.1", "private"),
    (&["172.31.255.255"], "172.31.255.255", "private"),
    (&["192.168.0.1"], "192.168.0.1", "private"),
    (&["100.64.0.1"], "100.64.0.1", "private"),
    (&["[fd12::1]"], "[fd12::1]", "private"),
    (&["[64:ff9b::a00:1]"], "[64:ff9b::a00:1]", "private"),
    (&["[2002:a00:1::]"], "[2002:a00:1::]", "private"),
    (&["[::10.0.0.1]"], "[::a00:1]", "private"),
    (&["224.0.0.1"], "224.0.0.1", "reserved"),
    (
        &["255.255.255.255", "4294967295"],
        "255.255.255.255",
        "reserved",
    ),
    (&["8.8.8.8", "134744072"], "8.8.8.8", "public"),
    (&["172.32.0.1"], "172.32.0.1", "public"),
    (&["[2606:4700::1111]"], "[2606:4700::1111]", "public"),
    (
        &["example.com", "Example.COM", "example.com.", "ｅxample.com"],
        "example.com",
        "name",
    ),
    (
        &["bücher.example", "BÜCHER.example", "xn--bcher-kva.example"],
        "xn--bcher-kva.example",
        "name",
    ),
    (&["127.0.0.1.example"], "127.0.0.1.example", "name"),
    (&["app.localhost"], "app.localhost", "loopback"),
];

#[test]
fn every_spelling_of_a_host_is_one_host_of_one_class() {
    for (spellings, name, class) in HOSTS {
        for spelling in *spellings {
            assert_eq!(
                host(spelling),
                Some(((*name).to_owned(), *class)),
                "{spelling}"
            );
        }
    }
}

#[test]
fn hosts_browsers_refuse_are_none() {
    for text in [
        "",
        "a b",
        "a/b",
        "a@b",
        "256.0.0.1",
        "1.2.3.4.5",
        "0x100000000",
        "[::1",
        "::1",
        "[fe80::1%25eth0]",
        "a%00b",
        "exa|mple",
        "127.0.0.1..",
        "metadata.google.internal..",
        ".",
        "..",
    ] {
        assert_eq!(host(text), None, "{text:?}");
    }
}

/// URLs, each with its spelling, host, class, port, and whether it has user information.
const URLS: &[(&str, &str)] = &[
    (
        "http://127.0.0.1:80/",
        "http://127.0.0.1/ 127.0.0.1 loopback Some(80) false",
    ),
    (
        "http://2130706433/a/../b",
        "http://127.0.0.1/b 127.0.0.1 loopback Some(80) false",
    ),
    (
        "HTTP://EXAMPLE.com.:80/x",
        "http://example.com/x example.com name Some(80) false",
    ),
    (
        "https://good.example@evil.example/",
        "https://evil.example/ evil.example name Some(443) true",
    ),
    (
        "https://good.example\\@evil.example/",
        "https://good.example/@evil.example/ good.example name Some(443) false",
    ),
    (
        "http:\\\\127.0.0.1\\x",
        "http://127.0.0.1/x 127.0.0.1 loopback Some(80) false",
    ),
    (
        "http:127.0.0.1",
        "http://127.0.0.1/ 127.0.0.1 loopback Some(80) false",
    ),
    (
        "ht\ntp://127.0.0.1",
        "http://127.0.0.1/ 127.0.0.1 loopback Some(80) false",
    ),
    (
        " http://127.0.0.1 ",
        "http://127.0.0.1/ 127.0.0.1 loopback Some(80) false",
    ),
    (
        "http://[::ffff:10.0.0.1]:8080",
        "http://10.0.0.1:8080/ 10.0.0.1 private Some(8080) false",
    ),
    (
        "redis://2130706433:6379",
        "redis://127.0.0.1:6379 127.0.0.1 loopback Some(6379) false",
    ),
    (
        "redis://127.0.0.1..:6379",
        "redis://127.0.0.1..:6379 127.0.0.1.. loopback Some(6379) false",
    ),
    ("file:///etc/passwd", "file:///etc/passwd  None false"),
    ("mailto:a@example.com", "mailto:a@example.com  None false"),
];

#[test]
fn urls_are_read_as_browsers_do() {
    let told = |text: &str| {
        let found = locate(text)?;
        let host = found
            .host
            .map(|host| format!("{} {}", host.name, host.class.as_str()));
        Some(format!(
            "{} {} {:?} {}",
            found.text,
            host.unwrap_or_default(),
            found.port,
            found.userinfo
        ))
    };
    for (text, expected) in URLS {
        assert_eq!(told(text).as_deref(), Some(*expected), "{text:?}");
    }
    for text in [
        "",
        "127.0.0.1/x",
        "//127.0.0.1/x",
        "/etc/passwd",
        "http://",
        "http://a b/",
        "http://256.0.0.1/",
        "http://127.0.0.1../",
    ] {
        assert_eq!(told(text), None, "{text:?}");
    }
}

#[test]
fn classes_have_distinct_words() {
    let words: std::collections::BTreeSet<_> = AddressClass::ALL
        .iter()
        .map(|class| class.as_str())
        .collect();
    assert_eq!(words.len(), AddressClass::ALL.len());
}
