//! A fault in our own code ends the connection it happened in, and nothing else.
#![allow(clippy::unwrap_used)]

mod common;

use common::{INSTANCE, Refusing, Server, listener_spec, read_name, until};
use hotspare_datapath::{CloseReason, Config, DataPath, Drain, InstanceSpec, Limits, Route, Signal, SignalKind};
use std::io::Read;
use std::net::TcpStream;
use std::sync::Arc;

#[test]
fn a_panic_ends_its_connection_and_no_other() {
    // Told of a refused connect while it serves the connection, this sink panics.
    let sink = |signal: Signal| assert_ne!(signal.kind, SignalKind::Refused, "a fault on purpose");
    let data = DataPath::start(Config { threads: 1, ..Config::default() }, Arc::new(sink)).unwrap();
    data.add_instance(InstanceSpec { id: INSTANCE, name: "line-1".into(), limits: Limits::default() }).unwrap();
    let listener = data.add_listener(listener_spec("127.0.0.1:0")).unwrap();
    let (good, nobody) = (Server::named("a"), Refusing::new());
    let to = |epoch, addr| Route::To { epoch, member: 0, addrs: vec![addr] };
    let counters = || data.counters(INSTANCE).unwrap();

    data.set_route(INSTANCE, to(1, good.addr), Drain::Keep).unwrap();
    let mut before = TcpStream::connect(listener.addr).unwrap();
    assert_eq!(read_name(&mut before), "a");

    data.set_route(INSTANCE, to(2, nobody.addr), Drain::Keep).unwrap();
    let mut unlucky = TcpStream::connect(listener.addr).unwrap();
    until("its end", || counters().closed_for(CloseReason::Internal) == 1, || format!("{:?}", counters()));
    assert!(matches!(unlucky.read(&mut [0]), Ok(0) | Err(_)));

    data.set_route(INSTANCE, to(3, good.addr), Drain::Keep).unwrap();
    assert_eq!(read_name(&mut TcpStream::connect(listener.addr).unwrap()), "a", "the thread goes on");
    before.set_nonblocking(true).unwrap();
    let open = before.read(&mut [0]).unwrap_err();
    assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock, "the other connection is as it was");
    drop(before);
    until("no connection", || counters().active == 0, || format!("{:?}", counters()));
}
