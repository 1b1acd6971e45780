//! Reads a record back, strictly: what the writer could not have written is refused.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use super::write::{
    CredentialLine, Cut, EVENT_ID, Line, LogNote, MAX_DIGITS, ReasonLine, RepeatLine, ResultLine,
    ShadowLine, TIMESTAMP, seconds, write_line, write_number,
};
use super::{Decision, Kind, Scope, Status, VERSION};

/// Why bytes are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRecord {
    /// Not JSON, or not the members a record has.
    #[error("not a record: {0}")]
    Form(String),
    /// A member holds a word that is none of its words.
    #[error("member `{member}` has an unknown value: `{value}`")]
    Word {
        /// The member.
        member: &'static str,
        /// Its value.
        value: String,
    },
    /// The same record is written in another way.
    #[error("not in canonical form")]
    Canonical,
}

/// A record as it stands in the log.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parsed<'a> {
    #[serde(borrow, default)]
    approval: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    args_digest: Option<Cow<'a, str>>,
    #[serde(borrow)]
    boot_id: Cow<'a, str>,
    #[serde(borrow, default)]
    call_digest: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    caller_kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    client: Option<ParsedClient<'a>>,
    #[serde(borrow, default)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    cred: Option<ParsedCredential<'a>>,
    #[serde(borrow, default)]
    cut: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    decision: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    decision_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    #[serde(borrow, default)]
    initiated_by: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    input_params: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    issuer: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    key_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    log: Option<ParsedNote<'a>>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow, default)]
    policy_rev: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    prompt: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    protocol_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasons: Vec<ParsedReason<'a>>,
    #[serde(borrow, default)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    repeat: Option<ParsedRepeat<'a>>,
    #[serde(default)]
    request_bytes: Option<u64>,
    #[serde(borrow, default)]
    resource: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    result: Option<ParsedResult<'a>>,
    seq: u64,
    #[serde(borrow, default)]
    server: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    session_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    shadow: Option<ParsedShadow<'a>>,
    #[serde(borrow, default)]
    shown: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    src: Option<ParsedSource<'a>>,
    #[serde(borrow, default)]
    tenant: Option<Cow<'a, str>>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow, default)]
    tool_name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    undeclared: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    user_id: Option<Cow<'a, str>>,
    v: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParsedClient<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParsedCredential<'a> {
    #[serde(borrow, default)]
    fault: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    lease_id: Option<Cow<'a, str>>,
    #[serde(default)]
    masked: Option<u64>,
    #[serde(borrow, rename = "ref")]
    reference: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParsedRepeat<'a> {
    #[serde(default)]
    count: Option<u64>,
    #[serde(borrow, default)]
    first: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    last: Option<Cow<'a, str>>,
    #[serde(borrow)]
    scope: Cow<'a, str>,
    #[serde(default)]
    within_s: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParsedShadow<'a> {
    #[serde(borrow, default)]
    codes: Option<Cow<'a, str>>,
    #[serde(borrow)]
    policy_rev: Cow<'a, str>,
    #[serde(borrow)]
    would: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParsedReason<'a> {
    #[serde(borrow)]
    code: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParsedResult<'a> {
    #[serde(default)]
    bytes: Option<u64>,
    #[serde(default)]
    http_status: Option<u64>,
    #[serde(borrow, default)]
    keys: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    output: Option<Cow<'a, str>>,
    #[serde(default)]
    records: Option<u64>,
    #[serde(default)]
    records_cut: Option<u64>,
    #[serde(default)]
    redacted: Option<u64>,
    #[serde(borrow, default)]
    result_digest: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(default)]
    upstream_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParsedSource<'a> {
    #[serde(borrow)]
    ip: Cow<'a, str>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ParsedNote<'a> {
    #[serde(default)]
    cut_bytes: Option<u64>,
    #[serde(default)]
    heartbeat_s: Option<u64>,
    #[serde(default)]
    lost: Option<u64>,
    #[serde(borrow, default)]
    origin: Option<Cow<'a, str>>,
    #[serde(default)]
    rebuilt: Option<bool>,
    #[serde(default)]
    unsigned: Option<u64>,
}

/// What a reader of the log needs of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    /// Member `seq`.
    pub(crate) seq: u64,
    /// Member `kind`.
    pub(crate) kind: Kind,
    /// Member `decision_id`.
    pub(crate) decision_id: Option<Box<str>>,
    /// Member `timestamp`, in seconds of the Unix epoch.
    pub(crate) at_s: i64,
    /// Member `repeat.within_s`: how long records equal to this one are counted.
    pub(crate) within_s: Option<u64>,
    /// Member `repeat.count`.
    pub(crate) count: Option<u64>,
}

/// Reads a record; refuses anything but the one form the writer gives it.
///
/// `scratch` is overwritten; keep it between calls to save allocations.
///
/// # Errors
///
/// [`NotRecord`] says what is wrong.
pub(crate) fn read(bytes: &[u8], scratch: &mut Vec<u8>) -> Result<Head, NotRecord> {
    let parsed: Parsed<'_> =
        serde_json::from_slice(bytes).map_err(|source| NotRecord::Form(source.to_string()))?;
    let kind = word("kind", &parsed.kind, Kind::from_word)?;
    check_values(&parsed)?;
    let line = line_of(&parsed, kind)?;
    let reasons = parsed.reasons.iter().map(|reason| ReasonLine {
        code: &reason.code,
        message: reason.message.as_deref(),
    });
    scratch.clear();
    let seq_at = write_line(&line, reasons, usize::MAX, scratch);
    let mut digits = Vec::with_capacity(MAX_DIGITS);
    write_number(parsed.seq, &mut digits);
    let same = scratch
        .split_at_checked(seq_at)
        .is_some_and(|(before, after)| {
            bytes
                .strip_prefix(before)
                .and_then(|rest| rest.strip_prefix(digits.as_slice()))
                .is_some_and(|rest| rest == after)
        });
    if !same {
        return Err(NotRecord::Canonical);
    }
    let decision_id = parsed
        .decision_id
        .map(|id| id.into_owned().into_boxed_str());
    let repeat = parsed.repeat.as_ref();
    Ok(Head {
        seq: parsed.seq,
        kind,
        decision_id,
        at_s: seconds(&parsed.timestamp).unwrap_or_default(),
        within_s: repeat.and_then(|repeat| repeat.within_s),
        count: repeat.and_then(|repeat| repeat.count),
    })
}

fn word<T>(
    member: &'static str,
    value: &str,
    known: impl Fn(&str) -> Option<T>,
) -> Result<T, NotRecord> {
    known(value).ok_or_else(|| NotRecord::Word {
        member,
        value: value.to_owned(),
    })
}

/// Checks what the types of the members leave open.
fn check_values(parsed: &Parsed<'_>) -> Result<(), NotRecord> {
    let refuse = |member: &'static str, value: &str| {
        Err(NotRecord::Word {
            member,
            value: value.to_owned(),
        })
    };
    if parsed.v != VERSION {
        return refuse("v", &parsed.v.to_string());
    }
    if !like(&parsed.timestamp, "0000-00-00T00:00:00.000000Z", TIMESTAMP) {
        return refuse("timestamp", &parsed.timestamp);
    }
    if !like(
        &parsed.event_id,
        "xxxxxxxx-xxxx-7xxx-xxxx-xxxxxxxxxxxx",
        EVENT_ID,
    ) {
        return refuse("event_id", &parsed.event_id);
    }
    if let Some(repeat) = &parsed.repeat {
        let counted = [
            repeat.count.is_some(),
            repeat.first.is_some(),
            repeat.last.is_some(),
        ];
        // One opens a count or gives it, never both and never half of it.
        if counted != [repeat.within_s.is_none(); 3] {
            return refuse("repeat", &repeat.scope);
        }
    }
    let ends = parsed.repeat.iter();
    for end in ends.flat_map(|repeat| [&repeat.first, &repeat.last]) {
        if let Some(end) = end
            && !like(end, "0000-00-00T00:00:00.000000Z", TIMESTAMP)
        {
            return refuse("repeat", end);
        }
    }
    if let Some(source) = &parsed.src
        && !source
            .ip
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_string() == source.ip)
    {
        return refuse("src.ip", &source.ip);
    }
    for reason in &parsed.reasons {
        if reason.message.as_deref().is_some_and(str::is_empty) {
            return refuse("reasons", "");
        }
    }
    Ok(())
}

/// Whether `text` has the shape of `pattern`: `0` any digit, `x` any lower-case hexadecimal digit, the rest itself.
fn like(text: &str, pattern: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .zip(pattern.bytes())
            .all(|(byte, shape)| match shape {
                b'0' => byte.is_ascii_digit(),
                b'x' => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
                other => byte == other,
            })
}

fn line_of<'a>(parsed: &'a Parsed<'_>, kind: Kind) -> Result<Line<'a>, NotRecord> {
    let decision = match &parsed.decision {
        Some(text) => Some(word("decision", text, Decision::from_word)?),
        None => None,
    };
    let cut = match &parsed.cut {
        Some(text) => Some(word("cut", text, Cut::from_word)?),
        None => None,
    };
    let result = parsed.result.as_ref().map(result_of).transpose()?;
    Ok(Line {
        approval: parsed.approval.as_deref(),
        args_digest: parsed.args_digest.as_deref(),
        boot_id: &parsed.boot_id,
        call_digest: parsed.call_digest.as_deref(),
        caller_kind: parsed.caller_kind.as_deref(),
        client: parsed
            .client
            .as_ref()
            .map(|client| (&*client.name, &*client.version)),
        client_id: parsed.client_id.as_deref(),
        cred: parsed.cred.as_ref().map(credential_of),
        cut,
        decision,
        decision_id: parsed.decision_id.as_deref(),
        event_id: &parsed.event_id,
        initiated_by: parsed.initiated_by.as_deref(),
        input_params: parsed.input_params.as_deref(),
        issuer: parsed.issuer.as_deref(),
        key_id: parsed.key_id.as_deref(),
        kind,
        log: parsed.log.as_ref().map(note_of),
        method: parsed.method.as_deref(),
        node: &parsed.node,
        policy_rev: parsed.policy_rev.as_deref(),
        prompt: parsed.prompt.as_deref(),
        protocol_version: parsed.protocol_version.as_deref(),
        refusal: parsed.refusal.as_deref(),
        repeat: parsed.repeat.as_ref().map(repeat_of).transpose()?,
        request_bytes: parsed.request_bytes,
        resource: parsed.resource.as_deref(),
        result,
        server: parsed.server.as_deref(),
        session_id: parsed.session_id.as_deref(),
        shadow: parsed.shadow.as_ref().map(shadow_of),
        shown: parsed.shown.as_deref(),
        source: parsed.src.as_ref().map(|source| &*source.ip),
        tenant: parsed.tenant.as_deref(),
        timestamp: &parsed.timestamp,
        tool_name: parsed.tool_name.as_deref(),
        undeclared: &parsed.undeclared,
        user_id: parsed.user_id.as_deref(),
    })
}

fn result_of<'a>(result: &'a ParsedResult<'_>) -> Result<ResultLine<'a>, NotRecord> {
    Ok(ResultLine {
        bytes: result.bytes,
        http_status: result.http_status,
        keys: &result.keys,
        output: result.output.as_deref(),
        records: result.records,
        records_cut: result.records_cut,
        redacted: result.redacted,
        result_digest: result.result_digest.as_deref(),
        status: word("result.status", &result.status, Status::from_word)?,
        upstream_ms: result.upstream_ms,
    })
}

fn repeat_of<'a>(repeat: &'a ParsedRepeat<'_>) -> Result<RepeatLine<'a>, NotRecord> {
    Ok(RepeatLine {
        count: repeat.count,
        first: repeat.first.as_deref(),
        last: repeat.last.as_deref(),
        scope: word("repeat.scope", &repeat.scope, Scope::from_word)?,
        within_s: repeat.within_s,
    })
}

fn credential_of<'a>(credential: &'a ParsedCredential<'_>) -> CredentialLine<'a> {
    CredentialLine {
        fault: credential.fault.as_deref(),
        lease_id: credential.lease_id.as_deref(),
        masked: credential.masked,
        reference: &credential.reference,
    }
}

fn shadow_of<'a>(shadow: &'a ParsedShadow<'_>) -> ShadowLine<'a> {
    ShadowLine {
        codes: shadow.codes.as_deref(),
        policy_rev: &shadow.policy_rev,
        would: &shadow.would,
    }
}

fn note_of<'a>(note: &'a ParsedNote<'_>) -> LogNote<'a> {
    LogNote {
        cut_bytes: note.cut_bytes,
        heartbeat_s: note.heartbeat_s,
        lost: note.lost,
        origin: note.origin.as_deref(),
        rebuilt: note.rebuilt,
        unsigned: note.unsigned,
    }
}
