//! A simulated world for elections: several proxies with clocks of their own, one store, and everything between that
//! can be slow, lost, late or doubled. Everything follows from the seed.
//!
//! After every step it asks: does more than one proxy believe, on its own clock, that it leads? Is every record that
//! was reported durable still in the store? Did an older one replace it?
#![allow(clippy::unwrap_used, unreachable_pub)]

mod random;
mod store;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use hotspare_decide::Time;
use hotspare_group::{Answer, Document, Effect, Election, Event, Input, Request, Settings, Ticket};

pub use random::Random;
use store::Store;

const MS: u64 = 1_000_000;
const INSTANCES: u64 = 3;

/// What a run does, beside its seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// Start proxies with this rule broken.
    #[cfg(feature = "mutants")]
    pub broken: Option<hotspare_group::Rule>,
    /// Print every step.
    pub trace: bool,
}

impl Plan {
    /// All rules kept; every step printed if `trace`.
    pub fn keeping_all_rules(trace: bool) -> Self {
        Self {
            #[cfg(feature = "mutants")]
            broken: None,
            trace,
        }
    }
}

/// What was found to be wrong.
#[derive(Debug)]
pub struct Violation(pub String);

/// What a run did, so that a test can show that it did something.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub steps: u64,
    pub led: u64,
    pub lost: u64,
    pub stored: u64,
    pub late_writes: u64,
}

enum What {
    /// A proxy's timer has passed, unless another one was set since.
    Timer {
        proxy: usize,
        life: u64,
        due: Time,
    },
    /// A request reaches the store.
    Arrives {
        proxy: usize,
        life: u64,
        id: u64,
        request: Request,
    },
    /// Something reaches a proxy.
    Delivers {
        proxy: usize,
        life: u64,
        input: Input,
    },
    /// A proxy's engine wants a record stored.
    Persists {
        proxy: usize,
        life: u64,
    },
    /// The next fault.
    Fault,
    /// Ends a fault.
    Thaw {
        proxy: usize,
        life: u64,
    },
    Restart {
        proxy: usize,
    },
}

struct Proxy {
    election: Election,
    /// Which process this is; what was meant for an earlier one is dropped.
    life: u64,
    alive: bool,
    frozen: Option<Vec<Input>>,
    resigning: bool,
    /// Its clock: true time times rate plus offset.
    rate: f64,
    offset: u64,
    to_store: bool,
    from_store: bool,
    hints: bool,
    armed: Time,
    /// What its engine believes: the value of each instance's record, while it leads.
    records: Option<BTreeMap<String, u64>>,
    asked: u64,
    in_doubt: BTreeMap<u64, (String, u64)>,
}

pub struct World {
    random: Random,
    plan: Plan,
    now: u64,
    order: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    what: BTreeMap<u64, What>,
    proxies: Vec<Proxy>,
    store: Store,
    settings: Settings,
    calm: bool,
    /// Longest usual delay of a message, in nanoseconds.
    delay: u64,
    /// What was reported durable: the highest value of each instance.
    durable: BTreeMap<String, u64>,
    /// Records can be lost: an operator deleted the object in this run.
    records_can_go: bool,
    pub tally: Tally,
}

impl World {
    pub fn new(seed: u64, plan: Plan) -> Self {
        let mut random = Random::new(seed);
        let drift_ppm = *random.pick(&[1_000, 10_000, 50_000]);
        let settings = Settings {
            me: String::new(),
            admin: String::new(),
            lead_for: Duration::from_millis(1000 + random.below(4000)),
            renew: Duration::from_millis(100 + random.below(200)),
            request_timeout: Duration::from_millis(100 + random.below(400)),
            drift_ppm,
        };
        let delay = *random.pick(&[MS / 10, MS, 5 * MS, 40 * MS]);
        let count = 2 + random.below(3) as usize;
        let mut world = Self {
            random,
            plan,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            what: BTreeMap::new(),
            proxies: Vec::new(),
            store: Store::default(),
            settings,
            calm: false,
            delay,
            durable: BTreeMap::new(),
            records_can_go: false,
            tally: Tally::default(),
        };
        for index in 0..count {
            let proxy = world.process(index, 0);
            world.proxies.push(proxy);
            let at = world.random.below(2000) * MS;
            world.at(at, What::Timer { proxy: index, life: 0, due: Time::MAX });
            world.at(at, What::Persists { proxy: index, life: 0 });
        }
        world.at(500 * MS, What::Fault);
        world
    }

    /// Runs `faults_for`, then lets everything heal.
    ///
    /// # Errors
    /// The first thing that was wrong.
    pub fn run(&mut self, faults_for: Duration) -> Result<(), Violation> {
        let end = faults_for.as_nanos() as u64;
        self.until(end)?;
        self.heal();
        // A write may still be on its way for this long; then somebody takes over, and can write.
        let calm = self.settings.lead_for * 4 + self.settings.request_timeout * 8 + Duration::from_secs(12);
        self.until(end + calm.as_nanos() as u64)?;
        self.check_liveness()
    }

    fn until(&mut self, end: u64) -> Result<(), Violation> {
        while let Some(&Reverse((at, order))) = self.queue.peek()
            && at <= end
        {
            self.queue.pop();
            self.now = at;
            self.tally.steps += 1;
            let what = self.what.remove(&order).expect("each is queued once");
            self.step(what)?;
            self.check_one_leader()?;
        }
        Ok(())
    }

    fn process(&mut self, index: usize, life: u64) -> Proxy {
        // The bound is on how two clocks differ, so each may be off by half of it.
        let half = f64::from(self.settings.drift_ppm) / 2e6 * 0.99;
        let rate = match self.random.below(4) {
            0 => 1.0 - half,
            1 => 1.0 + half,
            _ => 1.0 + half * (self.random.unit() * 2.0 - 1.0),
        };
        let mut settings = self.settings.clone();
        settings.me = format!("proxy-{index}/{life}");
        if self.random.one_in(4) {
            // A change of the configuration that is being rolled out.
            settings.lead_for = settings.lead_for.mul_f64(0.5 + self.random.unit());
        }
        Proxy {
            election: self.election(settings),
            life,
            alive: true,
            frozen: None,
            resigning: false,
            rate,
            offset: self.random.below(1 << 40),
            to_store: true,
            from_store: true,
            hints: !self.random.one_in(4),
            armed: Time::MAX,
            records: None,
            asked: 0,
            in_doubt: BTreeMap::new(),
        }
    }

    #[cfg(feature = "mutants")]
    fn election(&self, settings: Settings) -> Election {
        match self.plan.broken {
            Some(rule) => Election::breaking(settings, rule),
            None => Election::new(settings),
        }
    }

    #[cfg(not(feature = "mutants"))]
    #[allow(clippy::unused_self)]
    fn election(&self, settings: Settings) -> Election {
        Election::new(settings)
    }

    fn at(&mut self, at: u64, what: What) {
        self.order += 1;
        self.queue.push(Reverse((at.max(self.now), self.order)));
        self.what.insert(self.order, what);
    }

    fn step(&mut self, what: What) -> Result<(), Violation> {
        match what {
            What::Timer { proxy, life, due } => {
                let set = self.is(proxy, life) && self.proxies[proxy].armed == due;
                if set && self.proxies[proxy].frozen.is_none() {
                    self.proxies[proxy].armed = Time::MAX;
                    let now = self.clock(proxy);
                    if now >= self.proxies[proxy].election.poll_timeout() {
                        self.proxies[proxy].election.handle_timeout(now);
                    }
                    self.settle(proxy)?;
                }
            }
            What::Arrives { proxy, life, id, request } => self.arrives(proxy, life, id, request)?,
            What::Delivers { proxy, life, input } => {
                if self.is(proxy, life) {
                    match &mut self.proxies[proxy].frozen {
                        Some(waiting) => waiting.push(input),
                        None => self.give(proxy, input)?,
                    }
                }
            }
            What::Persists { proxy, life } => {
                if self.is(proxy, life) {
                    self.persists(proxy)?;
                    let at = self.now + (20 + self.random.below(800)) * MS;
                    self.at(at, What::Persists { proxy, life });
                }
            }
            What::Fault => {
                if !self.calm {
                    self.fault()?;
                    let at = self.now + (20 + self.random.below(1500)) * MS;
                    self.at(at, What::Fault);
                }
            }
            What::Thaw { proxy, life } => {
                if self.is(proxy, life) {
                    self.thaw(proxy)?;
                }
            }
            What::Restart { proxy } => self.restart(proxy),
        }
        Ok(())
    }

    fn is(&self, proxy: usize, life: u64) -> bool {
        self.proxies[proxy].alive && self.proxies[proxy].life == life
    }

    /// A proxy's own clock, now.
    fn clock(&self, proxy: usize) -> Time {
        let proxy = &self.proxies[proxy];
        Time::from_nanos((self.now as f64 * proxy.rate) as u64 + proxy.offset)
    }

    fn give(&mut self, proxy: usize, input: Input) -> Result<(), Violation> {
        let now = self.clock(proxy);
        self.proxies[proxy].election.handle(now, input);
        self.settle(proxy)
    }

    fn settle(&mut self, proxy: usize) -> Result<(), Violation> {
        while let Some(effect) = self.proxies[proxy].election.poll_effect() {
            match effect {
                Effect::Ask { id, request } => self.send(proxy, id, request),
                Effect::Event(event) => self.event(proxy, event)?,
            }
        }
        let due = self.proxies[proxy].election.poll_timeout();
        if due < self.proxies[proxy].armed {
            self.proxies[proxy].armed = due;
            let local = due.since(self.clock(proxy)).as_nanos() as f64;
            let at = self.now + (local / self.proxies[proxy].rate) as u64 + 1000;
            let life = self.proxies[proxy].life;
            self.at(at, What::Timer { proxy, life, due });
        }
        Ok(())
    }

    fn latency(&mut self) -> u64 {
        let usual = 1000 + self.random.below(self.delay);
        match self.calm || !self.random.one_in(40) {
            true => usual,
            // Long after everybody has given it up.
            false => self.random.below(8000) * MS,
        }
    }

    fn send(&mut self, proxy: usize, id: u64, request: Request) {
        let life = self.proxies[proxy].life;
        if self.plan.trace {
            println!("{:>9} us proxy-{proxy} asks {id}: {request:?}", self.now / 1000);
        }
        if !self.proxies[proxy].to_store || (!self.calm && self.random.one_in(60)) {
            return;
        }
        let at = self.now + self.latency();
        self.at(at, What::Arrives { proxy, life, id, request });
    }

    fn arrives(&mut self, proxy: usize, life: u64, id: u64, request: Request) -> Result<(), Violation> {
        let wrote = self.store.writes;
        let answer = self.store.serve(&request);
        if self.store.writes > wrote {
            if self.proxies[proxy].life != life {
                self.tally.late_writes += 1;
            }
            self.check_records()?;
            for other in 0..self.proxies.len() {
                if self.proxies[other].hints && self.proxies[other].from_store && !self.random.one_in(10) {
                    let at = self.now + self.latency();
                    let life = self.proxies[other].life;
                    self.at(at, What::Delivers { proxy: other, life, input: Input::Hint });
                }
            }
        }
        if !self.proxies[proxy].from_store || (!self.calm && self.random.one_in(60)) {
            return Ok(());
        }
        // A layer below tried twice: the first did it, the second met its own work.
        let answer = match answer {
            Answer::Written(_) if !self.calm && self.random.one_in(50) => Answer::Conflict,
            answer => answer,
        };
        let at = self.now + self.latency();
        self.at(at, What::Delivers { proxy, life, input: Input::Answer { id, answer } });
        Ok(())
    }

    fn event(&mut self, proxy: usize, event: Event) -> Result<(), Violation> {
        if self.plan.trace {
            println!("{:>9} us proxy-{proxy} says {event:?}", self.now / 1000);
        }
        match event {
            Event::Led { document, .. } => {
                self.tally.led += 1;
                let records = values(&document);
                for (instance, value) in &self.durable {
                    if !self.records_can_go && records.get(instance).is_none_or(|has| has < value) {
                        return Err(Violation(format!(
                            "proxy-{proxy} leads with {instance} at {:?}, but {value} had been reported durable",
                            records.get(instance)
                        )));
                    }
                }
                self.proxies[proxy].records = Some(records);
            }
            Event::Lost { .. } => {
                self.tally.lost += 1;
                self.proxies[proxy].records = None;
            }
            Event::Stored { ticket, result } => {
                let Some((instance, value)) = self.proxies[proxy].in_doubt.remove(&ticket.id) else {
                    return Err(Violation(format!("proxy-{proxy}: {ticket:?} was answered twice")));
                };
                if result.is_ok() {
                    self.tally.stored += 1;
                    let durable = self.durable.entry(instance).or_default();
                    *durable = value.max(*durable);
                    self.check_records()?;
                }
            }
            Event::Seen { .. } | Event::Health { .. } => {}
            Event::Resigned => {
                let at = self.now + self.random.below(3000) * MS;
                self.at(at, What::Restart { proxy });
            }
        }
        Ok(())
    }

    /// The engine of a leader reserves the next value, as it would an epoch; one that is not leading tries, too.
    fn persists(&mut self, proxy: usize) -> Result<(), Violation> {
        if self.proxies[proxy].frozen.is_some() {
            return Ok(());
        }
        let instance = format!("line-{}", self.random.below(INSTANCES));
        let p = &mut self.proxies[proxy];
        let value = match &mut p.records {
            Some(records) => {
                let value = records.entry(instance.clone()).or_default();
                *value += 1;
                *value
            }
            None => 0,
        };
        p.asked += 1;
        let ticket = Ticket { instance: 0, id: p.asked };
        p.in_doubt.insert(p.asked, (instance.clone(), value));
        self.give(proxy, Input::Persist { ticket, instance, record: serde_json::json!(value) })
    }

    fn fault(&mut self) -> Result<(), Violation> {
        let proxy = self.random.below(self.proxies.len() as u64) as usize;
        let life = self.proxies[proxy].life;
        let kind = self.random.below(16);
        if self.plan.trace {
            println!("{:>9} us fault {kind} at proxy-{proxy}", self.now / 1000);
        }
        let alive = self.proxies[proxy].alive;
        match kind {
            0 => self.proxies[proxy].to_store = false,
            1 => self.proxies[proxy].from_store = false,
            2 => (self.proxies[proxy].to_store, self.proxies[proxy].from_store) = (false, false),
            3..=6 => (self.proxies[proxy].to_store, self.proxies[proxy].from_store) = (true, true),
            7 => self.proxies[proxy].hints ^= true,
            8 | 9 if alive && self.proxies[proxy].frozen.is_none() => {
                self.proxies[proxy].frozen = Some(Vec::new());
                let at = self.now + self.random.below(9000) * MS;
                self.at(at, What::Thaw { proxy, life });
            }
            10 | 11 if alive => {
                self.proxies[proxy].alive = false;
                let at = self.now + self.random.below(6000) * MS;
                self.at(at, What::Restart { proxy });
            }
            12 | 13 if alive && !self.proxies[proxy].resigning && self.proxies[proxy].frozen.is_none() => {
                self.proxies[proxy].resigning = true;
                self.give(proxy, Input::Resign)?;
            }
            14 if self.random.one_in(6) => {
                self.records_can_go = true;
                self.store.delete();
            }
            15 => {
                for proxy in &mut self.proxies {
                    (proxy.to_store, proxy.from_store) = (false, false);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn thaw(&mut self, proxy: usize) -> Result<(), Violation> {
        let waiting = self.proxies[proxy].frozen.take().unwrap_or_default();
        self.proxies[proxy].armed = Time::MAX;
        for input in waiting {
            self.give(proxy, input)?;
        }
        let now = self.clock(proxy);
        self.proxies[proxy].election.handle_timeout(now);
        self.settle(proxy)
    }

    fn restart(&mut self, proxy: usize) {
        let life = self.proxies[proxy].life + 1;
        self.proxies[proxy] = self.process(proxy, life);
        self.at(self.now, What::Timer { proxy, life, due: Time::MAX });
        self.at(self.now, What::Persists { proxy, life });
    }

    fn heal(&mut self) {
        self.calm = true;
        for index in 0..self.proxies.len() {
            (self.proxies[index].to_store, self.proxies[index].from_store) = (true, true);
        }
    }

    fn check_one_leader(&self) -> Result<(), Violation> {
        let leads = |index: &usize| {
            let proxy = &self.proxies[*index];
            // By the clock, which a frozen process has too; or because nobody told its engine otherwise.
            let by_clock = proxy.election.leads_until() > self.clock(*index);
            proxy.alive && (by_clock || (proxy.records.is_some() && proxy.frozen.is_none()))
        };
        let leaders: Vec<usize> = (0..self.proxies.len()).filter(leads).collect();
        match leaders.len() {
            0 | 1 => Ok(()),
            _ => Err(Violation(format!("at {} us these lead at once: {leaders:?}", self.now / 1000))),
        }
    }

    /// What was reported durable is there, and nothing older has replaced it.
    fn check_records(&mut self) -> Result<(), Violation> {
        if self.records_can_go {
            return Ok(());
        }
        let there = self.store.document().map(values).unwrap_or_default();
        for (instance, value) in &self.durable {
            if there.get(instance).is_none_or(|has| has < value) {
                return Err(Violation(format!(
                    "{instance} was reported durable at {value}; the store has {:?}",
                    there.get(instance)
                )));
            }
        }
        Ok(())
    }

    fn check_liveness(&self) -> Result<(), Violation> {
        let leads = |(index, proxy): (usize, &Proxy)| proxy.election.leads_until() > self.clock(index);
        match self.proxies.iter().enumerate().any(leads) {
            true => Ok(()),
            false => Err(Violation("everything has healed, and nobody leads".into())),
        }
    }
}

fn values(document: &Arc<Document>) -> BTreeMap<String, u64> {
    document.records.iter().map(|(name, entry)| (name.clone(), entry.record.as_u64().unwrap())).collect()
}
