//! Load that remembers: clients that keep their connections and clients that open new ones, GET and POST. Each request
//! carries a number, and its answer must be 200 and carry the same. Everything else is a failure and is written down:
//! a status, a reset, a connection that ended between two requests without a word before.
//!
//! New connections come at their times whether or not earlier ones were answered, and count from when they were due: a
//! server that stands still can't slow its own judge down.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::flows::ECHO;
use crate::witness::record::{Nanos, now};

/// How long a request may take: longer than any planned change, and than whatever it falls back to.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a POST carries besides its number.
const FILL: usize = 1000;
/// Most of an answer that is quoted.
const QUOTED: usize = 120;

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// New connections in a second, one request on each; every other one a POST.
    pub new_per_second: u32,
    /// Clients that keep one connection each; every other one POSTs.
    pub kept: u32,
    /// What such a client waits between an answer and its next request.
    pub pause: Duration,
}

/// One answered request.
#[derive(Debug, Clone, Copy)]
pub struct Took {
    /// When it was due.
    pub asked: Nanos,
    /// When its answer was complete.
    pub done: Nanos,
}

/// Everything that came of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests that were answered as they had to be.
    pub answered: Vec<Took>,
    /// The others, in words.
    pub failed: Vec<String>,
    /// Members that answered, each once.
    pub members: Vec<String>,
    /// Kept connections whose server announced in an answer that it would end them. No failure, and worth knowing.
    pub announced_ends: u64,
}

impl Outcome {
    /// What a change between `from` and `to` cost: the longest that any request under way waited, or, where requests
    /// were lost instead, the longest time in which none was answered.
    pub fn pause(&self, from: Nanos, to: Nanos) -> Duration {
        let under_way = || self.answered.iter().filter(|took| took.done >= from && took.asked <= to);
        let waited = under_way().map(|took| took.done - took.asked).max().unwrap_or(0);
        let mut ends: Vec<Nanos> = under_way().map(|took| took.done).collect();
        ends.sort_unstable();
        let silence = ends.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(to - from);
        Duration::from_nanos(waited.max(silence))
    }

    /// Fails the test unless there were answers and nothing but answers.
    ///
    /// # Panics
    /// With the first failures.
    pub fn assert_nothing_lost(&self) {
        let first: Vec<&String> = self.failed.iter().take(10).collect();
        assert!(self.failed.is_empty(), "{} requests failed, the first: {first:#?}", self.failed.len());
        assert!(!self.answered.is_empty(), "nothing was asked");
    }
}

#[derive(Debug, Default)]
struct Shared {
    ending: AtomicBool,
    next: AtomicU64,
    outcome: Mutex<Outcome>,
}

/// A load that runs until it is finished.
#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts asking `/echo` of `to` (see [`crate::flows::Flows::echo`]).
    pub fn start(to: SocketAddr, plan: Plan) -> Self {
        let shared = Arc::<Shared>::default();
        let mut threads = Vec::new();
        // So many that each is free again before its next turn, also when a change takes a second.
        let hands = plan.new_per_second.min(256);
        for hand in 0..hands {
            let shared = Arc::clone(&shared);
            threads.push(std::thread::spawn(move || open_anew(&shared, to, hand, hands, plan.new_per_second)));
        }
        for client in 0..plan.kept {
            let shared = Arc::clone(&shared);
            threads.push(std::thread::spawn(move || keep_one(&shared, to, client, plan.pause)));
        }
        Load { shared, threads }
    }

    /// Requests answered or failed so far.
    pub fn count(&self) -> usize {
        let outcome = self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        outcome.answered.len() + outcome.failed.len()
    }

    /// Ends it when every request under way is over.
    ///
    /// # Panics
    /// If a client panicked.
    pub fn finish(mut self) -> Outcome {
        self.shared.ending.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a client of the load panicked");
        }
        std::mem::take(&mut self.shared.outcome.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
    }
}

/// What one exchange came to, for the client of a kept connection.
enum After {
    Kept,
    EndAnnounced,
}

impl Shared {
    fn note(&self, asked: Nanos, what: &str, result: io::Result<(String, After)>) -> bool {
        let done = now();
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok((member, after)) => {
                outcome.answered.push(Took { asked, done });
                outcome.announced_ends += u64::from(matches!(after, After::EndAnnounced));
                if !outcome.members.contains(&member) {
                    outcome.members.push(member);
                }
                matches!(after, After::Kept)
            }
            Err(error) => {
                let ms = (done - asked) / 1_000_000;
                outcome.failed.push(format!("{what}, after {ms} ms: {error}"));
                false
            }
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

fn open_anew(shared: &Shared, to: SocketAddr, hand: u32, hands: u32, per_second: u32) {
    let every = Duration::from_secs(1) * hands / per_second;
    let mut due = Instant::now() + every * hand / hands;
    while !shared.ending.load(Ordering::Relaxed) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let late = due.elapsed();
        let asked = now() - u64::try_from(late.as_nanos()).unwrap_or(0);
        let id = shared.number();
        let posts = id % 2 == 1;
        let result = Wire::open(to).and_then(|mut wire| wire.exchange(id, posts, true));
        shared.note(asked, if posts { "POST on a new connection" } else { "GET on a new connection" }, result);
        due += every;
    }
}

fn keep_one(shared: &Shared, to: SocketAddr, client: u32, pause: Duration) {
    let posts = client % 2 == 1;
    let what = if posts { "POST on a kept connection" } else { "GET on a kept connection" };
    let mut wire = None;
    let mut asked_before = 0_u64;
    while !shared.ending.load(Ordering::Relaxed) {
        let asked = now();
        let open = match wire.take() {
            Some(wire) => Ok(wire),
            None => Wire::open(to),
        };
        let result = open.and_then(|mut open| {
            let answer = open.exchange(shared.number(), posts, false);
            wire = Some(open);
            answer
        });
        if shared.note(asked, &format!("{what} (request {asked_before} of it)"), result) {
            asked_before += 1;
        } else {
            (wire, asked_before) = (None, 0);
        }
        std::thread::sleep(pause);
    }
}

/// One client connection.
struct Wire {
    stream: BufReader<TcpStream>,
}

impl Wire {
    fn open(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(|e| told("connecting", &e))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Wire { stream: BufReader::new(stream) })
    }

    /// Who answered, and whether the connection may be used again.
    fn exchange(&mut self, id: u64, posts: bool, last: bool) -> io::Result<(String, After)> {
        let close = if last { "Connection: close\r\n" } else { "" };
        let text = if posts {
            let body = format!("{{\"id\":{id},\"fill\":\"{}\"}}", "x".repeat(FILL));
            let length = body.len();
            format!(
                "POST {ECHO} HTTP/1.1\r\nHost: load\r\n{close}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        } else {
            format!("GET {ECHO}?id={id} HTTP/1.1\r\nHost: load\r\n{close}\r\n")
        };
        self.stream.get_mut().write_all(text.as_bytes()).map_err(|e| told("sending", &e))?;
        let (status, length, ends) = self.head()?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(|e| told("reading the body", &e))?;
        let body = String::from_utf8_lossy(&body);
        if status != 200 {
            return Err(io::Error::other(format!("status {status}: {}", quoted(&body))));
        }
        let answer: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
        match (answer["id"].as_u64(), answer["member"].as_str()) {
            (Some(answered), Some(member)) if answered == id => {
                Ok((member.to_owned(), if ends { After::EndAnnounced } else { After::Kept }))
            }
            _ => Err(io::Error::other(format!("not the answer to {id}: {}", quoted(&body)))),
        }
    }

    /// Status, length of the body, and whether the connection ends after it.
    fn head(&mut self) -> io::Result<(u16, usize, bool)> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).map_err(|e| told("reading the answer", &e))?;
            match (read, line.trim_end()) {
                (0, _) if lines.is_empty() => return Err(io::Error::other("it was closed without an answer")),
                (0, _) => return Err(io::Error::other(format!("cut off in the head: {lines:?}"))),
                (_, "") => break,
                (_, line) => lines.push(line.to_ascii_lowercase()),
            }
        }
        let status = lines[0].split(' ').nth(1).and_then(|status| status.parse().ok());
        let header = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name).map(str::trim));
        let length = header("content-length:").and_then(|length| length.parse().ok());
        match (status, length) {
            (Some(status), Some(length)) => Ok((status, length, header("connection:") == Some("close"))),
            _ => Err(io::Error::other(format!("no status or no length in {lines:?}"))),
        }
    }
}

fn told(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn quoted(text: &str) -> String {
    text.chars().take(QUOTED).collect()
}
