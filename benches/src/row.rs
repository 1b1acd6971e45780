//! The rows of the table: what stands between driver and upstream.

use std::net::SocketAddr;

use clap::ValueEnum;

use crate::error::Error;
use crate::process::Part;
use crate::serve::LISTENING;
use crate::traffic::Destination;
use crate::workload::Workload;

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Row {
    /// No proxy: what latency is added to.
    Direct,
    /// hyper's server and client, bodies streamed. The 1.00 of the table.
    Bare,
    /// The same with both envelopes parsed.
    Envelope,
}

impl Row {
    /// Every row, in the table's order.
    pub(crate) const ALL: [Self; 3] = [Self::Direct, Self::Bare, Self::Envelope];

    /// The row's heading.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "no proxy",
            Self::Bare => "bare hyper proxy, streams",
            Self::Envelope => "hyper proxy, parses request and reply envelope",
        }
    }

    /// Whether the row is measured on this workload. Without a proxy only latency can be.
    pub(crate) fn meets(self, workload: Workload) -> bool {
        self != Self::Direct || workload == Workload::Single
    }

    /// Starts the row's proxy in front of `upstream`, on `core`.
    pub(crate) fn start(self, upstream: SocketAddr, core: Option<usize>) -> Result<Started, Error> {
        let address = upstream.to_string();
        match self {
            Self::Direct => Ok(Started {
                part: None,
                to: destination(upstream),
            }),
            Self::Bare => own(self, &["bare", &address], core),
            Self::Envelope => own(self, &["bare", &address, "--reading", "envelope"], core),
        }
    }
}

/// A row's proxy, running.
#[derive(Debug)]
pub(crate) struct Started {
    part: Option<Part>,
    to: Destination,
}

impl Started {
    /// The proxy's process id; none without a proxy.
    pub(crate) fn id(&self) -> Option<u32> {
        self.part.as_ref().map(Part::id)
    }

    /// Where calls to this row go.
    pub(crate) fn destination(&self) -> &Destination {
        &self.to
    }
}

fn own(row: Row, arguments: &[&str], core: Option<usize>) -> Result<Started, Error> {
    let mut part = Part::own(row.title(), arguments, core)?;
    let address = part.hear(LISTENING)?;
    match address.parse() {
        Ok(address) => Ok(Started {
            part: Some(part),
            to: destination(address),
        }),
        Err(_) => Err(Error::Reply(address)),
    }
}

fn destination(address: SocketAddr) -> Destination {
    Destination {
        address,
        path: "/bench/mcp".to_owned(),
        key: None,
    }
}
