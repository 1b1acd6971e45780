//! Arguments that policy sets: they are judged, and what is judged is what is sent.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use keepgate_call::{Call, Changed, Refusal};
use keepgate_mcp::{
    Era, header,
    json::{self, Kind, Raw},
    message::{Message, Request},
    method::Subject as About,
};
use keepgate_policy::Decision;

use super::unsupported;
use crate::{catalog::Mirror, oblige};

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

    /// Makes the changed request what is sent, if `decision`, which judged it, sets nothing more. `mirrors` are the
    /// arguments that headers repeat (SEP-2243).
    pub(super) fn settle(
        self,
        call: &Call,
        decision: &Decision,
        mirrors: &[Mirror],
    ) -> Result<(), Refusal> {
        let refused = || unsupported("set_arguments", &decision.revision);
        let none = BTreeMap::new();
        let obligations = decision.obligations.as_ref();
        let set = obligations.map_or(&none, |obligations| &obligations.set_arguments);
        let again = oblige::written(Some(&self.arguments), set).map_err(|_| refused())?;
        if again != self.arguments {
            return Err(refused());
        }
        let params = if call.revision.era() == Era::Stateless {
            self.params(call, mirrors)
        } else {
            Vec::new()
        };
        call.carried.change(Changed {
            message: Message::Request(self.request),
            params,
        });
        Ok(())
    }

    /// The client's lines, with those that mirror an argument made anew from the arguments that are sent.
    fn params(&self, call: &Call, mirrors: &[Mirror]) -> Vec<(Box<str>, Bytes)> {
        let mirrored = |name: &str| mirrors.iter().any(|mirror| *mirror.header == *name);
        let kept = call.passed.params.iter();
        let mut lines: Vec<(Box<str>, Bytes)> =
            kept.filter(|(name, _)| !mirrored(name)).cloned().collect();
        let arguments = json::parse(self.arguments.as_bytes(), &keepgate_mcp::Limits::reply());
        let Ok(arguments) = arguments else {
            return lines;
        };
        for mirror in mirrors {
            let mut path = mirror.path.iter();
            let value = path.try_fold(arguments, |value, step| value.member(step));
            if let Some(line) = value.and_then(line) {
                lines.push((mirror.header.clone(), line));
            }
        }
        lines
    }
}

/// The line that mirrors a value; none for what is missing or null, and for what no line can be.
fn line(value: Raw<'_>) -> Option<Bytes> {
    let text = match value.kind() {
        Kind::String => value.string()?.into_owned(),
        Kind::Number | Kind::Bool => value.as_str().to_owned(),
        Kind::Null | Kind::Array | Kind::Object => return None,
    };
    Some(Bytes::copy_from_slice(
        header::encode_value(&text).as_bytes(),
    ))
}
