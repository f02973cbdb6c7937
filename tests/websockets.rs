//! Autobahn's websocket suite: through the proxy its cases end as they do without it.
//!
//! All of its groups are here, two not whole. Of 9 (how much, how fast) messages of up to 16 MiB, in pieces of the client's, in
//! small writes, and many small ones; not 9.3 and 9.4, 4 MiB in up to 65,536 fragments: on a busy machine some of
//! them fail without a proxy too. Of 12 and 13 (compression, 216 cases of 1,000 messages each) one of each kind of data and of
//! some ways to negotiate it: to the proxy they are the same bytes.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::collections::BTreeMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use hotspare_test_support::process::Process;
use hotspare_test_support::site::{SOON, Site};

/// Framing, pings, reserved bits, opcodes, fragments, UTF-8, closing, amounts, a message in pieces, compression.
const CASES: [&str; 18] = [
    "1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.1.*", "9.2.*", "9.5.*", "9.6.*", "9.7.*", "9.8.*", "10.*",
    "12.1.1", "12.3.1", "13.1.1", "13.5.1",
];

static SERVER: OnceLock<SocketAddr> = OnceLock::new();

/// The member is a relay to the websocket server, since that one was started before.
fn relay(_: &str, client: TcpStream) {
    let Ok(server) = TcpStream::connect(SERVER.get().unwrap()) else { return };
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(&client, &server));
        copy(&server, &client);
    });
}

fn python(script: &str) -> Command {
    let python = std::env::var_os("HOTSPARE_WEBSOCKETS").expect("HOTSPARE_WEBSOCKETS: source tests/setup.sh; setup");
    let mut command = Command::new(Path::new(&python).join("bin/python"));
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/websockets").join(script));
    command
}

fn verdicts(at: SocketAddr) -> BTreeMap<String, String> {
    let output = python("cases.py").arg(format!("ws://{at}")).args(CASES).output().unwrap();
    assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    // How much a server had sent back before it hung up on a client's mistake is a race in itself: the suite lets a case
    // pass as "non-strict" then.
    let text = String::from_utf8_lossy(&output.stdout).replace("NON-STRICT", "OK");
    text.lines().map(|line| line.split_once(' ').unwrap()).map(|(case, is)| (case.to_owned(), is.to_owned())).collect()
}

#[test]
fn every_case_of_autobahn_ends_as_it_does_without_the_proxy() {
    let mut server = Process::start("the websocket server", python("echo.py"));
    let port = server.wait_for_line(SOON, "").trim().parse().unwrap();
    let address = *SERVER.get_or_init(|| SocketAddr::from(([127, 0, 0, 1], port)));
    let site = Site::serving(
        "[[instance.listener]]\nname = \"web\"\nlisten = \"PROXY:1881\"\nport = 1880\nprotocol = \"http\"\n",
        relay,
    );
    let direct = verdicts(address);
    assert!(direct.len() > 200, "only {} cases ran", direct.len());
    let good = direct.values().filter(|verdict| verdict.ends_with("OK OK")).count();
    assert!(good > direct.len() / 2, "the server itself is no good: {direct:?}");
    for (listener, port) in [("tcp", 1880), ("http", 1881)] {
        let through = verdicts(site.proxy(port));
        let other: Vec<_> = direct.iter().filter(|(case, verdict)| through.get(*case) != Some(verdict)).collect();
        let seen: Vec<_> = other.iter().map(|(case, verdict)| (case, verdict, through.get(*case))).collect();
        assert!(other.is_empty(), "through the {listener} listener: (case, without, with) {seen:?}");
    }
}
