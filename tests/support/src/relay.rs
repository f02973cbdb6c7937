//! A relay between two TCP ends that holds back every byte for a while, in both directions.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Listens until the test ends.
#[derive(Debug, Clone)]
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    delay_ms: Arc<AtomicU64>,
}

impl Relay {
    /// Passes on to `target` whoever connects to `address`.
    ///
    /// # Panics
    /// If it can't listen there.
    pub fn start(address: SocketAddr, target: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("relay at {address}: {error}"));
        let address = listener.local_addr().expect("its address");
        let relay = Relay { address, delay_ms: Arc::default() };
        let delay_ms = Arc::clone(&relay.delay_ms);
        std::thread::spawn(move || {
            for from in listener.incoming().map_while(Result::ok) {
                let Ok(to) = TcpStream::connect(target) else { continue };
                pass_on(&from, &to, &delay_ms);
                pass_on(&to, &from, &delay_ms);
            }
        });
        relay
    }

    /// From now on every byte is held back for so long, each way.
    pub fn delay(&self, time: Duration) {
        self.delay_ms.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// Starts the two threads of one direction. The end of it is passed on as well, in its turn.
fn pass_on(from: &TcpStream, to: &TcpStream, delay_ms: &Arc<AtomicU64>) {
    let (Ok(mut from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
    let _ = to.set_nodelay(true);
    let (queue, held) = channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || deliver(to, &held));
    let delay_ms = Arc::clone(delay_ms);
    std::thread::spawn(move || {
        let mut chunk = [0; 4096];
        loop {
            let read = from.read(&mut chunk).unwrap_or(0);
            let due = Instant::now() + Duration::from_millis(delay_ms.load(Ordering::Relaxed));
            if queue.send((due, chunk[..read].to_vec())).is_err() || read == 0 {
                return;
            }
        }
    });
}

fn deliver(mut to: TcpStream, held: &Receiver<(Instant, Vec<u8>)>) {
    while let Ok((due, bytes)) = held.recv() {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if bytes.is_empty() || to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
