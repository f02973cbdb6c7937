//! The engine: one task that owns every instance's decider, and the only writer of routes.
//!
//! It turns what the shells report into inputs of the decision core (`hotspare_decide`), and carries out the effects
//! that come back, in their order: journal, routes, orders to launchers, events. It decides nothing itself, and it
//! never waits: stores, drivers and probes answer by an [`Input`] of their own.
//!
//! Where to go next: `instance.rs` for one pair, `effects.rs` for what is done, `status.rs` for what is shown.

mod effects;
mod handle;
mod input;
mod instance;
mod sentence;
pub mod status;
mod summary;
mod watch;

use std::collections::HashMap;
use std::time::Duration;

use hotspare_decide::{Input as Observed, Time};
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::events::EventLog;
use crate::link::LinkEvent;
use crate::store::Store;

pub use handle::{Accepted, Handle, Order, Refusal, Verb};
pub use input::{DriverEvent, Input};
pub use instance::{InstanceSpec, MemberSpec};

/// Inputs that may wait. At 2,000 members and ten heartbeats a second this is a quarter of a second's worth.
const QUEUE: usize = 5000;
/// The engine wakes at least this often, so that a pause of its own process is noticed.
const TICK: Duration = Duration::from_millis(50);
/// A gap this much longer than a tick is a pause of our own (SIGSTOP, suspend, starvation): look afresh.
const STALL: Duration = Duration::from_millis(400);

/// The engine's queue of inputs: the end that all others share, and the one for [`Engine::new`].
pub fn queue() -> (Handle, mpsc::Receiver<Input>) {
    let (inputs, receiver) = mpsc::channel(QUEUE);
    (Handle { inputs }, receiver)
}

/// Where the engine sends what concerns the data path; the data path implements it.
pub trait Routes: Send {
    /// Sends connections of `instance` to `route` from now on; those of other epochs end after `drain` (`None`: never).
    fn set(&self, instance: u32, route: hotspare_decide::Route, drain: Option<Duration>);
    /// The counters of `instance`.
    fn traffic(&self, instance: u32) -> status::TrafficStatus;
    /// The addresses `instance` listens on.
    fn listeners(&self, instance: u32) -> Vec<status::ListenerStatus>;
}

/// What an engine is made of.
pub struct Parts {
    /// This proxy's name.
    pub name: String,
    /// The instances, each with its record from the store.
    pub instances: Vec<(InstanceSpec, Option<hotspare_decide::Record>)>,
    /// Where records become durable.
    pub store: Box<dyn Store>,
    /// The data path.
    pub routes: Box<dyn Routes>,
    /// The event log.
    pub events: EventLog,
}

/// The engine; [`Engine::run`] is its task.
pub struct Engine {
    name: String,
    started: Time,
    instances: Vec<instance::Instance>,
    by_name: HashMap<String, usize>,
    timers: watch::Timers,
    store: Box<dyn Store>,
    routes: Box<dyn Routes>,
    events: EventLog,
    inputs: mpsc::Receiver<Input>,
    last_awake: Time,
    stalls: u64,
    leader: bool,
    store_ok: bool,
    journal_failures: u64,
    duplicates: u64,
}

impl Engine {
    /// Makes an engine that takes its inputs from a [`queue`]. Nothing happens before [`Engine::run`].
    pub fn new(parts: Parts, inputs: mpsc::Receiver<Input>) -> Self {
        let now = clock::now();
        let leader = parts.store.leads_from_the_start();
        let mut instances = Vec::new();
        let mut by_name = HashMap::new();
        for (index, (spec, record)) in parts.instances.into_iter().enumerate() {
            by_name.insert(spec.name.clone(), index);
            let index = u32::try_from(index).expect("the configuration bounds the number of instances");
            instances.push(instance::Instance::new(index, spec, record, leader, now));
        }
        Self {
            name: parts.name,
            started: now,
            timers: watch::Timers::new(instances.len()),
            instances,
            by_name,
            store: parts.store,
            routes: parts.routes,
            events: parts.events,
            inputs,
            last_awake: now,
            stalls: 0,
            leader,
            store_ok: true,
            journal_failures: 0,
            duplicates: 0,
        }
    }

    /// Decides until [`Input::Stop`] comes.
    pub async fn run(mut self) {
        self.last_awake = clock::now();
        for index in 0..self.instances.len() {
            self.settle(index, clock::now());
        }
        loop {
            let wait = self.timers.next().map_or(TICK, |at| clock::now().until(at).min(TICK));
            let input = tokio::time::timeout(wait, self.inputs.recv()).await;
            self.notice_stall();
            match input {
                Ok(None) => return,
                Ok(Some(Input::Stop(done))) => return self.stop(done),
                Ok(Some(input)) => self.take(input),
                Err(_) => {}
            }
            self.fire_timers();
        }
    }

    fn stop(self, done: oneshot::Sender<()>) {
        tracing::info!("engine: nothing more is decided");
        let _ = done.send(());
    }

    /// After a pause of our own, everything that was known is old: tell every decider before anything else.
    fn notice_stall(&mut self) {
        let now = clock::now();
        let gap = now.since(self.last_awake);
        self.last_awake = now;
        if gap > TICK + STALL {
            self.stalls += 1;
            tracing::warn!(?gap, "engine: this process stood still; observing afresh before anything is decided");
            for index in 0..self.instances.len() {
                self.observe(index, Observed::Stalled { gap });
            }
        }
    }

    fn fire_timers(&mut self) {
        let now = clock::now();
        while let Some(index) = self.timers.due(now) {
            self.instances[index].decider.handle_timeout(now);
            self.settle(index, now);
        }
        self.last_awake = clock::now();
    }

    /// Gives `input` to an instance's decider and carries out what follows.
    fn observe(&mut self, index: usize, input: Observed) {
        let now = clock::now();
        self.instances[index].decider.handle(now, input);
        self.settle(index, now);
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Link(event) => self.take_link(event),
            Input::Driver { instance, member, event } => {
                if let Some(observed) = self.instances[instance as usize].driver_event(member, event) {
                    for input in observed {
                        self.observe(instance as usize, input);
                    }
                }
            }
            Input::Probe { instance, member, check, outcome, flows } => {
                self.instances[instance as usize].count_probe(member, &outcome);
                self.observe(instance as usize, Observed::Probe { member, check, outcome, flows });
            }
            Input::Trouble { instance, member, epoch, trouble } => {
                let epoch = hotspare_decide::Epoch(epoch);
                self.observe(instance as usize, Observed::Trouble { member, epoch, trouble });
            }
            Input::Drained { instance, epoch } => {
                self.observe(instance as usize, Observed::Drained { epoch: hotspare_decide::Epoch(epoch) });
            }
            Input::Stored { instance, id, result } => self.take_stored(instance as usize, id, result),
            Input::Leadership { leader, records } => self.take_leadership(leader, records),
            Input::Order { instance, verb, order, reply } => match self.by_name.get(&instance) {
                Some(&index) => self.take_order(index, verb, order, reply),
                None => {
                    let _ = reply.send(Err(Refusal::Unknown(format!("there is no instance '{instance}'"))));
                }
            },
            Input::Status(reply) => {
                let _ = reply.send(self.status());
            }
            Input::Explain { instance, reply } => {
                let story = self.by_name.get(&instance).map(|&index| self.instances[index].explain(clock::now()));
                let _ = reply.send(story);
            }
            Input::Stop(done) => {
                let _ = done.send(());
            }
        }
    }

    fn take_link(&mut self, event: LinkEvent) {
        let key = match &event {
            LinkEvent::Up { key, .. }
            | LinkEvent::Message { key, .. }
            | LinkEvent::Down { key, .. }
            | LinkEvent::Receipt { key, .. }
            | LinkEvent::Duplicate { key, .. } => *key,
        };
        let index = key.instance as usize;
        if let LinkEvent::Duplicate { from, .. } = &event {
            self.duplicates += 1;
            let (name, member) = self.instances[index].names(key.member);
            let text = format!(
                "a second launcher for member {member} tried to connect from {from}, and was refused: two launchers have one token"
            );
            self.events.record(
                &name,
                crate::events::Level::Alarm,
                text,
                serde_json::json!({"event": "duplicate_link"}),
            );
            return;
        }
        for input in self.instances[index].link_event(&self.name, self.leader, event) {
            self.observe(index, input);
        }
    }

    fn take_stored(&mut self, index: usize, id: u64, result: Result<(), String>) {
        self.store_ok = result.is_ok();
        self.journal_failures += u64::from(result.is_err());
        let observed = match result {
            Ok(()) => Observed::Persisted { id },
            Err(reason) => Observed::PersistFailed { id, reason },
        };
        self.observe(index, observed);
    }

    fn take_leadership(&mut self, leader: bool, records: Vec<(String, hotspare_decide::Record)>) {
        self.leader = leader;
        let mut records: HashMap<_, _> = records.into_iter().collect();
        for index in 0..self.instances.len() {
            let record = records.remove(&self.instances[index].spec.name);
            self.instances[index].welcome_again(&self.name, leader);
            self.observe(index, Observed::Leadership { leader, record, wall_ms: clock::wall_ms() });
        }
    }
}
