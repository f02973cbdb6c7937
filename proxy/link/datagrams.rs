//! Heartbeats that come as datagrams, and their answers: for links whose packets are lost.
//!
//! Owns the socket, and for each open link the keys and which heartbeat was the newest, whichever way it came. What is not
//! of an open link, not sealed with its key, or not new, is dropped without a word. Wire format: `hotspare_protocol`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hotspare_decide::message::{Down, Up};
use hotspare_protocol::{End, MAX_DATAGRAM_BYTES, Offer, Opener, Sealer, decode_up, link_of};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use super::pace::Pace;
use super::{LinkEvent, LinkKey};

/// The datagrams of all links.
pub(super) struct Datagrams {
    socket: UdpSocket,
    links: Mutex<HashMap<u64, Arc<Mutex<Heard>>>>,
}

/// What came over one link.
struct Heard {
    key: LinkKey,
    offer: Offer,
    hello_came: Arc<Notify>,
    /// Told when a new connection of the same launcher takes the link's place.
    replaced: Arc<Notify>,
    /// It has said who it is, and that was passed on.
    greeted: bool,
    /// What came of that as datagram, before that; the session passes it on.
    hello: Option<Up>,
    opener: Opener,
    pace: Pace,
    /// Number of the newest heartbeat, as datagram or not.
    newest: u64,
    /// The newest that came as datagram: its number, from where, when.
    asked: Option<(u64, SocketAddr, Instant)>,
}

/// One link's part in it, for as long as that is open.
pub(super) struct Beside {
    all: Arc<Datagrams>,
    connection: u64,
    heard: Arc<Mutex<Heard>>,
    sealer: Sealer,
    /// Told when hello has come as datagram.
    hello: Arc<Notify>,
    replaced: Arc<Notify>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Datagrams {
    pub(super) fn new(socket: UdpSocket) -> Self {
        Self { socket, links: Mutex::default() }
    }

    /// Opens it for one link: the offer to its launcher, as its header has it, and the link's part. `None` without random
    /// numbers.
    pub(super) fn offer(self: &Arc<Self>, key: LinkKey, connection: u64) -> Option<(String, Beside)> {
        let offer = Offer::new(connection)?;
        let header = offer.to_header();
        let (sealer, opener) = offer.at(End::Controller);
        let (hello, replaced) = (Arc::<Notify>::default(), Arc::<Notify>::default());
        let heard = Arc::new(Mutex::new(Heard {
            key,
            offer,
            hello_came: hello.clone(),
            replaced: replaced.clone(),
            greeted: false,
            hello: None,
            opener,
            pace: Pace::default(),
            newest: 0,
            asked: None,
        }));
        lock(&self.links).insert(connection, heard.clone());
        Some((header, Beside { all: self.clone(), connection, heard, sealer, hello, replaced }))
    }

    /// The link that this offer was made to, by what ends it: the same launcher is here again. `None` if there is none.
    pub(super) fn same_launcher(&self, key: LinkKey, offer: &str) -> Option<Arc<Notify>> {
        let offer = Offer::from_header(offer)?;
        let heard = lock(&self.links).get(&offer.link())?.clone();
        let heard = lock(&heard);
        (heard.key == key && heard.offer == offer).then(|| heard.replaced.clone())
    }

    /// Passes on what comes until the engine is gone.
    pub(super) async fn receive(&self, events: &mpsc::Sender<LinkEvent>) {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            // An error here is a word of ICMP about an answer that did not arrive.
            let Ok((bytes, from)) = self.socket.recv_from(&mut buffer).await else { continue };
            let Some(event) = self.open(&mut buffer[..bytes], from) else { continue };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }

    fn open(&self, datagram: &mut [u8], from: SocketAddr) -> Option<LinkEvent> {
        let connection = link_of(datagram)?;
        let heard = lock(&self.links).get(&connection)?.clone();
        let mut heard = lock(&heard);
        let message = decode_up(heard.opener.open(datagram)?).ok()?;
        let now = Instant::now();
        if !heard.pace.allows(now) || !heard.is_new(&message) {
            return None;
        }
        match &message {
            Up::Heartbeat(beat) if heard.greeted => heard.asked = Some((beat.seq, from, now)),
            Up::Hello(_) => {
                heard.hello = Some(message);
                heard.hello_came.notify_one();
                return None;
            }
            _ => return None,
        }
        Some(LinkEvent::Message { key: heard.key, connection, message })
    }
}

impl Heard {
    fn is_new(&mut self, message: &Up) -> bool {
        match message {
            Up::Hello(_) => !self.greeted,
            // Before hello it says nothing yet.
            Up::Heartbeat(_) if !self.greeted => true,
            Up::Heartbeat(beat) => {
                let new = beat.seq > self.newest;
                self.newest = self.newest.max(beat.seq);
                new
            }
            _ => true,
        }
    }
}

impl Beside {
    /// Whether this message of the websocket says something new: no datagram has said the same, or something later.
    pub(super) fn is_new(&self, message: &Up) -> bool {
        lock(&self.heard).is_new(message)
    }

    /// Hello, if that comes as datagram, once.
    pub(super) async fn hello(&self) -> Up {
        loop {
            self.hello.notified().await;
            let mut heard = lock(&self.heard);
            if let Some(hello) = heard.hello.take().filter(|_| !heard.greeted) {
                return hello;
            }
        }
    }

    /// Hello was passed on: heartbeats may come as datagrams now.
    pub(super) fn greeted(&self) {
        lock(&self.heard).greeted = true;
    }

    /// Waits until a new connection of the same launcher takes this one's place.
    pub(super) async fn replaced(&self) {
        self.replaced.notified().await;
    }

    /// Whether a heartbeat came as datagram within this time.
    pub(super) fn heard_within(&self, time: Duration) -> bool {
        lock(&self.heard).asked.is_some_and(|(.., at)| at.elapsed() < time)
    }

    /// Sends the answer to a heartbeat that came as datagram; false if this is none.
    pub(super) async fn answer(&mut self, order: &Down, text: &str) -> bool {
        let (Down::Grant { seq, .. } | Down::Ack { seq, .. }) = order else { return false };
        let Some((_, from, _)) = lock(&self.heard).asked.filter(|(asked, ..)| seq <= asked) else { return false };
        if let Some(datagram) = self.sealer.seal(text) {
            // Lost here or on the way: it is all the same.
            let _ = self.all.socket.send_to(&datagram, from).await;
        }
        true
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        lock(&self.all.links).remove(&self.connection);
    }
}
