//! The pages: what each path answers once it is known that the asker may see it.

use http::StatusCode;
use serde::Serialize;

use crate::source::{Part, Source};

/// Description of the API for machines (OpenAPI 3.1).
const OPENAPI: &str = include_str!("openapi.json");

/// A page that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Page {
    /// Whether the process answers.
    Live,
    /// Whether calls can be served.
    Ready,
    /// All meters.
    Metrics,
    /// The inventory.
    Servers,
    /// The sessions.
    Sessions,
    /// The processes of servers.
    Processes,
    /// How the policies stand.
    PolicyStatus,
    /// The description of the API.
    OpenApi,
}

impl Page {
    /// Every page with its path.
    pub(crate) const ALL: [(&str, Self); 9] = [
        ("/healthz", Self::Live),
        ("/livez", Self::Live),
        ("/readyz", Self::Ready),
        ("/metrics", Self::Metrics),
        ("/api/v1/servers", Self::Servers),
        ("/api/v1/sessions", Self::Sessions),
        ("/api/v1/processes", Self::Processes),
        ("/api/v1/policy/status", Self::PolicyStatus),
        ("/api/v1/openapi.json", Self::OpenApi),
    ];

    /// The page at `path`.
    pub(crate) fn at(path: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == path)
            .map(|(_, page)| *page)
    }

    /// Whether everybody who reaches the listener may see it. Health checks have no token.
    pub(crate) fn is_public(self) -> bool {
        match self {
            Self::Live | Self::Ready => true,
            Self::Metrics
            | Self::Servers
            | Self::Sessions
            | Self::Processes
            | Self::PolicyStatus
            | Self::OpenApi => false,
        }
    }

    /// What the page says now.
    pub(crate) fn content(self, source: &impl Source) -> Content {
        match self {
            Self::Live => Content::text(StatusCode::OK, "ok\n".to_owned()),
            Self::Ready => ready(&source.parts()),
            Self::Metrics => Content {
                status: StatusCode::OK,
                form: "text/plain; version=0.0.4; charset=utf-8",
                body: source.metrics(),
            },
            Self::Servers => Content::json(
                StatusCode::OK,
                &Inventory {
                    servers: source.servers(),
                },
            ),
            Self::Sessions => {
                let mut sessions = source.sessions();
                let count = sessions.len();
                sessions.truncate(MOST_SESSIONS);
                Content::json(StatusCode::OK, &Sessions { count, sessions })
            }
            Self::Processes => {
                let mut processes = source.processes();
                let count = processes.len();
                processes.truncate(MOST_SESSIONS);
                Content::json(StatusCode::OK, &Processes { count, processes })
            }
            Self::PolicyStatus => Content::json(StatusCode::OK, &source.policy()),
            Self::OpenApi => Content {
                status: StatusCode::OK,
                form: "application/json",
                body: OPENAPI.to_owned(),
            },
        }
    }
}

/// The answer of `/api/v1/servers`.
#[derive(Serialize)]
struct Inventory {
    servers: Vec<crate::source::Server>,
}

/// Most sessions, or processes, that are shown; the count includes the others.
const MOST_SESSIONS: usize = 1000;

/// The answer of `/api/v1/sessions`.
#[derive(Serialize)]
struct Sessions {
    count: usize,
    sessions: Vec<crate::source::Session>,
}

/// The answer of `/api/v1/processes`.
#[derive(Serialize)]
struct Processes {
    count: usize,
    processes: Vec<crate::source::Process>,
}

/// What goes out.
pub(crate) struct Content {
    /// The status.
    pub(crate) status: StatusCode,
    /// The media type.
    pub(crate) form: &'static str,
    /// The body.
    pub(crate) body: String,
}

impl Content {
    /// A page for people and probes.
    fn text(status: StatusCode, body: String) -> Self {
        Self {
            status,
            form: "text/plain; charset=utf-8",
            body,
        }
    }

    /// A page for machines.
    pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        // None of the values here can fail to be written; an empty object would still be JSON.
        let body = serde_json::to_string(value).unwrap_or_else(|_| "{}".to_owned());
        Self {
            status,
            form: "application/json",
            body: body + "\n",
        }
    }
}

/// One line per part, and a status that load balancers understand.
fn ready(parts: &[Part]) -> Content {
    let ready = parts.iter().all(|part| part.ready);
    let mut body = format!("ready: {}\n", if ready { "yes" } else { "no" });
    for part in parts {
        let mark = if part.ready { "" } else { " (not ready)" };
        body.push_str(&format!("{}: {}{mark}\n", part.name, part.state));
    }
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Content::text(status, body)
}
