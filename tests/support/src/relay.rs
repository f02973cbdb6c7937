//! A relay between two TCP ends that can do to each direction, by itself, what bad networks do: the toxics of Toxiproxy.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is done to the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Toxic {
    /// Nothing.
    #[default]
    None,
    /// Each is held back for so long.
    Delay(Duration),
    /// They come in pieces of so many, each sent by itself.
    Slices(usize),
    /// So many come in a second.
    Rate(u32),
    /// After so many of a connection it ends, in both directions.
    Limit(usize),
    /// They come no more, and the connection stays open.
    Swallow,
    /// Its end comes so much later.
    SlowClose(Duration),
}

/// Which way bytes go: from who connected, or to who did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From who connected.
    Up,
    /// To who connected.
    Down,
}

type Shared = Arc<Mutex<Toxic>>;

/// Listens until the test ends.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    up: Shared,
    down: Shared,
}

impl Relay {
    /// Passes on to `target` whoever connects to `address`.
    ///
    /// # Panics
    /// If it can't listen there.
    pub fn start(address: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("relay at {address}: {error}"));
        let address = listener.local_addr().expect("its address");
        let relay = Relay { address, up: Shared::default(), down: Shared::default() };
        let (up, down) = (Arc::clone(&relay.up), Arc::clone(&relay.down));
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let Ok(to) = TcpStream::connect(target) else { continue };
                pass_on(&from, &to, &up);
                pass_on(&to, &from, &down);
            }
        });
        relay
    }

    /// From now on this is done to what goes this way, also on connections that are open.
    pub fn set(&self, way: Way, toxic: Toxic) {
        let shared = if way == Way::Up { &self.up } else { &self.down };
        *shared.lock().unwrap_or_else(PoisonError::into_inner) = toxic;
    }
}

fn now_set(toxic: &Shared) -> Toxic {
    *toxic.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the two threads of one direction. The end of it is passed on as well, in its turn.
fn pass_on(from: &TcpStream, to: &TcpStream, toxic: &Shared) {
    let (Ok(mut from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
    let _ = to.set_nodelay(true);
    let (queue, held) = channel::<(Instant, Vec<u8>)>();
    let (reading, writing) = (Arc::clone(toxic), Arc::clone(toxic));
    std::thread::spawn(move || deliver(to, &held, &writing));
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        loop {
            let read = from.read(&mut chunk).unwrap_or(0);
            let held_back = match now_set(&reading) {
                Toxic::Delay(time) => time,
                Toxic::SlowClose(time) if read == 0 => time,
                _ => Duration::ZERO,
            };
            if queue.send((Instant::now() + held_back, chunk[..read].to_vec())).is_err() || read == 0 {
                return;
            }
        }
    });
}

fn deliver(mut to: TcpStream, held: &Receiver<(Instant, Vec<u8>)>, toxic: &Shared) {
    let mut sent = 0;
    while let Ok((due, bytes)) = held.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if bytes.is_empty() || write(&mut to, &bytes, now_set(toxic), &mut sent).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// `sent`: how many bytes went this way of this connection so far. An error ends it.
fn write(to: &mut TcpStream, bytes: &[u8], toxic: Toxic, sent: &mut usize) -> std::io::Result<()> {
    let piece = if let Toxic::Slices(piece) = toxic { piece.max(1) } else { bytes.len() };
    if toxic == Toxic::Swallow {
        return Ok(());
    }
    for bytes in bytes.chunks(piece) {
        to.write_all(bytes)?;
        *sent += bytes.len();
    }
    match toxic {
        Toxic::Limit(most) if *sent >= most => Err(std::io::ErrorKind::ConnectionAborted.into()),
        Toxic::Rate(bytes_per_second) => {
            let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            std::thread::sleep(Duration::from_secs(1) * length / bytes_per_second.max(1));
            Ok(())
        }
        _ => Ok(()),
    }
}
