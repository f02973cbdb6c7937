//! Clients that wait: in order, bounded in number and time, let go when there is a member, gone when they leave.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Options, PATIENCE, Refusing, Rig, Server, Silent, assert_closed, read_name, reset};
use hotspare_datapath::{CloseReason, Drain, Limits, Route, SignalKind, Timeouts};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

fn limits(max_parked: usize, park_timeout: Duration) -> Options {
    Options { limits: Limits { max_parked, park_timeout, ..Limits::default() }, ..Options::default() }
}

#[test]
fn connects_are_made_first_in_first_out() {
    use std::net::TcpListener;
    let rig = Rig::with(Options { threads: 1, ..Options::default() });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut clients = Vec::new();
    for number in 0..50u8 {
        let mut client = rig.connect();
        client.write_all(&[number]).unwrap();
        clients.push(client);
        rig.until("it waits", |c| c.parked == u64::from(number) + 1);
    }
    rig.to(1, 0, listener.local_addr().unwrap(), Drain::Now);
    for number in 0..50u8 {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = [0];
        stream.read_exact(&mut seen).unwrap();
        assert_eq!(seen[0], number, "first in, first out");
    }
    let counters = rig.counters();
    assert_eq!(counters.parked_ever, 50);
    assert_eq!(counters.park_wait.iter().sum::<u64>(), 50, "{counters:#?}");
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let rig = Rig::with(limits(10, PATIENCE));
    let waiting: Vec<_> = (0..10).map(|_| rig.connect()).collect();
    rig.until("ten wait", |c| c.parked == 10);
    for _ in 0..5 {
        assert_closed(&mut rig.connect());
    }
    rig.until("five were turned away", |c| c.closed_for(CloseReason::ParkFull) == 5);
    drop(waiting);
    rig.until("their places are free", |c| c.parked == 0 && c.closed_for(CloseReason::ParkLeft) == 10);
    let _next = rig.connect();
    rig.until("the next one finds one", |c| c.parked == 1);
}

#[test]
fn nobody_waits_longer_than_the_bound() {
    let rig = Rig::with(limits(10, Duration::from_millis(200)));
    let mut client = rig.connect();
    client.write_all(b"request").unwrap();
    let mut seen = Vec::new();
    // Closed with the request unread: the client sees an end or a reset, in any case no answer.
    let _ = client.read_to_end(&mut seen);
    assert!(seen.is_empty());
    rig.until_idle();
    assert_eq!(rig.closed_for(CloseReason::ParkTimeout), 1);
}

#[test]
fn a_client_that_leaves_frees_its_place_and_one_that_only_ended_its_request_does_not() {
    let (rig, server) = (Rig::new(), Server::echo());
    drop(rig.connect());
    reset({
        let mut client = rig.connect();
        client.write_all(b"x").unwrap();
        client
    });
    let mut half = rig.connect();
    half.write_all(b"all I have to say").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    rig.until("two left, one waits", |c| c.parked == 1 && c.closed_for(CloseReason::ParkLeft) == 2);
    rig.to(1, 0, server.addr, Drain::Now);
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "all I have to say");
}

#[test]
fn a_refused_client_waits_and_goes_to_the_next_member() {
    let (rig, dead, b) = (Rig::new(), Refusing::new(), Server::named("b"));
    rig.to(5, 0, dead.addr, Drain::Now);
    let mut clients: Vec<_> = (0..100).map(|_| rig.connect()).collect();
    rig.until("all wait", |c| c.parked + c.to_member[0] == 100 && c.connect_failed > 0);
    {
        let signals = rig.signals.lock().unwrap();
        let refused = signals.iter().find(|s| s.kind == SignalKind::Refused).expect("a signal");
        assert_eq!((refused.member, refused.epoch), (0, 5));
        assert!(signals.len() < 100, "a storm is held back");
    }
    rig.to(6, 1, b.addr, Drain::Now);
    for client in &mut clients {
        assert_eq!(read_name(client), "b");
    }
    assert_eq!(rig.counters().closed, [0; CloseReason::ALL.len()], "nobody failed");
}

#[test]
fn a_member_that_comes_back_is_found_by_the_first_in_line() {
    let (rig, dead) = (Rig::new(), Refusing::new());
    rig.to(1, 0, dead.addr, Drain::Now);
    let mut clients: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    rig.until("all wait", |c| c.connect_failed >= 3);
    let addr = dead.addr;
    drop(dead);
    let _back = Server::on(std::net::TcpListener::bind(addr).unwrap(), |mut stream| {
        let _ = stream.write_all(b"a");
        let _ = stream.read(&mut [0; 1]);
    });
    for client in &mut clients {
        assert_eq!(read_name(client), "a");
    }
    let signals = rig.signals.lock().unwrap();
    assert!(signals.iter().any(|s| s.kind == SignalKind::Recovered), "{signals:?}");
}

#[test]
fn while_a_member_is_suspect_only_one_at_a_time_tries_it() {
    let (rig, dead) = (Rig::with(Options { threads: 1, ..Options::default() }), Refusing::new());
    rig.to(1, 0, dead.addr, Drain::Now);
    let _first = rig.connect();
    rig.until("the first was refused", |c| c.connect_failed > 0);
    let before = rig.counters().connect_failed;
    let _clients: Vec<_> = (0..500).map(|_| rig.connect()).collect();
    rig.until("all wait", |c| c.parked >= 500);
    let tried = rig.counters().connect_failed - before;
    assert!(tried < 250, "{tried} connects for 500 clients");
}

#[test]
fn a_connect_that_is_not_answered_times_out_and_waits() {
    let timeouts = Timeouts { connect: Duration::from_millis(100), ..Timeouts::default() };
    let rig = Rig::with(Options { timeouts, ..Options::default() });
    let (silent, b) = (Silent::new(), Server::named("b"));
    rig.to(1, 0, silent.addr, Drain::Now);
    let mut client = rig.connect();
    rig.until("it timed out", |c| c.connect_failed > 0);
    assert!(rig.signals.lock().unwrap().iter().any(|s| s.kind == SignalKind::Timeout));
    rig.to(2, 1, b.addr, Drain::Now);
    assert_eq!(read_name(&mut client), "b");
}

#[test]
fn a_refused_client_that_cannot_wait_is_closed() {
    let (rig, dead) = (Rig::with(limits(0, PATIENCE)), Refusing::new());
    rig.to(1, 0, dead.addr, Drain::Now);
    assert_closed(&mut rig.connect());
    rig.until_idle();
    assert_eq!(rig.closed_for(CloseReason::ConnectRefused), 1);
    rig.set(Route::Park, Drain::Now);
    assert_closed(&mut rig.connect());
    rig.until_idle();
    assert_eq!(rig.closed_for(CloseReason::ParkFull), 1);
}
