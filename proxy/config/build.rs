//! From what is written (`file`) to what is meant (`Config`): defaults that depend on other keys, secrets,
//! kinds that become enums.
//!
//! Runs after `check`. What can't be built is reported and left out; the file as a whole is refused then.

use std::path::{Path, PathBuf};

use hotspare_protocol::Secret;

use super::file::{self, LauncherKind};
use super::read::Located;
use super::report::Report;
use super::secret::{self, Refused, Secrets, Tokens};
use super::value::{HostPort, Name, OrOff, StatusRange, Url};
use super::{
    Admin, AdminUser, Check, CheckKind, Config, Drill, Health, Hook, HookAction, Instance, Launcher, Listener, Member,
    Protocol, Proxy, ProxyHeader, Store, StoreKind, Unreachable,
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
        let store = self.store(&file.store);
        let hooks = file.hook.iter().map(|hook| self.hook(hook)).collect::<Option<Vec<_>>>();
        let instances: Vec<Option<Instance>> = file.instance.into_iter().map(|one| self.instance(one)).collect();
        Some(Config {
            name,
            proxy,
            log: file.log.into_inner(),
            admin: admin?,
            links: file.links.listen.or_else(|| needs_links.then(|| LINKS.into())),
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
        Some(Admin { listen: admin.listen, users: users.into_iter().collect::<Option<Vec<_>>>()? })
    }

    fn store(&mut self, store: &Located<file::Store>) -> Option<Store> {
        let kind = match (store.kind, &store.kubernetes, &store.etcd) {
            (file::StoreKind::File, ..) => StoreKind::File,
            (file::StoreKind::Kubernetes, Some(at), _) => {
                StoreKind::Kubernetes { lease: at.lease.clone(), namespace: at.namespace.clone() }
            }
            (file::StoreKind::Kubernetes, None, _) => {
                StoreKind::Kubernetes { lease: Name::fixed("hotspare"), namespace: None }
            }
            (file::StoreKind::Etcd, _, etcd) => {
                let etcd = etcd.as_ref()?;
                let user = match (&etcd.user, &etcd.password_file) {
                    (Some(user), Some(file)) => Some((user.clone(), self.secret(&etcd.at, "password_file", file)?)),
                    _ => None,
                };
                StoreKind::Etcd { endpoints: etcd.endpoints.clone(), prefix: etcd.prefix.clone(), user }
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
        let written = written.into_inner();
        Some(Instance {
            name: written.name,
            listeners: written
                .listen
                .map(main_listener)
                .into_iter()
                .chain(written.listener.into_iter().map(listener))
                .collect(),
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

    fn member(&mut self, member: &Located<file::Member>) -> Option<Member> {
        let launcher = &member.launcher;
        let tokens = self.tokens(&launcher.at, launcher.token_file.as_deref(), launcher.token_env.as_deref())?;
        if let Some(tokens) = &tokens {
            self.refuse_shared_token(&launcher.at, tokens);
        }
        let unreachable =
            Unreachable { after: launcher.on_unreachable.0, fence_command: launcher.fence_command.clone() };
        let launcher = match launcher.kind {
            LauncherKind::Hotspare => Launcher::Hotspare { url: launcher.url.clone()?, tokens: tokens? },
            LauncherKind::FlowFuse => Launcher::FlowFuse { url: launcher.url.clone()?, tokens, unreachable },
            LauncherKind::NodeRed => Launcher::NodeRed {
                url: launcher.url.clone().or_else(|| Url::of(&member.address))?,
                tokens,
                unreachable,
            },
            LauncherKind::None => Launcher::Plain,
        };
        let HostPort { host, port } = member.address.clone();
        Some(Member { name: member.name.clone(), address: HostPort { host, port }, launcher })
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
        proxy_to: ProxyHeader::Off,
    }
}

fn listener(written: Located<file::Listener>) -> Listener {
    let file::Listener { name, listen, port, protocol, proxy_from, proxy_to } = written.into_inner();
    Listener { name, listen, port, protocol, proxy_from, proxy_to }
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
