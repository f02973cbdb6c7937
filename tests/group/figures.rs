//! What the loss of a leader, of the store and a rolling upgrade cost, measured: for the tables in the docs.

use std::time::{Duration, Instant};

use hotspare_test_support::client::{Answer, Client};
use hotspare_test_support::fault::Signal;
use hotspare_test_support::wait::holds_for;

use crate::load::Balanced;
use crate::proxies::{Group, PATIENCE, PROXIES};

/// Losses of a leader of each sort.
const RUNS: usize = 5;
/// How long the store is away.
const AWAY: Duration = Duration::from_secs(10);

/// Prints the figures. Nothing is asserted but what holds for tests, too: no overlap, no failed request.
pub(crate) fn print() {
    let mut group = Group::start();
    let mut times = Vec::new();
    for signal in [Signal::KILL, Signal::TERM] {
        for _ in 0..RUNS {
            let before = group.wait_until_steady();
            let (old, new) = group.leader_and_follower();
            let client = Client::start(group.front(new));
            let began = Instant::now();
            group.proxy(old).signal(signal);
            group.wait_for_leader(new);
            times.push(began.elapsed());
            group.flows_go_on(&before);
            report(
                &format!("{signal:?}: a leader again after {:?}; the other proxy's clients", began.elapsed()),
                &client,
            );
            group.proxy(old).wait(PATIENCE);
            group.restart_proxy(old);
        }
        times.sort();
        println!("{signal:?}: median {:?}, worst {:?} of {RUNS}", times[RUNS / 2], times[RUNS - 1]);
        times.clear();
    }

    let before = group.wait_until_steady();
    let clients = PROXIES.map(|proxy| Client::start(group.front(proxy)));
    let node = group.leading_store_node();
    group.kill_store_node(node);
    group.flows_go_on(&before);
    let kept = group.leader();
    group.revive_store_node(node);
    clients.iter().for_each(|client| report(&format!("the store's leader killed, {kept} leads: clients"), client));
    group.kill_store();
    holds_for(AWAY, "both proxies serve", || PROXIES.iter().try_for_each(|proxy| group.who(proxy).map(drop)));
    group.start_store();
    let back = Instant::now();
    group.wait_until_steady();
    println!("the whole store away for {AWAY:?}: a leader again {:?} after its return", back.elapsed());
    clients.iter().for_each(|client| report("the whole store away: clients", client));
    drop(clients);

    let load = Balanced::start(PROXIES.map(|proxy| (group.front(proxy), group.admin(proxy))));
    for proxy in PROXIES {
        group.proxy(proxy).signal(Signal::TERM);
        group.proxy(proxy).wait(PATIENCE);
        group.restart_proxy(proxy);
        group.wait_until_steady();
    }
    let (asked, failed) = load.stop();
    println!("both proxies rolled: {asked} requests, {} failed", failed.len());
    println!("flows: longest gap {:?}, overlaps 0", group.assert_never_twice());
}

fn report(what: &str, client: &Client) {
    let answers = client.answers();
    let failed = answers.iter().filter(|answer| answer.result.is_err()).count();
    let slowest = answers.iter().map(|Answer { asked, done, .. }| done - asked).max().unwrap_or(0);
    println!("{what}: {} requests, {failed} failed, slowest {:?}", answers.len(), Duration::from_nanos(slowest));
}
