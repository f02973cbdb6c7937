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
use tokio::sync::Notify;
use tokio::time::Instant;

use super::pace::Pace;
use super::{LinkEvent, LinkKey, Shared};

/// The datagrams of all links.
pub(super) struct Datagrams {
    socket: UdpSocket,
    links: Mutex<HashMap<u64, Arc<Mutex<Heard>>>>,
}

/// What came over one link.
struct Heard {
    key: LinkKey,
    offer: Offer,
    /// Told when `hello` or `replaced` became something.
    news: Arc<Notify>,
    /// A new connection of the same launcher has the link's place.
    replaced: bool,
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
    news: Arc<Notify>,
}

/// What a link's session has to hear of.
#[expect(clippy::large_enum_variant, reason = "each comes once in a link's life")]
pub(super) enum News {
    /// Its launcher's hello came as datagram.
    Hello(Up),
    /// A new connection of the same launcher has taken its place.
    Replaced,
}

/// The link whose launcher opens another.
pub(super) struct Before(Arc<Mutex<Heard>>);

impl Before {
    /// The other has its place now.
    pub(super) fn end(self) {
        let mut heard = lock(&self.0);
        heard.replaced = true;
        heard.news.notify_one();
    }
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
        let news = Arc::<Notify>::default();
        let heard = Arc::new(Mutex::new(Heard {
            key,
            offer,
            news: news.clone(),
            replaced: false,
            greeted: false,
            hello: None,
            opener,
            pace: Pace::default(),
            newest: 0,
            asked: None,
        }));
        lock(&self.links).insert(connection, heard.clone());
        Some((header, Beside { all: self.clone(), connection, heard, sealer, news }))
    }

    /// The link that this offer was made to: the same launcher is here again. `None` if there is none.
    pub(super) fn same_launcher(&self, key: LinkKey, offer: &str) -> Option<Before> {
        let offer = Offer::from_header(offer)?;
        let before = lock(&self.links).get(&offer.link())?.clone();
        let same = {
            let heard = lock(&before);
            heard.key == key && heard.offer == offer
        };
        same.then_some(Before(before))
    }

    /// Passes on what comes until the engine is gone.
    pub(super) async fn receive(&self, shared: &Shared) {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            // An error here is a word of ICMP about an answer that did not arrive.
            let Ok((bytes, from)) = self.socket.recv_from(&mut buffer).await else { continue };
            let Some(event) = self.open(&mut buffer[..bytes], from) else { continue };
            if !shared.tell(event).await {
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
                heard.news.notify_one();
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

    /// Tells when [`Beside::news`] may have some.
    pub(super) fn bell(&self) -> Arc<Notify> {
        self.news.clone()
    }

    /// What has happened, each once.
    pub(super) fn news(&self) -> Option<News> {
        let mut heard = lock(&self.heard);
        if heard.replaced {
            return Some(News::Replaced);
        }
        heard.hello.take().filter(|_| !heard.greeted).map(News::Hello)
    }

    /// Hello was passed on: heartbeats may come as datagrams now.
    pub(super) fn greeted(&self) {
        lock(&self.heard).greeted = true;
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
