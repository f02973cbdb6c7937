//! Load, loss and stalls that must move nothing: a pair on a machine whose cores are all busy, on a network that loses
//! one packet in five, with an event loop that stands still for almost as long as it may.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::Who;
use crate::environment::NodeRed;
use crate::flows::TICK;
use crate::http;
use crate::pair::{Pair, Setup};
use crate::process::Process;
use crate::witness::judge;

/// Nine tenths of what counts as hung, by default.
const STALL: Duration = Duration::from_millis(1800);
/// One stall in so long.
const STALL_EVERY: Duration = Duration::from_secs(10);
/// Lost of the packets of each member, in each direction.
const LOSS_PERCENT: u8 = 20;
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Of the proxy's events, and of a launcher's output.
const LINES_TOLD: usize = 12;

/// Keeps a pair under all that for `time`; `load` says whether to make the load too, on a machine that has none. True if
/// the active never changed and the witness found nothing.
pub fn run(time: Duration, node_red: NodeRed, load: bool) -> bool {
    let mut pair = Setup { lab: true, all_senders: true, node_red, ..Setup::default() }.start();
    let active = pair.wait_until_steady();
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let hogs: Vec<Process> = (0..cores).filter(|_| load).map(hog).collect();
    for member in ["a", "b"] {
        pair.lab().lose(member, LOSS_PERCENT);
    }
    let seen = watch(&mut pair, &active, time);
    drop(hogs);
    for member in ["a", "b"] {
        pair.lab().heal(member);
    }
    let verdict = judge(&pair.sink.history(), TICK);
    println!("{verdict}");
    println!(
        "{:.0} s on {cores} busy cores with {LOSS_PERCENT} % loss: {} stalls of {} ms, {} requests ({} failed), \
         {} changes of the active; the flows never rested longer than {} ms",
        time.as_secs_f64(),
        seen.stalls,
        STALL.as_millis(),
        seen.requests,
        seen.failed,
        seen.changes,
        verdict.longest_gap().as_millis(),
    );
    verdict.is_clean() && seen.changes == 0
}

#[derive(Default)]
struct Seen {
    stalls: u64,
    requests: u64,
    failed: u64,
    changes: u64,
}

fn watch(pair: &mut Pair, active: &Who, time: Duration) -> Seen {
    let began = Instant::now();
    let mut seen = Seen::default();
    let mut active = active.clone();
    let mut next_stall = Instant::now();
    while began.elapsed() < time {
        if Instant::now() >= next_stall {
            next_stall += STALL_EVERY;
            seen.stalls += 1;
            stall(pair, &active);
        }
        seen.requests += 1;
        match pair.who() {
            Ok(who) if who != active => {
                seen.changes += 1;
                println!("{:7.1} s  the active changed from {active:?} to {who:?}", began.elapsed().as_secs_f64());
                tell_last_failover(pair, &active);
                active = who;
            }
            Ok(_) => {}
            Err(error) => {
                seen.failed += 1;
                println!("{:7.1} s  a request failed: {error}", began.elapsed().as_secs_f64());
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
    seen
}

/// Keeps the event loop of the active busy, by a request past the proxy that nobody waits for.
fn stall(pair: &Pair, active: &Who) {
    let node_red = pair.member(&active.member).node_red;
    std::thread::spawn(move || {
        http::get(node_red, &format!("/hang?ms={}", STALL.as_millis())).within(STALL * 4).send()
    });
}

/// What the proxy decided, and what the launcher of the old active saw.
fn tell_last_failover(pair: &mut Pair, old: &Who) {
    let last = |lines: &[String]| {
        let from = lines.len().saturating_sub(LINES_TOLD);
        lines[from..].iter().for_each(|line| println!("    {line}"));
    };
    let events = pair.get("/v1/events").within(Duration::from_secs(30)).send().map(|answer| answer.json());
    if let Ok(serde_json::Value::Array(events)) = events {
        println!("  the proxy:");
        let line =
            |event: &serde_json::Value| format!("{} {}", event["at_ms"], event["text"].as_str().unwrap_or_default());
        last(&events.iter().map(line).collect::<Vec<_>>());
    }
    println!("  the launcher of {}:", old.member);
    let output = pair.launcher(&old.member).output();
    last(&output.lines().map(str::to_owned).collect::<Vec<_>>());
}

/// A process that never rests.
fn hog(core: usize) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", "while :; do :; done"]);
    Process::start(&format!("load {core}"), command)
}
