//! The address for messages that a server names in its `endpoint` event: a reference (RFC 3986 §4.1) relative to the address
//! of the stream. Only the same origin is accepted, or the server would choose who gets the calls and the credential.

use http::{Uri, uri::PathAndQuery};

/// Most bytes of an address.
const MAX_BYTES: usize = 8 * 1024;

/// Reason that an address is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, host or port.
    #[error("the address for messages is on another origin")]
    Origin,
    /// No address, or one that readers take for different ones.
    #[error("the address for messages is malformed")]
    Malformed,
}

/// The path and query of the address that `reference` names, seen from `base`.
pub(super) fn resolve(base: &Uri, reference: &str) -> Result<PathAndQuery, AddressError> {
    let reference = reference.split('#').next().unwrap_or_default();
    // Browsers take `\` for `/` and drop control characters; other readers do neither.
    let odd = |byte: u8| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'"' | b'<' | b'>');
    if reference.is_empty() || reference.len() > MAX_BYTES || reference.bytes().any(odd) {
        return Err(AddressError::Malformed);
    }
    let own = base.path_and_query().map_or("/", PathAndQuery::as_str);
    let own_path = own.split('?').next().unwrap_or_default();
    let (path, query) = match after_authority(base, reference)? {
        Some(rest) => split(rest),
        None if reference.starts_with('/') => split(reference),
        None if reference.starts_with('?') => {
            let (_, query) = split(reference);
            return whole(own_path, query);
        }
        None => {
            let (path, query) = split(reference);
            let directory = own_path
                .rfind('/')
                .map_or("/", |end| own_path.get(..=end).unwrap_or("/"));
            return whole(&without_dots(&format!("{directory}{path}")), query);
        }
    };
    whole(&without_dots(path), query)
}

/// The text behind scheme and authority, if the reference names them: those of `base`, or it is another origin's.
fn after_authority<'a>(base: &Uri, reference: &'a str) -> Result<Option<&'a str>, AddressError> {
    let base_scheme = base.scheme_str().unwrap_or_default();
    let (scheme, rest) = match scheme(reference) {
        Some((scheme, rest)) => (scheme, rest),
        None if reference.starts_with("//") => (base_scheme, reference),
        None => return Ok(None),
    };
    if !scheme.eq_ignore_ascii_case(base_scheme) {
        return Err(AddressError::Origin);
    }
    // `https:/path` and `https:path` mean one thing to browsers and another to RFC 3986.
    let rest = rest.strip_prefix("//").ok_or(AddressError::Malformed)?;
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(AddressError::Malformed);
    }
    let named: Uri = format!("{}://{authority}/", scheme.to_ascii_lowercase())
        .parse()
        .map_err(|_invalid| AddressError::Malformed)?;
    if origin(&named) != origin(base) {
        return Err(AddressError::Origin);
    }
    Ok(Some(after))
}

/// Scheme, host and port.
fn origin(uri: &Uri) -> (Option<String>, Option<String>, Option<u16>) {
    let scheme = uri.scheme_str().map(str::to_ascii_lowercase);
    let standard = match scheme.as_deref() {
        Some("http") => Some(80),
        Some("https") => Some(443),
        Some(_) | None => None,
    };
    let host = uri.host().map(str::to_ascii_lowercase);
    (scheme, host, uri.port_u16().or(standard))
}

/// The scheme of an absolute reference, and what follows its colon.
fn scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let is_scheme = scheme
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic());
    is_scheme.then_some((scheme, rest))
}

fn split(reference: &str) -> (&str, Option<&str>) {
    match reference.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (reference, None),
    }
}

fn whole(path: &str, query: Option<&str>) -> Result<PathAndQuery, AddressError> {
    let path = if path.is_empty() { "/" } else { path };
    let text = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    text.parse().map_err(|_invalid| AddressError::Malformed)
}

/// The path without its `.` and `..` (RFC 3986 §5.2.4).
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let segments = path.strip_prefix('/').unwrap_or(path);
    let ends_in_dots = matches!(segments.rsplit('/').next(), Some("." | ".."));
    for segment in segments.split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => kept.push(other),
        }
    }
    let end = if ends_in_dots && !kept.is_empty() {
        "/"
    } else {
        ""
    };
    format!("/{}{end}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::{AddressError, resolve};

    #[test]
    fn addresses_of_the_same_origin_are_resolved_and_others_refused() {
        use AddressError::{Malformed, Origin};
        let base = "https://crm.example/v1/sse?project=7";
        let long = format!("/{}", "x".repeat(9000));
        for (reference, expected) in [
            ("/messages?sessionId=1", Ok("/messages?sessionId=1")),
            ("messages/?session_id=1", Ok("/v1/messages/?session_id=1")),
            ("../m", Ok("/m")),
            ("../../../m/.", Ok("/m/")),
            ("/a/./b/../c", Ok("/a/c")),
            ("?sessionId=1", Ok("/v1/sse?sessionId=1")),
            ("/m#there", Ok("/m")),
            ("https://crm.example/m?s=1", Ok("/m?s=1")),
            ("HTTPS://CRM.example:443/m", Ok("/m")),
            ("https://crm.example?s=1", Ok("/?s=1")),
            ("//crm.example/m", Ok("/m")),
            ("m:n", Err(Origin)),
            ("http://crm.example/m", Err(Origin)),
            ("https://crm.example:8443/m", Err(Origin)),
            ("https://crm.example.evil.example/m", Err(Origin)),
            ("https://evil.example/m", Err(Origin)),
            ("//evil.example/m", Err(Origin)),
            ("file:///etc/passwd", Err(Origin)),
            ("javascript:1", Err(Origin)),
            ("https://user@crm.example/m", Err(Malformed)),
            ("https://crm.example@evil.example/m", Err(Malformed)),
            ("https:/evil.example/m", Err(Malformed)),
            ("https:m", Err(Malformed)),
            ("https:///m", Err(Malformed)),
            ("/\\evil.example/m", Err(Malformed)),
            ("\\\\evil.example/m", Err(Malformed)),
            ("/m\r\nHost: evil", Err(Malformed)),
            ("/m x", Err(Malformed)),
            ("/m\u{e4}", Err(Malformed)),
            ("", Err(Malformed)),
            ("#m", Err(Malformed)),
            (&long, Err(Malformed)),
        ] {
            let resolved = resolve(&base.parse().unwrap(), reference);
            let resolved = resolved.as_ref().map(|path| path.as_str());
            assert_eq!(resolved, expected.as_ref().copied(), "{reference}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        use AddressError::Origin;
        for (base, reference, expected) in [
            (
                "http://127.0.0.1:8080/sse",
                "http://127.0.0.1:8080/m",
                Ok("/m"),
            ),
            (
                "http://127.0.0.1:8080/sse",
                "http://localhost:8080/m",
                Err(&Origin),
            ),
            ("http://[::1]:8080/sse", "http://[::1]:8080/m", Ok("/m")),
            (
                "http://crm.example:80/sse",
                "http://crm.example/m",
                Ok("/m"),
            ),
            ("http://crm.example", "m", Ok("/m")),
        ] {
            let resolved = resolve(&base.parse().unwrap(), reference);
            assert_eq!(
                resolved.as_ref().map(|path| path.as_str()),
                expected,
                "{base} {reference}"
            );
        }
    }
}
