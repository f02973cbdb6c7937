//! Listeners that share one address: whose a connection is, its client says by the name it asks for in its ClientHello.
//!
//! Owns: the names of a shared listener, and the moment in which a connection goes over to the listener that has its
//! name. Nothing is consumed before: the bytes are looked at in the socket, so that whoever ends TLS (a member, or
//! this data path) gets them from the first on. Until then the connection is the shared listener's own, whose
//! instance has no route and no members; its counters tell what became of those that found nobody.

use crate::client_hello::{self, Hello, MAX_BYTES};
use crate::config::{ListenerId, Protocol};
use crate::counters::CloseReason;
use crate::mailbox::ThreadListener;
use crate::slab::Index;
use crate::worker::{Listening, Worker, listener_token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::collections::HashMap;

/// A fatal alert: unrecognized_name (RFC 6066, section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

impl Worker {
    pub(crate) fn add_named(&mut self, front: ListenerId, names: &[String], spec: ThreadListener) {
        let place = self.keep_listener(Listening::new(spec, true));
        let fronts = self.listeners.iter_mut().enumerate().filter_map(|(at, l)| Some((l.as_mut()?, at)));
        for (front, at) in fronts.filter(|(l, _)| l.spec.id == front) {
            let first = front.names.is_empty();
            front.names.extend(names.iter().map(|name| (name.clone(), place as u32)));
            for (number, listened) in front.sockets.iter().enumerate().filter(|_| first && self.accepting) {
                listened.watch(&self.epoll, self.thread, listener_token(at, number));
            }
        }
    }

    /// Takes a listener's names back; a shared listener without any is closed.
    pub(crate) fn forget_names(&mut self, place: u32) {
        let Some(Some(listening)) = self.listeners.get_mut(place as usize) else { return };
        if !std::mem::take(&mut listening.is_named) {
            return;
        }
        for at in 0..self.listeners.len() {
            let Some(front) = self.listeners[at].as_mut().filter(|l| l.spec.is_front) else { continue };
            let before = front.names.len();
            front.names.retain(|_, to| *to != place);
            if front.names.is_empty() && before > 0 {
                self.close_listener(at as u32);
            }
        }
    }

    /// Looks for the name in what the client has said so far.
    pub(crate) fn hear_name(&mut self, index: Index) {
        let Some(conn) = self.conns.get(index) else { return };
        let Some(fd) = conn.client.fd.as_ref() else { return };
        let seen = match recv(fd, &mut self.io.scratch[..MAX_BYTES], RecvFlags::PEEK) {
            Ok((0, _)) => return self.end(index, CloseReason::ClientClosed, false),
            Ok((seen, _)) => seen,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => return self.end(index, CloseReason::ClientReset, false),
        };
        let name = match client_hello::read(&self.io.scratch[..seen]) {
            // An end after a part of it will never be told again.
            Hello::More if conn.client.hung_up => return self.end(index, CloseReason::BadHandshake, false),
            Hello::More => return,
            Hello::NotTls => return self.end(index, CloseReason::BadHandshake, false),
            Hello::Name(name) => Some(name),
            Hello::NoName => None,
        };
        let front = self.listeners.get(conn.listener as usize).and_then(Option::as_ref);
        if let Some(to) = front.and_then(|front| whose(&front.names, name.as_deref())) {
            return self.hand_over(index, to);
        }
        tracing::debug!(?name, "nobody has the name that a client asks for");
        // What was looked at is taken out first: closing with it unread would take the alert along.
        let _ = recv(fd, &mut self.io.scratch[..seen], RecvFlags::empty());
        let _ = send(fd, &UNRECOGNIZED_NAME, SendFlags::NOSIGNAL);
        self.end(index, CloseReason::UnknownName, false);
    }

    /// Makes the connection that of another listener, and of its instance.
    fn hand_over(&mut self, index: Index, to: u32) {
        self.leave_idle(index);
        self.wheel.cancel(index);
        let Some(Some(target)) = self.listeners.get(to as usize) else { return };
        let (shakes, follows) = (target.spec.tls.is_some(), target.spec.protocol == Protocol::Http);
        let Some(&place) = self.places.get(&target.spec.instance) else {
            return self.end(index, CloseReason::RouteClosed, false);
        };
        let full = self.enter(place);
        if let (Some(reason), Some(conn)) = (full, self.conns.get(index)) {
            self.blame(place, reason, conn.client_address());
        }
        let Some(conn) = self.conns.get_mut(index) else { return };
        let (from, front) = (conn.instance as usize, conn.listener);
        if let Some(local) = self.locals[from].as_mut() {
            local.share.release(&local.shared.connections);
            local.shared.cells[self.thread].active.sub(1);
        }
        conn.naming = false;
        conn.shaking = shakes;
        conn.http = follows.then(Box::default);
        (conn.instance, conn.listener) = (place, to);
        self.users_of(to, 1);
        self.users_of(front, -1);
        self.forget_unused_listener(front);
        if full.is_some() {
            // Counted already, with its reason.
            self.conns.remove(index);
            self.share.release(&self.total);
            self.users_of(to, -1);
        } else if self.count_source(index) {
            self.find_place(index);
        } else {
            self.end(index, CloseReason::LimitSource, false);
        }
    }

    fn users_of(&mut self, listener: u32, change: isize) {
        if let Some(Some(listening)) = self.listeners.get_mut(listener as usize) {
            listening.users = listening.users.saturating_add_signed(change);
        }
    }
}

/// The listener that has this name: itself, else with its first label as any, else what is for all others.
fn whose(names: &HashMap<String, u32>, name: Option<&str>) -> Option<u32> {
    let exact = name.and_then(|name| names.get(name));
    let parent = || name.and_then(|name| names.get(&format!("*.{}", name.split_once('.')?.1)));
    exact.or_else(parent).or_else(|| names.get("*")).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_wins() {
        let names = [("a.example", 1), ("*.example", 2), ("*", 3)].map(|(name, to)| (name.to_owned(), to));
        let mut names = HashMap::from(names);
        assert_eq!(whose(&names, Some("a.example")), Some(1));
        assert_eq!(whose(&names, Some("b.example")), Some(2));
        assert_eq!(whose(&names, Some("a.b.example")), Some(3), "a star is one label");
        assert_eq!(whose(&names, None), Some(3));
        names.remove("*");
        assert_eq!(whose(&names, Some("other")), None);
        assert_eq!(whose(&names, None), None);
    }
}
