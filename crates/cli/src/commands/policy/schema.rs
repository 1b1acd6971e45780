//! `policy schema`: the JSON Schema of what rules see, or of what they may say, for editors and validators.

use keepgate_policy::schema;

use crate::arguments::Schema;
use crate::commands::Context;
use crate::failure::Failure;

/// `policy schema`. The form that was asked for does not matter: it is JSON.
pub(super) fn run(which: Schema, context: &mut Context<'_>) -> Result<(), Failure> {
    let text = match which {
        Schema::Input => schema::INPUT,
        Schema::Decision => schema::DECISION,
        Schema::Definition => schema::DEFINITION,
    };
    Ok(context.output.line(text.trim_end())?)
}
