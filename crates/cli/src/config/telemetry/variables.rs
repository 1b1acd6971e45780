//! The `OTEL_*` variables (OpenTelemetry, `configuration/sdk-environment-variables.md` and `protocol/exporter.md`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use keepgate_telemetry::export::Protocol;

use super::Share;

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Signal {
    /// Traces.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// The word in the names of variables.
    fn word(self) -> &'static str {
        match self {
            Self::Traces => "TRACES",
            Self::Metrics => "METRICS",
        }
    }

    /// The signal's own URL below a collector's.
    pub(super) fn below(self, base: &Uri) -> Option<Uri> {
        let path = match self {
            Self::Traces => "v1/traces",
            Self::Metrics => "v1/metrics",
        };
        let base = base.to_string();
        format!("{}/{path}", base.trim_end_matches('/'))
            .parse()
            .ok()
    }
}

/// The variables that begin with `OTEL_`. An empty one counts as none.
#[derive(Debug, Default)]
pub(crate) struct Variables(BTreeMap<String, String>);

impl Variables {
    /// Takes them out of all variables.
    pub(crate) fn of(variables: &[(OsString, OsString)]) -> Self {
        let ours = variables.iter().filter_map(|(name, value)| {
            let (name, value) = (name.to_str()?, value.to_str()?.trim());
            (name.starts_with("OTEL_") && !value.is_empty())
                .then(|| (name.to_owned(), value.to_owned()))
        });
        Self(ours.collect())
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The variable read by `read`; what cannot be read warns. The value is not repeated: it may be a secret.
    fn read<T>(
        &self,
        name: &str,
        warnings: &mut Vec<String>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.text(name)?);
        if value.is_none() {
            warnings.push(format!("{name} cannot be read and is passed over"));
        }
        value
    }

    /// Whether all of it is switched off (`OTEL_SDK_DISABLED`).
    pub(super) fn is_disabled(&self, warnings: &mut Vec<String>) -> bool {
        self.read("OTEL_SDK_DISABLED", warnings, |text| {
            text.to_ascii_lowercase().parse().ok()
        })
        .unwrap_or(false)
    }

    /// Whether one signal is switched off (`OTEL_TRACES_EXPORTER=none`). Prometheus reads metrics in any case.
    pub(super) fn is_switched_off(&self, signal: Signal, warnings: &mut Vec<String>) -> bool {
        let name = format!("OTEL_{}_EXPORTER", signal.word());
        let exporters = |text: &str| {
            let mut known = false;
            for exporter in text.split(',').map(str::trim) {
                match exporter {
                    "otlp" => return Some(false),
                    "none" | "prometheus" => known = true,
                    _ => {}
                }
            }
            known.then_some(true)
        };
        self.read(&name, warnings, exporters).unwrap_or(false)
    }

    /// The collector's URL for all signals.
    pub(super) fn endpoint(&self, warnings: &mut Vec<String>) -> Option<Uri> {
        self.read("OTEL_EXPORTER_OTLP_ENDPOINT", warnings, url)
    }

    /// The URL for one signal alone.
    pub(super) fn own_endpoint(&self, signal: Signal, warnings: &mut Vec<String>) -> Option<Uri> {
        let name = format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.word());
        self.read(&name, warnings, url)
    }

    /// How messages travel.
    pub(super) fn protocol(&self, signal: Signal, warnings: &mut Vec<String>) -> Option<Protocol> {
        self.one(signal, "PROTOCOL", warnings, |text| match text {
            "grpc" => Some(Protocol::Grpc),
            "http/protobuf" => Some(Protocol::Http),
            _ => None,
        })
    }

    /// How long one attempt may take.
    pub(super) fn timeout(&self, signal: Signal, warnings: &mut Vec<String>) -> Option<Duration> {
        self.one(signal, "TIMEOUT", warnings, milliseconds)
    }

    /// The file of certificates to trust.
    pub(super) fn certificate(&self, signal: Signal) -> Option<PathBuf> {
        self.one(signal, "CERTIFICATE", &mut Vec::new(), |text| {
            Some(PathBuf::from(text))
        })
    }

    /// Header lines for every message.
    pub(super) fn headers(
        &self,
        signal: Signal,
        warnings: &mut Vec<String>,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let headers = |text: &str| {
            pairs(text)?
                .into_iter()
                .map(|(name, value)| {
                    let mut value = HeaderValue::from_str(&value).ok()?;
                    value.set_sensitive(true);
                    Some((name.to_ascii_lowercase().parse().ok()?, value))
                })
                .collect()
        };
        self.one(signal, "HEADERS", warnings, headers)
            .unwrap_or_default()
    }

    /// Share and whether parents decide (`OTEL_TRACES_SAMPLER`).
    pub(super) fn sampler(&self, warnings: &mut Vec<String>) -> Option<(f64, bool)> {
        let name = self.text("OTEL_TRACES_SAMPLER")?;
        let (kind, by_parent) = match name.strip_prefix("parentbased_") {
            Some(kind) => (kind, true),
            None => (name, false),
        };
        match kind {
            "always_on" => Some((1.0, by_parent)),
            "always_off" => Some((0.0, by_parent)),
            "traceidratio" => {
                let share = self.read("OTEL_TRACES_SAMPLER_ARG", warnings, Share::parse);
                Some((share.map_or(1.0, |share| share.0), by_parent))
            }
            _ => {
                warnings.push("OTEL_TRACES_SAMPLER cannot be read and is passed over".to_owned());
                None
            }
        }
    }

    /// Who sends (`OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`).
    pub(super) fn resource(&self, warnings: &mut Vec<String>) -> Vec<(String, String)> {
        let mut attributes = self
            .read("OTEL_RESOURCE_ATTRIBUTES", warnings, pairs)
            .unwrap_or_default();
        if let Some(name) = self.text("OTEL_SERVICE_NAME") {
            attributes.retain(|(key, _)| key != "service.name");
            attributes.push(("service.name".to_owned(), name.to_owned()));
        }
        attributes
    }

    /// A time in milliseconds.
    pub(super) fn milliseconds(&self, name: &str, warnings: &mut Vec<String>) -> Option<Duration> {
        self.read(name, warnings, milliseconds)
    }

    /// A number above zero.
    pub(super) fn count(&self, name: &str, warnings: &mut Vec<String>) -> Option<usize> {
        self.read(name, warnings, |text| {
            text.parse().ok().filter(|number| *number > 0)
        })
    }

    /// A variable of the exporter: the signal's own, or the one for all.
    fn one<T>(
        &self,
        signal: Signal,
        what: &str,
        warnings: &mut Vec<String>,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let own = format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.word());
        let all = format!("OTEL_EXPORTER_OTLP_{what}");
        self.read(&own, warnings, &read)
            .or_else(|| self.read(&all, warnings, &read))
    }
}

fn url(text: &str) -> Option<Uri> {
    let url: Uri = text.parse().ok()?;
    let known = matches!(url.scheme_str(), Some("http" | "https"));
    (known && url.host().is_some()).then_some(url)
}

fn milliseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

/// `key=value,key=value`, percent-encoded as in W3C Baggage.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        Some((key.trim().to_owned(), decoded(value.trim())?))
    };
    text.split(',')
        .filter(|text| !text.trim().is_empty())
        .map(pair)
        .collect()
}

/// Text without its percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = rest.get(2..)?;
        } else {
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).ok()
}
