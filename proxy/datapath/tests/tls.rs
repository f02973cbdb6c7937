//! TLS that the data path ends, and TLS that it opens to members: rustls on the other side, plain sockets in between.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use hotspare_datapath::{
    CloseReason, Drain, InstanceId, InstanceSpec, Limits, ListenerId, ListenerSpec, MemberTls, Protocol, Route,
    Timeouts,
};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Client = StreamOwned<ClientConnection, TcpStream>;

/// A certificate for `line-1.example`, as a server's and a client's side.
struct Sides {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

fn sides() -> Sides {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["line-1.example".to_owned()]).unwrap();
    let (cert, key): (CertificateDer<'static>, KeyPair) = (cert.into(), signing_key);
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![cert.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    Sides { server: Arc::new(server), client: Arc::new(client) }
}

fn name() -> ServerName<'static> {
    "line-1.example".try_into().unwrap()
}

/// A data path whose second listener ends TLS.
struct Ending {
    rig: Rig,
    sides: Sides,
    addr: SocketAddr,
}

impl Ending {
    fn new(protocol: Protocol, handshake: Duration) -> Self {
        let limits = Limits { park_timeout: PATIENCE, ..Limits::default() };
        let rig = Rig::with(Options { limits, ..Options::default() });
        let sides = sides();
        let timeouts = Timeouts { handshake, ..Timeouts::default() };
        let tls = Some(Arc::new(sides.server.clone().into()));
        let spec = ListenerSpec { protocol, timeouts, tls, ..listener_spec("127.0.0.1:0") };
        let addr = rig.data.add_listener(spec).unwrap().addr;
        Self { rig, sides, addr }
    }

    fn tcp() -> Self {
        Self::new(Protocol::Tcp, PATIENCE)
    }

    fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    fn connect(&self) -> Client {
        StreamOwned::new(ClientConnection::new(self.sides.client.clone(), name()).unwrap(), self.raw())
    }
}

fn end(client: &mut Client) {
    client.conn.send_close_notify();
    client.flush().unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
}

fn read_to_end(client: &mut Client) -> Vec<u8> {
    let mut all = Vec::new();
    client.read_to_end(&mut all).expect("an end with close_notify");
    all
}

#[test]
fn bytes_go_through_both_ways_and_each_end_is_passed_on() {
    let member = Server::echo();
    let ending = Ending::tcp();
    ending.rig.to(1, 0, member.addr, Drain::Now);
    let mut client = ending.connect();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    end(&mut client);
    assert_eq!(read_to_end(&mut client), b"");
    ending.rig.until_idle();
    assert_eq!(ending.rig.closed_for(CloseReason::ClientClosed), 1);
}

#[test]
fn a_bulky_stream_waits_for_a_slow_reader_and_arrives_whole() {
    const TOTAL: usize = 24 << 20;
    let member = Server::new(|mut stream| {
        let mut bytes = vec![0; TOTAL];
        Bytes::new(5).fill(&mut bytes);
        stream.write_all(&bytes).unwrap();
    });
    let ending = Ending::tcp();
    ending.rig.to(1, 0, member.addr, Drain::Now);
    let mut client = ending.connect();
    client.conn.complete_io(&mut client.sock).unwrap();
    // Nothing is read until the path is full: what it holds must be bounded by then.
    let sent = || ending.rig.counters().bytes_down;
    let mut before = u64::MAX;
    until(
        "the path to fill up",
        || {
            std::thread::sleep(Duration::from_millis(20));
            std::mem::replace(&mut before, sent()) == sent() && sent() > 0
        },
        || format!("{} bytes", sent()),
    );
    assert!(sent() < TOTAL as u64, "{} bytes were taken although nobody read", sent());
    let got = read_to_end(&mut client);
    let mut wanted = vec![0; TOTAL];
    Bytes::new(5).fill(&mut wanted);
    assert!(got == wanted, "{} bytes of {TOTAL}, or other ones", got.len());
}

#[test]
fn a_bulky_stream_from_the_client_arrives_whole() {
    const TOTAL: usize = 8 << 20;
    let (sums, sum) = std::sync::mpsc::channel();
    let member = Server::new(move |stream| {
        std::thread::sleep(Duration::from_millis(50));
        let _ = sums.send(read_all(&stream, 3, |random| (random % 100_000) as usize));
    });
    let ending = Ending::tcp();
    ending.rig.to(1, 0, member.addr, Drain::Now);
    let mut client = ending.connect();
    let mut bytes = vec![0; TOTAL];
    Bytes::new(9).fill(&mut bytes);
    client.write_all(&bytes).unwrap();
    end(&mut client);
    let mut wanted = Checksum::default();
    wanted.add(&bytes);
    assert_eq!(sum.recv_timeout(PATIENCE).unwrap(), wanted);
}

#[test]
fn a_client_that_is_cut_is_not_taken_for_one_that_ended() {
    let (ends, seen) = std::sync::mpsc::channel();
    let member = Server::new(move |mut stream| {
        let mut all = Vec::new();
        let _ = ends.send(stream.read_to_end(&mut all).map_err(|e| e.kind()));
    });
    let ending = Ending::tcp();
    ending.rig.to(1, 0, member.addr, Drain::Now);
    let mut client = ending.connect();
    client.write_all(b"half of a message").unwrap();
    ending.rig.until("the bytes to arrive", |c| c.bytes_up == 17);
    client.sock.shutdown(Shutdown::Both).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::ConnectionReset));
}

#[test]
fn it_waits_parked_after_its_handshake_and_is_served_by_whoever_comes() {
    let ending = Ending::tcp();
    let mut client = ending.connect();
    client.write_all(b"early").unwrap();
    ending.rig.until("it to be parked", |c| c.parked == 1);
    let member = Server::echo();
    ending.rig.to(3, 1, member.addr, Drain::Now);
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"early");
}

#[test]
fn one_that_leaves_while_it_waits_frees_its_place() {
    let ending = Ending::tcp();
    let mut client = ending.connect();
    client.conn.complete_io(&mut client.sock).unwrap();
    ending.rig.until("it to be parked", |c| c.parked == 1);
    end(&mut client);
    drop(client);
    ending.rig.until_idle();
    assert_eq!(ending.rig.closed_for(CloseReason::ParkLeft), 1);
}

#[test]
fn a_revoked_epoch_resets_it() {
    let member = Server::echo();
    let ending = Ending::tcp();
    ending.rig.to(1, 0, member.addr, Drain::Now);
    let mut client = ending.connect();
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0; 1]).unwrap();
    ending.rig.set(Route::Park, Drain::Now);
    let error = client.read(&mut [0; 1]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    ending.rig.until_idle();
}

#[test]
fn requests_keep_their_client_over_a_switch() {
    let member = |body: &'static str| {
        Server::new(move |mut stream| {
            let mut buffer = [0; 4096];
            while matches!(stream.read(&mut buffer), Ok(1..)) {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).unwrap();
            }
        })
    };
    let (a, b) = (member("a"), member("b"));
    let ending = Ending::new(Protocol::Http, PATIENCE);
    let mut client = ending.connect();
    for (epoch, server, wanted) in [(1, &a, b'a'), (2, &b, b'b')] {
        ending.rig.to(epoch, 0, server.addr, Drain::Now);
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 39];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer[38], wanted, "{}", String::from_utf8_lossy(&answer));
    }
    ending.rig.set(Route::Closed, Drain::Now);
    client.write_all(b"").unwrap();
    assert_eq!(read_to_end(&mut client), b"", "closed in order between two requests");
}

#[test]
fn a_refusal_and_a_last_answer_arrive_whole_inside_tls() {
    let ending = Ending::new(Protocol::Http, PATIENCE);
    let mut client = ending.connect();
    client.write_all(b"GET / HTTP/1.1\r\nBad header\r\n\r\n").unwrap();
    let answer = String::from_utf8(read_to_end(&mut client)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    ending.rig.until_idle();
}

#[test]
fn a_handshake_that_does_not_come_or_is_none_is_closed_with_its_reason() {
    let ending = Ending::new(Protocol::Tcp, Duration::from_millis(100));
    let mut silent = ending.raw();
    assert_closed(&mut silent);
    ending.rig.until("the reason", |c| c.closed_for(CloseReason::HandshakeTimeout) == 1);
    let mut plain = ending.raw();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: plain\r\n\r\n").unwrap();
    let mut alert = Vec::new();
    let _ = plain.read_to_end(&mut alert);
    assert_eq!(alert.first(), Some(&21), "an alert, not {alert:?}");
    ending.rig.until("the reason", |c| c.closed_for(CloseReason::BadHandshake) == 1);
    drop(ending.raw());
    ending.rig.until("the reason", |c| c.closed_for(CloseReason::ClientClosed) == 1);
    ending.rig.until_idle();
}

/// A member that speaks TLS and sends back what comes.
fn tls_member(sides: &Sides) -> Server {
    let config = sides.server.clone();
    Server::new(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..read]).unwrap();
        }
        stream.conn.send_close_notify();
        let _ = stream.flush();
    })
}

fn plain_to_tls(trust: &Sides) -> (Rig, SocketAddr) {
    let rig = Rig::new();
    let to = || Some(MemberTls { config: Arc::new(trust.client.clone().into()), name: name() });
    let spec = ListenerSpec { member_tls: [to(), to()], ..listener_spec("127.0.0.1:0") };
    let addr = rig.data.add_listener(spec).unwrap().addr;
    (rig, addr)
}

#[test]
fn a_member_is_reached_over_tls_that_is_verified() {
    let sides = sides();
    let member = tls_member(&sides);
    let (rig, addr) = plain_to_tls(&sides);
    rig.to(1, 0, member.addr, Drain::Now);
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let bytes = vec![7; 1 << 20];
    let mut writer = stream.try_clone().unwrap();
    let sent = bytes.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    writing.join().unwrap();
    assert!(answer == bytes, "{} bytes", answer.len());
}

#[test]
fn a_member_whose_certificate_does_not_verify_gets_nothing() {
    let (sides, others) = (sides(), sides());
    let member = tls_member(&sides);
    let (rig, addr) = plain_to_tls(&others);
    rig.to(1, 0, member.addr, Drain::Now);
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"secret").unwrap();
    rig.until("a failed connect", |c| c.connect_failed > 0 && c.parked == 1);
    assert_eq!(rig.counters().bytes_up, 0);
}

#[test]
fn a_member_that_takes_connections_and_resets_them_is_tried_until_it_is_well() {
    let sides = sides();
    let well = Arc::new(AtomicBool::new(false));
    let (config, is_well) = (sides.server.clone(), well.clone());
    let member = Server::new(move |stream| {
        if !is_well.load(Ordering::SeqCst) {
            return reset(stream);
        }
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        let _ = stream.write_all(b"a").and_then(|()| stream.read(&mut [0]));
    });
    let (rig, addr) = plain_to_tls(&sides);
    rig.to(1, 0, member.addr, Drain::Now);
    let mut clients: Vec<TcpStream> = (0..20).map(|_| open(addr)).collect();
    rig.until("one after the other tries it", |c| c.parked >= 18 && c.connect_failed >= 5);
    well.store(true, Ordering::SeqCst);
    for client in &mut clients {
        assert_eq!(read_name(client), "a");
    }
    assert_eq!(rig.counters().closed, [0; CloseReason::ALL.len()], "nobody failed");
}

/// The first message of a client that asks for this name.
fn hello(name: &'static str) -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), name.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

const SECOND: InstanceId = InstanceId(8);

/// Two instances that share an address: `line-1.example` passes through, `*.two.example` is ended here.
fn shared(handshake: Duration) -> (Rig, Sides, SocketAddr, [ListenerId; 2]) {
    let rig = Rig::new();
    let sides = sides();
    rig.data.add_instance(InstanceSpec { id: SECOND, name: "line-2".into(), limits: Limits::default() }).unwrap();
    let timeouts = Timeouts { handshake, ..Timeouts::default() };
    let first = ListenerSpec { names: vec!["line-1.example".into()], timeouts, ..listener_spec("127.0.0.1:0") };
    let first = rig.data.add_listener(first).unwrap();
    let second = ListenerSpec {
        instance: SECOND,
        listen: first.addr,
        names: vec!["*.two.example".into()],
        tls: Some(Arc::new(sides.server.clone().into())),
        ..listener_spec("127.0.0.1:0")
    };
    let second = rig.data.add_listener(second).unwrap();
    (rig, sides, first.addr, [first.id, second.id])
}

fn open(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

#[test]
fn each_name_finds_its_instance_however_its_bytes_come() {
    let member = Server::new(|mut stream| {
        let mut byte = [0; 1];
        while stream.read_exact(&mut byte).is_ok() {
            stream.write_all(&byte).unwrap();
        }
    });
    let (rig, _, addr, _) = shared(PATIENCE);
    rig.to(1, 0, member.addr, Drain::Now);
    rig.data.set_route(SECOND, Route::To { epoch: 1, member: 0, addrs: vec![member.addr] }, Drain::Now).unwrap();
    let hello = hello("line-1.example");
    let mut client = open(addr);
    for piece in hello.chunks(100) {
        client.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut back = vec![0; hello.len()];
    client.read_exact(&mut back).unwrap();
    assert_eq!(back, hello, "the member gets every byte, from the first on");
    drop(client);
    rig.until("one connection of the first", |c| c.accepted == 1 && c.active == 0);
    assert_eq!(rig.data.counters(SECOND).unwrap().accepted, 0);
}

#[test]
fn a_name_of_a_listener_that_ends_tls_is_ended_there() {
    let member = Server::echo();
    let (rig, sides, addr, _) = shared(PATIENCE);
    rig.data.set_route(SECOND, Route::To { epoch: 1, member: 0, addrs: vec![member.addr] }, Drain::Now).unwrap();
    // The certificate is for another name: what is seen here is that it is shown at all.
    let client = ClientConnection::new(sides.client.clone(), "a.two.example".try_into().unwrap()).unwrap();
    let error = StreamOwned::new(client, open(addr)).write_all(b"x").expect_err("another name in the certificate");
    assert!(error.to_string().contains("not valid for name"), "{error}");
    until(
        "its reason",
        || rig.data.counters(SECOND).unwrap().closed_for(CloseReason::BadHandshake) == 1,
        || format!("{:?}", rig.data.counters(SECOND)),
    );
}

#[test]
fn a_name_that_nobody_has_is_told_so_and_counted() {
    let (rig, _, addr, [first, second]) = shared(Duration::from_millis(200));
    let front = || rig.data.fronts()[0].1.clone();
    let ended = |reason| until("a reason", || front().closed_for(reason) == 1, || format!("{:?}", front()));
    let mut unknown = open(addr);
    unknown.write_all(&hello("nobody.example")).unwrap();
    let mut alert = Vec::new();
    unknown.read_to_end(&mut alert).unwrap();
    assert_eq!(alert, [21, 3, 3, 0, 2, 2, 112], "unrecognized_name");
    ended(CloseReason::UnknownName);
    let mut other = open(addr);
    other.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = other.read_to_end(&mut Vec::new());
    ended(CloseReason::BadHandshake);
    let mut half = open(addr);
    half.write_all(&hello("line-1.example")[..20]).unwrap();
    let _ = half.read_to_end(&mut Vec::new());
    ended(CloseReason::HandshakeTimeout);
    assert_eq!((front().accepted, front().active), (3, 0));
    // The address goes with the last listener that shares it.
    rig.data.remove_listener(first).unwrap();
    let mut gone = open(addr);
    gone.write_all(&hello("line-1.example")).unwrap();
    gone.read_to_end(&mut Vec::new()).unwrap();
    rig.data.remove_listener(second).unwrap();
    assert!(rig.data.fronts().is_empty());
    assert!(TcpStream::connect(addr).is_err(), "somebody still listens");
}
