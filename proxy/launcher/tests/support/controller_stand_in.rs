//! A stand-in for a controller's link listener, for what a real one would not do on request: stop granting, fall
//! silent, refuse. It speaks the real wire; it decides nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use hotspare_decide::message::{Down, Heartbeat, LauncherSettings, Peer, Up, VERSION, Welcome};
use hotspare_decide::{Epoch, OpId};
use hotspare_protocol::{decode_up, encode_down};
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, accept_hdr};

use super::LIMIT;

pub const TOKEN: &str = "token-of-the-member";

#[derive(Default)]
struct State {
    heard: Vec<Up>,
    receipts: Vec<(String, Up)>,
    /// Heartbeats that show this tenure are granted; others are acknowledged.
    grant: Option<Epoch>,
    /// Answers nothing and accepts nobody.
    silent: bool,
    welcome: Option<Welcome>,
    orders: Vec<Down>,
    last_seq: u64,
    next_op: u64,
}

/// The stand-in: answers on loopback until it is dropped.
#[derive(Clone)]
pub struct ControllerStandIn {
    pub port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
    ttl_ms: u64,
}

impl ControllerStandIn {
    pub fn start(settings: LauncherSettings, peer: Option<Peer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        state.0.lock().unwrap().welcome =
            Some(Welcome { version: VERSION, controller: "stand-in".into(), leader: true, settings, peer });
        let ttl_ms = u64::try_from(settings.lease.ttl.as_millis()).unwrap();
        let this = Self { port, state, ttl_ms };
        let serving = this.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let this = serving.clone();
                std::thread::spawn(move || this.serve(stream));
            }
        });
        this
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}", self.port)
    }

    /// Orders a start under `epoch`, grants it from then on, and waits for the answer. Like a real controller it pegs
    /// the first lease to a heartbeat that has just come over the open link.
    pub fn start_flows(&self, epoch: u64) -> Option<hotspare_decide::message::StartFailure> {
        self.hears_beat("a heartbeat to peg a start to", |_| true);
        let op = self.order_start(epoch);
        self.hears("the answer to a start", |up| match up {
            Up::Started { op: o, failure, .. } if *o == op => Some(failure.clone()),
            _ => None,
        })
    }

    /// Orders a start pegged to the last heartbeat heard.
    pub fn order_start(&self, epoch: u64) -> OpId {
        let seq = self.state.0.lock().unwrap().last_seq;
        self.order_start_by(epoch, seq)
    }

    /// Orders a start pegged to this heartbeat, however old it is.
    pub fn order_start_by(&self, epoch: u64, seq: u64) -> OpId {
        let mut state = self.state.0.lock().unwrap();
        state.next_op += 1;
        let op = OpId(state.next_op);
        state.grant = Some(Epoch(epoch));
        state.orders.push(Down::Start { op, epoch: Epoch(epoch), seq, ttl_ms: self.ttl_ms });
        op
    }

    pub fn order(&self, order: impl FnOnce(OpId) -> Down) -> OpId {
        let mut state = self.state.0.lock().unwrap();
        state.next_op += 1;
        let op = OpId(state.next_op);
        state.orders.push(order(op));
        op
    }

    /// From now on no heartbeat is granted.
    pub fn stop_granting(&self) {
        self.state.0.lock().unwrap().grant = None;
    }

    /// From now on, until told otherwise, as if the machine were cut off.
    pub fn be_silent(&self, silent: bool) {
        self.state.0.lock().unwrap().silent = silent;
    }

    pub fn tell_peer(&self, peer: Peer) {
        let mut state = self.state.0.lock().unwrap();
        if let Some(welcome) = &mut state.welcome {
            welcome.peer = Some(peer);
            let again = Down::Welcome(welcome.clone());
            state.orders.push(again);
        }
    }

    /// Waits for a message for which `wanted` gives something, heard before or after now.
    pub fn hears<T>(&self, what: &str, wanted: impl Fn(&Up) -> Option<T>) -> T {
        self.waits(what, |state| state.heard.iter().find_map(&wanted))
    }

    /// Waits for a heartbeat that comes after now.
    pub fn hears_beat(&self, what: &str, wanted: impl Fn(&Heartbeat) -> bool) -> Heartbeat {
        let after = self.state.0.lock().unwrap().last_seq;
        self.hears(what, |up| match up {
            Up::Heartbeat(beat) if beat.seq > after && wanted(beat) => Some(beat.clone()),
            _ => None,
        })
    }

    /// Waits for an exit receipt of an undertaker; gives the head of its request too.
    pub fn gets_receipt(&self) -> (String, Up) {
        self.waits("an undertaker's receipt", |state| state.receipts.first().cloned())
    }

    /// Forgets what was heard.
    pub fn forget(&self) {
        self.state.0.lock().unwrap().heard.clear();
    }

    /// The least that any heartbeat heard said was left of its lease, in milliseconds.
    pub fn lowest_lease_left(&self) -> u64 {
        let state = self.state.0.lock().unwrap();
        let left = state.heard.iter().filter_map(|up| match up {
            Up::Heartbeat(beat) => beat.status.lease_left_ms,
            _ => None,
        });
        left.min().expect("heartbeats of an active")
    }

    /// Waits until undertakers have handed in so many receipts.
    pub fn gets_receipts(&self, count: usize) {
        self.waits("undertakers' receipts", |state| (state.receipts.len() >= count).then_some(()));
    }

    fn waits<T>(&self, what: &str, wanted: impl Fn(&State) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        let mut state = self.state.0.lock().unwrap();
        loop {
            if let Some(found) = wanted(&state) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: not within {LIMIT:?}; heard last: {:?}", state.heard.last());
            state = self.state.1.wait_timeout(state, left).unwrap().0;
        }
    }

    fn serve(&self, stream: TcpStream) {
        let mut first = [0; 4];
        if self.state.0.lock().unwrap().silent || stream.peek(&mut first).is_err() {
            return;
        }
        if &first == b"POST" {
            return self.take_receipt(stream);
        }
        #[allow(clippy::result_large_err)] // the library's type
        let check = |request: &Request, response: Response| {
            assert_eq!(request.uri().path(), hotspare_protocol::LINK_PATH);
            let bearer = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
            assert_eq!(bearer.as_deref(), Some(format!("Bearer {TOKEN}").as_str()));
            Ok(response)
        };
        let Ok(mut link) = accept_hdr(stream, check) else { return };
        link.get_ref().set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let _ = self.carry(&mut link);
    }

    fn carry(&self, link: &mut WebSocket<TcpStream>) -> Result<(), Error> {
        let welcome = self.state.0.lock().unwrap().welcome.clone();
        link.send(Message::text(encode_down(&Down::Welcome(welcome.unwrap()))))?;
        loop {
            let frame = match link.read() {
                Ok(Message::Text(text)) => Some(text),
                Ok(_) => None,
                Err(Error::Io(error)) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
                Err(error) => return Err(error),
            };
            let mut state = self.state.0.lock().unwrap();
            if state.silent {
                continue;
            }
            let mut answers = std::mem::take(&mut state.orders);
            if let Some(text) = frame {
                let up = decode_up(&text).unwrap();
                if let Up::Heartbeat(beat) = &up {
                    state.last_seq = beat.seq;
                    answers.push(match (state.grant, beat.status.tenure) {
                        (Some(epoch), Some(tenure)) if epoch == tenure => {
                            Down::Grant { seq: beat.seq, epoch, ttl_ms: self.ttl_ms }
                        }
                        _ => Down::Ack { seq: beat.seq, leader: true, left: None },
                    });
                }
                state.heard.push(up);
                self.state.1.notify_all();
            }
            drop(state);
            for answer in answers {
                link.send(Message::text(encode_down(&answer)))?;
            }
        }
    }

    fn take_receipt(&self, mut stream: TcpStream) {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut text = String::new();
        let mut chunk = [0; 4096];
        while !text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.ends_with('}')) {
            match stream.read(&mut chunk) {
                Ok(n) if n > 0 => text += &String::from_utf8_lossy(&chunk[..n]),
                _ => return,
            }
        }
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        self.state.0.lock().unwrap().receipts.push((head.to_owned(), decode_up(body).unwrap()));
        self.state.1.notify_all();
    }
}
