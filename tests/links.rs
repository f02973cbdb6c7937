//! The link of a launcher, spoken by hand: who may open one, what is refused and with which words, and heartbeats as
//! datagrams.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use hotspare_decide::Epoch;
use hotspare_decide::message::{Down, Heartbeat, Hello, MemberStatus, Up, VERSION};
use hotspare_protocol::{
    DATAGRAMS_HEADER, End, INSTANCE_HEADER, INSTEAD_OF_HEADER, LINK_PATH, MAX_DATAGRAM_BYTES, MEMBER_HEADER, Offer,
    Opener, Sealer, decode_down, encode_up,
};
use hotspare_test_support::pair::{INSTANCE, PATIENCE, Pair, Setup};
use hotspare_test_support::wait::wait_until;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Request;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

const OLD: &str = "the-token-of-member-a-so-far";
const NEW: &str = "the-token-of-member-a-to-come";

/// A proxy whose launchers never come, and who member `a` has two tokens with.
fn proxy(more: &str) -> Pair {
    let config = format!("{}{more}", Setup::default().config);
    let mut pair = Setup { config, ..Setup::default() }.prepare();
    fs::write(pair.folder().join("a/token"), format!("{OLD}\n{NEW}\n")).unwrap();
    pair.start_proxy();
    wait_until(PATIENCE, "the proxy to answer", || pair.status());
    pair
}

fn links(pair: &Pair) -> SocketAddr {
    SocketAddr::new(pair.admin().ip(), 9481)
}

fn request(to: SocketAddr, token: &str) -> Request {
    let mut request = format!("ws://{to}{LINK_PATH}").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert(INSTANCE_HEADER, INSTANCE.parse().unwrap());
    headers.insert(MEMBER_HEADER, "a".parse().unwrap());
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

/// An open link, spoken by hand.
struct Link {
    socket: WebSocket<TcpStream>,
    offer: Option<Offer>,
}

impl Link {
    /// Opens one; the status of the answer if it is refused.
    fn open(request: Request) -> Result<Self, u16> {
        let stream = TcpStream::connect(request.uri().authority().unwrap().as_str()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        match tungstenite::client(request, stream) {
            Ok((socket, answer)) => {
                let offer = answer.headers().get(DATAGRAMS_HEADER).map(|offer| offer.to_str().unwrap());
                Ok(Self { socket, offer: offer.map(|offer| Offer::from_header(offer).unwrap()) })
            }
            Err(HandshakeError::Failure(Error::Http(answer))) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// One that has said hello and was welcomed.
    fn welcomed(pair: &Pair) -> Self {
        let mut link = Self::open(request(links(pair), OLD)).unwrap();
        link.say(&encode_up(&Up::Hello(hello())));
        assert!(matches!(link.hears(), Down::Welcome(_)));
        link
    }

    fn say(&mut self, text: &str) {
        self.socket.send(Message::text(text)).unwrap();
    }

    fn hears(&mut self) -> Down {
        loop {
            if let Message::Text(text) = self.socket.read().unwrap() {
                return decode_down(&text).unwrap();
            }
        }
    }

    /// The reason it is closed for, once it is.
    fn refused(&mut self) -> String {
        loop {
            if let Down::Refused { reason } = self.hears() {
                return reason;
            }
        }
    }

    /// Waits until it is closed; the reason, if that arrives.
    fn farewell(&mut self) -> Option<String> {
        let mut reason = None;
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    if let Down::Refused { reason: why } = decode_down(&text).unwrap() {
                        reason = Some(why);
                    }
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => panic!("it is still open"),
                Err(_) => return reason,
            }
        }
    }

    fn hears_ack(&mut self) -> u64 {
        match self.hears() {
            Down::Ack { seq, .. } => seq,
            other => panic!("an acknowledgement was expected: {other:?}"),
        }
    }
}

/// A request of the launcher that has this link, for one in its place.
fn instead_of(link: &Link, pair: &Pair) -> Request {
    let mut request = request(links(pair), OLD);
    let offer = link.offer.as_ref().unwrap().to_header();
    request.headers_mut().insert(INSTEAD_OF_HEADER, offer.parse().unwrap());
    request
}

fn hello() -> Hello {
    Hello {
        version: VERSION,
        instance: INSTANCE.to_owned(),
        member: "a".to_owned(),
        session: 7,
        software: "a test".to_owned(),
        node_red: None,
        max_epoch: Epoch::NONE,
    }
}

fn beat(seq: u64) -> String {
    encode_up(&Up::Heartbeat(Heartbeat { seq, echo: None, status: MemberStatus::default() }))
}

#[test]
fn both_tokens_are_good_while_one_takes_the_place_of_the_other_and_nobody_elses_is() {
    let pair = proxy("");
    for token in [OLD, NEW] {
        // The one before is closed when it is dropped; its place is free once the proxy has seen that.
        wait_until(PATIENCE, "a link", || Link::open(request(links(&pair), token)).map(drop));
    }
    assert_eq!(Link::open(request(links(&pair), "token-of-member-b-line-1")).err(), Some(401), "the other member's");
    let mut without = request(links(&pair), OLD);
    without.headers_mut().remove("authorization");
    assert_eq!(Link::open(without).err(), Some(401));
}

#[test]
fn a_second_launcher_of_one_member_is_refused_and_reported_and_the_first_goes_on() {
    let pair = proxy("");
    let mut first = Link::welcomed(&pair);
    assert_eq!(Link::open(request(links(&pair), NEW)).err(), Some(409));
    wait_until(PATIENCE, "an alarm", || {
        let events = pair.get("/v1/events").send().map_err(|error| error.to_string())?.json();
        let told =
            |event: &Value| event["level"] == "alarm" && event["text"].as_str().unwrap().contains("second launcher");
        if events.as_array().unwrap().iter().any(told) { Ok(()) } else { Err(events.to_string()) }
    });
    first.say(&beat(1));
    assert_eq!(first.hears_ack(), 1);
}

#[test]
fn a_launcher_may_put_a_new_link_in_the_place_of_its_own_which_ends_with_the_first_word_of_the_new() {
    let pair = proxy("");
    let mut first = Link::welcomed(&pair);
    let mut second = Link::open(instead_of(&first, &pair)).unwrap();
    first.say(&beat(1));
    assert_eq!(first.hears_ack(), 1, "it goes on until the other speaks");
    // Hello as datagram is as good: the websocket may be stuck.
    let mut beside = Beside::of(&second, links(&pair));
    let greeting = beside.sealer.seal(&encode_up(&Up::Hello(hello()))).unwrap();
    beside.socket.send(&greeting).unwrap();
    assert!(matches!(second.hears(), Down::Welcome(_)));
    assert!(first.refused().contains("opened another"));
    let heartbeat = beside.seal(2);
    beside.socket.send(&heartbeat).unwrap();
    assert!(matches!(beside.hears(), Down::Ack { seq: 2, .. }));
    second.say(&encode_up(&Up::Hello(hello())));
    assert_eq!(second.hears_ack(), 2, "hello counts once too");
    assert_eq!(Link::open(request(links(&pair), OLD)).err(), Some(409), "the place is taken");
    wait_until(PATIENCE, "what is no more to be good for nothing", || match Link::open(instead_of(&first, &pair)) {
        Err(409) => Ok(()),
        other => Err(format!("{:?}", other.err())),
    });
}

#[test]
fn whoever_is_refused_gives_its_place_to_another() {
    let pair = proxy("");
    for (listener, path) in [(links(&pair), LINK_PATH), (pair.admin(), "/metrics")] {
        let mut stream = TcpStream::connect(listener).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer of-nobody\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("connection: close\r\n"), "{path}: {answer}");
    }
}

#[test]
fn a_page_in_a_browser_opens_no_link_whatever_it_knows() {
    let pair = proxy("");
    for origin in ["http://node-red.example", "null", &format!("http://{}", links(&pair))] {
        let mut asked = request(links(&pair), OLD);
        asked.headers_mut().insert("origin", origin.parse().unwrap());
        assert_eq!(Link::open(asked).err(), Some(403), "{origin}");
    }
    Link::welcomed(&pair);
}

#[test]
fn what_is_not_known_yet_is_ignored_but_for_another_version_which_is_refused() {
    let pair = proxy("");
    let mut newer = Link::open(request(links(&pair), OLD)).unwrap();
    newer.say(&encode_up(&Up::Hello(Hello { version: VERSION + 1, ..hello() })));
    let reason = newer.refused();
    assert!(reason.contains(&format!("version {VERSION}")) && reason.contains("install one release"), "{reason}");
    drop(newer);

    let with = |text: String| {
        let mut message: Value = serde_json::from_str(&text).unwrap();
        message["of_a_later_release"] = json!({"a": [1]});
        message.to_string()
    };
    let mut link = wait_until(PATIENCE, "a link", || Link::open(request(links(&pair), OLD)));
    link.say(&with(encode_up(&Up::Hello(hello()))));
    assert!(matches!(link.hears(), Down::Welcome(_)));
    link.say(&with(beat(1)));
    assert_eq!(link.hears_ack(), 1);
    link.say(r#"{"type":"of_a_later_release"}"#);
    let reason = link.refused();
    assert!(reason.contains("not a message"), "{reason}");
}

#[test]
fn a_launcher_that_talks_without_end_is_cut_off() {
    let pair = proxy("");
    let mut link = Link::welcomed(&pair);
    let reading = link.socket.get_ref().try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        let mut socket = WebSocket::from_raw_socket(reading, tungstenite::protocol::Role::Client, None);
        std::iter::repeat(()).take_while(|()| socket.send(Message::Ping("".into())).is_ok()).count()
    });
    // What it was told may be lost in a reset: it had said more than was read.
    if let Some(reason) = link.farewell() {
        assert!(reason.contains("more than 1000 messages a second"), "{reason}");
    }
    drop(link);
    wait_until(PATIENCE, "a new link", || Link::open(request(links(&pair), OLD)).map(drop));
    let said = flood.join().unwrap();
    assert!(said >= 1000, "cut off after {said} messages");
}

/// The datagrams of a link.
struct Beside {
    socket: UdpSocket,
    sealer: Sealer,
    opener: Opener,
}

impl Beside {
    fn of(link: &Link, to: SocketAddr) -> Self {
        let (sealer, opener) = link.offer.as_ref().expect("datagrams are offered").at(End::Launcher);
        let socket = UdpSocket::bind((to.ip(), 0)).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, sealer, opener }
    }

    fn seal(&mut self, seq: u64) -> Vec<u8> {
        self.sealer.seal(&beat(seq)).unwrap()
    }

    fn hears(&mut self) -> Down {
        let mut buffer = [0; MAX_DATAGRAM_BYTES];
        let bytes = self.socket.recv(&mut buffer).unwrap();
        decode_down(self.opener.open(&mut buffer[..bytes]).expect("sealed by the proxy")).unwrap()
    }
}

#[test]
fn a_heartbeat_counts_once_whether_it_comes_as_datagram_or_not_and_a_forged_one_never() {
    let pair = proxy("");
    let mut link = Link::welcomed(&pair);
    let mut beside = Beside::of(&link, links(&pair));
    link.say(&beat(1));
    assert_eq!(link.hears_ack(), 1);

    let second = beside.seal(2);
    let mut forged = beside.seal(9);
    *forged.last_mut().unwrap() ^= 1;
    for datagram in [&forged, &second, &second] {
        beside.socket.send(datagram).unwrap();
    }
    assert!(matches!(beside.hears(), Down::Ack { seq: 2, .. }), "by the way it came");
    assert_eq!(link.hears_ack(), 2, "and by the other");
    link.say(&beat(2));
    link.say(&beat(3));
    assert_eq!(link.hears_ack(), 3, "neither the second of a kind nor the forged one was answered");

    // What overtakes makes void what it overtook.
    let fifth = beside.seal(5);
    beside.socket.send(&fifth).unwrap();
    assert!(matches!(beside.hears(), Down::Ack { seq: 5, .. }));
    assert_eq!(link.hears_ack(), 5);
    link.say(&beat(4));
    link.say(&beat(6));
    assert_eq!(link.hears_ack(), 6);
    drop(link);
    wait_until(PATIENCE, "the link to be closed", || {
        let member = pair.member_status("a")?;
        if member["link"] == "down" { Ok(()) } else { Err(member.to_string()) }
    });
    let late = beside.seal(7);
    beside.socket.send(&late).unwrap();
    beside.socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(beside.socket.recv(&mut [0; 8]).is_err(), "a datagram of a link that is closed was answered");
}
