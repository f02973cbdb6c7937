//! Between the engine and the data path: routes with names become routes with addresses, and what the data path sees
//! becomes inputs of the engine.
//!
//! Owns the data path's instances and listeners, and the members' resolved addresses. A member whose name
//! does not resolve yet gets no traffic: its clients are parked, as for any member that cannot serve.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hotspare_datapath::{
    CloseReason, Config as DataConfig, DataPath, Drain, Error, InstanceId, InstanceSpec, Limits, ListenerSpec,
    Protocol, Route as DataRoute, Signal, SignalKind, Timeouts,
};
use hotspare_decide::{ConnectTrouble, Member, Route};

use crate::config;
use crate::engine::status::{ListenerStatus, TrafficStatus};
use crate::engine::{Handle, Input, Routes};
use crate::probe::ActiveMark;

/// How often names of members are looked up again; an address that changed is used from then on.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);
/// Ended connections are spread over at most this long, so that their clients do not all return at once.
const SPREAD: Duration = Duration::from_millis(500);

/// The data path with what the engine needs around it.
pub struct Traffic {
    path: DataPath,
    instances: Vec<Mutex<Served>>,
}

struct Served {
    listeners: Vec<ListenerStatus>,
    /// Per member, the address for each listener; `None` until its name has been resolved.
    addresses: [Option<Vec<SocketAddr>>; 2],
    route: Route,
    /// The epoch that is being drained, and the route's version that drains it.
    draining: Option<(u64, u64)>,
    active: ActiveMark,
}

impl Traffic {
    /// Binds every listener of `config`; nothing is accepted into an instance before it has a route.
    ///
    /// # Errors
    /// The first address that could not be had, with the system's words.
    pub fn bind(config: &config::Config, engine: Handle, active: &[ActiveMark]) -> Result<Arc<Self>, Error> {
        let data = DataConfig {
            threads: config.proxy.threads.unwrap_or(0),
            max_connections: config.proxy.max_connections as usize,
            ..DataConfig::default()
        };
        let sink_engine = engine.clone();
        let (clear, cleared) = std::sync::mpsc::channel::<Signal>();
        let sink = move |signal: Signal| match trouble(signal.kind) {
            Some(trouble) => {
                let member = if signal.member == 0 { Member::A } else { Member::B };
                let (instance, epoch) = (signal.instance.0, signal.epoch);
                sink_engine.report(Input::Trouble { instance, member, epoch, trouble });
            }
            None if signal.kind == SignalKind::Clear => drop(clear.send(signal)),
            None => {}
        };
        let path = DataPath::start(data, Arc::new(sink))?;
        let mut instances = Vec::new();
        for (index, instance) in config.instances.iter().enumerate() {
            instances.push(Mutex::new(serve(&path, index, instance, active[index].clone())?));
        }
        let traffic = Arc::new(Self { path, instances });
        let tell = Arc::downgrade(&traffic);
        std::thread::Builder::new()
            .name("drained".to_owned())
            .spawn(move || {
                while let Ok(signal) = cleared.recv() {
                    let Some(traffic) = tell.upgrade() else { return };
                    traffic.cleared(signal, &engine);
                }
            })
            .map_err(|reason| Error::System { what: "thread", reason })?;
        Ok(traffic)
    }

    /// Looks the members' names up, again and again; returns when it is dropped.
    pub async fn resolve(self: Arc<Self>, config: Arc<config::Config>) {
        loop {
            for (index, instance) in config.instances.iter().enumerate() {
                for member in Member::BOTH {
                    let spec = &instance.members[member.index()];
                    let ports = instance.listeners.iter().map(|l| l.port.unwrap_or(spec.address.port));
                    match lookup(&spec.address.host, ports).await {
                        Ok(addresses) => self.resolved(index, member, addresses),
                        Err(error) => {
                            tracing::warn!(instance = %instance.name.as_str(), member = %spec.name.as_str(), %error, "name not resolved");
                        }
                    }
                }
            }
            let all_are_addresses = config.instances.iter().all(|i| i.members.iter().all(|m| m.address.ip().is_some()));
            if all_are_addresses {
                return;
            }
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }

    fn resolved(&self, index: usize, member: Member, addresses: Vec<SocketAddr>) {
        let mut served = self.served(index);
        if served.addresses[member.index()].as_ref() == Some(&addresses) {
            return;
        }
        served.addresses[member.index()] = Some(addresses);
        if matches!(served.route, Route::To { member: to, .. } if to == member) {
            self.apply(index, &mut served, Drain::Keep);
        }
    }

    fn apply(&self, index: usize, served: &mut Served, drain: Drain) -> u64 {
        let id = InstanceId(u32::try_from(index).expect("the engine numbers instances with u32"));
        let route = match served.route {
            Route::Park { .. } => DataRoute::Park,
            Route::To { member, epoch } => match &served.addresses[member.index()] {
                Some(addrs) => {
                    let member = u8::try_from(member.index()).expect("there are two members");
                    DataRoute::To { epoch: epoch.0, member, addrs: addrs.clone() }
                }
                None => DataRoute::Park,
            },
        };
        self.path.set_route(id, route, drain).unwrap_or_else(|error| {
            tracing::error!(%error, "a route could not be set");
            0
        })
    }

    fn cleared(&self, signal: Signal, engine: &Handle) {
        let index = signal.instance.0 as usize;
        let drained = self.served(index).draining.take_if(|(_, version)| *version <= signal.version);
        if let Some((epoch, _)) = drained {
            engine.report_waiting(Input::Drained { instance: signal.instance.0, epoch });
        }
    }

    fn served(&self, index: usize) -> std::sync::MutexGuard<'_, Served> {
        self.instances[index].lock().expect("no holder of this lock panics")
    }

    /// Stops accepting, lets what is open go on for `at_most`, then resets it. Blocks.
    pub fn stop(self: Arc<Self>, at_most: Duration) {
        if let Some(traffic) = Arc::into_inner(self) {
            traffic.path.stop(at_most);
        }
    }
}

impl Routes for Arc<Traffic> {
    fn set(&self, instance: u32, route: Route, drain: Option<Duration>) {
        let index = instance as usize;
        let mut served = self.served(index);
        let mark = match route {
            Route::To { member, .. } => u8::try_from(member.index()).expect("there are two members") + 1,
            Route::Park { .. } => 0,
        };
        served.active.store(mark, Ordering::Relaxed);
        let before = std::mem::replace(&mut served.route, route);
        let drain = match drain {
            None => Drain::Keep,
            Some(Duration::ZERO) => Drain::Now,
            Some(grace) => Drain::After { grace, spread: SPREAD.min(grace / 4) },
        };
        let version = self.apply(index, &mut served, drain);
        if let (Route::To { epoch, .. }, true) = (before, drain != Drain::Keep) {
            served.draining = Some((epoch.0, version));
        } else if let (Some((_, at)), true) = (served.draining.as_mut(), drain != Drain::Keep) {
            *at = version;
        }
    }

    fn traffic(&self, instance: u32) -> TrafficStatus {
        let Ok(counters) = self.path.counters(InstanceId(instance)) else { return TrafficStatus::default() };
        let closed = CloseReason::ALL.iter().map(|reason| (reason.label(), counters.closed_for(*reason)));
        TrafficStatus {
            connections: counters.active,
            connections_total: counters.accepted,
            parked: counters.parked,
            bytes_in: counters.bytes_up,
            bytes_out: counters.bytes_down,
            closed: closed.filter(|(_, count)| *count > 0).collect(),
        }
    }

    fn listeners(&self, instance: u32) -> Vec<ListenerStatus> {
        self.served(instance as usize).listeners.clone()
    }
}

fn trouble(kind: SignalKind) -> Option<ConnectTrouble> {
    match kind {
        SignalKind::Refused => Some(ConnectTrouble::Refused),
        SignalKind::Timeout => Some(ConnectTrouble::Timeout),
        SignalKind::ResetBeforeFirstByte => Some(ConnectTrouble::Reset),
        SignalKind::Recovered | SignalKind::Clear => None,
    }
}

fn serve(path: &DataPath, index: usize, instance: &config::Instance, active: ActiveMark) -> Result<Served, Error> {
    let id = InstanceId(u32::try_from(index).expect("the configuration bounds the number of instances"));
    let limits = Limits {
        max_connections: instance.limits.connections as usize,
        max_parked: instance.limits.parked as usize,
        park_timeout: instance.timeouts.park,
    };
    path.add_instance(InstanceSpec { id, name: instance.name.as_str().to_owned(), limits })?;
    let mut listeners = Vec::new();
    for (port_index, listener) in instance.listeners.iter().enumerate() {
        let timeouts = Timeouts {
            connect: instance.timeouts.connect,
            idle: instance.timeouts.idle.0.unwrap_or(Duration::MAX),
            ..Timeouts::default()
        };
        let name = format!("{}/{}", instance.name.as_str(), listener.name.as_str());
        let bound = path.add_listener(ListenerSpec {
            instance: id,
            name: name.clone(),
            listen: listener.listen,
            port_index,
            protocol: match listener.protocol {
                config::Protocol::Tcp => Protocol::Tcp,
                config::Protocol::Http => Protocol::Http,
            },
            timeouts,
            inherited: Vec::new(),
        })?;
        tracing::info!(listener = %name, address = %bound.addr, "listening");
        let name = listener.name.as_str().to_owned();
        listeners.push(ListenerStatus { name, address: bound.addr.to_string() });
    }
    let addresses = [0, 1].map(|member| {
        let address = &instance.members[member].address;
        let ip = address.ip()?;
        Some(instance.listeners.iter().map(|l| SocketAddr::new(ip, l.port.unwrap_or(address.port))).collect())
    });
    let route = Route::Park { reason: hotspare_decide::ParkReason::Recovering };
    Ok(Served { listeners, addresses, route, draining: None, active })
}

async fn lookup(host: &str, ports: impl Iterator<Item = u16>) -> std::io::Result<Vec<SocketAddr>> {
    let first = tokio::net::lookup_host((host, 0)).await?.next();
    let ip = first.ok_or_else(|| std::io::Error::other("the name has no address"))?.ip();
    Ok(ports.map(|port| SocketAddr::new(ip, port)).collect())
}
