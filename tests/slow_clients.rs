//! Clients that are slow on purpose: heads that never end, bodies that trickle, answers that are not read. Others are
//! served meanwhile, and memory stays bounded.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use hotspare_test_support::fault;
use hotspare_test_support::process::Process;
use hotspare_test_support::site::{ADMIN, SOON, Site};
use hotspare_test_support::wait::wait_until;

/// Slow connections at once.
const SLOW: &str = "300";
/// What 300 slow connections may cost: a few KiB of head each, and what waits in one direction for those that don't read.
const MOST_KIB: u64 = 32 << 10;

/// Answers each request with a body that fills every buffer on its way.
fn plenty(_: &str, stream: TcpStream) {
    let body = vec![b'x'; 1 << 20];
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    if lines.by_ref().any(|line| line.is_empty()) {
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        let mut to = &stream;
        let _ = to.write_all(head.as_bytes()).and_then(|()| to.write_all(&body));
    }
}

#[test]
fn others_are_served_beside_slow_clients_and_memory_is_bounded() {
    let site = Site::serving(
        "head = \"1s\"\n[[instance.listener]]\nname = \"web\"\nlisten = \"PROXY:1881\"\nport = 1880\nprotocol = \"http\"\n",
        plenty,
    );
    let get = || site.answer(1881, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(get().len() > 1 << 20);
    let before = fault::resident_kib(site.proxy_pid());
    let url = format!("http://{}/", site.proxy(1881));
    // Slow heads (slowloris), slow bodies, slow reading.
    for (kind, options) in [
        ("slow heads", &["-H", "-i", "10"][..]),
        ("slow bodies", &["-B", "-i", "10", "-s", "100000"][..]),
        ("slow reading", &["-X", "-w", "1000", "-y", "2000", "-n", "5", "-z", "32"][..]),
    ] {
        let mut attack = Command::new("slowhttptest");
        attack.args(options).args(["-c", SLOW, "-r", "300", "-l", "4", "-p", "3", "-u", &url]);
        let mut attack = Process::start(kind, attack);
        let mut most = 0;
        while attack.is_running() {
            let answer = get();
            assert!(answer.starts_with("HTTP/1.1 200"), "{kind}: another client got {answer:.100}");
            most = most.max(fault::resident_kib(site.proxy_pid()));
        }
        assert!(most < before + MOST_KIB, "{kind}: {most} KiB in memory, {before} before");
    }
    let metrics = site.metrics();
    assert!(metrics.contains("reason=\"head_timeout\""), "no slow head was ended: {metrics}");
    wait_until(SOON, "no connection to be left", || {
        let metrics = site.metrics();
        let none = metrics.contains("\nhotspare_connections{instance=\"line-1\"} 0\n");
        if none { Ok(()) } else { Err(metrics) }
    });
}

#[test]
fn admin_waits_for_no_body_that_is_too_large_or_does_not_come() {
    let site = Site::serving("", plenty);
    for (length, status) in [(1_u64 << 40, 413), (100, 408)] {
        let mut client = TcpStream::connect(site.proxy(9480)).unwrap();
        client.set_read_timeout(Some(SOON)).unwrap();
        write!(
            client,
            "POST /v1/instances/line-1/pause HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN}\r\ncontent-length: {length}\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "of {length} bytes none came, and: {answer}");
    }
}
