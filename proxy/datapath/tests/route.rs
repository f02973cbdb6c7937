//! What a new route does to connections: those it no longer covers end at once or after their drain, wherever
//! they stand; those that have lost nothing yet go to the new member.
#![allow(clippy::unwrap_used)]

mod common;

use common::{INSTANCE, PATIENCE, Rig, Server, Silent, assert_closed, assert_reset, read_name, until};
use hotspare_datapath::{CloseReason, Drain, Route, SignalKind};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const AFTER_A_WHILE: Drain = Drain::After { grace: Duration::from_millis(300), spread: Duration::from_millis(200) };

fn asked(rig: &Rig) -> (TcpStream, String) {
    let mut client = rig.connect();
    client.write_all(b"?").unwrap();
    let name = read_name(&mut client);
    (client, name)
}

#[test]
fn a_new_epoch_resets_what_relays_and_sends_new_ones_to_the_new_member() {
    let (rig, a, b) = (Rig::new(), Server::named("a"), Server::named("b"));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut old: Vec<_> = (0..20).map(|_| asked(&rig).0).collect();
    let version = rig.to(2, 1, b.addr, Drain::Now);
    for client in &mut old {
        assert_reset(client);
    }
    until("clear", || rig.data.is_clear(INSTANCE, version).unwrap(), || format!("{:#?}", rig.counters()));
    assert_eq!(rig.closed_for(CloseReason::EpochRevoked), 20);
    assert_eq!(asked(&rig).1, "b");
    let signals = rig.signals.lock().unwrap();
    let clear = signals.iter().filter(|s| s.kind == SignalKind::Clear && s.version == version).count();
    assert_eq!(clear, 1, "one thread says it, once: {signals:?}");
}

#[test]
fn a_spliced_connection_is_reset_at_once_in_the_middle_of_its_stream() {
    let (rig, b) = (Rig::new(), Server::named("b"));
    let source = Server::new(|mut stream| {
        let block = vec![1; 1 << 20];
        while stream.write_all(&block).is_ok() {}
    });
    rig.to(1, 0, source.addr, Drain::Now);
    let mut flowing = rig.connect();
    let stuck = rig.connect();
    let mut block = vec![0; 1 << 20];
    for _ in 0..20 {
        flowing.read_exact(&mut block).unwrap();
    }
    rig.until("both are spliced, and one is stuck", |c| c.splices >= 2 && c.bytes_down > 21 << 20);
    let version = rig.to(2, 1, b.addr, Drain::Now);
    assert_reset(&mut flowing);
    until("clear", || rig.data.is_clear(INSTANCE, version).unwrap(), || format!("{:#?}", rig.counters()));
    drop(stuck);
    rig.until_idle();
}

#[test]
fn an_epoch_that_falls_back_is_served_and_ends_the_newer_one() {
    let (rig, a, b) = (Rig::new(), Server::named("a"), Server::named("b"));
    rig.to(3, 0, a.addr, Drain::Now);
    let (mut newer, name) = asked(&rig);
    assert_eq!(name, "a");
    rig.to(2, 1, b.addr, Drain::Now);
    assert_reset(&mut newer);
    assert_eq!(asked(&rig).1, "b");
}

#[test]
fn connections_in_connect_go_to_the_new_member() {
    let (rig, b, silent) = (Rig::new(), Server::named("b"), Silent::new());
    rig.to(1, 0, silent.addr, Drain::Now);
    let mut clients: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    for client in &mut clients {
        client.write_all(b"waits in the socket").unwrap();
    }
    rig.until("all are in connect", |c| c.to_member[0] == 20);
    let version = rig.to(2, 1, b.addr, AFTER_A_WHILE);
    for client in &mut clients {
        assert_eq!(read_name(client), "b");
    }
    until("clear", || rig.data.is_clear(INSTANCE, version).unwrap(), || format!("{:#?}", rig.counters()));
    assert_eq!(rig.closed_for(CloseReason::EpochRevoked), 0);
}

#[test]
fn a_connection_that_has_moved_no_byte_survives_the_switch() {
    let (rig, b) = (Rig::new(), Server::named("b"));
    let (streams, accepted) = channel();
    let a = Server::new(move |stream| streams.send(stream).unwrap());
    rig.to(1, 0, a.addr, Drain::Now);
    let mut client = rig.connect();
    let mut member = accepted.recv_timeout(PATIENCE).unwrap();
    rig.to(2, 1, b.addr, Drain::Now);
    client.write_all(b"first byte").unwrap();
    assert_eq!(read_name(&mut client), "b");
    let mut rest = Vec::new();
    assert!(member.read_to_end(&mut rest).is_err() && rest.is_empty(), "the old member got no byte, but a reset");
}

#[test]
fn a_drain_lets_connections_go_on_and_then_ends_them_bit_by_bit() {
    let (rig, a, b) = (Rig::new(), Server::echo(), Server::named("b"));
    rig.to(1, 0, a.addr, Drain::Now);
    let mut clients: Vec<_> = (0..40).map(|_| rig.connect()).collect();
    let mut byte = [0; 1];
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut byte).unwrap();
    }
    let version = rig.to(2, 1, b.addr, AFTER_A_WHILE);
    let started = Instant::now();
    for client in &mut clients {
        client.write_all(b"y").unwrap();
        if started.elapsed() < Duration::from_millis(250) {
            client.read_exact(&mut byte).unwrap();
        }
    }
    rig.until("some are gone, not all", |c| (1..40).contains(&c.closed_for(CloseReason::EpochRevoked)));
    assert!(!rig.data.is_clear(INSTANCE, version).unwrap());
    rig.until("all are gone", |c| c.closed_for(CloseReason::EpochRevoked) == 40);
    assert!(rig.data.is_clear(INSTANCE, version).unwrap());
}

#[test]
fn a_drain_is_over_when_the_last_one_left() {
    let (rig, a) = (Rig::new(), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    let clients: Vec<_> = (0..10).map(|_| asked(&rig).0).collect();
    let hours = Drain::After { grace: Duration::from_secs(7200), spread: Duration::ZERO };
    let version = rig.set(Route::Park, hours);
    assert!(!rig.data.is_clear(INSTANCE, version).unwrap());
    drop(clients);
    until("clear", || rig.data.is_clear(INSTANCE, version).unwrap(), || format!("{:#?}", rig.counters()));
}

#[test]
fn a_suspect_active_keeps_its_connections_and_new_ones_wait() {
    let (rig, a) = (Rig::new(), Server::echo());
    rig.to(1, 0, a.addr, Drain::Now);
    let mut old = rig.connect();
    let mut byte = [0; 1];
    old.write_all(b"1").unwrap();
    old.read_exact(&mut byte).unwrap();
    rig.set(Route::Park, Drain::Keep);
    let mut new = rig.connect();
    new.write_all(b"3").unwrap();
    rig.until("the new one waits", |c| c.parked == 1);
    old.write_all(b"2").unwrap();
    old.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"2", "the old one goes on");
    rig.to(1, 0, a.addr, Drain::Now);
    new.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"3");
    old.write_all(b"4").unwrap();
    old.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"4", "the same epoch again ends nothing");
    assert_eq!(rig.counters().closed, [0; CloseReason::ALL.len()]);
}

#[test]
fn a_closed_route_ends_everyone() {
    let (rig, a) = (Rig::new(), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    let (mut live, _) = asked(&rig);
    rig.set(Route::Park, Drain::Keep);
    let mut parked = rig.connect();
    rig.until("one waits", |c| c.parked == 1);
    rig.set(Route::Closed, Drain::Now);
    assert_reset(&mut live);
    assert_closed(&mut parked);
    let mut late = rig.connect();
    assert_closed(&mut late);
    rig.until_idle();
    assert_eq!(rig.closed_for(CloseReason::RouteClosed), 2);
    assert_eq!(rig.closed_for(CloseReason::EpochRevoked), 1);
}

#[test]
fn no_connection_opens_to_the_old_member_once_the_route_is_set() {
    let (rig, a, b) = (Rig::new(), Server::named("a"), Server::named("b"));
    for epoch in 1..200 {
        let (member, server) = if epoch % 2 == 0 { (0, &a) } else { (1, &b) };
        rig.to(epoch, member, server.addr, Drain::Now);
        assert_eq!(asked(&rig).1, if member == 0 { "a" } else { "b" }, "epoch {epoch}");
    }
}

/// As when the active is suspected, and a look finds it well at once.
#[test]
fn a_client_that_speaks_while_a_route_goes_and_comes_is_heard() {
    let (rig, a) = (Rig::new(), Server::echo());
    rig.to(1, 0, a.addr, Drain::Now);
    for round in 0..200 {
        let mut clients: Vec<_> = (0..20).map(|_| rig.connect()).collect();
        rig.until("all have a member", |c| c.to_member[0] == 20);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let begun = Instant::now();
                while begun.elapsed() < Duration::from_micros(round % 16 * 4) {}
                rig.set(Route::Park, Drain::Keep);
                let parked = Instant::now();
                while parked.elapsed() < Duration::from_micros(round % 5 * 5) {}
                rig.to(1, 0, a.addr, Drain::Keep);
            });
            clients.iter_mut().for_each(|client| client.write_all(b"?").unwrap());
        });
        for client in &mut clients {
            let mut answer = [0; 1];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"?");
        }
        drop(clients);
        rig.until_idle();
    }
}

/// Waits until the data path has said that nothing is under way on what it drains.
fn quiet(rig: &Rig, version: u64) {
    let seen = || rig.signals.lock().unwrap().iter().any(|s| s.kind == SignalKind::Quiet && s.version == version);
    until("quiet", seen, || format!("{:?}", rig.signals.lock().unwrap()));
}

const HOURS: Drain = Drain::After { grace: Duration::from_secs(7200), spread: Duration::ZERO };

#[test]
fn a_drain_waits_for_what_is_under_way_and_for_nothing_else() {
    // Answers its first message and no other.
    let a = Server::new(|mut stream| {
        let mut buffer = [0; 16];
        if stream.read(&mut buffer).is_ok_and(|read| read > 0) && stream.write_all(b"a").is_ok() {
            while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
        }
    });
    let rig = Rig::new();
    rig.to(1, 0, a.addr, Drain::Now);
    let mut clients: Vec<_> = (0..10).map(|_| rig.connect()).collect();
    let mut byte = [0; 1];
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut byte).unwrap();
    }
    clients[0].write_all(b"y").unwrap();
    rig.until("the second message is with the member", |c| c.bytes_up == 11);
    let version = rig.set(Route::Park, HOURS);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!rig.signals.lock().unwrap().iter().any(|s| s.kind == SignalKind::Quiet), "one waits for its answer");
    drop(clients.remove(0));
    quiet(&rig, version);
    assert!(!rig.data.is_clear(INSTANCE, version).unwrap(), "the others are there and quiet");
}

#[test]
fn quiet_connections_are_cut_one_by_one_and_carry_nothing_meanwhile() {
    let (rig, a) = (Rig::new(), Server::echo());
    rig.to(1, 0, a.addr, Drain::Now);
    let mut clients: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    let mut byte = [0; 1];
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut byte).unwrap();
    }
    quiet(&rig, rig.set(Route::Park, HOURS));
    rig.set(Route::Park, Drain::Spread(Duration::from_secs(3600)));
    // Whoever speaks is over at once, and is not heard.
    clients[0].write_all(b"y").unwrap();
    assert_reset(&mut clients[0]);
    rig.until("one is gone", |c| c.closed_for(CloseReason::EpochRevoked) == 1);
    assert_eq!(rig.counters().bytes_up, 20);
    // A later cut leaves them to their time.
    rig.to(2, 1, a.addr, Drain::Now);
    assert_eq!(rig.counters().closed_for(CloseReason::EpochRevoked), 1);
    drop(rig);

    let rig = Rig::new();
    rig.to(1, 0, a.addr, Drain::Now);
    let mut clients: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut byte).unwrap();
    }
    quiet(&rig, rig.set(Route::Park, HOURS));
    let version = rig.set(Route::Park, Drain::Spread(Duration::from_millis(200)));
    rig.until("all are gone", |c| c.closed_for(CloseReason::EpochRevoked) == 20);
    until("clear", || rig.data.is_clear(INSTANCE, version).unwrap(), || format!("{:#?}", rig.counters()));
}
