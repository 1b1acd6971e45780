//! What the agent does, step by step, and what should come of it.

use std::time::Duration;

use rmcp::model::{CallToolRequestParams, ReadResourceRequestParams};
use serde_json::{Value, json};

use super::answer::Answer;
use super::{AgentError, Desk, Expected};
use crate::crm;

/// The support desk: searches, queries, oversteps twice, reads a policy, waits for a report.
pub(super) async fn at_the_desk(mut desk: Desk<'_>) -> Result<usize, AgentError> {
    let mut tools = vec![
        "search_cases",
        "get_case",
        "query_database",
        "export_report",
    ];
    let mut resources = vec![
        "crm://policies/refunds",
        "crm://policies/privacy",
        crm::LEDGER,
    ];
    if desk.gated {
        resources.retain(|uri| *uri != crm::LEDGER);
    } else {
        tools.push("delete_account");
    }
    desk.sees_tools(&tools).await?;
    desk.sees_resources(&resources).await?;
    desk.calls("search_cases", json!({ "status": "open" }), Expected::Works)
        .await?;
    let case = json!({ "id": "C-1001" });
    desk.calls("get_case", case, Expected::Redacted("A-77"))
        .await?;
    let select = json!({ "sql": "SELECT id, status FROM cases" });
    desk.calls("query_database", select, Expected::Works)
        .await?;
    let delete = json!({ "sql": "DELETE FROM cases" });
    desk.calls("query_database", delete, Expected::Denied("sql_not_select"))
        .await?;
    desk.calls("delete_account", json!({ "id": "A-77" }), Expected::Hidden)
        .await?;
    desk.reads("crm://policies/refunds", Expected::Works)
        .await?;
    desk.reads(crm::LEDGER, Expected::Hidden).await?;
    desk.waits_for_the_report().await?;
    desk.close().await
}

/// One case again and again, more often than the gate lets it.
pub(super) async fn in_circles(mut desk: Desk<'_>) -> Result<usize, AgentError> {
    let one_case = || json!({ "id": "C-1001" });
    // Each era has read it once.
    for _ in 2..crm::CASES_AN_HOUR {
        desk.calls("get_case", one_case(), Expected::Works).await?;
    }
    desk.calls(
        "get_case",
        one_case(),
        Expected::Limited("servers.<name>.limits.tools"),
    )
    .await?;
    desk.close().await
}

/// The notebook: reads, writes where it may, oversteps once.
pub(super) async fn with_the_notebook(mut desk: Desk<'_>) -> Result<usize, AgentError> {
    desk.sees_tools(&["list_notes", "read_note", "write_note"])
        .await?;
    let handover = json!({ "title": "team/handover" });
    desk.calls("read_note", handover, Expected::Works).await?;
    let own = json!({ "title": "agent/todo", "text": "Refund C-1003 on Friday." });
    desk.calls("write_note", own, Expected::Works).await?;
    let others = json!({ "title": "team/oncall", "text": "The agent is on call." });
    desk.calls(
        "write_note",
        others,
        Expected::Denied("not_the_agents_note"),
    )
    .await?;
    desk.reads("notes://team/oncall", Expected::Works).await?;
    desk.close().await
}

impl Desk<'_> {
    async fn sees_tools(&mut self, wanted: &[&str]) -> Result<(), AgentError> {
        match self.client.list_all_tools().await {
            Ok(tools) => {
                let seen: Vec<String> = tools.into_iter().map(|tool| tool.name.into()).collect();
                self.sees("tools", &seen, wanted)?;
            }
            Err(error) => self.note("tools/list", &error.into(), Expected::Works)?,
        }
        Ok(())
    }

    async fn sees_resources(&mut self, wanted: &[&str]) -> Result<(), AgentError> {
        match self.client.list_all_resources().await {
            Ok(resources) => {
                let seen: Vec<String> =
                    resources.into_iter().map(|resource| resource.uri).collect();
                self.sees("resources", &seen, wanted)?;
            }
            Err(error) => self.note("resources/list", &error.into(), Expected::Works)?,
        }
        Ok(())
    }

    async fn calls(
        &mut self,
        tool: &'static str,
        arguments: Value,
        expected: Expected,
    ) -> Result<(), AgentError> {
        let what = format!("{tool} {}", told(&arguments));
        let request =
            CallToolRequestParams::new(tool).with_arguments(crate::reply::object(arguments));
        let answer = Answer::from(self.client.call_tool(request).await);
        Ok(self.note(&what, &answer, expected)?)
    }

    async fn reads(&mut self, uri: &str, expected: Expected) -> Result<(), AgentError> {
        let request = ReadResourceRequestParams::new(uri);
        let answer = Answer::from(self.client.read_resource(request).await);
        Ok(self.note(&format!("read {uri}"), &answer, expected)?)
    }

    async fn waits_for_the_report(&mut self) -> Result<(), AgentError> {
        self.client.service().ears.take();
        let request = CallToolRequestParams::new("export_report");
        let answer = Answer::from(self.client.call_tool(request).await);
        let total = usize::try_from(crm::REPORT_STEPS).unwrap_or(usize::MAX);
        let mut heard = self.client.service().ears.take();
        // The client hands notifications to tasks of their own: the last may be heard after the answer.
        for _ in 0..100 {
            if heard.len() >= total {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            heard.extend(self.client.service().ears.take());
        }
        let answer = match answer {
            Answer::Good(text) if heard.len() != total => {
                Answer::Failed(format!("{text}, but heard {} times", heard.len()))
            }
            answer @ (Answer::Good(_) | Answer::Refused(_) | Answer::Failed(_)) => answer,
        };
        let what = format!("export_report {}", heard.join(" "));
        Ok(self.note(&what, &answer, Expected::Works)?)
    }
}

/// The one argument that matters, as a person would say it.
fn told(arguments: &Value) -> &str {
    ["id", "sql", "status", "title"]
        .into_iter()
        .find_map(|name| arguments.get(name))
        .and_then(Value::as_str)
        .unwrap_or_default()
}
