//! How fast a launcher is, beside a real Node-RED and with a stand-in for its controller.
//!
//!     cargo bench -p hotspare-launcher --bench latency
//!
//! Prints medians and worst of each: an order to start until its answer is on the wire; kill -9 of Node-RED until the
//! exit receipt is on the wire; kill -9 of the launcher until its undertaker's receipt is; and what the launcher
//! uses of the machine in ten seconds beside an idle active. Needs Node-RED as tests/run sets it up.
#![allow(clippy::unwrap_used)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use hotspare_decide::message::{Down, LauncherSettings, Up};
use hotspare_decide::{Epoch, LeaseSettings};
use rustix::process::Signal;
use support::controller_stand_in::{ControllerStandIn, TOKEN};
use support::launcher::Launcher;
use support::{Version, sample_flows, user_dir};

const ROUNDS: u64 = 10;
const USAGE_OVER: Duration = Duration::from_secs(10);

fn main() {
    let lease = LeaseSettings { promise: Duration::from_millis(650), ..LeaseSettings::default() };
    let controller = ControllerStandIn::start(LauncherSettings { lease, ..LauncherSettings::default() }, None);
    let dir = user_dir(&sample_flows(9), "");
    let token = dir.path().join("token");
    std::fs::write(&token, TOKEN).unwrap();
    let url = controller.url();
    let args = ["--controller", &url, "--token-file", token.to_str().unwrap()];
    let mut launcher = Launcher::start(Version::V4, dir.path(), &args);
    launcher.standby();

    let (mut starts, mut receipts, mut burials) = (Vec::new(), Vec::new(), Vec::new());
    let mut epoch = 0;
    for _ in 0..ROUNDS {
        epoch += 1;
        let began = Instant::now();
        assert_eq!(controller.start_flows(epoch), None);
        starts.push(began.elapsed());
        let upto = Epoch(epoch);
        controller.order(|op| Down::Fence { op, epoch: upto, grace_ms: 5000 });
        controller.hears_beat("a standby", |beat| beat.status.tenure.is_none() && beat.status.max_epoch >= upto);
    }
    for _ in 0..ROUNDS {
        epoch += 1;
        launcher.standby();
        controller.start_flows(epoch);
        let began = Instant::now();
        launcher.signal_node_red(Signal::KILL);
        controller.hears("an exit receipt", |up| match up {
            Up::Exited(receipt) if receipt.epoch == Epoch(epoch) => Some(()),
            _ => None,
        });
        receipts.push(began.elapsed());
    }
    launcher.standby();
    epoch += 1;
    controller.start_flows(epoch);
    let before = launcher.usage();
    controller.forget();
    std::thread::sleep(USAGE_OVER);
    let after = launcher.usage();
    let lowest = controller.lowest_lease_left();
    for round in 0..ROUNDS {
        let began = Instant::now();
        launcher.signal(Signal::KILL);
        controller.gets_receipts(usize::try_from(round + 1).unwrap());
        burials.push(began.elapsed());
        launcher.ends();
        launcher = Launcher::start(Version::V4, dir.path(), &args);
        launcher.standby();
        epoch += 1;
        controller.start_flows(epoch);
    }
    report("order to start -> answer", &mut starts);
    report("kill -9 of Node-RED -> exit receipt", &mut receipts);
    report("kill -9 of the launcher -> undertaker's receipt", &mut burials);
    let (kib, used) = (after.0, after.1 - before.1);
    println!("least of the 1000 ms lease that was left when a heartbeat was sent: {lowest} ms");
    let share = used.as_secs_f64() / USAGE_OVER.as_secs_f64() * 100.0;
    println!("beside an idle active, heartbeats every 100 ms: {kib} KiB resident, {share:.2} % of a core");
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    println!("{what}: median {:.1?}, worst {:.1?} of {}", times[times.len() / 2], times[times.len() - 1], times.len());
}
