//! The standard error of a child, in our log: at a bounded rate, without its secrets, and in lines that cannot pass for ours.
//!
//! Threats met here: a child that writes without end fills the disk our log is on, forges lines of it, hides text from whoever
//! reads it, or prints the secret it was given, in pieces if need be.

use std::{collections::VecDeque, time::Duration};

use bytes::BytesMut;
use keepgate_mcp::visible::visible;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, timeout},
};

use super::child::Redact;

/// Lines of one child a second that are logged, and at once after a pause: a traceback is whole, a flood is not.
const LINES: Bucket = Bucket::new(100, 1_000);
/// Bytes of one child a second that are logged, and at once after a pause.
const BYTES: Bucket = Bucket::new(64 * 1024, 512 * 1024);
/// Longest time between two reports of what was left out.
const REPORT: Duration = Duration::from_secs(1);
/// Time a line waits for the next, which may have the rest of a secret.
const HOLD: Duration = Duration::from_millis(100);
/// Most lines that wait, and most lines before them that are looked at again. A secret in more pieces than that is not seen.
const HELD_MOST: usize = 8;
const BEFORE_MOST: usize = 4;
/// Bytes of a line beyond what is logged of it: a secret must not come out because its end was cut off.
const BEYOND: usize = 4 * 1024;

/// An entry of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A line; `cut` when it went on.
    Line { text: String, cut: bool },
    /// Lines that were left out since the last report, and their bytes.
    Dropped { lines: u64, bytes: u64 },
}

/// A rate, as what is left of it.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    per_second: u64,
    most: u64,
    /// In millionths, so that short times count.
    left: u64,
}

impl Bucket {
    const fn new(per_second: u64, most: u64) -> Self {
        Self {
            per_second,
            most,
            left: most * MILLION,
        }
    }

    fn refill(&mut self, passed: Duration) {
        let micros = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        let more = micros.saturating_mul(self.per_second);
        self.left = self.left.saturating_add(more).min(self.most * MILLION);
    }

    fn has(&self, wanted: u64) -> bool {
        self.left >= wanted.saturating_mul(MILLION)
    }

    fn take(&mut self, wanted: u64) {
        self.left = self.left.saturating_sub(wanted.saturating_mul(MILLION));
    }
}

const MILLION: u64 = 1_000_000;

/// Logs what a child writes to its standard error, until it ends.
pub(super) async fn log(
    source: impl AsyncRead + Unpin,
    server: String,
    cap: usize,
    redact: Option<Redact>,
) {
    read(source, cap, redact, |entry| match entry {
        Entry::Line { text, cut } => {
            let truncated = cut.then_some(true);
            tracing::info!(target: "keepgate::stdio::stderr", server, truncated, "{text}");
        }
        Entry::Dropped { lines, bytes } => {
            tracing::warn!(target: "keepgate::stdio::stderr", server, lines, bytes, "dropped lines over the rate of a server process");
        }
    })
    .await;
}

/// Splits a byte stream into printable lines of at most `cap` bytes; the rest of a longer line is left out.
pub(super) async fn read(
    mut source: impl AsyncRead + Unpin,
    cap: usize,
    redact: Option<Redact>,
    emit: impl FnMut(Entry),
) {
    let mut reading = Reading {
        cap,
        redact,
        emit,
        line: BytesMut::new(),
        length: 0,
        held: VecDeque::new(),
        before: VecDeque::new(),
        lines: LINES,
        bytes: BYTES,
        refilled: Instant::now(),
        dropped: (0, 0),
        reported: Instant::now(),
    };
    let mut chunk = BytesMut::with_capacity(16 * 1024);
    loop {
        chunk.clear();
        let read = source.read_buf(&mut chunk);
        let read = match reading.wait() {
            Some(wait) => match timeout(wait, read).await {
                Ok(read) => read,
                Err(_silent) => {
                    reading.rest();
                    continue;
                }
            },
            None => read.await,
        };
        match read {
            Ok(0) | Err(_) => break,
            Ok(_) => reading.take(&chunk),
        }
    }
    reading.end();
}

/// A line that waits.
struct Waiting {
    text: String,
    cut: bool,
}

/// One child's stream, as far as it was read.
struct Reading<E> {
    cap: usize,
    redact: Option<Redact>,
    emit: E,
    /// The beginning of the line that is being read.
    line: BytesMut,
    /// Its whole length so far.
    length: usize,
    held: VecDeque<Waiting>,
    /// The lines that were logged last, as they came.
    before: VecDeque<String>,
    lines: Bucket,
    bytes: Bucket,
    refilled: Instant,
    dropped: (u64, u64),
    reported: Instant,
}

impl<E: FnMut(Entry)> Reading<E> {
    /// Time to wait for more, if there is something to do without.
    fn wait(&self) -> Option<Duration> {
        if !self.held.is_empty() {
            Some(HOLD)
        } else if self.dropped.0 > 0 {
            Some(REPORT)
        } else {
            None
        }
    }

    /// Nothing came for a while.
    fn rest(&mut self) {
        self.release();
        self.report();
    }

    /// Nothing comes any more.
    fn end(&mut self) {
        if self.length > 0 {
            self.line_ends();
        }
        self.release();
        self.report();
    }

    fn take(&mut self, chunk: &[u8]) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.refilled);
        self.refilled = now;
        self.lines.refill(passed);
        self.bytes.refill(passed);
        for piece in chunk.split_inclusive(|&byte| byte == b'\n') {
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            let room = (self.cap + BEYOND).saturating_sub(self.line.len());
            self.line
                .extend_from_slice(text.get(..room).unwrap_or(text));
            self.length = self.length.saturating_add(text.len());
            if piece.len() > text.len() {
                self.line_ends();
            }
        }
        if now.saturating_duration_since(self.reported) >= REPORT {
            self.report();
        }
    }

    fn line_ends(&mut self) {
        let length = std::mem::take(&mut self.length) as u64;
        // One byte for the line's end: empty lines are not free.
        let logged = (self.line.len() as u64).min(self.cap as u64) + 1;
        if self.lines.has(1) && self.bytes.has(logged) {
            self.lines.take(1);
            self.bytes.take(logged);
            let line = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
            let text = String::from_utf8_lossy(line).into_owned();
            let cut = length > self.line.len() as u64;
            self.held.push_back(Waiting { text, cut });
            if self.redact.is_none() || self.held.len() >= HELD_MOST {
                self.release();
            }
        } else {
            self.dropped.0 += 1;
            self.dropped.1 = self.dropped.1.saturating_add(length);
        }
        self.line.clear();
    }

    /// Logs what waits.
    fn release(&mut self) {
        let held = std::mem::take(&mut self.held);
        let Some(redact) = self.redact.clone() else {
            for line in held {
                self.log(&line.text, line.cut);
            }
            return;
        };
        let texts: Vec<&str> = self.before.iter().map(String::as_str).collect();
        let known = texts.len();
        let texts: Vec<&str> = texts
            .into_iter()
            .chain(held.iter().map(|line| line.text.as_str()))
            .collect();
        let spanned = spanned(&texts, &redact);
        for (line, spanned) in held.iter().zip(spanned.into_iter().skip(known)) {
            if spanned {
                self.log("(withheld: a secret in several lines)", false);
                continue;
            }
            let redacted = redact(&line.text);
            self.log(redacted.as_deref().unwrap_or(&line.text), line.cut);
        }
        self.before.extend(held.into_iter().map(|line| line.text));
        let most = self.before.len().saturating_sub(BEFORE_MOST);
        self.before.drain(..most);
    }

    /// Logs a line that was redacted: no more than the cap of it.
    fn log(&mut self, text: &str, cut: bool) {
        let end = text.floor_char_boundary(self.cap);
        let shown = text.get(..end).unwrap_or_default();
        (self.emit)(Entry::Line {
            text: visible(shown),
            cut: cut || end < text.len(),
        });
    }

    fn report(&mut self) {
        self.reported = Instant::now();
        let (lines, bytes) = std::mem::take(&mut self.dropped);
        if lines > 0 {
            (self.emit)(Entry::Dropped { lines, bytes });
        }
    }
}

/// Marks the lines with parts of a secret that no line holds whole: joined, more is redacted than in each alone.
fn spanned(lines: &[&str], redact: &Redact) -> Vec<bool> {
    let apart = |text: &str| redact(text).unwrap_or_else(|| text.to_owned());
    let each: Vec<String> = lines.iter().map(|line| apart(line)).collect();
    let differs = |from: usize, to: usize| {
        let (lines, each) = (lines.get(from..to), each.get(from..to));
        let (Some(lines), Some(each)) = (lines, each) else {
            return false;
        };
        // A secret may have line ends of its own, as keys in PEM do; others are broken where the line was full.
        ["", "\n"]
            .iter()
            .any(|end| apart(&lines.join(end)) != each.join(end))
    };
    let mut spanned = vec![false; lines.len()];
    if !differs(0, lines.len()) {
        return spanned;
    }
    for width in 2..=lines.len() {
        for from in 0..=lines.len() - width {
            let known = spanned
                .iter()
                .skip(from)
                .take(width)
                .any(|&spanned| spanned);
            if !known && differs(from, from + width) {
                let lines = spanned.iter_mut().skip(from).take(width);
                lines.for_each(|spanned| *spanned = true);
            }
        }
    }
    spanned
}

#[cfg(test)]
mod tests;
