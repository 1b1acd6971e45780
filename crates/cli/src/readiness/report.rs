//! What is printed of readiness.

use keepgate_policy::probe::Probed;
use serde::Serialize;

use super::{Finding, Standing};

/// Everything that was looked at.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The configuration file.
    pub(crate) config: String,
    /// Whether nothing is missing that this version can do and that can be known.
    pub(crate) ready: bool,
    done: usize,
    missing: usize,
    not_knowable: usize,
    not_in_this_version: usize,
    /// How many calls the policies were asked about.
    calls_tried: usize,
    items: Vec<Line>,
}

/// One item.
#[derive(Debug, Serialize)]
struct Line {
    id: &'static str,
    principle: &'static str,
    title: &'static str,
    standing: Standing,
    why: String,
    mend: Option<String>,
}

impl Report {
    /// A report of nothing yet.
    pub(super) fn new(probed: &Probed) -> Self {
        Self {
            config: String::new(),
            ready: true,
            done: 0,
            missing: 0,
            not_knowable: 0,
            not_in_this_version: 0,
            calls_tried: probed.calls,
            items: Vec::new(),
        }
    }

    /// Adds an item.
    pub(super) fn add(
        &mut self,
        principle: &'static str,
        id: &'static str,
        title: &'static str,
        finding: Finding,
    ) {
        match finding.standing {
            Standing::Done => self.done += 1,
            Standing::Missing => {
                self.missing += 1;
                self.ready = false;
            }
            Standing::NotKnowable => self.not_knowable += 1,
            Standing::NotInThisVersion => self.not_in_this_version += 1,
        }
        self.items.push(Line {
            id,
            principle,
            title,
            standing: finding.standing,
            why: finding.why,
            mend: finding.mend,
        });
    }
}

/// The report for people.
pub(crate) fn text(report: &Report) -> String {
    let mut text = format!("readiness of {}\n", report.config);
    let mut principle = "";
    for line in &report.items {
        if line.principle != principle {
            principle = line.principle;
            text.push_str(&format!("\n{principle}\n"));
        }
        let mark = match line.standing {
            Standing::Done => "done     ",
            Standing::Missing => "MISSING  ",
            Standing::NotKnowable => "unknown  ",
            Standing::NotInThisVersion => "later    ",
        };
        text.push_str(&format!("  {mark}{} ({})\n", line.title, line.id));
        text.push_str(&format!("           {}\n", line.why));
        for (number, words) in line.mend.iter().flat_map(|mend| mend.lines()).enumerate() {
            let lead = if number == 0 { "mend: " } else { "      " };
            text.push_str(&format!("           {lead}{words}\n"));
        }
    }
    text.push_str(&format!(
        "\n{} done, {} missing, {} not knowable from here, {} not in this version\n",
        report.done, report.missing, report.not_knowable, report.not_in_this_version
    ));
    text.push_str(if report.ready {
        "nothing is missing that can be known; sign off by hand what is marked unknown or later\n"
    } else {
        "not ready\n"
    });
    text
}
