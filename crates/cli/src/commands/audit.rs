//! `audit verify|tail|show`: the record from its files alone, while the gateway runs or long after.

use std::path::{Path, PathBuf};
use std::time::Duration;

use keepgate_audit::{Against, Entry, PublicKey, Reader, Report, Start, Verdict, find, verify};
use keepgate_mcp::visible::visible;
use serde::Serialize;
use serde_json::Value;

use super::Context;
use crate::arguments::{Audit, Place};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Format;
use crate::serve::AUDIT_DIRECTORY;

/// How often a followed log is looked at.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// `audit ..`.
pub(super) fn run(command: Audit, context: &mut Context<'_>) -> Result<(), Failure> {
    match command {
        Audit::Verify {
            place,
            key,
            against,
        } => check(&chosen(context, place)?, key.as_deref(), &against, context),
        Audit::Tail {
            place,
            lines,
            follow,
        } => tail(&chosen(context, place)?, lines, follow, context),
        Audit::Show { decision, place } => show(&decision, &chosen(context, place)?, context),
    }
}

/// The log named, else that of the configuration.
fn chosen(context: &Context<'_>, place: Place) -> Result<PathBuf, Failure> {
    if let Some(directory) = place.directory {
        return Ok(directory);
    }
    let configuration = context.configuration();
    let failed = |failure: Failure| failure.hint("--log DIR works without a configuration");
    Ok(configuration.map_err(failed)?.state.join(AUDIT_DIRECTORY))
}

/// What verification found.
#[derive(Serialize)]
struct Verified {
    verdict: &'static str,
    log: String,
    origin: String,
    key_from_log: bool,
    records: u64,
    signed: u64,
    unsigned: u64,
    torn_bytes: u64,
    unfinished: u64,
    uncounted: u64,
    kinds: std::collections::BTreeMap<&'static str, u64>,
    findings: Vec<Finding>,
    more_findings: u64,
}

/// One thing that is wrong.
#[derive(Serialize)]
struct Finding {
    place: String,
    what: String,
    hint: &'static str,
}

/// `audit verify`.
fn check(
    directory: &Path,
    key: Option<&str>,
    against: &[PathBuf],
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let public = public_key(directory, key)?;
    let against = against
        .iter()
        .map(|path| checkpoint(path))
        .collect::<Result<Vec<_>, _>>()?;
    let report = verify(directory, &public, &against)
        .map_err(|error| Failure::caused(Exit::State, &error))?;
    let (verdict, exit) = word(report.verdict());
    let verified = verified(directory, verdict, key.is_none(), report);
    context.output.print(&verified, text)?;
    if exit == Exit::Success {
        Ok(())
    } else {
        Err(Failure::told(exit))
    }
}

/// The verdict's word and the code it ends with.
fn word(verdict: Verdict) -> (&'static str, Exit) {
    match verdict {
        Verdict::Sound => ("sound", Exit::Success),
        Verdict::SoundUnsigned => ("sound, the last records are not signed yet", Exit::Success),
        Verdict::Unsigned => ("UNSIGNED", Exit::Unsigned),
        Verdict::Truncated => ("TRUNCATED", Exit::Truncated),
        Verdict::Tampered => ("TAMPERED", Exit::Tampered),
        Verdict::Unannounced => ("UNANNOUNCED CALL", Exit::Unannounced),
    }
}

/// The key to verify with: a file, the key itself, or that of the log.
fn public_key(directory: &Path, named: Option<&str>) -> Result<PublicKey, Failure> {
    let read = match named {
        Some(text) if !Path::new(text).exists() && text.contains('+') => PublicKey::parse(text),
        Some(path) => PublicKey::load(Path::new(path)),
        None => PublicKey::load(&directory.join("log.pub")),
    };
    read.map_err(|error| Failure::caused(Exit::State, &error))
}

/// A checkpoint kept elsewhere.
fn checkpoint(path: &Path) -> Result<Against, Failure> {
    let name = path.display().to_string();
    let note = std::fs::read(path).map_err(|error| {
        Failure::new(
            Exit::State,
            format!("failed to read checkpoint `{name}`: {error}"),
        )
    })?;
    Ok(Against { name, note })
}

fn verified(
    directory: &Path,
    verdict: &'static str,
    key_from_log: bool,
    report: Report,
) -> Verified {
    let finding = |finding: keepgate_audit::Finding| Finding {
        place: finding.place,
        what: finding.what,
        hint: finding.hint,
    };
    Verified {
        verdict,
        log: directory.display().to_string(),
        origin: report.origin,
        key_from_log,
        records: report.records,
        signed: report.signed,
        unsigned: report.unsigned,
        torn_bytes: report.torn_bytes,
        unfinished: report.unfinished,
        uncounted: report.uncounted,
        kinds: report
            .kinds
            .iter()
            .map(|(kind, count)| (kind.as_str(), *count))
            .collect(),
        findings: report.findings.into_iter().map(finding).collect(),
        more_findings: report.more_findings,
    }
}

fn text(verified: &Verified) -> String {
    let mut text = String::new();
    for finding in &verified.findings {
        text.push_str(&format!(
            "{}: {}\n  hint: {}\n",
            finding.place, finding.what, finding.hint
        ));
    }
    if verified.more_findings > 0 {
        text.push_str(&format!("and {} findings more\n", verified.more_findings));
    }
    text.push_str(&format!(
        "{}: {} ({}): {} records, {} signed, {} calls without an outcome\n",
        verified.verdict,
        verified.log,
        verified.origin,
        verified.records,
        verified.signed,
        verified.unfinished
    ));
    if verified.uncounted > 0 {
        text.push_str(&format!(
            "note: {} records may stand for more refusals than they count: the count was open when the log broke off, or is now (`repeat.within_s`)\n",
            verified.uncounted
        ));
    }
    if verified.key_from_log {
        text.push_str(
            "note: the key came from the log itself; who rewrites a log can replace it. Keep a copy elsewhere and pass --key.\n",
        );
    }
    text
}

/// `audit tail`.
fn tail(
    directory: &Path,
    lines: u64,
    follow: bool,
    context: &mut Context<'_>,
) -> Result<(), Failure> {
    let failed = |error| Failure::caused(Exit::State, &error);
    exists(directory)?;
    let mut reader = Reader::open(directory, Start::Last(lines)).map_err(failed)?;
    loop {
        while let Some(entry) = reader.next_entry().map_err(failed)? {
            print(&entry, context)?;
        }
        if !follow {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_EVERY);
    }
}

/// `audit show`.
fn show(decision: &str, directory: &Path, context: &mut Context<'_>) -> Result<(), Failure> {
    exists(directory)?;
    let entries =
        find(directory, decision).map_err(|error| Failure::caused(Exit::State, &error))?;
    if entries.is_empty() {
        let failure = Failure::new(
            Exit::Negative,
            format!("no record has this decision id: `{decision}`"),
        );
        return Err(match decision.rsplit_once('.') {
            Some((first, _)) => failure.hint(&format!(
                "it shares a record with equal refusals, and their count was lost when the gateway broke off: keepgate audit show {first}"
            )),
            None => failure.hint(
                "refusals name it as decision_id; records of other gateways are in their own logs",
            ),
        });
    }
    entries.iter().try_for_each(|entry| print(entry, context))
}

/// A log that is not there is not an empty log.
fn exists(directory: &Path) -> Result<(), Failure> {
    let fault = match std::fs::read_dir(directory) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "no such log".to_owned(),
        Err(error) => format!("failed to read the log: {error}"),
    };
    Err(Failure::new(
        Exit::State,
        format!("{fault}: `{}`", directory.display()),
    ))
}

/// One record: as it stands for machines, in one line for people.
fn print(entry: &Entry, context: &mut Context<'_>) -> Result<(), Failure> {
    let line = match context.output.format() {
        Format::Json => entry.json.clone(),
        Format::Text => sentence(entry),
    };
    Ok(context.output.line(&line)?)
}

/// A record in one line: when, what, who, where, what came of it.
fn sentence(entry: &Entry) -> String {
    let Ok(record) = serde_json::from_str::<Value>(&entry.json) else {
        return format!("{} (damaged) {}", entry.index, visible(&entry.json));
    };
    let word = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).map(visible);
    let named = |name: &str, pointer: &str| word(pointer).map(|value| format!("{name}={value}"));
    let target = match (
        word("/server"),
        word("/tool_name")
            .or_else(|| word("/resource"))
            .or_else(|| word("/prompt")),
    ) {
        (Some(server), Some(item)) => Some(format!("{server}/{item}")),
        (server, item) => server.or(item),
    };
    let parts = [
        Some(entry.index.to_string()),
        word("/timestamp"),
        word("/kind"),
        word("/user_id"),
        word("/method"),
        target,
        word("/decision"),
        named("refusal", "/refusal"),
        named("rule", "/rule"),
        named("reason", "/reasons/0/code"),
        named("kill", "/kill"),
        named("status", "/result/status"),
        named("id", "/decision_id"),
        record
            .pointer("/repeat/count")
            .map(|count| format!("repeated={count}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}
