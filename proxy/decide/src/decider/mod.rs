//! Who is active: the controller's side, one decider per instance.
//!
//! Owns: the state of the instance, the tenures that may be running somewhere, the record, the route. Never does:
//! I/O; reading a clock; taking silence for death; starting one member while another's tenure lacks its proof.
//!
//! How it works: an input only updates what is known. Then `advance` looks at everything known, as often as
//! something changes, and takes the steps that are due. So nothing depends on the order in which two facts arrive.
//!
//! Reads in this order: `table` (the states), this file, `recover`, `start`, `failover`, `fencing` (tenures and
//! proofs), `switchover`, `restart`, `follow`, then `member`, `health`, `messages`, `damping`, `operator`, `durable`,
//! `view`.

mod damping;
mod durable;
mod failover;
mod fencing;
mod follow;
mod health;
mod member;
mod messages;
mod operator;
mod recover;
mod restart;
mod start;
mod switchover;
pub(crate) mod table;
mod view;

use crate::effect::{Effect, ParkReason, Route};
use crate::event::{Event, EventKind, Proof};
use crate::ids::{Epoch, LinkId, Member, OpId, PerMember};
use crate::input::Input;
use crate::message::Down;
use crate::record::Record;
use crate::rules::{Rule, Rules};
use crate::settings::Settings;
use crate::time::{Time, ms};
use crate::view::{LastFailover, StateName};
use durable::Durable;
use failover::Replacing;
use fencing::Track;
use health::Suspicion;
use member::MemberState;
use restart::Rolling;
use std::collections::VecDeque;
use std::time::Duration;
use switchover::Plan;

/// More steps than this after one input would be a loop; the rest waits for the next input.
const MAX_STEPS: usize = 32;

/// Decides for one instance.
#[derive(Debug)]
pub struct Decider {
    name: String,
    settings: Settings,
    rules: Rules<Rule>,
    /// The latest time seen; time never goes back in here.
    now: Time,
    /// One moment on both clocks, to read and write the times in the record.
    anchor: (Time, u64),
    leader: bool,
    state: State,
    state_since: Time,
    /// Who is active; in the states `Active` and `Draining` only.
    active: Option<(Member, Epoch)>,
    active_since: Time,
    route: Route,
    members: PerMember<MemberState>,
    tenures: Vec<Track>,
    /// The highest epoch whose start was ordered, or may have been: a reservation below it is void.
    highest_ordered: Epoch,
    durable: Durable,
    /// While following: what the store has.
    seen: Option<follow::Seen>,
    carrying: follow::Carrying,
    /// The change under way that nobody asked for.
    replacing: Option<Replacing>,
    plan: Option<Plan>,
    rolling: Option<Rolling>,
    last_proof: Option<Proof>,
    /// Why the process of the last active ended, if it did.
    last_exit: Option<crate::message::ExitCause>,
    last_failover: Option<LastFailover>,
    /// A look at a suspected active found it well: refusals don't count again before this.
    trust_until: Time,
    hold_until: Time,
    paused_until: Option<Time>,
    /// We look afresh until then, and start nothing: we, or everyone's links to us, were away.
    observe_until: Time,
    /// The same after a pause of our own that was too short for anyone to have given us up.
    glance_until: Time,
    blind: bool,
    was_seeing: bool,
    /// Why a wanted start can't happen, as last said.
    stuck: Option<String>,
    last_op: u64,
    effects: VecDeque<Effect>,
    ignored: u64,
}

#[derive(Debug)]
enum State {
    Follower,
    Recovering,
    Idle,
    Starting { op: OpId, member: Member, epoch: Epoch, deadline: Time },
    Verifying { member: Member, epoch: Epoch, deadline: Time },
    Active { since: Time, suspicion: Option<Suspicion> },
    Draining { deadline: Time, drained: bool },
    Fencing,
}

impl State {
    fn name(&self) -> StateName {
        match self {
            State::Follower => StateName::Follower,
            State::Recovering => StateName::Recovering,
            State::Idle => StateName::Idle,
            State::Starting { .. } => StateName::Starting,
            State::Verifying { .. } => StateName::Verifying,
            State::Active { .. } => StateName::Active,
            State::Draining { .. } => StateName::Draining,
            State::Fencing => StateName::Fencing,
        }
    }
}

impl Decider {
    /// A controller that has just started and decides for this instance. `wall_ms` is the wall clock (milliseconds
    /// since 1970), used only to read and write the times in the record.
    pub fn new(now: Time, wall_ms: u64, name: String, settings: Settings, record: Option<Record>) -> Self {
        let mut decider = Decider::follower(now, wall_ms, name, settings);
        decider.take_lead(record);
        decider.advance();
        decider
    }

    /// A controller of a group that doesn't lead (yet): it answers heartbeats, follows the route and decides nothing.
    pub fn follower(now: Time, wall_ms: u64, name: String, settings: Settings) -> Self {
        let checks = settings.health.checks;
        let want = recover::empty_record(&settings);
        Decider {
            name,
            settings,
            rules: Rules::default(),
            now,
            anchor: (now, wall_ms),
            leader: false,
            state: State::Follower,
            state_since: now,
            active: None,
            active_since: now,
            route: Route::Park { reason: ParkReason::Recovering },
            members: PerMember::new(MemberState::new(now, checks), MemberState::new(now, checks)),
            tenures: Vec::new(),
            highest_ordered: Epoch::NONE,
            durable: Durable::new(None, want),
            seen: None,
            carrying: follow::Carrying::default(),
            replacing: None,
            plan: None,
            rolling: None,
            last_proof: None,
            last_exit: None,
            last_failover: None,
            trust_until: now,
            hold_until: now,
            paused_until: None,
            observe_until: now,
            glance_until: now,
            blind: false,
            was_seeing: false,
            stuck: None,
            last_op: 0,
            effects: VecDeque::new(),
            ignored: 0,
        }
    }

    /// Breaks one safety rule, so that a test can show that the rule is needed. To be called right after `new`.
    #[cfg(feature = "mutants")]
    pub fn break_rule(&mut self, rule: Rule) {
        self.rules = Rules::breaking(rule);
        if !self.rules.holds(Rule::LeaseSurvivesRestart) {
            self.forget_leases();
        }
    }

    /// Tells the decider what happened. `now` is this host's `CLOCK_BOOTTIME`.
    pub fn handle(&mut self, now: Time, input: Input) {
        self.tick(now);
        match input {
            Input::LinkUp { member, link, session } => self.on_link_up(member, link, session),
            Input::LinkDown { member, link } => self.on_link_down(member, link),
            Input::Up { member, link, msg } => return self.on_up(member, link, msg),
            Input::Receipt { member, receipt } => self.on_receipt(member, &receipt),
            Input::Probe { member, check, outcome, flows } => self.on_probe(member, check, outcome, flows),
            Input::Trouble { member, epoch, trouble } => self.on_trouble(member, epoch, trouble),
            Input::Drained { epoch } => self.on_drained(epoch),
            Input::Persisted { id } => self.on_persisted(id),
            Input::PersistFailed { id, reason } => self.on_persist_failed(id, reason),
            Input::Operator { request, command } => self.on_operator(request, command),
            Input::Leadership { leader, record, wall_ms } => self.on_leadership(leader, record, wall_ms),
            Input::Seen { record } => self.on_seen(record),
            Input::Stalled { gap } => self.on_stalled(gap),
        }
        self.advance();
    }

    /// Tells the decider that the time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, now: Time) {
        self.tick(now);
        self.advance();
    }

    /// Time never goes back in here. And whoever was heard a moment before the last call made a timer due since: if
    /// nobody called by far, we were paused ourselves, and what waits in our queues is old.
    fn tick(&mut self, now: Time) {
        let gap = now.since(self.now);
        let heard = Member::BOTH.iter().any(|m| self.is_fresh(*m));
        self.now = now.max(self.now);
        if heard && gap > self.settings.lease.silence().saturating_mul(2) {
            self.on_stalled(gap);
        }
    }

    /// Takes every step that is due by what is known now.
    fn advance(&mut self) {
        if self.leader {
            self.end_pause();
            for _ in 0..MAX_STEPS {
                self.prove_what_is_known();
                if !self.step() {
                    break;
                }
            }
            self.step_rolling();
            self.watch_sight();
            self.watch_spare();
            self.pump_durable();
        } else {
            self.follow();
        }
    }

    /// One step of the state at hand; true if something changed and another look is due.
    fn step(&mut self) -> bool {
        match self.state {
            State::Follower => false,
            State::Recovering => self.step_recovering(),
            State::Idle => self.step_idle(),
            State::Starting { member, epoch, deadline, .. } => self.step_starting(member, epoch, deadline),
            State::Verifying { member, epoch, deadline } => self.step_verifying(member, epoch, deadline),
            State::Active { .. } => self.step_active(),
            State::Draining { deadline, drained } => self.step_draining(deadline, drained),
            State::Fencing => self.step_fencing(),
        }
    }

    /// When to call `handle_timeout` next. `None`: only after an input.
    pub fn poll_timeout(&self) -> Option<Time> {
        let silence = self.settings.lease.silence();
        let deadlines = &self.settings.deadlines;
        let mut times = [self.now; 24];
        let mut n = 0;
        let mut add = |at: Time| {
            times[n] = at;
            n += 1;
        };
        for m in &self.members.0 {
            add(m.heard.map_or(self.now, |at| at + silence));
            add(m.lease_end);
            add(m.grace_until);
            add(m.not_before);
            add(m.differs_since.map_or(self.now, |at| at + deadlines.sync));
            add(m.fence.map_or(self.now, |o| o.at + deadlines.fence_retry));
        }
        add(self.observe_until);
        add(self.glance_until);
        add(self.hold_until);
        add(self.paused_until.unwrap_or(self.now));
        add(self.durable.retry_at.unwrap_or(self.now));
        add(self.rolling.as_ref().map_or(self.now, Rolling::deadline));
        add(self.plan.as_ref().map_or(self.now, Plan::deadline));
        add(self.failback_due().unwrap_or(self.now));
        match &self.state {
            State::Starting { deadline, .. } | State::Verifying { deadline, .. } | State::Draining { deadline, .. } => {
                add(*deadline);
            }
            State::Active { suspicion, .. } => add(suspicion.map_or(self.now, |s| s.until)),
            State::Idle => {
                add(self.state_since + deadlines.start_grace);
                add(self.state_since + switchover::TARGET_WAIT);
            }
            State::Fencing => {
                add(self.unreachable_rule_due().unwrap_or(self.now));
                add(self.rollback_due());
            }
            State::Follower => add(self.seen.as_ref().map_or(self.now, |seen| seen.heed_until)),
            State::Recovering => {}
        }
        times[..n].iter().copied().filter(|at| *at > self.now).min()
    }

    /// What to do next, in order; `None` when there is nothing more.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// New settings, from a reload. Running members are undisturbed; a wider lease is granted once it is durable.
    pub fn set_settings(&mut self, now: Time, settings: Settings) {
        self.now = now.max(self.now);
        for m in &mut self.members.0 {
            m.checks.resize(settings.health.checks, health::Check::default());
        }
        self.durable.want.lease = self.durable.want.lease.widest(&settings.lease);
        self.settings = settings;
        self.advance();
    }

    fn go(&mut self, state: State) {
        debug_assert!(
            table::allowed(self.state.name(), state.name()),
            "{:?} to {:?} is not in the table",
            self.state.name(),
            state.name()
        );
        self.state = state;
        self.state_since = self.now;
        self.stuck = None;
    }

    fn set_route(&mut self, route: Route, drain: Option<Duration>) {
        if self.route != route {
            self.route = route;
            if let Route::To { epoch, .. } = route {
                self.carrying.epoch = Some(epoch);
            }
            self.effects.push_back(Effect::Route { route, drain });
        }
    }

    /// Connections to another member end at once. Those to an earlier epoch of the same one may be of this epoch in truth,
    /// opened before we heard of it: what is under way on them is let come to its end.
    fn route_to(&mut self, member: Member, epoch: Epoch) {
        let same = matches!(self.route, Route::To { member: before, .. } if before == member);
        let drain = if same { self.settings.deadlines.drain } else { Duration::ZERO };
        self.set_route(Route::To { member, epoch }, Some(drain));
    }

    fn send(&mut self, member: Member, link: LinkId, msg: Down) {
        self.effects.push_back(Effect::Send { member, link, msg });
    }

    fn next_op(&mut self) -> OpId {
        self.last_op += 1;
        OpId(self.last_op)
    }

    fn ignore(&mut self) {
        self.ignored += 1;
    }

    /// Something worth knowing.
    fn event(&mut self, kind: EventKind) {
        self.push_event(kind, false);
    }

    /// A decision: with everything seen at this moment.
    fn event_seen(&mut self, kind: EventKind) {
        self.push_event(kind, true);
    }

    fn push_event(&mut self, kind: EventKind, seen: bool) {
        let observations = seen.then(|| Box::new(self.observations()));
        let event =
            Event { at: self.now, state: self.state.name(), epoch: self.durable.want.epoch, kind, observations };
        self.effects.push_back(Effect::Event(event));
    }

    /// We have just come to see again: facts are noted, nothing is started yet.
    fn observing(&self) -> bool {
        self.now < self.observe_until.max(self.glance_until)
    }

    /// We don't count as a controller yet, whoever hears us: the spare goes on giving promises, and an active that is
    /// about to come back has the time to.
    fn is_absent(&self) -> bool {
        self.now < self.observe_until
    }

    /// The tenure that is starting, being looked at, active or drained.
    fn current(&self) -> Option<(Member, Epoch)> {
        match self.state {
            State::Starting { member, epoch, .. } | State::Verifying { member, epoch, .. } => Some((member, epoch)),
            State::Active { .. } | State::Draining { .. } => self.active,
            _ => None,
        }
    }

    fn on_stalled(&mut self, gap: Duration) {
        self.event(EventKind::Stalled { gap_ms: ms(gap) });
        if !self.leader {
            self.look_afresh();
        }
        // It may be our clock that jumped: time that we did not see pass ends no lease.
        let unseen = gap.min(self.settings.lease.bound(self.settings.lease.ttl));
        for m in &mut self.members.0 {
            if m.lease_end > self.now - gap {
                m.lease_end += unseen;
            }
        }
        let (lease, observe) = (&self.settings.lease, self.settings.deadlines.observe);
        // Within a lease nobody has given up a link to us: what they said meanwhile is in our queue, and the next
        // heartbeats follow. On a machine that is busy all the time we would otherwise never act.
        if gap < lease.ttl {
            self.glance_until = self.glance_until.max(self.now + observe.min(lease.silence()));
        } else {
            self.observe_until = self.observe_until.max(self.now + observe);
        }
    }
}
