//! Descriptors: how many this process may have, and for how many connections that leaves room.
//!
//! Data must not starve control: what links, checks, admin, journal and store need is set aside before the first
//! connection is counted.

use crate::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a connection takes: the client's socket and the member's.
const EACH: usize = 2;
/// Set aside for each instance: of each of its two members a link, a check under way and a request of a driver, and
/// two to spare.
const PER_INSTANCE: usize = 8;

/// The sum of descriptors, and what of it is spoken for whatever happens.
#[derive(Debug)]
pub(crate) struct Descriptors {
    all: usize,
    taken: usize,
    asked: usize,
}

impl Descriptors {
    /// Raises the soft limit to the hard one and counts what threads and control take.
    pub(crate) fn new(config: &Config, threads: usize) -> Self {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        if let Err(e) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
            tracing::warn!(error = %e, "cannot raise the limit of descriptors");
        }
        let all = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX / 4);
        Self {
            all: usize::try_from(all).unwrap_or(usize::MAX / 4),
            taken: config.reserved_descriptors + threads * (2 * config.pipes_per_thread + 2),
            asked: config.max_connections,
        }
    }

    /// How many connections there may be in all, beside so many instances and listening sockets; at least one.
    pub(crate) fn connections(&self, instances: usize, sockets: usize) -> usize {
        let taken = self.taken + instances * PER_INSTANCE + sockets;
        let possible = (self.all.saturating_sub(taken) / EACH).max(1);
        if self.asked == 0 { possible } else { self.asked.min(possible) }
    }

    /// Whether fewer connections may come in than was asked for.
    pub(crate) fn is_short(&self, connections: usize) -> bool {
        connections < self.asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_control_needs_is_set_aside_first() {
        let descriptors = Descriptors { all: 1024, taken: 800, asked: 0 };
        assert_eq!(descriptors.connections(0, 0), 112);
        assert_eq!(descriptors.connections(2, 8), 100, "8 an instance, and the listening sockets");
        assert_eq!(descriptors.connections(1000, 4000), 1, "a limit that is far too low lets one in at a time");
        let asked = Descriptors { asked: 50, ..descriptors };
        assert_eq!(asked.connections(2, 8), 50);
        assert!(!asked.is_short(50) && asked.is_short(49));
    }
}
