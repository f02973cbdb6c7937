//! The PROXY protocol on real connections, in and out, for plain TCP and for HTTP.
#![allow(clippy::unwrap_used)]

mod common;

use common::{INSTANCE, Options, PATIENCE, Rig, Server, assert_closed, listener_spec, until};
use hotspare_datapath::proxy_protocol::{Network, Origin, Version, read, write};
use hotspare_datapath::{CloseReason, Drain, Limits, Listener, Protocol, Proxied, Timeouts};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ORIGIN: &str = "203.0.113.7:4711";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

fn origin() -> Option<Origin> {
    Some(Origin { source: ORIGIN.parse().unwrap(), destination: "198.51.100.1:80".parse().unwrap() })
}

fn network(text: &str) -> Network {
    Network::new(text.parse().unwrap(), 8).unwrap()
}

/// A rig with one more listener that speaks the PROXY protocol.
fn proxied(protocol: Protocol, trusted: &[&str], send: Option<Version>) -> (Rig, Listener) {
    let rig = Rig::with(Options::default());
    let mut spec = listener_spec("127.0.0.1:0");
    spec.protocol = protocol;
    spec.proxied = Proxied { trusted: trusted.iter().map(|text| network(text)).collect(), send };
    spec.timeouts = Timeouts { head: Duration::from_millis(400), ..Timeouts::default() };
    let listener = rig.data.add_listener(spec).unwrap();
    (rig, listener)
}

fn connect(listener: Listener) -> TcpStream {
    let stream = TcpStream::connect(listener.addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Answers with the origin in the header it got, and with what came after it up to the end of a request.
fn telling() -> Server {
    Server::new(|mut stream| {
        let mut seen = Vec::new();
        let mut buffer = [0; 1000];
        let header = loop {
            if let Some(header) = read(&seen).unwrap() {
                break header;
            }
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the end before a header");
            seen.extend_from_slice(&buffer[..read]);
        };
        while !seen.ends_with(REQUEST) {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the end before a request: {seen:?}");
            seen.extend_from_slice(&buffer[..read]);
        }
        assert_eq!(&seen[header.length..], REQUEST);
        let source = header.origin.map_or("none".into(), |origin| origin.source.to_string());
        write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{source}", source.len())
            .unwrap();
    })
}

fn ask(mut stream: TcpStream) -> String {
    stream.write_all(REQUEST).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.rsplit_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn a_member_is_told_who_the_client_is() {
    for protocol in [Protocol::Tcp, Protocol::Http] {
        for version in [Version::V1, Version::V2] {
            let (rig, listener) = proxied(protocol, &[], Some(version));
            let server = telling();
            rig.to(1, 0, server.addr, Drain::Now);
            let client = connect(listener);
            let own = client.local_addr().unwrap().to_string();
            assert_eq!(ask(client), own, "{protocol:?} {version:?}");
        }
    }
}

#[test]
fn what_a_trusted_proxy_says_is_passed_on_however_it_is_cut() {
    for protocol in [Protocol::Tcp, Protocol::Http] {
        for (version, origin, told) in [
            (Version::V1, origin(), ORIGIN),
            (Version::V2, origin(), ORIGIN),
            (Version::V1, None, "none"),
            (Version::V2, None, "none"),
        ] {
            let (rig, listener) = proxied(protocol, &["127.0.0.0"], Some(version));
            let server = telling();
            rig.to(1, 0, server.addr, Drain::Now);
            let mut client = connect(listener);
            for byte in write(version, origin) {
                client.write_all(&[byte]).unwrap();
            }
            assert_eq!(ask(client), told, "{protocol:?} {version:?}");
        }
    }
}

#[test]
fn a_header_and_a_request_in_one_piece_are_told_apart() {
    let (rig, listener) = proxied(Protocol::Tcp, &["127.0.0.0"], None);
    let server = Server::echo();
    rig.to(1, 0, server.addr, Drain::Now);
    let mut client = connect(listener);
    client.write_all(&[&write(Version::V2, origin())[..], b"request"].concat()).unwrap();
    let mut answer = [0; 7];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"request", "the header itself is not passed on");
}

#[test]
fn whoever_may_not_speak_for_others_or_says_nothing_is_closed() {
    let (rig, listener) = proxied(Protocol::Tcp, &["10.0.0.0"], None);
    let mut stranger = connect(listener);
    let _ = stranger.write_all(&write(Version::V1, origin()));
    assert!(matches!(stranger.read(&mut [0; 10]), Ok(0) | Err(_)));
    rig.until("the stranger is out", |c| c.closed_for(CloseReason::BadProxyHeader) == 1);

    let (rig, listener) = proxied(Protocol::Tcp, &["127.0.0.0"], None);
    let mut plain = connect(listener);
    plain.write_all(REQUEST).unwrap();
    assert!(matches!(plain.read(&mut [0; 10]), Ok(0) | Err(_)));
    rig.until("who has no header is out", |c| c.closed_for(CloseReason::BadProxyHeader) == 1);
    let mut slow = connect(listener);
    slow.write_all(b"PROXY TCP4 ").unwrap();
    assert!(matches!(slow.read(&mut [0; 10]), Ok(0) | Err(_)));
    let mut silent = connect(listener);
    assert_closed(&mut silent);
    rig.until("the slow ones are out", |c| c.closed_for(CloseReason::HeadTimeout) == 2);
    assert_eq!(rig.counters().to_member, [0, 0]);
}

#[test]
fn clients_behind_one_proxy_are_counted_apart() {
    let (rig, listener) = proxied(Protocol::Tcp, &["127.0.0.0"], None);
    rig.data.set_limits(INSTANCE, Limits { per_source: 1, ..Limits::default() }).unwrap();
    let other = Origin { source: "203.0.113.8:1".parse().unwrap(), ..origin().unwrap() };
    let clients: Vec<_> = [origin(), Some(other), origin()]
        .map(|origin| {
            let mut client = connect(listener);
            client.write_all(&write(Version::V2, origin)).unwrap();
            client
        })
        .into();
    rig.until("two wait, one is turned away", |c| c.parked == 2 && c.closed_for(CloseReason::LimitSource) == 1);
    drop(clients);
}

#[test]
fn a_parked_client_keeps_what_its_proxy_said() {
    let (rig, listener) = proxied(Protocol::Tcp, &["127.0.0.0"], Some(Version::V1));
    let mut client = connect(listener);
    client.write_all(&write(Version::V2, origin())).unwrap();
    rig.until("it waits", |c| c.parked == 1);
    let server = telling();
    rig.to(1, 0, server.addr, Drain::Now);
    assert_eq!(ask(client), ORIGIN);
    until("clear", || rig.data.is_clear(INSTANCE, 1).unwrap(), || format!("{:#?}", rig.counters()));
}
