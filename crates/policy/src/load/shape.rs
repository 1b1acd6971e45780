//! The fields the input can have, as the published schema says.

use serde_json::Value;

use super::nearest::nearest;
use crate::schema::INPUT;

/// The schema, ready to be asked.
pub(crate) struct Shape(Value);

/// A path into nowhere.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// The path up to and with the unknown field, without `input`.
    pub(crate) path: String,
    /// The path that may have been meant.
    pub(crate) nearest: Option<String>,
}

impl Shape {
    pub(crate) fn input() -> Self {
        // A schema that cannot be read knows no field, so that every rule is refused: a test reads it.
        Self(
            serde_json::from_str(INPUT).unwrap_or_else(|_| serde_json::json!({ "properties": {} })),
        )
    }

    /// What the rules on the decision log see: an event, with the input in it.
    pub(crate) fn event() -> Self {
        let Self(input) = Self::input();
        Self(serde_json::json!({ "properties": {
            "labels": { "properties": { "id": {}, "version": {}, "node": {} } },
            "decision_id": {}, "trace_id": {}, "span_id": {}, "bundles": {}, "path": {}, "requested_by": {},
            "timestamp": {}, "metrics": {}, "req_id": {},
            "input": input,
            "result": { "properties": { "effect": {}, "reasons": {}, "scopes": {}, "approval": {}, "obligations": {} } },
        } }))
    }

    /// Whether every input that has the first `known` steps of this path has all of it.
    pub(crate) fn always_has(&self, path: &[String], known: usize) -> bool {
        let below = path
            .iter()
            .enumerate()
            .try_fold(&self.0, |at, (index, step)| {
                let required = at.get("required").and_then(Value::as_array);
                let named = |name: &Value| name.as_str() == Some(step);
                let there = index < known || required.is_some_and(|names| names.iter().any(named));
                there.then(|| at.get("properties")?.get(step))?
            });
        below.is_some()
    }

    /// The first step of a path that the input cannot have.
    pub(crate) fn unknown(&self, path: &[String]) -> Option<Unknown> {
        let mut at = &self.0;
        let mut known = String::from("input");
        for (index, step) in path.iter().enumerate() {
            let Some(fields) = at.get("properties").and_then(Value::as_object) else {
                return None; // free below here: claims, annotations, labels, arguments, items of a list
            };
            let Some(below) = fields.get(step) else {
                let path = path
                    .iter()
                    .take(index + 1)
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(".");
                let nearest = nearest(step, fields.keys().map(String::as_str))
                    .map(|meant| format!("{known}.{meant}"));
                return Some(Unknown { path, nearest });
            };
            known = format!("{known}.{step}");
            at = below;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Shape, Unknown};

    fn unknown(path: &str) -> Option<Unknown> {
        Shape::input().unknown(&path.split('.').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn knows_what_the_input_has() {
        assert_eq!(unknown("caller.roles"), None);
        assert_eq!(unknown("caller.claims.department.name"), None);
        assert_eq!(unknown("arguments.sql"), None);
        let unknown = unknown("caller.role").unwrap();
        assert_eq!(
            (unknown.path.as_str(), unknown.nearest.as_deref()),
            ("caller.role", Some("input.caller.roles"))
        );
    }
}
