//! A server on the network.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;
use url::Url;
use zeroize::Zeroizing;

use super::{Reach, Reason, Scope, Server, short};
use crate::import::json::{Node, Value};
use crate::import::secrets::{
    Form, Origin, Secret, is_secret, is_secret_name, looks_secret, without_steps,
};
use crate::import::variables::{Piece, pieces};

/// Reads a server with a URL.
pub(super) fn read(node: &Node, url: &Node, scope: Scope<'_>) -> Result<Server, Reason> {
    let written = url.text().ok_or("has a URL that is no text")?;
    let kind = node.get("type").or_else(|| node.get("transport"));
    let form = match kind.and_then(Node::text) {
        // A client without types tries both transports; the usual path of the older one decides.
        None if is_sse_path(written) => "sse",
        None | Some("http" | "streamable-http" | "streamableHttp" | "streamable_http") => "url",
        Some("sse") => "sse",
        Some(other) => return Err(format!("has a type that is not known: `{}`", short(other))),
    };
    let mut read = Remote {
        scope,
        secrets: Vec::new(),
        notes: Vec::new(),
    };
    let url = read.url(written)?;
    let headers = read.headers(node)?;
    for key in ["oauth", "auth"] {
        if node.get(key).is_some() {
            let note = "the client logs in to it: write a `credential` the gateway uses instead";
            read.notes.push(note.to_owned());
        }
    }
    if node.get("headersHelper").is_some() {
        return Err("gets its headers from a program of the client's".to_owned());
    }
    Ok(Server {
        reach: Reach::Url { form, url, headers },
        secrets: read.secrets,
        notes: read.notes,
        disabled_tools: BTreeSet::new(),
    })
}

/// Whether the path of a URL ends as event streams of HTTP+SSE do.
fn is_sse_path(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/').ends_with("/sse")
}

struct Remote<'a> {
    scope: Scope<'a>,
    secrets: Vec<Secret>,
    notes: Vec<String>,
}

impl Remote<'_> {
    /// The URL without its secrets.
    fn url(&mut self, written: &str) -> Result<String, Reason> {
        let (written, fragment) = match written.split_once('#') {
            Some((url, _)) => (url, true),
            None => (written, false),
        };
        if fragment {
            self.notes
                .push("the fragment of its URL is left out".to_owned());
        }
        let (base, query) = match written.split_once('?') {
            Some((base, query)) => (base, query),
            None => (written, ""),
        };
        let base = self.scope.render(base, None)?;
        let mut url = Url::parse(&base).map_err(|_error| "has a URL that cannot be read")?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!(
                "has a URL that is neither http nor https: `{}`",
                url.scheme()
            ));
        }
        self.user(&mut url)?;
        if without_steps(url.as_str()) != url.as_str() {
            let note = "a step of its URL's path looks like a secret, and stays in keepgate.yaml";
            self.notes.push(note.to_owned());
        }
        let query = self.query(query)?;
        url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
        Ok(url.into())
    }

    /// A user and a password before the host.
    fn user(&mut self, url: &mut Url) -> Result<(), Reason> {
        if url.username().is_empty() && url.password().is_none() {
            return Ok(());
        }
        let decoded = |text: &str| {
            let encoded = format!("x={}", text.replace('+', "%2B"));
            let mut pairs = url::form_urlencoded::parse(encoded.as_bytes());
            pairs
                .next()
                .map(|(_, value)| value.into_owned())
                .unwrap_or_default()
        };
        let user = decoded(url.username());
        let password = decoded(url.password().unwrap_or_default());
        if user.is_empty() || password.is_empty() {
            return Err("has a user or a password in its URL, but not both".to_owned());
        }
        self.secrets.push(Secret {
            form: Form::Basic(user),
            origin: Origin::Text(Zeroizing::new(password)),
        });
        let cleared = url.set_username("").and_then(|()| url.set_password(None));
        cleared.map_err(|()| "has a URL that cannot be read".to_owned())
    }

    /// The parameters that are no secrets.
    fn query(&mut self, query: &str) -> Result<String, Reason> {
        let mut plain = url::form_urlencoded::Serializer::new(String::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let parts = pieces(&value);
            let rendered = self.scope.render(&value, None);
            // By the value itself, too: a variable may hold an address with a password.
            let secret = is_secret(&name, &value)
                || rendered.as_ref().is_ok_and(|text| looks_secret(text))
                || parts.iter().any(|part| self.scope.is_secret(part));
            if secret {
                self.secrets.push(Secret {
                    form: Form::Query(name.into_owned()),
                    origin: self.scope.origin(&value)?,
                });
            } else {
                plain.append_pair(&name, &rendered?);
            }
        }
        Ok(plain.finish())
    }

    /// The header lines that are no secrets.
    fn headers(&mut self, node: &Node) -> Result<BTreeMap<String, String>, Reason> {
        let mut lines = BTreeMap::new();
        let Some(headers) = node.get("headers") else {
            return Ok(lines);
        };
        if !matches!(headers.value, Value::Map(_) | Value::Null) {
            return Err("has `headers` that are no object".to_owned());
        }
        for member in headers.members() {
            let name = &member.key;
            let value = member.node.scalar();
            let value =
                value.ok_or_else(|| format!("has a header that is no text: `{}`", short(name)))?;
            let parsed = HeaderName::from_bytes(name.as_bytes());
            let parsed =
                parsed.map_err(|_error| format!("has a header that is none: `{}`", short(name)))?;
            let parts = pieces(&value);
            let is_variable =
                |part: &Piece| matches!(part, Piece::Variable { .. } | Piece::Input(_));
            if value.contains("KEEPGATE_KEY") || value.contains("input:keepgate-key") {
                return Err("goes through Keepgate already".to_owned());
            }
            let rendered = self.scope.render(&value, None);
            let secret = parsed == http::header::AUTHORIZATION
                || rendered.as_ref().is_ok_and(|text| looks_secret(text))
                || is_secret(name, &value)
                || is_secret_name(name)
                || parts
                    .iter()
                    .any(|part| is_variable(part) && self.scope.is_secret(part));
            if secret {
                self.secrets.push(self.scope.header_secret(name, &value)?);
            } else if crate::config::is_reserved_header(&parsed) {
                self.notes.push(format!(
                    "the header `{name}` is left out: the gateway writes it itself"
                ));
            } else {
                lines.insert(name.clone(), rendered?);
            }
        }
        Ok(lines)
    }
}
