//! The fixtures do what the tests rely on, with each real Node-RED and a real broker, without any part of hotspare.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::broker::Broker;
use hotspare_test_support::client::{Who, who};
use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::fault::{self, Pid};
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::http;
use hotspare_test_support::node_red;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::{Sink, judge};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn flows_tell_the_witness_who_they_are_on_node_red_4() {
    flows_tell_the_witness_who_they_are(NodeRed::V4);
}

#[test]
fn flows_tell_the_witness_who_they_are_on_node_red_5() {
    flows_tell_the_witness_who_they_are(NodeRed::V5);
}

fn flows_tell_the_witness_who_they_are(version: NodeRed) {
    let block = LoopbackBlock::take();
    let address = block.socket(2, 1880);
    let broker = Broker::start(block.socket(9, 1883));
    let mut sink = Sink::start(block.ip(9));
    sink.subscribe(broker.address);
    let flows = Flows::new().hang().slow().tick_udp(sink.udp).tick_http(sink.http).tick_mqtt(broker.address);
    let folder = tempfile::tempdir().expect("a temporary folder");
    node_red::write_user_dir(folder.path(), address, &flows);
    let mut process = start(version, folder.path());

    let expected = Who { member: "a".to_owned(), epoch: 7 };
    wait_until(PATIENCE, "/who to answer", || match who(address, PATIENCE) {
        Ok(answer) if answer == expected => Ok(()),
        other => Err(format!("{other:?}")),
    });
    wait_until(PATIENCE, "20 acts by each way", || {
        let count = |kind: &str| sink.history().acts().filter(|act| act.kind == kind).count();
        let counts = ["udp", "http", "mqtt"].map(count);
        if counts.iter().all(|count| *count >= 20) { Ok(()) } else { Err(counts) }
    });
    let verdict = judge(&sink.history(), TICK);
    verdict.assert_clean();
    assert_eq!(verdict.tenures.len(), 1, "{verdict}");
    assert_eq!((verdict.lost, verdict.duplicated), (0, 0), "{verdict}");
    for act in sink.history().acts() {
        let sent = act.sent.expect("the flow said when it acted");
        assert!(sent <= act.at, "one clock for flows and sink: {act:?}");
    }

    // A hung event loop accepts and doesn't answer; freed, it does.
    assert_eq!(hung_answer(address), "free again");
    process.terminate(PATIENCE);
}

fn hung_answer(address: SocketAddr) -> String {
    http::get(address, "/hang?ms=200").within(PATIENCE).send().expect("an answer after the hang").body
}

#[test]
fn the_process_of_node_red_is_found_and_its_guard_ends_it() {
    let block = LoopbackBlock::take();
    let folder = tempfile::tempdir().expect("a temporary folder");
    node_red::write_user_dir(folder.path(), block.socket(2, 1880), &Flows::new());
    let command = node_red::command(NodeRed::V4, folder.path());
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\"; true", "sh"]).args(command);
    let guard = Process::start("shell around Node-RED", shell);
    let found: Pid = wait_until(PATIENCE, "a Node-RED below the shell", || {
        fault::node_red_below(guard.pid()).ok_or_else(|| fault::descendants(guard.pid()))
    });
    fault::freeze(found);
    assert!(fault::is_alive(found), "a frozen process is alive");
    drop(guard);
    wait_until(PATIENCE, "the end of Node-RED", || if fault::is_alive(found) { Err(found) } else { Ok(()) });
}

fn start(version: NodeRed, folder: &std::path::Path) -> Process {
    let words = node_red::command(version, folder);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("HOTSPARE_MEMBER", "a").env("HOTSPARE_EPOCH", "7");
    Process::start("Node-RED", command)
}
