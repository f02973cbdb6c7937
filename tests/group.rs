//! Two proxies, one decision: whichever proxy dies, freezes, is cut off or is stopped, flows go on and never run twice, and
//! clients of the other proxy lose nothing.

#[path = "group/figures.rs"]
mod figures;
#[path = "group/load.rs"]
mod load;
#[path = "group/proxies.rs"]
mod proxies;
#[path = "group/slow.rs"]
mod slow;

use std::time::Duration;

use hotspare_test_support::client::{Client, Who};
use hotspare_test_support::fault::{self, Signal};
use hotspare_test_support::http;
use hotspare_test_support::load::{Load, Plan};
use hotspare_test_support::wait::{holds_for, wait_until};
use hotspare_test_support::witness::record::now;
use load::Balanced;
use proxies::{Group, Kind, LEAD_FOR, PATIENCE, PROXIES};
use serde_json::json;
use slow::Slow;

/// Flows that ran on through a fault have no gap longer than this: a few ticks of the witness.
const NO_GAP: Duration = Duration::from_secs(1);

/// Every request since the client was started was answered by `by`.
fn assert_all_served(client: &Client, by: &Who) {
    let answers = wait_until(PATIENCE, "ten requests of a client", || match client.answers() {
        answers if answers.len() >= 10 => Ok(answers),
        few => Err(few.len()),
    });
    let others: Vec<_> = answers.iter().filter(|answer| answer.result.as_ref() != Ok(by)).collect();
    assert!(others.is_empty(), "{} of {} requests: {:?}", others.len(), answers.len(), &others[..others.len().min(3)]);
}

/// The active dies, and this proxy has its spare take over.
fn decides(group: &Group, leader: &'static str, before: &Who) -> Who {
    group.kill_node_red(&before.member);
    let after = group.wait_for_takeover(leader, before);
    group.flows_go_on(&after);
    after
}

#[test]
fn a_leader_that_is_killed_or_frozen_is_replaced_and_no_flow_notices() {
    let mut group = Group::start();
    let before = group.wait_until_steady();
    let (old, new) = group.leader_and_follower();

    let client = Client::start(group.front(new));
    group.proxy(old).kill();
    group.wait_for_leader(new);
    group.flows_go_on(&before);
    assert_all_served(&client, &before);
    drop(client);
    let after = decides(&group, new, &before);
    // It comes back, follows, and leads clients to the new active.
    group.restart_proxy(old);
    assert_eq!(group.wait_until_steady(), after);
    assert_eq!(group.leader(), new, "coming back takes nothing over");

    // Now that one is frozen for longer than it leads, and thawed.
    let (old, new) = (new, old);
    let client = Client::start(group.front(new));
    let frozen = group.proxy(old).pid();
    fault::freeze(frozen);
    group.wait_for_leader(new);
    group.flows_go_on(&after);
    assert_all_served(&client, &after);
    drop(client);
    let last = decides(&group, new, &after);
    fault::thaw(frozen);
    group.wait_until_follows(old);
    assert_eq!(group.wait_for_takeover(old, &after), last, "it leads clients to the new active");
    assert_eq!(group.leader(), new);
    group.assert_never_twice();
}

#[test]
fn a_leader_cut_off_from_the_store_the_members_or_both_stops_deciding_before_the_other_begins() {
    let mut group = Group::start();
    let mut active = group.wait_until_steady();

    // From the store: it follows, and carries traffic on.
    let (old, new) = group.leader_and_follower();
    let clients = PROXIES.map(|proxy| Client::start(group.front(proxy)));
    group.cut_from_store(old);
    group.wait_for_store(old, false);
    group.wait_for_leader(new);
    group.flows_go_on(&active);
    clients.iter().for_each(|client| assert_all_served(client, &active));
    drop(clients);
    active = decides(&group, new, &active);
    assert_eq!(group.wait_for_active(old, &active), active, "the one without a store sees by itself who is active");
    group.lab.heal(old);
    assert_eq!(group.wait_until_steady(), active);

    // From the members: it sees nobody, so another has to decide.
    let (old, new) = group.leader_and_follower();
    let client = Client::start(group.front(new));
    group.cut_from_members(old);
    group.wait_for_leader(new);
    group.flows_go_on(&active);
    assert_all_served(&client, &active);
    drop(client);
    active = decides(&group, new, &active);
    group.lab.heal(old);
    assert_eq!(group.wait_until_steady(), active);

    // From both, and from the other proxy.
    let (old, new) = group.leader_and_follower();
    let client = Client::start(group.front(new));
    group.lab.cut(old);
    group.wait_until_follows(old);
    group.wait_for_leader(new);
    group.flows_go_on(&active);
    assert_all_served(&client, &active);
    drop(client);
    active = decides(&group, new, &active);
    group.lab.heal(old);
    assert_eq!(group.wait_until_steady(), active);
    group.assert_never_twice();
    PROXIES.iter().for_each(|proxy| assert!(group.proxy(proxy).is_running(), "{proxy} outlived being cut off"));
}

#[test]
fn with_the_stores_leader_or_the_whole_store_gone_flows_and_traffic_go_on() {
    let mut group = Group::start();
    let before = group.wait_until_steady();
    let clients = PROXIES.map(|proxy| Client::start(group.front(proxy)));

    // Its leader: a majority is left, and decisions go on.
    let node = group.leading_store_node();
    group.kill_store_node(node);
    group.flows_go_on(&before);
    group.leader();
    group.revive_store_node(node);
    clients.iter().for_each(|client| assert_all_served(client, &before));
    assert_eq!(group.wait_until_steady(), before);

    // All of it: nothing is decided, for longer than any lease, any promise and any leadership.
    group.kill_store();
    for proxy in PROXIES {
        group.wait_for_store(proxy, false);
        group.wait_until_follows(proxy);
    }
    holds_for(LEAD_FOR * 4, "both proxies lead clients to the active, whose flows run", || {
        for proxy in PROXIES {
            let served = group.who(proxy)?;
            if served != before {
                return Err(format!("{served:?} serves"));
            }
        }
        Ok::<(), String>(())
    });
    group.flows_go_on(&before);
    group.start_store();
    assert_eq!(group.wait_until_steady(), before, "the store's return moves nothing");
    clients.iter().for_each(|client| assert_all_served(client, &before));
    let gap = group.assert_never_twice();
    assert!(gap < NO_GAP, "flows stood still for {gap:?}");
    let leader = group.leader();
    decides(&group, leader, &before);
    group.assert_never_twice();
}

#[test]
fn all_proxies_are_rolled_under_load_and_no_request_fails() {
    let mut group = Group::start();
    let before = group.wait_until_steady();
    let load = Balanced::start(PROXIES.map(|proxy| (group.front(proxy), group.admin(proxy))));
    for _ in PROXIES {
        let (leader, follower) = group.leader_and_follower();
        group.proxy(leader).signal(Signal::TERM);
        group.wait_for_leader(follower);
        assert!(group.proxy(leader).wait(PATIENCE).success());
        group.flows_go_on(&before);
        group.restart_proxy(leader);
        assert_eq!(group.wait_until_steady(), before, "rolling the proxies moves nothing");
    }
    let (asked, failed) = load.stop();
    assert!(asked > 10, "only {asked} requests");
    assert!(failed.is_empty(), "{} of {asked} requests failed: {:?}", failed.len(), &failed[..failed.len().min(3)]);
    let gap = group.assert_never_twice();
    assert!(gap < NO_GAP, "flows stood still for {gap:?}");

    // An order reaches the one that leads, whichever proxy it was given to.
    let (_, follower) = group.leader_and_follower();
    let answer = group.order(follower, "switchover");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let after = group.wait_until_steady();
    assert!(after.epoch > before.epoch && after.member != before.member, "{before:?}, then {after:?}");
    group.assert_never_twice();
}

#[test]
fn each_proxy_is_upgraded_live_under_load_and_no_request_fails() {
    let mut group = Group::start();
    let before = group.wait_until_steady();
    let (leader, follower) = group.leader_and_follower();
    let load = Balanced::start(PROXIES.map(|proxy| (group.front(proxy), group.admin(proxy))));
    for proxy in [leader, follower] {
        let mut old = group.upgrade_proxy(proxy);
        group.proxy(proxy).wait_for_line(PATIENCE, "taken over");
        assert!(old.wait(PATIENCE).success(), "the process that was taken over ends well");
        group.flows_go_on(&before);
        assert_eq!(group.wait_until_steady(), before, "an upgrade of {proxy} moves nothing");
    }
    let (asked, failed) = load.stop();
    assert!(asked > 10, "only {asked} requests");
    assert!(failed.is_empty(), "{} of {asked} requests failed: {:?}", failed.len(), &failed[..failed.len().min(3)]);
    let leader = group.leader();
    decides(&group, leader, &before);
    group.assert_never_twice();
}

#[test]
fn planned_changes_wait_for_what_is_under_way_through_a_proxy_that_follows() {
    let group = Group::start();
    let mut before = group.wait_until_steady();
    let (leader, follower) = group.leader_and_follower();
    let slow = Slow::start(group.front(follower));
    let web = Load::start(group.web(follower), Plan { new_per_second: 20, kept: 4, pause: Duration::from_millis(20) });
    for _ in 0..3 {
        slow.go_on();
        let answer = group.order(leader, "switchover");
        assert_eq!(answer.status, 200, "{answer:?}");
        let after = group.wait_until_steady();
        assert!(after.epoch > before.epoch && after.member != before.member, "{before:?}, then {after:?}");
        before = after;
    }
    slow.go_on();
    let failed = slow.stop();
    assert!(failed.is_empty(), "{} slow requests failed: {failed:?}", failed.len());
    web.finish().assert_nothing_lost();

    // A platform that asks a proxy which follows has its pair as with any other.
    let platform = group.platform(follower);
    let state = || http::get(platform, "/flowforge/info").send().map(|answer| answer.json()["state"].clone());
    let is = |word: &str| match state() {
        Ok(state) if state == word => Ok(()),
        seen => Err(format!("{seen:?}")),
    };
    wait_until(PATIENCE, "it says that the pair runs", || is("running"));
    let order = |cmd: &str| http::post(platform, "/flowforge/command", &json!({"cmd": cmd})).within(PATIENCE).send();
    assert_eq!(order("stop").expect("an answer to stop").status, 200);
    wait_until(PATIENCE, "the pair is stopped", || is("stopped"));
    assert_eq!(order("start").expect("an answer to start").status, 200);
    wait_until(PATIENCE, "it runs again", || is("running"));
    group.assert_never_twice();
    assert_eq!(group.leader(), leader);
}

/// Members that can say no epoch: a proxy that follows goes by what it sees of them.
#[test]
fn bare_node_reds_are_switched_over_and_fail_over_behind_two_proxies() {
    let mut group = Group::of(Kind::NodeRed);
    let began = now();
    let first = group.wait_until_steady().member;
    let acts = |group: &Group, from, member: &str| {
        wait_until(PATIENCE, &format!("the flows of {member} do something, and no other's"), || {
            let acted = group.acted_since(from);
            if acted == [member] { Ok(()) } else { Err(acted) }
        });
    };
    acts(&group, began, &first);
    let (leader, follower) = group.leader_and_follower();
    let answer = group.order(leader, "switchover");
    assert_eq!(answer.status, 200, "{answer:?}");
    let second = group.wait_until_steady().member;
    assert_ne!(first, second, "the switchover");

    group.proxy(leader).kill();
    group.wait_for_leader(follower);
    acts(&group, now(), &second);
    group.restart_proxy(leader);
    group.wait_until_steady();

    group.kill_and_restart_bare(&second).wait_for_line(PATIENCE, "Stopped flows");
    group.wait_for_member(&first);
    group.wait_until_steady();
    assert_eq!(group.acted_since(began), [first.clone(), second, first], "who ran flows, one after the other");
}

#[test]
#[ignore = "a measurement: cargo test --release --test group figures -- --ignored --nocapture"]
fn figures() {
    figures::print();
}
