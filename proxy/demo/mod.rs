//! `hotspare demo`: two real Node-REDs, the proxy in front, two faults, and what a client saw of them.
//!
//! Owns the story and its order. Everything it shows is real: it starts its own executable as a user would
//! (`hotspare launcher …`, `hotspare run --config …`), breaks things from outside, and takes every word about who
//! decided what from the event log of the proxy. It never reaches into the engine.
//!
//! Where to go next: [`node_red`] finds or fetches Node-RED, [`stage`] starts and ends the processes, [`client`] and
//! [`witness`] watch, [`timeline`] tells.

mod client;
mod node_red;
mod stage;
mod timeline;
mod witness;

use std::io::{IsTerminal, stdin, stdout};
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use client::{Client, Who};
use stage::Stage;
use timeline::Fault;
use witness::Witness;

/// What went wrong, as a sentence that says what to do.
type Failure = String;

/// Exit code after Ctrl-C, as shells expect it (128 + SIGINT).
const INTERRUPTED: u8 = 130;
/// How long starting, or coming back after a fault, may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Ticks of the timer that are awaited before and after each fault.
const TICKS_SEEN: u64 = 10;

/// Shows a failover on this machine: two Node-REDs, the proxy, a client, and two faults.
///
/// Needs Node.js (18.5 or newer) and, the first time, npm to get Node-RED from. Everything listens on 127.0.0.1 and is
/// gone at the end, also after Ctrl-C. Exit code 0: service went on after each fault and two members were never active
/// at once. 1: it didn't, or something was missing, as said. 130: ended by Ctrl-C.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Port of the proxy on 127.0.0.1 [default: a free one].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Leave everything running after the show, with the addresses printed, until Ctrl-C.
    #[arg(long, conflicts_with = "once")]
    keep: bool,
    /// End after the show; the default when there is no terminal.
    #[arg(long)]
    once: bool,
}

/// Runs the demo to its end.
pub fn run(args: &Args) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("can't start: {error}")),
    };
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => return fail(&format!("can't listen for signals: {error}")),
        };
        // Dropping the show ends everything it started, whichever of the two comes first.
        tokio::select! {
            shown = show(args) => match shown {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => fail(&failure),
            },
            _ = interrupt.recv() => ended(),
            _ = terminate.recv() => ended(),
        }
    })
}

async fn show(args: &Args) -> Result<(), Failure> {
    let node_red = node_red::find_or_fetch().await?;
    println!("hotspare demo: {node_red}");
    let witness = Witness::start().await?;
    let mut stage = Stage::build(args.port, &node_red, witness.port()).await?;
    println!("Starting two members, each a launcher with its own Node-RED, and the proxy in front.");
    stage.start()?;
    let active = steady(&mut stage).await?;
    println!(
        "Member {} is active (epoch {}). Member {} is the hot spare: its Node-RED is up, its flows are stopped.",
        active.member,
        active.epoch,
        stage.other(&active.member)
    );
    println!("A client asks http://{}/who again and again, each time on a new connection.\n", stage.front());

    let client = Client::start(stage.front());
    let crash = act(Fault::Kill, &mut stage, &client, &witness).await?;
    let hang = act(Fault::Hang, &mut stage, &client, &witness).await?;
    drop(client);
    witness.verdict()?;
    println!(
        "Service went on. Outage as the client saw it: {} after kill -9, {} after the hang (of which {} were the wait \
         that tells a hung event loop from a busy one). The timer ticked {} times in {} tenures, never in two members \
         at once.",
        timeline::time(crash),
        timeline::time(hang),
        timeline::time(stage::HANG_AFTER),
        witness.ticks(),
        witness.tenures(),
    );
    linger(args, &stage).await;
    Ok(())
}

/// One act: break the active, wait until the spare serves, wait until there is a spare again, tell the story. Returns
/// how long the client went without an answer.
async fn act(fault: Fault, stage: &mut Stage, client: &Client, witness: &Witness) -> Result<Duration, Failure> {
    ticks(stage, witness).await?;
    let events_before = stage.last_event().await?;
    let before = client.who().await.map_err(|error| format!("the active doesn't answer: {error}"))?;
    println!("{}", timeline::headline(fault, &before));
    client.mark(before.epoch);
    let began = timeline::Moment::now();
    fault.inflict(stage, &before)?;

    let outage = loop {
        if let Some(outage) = client.outage() {
            break outage;
        }
        patience(began.elapsed(), "the spare to take over", stage)?;
        sleep(LOOK_EVERY).await;
    };
    steady(stage).await?;
    ticks(stage, witness).await?;
    let events = stage.events_since(events_before).await?;
    timeline::tell(&began, &outage, &events);
    Ok(outage.gap)
}

/// Waits until one member is active and the other is ready to take over.
async fn steady(stage: &mut Stage) -> Result<Who, Failure> {
    let began = timeline::Moment::now();
    loop {
        if let Some(active) = stage.steady().await {
            return Ok(active);
        }
        patience(began.elapsed(), "one member to be active and the other ready", stage)?;
        sleep(LOOK_EVERY).await;
    }
}

/// Waits until the timer of the active has ticked a few more times.
async fn ticks(stage: &mut Stage, witness: &Witness) -> Result<(), Failure> {
    let (began, before) = (timeline::Moment::now(), witness.ticks());
    while witness.ticks() < before + TICKS_SEEN {
        patience(began.elapsed(), "the timer of the active to tick", stage)?;
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Fails if one of the processes has ended, or if this has taken too long.
fn patience(waited: Duration, what: &str, stage: &mut Stage) -> Result<(), Failure> {
    stage.check()?;
    if waited < PATIENCE {
        return Ok(());
    }
    Err(format!("waited {} for {what}\n{}", timeline::time(PATIENCE), stage.last_words()))
}

/// Leaves everything running for as long as it is wanted.
async fn linger(args: &Args, stage: &Stage) {
    let terminal = stdin().is_terminal() && stdout().is_terminal();
    if args.once || !(args.keep || terminal) {
        return;
    }
    println!("\nStill running:");
    println!("  proxy    http://{}/who (which member answers)", stage.front());
    println!("  editor   http://{}/ (of the active)", stage.front());
    println!("  status   http://{}/status", stage.admin());
    if args.keep {
        println!("Ctrl-C ends it.");
        std::future::pending::<()>().await;
    } else {
        println!("Enter ends it.");
        // A thread of its own: unlike the runtime's, it isn't waited for when Ctrl-C comes first.
        let (pressed, enter) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || pressed.send(stdin().read_line(&mut String::new()).is_ok()));
        let _ = enter.await;
    }
}

fn fail(failure: &str) -> ExitCode {
    eprintln!("hotspare demo: {failure}");
    ExitCode::FAILURE
}

fn ended() -> ExitCode {
    eprintln!("\nhotspare demo: ended; everything it started is gone");
    ExitCode::from(INTERRUPTED)
}
