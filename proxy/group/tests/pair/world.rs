//! Time, the network, faults, and what is checked after each step.

use std::collections::BTreeMap;

use hotspare_decide::message::{Down, ExitCause, Up};
use hotspare_decide::{Epoch, Input, LinkId, Member as Name, Operator, Route, Settings};
use hotspare_group::{Answer, Input as Heard, Request, Settings as GroupSettings};

use crate::controller::{Controller, Does, News, record};
use crate::member::Member;
use crate::random::Random;
use crate::store::Store;

const MS: u64 = 1_000_000;
/// Everyone looks at the clock this often; leases are in the hundreds of milliseconds.
const TICK: u64 = 5 * MS;
const FAULTY: u64 = 30_000 * MS;
/// After everything has healed: a late write, a takeover, a lease, a start.
const CALM: u64 = 40_000 * MS;

/// What happened in runs.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub steps: u64,
    pub led: u64,
    pub lost: u64,
    pub starts: u64,
    pub expired: u64,
    pub late_writes: u64,
}

impl Tally {
    pub fn add(&mut self, other: Tally) {
        self.steps += other.steps;
        self.led += other.led;
        self.lost += other.lost;
        self.starts += other.starts;
        self.expired += other.expired;
        self.late_writes += other.late_writes;
    }
}

enum Event {
    ToStore { controller: usize, life: u64, id: u64, request: Request },
    ToController { controller: usize, life: u64, news: News },
    Up { controller: usize, life: u64, member: Name, link: LinkId, message: Up },
    Down { controller: usize, member: Name, link: LinkId, message: Down },
    LinkDown { controller: usize, life: u64, member: Name, link: LinkId },
    Thaw { controller: usize, life: u64 },
    Restart { controller: usize },
    ThawMember { member: Name },
}

pub struct World {
    random: Random,
    trace: bool,
    now: u64,
    order: u64,
    queue: BTreeMap<(u64, u64), Event>,
    controllers: Vec<Controller>,
    members: [Member; 2],
    /// What each member holds for open, and when the next message over it may arrive at the earliest (TCP keeps order).
    links: BTreeMap<(usize, usize), Link>,
    last_link: u64,
    store: Store,
    settings: GroupSettings,
    calm: bool,
    requests: u64,
    pub tally: Tally,
}

#[derive(Clone, Copy)]
struct Link {
    id: LinkId,
    last_up: u64,
    last_down: u64,
}

impl World {
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let settings = GroupSettings {
            me: String::new(),
            admin: String::new(),
            lead_for: std::time::Duration::from_millis(500 + random.below(3000)),
            renew: std::time::Duration::from_millis(50 + random.below(150)),
            request_timeout: std::time::Duration::from_millis(100 + random.below(300)),
            drift_ppm: 10_000,
        };
        let members = [(); 2].map(|()| Member::new(rate(&mut random), random.below(1 << 40)));
        let count = 2 + random.below(2) as usize;
        let mut world = Self {
            random,
            trace,
            now: 0,
            order: 0,
            queue: BTreeMap::new(),
            controllers: Vec::new(),
            members,
            links: BTreeMap::new(),
            last_link: 0,
            store: Store::default(),
            settings,
            calm: false,
            requests: 0,
            tally: Tally::default(),
        };
        for index in 0..count {
            let controller = world.process(index, 0);
            world.controllers.push(controller);
        }
        world
    }

    fn process(&mut self, index: usize, life: u64) -> Controller {
        let (rate, offset) = (rate(&mut self.random), self.random.below(1 << 40));
        Controller::new(format!("proxy-{index}"), life, self.settings.clone(), Settings::default(), rate, offset)
    }

    /// Faults, then everything heals.
    ///
    /// # Errors
    /// The first thing that was wrong, in words.
    pub fn run(&mut self) -> Result<(), String> {
        let mut fault_at = 3_000 * MS;
        while self.now < FAULTY + CALM {
            if self.now >= FAULTY && !self.calm {
                self.heal()?;
            }
            if !self.calm && self.now >= fault_at {
                self.fault()?;
                fault_at = self.now + (20 + self.random.below(1200)) * MS;
            }
            let end = self.now + TICK;
            while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) {
                let ((at, _), event) = entry.remove_entry();
                self.now = self.now.max(at);
                self.tally.steps += 1;
                self.step(event)?;
                self.check()?;
            }
            self.now = end;
            self.tick()?;
            self.check()?;
        }
        self.tally.expired = self.members.iter().map(|member| member.expired).sum();
        self.check_end()
    }

    fn at(&mut self, at: u64, event: Event) {
        self.order += 1;
        self.queue.insert((at.max(self.now), self.order), event);
    }

    fn tick(&mut self) -> Result<(), String> {
        for name in Name::BOTH {
            let now = self.members[name.index()].clock(self.now);
            if self.members[name.index()].frozen {
                continue;
            }
            let says = self.members[name.index()].tick(now);
            self.say(name, &says, None);
            self.connect(name);
        }
        for index in 0..self.controllers.len() {
            let controller = &mut self.controllers[index];
            if controller.alive && controller.frozen.is_none() {
                let now = controller.clock(self.now);
                let does = controller.tick(now);
                self.does(index, does)?;
            }
        }
        Ok(())
    }

    /// A member without a link to a controller opens one, if it gets through.
    fn connect(&mut self, name: Name) {
        for index in 0..self.controllers.len() {
            let c = &self.controllers[index];
            let reachable = c.alive && c.frozen.is_none() && !c.cut[name.index()];
            if !reachable || self.links.contains_key(&(index, name.index())) {
                continue;
            }
            self.last_link += 1;
            let link = Link { id: LinkId(self.last_link), last_up: self.now, last_down: self.now };
            self.links.insert((index, name.index()), link);
            self.controllers[index].links[name.index()] = Some(link.id);
            let news = News::Core(Input::LinkUp { member: name, link: link.id, session: 1 });
            let life = self.controllers[index].life;
            self.at(self.now + MS, Event::ToController { controller: index, life, news });
        }
    }

    /// The connection breaks: the member notices at once or a little later, the controller when it does.
    fn drop_link(&mut self, index: usize, name: Name) {
        let Some(link) = self.links.remove(&(index, name.index())) else { return };
        let (life, late) = (self.controllers[index].life, self.random.below(2000) * MS);
        self.at(self.now + late, Event::LinkDown { controller: index, life, member: name, link: link.id });
    }

    /// To one controller, or to all.
    fn say(&mut self, name: Name, says: &[Up], to: Option<usize>) {
        let all = 0..self.controllers.len();
        for index in all.filter(|index| to.is_none_or(|only| only == *index)) {
            for message in says {
                if self.controllers[index].cut[name.index()] {
                    self.drop_link(index, name);
                }
                let delay = self.delay();
                let Some(link) = self.links.get_mut(&(index, name.index())) else { break };
                link.last_up = (self.now + delay).max(link.last_up + 1);
                let (at, link, life) = (link.last_up, link.id, self.controllers[index].life);
                let message = message.clone();
                self.at(at, Event::Up { controller: index, life, member: name, link, message });
            }
        }
    }

    fn delay(&mut self) -> u64 {
        if !self.calm && self.random.one_in(20) {
            self.random.below(400) * MS
        } else {
            50_000 + self.random.below(2 * MS)
        }
    }

    fn does(&mut self, index: usize, does: Vec<Does>) -> Result<(), String> {
        for one in does {
            match one {
                Does::Ask { id, request } => self.ask(index, id, request),
                Does::Send { member, link, message } => self.send(index, member, link, message)?,
                Does::Led => {
                    self.tally.led += 1;
                    self.log(|| format!("proxy-{index} leads"));
                }
                Does::Lost => {
                    self.tally.lost += 1;
                    self.log(|| format!("proxy-{index} leads no more"));
                }
                Does::Resigned => {
                    let at = self.now + self.random.below(2000) * MS;
                    self.at(at, Event::Restart { controller: index });
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, index: usize, member: Name, link: LinkId, message: Down) -> Result<(), String> {
        if let Down::Start { epoch, .. } = &message {
            self.tally.starts += 1;
            self.log(|| format!("proxy-{index} starts {member} under {epoch}"));
            let stored = self.store.document().and_then(record);
            let durable = stored.as_ref().is_some_and(|r| r.epoch >= *epoch);
            if !durable {
                return Err(format!("proxy-{index} starts {member} under {epoch}, and the store has {stored:?}"));
            }
        }
        if self.controllers[index].cut[member.index()] {
            self.drop_link(index, member);
        }
        let delay = self.delay();
        let Some(open) = self.links.get_mut(&(index, member.index())).filter(|open| open.id == link) else {
            return Ok(());
        };
        open.last_down = (self.now + delay).max(open.last_down + 1);
        let at = open.last_down;
        self.at(at, Event::Down { controller: index, member, link, message });
        Ok(())
    }

    fn ask(&mut self, index: usize, id: u64, request: Request) {
        let c = &self.controllers[index];
        let (life, lost) = (c.life, !c.to_store);
        if lost || (!self.calm && self.random.one_in(60)) {
            return;
        }
        let at = self.now + self.store_delay();
        self.at(at, Event::ToStore { controller: index, life, id, request });
    }

    fn store_delay(&mut self) -> u64 {
        // Long after everybody has given it up.
        let late = !self.calm && self.random.one_in(40);
        if late { self.random.below(6000) * MS } else { 100_000 + self.random.below(5 * MS) }
    }

    fn step(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::ToStore { controller, life, id, request } => self.serve(controller, life, id, &request),
            Event::ToController { controller, life, news } => self.tell(controller, life, news)?,
            Event::Up { controller, life, member, link, message } => {
                let input = Input::Up { member, link, msg: message };
                self.tell(controller, life, News::Core(input))?;
            }
            Event::LinkDown { controller, life, member, link } => {
                self.tell(controller, life, News::Core(Input::LinkDown { member, link }))?;
            }
            Event::Down { controller, member, link, message } => self.deliver(controller, member, link, &message),
            Event::Thaw { controller, life } => self.thaw(controller, life)?,
            Event::Restart { controller } => self.restart(controller),
            Event::ThawMember { member } => {
                // The gate looks at the clock before anything is done.
                let m = &mut self.members[member.index()];
                m.frozen = false;
                let now = m.clock(self.now);
                let says = m.tick(now);
                self.say(member, &says, None);
            }
        }
        Ok(())
    }

    fn deliver(&mut self, controller: usize, name: Name, link: LinkId, message: &Down) {
        let open = self.links.get(&(controller, name.index())).is_some_and(|open| open.id == link);
        if !open {
            return;
        }
        if self.members[name.index()].frozen {
            // It waits in the socket; a thaw comes before it is read.
            let at = self.now + TICK;
            return self.at(at, Event::Down { controller, member: name, link, message: message.clone() });
        }
        let now = self.members[name.index()].clock(self.now);
        // Its own end comes first: the gate looks at the clock before it does anything.
        let mut says = self.members[name.index()].tick(now);
        self.say(name, &says, None);
        says = self.members[name.index()].hear(now, message);
        self.say(name, &says, Some(controller));
    }

    fn tell(&mut self, index: usize, life: u64, news: News) -> Result<(), String> {
        let controller = &mut self.controllers[index];
        if !controller.alive || controller.life != life {
            return Ok(());
        }
        if let Some(waiting) = &mut controller.frozen {
            waiting.push(news);
            return Ok(());
        }
        let now = controller.clock(self.now);
        let does = controller.take(now, news);
        self.does(index, does)
    }

    fn serve(&mut self, index: usize, life: u64, id: u64, request: &Request) {
        let wrote = self.store.writes;
        let answer = self.store.serve(request);
        if self.store.writes > wrote {
            self.tally.late_writes += u64::from(self.controllers[index].life != life);
            for other in 0..self.controllers.len() {
                let c = &self.controllers[other];
                let (life, hears) = (c.life, c.hints && c.from_store);
                if hears && !self.random.one_in(10) {
                    let (at, news) = (self.now + self.store_delay(), News::Store(Heard::Hint));
                    self.at(at, Event::ToController { controller: other, life, news });
                }
            }
        }
        if !self.controllers[index].from_store || (!self.calm && self.random.one_in(60)) {
            return;
        }
        // A layer below tried twice: the first did it, the second met its own work.
        let answer = match answer {
            Answer::Written(_) if !self.calm && self.random.one_in(50) => Answer::Conflict,
            answer => answer,
        };
        let (at, news) = (self.now + self.store_delay(), News::Store(Heard::Answer { id, answer }));
        self.at(at, Event::ToController { controller: index, life, news });
    }

    fn fault(&mut self) -> Result<(), String> {
        let index = self.random.below(self.controllers.len() as u64) as usize;
        let name = *self.random.pick(&Name::BOTH);
        let kind = self.random.below(22);
        self.log(|| format!("fault {kind} at proxy-{index}, {name}"));
        let free = self.controllers[index].alive && self.controllers[index].frozen.is_none();
        match kind {
            0 => self.controllers[index].to_store = false,
            1 => self.controllers[index].from_store = false,
            2 => (self.controllers[index].to_store, self.controllers[index].from_store) = (false, false),
            3..=5 => (self.controllers[index].to_store, self.controllers[index].from_store) = (true, true),
            6 => self.controllers[index].hints ^= true,
            7 | 8 if free => {
                self.controllers[index].frozen = Some(Vec::new());
                let (at, life) = (self.now + self.random.below(7000) * MS, self.controllers[index].life);
                self.at(at, Event::Thaw { controller: index, life });
            }
            9 | 10 if self.controllers[index].alive => {
                self.controllers[index].alive = false;
                Name::BOTH.iter().for_each(|name| self.drop_link(index, *name));
                let at = self.now + self.random.below(4000) * MS;
                self.at(at, Event::Restart { controller: index });
            }
            11 if free && !self.controllers[index].resigning => {
                self.controllers[index].resigning = true;
                let life = self.controllers[index].life;
                self.tell(index, life, News::Store(Heard::Resign))?;
            }
            12 => self.controllers[index].cut[name.index()] = true,
            13 => self.controllers[index].cut = [true; 2],
            14..=16 => self.controllers[index].cut = [false; 2],
            17 | 18 if !self.members[name.index()].frozen => {
                let now = self.members[name.index()].clock(self.now);
                let exited = self.members[name.index()].exit(now, ExitCause::Crash { code: None, signal: Some(9) });
                self.say(name, &[exited], None);
            }
            19 if !self.members[name.index()].frozen => {
                self.members[name.index()].frozen = true;
                let at = self.now + self.random.below(4000) * MS;
                self.at(at, Event::ThawMember { member: name });
            }
            20 => {
                self.requests += 1;
                let command = Operator::Switchover { to: None, reason: "simulated".into() };
                let (request, life) = (self.requests, self.controllers[index].life);
                self.tell(index, life, News::Core(Input::Operator { request, command }))?;
            }
            21 => {
                for c in &mut self.controllers {
                    (c.to_store, c.from_store) = (false, false);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn thaw(&mut self, index: usize, life: u64) -> Result<(), String> {
        if self.controllers[index].life != life {
            return Ok(());
        }
        for news in self.controllers[index].frozen.take().unwrap_or_default() {
            self.tell(index, life, news)?;
        }
        Ok(())
    }

    fn restart(&mut self, index: usize) {
        Name::BOTH.iter().for_each(|name| self.drop_link(index, *name));
        let (life, cut) = (self.controllers[index].life + 1, self.controllers[index].cut);
        self.controllers[index] = self.process(index, life);
        self.controllers[index].cut = cut;
    }

    fn heal(&mut self) -> Result<(), String> {
        self.log(|| "everything heals".to_owned());
        self.calm = true;
        for index in 0..self.controllers.len() {
            let c = &mut self.controllers[index];
            (c.to_store, c.from_store, c.hints, c.cut) = (true, true, true, [false; 2]);
            let life = c.life;
            self.thaw(index, life)?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let running: Vec<(Name, Epoch)> =
            Name::BOTH.iter().filter_map(|name| Some((*name, self.members[name.index()].runs()?))).collect();
        if running.len() > 1 {
            return Err(format!("at {} us both run flows: {running:?}", self.now / 1000));
        }
        let leads = |index: &usize| self.controllers[*index].leads(self.controllers[*index].clock(self.now));
        let leaders: Vec<usize> = (0..self.controllers.len()).filter(leads).collect();
        match leaders.len() {
            0 | 1 => Ok(()),
            _ => Err(format!("at {} us these lead at once: {leaders:?}", self.now / 1000)),
        }
    }

    fn check_end(&self) -> Result<(), String> {
        let Some((name, epoch)) = Name::BOTH.iter().find_map(|n| Some((*n, self.members[n.index()].runs()?))) else {
            return Err("everything has healed, and no member runs".to_owned());
        };
        let wanted = Route::To { member: name, epoch };
        match self.controllers.iter().filter(|c| c.alive).find(|c| c.route != wanted) {
            None => Ok(()),
            Some(c) => Err(format!("{name} runs under {epoch}, and a controller sends to {:?}", c.route)),
        }
    }

    fn log(&self, text: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>9} us {}", self.now / 1000, text());
        }
    }
}

/// The bound of 1 % is on how two clocks differ, so each may be off by half of it.
fn rate(random: &mut Random) -> f64 {
    1.0 + 0.00495 * (random.unit() * 2.0 - 1.0)
}
