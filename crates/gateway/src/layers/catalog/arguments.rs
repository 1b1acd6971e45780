//! Arguments, held against what the tool declares before policy sees them: no name that can be taken for another, nothing
//! the tool does not take, and header lines that agree with the arguments.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use keepgate_call::{Call, Changed, Code, Refusal};
use keepgate_mcp::{
    Era, Limits,
    json::{self, Raw},
    message::{Message, Request},
    mirror::Mirror,
    schema::{Additional, ArgumentFault, InputSchema, Undeclared, values::ValueFault},
};

use crate::{
    catalog::CatalogEntry,
    inspection::Inspection,
    settings::{UndeclaredArguments, Validation},
};

/// A call that contradicts the tool's schema is measured by a list of at most this age.
const FRESH: Duration = Duration::from_secs(5);
/// A call with names the schema does not have, by one of at most this age: many clients add some to every call.
const RECENT: Duration = Duration::from_secs(60);
/// Most undeclared names that reach policy and audit log, and their longest in characters: a client makes them up.
const MAX_NAMES: usize = 32;
const MAX_NAME: usize = 128;

/// The arguments of a tool call, held against the tool's schema.
pub(super) struct Arguments<'a> {
    mode: UndeclaredArguments,
    /// The arguments without those that are dropped, where some are.
    kept: Option<String>,
    checked: Result<Undeclared<'a>, ArgumentFault>,
    /// The declared header whose line differs from the arguments.
    mismatch: Option<&'a str>,
    strange_lines: usize,
    validity: Validity,
}

/// The outcome of validation.
enum Validity {
    /// The schema admits the arguments, or nobody asks.
    Admitted,
    /// The list was read before validation was asked for.
    Unread,
    /// The detail of the refusal.
    Invalid(String),
}

/// The arguments of a request: null counts as none.
fn given(request: &Request) -> Option<Raw<'_>> {
    request.param("arguments").filter(|raw| !raw.is_null())
}

/// Checks the arguments of a prompt. No list shows a schema for them, so their names are compared with each other only.
///
/// # Errors
/// `params_invalid` for names that can be taken for each other, and for what is no object.
pub(super) fn of_prompt(call: &Call, request: &Request) -> Result<(), Refusal> {
    let open = InputSchema::open();
    if let Some(given) = given(request) {
        open.check(given).map_err(faulty)?;
    }
    send(call, request, &open, null_as_none(request).as_deref())
}

impl<'a> Arguments<'a> {
    /// The arguments of `request`, held against the schema of a tool.
    ///
    /// # Errors
    /// `inspection_overloaded` when they are large and too many such wait.
    pub(super) fn of(
        call: &'a Call,
        request: &'a Request,
        tool: &'a CatalogEntry,
        (validation, mode): (Validation, UndeclaredArguments),
        inspection: &Inspection,
    ) -> Result<Self, Refusal> {
        let schema = &*tool.schema;
        let given = given(request);
        let checked = given.map_or_else(|| Ok(Undeclared::new()), |given| schema.check(given));
        let (mut mismatch, mut strange_lines) = (None, 0);
        if call.revision.era() == Era::Stateless {
            let mirrors = schema.mirrors().unwrap_or_default();
            let lines = &call.passed.params;
            let line = |mirror: &Mirror| {
                let (_, line) = lines.iter().find(|(name, _)| *name == mirror.header)?;
                Some(&**line)
            };
            let arguments = given.unwrap_or(Raw::NO_MEMBERS);
            let differs = |mirror: &&Mirror| !mirror.agrees(line(mirror), arguments);
            mismatch = mirrors.iter().find(differs).map(|mirror| &*mirror.header);
            let declared = |name: &str| mirrors.iter().any(|mirror| *mirror.header == *name);
            strange_lines = lines.iter().filter(|(name, _)| !declared(name)).count();
        }
        let undeclared = checked.as_ref().ok().filter(|names| !names.is_empty());
        let drops = (mode, schema.additional()) == (UndeclaredArguments::Drop, Additional::Plain);
        let kept = given
            .zip(undeclared)
            .filter(|_| drops)
            .map(|(given, names)| without(given, names));
        let validity = match validation {
            Validation::Names => Validity::Admitted,
            Validation::Full => {
                let arguments = given.unwrap_or(Raw::NO_MEMBERS);
                let bytes = arguments.as_bytes().len();
                inspection.here(bytes, || match &kept {
                    None => validity(call, tool, arguments),
                    Some(kept) => match json::parse(kept.as_bytes(), &Limits::request()) {
                        Ok(kept) => validity(call, tool, kept),
                        Err(error) => Validity::Invalid(error.to_string()),
                    },
                })?
            }
        };
        Ok(Self {
            mode,
            kept,
            checked,
            mismatch,
            strange_lines,
            validity,
        })
    }

    /// The age from which on the list these were held against may be to blame for what is wrong with them.
    pub(super) fn stale_after(&self) -> Option<Duration> {
        let strange = self.checked.as_ref().is_ok_and(|names| !names.is_empty());
        let is_valid = match self.validity {
            Validity::Admitted => true,
            Validity::Unread => return Some(Duration::ZERO),
            Validity::Invalid(_) => false,
        };
        if self.mismatch.is_some() || self.checked.is_err() || !is_valid {
            Some(FRESH)
        } else {
            (strange || self.strange_lines > 0).then_some(RECENT)
        }
    }

    /// The names that the tool does not declare.
    pub(super) fn undeclared(&self) -> Box<[Cow<'static, str>]> {
        let names = self.checked.iter().flatten().take(MAX_NAMES);
        names
            .filter_map(|key| key.string())
            .map(|name| Cow::Owned(name.chars().take(MAX_NAME).collect()))
            .collect()
    }

    /// Number of `Mcp-Param-*` lines the tool does not declare.
    pub(super) fn strange_lines(&self) -> usize {
        self.strange_lines
    }

    /// Makes the arguments, as far as the tool takes them, those that are evaluated and sent, with the lines that mirror them.
    ///
    /// # Errors
    /// `params_invalid` or `header_mismatch`.
    pub(super) fn settle(
        self,
        call: &Call,
        request: &Request,
        schema: &InputSchema,
    ) -> Result<(), Refusal> {
        let undeclared = self.checked.map_err(faulty)?;
        if let Some(header) = self.mismatch {
            return Err(Refusal::new(Code::HeaderMismatch)
                .detail(format!("`{header}` differs from the argument")));
        }
        match self.validity {
            Validity::Admitted => {}
            Validity::Unread => return Err(Refusal::new(Code::Internal)),
            Validity::Invalid(detail) => {
                return Err(Refusal::new(Code::ParamsInvalid).detail(detail));
            }
        }
        if let Some(first) = undeclared.first() {
            match (self.mode, schema.additional()) {
                (UndeclaredArguments::Pass, _)
                | (_, Additional::Open)
                | (UndeclaredArguments::Drop, Additional::Plain) => {}
                (UndeclaredArguments::Drop, Additional::Closed)
                | (UndeclaredArguments::Refuse, Additional::Plain | Additional::Closed) => {
                    let name: String = first
                        .string()
                        .iter()
                        .flat_map(|name| name.chars())
                        .take(MAX_NAME)
                        .collect();
                    let server = &call.server;
                    let way_out = match schema.additional() {
                        Additional::Closed => format!(
                            "its schema has `additionalProperties: false`; `servers.{server}.arguments: pass` leaves it to the server"
                        ),
                        Additional::Plain | Additional::Open => {
                            format!("`servers.{server}.arguments: drop` leaves it out")
                        }
                    };
                    return Err(Refusal::new(Code::ParamsInvalid)
                        .detail(format!("the tool has no argument `{name}`: {way_out}")));
                }
            }
        }
        let replaced = self.kept.or_else(|| null_as_none(request));
        send(call, request, schema, replaced.as_deref())
    }
}

/// Validates arguments against the whole schema of a tool.
fn validity(call: &Call, tool: &CatalogEntry, arguments: Raw<'_>) -> Validity {
    let server = &call.server;
    let way_out = format!("`servers.{server}.validation: names` leaves values to the server");
    match tool.rules.as_deref() {
        None => Validity::Unread,
        Some(Err(unusable)) => Validity::Invalid(format!("{unusable}; {way_out}")),
        Some(Ok(rules)) => match rules.check(arguments) {
            Ok(()) => Validity::Admitted,
            Err(fault @ ValueFault::Violated { .. }) => {
                Validity::Invalid(format!("{fault} of the tool's `inputSchema`"))
            }
            Err(fault @ ValueFault::TooCostly) => Validity::Invalid(format!("{fault}; {way_out}")),
        },
    }
}

/// The lines that mirror `arguments` for a call whose revision has them.
pub(in super::super) fn lines(
    call: &Call,
    schema: &InputSchema,
    arguments: Raw<'_>,
) -> Vec<(Box<str>, Bytes)> {
    if call.revision.era() != Era::Stateless {
        return Vec::new();
    }
    let mirrors = schema.mirrors().unwrap_or_default().iter();
    mirrors
        .filter_map(|mirror| Some((mirror.header.clone(), mirror.line(arguments)?.into())))
        .collect()
}

/// Notes the message that is evaluated and sent, where it differs from the client's.
fn send(
    call: &Call,
    request: &Request,
    schema: &InputSchema,
    replaced: Option<&str>,
) -> Result<(), Refusal> {
    let settled = match replaced {
        Some(text) => request
            .with_param("arguments", text)
            .map_err(|error| Refusal::new(Code::ParamsInvalid).source(error))?,
        None => request.clone(),
    };
    let params = lines(call, schema, given(&settled).unwrap_or(Raw::NO_MEMBERS));
    if replaced.is_some() || !params.is_empty() {
        call.carried.settle(Changed {
            message: Message::Request(settled),
            params,
        });
    }
    Ok(())
}

/// An empty object for arguments that are null: policy sees none, so the server gets none.
fn null_as_none(request: &Request) -> Option<String> {
    let null = request.param("arguments").is_some_and(Raw::is_null);
    null.then(|| "{}".to_owned())
}

/// The object without these of its members; every other member stays as it is written.
fn without(object: Raw<'_>, dropped: &[Raw<'_>]) -> String {
    let mut text = String::with_capacity(object.as_bytes().len());
    // Both are in the order of the members.
    let mut dropped = dropped.iter().peekable();
    for (key, value) in object.members() {
        let same = |next: &&Raw<'_>| std::ptr::eq(next.as_bytes(), key.as_bytes());
        if dropped.next_if(same).is_some() {
            continue;
        }
        text.push(if text.is_empty() { '{' } else { ',' });
        text.push_str(key.as_str());
        text.push(':');
        text.push_str(value.as_str());
    }
    if text.is_empty() {
        text.push('{');
    }
    text.push('}');
    text
}

fn faulty(fault: ArgumentFault) -> Refusal {
    let said = match fault {
        ArgumentFault::NotAnObject => "`arguments` is not an object".to_owned(),
        ArgumentFault::Twin(name) => {
            let name: String = name.chars().take(MAX_NAME).collect();
            format!("an argument differs from `{name}` in letter case or form only")
        }
    };
    Refusal::new(Code::ParamsInvalid).detail(said)
}
