//! The audit log: a search through its last records, and decisions as they are made.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use askama::Template;
use bytes::Bytes;
use http::{Response, StatusCode};
use keepgate_admin::{Refused, Source};
use keepgate_audit::{Entry, Found, SearchBounds, search};
use keepgate_mcp::json::{Limits, Raw, parse};

use super::{Answered, Desk, Frame, Nav, path_with};
use crate::{
    moment::{ago, moment},
    respond::page,
    text::Hostile,
    tree::Tree,
};

/// Records before the end of the log that are searched.
const RECORDS: u64 = 100_000;
/// Records among which decisions are looked for, again every few seconds.
const RECENT: u64 = 5_000;
/// Bytes that are read for a page; further ones for the next.
const BYTES: usize = 256 << 20;
/// Time a page reads.
const TIME: Duration = Duration::from_secs(5);
/// Records of a page.
const PAGE: usize = 50;
/// Words of a search.
const MAX_WORDS: usize = 8;
/// Seconds between two looks at decisions.
const REFRESH_S: u32 = 5;

/// Kinds of records, as they are chosen: word, name, and what the record's kind begins with.
const KINDS: [(&str, &str, &str); 7] = [
    ("", "All records", ""),
    ("calls", "Calls", "call."),
    ("approvals", "Approvals", "approval."),
    ("kills", "Kills", "kill."),
    ("sessions", "Sessions", "session."),
    ("logins", "Logins of operators", "operator."),
    ("rejections", "Rejected credentials", "auth."),
];

#[derive(Template)]
#[template(path = "audit.html")]
struct AuditPage {
    frame: Frame,
    /// Seconds after which the page is read again; none for a search.
    refresh: Option<u32>,
    text: String,
    kinds: Vec<KindOption>,
    rows: Vec<RecordRow>,
    is_cut: bool,
    is_first: bool,
    next: Option<String>,
}

struct KindOption {
    word: &'static str,
    name: &'static str,
    is_selected: bool,
}

struct RecordRow {
    index: u64,
    at: String,
    ago: String,
    kind: Hostile,
    caller: Option<Hostile>,
    place: Option<Hostile>,
    outcome: Option<Hostile>,
    class: &'static str,
    tree: Tree,
}

/// Records that are wanted.
struct Wanted {
    /// Begin of a member that they have, as records write it: a quote within a string is escaped.
    member: String,
    /// Words in lower case, as they are in JSON.
    words: Vec<String>,
}

impl Wanted {
    fn new(prefix: &str, text: &str) -> Self {
        let words = text.split_whitespace().take(MAX_WORDS);
        let words = words.map(|word| {
            let escaped = word.replace('\\', "\\\\").replace('"', "\\\"");
            escaped.to_ascii_lowercase()
        });
        Self {
            member: format!("\"kind\":\"{prefix}"),
            words: words.collect(),
        }
    }

    fn decisions() -> Self {
        Self {
            member: "\"decision\":\"".to_owned(),
            words: Vec::new(),
        }
    }

    fn matches(&self, json: &str) -> bool {
        if !json.contains(&self.member) {
            return false;
        }
        if self.words.is_empty() {
            return true;
        }
        let json = json.to_ascii_lowercase();
        self.words.iter().all(|word| json.contains(word))
    }
}

impl<S: Source> Desk<'_, S> {
    /// A search.
    pub(super) async fn audit(&self) -> Answered {
        let word = self.query.text("kind");
        let kind = KINDS.iter().find(|(known, ..)| *known == word);
        let (_, _, prefix) = kind.ok_or(Refused::Path)?;
        let before = self.query.given("before").map(str::parse).transpose();
        let before = before.map_err(|_not_a_number| Refused::Path)?;
        let text = self.query.text("text");
        let wanted = Wanted::new(prefix, text);
        let found = self.search(wanted, before, RECORDS).await?;
        let next = found.next.map(|next| {
            let next = next.to_string();
            let members = [
                ("kind", self.query.given("kind")),
                ("text", self.query.given("text")),
                ("before", Some(&*next)),
            ];
            path_with("/console/audit", &members)
        });
        self.write_audit(found, next, None).await
    }

    /// The newest decisions, in a page that is read again by itself.
    pub(super) async fn decisions(&self) -> Answered {
        let wanted = Wanted::decisions();
        let found = self.search(wanted, None, RECENT).await?;
        let next = path_with("/console/audit", &[("kind", Some("calls"))]);
        self.write_audit(found, Some(next), Some(REFRESH_S)).await
    }

    async fn search(
        &self,
        wanted: Wanted,
        before: Option<u64>,
        records: u64,
    ) -> Result<Found, Refused> {
        let directory = self.tools.audit.to_path_buf();
        // One at a time: a search reads as fast as the disk does.
        let turn = tokio::time::timeout(TIME, self.tools.searching.acquire()).await;
        let Ok(Ok(_turn)) = turn else {
            return Err(Refused::Unavailable);
        };
        let searching = tokio::task::spawn_blocking(move || {
            let bounds = SearchBounds {
                records,
                bytes: BYTES,
                until: Instant::now() + TIME,
                found: PAGE,
            };
            search_in(&directory, before, bounds, &wanted)
        });
        searching.await.unwrap_or(None).ok_or(Refused::Log)
    }

    async fn write_audit(
        &self,
        found: Found,
        next: Option<String>,
        refresh: Option<u32>,
    ) -> Answered {
        let frame = self
            .frame(Some(match refresh {
                Some(_) => Nav::Decisions,
                None => Nav::Audit,
            }))
            .await;
        let now = self.now;
        let word = self.query.text("kind").to_owned();
        let text = self.query.text("text").to_owned();
        let is_first = self.query.given("before").is_none();
        let _turn = self.tools.rendering.acquire().await;
        let written = tokio::task::spawn_blocking(move || -> Response<Bytes> {
            let template = AuditPage {
                frame,
                refresh,
                text,
                kinds: KINDS
                    .map(|(known, name, _)| KindOption {
                        word: known,
                        name,
                        is_selected: known == word,
                    })
                    .into(),
                rows: found.entries.iter().map(|it| row(it, now)).collect(),
                is_cut: found.is_cut,
                is_first,
                next,
            };
            page(StatusCode::OK, &template)
        });
        written.await.map_err(|_bug| Refused::Unavailable)
    }
}

fn search_in(
    directory: &Path,
    before: Option<u64>,
    bounds: SearchBounds,
    wanted: &Wanted,
) -> Option<Found> {
    match search(directory, before, bounds, |json| wanted.matches(json)) {
        Ok(found) => Some(found),
        Err(error) => {
            tracing::error!(%error, "the audit log cannot be searched");
            None
        }
    }
}

fn row(entry: &Entry, now: SystemTime) -> RecordRow {
    let record = parse(entry.json.as_bytes(), &Limits::reply()).ok();
    let text = |name: &str| {
        let value = record.and_then(|record| record.member(name))?;
        value.string().map(std::borrow::Cow::into_owned)
    };
    let brief = |name: &str| text(name).as_deref().map(Hostile::brief);
    let item = ["tool_name", "resource", "prompt"];
    let item = item.into_iter().find_map(text).or_else(|| text("method"));
    let place = match (text("server"), item) {
        (Some(server), Some(item)) => Some(format!("{server}/{item}")),
        (server, item) => server.or(item),
    };
    let reason = record.and_then(|record| record.member("reasons"));
    let reason = reason.and_then(|reasons| reasons.items().next());
    let reason = reason.and_then(|reason: Raw<'_>| reason.member("code")?.string());
    let decision = text("decision");
    let outcome = [text("refusal"), decision.clone()];
    let outcome = outcome.into_iter().flatten();
    let outcome: Vec<String> = outcome
        .chain(reason.map(std::borrow::Cow::into_owned))
        .collect();
    let at = text("timestamp").unwrap_or_default();
    RecordRow {
        index: entry.index,
        ago: ago(&at, now),
        at: moment(&at),
        kind: Hostile::brief(&text("kind").unwrap_or_default()),
        caller: brief("user_id"),
        place: place.as_deref().map(Hostile::brief),
        outcome: (!outcome.is_empty()).then(|| Hostile::brief(&outcome.join(" · "))),
        class: match decision.as_deref() {
            Some("allow") => "approved",
            Some("deny") => "denied",
            Some("approve") => "high",
            Some(_) | None => "",
        },
        tree: Tree::of(&entry.json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_for_all_its_words_and_one_kind() {
        let json = r#"{"kind":"call.refused","user_id":"Alice","why":"a \"b\" c\\d"}"#;
        for (kind, text, expected) in [
            ("", "", true),
            ("call.", "", true),
            ("kill.", "", false),
            ("", "alice", true),
            ("", "  ALICE  refused ", true),
            ("", "alice bob", false),
            ("", "\"b\" c\\d", true),
            // A kind within another text is none.
            ("alice", "", false),
        ] {
            assert_eq!(
                Wanted::new(kind, text).matches(json),
                expected,
                "{kind} {text}"
            );
        }
    }
}
