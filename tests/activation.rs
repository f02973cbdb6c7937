//! Sockets that somebody else listens with, as systemd does for a socket unit: no client is refused while the proxy is
//! started again, nor before it is started at all.

#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hotspare_test_support::client::who;
use hotspare_test_support::flows::WHO;
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};

/// Passes its standard input on as systemd does: as descriptor 3, with a word about it in the environment.
const AS_SYSTEMD: [&str; 4] =
    ["sh", "-c", "exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$@\"", "the program's name comes here"];

fn prepare() -> Pair {
    let standard = Setup::default().config;
    let config = format!("{standard}[instance.timeouts]\npark = \"1m\"\n[proxy]\ndrain = \"1s\"\n");
    let mut pair = Setup { config, ..Setup::default() }.prepare();
    pair.start_launcher("a");
    pair.start_launcher("b");
    pair
}

fn start_with(pair: &mut Pair, socket: &TcpListener) {
    let socket = OwnedFd::from(socket.try_clone().unwrap());
    pair.start_proxy_through(&AS_SYSTEMD, Stdio::from(socket));
}

#[test]
fn no_client_is_refused_while_the_proxy_is_started_again() {
    let mut pair = prepare();
    let front = pair.front();
    let socket = TcpListener::bind(front).unwrap();
    start_with(&mut pair, &socket);
    let before = pair.wait_until_steady();

    let ended = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let ended = ended.clone();
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    answers.push(who(front, PATIENCE));
                }
                answers
            })
        })
        .collect();
    assert!(pair.proxy().terminate(PATIENCE).success());
    let mut waits = TcpStream::connect(front).expect("nobody serves, and it is no refusal");
    waits.write_all(format!("GET {WHO} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    start_with(&mut pair, &socket);
    assert_eq!(pair.wait_until_steady(), before, "nothing moved");
    waits.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    waits.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    ended.store(true, Ordering::Relaxed);
    for client in clients {
        let answers = client.join().unwrap();
        let wrong: Vec<_> = answers.iter().filter(|answer| answer.as_ref() != Ok(&before)).collect();
        assert!(wrong.is_empty() && !answers.is_empty(), "{} of {}: {wrong:?}", wrong.len(), answers.len());
    }
}

#[test]
fn systemds_own_tool_starts_it_with_the_first_client() {
    let mut pair = prepare();
    let front = pair.front().to_string();
    pair.start_proxy_through(&["systemd-socket-activate", "--listen", &front], Stdio::null());
    pair.proxy().wait_for_line(PATIENCE, "Listening on");
    let served = who(pair.front(), PATIENCE).expect("the client that started it is served");
    assert_eq!(pair.wait_until_steady(), served);
}
