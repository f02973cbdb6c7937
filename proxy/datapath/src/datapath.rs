//! The handle to the data path: starts and stops its threads, gives them their orders, sums their counters.
//! Its methods may be called from any thread; each returns quickly.

mod fronts;

use crate::accept::Listened;
use crate::blame::LastClient;
use crate::config::{Config, Drain, Error, InstanceId, InstanceSpec, Limits, ListenerId, ListenerSpec, Route};
use crate::counters::{CloseReason, Counters};
use crate::descriptors::Descriptors;
use crate::mailbox::{Latch, Mailbox, Order, ThreadListener};
use crate::quota::Pool;
use crate::shared::Instance;
use crate::signal::SignalSink;
use crate::socket;
use crate::worker::Worker;
use fronts::Front;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest wait for a thread to carry out an order.
const ORDER_TIMEOUT: Duration = Duration::from_secs(5);

/// A listener that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// For [`DataPath::remove_listener`].
    pub id: ListenerId,
    /// Where it listens; the port that was found if port 0 was asked for.
    pub addr: SocketAddr,
}

#[derive(Debug, Default)]
struct State {
    instances: HashMap<InstanceId, Arc<Instance>>,
    /// The sockets of each listener, one per thread, kept to hand them over.
    listeners: HashMap<ListenerId, (InstanceId, Vec<Arc<OwnedFd>>)>,
    next_listener: u32,
    /// Somebody was told that there is room for fewer connections than were asked for.
    told_short: bool,
    /// Addresses that listeners with names share.
    fronts: HashMap<SocketAddr, Front>,
    next_front: u32,
}

impl State {
    fn next_listener(&mut self) -> ListenerId {
        self.next_listener += 1;
        ListenerId(self.next_listener - 1)
    }
}

/// The data path. Dropping it ends everything at once; see [`DataPath::stop`] for the gentle way.
#[derive(Debug)]
pub struct DataPath {
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    descriptors: Descriptors,
    /// Room for connections over all instances.
    total: Arc<Pool>,
    state: Mutex<State>,
}

impl DataPath {
    /// Starts the threads. They do nothing until they are given a listener and a route.
    ///
    /// # Errors
    /// [`Error::System`] when the system gives no epoll, eventfd or thread.
    pub fn start(config: Config, sink: Arc<dyn SignalSink>) -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if config.threads == 0 { cores } else { config.threads };
        let descriptors = Descriptors::new(&config, count);
        let total = Arc::new(Pool::new(descriptors.connections(0, 0), count));
        let (mailboxes, threads, state) = (Vec::new(), Mutex::default(), Mutex::default());
        let mut this = Self { mailboxes, threads, descriptors, total: Arc::clone(&total), state };
        for thread in 0..count {
            let system = |what| move |e: rustix::io::Errno| Error::System { what, reason: e.into() };
            let mailbox = Arc::new(Mailbox::new().map_err(system("eventfd"))?);
            let worker = Worker::new(thread, &config, Arc::clone(&mailbox), Arc::clone(&sink), Arc::clone(&total))
                .map_err(system("epoll"))?;
            let spawned = std::thread::Builder::new().name(format!("data-{thread}")).spawn(move || worker.run());
            this.mailboxes.push(mailbox);
            let spawned = spawned.map_err(|reason| Error::System { what: "thread", reason })?;
            this.threads.get_mut().unwrap_or_else(PoisonError::into_inner).push(spawned);
        }
        Ok(this)
    }

    /// Adds an instance. Its route is [`Route::Park`] until [`DataPath::set_route`] says otherwise.
    ///
    /// # Errors
    /// [`Error::InstanceExists`].
    pub fn add_instance(&self, spec: InstanceSpec) -> Result<(), Error> {
        let mut state = self.state();
        if state.instances.contains_key(&spec.id) {
            return Err(Error::InstanceExists(spec.id));
        }
        let instance = Arc::new(Instance::new(spec.id, spec.name, spec.limits, self.mailboxes.len()));
        state.instances.insert(spec.id, Arc::clone(&instance));
        self.make_room(&mut state);
        self.tell_all(|_| Order::AddInstance(Arc::clone(&instance)))
    }

    /// Removes an instance with its listeners; its connections are reset, its counters are gone.
    ///
    /// # Errors
    /// [`Error::UnknownInstance`], [`Error::NoAnswer`].
    pub fn remove_instance(&self, id: InstanceId) -> Result<(), Error> {
        let listeners: Vec<_> = {
            let mut state = self.state();
            state.instances.remove(&id).ok_or(Error::UnknownInstance(id))?;
            state.listeners.iter().filter(|(_, (owner, _))| *owner == id).map(|(listener, _)| *listener).collect()
        };
        for listener in listeners {
            self.remove_listener(listener)?;
        }
        self.tell_all_and_wait(|_, latch| Order::RemoveInstance(id, latch))?;
        self.make_room(&mut self.state());
        Ok(())
    }

    /// Listens, or takes over sockets that listen already, and starts to accept.
    ///
    /// # Errors
    /// [`Error::Listen`] with the listener's name, its address and the system's words;
    /// [`Error::UnknownInstance`]; [`Error::NoAnswer`].
    pub fn add_listener(&self, mut spec: ListenerSpec) -> Result<Listener, Error> {
        let mut state = self.state();
        if !state.instances.contains_key(&spec.instance) {
            return Err(Error::UnknownInstance(spec.instance));
        }
        if !spec.names.is_empty() {
            return self.add_named(&mut state, spec);
        }
        let (addr, sockets) = self.bind(&mut spec)?;
        let id = state.next_listener();
        state.listeners.insert(id, (spec.instance, sockets.clone()));
        self.make_room(&mut state);
        self.hand_out(&ThreadListener::of(&spec, id), &sockets)?;
        Ok(Listener { id, addr })
    }

    /// Stops listening. Connections that wait in the kernel's queue are accepted first, open ones go on.
    ///
    /// # Errors
    /// [`Error::UnknownListener`], [`Error::NoAnswer`].
    pub fn remove_listener(&self, id: ListenerId) -> Result<(), Error> {
        let last_of_front = {
            let mut state = self.state();
            state.listeners.remove(&id).ok_or(Error::UnknownListener(id))?;
            state.leave_front(id)
        };
        self.tell_all_and_wait(|_, latch| Order::RemoveListener(id, latch))?;
        if let Some(front) = last_of_front {
            self.tell_all_and_wait(|_, latch| Order::RemoveInstance(front.instance.id, latch))?;
        }
        self.make_room(&mut self.state());
        Ok(())
    }

    /// Sets the bound of all connections to what descriptors leave room for beside instances and listeners.
    fn make_room(&self, state: &mut State) {
        let sockets = state.listeners.values().map(|(_, sockets)| sockets.len()).sum();
        let connections = self.descriptors.connections(state.instances.len(), sockets);
        if self.descriptors.is_short(connections) && !std::mem::replace(&mut state.told_short, true) {
            tracing::warn!(
                connections,
                "the limit of open files leaves room for fewer connections than are configured"
            );
        }
        self.total.set(connections);
    }

    /// Copies of a listener's sockets, to hand over to the process that takes its place.
    ///
    /// # Errors
    /// [`Error::UnknownListener`], [`Error::System`] when descriptors run out.
    pub fn listening_sockets(&self, id: ListenerId) -> Result<Vec<OwnedFd>, Error> {
        let state = self.state();
        let (_, sockets) = state.listeners.get(&id).ok_or(Error::UnknownListener(id))?;
        let copies = sockets.iter().map(|socket| socket.try_clone()).collect::<Result<_, _>>();
        copies.map_err(|reason| Error::System { what: "copy of a listening socket", reason })
    }

    /// Sends an instance's connections elsewhere; `drain` says what becomes of those that the new route does not
    /// cover. Returns the route's version at once; from then on no connection opens under an older one.
    /// [`crate::SignalKind::Clear`] of that version (or [`DataPath::is_clear`]) says when the last one is gone.
    ///
    /// # Errors
    /// [`Error::UnknownInstance`].
    pub fn set_route(&self, id: InstanceId, route: Route, drain: Drain) -> Result<u64, Error> {
        // The lock makes this the only writer; readers never take it.
        let state = self.state();
        let instance = state.instances.get(&id).ok_or(Error::UnknownInstance(id))?;
        let next = instance.route.load().next(route, drain, Instant::now());
        let version = next.version;
        instance.route.store(Arc::new(next));
        for (thread, mailbox) in self.mailboxes.iter().enumerate() {
            mailbox.route_changed(instance, thread);
        }
        Ok(version)
    }

    /// Whether the route of this version is in force everywhere and no connection outside of it is left.
    ///
    /// # Errors
    /// [`Error::UnknownInstance`].
    pub fn is_clear(&self, id: InstanceId, version: u64) -> Result<bool, Error> {
        Ok(self.instance(id)?.is_clear(version))
    }

    /// Changes an instance's bounds. What is open or parked already stays.
    ///
    /// # Errors
    /// [`Error::UnknownInstance`].
    pub fn set_limits(&self, id: InstanceId, limits: Limits) -> Result<(), Error> {
        let instance = self.instance(id)?;
        instance.connections.set(limits.max_connections);
        instance.limits.store(Arc::new(limits));
        Ok(())
    }

    /// An instance's counters, summed over the threads.
    ///
    /// # Errors
    /// [`Error::UnknownInstance`].
    pub fn counters(&self, id: InstanceId) -> Result<Counters, Error> {
        Ok(self.instance(id)?.counters())
    }

    /// For each reason that has to do with a client: whose connection ended for it last. None for what never was.
    ///
    /// # Errors
    /// [`Error::UnknownInstance`].
    pub fn last_clients(&self, id: InstanceId) -> Result<Vec<(CloseReason, LastClient)>, Error> {
        Ok(self.instance(id)?.last_clients())
    }

    /// Stops or resumes accepting on all listeners; clients wait in the kernel's queues meanwhile.
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub fn set_accepting(&self, on: bool) -> Result<(), Error> {
        self.tell_all_and_wait(|_, latch| Order::Accept(on, latch))
    }

    /// Stops listening, closes what is parked, lets open connections go on for `at_most`, then resets the rest.
    /// Blocks until the threads have ended.
    pub fn stop(&self, at_most: Duration) {
        {
            let mut state = self.state();
            state.listeners.clear();
            state.fronts.clear();
        }
        let deadline = Instant::now() + at_most;
        for mailbox in &self.mailboxes {
            mailbox.send(Order::Stop(deadline));
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A thread contains its panics; should one end by one, there is nothing left to stop.
            let _ = thread.join();
        }
    }

    /// Binds a listener's sockets, or takes over those it has.
    fn bind(&self, spec: &mut ListenerSpec) -> Result<(SocketAddr, Vec<Arc<OwnedFd>>), Error> {
        let inherited = std::mem::take(&mut spec.inherited);
        let failed =
            |e: rustix::io::Errno| Error::Listen { name: spec.name.clone(), addr: spec.listen, reason: e.into() };
        let (addr, sockets) = self.sockets(spec.listen, inherited).map_err(failed)?;
        for socket in &sockets {
            if let Err(e) = socket::tune_listener(socket, &spec.timeouts) {
                tracing::warn!(error = %e, "options of a listening socket refused; going on without");
            }
        }
        Ok((addr, sockets.into_iter().map(Arc::new).collect()))
    }

    /// Gives each thread its sockets, and then those of the others.
    fn hand_out(&self, listener: &ThreadListener, sockets: &[Arc<OwnedFd>]) -> Result<(), Error> {
        let threads = self.mailboxes.len();
        let own = |thread: usize| -> Vec<Listened> {
            let sockets = sockets.iter().skip(thread).step_by(threads);
            sockets.map(|socket| Listened { socket: Arc::clone(socket), owner: thread }).collect()
        };
        self.tell_all_and_wait(|thread, latch| Order::AddListener(Box::new(listener.clone()), own(thread), latch))?;
        // The kernel wakes those who wait on a socket in the order in which they came: its own thread first, and
        // another only while that one is busy.
        self.tell_all(|thread| {
            Order::ShareListener(listener.id, (1..threads).flat_map(|n| own((thread + n) % threads)).collect())
        })
    }

    /// One listening socket for each thread at least, unless there is only one to be had.
    fn sockets(
        &self,
        listen: SocketAddr,
        mut inherited: Vec<OwnedFd>,
    ) -> Result<(SocketAddr, Vec<OwnedFd>), rustix::io::Errno> {
        let Some(first) = inherited.first() else { return socket::listen_group(listen, self.mailboxes.len()) };
        let addr = socket::bound_addr(first)?;
        // Nothing can listen beside one that does not share its address: then all threads accept from it.
        while socket::shares_its_address(&inherited[0])? && inherited.len() < self.mailboxes.len() {
            inherited.push(socket::listen_one(addr)?);
        }
        Ok((addr, inherited))
    }

    fn instance(&self, id: InstanceId) -> Result<Arc<Instance>, Error> {
        self.state().instances.get(&id).cloned().ok_or(Error::UnknownInstance(id))
    }

    fn tell_all(&self, order: impl Fn(usize) -> Order) -> Result<(), Error> {
        let told = self.mailboxes.iter().enumerate().all(|(thread, mailbox)| mailbox.send(order(thread)));
        if told { Ok(()) } else { Err(Error::NoAnswer) }
    }

    fn tell_all_and_wait(&self, order: impl Fn(usize, Arc<Latch>) -> Order) -> Result<(), Error> {
        let latch = Latch::new(self.mailboxes.len());
        self.tell_all(|thread| order(thread, Arc::clone(&latch)))?;
        if latch.wait(ORDER_TIMEOUT) { Ok(()) } else { Err(Error::NoAnswer) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DataPath {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}
