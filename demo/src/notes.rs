//! The demo's stdio server: a notebook. Each process has a notebook of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, Implementation, ListResourceTemplatesResult,
    ListResourcesResult, ListToolsResult, PaginatedRequestParams, ReadResourceRequestParams,
    ReadResourceResponse, ResourceTemplate, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::json;

use crate::reply::{self, Effect};

const SEED: [(&str, &str); 3] = [
    ("team/oncall", "This week: Ada. Next week: Grace."),
    (
        "team/handover",
        "C-1001 was charged twice; finance refunds on Friday.",
    ),
    ("agent/todo", "Ask A-31 for the VAT number."),
];

/// The notebook.
#[derive(Clone, Debug)]
pub struct Notes {
    pages: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Default for Notes {
    fn default() -> Self {
        Self::new()
    }
}

impl Notes {
    /// A notebook with three notes in it.
    #[must_use]
    pub fn new() -> Self {
        let pages = SEED
            .iter()
            .map(|(title, text)| ((*title).to_owned(), (*text).to_owned()))
            .collect();
        Self {
            pages: Arc::new(Mutex::new(pages)),
        }
    }

    fn pages(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tools() -> Vec<Tool> {
    let title = json!({ "type": "string", "description": "for example team/oncall" });
    vec![
        reply::tool(
            "list_notes",
            "List the titles of all notes.",
            Effect::Reads,
            &json!({}),
            &[],
        ),
        reply::tool(
            "read_note",
            "Read one note.",
            Effect::Reads,
            &json!({ "title": title }),
            &["title"],
        ),
        reply::tool(
            "write_note",
            "Write a note, or write over one.",
            Effect::Writes,
            &json!({ "title": title, "text": { "type": "string" } }),
            &["title", "text"],
        ),
    ]
}

impl ServerHandler for Notes {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("demo-notes", env!("CARGO_PKG_VERSION")))
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools().into_iter().find(|tool| tool.name == name)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.as_ref();
        match request.name.as_ref() {
            "list_notes" => {
                let titles: Vec<String> = self.pages().keys().cloned().collect();
                Ok(reply::structured(json!({ "titles": titles })))
            }
            "read_note" => {
                let title = reply::text_argument(arguments, "title")?;
                Ok(match self.pages().get(title) {
                    Some(text) => reply::said(text.as_str()),
                    None => reply::failed(format!("there is no note {title}")),
                })
            }
            "write_note" => {
                let title = reply::text_argument(arguments, "title")?;
                let text = reply::text_argument(arguments, "text")?;
                self.pages().insert(title.to_owned(), text.to_owned());
                Ok(reply::said(format!("wrote {title}")))
            }
            other => Err(reply::unknown_tool(other)),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        let notes = self
            .pages()
            .keys()
            .map(|title| reply::resource(&format!("notes://{title}"), title, "A note"))
            .collect();
        Ok(ListResourcesResult::with_all_items(notes))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(vec![
            ResourceTemplate::new("notes://{+title}", "Note").with_mime_type("text/markdown"),
        ]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        uri.strip_prefix("notes://")
            .and_then(|title| self.pages().get(title).cloned())
            .map(|text| reply::contents(uri, text))
            .ok_or_else(|| reply::unknown_resource(uri))
    }
}
