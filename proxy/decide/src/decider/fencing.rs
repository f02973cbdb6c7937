//! Which tenures may still run somewhere, and the proof that one does not.
//!
//! A tenure is *ordered* once its start was sent (or may have been, in an earlier life of this controller). Nobody
//! is started while another member's ordered tenure lacks its proof. No answer is never a proof.

use super::Decider;
use crate::event::{EventKind, Proof};
use crate::ids::{Epoch, Member, OpId};
use crate::message::{Down, FlowState, MemberStatus};
use crate::record::Tenure;
use crate::rules::Rule;
use crate::settings::{Fencing, OnUnreachable};
use crate::time::{Time, ms};

#[derive(Debug)]
pub(super) struct Track {
    pub(super) member: Member,
    pub(super) epoch: Epoch,
    /// It may run: its start was sent, or may have been.
    pub(super) ordered: bool,
}

impl Track {
    pub(super) fn reserved(member: Member, epoch: Epoch) -> Self {
        Track { member, epoch, ordered: false }
    }

    pub(super) fn maybe_running(tenure: Tenure) -> Self {
        Track { member: tenure.member, epoch: tenure.epoch, ordered: true }
    }
}

/// The fence last ordered of a member.
#[derive(Clone, Copy, Debug)]
pub(super) struct FenceOrder {
    pub(super) op: OpId,
    pub(super) epoch: Epoch,
    pub(super) at: Time,
}

impl Decider {
    pub(super) fn tracks(&self, member: Member, epoch: Epoch) -> bool {
        self.tenures.iter().any(|t| t.member == member && t.epoch == epoch)
    }

    /// The ordered tenures without proof.
    pub(super) fn any_unfenced(&self) -> bool {
        self.tenures.iter().any(|t| t.ordered)
    }

    /// Proof for every tenure of `member` up to `epoch`.
    pub(super) fn prove(&mut self, member: Member, epoch: Epoch, by: Proof) {
        let mut at = 0;
        while at < self.tenures.len() {
            if self.tenures[at].member != member || self.tenures[at].epoch > epoch {
                at += 1;
                continue;
            }
            let track = self.tenures.remove(at);
            self.durable.want.tenures.retain(|t| t.member != member || t.epoch != track.epoch);
            if track.ordered {
                self.last_proof = Some(by);
                if matches!(by, Proof::StopConfirmed { .. } | Proof::ExitReceipt) {
                    self.stopped_looks(member);
                }
                self.event(EventKind::Fenced { member, tenure: track.epoch, by });
            }
        }
    }

    /// Kinds without a lease: what a check saw before this moment is void, and may still come in for a while.
    fn stopped_looks(&mut self, member: Member) {
        if matches!(self.settings.fencing[member], Fencing::Confirmed(_)) {
            self.members[member].probed = Some(FlowState::Stopped);
            self.restart_health_grace(member);
        }
    }

    /// What the clock and the last heartbeats prove by themselves.
    pub(super) fn prove_what_is_known(&mut self) {
        for member in Member::BOTH {
            if !self.tenures.iter().any(|t| t.member == member && t.ordered) {
                continue;
            }
            if let Some(epoch) = self.heartbeat_proves(member) {
                self.prove(member, epoch, Proof::HeartbeatSaysFenced);
            }
        }
    }

    /// Up to which epoch the last status of a member proves that nothing runs.
    fn heartbeat_proves(&self, member: Member) -> Option<Epoch> {
        if self.settings.fencing[member] != Fencing::Leased {
            return None;
        }
        let status = self.members[member].status.as_ref()?;
        if let Some(running) = status.tenure {
            return Some(Epoch(running.0.saturating_sub(1)));
        }
        let quiet = matches!(status.flows, FlowState::Down | FlowState::Booting | FlowState::Stopped);
        let checked = self.rules.holds(Rule::HeartbeatEpochChecked);
        quiet.then_some(if checked { status.max_epoch } else { Epoch(u64::MAX) })
    }

    /// Every lease ever given to this member has ended, and its peer has promised it nothing.
    pub(super) fn lease_is_over(&self, member: Member) -> bool {
        if self.settings.fencing[member] != Fencing::Leased {
            return false;
        }
        let spare = &self.members[member.other()];
        let promised = self.settings.fencing[member.other()] == Fencing::Leased
            && (!self.is_fresh(member.other())
                || spare.status.as_ref().is_none_or(|s| s.promise_given_left_ms.is_some()));
        if !self.rules.holds(Rule::WaitForLease) {
            return !self.is_fresh(member);
        }
        // Just back from seeing nobody: what comes in first may be old, and hide a promise given meanwhile.
        let sees = !self.blind && !self.observing();
        sees && self.now >= self.members[member].lease_end && !promised
    }

    /// In the states that want every tenure over: take the proofs that need that wish, and order what is missing.
    pub(super) fn press_fences(&mut self) {
        for member in Member::BOTH {
            let Some(epoch) = self.tenures.iter().filter(|t| t.member == member && t.ordered).map(|t| t.epoch).max()
            else {
                continue;
            };
            match self.settings.fencing[member] {
                Fencing::Plain => self.prove(member, epoch, Proof::NothingToFence),
                Fencing::Leased if self.lease_is_over(member) => self.prove(member, epoch, Proof::LeaseExpired),
                Fencing::Leased => self.order_fence(member, epoch),
                Fencing::Confirmed(rule) => {
                    let silent = self.now.since(self.members[member].seen_at);
                    match rule {
                        OnUnreachable::After(limit) if silent >= limit && !self.observing() => {
                            self.prove(member, epoch, Proof::UnreachableRule { silent_ms: ms(silent) });
                        }
                        _ => self.order_fence(member, epoch),
                    }
                }
            }
        }
    }

    /// Orders a fence, and again after a while or over a new link.
    pub(super) fn order_fence(&mut self, member: Member, epoch: Epoch) {
        let Some(link) = self.members[member].link else { return };
        let retry = self.settings.deadlines.fence_retry;
        let last = self.members[member].fence;
        if let Some(order) = last.filter(|o| o.epoch >= epoch && self.now.since(o.at) < retry) {
            debug_assert!(order.epoch >= epoch);
            return;
        }
        let op = match last.filter(|o| o.epoch == epoch) {
            Some(order) => order.op,
            None => self.next_op(),
        };
        self.members[member].fence = Some(FenceOrder { op, epoch, at: self.now });
        if last.is_none_or(|o| o.epoch != epoch) {
            self.event(EventKind::FenceOrdered { member, fence_epoch: epoch, op });
        }
        let grace_ms = ms(self.settings.deadlines.stop_grace);
        self.send(member, link, Down::Fence { op, epoch, grace_ms });
    }

    /// Somebody runs flows who must not. `seen` is the tenure it reports, if its kind has any.
    pub(super) fn repel_intruder(&mut self, member: Member, seen: Option<Epoch>) {
        let epoch = seen.unwrap_or(self.durable.want.epoch);
        let due = self.members[member]
            .fence
            .is_none_or(|o| o.epoch < epoch || self.now.since(o.at) >= self.settings.deadlines.fence_retry);
        if due && self.members[member].link.is_some() {
            self.event_seen(EventKind::Intruder { member, tenure: seen });
            self.order_fence(member, epoch);
        }
    }

    /// A member reports flows under a tenure that isn't (or is no longer) its own.
    pub(super) fn is_intruder(&self, member: Member, status: &MemberStatus) -> Option<Epoch> {
        status.may_act().filter(|epoch| !self.tracks(member, *epoch))
    }
}
