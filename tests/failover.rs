//! Each named fault of the processes, on real Node-REDs: what has to come of it comes, and the witness saw no member
//! act beside another. Faults of networks are in partition.rs.

use hotspare_test_support::environment::NodeRed;
use hotspare_test_support::flows::TICK;
use hotspare_test_support::pair::Setup;
use hotspare_test_support::scenario::{self, Needs};
use hotspare_test_support::witness::judge;

fn survives(name: &str, node_red: NodeRed) {
    survives_all(&[name], node_red);
}

/// One after the other, on one pair.
fn survives_all(names: &[&str], node_red: NodeRed) {
    let fault = |name: &&str| scenario::named(name).unwrap_or_else(|| panic!("no fault {name}"));
    let faults: Vec<_> = names.iter().map(fault).collect();
    let need = |needs| faults.iter().any(|fault| fault.needs == needs);
    let (clock, relays) = (need(Needs::Clock), need(Needs::Relays));
    let mut pair = Setup { node_red, all_senders: true, clock, relays, ..Setup::default() }.start();
    for fault in faults {
        scenario::run(&mut pair, fault);
    }
    judge(&pair.sink.history(), TICK).assert_clean();
}

macro_rules! survives {
    ($($test:ident: $fault:literal on $version:ident;)*) => {$(
        #[test]
        fn $test() {
            survives($fault, NodeRed::$version);
        }
    )*};
}

survives! {
    crash: "crash" on V4;
    crash_5: "crash" on V5;
    exit: "exit" on V4;
    hang: "hang" on V4;
    hang_5: "hang" on V5;
    busy_is_not_hung: "busy" on V4;
    hang_and_free: "hang-and-free" on V4;
    freeze_node_red_briefly: "freeze-node-red-briefly" on V4;
    freeze_node_red: "freeze-node-red" on V4;
    freeze_node_red_5: "freeze-node-red" on V5;
    freeze_launcher_briefly: "freeze-launcher-briefly" on V4;
    freeze_launcher: "freeze-launcher" on V4;
    freeze_both: "freeze-both" on V4;
    freeze_both_5: "freeze-both" on V5;
    kill_launcher: "kill-launcher" on V4;
    kill_launcher_and_node_red: "kill-launcher-and-node-red" on V4;
    stop_launcher: "stop-launcher" on V4;
    standby_crash_moves_nothing: "standby-crash" on V4;
    standby_launcher_killed_moves_nothing: "standby-kill-launcher" on V4;
    kill_proxy: "kill-proxy" on V4;
    kill_proxy_for_a_moment: "kill-proxy-for-a-moment" on V4;
    freeze_proxy_briefly: "freeze-proxy-briefly" on V4;
    freeze_proxy: "freeze-proxy" on V4;
}

#[test]
fn a_second_fault_in_the_middle_of_a_change() {
    survives_all(
        &["crash-and-kill-proxy-15", "crash-both-20", "switch-and-kill-proxy-10", "switch-and-crash-10"],
        NodeRed::V4,
    );
}

#[test]
fn a_wall_clock_that_is_set_moves_nothing() {
    survives_all(&["clock-steps-ahead", "clock-steps-back", "clock-runs-fast"], NodeRed::V4);
}

#[test]
fn trouble_on_the_links() {
    survives_all(
        &[
            "delay-links-250ms",
            "delay-active-500ms",
            "links-in-single-bytes",
            "links-at-20-kbytes",
            "links-end-after-4-kbytes",
            "swallow-what-active-says",
            "swallow-what-active-hears",
            "kill-launcher-whose-link-closes-late",
        ],
        NodeRed::V4,
    );
}
