//! Any question to the rules, for people: what `keepgate policy eval` asks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use regorus::Value;
use regorus::utils::limits::ExecutionTimerConfig;

use crate::engine;
use crate::explain::InvalidInput;
use crate::json;
use crate::load::files::Kind;
use crate::load::rewrite::rewrite;
use crate::load::{self, brackets, locate};
use crate::policy::Policy;
use crate::problem::LoadErrors;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The input is no JSON.
    #[error("failed to read the input")]
    Input(#[source] InvalidInput),
    /// The policies can no longer be read.
    #[error("failed to read the policies")]
    Policies(#[source] LoadErrors),
    /// The question cannot be read, or a rule failed.
    #[error("failed to evaluate: {0}")]
    Evaluation(String),
}

impl Policy {
    /// Asks the platform's rules: `data.mcp.authz.deny`, or any other query of Rego. Gives one JSON value for each answer;
    /// none when it is undefined. Blocks for at most some seconds; for people, never for calls.
    ///
    /// # Errors
    /// [`QueryError`].
    pub fn query(
        &self,
        input: Option<&str>,
        query: &str,
    ) -> Result<Vec<serde_json::Value>, QueryError> {
        let input = input.map(json::parse).transpose();
        let input = input.map_err(|error| QueryError::Input(error.into()))?;
        brackets::check(std::path::Path::new("query"), query)
            .map_err(|problem| QueryError::Evaluation(problem.message))?;
        let met = self.files_met("", "").map_err(QueryError::Policies)?;
        let files: Vec<_> = met.into_iter().flat_map(|(_, files)| files).collect();
        let checked = load::check_files(&files, false)
            .map_err(LoadErrors::new)
            .map_err(QueryError::Policies)?;
        let failed = |error: String| QueryError::Evaluation(locate::message(&error));
        let mut engine = engine::bare().map_err(failed)?;
        for file in files.iter().filter(|file| file.kind == Kind::Rules) {
            let name = file.path.display().to_string();
            let text = rewrite(&name, &file.text).map_err(failed)?;
            engine
                .add_policy(name, text.to_string())
                .map_err(|error| failed(error.to_string()))?;
        }
        engine
            .add_data(checked.data)
            .map_err(|error| failed(error.to_string()))?;
        if let Some(input) = input {
            engine.set_input(input);
        }
        engine.set_execution_timer_config(ExecutionTimerConfig {
            limit: LIMIT,
            check_interval: std::num::NonZeroU32::MIN.saturating_add(31),
        });
        let asked = catch_unwind(AssertUnwindSafe(|| {
            engine.eval_query(query.to_owned(), false)
        }));
        let answered = asked.map_err(|_| failed("the evaluator failed".to_owned()))?;
        let answered = answered.map_err(|error| failed(error.to_string()))?;
        let mut answers = Vec::new();
        for result in answered.result {
            let bound = result.bindings != Value::new_object();
            let value = if bound {
                Some(result.bindings)
            } else {
                result
                    .expressions
                    .into_iter()
                    .next()
                    .map(|found| found.value)
            };
            let value = value.filter(|value| *value != Value::Undefined);
            answers.extend(value.and_then(|value| serde_json::to_value(value).ok()));
        }
        Ok(answers)
    }
}
