//! Mixed load on an instance: clients of several kinds that go on whatever happens, and write down each error.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::who;
use crate::flows::WHO;
use crate::witness::record::{Nanos, now};

/// How long a request may take: longer than any failover.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause of each client between two things it does: the load shall be mixed, not heavy.
const PAUSE: Duration = Duration::from_millis(20);
/// Connections on which nothing is said.
const IDLE: usize = 50;

/// Something that went wrong for a client.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// When the client began what failed.
    pub began: Nanos,
    /// When it failed.
    pub ended: Nanos,
    /// What the client did, and what came of it.
    pub what: String,
}

/// Running clients. Dropping it ends them.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What one client does until the load ends.
type Kind = fn(&Shared, SocketAddr);

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    answers: AtomicU64,
    troubles: Mutex<Vec<Trouble>>,
}

impl Load {
    /// Starts the clients: `tcp` is a listener that carries bytes, `http` one that follows requests.
    pub fn start(tcp: SocketAddr, http: SocketAddr) -> Load {
        let shared = Arc::<Shared>::default();
        let kinds: [(Kind, SocketAddr); 6] =
            [(ask, tcp), (ask, http), (keep, tcp), (keep, http), (idle, tcp), (be_rude, http)];
        let start = |(kind, at): (Kind, SocketAddr)| {
            let shared = shared.clone();
            std::thread::spawn(move || kind(&shared, at))
        };
        let threads = kinds.into_iter().map(start).collect();
        Load { shared, threads }
    }

    /// Good answers until now.
    pub fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// What went wrong until now.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.shared.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        std::thread::sleep(PAUSE);
        !self.stop.load(Ordering::Relaxed)
    }

    fn note<E: std::fmt::Display>(&self, began: Nanos, what: &str, result: Result<(), E>) {
        match result {
            Ok(()) => drop(self.answers.fetch_add(1, Ordering::Relaxed)),
            Err(error) => {
                let trouble = Trouble { began, ended: now(), what: format!("{what}: {error}") };
                self.troubles.lock().unwrap_or_else(PoisonError::into_inner).push(trouble);
            }
        }
    }
}

/// A connection a request.
fn ask(shared: &Shared, at: SocketAddr) {
    while shared.goes_on() {
        let began = now();
        shared.note(began, "a request of its own connection", who(at, PATIENCE).map(drop));
    }
}

/// One connection for as many requests as it lasts. One that was ended between two requests is a browser's daily bread
/// and no trouble.
fn keep(shared: &Shared, at: SocketAddr) {
    let mut connection = None;
    while shared.goes_on() {
        let began = now();
        let Some(kept) = connection.take().filter(is_open).or_else(|| TcpStream::connect(at).ok()) else {
            shared.note(began, "a connection to keep", Err("refused"));
            continue;
        };
        let result = exchange(&kept, at);
        connection = result.is_ok().then_some(kept);
        shared.note(began, "a request on a kept connection", result);
    }
}

fn is_open(stream: &TcpStream) -> bool {
    let _ = stream.set_nonblocking(true);
    let quiet = stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    let _ = stream.set_nonblocking(false);
    quiet
}

/// One request and its answer, whose length must be told.
fn exchange(stream: &TcpStream, at: SocketAddr) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut to = stream;
    to.write_all(format!("GET {WHO} HTTP/1.1\r\nHost: {at}\r\n\r\n").as_bytes())?;
    let mut answer = BufReader::new(stream);
    let mut lines = answer.by_ref().lines();
    let first = lines.next().unwrap_or_else(|| Err(std::io::Error::other("the end instead of an answer")))?;
    if !first.contains(" 200 ") {
        return Err(std::io::Error::other(first));
    }
    let mut length = 0;
    for line in lines {
        let line = line?.to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(told) = line.strip_prefix("content-length:") {
            length = told.trim().parse().map_err(std::io::Error::other)?;
        }
    }
    answer.read_exact(&mut vec![0; length])
}

/// Connections that are there and say nothing; those that a change of the active ended come back.
fn idle(shared: &Shared, at: SocketAddr) {
    let mut connections = Vec::new();
    while shared.goes_on() {
        connections.retain(is_open);
        if connections.len() < IDLE {
            let began = now();
            match TcpStream::connect(at) {
                Ok(connection) => connections.push(connection),
                Err(error) => shared.note(began, "an idle connection", Err(error)),
            }
        }
    }
}

/// What a listener has to bear: requests that are none, that are never finished, clients that leave in the middle.
fn be_rude(shared: &Shared, at: SocketAddr) {
    let words: [&[u8]; 6] = [
        b"",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nX: ",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /who HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhalf",
    ];
    let mut unfinished = std::collections::VecDeque::new();
    for word in words.iter().cycle() {
        if !shared.goes_on() {
            return;
        }
        if let Ok(mut stream) = TcpStream::connect(at) {
            let _ = stream.write_all(word);
            unfinished.push_back(stream);
        }
        // Each is left after a while, wherever it stands.
        if unfinished.len() > 20 {
            unfinished.pop_front();
        }
    }
}
