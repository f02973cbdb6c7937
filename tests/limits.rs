//! What is over a bound is turned away at once, and why is counted. What is open goes on, and so do decisions: traffic
//! can't starve what makes a failover.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hotspare_test_support::fault;
use hotspare_test_support::flows::TICK;
use hotspare_test_support::http;
use hotspare_test_support::pair::{PATIENCE, Setup};
use hotspare_test_support::site::{READ, SOON, Site};
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::judge;

/// Says the server's name and stays.
fn stay(name: &str, mut stream: TcpStream) {
    let _ = stream.write_all(name.as_bytes()).and_then(|()| stream.read_to_end(&mut Vec::new()));
}

/// A client that is in: it has had the first byte of an answer.
fn enter(site: &Site) -> TcpStream {
    let mut client = TcpStream::connect(site.proxy(1880)).unwrap();
    client.set_read_timeout(Some(SOON)).unwrap();
    client.read_exact(&mut [0]).unwrap();
    client
}

/// How many connections ended for a reason, by the page of metrics.
fn ended(metrics: &str, reason: &str) -> u64 {
    let series = format!("hotspare_connections_closed_total{{instance=\"line-1\",reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&series)).map_or(0, |count| count.parse().unwrap())
}

/// Waits until one connection has been counted as ended for this reason: its client may know before.
fn one_ended(site: &Site, reason: &str) {
    wait_until(SOON, &format!("one ended by {reason}"), || match ended(&site.metrics(), reason) {
        1 => Ok(()),
        other => Err(other),
    });
}

#[test]
fn bounds_of_an_address_and_of_a_second_hold_and_change_with_the_file() {
    let site = Site::serving("[instance.limits]\nper_source = 3\n", stay);
    let clients: Vec<TcpStream> = (0..3).map(|_| enter(&site)).collect();
    assert_eq!(site.answer(1880, b""), "", "one more than its address may have");
    one_ended(&site, "limit_source");
    drop(clients);

    let file = site.folder().join("hotspare.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("per_source = 3", "rate = 1")).unwrap();
    let mut clients = Vec::new();
    wait_until(SOON, "a client too many in its second", || {
        clients.push(TcpStream::connect(site.proxy(1880)).unwrap());
        let metrics = site.metrics();
        if ended(&metrics, "limit_rate") > 0 { Ok(()) } else { Err(metrics) }
    });
}

#[test]
fn whose_connection_was_refused_is_in_the_log_and_an_exemplar_and_no_label() {
    let site =
        Site::serving("[instance.limits]\nper_source = 1\n[log]\nlevel = \"info,hotspare_datapath=debug\"\n", stay);
    let within = enter(&site);
    let mut refused = TcpStream::connect(site.proxy(1880)).unwrap();
    refused.set_read_timeout(Some(SOON)).unwrap();
    let address = refused.local_addr().unwrap();
    assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)), "one more than its address may have");
    one_ended(&site, "limit_source");
    wait_until(SOON, "a line with its address", || {
        let log = site.log();
        let client = format!("client={address}");
        let line = log.lines().find(|line| line.contains(&client)).ok_or_else(|| log.clone())?;
        if line.contains("limit_source") { Ok(()) } else { Err(line.to_owned()) }
    });
    let page = |accept: &str| {
        http::get(site.proxy(9480), "/metrics").token(READ).header("accept", accept).send().unwrap().body
    };
    let open = page("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5");
    let line = open.lines().find(|line| line.contains("reason=\"limit_source\"")).unwrap_or_else(|| panic!("{open}"));
    assert!(line.contains(&format!("}} 1 # {{client=\"{}\"}} 1 ", address.ip())), "{line}");
    assert!(open.ends_with("# EOF\n"), "{open}");
    let plain = page("text/plain");
    assert!(!plain.contains("client=") && ended(&plain, "limit_source") == 1, "{plain}");
    drop(within);
}

#[test]
fn a_change_of_the_active_needs_no_room_among_connections() {
    let site = Site::serving("[proxy]\nmax_connections = 8\n", stay);
    let old = site.active();
    let clients: Vec<TcpStream> = (0..8).map(|_| enter(&site)).collect();
    assert_eq!(site.answer(1880, b""), "", "one more than there may be in all");
    one_ended(&site, "limit_total");
    site.says(&["switchover", "line-1", "--reason", "a test"]);
    assert_ne!(site.active(), old);
    for mut client in clients {
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)), "a connection outlived its epoch");
    }
    drop(enter(&site));
}

/// Holds more connections than there can be, and comes back with each that was ended.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(at: SocketAddr, connections: usize) -> Flood {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut clients: Vec<Option<TcpStream>> = (0..connections).map(|_| None).collect();
            while !stopped.load(Ordering::Relaxed) {
                for client in &mut clients {
                    let gone = client.as_mut().is_none_or(|c| match c.read(&mut [0; 100]) {
                        Ok(read) => read == 0,
                        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
                    });
                    if gone {
                        *client = TcpStream::connect_timeout(&at, Duration::from_secs(1)).ok();
                        client.iter().for_each(|c| c.set_nonblocking(true).unwrap());
                    }
                }
                // Not to take the machine from those who are tested.
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Flood { stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[test]
fn a_failover_needs_no_descriptor_that_a_client_could_take() {
    let mut pair = Setup { through: vec!["prlimit", "--nofile=1024:1024"], ..Setup::default() }.start();
    let before = pair.wait_until_steady();
    pair.wait_for_act(&before);
    let flood = Flood::start(pair.front(), 300);
    let proxy = pair.proxy().pid();
    wait_until(PATIENCE, "the data path to be full", || {
        let metrics = pair.get("/metrics").send().map_err(|error| error.to_string())?.body;
        if ended(&metrics, "limit_total") > 0 { Ok(()) } else { Err(metrics) }
    });
    let open = fault::open_descriptors(proxy);
    assert!(open < 1024 - 500, "{open} of 1024 descriptors are open: control has too few left");
    fault::kill(pair.node_red_pid(&before.member));
    let other = pair.other(&before.member).name;
    wait_until(PATIENCE, "the other member's flows to act", || match pair.sink.last_act(other) {
        Some(act) if act.epoch > before.epoch => Ok(()),
        last => Err(format!("{last:?}; {:?}", pair.status())),
    });
    drop(flood);
    pair.wait_until_steady();
    let verdict = judge(&pair.sink.history(), TICK);
    assert!(verdict.is_clean(), "{verdict}");
}
