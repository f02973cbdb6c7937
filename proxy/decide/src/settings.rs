//! How one instance is to be decided for. Made by the configuration, valid by construction there. Serde, so that
//! recorded observations can say under which settings they were made.

use crate::ids::{Member, PerMember};
use crate::lease::LeaseSettings;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Everything the decider of one instance is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// How each member can be fenced.
    pub fencing: PerMember<Fencing>,
    /// Lease and promise; used where a member is [`Fencing::Leased`].
    pub lease: LeaseSettings,
    /// Health checks.
    pub health: HealthSettings,
    /// How long each step may take.
    pub deadlines: Deadlines,
    /// What keeps the pair from flapping.
    pub damping: Damping,
    /// The member to start first when neither has been active, and the one that fail-back returns to.
    pub prefer: Member,
    /// Return to `prefer` by a switchover once it has been ready for this long. `None`: never.
    pub auto_failback: Option<Duration>,
    /// In an unplanned failover, promote a spare whose flows differ from the active's. A planned one never does.
    pub promote_stale: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            fencing: PerMember::new(Fencing::Leased, Fencing::Leased),
            lease: LeaseSettings::default(),
            health: HealthSettings::default(),
            deadlines: Deadlines::default(),
            damping: Damping::default(),
            prefer: Member::A,
            auto_failback: None,
            promote_stale: true,
        }
    }
}

/// How a member can be fenced: what its kind of launcher can promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fencing {
    /// Holds a lease (`kind = "hotspare"`): stop confirmed, exit seen, or lease expired.
    Leased,
    /// Only a confirmed stop counts (`kind = "node-red"`, `"flowfuse"`).
    Confirmed(OnUnreachable),
    /// Runs no flows (`kind = "none"`): there is nothing to fence.
    Plain,
}

/// What to do about an active that can be fenced by a confirmed stop only, and can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnreachable {
    /// Wait, and say so loudly. The safe default.
    Wait,
    /// Take it for fenced after this long without any sign of life. Gives up "never two active".
    After(Duration),
}

/// Health checks and what is made of them. A failing probe counts `fall` times before it means anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSettings {
    /// How many checks each member has; a member is healthy when all of them pass.
    pub checks: usize,
    /// Passes in a row that make a check healthy.
    pub rise: u32,
    /// Failures in a row that make a check unhealthy.
    pub fall: u32,
    /// After a start of flows or a new link, failures don't count for this long.
    pub start_grace: Duration,
}

impl Default for HealthSettings {
    fn default() -> Self {
        HealthSettings { checks: 0, rise: 2, fall: 3, start_grace: Duration::from_secs(2) }
    }
}

/// How long each step may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Deadlines {
    /// At the very first start, how long to wait for the second member (or the preferred one) to come.
    pub start_grace: Duration,
    /// From the order to start until the flows run.
    pub start: Duration,
    /// A graceful stop of flows; then the process is killed.
    pub stop_grace: Duration,
    /// A fence order is repeated this often until it is answered.
    pub fence_retry: Duration,
    /// In a switchover: for what is in flight to finish.
    pub drain: Duration,
    /// In a switchover: from the start of flows until the new active was seen to serve.
    pub verify: Duration,
    /// In a switchover: until the intent is durable.
    pub persist: Duration,
    /// In a rolling restart: from the order until the member is ready again.
    pub restart: Duration,
    /// After a refused connect: how long new connections are parked while the active is looked at.
    pub suspect: Duration,
    /// After a restart of the controller: how long an active that has not connected yet may take to do so. Until then
    /// its spare still promises it to start nothing, and its lease is not waited out.
    pub recover: Duration,
    /// After a deploy or an installation: how long the spare may lack it before that is an alarm.
    pub sync: Duration,
    /// After silence of both, or a pause of our own: how long to look before acting.
    pub observe: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Deadlines {
            start_grace: Duration::from_secs(5),
            start: Duration::from_secs(15),
            stop_grace: Duration::from_secs(5),
            fence_retry: Duration::from_secs(1),
            drain: Duration::from_secs(2),
            verify: Duration::from_secs(5),
            persist: Duration::from_secs(2),
            restart: Duration::from_secs(90),
            suspect: Duration::from_millis(500),
            recover: Duration::from_secs(3),
            sync: Duration::from_secs(10),
            observe: Duration::from_secs(1),
        }
    }
}

/// What keeps the pair from flapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Damping {
    /// After the first unplanned failover of the last hour, the next one waits at least this long; it doubles with each.
    pub hold_down: Duration,
    /// The hold-down never grows beyond this.
    pub hold_down_max: Duration,
    /// More unplanned failovers than this in an hour freeze the instance.
    pub max_per_hour: u32,
}

impl Default for Damping {
    fn default() -> Self {
        Damping { hold_down: Duration::from_secs(1), hold_down_max: Duration::from_secs(60), max_per_hour: 6 }
    }
}
