//! The figures of a run, as the table of performance.md or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::row::Row;
use crate::run::{Measured, SESSIONS, Sample};
use crate::workload::Workload;

/// The middle and the ends of what several rounds showed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The most.
    pub(crate) most: f64,
}

impl Spread {
    /// Of some values; none of none.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let upper = *values.get(values.len() / 2)?;
        let lower = *values.get((values.len() - 1) / 2)?;
        Some(Self {
            median: f64::midpoint(lower, upper),
            least: *values.first()?,
            most: *values.last()?,
        })
    }
}

/// One cell: CPU per call and its ratio to the bare proxy's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// CPU microseconds per call.
    pub(crate) cpu: Spread,
    /// Over the bare proxy's in the same round.
    pub(crate) ratio: Option<Spread>,
    /// Calls per second.
    pub(crate) rate: Spread,
}

/// The cell of a row and a workload, if they met.
pub(crate) fn cell(measured: &Measured, row: Row, workload: Workload) -> Option<Cell> {
    let samples = measured.samples.get(&(row, workload))?;
    let bare = measured.samples.get(&(Row::Bare, workload));
    let ratios = bare.map(|bare| {
        let pairs = samples.iter().zip(bare);
        pairs.map(|(ours, bare)| ours.cpu / bare.cpu).collect()
    });
    Some(Cell {
        cpu: spread(samples, |sample| sample.cpu)?,
        ratio: ratios.and_then(Spread::of),
        rate: spread(samples, |sample| sample.rate)?,
    })
}

/// "Everything but Rego": the whole gateway less what judging costs, derived round by round.
pub(crate) fn without_judging(measured: &Measured, workload: Workload) -> Option<Cell> {
    let judging = measured.judging.get(&workload)?;
    let whole = measured.samples.get(&(Row::Gateway, workload))?;
    let bare = measured.samples.get(&(Row::Bare, workload))?;
    let rest: Vec<f64> = whole
        .iter()
        .zip(judging)
        .map(|(whole, judging)| whole.cpu - judging)
        .collect();
    let ratios = rest.iter().zip(bare).map(|(rest, bare)| rest / bare.cpu);
    Some(Cell {
        ratio: Spread::of(ratios.collect()),
        cpu: Spread::of(rest)?,
        rate: spread(whole, |sample| sample.rate)?,
    })
}

/// The median latency of a row on a workload, in microseconds.
pub(crate) fn latency(measured: &Measured, row: Row, workload: Workload) -> Option<Spread> {
    spread(measured.samples.get(&(row, workload))?, |sample| sample.p50)
}

fn spread(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> Option<Spread> {
    Spread::of(samples.iter().map(of).collect())
}

/// The tables, in Markdown.
pub(crate) fn markdown(measured: &Measured, rows: &[Row]) -> String {
    let mut text = String::new();
    let pinned = if measured.pinned {
        "proxy alone on one core, upstream and driver on another"
    } else {
        "one core only: nothing is pinned, figures are worth less"
    };
    let rounds = measured.samples.values().map(Vec::len).max().unwrap_or(0);
    let mut line = |arguments: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let written = text
            .write_fmt(arguments)
            .and_then(|()| text.write_char('\n'));
        debug_assert!(written.is_ok(), "writing to a string cannot fail");
    };
    line(format_args!(
        "{}; {pinned}; {rounds} rounds, 0 errors.",
        measured.machine
    ));
    line(format_args!(""));
    costs(measured, rows, &mut line);
    line(format_args!(""));
    latencies(measured, rows, &mut line);
    text
}

fn costs(measured: &Measured, rows: &[Row], line: &mut impl FnMut(std::fmt::Arguments<'_>)) {
    let met = |workload: &Workload| {
        rows.iter()
            .any(|row| measured.samples.contains_key(&(*row, *workload)))
    };
    let columns: Vec<Workload> = Workload::COSTED.into_iter().filter(met).collect();
    let titles: Vec<&str> = columns.iter().map(|workload| workload.title()).collect();
    line(format_args!(
        "| proxy, CPU µs per call (ratio; least–most of the rounds) | {} |",
        titles.join(" | ")
    ));
    line(format_args!("|---{}|", "|---".repeat(columns.len())));
    let mut cells = |title: &str, cell: &dyn Fn(Workload) -> Option<String>| {
        let cells: Vec<String> = columns
            .iter()
            .map(|workload| cell(*workload).unwrap_or_else(|| "-".to_owned()))
            .collect();
        line(format_args!("| {title} | {} |", cells.join(" | ")));
    };
    for row in rows.iter().filter(|row| **row != Row::Direct) {
        cells(row.title(), &|workload| {
            Some(words(&cell(measured, *row, workload)?))
        });
    }
    if !measured.judging.is_empty() {
        cells("judging alone: input, 12 rules, verdict", &|workload| {
            let judging = Spread::of(measured.judging.get(&workload)?.clone())?;
            Some(format!(
                "{:.1} ({:.1}–{:.1})",
                judging.median, judging.least, judging.most
            ))
        });
        cells("derived: everything on less judging", &|workload| {
            Some(words(&without_judging(measured, workload)?))
        });
    }
}

fn words(cell: &Cell) -> String {
    let Cell { cpu, ratio, .. } = cell;
    let ratio = ratio.map_or(f64::NAN, |ratio| ratio.median);
    format!(
        "{:.1} ({ratio:.2}; {:.1}–{:.1})",
        cpu.median, cpu.least, cpu.most
    )
}

fn latencies(measured: &Measured, rows: &[Row], line: &mut impl FnMut(std::fmt::Arguments<'_>)) {
    let single = |row| latency(measured, row, Workload::Single).map(|spread| spread.median);
    let number = |figure: Option<f64>| {
        figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.0}"))
    };
    let memory = |memory: Option<&f64>| {
        memory.map_or_else(|| "-".to_owned(), |memory| format!("{memory:.1}"))
    };
    line(format_args!(
        "| proxy, one connection | p50 µs | added over no proxy | added over bare | RSS MiB after the run | with {SESSIONS} sessions more |"
    ));
    line(format_args!("|---|---|---|---|---|---|"));
    for row in rows {
        let over = |base| Some(single(*row)? - single(base)?);
        line(format_args!(
            "| {} | {} | {} | {} | {} | {} |",
            row.title(),
            number(single(*row)),
            number(over(Row::Direct)),
            number(over(Row::Bare)),
            memory(measured.memory.get(row)),
            memory(measured.crowded.get(row)),
        ));
    }
}

/// Every figure, for programs.
pub(crate) fn json(measured: &Measured, rows: &[Row]) -> Value {
    let spread = |spread: Spread| json!({"median": spread.median, "least": spread.least, "most": spread.most});
    let mut figures = Vec::new();
    for row in rows {
        for workload in Workload::ALL {
            let Some(cell) = cell(measured, *row, workload) else {
                continue;
            };
            figures.push(json!({
                "proxy": row.title(),
                "workload": workload,
                "connections": workload.connections(),
                "cpu_us_per_call": spread(cell.cpu),
                "ratio_to_bare": cell.ratio.map(spread),
                "calls_per_second": spread(cell.rate),
                "p50_us": latency(measured, *row, workload).map(spread),
            }));
        }
    }
    let memory = |memory: &BTreeMap<Row, f64>| -> serde_json::Map<String, Value> {
        let figures = memory.iter();
        let figures = figures.map(|(row, memory)| (row.title().to_owned(), json!(memory)));
        figures.collect()
    };
    let derived = Workload::COSTED.into_iter().filter_map(|workload| {
        let cell = without_judging(measured, workload)?;
        let judging = Spread::of(measured.judging.get(&workload)?.clone())?;
        Some(json!({
            "workload": workload,
            "judging_us": spread(judging),
            "everything_less_judging_us": spread(cell.cpu),
            "ratio_to_bare": cell.ratio.map(spread),
        }))
    });
    json!({
        "machine": measured.machine,
        "pinned": measured.pinned,
        "figures": figures,
        "derived": derived.collect::<Vec<_>>(),
        "memory_mib": memory(&measured.memory),
        "memory_mib_with_sessions": memory(&measured.crowded),
        "sessions": SESSIONS,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_is_between_two() {
        let spread = Spread::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.median, spread.least, spread.most), (2.5, 1.0, 4.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn a_ratio_is_taken_within_each_round() {
        let sample = |cpu| Sample {
            cpu,
            p50: 0.0,
            rate: 0.0,
        };
        // The second round met a machine twice as busy; the ratio is 1.5 in both.
        let measured = Measured {
            machine: String::new(),
            pinned: true,
            samples: BTreeMap::from([
                (
                    (Row::Bare, Workload::Small),
                    vec![sample(10.0), sample(20.0)],
                ),
                (
                    (Row::Gateway, Workload::Small),
                    vec![sample(32.0), sample(64.0)],
                ),
                (
                    (Row::Envelope, Workload::Small),
                    vec![sample(15.0), sample(30.0)],
                ),
            ]),
            judging: BTreeMap::from([(Workload::Small, vec![2.0, 4.0])]),
            memory: BTreeMap::new(),
            crowded: BTreeMap::new(),
        };
        let ratio = cell(&measured, Row::Envelope, Workload::Small)
            .unwrap()
            .ratio
            .unwrap();
        assert_eq!((ratio.least, ratio.most), (1.5, 1.5));
        let rest = without_judging(&measured, Workload::Small).unwrap();
        let ratio = rest.ratio.unwrap();
        assert_eq!((ratio.least, ratio.most), (3.0, 3.0));
        let text = markdown(&measured, &Row::ALL);
        assert!(text.contains("| 22.5 (1.50; 15.0–30.0) |"), "{text}");
    }
}
