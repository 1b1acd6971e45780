//! The rules on the decision log: which decisions are left out of it (`drop`), and what of the others (`mask`).
//!
//! Package `system.log` of the platform's policies, asked with the event as input. A tenant's policies do not speak here:
//! they would hide from the platform what the platform decided.

use std::time::Instant;

use regorus::Value;

use crate::engine::Evaluator;
use crate::input::{Document, Wanted};
use crate::layer::Layer;
use crate::load::check::LOG;
use crate::load::survey::Site;

/// Which of the rules there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OnLog {
    mask: bool,
    drop: bool,
}

impl OnLog {
    /// Those among `sites`.
    pub(crate) fn by(sites: &[Site]) -> Self {
        let has = |name: &str| {
            sites.iter().any(|site| {
                site.package.join(".") == LOG && site.name.first().is_some_and(|own| own == name)
            })
        };
        Self {
            mask: has("mask"),
            drop: has("drop"),
        }
    }
}

/// An evaluator of these rules, owned by one thread.
#[derive(Debug)]
pub(crate) struct LogRules {
    evaluator: Evaluator,
    on_log: OnLog,
}

impl LogRules {
    /// Those of a layer; `None` where it has none. The error is the evaluator's own text.
    pub(crate) fn build(layer: &Layer) -> Result<Option<Self>, String> {
        if layer.on_log == OnLog::default() {
            return Ok(None);
        }
        Ok(Some(Self {
            evaluator: Evaluator::build(&layer.plans.call, &layer.data, Wanted::ALL)?,
            on_log: layer.on_log,
        }))
    }

    /// Whether the event is left out, and what `mask` says of it. Whatever goes wrong is an error, and so is an answer
    /// of another form than true or false to `drop`.
    pub(crate) fn ask(
        &mut self,
        event: &Value,
        deadline: Instant,
    ) -> Result<(bool, Value), String> {
        let mut document = Document::whole(event.clone());
        if self.on_log.drop {
            let drop = self
                .evaluator
                .ask(&format!("data.{LOG}.drop"), &mut document, deadline);
            match drop.map_err(|failure| format!("`drop`: {failure}"))? {
                Value::Bool(true) => return Ok((true, Value::Undefined)),
                Value::Bool(false) | Value::Undefined => {}
                Value::Null
                | Value::Number(_)
                | Value::String(_)
                | Value::Array(_)
                | Value::Set(_)
                | Value::Object(_) => return Err("`drop` is neither true nor false".to_owned()),
            }
        }
        if !self.on_log.mask {
            return Ok((false, Value::Undefined));
        }
        let answer = self
            .evaluator
            .ask(&format!("data.{LOG}.mask"), &mut document, deadline);
        let answer = answer.map_err(|failure| format!("`mask`: {failure}"))?;
        Ok((false, answer))
    }
}
