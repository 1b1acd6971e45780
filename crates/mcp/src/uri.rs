//! Resource URIs, normalised for judging: one spelling for all that a server would read as the same place.
//!
//! A server reads the URI as it was sent; a policy sees this form. So the form must never look more harmless than any
//! reading of the original. Where readings differ (double encoding, backslashes, paths that climb above their root, schemes
//! whose slashes parsers repair) the URI is refused, not repaired.

#[cfg(test)]
mod tests;

use percent_encoding::percent_decode_str;
use thiserror::Error;

use crate::host::Host;

/// The longest URI we judge, in bytes.
pub const MAX_URI: usize = 8192;

/// A URI as a policy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// Lower case, without the colon.
    pub scheme: String,
    /// Lower case and decoded, without user information; with the port. Where browsers know the scheme, in their one spelling:
    /// addresses as such, names in ASCII without a dot at the end, no port that is the scheme's own. Empty if there is none,
    /// and for `localhost` of the `file` scheme.
    pub authority: String,
    /// The host within it, as browsers read it, and where it leads; none where they would refuse it.
    pub host: Option<Host>,
    /// The port within it, or the scheme's own.
    pub port: Option<u16>,
    /// Decoded segments without `.`, `..` and empty ones. An encoded slash separates like a plain one.
    pub segments: Vec<String>,
    /// What follows the first `?`; only letters, digits and `-._~` are decoded.
    pub query: Option<String>,
    /// What follows the first `#`, decoded like the query.
    pub fragment: Option<String>,
    /// All of it in one text. In the path only `%`, `?`, `#` and space of any kind are encoded.
    pub text: String,
}

/// A URI that could be read in two ways, or is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UriError {
    /// No scheme, or parts a URI may not have.
    #[error("not an absolute URI")]
    Malformed,
    /// Longer than [`MAX_URI`].
    #[error("URI is too long")]
    TooLong,
    /// `%` without two hexadecimal digits, or bytes that do not decode to UTF-8.
    #[error("invalid percent-encoding")]
    Encoding,
    /// What decodes to yet another escape.
    #[error("doubly encoded")]
    DoublyEncoded,
    /// NUL or another control character, encoded or not.
    #[error("control character")]
    ControlCharacter,
    /// A backslash, encoded or not: some servers read it as a slash.
    #[error("backslash")]
    Backslash,
    /// More `..` than segments, or dots where no path is.
    #[error("path climbs above its root")]
    Climbs,
}

/// Schemes whose URIs parsers repair when slashes are missing or too many (WHATWG URL "special schemes"), and their ports.
const REPAIRED: [(&str, u16); 5] = [
    ("http", 80),
    ("https", 443),
    ("ws", 80),
    ("wss", 443),
    ("ftp", 21),
];

/// Normalises a resource URI or URI template.
///
/// # Errors
/// What is ambiguous is refused, never repaired.
pub fn normalise(uri: &str) -> Result<Uri, UriError> {
    if uri.len() > MAX_URI {
        return Err(UriError::TooLong);
    }
    // Parsers strip these.
    if uri.trim() != uri {
        return Err(UriError::Malformed);
    }
    let (scheme, rest) = split_scheme(uri)?;
    let (rest, fragment) = cut(rest, '#');
    let (rest, query) = cut(rest, '?');
    let (authority, path) = match rest.strip_prefix("//") {
        Some(rest) => match rest.split_at_checked(rest.find('/').unwrap_or(rest.len())) {
            Some((authority, path)) => (Some(authority), path),
            None => return Err(UriError::Malformed),
        },
        None => (None, rest),
    };
    let is_file = scheme == "file";
    if authority.is_none() && is_file && !path.starts_with('/') {
        return Err(UriError::Malformed);
    }
    let host = normal_authority(authority.unwrap_or_default(), is_file)?;
    let repaired = REPAIRED.iter().find(|(known, _)| *known == scheme);
    if host.is_empty() && repaired.is_some() {
        return Err(UriError::Malformed);
    }
    let reached = reached(host, repaired.map(|(_, port)| *port))?;
    let segments = normal_path(path)?;
    let query = query.map(normal_tail).transpose()?;
    let fragment = fragment.map(normal_tail).transpose()?;
    let slashes = match authority {
        _ if !reached.authority.is_empty() => "//",
        None if !path.starts_with('/') => "",
        None if !is_file => "/",
        Some(_) | None => "///",
    };
    let mut normal = Uri {
        scheme,
        authority: reached.authority,
        host: reached.host,
        port: reached.port,
        segments,
        query,
        fragment,
        text: String::new(),
    };
    normal.text = normal.write(slashes);
    Ok(normal)
}

impl Uri {
    /// The decoded path, `/` between segments and in front.
    pub fn path(&self) -> String {
        format!("/{}", self.segments.join("/"))
    }

    fn write(&self, slashes: &str) -> String {
        let mut text = format!("{}:", self.scheme);
        if slashes == "//" {
            text.push_str(slashes);
            push_encoded(&mut text, &self.authority);
            if !self.segments.is_empty() {
                text.push('/');
            }
        } else {
            text.push_str(slashes);
        }
        for (place, segment) in self.segments.iter().enumerate() {
            if place > 0 {
                text.push('/');
            }
            push_encoded(&mut text, segment);
        }
        for (mark, part) in [('?', &self.query), ('#', &self.fragment)] {
            if let Some(part) = part {
                text.push(mark);
                text.push_str(part);
            }
        }
        text
    }
}

/// Encodes what would be read as something else than text.
fn push_encoded(text: &mut String, part: &str) {
    for character in part.chars() {
        match character {
            '%' => text.push_str("%25"),
            '?' => text.push_str("%3F"),
            '#' => text.push_str("%23"),
            // At an end it would be lost, and U+00A0 looks like another space.
            space if space.is_whitespace() => {
                for byte in space.encode_utf8(&mut [0; 4]).bytes() {
                    text.push_str(&format!("%{byte:02X}"));
                }
            }
            other => text.push(other),
        }
    }
}

fn split_scheme(uri: &str) -> Result<(String, &str), UriError> {
    let (scheme, rest) = uri.split_once(':').ok_or(UriError::Malformed)?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic()) || !scheme.bytes().all(legal)
    {
        return Err(UriError::Malformed);
    }
    Ok((scheme.to_ascii_lowercase(), rest))
}

fn cut(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Decoded once, with everything refused that decodes to a surprise.
fn decoded(part: &str) -> Result<String, UriError> {
    if escapes(part).any(|digits| digits.is_none()) {
        return Err(UriError::Encoding);
    }
    let text = percent_decode_str(part)
        .decode_utf8()
        .map_err(|_| UriError::Encoding)?
        .into_owned();
    if text.contains(char::is_control) {
        return Err(UriError::ControlCharacter);
    }
    if text.contains('\\') {
        return Err(UriError::Backslash);
    }
    if escapes(&text).any(|digits| digits.is_some()) {
        return Err(UriError::DoublyEncoded);
    }
    Ok(text)
}

/// For each `%`: the byte its two digits spell, or nothing if they are none.
fn escapes(text: &str) -> impl Iterator<Item = Option<u8>> + '_ {
    text.match_indices('%').map(|(at, _)| {
        let digits = text.get(at + 1..at + 3)?;
        let legal = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        legal.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
    })
}

fn normal_authority(authority: &str, is_file: bool) -> Result<String, UriError> {
    let host = match authority.rsplit_once('@') {
        Some((user, _)) if user.contains('@') => return Err(UriError::Malformed),
        Some((user, host)) => {
            decoded(user)?;
            host
        }
        None => authority,
    };
    let host = decoded(host)?.to_lowercase();
    if host.contains(['/', '?', '#', '@']) {
        return Err(UriError::Malformed);
    }
    // Servers that cut the scheme off and join the rest to a folder read these as a step up.
    if is_dots(&host) {
        return Err(UriError::Climbs);
    }
    Ok(if is_file && host == "localhost" {
        String::new()
    } else {
        host
    })
}

/// The parts of an authority.
struct Reached {
    authority: String,
    host: Option<Host>,
    port: Option<u16>,
}

/// Reads host and port. With a scheme browsers know (`standard` is its port) the authority gets their one spelling, and what
/// they refuse is refused; with another it stays as it is, since its server may mean a name of its own, and `host` is what
/// a client would make of it.
fn reached(authority: String, standard: Option<u16>) -> Result<Reached, UriError> {
    // The colons of an IPv6 address are in brackets.
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        Some(_) | None => (authority.as_str(), None),
    };
    let host = Host::read(name);
    let given: Option<u16> = match port {
        Some("") | None => None,
        Some(port) => match port.parse() {
            Ok(number) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(number),
            Ok(_) | Err(_) if standard.is_some() => return Err(UriError::Malformed),
            Ok(_) | Err(_) => None,
        },
    };
    let spelled = match (standard, &host) {
        (Some(_), None) if !authority.is_empty() => return Err(UriError::Malformed),
        (Some(standard), Some(host)) => match given.filter(|port| *port != standard) {
            Some(port) => format!("{}:{port}", host.name),
            None => host.name.clone(),
        },
        (Some(_), None) | (None, _) => authority,
    };
    Ok(Reached {
        authority: spelled,
        host,
        port: given.or(standard),
    })
}

/// `.` or `..`, or either with a parameter behind (`..;x`), which some servers cut off.
fn is_dots(segment: &str) -> bool {
    let bare = segment.split(';').next().unwrap_or_default();
    bare == "." || bare == ".."
}

/// RFC 3986 §5.2.4 after decoding; a step above the root is refused instead of ignored.
fn normal_path(path: &str) -> Result<Vec<String>, UriError> {
    let text = decoded(path)?;
    let hidden_slash = escapes(path).any(|byte| byte == Some(b'/'));
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split('/').filter(|segment| !segment.is_empty()) {
        if !is_dots(segment) {
            segments.push(segment.to_owned());
            continue;
        }
        // With an encoded slash around, servers disagree on what the dots step over.
        if hidden_slash || segment.contains(';') {
            return Err(UriError::Climbs);
        }
        if segment == ".." && segments.pop().is_none() {
            return Err(UriError::Climbs);
        }
    }
    Ok(segments)
}

/// A query or fragment: judged decoded, kept with only the unreserved characters decoded and digits in upper case
/// (RFC 3986 §6.2.2), since `&` and `%26` differ there.
fn normal_tail(part: &str) -> Result<String, UriError> {
    decoded(part)?;
    let mut out = String::with_capacity(part.len());
    let mut rest = part;
    while let Some((plain, escape)) = rest.find('%').and_then(|at| rest.split_at_checked(at)) {
        out.push_str(plain);
        let byte = escapes(escape).next().flatten().ok_or(UriError::Encoding)?;
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        rest = escape.get(3..).unwrap_or_default();
    }
    out.push_str(rest);
    Ok(out)
}
