//! Drills: a fault on a healthy pair, on demand or on a schedule, and a report of what clients saw.
//!
//! Owns: when a drill may be run, doing the fault through the active's launcher, a client of its own that looks at the
//! service all the while, and the report. Never decides: what follows the fault is the controller's everyday work. A
//! drill is refused, with every reason, unless the spare could take over at that moment.

mod looker;
mod schedule;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hotspare_protocol::Secret;
use hotspare_tls::Keeper;
use hotspare_tls::stream::Expected;
use serde_json::json;

use crate::clock;
use crate::config::{Config, DrillFault, Instance, Launcher};
use crate::engine::status::InstanceStatus;
use crate::engine::{Handle, Order, Refusal, Verb};
use crate::events::{EventLog, Level};
use crate::http::Ask;

use looker::Seen;

/// The fault must show within this, and the pair be whole again: longer than any lease and a slow boot of Node-RED.
const OVER_WITHIN: Duration = Duration::from_secs(120);
/// How long a partition lasts; longer than the lease of any sensible configuration.
const PARTITION: Duration = Duration::from_secs(10);
const ORDER_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Where a member's launcher takes the order for a fault.
#[derive(Clone)]
struct Place {
    url: String,
    token: Secret,
    /// What it must show, where that is https.
    tls: Option<Expected>,
}

/// Runs drills; one at a time for each instance.
pub struct Drills {
    engine: Handle,
    events: EventLog,
    keeper: Keeper,
    places: ArcSwap<HashMap<(String, String), Place>>,
    /// When the last drill of an instance ended, in wall-clock milliseconds; also those of earlier runs of this process.
    last: Mutex<HashMap<String, u64>>,
    running: Mutex<std::collections::HashSet<String>>,
}

/// What a drill showed.
pub struct Report {
    /// One sentence for people.
    pub sentence: String,
    /// Whether the service went on as promised.
    pub passed: bool,
}

impl Drills {
    /// Takes the drills of the past from the event log.
    pub fn new(engine: Handle, events: EventLog, keeper: Keeper) -> Arc<Self> {
        let last = Mutex::new(events.drilled().clone());
        let (places, running) = (ArcSwap::default(), Mutex::default());
        Arc::new(Self { engine, events, keeper, places, last, running })
    }

    /// Takes over where the launchers of `config` are, and its schedules.
    pub fn configure(self: &Arc<Self>, config: &Config) -> Vec<tokio::task::JoinHandle<()>> {
        let places = config.instances.iter().flat_map(|instance| instance.members.iter().map(move |m| (instance, m)));
        let places = places.filter_map(|(instance, member)| {
            let Launcher::Hotspare { url, tokens } = &member.launcher else { return None };
            let key = (instance.name.as_str().to_owned(), member.name.as_str().to_owned());
            let url = url.uri().to_string().trim_end_matches('/').to_owned();
            Some((key, Place { url, token: tokens.current().clone(), tls: member.launcher_expected(&self.keeper) }))
        });
        self.places.store(Arc::new(places.collect()));
        config.instances.iter().filter_map(|instance: &Instance| schedule::start(self, instance)).collect()
    }

    /// Milliseconds since the last drill of `instance` ended; `None` if there was none.
    pub fn age_ms(&self, instance: &str) -> Option<u64> {
        let last = self.last.lock().expect("no holder of this lock panics");
        last.get(instance).map(|at| clock::wall_ms().saturating_sub(*at))
    }

    /// Does `fault` to the active of `instance`, and tells what came of it once the pair is whole again.
    ///
    /// # Errors
    /// Every reason why it was not done.
    pub async fn run(&self, instance: &str, fault: DrillFault, by: &str) -> Result<Report, Refusal> {
        let Some(_one) = self.begin(instance) else {
            return Err(Refusal::Not(vec!["a drill of this instance is running".to_owned()]));
        };
        let status = self.look(instance).await?;
        let active = fit(&status)?;
        let place = match fault {
            DrillFault::Switchover => None,
            _ => Some(self.place(instance, &active)?),
        };
        let word = word(fault);
        self.record(
            instance,
            Level::Notice,
            format!("drill: {word} of {active} begins, asked for by {by}"),
            "drill_began",
        );
        let looker = looker::start(status.listeners.first().map(|l| l.address.clone()));
        let began = Instant::now();
        let done = match place {
            None => self.switch_over(instance).await,
            Some(place) => order(&place, word).await,
        };
        if let Err(why) = done {
            let seen = looker.stop().await;
            return Ok(self.conclude(instance, word, Err(why), &seen));
        }
        let outcome = self.until_whole(instance, &active, status.epoch, began).await;
        let seen = looker.stop().await;
        Ok(self.conclude(instance, word, outcome, &seen))
    }

    fn conclude(&self, instance: &str, word: &str, outcome: Result<String, String>, seen: &Seen) -> Report {
        // The one request that the fault met in flight cannot be saved; a planned change loses none.
        let lost = if word == "switchover" { 0 } else { 1 };
        let passed = outcome.is_ok() && seen.failed <= lost;
        let (Ok(text) | Err(text)) = outcome;
        let clients = format!(
            "clients: {} looks, {} failed, the longest wait {} ms",
            seen.looks,
            seen.failed,
            seen.longest.as_millis()
        );
        let verdict = if passed { "passed" } else { "NOT passed" };
        let sentence = format!("drill {word} {verdict}: {text}; {clients}");
        let level = if passed { Level::Notice } else { Level::Alarm };
        let event = json!({
            "event": "drill", "fault": word, "passed": passed, "looks": seen.looks, "failed": seen.failed,
            "longest_ms": u64::try_from(seen.longest.as_millis()).unwrap_or(u64::MAX),
        });
        self.events.record(instance, level, sentence.clone(), &event);
        let mut last = self.last.lock().expect("no holder of this lock panics");
        last.insert(instance.to_owned(), clock::wall_ms());
        Report { sentence, passed }
    }

    async fn until_whole(&self, instance: &str, was: &str, epoch: u64, began: Instant) -> Result<String, String> {
        let mut changed = None;
        while began.elapsed() < OVER_WITHIN {
            let status = self.look(instance).await.map_err(|_| "the engine has stopped".to_owned())?;
            let other = status.active.as_deref().filter(|active| *active != was && status.epoch > epoch);
            if let (Some(active), None) = (other, changed) {
                changed = Some(began.elapsed());
                tracing::info!(instance, active, "drill: the spare has taken over");
            }
            if let (Some(took), true) = (changed, fit(&status).is_ok()) {
                let whole = began.elapsed().as_secs_f64();
                return Ok(format!(
                    "the spare took over after {} ms, whole again after {whole:.1} s",
                    took.as_millis()
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Err(match changed {
            Some(took) => format!("the spare took over after {} ms, but there is no new spare", took.as_millis()),
            None => "the spare did not take over".to_owned(),
        })
    }

    async fn switch_over(&self, instance: &str) -> Result<(), String> {
        let order = Order { reason: Some("drill".to_owned()), by: "drill".to_owned(), ..Order::default() };
        match self.engine.order(instance, Verb::Switchover, order).await {
            Ok(_) => Ok(()),
            Err(Refusal::Not(reasons)) => Err(reasons.join("; ")),
            Err(Refusal::Elsewhere(leader)) => Err(Refusal::elsewhere(leader.as_ref())),
            Err(refusal) => Err(format!("{refusal:?}")),
        }
    }

    async fn look(&self, instance: &str) -> Result<InstanceStatus, Refusal> {
        let status = self.engine.status().await.ok_or(Refusal::Stopping)?;
        let found = status.instances.into_iter().find(|i| i.name == instance);
        found.ok_or_else(|| Refusal::Unknown(format!("there is no instance '{instance}'")))
    }

    fn place(&self, instance: &str, member: &str) -> Result<Place, Refusal> {
        let places = self.places.load();
        places.get(&(instance.to_owned(), member.to_owned())).cloned().ok_or_else(|| {
            let why = "only members of launcher.kind \"hotspare\" can be given a fault; drill the switchover instead";
            Refusal::Not(vec![why.to_owned()])
        })
    }

    fn record(&self, instance: &str, level: Level, text: String, event: &str) {
        self.events.record(instance, level, text, &json!({ "event": event }));
    }

    fn begin(&self, instance: &str) -> Option<Running<'_>> {
        let free = self.running.lock().expect("no holder of this lock panics").insert(instance.to_owned());
        free.then(|| Running { drills: self, instance: instance.to_owned() })
    }
}

/// Holds an instance's one place; gives it back when dropped.
struct Running<'a> {
    drills: &'a Drills,
    instance: String,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.drills.running.lock().expect("no holder of this lock panics").remove(&self.instance);
    }
}

/// The active's name, if a fault of it would cost nothing but a failover.
fn fit(status: &InstanceStatus) -> Result<String, Refusal> {
    let mut reasons = Vec::new();
    if status.state != "active" {
        reasons.push(format!("the instance is in state '{}'", status.state));
    }
    for (holds, what) in [(status.frozen, "frozen"), (status.paused.is_some(), "paused"), (status.blind, "blind")] {
        if holds {
            reasons.push(format!("the instance is {what}"));
        }
    }
    for spare in status.members.iter().filter(|m| m.role != "active" && !m.ready) {
        let why = spare.why_not.as_deref().unwrap_or("not ready");
        reasons.push(format!("the spare {} could not take over: {why}", spare.name));
    }
    match &status.active {
        Some(active) if reasons.is_empty() => Ok(active.clone()),
        _ => Err(Refusal::Not(reasons)),
    }
}

fn word(fault: DrillFault) -> &'static str {
    match fault {
        DrillFault::Crash => "crash",
        DrillFault::Hang => "hang",
        DrillFault::Partition => "partition",
        DrillFault::Switchover => "switchover",
    }
}

async fn order(place: &Place, fault: &str) -> Result<(), String> {
    let for_ms = u64::try_from(PARTITION.as_millis()).unwrap_or(u64::MAX);
    let body = json!({"fault": fault, "for_ms": for_ms});
    let url = format!("{}/hotspare/v1/drill", place.url);
    let ask = Ask::post(&url, &body, ORDER_WITHIN).bearer(Some(place.token.expose())).tls(place.tls.as_ref());
    let answer = ask.send().await.map_err(|e| format!("the launcher at {} took no order: {e}", place.url))?;
    if answer.status.is_success() {
        return Ok(());
    }
    Err(format!("the launcher answered {}: {}", answer.status, String::from_utf8_lossy(&answer.body).trim()))
}
