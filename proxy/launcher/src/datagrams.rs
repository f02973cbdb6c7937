//! Heartbeats as datagrams beside a link's websocket, while the answers are overdue there.
//!
//! Owns one socket and the keys that the controller offered for this link. Never decides anything: a heartbeat that goes as
//! datagram goes over the websocket too, and it is all the same by which of the two its answer comes. Other end:
//! `proxy/link/datagrams.rs`; wire format: `hotspare_protocol`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hotspare_decide::message::{Down, Up};
use hotspare_protocol::{End, MAX_DATAGRAM_BYTES, Offer, Opener, Sealer, Secret, decode_down};
use tokio::net::UdpSocket;

/// So far behind its newest heartbeat the newest answer is when datagrams begin: the one before had none by now.
const BEHIND: u64 = 2;

/// The datagrams of one link.
pub(crate) struct Datagrams {
    offer: Offer,
    socket: UdpSocket,
    controller: SocketAddr,
    sealer: Mutex<Sealer>,
    opener: Mutex<Opener>,
    /// What is said first, again and again until the controller has said welcome; `None` after that.
    hello: Mutex<Option<String>>,
    /// The newest of our numbers that was answered, by either way.
    answered: AtomicU64,
    /// When a datagram last came.
    heard: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Datagrams {
    /// To `controller`, as it has offered.
    ///
    /// # Errors
    /// The system's, if there are no sockets left.
    pub(crate) async fn open(controller: SocketAddr, offer: Offer) -> io::Result<Self> {
        let any = match controller {
            SocketAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let (sealer, opener) = offer.at(End::Launcher);
        Ok(Self {
            offer,
            socket: UdpSocket::bind((any, 0)).await?,
            controller,
            sealer: Mutex::new(sealer),
            opener: Mutex::new(opener),
            hello: Mutex::new(None),
            answered: AtomicU64::new(0),
            heard: Mutex::new(None),
        })
    }

    /// What was offered, to be shown when another link takes the place of this one.
    pub(crate) fn offer(&self) -> Secret {
        Secret::new(self.offer.to_header())
    }

    /// Sends a heartbeat, if answers are overdue; before it, hello if that may not have arrived. Anything else goes over the
    /// websocket alone.
    pub(crate) async fn send(&self, message: &Up, text: &str) {
        match message {
            Up::Hello(_) => *lock(&self.hello) = Some(text.to_owned()),
            Up::Heartbeat(beat) if beat.seq >= self.answered.load(Ordering::Relaxed).saturating_add(BEHIND) => {
                let hello = lock(&self.hello).clone();
                for text in hello.iter().map(String::as_str).chain([text]) {
                    let datagram = lock(&self.sealer).seal(text);
                    if let Some(datagram) = datagram {
                        // Lost here or on the way: it is all the same.
                        let _ = self.socket.send_to(&datagram, self.controller).await;
                    }
                }
            }
            _ => {}
        }
    }

    /// Notes what came, by either way.
    pub(crate) fn note(&self, msg: &Down) {
        match msg {
            Down::Grant { seq, .. } | Down::Ack { seq, .. } => drop(self.answered.fetch_max(*seq, Ordering::Relaxed)),
            Down::Welcome(_) => *lock(&self.hello) = None,
            Down::Start { .. } | Down::Fence { .. } | Down::Restart { .. } | Down::Refused { .. } => {}
        }
    }

    /// The next answer that comes as datagram. From whichever of its addresses the controller sends, it has the key.
    pub(crate) async fn receive(&self) -> Down {
        let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
        loop {
            // An error here is a word of ICMP about what did not arrive.
            let Ok(bytes) = self.socket.recv(&mut buffer).await else { continue };
            let msg = lock(&self.opener).open(&mut buffer[..bytes]).and_then(|text| decode_down(text).ok());
            if let Some(msg @ (Down::Grant { .. } | Down::Ack { .. })) = msg {
                *lock(&self.heard) = Some(Instant::now());
                self.note(&msg);
                return msg;
            }
        }
    }

    /// Whether a datagram came within this time.
    pub(crate) fn heard_within(&self, time: Duration) -> bool {
        lock(&self.heard).is_some_and(|at| at.elapsed() < time)
    }
}
