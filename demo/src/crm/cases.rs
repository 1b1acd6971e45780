//! The support desk's data: six cases and two policies, the same on every run.

use rmcp::ErrorData;
use rmcp::model::{CallToolResponse, JsonObject};
use serde_json::{Value, json};

use crate::reply;

/// The refund policy's URI.
pub(crate) const REFUNDS: &str = "crm://policies/refunds";

/// The privacy policy's URI.
pub(crate) const PRIVACY: &str = "crm://policies/privacy";

/// One case of the support desk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) id: &'static str,
    pub(crate) account: &'static str,
    pub(crate) status: &'static str,
    pub(crate) subject: &'static str,
}

impl Case {
    /// The value of the column `name`, if there is such a column.
    pub(crate) fn column(&self, name: &str) -> Option<&'static str> {
        match name {
            "id" => Some(self.id),
            "account" => Some(self.account),
            "status" => Some(self.status),
            "subject" => Some(self.subject),
            _ => None,
        }
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "account": self.account,
            "status": self.status,
            "subject": self.subject,
        })
    }
}

/// The columns of the table `cases`, in order.
pub(crate) const COLUMNS: [&str; 4] = ["id", "account", "status", "subject"];

/// Every case there is.
pub(crate) const ALL: [Case; 6] = [
    case("C-1001", "A-77", "open", "Charged twice in October"),
    case("C-1002", "A-77", "closed", "Cannot reset the password"),
    case("C-1003", "A-12", "open", "Refund for a returned lamp"),
    case("C-1004", "A-31", "waiting", "Invoice without VAT number"),
    case(
        "C-1005",
        "A-12",
        "open",
        "Parcel left with an unknown neighbour",
    ),
    case("C-1006", "A-58", "closed", "Newsletter despite opt-out"),
];

const fn case(
    id: &'static str,
    account: &'static str,
    status: &'static str,
    subject: &'static str,
) -> Case {
    Case {
        id,
        account,
        status,
        subject,
    }
}

/// Cases whose subject has `query` in it and whose status is `status`; both may be left out.
pub(crate) fn search(arguments: Option<&JsonObject>) -> Value {
    let query = reply::text_argument(arguments, "query")
        .unwrap_or_default()
        .to_lowercase();
    let status = reply::text_argument(arguments, "status").ok();
    let found: Vec<Value> = ALL
        .iter()
        .filter(|case| case.subject.to_lowercase().contains(&query))
        .filter(|case| status.is_none_or(|wanted| case.status == wanted))
        .map(Case::json)
        .collect();
    json!({ "cases": found })
}

/// One case in full.
///
/// # Errors
///
/// None so far: an unknown id is an answer the model can read.
pub(crate) fn read(id: &str) -> Result<CallToolResponse, ErrorData> {
    let found = ALL.iter().find(|case| case.id == id);
    Ok(match found {
        Some(case) => reply::structured(case.json()),
        None => reply::failed(format!("there is no case {id}")),
    })
}

/// The text behind `uri`, if there is such a resource.
pub(crate) fn resource(uri: &str) -> Option<String> {
    match uri {
        REFUNDS => Some("Support refunds up to 50 EUR at once. Above that, ask a lead.".to_owned()),
        PRIVACY => Some("Never pass an address, a card or a password on.".to_owned()),
        other => {
            let id = other.strip_prefix("crm://cases/")?;
            let case = ALL.iter().find(|case| case.id == id)?;
            Some(format!(
                "# {}\n\n{} ({})",
                case.id, case.subject, case.status
            ))
        }
    }
}

/// Ids that start with `prefix`, for completion.
pub(crate) fn ids_starting_with(prefix: &str) -> Vec<String> {
    ALL.iter()
        .map(|case| case.id)
        .filter(|id| id.starts_with(prefix))
        .map(str::to_owned)
        .collect()
}
