//! One connection in service: what its events and deadlines mean, how its ends are passed on, how it is closed.

use crate::conn::{End, Phase};
use crate::counters::CloseReason;
use crate::relay::{self, Stop};
use crate::signal::SignalKind;
use crate::slab::Index;
use crate::socket;
use crate::tls;
use crate::worker::Worker;
use rustix::event::epoll::EventFlags;

/// A flow's bytes are not counted out beforehand.
const ALL: u64 = u64::MAX;

/// What is to become of a connection after it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It goes on.
    Stays,
    /// It has more to do than its turn allowed.
    HasMore,
    /// Both directions have ended in order.
    Done(CloseReason),
    /// One side broke; the other is to see a reset too.
    Broken(CloseReason),
    /// The member broke before a byte moved: another attempt is possible.
    Unused,
    /// The member ended it before a byte moved, as the kernel does for a process that is killed. Once, another attempt
    /// tells one that is gone from one that wants it so.
    Left,
}

impl Worker {
    pub(crate) fn on_event(&mut self, index: Index, end: End, flags: EventFlags) {
        let Some(conn) = self.conns.get_mut(index) else { return };
        let side = if end == End::Client { &mut conn.client } else { &mut conn.member };
        side.note(flags);
        match conn.phase {
            Phase::Relaying => self.serve(index),
            Phase::Connecting if end == End::Member => self.connect_event(index),
            Phase::Connecting => {
                if conn.client.failed {
                    self.end(index, CloseReason::ClientReset, true);
                }
            }
            Phase::Idle => self.serve_waiting(index),
            Phase::Parked => {
                if conn.client.hung_up || conn.client.failed {
                    self.look_whether_left(index);
                }
            }
        }
    }

    pub(crate) fn on_deadline(&mut self, index: Index) {
        let now = self.now;
        let idle = self.idle_timeout(index);
        let Some(conn) = self.conns.get_mut(index) else { return };
        match conn.phase {
            Phase::Parked => self.turn_away(index, CloseReason::ParkTimeout),
            Phase::Idle => self.idle_deadline(index),
            Phase::Relaying if conn.muted => self.end(index, CloseReason::EpochRevoked, true),
            Phase::Relaying if conn.http.as_ref().is_some_and(|http| http.is_late(now)) => {
                self.refuse(index, 408, CloseReason::HeadTimeout);
            }
            Phase::Connecting => {
                self.connect_failed(index, Some(SignalKind::Timeout), CloseReason::ConnectTimeout);
            }
            Phase::Relaying if now >= conn.last_move.saturating_add(idle) => {
                // What is held will be lost: nobody may take the rest for all.
                let cut = !conn.up.is_empty() || !conn.down.is_empty();
                self.end(index, CloseReason::IdleTimeout, cut);
            }
            Phase::Relaying => {
                self.wheel.set(index, conn.last_move.saturating_add(idle));
                if !std::mem::replace(&mut conn.lasting, true)
                    && let Some(Some(listener)) = self.listeners.get(conn.listener as usize)
                    && let Some(fd) = conn.member.fd.as_ref()
                {
                    // Without these a vanished member is found by the idle timeout only; nothing is lost.
                    let _ = socket::tune_lasting(fd, &listener.spec.timeouts);
                }
            }
        }
    }

    /// Moves what can be moved in both directions and acts on what came of it.
    pub(crate) fn serve(&mut self, index: Index) {
        let (thread, now) = (self.thread, self.now);
        let Some(conn) = self.conns.get_mut(index) else { return };
        if conn.phase == Phase::Idle {
            return self.serve_waiting(index);
        }
        if conn.http.is_some() {
            return self.serve_http(index);
        }
        if conn.muted {
            return self.serve_muted(index);
        }
        let place = conn.instance;
        let Some(local) = self.locals[place as usize].as_mut() else { return };
        if conn.is_untouched() && !local.route.load().covers(conn.epoch) {
            // The first byte is only relayed under a route that still holds. It may hold again when the change is applied
            // here, and no event would come any more: so the connection looks for its member anew right now.
            return self.find_another(index);
        }
        let splices = self.io.splices;
        let (up, up_stop) = relay::pump(&mut conn.client, &mut conn.member, &mut conn.up, &mut self.io, &mut { ALL });
        if up_stop == Stop::SinkFailed {
            // The member may have answered before it closed: that answer is still to be had.
            conn.member.readable = true;
            conn.member.failed = true;
        }
        let (down, down_stop) =
            relay::pump(&mut conn.member, &mut conn.client, &mut conn.down, &mut self.io, &mut { ALL });
        let cells = &local.shared.cells[thread];
        if up + down > 0 {
            conn.last_move = now;
            conn.member_spoke_last = down > 0;
            cells.bytes_up.add(up);
            cells.bytes_down.add(down);
        }
        if self.io.splices != splices {
            cells.splices.add(self.io.splices - splices);
        }
        match judge(conn, up_stop, down_stop) {
            Verdict::Stays => {}
            Verdict::HasMore => self.queue(index),
            Verdict::Done(reason) => self.end(index, reason, false),
            Verdict::Broken(reason) => {
                if reason == CloseReason::MemberReset && !conn.down.moved {
                    let (member, epoch) = (conn.member_no, conn.epoch);
                    self.signal(place, SignalKind::ResetBeforeFirstByte, member, epoch);
                }
                self.end(index, reason, true);
            }
            Verdict::Left => {
                conn.was_left = true;
                self.find_another(index);
            }
            Verdict::Unused => {
                self.connect_failed(index, Some(SignalKind::ResetBeforeFirstByte), CloseReason::MemberReset);
            }
        }
    }

    /// Lets a connection have another turn after the others.
    pub(crate) fn queue(&mut self, index: Index) {
        let generation = self.conns.generation(index);
        let Some(conn) = self.conns.get_mut(index) else { return };
        if !std::mem::replace(&mut conn.queued, true) {
            self.unfinished.push_back((index, generation));
        }
    }

    /// Ends a connection, wherever it stands. `reset`: both sides see a reset; else both are closed in order.
    pub(crate) fn end(&mut self, index: Index, reason: CloseReason, reset: bool) {
        self.unpark(index);
        self.leave_idle(index);
        if reason.is_told()
            && let Some(conn) = self.conns.get(index)
        {
            self.blame(conn.instance, reason, conn.client_address());
        }
        let Some(conn) = self.conns.get_mut(index) else { return };
        conn.up.discard(&mut self.io.pipes);
        let (place, listener, source) = (conn.instance as usize, conn.listener, conn.source.take());
        for side in [&mut conn.client, &mut conn.member] {
            if !reset {
                tls::end(side);
            }
            match side.fd.take() {
                Some(fd) if reset => socket::close_with_reset(fd),
                fd => drop(fd),
            }
            side.tls = None;
        }
        self.share.release(&self.total);
        if let Some(local) = self.locals[place].as_mut() {
            local.share.release(&local.shared.connections);
            if let Some(ip) = source {
                local.shared.sources.leave(*ip);
            }
            let cells = &local.shared.cells[self.thread];
            cells.active.sub(1);
            cells.closed[reason as usize].add(1);
        }
        // Last of all what may tell the engine that an old route is clear: by now it is.
        self.detach(index);
        self.wheel.cancel(index);
        self.conns.remove(index);
        if let Some(Some(listening)) = self.listeners.get_mut(listener as usize) {
            listening.users -= 1;
        }
        self.forget_unused_listener(listener);
    }
}

/// Passes ends on and says what is to become of the connection.
fn judge(conn: &mut crate::conn::Conn, up: Stop, down: Stop) -> Verdict {
    if up == Stop::SourceFailed || down == Stop::SinkFailed || conn.client.failed && conn.up.ended {
        return Verdict::Broken(CloseReason::ClientReset);
    }
    if down == Stop::SourceFailed || up == Stop::SinkFailed || conn.member.failed && conn.down.ended {
        // A read after a write that failed finds an end in any case: the write has taken the error away.
        let unused = conn.is_untouched() && (up == Stop::SinkFailed || !conn.down.ended);
        return if unused { Verdict::Unused } else { Verdict::Broken(CloseReason::MemberReset) };
    }
    if down == Stop::Ended && !conn.up.ended && !conn.was_left && conn.is_untouched() {
        return Verdict::Left;
    }
    if up == Stop::Ended {
        conn.first_end.get_or_insert(End::Client);
    }
    if down == Stop::Ended {
        conn.first_end.get_or_insert(End::Member);
    }
    let goes_on = if up == Stop::Budget || down == Stop::Budget { Verdict::HasMore } else { Verdict::Stays };
    if !conn.up.finished() && !conn.down.finished() {
        return goes_on;
    }
    let over = [conn.up.finished() && conn.member.is_flushed(), conn.down.finished() && conn.client.is_flushed()];
    let both = over == [true, true];
    let directions = [(&mut conn.up, &mut conn.member), (&mut conn.down, &mut conn.client)];
    for ((flow, sink), over) in directions.into_iter().zip(over) {
        // A plain socket that is closed in a moment needs no end of its own.
        if over && !flow.passed_on && (!both || sink.tls.is_some()) {
            flow.passed_on = true;
            sink.end();
        }
    }
    if both && conn.client.is_flushed() && conn.member.is_flushed() {
        let first = conn.first_end.unwrap_or(End::Client);
        let reason = if first == End::Client { CloseReason::ClientClosed } else { CloseReason::MemberClosed };
        return Verdict::Done(reason);
    }
    goes_on
}
