//! What a reload changes: the difference between two configurations, as a pure function.
//!
//! Owns the comparison. It never applies anything; the engine does, instance by instance, and leaves alone
//! what isn't named here.

use super::{Config, Instance, Name};

/// What differs between the configuration that runs and a new one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Difference {
    /// Tables outside the instances that differ, by their name in the file.
    pub global: Vec<&'static str>,
    /// Instances that are new.
    pub added: Vec<Name>,
    /// Instances that are gone.
    pub removed: Vec<Name>,
    /// Instances that differ, and in what.
    pub changed: Vec<(Name, Vec<Change>)>,
}

/// In what an instance differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Where clients connect to.
    Listeners,
    /// Name, address or launcher of the first (0) or second (1) member.
    Member(usize),
    /// Tokens of the first or second member, and nothing else of it.
    Tokens(usize),
    /// Which member is preferred.
    Prefer,
    /// Health checks.
    Health,
    /// Times of the lease.
    Lease,
    /// Deadlines of steps and connections.
    Timeouts,
    /// Limits.
    Limits,
    /// Rules of failover.
    Failover,
    /// Rehearsals.
    Drill,
}

impl Difference {
    /// What must change to get from `old` to `new`.
    pub fn between(old: &Config, new: &Config) -> Difference {
        let missing_in = |config: &Config, other: &Config| {
            let gone = |instance: &&Instance| other.instance(instance.name.as_str()).is_none();
            config.instances.iter().filter(gone).map(|instance| instance.name.clone()).collect()
        };
        let changed = new.instances.iter().filter_map(|instance| {
            let changes = changes(old.instance(instance.name.as_str())?, instance);
            (!changes.is_empty()).then(|| (instance.name.clone(), changes))
        });
        Difference {
            global: global(old, new),
            added: missing_in(new, old),
            removed: missing_in(old, new),
            changed: changed.collect(),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        *self == Difference::default()
    }
}

fn global(old: &Config, new: &Config) -> Vec<&'static str> {
    let tables = [
        ("proxy", old.proxy != new.proxy || old.name != new.name),
        ("log", old.log != new.log),
        ("admin", old.admin != new.admin),
        ("links", old.links != new.links),
        ("store", old.store != new.store),
        ("hook", old.hooks != new.hooks),
    ];
    tables.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

fn changes(old: &Instance, new: &Instance) -> Vec<Change> {
    let members = [0, 1].into_iter().filter_map(|index| member_change(old, new, index));
    let others = [
        (Change::Listeners, old.listeners != new.listeners),
        (Change::Prefer, old.prefer != new.prefer),
        (Change::Health, old.health != new.health),
        (Change::Lease, old.lease != new.lease),
        (Change::Timeouts, old.timeouts != new.timeouts),
        (Change::Limits, old.limits != new.limits),
        (Change::Failover, old.failover != new.failover),
        (Change::Drill, old.drill != new.drill),
    ];
    members.chain(others.into_iter().filter(|(_, differs)| *differs).map(|(change, _)| change)).collect()
}

fn member_change(old: &Instance, new: &Instance, index: usize) -> Option<Change> {
    let (old, new) = (&old.members[index], &new.members[index]);
    if old == new {
        return None;
    }
    let same_place = old.name == new.name && old.address == new.address && old.launcher.is_same_place(&new.launcher);
    Some(if same_place { Change::Tokens(index) } else { Change::Member(index) })
}
