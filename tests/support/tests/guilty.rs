//! The whole apparatus, from real flows to the verdict, finds a pair guilty that nobody fences: what a failover without
//! fencing does is seen, so a clean verdict elsewhere means something.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::fault;
use hotspare_test_support::flows::{Flows, TICK};
use hotspare_test_support::node_red;
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::{Sink, Violation, judge};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_frozen_active_that_is_replaced_and_thaws_is_found_guilty() {
    let block = LoopbackBlock::take();
    let sink = Sink::start(block.ip(9));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let start = |name: &str, host: u8, epoch: u64| {
        let home = folder.path().join(name);
        node_red::write_user_dir(&home, block.socket(host, 1880), &Flows::new().tick_udp(sink.udp));
        bare(&home, name, epoch)
    };
    let acts = |name: &str, more: u64| {
        let before = sink.last_act(name).map_or(0, |act| act.seq);
        wait_until(PATIENCE, &format!("{more} more acts of {name}"), || match sink.last_act(name) {
            Some(act) if act.seq >= before + more => Ok(()),
            other => Err(other),
        });
    };

    let old = start("a", 2, 1);
    acts("a", 10);
    fault::freeze(old.pid());
    let _new = start("b", 3, 2);
    acts("b", 10);
    judge(&sink.history(), TICK).assert_clean();
    sink.must_be_silent("a", 1, "b has taken over");
    fault::thaw(old.pid());
    acts("a", 1);

    let verdict = judge(&sink.history(), TICK);
    let found = |kind: fn(&Violation) -> bool| assert!(verdict.violations.iter().any(kind), "{verdict}");
    found(|violation| matches!(violation, Violation::Overlap { .. }));
    found(|violation| matches!(violation, Violation::DeadEpoch { seen: 2, .. }));
    found(|violation| matches!(violation, Violation::NotSilent { .. }));
}

/// A Node-RED as it is, with nothing that could stop it.
fn bare(home: &Path, name: &str, epoch: u64) -> Process {
    let words = node_red::command(NodeRed::V4, home);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("HOTSPARE_MEMBER", name).env("HOTSPARE_EPOCH", epoch.to_string());
    Process::start(name, command)
}
