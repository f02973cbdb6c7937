//! The sink: takes what flows send by UDP, HTTP and MQTT, and writes down when it came.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;

use super::record::{Entry, History, Nanos, Record, now};

/// Entries kept. At 20 ticks a second from three flows that is more than four hours.
const MOST_ENTRIES: usize = 1_000_000;
/// How often a receiving thread looks whether the sink is gone.
const LOOK_EVERY: Duration = Duration::from_millis(200);

type Entries = Arc<Mutex<Vec<Entry>>>;

/// A running sink. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Sink {
    /// Where it takes UDP messages.
    pub udp: SocketAddr,
    /// Where it takes HTTP POSTs.
    pub http: SocketAddr,
    entries: Entries,
    gone: Arc<AtomicBool>,
    subscribers: Vec<Child>,
}

impl Sink {
    /// Listens on free ports of `ip`.
    ///
    /// # Panics
    /// If nothing can be bound there.
    pub fn start(ip: IpAddr) -> Self {
        let entries = Entries::default();
        let gone = Arc::new(AtomicBool::new(false));
        let udp = UdpSocket::bind((ip, 0)).expect("bind the witness's UDP socket");
        let http = TcpListener::bind((ip, 0)).expect("bind the witness's HTTP socket");
        let sink = Sink {
            udp: udp.local_addr().expect("its address"),
            http: http.local_addr().expect("its address"),
            entries: Arc::clone(&entries),
            gone: Arc::clone(&gone),
            subscribers: Vec::new(),
        };
        udp.set_read_timeout(Some(LOOK_EVERY)).expect("set a timeout");
        let (udp_entries, udp_gone) = (Arc::clone(&entries), Arc::clone(&gone));
        std::thread::spawn(move || {
            let mut message = [0; 2048];
            while !udp_gone.load(Ordering::Relaxed) {
                if let Ok(length) = udp.recv(&mut message) {
                    record(&udp_entries, &message[..length], now());
                }
            }
        });
        std::thread::spawn(move || {
            for stream in http.incoming().map_while(Result::ok) {
                if gone.load(Ordering::Relaxed) {
                    return;
                }
                let entries = Arc::clone(&entries);
                std::thread::spawn(move || answer(stream, &entries));
            }
        });
        sink
    }

    /// Also takes what is published to `witness` at this broker.
    ///
    /// # Panics
    /// If mosquitto_sub isn't installed.
    pub fn subscribe(&mut self, broker: SocketAddr) {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", &broker.ip().to_string(), "-p", &broker.port().to_string(), "-t", "witness"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("mosquitto_sub (Debian: mosquitto-clients)");
        let output = child.stdout.take().expect("its output was piped");
        self.subscribers.push(child);
        let entries = Arc::clone(&self.entries);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                record(&entries, line.as_bytes(), now());
            }
        });
    }

    /// Notes that from now on `member` must not act under `up_to_epoch` or below.
    pub fn must_be_silent(&self, member: &str, up_to_epoch: u64, why: &str) {
        let entry = Entry::MustBeSilent { at: now(), silent: member.to_owned(), up_to_epoch, why: why.to_owned() };
        push(&self.entries, entry);
    }

    /// What was seen until now.
    pub fn history(&self) -> History {
        History { entries: self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }

    /// The last act of a member, if it has acted.
    pub fn last_act(&self, member: &str) -> Option<Record> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().rev().find_map(|entry| match entry {
            Entry::Act(record) if record.member == member => Some(record.clone()),
            _ => None,
        })
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
        // Wakes the accepting thread, so that it sees that the sink is gone.
        let _ = TcpStream::connect_timeout(&self.http, LOOK_EVERY);
        for child in &mut self.subscribers {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Takes one POST and says 204 after it was written down.
fn answer(stream: TcpStream, entries: &Entries) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let Ok(mut writer) = stream.try_clone() else { return };
    // A sender that was killed or frozen in the middle of its request has not delivered anything.
    if let Some(body) = read_body(BufReader::new(stream).take(16 << 10)) {
        record(entries, &body, now());
        let _ = writer.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    }
}

/// The body of a request that came whole.
fn read_body(mut reader: impl BufRead) -> Option<Vec<u8>> {
    let mut length = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if !line.ends_with('\n') {
            return None;
        }
        match line.split_once(':') {
            Some((key, value)) if key.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok(),
            None if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length.filter(|length| *length <= 4096)?];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

/// Writes down one message. One that isn't of the witness's flows is written down as an act of nobody, so that it
/// can't go unnoticed.
fn record(entries: &Entries, message: &[u8], at: Nanos) {
    let act: Value = serde_json::from_slice(message).unwrap_or_default();
    let text = |key: &str| act[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| act[key].as_f64().map(|number| number as u64);
    push(
        entries,
        Entry::Act(Record {
            at,
            sent: number("sent"),
            member: text("member"),
            epoch: number("epoch").unwrap_or(0),
            kind: text("kind"),
            seq: number("seq").unwrap_or(0),
        }),
    );
}

fn push(entries: &Entries, entry: Entry) {
    let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(entries.len() < MOST_ENTRIES, "the witness has seen {MOST_ENTRIES} entries and takes no more");
    entries.push(entry);
}

#[cfg(test)]
mod tests {
    use super::read_body;

    #[test]
    fn only_a_whole_request_has_a_body() {
        let whole = "POST /tick HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(read_body(whole.as_bytes()).as_deref(), Some(&b"{}"[..]));
        for cut in 0..whole.len() {
            assert_eq!(read_body(&whole.as_bytes()[..cut]), None, "cut off after {cut} bytes");
        }
    }
}
