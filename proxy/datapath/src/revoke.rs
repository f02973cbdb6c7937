//! A new route: what it cuts off ends at once, what it drains ends by and by, who waits is let go. An instance
//! is *clear* of the old when no connection outside the new route is left, and *quiet* when nothing is under way on any
//! that is; the last thread to get there says so.

use crate::config::{Protocol, Route};
use crate::connect::millis;
use crate::counters::CloseReason;
use crate::shared::{Draining, Floor};
use crate::signal::SignalKind;
use crate::slab::Index;
use crate::worker::{Task, Worker};
use std::sync::atomic::Ordering;

/// Time between two looks at what is being drained, in ms.
const DRAIN_STEP_MS: u64 = 10;
/// How long nothing must have moved on a connection of which nothing is known but its bytes, in ms, before nothing counts
/// as under way on it. Longer than the gaps within an answer, much shorter than people notice.
const QUIET_MS: u64 = 100;

impl Worker {
    pub(crate) fn route_changed(&mut self, place: u32) {
        let thread = self.thread;
        let local = self.local(place);
        // Noted before the route is loaded: a change that comes after this line is noted again.
        local.shared.notified[thread].store(false, Ordering::SeqCst);
        let routed = local.route.load().clone();
        if routed.version != local.applied {
            local.suspect = None;
            local.drain_total = None;
        }
        local.applied = routed.version;
        let mut quiet = Vec::new();
        for index in self.live(place) {
            let Some(conn) = self.conns.get(index) else { continue };
            self.serving = Some(index);
            // One that has moved no byte need not wait for the end of a drain: it has nothing to lose.
            let free_to_go = conn.is_untouched() && !routed.covers(conn.epoch);
            let cut = routed.cut.covers(conn.epoch, conn.version) && !conn.muted;
            if cut && !free_to_go && !routed.spread.is_zero() && self.is_quiet(index) {
                quiet.push(index);
            } else if free_to_go || cut {
                self.revoke(index);
            }
        }
        self.mute(&quiet, millis(routed.spread));
        self.drain_step(place);
        if routed.route == Route::Closed {
            self.close_parked(place, CloseReason::RouteClosed);
            self.close_idle(place, CloseReason::RouteClosed);
        }
        self.note_clear(place);
        self.release(place);
    }

    /// Ends a connection's time with its member. One that has not moved a byte loses nothing: it waits for the
    /// next member. Any other is reset on both sides, so that nobody takes a cut stream for a complete one.
    fn revoke(&mut self, index: Index) {
        if self.conns.get(index).is_some_and(|conn| conn.is_untouched()) {
            self.find_another(index);
        } else if self.conns.get(index).is_some_and(|conn| conn.http.is_some()) {
            self.revoke_http(index);
        } else {
            self.end(index, CloseReason::EpochRevoked, true);
        }
    }

    /// Lets no byte through these any more, and ends them one by one within `spread` ms.
    fn mute(&mut self, quiet: &[Index], spread: u64) {
        for (place, &index) in (1..).zip(quiet) {
            let Some(conn) = self.conns.get_mut(index) else { continue };
            conn.muted = true;
            self.wheel.set(index, self.now + spread * place / quiet.len() as u64);
        }
    }

    /// A muted connection has an event: whoever speaks, or ends, learns that it is over.
    pub(crate) fn serve_muted(&mut self, index: Index) {
        let Some(conn) = self.conns.get(index) else { return };
        if [&conn.client, &conn.member].iter().any(|side| side.readable || side.hung_up || side.failed) {
            self.end(index, CloseReason::EpochRevoked, true);
        }
    }

    /// Whether nothing is under way on a live connection.
    fn is_quiet(&self, index: Index) -> bool {
        let Some(conn) = self.conns.get(index) else { return true };
        let listener = self.listeners.get(conn.listener as usize).and_then(Option::as_ref);
        let follows_http = listener.is_some_and(|listening| listening.spec.protocol == Protocol::Http);
        conn.is_quiet(follows_http, self.now, QUIET_MS)
    }

    /// Says so if nothing is under way any more on what is being drained, and ends as many as should be gone by now.
    pub(crate) fn drain_step(&mut self, place: u32) {
        let Some(Some(local)) = self.locals.get_mut(place as usize) else { return };
        let version = local.applied;
        let routed = local.route.load();
        // A newer route is on its way to this thread; it brings another step.
        let Some(Draining { below, from, until }) = routed.drain.filter(|_| routed.version == version) else { return };
        let (from, until) = (self.elapsed(from), self.elapsed(until));
        let left = self.below(place, below);
        if left.iter().all(|&index| self.is_quiet(index)) {
            self.note_quiet(place, version);
        }
        if self.now < from {
            if !left.is_empty() {
                self.schedule((self.now + DRAIN_STEP_MS).min(from), place, Task::Drain);
            }
            return;
        }
        let total = *self.local(place).drain_total.get_or_insert(left.len());
        let may_stay =
            if self.now >= until { 0 } else { (total as u64 * (until - self.now) / (until - from)) as usize };
        let surplus = left.len().saturating_sub(may_stay);
        for &index in &left[..surplus] {
            self.serving = Some(index);
            self.revoke(index);
        }
        if left.len() > surplus {
            self.schedule((self.now + DRAIN_STEP_MS).min(until), place, Task::Drain);
        }
    }

    /// Live connections below a floor, oldest first.
    fn below(&mut self, place: u32, floor: Floor) -> Vec<Index> {
        let mut found = self.live(place);
        found.retain(|&index| self.conns.get(index).is_some_and(|conn| floor.covers(conn.epoch, conn.version)));
        found
    }

    /// All live connections of an instance, oldest first.
    fn live(&mut self, place: u32) -> Vec<Index> {
        let Some(Some(local)) = self.locals.get(place as usize) else { return Vec::new() };
        let mut found = Vec::with_capacity(local.live.len());
        let mut at = local.live.front();
        while let Some(index) = at {
            found.push(index);
            at = local.live.after(&mut self.conns, index);
        }
        found
    }

    /// Ends every live connection of an instance.
    pub(crate) fn end_live(&mut self, place: u32, reason: CloseReason) {
        for index in self.live(place) {
            self.end(index, reason, true);
        }
    }

    fn note_quiet(&mut self, place: u32, version: u64) {
        let thread = self.thread;
        let local = self.local(place);
        local.cells(thread).quiet_version.fetch_max(version, Ordering::SeqCst);
        if local.shared.claim_quiet(version) {
            self.signal(place, SignalKind::Quiet, 0, 0);
        }
    }

    /// Says so if nothing is left outside the route applied last.
    pub(crate) fn note_clear(&mut self, place: u32) {
        let thread = self.thread;
        let local = self.local(place);
        let version = local.applied;
        let routed = local.route.load();
        // A newer route is on its way to this thread; it will ask again.
        if routed.version != version || local.epochs.iter().any(|(epoch, _)| !routed.covers(*epoch)) {
            return;
        }
        let clear = &local.cells(thread).clear_version;
        if clear.load(Ordering::SeqCst) < version {
            clear.store(version, Ordering::SeqCst);
        }
        if version > 0 && local.shared.claim_clear(version) {
            self.signal(place, SignalKind::Clear, 0, 0);
        }
    }
}
