//! One controller: a real election, and the real decision core behind it, joined as the engine joins them.

use std::sync::Arc;

use hotspare_decide::message::Down;
use hotspare_decide::{Decider, Effect, Input, LinkId, Member, Record, Route, Settings, Time};
use hotspare_group::{Document, Election, Event, Input as Heard, Request, Settings as GroupSettings, Ticket};

const INSTANCE: &str = "line-1";
const WALL: u64 = 1_800_000_000_000;

/// What came in while a process was frozen, or comes in now.
#[expect(clippy::large_enum_variant, reason = "a few at a time")]
pub enum News {
    Store(Heard),
    Core(Input),
}

/// What a controller does to the world.
#[expect(clippy::large_enum_variant, reason = "a few at a time")]
pub enum Does {
    Ask { id: u64, request: Request },
    Send { member: Member, link: LinkId, message: Down },
    Led,
    Lost,
    Resigned,
}

pub struct Controller {
    pub rate: f64,
    pub offset: u64,
    pub life: u64,
    pub alive: bool,
    pub resigning: bool,
    pub frozen: Option<Vec<News>>,
    pub to_store: bool,
    pub from_store: bool,
    pub hints: bool,
    /// Nothing passes to or from this member.
    pub cut: [bool; 2],
    pub links: [Option<LinkId>; 2],
    election: Election,
    decider: Decider,
    leads: bool,
    pub route: Route,
}

impl Controller {
    pub fn new(name: String, life: u64, settings: GroupSettings, core: Settings, rate: f64, offset: u64) -> Self {
        let settings = GroupSettings { me: format!("{name}/{life}"), ..settings };
        let decider = Decider::follower(Time::from_nanos(offset), WALL, name, core);
        Self {
            rate,
            offset,
            life,
            alive: true,
            resigning: false,
            frozen: None,
            to_store: true,
            from_store: true,
            hints: true,
            cut: [false; 2],
            links: [None; 2],
            election: Election::new(settings),
            route: decider.route(),
            decider,
            leads: false,
        }
    }

    pub fn clock(&self, true_now: u64) -> Time {
        Time::from_nanos((true_now as f64 * self.rate) as u64 + self.offset)
    }

    /// By its own clock, whatever its core has been told.
    pub fn leads(&self, now: Time) -> bool {
        self.alive && self.election.leads_until() > now
    }

    pub fn take(&mut self, now: Time, news: News) -> Vec<Does> {
        let mut does = Vec::new();
        match news {
            News::Store(heard) => self.election.handle(now, heard),
            News::Core(input) => {
                // As the engine does: leadership that has run out ends before anything is decided upon.
                self.notice_lost_lead(now);
                self.decider.handle(now, input);
            }
        }
        self.settle(now, &mut does);
        does
    }

    pub fn tick(&mut self, now: Time) -> Vec<Does> {
        let mut does = Vec::new();
        self.notice_lost_lead(now);
        if now >= self.election.poll_timeout() {
            self.election.handle_timeout(now);
        }
        if self.decider.poll_timeout().is_some_and(|at| now >= at) {
            self.decider.handle_timeout(now);
        }
        self.settle(now, &mut does);
        does
    }

    fn notice_lost_lead(&mut self, now: Time) {
        if self.leads && now >= self.election.leads_until() {
            self.lead(now, false, None);
        }
    }

    fn lead(&mut self, now: Time, leader: bool, record: Option<Record>) {
        self.leads = leader;
        self.decider.handle(now, Input::Leadership { leader, record, wall_ms: WALL });
    }

    fn settle(&mut self, now: Time, does: &mut Vec<Does>) {
        loop {
            if let Some(effect) = self.election.poll_effect() {
                self.told(now, effect, does);
            } else if let Some(effect) = self.decider.poll_effect() {
                self.wants(now, effect, does);
            } else {
                return;
            }
        }
    }

    fn told(&mut self, now: Time, effect: hotspare_group::Effect, does: &mut Vec<Does>) {
        let event = match effect {
            hotspare_group::Effect::Ask { id, request } => return does.push(Does::Ask { id, request }),
            hotspare_group::Effect::Event(event) => event,
        };
        match event {
            Event::Led { document, .. } => {
                does.push(Does::Led);
                if self.election.leads_until() > now {
                    self.lead(now, true, record(&document));
                }
            }
            Event::Lost { .. } => {
                does.push(Does::Lost);
                if self.leads {
                    self.lead(now, false, None);
                }
            }
            Event::Stored { ticket, result } => {
                let id = ticket.id;
                let input = match result {
                    Ok(()) => Input::Persisted { id },
                    Err(reason) => Input::PersistFailed { id, reason },
                };
                self.decider.handle(now, input);
            }
            Event::Seen { document, .. } => {
                if let Some(record) = record(&document) {
                    self.decider.handle(now, Input::Seen { record });
                }
            }
            Event::Resigned => does.push(Does::Resigned),
            Event::Health { .. } => {}
        }
    }

    fn wants(&mut self, now: Time, effect: Effect, does: &mut Vec<Does>) {
        match effect {
            Effect::Persist { id, record } => {
                let (ticket, record) = (Ticket { instance: 0, id }, serde_json::to_value(record).unwrap());
                self.election.handle(now, Heard::Persist { ticket, instance: INSTANCE.to_owned(), record });
            }
            Effect::Send { member, link, msg } => does.push(Does::Send { member, link, message: msg }),
            Effect::Route { route, .. } => self.route = route,
            Effect::Probe { .. } | Effect::Event(_) | Effect::Answer { .. } => {}
        }
    }
}

/// The record of the one instance.
pub fn record(document: &Arc<Document>) -> Option<Record> {
    let entry = document.records.get(INSTANCE)?;
    Some(serde_json::from_value(entry.record.clone()).unwrap())
}
