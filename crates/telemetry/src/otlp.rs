//! From spans and readings to the messages of OTLP 1.

mod metrics;
mod traces;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1,
};

pub(crate) use metrics::metrics;
pub(crate) use traces::traces;

/// Who sends: the attributes of the OpenTelemetry resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resource(pub Vec<(String, String)>);

impl Resource {
    fn encode(&self) -> v1::Resource {
        v1::Resource {
            attributes: self
                .0
                .iter()
                .map(|(key, value)| text(key, value.clone()))
                .collect(),
            ..v1::Resource::default()
        }
    }
}

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "keepgate".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn text(key: &str, value: String) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value))
}

fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(value) }),
        ..KeyValue::default()
    }
}
