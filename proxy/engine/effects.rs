//! Effects of the decision core, carried out in their order.

use hotspare_decide::{Effect, Event, EventKind, Input as Observed, Member, Operator};
use std::time::Duration;
use tokio::sync::oneshot;

use super::handle::{Accepted, Order, Refusal, Verb};
use super::sentence::sentence;
use super::{Engine, clock};
use crate::events::Level;
use crate::metrics::DURATIONS;
use crate::observations::Moved;
use crate::store::{Kept, Write};

/// A pause always ends; this long if nothing else was said.
const DEFAULT_PAUSE: Duration = Duration::from_secs(3600);

impl Engine {
    /// Carries out all effects that an instance's decider has, and sees to its next deadline.
    pub(super) fn settle(&mut self, index: u32) {
        while let Some(effect) = self.instances.get_mut(&index).and_then(|i| i.decider.poll_effect()) {
            self.perform(index, effect);
        }
        if let Some(at) = self.instances.get(&index).and_then(|i| i.decider.poll_timeout()) {
            self.timers.look_by(index, at);
        }
    }

    fn perform(&mut self, index: u32, effect: Effect) {
        let Some(instance) = self.instances.get_mut(&index) else { return };
        match effect {
            Effect::Persist { id, record } => {
                instance.last_record = Some(record.clone());
                let members = instance.spec.members.each_ref().map(|m| m.name.clone());
                let (number, name, kept) = (instance.index, instance.spec.name.clone(), Kept { members, record });
                self.store.persist(Write { instance: number, name, id, kept });
            }
            Effect::Route { route, drain } => self.routes.set(instance.index, route, drain),
            Effect::Send { member, link, msg } => {
                if !instance.send(member, link, msg) {
                    tracing::debug!(instance = %instance.spec.name, ?member, "an order found no open link");
                }
            }
            Effect::Probe { member } => {
                let member = &instance.spec.members[member.index()];
                member.probe_now.notify_one();
                if let Some(driver) = &member.driver {
                    driver.look_now();
                }
            }
            Effect::Event(event) => self.record(index, &event),
            Effect::Answer { request, result } => {
                if let Some(reply) = instance.waiting.remove(&request) {
                    let _ = reply.send(result.map(|message| Accepted { message }).map_err(Refusal::Not));
                }
            }
        }
    }

    fn record(&mut self, index: u32, event: &Event) {
        let Some(instance) = self.instances.get_mut(&index) else { return };
        match &event.kind {
            EventKind::Active { planned: false, took_ms, detect_ms, why: Some(why), .. } => {
                let cause = super::sentence::cause_word(why).to_owned();
                *instance.counts.failovers.entry(cause).or_default() += 1;
                let detection = detect_ms.map(Duration::from_millis);
                let outage = Duration::from_millis(took_ms + detect_ms.unwrap_or(0));
                DURATIONS.observe(&instance.spec.name, outage, detection);
            }
            EventKind::FailoverBegan { from, why, .. } => {
                instance.tape.failed_over(Moved { at: event.at, from: *from, why: why.clone() });
            }
            EventKind::PlanEnded { done, .. } => {
                let result = if *done { "done" } else { "failed" };
                *instance.counts.switchovers.entry(result.to_owned()).or_default() += 1;
            }
            _ => {}
        }
        let names = [0, 1].map(|i| instance.spec.members[i].name.as_str());
        let text = sentence(&event.kind, names);
        self.events.record(&instance.spec.name, level(event), text, event);
    }

    /// Turns an order into the decision core's words; it answers by [`Effect::Answer`].
    pub(super) fn take_order(
        &mut self,
        index: u32,
        verb: Verb,
        order: Order,
        reply: oneshot::Sender<Result<Accepted, Refusal>>,
    ) {
        let Some(instance) = self.instances.get_mut(&index) else { return };
        let member = match order.to.as_deref().map(|name| (name, instance.member_named(name))) {
            Some((name, None)) => {
                let _ = reply
                    .send(Err(Refusal::Unknown(format!("instance '{}' has no member '{name}'", instance.spec.name))));
                return;
            }
            Some((_, member)) => member,
            None => None,
        };
        if order.check {
            let answer = match instance.decider.check_switchover(clock::now(), member) {
                Ok(to) => {
                    let to = &instance.spec.members[to.index()].name;
                    Ok(Accepted { message: format!("a switchover to {to} would work now") })
                }
                Err(reasons) => Err(Refusal::Not(reasons)),
            };
            let _ = reply.send(answer);
            return;
        }
        let reason = order.reason.unwrap_or_else(|| format!("asked for by {}", order.by));
        let command = match verb {
            Verb::Switchover => Operator::Switchover { to: member, reason },
            Verb::Restart => Operator::Restart { reason },
            Verb::Failover => Operator::Failover { force: order.force, reason },
            Verb::Pause => {
                let duration = order.for_ms.map_or(DEFAULT_PAUSE, Duration::from_millis);
                Operator::Pause { duration, reason }
            }
            Verb::Resume => Operator::Resume,
            Verb::Unfreeze => Operator::Unfreeze,
            Verb::Fence | Verb::Release => match member {
                Some(member) if verb == Verb::Fence => Operator::Fence { member },
                Some(member) => Operator::Release { member },
                None => {
                    let _ = reply.send(Err(Refusal::Not(vec!["say which member: \"to\": \"NAME\"".to_owned()])));
                    return;
                }
            },
        };
        let request = instance.next_request;
        instance.next_request += 1;
        instance.waiting.insert(request, reply);
        self.observe(index, Observed::Operator { request, command });
    }
}

fn level(event: &Event) -> Level {
    use hotspare_decide::Severity;
    match event.kind.severity() {
        Severity::Alarm => Level::Alarm,
        Severity::Warning => Level::Notice,
        Severity::Info => Level::Info,
    }
}

impl super::instance::Instance {
    fn member_named(&self, name: &str) -> Option<Member> {
        Member::BOTH.into_iter().find(|m| self.spec.members[m.index()].name == name)
    }
}
