//! How orders reach a thread: a bounded queue and an eventfd that its epoll watches. Route changes are not
//! queued by content, only noted (one note per instance at most), so they can neither pile up nor be lost.

use crate::accept::Listened;
use crate::config::{InstanceId, ListenerId, ListenerSpec, MemberTls, Protocol, Proxied, Timeouts};
use crate::shared::Instance;
use arc_swap::ArcSwap;
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Most orders waiting in one mailbox; a sender waits for room.
const BOUND: usize = 1024;

/// What a thread knows about a listener.
#[derive(Clone, Debug)]
pub(crate) struct ThreadListener {
    pub(crate) id: ListenerId,
    pub(crate) instance: InstanceId,
    pub(crate) port_index: usize,
    pub(crate) protocol: Protocol,
    pub(crate) timeouts: Timeouts,
    pub(crate) proxied: Proxied,
    /// It is shared by listeners with names: whose a connection is, its client says.
    pub(crate) is_front: bool,
    pub(crate) tls: Option<Arc<ArcSwap<rustls::ServerConfig>>>,
    pub(crate) member_tls: [Option<MemberTls>; 2],
}

impl ThreadListener {
    pub(crate) fn of(spec: &ListenerSpec, id: ListenerId) -> Self {
        Self {
            id,
            instance: spec.instance,
            port_index: spec.port_index,
            protocol: spec.protocol,
            timeouts: spec.timeouts,
            proxied: spec.proxied.clone(),
            is_front: false,
            tls: spec.tls.clone(),
            member_tls: spec.member_tls.clone(),
        }
    }
}

/// An order.
#[derive(Debug)]
pub(crate) enum Order {
    AddInstance(Arc<Instance>),
    /// Ends its connections and forgets it; its listeners must be gone.
    RemoveInstance(InstanceId, Arc<Latch>),
    /// With the listening sockets that are this thread's own.
    AddListener(Box<ThreadListener>, Vec<Listened>, Arc<Latch>),
    /// Accepts from the other threads' sockets of a listener too, when those threads are busy.
    ShareListener(ListenerId, Vec<Listened>),
    /// Gives connections of the shared listener that ask for one of these names to a listener of its own.
    AddNamed {
        front: ListenerId,
        names: Arc<[String]>,
        listener: Box<ThreadListener>,
    },
    /// Closes the listening sockets after accepting what waits in them.
    RemoveListener(ListenerId, Arc<Latch>),
    /// Stops or resumes accepting; what connects meanwhile waits in the kernel's queue.
    Accept(bool, Arc<Latch>),
    /// Accepts nothing more, lets connections go on until the deadline, then ends.
    Stop(Instant),
}

#[derive(Debug, Default)]
struct Queue {
    orders: VecDeque<Order>,
    routes: Vec<InstanceId>,
    closed: bool,
}

/// One thread's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    room: Condvar,
    event: OwnedFd,
}

impl Mailbox {
    pub(crate) fn new() -> Result<Self, Errno> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { queue: Mutex::default(), room: Condvar::new(), event })
    }

    /// Puts an order in. False when the thread has ended.
    pub(crate) fn send(&self, order: Order) -> bool {
        let mut queue = self.lock();
        while queue.orders.len() >= BOUND && !queue.closed {
            queue = self.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.closed {
            return false;
        }
        queue.orders.push_back(order);
        drop(queue);
        self.ring();
        true
    }

    /// Notes that the route of `instance` has changed.
    pub(crate) fn route_changed(&self, instance: &Instance, thread: usize) {
        if instance.notified[thread].swap(true, Ordering::SeqCst) {
            return;
        }
        self.lock().routes.push(instance.id);
        self.ring();
    }

    /// Everything that waits, for the thread itself. The bell is taken down first: what comes later rings again.
    pub(crate) fn drain(&self) -> (VecDeque<Order>, Vec<InstanceId>) {
        let mut count = [0; 8];
        // Nothing to read is fine: the bell was taken down already.
        let _ = rustix::io::read(&self.event, &mut count);
        let mut queue = self.lock();
        self.room.notify_all();
        (std::mem::take(&mut queue.orders), std::mem::take(&mut queue.routes))
    }

    /// The thread ends: later orders are refused, waiting ones are dropped.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.orders.clear();
        self.room.notify_all();
    }

    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    fn ring(&self) {
        // Only a counter near 2^64 could refuse, and then the bell is up anyway.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets the sender of an order wait until every thread has carried it out.
#[derive(Debug)]
pub(crate) struct Latch {
    open: Mutex<usize>,
    done: Condvar,
}

impl Latch {
    pub(crate) fn new(threads: usize) -> Arc<Self> {
        Arc::new(Self { open: Mutex::new(threads), done: Condvar::new() })
    }

    pub(crate) fn count_down(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *open = open.saturating_sub(1);
        if *open == 0 {
            self.done.notify_all();
        }
    }

    /// False when the threads did not all answer in time.
    pub(crate) fn wait(&self, at_most: Duration) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let result = self.done.wait_timeout_while(open, at_most, |open| *open > 0);
        !result.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}
