//! Connections that wait for a member: first in, first out per thread, bounded in number and time. A client
//! that leaves frees its place. When there is a member again they are let go in order, a window at a time, so
//! that the member's own queue of connections does not overflow.

use crate::config::Route;
use crate::conn::{Conn, Phase, Side};
use crate::connect::millis;
use crate::counters::CloseReason;
use crate::slab::Index;
use crate::tls;
use crate::worker::{Suspect, Task, Worker};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Most connections of one instance in connect at one time while others wait. Node's listen backlog is 511;
/// an overflow there costs a client a whole second (the SYN is sent again).
const WINDOW: usize = 128;
/// First and longest pause before a member that failed is tried again, in ms.
const RETRY_FIRST_MS: u64 = 5;
const RETRY_LONGEST_MS: u64 = 200;

impl Worker {
    /// Parks a connection that is in no list; `first` puts it before those that wait already.
    /// It is closed with `reason` when there is no room.
    pub(crate) fn park(&mut self, index: Index, first: bool, reason: CloseReason) {
        let (thread, now) = (self.thread, self.now);
        let Some(conn) = self.conns.get_mut(index) else { return };
        conn.phase = Phase::Parked;
        let place = conn.instance as usize;
        let Some(local) = self.locals[place].as_mut() else { return };
        if !local.shared.reserve_parked() {
            return self.turn_away(index, reason);
        }
        let cells = &local.shared.cells[thread];
        cells.parked.add(1);
        if conn.parked_at == 0 {
            conn.parked_at = now;
            cells.parked_ever.add(1);
        }
        let until = conn.parked_at + millis(local.shared.limits.load().park_timeout);
        conn.in_park = true;
        if first {
            local.parked.push_front(&mut self.conns, index);
        } else {
            local.parked.push_back(&mut self.conns, index);
        }
        self.wheel.set(index, until);
        if self.watch_client(index).is_err() {
            return self.end(index, CloseReason::Internal, false);
        }
        self.look_whether_left(index);
    }

    /// Takes a connection out of the parked list.
    pub(crate) fn unpark(&mut self, index: Index) {
        let thread = self.thread;
        let Some(conn) = self.conns.get_mut(index) else { return };
        if !std::mem::take(&mut conn.in_park) {
            return;
        }
        let place = conn.instance as usize;
        self.wheel.cancel(index);
        let Some(local) = self.locals[place].as_mut() else { return };
        local.parked.remove(&mut self.conns, index);
        local.shared.release_parked();
        local.cells(thread).parked.sub(1);
    }

    /// Whether a parked client has left. One that has sent its request and only closed its sending side still
    /// waits for an answer; without a request there is nothing to wait for.
    pub(crate) fn look_whether_left(&mut self, index: Index) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        // Nobody ends an HTTP request by closing half of the connection; whoever does has left.
        let ended = conn.client.hung_up;
        let nothing_said =
            |conn: &mut Conn| conn.http.is_some() || conn.up.is_empty() && says_nothing(&mut conn.client);
        let left = conn.client.failed || ended && nothing_said(conn);
        if left {
            self.end(index, CloseReason::ParkLeft, false);
        }
    }

    /// Lets waiting connections go while there is a member to send them to.
    pub(crate) fn release(&mut self, place: u32) {
        loop {
            let Some(local) = self.locals[place as usize].as_mut() else { return };
            let open = local.suspect.is_none() && local.connecting < WINDOW;
            if !open || !matches!(local.route.load().route, Route::To { .. }) {
                return;
            }
            let Some(first) = local.parked.front() else { return };
            self.unpark(first);
            self.connect(first);
        }
    }

    /// From now on one connection at a time tries the member.
    pub(crate) fn suspect(&mut self, place: u32, was_scout: bool) {
        let now = self.now;
        let local = self.local(place);
        let delay = match local.suspect {
            Some(suspect) if was_scout => (suspect.delay * 2).min(RETRY_LONGEST_MS),
            Some(_) => return,
            None => RETRY_FIRST_MS,
        };
        let retry_at = now + delay;
        local.suspect = Some(Suspect { retry_at, delay, scouting: false });
        self.schedule(retry_at, place, Task::Scout);
    }

    /// Tries a suspect member with the connection that has waited longest.
    pub(crate) fn scout(&mut self, place: u32) {
        let now = self.now;
        let Some(Some(local)) = self.locals.get_mut(place as usize) else { return };
        let Some(suspect) = local.suspect.as_mut().filter(|s| !s.scouting && s.retry_at <= now) else { return };
        if !matches!(local.route.load().route, Route::To { .. }) {
            local.suspect = None;
            return;
        }
        let Some(first) = local.parked.front() else {
            // Nobody waits: the next client tries it itself.
            local.suspect = None;
            return;
        };
        suspect.scouting = true;
        self.unpark(first);
        if let Some(conn) = self.conns.get_mut(first) {
            conn.scout = true;
        }
        self.connect(first);
    }

    /// A connection that was the scout gives up its attempt, whatever the reason: another may go.
    pub(crate) fn scout_turns_back(&mut self, index: Index) {
        let now = self.now;
        let Some(conn) = self.conns.get_mut(index) else { return };
        let place = conn.instance;
        if std::mem::take(&mut conn.scout)
            && let Some(suspect) = self.local(place).suspect.as_mut()
        {
            suspect.scouting = false;
            suspect.retry_at = now;
            self.schedule(now, place, Task::Scout);
        }
    }

    /// Ends everyone who waits.
    pub(crate) fn close_parked(&mut self, place: u32, reason: CloseReason) {
        while let Some(index) = self.locals[place as usize].as_ref().and_then(|local| local.parked.front()) {
            self.turn_away(index, reason);
        }
    }
}

fn says_nothing(client: &mut Side) -> bool {
    if client.tls.is_some() {
        return tls::says_nothing(client);
    }
    let mut byte = [0; 1];
    match client.fd.as_ref().map(|fd| recv(fd, &mut byte, RecvFlags::PEEK)) {
        Some(Ok((read, _))) => read == 0,
        Some(Err(e)) => e != Errno::AGAIN,
        None => true,
    }
}
