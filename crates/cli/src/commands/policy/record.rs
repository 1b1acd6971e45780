//! `policy record`: recorded decisions become fixtures, each kind of call once.

use std::collections::BTreeSet;
use std::fs;
use std::time::SystemTime;

use keepgate_policy::Recorded;
use serde::Serialize;

use super::recorded::lines;
use crate::arguments::RecordPolicy;
use crate::commands::Context;
use crate::config;
use crate::exit::Exit;
use crate::failure::Failure;

/// What was taken.
#[derive(Serialize)]
struct Taken {
    read: usize,
    taken: usize,
    alike: usize,
    others: usize,
    unreadable: usize,
}

/// `policy record`.
pub(super) fn run(wish: &RecordPolicy, context: &mut Context<'_>) -> Result<(), Failure> {
    let since = wish.since.as_deref().map(moment).transpose()?;
    let lines = lines(context, &wish.from)?;
    let mut taken = Taken {
        read: lines.len(),
        taken: 0,
        alike: 0,
        others: 0,
        unreadable: 0,
    };
    let (mut seen, mut fixtures) = (BTreeSet::new(), Vec::new());
    for line in &lines {
        let Ok(recorded) = Recorded::parse(line) else {
            taken.unreadable += 1;
            continue;
        };
        let wanted = wish
            .tool
            .as_ref()
            .is_none_or(|tool| *tool == recorded.tool())
            && wish
                .caller
                .as_ref()
                .is_none_or(|caller| caller == recorded.caller())
            && since
                .as_deref()
                .is_none_or(|since| recorded.timestamp() >= since);
        if !wanted {
            taken.others += 1;
        } else if seen.insert(recorded.difference()) {
            taken.taken += 1;
            fixtures.push(line.as_str());
        } else {
            taken.alike += 1;
        }
    }
    let Some(out) = &wish.out else {
        for fixture in fixtures {
            context.output.line(fixture)?;
        }
        return Ok(());
    };
    let mut text = fixtures.join("\n");
    text.push('\n');
    fs::write(out, text).map_err(|error| {
        Failure::new(
            Exit::State,
            format!("failed to write `{}`: {error}", out.display()),
        )
    })?;
    Ok(context.output.print(&taken, |taken| {
        format!(
            "{} of {} decisions in `{}`: {} alike, {} not asked for, {} not readable\n",
            taken.taken,
            taken.read,
            out.display(),
            taken.alike,
            taken.others,
            taken.unreadable
        )
    })?)
}

/// A time as events have it, from one that is written so or from how long ago it is.
fn moment(text: &str) -> Result<String, Failure> {
    if let Some(ago) = config::duration(text) {
        let since = SystemTime::now().checked_sub(ago);
        let since = time::OffsetDateTime::from(since.unwrap_or(SystemTime::UNIX_EPOCH));
        return Ok(format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            since.year(),
            u8::from(since.month()),
            since.day(),
            since.hour(),
            since.minute(),
            since.second()
        ));
    }
    // Events are in UTC, so their times compare as texts.
    let digits = text.bytes().take(4).all(|byte| byte.is_ascii_digit());
    if digits && text.len() >= 10 && (text.len() == 10 || text.ends_with('Z')) {
        return Ok(text.trim_end_matches('Z').to_owned());
    }
    let failure = Failure::new(Exit::Usage, format!("not a time: `{text}`"));
    Err(failure.hint("write it in UTC, like 2026-11-20T08:00:00Z, or how long ago it is, like 12h"))
}
