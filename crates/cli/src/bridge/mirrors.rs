//! Arguments that header lines repeat (2026-07-28): which ones, by the schemas that `tools/list` shows.

use std::collections::HashMap;
use std::sync::Arc;

use keepgate_mcp::error::HEADER_MISMATCH;
use keepgate_mcp::mirror::{self, Mirror};
use keepgate_mcp::{Body, Id, Message, Method, Raw, Request, Response, decode, encode};

use super::{Bridge, limits, lock};

/// Most tools whose lines are known.
const MAX_TOOLS: usize = 10_000;
/// Most pages of a list.
const MAX_PAGES: usize = 50;
/// Beginning of the members of `_meta` that every request has.
const OFFICIAL: &str = "io.modelcontextprotocol/";

/// Tools with arguments that header lines repeat.
#[derive(Debug, Default)]
pub(super) struct Mirrors {
    /// Whether all pages were seen.
    is_known: bool,
    tools: HashMap<String, Arc<[Mirror]>>,
}

impl Mirrors {
    /// Takes note of a page. A tool that is listed without such arguments loses those it had.
    fn note(&mut self, page: &Response) {
        for tool in page.result_member("tools").into_iter().flat_map(Raw::items) {
            let Some(name) = tool.member("name").and_then(Raw::string) else {
                continue;
            };
            let schema = tool.member("inputSchema");
            let found = schema.and_then(|schema| mirror::declared(schema).ok());
            match found.filter(|found| !found.is_empty()) {
                Some(found) if self.tools.len() < MAX_TOOLS => {
                    self.tools.insert(name.into_owned(), found.into());
                }
                Some(_) | None => {
                    self.tools.remove(&*name);
                }
            }
        }
    }
}

impl Bridge {
    /// Takes note of what a `tools/list` brought, and of a call whose lines were wrong.
    pub(super) fn learn(&self, request: &Request, response: &Response) {
        let mut mirrors = lock(&self.mirrors);
        let method = request.method();
        if *method == Method::ToolsList {
            mirrors.note(response);
            let next = response.result_member("nextCursor");
            let is_last = next.is_none_or(Raw::is_null) && response.result().is_some();
            mirrors.is_known = mirrors.is_known || is_last;
        }
        // The lines differ from the schema: it has changed.
        if *method == Method::ToolsCall && response.error_code() == Some(HEADER_MISMATCH) {
            mirrors.is_known = false;
        }
    }

    /// The lines of a call. The tools are listed first where the client has not done so.
    pub(super) async fn repeated(self: &Arc<Self>, request: &Request) -> Vec<(String, String)> {
        if *request.method() != Method::ToolsCall {
            return Vec::new();
        }
        if !lock(&self.mirrors).is_known {
            self.list(request).await;
        }
        let name = request
            .param("name")
            .and_then(Raw::string)
            .unwrap_or_default();
        let found = lock(&self.mirrors).tools.get(&*name).cloned();
        let arguments = request.param("arguments").unwrap_or(Raw::NO_MEMBERS);
        let line = |mirror: &Mirror| Some((mirror.header.to_string(), mirror.line(arguments)?));
        found
            .iter()
            .flat_map(|found| found.iter())
            .filter_map(line)
            .collect()
    }

    /// Lists the tools as the client of this call would.
    async fn list(self: &Arc<Self>, call: &Request) {
        let meta = call.param("_meta").into_iter().flat_map(Raw::members);
        let official =
            meta.filter(|(key, _)| key.string().is_some_and(|key| key.starts_with(OFFICIAL)));
        let members: Vec<String> = official
            .map(|(key, value)| format!("{}:{}", key.as_str(), value.as_str()))
            .collect();
        let meta = members.join(",");
        let mut cursor = String::new();
        for page in 0..MAX_PAGES {
            let params = format!("{{\"_meta\":{{{meta}}}{cursor}}}");
            let Some(id) = Id::from_text(&format!("keepgate-stdio-{page}")) else {
                return;
            };
            let bytes = encode::request(&id, &Method::ToolsList, Some(&params));
            let Ok(Body::Single(Message::Request(request))) = decode(bytes, &limits()) else {
                return;
            };
            let Some((_, response)) = self.exchange(&request, &[]).await else {
                return;
            };
            self.learn(&request, &response);
            match response
                .result_member("nextCursor")
                .filter(|next| !next.is_null())
            {
                Some(next) => cursor = format!(",\"cursor\":{}", next.as_str()),
                None => return,
            }
        }
    }
}
