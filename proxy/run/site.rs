//! What is served: every instance with its listeners, checks and identities, and how a reload changes it.
//!
//! A reload is validated whole, then applied as a difference: instances that are not named in it notice nothing. What
//! can fail (a new listening address) is tried first; then the old configuration stays in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;

use arc_swap::ArcSwap;
use hotspare_tls::Keeper;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::spec;
use crate::admin::Access;
use crate::config::{Change, Config, Difference, Instance};
use crate::drill::Drills;
use crate::engine::{Handle, Input, InstanceSpec, Reload};
use crate::events::EventLog;
use crate::link::Identities;
use crate::platform::{Endpoint, Endpoints, EnginePair};
use crate::probe::{self, ActiveMark, Checked};
use crate::takeover::Sockets;
use crate::traffic::Traffic;

/// Tables that are read at the start only.
const NEEDS_RESTART: [&str; 5] = ["proxy", "log", "links", "store", "hook"];

/// All that is served now.
pub(super) struct Site {
    config: Config,
    engine: Handle,
    traffic: Arc<Traffic>,
    keeper: Keeper,
    events: EventLog,
    /// Who may open a link; the link server reads it.
    pub(super) identities: Arc<ArcSwap<Identities>>,
    /// Who may do what; the admin listener reads it.
    pub(super) access: Arc<ArcSwap<Access>>,
    platform: Endpoints,
    served: HashMap<String, Served>,
    next_number: u32,
    drills: Option<Arc<Drills>>,
    schedules: Vec<JoinHandle<()>>,
}

struct Served {
    platform: Option<Endpoint>,
    number: u32,
    active: ActiveMark,
    checks: Vec<JoinHandle<()>>,
}

impl Site {
    /// Binds every listener of `config` and starts the checks; gives what the engine is made of.
    ///
    /// # Errors
    /// The first address that could not be had.
    pub(super) fn start(
        config: &Config,
        engine: Handle,
        traffic: Arc<Traffic>,
        sockets: Arc<Sockets>,
        keeper: Keeper,
        events: EventLog,
    ) -> Result<(Self, Vec<InstanceSpec>), hotspare_datapath::Error> {
        let mut site = Self {
            config: config.clone(),
            engine,
            traffic,
            keeper,
            events,
            identities: Arc::default(),
            access: Arc::new(ArcSwap::from_pointee(Access::of(&config.admin))),
            platform: Endpoints::start(sockets).map_err(no_platform_thread)?,
            served: HashMap::new(),
            next_number: 0,
            drills: None,
            schedules: Vec::new(),
        };
        let mut specs = Vec::new();
        for instance in &config.instances {
            specs.push(site.add(instance)?.1);
        }
        site.publish(config);
        Ok((site, specs))
    }

    /// Drills and their schedules follow the configuration from now on.
    pub(super) fn with_drills(mut self, drills: Arc<Drills>) -> Self {
        self.schedules = drills.configure(&self.config);
        self.drills = Some(drills);
        self
    }

    /// Makes `config` the one that is served; tells in a sentence what changed.
    ///
    /// # Errors
    /// Why it was not applied; then nothing changed.
    pub(super) async fn reload(&mut self, config: Config) -> Result<String, String> {
        let difference = Difference::between(&self.config, &config);
        if difference.is_empty() {
            return Ok("nothing differs".to_owned());
        }
        let fixed: Vec<_> = difference.global.iter().filter(|table| NEEDS_RESTART.contains(table)).copied().collect();
        if !fixed.is_empty() {
            return Err(format!("[{}] can only change with a restart; nothing was applied", fixed.join("], [")));
        }
        if config.admin.listen != self.config.admin.listen {
            return Err("[admin] listen can only change with a restart; nothing was applied".to_owned());
        }
        if config.admin.tls != self.config.admin.tls {
            return Err(
                "[admin.tls] can only change with a restart (its files may change at any time); nothing was applied"
                    .to_owned(),
            );
        }
        let (mut added, mut changed) = (Vec::new(), Vec::new());
        let outcome = self.bind(&config, &difference, &mut added, &mut changed);
        if let Err(error) = outcome {
            self.roll_back(&added, &changed);
            return Err(format!("{error}; nothing was applied"));
        }
        for name in &difference.removed {
            self.remove(name.as_str()).await;
        }
        for (name, number, spec) in added {
            tracing::info!(instance = name, "reload: added");
            self.tell(Reload::Add { number, spec: Box::new(spec) }).await;
        }
        for name in changed {
            self.replace_checks(&config, &name).await;
        }
        self.publish(&config);
        if let Some(drills) = &self.drills {
            self.schedules.iter().for_each(JoinHandle::abort);
            self.schedules = drills.configure(&config);
        }
        self.config = config;
        Ok(format!(
            "{} added, {} removed, {} changed",
            difference.added.len(),
            difference.removed.len(),
            difference.changed.len()
        ))
    }

    fn bind(
        &mut self,
        config: &Config,
        difference: &Difference,
        added: &mut Vec<(String, u32, InstanceSpec)>,
        changed: &mut Vec<String>,
    ) -> Result<(), String> {
        for (name, changes) in &difference.changed {
            let (Some(old), Some(new)) = (self.config.instance(name.as_str()), config.instance(name.as_str())) else {
                continue;
            };
            if let Some(member) = changes.iter().find_map(|change| match change {
                Change::Member(member) if !same_launcher(old, new, *member) => Some(*member),
                _ => None,
            }) {
                let member = old.members[member].name.as_str();
                return Err(format!(
                    "instance '{}': name and launcher.kind of member '{member}' cannot change while it is served; remove \
                     the instance, reload, and add it again",
                    name.as_str()
                ));
            }
            if old.platform != new.platform {
                let name = name.as_str();
                return Err(format!("instance '{name}': platform.listen can only change with a restart"));
            }
            self.traffic.change(self.served[name.as_str()].number, new).map_err(|e| e.to_string())?;
            changed.push(name.as_str().to_owned());
        }
        for name in &difference.added {
            let Some(instance) = config.instance(name.as_str()) else { continue };
            let (number, spec) = self.add(instance).map_err(|e| e.to_string())?;
            added.push((name.as_str().to_owned(), number, spec));
        }
        Ok(())
    }

    fn roll_back(&mut self, added: &[(String, u32, InstanceSpec)], changed: &[String]) {
        for (name, number, _) in added {
            self.traffic.remove(*number);
            if let Some(served) = self.served.remove(name) {
                served.checks.iter().for_each(JoinHandle::abort);
            }
        }
        for name in changed {
            let old = self.config.instance(name).and_then(|old| Some((old, self.served.get(name)?.number)));
            if let Some((old, number)) = old
                && let Err(error) = self.traffic.change(number, old)
            {
                tracing::error!(instance = %name, %error, "reload: an address could not be taken back");
            }
        }
    }

    fn add(&mut self, instance: &Instance) -> Result<(u32, InstanceSpec), hotspare_datapath::Error> {
        let number = self.next_number;
        let active: ActiveMark = Arc::new(AtomicU8::new(0));
        self.traffic.add(number, instance, active.clone())?;
        self.next_number += 1;
        let platform = match instance.platform {
            Some(listen) => match self.platform.open(listen, self.pair(instance)) {
                Ok(endpoint) => Some(endpoint),
                Err(reason) => {
                    self.traffic.remove(number);
                    return Err(hotspare_datapath::Error::Listen { name: "platform".to_owned(), addr: listen, reason });
                }
            },
            None => None,
        };
        let (spec, checks) = spec::instance(number, instance, &active, &self.engine, &self.keeper);
        let checks = self.spawn(checks);
        self.served.insert(instance.name.as_str().to_owned(), Served { platform, number, active, checks });
        Ok((number, spec))
    }

    async fn remove(&mut self, name: &str) {
        let Some(served) = self.served.remove(name) else { return };
        served.checks.iter().for_each(JoinHandle::abort);
        self.tell(Reload::Remove { number: served.number }).await;
        self.traffic.remove(served.number);
        tracing::info!(instance = name, "reload: removed");
    }

    async fn replace_checks(&mut self, config: &Config, name: &str) {
        let Some((instance, served)) = config.instance(name).zip(self.served.get(name)) else { return };
        let number = served.number;
        let (spec, checks) = spec::instance(number, instance, &served.active, &self.engine, &self.keeper);
        let checks = self.spawn(checks);
        let pair = self.pair(instance);
        if let Some(served) = self.served.get_mut(name) {
            if let Some(endpoint) = &mut served.platform
                && let Err(error) = self.platform.change(endpoint, pair)
            {
                tracing::error!(instance = name, %error, "reload: the platform's endpoint still has the old members");
            }
            served.checks.iter().for_each(JoinHandle::abort);
            served.checks = checks;
        }
        self.tell(Reload::Change { number, spec: Box::new(spec) }).await;
        tracing::info!(instance = name, "reload: changed");
    }

    fn pair(&self, instance: &Instance) -> Arc<EnginePair> {
        let (engine, events) = (self.engine.clone(), self.events.clone());
        Arc::new(EnginePair::new(instance, engine, events, &self.keeper, self.access.clone()))
    }

    fn spawn(&self, checks: Vec<Checked>) -> Vec<JoinHandle<()>> {
        checks.into_iter().map(|check| tokio::spawn(probe::run(check, self.engine.clone()))).collect()
    }

    fn publish(&self, config: &Config) {
        let numbers = self.served.iter().map(|(name, served)| (name.as_str(), served.number)).collect();
        self.identities.store(Arc::new(spec::identities(config, &numbers)));
        self.access.store(Arc::new(Access::of(&config.admin)));
    }

    async fn tell(&self, change: Reload) {
        let (done, applied) = oneshot::channel();
        self.engine.send(Input::Reload { change, done }).await;
        let _ = applied.await;
    }
}

fn no_platform_thread(reason: std::io::Error) -> hotspare_datapath::Error {
    hotspare_datapath::Error::System { what: "a thread for platforms", reason }
}

fn same_launcher(old: &Instance, new: &Instance, member: usize) -> bool {
    let (old, new) = (&old.members[member], &new.members[member]);
    old.name == new.name && old.launcher.kind() == new.launcher.kind()
}
