//! The engine's status, made from the deciders' views, the counters and the data path.

use hotspare_decide::message::FlowState;
use hotspare_decide::{Cause, LastFailover, Member, MemberView, Route, StateName, Time, View};

use super::Engine;
use super::instance::Instance;
use super::sentence;
use super::status::{ControllerStatus, FailoverStatus, InstanceStatus, MemberStatus, Status};
use crate::clock;

impl Engine {
    pub(super) fn status(&self) -> Status {
        let now = clock::now();
        let controller = ControllerStatus {
            name: self.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_ms: millis(now, self.started),
            leader: self.leader,
            store: self.store.kind(),
            store_ok: self.store_ok,
            journal_failures: self.journal_failures,
            links_refused: [("duplicate", self.duplicates)].into_iter().filter(|(_, n)| *n > 0).collect(),
            stalls: self.stalls,
        };
        let instances = self.instances.values().map(|i| self.instance_status(i, now)).collect();
        Status { controller, instances, shared: self.routes.shared() }
    }

    fn instance_status(&self, instance: &Instance, now: Time) -> InstanceStatus {
        let view = instance.decider.view(now);
        let name_of = |member: Member| instance.spec.members[member.index()].name.clone();
        InstanceStatus {
            name: instance.spec.name.clone(),
            state: state_word(view.state).to_owned(),
            detail: detail(&view, &name_of),
            active: view.active.map(name_of),
            epoch: view.active_epoch.unwrap_or(view.epoch).0,
            since_ms: view.active_for_ms.unwrap_or(view.state_for_ms),
            route: match view.route {
                Route::To { member, .. } => name_of(member),
                Route::Park { .. } => "parked".to_owned(),
            },
            frozen: view.frozen,
            paused: view.paused_left_ms.map(|_| view.paused_reason.clone().unwrap_or_default()),
            pause_left_ms: view.paused_left_ms,
            blind: view.blind,
            in_sync: view.active.and_then(|active| view.members[active.other().index()].in_sync),
            lease_ttl_ms: u64::try_from(instance.decider.settings().lease.ttl.as_millis()).unwrap_or(u64::MAX),
            differs: view.active.and_then(|active| view.members[active.other().index()].sync_reason.clone()),
            listeners: self.routes.listeners(instance.index),
            members: Member::BOTH.iter().map(|m| member_status(instance, *m, &view, now)).collect(),
            last_failover: view.last_failover.as_ref().map(|last| failover(last, now, &name_of)),
            failovers: instance.counts.failovers.clone(),
            switchovers: instance.counts.switchovers.clone(),
            ignored: [("late_or_illegal".to_owned(), view.ignored)].into_iter().filter(|(_, n)| *n > 0).collect(),
            traffic: self.routes.traffic(instance.index),
        }
    }
}

fn millis(now: Time, since: Time) -> u64 {
    u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX)
}

/// The word of a state in status and metrics; closely related states share one.
fn state_word(state: StateName) -> &'static str {
    match state {
        StateName::Follower => "follower",
        StateName::Recovering => "recovering",
        StateName::Idle => "no_active",
        StateName::Starting => "starting",
        StateName::Active => "active",
        StateName::Fencing => "fencing",
        StateName::Draining | StateName::Verifying => "switching",
    }
}

fn detail(view: &View, name_of: &impl Fn(Member) -> String) -> String {
    let spare = |active: Member| {
        let spare = &view.members[active.other().index()];
        match &spare.why_not {
            None => format!("{} could take over at any moment", name_of(active.other())),
            Some(why) => format!("no redundancy: {} could not take over: {why}", name_of(active.other())),
        }
    };
    let halted = |active: Member| {
        let why = view.members[active.index()].status.as_ref()?.halted.as_ref()?;
        Some(format!("the flows of {} stand still: {why}", name_of(active)))
    };
    match (view.state, view.active) {
        (_, _) if view.plan.is_some() => view.plan.clone().unwrap_or_default(),
        (StateName::Active, Some(active)) => halted(active).unwrap_or_else(|| spare(active)),
        (StateName::Recovering, _) => "looking which member is active before anything is decided".to_owned(),
        (StateName::Idle, _) => {
            let reasons = Member::BOTH.map(|m| {
                let why = view.members[m.index()].why_not.clone().unwrap_or_else(|| "ready".to_owned());
                format!("{}: {why}", name_of(m))
            });
            format!("nobody is active: {}", reasons.join("; "))
        }
        (state, _) => state_word(state).to_owned(),
    }
}

fn member_status(instance: &Instance, member: Member, view: &View, now: Time) -> MemberStatus {
    let spec = &instance.spec.members[member.index()];
    let seen: &MemberView = &view.members[member.index()];
    let said = seen.status.as_ref();
    MemberStatus {
        name: spec.name.clone(),
        address: spec.address.clone(),
        kind: spec.kind,
        cannot_promise: crate::driver::cannot_promise(spec.kind),
        role: if view.active == Some(member) { "active" } else { "standby" },
        ready: seen.ready,
        why_not: seen.why_not.clone(),
        held: seen.held,
        flows: seen.flows.map_or("unknown", flows_word).to_owned(),
        tenure: said.and_then(|s| s.tenure).map(|e| e.0),
        max_epoch: said.map(|s| s.max_epoch.0),
        lag_ms: said.map(|s| s.lag_ms),
        lag_worst_ms: instance.counts.worst[member].lag.get(now).or(said.map(|s| s.lag_ms)),
        lease_left_ms: said.and_then(|s| s.lease_left_ms),
        lease_margin_ms: instance.counts.worst[member].lease_left.get(now),
        link: spec.driver.is_none().then_some(if seen.linked { "up" } else { "down" }),
        heard_ms: seen.heard_ms_ago,
        health: if seen.healthy { "healthy" } else { "unhealthy" }.to_owned(),
        revision: said.and_then(|s| s.revision.clone()),
        node_red: said.and_then(|s| s.node_red.clone()),
        heartbeats: instance.counts.heartbeats[member],
        probes: instance.counts.probes[member].clone(),
    }
}

fn flows_word(flows: FlowState) -> &'static str {
    match flows {
        FlowState::Down => "down",
        FlowState::Booting => "booting",
        FlowState::Stopped => "stopped",
        FlowState::Starting => "starting",
        FlowState::Running => "running",
        FlowState::Stopping => "stopping",
    }
}

fn failover(last: &LastFailover, now: Time, name_of: &impl Fn(Member) -> String) -> FailoverStatus {
    let cause = match &last.why {
        Some(cause) => sentence::cause(cause),
        None if last.planned => "planned".to_owned(),
        None => sentence::cause(&Cause::FoundNoActive),
    };
    FailoverStatus {
        ago_ms: millis(now, last.at),
        cause,
        proof: last.proof.as_ref().map(sentence::proof).unwrap_or_default(),
        outage_ms: last.took_ms,
        from: last.from.map(name_of),
        to: name_of(last.to),
    }
}
