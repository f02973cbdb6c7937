//! The worker's side of an HTTP connection: it gets a member when it has a request, keeps its client through a
//! switch, and is told off in HTTP when nothing else is left.

use super::exchange::Moved;
use super::{Http, Next};
use crate::conn::{Greeting, Held, Phase};
use crate::connect::millis;
use crate::counters::CloseReason;
use crate::framing::Method;
use crate::relay::{self, More, Read};
use crate::signal::SignalKind;
use crate::slab::Index;
use crate::worker::Worker;

/// How long a client that got its last answer may take to end, so that a reset does not overtake the answer.
const LINGER_MS: u64 = 1000;
/// What a refused client is told about when to come again, in seconds.
const RETRY_AFTER: u32 = 1;

impl Worker {
    /// Puts a connection without a member where it belongs: one that must say something first waits for its
    /// client, one with a request (or plain TCP) looks for a member.
    pub(crate) fn find_place(&mut self, index: Index) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let greets = matches!(conn.greeting, Greeting::Awaited) || conn.naming || conn.shaking;
        if !greets && conn.http.as_ref().is_none_or(|http| http.has_request()) {
            return self.seek(index);
        }
        conn.phase = Phase::Idle;
        let (place, last_move) = (conn.instance as usize, conn.last_move);
        let (head_due, unparsed) = conn.http.as_ref().map_or((0, false), |http| (http.head_due, http.unparsed));
        let unread = conn.client.readable || unparsed;
        if let Some(local) = self.locals[place].as_mut() {
            local.idle.push_back(&mut self.conns, index);
        }
        let idle = self.idle_timeout(index);
        let head_due = if greets { self.greeting_due(index) } else { head_due };
        self.wheel.set(index, if head_due == 0 { last_move.saturating_add(idle) } else { head_due });
        if unread {
            // What made it readable was told once; nothing will tell again.
            self.queue(index);
        }
        if self.watch_client(index).is_err() {
            self.end(index, CloseReason::Internal, false);
        }
    }

    /// Leaves the member and finds another, or the same one anew.
    pub(crate) fn find_another(&mut self, index: Index) {
        self.detach(index);
        self.find_place(index);
    }

    /// Takes a connection out of the idle list.
    pub(crate) fn leave_idle(&mut self, index: Index) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        if conn.phase != Phase::Idle {
            return;
        }
        conn.phase = Phase::Parked;
        let place = conn.instance as usize;
        if let Some(local) = self.locals[place].as_mut() {
            local.idle.remove(&mut self.conns, index);
        }
    }

    pub(crate) fn serve_http(&mut self, index: Index) {
        let (thread, now) = (self.thread, self.now);
        let Some(conn) = self.conns.get_mut(index) else { return };
        let place = conn.instance;
        let Some(local) = self.locals[place as usize].as_mut() else { return };
        let Some(mut http) = conn.http.take() else { return };
        if http.lingering.is_some() {
            conn.http = Some(http);
            return self.linger_on(index);
        }
        let covered = conn.phase != Phase::Relaying || local.route.load().covers(conn.epoch);
        if !covered && http.is_unsent() {
            // Not one byte more to this member; the request finds another.
            conn.http = Some(http);
            return self.act(index, Next::DropMember);
        }
        let mut moved = Moved::default();
        let splices = self.io.splices;
        let next = http.step(conn, &mut self.io, covered, now, &mut moved);
        conn.http = Some(http);
        let cells = &local.shared.cells[thread];
        cells.requests.add(moved.requests);
        cells.bytes_up.add(moved.up);
        cells.bytes_down.add(moved.down);
        cells.splices.add(self.io.splices - splices);
        if moved.up + moved.down > 0 {
            conn.last_move = now;
        }
        self.act(index, next);
    }

    fn act(&mut self, index: Index, next: Next) {
        match next {
            Next::Wait => self.wait_for_client(index),
            Next::More => self.queue(index),
            Next::NeedMember => {
                self.leave_idle(index);
                self.seek(index);
            }
            Next::DropMember => self.find_another(index),
            Next::MemberLost => self.member_lost(index),
            Next::Close(reason) => self.close_after_answer(index, reason),
            Next::Reset(reason) => self.end(index, reason, true),
            Next::Refuse(status) => self.refuse(index, status, CloseReason::BadProtocol),
            Next::BadAnswer => self.refuse(index, 502, CloseReason::BadProtocol),
            Next::Tunnel => self.tunnel(index),
        }
    }

    /// Starts the clock for a head that has begun; ends a connection between requests when the data path stops.
    fn wait_for_client(&mut self, index: Index) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let listener = conn.listener;
        let Some(http) = conn.http.as_mut().filter(|http| !http.has_request()) else { return };
        if http.input.is_empty() {
            if self.stop_at.is_some() {
                self.end(index, CloseReason::Shutdown, false);
            }
        } else if http.head_due == 0
            && let Some(Some(listening)) = self.listeners.get(listener as usize)
        {
            http.head_due = self.now + millis(listening.spec.timeouts.head);
            self.wheel.set(index, http.head_due);
        }
    }

    /// The deadline of a connection without a member came.
    pub(crate) fn idle_deadline(&mut self, index: Index) {
        let now = self.now;
        let Some(conn) = self.conns.get(index) else { return };
        if matches!(conn.greeting, Greeting::Awaited) {
            return self.end(index, CloseReason::HeadTimeout, false);
        }
        if conn.naming || conn.shaking {
            return self.end(index, CloseReason::HandshakeTimeout, false);
        }
        let Some(http) = conn.http.as_ref() else { return self.end(index, CloseReason::IdleTimeout, false) };
        match http.lingering {
            Some(reason) => self.end(index, reason, false),
            None if http.is_late(now) => self.refuse(index, 408, CloseReason::HeadTimeout),
            None => self.end(index, CloseReason::IdleTimeout, false),
        }
    }

    /// The member ended or broke while a request was with it.
    fn member_lost(&mut self, index: Index) {
        let thread = self.thread;
        let Some(conn) = self.conns.get_mut(index) else { return };
        let (place, member, epoch) = (conn.instance, conn.member_no, conn.epoch);
        let Some(http) = conn.http.as_mut() else { return };
        if http.is_answered() {
            // It answered before it had read the whole request, and is gone: the client has its answer.
            return self.linger(index, CloseReason::MemberClosed);
        }
        let unsent = http.is_unsent();
        let used_before = http.answers > 0;
        if !unsent && !http.may_be_resent() {
            self.signal(place, SignalKind::ResetBeforeFirstByte, member, epoch);
            return self.refuse(index, 502, CloseReason::MemberReset);
        }
        if !unsent {
            http.resent = true;
            if let Some(local) = self.locals[place as usize].as_ref() {
                local.cells(thread).resent.add(1);
            }
        }
        if used_before {
            // It closed a connection that it had kept open between requests, just as this one came.
            self.find_another(index);
        } else {
            self.connect_failed(index, Some(SignalKind::ResetBeforeFirstByte), CloseReason::MemberReset);
        }
    }

    /// The epoch of a request under way was revoked.
    pub(crate) fn revoke_http(&mut self, index: Index) {
        let thread = self.thread;
        let Some(conn) = self.conns.get_mut(index) else { return };
        let place = conn.instance as usize;
        let Some(http) = conn.http.as_mut() else { return };
        if http.may_be_resent() {
            http.resent = true;
            if let Some(local) = self.locals[place].as_ref() {
                local.cells(thread).resent.add(1);
            }
            self.find_another(index);
        } else if http.is_answered() {
            self.end(index, CloseReason::EpochRevoked, true);
        } else {
            self.refuse(index, 502, CloseReason::EpochRevoked);
        }
    }

    /// Ends a connection that waits or has just come: over HTTP with an answer if it has asked something.
    pub(crate) fn turn_away(&mut self, index: Index, reason: CloseReason) {
        let asks = self.conns.get(index).and_then(|conn| conn.http.as_ref()).is_some_and(|http| http.has_request());
        if asks {
            self.refuse(index, 503, reason);
        } else {
            self.end(index, reason, false);
        }
    }

    /// Tells the client what is wrong and closes.
    pub(crate) fn refuse(&mut self, index: Index, status: u16, reason: CloseReason) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let (place, answered) = (conn.instance as usize, conn.http.as_ref().is_some_and(|http| http.is_answered()));
        if answered || !conn.down.is_empty() {
            return self.end(index, reason, true);
        }
        let method = conn.http.as_ref().map_or(Method::Other, |http| http.method);
        // Whoever does not take these few bytes now gets none.
        let _ = relay::send_some(&mut conn.client, false, refusal(status, method).as_bytes(), More::No);
        if let Some(local) = self.locals[place].as_ref() {
            local.cells(self.thread).errors.add(1);
        }
        self.linger(index, reason);
    }

    /// Both messages are complete and one side wants no more.
    fn close_after_answer(&mut self, index: Index, reason: CloseReason) {
        let Some(conn) = self.conns.get(index) else { return };
        let client_sends = conn.client.readable || conn.http.as_ref().is_some_and(|http| !http.input.is_empty());
        if reason == CloseReason::ClientClosed || !client_sends {
            self.end(index, reason, false);
        } else {
            self.linger(index, reason);
        }
    }

    /// Ends towards the client, and waits a moment for the client's end: closing with its bytes unread would
    /// reset the connection and take the answer along.
    fn linger(&mut self, index: Index, reason: CloseReason) {
        self.unpark(index);
        self.leave_idle(index);
        self.detach(index);
        let Some(conn) = self.conns.get_mut(index) else { return };
        conn.client.end();
        conn.http = Some(Box::new(Http { lingering: Some(reason), ..Http::default() }));
        self.find_place(index);
        self.wheel.set(index, self.now + LINGER_MS);
        self.linger_on(index);
    }

    fn linger_on(&mut self, index: Index) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let reason = conn.http.as_ref().and_then(|http| http.lingering).unwrap_or(CloseReason::ClientClosed);
        loop {
            match relay::read_some(&mut conn.client, &mut self.io.scratch) {
                Read::Bytes(_) => {}
                Read::Nothing => return,
                Read::End | Read::Failed => return self.end(index, reason, false),
            }
        }
    }

    /// From here on bytes are bytes.
    fn tunnel(&mut self, index: Index) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let Some(http) = conn.http.take() else { return };
        if !http.input.is_empty() {
            conn.up.held = Held::Bytes { buffer: http.input.into_boxed_slice(), at: 0 };
        }
        (conn.up.moved, conn.down.moved) = (true, true);
        self.serve(index);
    }

    /// Ends everyone between two requests.
    pub(crate) fn close_idle(&mut self, place: u32, reason: CloseReason) {
        while let Some(index) = self.locals[place as usize].as_ref().and_then(|local| local.idle.front()) {
            self.end(index, reason, false);
        }
    }
}

fn refusal(status: u16, to: Method) -> String {
    let text = match status {
        400 => "Bad Request",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    };
    let retry = if matches!(status, 502 | 503) { format!("Retry-After: {RETRY_AFTER}\r\n") } else { String::new() };
    let body = if to == Method::Head { String::new() } else { format!("{status} {text}\n") };
    let length = format!("{status} {text}\n").len();
    format!(
        "HTTP/1.1 {status} {text}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n{retry}Connection: close\r\n\r\n{body}"
    )
}
