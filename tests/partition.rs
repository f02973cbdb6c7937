//! Each named fault of the network, on real Node-REDs in network namespaces (needs root).

use hotspare_test_support::flows::TICK;
use hotspare_test_support::pair::Setup;
use hotspare_test_support::scenario;
use hotspare_test_support::witness::judge;

fn survives(name: &str) {
    let fault = scenario::named(name).unwrap_or_else(|| panic!("no fault {name}"));
    let mut pair = Setup { lab: true, all_senders: true, ..Setup::default() }.start();
    scenario::run(&mut pair, fault);
    judge(&pair.sink.history(), TICK).assert_clean();
}

macro_rules! survives {
    ($($test:ident: $fault:literal;)*) => {$(
        #[test]
        fn $test() {
            survives($fault);
        }
    )*};
}

survives! {
    cut_active: "cut-active";
    deafen_active: "deafen-active";
    mute_active: "mute-active";
    separate_active_from_proxy: "separate-active-from-proxy";
    active_does_not_hear_proxy: "active-does-not-hear-proxy";
    proxy_does_not_hear_active: "proxy-does-not-hear-active";
    separate_members_moves_nothing: "separate-members";
    cut_standby_moves_nothing: "cut-standby";
    cut_proxy_and_flows_go_on: "cut-proxy";
    cut_active_for_43s: "cut-active-for-43s";
    refuse_clients: "refuse-clients";
    reset_links: "reset-links";
    lose_90_percent: "lose-90-percent";
    lose_20_percent: "lose-20-percent";
    flap: "flap";
    lose_machine: "lose-machine";
    disk_full: "disk-full";
    disk_full_and_crash: "disk-full-and-crash";
}
