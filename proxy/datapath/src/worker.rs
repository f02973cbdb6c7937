//! One thread of the data path: its epoll loop, and what it keeps. Every connection lives and dies in the thread
//! that accepted it, so nothing here is locked.
//!
//! One turn: wait for events; serve them; take orders; let due deadlines come up; serve who had more to do.
//! The rest of the worker is in `accept`, `connect`, `service`, `park` and `revoke`.

use crate::accept::Listened;
use crate::config::{Config, InstanceId};
use crate::conn::{Conn, End};
use crate::counters::{Cells, CloseReason};
use crate::list::List;
use crate::mailbox::{Mailbox, Order, ThreadListener};
use crate::pipes::Pipes;
use crate::quota::{Pool, Share};
use crate::relay::{Io, SCRATCH_BYTES};
use crate::shared::{Instance, Routed};
use crate::signal::{Signal, SignalKind, SignalSink, Throttle};
use crate::slab::{Index, Slab};
use crate::wheel::Wheel;
use arc_swap::{ArcSwap, Cache};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// Most events taken in one turn; keeps the time between two looks at the orders short.
const EVENTS: usize = 128;
/// Upper halves of tokens that are not connections (whose generation stays below).
const LISTENER: u32 = u32::MAX;
const BELL: u32 = u32::MAX - 1;

/// Something to do for an instance at a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    /// Try the member again with the first parked connection.
    Scout,
    /// End the next part of the connections being drained.
    Drain,
    /// Accept again after the system had no descriptor left.
    AcceptAgain,
    /// Accept what was left to other threads and is still there.
    AcceptLeft,
}

/// The member failed lately: one connection tries it, the others wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Suspect {
    pub(crate) retry_at: u64,
    pub(crate) delay: u64,
    /// A connection is on its way just now.
    pub(crate) scouting: bool,
}

/// One thread's view of an instance.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) shared: Arc<Instance>,
    pub(crate) route: Cache<Arc<ArcSwap<Routed>>, Arc<Routed>>,
    /// Connections that have a member or are on their way to one, oldest first.
    pub(crate) live: List,
    /// Connections that wait, first in first out.
    pub(crate) parked: List,
    /// HTTP connections between two requests that have no member just now.
    pub(crate) idle: List,
    /// Of the live ones, those still in connect.
    pub(crate) connecting: usize,
    pub(crate) suspect: Option<Suspect>,
    /// Live connections per epoch.
    pub(crate) epochs: Vec<(u64, usize)>,
    /// The route version applied last.
    pub(crate) applied: u64,
    /// Connections that were to be drained when the ending began.
    pub(crate) drain_total: Option<usize>,
    pub(crate) share: Share,
    throttle: Throttle,
}

impl Local {
    fn new(shared: Arc<Instance>) -> Self {
        Self {
            route: Cache::new(Arc::clone(&shared.route)),
            shared,
            live: List::new(),
            parked: List::new(),
            idle: List::new(),
            connecting: 0,
            suspect: None,
            epochs: Vec::new(),
            applied: 0,
            drain_total: None,
            share: Share::default(),
            throttle: Throttle::default(),
        }
    }

    pub(crate) fn cells(&self, thread: usize) -> &Cells {
        &self.shared.cells[thread]
    }
}

/// A listener, kept for as long as a connection came through it.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) spec: ThreadListener,
    /// The sockets while they listen: this thread's own, then those of the others.
    pub(crate) sockets: Vec<Listened>,
    /// This thread left clients to others, and looks after them in a moment.
    pub(crate) left_some: bool,
    pub(crate) closed: bool,
    /// Connections that came through it.
    pub(crate) users: usize,
    /// Its connections come through a shared listener, for as long as it has names there.
    pub(crate) is_named: bool,
    /// Of a shared listener: which listener's a name is.
    pub(crate) names: HashMap<String, u32>,
}

/// One thread.
pub(crate) struct Worker {
    pub(crate) thread: usize,
    pub(crate) epoll: OwnedFd,
    mailbox: Arc<Mailbox>,
    sink: Arc<dyn SignalSink>,
    signal_every: u64,
    pub(crate) total: Arc<Pool>,
    pub(crate) share: Share,
    pub(crate) conns: Slab<Conn>,
    pub(crate) locals: Vec<Option<Local>>,
    pub(crate) places: HashMap<InstanceId, u32>,
    pub(crate) listeners: Vec<Option<Listening>>,
    pub(crate) wheel: Wheel,
    pub(crate) io: Io,
    /// Connections that used up their budget.
    pub(crate) unfinished: VecDeque<(Index, u32)>,
    agenda: BinaryHeap<Reverse<(u64, u32, Task)>>,
    started: Instant,
    /// Milliseconds since the start, refreshed each turn; never 0.
    pub(crate) now: u64,
    /// Whom a fault in our own code would be blamed on.
    pub(crate) serving: Option<Index>,
    pub(crate) accepting: bool,
    pub(crate) stop_at: Option<u64>,
}

impl Worker {
    pub(crate) fn new(
        thread: usize,
        config: &Config,
        mailbox: Arc<Mailbox>,
        sink: Arc<dyn SignalSink>,
        total: Arc<Pool>,
    ) -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = EventData::new_u64(u64::from(BELL) << 32);
        epoll::add(&epoll, mailbox.event(), bell, EventFlags::IN)?;
        Ok(Self {
            thread,
            epoll,
            mailbox,
            sink,
            signal_every: config.signal_every.as_millis() as u64,
            total,
            share: Share::default(),
            conns: Slab::new(),
            locals: Vec::new(),
            places: HashMap::new(),
            listeners: Vec::new(),
            wheel: Wheel::new(),
            io: Io {
                scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
                pipes: Pipes::new(config.pipes_per_thread),
                splices: 0,
            },
            unfinished: VecDeque::new(),
            agenda: BinaryHeap::new(),
            started: Instant::now(),
            now: 1,
            serving: None,
            accepting: true,
            stop_at: None,
        })
    }

    /// The thread's whole life. A panic ends the connection it happened in, not the thread.
    pub(crate) fn run(mut self) {
        let mut events = Vec::with_capacity(EVENTS);
        loop {
            match catch_unwind(AssertUnwindSafe(|| self.turn(&mut events))) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => self.contain(),
            }
        }
        self.mailbox.close();
    }

    /// One turn; false when the thread is to end.
    fn turn(&mut self, events: &mut Vec<Event>) -> bool {
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), self.patience().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => tracing::error!(thread = self.thread, error = %e, "epoll failed"),
        }
        self.now = self.elapsed(Instant::now());
        for event in events.iter() {
            self.dispatch(event.data.u64(), event.flags);
        }
        self.deadlines();
        self.go_on();
        self.serving = None;
        match self.stop_at {
            Some(at) if self.conns.len() == 0 || self.now >= at => {
                self.end_all(CloseReason::Shutdown);
                false
            }
            _ => true,
        }
    }

    fn dispatch(&mut self, token: u64, flags: EventFlags) {
        let (upper, lower) = ((token >> 32) as u32, token as u32);
        match upper {
            BELL => self.take_orders(),
            LISTENER => self.accept_from(lower >> 8, lower & 0xff),
            _ => {
                let (index, end) = (lower >> 1, if lower & 1 == 0 { End::Client } else { End::Member });
                // An event may come from a connection that is gone, or from a member that was given up.
                if self.conns.is_live(index, upper >> 8) && token == self.token(index, end).u64() {
                    self.serving = Some(index);
                    self.on_event(index, end, flags);
                }
            }
        }
    }

    /// The token of one end of a connection.
    pub(crate) fn token(&self, index: Index, end: End) -> EventData {
        let attempt = match end {
            End::Client => 0,
            End::Member => self.conns.get(index).map_or(0, |conn| conn.attempt),
        };
        let upper = self.conns.generation(index) << 8 | u32::from(attempt);
        EventData::new_u64(u64::from(upper) << 32 | u64::from(index) << 1 | u64::from(end == End::Member))
    }

    /// How long to wait for events.
    fn patience(&self) -> Option<Timespec> {
        if !self.unfinished.is_empty() {
            return Some(Timespec { tv_sec: 0, tv_nsec: 0 });
        }
        let task = self.agenda.peek().map(|Reverse((at, ..))| *at);
        let next = [self.wheel.wake_at(), task, self.stop_at].into_iter().flatten().min()?;
        let left = next.saturating_sub(self.now);
        Some(Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as i64 })
    }

    /// A moment in the worker's milliseconds.
    pub(crate) fn elapsed(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.started).as_millis().max(1) as u64
    }

    fn deadlines(&mut self) {
        let mut expired = Vec::new();
        self.wheel.advance(self.now, &mut expired);
        for index in expired {
            self.serving = Some(index);
            self.on_deadline(index);
        }
        while let Some(&Reverse((at, place, task))) = self.agenda.peek() {
            if at > self.now {
                break;
            }
            self.agenda.pop();
            match task {
                Task::Scout => self.scout(place),
                Task::Drain => self.drain_step(place),
                Task::AcceptAgain => self.watch_listeners(self.accepting),
                Task::AcceptLeft => self.accept_left(place),
            }
        }
    }

    pub(crate) fn schedule(&mut self, at: u64, place: u32, task: Task) {
        self.agenda.push(Reverse((at, place, task)));
    }

    /// Serves those that used up their budget, each once.
    fn go_on(&mut self) {
        for _ in 0..self.unfinished.len() {
            let Some((index, generation)) = self.unfinished.pop_front() else { break };
            if self.conns.is_live(index, generation) {
                self.serving = Some(index);
                if let Some(conn) = self.conns.get_mut(index) {
                    conn.queued = false;
                }
                self.serve(index);
            }
        }
    }

    fn take_orders(&mut self) {
        let (orders, routes) = self.mailbox.drain();
        for order in orders {
            self.obey(order);
        }
        for id in routes {
            if let Some(&place) = self.places.get(&id) {
                self.route_changed(place);
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::AddInstance(shared) => self.add_instance(shared),
            Order::RemoveInstance(id, latch) => {
                self.remove_instance(id);
                latch.count_down();
            }
            Order::AddListener(listener, sockets, latch) => {
                self.add_listener(*listener, sockets);
                latch.count_down();
            }
            Order::ShareListener(id, sockets) => self.share_listener(id, sockets),
            Order::AddNamed { front, names, listener } => self.add_named(front, &names, *listener),
            Order::RemoveListener(id, latch) => {
                self.remove_listener(id);
                latch.count_down();
            }
            Order::Accept(on, latch) => {
                self.accepting = on;
                self.watch_listeners(on);
                latch.count_down();
            }
            Order::Stop(deadline) => {
                self.stop_at = Some(self.elapsed(deadline));
                for place in 0..self.listeners.len() {
                    self.close_listener(place as u32);
                }
                for place in 0..self.locals.len() {
                    self.close_parked(place as u32, CloseReason::Shutdown);
                    self.close_idle(place as u32, CloseReason::Shutdown);
                }
            }
        }
    }

    fn add_instance(&mut self, shared: Arc<Instance>) {
        let id = shared.id;
        let local = Local::new(shared);
        let place = self.locals.iter().position(Option::is_none).unwrap_or_else(|| {
            self.locals.push(None);
            self.locals.len() - 1
        });
        self.locals[place] = Some(local);
        self.places.insert(id, place as u32);
        self.route_changed(place as u32);
    }

    fn remove_instance(&mut self, id: InstanceId) {
        let Some(place) = self.places.remove(&id) else { return };
        self.close_parked(place, CloseReason::RouteClosed);
        self.close_idle(place, CloseReason::RouteClosed);
        self.end_live(place, CloseReason::RouteClosed);
        if let Some(mut local) = self.locals[place as usize].take() {
            local.share.leave(&local.shared.connections);
        }
    }

    pub(crate) fn local(&mut self, place: u32) -> &mut Local {
        self.locals[place as usize].as_mut().expect("an instance outlives its listeners and connections")
    }

    /// Tells the engine, unless it was told the same just now.
    pub(crate) fn signal(&mut self, place: u32, kind: SignalKind, member: u8, epoch: u64) {
        let (now, every) = (self.now, self.signal_every);
        let local = self.local(place);
        let Some(suppressed) = local.throttle.pass(kind, now, every) else { return };
        let signal = Signal { instance: local.shared.id, kind, member, epoch, version: local.applied, suppressed };
        self.sink.signal(signal);
    }

    fn end_all(&mut self, reason: CloseReason) {
        for index in self.conns.indices().collect::<Vec<_>>() {
            self.end(index, reason, true);
        }
    }

    /// After a panic: the connection that was being served goes, the thread stays.
    fn contain(&mut self) {
        tracing::error!(thread = self.thread, "a fault while serving a connection; the connection is ended");
        if let Some(index) = self.serving.take() {
            let ended = catch_unwind(AssertUnwindSafe(|| self.end(index, CloseReason::Internal, true)));
            if ended.is_err() {
                self.conns.remove(index);
            }
        }
    }
}

/// Token of a listening socket: the listener's place, and which of its sockets.
pub(crate) fn listener_token(place: usize, socket: usize) -> EventData {
    EventData::new_u64(u64::from(LISTENER) << 32 | (place as u64) << 8 | socket as u64)
}
