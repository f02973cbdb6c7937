//! Moves one exchange on, as far as the sockets allow.

use super::{Answer, Http, Next, Stage};
use crate::conn::{Conn, Phase, Side};
use crate::counters::CloseReason::{ClientClosed, ClientReset, MemberClosed, MemberReset};
use crate::framing::{MAX_HEAD_BYTES, request_head, response_head};
use crate::relay::{self, Io, More, Read, Stop};

/// What one step moved and counted.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) requests: u64,
}

/// Exchanges completed before other connections get their turn.
const EXCHANGES: usize = 8;

impl Http {
    /// Goes on until there is something to wait for, or for the worker to do. `covered`: the route still holds; if
    /// not, the exchange under way is the last with this member.
    pub(super) fn step(&mut self, conn: &mut Conn, io: &mut Io, covered: bool, now: u64, moved: &mut Moved) -> Next {
        for _ in 0..EXCHANGES {
            if self.stage == Stage::Reading {
                if let Err(next) = self.read_request(conn, io) {
                    return next;
                }
                moved.requests += 1;
                if conn.phase == Phase::Relaying && self.is_stale(conn.last_move, now) {
                    return Next::DropMember;
                }
            }
            if conn.phase != Phase::Relaying {
                return Next::NeedMember;
            }
            if conn.client.failed {
                return Next::Reset(ClientReset);
            }
            let request = self.move_request(conn, io, &mut moved.up);
            // The answer is looked at even if the request could not be sent: it may say why.
            conn.member.readable |= request == Err(Next::MemberLost);
            if let Err(next) = self.move_answer(conn, io, &mut moved.down) {
                return match (request, next) {
                    (Err(request), Next::Wait) => request,
                    _ => next,
                };
            }
            if self.stage != Stage::Sent {
                if !self.member_keeps {
                    // It has answered and will read no more of this request.
                    return Next::MemberLost;
                }
                return request.err().unwrap_or(Next::Wait);
            }
            if !self.finish() {
                return Next::Close(MemberClosed);
            }
            (conn.up.ended, conn.down.ended) = (false, false);
            if !covered {
                return Next::DropMember;
            }
        }
        Next::More
    }

    /// Reads until there is a complete head.
    fn read_request(&mut self, conn: &mut Conn, io: &mut Io) -> Result<(), Next> {
        if conn.phase == Phase::Relaying && relay::read_some(&mut conn.member, &mut io.scratch) != Read::Nothing {
            // It closed, or it speaks without being asked.
            return Err(Next::DropMember);
        }
        loop {
            if std::mem::take(&mut self.unparsed) {
                match request_head(&self.input) {
                    Ok(Some(head)) => return self.begin(head),
                    Ok(None) => {}
                    Err(bad) => return Err(Next::Refuse(bad.status())),
                }
            }
            match relay::read_some(&mut conn.client, &mut io.scratch) {
                Read::Bytes(read) => {
                    let new = &io.scratch[..read];
                    self.input.extend_from_slice(new);
                    self.unparsed = new.contains(&b'\n') || self.input.len() >= MAX_HEAD_BYTES;
                }
                Read::Nothing => return Err(Next::Wait),
                Read::End => return Err(Next::Close(ClientClosed)),
                Read::Failed => return Err(Next::Reset(ClientReset)),
            }
        }
    }

    fn move_request(&mut self, conn: &mut Conn, io: &mut Io, moved: &mut u64) -> Result<(), Next> {
        if self.stage == Stage::Sending {
            self.send_message(conn, moved)?;
        }
        while self.stage == Stage::Streaming {
            if self.rest.opaque().is_some() {
                self.stream_length(conn, io, moved)?;
            } else {
                self.stream_chunks(conn, io, moved)?;
            }
        }
        Ok(())
    }

    fn send_message(&mut self, conn: &mut Conn, moved: &mut u64) -> Result<(), Next> {
        while self.sent < self.message {
            if !conn.member.writable {
                return Err(Next::Wait);
            }
            let bytes = &self.input[self.sent..self.message];
            let sent =
                relay::send_some(&mut conn.member, conn.up.moved, bytes, More::No).map_err(|_| Next::MemberLost)?;
            conn.up.moved |= sent > 0;
            self.sent += sent;
            *moved += sent as u64;
        }
        if self.rest.is_over() {
            self.stage = Stage::Sent;
        } else {
            self.forget_message();
            self.stage = Stage::Streaming;
        }
        Ok(())
    }

    fn stream_length(&mut self, conn: &mut Conn, io: &mut Io, moved: &mut u64) -> Result<(), Next> {
        let Some(left) = self.rest.opaque() else { return Ok(()) };
        let (sent, stop) = relay::pump(&mut conn.client, &mut conn.member, &mut conn.up, io, left);
        *moved += sent;
        match stop {
            Stop::Limit => {
                self.stage = Stage::Sent;
                Ok(())
            }
            Stop::Blocked => Err(Next::Wait),
            Stop::Budget => Err(Next::More),
            Stop::Ended | Stop::SourceFailed => Err(Next::Reset(ClientReset)),
            Stop::SinkFailed => Err(Next::MemberLost),
        }
    }

    fn stream_chunks(&mut self, conn: &mut Conn, io: &mut Io, moved: &mut u64) -> Result<(), Next> {
        if !relay::flush(&mut conn.member, &mut conn.up, moved).map_err(|_| Next::MemberLost)? {
            return Err(Next::Wait);
        }
        if self.rest.is_over() {
            self.stage = Stage::Sent;
            return Ok(());
        }
        if !conn.member.writable {
            return Err(Next::Wait);
        }
        let bytes = match relay::read_some(&mut conn.client, &mut io.scratch) {
            Read::Bytes(read) => &io.scratch[..read],
            Read::Nothing => return Err(Next::Wait),
            Read::End | Read::Failed => return Err(Next::Reset(ClientReset)),
        };
        let used = self.rest.advance(bytes).map_err(|bad| Next::Refuse(bad.status()))?;
        self.input.extend_from_slice(&bytes[used..]);
        relay::forward(&mut conn.member, &mut conn.up, &bytes[..used], More::No, moved).map_err(|_| Next::MemberLost)
    }

    /// Ok when the answer is complete.
    fn move_answer(&mut self, conn: &mut Conn, io: &mut Io, moved: &mut u64) -> Result<(), Next> {
        loop {
            if !relay::flush(&mut conn.client, &mut conn.down, moved).map_err(|_| Next::Reset(ClientReset))? {
                return Err(Next::Wait);
            }
            match &mut self.answer {
                Answer::Over => return Ok(()),
                Answer::Awaited => self.read_answer(conn, io, moved)?,
                Answer::Body(body) if body.is_over() => self.answer = Answer::Over,
                Answer::Body(body) => {
                    let mut all = u64::MAX;
                    let to_the_end = body.ends_with_connection();
                    let opaque = if to_the_end { Some(&mut all) } else { body.opaque() };
                    match opaque {
                        Some(left) => {
                            let (sent, stop) =
                                relay::pump(&mut conn.member, &mut conn.client, &mut conn.down, io, left);
                            *moved += sent;
                            match stop {
                                Stop::Limit => {}
                                Stop::Ended if to_the_end => return Err(Next::Close(MemberClosed)),
                                Stop::Ended | Stop::SourceFailed => return Err(Next::Reset(MemberReset)),
                                Stop::Blocked => return Err(Next::Wait),
                                Stop::Budget => return Err(Next::More),
                                Stop::SinkFailed => return Err(Next::Reset(ClientReset)),
                            }
                        }
                        None => self.answer_chunks(conn, io, moved)?,
                    }
                }
            }
        }
    }

    fn answer_chunks(&mut self, conn: &mut Conn, io: &mut Io, moved: &mut u64) -> Result<(), Next> {
        let Answer::Body(body) = &mut self.answer else { return Ok(()) };
        if !conn.client.writable {
            return Err(Next::Wait);
        }
        let bytes = match relay::read_some(&mut conn.member, &mut io.scratch) {
            Read::Bytes(read) => &io.scratch[..read],
            Read::Nothing => return Err(Next::Wait),
            Read::End | Read::Failed => return Err(Next::Reset(MemberReset)),
        };
        let used = body.advance(bytes).map_err(|_| Next::Reset(MemberReset))?;
        self.member_keeps &= used == bytes.len();
        forward(&mut conn.client, &mut conn.down, &bytes[..used], More::No, moved)
    }

    /// Reads an answer's head, and sends it on with what of its body came along.
    fn read_answer(&mut self, conn: &mut Conn, io: &mut Io, moved: &mut u64) -> Result<(), Next> {
        if !conn.client.writable {
            return Err(Next::Wait);
        }
        let read = match relay::read_some(&mut conn.member, &mut io.scratch) {
            Read::Bytes(read) => read,
            Read::Nothing => return Err(Next::Wait),
            Read::End | Read::Failed => return Err(Next::MemberLost),
        };
        let mut kept = std::mem::take(&mut self.head);
        let bytes = if kept.is_empty() {
            &io.scratch[..read]
        } else {
            kept.extend_from_slice(&io.scratch[..read]);
            &kept[..]
        };
        let mut at = 0;
        loop {
            let head = match response_head(&bytes[at..], self.method) {
                Ok(Some(head)) => head,
                Ok(None) => {
                    // Interim answers before it go out now: a client may wait for them before it goes on.
                    self.interim |= at > 0;
                    self.head = bytes[at..].to_vec();
                    return forward(&mut conn.client, &mut conn.down, &bytes[..at], More::No, moved);
                }
                Err(_) => return Err(Next::BadAnswer),
            };
            at += head.length;
            if head.is_interim() {
                continue;
            }
            if head.status == 101 {
                if !self.upgrade || self.stage != Stage::Sent {
                    return Err(Next::BadAnswer);
                }
                self.forget_message();
                self.answer = Answer::Over;
                forward(&mut conn.client, &mut conn.down, bytes, More::No, moved)?;
                return Err(Next::Tunnel);
            }
            let mut body = head.body;
            let used = body.advance(&bytes[at..]).map_err(|_| Next::BadAnswer)?;
            at += used;
            self.member_keeps = head.keep_alive && at == bytes.len();
            self.member_keeps_ms = u64::from(head.keep_for.unwrap_or(0)) * 1000;
            let last = body.is_over() && !(self.client_keeps && self.member_keeps) && self.stage == Stage::Sent;
            let more = if last { More::EndFollows } else { More::No };
            self.answer = Answer::Body(body);
            if self.stage == Stage::Sent {
                self.forget_message();
            }
            return forward(&mut conn.client, &mut conn.down, &bytes[..at], more, moved);
        }
    }
}

fn forward(
    client: &mut Side,
    flow: &mut crate::conn::Flow,
    bytes: &[u8],
    more: More,
    moved: &mut u64,
) -> Result<(), Next> {
    if bytes.is_empty() {
        return Ok(());
    }
    relay::forward(client, flow, bytes, more, moved).map_err(|_| Next::Reset(ClientReset))
}
