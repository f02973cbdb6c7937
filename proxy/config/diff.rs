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
    /// Copies of context.
    Context,
    /// Rehearsals.
    Drill,
    /// The platform's endpoint.
    Platform,
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
        (Change::Context, old.copy_context != new.copy_context),
        (Change::Drill, old.drill != new.drill),
        (Change::Platform, old.platform != new.platform),
    ];
    members.chain(others.into_iter().filter(|(_, differs)| *differs).map(|(change, _)| change)).collect()
}

fn member_change(old: &Instance, new: &Instance, index: usize) -> Option<Change> {
    let (old, new) = (&old.members[index], &new.members[index]);
    if old == new {
        return None;
    }
    let same_place = old.name == new.name
        && old.address == new.address
        && old.tls == new.tls
        && old.launcher_authorities == new.launcher_authorities
        && old.launcher.is_same_place(&new.launcher);
    Some(if same_place { Change::Tokens(index) } else { Change::Member(index) })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Secrets, Tokens};

    const FILE: &str = include_str!("../../config/two-boxes.toml");

    fn config(text: &str) -> Config {
        let config = Config::parse("test.toml", text, Path::new("."), Secrets::Skip);
        config.unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// What changes when `from` becomes `to` in the file.
    fn edit(from: &str, to: &str) -> Difference {
        assert!(FILE.contains(from), "{from} is not in the file");
        Difference::between(&config(FILE), &config(&FILE.replacen(from, to, 1)))
    }

    fn changed(changes: &[Change]) -> Difference {
        let name = config(FILE).instances[0].name.clone();
        Difference { changed: vec![(name, changes.to_vec())], ..Difference::default() }
    }

    #[test]
    fn the_same_meaning_is_no_difference() {
        assert!(edit("# Over a network", "# On a network").is_empty());
        assert!(edit("ttl = \"3s\"", "ttl = \"3000ms\"").is_empty());
        assert!(edit("prefer = \"a\"\n", "").is_empty());
    }

    #[test]
    fn each_change_is_named_and_nothing_else() {
        for (from, to, change) in [
            ("0.0.0.0:4001", "0.0.0.0:4002", Change::Listeners),
            ("10.0.0.11:1880", "10.0.0.13:1880", Change::Member(0)),
            ("http://10.0.0.12:2880", "http://10.0.0.12:2881", Change::Member(1)),
            ("prefer = \"a\"", "prefer = \"b\"", Change::Prefer),
            ("prefer = \"a\"", "prefer = \"a\"\ncopy_context = \"1m\"", Change::Context),
            ("hang_after = \"10s\"", "hang_after = \"11s\"", Change::Health),
            ("ttl = \"3s\"", "ttl = \"4s\"", Change::Lease),
            ("[instance.lease]", "[instance.timeouts]\npark = \"9s\"\n[instance.lease]", Change::Timeouts),
            ("[instance.lease]", "[instance.limits]\nparked = 1\n[instance.lease]", Change::Limits),
            ("[instance.lease]", "[instance.drill]\nevery = \"7d\"\n[instance.lease]", Change::Drill),
            ("[instance.lease]", "[instance.failover]\nmax_per_hour = 1\n[instance.lease]", Change::Failover),
        ] {
            assert_eq!(edit(from, to), changed(&[change]), "{from} -> {to}");
        }
        assert_eq!(edit("listen = \"10.0.0.1:9481\"", "listen = \"10.0.0.2:9481\"").global, ["links"]);
    }

    #[test]
    fn a_new_name_is_another_instance() {
        let difference = edit("name = \"line-1\"", "name = \"line-2\"");
        assert_eq!((difference.added.len(), difference.removed.len(), difference.changed.len()), (1, 1, 0));
    }

    #[test]
    fn new_tokens_alone_are_told_apart_from_a_new_member() {
        let old = config(FILE);
        let mut new = old.clone();
        if let crate::config::Launcher::Hotspare { tokens, .. } = &mut new.instances[0].members[1].launcher {
            *tokens = Tokens::one(hotspare_protocol::Secret::new("another-token-of-b"));
        }
        assert_eq!(Difference::between(&old, &new), changed(&[Change::Tokens(1)]));
    }
}
