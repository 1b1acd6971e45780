//! The text Prometheus scrapes (format 0.0.4), with names derived as OpenTelemetry derives them.

use std::fmt::Write;

use super::registry::{Kind, Point, Reading, Unit, Value};

/// The name under which Prometheus knows a metric, without the suffixes of a histogram: dots become underscores, the unit
/// stands last, and counters end in `_total` (OpenTelemetry, `compatibility/prometheus_and_openmetrics.md`).
pub fn name(reading: &Reading) -> String {
    let mut name = label(reading.about.name);
    let unit = match reading.about.unit {
        Unit::None => "",
        Unit::Seconds => "_seconds",
        Unit::Bytes => "_bytes",
    };
    name.push_str(unit);
    match reading.about.kind {
        Kind::Counter => name.push_str("_total"),
        Kind::Gauge | Kind::Histogram => {}
    }
    name
}

/// A label's name as Prometheus knows it.
pub fn label(name: &str) -> String {
    name.replace('.', "_")
}

/// Writes all readings.
pub fn encode(readings: &[Reading]) -> String {
    let mut out = String::with_capacity(16 * 1024);
    for reading in readings {
        metric(&mut out, reading);
    }
    out
}

/// Writing to a `String` cannot fail.
fn put(written: std::fmt::Result) {
    debug_assert!(written.is_ok(), "a string takes everything");
}

fn metric(out: &mut String, reading: &Reading) {
    let name = name(reading);
    let kind = match reading.about.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    put(writeln!(out, "# HELP {name} {}.", reading.about.help));
    put(writeln!(out, "# TYPE {name} {kind}"));
    for point in &reading.points {
        let labels = labels(reading, point);
        match &point.value {
            Value::Number(number) => {
                // Infinity has a spelling of its own.
                let number = if number.is_infinite() {
                    "+Inf".to_owned()
                } else {
                    number.to_string()
                };
                put(writeln!(out, "{name}{} {number}", braced(&labels)));
            }
            Value::Buckets {
                bounds,
                counts,
                sum,
            } => histogram(out, &name, &labels, bounds, counts, *sum),
        }
    }
}

fn histogram(out: &mut String, name: &str, labels: &str, bounds: &[f64], counts: &[u64], sum: f64) {
    let separator = if labels.is_empty() { "" } else { "," };
    let mut cumulative = 0;
    let ends = bounds.iter().map(f64::to_string);
    for (count, bound) in counts.iter().zip(ends.chain(["+Inf".to_owned()])) {
        cumulative += count;
        put(writeln!(
            out,
            "{name}_bucket{{{labels}{separator}le=\"{bound}\"}} {cumulative}"
        ));
    }
    let labels = braced(labels);
    put(writeln!(out, "{name}_sum{labels} {sum}"));
    put(writeln!(out, "{name}_count{labels} {cumulative}"));
}

/// Labels without a value are left out: Prometheus holds an empty label and a missing one for the same.
fn labels(reading: &Reading, point: &Point) -> String {
    let mut out = String::new();
    for (name, value) in reading.about.labels.iter().zip(&point.labels) {
        if value.is_empty() {
            continue;
        }
        if !out.is_empty() {
            out.push(',');
        }
        put(write!(out, "{}=\"", label(name)));
        for letter in value.chars() {
            match letter {
                '\\' => out.push_str("\\\\"),
                '"' => out.push_str("\\\""),
                '\n' => out.push_str("\\n"),
                other => out.push(other),
            }
        }
        out.push('"');
    }
    out
}

fn braced(labels: &str) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!("{{{labels}}}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::registry::{Counter, Registry},
        encode,
    };

    #[test]
    fn readings_become_text() {
        let registry = Registry::default();
        let calls = registry.counter("keepgate.calls", "Calls", &["server.name", "error.type"]);
        calls.with(["a\"b\\c\n", ""], Counter::increment);
        registry
            .gauge("keepgate.sessions", "Sessions", &[])
            .with([], |gauge| gauge.set(-3));
        registry
            .histogram("keepgate.wait.duration", "Waits", &["kind"], &[500_000_000])
            .with(["x"], |histogram| {
                histogram.observe(Duration::from_millis(250));
                histogram.observe(Duration::from_secs(2));
            });
        let expected = "\
# HELP keepgate_calls_total Calls.
# TYPE keepgate_calls_total counter
keepgate_calls_total{server_name=\"a\\\"b\\\\c\\n\"} 1
# HELP keepgate_sessions Sessions.
# TYPE keepgate_sessions gauge
keepgate_sessions -3
# HELP keepgate_wait_duration_seconds Waits.
# TYPE keepgate_wait_duration_seconds histogram
keepgate_wait_duration_seconds_bucket{kind=\"x\",le=\"0.5\"} 1
keepgate_wait_duration_seconds_bucket{kind=\"x\",le=\"+Inf\"} 2
keepgate_wait_duration_seconds_sum{kind=\"x\"} 2.25
keepgate_wait_duration_seconds_count{kind=\"x\"} 2
";
        assert_eq!(encode(&registry.read()), expected);
    }
}
