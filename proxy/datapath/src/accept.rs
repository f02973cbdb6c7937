//! Listening sockets and what comes in through them: bounds first, then the route.

use crate::config::{ListenerId, Protocol};
use crate::conn::{Conn, Greeting};
use crate::counters::CloseReason;
use crate::mailbox::ThreadListener;
use crate::socket;
use crate::worker::{Listening, Task, Worker, listener_token};
use rustix::event::epoll::{self, EventFlags};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// Most connections accepted from one listener before others get their turn.
const BATCH: usize = 32;
/// Pause after the system had no descriptor left, in ms.
const ACCEPT_PAUSE_MS: u64 = 50;

impl Worker {
    pub(crate) fn add_listener(&mut self, spec: ThreadListener, fd: OwnedFd) {
        if let Err(e) = socket::tune_listener(&fd, &spec.timeouts) {
            tracing::warn!(error = %e, "options of a listening socket refused; going on without");
        }
        let place = self.listeners.iter().position(Option::is_none).unwrap_or_else(|| {
            self.listeners.push(None);
            self.listeners.len() - 1
        });
        if self.accepting
            && let Err(e) = epoll::add(&self.epoll, &fd, listener_token(place as u32), EventFlags::IN)
        {
            tracing::error!(error = %e, "cannot watch a listening socket");
        }
        self.listeners[place] = Some(Listening { spec, fd: Some(fd), users: 0 });
    }

    /// Takes in what waits in the kernel's queue (closing would reset it), then closes.
    pub(crate) fn remove_listener(&mut self, id: ListenerId) {
        let found = self.listeners.iter().position(|l| l.as_ref().is_some_and(|l| l.spec.id == id));
        if let Some(place) = found {
            self.close_listener(place as u32);
        }
    }

    pub(crate) fn close_listener(&mut self, place: u32) {
        while self.accept_some(place) == BATCH {}
        if let Some(fd) = self.listeners[place as usize].as_mut().and_then(|listener| listener.fd.take()) {
            // Closing it ends the watch only if no other process has the socket too.
            let _ = epoll::delete(&self.epoll, &fd);
        }
        self.forget_unused_listener(place);
    }

    /// Frees the place of a listener that is closed and whose connections are gone.
    pub(crate) fn forget_unused_listener(&mut self, place: u32) {
        let entry = &mut self.listeners[place as usize];
        if entry.as_ref().is_some_and(|l| l.fd.is_none() && l.users == 0) {
            *entry = None;
        }
    }

    pub(crate) fn watch_listeners(&mut self, on: bool) {
        for (place, listener) in self.listeners.iter().enumerate() {
            let Some(fd) = listener.as_ref().and_then(|l| l.fd.as_ref()) else { continue };
            // Watched already, or not watched: both are what is wanted.
            let _ = if on {
                epoll::add(&self.epoll, fd, listener_token(place as u32), EventFlags::IN)
            } else {
                epoll::delete(&self.epoll, fd)
            };
        }
    }

    pub(crate) fn accept_from(&mut self, place: u32) {
        self.accept_some(place);
    }

    /// Returns how many were accepted.
    fn accept_some(&mut self, place: u32) -> usize {
        for count in 0..BATCH {
            let Some(Some(listener)) = self.listeners.get(place as usize) else { return count };
            let Some(fd) = listener.fd.as_ref() else { return count };
            match accept_with(fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
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

    fn admit(&mut self, listener: u32, client: OwnedFd) {
        let Some(Some(listening)) = self.listeners.get(listener as usize) else { return };
        let Some(&place) = self.places.get(&listening.spec.instance) else { return };
        let thread = self.thread;
        let total = self.share.acquire(&self.total);
        let local = self.local(place);
        let cells = &local.shared.cells[thread];
        cells.accepted.add(1);
        if !total {
            cells.closed[CloseReason::LimitTotal as usize].add(1);
            return;
        }
        if !local.share.acquire(&local.shared.connections) {
            cells.closed[CloseReason::LimitInstance as usize].add(1);
            self.share.release(&self.total);
            return;
        }
        let rate = local.shared.limits.load().rate;
        if rate > 0 && !local.shared.rate.enter(rate, Instant::now()) {
            cells.closed[CloseReason::LimitRate as usize].add(1);
            local.share.release(&local.shared.connections);
            self.share.release(&self.total);
            return;
        }
        cells.active.add(1);
        let mut conn = Conn::new(place, listener, client);
        conn.last_move = self.now;
        if let Some(Some(listening)) = self.listeners.get_mut(listener as usize) {
            listening.users += 1;
            if !listening.spec.proxied.trusted.is_empty() {
                conn.greeting = Greeting::Awaited;
            }
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
