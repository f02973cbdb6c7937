//! The launcher under a controller's lease beside real Node-REDs: grants that stop, freezes, deaths, promises.
//!
//! The witness is a timer in the flow that sends a datagram every 20 ms with member and epoch.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use hotspare_decide::message::{Down, ExitCause, FenceHow, FlowState, LauncherSettings, Peer, StartFailureKind, Up};
use hotspare_decide::{Epoch, LeaseSettings};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::controller_stand_in::{ControllerStandIn, TOKEN};
use support::launcher::Launcher;
use support::{LIMIT, Version, get, sample_flows, send_request, until, user_dir};

for_each_node_red!(
    runs_while_it_is_granted_and_stops_before_the_lease_ends,
    a_fence_is_answered_when_it_is_a_fact,
    a_crash_gives_a_receipt_and_comes_back_as_a_standby,
    a_frozen_node_red_is_killed_while_it_is_frozen,
    node_red_stops_itself_when_its_launcher_is_frozen,
    both_frozen_and_thawed_deliver_nothing,
    a_killed_launcher_is_reported_by_its_undertaker,
    the_peers_promise_carries_the_flows_on,
    a_start_with_hardly_any_lease_left_starts_nothing,
    a_start_that_keeps_the_event_loop_busy_is_no_hang,
);

/// Longer than the defaults: a machine that runs many tests at once has many Node-REDs that boot.
fn settings() -> LauncherSettings {
    let lease = LeaseSettings {
        ttl: Duration::from_millis(2500),
        stop_lead: Duration::from_millis(800),
        promise: Duration::from_millis(3000),
        ..LeaseSettings::default()
    };
    LauncherSettings { lease, ..LauncherSettings::default() }
}

struct Member {
    launcher: Launcher,
    controller: ControllerStandIn,
    sink: UdpSocket,
    dir: tempfile::TempDir,
}

impl Member {
    fn start(version: Version, name: &str) -> Self {
        Self::start_with(version, name, &[])
    }

    /// With more nodes in its flows.
    fn start_with(version: Version, name: &str, more: &[Value]) -> Self {
        let controller = ControllerStandIn::start(settings(), None);
        let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
        sink.set_read_timeout(Some(LIMIT)).unwrap();
        let mut flows = sample_flows(sink.local_addr().unwrap().port());
        flows.as_array_mut().unwrap().extend_from_slice(more);
        let dir = user_dir(&flows, "");
        let launcher = start_launcher(version, dir.path(), &controller, name);
        Self { launcher, controller, sink, dir }
    }

    /// Waits until it could be started: booted, welcomed, its quarantine over.
    fn standby(&self) -> u16 {
        self.launcher.standby()
    }

    fn active(&self, epoch: u64) -> u16 {
        let port = self.standby();
        assert_eq!(self.controller.start_flows(epoch), None);
        self.receive();
        port
    }

    fn receive(&self) -> String {
        let mut buffer = [0; 100];
        let n = self.sink.recv(&mut buffer).expect("a datagram from the flow's timer");
        String::from_utf8_lossy(&buffer[..n]).into_owned()
    }

    /// Datagrams that are there now, without waiting.
    fn drained(&self) -> usize {
        self.sink.set_nonblocking(true).unwrap();
        let mut buffer = [0; 100];
        let count = std::iter::from_fn(|| self.sink.recv(&mut buffer).ok()).count();
        self.sink.set_nonblocking(false).unwrap();
        count
    }

    fn receipt(&self) -> hotspare_decide::message::ExitReceipt {
        self.controller.hears("an exit receipt", |up| match up {
            Up::Exited(receipt) => Some(receipt.clone()),
            _ => None,
        })
    }
}

fn start_launcher(version: Version, dir: &Path, controller: &ControllerStandIn, name: &str) -> Launcher {
    let token = dir.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let url = controller.url();
    let args = ["--name", name, "--instance", "line-1", "--controller", &url, "--token-file", token.to_str().unwrap()];
    Launcher::start(version, dir, &args)
}

fn runs_while_it_is_granted_and_stops_before_the_lease_ends(version: Version) {
    let member = Member::start(version, "a");
    let port = member.standby();
    let hello = member.controller.hears("hello", |up| match up {
        Up::Hello(hello) => Some(hello.clone()),
        _ => None,
    });
    assert_eq!((hello.instance.as_str(), hello.member.as_str()), ("line-1", "a"));
    assert_eq!(member.controller.start_flows(3), None);
    assert_eq!(get(port, "/hello").unwrap().body, "a 3");
    // Longer than several leases: it lives on its renewals.
    for _ in 0..250 {
        assert_eq!(member.receive(), "a 3");
    }
    let before = member.launcher.node_red_pid();
    member.controller.stop_granting();
    let beat = member.controller.hears_beat("the end of the tenure", |beat| beat.status.tenure.is_none());
    assert_eq!((beat.status.flows, beat.status.max_epoch), (FlowState::Stopped, Epoch(3)));
    assert_eq!(member.launcher.node_red_pid(), before, "the flows were stopped in time: nothing had to be killed");
    member.drained();
    assert_eq!(get(port, "/hello").unwrap().status, 503);
    assert_eq!(member.drained(), 0, "the flow's timer ran without a lease");
    let refused = member.controller.start_flows(3).unwrap();
    assert_eq!(refused.kind, StartFailureKind::StaleEpoch);
    assert_eq!(member.controller.start_flows(4), None);
}

fn a_fence_is_answered_when_it_is_a_fact(version: Version) {
    let member = Member::start(version, "a");
    let port = member.active(1);
    let op = member.controller.order(|op| Down::Fence { op, epoch: Epoch(1), grace_ms: 5000 });
    let how = |op| {
        member.controller.hears("the answer to a fence", |up| match up {
            Up::Fenced { op: o, how, .. } if *o == op => Some(*how),
            _ => None,
        })
    };
    assert_eq!(how(op), FenceHow::FlowsStopped);
    member.drained();
    assert_eq!(get(port, "/hello").unwrap().status, 503);
    assert_eq!(member.drained(), 0, "the flow's timer ran after the fence was confirmed");
    let op = member.controller.order(|op| Down::Fence { op, epoch: Epoch(5), grace_ms: 0 });
    assert_eq!(how(op), FenceHow::NeverRan);
    assert_eq!(member.controller.start_flows(5).unwrap().kind, StartFailureKind::StaleEpoch);
    // A hung one cannot stop its flows: it is killed when the grace is over.
    assert_eq!(member.controller.start_flows(6), None);
    let _hung = send_request(port, "GET", "/hang?ms=100000000", &[], "").unwrap();
    member.controller.hears_beat("a hung event loop", |beat| beat.status.lag_ms > 200);
    let op = member.controller.order(|op| Down::Fence { op, epoch: Epoch(6), grace_ms: 50 });
    assert_eq!(how(op), FenceHow::ProcessExited);
}

fn a_crash_gives_a_receipt_and_comes_back_as_a_standby(version: Version) {
    let member = Member::start(version, "a");
    member.active(7);
    member.launcher.signal_node_red(Signal::KILL);
    let receipt = member.receipt();
    assert_eq!((receipt.epoch, receipt.tenure), (Epoch(7), Some(Epoch(7))));
    assert_eq!(receipt.cause, ExitCause::Crash { code: None, signal: Some(9) });
    let port = member.standby();
    member.drained();
    assert_eq!(get(port, "/hello").unwrap().status, 503);
    assert_eq!(member.drained(), 0, "it came back with flows running");
}

fn a_frozen_node_red_is_killed_while_it_is_frozen(version: Version) {
    let member = Member::start(version, "a");
    member.active(1);
    member.launcher.signal_node_red(Signal::STOP);
    // Grants go on: it is the silence of the module that tells.
    assert_eq!(member.receipt().cause, ExitCause::Hung);
    member.standby();
    member.controller.hears_beat("a standby", |beat| beat.status.tenure.is_none());
}

fn node_red_stops_itself_when_its_launcher_is_frozen(version: Version) {
    let mut member = Member::start(version, "a");
    member.active(1);
    let pid = member.launcher.node_red_pid();
    member.launcher.signal(Signal::STOP);
    until("Node-RED ends by itself", || (support::group_size(pid) == 0).then_some(()), || "it runs".to_owned());
    member.drained();
    member.launcher.signal(Signal::CONT);
    // The link may have been taken for dead meanwhile, and the receipt with it: then the heartbeat tells the same.
    member.controller.hears_beat("a fresh heartbeat of a standby", |beat| {
        beat.status.tenure.is_none() && beat.status.max_epoch == Epoch(1) && beat.status.restarts == 1
    });
    member.standby();
    assert_eq!(member.drained(), 0);
    member.launcher.signal(Signal::TERM);
    assert_eq!(member.launcher.ends().code(), Some(0));
}

fn both_frozen_and_thawed_deliver_nothing(version: Version) {
    let member = Member::start(version, "a");
    let port = member.active(1);
    let pid = member.launcher.node_red_pid();
    // The launcher first, so that it cannot see the other freeze.
    member.launcher.signal(Signal::STOP);
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
    let _queued = send_request(port, "GET", "/hello", &[], "").unwrap();
    std::thread::sleep(3 * settings().lease.ttl);
    member.drained();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::CONT).unwrap();
    member.launcher.signal(Signal::CONT);
    member.controller.hears_beat("a fresh heartbeat of a standby", |beat| {
        beat.status.tenure.is_none() && beat.status.max_epoch == Epoch(1) && beat.status.restarts == 1
    });
    assert_eq!(member.drained(), 0, "messages were delivered after the thaw");
}

fn a_killed_launcher_is_reported_by_its_undertaker(version: Version) {
    let mut member = Member::start(version, "a");
    member.active(9);
    let pid = member.launcher.node_red_pid();
    member.launcher.signal(Signal::KILL);
    let (head, receipt) = member.controller.gets_receipt();
    assert_eq!(support::group_size(pid), 0, "the receipt came before Node-RED was gone");
    for line in ["x-hotspare-instance: line-1", "x-hotspare-member: a", &format!("Authorization: Bearer {TOKEN}")] {
        assert!(head.contains(line), "no {line} in {head}");
    }
    let Up::Exited(receipt) = receipt else { panic!("{receipt:?} is no receipt") };
    assert_eq!((receipt.epoch, receipt.tenure), (Epoch(9), Some(Epoch(9))));
    assert_eq!(receipt.cause, ExitCause::LauncherDied);
    member.launcher.ends();
    // Its successor knows what was used up.
    member.launcher = start_launcher(version, member.dir.path(), &member.controller, "a");
    member.standby();
    assert_eq!(member.controller.start_flows(9).unwrap().kind, StartFailureKind::StaleEpoch);
    assert_eq!(member.controller.start_flows(10), None);
}

fn the_peers_promise_carries_the_flows_on(version: Version) {
    let (a, b) = (Member::start(version, "a"), Member::start(version, "b"));
    let peer = |member: &Member, name: &str| Peer {
        member: name.into(),
        url: format!("http://127.0.0.1:{}", member.launcher.admin),
        secret: "secret-of-the-pair".into(),
    };
    a.controller.tell_peer(peer(&b, "b"));
    b.controller.tell_peer(peer(&a, "a"));
    b.standby();
    a.active(1);
    a.controller.be_silent(true);
    // The standby hears its controller: it declines, and the flows end with the lease.
    until("the flows end", || a.launcher.status()["status"]["tenure"].is_null().then_some(()), || a.launcher.log());
    assert!(a.launcher.log().contains("hears_controller"), "{}", a.launcher.log());
    a.controller.be_silent(false);
    a.standby();
    assert_eq!(a.controller.start_flows(2), None);
    a.controller.be_silent(true);
    b.controller.be_silent(true);
    // Several leases and promises long: the timer of the flow never ends.
    a.drained();
    for _ in 0..400 {
        assert_eq!(a.receive(), "a 2");
    }
    let status = a.launcher.status();
    assert!(status["status"]["promise_held_left_ms"].is_u64(), "{status}\n{}\n{}", a.launcher.log(), b.launcher.log());
    b.controller.be_silent(false);
    let refused = b.controller.start_flows(3).expect("a refusal");
    assert_eq!(refused.kind, StartFailureKind::Promised, "a promise is kept though its controller is back");
    b.controller.be_silent(true);
    // Isolated: neither controller nor peer.
    drop(b);
    until("the flows end", || a.launcher.status()["status"]["tenure"].is_null().then_some(()), || a.launcher.log());
    a.drained();
    assert_eq!(
        get(u16::try_from(a.launcher.status()["port"].as_u64().unwrap()).unwrap(), "/hello").unwrap().status,
        503
    );
    assert_eq!(a.drained(), 0, "the flow's timer ran without a lease");
}

fn a_start_with_hardly_any_lease_left_starts_nothing(version: Version) {
    let member = Member::start(version, "a");
    member.standby();
    let old = member.controller.hears_beat("a heartbeat to peg a start to", |_| true).seq;
    // What the controller said was on its way for so long that the lease is as good as over.
    let age = settings().lease.ttl - settings().lease.stop_lead / 2;
    let beats = u64::try_from(age.as_millis() / settings().lease.heartbeat.as_millis()).unwrap();
    member.controller.hears_beat("many heartbeats more", |beat| beat.seq >= old + beats);
    let op = member.controller.order_start_by(1, old);
    let failure = member.controller.hears("the answer to a start", |up| match up {
        Up::Started { op: o, failure, .. } if *o == op => Some(failure.clone()),
        _ => None,
    });
    assert_eq!(failure.expect("a refusal").kind, StartFailureKind::TooLate, "{}", member.launcher.log());
    assert_eq!(member.drained(), 0, "the flow's timer ran");
    assert_eq!(member.controller.start_flows(2), None, "nothing is wrong with the member: the next start works");
}

/// Large flows, or a machine whose cores are all busy: the spare must not be killed just when it takes over.
fn a_start_that_keeps_the_event_loop_busy_is_no_hang(version: Version) {
    let busy = settings().hang_after + Duration::from_secs(1);
    let code = format!("const end = Date.now() + {}; while (Date.now() < end) {{}}", busy.as_millis());
    let slow =
        json!({"id": "slow", "type": "function", "z": "tab", "initialize": code, "func": "return msg", "wires": [[]]});
    let member = Member::start_with(version, "a", &[slow]);
    member.standby();
    let pid = member.launcher.node_red_pid();
    assert_eq!(member.controller.start_flows(1), None, "{}", member.launcher.log());
    assert_eq!(member.receive(), "a 1");
    // It is watched from then on: what was before is no hang either.
    member.controller.hears_beat("a beat of flows that run", |beat| beat.status.flows == FlowState::Running);
    assert_eq!(member.launcher.node_red_pid(), pid, "{}", member.launcher.log());
}
