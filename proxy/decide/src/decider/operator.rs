//! What a person asks for: checked, done or refused with every reason, and always answered.

use super::{Decider, State};
use crate::effect::Effect;
use crate::event::{Cause, EventKind, Proof};
use crate::ids::{Epoch, Member};
use crate::input::Operator;
use crate::record::PauseRecord;
use crate::time::ms;

impl Decider {
    pub(super) fn on_operator(&mut self, request: u64, command: Operator) {
        if !self.leader {
            return self.refuse(request, vec!["another controller decides".into()]);
        }
        match command {
            Operator::Switchover { to, reason } => {
                let busy = self.rolling.is_some().then(|| vec!["a rolling restart is under way".to_string()]);
                match busy.map_or_else(|| self.check_switchover(self.now, to), Err) {
                    Ok(to) => self.begin_switchover(Some(request), to, reason),
                    Err(reasons) => self.refuse(request, reasons),
                }
            }
            Operator::Restart { reason } => self.begin_rolling(request, reason),
            Operator::Failover { force, reason } => self.failover_by_hand(request, force, reason),
            Operator::Pause { duration, reason } => {
                let until_unix_ms = self.wall_ms().saturating_add(ms(duration));
                self.paused_until = Some(self.now + duration);
                self.durable.want.paused = Some(PauseRecord { until_unix_ms, reason: reason.clone() });
                self.event(EventKind::Paused { for_ms: ms(duration), reason });
                self.answer(request, "paused");
            }
            Operator::Resume if self.paused_until.is_none() => self.refuse(request, vec!["it is not paused".into()]),
            Operator::Resume => {
                self.resume(false);
                self.answer(request, "resumed");
            }
            Operator::Fence { member } => self.fence_by_hand(request, member),
            Operator::Release { member } => {
                self.durable.want.held[member.index()] = false;
                self.event(EventKind::Held { member, held: false });
                self.answer(request, "released");
            }
            Operator::Unfreeze if !self.durable.want.frozen => self.refuse(request, vec!["it is not frozen".into()]),
            Operator::Unfreeze => {
                self.durable.want.frozen = false;
                self.durable.want.failovers_unix_ms.clear();
                self.hold_until = self.now;
                self.event(EventKind::Unfrozen);
                self.answer(request, "failovers may happen again");
            }
        }
    }

    pub(super) fn refuse(&mut self, request: u64, reasons: Vec<String>) {
        self.event(EventKind::Refused { request, reasons: reasons.clone() });
        self.effects.push_back(Effect::Answer { request, result: Err(reasons) });
    }

    fn answer(&mut self, request: u64, text: &str) {
        self.effects.push_back(Effect::Answer { request, result: Ok(text.into()) });
    }

    fn failover_by_hand(&mut self, request: u64, force: bool, reason: String) {
        let last = self.active.map(|(m, _)| m).or(self.durable.want.last_active);
        let Some(last) = last else { return self.refuse(request, vec!["no member has been active yet".into()]) };
        let mut reasons = Vec::new();
        if matches!(self.state, State::Recovering) && !force {
            reasons.push("the controller is still looking around".into());
        }
        reasons.extend(self.why_not_ready(last.other()).map(|why| format!("member {}: {why}", last.other())));
        if !reasons.is_empty() {
            return self.refuse(request, reasons);
        }
        self.abandon_plans("an operator ordered a failover");
        self.durable.want.intent = None;
        if self.active.is_some() {
            self.replace_active(Cause::Operator { reason });
        } else if let Some(replacing) = &mut self.replacing {
            replacing.why = Cause::Operator { reason };
        }
        if force {
            for member in Member::BOTH {
                self.members[member].unknown = false;
                self.prove(member, Epoch(u64::MAX), Proof::OperatorForced);
            }
            (self.observe_until, self.glance_until) = (self.now, self.now);
        }
        self.answer(request, if force { "forced: the old active was not proven stopped" } else { "failover began" });
    }

    fn fence_by_hand(&mut self, request: u64, member: Member) {
        self.durable.want.held[member.index()] = true;
        self.event(EventKind::Held { member, held: true });
        if self.current().is_some_and(|(m, _)| m == member) {
            self.abandon_plans("an operator fenced the active");
            self.durable.want.intent = None;
            if self.active.is_some() {
                self.replace_active(Cause::Operator { reason: "fenced by an operator".into() });
            } else {
                self.go(State::Fencing);
            }
        } else {
            self.drop_reserved(member);
            self.order_fence(member, self.durable.want.epoch);
        }
        self.answer(request, "fence ordered; the member is held until it is released");
    }
}
