//! What a request of a client is about, as policy is asked about it: at the call, and again at its answer.

use keepgate_call::{Code, Refusal};
use keepgate_mcp::{
    message::Request,
    method::{ListKind, Subject as About},
};
use keepgate_policy::{Item, ToolFacts};

use super::facts::{self, Located};

/// Asks about the tool, prompt, resource or completion of `request`; `tool` is the definition the server has shown.
///
/// # Errors
/// What `ask` says, or `params_invalid` for an address that can be read in two ways and for what is about none of these.
pub(super) fn with<T>(
    request: &Request,
    tool: Option<&ToolFacts>,
    ask: impl FnOnce(Item<'_>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    match request.subject() {
        About::Tool(name) => ask(Item::Tool {
            name: &name,
            definition: tool,
        }),
        About::Prompt(name) => ask(Item::Prompt { name: &name }),
        About::Resource(uri) => {
            let located = Located::resource(&uri)?;
            located.with(|facts| ask(Item::Resource(facts)))
        }
        About::Completion {
            reference,
            argument,
        } => {
            let value = request
                .param("argument")
                .and_then(|raw| raw.member("value"));
            let value = value.and_then(|raw| raw.string()).unwrap_or_default();
            facts::completion(&reference, &argument, &value, ask)
        }
        About::Listing(
            ListKind::Tools
            | ListKind::Prompts
            | ListKind::Resources
            | ListKind::ResourceTemplates
            | ListKind::Tasks
            | ListKind::Roots,
        )
        | About::Task(_)
        | About::Subscription
        | About::Session
        | About::Client
        | About::Missing
        | About::Unknown => Err(Refusal::new(Code::ParamsInvalid)),
    }
}
