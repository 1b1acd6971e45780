//! Decisions as they were recorded: one event of the decision log, read back.

use regorus::Value;

use crate::explain::InvalidInput;
use crate::json;
use crate::mask;

/// Parts of an input that differ from call to call without making another call of it.
const PASSING: [&str; 10] = [
    "/request",
    "/session/id",
    "/session/age_s",
    "/history",
    "/client/version",
    "/caller/auth_time",
    "/approval/age_s",
    "/grant/uses_left",
    "/grant/until",
    "/grant/until_ns",
];

/// One recorded decision.
#[derive(Debug, Clone)]
pub struct Recorded(Value);

impl Recorded {
    /// Reads one line of a decision log.
    ///
    /// # Errors
    /// [`InvalidInput`] for what is no JSON.
    pub fn parse(line: &str) -> Result<Self, InvalidInput> {
        Ok(Self(json::parse(line)?))
    }

    fn at(&self, pointer: &str) -> Option<&Value> {
        mask::at(&self.0, &mask::steps(pointer)?)
    }

    fn text(&self, pointer: &str) -> &str {
        match self.at(pointer) {
            Some(Value::String(text)) => text,
            Some(_) | None => "",
        }
    }

    /// The id of the decision.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text("/decision_id")
    }

    /// When it was made, RFC 3339.
    #[must_use]
    pub fn timestamp(&self) -> &str {
        self.text("/timestamp")
    }

    /// The revision of the policies that made it.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.text("/bundles/keepgate/revision")
    }

    /// The phase it was made in.
    #[must_use]
    pub fn phase(&self) -> &str {
        self.text("/input/phase")
    }

    /// What was decided: `allow`, `approve`, `deny`; empty where the event has no result.
    #[must_use]
    pub fn effect(&self) -> &str {
        self.text("/result/effect")
    }

    /// Who called.
    #[must_use]
    pub fn caller(&self) -> &str {
        self.text("/input/caller/sub")
    }

    /// What was called: `server.tool`, or the server and the method.
    #[must_use]
    pub fn tool(&self) -> String {
        let server = self.text("/input/server/name");
        match self.text("/input/tool/name") {
            "" => format!("{server} {}", self.text("/input/method")),
            tool => format!("{server}.{tool}"),
        }
    }

    /// What the rules saw, as JSON, without what was left out; `None` where the event has no input.
    #[must_use]
    pub fn input(&self) -> Option<String> {
        serde_json::to_string(self.input_value()?).ok()
    }

    pub(crate) fn input_value(&self) -> Option<&Value> {
        self.at("/input").filter(|input| input.as_object().is_ok())
    }

    pub(crate) fn result(&self) -> Option<&Value> {
        self.at("/result")
            .filter(|result| result.as_object().is_ok())
    }

    /// Parts of the input that were left out or replaced, as pointers into the event.
    #[must_use]
    pub fn left_out(&self) -> Vec<String> {
        let lists = ["/erased", "/masked"].map(|list| match self.at(list) {
            Some(Value::Array(pointers)) => pointers
                .iter()
                .filter_map(|pointer| Some(pointer.as_string().ok()?.to_string()))
                .collect(),
            Some(_) | None => Vec::new(),
        });
        let all = lists.into_iter().flatten();
        all.filter(|pointer| pointer.starts_with("/input"))
            .collect()
    }

    /// A text that is the same for decisions that differ in nothing but time, ids and counts.
    #[must_use]
    pub fn difference(&self) -> String {
        let mut input = self.input_value().cloned().unwrap_or(Value::Null);
        for pointer in PASSING {
            if let Some(path) = mask::steps(pointer) {
                mask::remove(&mut input, &path);
            }
        }
        let result = self.result().cloned().unwrap_or(Value::Null);
        serde_json::to_string(&[input, result]).unwrap_or_default()
    }
}
