//! The demo's HTTP server: a small support desk with customers and cases.
//!
//! It does what it is told. What an agent may not do here is Keepgate's business, which is why
//! the server also keeps a [`Ledger`] of the calls that reached it: the demo reads it at the end
//! to show that what was refused never arrived.

mod cases;
mod query;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CompleteRequestParams, CompleteResult, CompletionInfo,
    GetPromptRequestParams, GetPromptResponse, GetPromptResult, Implementation, ListPromptsResult,
    ListResourceTemplatesResult, ListResourcesResult, ListToolsResult, PaginatedRequestParams,
    ProgressNotificationParam, Prompt, PromptArgument, PromptMessage, ReadResourceRequestParams,
    ReadResourceResponse, ResourceTemplate, Role, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::json;

use crate::reply::{self, Effect};

/// Where the ledger can be read. Not for agents.
pub const LEDGER: &str = "crm://ledger";

/// How often an hour an agent may read a case, as the demo configures its gate.
pub const CASES_AN_HOUR: u32 = 5;

/// How many steps `export_report` takes; it tells its progress after each.
pub const REPORT_STEPS: u32 = 5;

const STEP: Duration = Duration::from_millis(120);

/// The tool calls that reached the server, oldest first, one line each.
#[derive(Clone, Debug, Default)]
pub struct Ledger(Arc<Mutex<Vec<String>>>);

impl Ledger {
    fn write(&self, line: String) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn read(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.join("\n")
    }
}

/// The support desk.
#[derive(Clone, Debug, Default)]
pub struct Crm {
    ledger: Ledger,
}

impl Crm {
    /// A desk nobody has called yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    async fn export_report(
        &self,
        context: &RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let token = context.meta.get_progress_token();
        for step in 1..=REPORT_STEPS {
            tokio::select! {
                () = context.ct.cancelled() => return Ok(reply::failed("export cancelled")),
                () = tokio::time::sleep(STEP) => {}
            }
            if let Some(token) = token.clone() {
                let progress = ProgressNotificationParam::new(token, f64::from(step))
                    .with_total(f64::from(REPORT_STEPS))
                    .with_message(format!("page {step} of {REPORT_STEPS}"));
                if let Err(error) = context.peer.notify_progress(progress).await {
                    tracing::debug!(%error, "nobody listens to the progress");
                }
            }
        }
        Ok(reply::said(format!(
            "report of {} cases on {REPORT_STEPS} pages",
            cases::ALL.len()
        )))
    }
}

fn tools() -> Vec<Tool> {
    let id = json!({ "id": { "type": "string", "description": "for example C-1001" } });
    let empty = json!({});
    vec![
        reply::tool(
            "search_cases",
            "Find cases by words in the subject and by status.",
            Effect::Reads,
            &json!({
                "query": { "type": "string" },
                "status": { "type": "string", "enum": ["open", "waiting", "closed"] },
            }),
            &[],
        ),
        reply::tool(
            "get_case",
            "Read one case in full.",
            Effect::Reads,
            &id,
            &["id"],
        ),
        reply::tool(
            "query_database",
            "Run one SQL statement on the table `cases`.",
            Effect::Destroys,
            &json!({ "sql": { "type": "string" } }),
            &["sql"],
        ),
        reply::tool(
            "export_report",
            "Write the monthly report. Takes a moment and tells its progress.",
            Effect::Reads,
            &empty,
            &[],
        ),
        reply::tool(
            "delete_account",
            "Delete a customer's account and everything in it.",
            Effect::Destroys,
            &json!({ "id": { "type": "string", "description": "for example A-77" } }),
            &["id"],
        ),
    ]
}

impl ServerHandler for Crm {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_resources()
            .enable_prompts()
            .enable_completions()
            .build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("demo-crm", env!("CARGO_PKG_VERSION")))
            .with_instructions("A support desk. Search before you query.")
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
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = request.arguments.as_ref();
        let shown = serde_json::Value::from(request.arguments.clone().unwrap_or_default());
        self.ledger.write(format!("{} {shown}", request.name));
        match request.name.as_ref() {
            "search_cases" => Ok(reply::structured(cases::search(arguments))),
            "get_case" => cases::read(reply::text_argument(arguments, "id")?),
            "query_database" => Ok(query::run(reply::text_argument(arguments, "sql")?)),
            "export_report" => self.export_report(&context).await,
            "delete_account" => {
                let id = reply::text_argument(arguments, "id")?;
                Ok(reply::said(format!("account {id} is gone")))
            }
            other => Err(reply::unknown_tool(other)),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(vec![
            reply::resource(cases::REFUNDS, "Refund policy", "What support may refund"),
            reply::resource(
                cases::PRIVACY,
                "Privacy policy",
                "What support may not pass on",
            ),
            reply::resource(LEDGER, "Ledger", "The tool calls that reached this server"),
        ]))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(vec![
            ResourceTemplate::new("crm://cases/{id}", "Case")
                .with_description("One case, as text")
                .with_mime_type("text/markdown"),
        ]))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = request.uri.as_str();
        if uri == LEDGER {
            return Ok(reply::contents(uri, self.ledger.read()));
        }
        cases::resource(uri)
            .map(|text| reply::contents(uri, text))
            .ok_or_else(|| reply::unknown_resource(uri))
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(vec![Prompt::new(
            "answer_case",
            Some("Draft an answer to a case"),
            Some(vec![PromptArgument::new("id").with_required(true)]),
        )]))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        if request.name != "answer_case" {
            return Err(ErrorData::invalid_params("Unknown prompt", None));
        }
        let id = reply::text_argument(request.arguments.as_ref(), "id")?;
        let text = format!("Read case {id}, then draft a short and friendly answer.");
        Ok(GetPromptResult::new(vec![PromptMessage::new_text(Role::User, text)]).into())
    }

    async fn complete(
        &self,
        request: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let values = cases::ids_starting_with(&request.argument.value);
        let completion = CompletionInfo::with_all_values(values)
            .map_err(|message| ErrorData::internal_error(message, None))?;
        Ok(CompleteResult::new(completion))
    }
}
