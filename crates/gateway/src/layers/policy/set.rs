//! Arguments that policy sets: they are judged, and what is judged is what is sent.

use std::{collections::BTreeMap, sync::Arc};

use keepgate_call::{Call, Changed, Refusal};
use keepgate_mcp::{
    json::{self, Raw},
    message::{Message, Request},
    method::Subject as About,
    schema::InputSchema,
};
use keepgate_policy::Decision;

use super::{super::catalog::lines, unsupported};
use crate::oblige;

/// A request with other arguments.
pub(super) struct Set {
    request: Request,
    arguments: String,
}

impl Set {
    /// The request with the arguments `decision` sets.
    pub(super) fn of(call: &Call, request: &Request, decision: &Decision) -> Result<Self, Refusal> {
        let refused = || unsupported("set_arguments", &decision.revision);
        // Only these have `arguments`.
        if !matches!(request.subject(), About::Tool(_) | About::Prompt(_)) {
            return Err(refused());
        }
        let none = BTreeMap::new();
        let obligations = decision.obligations.as_ref();
        let set = obligations.map_or(&none, |obligations| &obligations.set_arguments);
        let given = request.param("arguments").map(Raw::as_str);
        let arguments = oblige::written(given, set).map_err(|error| {
            tracing::warn!(%error, server = %call.server, decision = %call.id, "arguments could not be set");
            refused()
        })?;
        let place = Arc::from("/arguments");
        let params = oblige::written(
            request.params().map(Raw::as_str),
            &BTreeMap::from([(place, Arc::from(arguments.as_str()))]),
        );
        let changed = params.map_err(|_| refused())?;
        let request = request
            .with_params(&changed)
            .map_err(|error| refused().source(error))?;
        Ok(Self { request, arguments })
    }

    /// The arguments.
    pub(super) fn arguments(&self) -> &str {
        &self.arguments
    }

    /// Makes the changed request what is sent, if `decision`, which judged it, sets nothing more. `schema` says which
    /// arguments headers repeat (SEP-2243).
    pub(super) fn settle(
        self,
        call: &Call,
        decision: &Decision,
        schema: Option<&InputSchema>,
    ) -> Result<(), Refusal> {
        let refused = || unsupported("set_arguments", &decision.revision);
        let none = BTreeMap::new();
        let obligations = decision.obligations.as_ref();
        let set = obligations.map_or(&none, |obligations| &obligations.set_arguments);
        let again = oblige::written(Some(&self.arguments), set).map_err(|_| refused())?;
        if again != self.arguments {
            return Err(refused());
        }
        let arguments = json::parse(self.arguments.as_bytes(), &keepgate_mcp::Limits::reply());
        let params = match (schema, arguments) {
            (Some(schema), Ok(arguments)) => lines(call, schema, arguments),
            (None, _) | (_, Err(_)) => Vec::new(),
        };
        call.carried.change(Changed {
            message: Message::Request(self.request),
            params,
        });
        Ok(())
    }
}
