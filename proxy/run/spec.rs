//! From an instance of the configuration to what the engine, the links and the probes need of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hotspare_decide::Member;
use hotspare_decide::message::Peer;
use hotspare_protocol::peer_secret;
use hotspare_tls::Keeper;

use crate::config::{Check, CheckKind, Config, Instance, Launcher};
use crate::driver::shell::{self, DriverHandle, Shell};
use crate::driver::{Driver, FlowFuse, FlowFuseSettings, NodeRed, NodeRedSettings, Plain, PowerOff, ServeProbe};
use crate::engine::{Handle, InstanceSpec, MemberSpec};
use crate::link::{Identities, Identity, LinkKey};
use crate::probe::{ActiveMark, Checked};

/// How often a member without a link is looked at; a fifth of the health interval keeps a crash of a member without
/// our launcher well below the second, and a look is a few small requests.
const LOOKS_PER_INTERVAL: u32 = 5;
const SLOWEST_LOOK: Duration = Duration::from_secs(1);

/// The instance as the engine takes it under `number`, and the checks of its members. Starts the drivers' tasks.
pub(super) fn instance(
    number: u32,
    instance: &Instance,
    active: &ActiveMark,
    engine: &Handle,
    keeper: &Keeper,
) -> (InstanceSpec, Vec<Checked>) {
    let mut checks = Vec::new();
    let members = Member::BOTH.map(|member| {
        let spec = &instance.members[member.index()];
        let probe_now = Arc::new(tokio::sync::Notify::new());
        checks.push(Checked {
            instance: number,
            member,
            address: spec.address.clone(),
            tls: spec.tls.as_ref().map(|tls| tls.expected(keeper)),
            token: spec.launcher.tokens().map(|t| t.current().clone()),
            health: instance.health.clone(),
            cold: matches!(spec.launcher, Launcher::FlowFuse { .. }),
            in_place_of_driver: instance.driver_check().filter(|_| !spec.launcher.has_driver()),
            active: active.clone(),
            now: probe_now.clone(),
        });
        MemberSpec {
            name: spec.name.as_str().to_owned(),
            address: spec.address.to_string(),
            kind: spec.launcher.kind(),
            peer: peer(instance, member),
            driver: driver(instance, number, member, active, engine, keeper),
            probe_now,
        }
    });
    let made = InstanceSpec {
        name: instance.name.as_str().to_owned(),
        settings: instance.decide_settings(),
        launcher: instance.launcher_settings(),
        members,
    };
    (made, checks)
}

/// Who may open a link.
pub(super) fn identities(config: &Config, numbers: &HashMap<&str, u32>) -> Identities {
    let mut identities = Vec::new();
    for instance in &config.instances {
        let Some(&number) = numbers.get(instance.name.as_str()) else { continue };
        for member in Member::BOTH {
            let spec = &instance.members[member.index()];
            let Launcher::Hotspare { tokens, .. } = &spec.launcher else { continue };
            let key = LinkKey { instance: number, member };
            let names = (instance.name.as_str().to_owned(), spec.name.as_str().to_owned());
            identities.push((names, Identity { key, tokens: tokens.clone() }));
        }
    }
    Identities::new(identities)
}

fn peer(instance: &Instance, member: Member) -> Option<Peer> {
    let own = &instance.members[member.index()];
    let other = &instance.members[member.other().index()];
    let (Launcher::Hotspare { tokens: mine, .. }, Launcher::Hotspare { url, tokens: theirs }) =
        (&own.launcher, &other.launcher)
    else {
        return None;
    };
    let secret = peer_secret(instance.name.as_str(), mine.current(), theirs.current());
    Some(Peer {
        member: other.name.as_str().to_owned(),
        url: url.uri().to_string(),
        secret: secret.expose().to_owned(),
    })
}

/// Stands for the launcher where there is none of ours.
fn driver(
    instance: &Instance,
    number: u32,
    member: Member,
    active: &ActiveMark,
    engine: &Handle,
    keeper: &Keeper,
) -> Option<DriverHandle> {
    let spec = &instance.members[member.index()];
    let (health, timeouts) = (&instance.health, &instance.timeouts);
    // A path that the spare answers too is none that flows answer.
    let answers_by_flows = |check: &&Check| check.kind == CheckKind::Http && check.active_only && check.port.is_none();
    let serves = health.checks.iter().find(answers_by_flows);
    let probe = serves.map(|check| ServeProbe {
        path: check.path.clone(),
        status: check.status.first().filter(|range| range.first == range.last).map(|range| range.first),
    });
    let address = spec.address.to_string();
    let tls = spec.tls.as_ref().map(|tls| tls.expected(keeper));
    let driver: Arc<dyn Driver> = match &spec.launcher {
        Launcher::Hotspare { .. } => return None,
        Launcher::FlowFuse { url, .. } => Arc::new(FlowFuse::new(FlowFuseSettings {
            launcher_tls: spec.launcher_expected(keeper),
            probe,
            look_timeout: health.timeout,
            start_timeout: timeouts.start,
            ..FlowFuseSettings::new(url.uri().to_string().trim_end_matches('/'), address)
        })),
        Launcher::NodeRed { url, tokens, .. } => Arc::new(NodeRed::new(NodeRedSettings {
            api: url.uri().to_string().trim_end_matches('/').to_owned(),
            token: tokens.as_ref().map(|t| t.current().clone()),
            api_tls: spec.launcher_expected(keeper),
            tls,
            probe,
            look_timeout: health.timeout,
            start_timeout: timeouts.start,
            ..NodeRedSettings::new(address)
        })),
        Launcher::Plain => Arc::new(Plain::new(address, tls, probe, health.timeout)),
    };
    let pace = (health.interval / LOOKS_PER_INTERVAL).min(SLOWEST_LOOK);
    let power_off = match &spec.launcher {
        Launcher::FlowFuse { unreachable, .. } | Launcher::NodeRed { unreachable, .. } => {
            PowerOff::new(&unreachable.fence_command, instance.name.as_str(), spec.name.as_str())
        }
        Launcher::Hotspare { .. } | Launcher::Plain => None,
    };
    let (active, check) = (active.clone(), instance.driver_check()?);
    let shell = Shell { driver, instance: number, member, active, check, pace, power_off };
    Some(shell::spawn(shell, engine.clone()))
}
