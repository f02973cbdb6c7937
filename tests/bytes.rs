//! Bytes through the proxy are intact, however they come: in bulk both ways, one by one, half closed, reset, in very
//! many connections at once, from real Node-RED's editor.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::environment::hotspare;
use hotspare_test_support::http;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes in each direction of the bulk test.
const GIB: u64 = 1 << 30;

/// The proxy in front of two plain servers of the test's own.
struct Plain {
    process: Process,
    block: LoopbackBlock,
    _folder: TempDir,
}

impl Plain {
    fn start() -> Self {
        let block = LoopbackBlock::take();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("hotspare.toml");
        let text = format!(
            "[admin]\nlisten = \"{}\"\n[store]\ndir = \"{}\"\n[[instance]]\nname = \"plain\"\nlisten = \"{}\"\nprefer = \"a\"\n\
             [[instance.member]]\nname = \"a\"\naddress = \"{}\"\nlauncher = {{ kind = \"none\" }}\n\
             [[instance.member]]\nname = \"b\"\naddress = \"{}\"\nlauncher = {{ kind = \"none\" }}\n",
            block.socket(1, 9480),
            folder.path().join("store").display(),
            block.socket(1, 7000),
            block.socket(2, 7000),
            block.socket(3, 7000),
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(hotspare());
        command.arg("run").arg("--config").arg(&config);
        let process = Process::start("proxy", command);
        Plain { process, block, _folder: folder }
    }

    /// The listener of the member that traffic goes to.
    fn listen(&self) -> TcpListener {
        let listener = TcpListener::bind(self.block.socket(2, 7000)).unwrap();
        // Room for a whole crowd: what overflows is answered with SYN cookies and sorted out in seconds, or reset.
        rustix::net::listen(&listener, 4096).unwrap();
        listener
    }

    fn admin(&self) -> SocketAddr {
        self.block.socket(1, 9480)
    }

    fn connect(&self) -> TcpStream {
        wait_until(PATIENCE, "the proxy to accept", || TcpStream::connect(self.block.socket(1, 7000)))
    }
}

/// The next connection that carries something or stays open: health checks connect and close at once.
fn accept_real(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let began = Instant::now();
    loop {
        assert!(began.elapsed() < PATIENCE, "no client came to the member, only health checks");
        let (stream, _) = wait_until(PATIENCE, "a connection to the member", || listener.accept());
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut first = [0];
        match stream.peek(&mut first) {
            Ok(0) => {}
            Ok(_) => return stream,
            Err(error) => assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "a connection without a first byte"),
        }
    }
}

/// Bytes that are different at every place: a block swapped, lost or doubled is seen.
fn pattern(offset: u64, buffer: &mut [u8]) {
    for (index, word) in buffer.chunks_mut(8).enumerate() {
        let mixed = (offset / 8 + index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        word.copy_from_slice(&mixed.to_le_bytes()[..word.len()]);
    }
}

fn send_pattern(mut to: TcpStream, total: u64) {
    let mut block = vec![0; 256 << 10];
    for offset in (0..total).step_by(block.len()) {
        pattern(offset, &mut block);
        to.write_all(&block).unwrap();
    }
    to.shutdown(Shutdown::Write).unwrap();
}

fn expect_pattern(mut from: TcpStream, total: u64) {
    let (mut block, mut expected) = (vec![0; 256 << 10], vec![0; 256 << 10]);
    for offset in (0..total).step_by(block.len()) {
        from.read_exact(&mut block).unwrap();
        pattern(offset, &mut expected);
        assert!(block == expected, "other bytes between {offset} and {}", offset + block.len() as u64);
    }
    assert_eq!(from.read(&mut block).unwrap(), 0, "more bytes than were sent");
}

#[test]
fn a_gibibyte_each_way_at_once() {
    let plain = Plain::start();
    let listener = plain.listen();
    let client = plain.connect();
    let sending = client.try_clone().unwrap();
    let sender = thread::spawn(move || send_pattern(sending, GIB));
    let server = accept_real(&listener);
    let answering = server.try_clone().unwrap();
    let threads = [
        sender,
        thread::spawn(move || send_pattern(answering, GIB)),
        thread::spawn(move || expect_pattern(server, GIB)),
        thread::spawn(move || expect_pattern(client, GIB)),
    ];
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn single_bytes_come_one_by_one() {
    let plain = Plain::start();
    let listener = plain.listen();
    let mut client = plain.connect();
    client.set_nodelay(true).unwrap();
    client.write_all(&[0]).unwrap();
    let mut server = accept_real(&listener);
    for byte in 0..=255 {
        if byte > 0 {
            client.write_all(&[byte]).unwrap();
        }
        let mut got = [0];
        server.read_exact(&mut got).unwrap();
        assert_eq!(got[0], byte);
        server.write_all(&[!byte]).unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(got[0], !byte, "each byte passes without waiting for a next one");
    }
}

#[test]
fn half_closed_either_way_the_other_way_goes_on() {
    let plain = Plain::start();
    let listener = plain.listen();
    for client_first in [true, false] {
        let mut client = plain.connect();
        client.write_all(b"hello").unwrap();
        let mut server = accept_real(&listener);
        server.read_exact(&mut [0; 5]).unwrap();
        let (ending, going_on) = if client_first { (&mut client, &mut server) } else { (&mut server, &mut client) };
        ending.shutdown(Shutdown::Write).unwrap();
        assert_eq!(going_on.read(&mut [0]).unwrap(), 0, "the end is passed on (client first: {client_first})");
        going_on.write_all(b"after your end").unwrap();
        let mut got = [0; 14];
        ending.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"after your end");
        going_on.shutdown(Shutdown::Write).unwrap();
        assert_eq!(ending.read(&mut got).unwrap(), 0);
    }
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    let plain = Plain::start();
    let listener = plain.listen();
    for client_resets in [true, false] {
        let mut client = plain.connect();
        client.write_all(b"x").unwrap();
        let server = accept_real(&listener);
        let (resetting, mut other) = if client_resets { (client, server) } else { (server, client) };
        if client_resets {
            other.read_exact(&mut [0]).unwrap();
        }
        // A lingering time of zero turns close into a reset.
        rustix::net::sockopt::set_socket_linger(&resetting, Some(Duration::ZERO)).unwrap();
        drop(resetting);
        let error = other.read(&mut [0]).expect_err("a reset, not an orderly end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "client resets: {client_resets}");
    }
}

#[test]
fn two_thousand_connections_at_once_and_no_descriptor_left_over() {
    const CONNECTIONS: usize = 2000;
    let plain = Plain::start();
    let listener = plain.listen();
    let (mut first, first_server) = {
        let mut client = plain.connect();
        client.write_all(b"x").unwrap();
        (client, accept_real(&listener))
    };
    drop(first_server);
    let _ = first.read(&mut [0]);
    drop(first);
    let before = settled_descriptors(&plain, None);

    let servers = thread::spawn(move || {
        let mut servers = Vec::new();
        while servers.len() < CONNECTIONS {
            let mut server = accept_real(&listener);
            let mut number = [0; 4];
            server.read_exact(&mut number).unwrap();
            server.write_all(&number).unwrap();
            servers.push(server);
        }
        servers
    });
    let clients: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|number| {
            let mut client = plain.connect();
            client.write_all(&u32::try_from(number).unwrap().to_le_bytes()).unwrap();
            client
        })
        .collect();
    for (number, mut client) in clients.iter().enumerate() {
        let mut got = [0; 4];
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.read_exact(&mut got).unwrap();
        assert_eq!(u32::from_le_bytes(got) as usize, number, "an answer reached another client");
    }
    drop(clients);
    drop(servers.join().unwrap());
    settled_descriptors(&plain, Some(before));
}

/// The number of open descriptors of the proxy once it stands still (at `expected`, if given).
fn settled_descriptors(plain: &Plain, expected: Option<usize>) -> usize {
    let folder = Path::new("/proc").join(plain.process.pid().to_string()).join("fd");
    let mut last = None;
    wait_until(PATIENCE, &format!("open descriptors to settle at {expected:?}"), || {
        let now = fs::read_dir(&folder).unwrap().count();
        thread::sleep(Duration::from_millis(200));
        let settled = last.replace(now) == Some(now);
        // A health check may hold a descriptor at this moment.
        if settled && expected.is_none_or(|before| now <= before + 1) { Ok(now) } else { Err(now) }
    })
}

#[test]
fn the_admin_listener_answers_while_nothing_serves() {
    let plain = Plain::start();
    wait_until(PATIENCE, "/livez", || match http::get(plain.admin(), "/livez").send() {
        Ok(answer) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let answer = http::get(plain.admin(), "/readyz").send().unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
}

#[test]
fn a_client_that_comes_before_any_member_waits_and_is_served() {
    let plain = Plain::start();
    let mut client = plain.connect();
    client.write_all(b"early").unwrap();
    let listener = plain.listen();
    let mut server = accept_real(&listener);
    let mut got = [0; 5];
    server.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"early");
}
