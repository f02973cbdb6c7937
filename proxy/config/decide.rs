//! What the decision core and the launchers are told, from the configuration of an instance.
//!
//! Owns the mapping and nothing else: every value was checked before. Members are `A` and `B` in the order of
//! the file; names stay outside of the core.

use std::num::NonZeroU32;
use std::time::Duration;

use hotspare_decide::message::{LauncherSettings, OnIsolated};
use hotspare_decide::{
    Damping, Deadlines, Fencing, HealthSettings, LeaseSettings, Member as Side, OnUnreachable, PerMember, Settings,
};

use super::{Instance, Isolated, Launcher, Lease, Unreachable};

impl Instance {
    /// How this instance is to be decided for.
    pub fn decide_settings(&self) -> Settings {
        let [first, second] = &self.members;
        Settings {
            fencing: PerMember::new(fencing(&first.launcher), fencing(&second.launcher)),
            lease: self.lease.settings(),
            health: HealthSettings {
                checks: self.health.checks.len() + usize::from(self.driver_check().is_some()),
                rise: self.health.rise,
                fall: self.health.fall,
                start_grace: self.health.start_grace,
            },
            deadlines: Deadlines {
                start_grace: self.failover.wait_for_preferred,
                start: self.timeouts.start,
                stop_grace: self.timeouts.stop,
                drain: self.timeouts.drain,
                verify: self.timeouts.verify,
                restart: self.timeouts.restart,
                ..Deadlines::default()
            },
            damping: Damping {
                hold_down: self.failover.hold_down,
                hold_down_max: self.failover.hold_down_max,
                max_per_hour: self.failover.max_per_hour,
            },
            prefer: if self.prefer == 0 { Side::A } else { Side::B },
            auto_failback: self.failover.auto_failback.0,
            promote_stale: self.failover.promote_stale,
        }
    }

    /// The number of the check that the looks of drivers count as, behind the configured ones; `None` if both members
    /// have our launcher.
    pub fn driver_check(&self) -> Option<usize> {
        self.members.iter().any(|member| member.launcher.has_driver()).then_some(self.health.checks.len())
    }

    /// What the launchers of this instance are to work by.
    pub fn launcher_settings(&self) -> LauncherSettings {
        LauncherSettings {
            lease: self.lease.settings(),
            hang_after: self.health.hang_after,
            boot_deadline: self.timeouts.boot,
            on_isolated: match self.lease.on_isolated {
                Isolated::Stop => OnIsolated::Stop,
                Isolated::Run => OnIsolated::Run,
            },
            context_every_s: self.copy_context.and_then(whole_seconds),
        }
    }
}

impl Lease {
    /// The lease as both ends count it.
    pub(super) fn settings(&self) -> LeaseSettings {
        LeaseSettings {
            heartbeat: self.heartbeat,
            ttl: self.ttl,
            drift_ppm: self.drift.ppm,
            kill_budget: self.kill_budget,
            promise: self.promise,
            stop_lead: self.stop_lead,
        }
    }
}

fn whole_seconds(time: Duration) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(time.as_secs()).unwrap_or(u32::MAX))
}

fn fencing(launcher: &Launcher) -> Fencing {
    match launcher {
        Launcher::Hotspare { .. } => Fencing::Leased,
        Launcher::FlowFuse { unreachable, .. } | Launcher::NodeRed { unreachable, .. } => {
            Fencing::Confirmed(on_unreachable(unreachable))
        }
        Launcher::Plain => Fencing::Plain,
    }
}

fn on_unreachable(unreachable: &Unreachable) -> OnUnreachable {
    unreachable.after.map_or(OnUnreachable::Wait, OnUnreachable::After)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Secrets};

    fn minimal(more: &str) -> Instance {
        let text = format!("{}\n{more}", include_str!("../../config/minimal.toml"));
        let config = Config::parse("minimal.toml", &text, Path::new("."), Secrets::Skip);
        config.unwrap_or_else(|problems| panic!("{problems}")).instances.remove(0)
    }

    #[test]
    fn what_the_file_leaves_out_is_as_the_core_has_it() {
        let instance = minimal("");
        let settings = instance.decide_settings();
        let health = HealthSettings { checks: 1, ..HealthSettings::default() };
        assert_eq!(settings, Settings { health, ..Settings::default() });
        assert_eq!(instance.launcher_settings(), LauncherSettings::default());
    }

    #[test]
    fn every_time_reaches_the_core() {
        let instance = minimal(
            "[instance.lease]\nttl = \"3s\"\ndrift = \"2%\"\non_isolated = \"run\"\n\
             [instance.failover]\nauto_failback = \"10m\"\n[instance.timeouts]\nverify = \"7s\"\nboot = \"2m\"",
        );
        let settings = instance.decide_settings();
        assert_eq!(settings.lease.ttl.as_secs(), 3);
        assert_eq!(settings.lease.drift_ppm, 20_000);
        assert_eq!(settings.auto_failback.map(|after| after.as_secs()), Some(600));
        assert_eq!(settings.deadlines.verify.as_secs(), 7);
        assert_eq!(instance.launcher_settings().boot_deadline.as_secs(), 120);
        assert_eq!(instance.launcher_settings().on_isolated, OnIsolated::Run);
    }
}
