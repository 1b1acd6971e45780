//! `${NAME}` in `command` and `env` of a child process: replaced by a variable of the gateway's own, if the server lists it
//! under `variables`. No shell, no defaults, no nesting: the value of a variable is never looked at again.

use std::ffi::OsString;

use super::decode::{At, Text};
use super::fault::{Fault, Faults, Origin};
use super::raw::{Raw, Reached};

/// Most bytes all values of a file take after expansion: a file of 1 MiB could name a long variable a hundred thousand times.
const MAX_EXPANDED: usize = 4 << 20;

/// Expands the values of every child process; returns what works but is likely not meant.
///
/// Values of `KEEPGATE_*` variables stand for themselves: whoever sets one has a shell to do it with.
pub(super) fn expand(
    raw: &mut Raw,
    variables: &[(OsString, OsString)],
    faults: &mut Faults,
) -> Vec<String> {
    let mut room = MAX_EXPANDED;
    let mut warnings = Vec::new();
    for server in raw.servers.values_mut() {
        let Some(Reached::Command {
            command,
            env,
            variables: listed,
            ..
        }) = &mut server.value.reached
        else {
            continue;
        };
        let names = known(listed, variables, faults);
        if matches!(command.origin, Origin::Whole | Origin::File { .. }) {
            let place = At {
                value: (),
                origin: command.origin.clone(),
                path: command.path.clone(),
            };
            for part in &mut command.value {
                let mut pass = Pass::new(&place, &names, &mut room);
                pass.expand(part, faults);
                if let Some(name) = pass.secret {
                    let message = format!(
                        "`${{{name}}}` is called as a secret is: every user of this machine can read a command line"
                    );
                    faults.push(
                        place
                            .fault(message)
                            .hint("give it to the process with `credential` and `as: environment`"),
                    );
                }
            }
        }
        for value in env.values_mut() {
            if matches!(value.origin, Origin::Variable(_)) {
                continue;
            }
            let place = At {
                value: (),
                origin: value.origin.clone(),
                path: value.path.clone(),
            };
            let mut pass = Pass::new(&place, &names, &mut room);
            pass.expand(&mut value.value, faults);
            if let Some(name) = pass.secret {
                warnings.push(format!(
                    "{}: `${{{name}}}` is called as a secret is, and is not masked in answers: prefer `credential: {{ ref: \"env:{name}\", as: environment, name: .. }}`",
                    place.path
                ));
            }
        }
    }
    warnings
}

/// A listed name with its value; `None` where the listing was wrong, which is reported there and once.
type Known<'a> = (&'a str, Option<&'a str>);

/// The listed variables with their values.
fn known<'a>(
    listed: &'a [At<String>],
    variables: &'a [(OsString, OsString)],
    faults: &mut Faults,
) -> Vec<Known<'a>> {
    let value = |name: &At<String>| {
        if !keepgate_credential::is_variable(&name.value) || name.value.starts_with("KEEPGATE_") {
            let hint = "letters, digits and _, and none of the gateway's own (KEEPGATE_..)";
            let fault = name.fault("not the name of a variable that a server may be given");
            return Err(fault.hint(hint));
        }
        let set = variables.iter().find(|(other, _)| *other == *name.value);
        let set = set.map(|(_, value)| value.to_str());
        match set {
            Some(Some(value)) => Ok(value),
            Some(None) => Err(name.fault(format!("value of `{}` is not UTF-8", name.value))),
            None => {
                let fault = name.fault(format!("variable `{}` is not set", name.value));
                Err(fault.hint("set it where the gateway is started, or take it out"))
            }
        }
    };
    let mut names = Vec::new();
    for name in listed {
        let value = match value(name) {
            Ok(value) => Some(value),
            Err(fault) => {
                faults.push(fault);
                None
            }
        };
        names.push((name.value.as_str(), value));
    }
    names
}

/// Expansion of one text.
struct Pass<'a> {
    place: &'a At<()>,
    names: &'a [Known<'a>],
    room: &'a mut usize,
    /// A variable that was put in and is called as a secret is.
    secret: Option<String>,
}

impl<'a> Pass<'a> {
    fn new(place: &'a At<()>, names: &'a [Known<'a>], room: &'a mut usize) -> Self {
        Self {
            place,
            names,
            room,
            secret: None,
        }
    }

    /// Replaces the text by its expansion; what is wrong goes to `faults`.
    fn expand(&mut self, text: &mut Text, faults: &mut Faults) {
        if !text.0.contains('$') {
            return;
        }
        match self.expanded(&text.0) {
            Ok(expanded) => text.0 = expanded,
            Err(fault) => faults.push(fault),
        }
    }

    /// `$$` is a `$`, `${NAME}` the variable, any other `$` itself.
    fn expanded(&mut self, text: &str) -> Result<String, Fault> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            expanded.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                expanded.push('$');
                rest = after;
            } else if let Some(after) = after.strip_prefix('{') {
                let Some((name, after)) = after.split_once('}') else {
                    let fault = self.place.fault("`${` without `}`");
                    return Err(fault.hint("write `$${` for the text itself"));
                };
                expanded.push_str(self.value(name)?);
                rest = after;
            } else {
                expanded.push('$');
                rest = after;
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    fn value(&mut self, name: &str) -> Result<&'a str, Fault> {
        let known = self.names.iter().find(|(known, _)| *known == name);
        let Some((_, value)) = known else {
            // Repeated only where it cannot be part of a secret that has a `$` in it.
            let plain = keepgate_credential::is_variable(name)
                && !name.bytes().any(|byte| byte.is_ascii_lowercase());
            let shown = if plain { name } else { ".." };
            let message = format!("`${{{shown}}}` is not one of the server's `variables`");
            let hint = if plain {
                format!(
                    "write `variables: [{name}]` next to it, or `$${{{name}}}` for the text itself"
                )
            } else {
                "only `${NAME}` is read, without defaults; write `$${` for the text itself"
                    .to_owned()
            };
            return Err(self.place.fault(message).hint(hint));
        };
        let value = value.unwrap_or_default();
        let Some(room) = self.room.checked_sub(value.len()) else {
            let message = format!("values take more than {MAX_EXPANDED} bytes after expansion");
            return Err(self.place.fault(message));
        };
        *self.room = room;
        if keepgate_policy::is_secret(name) {
            self.secret = Some(name.to_owned());
        }
        Ok(value)
    }
}
