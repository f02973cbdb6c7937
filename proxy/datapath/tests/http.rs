//! HTTP listeners: request boundaries are followed, so that a client's connection outlives a switch, and what
//! cannot be answered is refused in HTTP.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Checksum, Options, PATIENCE, Refusing, Rig, Server, assert_reset, reset, until};
use hotspare_datapath::{CloseReason, Drain, Limits, Protocol, Route, SignalKind, Timeouts};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const AFTER: Drain = Drain::After { grace: Duration::from_secs(10), spread: Duration::ZERO };

fn rig() -> Rig {
    rig_with(Options::default())
}

fn rig_with(options: Options) -> Rig {
    Rig::with(Options { protocol: Protocol::Http, ..options })
}

/// A message as read from the wire.
#[derive(Debug, Clone)]
struct Message {
    start: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Message {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
    fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

/// Reads one message; none at the end of the connection.
fn read_message(from: &mut impl BufRead, bodyless: bool) -> std::io::Result<Option<Message>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let start = lines.remove(0);
    let headers: Vec<_> =
        lines.iter().map(|l| l.split_once(": ").unwrap()).map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
    let mut message = Message { start, headers, body: Vec::new() };
    if bodyless {
        return Ok(Some(message));
    }
    if let Some(length) = message.header("content-length") {
        message.body = vec![0; length.parse().unwrap()];
        from.read_exact(&mut message.body)?;
    } else if message.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim_end(), 16).unwrap();
            let mut chunk = vec![0; size + 2];
            from.read_exact(&mut chunk)?;
            if size == 0 {
                break;
            }
            message.body.extend_from_slice(&chunk[..size]);
        }
    }
    Ok(Some(message))
}

/// A member that answers each request as `answer` says; it closes when that says false.
fn member(answer: impl Fn(&Message, &mut TcpStream) -> bool + Send + Sync + 'static) -> Server {
    Server::new(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Ok(Some(request)) = read_message(&mut reader, false) {
            if !answer(&request, &mut stream) {
                return;
            }
        }
    })
}

/// A member that answers with its name and the request's body.
fn named(name: &'static str) -> Server {
    member(move |request, stream| respond(stream, &format!("{name} {}", String::from_utf8_lossy(&request.body))))
}

fn respond(stream: &mut TcpStream, body: &str) -> bool {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).is_ok()
}

struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Client {
    fn new(rig: &Rig) -> Self {
        let stream = rig.connect();
        Self { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }
    fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }
    fn read(&mut self) -> Message {
        read_message(&mut self.reader, false).unwrap().expect("an answer, not the end")
    }
    fn get(&mut self) -> String {
        self.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        self.read().text()
    }
    fn post(&mut self, body: &str) -> Message {
        self.send(&format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        self.read()
    }
    fn assert_closed(&mut self) {
        assert!(read_message(&mut self.reader, false).unwrap().is_none());
    }
}

/// A member that reports each request and answers when told to.
fn held_member(name: &'static str) -> (Server, Receiver<Message>, Sender<()>) {
    let (requests, seen) = channel();
    let (go, wait) = channel();
    let wait = Mutex::new(wait);
    let server = member(move |request, stream| {
        let _ = requests.send(request.clone());
        wait.lock().unwrap().recv().is_ok() && respond(stream, name)
    });
    (server, seen, go)
}

#[test]
fn one_connection_carries_many_requests_through_many_switches() {
    let (rig, a, b) = (rig(), named("a"), named("b"));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    for epoch in 2..60 {
        let expected = if epoch % 2 == 0 { "a x" } else { "b x" };
        assert_eq!(client.post("x").text(), expected, "epoch {epoch}");
        let (number, server) = if epoch % 2 == 0 { (1, &b) } else { (0, &a) };
        let drain = if epoch % 3 == 0 { Drain::Now } else { AFTER };
        let version = rig.to(epoch, number, server.addr, drain);
        until("clear", || rig.data.is_clear(common::INSTANCE, version).unwrap(), || format!("{:#?}", rig.counters()));
    }
    let counters = rig.counters();
    assert_eq!((counters.accepted, counters.requests, counters.active), (1, 58, 1));
}

#[test]
fn a_request_in_flight_ends_on_the_old_member_and_the_next_goes_to_the_new() {
    let (rig, b) = (rig(), named("b"));
    let (a, seen, go) = held_member("a");
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    client.send("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    seen.recv_timeout(PATIENCE).unwrap();
    let version = rig.set(Route::Park, AFTER);
    let mut waiting = Client::new(&rig);
    waiting.send("GET / HTTP/1.1\r\n\r\n");
    rig.until("the one in between waits", |c| c.parked == 1);
    assert!(!rig.data.is_clear(common::INSTANCE, version).unwrap());
    go.send(()).unwrap();
    assert_eq!(client.read().text(), "a");
    until("clear", || rig.data.is_clear(common::INSTANCE, version).unwrap(), || format!("{:#?}", rig.counters()));
    rig.to(2, 1, b.addr, Drain::Now);
    assert_eq!(waiting.read().text(), "b ");
    assert_eq!(client.get(), "b ");
    assert_eq!(rig.counters().closed, [0; CloseReason::ALL.len()]);
}

#[test]
fn a_repeatable_request_without_answer_goes_to_the_new_member_and_others_get_502() {
    let (rig, b) = (rig(), named("b"));
    let (a, seen, _go) = held_member("a");
    rig.to(1, 0, a.addr, Drain::Now);
    let (mut get, mut post) = (Client::new(&rig), Client::new(&rig));
    get.send("GET / HTTP/1.1\r\n\r\n");
    post.send("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    seen.recv_timeout(PATIENCE).unwrap();
    seen.recv_timeout(PATIENCE).unwrap();
    rig.to(2, 1, b.addr, Drain::Now);
    assert_eq!(get.read().text(), "b ");
    assert_eq!(get.get(), "b ", "the connection goes on");
    let refused = post.read();
    assert_eq!((refused.status(), refused.header("retry-after")), (502, Some("1")));
    post.assert_closed();
    drop(post);
    rig.until("its end is counted", |c| c.closed_for(CloseReason::EpochRevoked) == 1);
    let counters = rig.counters();
    assert_eq!((counters.resent, counters.errors), (1, 1));
}

#[test]
fn a_request_that_kills_two_members_is_not_sent_to_a_third() {
    let killed = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&killed);
    let rig = rig();
    let server = Server::new(move |mut stream| {
        let _ = stream.read(&mut [0; 1000]);
        count.fetch_add(1, Ordering::SeqCst);
        reset(stream);
    });
    rig.to(1, 0, server.addr, Drain::Now);
    let mut client = Client::new(&rig);
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.read().status(), 502);
    assert_eq!(killed.load(Ordering::SeqCst), 2, "sent once, repeated once");
    assert!(rig.signals.lock().unwrap().iter().any(|s| s.kind == SignalKind::ResetBeforeFirstByte));
}

#[test]
fn a_refused_request_of_any_kind_waits_for_the_next_member() {
    let (rig, dead, b) = (rig(), Refusing::new(), named("b"));
    rig.to(1, 0, dead.addr, Drain::Now);
    let (mut get, mut post) = (Client::new(&rig), Client::new(&rig));
    get.send("GET / HTTP/1.1\r\n\r\n");
    post.send("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    rig.until("both wait", |c| c.connect_failed > 0 && c.parked + c.to_member[0] == 2);
    rig.to(2, 1, b.addr, Drain::Now);
    assert_eq!(get.read().text(), "b ");
    assert_eq!(post.read().text(), "b x");
}

#[test]
fn a_member_that_closes_between_two_requests_is_no_concern_of_the_client() {
    let rig = rig();
    let a = member(|_, stream| {
        respond(stream, "a");
        false
    });
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    for _ in 0..20 {
        assert_eq!(client.get(), "a");
    }
    assert_eq!(rig.counters().accepted, 1);
}

#[test]
fn ambiguous_requests_get_400_and_no_member_sees_them() {
    let (rig, seen) = (rig(), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&seen);
    let a = member(move |_, stream| {
        count.fetch_add(1, Ordering::SeqCst);
        respond(stream, "a")
    });
    rig.to(1, 0, a.addr, Drain::Now);
    let cases = [
        ("POST / HTTP/1.1\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nG", 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400),
        ("GET / HTTP/1.1\r\nX: a\r\n b: c\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: x\n\n", 400),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("GET / HTTP/9.9\r\n\r\n", 505),
        ("CONNECT x:1 HTTP/1.1\r\n\r\n", 501),
    ];
    for (text, status) in cases {
        let mut client = Client::new(&rig);
        client.send(text);
        assert_eq!(client.read().status(), status, "{text:?}");
        client.assert_closed();
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    rig.until("all are closed", |c| c.closed_for(CloseReason::BadProtocol) == cases.len() as u64);
    let mut client = Client::new(&rig);
    client.send("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n");
    assert_eq!((client.read().status(), client.read().status()), (200, 400), "the good one before it is answered");
    client.assert_closed();
}

#[test]
fn a_bad_chunk_after_the_request_was_sent_on_ends_both_sides() {
    let (rig, a) = (rig(), named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    client.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    rig.until("it is under way", |c| c.bytes_up > 0);
    client.send("nonsense\r\n");
    assert_eq!(client.read().status(), 400);
    client.assert_closed();
    rig.until_idle();
}

#[test]
fn requests_sent_at_once_are_answered_one_by_one() {
    let (rig, a) = (rig(), named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    let all: String = (0..50).map(|n| format!("POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{n:02}")).collect();
    for (at, byte) in all.bytes().enumerate() {
        // Cut in many places.
        client.stream.write_all(&[byte]).unwrap();
        if at % 700 == 0 {
            std::thread::yield_now();
        }
    }
    for n in 0..50 {
        assert_eq!(client.read().text(), format!("a {n:02}"));
    }
}

#[test]
fn bodies_of_every_kind_pass_unchanged() {
    let (rig, a) = (rig(), member(echo));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut random = common::Bytes::new(9);
    for size in [0, 1, 30_000, 65_536, 3 << 20, 20 << 20] {
        let mut body = vec![0; size];
        random.fill(&mut body);
        let mut client = Client::new(&rig);
        for (kind, chunked) in [("/length", true), ("/chunked", false), ("/length", false), ("/chunked", true)] {
            let mut stream = client.stream.try_clone().unwrap();
            let answer = std::thread::scope(|scope| {
                scope.spawn(|| send_body(&mut stream, kind, &body, chunked));
                client.read()
            });
            assert!(answer.body == body, "{kind} chunked: {chunked} size: {size}");
        }
        let mut stream = client.stream.try_clone().unwrap();
        let mut all = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| send_body(&mut stream, "/close", &body, false));
            client.reader.read_to_end(&mut all).unwrap();
        });
        assert!(all.ends_with(&body), "size: {size}");
        assert_eq!(all.len(), size + "HTTP/1.1 200 OK\r\n\r\n".len());
    }
    assert!(rig.counters().splices > 0, "large bodies of known length are spliced: {:#?}", rig.counters());
}

/// As `random_chunks_and_pauses_go_back_and_forth_between_copy_and_splice` for plain TCP.
#[test]
fn random_bodies_in_random_pieces_pass_unchanged() {
    let (rig, a) = (rig(), member(echo));
    rig.to(1, 0, a.addr, Drain::Now);
    std::thread::scope(|scope| {
        for seed in 1..5 {
            let rig = &rig;
            scope.spawn(move || {
                let mut random = common::Bytes::new(seed);
                let mut client = Client::new(rig);
                for round in 0..12 {
                    let most = [1, 1000, 70_000, 2 << 20][random.next() as usize % 4];
                    let mut body = vec![0; random.next() as usize % (most + 1)];
                    random.fill(&mut body);
                    let (kind, chunked) = (["/length", "/chunked"][round % 2], random.next().is_multiple_of(2));
                    let mut wire = Vec::new();
                    write_body(&mut wire, kind, &body, chunked).unwrap();
                    let mut stream = client.stream.try_clone().unwrap();
                    let answer = std::thread::scope(|scope| {
                        scope.spawn(|| {
                            let mut rest = &wire[..];
                            while !rest.is_empty() {
                                let size = [1, 17, 1000, 20_000, 65_536, 300_000][random.next() as usize % 6];
                                let (piece, left) = rest.split_at(size.min(rest.len()));
                                stream.write_all(piece).unwrap();
                                rest = left;
                                if random.next().is_multiple_of(50) {
                                    std::thread::sleep(Duration::from_millis(1));
                                }
                            }
                        });
                        client.read()
                    });
                    assert!(answer.body == body, "seed {seed} round {round}: {kind} chunked: {chunked} {}", body.len());
                }
            });
        }
    });
    let counters = rig.counters();
    assert_eq!((counters.requests, counters.errors, counters.resent), (48, 0, 0), "{counters:#?}");
}

/// Answers with the request's body, of the kind that the path names.
fn echo(request: &Message, stream: &mut TcpStream) -> bool {
    let kind = request.start.split(' ').nth(1).unwrap();
    let body = &request.body;
    let sent = match kind {
        "/length" => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len())
            .and_then(|()| stream.write_all(body)),
        "/chunked" => (|| {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for chunk in body.chunks(77_777) {
                write!(stream, "{:x}\r\n", chunk.len())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")
        })(),
        _ => write!(stream, "HTTP/1.1 200 OK\r\n\r\n").and_then(|()| stream.write_all(body)),
    };
    sent.is_ok() && kind != "/close"
}

fn send_body(stream: &mut TcpStream, kind: &str, body: &[u8], chunked: bool) {
    write_body(stream, kind, body, chunked).unwrap();
}

fn write_body(stream: &mut impl Write, kind: &str, body: &[u8], chunked: bool) -> std::io::Result<()> {
    if !chunked {
        write!(stream, "PUT {kind} HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len())?;
        return stream.write_all(body);
    }
    write!(stream, "PUT {kind} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")?;
    for chunk in body.chunks(50_000) {
        write!(stream, "{:X}\r\n", chunk.len())?;
        stream.write_all(chunk)?;
        stream.write_all(b"\r\n")?;
    }
    stream.write_all(b"0\r\n\r\n")
}

#[test]
fn answers_without_body_and_interim_answers_are_followed() {
    let (rig, a) = (
        rig(),
        member(|request, stream| {
            let (method, target) = request.start.split_once(' ').unwrap();
            match (method, target.split(' ').next().unwrap()) {
                ("HEAD", _) => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").is_ok(),
                (_, "/304") => stream.write_all(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n").is_ok(),
                (_, "/204") => stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_ok(),
                (_, "/103") => {
                    stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Conti").unwrap();
                    std::thread::yield_now();
                    stream.write_all(b"nue\r\n\r\n").unwrap();
                    respond(stream, "final")
                }
                _ => respond(stream, "plain"),
            }
        }),
    );
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    for (request, status) in [("HEAD /", 200), ("GET /304", 304), ("GET /204", 204)] {
        client.send(&format!("{request} HTTP/1.1\r\n\r\n"));
        assert_eq!(read_message(&mut client.reader, true).unwrap().unwrap().status(), status);
    }
    client.send("GET /103 HTTP/1.1\r\n\r\n");
    assert_eq!((client.read().status(), client.read().status(), client.read().text().as_str()), (103, 100, "final"));
    assert_eq!(client.get(), "plain");
    assert_eq!(rig.counters().accepted, 1);
}

#[test]
fn a_client_that_expects_100_gets_it_before_it_sends_its_body() {
    let rig = rig();
    let a = Server::new(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        read_message(&mut reader, true).unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 5];
        reader.read_exact(&mut body).unwrap();
        respond(&mut stream, std::str::from_utf8(&body).unwrap());
    });
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    client.send("POST / HTTP/1.1\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.read().status(), 100);
    client.send("hello");
    assert_eq!(client.read().text(), "hello");
}

#[test]
fn an_answer_that_comes_before_the_whole_request_is_delivered() {
    let rig = rig();
    let a = Server::new(|mut stream| {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        read_message(&mut reader, true).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n");
    });
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    client.send("POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nfirst part");
    assert_eq!(client.read().status(), 413);
    let _ = client.stream.write_all(&[0; 1000]);
    client.assert_closed();
    drop(client);
    rig.until_idle();
}

#[test]
fn an_upgraded_connection_is_bytes_and_ends_with_its_epoch() {
    let (rig, b) = (rig(), named("b"));
    let a = member(|request, stream| {
        assert_eq!(request.header("upgrade"), Some("websocket"));
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhello").unwrap();
        let mut buffer = [0; 1000];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..read]).unwrap();
        }
        false
    });
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    client.send("GET /comms HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(read_message(&mut client.reader, true).unwrap().unwrap().status(), 101);
    let mut seen = [0; 5];
    client.reader.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"hello");
    // No request line, no framing, and sometimes the same buffer as the member's BufReader.
    client.send("\0\n\rGET");
    let mut seen = [0; 6];
    client.reader.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"\0\n\rGET");
    rig.to(2, 1, b.addr, Drain::Now);
    assert_reset(&mut client.stream);
}

#[test]
fn whoever_waits_too_long_or_finds_no_room_gets_503() {
    let limits = Limits { max_parked: 1, park_timeout: Duration::from_millis(200), ..Limits::default() };
    let rig = rig_with(Options { limits, ..Options::default() });
    let mut first = Client::new(&rig);
    first.send("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    rig.until("one waits", |c| c.parked == 1);
    let mut second = Client::new(&rig);
    second.send("HEAD / HTTP/1.1\r\n\r\n");
    let refused = read_message(&mut second.reader, true).unwrap().unwrap();
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("1")));
    second.assert_closed();
    assert_eq!(first.read().status(), 503);
    first.assert_closed();
    rig.until("both reasons are counted", |c| {
        c.closed_for(CloseReason::ParkFull) == 1 && c.closed_for(CloseReason::ParkTimeout) == 1
    });
}

#[test]
fn a_silent_client_costs_no_place_and_no_member() {
    let (rig, a) = (rig(), named("a"));
    let clients: Vec<_> = (0..50).map(|_| Client::new(&rig)).collect();
    rig.until("they are there", |c| c.active == 50);
    rig.to(1, 0, a.addr, Drain::Now);
    assert_eq!((rig.counters().parked_ever, rig.counters().to_member), (0, [0, 0]));
    drop(clients);
    rig.until_idle();
    assert_eq!(rig.closed_for(CloseReason::ClientClosed), 50);
}

#[test]
fn a_head_must_come_in_its_time_and_size() {
    let timeouts = Timeouts { head: Duration::from_millis(200), ..Timeouts::default() };
    let (rig, a) = (rig_with(Options { timeouts, ..Options::default() }), named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    for served_before in [false, true] {
        let mut client = Client::new(&rig);
        if served_before {
            assert_eq!(client.get(), "a ");
        }
        client.send("GET / HTTP/1.1\r\nX: ");
        assert_eq!(client.read().status(), 408);
        client.assert_closed();
    }
    rig.until("both reasons", |c| c.closed_for(CloseReason::HeadTimeout) == 2);
    let mut client = Client::new(&rig);
    client.send("GET / HTTP/1.1\r\n");
    client.send(&"X: 0123456789012345678901234567890123456789\r\n".repeat(800));
    assert_eq!(client.read().status(), 431);
}

#[test]
fn a_cut_answer_is_a_reset_and_a_senseless_one_is_502() {
    let (rig, a) = (
        rig(),
        member(|request, stream| {
            let cut = request.start.contains("/cut");
            let text: &[u8] =
                if cut { b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345" } else { b"what?\r\n\r\n" };
            stream.write_all(text).unwrap();
            false
        }),
    );
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    client.send("GET /cut HTTP/1.1\r\n\r\n");
    assert_reset(&mut client.stream);
    let mut client = Client::new(&rig);
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.read().status(), 502);
    client.assert_closed();
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let (rig, a) = (
        rig(),
        member(|_, stream| {
            let body = vec![b'z'; 8 << 20];
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).unwrap();
            stream.write_all(&body).is_ok()
        }),
    );
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    let mut sum = Checksum::default();
    client.send("GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n");
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut buffer = vec![0; 10_000];
    loop {
        match client.reader.read(&mut buffer).unwrap() {
            0 => break,
            read => sum.add(&buffer[..read]),
        }
        if sum.count % 7 == 0 {
            std::thread::sleep(Duration::from_micros(300));
        }
    }
    assert!(sum.count > 16 << 20, "{} bytes of two answers", sum.count);
}

#[test]
fn keep_alive_clients_feel_nothing_of_twenty_switchovers_under_load() {
    let (rig, a, b) = (rig(), named("a"), named("b"));
    rig.to(1, 0, a.addr, Drain::Now);
    let done = std::sync::atomic::AtomicBool::new(false);
    let answered = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (rig, done, answered) = (&rig, &done, &answered);
            scope.spawn(move || {
                let mut client = Client::new(rig);
                while !done.load(Ordering::SeqCst) {
                    let text = if number % 2 == 0 { client.get() } else { client.post("").text() };
                    assert!(text == "a " || text == "b ", "{text}");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for epoch in 2..22 {
            let version = rig.set(Route::Park, AFTER);
            let clear = || rig.data.is_clear(common::INSTANCE, version).unwrap();
            until("clear", clear, || format!("{:#?}", rig.counters()));
            let before = answered.load(Ordering::SeqCst);
            let (number, server) = if epoch % 2 == 0 { (1, &b) } else { (0, &a) };
            rig.to(epoch, number, server.addr, Drain::Now);
            until("they go on", || answered.load(Ordering::SeqCst) >= before + 20, || format!("{:#?}", rig.counters()));
        }
        done.store(true, Ordering::SeqCst);
    });
    let counters = rig.counters();
    assert_eq!((counters.accepted, counters.errors, counters.resent), (8, 0, 0), "{counters:#?}");
}

#[test]
fn a_drain_does_not_wait_for_connections_that_have_left_http() {
    let rig = rig();
    let a = member(|_, stream| {
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").unwrap();
        let mut buffer = [0; 1000];
        while let Ok(1..) = stream.read(&mut buffer) {}
        false
    });
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    client.send("GET /comms HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(read_message(&mut client.reader, true).unwrap().unwrap().status(), 101);
    client.send("a frame that nobody answers");
    let version = rig.set(Route::Park, AFTER);
    let quiet = || rig.signals.lock().unwrap().iter().any(|s| s.kind == SignalKind::Quiet && s.version == version);
    until("quiet", quiet, || format!("{:?}", rig.signals.lock().unwrap()));
    assert!(!rig.data.is_clear(common::INSTANCE, version).unwrap(), "it is there still");
}

#[test]
fn a_member_that_is_about_to_end_its_connection_gets_the_next_request_on_another() {
    let opened = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&opened);
    let a = Server::new(move |mut stream| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while let Ok(Some(_)) = read_message(&mut reader, false) {
            let answer = format!("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 1\r\n\r\n{number}");
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let rig = rig();
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = Client::new(&rig);
    assert_eq!((client.get(), client.post("").text()), ("1".to_owned(), "1".to_owned()));
    // Half of the time that the member has promised.
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(client.post("").text(), "2");
}
