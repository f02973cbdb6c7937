//! Live upgrade of a proxy under load, and its orderly stop: no request fails, flows don't notice, one process at a time
//! decides.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use hotspare::takeover::Heir;
use hotspare_test_support::client::{Client, Who};
use hotspare_test_support::fault::{self, Signal};
use hotspare_test_support::flows::{TICK, WHO};
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::judge;

/// Flows that ran on have no gap longer than this: a few ticks of the witness.
const NO_GAP: Duration = Duration::from_secs(1);

fn start(drain: &str) -> (Pair, Who) {
    let standard = Setup::default().config;
    let pair = Setup { config: format!("{standard}[proxy]\ndrain = \"{drain}\"\n"), ..Setup::default() }.start();
    let before = pair.wait_until_steady();
    (pair, before)
}

/// A connection on which requests follow one another.
struct Kept(TcpStream);

impl Kept {
    fn open(pair: &Pair) -> Self {
        let stream = TcpStream::connect(pair.front()).expect("connect to the proxy");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let mut kept = Self(stream);
        kept.ask();
        kept
    }

    /// One request; the answer's first bytes are enough to know that it came.
    fn ask(&mut self) {
        self.0.write_all(format!("GET {WHO} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).expect("send a request");
        let mut answer = [0; 4096];
        let length = self.0.read(&mut answer).expect("an answer on a connection that was open before");
        let text = String::from_utf8_lossy(&answer[..length]);
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
}

fn assert_all_served(clients: &[Client], by: &Who) {
    for client in clients {
        let answers = client.answers();
        assert!(!answers.is_empty(), "no request was answered");
        let others: Vec<_> = answers.iter().filter(|answer| answer.result.as_ref() != Ok(by)).collect();
        assert!(
            others.is_empty(),
            "{} of {} requests: {:?}",
            others.len(),
            answers.len(),
            &others[..others.len().min(3)]
        );
    }
}

/// Waits until the process that answers on the admin listener is a younger one.
fn wait_for_a_younger(pair: &Pair, than_ms: u64) {
    wait_until(PATIENCE, "another process to answer", || {
        let status = pair.get("/status").send().map_err(|error| error.to_string())?.json();
        let uptime = status["controller"]["uptime_ms"].as_u64().ok_or("no uptime")?;
        if uptime < than_ms { Ok(()) } else { Err(format!("up for {uptime} ms")) }
    });
}

fn uptime(pair: &Pair) -> u64 {
    let status = pair.get("/status").send().expect("a status").json();
    status["controller"]["uptime_ms"].as_u64().expect("an uptime")
}

#[test]
fn a_new_process_takes_over_under_load_and_nobody_notices() {
    let (mut pair, before) = start("30s");
    let clients: Vec<Client> = (0..3).map(|_| Client::start(pair.front())).collect();

    // As systemd and people do it: by a signal.
    let mut kept = Kept::open(&pair);
    let old = uptime(&pair);
    pair.proxy().signal(Signal::USR2);
    wait_for_a_younger(&pair, old);
    kept.ask();
    assert!(pair.proxy().is_running(), "it stays for the connection that is open");
    drop(kept);
    assert!(pair.proxy().wait(PATIENCE).success(), "it ends with its last connection");
    assert_eq!(pair.wait_until_steady(), before, "nothing moved");

    // And by hand, from the one that has just taken over.
    let mut first = pair.take_over_proxy();
    pair.proxy().wait_for_line(PATIENCE, "taken over");
    assert_eq!(pair.wait_until_steady(), before, "nothing moved");
    assert_all_served(&clients, &before);
    let verdict = judge(&pair.sink.history(), TICK);
    assert!(verdict.longest_gap() < NO_GAP, "flows stood still for {:?}", verdict.longest_gap());
    drop(clients);

    // The newest decides.
    fault::kill(pair.node_red_pid(&before.member));
    let after = pair.wait_for_takeover(&before);
    pair.wait_for_act(&after);
    judge(&pair.sink.history(), TICK).assert_clean();
    assert!(!first.is_running(), "the process that was taken over first has ended");
}

#[test]
fn a_process_that_fails_to_take_over_changes_nothing() {
    let (mut pair, before) = start("1s");
    let store = pair.folder().join("store");
    // One that ends after the first question, and one that ends when it could have decided.
    drop(Heir::meet(&store).expect("the proxy answers"));
    let (heir, sockets) = Heir::meet(&store).expect("the proxy answers again");
    assert!(sockets.contains_key(&pair.front()), "clients' sockets are handed over: {sockets:?}");
    heir.take().expect("the proxy stops to decide");
    let status = pair.get("/status").send().expect("a status").json();
    assert_eq!(status["controller"]["leader"], false, "one decides at most, and that could be the other now");
    assert_eq!(pair.who().as_ref(), Ok(&before), "clients are served meanwhile");
    drop((heir, sockets));

    assert_eq!(pair.wait_until_steady(), before);
    fault::kill(pair.node_red_pid(&before.member));
    let after = pair.wait_for_takeover(&before);
    pair.wait_for_act(&after);
    judge(&pair.sink.history(), TICK).assert_clean();
    assert!(pair.proxy().is_running());
}

#[test]
fn a_stop_is_announced_first_and_lets_connections_finish() {
    let (mut pair, before) = start("30s");
    let mut kept = Kept::open(&pair);
    pair.proxy().signal(Signal::TERM);
    wait_until(PATIENCE, "readiness to go", || match pair.get("/readyz").send() {
        Ok(answer) if answer.status == 503 => Ok(()),
        other => Err(other.map(|answer| answer.body)),
    });
    assert_eq!(pair.who().as_ref(), Ok(&before), "whoever has not noticed yet is served");
    wait_until(PATIENCE, "new connections to be refused", || match TcpStream::connect(pair.front()) {
        Err(_) => Ok(()),
        Ok(_) => Err("one was accepted"),
    });
    kept.ask();
    assert!(pair.proxy().is_running(), "it stays for the connection that is open");
    drop(kept);
    assert!(pair.proxy().wait(PATIENCE).success());
}
