//! The lab cuts what it says it cuts, and nothing else.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use hotspare_test_support::lab::Lab;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;

const PATIENCE: Duration = Duration::from_secs(20);
const PORT: u16 = 8080;

/// Whether a host gets an answer from another within a second, and what it got instead.
fn ask(lab: &Lab, from: &str, to: IpAddr) -> Result<(), String> {
    let mut command = lab.command(from, "curl");
    command.args([
        "--silent",
        "--show-error",
        "--max-time",
        "1",
        "--output",
        "/dev/null",
        &format!("http://{to}:{PORT}/"),
    ]);
    let output = command.output().expect("curl");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn reaches(lab: &Lab, from: &str, to: &str) {
    wait_until(PATIENCE, &format!("{from} to reach {to}"), || ask(lab, from, lab.ip(to)));
}

fn is_cut_from(lab: &Lab, from: &str, to: &str) -> String {
    wait_until(PATIENCE, &format!("{from} to be cut from {to}"), || match ask(lab, from, lab.ip(to)) {
        Ok(()) => Err("an answer"),
        Err(error) => Ok(error),
    })
}

fn serve(lab: &Lab, host: &str) -> Process {
    let mut command: Command = lab.command(host, "node");
    command.args(["-e", &format!("require('http').createServer((q, s) => s.end('here')).listen({PORT})")]);
    Process::start(host, command)
}

#[test]
fn each_cut_cuts_what_it_says_and_heals() {
    let lab = Lab::new(&["a", "b", "proxy"]);
    let _servers = ["a", "b", "proxy"].map(|host| serve(&lab, host));
    reaches(&lab, "proxy", "a");
    reaches(&lab, "proxy", "b");
    reaches(&lab, "a", "b");

    lab.cut("a");
    is_cut_from(&lab, "proxy", "a");
    is_cut_from(&lab, "a", "b");
    reaches(&lab, "proxy", "b");
    ask(&lab, "a", lab.test_ip()).expect_err("nothing listens there");
    assert_control(&lab, "a");
    lab.heal("a");
    reaches(&lab, "proxy", "a");

    lab.separate("a", "proxy");
    is_cut_from(&lab, "proxy", "a");
    is_cut_from(&lab, "a", "proxy");
    reaches(&lab, "a", "b");
    lab.heal("a");
    reaches(&lab, "a", "proxy");

    for cut in [Lab::deafen, Lab::mute] {
        cut(&lab, "b");
        is_cut_from(&lab, "proxy", "b");
        is_cut_from(&lab, "b", "proxy");
        lab.heal("b");
        reaches(&lab, "proxy", "b");
    }

    lab.reset("b", PORT);
    let refused = is_cut_from(&lab, "proxy", "b");
    assert!(refused.contains("connect") && !refused.contains("timed out"), "{refused}");
    lab.heal("b");
    reaches(&lab, "proxy", "b");

    lab.lose("b", 99);
    is_cut_from(&lab, "proxy", "b");
    lab.heal("b");
    reaches(&lab, "proxy", "b");
}

/// The test itself reaches a host whose cable is pulled, and the host reaches the test.
fn assert_control(lab: &Lab, host: &str) {
    let mut stream = TcpStream::connect(SocketAddr::new(lab.control_ip(host), PORT)).expect("the test's own link");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("ask");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("here"), "{answer}");
    let listener = TcpListener::bind((lab.test_ip(), 0)).expect("bind in the witness network");
    let port = listener.local_addr().expect("its address").port();
    let mut curl = lab.command(host, "curl");
    curl.args(["--silent", "--max-time", "5", &format!("http://{}:{port}/", lab.test_ip())]);
    let _curl = Process::start("curl", curl);
    listener.set_nonblocking(true).expect("non-blocking");
    wait_until(PATIENCE, "the host to reach the test", || -> io::Result<()> { listener.accept().map(drop) });
}
