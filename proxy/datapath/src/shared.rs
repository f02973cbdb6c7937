//! What the handle and all threads share about one instance: its route, its bounds, its counters.

use crate::blame::{self, LastClient, LastClients};
use crate::config::{Drain, InstanceId, Limits, Route};
use crate::counters::{Cells, CloseReason, Counters};
use crate::quota::Pool;
use crate::source::{Rate, Sources};
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A route with what it cuts off. The cuts only ever rise, so a thread that skips a version misses none.
#[derive(Clone, Debug)]
pub(crate) struct Routed {
    pub(crate) version: u64,
    pub(crate) route: Route,
    /// Connections to a member that are ended at once.
    pub(crate) cut: Floor,
    /// Over how long those of the cut that are quiet are ended.
    pub(crate) spread: Duration,
    /// Connections to a member that are ended by and by.
    pub(crate) drain: Option<Draining>,
    /// The epoch of the last route to a member.
    epoch: u64,
}

/// Names connections by age: those opened under an epoch or a route version below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    epoch: u64,
    version: u64,
}

impl Floor {
    /// Whether a connection opened under this epoch and route version lies below.
    pub(crate) fn covers(&self, epoch: u64, version: u64) -> bool {
        epoch < self.epoch || version < self.version
    }

    fn raise(&mut self, to: Floor) {
        self.epoch = self.epoch.max(to.epoch);
        self.version = self.version.max(to.version);
    }
}

/// A drain under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Draining {
    pub(crate) below: Floor,
    /// Nothing is ended before.
    pub(crate) from: Instant,
    /// Everything is ended by then.
    pub(crate) until: Instant,
}

impl Routed {
    pub(crate) fn first() -> Self {
        Self { version: 0, route: Route::Park, cut: Floor::default(), spread: Duration::ZERO, drain: None, epoch: 0 }
    }

    /// The next version. A route to an epoch below an earlier one should not be; it ends whatever was opened before it.
    pub(crate) fn next(&self, route: Route, drain: Drain, now: Instant) -> Self {
        let version = self.version + 1;
        let (epoch, below) = match &route {
            Route::To { epoch, .. } => (*epoch, Floor { epoch: *epoch, version: 0 }),
            Route::Park | Route::Closed => (self.epoch, Floor { epoch: 0, version }),
        };
        if epoch < self.epoch {
            // A cut by epoch would hit the connections of this route, too, each as soon as it is opened.
            let cut = Floor { epoch: 0, version };
            return Self { version, route, cut, spread: Duration::ZERO, drain: None, epoch };
        }
        let mut next = Self { version, route, cut: self.cut, spread: Duration::ZERO, drain: self.drain, epoch };
        match drain {
            Drain::Keep => {}
            Drain::Now => {
                next.cut.raise(below);
                next.drain = None;
            }
            Drain::Spread(spread) => {
                next.cut.raise(below);
                (next.spread, next.drain) = (spread, None);
            }
            Drain::After { grace, spread } => {
                let mut all = next.drain.map_or_else(Floor::default, |earlier| earlier.below);
                all.raise(below);
                next.drain = Some(Draining { below: all, from: now + grace, until: now + grace + spread });
            }
        }
        next
    }

    /// Whether a connection of this epoch is what the route asks for.
    pub(crate) fn covers(&self, epoch: u64) -> bool {
        matches!(&self.route, Route::To { epoch: current, .. } if *current == epoch)
    }
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: InstanceId,
    pub(crate) name: String,
    pub(crate) route: Arc<ArcSwap<Routed>>,
    pub(crate) limits: ArcSwap<Limits>,
    pub(crate) connections: Pool,
    pub(crate) parked: AtomicUsize,
    pub(crate) sources: Sources,
    pub(crate) rate: Rate,
    /// One per thread.
    pub(crate) cells: Vec<Cells>,
    /// One per thread.
    pub(crate) last_clients: Vec<LastClients>,
    /// Per thread: a route change waits in its mailbox already.
    pub(crate) notified: Vec<AtomicBool>,
    /// The newest version whose `Clear` was signalled.
    cleared: AtomicU64,
    /// The newest version whose `Quiet` was signalled.
    quieted: AtomicU64,
}

impl Instance {
    pub(crate) fn new(id: InstanceId, name: String, limits: Limits, threads: usize) -> Self {
        Self {
            id,
            name,
            route: Arc::new(ArcSwap::from_pointee(Routed::first())),
            connections: Pool::new(limits.max_connections, threads),
            limits: ArcSwap::from_pointee(limits),
            parked: AtomicUsize::new(0),
            sources: Sources::default(),
            rate: Rate::default(),
            cells: (0..threads).map(|_| Cells::default()).collect(),
            last_clients: (0..threads).map(|_| LastClients::default()).collect(),
            notified: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            cleared: AtomicU64::new(0),
            quieted: AtomicU64::new(0),
        }
    }

    /// Room for one more parked connection, if there is any.
    pub(crate) fn reserve_parked(&self) -> bool {
        let most = self.limits.load().max_parked;
        self.parked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < most).then_some(n + 1)).is_ok()
    }

    pub(crate) fn release_parked(&self) {
        self.parked.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether every thread has applied route `version` and holds nothing outside of it.
    pub(crate) fn is_clear(&self, version: u64) -> bool {
        self.cells.iter().all(|cells| cells.clear_version.load(Ordering::SeqCst) >= version)
    }

    /// Called by a thread that became clear: true for exactly one thread per version, the last one.
    pub(crate) fn claim_clear(&self, version: u64) -> bool {
        self.is_clear(version) && self.cleared.fetch_max(version, Ordering::SeqCst) < version
    }

    /// The same for a thread on which nothing that is being drained is under way any more.
    pub(crate) fn claim_quiet(&self, version: u64) -> bool {
        let is_quiet = self.cells.iter().all(|cells| cells.quiet_version.load(Ordering::SeqCst) >= version);
        is_quiet && self.quieted.fetch_max(version, Ordering::SeqCst) < version
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.cells.iter().for_each(|cells| cells.add_to(&mut sum));
        sum
    }

    pub(crate) fn last_clients(&self) -> Vec<(CloseReason, LastClient)> {
        blame::newest(&self.last_clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(epoch: u64) -> Route {
        Route::To { epoch, member: 0, addrs: Vec::new() }
    }

    #[test]
    fn a_cut_is_not_forgotten_by_a_later_route() {
        let now = Instant::now();
        let first = Routed::first().next(to(7), Drain::Keep, now);
        let parked = first.next(Route::Park, Drain::Now, now);
        let again = parked.next(to(7), Drain::Keep, now);
        assert!(again.cut.covers(7, first.version), "opened before the cut");
        assert!(!again.cut.covers(7, again.version), "opened after it");
    }

    #[test]
    fn a_new_epoch_cuts_the_old_ones_only() {
        let now = Instant::now();
        let next = Routed::first().next(to(7), Drain::Keep, now).next(to(8), Drain::Now, now);
        assert!(next.cut.covers(7, 1));
        assert!(!next.cut.covers(8, 1));
        let same = next.next(to(8), Drain::Now, now);
        assert!(!same.cut.covers(8, 2), "the same epoch again ends nothing of it");
    }

    #[test]
    fn an_epoch_that_falls_back_ends_all_that_was_opened_before_and_nothing_after() {
        let now = Instant::now();
        for drain in [Drain::Keep, Drain::Now, Drain::After { grace: Duration::ZERO, spread: Duration::ZERO }] {
            let newer = Routed::first().next(to(8), Drain::Now, now).next(Route::Park, Drain::Keep, now);
            let older = newer.next(to(7), drain, now);
            assert!(older.cut.covers(8, newer.version) && older.cut.covers(7, newer.version), "{drain:?}");
            assert!(!older.cut.covers(7, older.version) && older.drain.is_none(), "{drain:?}");
        }
    }

    #[test]
    fn a_cut_now_ends_a_drain_under_way() {
        let now = Instant::now();
        let after = Drain::After { grace: Duration::from_secs(9), spread: Duration::ZERO };
        let draining = Routed::first().next(to(7), Drain::Keep, now).next(Route::Park, after, now);
        assert!(draining.drain.is_some_and(|d| d.below.covers(7, 1)));
        assert!(!draining.cut.covers(7, 1));
        let cut = draining.next(to(8), Drain::Now, now);
        assert!(cut.drain.is_none() && cut.cut.covers(7, 1));
    }
}
