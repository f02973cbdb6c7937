//! An HTTP/1.1 connection: one request at a time from the client, its answer from whichever member is the one by
//! then. Bytes are passed on as they came; [`crate::framing`] says where messages begin and end.
//!
//! Owns: what is known of the exchange under way, and the request's bytes until the answer begins (so that it
//! can wait for a member, or be sent to another when the first dies without a word).
//! Never: keeps anything while the client is silent; reads ahead of the request that is being answered, so what
//! a client sends too early waits in its socket.
//!
//! `exchange` moves the bytes of one exchange; `service` is the worker's side: members, switches, refusals.

mod exchange;
mod service;

use crate::framing::{Body, Method, RequestHead};

/// A member's connection that it ends by itself within this time is not used for another request.
const STALE_BEFORE_MS: u64 = 1000;

/// Where the request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Its head is awaited.
    Reading,
    /// What was read of it (`input[..message]`) is to be sent.
    Sending,
    /// The rest of its body goes straight through.
    Streaming,
    /// It is sent.
    Sent,
}

/// Where the answer stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    /// Its head is awaited.
    Awaited,
    /// Its head has gone out, its body goes through.
    Body(Body),
    /// It is complete.
    Over,
}

/// What a connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Waits for an event.
    Wait,
    /// Has more to do than its turn allowed.
    More,
    /// Has a request and no member.
    NeedMember,
    /// Its member ended while there was nothing to answer.
    DropMember,
    /// Its member ended while an answer was awaited or under way.
    MemberLost,
    /// Both sides are closed in order.
    Close(crate::counters::CloseReason),
    /// Both sides are reset.
    Reset(crate::counters::CloseReason),
    /// The client is told so.
    Refuse(u16),
    /// The member's answer makes no sense.
    BadAnswer,
    /// Both sides have agreed to leave HTTP.
    Tunnel,
}

/// The state of one HTTP connection.
#[derive(Debug)]
pub(crate) struct Http {
    stage: Stage,
    answer: Answer,
    /// What came from the client and is not done with: the request (its first `message` bytes), then whatever was
    /// read along with it.
    input: Vec<u8>,
    message: usize,
    sent: usize,
    /// There may be a complete head in `input`.
    unparsed: bool,
    /// What is still to come of the request's body beyond `input`.
    rest: Body,
    method: Method,
    repeatable: bool,
    upgrade: bool,
    client_keeps: bool,
    member_keeps: bool,
    /// The member has said that it ends the connection when nothing has moved for so long, in ms; 0: it said nothing.
    member_keeps_ms: u64,
    /// It was sent to another member already; there is no third time.
    resent: bool,
    /// Bytes of an interim answer have gone to the client.
    interim: bool,
    /// An incomplete head of an answer.
    head: Vec<u8>,
    /// Answers that this connection to the member has given.
    answers: u32,
    /// When a head that has begun must be complete, in the worker's milliseconds; 0 when none has.
    head_due: u64,
    /// The client has its last answer; it is closed when it has ended or the time is up.
    lingering: Option<crate::counters::CloseReason>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            stage: Stage::Reading,
            answer: Answer::Awaited,
            input: Vec::new(),
            message: 0,
            sent: 0,
            unparsed: false,
            rest: Body::none(),
            method: Method::Other,
            repeatable: false,
            upgrade: false,
            client_keeps: true,
            member_keeps: true,
            member_keeps_ms: 0,
            resent: false,
            interim: false,
            head: Vec::new(),
            answers: 0,
            head_due: 0,
            lingering: None,
        }
    }
}

impl Http {
    /// No byte of the current request has gone to a member, if there is a request at all.
    pub(crate) fn is_unsent(&self) -> bool {
        match self.stage {
            Stage::Reading => true,
            Stage::Sending => self.sent == 0,
            Stage::Streaming | Stage::Sent => false,
        }
    }

    /// Whether a head that has begun is overdue.
    pub(crate) fn is_late(&self, now: u64) -> bool {
        self.head_due != 0 && now >= self.head_due
    }

    /// Whether the member may be about to end its connection, on which nothing has moved since `last_move`. A request that
    /// crosses with that end is lost, and not every request may be sent again: another connection is safer.
    fn is_stale(&self, last_move: u64, now: u64) -> bool {
        // Half of a short time is left for the way there.
        let margin = STALE_BEFORE_MS.min(self.member_keeps_ms / 2);
        self.member_keeps_ms > 0 && self.answers > 0 && now + margin >= last_move + self.member_keeps_ms
    }

    pub(crate) fn has_request(&self) -> bool {
        self.stage != Stage::Reading
    }

    /// Whether bytes of the final answer have gone to the client.
    fn is_answered(&self) -> bool {
        self.answer != Answer::Awaited
    }

    /// Whether the request may go to another member although this one may have seen it.
    fn may_be_resent(&self) -> bool {
        self.repeatable && !self.resent && !self.is_answered() && !self.interim && self.stage != Stage::Streaming
    }

    /// The member was taken away. An unanswered request starts over.
    pub(crate) fn member_is_gone(&mut self) {
        self.head = Vec::new();
        (self.answers, self.member_keeps_ms) = (0, 0);
        self.sent = 0;
        if self.stage == Stage::Sent && !self.is_answered() {
            self.stage = Stage::Sending;
        }
    }

    /// A request's head is complete; takes what of its body is there already.
    fn begin(&mut self, mut head: RequestHead) -> Result<(), Next> {
        self.repeatable = head.method != Method::Other && head.body.is_over();
        let there = head.body.advance(&self.input[head.length..]).map_err(|bad| Next::Refuse(bad.status()))?;
        self.message = head.length + there;
        self.rest = head.body;
        self.method = head.method;
        self.upgrade = head.upgrade;
        self.client_keeps = head.keep_alive;
        self.stage = Stage::Sending;
        self.answer = Answer::Awaited;
        (self.sent, self.resent, self.interim, self.head_due) = (0, false, false, 0);
        Ok(())
    }

    /// The answer has begun or the message is on its way for good: its bytes are no longer needed.
    fn forget_message(&mut self) {
        self.input.drain(..self.message);
        (self.message, self.sent) = (0, 0);
        if self.input.is_empty() {
            self.input = Vec::new();
        }
    }

    /// Request and answer are complete: ready for the next, or not.
    fn finish(&mut self) -> bool {
        self.stage = Stage::Reading;
        self.answer = Answer::Awaited;
        self.answers = self.answers.saturating_add(1);
        self.unparsed = !self.input.is_empty();
        self.client_keeps && self.member_keeps
    }
}
