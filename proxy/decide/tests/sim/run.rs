//! One seed: a pair comes up, things go wrong, everything is healed, and it must serve again within the bound that
//! the settings imply. Then one last fault with a promise of its own.

use super::faults::Fault;
use super::rng::{MS, Rng};
use super::world::{Ev, World};
use hotspare_decide::{Member, Rule, Settings};
use std::time::Duration;

/// As late as anything comes that was sent before everything was healed.
const SLOWEST: u64 = 2_500 * MS;

/// What one seed came to.
#[derive(Debug, Default)]
#[allow(dead_code)] // each of the two tests reads its part
pub struct Outcome {
    pub violation: Option<String>,
    pub steps: u64,
    pub starts: u64,
}

pub fn random_settings(rng: &mut Rng) -> Settings {
    let mut s = Settings::default();
    let ms = Duration::from_millis;
    s.lease.ttl = ms(rng.pick(&[900, 1_000, 1_000, 1_800]));
    s.lease.kill_budget = ms(rng.pick(&[50, 200]));
    s.lease.stop_lead = ms(rng.pick(&[100, 250]));
    s.lease.drift_ppm = rng.pick(&[10_000, 10_000, 100_000]);
    s.lease.promise = ms(rng.pick(&[1_500, 2_000, 2_500]));
    s.health.checks = rng.below(2) as usize;
    s.health.start_grace = ms(1_000);
    s.deadlines.recover = ms(rng.pick(&[0, 500, 3_000]));
    s.deadlines.observe = ms(rng.pick(&[0, 1_000, 1_000]));
    s.deadlines.start = ms(5_000);
    s.deadlines.stop_grace = ms(rng.pick(&[200, 2_000]));
    s.deadlines.drain = ms(rng.pick(&[0, 300]));
    s.deadlines.verify = ms(1_500);
    s.deadlines.start_grace = ms(1_500);
    s.deadlines.restart = ms(5_000);
    s.damping.hold_down = ms(rng.pick(&[0, 500]));
    s.damping.hold_down_max = ms(2_000);
    s.damping.max_per_hour = rng.pick(&[2, 6, 100]);
    s.prefer = rng.pick(&Member::BOTH);
    s
}

pub fn run(seed: u64, broken: Option<Rule>, trace: bool) -> Outcome {
    let mut world = World::new(seed, broken, trace);
    world.log(|| format!("seed {seed}: {:?}", world.settings));
    world.play();
    Outcome { violation: world.violation, steps: world.steps, starts: world.failovers }
}

impl World {
    fn play(&mut self) {
        for ev in [Ev::LauncherBoots { member: Member::A }, Ev::LauncherBoots { member: Member::B }, Ev::ControlBoots] {
            let when = self.rng.below(400) * MS;
            self.at(when, ev);
        }
        if self.settings.health.checks > 0 {
            self.at(500 * MS, Ev::ProbeTick);
        }
        let begin = if self.rng.chance(80) { 4_000 } else { self.rng.below(4_000) };
        self.run_until(begin * MS);
        self.faulty = true;
        if self.rng.chance(4) {
            self.the_promise_is_put_to_the_test();
        } else {
            self.faults_left = self.profile.count();
            self.after(0, Ev::NextFault);
        }
        let lasts = self.rng.range(1_000, 9_000) * MS;
        self.run_until(self.now + lasts);
        self.heal_all();
        // What a slow network still carries comes first.
        self.run_until(self.now + SLOWEST);
        self.must_serve_again();
        if self.violation.is_none() {
            match self.rng.below(4) {
                0 => self.a_member_is_cut_off(),
                1 => self.the_controller_is_away(),
                2 => self.the_machine_of_the_active_is_lost(),
                _ => self.the_controller_restarts(),
            }
        }
    }

    /// A sequence that chance alone brings too rarely: the active lives on its spare's promise, the spare's launcher
    /// dies and comes back (it may have forgotten), and only the spare is seen by the controller again.
    fn the_promise_is_put_to_the_test(&mut self) {
        let Some(active) = self.active() else { return };
        let spare = active.other();
        self.fault(Fault::CutBoth(active));
        self.fault(Fault::CutBoth(spare));
        let lease = Self::ms_of(self.settings.lease.bound(self.settings.lease.ttl));
        let lives_on = self.rng.range(lease, lease + 2_000) * MS;
        self.run_until(self.now + lives_on);
        let restart = self.rng.chance(70);
        if restart {
            self.fault(Fault::LauncherCrash(spare));
        }
        let pause = self.rng.below(300) * MS;
        self.run_until(self.now + pause);
        self.undo(Fault::CutBoth(spare));
        if restart {
            self.undo(Fault::LauncherCrash(spare));
        }
    }

    fn ms_of(d: Duration) -> u64 {
        d.as_millis() as u64
    }

    /// What the settings allow from "everything is well" to "it serves, and the spare is ready".
    fn bound_ms(&self) -> u64 {
        let (lease, d) = (&self.settings.lease, &self.settings.deadlines);
        let waits = [
            lease.bound(lease.ttl),
            lease.bound(lease.promise),
            d.recover,
            d.observe,
            d.start,
            d.stop_grace,
            d.fence_retry,
            d.drain,
            d.verify,
            d.restart,
            self.settings.damping.hold_down_max,
            self.settings.health.start_grace,
        ];
        // Links are given up after 5 s at most; back-offs of starts and crashes double up to some seconds here.
        waits.into_iter().map(Self::ms_of).sum::<u64>() + 5_000 + 40_000
    }

    /// Somebody runs flows, the route says so, and the other could take over.
    fn all_well(&self) -> bool {
        let Some(decider) = &self.control.decider else { return false };
        let Some((member, epoch)) = decider.active() else { return false };
        let routed = self.control.route == Some((member, epoch));
        let view = decider.view(self.control.clock.local(self.now));
        let spare = &view.members[member.other().index()];
        let healthy = view.members[member.index()].healthy;
        routed && healthy && self.runs(member) == Some(epoch) && spare.ready && view.plan.is_none()
    }

    fn must_serve_again(&mut self) {
        let deadline = self.now + self.bound_ms() * MS;
        let mut well = 0;
        while self.violation.is_none() && well < 4 {
            if self.now > deadline {
                let view = self.control.decider.as_ref().map(|d| d.view(self.control.clock.local(self.now)));
                return self.violate(format!("healed, and after {}ms it is not well: {view:?}", self.bound_ms()));
            }
            self.run_until(self.now + 200 * MS);
            well = if self.all_well() { well + 1 } else { 0 };
        }
    }

    fn active(&self) -> Option<Member> {
        self.control.decider.as_ref().and_then(|d| d.active()).map(|(m, _)| m)
    }

    /// From the moment of a silent loss until the spare's flows have started.
    fn takeover_ms(&self) -> u64 {
        let lease = &self.settings.lease;
        let hold = self.settings.damping.hold_down_max;
        Self::ms_of(lease.bound(lease.ttl)) * 11 / 10 + Self::ms_of(lease.silence()) + Self::ms_of(hold) + 500
    }

    /// The active is cut off from the controller alone: its spare hears the controller, promises nothing, takes over.
    fn a_member_is_cut_off(&mut self) {
        let Some(active) = self.active() else { return };
        let fault = self.rng.pick(&[Fault::CutBoth(active), Fault::CutUp(active), Fault::CutDown(active)]);
        self.fault(fault);
        let frozen = self.would_freeze();
        let slack = Self::ms_of(self.settings.lease.promise) + 5_500;
        self.run_until(self.now + (self.takeover_ms() + slack) * MS);
        if self.violation.is_none() && self.runs(active.other()).is_none() && !frozen {
            self.violate(format!("{active} was cut off, and {} did not take over", active.other()));
        }
    }

    fn would_freeze(&self) -> bool {
        let now = self.control.clock.local(self.now);
        let view = self.control.decider.as_ref().map(|d| d.view(now));
        view.is_none_or(|v| v.frozen || v.failovers_last_hour >= self.settings.damping.max_per_hour)
    }

    /// No controller at all: the flows go on, without a gap, as long as the two launchers see one another.
    fn the_controller_is_away(&mut self) {
        // With less time to look around, an active that connects late is replaced: asked for, and safe.
        let patient = self.settings.deadlines.recover >= Duration::from_secs(3)
            && self.settings.deadlines.observe >= Duration::from_secs(1);
        let Some(active) = self.active() else { return };
        let epoch = self.runs(active);
        let fault =
            self.rng.pick(&[Fault::ControlCrash, Fault::ControlFreeze, Fault::ControlPause, Fault::IsolateControl]);
        self.fault(fault);
        self.run_until(self.now + self.rng.clone().range(2_000, 8_000) * MS);
        if self.violation.is_none() && self.runs(active) != epoch {
            return self.violate(format!("without a controller the flows of {active} did not go on"));
        }
        self.undo(fault);
        self.run_until(self.now + 6_000 * MS);
        // An operator's order that waited for the controller is carried out when it is back.
        let held = self
            .control
            .decider
            .as_ref()
            .is_some_and(|d| d.view(self.control.clock.local(self.now)).members.iter().any(|member| member.held));
        if self.violation.is_none() && self.runs(active) != epoch && patient && !held {
            self.violate(format!("the controller came back and disturbed the flows of {active}"));
        }
    }

    /// The machine of the active vanishes: the spare runs within the bound of the lease.
    fn the_machine_of_the_active_is_lost(&mut self) {
        let Some(active) = self.active() else { return };
        let frozen = self.would_freeze();
        self.fault(Fault::MachineLost(active));
        self.run_until(self.now + self.takeover_ms() * MS);
        if self.violation.is_none() && self.runs(active.other()).is_none() && !frozen {
            self.violate(format!("the machine of {active} was lost, and {} did not take over", active.other()));
        }
    }

    /// A restart of the controller at any moment disturbs nothing.
    fn the_controller_restarts(&mut self) {
        if self.settings.deadlines.recover < Duration::from_secs(3) {
            return;
        }
        let Some(active) = self.active() else { return };
        let epoch = self.runs(active);
        self.fault(Fault::ControlCrash);
        // The end of a rolling restart may not have been on record yet: then it goes on, and moves the active as asked.
        if self.control.disk.as_ref().is_some_and(|record| record.rolling.is_some()) {
            return;
        }
        let away = self.rng.below(1_500) * MS;
        self.run_until(self.now + away);
        self.undo(Fault::ControlCrash);
        self.run_until(self.now + 4_000 * MS);
        let routed = self.control.route == epoch.map(|e| (active, e));
        if self.violation.is_none() && (self.runs(active) != epoch || !routed) {
            self.violate(format!("a restart of the controller disturbed {active}"));
        }
    }
}
