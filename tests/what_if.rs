//! What-if: a real pair's observations, played with other settings.

use hotspare_test_support::fault::{self, Signal};
use hotspare_test_support::pair::{Pair, Setup};
use serde_json::Value;

/// The failovers of a what-if: those that there were, those of a replay as it was, those with the settings changed.
fn failovers(pair: &Pair, changes: &[&str]) -> [Vec<String>; 3] {
    let changes = changes.iter().flat_map(|change| ["--what-if", change]);
    let arguments: Vec<_> = ["explain", "line-1", "--since", "1h", "--json"].into_iter().chain(changes).collect();
    let said = pair.says(&arguments);
    let outcome: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    ["real", "played", "what_if"].map(|which| {
        let moments = outcome[which].as_array().unwrap_or_else(|| panic!("no {which} in {outcome}"));
        moments.iter().map(|moment| moment["why"]["cause"].as_str().unwrap_or_default().to_owned()).collect()
    })
}

#[test]
fn a_longer_lease_would_have_ridden_out_a_freeze_and_not_a_crash() {
    let mut pair = Setup::default().start();
    let first = pair.wait_until_steady();
    fault::kill(pair.node_red_pid(&first.member));
    let second = pair.wait_for_takeover(&first);
    pair.wait_until_steady();

    // Launcher and Node-RED of the active stand still until its lease has ended and the other has taken over.
    let node_red = pair.node_red_pid(&second.member);
    let launcher = pair.launcher(&second.member).pid();
    [launcher, node_red].into_iter().for_each(|pid| fault::signal(pid, Signal::STOP));
    pair.wait_for_takeover(&second);
    [launcher, node_red].into_iter().for_each(|pid| fault::signal(pid, Signal::CONT));
    pair.wait_until_steady();

    // Whether a client or the launcher tells first of the crash is a race; the freeze is seen by its silence alone.
    let [real, played, same] = failovers(&pair, &["ttl=1s"]);
    assert!(real.len() == 2 && real[1] == "lease_expired", "{real:?}");
    assert_eq!((&real, &real), (&played, &same), "a replay with the same settings gives something else");
    // A longer lease alone is not enough: the checks fail meanwhile.
    let [_, _, longer] = failovers(&pair, &["lease.ttl=60s", "fall=100"]);
    assert_eq!(longer, real[..1], "the freeze, or not the crash, would have been ridden out");
    let told = pair.says(&["explain", "line-1", "--what-if", "ttl=60s", "--what-if", "fall=100"]);
    assert!(told.starts_with("With ttl=60s, fall=100 there would have been 1 failover in the "), "{told}");
    assert!(told.contains("instead of 2."), "{told}");

    // What the proxy has written is all that is needed, also where there is no proxy.
    let file = pair.folder().join("store/observations/line-1.jsonl");
    let file = file.to_str().expect("a path in UTF-8");
    let alone =
        pair.says(&["explain", "line-1", "--what-if", "ttl=60s", "--observations", file, "--admin", "127.0.0.1:1"]);
    assert!(alone.contains("instead of 2."), "{alone}");
}
