//! Pages and acts of the console: one table of paths.

use http::Method;

/// Place a request leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    /// The first page.
    Home,
    /// The stylesheet.
    Style,
    /// The script.
    Script,
    /// The form of a login.
    LoginPage,
    /// A login.
    Login,
    /// The end of a session.
    Logout,
    /// Approvals.
    Inbox,
    /// One approval.
    Approval(String),
    /// A decision over one.
    Decide(String),
    /// The end of one.
    Revoke(String),
    /// Kills, and the form of a new one.
    Kills,
    /// The reach of a kill that is not set.
    Preview,
    /// A new kill.
    SetKill,
    /// The end of a kill.
    ClearKill(String),
    /// Sessions of callers.
    Sessions,
    /// Servers.
    Servers,
    /// Readiness.
    Readiness,
    /// Policy.
    Policy,
    /// A search in the audit log.
    Audit,
    /// Decisions as they are made.
    Decisions,
}

/// Reason there is nothing at a path by a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// There is no such page.
    Path,
    /// There is, by this method.
    Method(&'static str),
}

const READ: &str = "GET, HEAD";
const POST: &str = "POST";

impl Route {
    /// Whether the console answers at `path`.
    pub(crate) fn is_ours(path: &str) -> bool {
        matches!(path, "/" | "/console") || path.starts_with("/console/")
    }

    /// The route of `path` by `method`.
    pub(crate) fn at(method: &Method, path: &str) -> Result<Self, Missing> {
        let is_read = matches!(*method, Method::GET | Method::HEAD);
        let is_post = *method == Method::POST;
        let read = |route: Self| is_read.then_some(route).ok_or(Missing::Method(READ));
        let post = |route: Self| is_post.then_some(route).ok_or(Missing::Method(POST));
        let inner = path.strip_prefix("/console").unwrap_or(path);
        match inner {
            "" | "/" => read(Self::Home),
            "/console.css" => read(Self::Style),
            "/console.js" => read(Self::Script),
            "/login" if is_post => Ok(Self::Login),
            "/login" => read(Self::LoginPage),
            "/logout" => post(Self::Logout),
            "/approvals" => read(Self::Inbox),
            "/kills" if is_post => Ok(Self::SetKill),
            "/kills" => read(Self::Kills),
            "/kills/preview" => post(Self::Preview),
            "/sessions" => read(Self::Sessions),
            "/servers" => read(Self::Servers),
            "/readiness" => read(Self::Readiness),
            "/policy" => read(Self::Policy),
            "/audit" => read(Self::Audit),
            "/decisions" => read(Self::Decisions),
            _ => {
                let mut parts = inner.split('/').skip(1);
                let (kind, id, act) = (parts.next(), parts.next(), parts.next());
                let id = id.filter(|id| is_id(id)).ok_or(Missing::Path)?;
                let id = id.to_owned();
                match (kind, act, parts.next()) {
                    (Some("approvals"), None, None) => read(Self::Approval(id)),
                    (Some("approvals"), Some("decision"), None) => post(Self::Decide(id)),
                    (Some("approvals"), Some("revocation"), None) => post(Self::Revoke(id)),
                    (Some("kills"), Some("clear"), None) => post(Self::ClearKill(id)),
                    (Some(_) | None, Some(_) | None, Some(_) | None) => Err(Missing::Path),
                }
            }
        }
    }
}

impl Route {
    /// Whether it changes something. A preview of a kill is on record as a drill and changes nothing; a logout may come from
    /// anybody who has the cookie.
    pub(crate) fn is_act(&self) -> bool {
        match self {
            Self::Decide(_) | Self::Revoke(_) | Self::SetKill | Self::ClearKill(_) => true,
            Self::Home
            | Self::Style
            | Self::Script
            | Self::LoginPage
            | Self::Login
            | Self::Logout
            | Self::Inbox
            | Self::Approval(_)
            | Self::Kills
            | Self::Preview
            | Self::Sessions
            | Self::Servers
            | Self::Readiness
            | Self::Policy
            | Self::Audit
            | Self::Decisions => false,
        }
    }

    /// Path of the page that has the form of an act, with the query the form was sent with.
    pub(crate) fn form_page(&self, query: Option<&str>) -> String {
        let page = match self {
            Self::Decide(id) | Self::Revoke(id) => format!("/console/approvals/{id}"),
            Self::Kills | Self::Preview | Self::SetKill | Self::ClearKill(_) => {
                "/console/kills".to_owned()
            }
            Self::Home
            | Self::Style
            | Self::Script
            | Self::LoginPage
            | Self::Login
            | Self::Logout
            | Self::Inbox
            | Self::Approval(_)
            | Self::Sessions
            | Self::Servers
            | Self::Readiness
            | Self::Policy
            | Self::Audit
            | Self::Decisions => "/console".to_owned(),
        };
        match query {
            Some(query) => format!("{page}?{query}"),
            None => page,
        }
    }
}

/// Whether a part of a path can be an id of ours.
fn is_id(id: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !id.is_empty() && id.len() <= 64 && id.bytes().all(is_plain)
}

/// The path of a page that a login leads back to: one of ours, with its query, and nothing else. A link that leaves the console
/// would send a person who has just logged in to a page of somebody else.
pub(crate) fn page_after_login(path_and_query: &str) -> &str {
    const HOME: &str = "/console";
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/_-.~?=&%".contains(&byte);
    let path = path_and_query.split('?').next().unwrap_or_default();
    let is_page = path_and_query.len() <= 1024
        && path_and_query.bytes().all(is_plain)
        && Route::is_ours(path)
        && Route::at(&Method::GET, path).is_ok();
    if is_page { path_and_query } else { HOME }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_they_should_and_reads_change_nothing() {
        for (method, path, expected) in [
            ("GET", "/", Ok(Route::Home)),
            ("HEAD", "/console", Ok(Route::Home)),
            (
                "GET",
                "/console/approvals/ap_1",
                Ok(Route::Approval("ap_1".to_owned())),
            ),
            (
                "POST",
                "/console/approvals/ap_1/decision",
                Ok(Route::Decide("ap_1".to_owned())),
            ),
            (
                "GET",
                "/console/approvals/ap_1/decision",
                Err(Missing::Method(POST)),
            ),
            ("GET", "/console/kills/preview", Err(Missing::Method(POST))),
            (
                "GET",
                "/console/kills/k_1/clear",
                Err(Missing::Method(POST)),
            ),
            ("GET", "/console/logout", Err(Missing::Method(POST))),
            ("DELETE", "/console/kills", Err(Missing::Method(READ))),
            ("GET", "/console/approvals/..%2f", Err(Missing::Path)),
            ("GET", "/console/approvals/a/b", Err(Missing::Path)),
            ("GET", "/console/approvals/a/decision/c", Err(Missing::Path)),
            ("GET", "/console/none", Err(Missing::Path)),
            ("GET", "/console//approvals", Err(Missing::Path)),
        ] {
            let method = method.parse().unwrap();
            assert_eq!(Route::at(&method, path), expected, "{method} {path}");
        }
        assert!(!Route::is_ours("/consoles") && !Route::is_ours("/api/v1/kills"));
    }

    #[test]
    fn a_login_leads_to_a_page_of_ours() {
        for (next, page) in [
            (
                "/console/approvals/ap_1?tenant=a",
                "/console/approvals/ap_1?tenant=a",
            ),
            ("/console/sessions", "/console/sessions"),
            ("//evil.example/console", "/console"),
            ("https://evil.example", "/console"),
            ("/\\evil.example", "/console"),
            ("/console/logout", "/console"),
            ("/console/../x", "/console"),
            ("/console/sessions\r\nx: y", "/console"),
            ("", "/console"),
        ] {
            assert_eq!(page_after_login(next), page, "{next}");
        }
    }
}
