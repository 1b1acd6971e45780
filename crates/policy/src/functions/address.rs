//! URLs in arguments, read as the client that fetches them reads them.

use keepgate_mcp::host::{Location, locate};
use regorus::Value;
use regorus::value::Object;

use super::{Answer, text_at};

/// Longest URL that is read.
const MAX_URL: usize = 8192;

/// `net.url`: where a URL leads. What is none has `ok: false` and the class `invalid`; one without a host has the class `none`.
pub(super) fn url(values: &[Value]) -> Answer {
    let text = text_at(values, 0, usize::MAX)?;
    let found = (text.len() <= MAX_URL).then(|| locate(text)).flatten();
    let mut told = Object::new();
    let mut put = |key: &str, value: Value| {
        told.insert(Value::from(key), value);
    };
    put("ok", Value::Bool(found.is_some()));
    let Some(Location {
        text,
        scheme,
        host,
        port,
        userinfo,
        path,
    }) = found
    else {
        put("address_class", Value::from("invalid"));
        return Ok(told.into_value());
    };
    put("url", Value::from(text.as_str()));
    put("scheme", Value::from(scheme.as_str()));
    put("path", Value::from(path.as_str()));
    put("userinfo", Value::Bool(userinfo));
    match host {
        Some(host) => {
            put("host", Value::from(host.name.as_str()));
            put("address_class", Value::from(host.class.as_str()));
        }
        None => put("address_class", Value::from("none")),
    }
    if let Some(port) = port {
        put("port", Value::from(u64::from(port)));
    }
    Ok(told.into_value())
}

#[cfg(test)]
mod tests {
    use regorus::Value;

    use super::super::tests::evaluated;

    fn told(text: &str, member: &str) -> Option<String> {
        let input = Value::from(text);
        let answer = evaluated(&format!("net.url(input).{member}"), input).unwrap();
        (answer != Value::Undefined).then(|| answer.to_string())
    }

    #[test]
    fn a_url_is_told_as_the_client_that_fetches_it_reads_it() {
        for (url, host, class, port) in [
            ("http://127.0.0.1:80/x", "127.0.0.1", "loopback", 80),
            ("http://2130706433/x", "127.0.0.1", "loopback", 80),
            ("http://0x7f.0.0.1./x", "127.0.0.1", "loopback", 80),
            (
                "http://[::ffff:169.254.169.254]/x",
                "169.254.169.254",
                "metadata",
                80,
            ),
            (
                "https://good.example@10.0.0.1:8443/",
                "10.0.0.1",
                "private",
                8443,
            ),
            ("HTTPS://Example.COM./", "example.com", "name", 443),
            ("https://1.1.1.1/", "1.1.1.1", "public", 443),
        ] {
            assert_eq!(told(url, "host"), Some(format!("\"{host}\"")), "{url}");
            assert_eq!(
                told(url, "address_class"),
                Some(format!("\"{class}\"")),
                "{url}"
            );
            assert_eq!(told(url, "port"), Some(port.to_string()), "{url}");
            assert_eq!(told(url, "ok").as_deref(), Some("true"));
        }
        let user = told("https://a:b@example.com/../x?q#f", "userinfo");
        assert_eq!(user.as_deref(), Some("true"));
        let url = told("https://a:b@example.com/../x?q#f", "url");
        assert_eq!(url.as_deref(), Some("\"https://example.com/x?q#f\""));
    }

    #[test]
    fn what_is_no_url_has_a_class_of_its_own() {
        for (text, class, ok) in [
            ("127.0.0.1/x", "invalid", "false"),
            ("//127.0.0.1/x", "invalid", "false"),
            ("", "invalid", "false"),
            ("http://256.0.0.1/", "invalid", "false"),
            ("mailto:a@example.com", "none", "true"),
            ("file:///etc/passwd", "none", "true"),
        ] {
            assert_eq!(
                told(text, "address_class"),
                Some(format!("\"{class}\"")),
                "{text}"
            );
            assert_eq!(told(text, "ok").as_deref(), Some(ok), "{text}");
            assert_eq!(told(text, "host"), None, "{text}");
        }
        let long = format!("https://example.com/{}", "x".repeat(10_000));
        assert_eq!(told(&long, "ok").as_deref(), Some("false"));
        assert!(evaluated("net.url(input)", Value::from(7_u64)).is_err());
    }
}
