//! What a policy lets through that nobody should have meant. The policy is asked, with calls made up for the purpose.
//!
//! A call that is let through is a witness: it shows what the rules do, whatever their form. That none is found proves
//! nothing: rules that look at arguments, the hour or a caller's name are not reached by calls made up here.

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::decision::Effect;
use crate::facts::{
    CallerFacts, CallerFields, Facts, FactsError, HistoryFacts, Phase, RequestFacts, ServerFacts,
    ServerFields, Subject, ToolFacts, ToolFields,
};
use crate::load::files::Kind;
use crate::policy::Policy;
use crate::problem::LoadErrors;

/// A tool that no rule names and no server has.
const NOBODYS: &str = "keepgate-readiness-no-such-tool";
/// What a server says of a tool that destroys (MCP, tool annotations).
const DESTRUCTIVE: &str = r#"{"readOnlyHint":false,"destructiveHint":true}"#;
/// Most words of the policies that are tried as names of tools.
const MOST_WORDS: usize = 400;
/// Longest name of a tool, in bytes.
const LONGEST_WORD: usize = 128;

/// A call the policy lets through without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Witness {
    /// The server called.
    pub server: String,
    /// The tool called.
    pub tool: String,
    /// Whether the caller needs a role, group or scope for it.
    pub with_roles: bool,
    /// What the rule says of itself.
    pub reason: String,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Probed {
    /// Tools that no rule names, and yet are allowed: the rule allows whatever the server has.
    pub anything: Vec<Witness>,
    /// Tools that are allowed although the server calls them destructive.
    pub destructive: Vec<Witness>,
    /// How many calls the policy would have somebody agree to.
    pub asked_for: usize,
    /// How many calls were made up.
    pub calls: usize,
    /// Whether the policies have more words than were tried.
    pub cut_short: bool,
}

/// Why the policy could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The files cannot be read again.
    #[error("failed to read the policies again")]
    Files(#[from] LoadErrors),
    /// A made-up call could not become facts.
    #[error("failed to make up a call")]
    Facts(#[from] FactsError),
}

/// Asks `policy` about made-up calls to `servers`, with every word of its files as a tool's name, once as a caller without
/// any role and once as one that has them all. Reads the files again; `now` is when the calls come.
///
/// # Errors
/// [`ProbeError`].
pub fn probe(
    policy: &Policy,
    servers: &[ServerFields<'_>],
    now: SystemTime,
) -> Result<Probed, ProbeError> {
    let words = words(policy)?;
    let cut_short = words.len() > MOST_WORDS;
    let all: Vec<&str> = words.iter().map(String::as_str).collect();
    let callers = callers(&all)?;
    let kept: Vec<&str> = all.iter().take(MOST_WORDS).copied().collect();
    let mut probed = Probed {
        cut_short,
        ..Probed::default()
    };
    let since = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let mut asking = Asking {
        policy,
        callers: &callers,
        unix_nanos: u64::try_from(since.as_nanos()).unwrap_or(u64::MAX),
        probed: &mut probed,
    };
    for fields in servers {
        let server = ServerFacts::new(fields);
        let open = asking.ask(fields.name, &server, NOBODYS, None);
        // Where everything is allowed, every word would be; one tool says as much.
        let tools = if open.is_some() { &[NOBODYS] } else { &*kept };
        asking.probed.anything.extend(open);
        for word in tools {
            let tool = ToolFacts::new(&ToolFields {
                name: word,
                annotations: Some(DESTRUCTIVE),
                ..ToolFields::default()
            })?;
            if let Some(found) = asking.ask(fields.name, &server, word, Some(&tool)) {
                asking.probed.destructive.push(found);
            }
        }
    }
    Ok(probed)
}

/// The two callers: one with nothing, one with everything.
fn callers(words: &[&str]) -> Result<[(bool, CallerFacts); 2], FactsError> {
    let caller = |roles| {
        CallerFacts::new(&CallerFields {
            subject: "keepgate-readiness",
            kind: "machine",
            roles,
            groups: roles,
            scopes: roles,
            ..CallerFields::default()
        })
    };
    Ok([(false, caller(&[])?), (true, caller(words)?)])
}

struct Asking<'a> {
    policy: &'a Policy,
    callers: &'a [(bool, CallerFacts); 2],
    unix_nanos: u64,
    probed: &'a mut Probed,
}

impl Asking<'_> {
    /// The first of the callers the call is allowed for.
    fn ask(
        &mut self,
        name: &str,
        server: &ServerFacts,
        tool: &str,
        definition: Option<&ToolFacts>,
    ) -> Option<Witness> {
        for (with_roles, caller) in self.callers {
            self.probed.calls += 1;
            let decision = self.policy.judge(&Facts {
                phase: Phase::Call,
                caller,
                server,
                client: None,
                session: None,
                tenant: "",
                method: "tools/call",
                subject: Subject::Tool {
                    name: tool,
                    definition,
                },
                arguments: Some("{}"),
                response: None,
                history: HistoryFacts::NONE,
                labels: &[],
                approval: None,
                id: "",
                request: RequestFacts {
                    unix_nanos: self.unix_nanos,
                    ip: None,
                    size: 0,
                    trace: None,
                },
            });
            match decision.effect {
                Effect::Allow => {
                    let reason = decision.reasons.first();
                    return Some(Witness {
                        server: name.to_owned(),
                        tool: tool.to_owned(),
                        with_roles: *with_roles,
                        reason: reason
                            .map(|reason| reason.message.to_string())
                            .unwrap_or_default(),
                    });
                }
                Effect::Approve(_) => self.probed.asked_for += 1,
                Effect::Deny => {}
            }
        }
        None
    }
}

/// Every word of rules and data that could name something: what stands between quotes, and in YAML between blanks too.
fn words(policy: &Policy) -> Result<BTreeSet<String>, LoadErrors> {
    let mut words = BTreeSet::new();
    for file in policy.files()? {
        let quoted = file.text.split('"').skip(1).step_by(2);
        words.extend(quoted.filter(|word| is_name(word)).map(str::to_owned));
        if file.kind == Kind::Yaml {
            let parted = file.text.split(|letter: char| {
                letter.is_whitespace() || matches!(letter, ',' | '[' | ']' | '{' | '}' | '"' | '\'')
            });
            let plain = parted.map(|word| word.trim_end_matches(':'));
            words.extend(plain.filter(|word| is_name(word)).map(str::to_owned));
        }
    }
    Ok(words)
}

fn is_name(word: &str) -> bool {
    (1..=LONGEST_WORD).contains(&word.len())
        && !word
            .chars()
            .any(|letter| letter.is_whitespace() || letter.is_control() || letter == '\\')
}

#[cfg(test)]
mod tests;
