//! Between the engine and the data path: routes with names become routes with addresses, and what the data path sees
//! becomes inputs of the engine.
//!
//! Owns the data path's instances and listeners, and the members' resolved addresses. A member whose name
//! does not resolve yet gets no traffic: its clients are parked, as for any member that cannot serve.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};
use std::time::{Duration, Instant};

use hotspare_datapath::proxy_protocol::{Network, Version};
use hotspare_datapath::{
    CloseReason, Config as DataConfig, Counters, DataPath, Drain, Error, InstanceId, InstanceSpec, Limits, Listener,
    ListenerSpec, MemberTls, Protocol, Proxied, Route as DataRoute, Signal, SignalKind, Timeouts,
};
use hotspare_decide::{ConnectTrouble, Epoch, Member, ParkReason, Route};
use hotspare_tls::{Bad, Keeper, Server, ServerFiles};

use crate::config;
use crate::engine::status::{ListenerStatus, SharedStatus, TrafficStatus};
use crate::engine::{Handle, Input, Routes};
use crate::probe::ActiveMark;
use crate::takeover::{Routed, Sockets};

/// How often names of members are looked up again; an address that changed is used from then on.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);
/// Ended connections are spread over at most this long, so that their clients do not all return at once.
const SPREAD: Duration = Duration::from_millis(500);

/// How often a process that was taken over looks whether a connection still waits for an active.
const RETIRE_LOOK: Duration = Duration::from_millis(20);

/// The data path with what the engine needs around it.
pub struct Traffic {
    path: DataPath,
    sockets: Arc<Sockets>,
    keeper: Keeper,
    instances: RwLock<HashMap<u32, Arc<Mutex<Served>>>>,
    /// The process whose place was taken, as long as it has connections left.
    elder: Mutex<Option<Routed>>,
}

struct Served {
    spec: config::Instance,
    /// In the order of the configuration.
    listeners: Vec<(Listener, ListenerStatus)>,
    /// Per member, the address for each listener; `None` until its name has been resolved.
    addresses: [Option<Vec<SocketAddr>>; 2],
    route: Route,
    /// The epoch that is being drained, and the route's version that drains it.
    draining: Option<(u64, u64)>,
    active: ActiveMark,
}

impl Traffic {
    /// Starts the data path; it serves nothing before [`Traffic::add`].
    ///
    /// # Errors
    /// What the system refused.
    pub fn start(
        proxy: &config::Proxy,
        engine: Handle,
        sockets: Arc<Sockets>,
        keeper: Keeper,
    ) -> Result<Arc<Self>, Error> {
        let data = DataConfig {
            threads: proxy.threads.unwrap_or(0),
            max_connections: proxy.max_connections as usize,
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
            None if matches!(signal.kind, SignalKind::Quiet | SignalKind::Clear) => drop(clear.send(signal)),
            None => {}
        };
        let path = DataPath::start(data, Arc::new(sink))?;
        let traffic = Arc::new(Self { path, sockets, keeper, instances: RwLock::default(), elder: Mutex::default() });
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

    /// Binds the listeners of an instance. Its clients are parked until it has a route.
    ///
    /// # Errors
    /// The first address that could not be had, with the system's words; then nothing of the instance is left.
    pub fn add(&self, number: u32, spec: &config::Instance, active: ActiveMark) -> Result<(), Error> {
        let id = InstanceId(number);
        let name = spec.name.as_str().to_owned();
        self.path.add_instance(InstanceSpec { id, name, limits: limits(spec) })?;
        let mut listeners = Vec::new();
        for index in 0..spec.listeners.len() {
            match self.listen(id, spec, index) {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    self.path.remove_instance(id)?;
                    return Err(error);
                }
            }
        }
        let route = Route::Park { reason: ParkReason::Recovering };
        let addresses = known_addresses(spec);
        let served = Served { spec: spec.clone(), listeners, addresses, route, draining: None, active };
        self.instances.write().expect("no holder panics").insert(number, Arc::new(Mutex::new(served)));
        Ok(())
    }

    /// Ends an instance: its listeners are closed, its connections reset.
    pub fn remove(&self, number: u32) {
        self.instances.write().expect("no holder panics").remove(&number);
        if let Err(error) = self.path.remove_instance(InstanceId(number)) {
            tracing::error!(%error, "an instance could not be removed from the data path");
        }
    }

    /// Takes over what a reload changed. Listeners that stay keep their connections.
    ///
    /// # Errors
    /// The first new address that could not be had; then nothing has changed.
    pub fn change(&self, number: u32, spec: &config::Instance) -> Result<(), Error> {
        let Some(served) = self.served(number) else { return Ok(()) };
        let mut served = lock(&served);
        let id = InstanceId(number);
        let mut old: Vec<_> = std::mem::take(&mut served.listeners).into_iter().map(Some).collect();
        let same_times = served.spec.timeouts == spec.timeouts && same_tls(&served.spec, spec);
        let mut listeners = Vec::new();
        let mut fresh = Vec::new();
        let mut failed = None;
        for (index, listener) in spec.listeners.iter().enumerate() {
            // A listener is kept where nothing that its connections depend on differs, its place in the list included.
            let kept = served.spec.listeners.get(index).is_some_and(|before| before == listener) && same_times;
            match kept.then(|| old[index].take()).flatten().map_or_else(|| self.listen(id, spec, index), Ok) {
                Ok(made) => {
                    fresh.extend((!kept).then_some(made.0));
                    listeners.push(made);
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if let Some(error) = failed {
            // What was kept so far goes back to its place, what was bound anew is closed again.
            for (index, made) in listeners.into_iter().enumerate() {
                if fresh.contains(&made.0) {
                    let _ = self.path.remove_listener(made.0.id);
                } else {
                    old[index] = Some(made);
                }
            }
            served.listeners = old.into_iter().flatten().collect();
            return Err(error);
        }
        for (listener, _) in old.into_iter().flatten() {
            self.path.remove_listener(listener.id)?;
        }
        served.listeners = listeners;
        served.spec = spec.clone();
        served.addresses = known_addresses(spec);
        self.path.set_limits(id, limits(spec))?;
        self.apply(number, &mut served, Drain::Keep);
        Ok(())
    }

    fn listen(
        &self,
        instance: InstanceId,
        spec: &config::Instance,
        index: usize,
    ) -> Result<(Listener, ListenerStatus), Error> {
        let listener = &spec.listeners[index];
        let timeouts = Timeouts {
            connect: spec.timeouts.connect,
            handshake: spec.timeouts.handshake,
            idle: spec.timeouts.idle.0.unwrap_or(Duration::MAX),
            head: spec.timeouts.head,
            ..Timeouts::default()
        };
        let name = format!("{}/{}", spec.name.as_str(), listener.name.as_str());
        let [a, b] = [0, 1].map(|member| self.member_tls(&spec.members[member], listener.port));
        let member_tls = [a.map_err(bad_file(&name))?, b.map_err(bad_file(&name))?];
        let bound = self.path.add_listener(ListenerSpec {
            instance,
            name: name.clone(),
            listen: listener.listen,
            port_index: index,
            protocol: match listener.protocol {
                config::Protocol::Tcp => Protocol::Tcp,
                config::Protocol::Http => Protocol::Http,
            },
            timeouts,
            proxied: proxied(listener),
            names: listener.sni.iter().map(|name| name.as_str().to_owned()).collect(),
            tls: self.tls(listener).map_err(bad_file(&name))?,
            member_tls,
            inherited: self.sockets.take(listener.listen),
        })?;
        tracing::info!(listener = %name, address = %bound.addr, "listening");
        let status = ListenerStatus { name: listener.name.as_str().to_owned(), address: bound.addr.to_string() };
        Ok((bound, status))
    }

    /// TLS of a listener's clients, if it is ended here.
    fn tls(&self, listener: &config::Listener) -> Result<Option<Server>, Bad> {
        if listener.tls.is_empty() {
            return Ok(None);
        }
        let mut files = ServerFiles::of(listener.tls.clone());
        if listener.protocol == config::Protocol::Http {
            files.alpn = vec!["http/1.1"];
        }
        self.keeper.server(files).map(Some)
    }

    /// TLS to a member's port, if it speaks that there.
    fn member_tls(&self, member: &config::Member, port: Option<u16>) -> Result<Option<MemberTls>, Bad> {
        let Some(tls) = member.tls_to(port.unwrap_or(member.address.port)) else { return Ok(None) };
        let name =
            hotspare_tls::stream::server_name(&tls.server_name).expect("it was looked at with the configuration");
        Ok(Some(MemberTls { config: self.keeper.client(tls.authorities.clone())?, name }))
    }

    /// Looks the members' names up, again and again.
    pub async fn resolve(self: Arc<Self>) {
        loop {
            let specs: Vec<_> = {
                let instances = self.instances.read().expect("no holder panics");
                let named = |spec: &config::Instance| spec.members.iter().any(|member| member.address.ip().is_none());
                let all = instances.iter().map(|(number, served)| (*number, lock(served)));
                all.filter(|(_, served)| named(&served.spec)).map(|(n, served)| (n, served.spec.clone())).collect()
            };
            for (number, spec) in specs {
                for member in Member::BOTH {
                    let place = &spec.members[member.index()];
                    if place.address.ip().is_some() {
                        continue;
                    }
                    let ports = spec.listeners.iter().map(|l| l.port.unwrap_or(place.address.port));
                    match lookup(&place.address.host, ports).await {
                        Ok(addresses) => self.resolved(number, member, addresses),
                        Err(error) => {
                            let (instance, member) = (spec.name.as_str(), place.name.as_str());
                            tracing::warn!(instance, member, %error, "a member's name could not be resolved");
                        }
                    }
                }
            }
            tokio::time::sleep(RESOLVE_EVERY).await;
        }
    }

    fn resolved(&self, number: u32, member: Member, addresses: Vec<SocketAddr>) {
        let Some(served) = self.served(number) else { return };
        let mut served = lock(&served);
        if served.addresses[member.index()].as_ref() == Some(&addresses) {
            return;
        }
        served.addresses[member.index()] = Some(addresses);
        if matches!(served.route, Route::To { member: to, .. } if to == member) {
            self.apply(number, &mut served, Drain::Keep);
        }
    }

    fn apply(&self, number: u32, served: &mut Served, drain: Drain) -> u64 {
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
        self.path.set_route(InstanceId(number), route, drain).unwrap_or_else(|error| {
            tracing::error!(%error, "a route could not be set");
            0
        })
    }

    fn cleared(&self, signal: Signal, engine: &Handle) {
        let Some(served) = self.served(signal.instance.0) else { return };
        let drained = lock(&served).draining.take_if(|(_, version)| *version <= signal.version);
        if let Some((epoch, _)) = drained {
            engine.report_waiting(Input::Drained { instance: signal.instance.0, epoch });
        }
    }

    fn served(&self, number: u32) -> Option<Arc<Mutex<Served>>> {
        self.instances.read().expect("no holder panics").get(&number).cloned()
    }

    /// Stops accepting, lets what is open go on for `at_most`, then resets it. Blocks.
    pub fn stop(&self, at_most: Duration) {
        self.path.stop(at_most);
    }
}

/// What a takeover needs (`takeover/`).
impl Traffic {
    /// Copies of the listening sockets, by the address they listen on.
    ///
    /// # Errors
    /// The system's, if there are no descriptors left.
    pub fn sockets(&self) -> Result<Vec<(SocketAddr, Vec<OwnedFd>)>, Error> {
        let mut sockets = Vec::new();
        for served in self.all() {
            for (listener, _) in &lock(&served).listeners {
                sockets.push((listener.addr, self.path.listening_sockets(listener.id)?));
            }
        }
        Ok(sockets)
    }

    /// Lets clients wait in the kernel's queues, or accepts them again.
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub fn accept(&self, on: bool) -> Result<(), Error> {
        self.path.set_accepting(on)
    }

    /// Whether every instance has a member to send its clients to.
    pub fn has_routes(&self) -> bool {
        self.all().iter().all(|served| matches!(lock(served).route, Route::To { .. }))
    }

    /// The process before this one gets to know every route from now on.
    pub fn tell(&self, elder: Routed) {
        *self.elder.lock().expect("no holder panics") = Some(elder);
    }

    /// What the process says that took over: connections of an instance go to `member` under `epoch`, or wait.
    pub fn follow(self: &Arc<Self>, instance: &str, member: Option<&str>, epoch: u64, drain: Option<Duration>) {
        let found = self.instances.read().expect("no holder panics").iter().find_map(|(number, served)| {
            let spec = &lock(served).spec;
            let place = |name| Member::BOTH.into_iter().find(|m| spec.members[m.index()].name.as_str() == name);
            (spec.name.as_str() == instance).then(|| (*number, member.and_then(place)))
        });
        let Some((number, member)) = found else { return };
        let route = match member {
            Some(member) => Route::To { member, epoch: Epoch(epoch) },
            None => Route::Park { reason: ParkReason::Recovering },
        };
        self.set(number, route, drain);
    }

    /// Accepts nothing more; what is open or waits goes on for `at_most`, then it is reset. Blocks until nothing is left.
    pub fn retire(&self, at_most: Duration) {
        let end = Instant::now() + at_most;
        for served in self.all() {
            for (listener, _) in std::mem::take(&mut lock(&served).listeners) {
                if let Err(error) = self.path.remove_listener(listener.id) {
                    tracing::error!(%error, "a listener could not be closed");
                }
            }
        }
        // A stop closes what waits for an active: here the next route is still to come.
        let numbers: Vec<u32> = self.instances.read().expect("no holder panics").keys().copied().collect();
        let waits = || numbers.iter().filter_map(|n| self.path.counters(InstanceId(*n)).ok()).any(|c| c.parked > 0);
        while Instant::now() < end && waits() {
            std::thread::sleep(RETIRE_LOOK);
        }
        self.path.stop(end.saturating_duration_since(Instant::now()));
    }

    fn all(&self) -> Vec<Arc<Mutex<Served>>> {
        self.instances.read().expect("no holder panics").values().cloned().collect()
    }

    fn tell_elder(&self, served: &Served, drain: Option<Duration>) {
        let mut elder = self.elder.lock().expect("no holder panics");
        let member = match served.route {
            Route::To { member, .. } => Some(served.spec.members[member.index()].name.as_str()),
            Route::Park { .. } => None,
        };
        elder.take_if(|elder| !elder.tell(served.spec.name.as_str(), member, served.route, drain));
    }
}

impl Routes for Arc<Traffic> {
    fn set(&self, instance: u32, route: Route, drain: Option<Duration>) {
        let Some(served) = self.served(instance) else { return };
        let mut served = lock(&served);
        let mark = match route {
            Route::To { member, .. } => u8::try_from(member.index()).expect("there are two members") + 1,
            Route::Park { .. } => 0,
        };
        served.active.store(mark, Ordering::Relaxed);
        let before = std::mem::replace(&mut served.route, route);
        self.tell_elder(&served, drain);
        let drain = match drain {
            None => Drain::Keep,
            Some(Duration::ZERO) if matches!(route, Route::Park { reason: ParkReason::Switchover }) => {
                Drain::Spread(SPREAD)
            }
            Some(Duration::ZERO) => Drain::Now,
            Some(drain) => {
                let spread = SPREAD.min(drain / 4);
                Drain::After { grace: drain - spread, spread }
            }
        };
        let version = self.apply(instance, &mut served, drain);
        // What is kept for now is drained by a later route.
        let drains_at = if drain == Drain::Keep { u64::MAX } else { version };
        if let Route::To { epoch, .. } = before {
            served.draining = Some((epoch.0, drains_at));
        } else if let (Some((_, at)), true) = (served.draining.as_mut(), drain != Drain::Keep) {
            *at = version;
        }
    }

    fn traffic(&self, instance: u32) -> TrafficStatus {
        let Ok(counters) = self.path.counters(InstanceId(instance)) else { return TrafficStatus::default() };
        let last = self.path.last_clients(InstanceId(instance)).unwrap_or_default();
        TrafficStatus {
            connections: counters.active,
            connections_total: counters.accepted,
            parked: counters.parked,
            bytes_in: counters.bytes_up,
            bytes_out: counters.bytes_down,
            closed: closed(&counters),
            last_clients: last.into_iter().map(|(reason, last)| (reason.label(), (last.address, last.at))).collect(),
        }
    }

    fn shared(&self) -> Vec<SharedStatus> {
        let one = |(address, counters): (SocketAddr, Counters)| SharedStatus {
            address: address.to_string(),
            connections: counters.active,
            closed: closed(&counters),
        };
        self.path.fronts().into_iter().map(one).collect()
    }

    fn listeners(&self, instance: u32) -> Vec<ListenerStatus> {
        let served = self.served(instance);
        served.map_or_else(Vec::new, |served| lock(&served).listeners.iter().map(|(_, s)| s.clone()).collect())
    }
}

/// A certificate that was good when the configuration was read, and is not now.
fn bad_file(listener: &str) -> impl Fn(Bad) -> Error + '_ {
    move |bad| Error::System {
        what: "a certificate",
        reason: std::io::Error::other(format!("listener {listener}: {bad}")),
    }
}

fn closed(counters: &Counters) -> std::collections::BTreeMap<&'static str, u64> {
    let all = CloseReason::ALL.iter().map(|reason| (reason.label(), counters.closed_for(*reason)));
    all.filter(|(_, count)| *count > 0).collect()
}

fn trouble(kind: SignalKind) -> Option<ConnectTrouble> {
    match kind {
        SignalKind::Refused => Some(ConnectTrouble::Refused),
        SignalKind::Timeout => Some(ConnectTrouble::Timeout),
        SignalKind::ResetBeforeFirstByte => Some(ConnectTrouble::Reset),
        SignalKind::Recovered | SignalKind::Quiet | SignalKind::Clear => None,
    }
}

/// Whether what a listener knows of the members' TLS has stayed.
fn same_tls(old: &config::Instance, new: &config::Instance) -> bool {
    let known =
        |spec: &config::Instance| spec.members.each_ref().map(|m| m.tls.clone().map(|tls| (tls, m.address.port)));
    known(old) == known(new)
}

fn lock(served: &Mutex<Served>) -> MutexGuard<'_, Served> {
    served.lock().expect("no holder of this lock panics")
}

fn proxied(listener: &config::Listener) -> Proxied {
    let network = |net: &config::Network| Network::new(net.address, net.prefix);
    Proxied {
        trusted: listener.proxy_from.iter().filter_map(network).collect(),
        send: match listener.proxy_to {
            config::ProxyHeader::Off => None,
            config::ProxyHeader::V1 => Some(Version::V1),
            config::ProxyHeader::V2 => Some(Version::V2),
        },
    }
}

fn limits(spec: &config::Instance) -> Limits {
    Limits {
        max_connections: spec.limits.connections as usize,
        per_source: spec.limits.per_source.0.unwrap_or(0) as usize,
        rate: spec.limits.rate.0.unwrap_or(0),
        max_parked: spec.limits.parked as usize,
        park_timeout: spec.timeouts.park,
    }
}

/// Per member the addresses for each listener, where the configuration names an address and no name.
fn known_addresses(spec: &config::Instance) -> [Option<Vec<SocketAddr>>; 2] {
    [0, 1].map(|member| {
        let address = &spec.members[member].address;
        let ip = address.ip()?;
        Some(spec.listeners.iter().map(|l| SocketAddr::new(ip, l.port.unwrap_or(address.port))).collect())
    })
}

async fn lookup(host: &str, ports: impl Iterator<Item = u16>) -> std::io::Result<Vec<SocketAddr>> {
    let first = tokio::net::lookup_host((host, 0)).await?.next();
    let ip = first.ok_or_else(|| std::io::Error::other("the name has no address"))?.ip();
    Ok(ports.map(|port| SocketAddr::new(ip, port)).collect())
}
