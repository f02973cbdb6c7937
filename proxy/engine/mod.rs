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
mod timers;
mod worst;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hotspare_decide::{Input as Observed, Time};
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::events::{EventLog, Level};
use crate::link::LinkEvent;
use crate::observations::Recorder;
use crate::store::{Kept, Store};

pub use handle::{Accepted, Handle, Order, Refusal, Verb};
pub use input::{DriverEvent, Input, Reload};
pub use instance::{InstanceSpec, MemberSpec};
pub use status::InstanceStatus;

pub(crate) use sentence::cause as cause_sentence;

/// Inputs that may wait. At 2,000 members and ten heartbeats a second this is a quarter of a second's worth.
const QUEUE: usize = 5000;
/// Inputs taken before timers are looked at.
const BATCH: usize = 32;
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
    /// The addresses that several instances share by name.
    fn shared(&self) -> Vec<status::SharedStatus> {
        Vec::new()
    }
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
    /// Where observations are recorded.
    pub recorder: Recorder,
}

/// The engine; [`Engine::run`] is its task.
pub struct Engine {
    name: String,
    started: Time,
    /// By number, in the order of the configuration; a number is never used twice.
    instances: BTreeMap<u32, instance::Instance>,
    by_name: HashMap<String, u32>,
    /// The last records of instances that a reload removed: epochs go on from there if one comes back.
    retired: HashMap<String, hotspare_decide::Record>,
    timers: timers::Timers,
    store: Box<dyn Store>,
    routes: Box<dyn Routes>,
    events: EventLog,
    recorder: Recorder,
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
        let mut engine = Self {
            name: parts.name,
            started: now,
            leader: parts.store.leads_from_the_start(),
            instances: BTreeMap::new(),
            by_name: HashMap::new(),
            retired: HashMap::new(),
            timers: timers::Timers::default(),
            store: parts.store,
            routes: parts.routes,
            events: parts.events,
            recorder: parts.recorder,
            inputs,
            last_awake: now,
            stalls: 0,
            store_ok: true,
            journal_failures: 0,
            duplicates: 0,
        };
        for (number, (spec, record)) in (0..).zip(parts.instances) {
            engine.add(number, spec, record);
        }
        engine
    }

    /// Decides until [`Input::Stop`] comes.
    pub async fn run(mut self) {
        self.last_awake = clock::now();
        for index in self.numbers() {
            self.settle(index);
        }
        loop {
            let wait = self.timers.next().map_or(TICK, |at| clock::now().until(at).min(TICK));
            let mut next = match tokio::time::timeout(wait, self.inputs.recv()).await {
                Ok(None) => return,
                Ok(Some(input)) => Some(input),
                Err(_) => None,
            };
            // What came along is taken too before anything is waited for, which costs a timer each time.
            for taken in 1..=BATCH {
                self.notice_stall();
                self.notice_lost_lead();
                match next {
                    Some(Input::Stop(done)) => return self.stop(done),
                    Some(input) => self.take(input),
                    None => break,
                }
                next = if taken < BATCH { self.inputs.try_recv().ok() } else { None };
            }
            self.fire_timers();
        }
    }

    fn stop(mut self, done: oneshot::Sender<()>) {
        let now = clock::now();
        self.instances.values_mut().for_each(|instance| instance.tape.end(now));
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
            for index in self.numbers() {
                self.observe(index, Observed::Stalled { gap });
            }
        }
    }

    /// Leadership that has run out ends here, before anything is decided upon, whatever waits in the queue.
    fn notice_lost_lead(&mut self) {
        if self.leader && clock::now() >= self.store.leads_until() {
            self.take_leadership(false, Vec::new());
        }
    }

    fn fire_timers(&mut self) {
        let now = clock::now();
        while let Some(index) = self.timers.due(now) {
            let Some(instance) = self.instances.get_mut(&index) else { continue };
            match instance.decider.poll_timeout() {
                Some(at) if at > now => self.timers.look_by(index, at),
                Some(_) => {
                    instance.decider.handle_timeout(now);
                    self.settle(index);
                }
                None => {}
            }
        }
        self.last_awake = clock::now();
    }

    /// Gives `input` to an instance's decider and carries out what follows.
    fn observe(&mut self, index: u32, input: Observed) {
        let now = clock::now();
        if let Some(instance) = self.instances.get_mut(&index) {
            instance.tell(now, input);
            self.settle(index);
        }
    }

    fn numbers(&self) -> Vec<u32> {
        self.instances.keys().copied().collect()
    }

    fn add(&mut self, number: u32, spec: InstanceSpec, record: Option<hotspare_decide::Record>) {
        let names = spec.members.each_ref().map(|m| m.name.as_str());
        let record = record
            .or_else(|| self.retired.remove(&spec.name))
            .or_else(|| self.store.known(&spec.name).map(|kept| kept.for_members(names)));
        self.by_name.insert(spec.name.clone(), number);
        let made = instance::Instance::new(number, spec, record, self.leader, &self.recorder);
        self.instances.insert(number, made);
    }

    fn remove(&mut self, number: u32) {
        let Some(mut instance) = self.instances.remove(&number) else { return };
        instance.tape.end(clock::now());
        self.by_name.retain(|_, n| *n != number);
        if let Some(record) = instance.last_record {
            self.retired.insert(instance.spec.name, record);
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Link(event) => self.take_link(event),
            Input::Driver { instance, member, event } => {
                let observed = self.instances.get_mut(&instance).and_then(|i| i.driver_event(member, event));
                for input in observed.into_iter().flatten() {
                    self.observe(instance, input);
                }
            }
            Input::Probe { instance, member, check, outcome, flows } => {
                if let Some(instance) = self.instances.get_mut(&instance) {
                    instance.count_probe(member, &outcome);
                }
                self.observe(instance, Observed::Probe { member, check, outcome, flows });
            }
            Input::Trouble { instance, member, epoch, trouble } => {
                let epoch = hotspare_decide::Epoch(epoch);
                self.observe(instance, Observed::Trouble { member, epoch, trouble });
            }
            Input::Drained { instance, epoch } => {
                self.observe(instance, Observed::Drained { epoch: hotspare_decide::Epoch(epoch) });
            }
            Input::Stored { instance, id, result } => self.take_stored(instance, id, result),
            Input::Leadership { leader, records } => self.take_leadership(leader, records),
            Input::Seen(records) => self.take_seen(records),
            Input::StoreHealth { up, why } => self.take_store_health(up, why),
            Input::Order { instance, verb, order, reply } => match self.by_name.get(&instance) {
                Some(_) if !self.leader => {
                    let _ = reply.send(Err(Refusal::Elsewhere(self.store.leader())));
                }
                Some(&index) => self.take_order(index, verb, order, reply),
                None => {
                    let _ = reply.send(Err(Refusal::Unknown(format!("there is no instance '{instance}'"))));
                }
            },
            Input::Status(reply) => {
                #[cfg(debug_assertions)]
                crate::panics::on_request();
                let _ = reply.send(self.status());
            }
            Input::Explain { instance, reply } => {
                let found = self.by_name.get(&instance).and_then(|number| self.instances.get(number));
                let story = found.map(|instance| instance.explain(clock::now()));
                let _ = reply.send(story);
            }
            Input::Checkpoint { instance, done } => {
                let number = self.by_name.get(&instance).copied();
                let found = number.and_then(|number| self.instances.get_mut(&number));
                let _ = done.send(found.map(|instance| instance.tape.checkpoint(clock::now())).is_some());
            }
            Input::Reload { change, done } => {
                self.reload(change);
                let _ = done.send(());
            }
            Input::Stop(done) => {
                let _ = done.send(());
            }
        }
    }

    /// Applies what a reload changed of one instance; the others notice nothing.
    fn reload(&mut self, change: Reload) {
        let now = clock::now();
        match change {
            Reload::Add { number, spec } => {
                self.add(number, *spec, None);
                self.settle(number);
            }
            Reload::Remove { number } => self.remove(number),
            Reload::Change { number, spec } => {
                let Some(instance) = self.instances.get_mut(&number) else { return };
                instance.change(*spec, now);
                instance.welcome_again(&self.name, self.leader);
                self.settle(number);
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
        let index = key.instance;
        let Some(instance) = self.instances.get_mut(&index) else { return };
        if let LinkEvent::Duplicate { from, .. } = &event {
            self.duplicates += 1;
            let (name, member) = instance.names(key.member);
            let text = format!(
                "a second launcher for member {member} tried to connect from {from}, and was refused: two launchers have one token"
            );
            self.events.record(&name, Level::Alarm, text, &serde_json::json!({"event": "duplicate_link"}));
            return;
        }
        for input in instance.link_event(&self.name, self.leader, event) {
            self.observe(index, input);
        }
    }

    fn take_stored(&mut self, index: u32, id: u64, result: Result<(), String>) {
        self.store_ok = result.is_ok();
        self.journal_failures += u64::from(result.is_err());
        let observed = match result {
            Ok(()) => Observed::Persisted { id },
            Err(reason) => Observed::PersistFailed { id, reason },
        };
        self.observe(index, observed);
    }

    fn take_leadership(&mut self, leader: bool, records: Vec<(String, Kept)>) {
        if !leader && !self.leader {
            return;
        }
        // Won, and run out before the news arrived.
        let leader = leader && clock::now() < self.store.leads_until();
        self.leader = leader;
        let mut records: HashMap<_, _> = records.into_iter().collect();
        for index in self.numbers() {
            let Some(instance) = self.instances.get_mut(&index) else { continue };
            let names = instance.spec.members.each_ref().map(|m| m.name.as_str());
            let record = records.remove(&instance.spec.name).map(|kept| kept.for_members(names));
            instance.welcome_again(&self.name, leader);
            self.observe(index, Observed::Leadership { leader, record, wall_ms: clock::wall_ms() });
        }
    }

    fn take_seen(&mut self, records: Vec<(String, Kept)>) {
        for (name, kept) in records {
            let Some(&index) = self.by_name.get(&name) else { continue };
            let Some(instance) = self.instances.get(&index) else { continue };
            let record = kept.for_members(instance.spec.members.each_ref().map(|m| m.name.as_str()));
            self.observe(index, Observed::Seen { record });
        }
    }

    fn take_store_health(&mut self, up: bool, why: String) {
        if self.store_ok == up {
            return;
        }
        self.store_ok = up;
        let (level, text) = match up {
            true => (Level::Notice, "the store answers again".to_owned()),
            false => (
                Level::Alarm,
                format!(
                    "the store does not answer ({why}): traffic and flows go on, nothing new is decided until it does"
                ),
            ),
        };
        self.events.record("", level, text, &serde_json::json!({"event": "store", "up": up, "why": why}));
    }
}
