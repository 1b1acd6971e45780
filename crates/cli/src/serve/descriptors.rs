//! File descriptors: as many as the system gives, and some of them kept for what must always work.
//!
//! Without descriptors the log cannot rotate, `kill.log` cannot be opened and operators cannot connect. So connections of
//! clients and to servers share what is left after a reserve for these, half each.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::listen::ADMIN_CONNECTIONS;
use crate::config::Configuration;

/// Kept for the log, the store, files that are read again, and pipes of child processes.
const RESERVE: usize = 128 + ADMIN_CONNECTIONS;
/// Fewest for clients and servers each, however few there are.
const FEWEST: usize = 16;

/// The descriptors of this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Descriptors {
    /// For connections of clients; as many are for connections to servers.
    clients: usize,
}

impl Descriptors {
    /// Raises the limit as far as the system lets it, and bounds connections to servers.
    pub(super) fn raise() -> Self {
        let limit = match raised() {
            Ok(limit) => limit,
            Err(error) => {
                tracing::warn!(%error, "the limit of file descriptors could not be raised");
                1024
            }
        };
        let descriptors = Self::of(limit);
        keepgate_transport::descriptors::limit(descriptors.clients);
        descriptors
    }

    /// The shares of a limit.
    fn of(limit: usize) -> Self {
        let clients = limit.saturating_sub(RESERVE) / 2;
        Self {
            clients: clients.max(FEWEST),
        }
    }

    /// Most connections of one data listener: `limits.connections`, or fewer where there are not as many descriptors.
    pub(super) fn connections(self, configuration: &Configuration) -> usize {
        let wanted = configuration.connections.get();
        let most = (self.clients / configuration.listen.len().max(1)).max(1);
        if most < wanted {
            tracing::warn!(
                wanted,
                most,
                "limits.connections is more than the limit of file descriptors allows (ulimit -Hn, LimitNOFILE=)"
            );
        }
        wanted.min(most)
    }
}

/// Sets the soft limit to the hard one, and gives it.
fn raised() -> nix::Result<usize> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(usize::try_from(hard).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::{Descriptors, FEWEST, RESERVE, raised};

    #[test]
    fn connections_leave_a_reserve() {
        for (limit, clients) in [
            (1024, (1024 - RESERVE) / 2),
            (1_048_576, (1_048_576 - RESERVE) / 2),
            (64, FEWEST),
        ] {
            let descriptors = Descriptors::of(limit);
            assert_eq!(descriptors.clients, clients, "{limit}");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raised().expect("a limit");
        let (soft, hard) =
            nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
                .expect("a limit");
        assert_eq!(soft, hard);
        assert_eq!(usize::try_from(hard).unwrap_or(usize::MAX), limit);
    }
}
