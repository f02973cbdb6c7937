//! However fast a member sends and however slowly clients read, memory stays bounded. Alone in its program, so that
//! the memory is its own.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Rig, Server, until};
use hotspare_datapath::Drain;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 40;
/// What a connection may hold: one scratch buffer's worth, and its own small struct. Where it holds a pipe instead,
/// that is the kernel's.
const EACH: u64 = 64 << 10;
/// Threads of the members here, and what allocators keep.
const SLACK: u64 = 24 << 20;

#[test]
fn clients_that_do_not_read_cost_a_buffer_each_and_no_more() {
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let block: Arc<[u8]> = vec![1; 256 << 10].into();
    let source = Server::new(move |mut stream| {
        while let Ok(written) = stream.write(&block) {
            count.fetch_add(written as u64, Ordering::SeqCst);
        }
    });
    let rig = Rig::new();
    rig.to(1, 0, source.addr, Drain::Now);
    let before = resident();
    let mut clients: Vec<TcpStream> = (0..CLIENTS).map(|_| rig.connect()).collect();
    for client in &mut clients {
        client.read_exact(&mut [0; 1000]).unwrap();
    }
    let mut last = (sent.load(Ordering::SeqCst), Instant::now());
    let stuck = || {
        let now = sent.load(Ordering::SeqCst);
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(300)
    };
    until("every member is stuck", stuck, || format!("{} bytes sent", sent.load(Ordering::SeqCst)));
    let grown = resident().saturating_sub(before);
    let bound = CLIENTS as u64 * EACH + SLACK;
    assert!(grown < bound, "{} KiB more than before, {} KiB are the bound", grown >> 10, bound >> 10);
    drop(clients);
    rig.until_idle();
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
