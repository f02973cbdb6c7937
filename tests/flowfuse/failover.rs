//! Failover of a pair of real nr-launchers, whose spare is cold.

use hotspare_test_support::fault;

use crate::pair::Pair;

#[test]
fn a_killed_node_red_costs_a_cold_start_and_never_two_run() {
    let pair = Pair::start("");
    assert_eq!(pair.wait_until_steady(), "a");
    fault::kill(pair.member("a").node_red_pid());
    pair.wait_until_steady();
    pair.assert_never_two();
}

#[test]
fn a_hung_node_red_is_replaced_once_its_launcher_has_killed_it() {
    let pair = Pair::start("");
    assert_eq!(pair.wait_until_steady(), "a");
    fault::freeze(pair.member("a").node_red_pid());
    pair.wait_for("b");
    assert_eq!(pair.wait_until_steady(), "b");
    pair.assert_never_two();
}
