//! Why a decision came out as it did, told rule by rule: for an input that was recorded, or made up.

mod rules;

use std::time::Instant;

use regorus::Value;
use serde::Serialize;

pub use self::rules::{FailedAt, Looked, Outcome, RuleReport};
use crate::decision::{Decision, Effect, Reason};
use crate::event;
use crate::json;
use crate::load::{self, Reach};
use crate::mask::{self, Changed};
use crate::policy::{Policy, Seen};
use crate::problem::{LoadErrors, Problem};

/// The layer of the servers' definitions, as it is called.
const DEFINITION: &str = "server definition";

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The text is no JSON, or has numbers or keys that cannot be judged.
    #[error("failed to read the input")]
    Json(#[source] InvalidInput),
    /// It is JSON, and no input of a decision.
    #[error("not an input: `phase`, `method` or `server.name` is missing")]
    Input,
    /// The policies have changed on disk, and cannot be read any more.
    #[error("failed to read the policies")]
    Policies(#[source] LoadErrors),
}

/// Why a text is no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
pub struct InvalidInput(#[from] json::JsonError);

/// A decision with its reasons, and every rule that was asked for it.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// What was decided and why, in a sentence or two.
    pub summary: String,
    /// `allow`, `deny` or `approve`.
    pub effect: &'static str,
    /// The decision as the decision log has it.
    pub result: serde_json::Value,
    /// Revision of the policies that decided.
    pub revision: String,
    /// The layers that judged, in the order they were asked.
    pub layers: Vec<LayerReport>,
}

/// One layer and its rules.
#[derive(Debug, Clone, Serialize)]
pub struct LayerReport {
    /// `platform`, `tenant <name>` or `server definition`.
    pub layer: String,
    /// Every rule of its sets: those that deny first, then obligations, approvals, allowances.
    pub rules: Vec<RuleReport>,
}

impl Policy {
    /// Judges an input that was recorded or made up, and tells what each rule made of it. Values are shown as the
    /// decision log would show them. Slow: for people, never for calls.
    ///
    /// # Errors
    /// [`ExplainError`].
    pub fn explain(&self, input: &str) -> Result<Explanation, ExplainError> {
        let input = json::parse(input).map_err(|error| ExplainError::Json(error.into()))?;
        let seen = Seen::of(&input).ok_or(ExplainError::Input)?;
        let decision = self.judge_input(&input).ok_or(ExplainError::Input)?;
        let shown = self.shown(&input, &decision);
        let mut layers = Vec::new();
        let met = self.files_met(seen.tenant, seen.server);
        for (layer, files) in met.map_err(ExplainError::Policies)? {
            let reported = load::check_files(&files, false).and_then(|checked| {
                let reach = Reach::new(&checked.graph);
                let is_asked = |site: &load::survey::Site| reach.speaks(seen.phase, site);
                let (sites, data) = (&checked.sites, &checked.data);
                rules::rules(&files, sites, data, &input, &shown, is_asked)
                    .map_err(|error| vec![Problem::whole(std::path::Path::new("."), error)])
            });
            let rules = reported
                .map_err(LoadErrors::new)
                .map_err(ExplainError::Policies)?;
            layers.push(LayerReport { layer, rules });
        }
        let result = serde_json::to_value(event::result(&decision)).unwrap_or_default();
        Ok(Explanation {
            summary: summary(&decision, &layers),
            effect: event::effect(&decision.effect),
            result,
            revision: decision.revision.to_string(),
            layers,
        })
    }

    /// Judges an input that was recorded or made up; gives the decision as the decision log has it.
    ///
    /// # Errors
    /// [`ExplainError::Json`] and [`ExplainError::Input`].
    pub fn evaluate(&self, input: &str) -> Result<serde_json::Value, ExplainError> {
        let input = json::parse(input).map_err(|error| ExplainError::Json(error.into()))?;
        let decision = self.judge_input(&input).ok_or(ExplainError::Input)?;
        Ok(serde_json::to_value(event::result(&decision)).unwrap_or_default())
    }

    /// The input as the decision log would show it: what the rules on the log mask, and secrets. Where they cannot say,
    /// nothing of what callers sent.
    fn shown(&self, input: &Value, decision: &Decision) -> Value {
        let mut event = event::Members::default();
        event.value("input", input.clone());
        event.value("result", event::result(decision));
        event.text("path", event::PATH);
        let (mut event, mut changed) = (event.done(), Changed::default());
        let limit = Instant::now() + event::LIMIT;
        let asked = match self.log_rules() {
            Ok(Some(mut rules)) => rules.ask(&event, limit),
            Ok(None) => Ok((false, Value::Undefined)),
            Err(why) => Err(why),
        };
        let masked = asked.and_then(|(_, answer)| {
            mask::apply(&mut event, &answer, &mut changed).map_err(|error| error.to_string())
        });
        if masked.is_err() {
            mask::erase_content(&mut event, &mut changed);
        }
        mask::mask_secrets(&mut event, &mut changed);
        mask::at(&event, &["input".to_owned()])
            .cloned()
            .unwrap_or_else(Value::new_object)
    }
}

/// The name of a layer, as explanations call it.
pub(crate) fn layer_name(tenant: Option<&str>) -> String {
    tenant.map_or_else(
        || "platform".to_owned(),
        |tenant| format!("tenant {tenant}"),
    )
}

/// The name of the layer of definitions.
pub(crate) fn definition_name() -> String {
    DEFINITION.to_owned()
}

/// The decision in a sentence, and what came closest to another one.
fn summary(decision: &Decision, layers: &[LayerReport]) -> String {
    let reasons: Vec<String> = decision.reasons.iter().map(said).collect();
    let reasons = reasons.join("; ");
    match &decision.effect {
        Effect::Allow => format!("Allowed: {reasons}{}", places(layers, &["allow"])),
        Effect::Approve(approval) => {
            let how_many = match approval.quorum {
                0 | 1 => "an approval".to_owned(),
                more => format!("{more} approvals"),
            };
            let who = match approval.approvers.as_slice() {
                [] => String::new(),
                those => format!(" from {}", those.join(", ")),
            };
            let mut steps: Vec<_> = approval.duties.iter().map(|duty| duty.step).collect();
            steps.sort_unstable();
            steps.dedup();
            let steps = match steps.len() {
                0 | 1 => String::new(),
                more => format!(" in {more} steps"),
            };
            let session = if approval.is_session_bound {
                " for this session"
            } else {
                ""
            };
            let windows = approval.windows.iter();
            let windows: String = windows.map(|window| format!(", {window}")).collect();
            let places = places(layers, &["approve"]);
            format!("Needs {how_many}{who}{steps}{session}{windows}: {reasons}{places}")
        }
        Effect::Deny => {
            let first = decision.reasons.first();
            if first.is_some_and(|reason| &*reason.code == Reason::NO_RULE) {
                let silent = silent(layers);
                return format!("Denied: no rule allows it{silent}");
            }
            format!("Denied: {reasons}{}", places(layers, &["deny"]))
        }
    }
}

fn said(reason: &Reason) -> String {
    if reason.message.is_empty() || reason.message == reason.code {
        reason.code.to_string()
    } else {
        format!("{} ({})", reason.message, reason.code)
    }
}

/// Where the rules stand that decided.
fn places(layers: &[LayerReport], sets: &[&str]) -> String {
    let all = layers.iter().flat_map(|layer| &layer.rules);
    let mut places: Vec<String> = all
        .filter(|rule| sets.contains(&rule.set.as_str()))
        .filter(|rule| matches!(rule.outcome, Outcome::Held { .. }))
        .map(|rule| format!("{}:{}", rule.file.display(), rule.line))
        .collect();
    places.dedup();
    match places.as_slice() {
        [] => String::new(),
        places => format!(", at {}", places.join(" and ")),
    }
}

/// In which layer nothing allows it, and which rule came closest to.
fn silent(layers: &[LayerReport]) -> String {
    let allows = |rule: &&RuleReport| matches!(rule.set.as_str(), "allow" | "approve");
    let is_silent = |layer: &&LayerReport| {
        !layer
            .rules
            .iter()
            .filter(allows)
            .any(|rule| matches!(rule.outcome, Outcome::Held { .. }))
    };
    let Some(layer) = layers.iter().find(is_silent) else {
        return String::new();
    };
    let of = if layers.len() > 1 {
        format!(" in layer {}", layer.layer)
    } else {
        String::new()
    };
    // The one that got furthest into its own text.
    let closest = layer.rules.iter().filter(allows).filter_map(|rule| {
        let Outcome::Failed { at: Some(at) } = &rule.outcome else {
            return None;
        };
        Some((at.line.saturating_sub(rule.line), rule, at))
    });
    let closest = closest.max_by_key(|(depth, rule, _)| (*depth, std::cmp::Reverse(rule.line)));
    match closest {
        Some((_, rule, at)) => format!(
            "{of}; the closest, {}:{}, stops at line {}: {}",
            rule.file.display(),
            rule.line,
            at.line,
            at.text
        ),
        None => of,
    }
}
