//! Where a request leads: one table of paths, methods and what each needs.

use http::Method;

use crate::{operators::Permission, page::Page, refused::Refused};

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// A page that is read.
    Page(Page),
    /// The kills.
    Kills,
    /// A new kill.
    Set,
    /// The end of a kill.
    Clear(String),
    /// What a kill would cut.
    Drill,
    /// Calls that wait for a decision, and what became of others.
    Approvals,
    /// One of them.
    Approval(String),
    /// A decision over one.
    Decide(String),
    /// The end of one.
    Revoke(String),
    /// A test message to a target of notifications.
    TestNotification(String),
}

/// Paths that are more than read, with their methods, as the description has them.
#[cfg(test)]
pub(crate) const ACTS: [(&str, &[&str]); 7] = [
    ("/api/v1/approvals", &["get"]),
    ("/api/v1/approvals/{id}", &["delete", "get"]),
    ("/api/v1/approvals/{id}/decision", &["post"]),
    ("/api/v1/kills", &["get", "post"]),
    ("/api/v1/kills/{id}", &["delete"]),
    ("/api/v1/kills/drill", &["post"]),
    ("/api/v1/notifications/{target}/test", &["post"]),
];

const READ: &str = "GET, HEAD";

impl Route {
    /// Where `path` leads by `method`; the methods it takes when this is none of them.
    pub(crate) fn at(method: &Method, path: &str) -> Result<Self, Refused> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if let Some(page) = Page::at(path) {
            return if reads {
                Ok(Self::Page(page))
            } else {
                Err(Refused::Method(READ))
            };
        }
        if let Some(rest) = path.strip_prefix("/api/v1/approvals") {
            return Self::approval(method, rest);
        }
        if let Some(rest) = path.strip_prefix("/api/v1/notifications/") {
            return Self::notification(method, rest);
        }
        let rest = path.strip_prefix("/api/v1/kills").ok_or(Refused::Path)?;
        match rest {
            "" if reads => Ok(Self::Kills),
            "" if *method == Method::POST => Ok(Self::Set),
            "" => Err(Refused::Method("GET, HEAD, POST")),
            "/drill" if *method == Method::POST => Ok(Self::Drill),
            "/drill" => Err(Refused::Method("POST")),
            _ => {
                let id = rest.strip_prefix('/').ok_or(Refused::Path)?;
                if !is_id(id) {
                    return Err(Refused::Path);
                }
                if *method == Method::DELETE {
                    Ok(Self::Clear(id.to_owned()))
                } else {
                    Err(Refused::Method("DELETE"))
                }
            }
        }
    }

    /// Route of an approval, by its path after the part that all of them have.
    fn approval(method: &Method, rest: &str) -> Result<Self, Refused> {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        if rest.is_empty() {
            return reads
                .then_some(Self::Approvals)
                .ok_or(Refused::Method(READ));
        }
        let rest = rest.strip_prefix('/').ok_or(Refused::Path)?;
        let (id, is_decision) = match rest.split_once('/') {
            None => (rest, false),
            Some((id, "decision")) => (id, true),
            Some(_) => return Err(Refused::Path),
        };
        if !is_id(id) {
            return Err(Refused::Path);
        }
        match (is_decision, method) {
            (true, &Method::POST) => Ok(Self::Decide(id.to_owned())),
            (true, _) => Err(Refused::Method("POST")),
            (false, &Method::DELETE) => Ok(Self::Revoke(id.to_owned())),
            (false, _) if reads => Ok(Self::Approval(id.to_owned())),
            (false, _) => Err(Refused::Method("GET, HEAD, DELETE")),
        }
    }

    /// Route of a target of notifications, by its path after the part that all of them have.
    fn notification(method: &Method, rest: &str) -> Result<Self, Refused> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let target = rest.strip_suffix("/test").ok_or(Refused::Path)?;
        if target.is_empty() || target.len() > 64 || !target.bytes().all(plain) {
            return Err(Refused::Path);
        }
        if *method == Method::POST {
            Ok(Self::TestNotification(target.to_owned()))
        } else {
            Err(Refused::Method("POST"))
        }
    }

    /// What the asker must be allowed; `None` for what everybody sees who reaches the listener.
    pub(crate) fn needs(&self) -> Option<Permission> {
        match self {
            Self::Page(page) if page.is_public() => None,
            Self::Page(_) | Self::Kills | Self::Approvals | Self::Approval(_) => {
                Some(Permission::Read)
            }
            Self::Decide(_) => Some(Permission::Approve),
            Self::Revoke(_) => Some(Permission::Revoke),
            Self::Set => Some(Permission::Set),
            Self::Clear(_) => Some(Permission::Clear),
            Self::Drill => Some(Permission::Drill),
            Self::TestNotification(_) => Some(Permission::Notify),
        }
    }
}

/// Whether a part of a path can be an id of ours.
fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !id.is_empty() && id.len() <= 64 && id.bytes().all(plain)
}
