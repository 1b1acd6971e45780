//! Families, their cap, and what threads do to them.

use std::{sync::Arc, time::Duration};

use super::{About, OTHER, Registry, SERIES_MOST, Value};

#[test]
fn a_name_registered_again_counts_on() {
    let registry = Registry::default();
    for _ in 0..2 {
        let calls = registry.counter("keepgate.calls", "Calls", &["server"]);
        calls.with(["crm"], |counter| counter.add(2));
    }
    let readings = registry.read();
    assert_eq!(readings.len(), 1);
    assert_eq!(readings[0].points.len(), 1);
    assert_eq!(readings[0].points[0].value, Value::Number(4.0));
}

#[test]
fn label_sets_beyond_the_cap_share_one() {
    let registry = Registry::default();
    let calls = registry.counter("keepgate.calls", "Calls", &["server", "tool"]);
    for number in 0..SERIES_MOST + 10 {
        calls.with(["crm", &number.to_string()], super::Counter::increment);
    }
    let points = registry.read().remove(0).points;
    assert_eq!(points.len(), SERIES_MOST + 1);
    let other = points.iter().find(|point| &*point.labels[0] == OTHER);
    assert_eq!(other.unwrap().value, Value::Number(10.0));
    assert_eq!(registry.refused(), 10);
}

#[test]
fn a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() {
    let registry = Registry::default();
    let family = registry.histogram("keepgate.wait", "Waits", &[], &[1_000, 2_000]);
    for nanoseconds in [500, 1_000, 1_001, 3_000] {
        family.with([], |histogram| {
            histogram.observe(Duration::from_nanos(nanoseconds));
        });
    }
    let Value::Buckets { counts, sum, .. } = registry.read()[0].points[0].value.clone() else {
        panic!("not a histogram");
    };
    assert_eq!(counts, [2, 1, 1]);
    assert!((sum - 5.501e-6).abs() < 1e-12);
}

#[test]
fn what_is_observed_is_read_when_asked_for() {
    let registry = Registry::default();
    let value = Arc::new(std::sync::atomic::AtomicU64::new(1));
    let about = About::gauge("keepgate.up", "Whether it is up", &["server"]);
    let read = Arc::clone(&value);
    registry.observe(about, move |out| {
        out.add(
            ["crm"],
            read.load(std::sync::atomic::Ordering::Relaxed) as f64,
        );
    });
    value.store(7, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(registry.read()[0].points[0].value, Value::Number(7.0));
}

#[test]
fn threads_lose_no_count_while_series_appear() {
    let registry = Registry::default();
    let calls = registry.counter("keepgate.calls", "Calls", &["n"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let calls = calls.clone();
            scope.spawn(move || {
                for number in 0..400 {
                    calls.with([&(number % 40).to_string()], super::Counter::increment);
                }
            });
        }
    });
    let points = registry.read().remove(0).points;
    let all: f64 = points
        .iter()
        .map(|point| match point.value {
            Value::Number(number) => number,
            Value::Buckets { .. } => 0.0,
        })
        .sum();
    assert_eq!((points.len(), all as u64), (40, 1600));
}
