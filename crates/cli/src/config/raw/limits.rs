//! `limits`: what may be held, for how long, how often and how much at once.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use keepgate_gateway::limit::{Breaker, Rate};
use keepgate_gateway::settings::{
    ConcurrencyLimits, Limits as GatewayLimits, Lives, ProcessLimits, Rates,
};

use super::standard;
use crate::config::Drain;
use crate::config::decode::{At, Decode, Fields, Size, duration, written, wrong_plain};
use crate::config::document::Node;
use crate::config::fault::Faults;

/// The most connections clients may hold, unless the file says otherwise.
const CONNECTIONS: usize = 4096;
/// What messages that are held whole may take together, in bytes, unless the file says otherwise.
const MEMORY: usize = 256 * 1024 * 1024;

/// `limits`: what may be held, and for how long.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) body: At<Size>,
    pub(crate) result: At<Size>,
    pub(crate) depth: At<NonZeroUsize>,
    pub(crate) in_flight: NonZeroUsize,
    pub(crate) streams: NonZeroUsize,
    pub(crate) connections: NonZeroUsize,
    pub(crate) memory: At<Size>,
    pub(crate) header_timeout: Duration,
    pub(crate) read_deadline: Duration,
    pub(crate) session_idle: Duration,
    pub(crate) sessions: At<NonZeroUsize>,
    pub(crate) sessions_per_caller: At<NonZeroUsize>,
    pub(crate) processes: ProcessLimits,
    pub(crate) keep_alive: Duration,
    pub(crate) lives: Lives,
    pub(crate) drain: Drain,
    pub(crate) rate: Rates,
    pub(crate) concurrency: ConcurrencyLimits,
    pub(crate) breaker: Option<Breaker>,
    pub(crate) denial_breaker: Option<Breaker>,
}

impl Decode for Limits {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let defaults = GatewayLimits::default();
        let depth = NonZeroUsize::new(defaults.depth).unwrap_or(NonZeroUsize::MIN);
        let sessions: At<NonZeroUsize> =
            fields.or("sessions", standard("limits.sessions", defaults.sessions));
        let fewer = defaults.sessions_per_caller.min(sessions.value);
        let limits = Self {
            body: fields.or("body", standard("limits.body", Size(defaults.body))),
            result: fields.or("result", standard("limits.result", Size(defaults.result))),
            depth: fields.or("depth", standard("limits.depth", depth)),
            in_flight: fields.or("in_flight", defaults.in_flight),
            streams: fields.or("streams", defaults.streams),
            connections: fields.or(
                "connections",
                NonZeroUsize::new(CONNECTIONS).unwrap_or(NonZeroUsize::MIN),
            ),
            memory: fields.or("memory", standard("limits.memory", Size(MEMORY))),
            header_timeout: fields.or("header_timeout", Duration::from_secs(10)),
            read_deadline: fields.or("read_deadline", defaults.read_deadline),
            session_idle: fields.or("session_idle", defaults.session_idle),
            sessions,
            sessions_per_caller: fields.or(
                "sessions_per_caller",
                standard("limits.sessions_per_caller", fewer),
            ),
            processes: fields.section("processes")?,
            keep_alive: fields.or("keep_alive", defaults.keep_alive),
            lives: Lives {
                call: fields.or("call_life", defaults.lives.call),
                abandoned: fields.or("abandoned_call_life", defaults.lives.abandoned),
                stream: fields.or("stream_life", defaults.lives.stream),
            },
            drain: Drain {
                patience: fields.or("drain", Duration::from_secs(30)),
                delay: fields.or("drain_delay", Duration::from_secs(5)),
            },
            rate: fields.section("rate")?,
            concurrency: fields.section("concurrency")?,
            breaker: fields.or("breaker", Switch(defaults.breaker)).0,
            denial_breaker: fields
                .or("denial_breaker", Switch(defaults.denial_breaker))
                .0,
        };
        fields.renamed(&[
            ("event", "limits.result"),
            ("running", "limits.concurrency"),
            ("suspension", "limits.denial_breaker"),
        ]);
        fields.finish();
        Some(limits)
    }
}

/// A limit that can be switched off with the word `off`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Switch<T>(pub(crate) Option<T>);

impl<T: Decode> Decode for Switch<T> {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        if written(node) == Some("off") {
            return Some(Self(None));
        }
        T::decode(node, path, faults).map(|limit| Self(Some(limit)))
    }
}

/// `limits.rate`: how often calls may come.
impl Decode for Rates {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let defaults = GatewayLimits::default().rate;
        let rates = Self {
            session: fields.or("session", Switch(defaults.session)).0,
            caller: fields.or("caller", Switch(defaults.caller)).0,
            opening: fields.or("opening", Switch(defaults.opening)).0,
        };
        fields.finish();
        Some(rates)
    }
}

/// `limits.concurrency`: maximum number of concurrent calls.
impl Decode for ConcurrencyLimits {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let defaults = GatewayLimits::default().concurrency;
        let concurrency = Self {
            session: fields.or("session", Switch(defaults.session)).0,
            caller: fields.or("caller", Switch(defaults.caller)).0,
            caller_per_server: fields
                .or("caller_per_server", Switch(defaults.caller_per_server))
                .0,
        };
        fields.finish();
        Some(concurrency)
    }
}

/// `limits.processes`: maximum number of processes of servers.
impl Decode for ProcessLimits {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let defaults = Self::default();
        let processes = Self {
            server: fields.or("server", defaults.server),
            caller: fields.or("caller", defaults.caller),
        };
        fields.finish();
        Some(processes)
    }
}

/// A circuit breaker: consecutive failures, and the time it stays open.
impl Decode for Breaker {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let hint = "a breaker needs both: { failures: 5, open_for: 10s }, or the word off";
        let mut fields = Fields::new(node, path, faults)?;
        let failures: Option<NonZeroUsize> = fields.required("failures", hint);
        let open_for: Option<Duration> = fields.required("open_for", hint);
        fields.renamed(&[("rest", "open_for")]);
        fields.finish();
        Some(Self {
            failures: u32::try_from(failures?.get())
                .ok()
                .and_then(NonZeroU32::new)
                .unwrap_or(NonZeroU32::MAX),
            open_for: open_for?,
        })
    }
}

/// `600/1m`, or `600/1m burst 50`.
impl Decode for Rate {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let read = written(node).and_then(rate);
        if read.is_none() {
            let expected = "a rate like 600/1m or `600/1m burst 50` (so many in that time, so many of them at once), or the word off";
            faults.push(wrong_plain(node, path, expected));
        }
        read
    }
}

fn rate(text: &str) -> Option<Rate> {
    let (rate, burst) = match text.split_once(" burst ") {
        Some((rate, burst)) => (rate, Some(burst)),
        None => (text, None),
    };
    let (calls, per) = rate.split_once('/')?;
    let whole = |text: &str| {
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<NonZeroU32>().ok()).flatten()
    };
    let calls = whole(calls)?;
    let burst = burst.map_or(Some(calls), whole)?;
    Rate::new(calls, duration(per)?, burst)
}

/// `servers.<name>.limits`: how much may be asked of one server.
#[derive(Debug, Default)]
pub(crate) struct ServerLimits {
    pub(crate) rate: Option<Rate>,
    pub(crate) concurrency: Option<NonZeroUsize>,
    pub(crate) tools: BTreeMap<String, At<Rate>>,
}

impl Decode for ServerLimits {
    fn decode(node: &Node, path: &str, faults: &mut Faults) -> Option<Self> {
        let mut fields = Fields::new(node, path, faults)?;
        let limits = Self {
            rate: fields.or("rate", Switch(None)).0,
            concurrency: fields.or("concurrency", Switch(None)).0,
            tools: fields.or("tools", BTreeMap::new()),
        };
        fields.renamed(&[("running", "concurrency")]);
        fields.finish();
        Some(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::rate;

    #[test]
    fn a_rate_has_one_form() {
        for (text, shown) in [
            ("600/1m", "600 in 1m"),
            ("5/1h burst 1", "5 in 1h, 1 at once"),
            ("10/1s burst 20", "10 in 1s, 20 at once"),
            ("1/1d", "1 in 24h"),
        ] {
            assert_eq!(
                rate(text).map(|rate| rate.to_string()).as_deref(),
                Some(shown),
                "{text}"
            );
        }
        for text in [
            "",
            "600",
            "600/",
            "/1m",
            "0/1m",
            "600/0s",
            "600/1m burst 0",
            "600/m",
            "+6/1m",
            "6 /1m",
            "600/1m burst",
            "1/400d",
            "4294967296/1s",
            "2000000000/1ms",
            "600/1m burst 5 burst 5",
        ] {
            assert!(rate(text).is_none(), "{text}");
        }
    }
}
