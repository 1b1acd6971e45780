//! Readings as OTLP: cumulative, like the counters they come from.

use std::time::SystemTime;

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
        ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point,
    },
};

use super::{Resource, scope, text, traces::nanoseconds};
use crate::metrics::{
    Kind, Reading, Unit,
    registry::{Point, Value},
};

/// One request with all `readings`, counted since `start`.
pub(crate) fn metrics(
    resource: &Resource,
    readings: &[Reading],
    start: SystemTime,
    now: SystemTime,
) -> ExportMetricsServiceRequest {
    let (start, now) = (nanoseconds(start), nanoseconds(now));
    let metrics = readings
        .iter()
        .filter(|reading| !reading.points.is_empty())
        .map(|reading| metric(reading, start, now));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.encode()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: metrics.collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn metric(reading: &Reading, start: u64, now: u64) -> Metric {
    let unit = match (reading.about.unit, reading.about.kind) {
        (Unit::Seconds, _) => "s",
        (Unit::Bytes, _) => "By",
        (Unit::None, Kind::Counter | Kind::Gauge | Kind::Histogram) => "1",
    };
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || {
        let point = |point: &Point| number(reading, point, start, now);
        reading.points.iter().filter_map(point).collect()
    };
    let data = match reading.about.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: numbers(),
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge {
            data_points: numbers(),
        }),
        Kind::Histogram => Data::Histogram(Histogram {
            data_points: reading
                .points
                .iter()
                .filter_map(|point| buckets(reading, point, start, now))
                .collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: reading.about.name.to_owned(),
        description: reading.about.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(reading: &Reading, point: &Point, start: u64, now: u64) -> Option<NumberDataPoint> {
    let Value::Number(value) = point.value else {
        return None;
    };
    Some(NumberDataPoint {
        attributes: attributes(reading, point),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    })
}

fn buckets(reading: &Reading, point: &Point, start: u64, now: u64) -> Option<HistogramDataPoint> {
    let Value::Buckets {
        bounds,
        counts,
        sum,
    } = &point.value
    else {
        return None;
    };
    Some(HistogramDataPoint {
        attributes: attributes(reading, point),
        start_time_unix_nano: start,
        time_unix_nano: now,
        count: counts.iter().sum(),
        sum: Some(*sum),
        bucket_counts: counts.clone(),
        explicit_bounds: bounds.clone(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(reading: &Reading, point: &Point) -> Vec<KeyValue> {
    reading
        .about
        .labels
        .iter()
        .zip(&point.labels)
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| text(key, value.to_string()))
        .collect()
}
