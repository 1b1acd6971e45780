//! Tests of resource URIs.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::{MAX_URI, normalise};

/// One line per URI: its normal form and segments, or why it is refused.
fn check(uris: &[&str], expected: &Expect) {
    let lines: Vec<String> = uris
        .iter()
        .map(|uri| match normalise(uri) {
            Ok(normal) => format!(
                "{uri:<42} {} {:?} {:?}",
                normal.text, normal.authority, normal.segments
            ),
            Err(error) => format!("{:<42} {error}", format!("{uri:?}")),
        })
        .collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn equal_places_have_one_spelling() {
    check(
        &[
            "file:///srv/docs/a.txt",
            "FILE:///srv/docs/a.txt",
            "file:/srv/docs/a.txt",
            "file://localhost/srv/docs/a.txt",
            "file:///srv/./docs//a.txt",
            "file:///srv/x/../docs/a.txt",
            "file:///srv/%64ocs/a%2Etxt",
            "file:///srv/x/%2e%2E/docs/a.txt",
            "file:///srv/docs/a.txt/",
            "file:///",
            "https://Example.COM:8443/A/b?q=%41%2f&r#Top",
            "https://user:pw@example.com/",
            "note://MyNote",
            "note:///",
            "db:table/%C3%A9",
            "db:table/é",
            "urn:isbn:123",
            "repo://owner%2Fname/x",
            "repo://h/owner%2Fname/x",
            "file:///srv/100%25 sure?",
            "file:///srv/C%23/a%3Fb",
            "file:///{path}",
            "ui://app/view.html",
        ],
        &expect![[r#"
            file:///srv/docs/a.txt                     file:///srv/docs/a.txt "" ["srv", "docs", "a.txt"]
            FILE:///srv/docs/a.txt                     file:///srv/docs/a.txt "" ["srv", "docs", "a.txt"]
            file:/srv/docs/a.txt                       file:///srv/docs/a.txt "" ["srv", "docs", "a.txt"]
            file://localhost/srv/docs/a.txt            file:///srv/docs/a.txt "" ["srv", "docs", "a.txt"]
            file:///srv/./docs//a.txt                  file:///srv/docs/a.txt "" ["srv", "docs", "a.txt"]
            file:///srv/x/../docs/a.txt                file:///srv/docs/a.txt "" ["srv", "docs", "a.txt"]
            file:///srv/%64ocs/a%2Etxt                 file:///srv/docs/a.txt "" ["srv", "docs", "a.txt"]
            file:///srv/x/%2e%2E/docs/a.txt            file:///srv/docs/a.txt "" ["srv", "docs", "a.txt"]
            file:///srv/docs/a.txt/                    file:///srv/docs/a.txt "" ["srv", "docs", "a.txt"]
            file:///                                   file:/// "" []
            https://Example.COM:8443/A/b?q=%41%2f&r#Top https://example.com:8443/A/b?q=A%2F&r#Top "example.com:8443" ["A", "b"]
            https://user:pw@example.com/               https://example.com "example.com" []
            note://MyNote                              note://mynote "mynote" []
            note:///                                   note:/// "" []
            db:table/%C3%A9                            db:table/é "" ["table", "é"]
            db:table/é                                 db:table/é "" ["table", "é"]
            urn:isbn:123                               urn:isbn:123 "" ["isbn:123"]
            "repo://owner%2Fname/x"                    not an absolute URI
            repo://h/owner%2Fname/x                    repo://h/owner/name/x "h" ["owner", "name", "x"]
            file:///srv/100%25 sure?                   file:///srv/100%25%20sure? "" ["srv", "100% sure"]
            file:///srv/C%23/a%3Fb                     file:///srv/C%23/a%3Fb "" ["srv", "C#", "a?b"]
            file:///{path}                             file:///{path} "" ["{path}"]
            ui://app/view.html                         ui://app/view.html "app" ["view.html"]"#]],
    );
}

#[test]
fn trap_35_every_spelling_of_a_host_is_one_host() {
    let told = |uri: &str| {
        let normal = normalise(uri).ok()?;
        let class = normal.host.map_or("none", |host| host.class.as_str());
        Some(format!(
            "{} {class} {}",
            normal.authority,
            normal.port.unwrap_or_default()
        ))
    };
    for (uri, expected) in [
        ("http://127.0.0.1/", "127.0.0.1 loopback 80"),
        ("http://127.0.0.1:80/", "127.0.0.1 loopback 80"),
        ("http://127.0.0.1:/", "127.0.0.1 loopback 80"),
        ("http://127.0.0.1.:0080/", "127.0.0.1 loopback 80"),
        ("http://2130706433/", "127.0.0.1 loopback 80"),
        ("http://0x7f.1/", "127.0.0.1 loopback 80"),
        ("http://0177.0.0.1/", "127.0.0.1 loopback 80"),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.1 loopback 80"),
        ("http://%31%32%37.0.0.1/", "127.0.0.1 loopback 80"),
        ("http://1.2.3.4@127.1:8080/", "127.0.0.1:8080 loopback 8080"),
        ("https://[::1]:443/", "[::1] loopback 443"),
        ("http://Internal.Example./x", "internal.example name 80"),
        (
            "http://169.254.169.254/latest",
            "169.254.169.254 metadata 80",
        ),
        (
            "http://[::ffff:a9fe:a9fe]/latest",
            "169.254.169.254 metadata 80",
        ),
        ("https://BÜCHER.example/", "xn--bcher-kva.example name 443"),
        // The server's own names: shown as they are, and what a client would make of them.
        ("note://2024/x", "2024 loopback 0"),
        ("redis://2130706433:6379/0", "2130706433:6379 loopback 6379"),
        ("file:///x", " none 0"),
    ] {
        assert_eq!(told(uri).as_deref(), Some(expected), "{uri}");
    }
    for uri in [
        "http://256.0.0.1/",
        "http://1.2.3.4.5/",
        "http://a b/",
        "http://a:99999/",
        "http://a:+80/",
        "http://a:8x/",
        "http://[::1/",
        "http://a%00b/",
        "http://exa|mple/",
        // Some clients take one dot off, some all of them.
        "http://127.0.0.1../",
        "http://169.254.169.254.../latest",
        "http://internal.example../",
        "http://./",
        "http://xn--a../",
    ] {
        assert_eq!(told(uri), None, "{uri}");
    }
}

#[test]
fn trap_09_traversal_is_resolved_or_refused() {
    check(
        &[
            "file:///srv/docs/../../etc/passwd",
            "file:///srv/docs/%2e%2e/%2e%2e/etc/passwd",
            "file:///srv/docs/../../../etc/passwd",
            "file:///..",
            "file:///srv/docs/..%2f..%2fetc/passwd",
            "file:///srv/docs%2f..%2f..%2fetc/passwd",
            "file:///srv/docs/%252e%252e/x",
            "file:///srv/docs/..\\..\\etc",
            "file:///srv/docs/..%5c..%5cetc",
            "file:///srv/docs/..;/x",
            "files://../etc/passwd",
            "files://%2e%2e/etc/passwd",
            "files://a/../../etc/passwd",
            "x:../y",
        ],
        &expect![[r#"
            file:///srv/docs/../../etc/passwd          file:///etc/passwd "" ["etc", "passwd"]
            file:///srv/docs/%2e%2e/%2e%2e/etc/passwd  file:///etc/passwd "" ["etc", "passwd"]
            "file:///srv/docs/../../../etc/passwd"     path climbs above its root
            "file:///.."                               path climbs above its root
            "file:///srv/docs/..%2f..%2fetc/passwd"    path climbs above its root
            "file:///srv/docs%2f..%2f..%2fetc/passwd"  path climbs above its root
            "file:///srv/docs/%252e%252e/x"            doubly encoded
            "file:///srv/docs/..\\..\\etc"             backslash
            "file:///srv/docs/..%5c..%5cetc"           backslash
            "file:///srv/docs/..;/x"                   path climbs above its root
            "files://../etc/passwd"                    path climbs above its root
            "files://%2e%2e/etc/passwd"                path climbs above its root
            "files://a/../../etc/passwd"               path climbs above its root
            "x:../y"                                   path climbs above its root"#]],
    );
}

#[test]
fn what_is_ambiguous_is_refused() {
    check(
        &[
            "",
            "/etc/passwd",
            "no scheme",
            "1x:y",
            ":x",
            " file:///x",
            "file:///x ",
            "file:///x%0",
            "file:///x%zz",
            "file:///x%",
            "file:///x%00",
            "file:///x\u{0}y",
            "file:///x%0a",
            "file:///x\ny",
            "file:///x%7f",
            "file:///x%c2%80",
            "file:///%ff",
            "file:///%c0%af",
            "file:///x?q=%2500",
            "file:///x?q=%00",
            "file:///x#%0d",
            "file:etc/passwd",
            "http:example.com",
            "https:///example.com/x",
            "http://a@b@c/",
            "http://a%2fb/",
            "http://a%40b/",
        ],
        &expect![[r#"
            ""                                         not an absolute URI
            "/etc/passwd"                              not an absolute URI
            "no scheme"                                not an absolute URI
            "1x:y"                                     not an absolute URI
            ":x"                                       not an absolute URI
            " file:///x"                               not an absolute URI
            "file:///x "                               not an absolute URI
            "file:///x%0"                              invalid percent-encoding
            "file:///x%zz"                             invalid percent-encoding
            "file:///x%"                               invalid percent-encoding
            "file:///x%00"                             control character
            "file:///x\0y"                             control character
            "file:///x%0a"                             control character
            "file:///x\ny"                             control character
            "file:///x%7f"                             control character
            "file:///x%c2%80"                          control character
            "file:///%ff"                              invalid percent-encoding
            "file:///%c0%af"                           invalid percent-encoding
            "file:///x?q=%2500"                        doubly encoded
            "file:///x?q=%00"                          control character
            "file:///x#%0d"                            control character
            "file:etc/passwd"                          not an absolute URI
            "http:example.com"                         not an absolute URI
            "https:///example.com/x"                   not an absolute URI
            "http://a@b@c/"                            not an absolute URI
            "http://a%2fb/"                            not an absolute URI
            "http://a%40b/"                            not an absolute URI"#]],
    );
}

#[test]
fn long_uris_are_refused() {
    assert!(normalise(&format!("file:///{}", "x".repeat(MAX_URI))).is_err());
}

proptest! {
    #[test]
    fn a_normal_form_is_normal(uri in "(file|x|https)://?/?[a-c% ./20eE5\\\\fé@;?#:]{0,24}") {
        if let Ok(normal) = normalise(&uri) {
            prop_assert!(normal.segments.iter().all(|segment| segment != ".." && segment != "." && !segment.contains('/')));
            prop_assert_eq!(normalise(&normal.text), Ok(normal));
        }
    }

    #[test]
    fn encoding_does_not_hide(path in "[a-z]{1,5}(/[a-z]{1,5}){0,3}", which in any::<u32>()) {
        // Any of the characters written as an escape, in either case: the same place.
        let hidden: String = path
            .char_indices()
            .map(|(at, letter)| match (which >> (at % 32)) & 1 {
                1 if letter != '/' => format!("%{:02x}", u32::from(letter)),
                _ => letter.to_string(),
            })
            .collect();
        let plain = normalise(&format!("file:///{path}"));
        prop_assert!(plain.is_ok());
        prop_assert_eq!(normalise(&format!("file:///{hidden}")), plain);
    }
}
