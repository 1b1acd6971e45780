//! Counting of repeated lines, with times that are given.

use std::io;
use std::sync::{Arc, Mutex};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// Lines as they are written.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn all(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Lines of `act` with counts at their end.
fn logged(thinning: &Thinning, act: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let written = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(lines.clone());
    let subscriber = tracing_subscriber::registry()
        .with(thinning.clone())
        .with(written);
    tracing::subscriber::with_default(subscriber, act);
    lines.all()
}

fn refused(server: &str, code: &str) {
    tracing::warn!(server, code, "refused");
}

#[test]
fn a_refusal_is_written_once_for_each_server_and_code_and_counted() {
    let thinning = Thinning::default();
    let lines = logged(&thinning, || {
        for _ in 0..1_000 {
            refused("crm", "upstream_failed");
            refused("crm", "timeout");
            refused("erp", "timeout");
        }
        thinning.report();
        thinning.flush();
    });
    assert_eq!(lines.len(), 6, "{lines:#?}");
    let counts = lines.iter().filter(|line| line.contains("\"count\":999"));
    let counts: Vec<_> = counts.collect();
    assert_eq!(counts.len(), 3, "{lines:#?}");
    for count in counts {
        assert!(count.contains("\"level\":\"WARN\""), "{count}");
        assert!(count.contains("refused: more of these"), "{count}");
    }
    assert_eq!(thinning.thinned(), 2_997);
}

#[test]
fn other_lines_have_a_burst_and_details_and_operators_are_not_counted() {
    let thinning = Thinning::default();
    let lines = logged(&thinning, || {
        for number in 0..100 {
            tracing::error!(number, "policy evaluator panicked");
            tracing::debug!("a detail");
            tracing::warn!(target: "keepgate_admin::kills", "kill set");
        }
    });
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("panicked"), BURST as usize);
    assert_eq!(count("a detail"), 100);
    assert_eq!(count("kill set"), 100);
}

#[test]
fn a_filter_with_details_writes_every_line() {
    for (level, expected) in [
        ("info", 1),
        ("warn", 1),
        ("debug", 100),
        ("info,keepgate_cli=trace", 100),
    ] {
        let thinning = Thinning::default();
        thinning.follow(&EnvFilter::new(level));
        let lines = logged(&thinning, || {
            for _ in 0..100 {
                refused("crm", "timeout");
            }
        });
        assert_eq!(lines.len(), expected, "{level}");
    }
}

#[test]
fn counts_go_on_interval_by_interval_and_end_with_the_lines() {
    let thinning = Thinning::default();
    let place = tracing::callsite::Identifier(&PLACE);
    let start = Instant::now();
    let line = |seconds: u64| {
        let fields = Fields {
            code: "timeout".to_owned(),
            ..Fields::default()
        };
        let now = start + Duration::from_secs(seconds);
        thinning.admit(place.clone(), Level::WARN, fields, now)
    };
    let due = |seconds: u64| {
        let due = thinning.due(start + Duration::from_secs(seconds));
        due.iter().map(|due| due.count).collect::<Vec<_>>()
    };
    assert!(line(0));
    assert!(!line(1) && !line(9));
    assert!(due(9).is_empty());
    assert_eq!(due(10), [2]);
    // It goes on: nothing is written but the count.
    assert!(!line(12));
    assert_eq!(due(20), [1]);
    // It has ended: the next one is the first again.
    assert!(due(30).is_empty());
    assert!(line(31));
}

#[test]
fn a_full_table_counts_by_place() {
    let thinning = Thinning::default();
    let lines = logged(&thinning, || {
        for number in 0..MAX_ENTRIES + 50 {
            refused(&format!("server-{number}"), "timeout");
        }
        thinning.flush();
    });
    // One for all beyond the bound, and a line with their count.
    assert!(
        lines.len() <= MAX_ENTRIES + 2 * BURST as usize,
        "{}",
        lines.len()
    );
    let counted: u64 = thinning.thinned();
    assert!(counted >= 50 - u64::from(BURST), "{counted}");
    assert!(thinning.entries().len() <= MAX_ENTRIES + 1);
    let long = "x".repeat(100_000);
    let lines = logged(&thinning, || refused(&long, &long));
    assert!(lines.len() <= 1);
}

/// A place in the code.
struct Place;
static PLACE: Place = Place;

impl tracing::callsite::Callsite for Place {
    fn set_interest(&self, _interest: tracing::subscriber::Interest) {}

    fn metadata(&self) -> &tracing::Metadata<'_> {
        unreachable!("only its identity matters")
    }
}
