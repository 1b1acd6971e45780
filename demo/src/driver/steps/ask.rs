//! Tools that ask back. rmcp answers both ways through the same handler; what the fixture reports
//! in `by` says which way it was.

use rmcp::model::ProtocolVersion;
use serde_json::{Value, json};

use super::super::Session;
use super::super::report::{Outcome, expect};
use super::{Ended, called};
use crate::connect::Era;

async fn answered(session: &Session, tool: &'static str, pointer: &str, wanted: Value) -> Ended {
    let way = match session.era {
        Era::Stateful => "session",
        Era::Stateless => "input_required",
    };
    let result = called(session, tool, json!({})).await?;
    let seen = result.structured_content.unwrap_or_default();
    let good = seen.get("by") == Some(&json!(way)) && seen.pointer(pointer) == Some(&wanted);
    expect(good, seen.to_string())
}

pub(crate) async fn sample(session: &Session) -> Ended {
    answered(session, "sample", "/answer/content/text", json!("Paris")).await
}

pub(crate) async fn form(session: &Session) -> Ended {
    if session.revision < ProtocolVersion::V_2025_06_18 {
        return Ok(Outcome::Skipped(
            "there is no elicitation before 2025-06-18",
        ));
    }
    answered(session, "elicit", "/answer/content/name", json!("Ferris")).await
}

pub(crate) async fn url(session: &Session) -> Ended {
    if session.revision < ProtocolVersion::V_2025_11_25 {
        return Ok(Outcome::Skipped(
            "there is no URL elicitation before 2025-11-25",
        ));
    }
    answered(session, "elicit_url", "/answer/action", json!("accept")).await
}

pub(crate) async fn roots(session: &Session) -> Ended {
    let wanted = json!("file:///srv/demo");
    answered(session, "roots", "/answer/roots/0/uri", wanted).await
}
