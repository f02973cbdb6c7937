//! Listening sockets and what comes in through them: bounds first, then the route.
//!
//! Each thread has its own socket of a listener (`SO_REUSEPORT`), over which the kernel spreads clients by their
//! addresses, however busy a thread is. So each also watches those of the others (`EPOLLEXCLUSIVE`): a client whose
//! thread is busy is accepted by one that is not, unless that one has more to do already. Then it waits for its own
//! thread for a moment, and is accepted by whoever comes first.

use crate::config::{InstanceId, ListenerId, Protocol};
use crate::conn::{Conn, Greeting};
use crate::counters::CloseReason;
use crate::greet::peer_of;
use crate::mailbox::ThreadListener;
use crate::worker::{Listening, Task, Worker, listener_token};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// Most connections accepted from one listener before others get their turn.
const BATCH: usize = 32;
/// Pause after the system had no descriptor left, in ms.
const ACCEPT_PAUSE_MS: u64 = 50;
/// Most sockets of one listener that a thread watches; a token has no room for more.
const SOCKETS: usize = 256;
/// Of those that wait on a socket, one is woken.
const WATCHED: EventFlags = EventFlags::IN.union(EventFlags::EXCLUSIVE);
/// What belongs to another thread is told once: it may be left to that thread.
const HELPED: EventFlags = WATCHED.union(EventFlags::ET);
/// Connections of an instance that a thread may have more than another from which it takes clients.
const LEAD: u64 = 4;
/// How long clients are left to a thread that does not come, in ms.
const LEFT_MS: u64 = 2;

/// A listening socket, as a thread watches it.
#[derive(Clone, Debug)]
pub(crate) struct Listened {
    pub(crate) socket: Arc<OwnedFd>,
    /// The thread that takes clients from it first.
    pub(crate) owner: usize,
}

impl Listened {
    pub(crate) fn watch(&self, epoll: &OwnedFd, thread: usize, token: EventData) {
        let flags = if self.owner == thread { WATCHED } else { HELPED };
        match epoll::add(epoll, &*self.socket, token, flags) {
            // It is watched already.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(e) => tracing::error!(error = %e, "cannot watch a listening socket"),
        }
    }

    fn unwatch(&self, epoll: &OwnedFd) {
        // Not watched is what is wanted.
        let _ = epoll::delete(epoll, &*self.socket);
    }
}

impl Listening {
    pub(crate) fn new(spec: ThreadListener, is_named: bool) -> Self {
        Self { spec, sockets: Vec::new(), left_some: false, closed: false, users: 0, is_named, names: HashMap::new() }
    }
}

impl Worker {
    pub(crate) fn add_listener(&mut self, spec: ThreadListener, sockets: Vec<Listened>) {
        let place = self.keep_listener(Listening::new(spec, false));
        self.watch_sockets(place, sockets);
    }

    /// Returns its place.
    pub(crate) fn keep_listener(&mut self, listening: Listening) -> usize {
        let place = self.listeners.iter().position(Option::is_none).unwrap_or_else(|| {
            self.listeners.push(None);
            self.listeners.len() - 1
        });
        self.listeners[place] = Some(listening);
        place
    }

    /// Helps the other threads with a listener.
    pub(crate) fn share_listener(&mut self, id: ListenerId, sockets: Vec<Listened>) {
        if let Some(place) = self.listener_place(id) {
            self.watch_sockets(place, sockets);
        }
    }

    fn listener_place(&self, id: ListenerId) -> Option<usize> {
        self.listeners.iter().position(|l| l.as_ref().is_some_and(|l| l.spec.id == id && !l.closed))
    }

    fn watch_sockets(&mut self, place: usize, sockets: Vec<Listened>) {
        let Some(Some(listening)) = self.listeners.get_mut(place) else { return };
        // A shared one is watched once it has a name.
        let watched = self.accepting && (!listening.spec.is_front || !listening.names.is_empty());
        for listened in sockets.into_iter().take(SOCKETS - listening.sockets.len()) {
            if watched {
                listened.watch(&self.epoll, self.thread, listener_token(place, listening.sockets.len()));
            }
            listening.sockets.push(listened);
        }
    }

    /// Takes in what waits in the kernel's queue (closing would reset it), then closes.
    pub(crate) fn remove_listener(&mut self, id: ListenerId) {
        if let Some(place) = self.listener_place(id) {
            self.forget_names(place as u32);
            self.close_listener(place as u32);
        }
    }

    pub(crate) fn close_listener(&mut self, place: u32) {
        let count = self.listeners[place as usize].as_ref().map_or(0, |listening| listening.sockets.len());
        for socket in 0..count {
            while self.accept_some(place, socket as u32, true) == BATCH {}
        }
        if let Some(listening) = self.listeners[place as usize].as_mut() {
            listening.closed = true;
            for listened in listening.sockets.drain(..) {
                // It stays open, and this thread would hear of it, for as long as another has it.
                listened.unwatch(&self.epoll);
            }
        }
        self.forget_unused_listener(place);
    }

    /// Frees the place of a listener that is closed and whose connections are gone.
    pub(crate) fn forget_unused_listener(&mut self, place: u32) {
        let entry = &mut self.listeners[place as usize];
        if entry.as_ref().is_some_and(|l| l.closed && !l.is_named && l.users == 0) {
            *entry = None;
        }
    }

    pub(crate) fn watch_listeners(&mut self, on: bool) {
        for (place, listener) in self.listeners.iter().enumerate() {
            for (number, listened) in listener.iter().flat_map(|l| &l.sockets).enumerate() {
                if on {
                    listened.watch(&self.epoll, self.thread, listener_token(place, number));
                } else {
                    listened.unwatch(&self.epoll);
                }
            }
        }
    }

    pub(crate) fn accept_from(&mut self, place: u32, socket: u32) {
        if self.accept_some(place, socket, false) < BATCH {
            return;
        }
        // Of another thread's socket it was told once, and there may be more.
        let listener = self.listeners.get(place as usize).and_then(Option::as_ref);
        let listened = listener.and_then(|listener| listener.sockets.get(socket as usize));
        if listened.is_some_and(|listened| listened.owner != self.thread) {
            self.leave(place, 0);
        }
    }

    /// Accepts what other threads have not come for.
    pub(crate) fn accept_left(&mut self, place: u32) {
        let Some(Some(listener)) = self.listeners.get_mut(place as usize) else { return };
        if !std::mem::take(&mut listener.left_some) || !self.accepting {
            return;
        }
        for socket in 0..listener.sockets.len() {
            if self.accept_some(place, socket as u32, true) == BATCH {
                self.leave(place, 0);
            }
        }
    }

    /// Returns how many were accepted. Unless `all`, those are left to another thread that are its own, while it has
    /// less to do.
    fn accept_some(&mut self, place: u32, socket: u32, all: bool) -> usize {
        for count in 0..BATCH {
            let Some(Some(listener)) = self.listeners.get(place as usize) else { return count };
            let Some(listened) = listener.sockets.get(socket as usize) else { return count };
            let owner = listened.owner;
            if !all && owner != self.thread && self.leads(listener.spec.instance, owner) {
                self.leave(place, LEFT_MS);
                return count;
            }
            match accept_with(&listened.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(client) => self.admit(place, client),
                Err(Errno::AGAIN) => return count,
                Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
                    // The queue stays full and the event would come again and again: look away for a while.
                    self.watch_listeners(false);
                    self.schedule(self.now + ACCEPT_PAUSE_MS, 0, Task::AcceptAgain);
                    return count;
                }
                // The client gave up while it waited in the queue.
                Err(_) => {}
            }
        }
        BATCH
    }

    /// Whether this thread has so many more connections of an instance than another that it takes none from it.
    fn leads(&self, instance: InstanceId, over: usize) -> bool {
        let local = self.places.get(&instance).and_then(|&place| self.locals[place as usize].as_ref());
        local.is_some_and(|local| local.cells(self.thread).active.get() > local.cells(over).active.get() + LEAD)
    }

    /// Looks in so many ms after what was left to others.
    fn leave(&mut self, place: u32, in_ms: u64) {
        if let Some(Some(listener)) = self.listeners.get_mut(place as usize)
            && !std::mem::replace(&mut listener.left_some, true)
        {
            self.schedule(self.now + in_ms, place, Task::AcceptLeft);
        }
    }

    /// Counts a new connection for its instance. If there is no room for it, that is counted, and returned why.
    pub(crate) fn enter(&mut self, place: u32) -> Option<CloseReason> {
        let thread = self.thread;
        let local = self.local(place);
        let cells = &local.shared.cells[thread];
        cells.accepted.add(1);
        if !local.share.acquire(&local.shared.connections) {
            cells.closed[CloseReason::LimitInstance as usize].add(1);
            return Some(CloseReason::LimitInstance);
        }
        let rate = local.shared.limits.load().rate;
        if rate > 0 && !local.shared.rate.enter(rate, Instant::now()) {
            cells.closed[CloseReason::LimitRate as usize].add(1);
            local.share.release(&local.shared.connections);
            return Some(CloseReason::LimitRate);
        }
        cells.active.add(1);
        None
    }

    fn admit(&mut self, listener: u32, client: OwnedFd) {
        let Some(Some(listening)) = self.listeners.get(listener as usize) else { return };
        let Some(&place) = self.places.get(&listening.spec.instance) else { return };
        if !self.share.acquire(&self.total) {
            let cells = &self.locals[place as usize].as_ref().expect("it has a place").shared.cells[self.thread];
            cells.accepted.add(1);
            cells.closed[CloseReason::LimitTotal as usize].add(1);
            return self.blame(place, CloseReason::LimitTotal, peer_of(&client));
        }
        if let Some(reason) = self.enter(place) {
            self.share.release(&self.total);
            return self.blame(place, reason, peer_of(&client));
        }
        let mut conn = Conn::new(place, listener, client);
        conn.last_move = self.now;
        if let Some(Some(listening)) = self.listeners.get_mut(listener as usize) {
            listening.users += 1;
            if !listening.spec.proxied.trusted.is_empty() {
                conn.greeting = Greeting::Awaited;
            }
            conn.naming = listening.spec.is_front;
            conn.shaking = listening.spec.tls.is_some();
            conn.http = (listening.spec.protocol == Protocol::Http).then(Box::default);
        }
        let index = self.conns.insert(conn);
        self.serving = Some(index);
        if self.count_source(index) {
            self.find_place(index);
        } else {
            self.end(index, CloseReason::LimitSource, false);
        }
    }
}
