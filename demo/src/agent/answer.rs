//! What came of a step, in the agent's words.

use rmcp::ServiceError;
use rmcp::model::{CallToolResult, ReadResourceResult, ResourceContents};
use serde_json::Value;

use super::Expected;
use crate::console::shortened;

/// How much of an answer is shown.
const SHOWN: usize = 70;

/// Where Keepgate puts what it has to say about a refusal, in a result.
const REFUSAL: &str = "dev.keepgate/refusal";

/// A refusal: what the caller is told, and the parts a program can use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Refusal {
    message: String,
    /// Rules that spoke, by their authors' codes.
    rules: Vec<String>,
    /// The limit that is met.
    limit: Option<String>,
    /// Finds the record.
    decision: Option<String>,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// It worked; the text is the answer.
    Good(String),
    /// It was turned away, by a gate or by the server.
    Refused(Refusal),
    /// It went wrong in another way.
    Failed(String),
}

impl Answer {
    /// Whether this is what should have happened.
    pub(super) fn matches(&self, expected: Expected) -> bool {
        match (expected, self) {
            (Expected::Works, Self::Good(_)) => true,
            (Expected::Redacted(secret), Self::Good(text)) => {
                text.contains("[redacted]") && !text.contains(secret)
            }
            (Expected::Denied(rule), Self::Refused(refusal)) => {
                refusal.decision.is_some() && refusal.rules.iter().any(|named| named == rule)
            }
            // Nothing may tell a hidden thing from one that does not exist: both name their record, and no rule.
            (Expected::Hidden, Self::Refused(refusal)) => {
                refusal.rules.is_empty() && refusal.limit.is_none()
            }
            (Expected::Limited(limit), Self::Refused(refusal)) => {
                refusal.limit.as_deref() == Some(limit)
            }
            (
                Expected::Works
                | Expected::Denied(_)
                | Expected::Hidden
                | Expected::Redacted(_)
                | Expected::Limited(_),
                _,
            ) => false,
        }
    }

    /// The answer in few words.
    pub(super) fn words(&self) -> String {
        match self {
            Self::Good(text) | Self::Failed(text) => shortened(text, SHOWN),
            Self::Refused(refusal) => {
                // The decision has a line of its own.
                let message = refusal.message.split(" (decision ").next();
                shortened(message.unwrap_or_default(), SHOWN)
            }
        }
    }

    /// Where to look further, if the answer says.
    pub(super) fn remark(&self) -> Option<String> {
        let Self::Refused(refusal) = self else {
            return None;
        };
        let decision = refusal.decision.as_ref()?;
        let why = match &refusal.limit {
            Some(limit) => format!("limit {limit}, "),
            None if refusal.rules.is_empty() => String::new(),
            None => format!("rule {}, ", refusal.rules.join(", ")),
        };
        Some(format!("{why}decision {decision}"))
    }
}

impl From<Result<CallToolResult, ServiceError>> for Answer {
    fn from(called: Result<CallToolResult, ServiceError>) -> Self {
        match called {
            Err(error) => error.into(),
            Ok(result) => {
                let text = said(&result);
                if result.is_error != Some(true) {
                    return Self::Good(text);
                }
                let told = result
                    .meta
                    .as_ref()
                    .and_then(|meta| meta.0.get(REFUSAL).cloned());
                match told {
                    Some(told) => Self::Refused(refusal(text, Some(&told))),
                    None => Self::Failed(text),
                }
            }
        }
    }
}

impl From<Result<ReadResourceResult, ServiceError>> for Answer {
    fn from(read: Result<ReadResourceResult, ServiceError>) -> Self {
        match read {
            Err(error) => error.into(),
            Ok(result) => {
                let text = result.contents.into_iter().find_map(|contents| {
                    if let ResourceContents::TextResourceContents { text, .. } = contents {
                        Some(text)
                    } else {
                        None
                    }
                });
                text.map_or_else(|| Self::Failed("no text in it".to_owned()), Self::Good)
            }
        }
    }
}

impl From<ServiceError> for Answer {
    fn from(error: ServiceError) -> Self {
        if let ServiceError::McpError(error) = error {
            Self::Refused(refusal(error.message.into_owned(), error.data.as_ref()))
        } else {
            Self::Failed(crate::explain(&error))
        }
    }
}

fn refusal(message: String, told: Option<&Value>) -> Refusal {
    let rules = told
        .and_then(|told| told.get("reasons"))
        .and_then(Value::as_array)
        .map(|rules| {
            rules
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        })
        .unwrap_or_default();
    let text = |name| {
        let text = told.and_then(|told| told.get(name));
        text.and_then(Value::as_str).map(str::to_owned)
    };
    let (limit, decision) = (text("limit"), text("decision_id"));
    Refusal {
        message,
        rules,
        limit,
        decision,
    }
}

/// A result in a few words: how many of what, if it is a list, else its text.
fn said(result: &CallToolResult) -> String {
    let list = result
        .structured_content
        .as_ref()
        .and_then(Value::as_object)
        .and_then(|members| members.iter().find(|(_, value)| value.is_array()));
    if let Some((name, Value::Array(items))) = list {
        let first = items.first().map(ToString::to_string).unwrap_or_default();
        return format!("{} {name}, first {first}", items.len());
    }
    let texts: Vec<&str> = result
        .content
        .iter()
        .filter_map(|block| block.as_text())
        .map(|block| block.text.as_str())
        .collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use rmcp::ErrorData;
    use rmcp::model::{ContentBlock, MetaObject};
    use serde_json::json;

    use super::*;

    fn denied() -> Answer {
        let mut meta = MetaObject::new();
        meta.0.insert(
            REFUSAL.to_owned(),
            json!({ "code": "policy_denied", "decision_id": "d1", "reasons": ["sql_not_select"] }),
        );
        let text = "refused by policy: only SELECT is allowed (decision d1)";
        let result = CallToolResult::error(vec![ContentBlock::text(text)]).with_meta(Some(meta));
        Answer::from(Ok(result))
    }

    #[test]
    fn a_denial_names_its_rule_and_its_record() {
        let answer = denied();
        assert!(answer.matches(Expected::Denied("sql_not_select")));
        assert!(!answer.matches(Expected::Denied("another_rule")));
        assert!(!answer.matches(Expected::Works));
        assert_eq!(answer.words(), "refused by policy: only SELECT is allowed");
        assert_eq!(
            answer.remark().as_deref(),
            Some("rule sql_not_select, decision d1")
        );
    }

    #[test]
    fn a_hidden_tool_says_nothing_about_a_gate() {
        let data = json!({"code": "not_found", "decision_id": "d"});
        let bare = ErrorData::invalid_params("Unknown tool: delete_account", Some(data));
        let answer = Answer::from(ServiceError::McpError(bare));
        assert!(answer.matches(Expected::Hidden));
        assert_eq!(answer.remark().as_deref(), Some("decision d"));

        let data = json!({"decision_id": "d", "reasons": ["tool_hidden"]});
        let telling = ErrorData::invalid_params("Unknown tool", Some(data));
        let answer = Answer::from(ServiceError::McpError(telling));
        assert!(!answer.matches(Expected::Hidden));
    }

    #[test]
    fn a_servers_own_failure_is_no_refusal() {
        let result = CallToolResult::error(vec![ContentBlock::text("there is no case X")]);
        assert_eq!(
            Answer::from(Ok(result)),
            Answer::Failed("there is no case X".to_owned())
        );
    }
}
