//! Addresses that listeners with names share: bound with the first of them, closed with the last.

use super::{DataPath, Listener, State};
use crate::config::{Error, InstanceId, Limits, ListenerId, ListenerSpec, Protocol};
use crate::counters::Counters;
use crate::mailbox::{Order, ThreadListener};
use crate::shared::Instance;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A shared address.
#[derive(Debug)]
pub(super) struct Front {
    listener: ListenerId,
    /// Holds connections that have not said yet whose they are; it has no route.
    pub(super) instance: Arc<Instance>,
    sockets: Vec<Arc<OwnedFd>>,
    /// The listeners that share it.
    users: Vec<ListenerId>,
}

impl State {
    /// Takes a listener off its shared address; gives the address's own if it was the last.
    pub(super) fn leave_front(&mut self, id: ListenerId) -> Option<Front> {
        let (addr, front) = self.fronts.iter_mut().find(|(_, front)| front.users.contains(&id))?;
        front.users.retain(|user| *user != id);
        let addr = *addr;
        if front.users.is_empty() { self.fronts.remove(&addr) } else { None }
    }
}

impl DataPath {
    /// Per shared address, the counters of connections that have not said, or not in a way that helps, whose they are.
    /// Those that have are counted for their instance, and as accepted here.
    pub fn fronts(&self) -> Vec<(SocketAddr, Counters)> {
        let state = self.state();
        state.fronts.iter().map(|(addr, front)| (*addr, front.instance.counters())).collect()
    }

    pub(super) fn add_named(&self, state: &mut State, mut spec: ListenerSpec) -> Result<Listener, Error> {
        let shared = state.fronts.contains_key(&spec.listen);
        let addr = if shared { spec.listen } else { self.add_front(state, &mut spec)? };
        let id = state.next_listener();
        let front = state.fronts.get_mut(&addr).expect("it was there, or was just made");
        let kept = front.sockets.clone();
        front.users.push(id);
        let (front, names): (_, Arc<[String]>) = (front.listener, spec.names.clone().into());
        state.listeners.insert(id, (spec.instance, kept));
        self.tell_all(|_| {
            let listener = Box::new(ThreadListener::of(&spec, id));
            Order::AddNamed { front, names: Arc::clone(&names), listener }
        })?;
        Ok(Listener { id, addr })
    }

    /// What is known before a name is comes from the first listener: when the name must have come, and whose PROXY
    /// header is trusted.
    fn add_front(&self, state: &mut State, spec: &mut ListenerSpec) -> Result<SocketAddr, Error> {
        let (addr, sockets) = self.bind(spec)?;
        let number = InstanceId(u32::MAX - state.next_front);
        state.next_front += 1;
        let name = format!("names at {addr}");
        let instance = Arc::new(Instance::new(number, name, Limits::default(), self.mailboxes.len()));
        self.tell_all(|_| Order::AddInstance(Arc::clone(&instance)))?;
        let listener = state.next_listener();
        let own = ThreadListener::of(spec, listener);
        let own = ThreadListener { instance: number, is_front: true, protocol: Protocol::Tcp, tls: None, ..own };
        self.hand_out(&own, &sockets)?;
        state.fronts.insert(addr, Front { listener, instance, sockets, users: Vec::new() });
        Ok(addr)
    }
}
