//! Writes a record as canonical JSON, straight into a buffer.

mod moment;
mod repeat;
mod text;

use std::borrow::Cow;
use std::time::Duration;

pub(crate) use self::moment::{EVENT_ID, TIMESTAMP, seconds};
use self::moment::{event_id_text, timestamp_text};
pub(crate) use self::repeat::RepeatLine;
use self::repeat::{repeat_of, write_repeat};
use self::text::write_string;
use super::{Decision, Kind, Record, Status, VERSION};

/// Longest record: what a tlog-tiles entry bundle can hold, a 16-bit length before each.
pub(crate) const MAX_RECORD: usize = u16::MAX as usize;
/// Longest number of a record: 2^53 - 1 has 16 digits.
pub(crate) const MAX_DIGITS: usize = 16;
/// The largest integer every JSON reader keeps exactly (RFC 8785 appendix D, I-JSON).
const MAX_NUMBER: u64 = (1 << 53) - 1;
/// What is left of a string in a record that had to be cut. Even if every byte needs six (`\u0000`), 60 strings fit.
const CUT_STRING: usize = 160;
/// What is left of the reasons in a record that had to be cut.
const CUT_REASONS: usize = 16;

/// What the log knows and the caller does not: stands in every record.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    /// Name of the node.
    pub(crate) node: String,
    /// Differs at each opening of the log.
    pub(crate) boot_id: String,
}

/// What the log says of itself (member `log`), in records of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogNote<'a> {
    /// Bytes of a torn record that were cut off the end.
    pub(crate) cut_bytes: Option<u64>,
    /// Seconds between two heartbeats.
    pub(crate) heartbeat_s: Option<u64>,
    /// Records that could not be kept.
    pub(crate) lost: Option<u64>,
    /// The log's origin.
    pub(crate) origin: Option<&'a str>,
    /// Whether hash tiles were written anew from the records.
    pub(crate) rebuilt: Option<bool>,
    /// Records found beyond the last checkpoint, signed from here on.
    pub(crate) unsigned: Option<u64>,
}

/// What had to be left out of a record to make it fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The arguments in clear.
    InputParams,
    /// The answer in clear.
    Output,
    /// Arguments and answer in clear, and the ends of long strings and lists.
    Strings,
}

impl Cut {
    /// The word that stands in the record.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::InputParams => "input_params",
            Self::Output => "output",
            Self::Strings => "strings",
        }
    }

    /// The value with this word, if there is one.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::InputParams, Self::Output, Self::Strings]
            .into_iter()
            .find(|known| known.as_str() == word)
    }
}

/// One reason as written; an empty message is left out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReasonLine<'a> {
    pub(crate) code: &'a str,
    pub(crate) message: Option<&'a str>,
}

/// Member `cred` as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CredentialLine<'a> {
    pub(crate) fault: Option<&'a str>,
    pub(crate) lease_id: Option<&'a str>,
    pub(crate) masked: Option<u64>,
    pub(crate) reference: &'a str,
}

/// Member `result` as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResultLine<'a> {
    pub(crate) bytes: Option<u64>,
    pub(crate) http_status: Option<u64>,
    pub(crate) keys: &'a [Cow<'a, str>],
    pub(crate) output: Option<&'a str>,
    pub(crate) records: Option<u64>,
    pub(crate) records_cut: Option<u64>,
    pub(crate) redacted: Option<u64>,
    pub(crate) result_digest: Option<&'a str>,
    pub(crate) status: Status,
    pub(crate) upstream_ms: Option<u64>,
}

/// Member `shadow` as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShadowLine<'a> {
    pub(crate) codes: Option<&'a str>,
    pub(crate) policy_rev: &'a str,
    pub(crate) would: &'a str,
}

/// A record with every member as it is written, fields in the order of the members' names.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    pub(crate) approval: Option<&'a str>,
    pub(crate) args_digest: Option<&'a str>,
    pub(crate) boot_id: &'a str,
    pub(crate) call_digest: Option<&'a str>,
    pub(crate) caller_kind: Option<&'a str>,
    /// Name and version.
    pub(crate) client: Option<(&'a str, &'a str)>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) cred: Option<CredentialLine<'a>>,
    pub(crate) cut: Option<Cut>,
    pub(crate) decision: Option<Decision>,
    pub(crate) decision_id: Option<&'a str>,
    pub(crate) event_id: &'a str,
    pub(crate) initiated_by: Option<&'a str>,
    pub(crate) input_params: Option<&'a str>,
    pub(crate) issuer: Option<&'a str>,
    pub(crate) key_id: Option<&'a str>,
    pub(crate) kind: Kind,
    pub(crate) log: Option<LogNote<'a>>,
    pub(crate) method: Option<&'a str>,
    pub(crate) node: &'a str,
    pub(crate) policy_rev: Option<&'a str>,
    pub(crate) prompt: Option<&'a str>,
    pub(crate) protocol_version: Option<&'a str>,
    pub(crate) refusal: Option<&'a str>,
    pub(crate) repeat: Option<RepeatLine<'a>>,
    pub(crate) request_bytes: Option<u64>,
    pub(crate) resource: Option<&'a str>,
    pub(crate) result: Option<ResultLine<'a>>,
    pub(crate) server: Option<&'a str>,
    pub(crate) session_id: Option<&'a str>,
    pub(crate) shadow: Option<ShadowLine<'a>>,
    pub(crate) shown: Option<&'a str>,
    pub(crate) source: Option<&'a str>,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) timestamp: &'a str,
    pub(crate) tool_name: Option<&'a str>,
    pub(crate) undeclared: &'a [Cow<'a, str>],
    pub(crate) user_id: Option<&'a str>,
}

/// Writes `record` to the end of `buffer`, all but the digits of `seq`, which only the writer knows. Gives the offset
/// within `buffer` at which they belong. What is written is never longer than [`MAX_RECORD`] with its digits.
pub(crate) fn write(
    record: &Record<'_>,
    note: Option<LogNote<'_>>,
    stamp: &Stamp,
    random: u64,
    buffer: &mut Vec<u8>,
) -> usize {
    let start = buffer.len();
    let mut timestamp = [0; TIMESTAMP];
    let mut event_id = [0; EVENT_ID];
    let mut ends = [[0; TIMESTAMP]; 2];
    let source = record.source.map(|ip| ip.to_string());
    let line = Line {
        repeat: record.repeat.map(|repeat| repeat_of(repeat, &mut ends)),
        event_id: event_id_text(record.at, random, &mut event_id),
        source: source.as_deref(),
        timestamp: timestamp_text(record.at, &mut timestamp),
        log: note,
        ..line_of(record, stamp)
    };
    let reasons = record.reasons.iter().map(|reason| ReasonLine {
        code: reason.code,
        message: Some(reason.message).filter(|message| !message.is_empty()),
    });
    let fits = |buffer: &Vec<u8>| buffer.len() - start + MAX_DIGITS <= MAX_RECORD;

    let output = record.result.and_then(|result| result.output);
    let in_clear = [record.input_params, output];
    if in_clear
        .iter()
        .flatten()
        .all(|text| text.len() < MAX_RECORD)
    {
        let seq_at = write_line(&line, reasons.clone(), usize::MAX, buffer);
        if fits(buffer) {
            return seq_at;
        }
        buffer.truncate(start);
    }
    let line = not_in_clear(line);
    if in_clear.iter().any(Option::is_some) {
        let cut = match record.input_params {
            Some(_) => Cut::InputParams,
            None => Cut::Output,
        };
        let line = Line {
            cut: Some(cut),
            ..line
        };
        let seq_at = write_line(&line, reasons.clone(), usize::MAX, buffer);
        if fits(buffer) {
            return seq_at;
        }
        buffer.truncate(start);
    }
    let line = Line {
        result: line.result.map(|result| ResultLine {
            keys: &[],
            ..result
        }),
        undeclared: &[],
        cut: Some(Cut::Strings),
        ..line
    };
    write_line(&line, reasons.take(CUT_REASONS), CUT_STRING, buffer)
}

/// The line without what stands in it in clear.
fn not_in_clear(line: Line<'_>) -> Line<'_> {
    Line {
        input_params: None,
        result: line.result.map(|result| ResultLine {
            output: None,
            ..result
        }),
        ..line
    }
}

/// The members that are taken over as they are.
fn line_of<'a>(record: &Record<'a>, stamp: &'a Stamp) -> Line<'a> {
    Line {
        approval: record.approval,
        args_digest: record.args_digest,
        boot_id: &stamp.boot_id,
        call_digest: record.call_digest,
        caller_kind: record.caller.map(|caller| caller.kind),
        client: record.client.map(|client| (client.name, client.version)),
        client_id: record.caller.and_then(|caller| caller.client_id),
        cred: record.credential.map(|credential| CredentialLine {
            fault: credential.fault,
            lease_id: credential.lease_id,
            masked: credential.masked,
            reference: credential.reference,
        }),
        cut: None,
        decision: record.decision,
        decision_id: record.decision_id,
        event_id: "",
        initiated_by: record.initiated_by,
        input_params: record.input_params,
        issuer: record.caller.and_then(|caller| caller.issuer),
        key_id: record.caller.and_then(|caller| caller.key_id),
        kind: record.kind,
        log: None,
        method: record.method,
        node: &stamp.node,
        policy_rev: record.policy_rev,
        prompt: record.prompt,
        protocol_version: record.protocol_version,
        refusal: record.refusal,
        repeat: None,
        request_bytes: record.request_bytes,
        resource: record.resource,
        result: record.result.map(|result| ResultLine {
            bytes: result.bytes,
            http_status: result.http_status.map(u64::from),
            keys: result.keys,
            output: result.output,
            records: result.records,
            records_cut: result.records_cut,
            redacted: result.redacted,
            result_digest: result.result_digest,
            status: result.status,
            upstream_ms: result.upstream.map(milliseconds),
        }),
        server: record.server,
        session_id: record.session_id,
        shadow: record.shadow.map(|shadow| ShadowLine {
            codes: Some(shadow.codes).filter(|codes| !codes.is_empty()),
            policy_rev: shadow.policy_rev,
            would: shadow.would,
        }),
        shown: record.shown,
        source: None,
        tenant: record.tenant,
        timestamp: "",
        tool_name: record.tool_name,
        undeclared: record.undeclared,
        user_id: record.caller.map(|caller| caller.user_id),
    }
}

/// Writes a line, each string at most `longest` bytes, all but the digits of `seq`; gives the offset where they belong.
pub(crate) fn write_line<'a>(
    line: &Line<'a>,
    reasons: impl Iterator<Item = ReasonLine<'a>>,
    longest: usize,
    buffer: &mut Vec<u8>,
) -> usize {
    buffer.push(b'{');
    let mut object = Object {
        buffer,
        longest,
        first: true,
    };
    object.optional("approval", line.approval);
    object.optional("args_digest", line.args_digest);
    object.string("boot_id", line.boot_id);
    object.optional("call_digest", line.call_digest);
    object.optional("caller_kind", line.caller_kind);
    if let Some(client) = line.client {
        object.nested("client", |member| write_client(client, member));
    }
    object.optional("client_id", line.client_id);
    object.part("cred", line.cred.as_ref(), write_credential);
    object.optional("cut", line.cut.map(Cut::as_str));
    object.optional("decision", line.decision.map(Decision::as_str));
    object.optional("decision_id", line.decision_id);
    object.string("event_id", line.event_id);
    object.optional("initiated_by", line.initiated_by);
    object.optional("input_params", line.input_params);
    object.optional("issuer", line.issuer);
    object.optional("key_id", line.key_id);
    object.string("kind", line.kind.as_str());
    object.part("log", line.log.as_ref(), write_note);
    object.optional("method", line.method);
    object.string("node", line.node);
    object.optional("policy_rev", line.policy_rev);
    object.optional("prompt", line.prompt);
    object.optional("protocol_version", line.protocol_version);
    write_reasons(reasons, &mut object);
    object.optional("refusal", line.refusal);
    object.part("repeat", line.repeat.as_ref(), write_repeat);
    object.number("request_bytes", line.request_bytes);
    object.optional("resource", line.resource);
    object.part("result", line.result.as_ref(), write_result);
    object.name("seq");
    let seq_at = object.buffer.len();
    object.optional("server", line.server);
    object.optional("session_id", line.session_id);
    object.part("shadow", line.shadow.as_ref(), write_shadow);
    object.optional("shown", line.shown);
    if let Some(ip) = line.source {
        object.nested("src", |source| source.string("ip", ip));
    }
    object.optional("tenant", line.tenant);
    object.string("timestamp", line.timestamp);
    object.optional("tool_name", line.tool_name);
    object.list("undeclared", line.undeclared);
    object.optional("user_id", line.user_id);
    object.number("v", Some(VERSION));
    buffer.push(b'}');
    seq_at
}

fn write_client((name, version): (&str, &str), object: &mut Object<'_>) {
    object.string("name", name);
    object.string("version", version);
}

fn write_credential(credential: &CredentialLine<'_>, object: &mut Object<'_>) {
    object.optional("fault", credential.fault);
    object.optional("lease_id", credential.lease_id);
    object.number("masked", credential.masked);
    object.string("ref", credential.reference);
}

fn write_shadow(shadow: &ShadowLine<'_>, object: &mut Object<'_>) {
    object.optional("codes", shadow.codes);
    object.string("policy_rev", shadow.policy_rev);
    object.string("would", shadow.would);
}

fn write_note(note: &LogNote<'_>, object: &mut Object<'_>) {
    object.number("cut_bytes", note.cut_bytes);
    object.number("heartbeat_s", note.heartbeat_s);
    object.number("lost", note.lost);
    object.optional("origin", note.origin);
    if let Some(rebuilt) = note.rebuilt {
        object.name("rebuilt");
        object
            .buffer
            .extend_from_slice(if rebuilt { b"true" } else { b"false" });
    }
    object.number("unsigned", note.unsigned);
}

fn write_reasons<'a>(reasons: impl Iterator<Item = ReasonLine<'a>>, object: &mut Object<'_>) {
    let mut reasons = reasons.peekable();
    if reasons.peek().is_none() {
        return;
    }
    object.name("reasons");
    let mut before = b'[';
    for reason in reasons {
        object.buffer.push(before);
        object.buffer.push(b'{');
        let mut member = Object {
            buffer: &mut *object.buffer,
            longest: object.longest,
            first: true,
        };
        member.string("code", reason.code);
        member.optional("message", reason.message);
        object.buffer.push(b'}');
        before = b',';
    }
    object.buffer.push(b']');
}

fn write_result(result: &ResultLine<'_>, object: &mut Object<'_>) {
    object.number("bytes", result.bytes);
    object.number("http_status", result.http_status);
    object.list("keys", result.keys);
    object.optional("output", result.output);
    object.number("records", result.records);
    object.number("records_cut", result.records_cut);
    object.number("redacted", result.redacted);
    object.optional("result_digest", result.result_digest);
    object.string("status", result.status.as_str());
    object.number("upstream_ms", result.upstream_ms);
}

/// An object being written; its members must be given in the order of their names.
struct Object<'a> {
    buffer: &'a mut Vec<u8>,
    longest: usize,
    first: bool,
}

impl Object<'_> {
    fn name(&mut self, name: &'static str) {
        if !self.first {
            self.buffer.push(b',');
        }
        self.first = false;
        self.buffer.push(b'"');
        self.buffer.extend_from_slice(name.as_bytes());
        self.buffer.extend_from_slice(b"\":");
    }

    fn string(&mut self, name: &'static str, value: &str) {
        self.name(name);
        let value = if value.len() > self.longest {
            value.split_at(value.floor_char_boundary(self.longest)).0
        } else {
            value
        };
        write_string(value, self.buffer);
    }

    fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.string(name, value);
        }
    }

    fn number(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.name(name);
            write_number(value.min(MAX_NUMBER), self.buffer);
        }
    }

    /// A list of strings; left out when empty.
    fn list(&mut self, name: &'static str, values: &[Cow<'_, str>]) {
        if values.is_empty() {
            return;
        }
        self.name(name);
        let mut before = b'[';
        for value in values {
            self.buffer.push(before);
            write_string(value, self.buffer);
            before = b',';
        }
        self.buffer.push(b']');
    }

    /// An object whose members `write` writes; left out when there is none.
    fn part<T>(
        &mut self,
        name: &'static str,
        value: Option<&T>,
        write: impl FnOnce(&T, &mut Object<'_>),
    ) {
        if let Some(value) = value {
            self.nested(name, |member| write(value, member));
        }
    }

    fn nested(&mut self, name: &'static str, members: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        self.buffer.push(b'{');
        members(&mut Object {
            buffer: &mut *self.buffer,
            longest: self.longest,
            first: true,
        });
        self.buffer.push(b'}');
    }
}

/// Writes the shortest decimal form of `value`.
pub(crate) fn write_number(mut value: u64, buffer: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        used += 1;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    if let Some(text) = digits
        .last_chunk::<20>()
        .and_then(|all| all.get(20 - used..))
    {
        buffer.extend_from_slice(text);
    }
}

/// The member `decision_id` as it stands in a record.
pub(crate) fn decision_id_member(value: &str) -> String {
    let mut text = b"\"decision_id\":".to_vec();
    write_string(value, &mut text);
    String::from_utf8(text).unwrap_or_default()
}

/// Spreads a counter over all 64 bits, each value to another (the finaliser of SplitMix64).
pub(crate) const fn scatter(counter: u64) -> u64 {
    let mixed = (counter ^ (counter >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
