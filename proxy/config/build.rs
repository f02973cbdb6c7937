//! From what is written (`file`) to what is meant (`Config`): defaults that depend on other keys, secrets,
//! kinds that become enums.
//!
//! Runs after `check`. What can't be built is reported and left out; the file as a whole is refused then.

use std::path::{Path, PathBuf};

use hotspare_protocol::Secret;
use hotspare_tls::{Bad, ClientFiles, Pair, ServerFiles};

use super::file::{self, LauncherKind};
use super::read::Located;
use super::report::Report;
use super::secret::{self, Refused, Secrets, Tokens};
use super::value::{Name, OrOff, StatusRange, Url};
use super::{
    Admin, AdminUser, Check, CheckKind, Config, Drill, Health, Hook, HookAction, Instance, Launcher, Links, Listener,
    Member, MemberTls, Protocol, Proxy, ProxyHeader, Store, StoreKind, Unreachable,
};

/// Where launchers connect to when the file doesn't say.
const LINKS: ([u8; 4], u16) = ([0, 0, 0, 0], 9481);

pub(super) struct Builder<'r> {
    report: &'r mut Report,
    folder: &'r Path,
    secrets: Secrets,
    /// Every member's tokens so far, with the key they came from: no two members may share one.
    member_tokens: Vec<(String, Tokens)>,
}

impl<'r> Builder<'r> {
    pub(super) fn new(report: &'r mut Report, folder: &'r Path, secrets: Secrets) -> Self {
        Builder { report, folder, secrets, member_tokens: Vec::new() }
    }

    pub(super) fn config(mut self, file: file::File) -> Option<Config> {
        let needs_links = file
            .instance
            .iter()
            .flat_map(|one| &one.member)
            .any(|member| member.launcher.kind == LauncherKind::Hotspare);
        let name = file.proxy.name.as_ref().map_or_else(host_name, Name::to_string);
        let proxy = Proxy {
            threads: Some(file.proxy.threads as usize).filter(|threads| *threads > 0),
            max_connections: file.proxy.max_connections,
            drain: file.proxy.drain,
        };
        let admin = self.admin(&file.admin);
        let links = self.links(&file.links, needs_links);
        let store = self.store(&file.store);
        let hooks = file.hook.iter().map(|hook| self.hook(hook)).collect::<Option<Vec<_>>>();
        let instances: Vec<Option<Instance>> = file.instance.into_iter().map(|one| self.instance(one)).collect();
        Some(Config {
            name,
            proxy,
            log: file.log.into_inner(),
            admin: admin?,
            links: links?,
            store: store?,
            hooks: hooks?,
            instances: instances.into_iter().collect::<Option<Vec<_>>>()?,
        })
    }

    fn admin(&mut self, admin: &file::Admin) -> Option<Admin> {
        let users: Vec<Option<AdminUser>> = admin
            .token
            .iter()
            .map(|user| {
                let tokens = self.tokens(&user.at, user.token_file.as_deref(), user.token_env.as_deref())?;
                Some(AdminUser { name: user.name.clone(), role: user.role, tokens: tokens? })
            })
            .collect();
        let tls = admin.tls.as_ref().map(|tls| self.server_files(tls, true));
        let clients = admin.client.iter().map(|client| (client.name.clone(), client.role)).collect();
        let users = users.into_iter().collect::<Option<Vec<_>>>()?;
        let tls = match tls {
            Some(files) => Some(ServerFiles { alpn: vec!["http/1.1"], ..files? }),
            None => None,
        };
        Some(Admin { listen: admin.listen, tls, users, clients })
    }

    /// `None` after a problem was reported; `Some(None)` if there is nothing to listen for.
    fn links(&mut self, links: &file::Links, needed: bool) -> Option<Option<Links>> {
        // Looked at also where nothing listens: what stands in the file is to be good before it is needed.
        let tls = match &links.tls {
            Some(tls) => Some(self.server_files(tls, false)?),
            None => None,
        };
        let listen = links.listen.or_else(|| needed.then(|| LINKS.into()));
        Some(listen.map(|listen| Links { listen, tls }))
    }

    fn server_files(&mut self, tls: &Located<file::ServerTls>, may_be_nobody: bool) -> Option<ServerFiles> {
        let pair = Pair { cert_file: self.resolve(&tls.cert_file), key_file: self.resolve(&tls.key_file) };
        let files = ServerFiles {
            client_ca_file: tls.client_ca_file.as_ref().map(|file| self.resolve(file)),
            client_may_be_nobody: may_be_nobody,
            ..ServerFiles::of(vec![pair])
        };
        let read = if self.secrets == Secrets::Read { files.load().map(drop) } else { Ok(()) };
        self.or_bad_file(&tls.at, read).map(|()| files)
    }

    fn store(&mut self, store: &Located<file::Store>) -> Option<Store> {
        let kind = match (store.kind, &store.kubernetes, &store.etcd) {
            (file::StoreKind::File, ..) => StoreKind::File,
            (file::StoreKind::Kubernetes, Some(at), _) => {
                let (namespace, active_label) = (at.namespace.clone(), at.active_label.clone());
                StoreKind::Kubernetes { lease: at.lease.clone(), namespace, active_label }
            }
            (file::StoreKind::Kubernetes, None, _) => {
                StoreKind::Kubernetes { lease: Name::fixed("hotspare"), namespace: None, active_label: None }
            }
            (file::StoreKind::Etcd, _, etcd) => {
                let etcd = etcd.as_ref()?;
                let user = match (&etcd.user, &etcd.password_file) {
                    (Some(user), Some(file)) => Some((user.clone(), self.secret(&etcd.at, "password_file", file)?)),
                    _ => None,
                };
                let tls = self.etcd_tls(etcd)?;
                StoreKind::Etcd { endpoints: etcd.endpoints.clone(), prefix: etcd.prefix.clone(), user, tls }
            }
        };
        Some(Store {
            dir: self.resolve(&store.dir),
            kind,
            lead_for: store.lead_for,
            renew: store.renew,
            request_timeout: store.request_timeout,
        })
    }

    fn etcd_tls(&mut self, etcd: &Located<file::Etcd>) -> Option<ClientFiles> {
        let pair = match (&etcd.cert_file, &etcd.key_file) {
            (Some(cert), Some(key)) => Some(Pair { cert_file: self.resolve(cert), key_file: self.resolve(key) }),
            _ => None,
        };
        let files = ClientFiles { ca_file: etcd.ca_file.as_ref().map(|file| self.resolve(file)), pair };
        let named = files != ClientFiles::default();
        let read = if named && self.secrets == Secrets::Read { files.load().map(drop) } else { Ok(()) };
        self.or_bad_file(&etcd.at, read).map(|()| files)
    }

    fn hook(&mut self, hook: &Located<file::Hook>) -> Option<Hook> {
        let action = match &hook.url {
            Some(url) => {
                let secret = match &hook.secret_file {
                    Some(file) => Some(self.secret(&hook.at, "secret_file", file)?),
                    None => None,
                };
                HookAction::Post { url: url.clone(), secret }
            }
            None => HookAction::Run(hook.command.clone()),
        };
        Some(Hook {
            name: hook.name.clone(),
            on: hook.on.clone(),
            instances: hook.instances.clone(),
            action,
            timeout: hook.timeout,
            retries: hook.retries,
        })
    }

    fn instance(&mut self, written: Located<file::Instance>) -> Option<Instance> {
        let members: Vec<Member> = written.member.iter().filter_map(|member| self.member(member)).collect();
        let preferred = |name: &Name| members.iter().position(|member: &Member| member.name == *name);
        let prefer = written.prefer.as_ref().and_then(preferred).unwrap_or(0);
        let members = <[Member; 2]>::try_from(members).ok()?;
        let more = written.listener.iter().map(|one| self.listener(one)).collect::<Option<Vec<_>>>()?;
        let written = written.into_inner();
        Some(Instance {
            name: written.name,
            listeners: written.listen.map(main_listener).into_iter().chain(more).collect(),
            members,
            prefer,
            health: health(&written.health),
            lease: written.lease.into_inner(),
            timeouts: written.timeouts.into_inner(),
            limits: written.limits.into_inner(),
            failover: written.failover.into_inner(),
            copy_context: written.copy_context.0,
            drill: drill(&written.drill),
            platform: written.platform.listen,
        })
    }

    fn listener(&mut self, written: &Located<file::Listener>) -> Option<Listener> {
        let tls = self.pairs(&written.tls)?;
        let file::Listener { name, listen, port, protocol, proxy_from, proxy_to, sni, .. } = (**written).clone();
        Some(Listener { name, listen, port, protocol, proxy_from, sni, tls, proxy_to })
    }

    /// Certificates and keys, read once to see that they are good.
    fn pairs(&mut self, written: &[Located<file::Certificate>]) -> Option<Vec<Pair>> {
        let pair = |one: &Located<file::Certificate>| {
            let pair = Pair { cert_file: self.resolve(&one.cert_file), key_file: self.resolve(&one.key_file) };
            let read = if self.secrets == Secrets::Read { pair.load().map(drop) } else { Ok(()) };
            self.or_bad_file(&one.at, read).map(|()| pair)
        };
        // All of them are looked at, so that all problems are told.
        written.iter().map(pair).collect::<Vec<_>>().into_iter().collect()
    }

    fn member_tls(&mut self, member: &file::Member) -> Option<Option<MemberTls>> {
        let Some(written) = &member.tls else { return Some(None) };
        let ca_file = written.ca_file.as_ref().map(|file| self.resolve(file));
        let authorities = ClientFiles { ca_file, pair: None };
        let read = if self.secrets == Secrets::Read { authorities.load().map(drop) } else { Ok(()) };
        self.or_bad_file(&written.at, read)?;
        let server_name = written.server_name.clone().unwrap_or_else(|| member.address.host.clone());
        if hotspare_tls::stream::server_name(&server_name).is_err() {
            let key = format!("{}.server_name", written.at);
            self.report.problem(&key, "a host name or an IP address", format!("\"{server_name}\""), None);
            return None;
        }
        Some(Some(MemberTls { authorities, server_name }))
    }

    fn or_bad_file<T>(&mut self, at: &str, read: Result<T, Bad>) -> Option<T> {
        match read {
            Ok(read) => Some(read),
            Err(Bad { key, expected, found, help, .. }) => {
                self.report.problem(&format!("{at}.{key}"), expected, found, help);
                None
            }
        }
    }

    fn member(&mut self, member: &Located<file::Member>) -> Option<Member> {
        let launcher = &member.launcher;
        let tokens = self.tokens(&launcher.at, launcher.token_file.as_deref(), launcher.token_env.as_deref())?;
        if let Some(tokens) = &tokens {
            self.refuse_shared_token(&launcher.at, tokens);
        }
        let unreachable =
            Unreachable { after: launcher.on_unreachable.0, fence_command: launcher.fence_command.clone() };
        let tls = self.member_tls(member);
        let ca_file = launcher.ca_file.as_ref().map(|file| self.resolve(file));
        let launcher_authorities = ClientFiles { ca_file, pair: None };
        if launcher.ca_file.is_some() && self.secrets == Secrets::Read {
            self.or_bad_file(&launcher.at, launcher_authorities.load())?;
        }
        let launcher = match launcher.kind {
            LauncherKind::Hotspare => Launcher::Hotspare { url: launcher.url.clone()?, tokens: tokens? },
            LauncherKind::FlowFuse => Launcher::FlowFuse { url: launcher.url.clone()?, tokens, unreachable },
            LauncherKind::NodeRed => Launcher::NodeRed {
                url: launcher.url.clone().or_else(|| Url::of(&member.address, member.tls.is_some()))?,
                tokens,
                unreachable,
            },
            LauncherKind::None => Launcher::Plain,
        };
        Some(Member {
            name: member.name.clone(),
            address: member.address.clone(),
            tls: tls?,
            launcher,
            launcher_authorities,
        })
    }

    /// `None` after a problem was reported; `Some(None)` if the file names no secret.
    fn tokens(&mut self, at: &str, file: Option<&Path>, env: Option<&str>) -> Option<Option<Tokens>> {
        let (key, read) = match (file, env) {
            (None, None) => return Some(None),
            _ if self.secrets == Secrets::Skip => return Some(Some(Tokens::unread())),
            (Some(file), _) => ("token_file", secret::read_file(&self.resolve(file))),
            (None, Some(variable)) => ("token_env", secret::read_env(variable)),
        };
        self.or_report(at, key, read).map(Some)
    }

    fn secret(&mut self, at: &str, key: &str, file: &Path) -> Option<Secret> {
        if self.secrets == Secrets::Skip {
            return Some(Tokens::unread().current().clone());
        }
        let read = secret::read_file(&self.resolve(file));
        self.or_report(at, key, read).map(|tokens| tokens.current().clone())
    }

    fn or_report(&mut self, at: &str, key: &str, read: Result<Tokens, Refused>) -> Option<Tokens> {
        match read {
            Ok(tokens) => Some(tokens),
            Err(Refused { expected, found, help }) => {
                self.report.problem(&format!("{at}.{key}"), expected, found, help);
                None
            }
        }
    }

    fn refuse_shared_token(&mut self, at: &str, tokens: &Tokens) {
        if self.secrets == Secrets::Skip {
            return;
        }
        let other = self.member_tokens.iter().find(|(_, others)| others.overlap(tokens)).map(|(at, _)| at.clone());
        let key = if self.report.has(&format!("{at}.token_file")) { "token_file" } else { "token_env" };
        let key = format!("{at}.{key}");
        // The same file named twice was reported by name already.
        if let Some(other) = other.filter(|_| !self.report.is_bad(&key)) {
            let found = format!("the same token as {other}");
            self.report.problem(&key, "a token of its own for each member", found, None);
        }
        self.member_tokens.push((at.to_owned(), tokens.clone()));
    }

    fn resolve(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }
}

/// What the machine calls itself.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn main_listener(listen: std::net::SocketAddr) -> Listener {
    Listener {
        name: Name::fixed("main"),
        listen,
        port: None,
        protocol: Protocol::Tcp,
        proxy_from: Vec::new(),
        sni: Vec::new(),
        tls: Vec::new(),
        proxy_to: ProxyHeader::Off,
    }
}

fn health(health: &file::Health) -> Health {
    let mut checks: Vec<Check> = health.check.iter().map(|written| check(written)).collect();
    if checks.is_empty() {
        checks.push(Check {
            kind: CheckKind::Tcp,
            port: None,
            path: "/".to_owned(),
            status: Vec::new(),
            active_only: false,
        });
    }
    Health {
        interval: health.interval,
        timeout: health.timeout,
        rise: health.rise,
        fall: health.fall,
        start_grace: health.start_grace,
        hang_after: health.hang_after,
        checks,
    }
}

fn check(written: &file::HealthCheck) -> Check {
    let any_good = vec![StatusRange { first: 200, last: 399 }];
    Check {
        kind: written.kind,
        port: written.port,
        path: written.path.clone(),
        status: if written.status.is_empty() { any_good } else { written.status.clone() },
        active_only: written.active_only,
    }
}

fn drill(drill: &file::Drill) -> Option<Drill> {
    let OrOff(every) = drill.every;
    every.map(|every| Drill { every, fault: drill.fault, window: drill.window })
}
