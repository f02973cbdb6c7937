//! Nothing is left over: descriptors, places, gauges. Alone in its program, so that the descriptors are its own.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Rig, Server, open_descriptors, reset, until};
use hotspare_datapath::Drain;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Barrier;

#[test]
fn two_thousand_at_once_and_two_hundred_switches_leave_nothing() {
    let (rig, a, b) = (Rig::new(), Server::echo(), Server::echo());
    rig.to(1, 0, a.addr, Drain::Now);
    let before = open_descriptors();

    all_at_once(&rig, 2000);
    rig.until_idle();
    until("all descriptors are back", || open_descriptors() <= before, || open_descriptors().to_string());
    let counters = rig.counters();
    assert_eq!(counters.accepted, 2000);
    assert_eq!(counters.closed.iter().sum::<u64>(), 2000, "every one ended for a reason: {counters:#?}");
    assert_eq!((counters.bytes_up, counters.bytes_down), (2000 * 1000, 2000 * 1000));

    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (rig, done) = (&rig, &done);
        for client in 0..8 {
            scope.spawn(move || {
                while !done.load(std::sync::atomic::Ordering::SeqCst) {
                    talk(rig.connect(), client);
                }
            });
        }
        for epoch in 2..202 {
            let (member, server) = if epoch % 2 == 0 { (1, &b) } else { (0, &a) };
            let version = rig.to(epoch, member, server.addr, Drain::Now);
            let clear = || rig.data.is_clear(common::INSTANCE, version).unwrap();
            until("clear", clear, || format!("{:#?}", rig.counters()));
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
    rig.until_idle();
    // Pipes stay in the pool: 32 for each thread at most, and none was needed for these small messages.
    until("all descriptors are back", || open_descriptors() <= before + 4, || open_descriptors().to_string());
    let counters = rig.counters();
    assert_eq!(counters.accepted, counters.closed.iter().sum::<u64>(), "{counters:#?}");
}

fn all_at_once(rig: &Rig, count: usize) {
    let mut clients: Vec<TcpStream> = (0..count).map(|_| rig.connect()).collect();
    rig.until("all are there", |c| c.active == count as u64);
    for client in &mut clients {
        client.write_all(&[5; 1000]).unwrap();
    }
    let mut answer = [0; 1000];
    for client in &mut clients {
        client.read_exact(&mut answer).unwrap();
        assert_eq!(answer, [5; 1000]);
    }
    let barrier = Barrier::new(4);
    let quarter = count / 4;
    std::thread::scope(|scope| {
        while !clients.is_empty() {
            let part = clients.split_off(clients.len() - quarter);
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                part.into_iter()
                    .enumerate()
                    .for_each(|(n, client)| if n % 2 == 0 { reset(client) } else { drop(client) });
            });
        }
    });
}

/// A short talk that a switch may cut off at any point.
fn talk(mut client: TcpStream, number: u8) {
    let mut answer = [0; 100];
    for _ in 0..5 {
        if client.write_all(&[number; 100]).is_err() || client.read_exact(&mut answer).is_err() {
            return;
        }
        assert_eq!(answer, [number; 100]);
    }
}
