//! The text Prometheus scrapes: OpenMetrics 1.0, with names derived as OpenTelemetry derives them.

use std::fmt::Write;

use super::registry::{Kind, Point, Reading, Unit, Value};

/// The name under which Prometheus knows a metric, without the suffix of its samples: dots become underscores and the
/// unit stands last (OpenTelemetry, `compatibility/prometheus_and_openmetrics.md`).
pub fn name(reading: &Reading) -> String {
    let mut name = label(reading.about.name);
    let unit = match reading.about.unit {
        Unit::None => return name,
        Unit::Seconds => "_seconds",
        Unit::Bytes => "_bytes",
    };
    if !name.ends_with(unit) {
        name.push_str(unit);
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
    out.push_str("# EOF\n");
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
    match reading.about.unit {
        Unit::None => {}
        Unit::Seconds => put(writeln!(out, "# UNIT {name} seconds")),
        Unit::Bytes => put(writeln!(out, "# UNIT {name} bytes")),
    }
    for point in &reading.points {
        let labels = labels(reading, point);
        match &point.value {
            Value::Number(number) => {
                let suffix = match reading.about.kind {
                    Kind::Counter => "_total",
                    Kind::Gauge | Kind::Histogram => "",
                };
                put(writeln!(out, "{name}{suffix}{} {number}", braced(&labels)));
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
    fn readings_become_open_metrics() {
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
# HELP keepgate_calls Calls.
# TYPE keepgate_calls counter
keepgate_calls_total{server_name=\"a\\\"b\\\\c\\n\"} 1
# HELP keepgate_sessions Sessions.
# TYPE keepgate_sessions gauge
keepgate_sessions -3
# HELP keepgate_wait_duration_seconds Waits.
# TYPE keepgate_wait_duration_seconds histogram
# UNIT keepgate_wait_duration_seconds seconds
keepgate_wait_duration_seconds_bucket{kind=\"x\",le=\"0.5\"} 1
keepgate_wait_duration_seconds_bucket{kind=\"x\",le=\"+Inf\"} 2
keepgate_wait_duration_seconds_sum{kind=\"x\"} 2.25
keepgate_wait_duration_seconds_count{kind=\"x\"} 2
# EOF
";
        assert_eq!(encode(&registry.read()), expected);
    }
}
