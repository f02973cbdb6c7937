//! The tables that are there once: proxy, log, admin, links, store; and hooks.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::read::Located;
use crate::config::section::section;
use crate::config::value::{Label, LogFilter, Name, Url, one_of};

section! {
    /// This proxy itself.
    pub(in crate::config) Proxy {
        /// What this proxy is called in events, in the store and by launchers. Two proxies of one group need two names.
        name: Option<Name>, otherwise "the machine's host name";
        /// Threads that carry traffic. Change it only to leave cores to others; 0 means one for each core.
        threads: u32 = 0, in 0 .. 1024;
        /// Client connections at once over all instances. Raise it with the limit of open files: each takes two. Where that limit allows fewer, so many come in and no more; some files are always kept for launchers, checks and admin.
        max_connections: u32 = 20000, in 1 .. 10000000;
        /// How long connections may finish after SIGTERM before they are cut. Keep it below the supervisor's own patience.
        drain: Duration = "30s", in "0s" .. "1h";
    }
}

one_of! {
    /// How log lines look.
    pub LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

section! {
    /// What is logged, and how.
    pub Log {
        /// Text for people, or JSON for a log collector.
        format: LogFormat = "text";
        /// How much. Raise one part alone to follow one trouble: "info,hotspare::link=debug".
        level: LogFilter = "info";
    }
}

section! {
    /// The admin listener: status, metrics, live page, commands.
    pub(in crate::config) Admin {
        /// Where it listens. Anywhere but on loopback it is refused without a token or a client.
        listen: SocketAddr = "127.0.0.1:9480";
        /// TLS of it: it speaks https then, and nothing else.
        tls: Option<Located<ServerTls>>, otherwise "it speaks plain HTTP";
        /// Who may use it, and for what. Without any token or client, whoever reaches the loopback address may do everything.
        token: Vec<Located<AdminToken>>;
        /// Who may use it by a certificate of their own, and for what. Needs client_ca_file in [admin.tls].
        client: Vec<Located<AdminClient>>;
    }
}

one_of! {
    /// What the bearer of a token may do.
    pub Role {
        /// Look: status, events, metrics.
        Read = "read",
        /// Look, and steer without risk: switchover, restart, pause, resume, drill.
        Operate = "operate",
        /// Everything, also what may lose work: forced failover, fence.
        Admin = "admin",
    }
}

section! {
    /// A token for the admin listener.
    pub(in crate::config) AdminToken {
        /// Who uses it; named in the audit record of each action.
        name: Name;
        /// What the bearer may do.
        role: Role;
        /// File with the token. A second line is a second valid token, so that it can be changed without a gap.
        token_file: Option<PathBuf>, otherwise "token_env is needed";
        /// Environment variable with the token, instead of a file.
        token_env: Option<String>, otherwise "token_file is needed";
    }
}

section! {
    /// Somebody whom a certificate names, instead of a token.
    pub(in crate::config) AdminClient {
        /// The common name of the certificate's subject, or one of its alternative names (DNS, e-mail or URI).
        name: String;
        /// What its bearer may do.
        role: Role;
    }
}

section! {
    /// TLS of a listener that parts of this system or people use. The files are read again when they change.
    pub(in crate::config) ServerTls {
        /// The certificate, followed by those between it and its authority, in PEM.
        cert_file: PathBuf;
        /// Its key in PEM, without a passphrase, in a file that only its owner can read.
        key_file: PathBuf;
        /// Authorities, in PEM, of the certificates that those who connect show. Launchers must show one then; at the admin listener it is one way to say who one is.
        client_ca_file: Option<PathBuf>, otherwise "no certificate is asked for";
    }
}

section! {
    /// Where launchers connect to.
    pub(in crate::config) Links {
        /// Where it listens, by TCP, and by UDP for heartbeats that are overdue. Keep it to the network that the Node-RED machines are in.
        listen: Option<SocketAddr>, otherwise "0.0.0.0:9481 if some launcher.kind is \"hotspare\", else nowhere";
        /// TLS of it: launchers connect by wss:// then, and by nothing else.
        tls: Option<Located<ServerTls>>, otherwise "launchers connect by ws://, their token and every order readable on the way";
    }
}

one_of! {
    /// What keeps the record of who is active.
    pub(in crate::config) StoreKind {
        /// Files of this machine: one proxy.
        File = "file",
        /// A Lease of Kubernetes: several proxies.
        Kubernetes = "kubernetes",
        /// etcd: several proxies.
        Etcd = "etcd",
    }
}

section! {
    /// Where it is kept who is active. It must outlive a restart.
    pub(in crate::config) Store {
        /// Files for one proxy; Kubernetes or etcd where several proxies share the work and one decides.
        kind: StoreKind = "file";
        /// Folder of the journal and of the event log; one for each proxy, on a disk that survives a restart.
        dir: PathBuf = "/var/lib/hotspare";
        /// How long a controller leads after its last renewal. Shorter finds a lost leader sooner and asks more of the store.
        lead_for: Duration = "5s", in "1s" .. "1m";
        /// How often the leader renews.
        renew: Duration = "1s", in "100ms" .. "20s";
        /// How long one request to the store may take.
        request_timeout: Duration = "1500ms", in "50ms" .. "20s";
        /// For kind "kubernetes".
        kubernetes: Option<Located<Kubernetes>>, otherwise "its own defaults";
        /// For kind "etcd".
        etcd: Option<Located<Etcd>>, otherwise "needed for kind \"etcd\"";
    }
}

section! {
    /// The Lease that proxies share.
    pub(in crate::config) Kubernetes {
        /// Name of the Lease; one for each group of proxies.
        lease: Name = "hotspare";
        /// Namespace of the Lease.
        namespace: Option<Name>, otherwise "the namespace of the pod";
        /// Label that the active's pod carries, with the value "true", for selectors of what isn't proxied. Pods are named as their members, and the proxies need the right to patch them.
        active_label: Option<Label>, otherwise "no pod is labelled";
    }
}

section! {
    /// The etcd that proxies share.
    pub(in crate::config) Etcd {
        /// URLs of its nodes.
        endpoints: Vec<Url>, otherwise "**must be there**";
        /// What all keys begin with; one for each group of proxies.
        prefix: String = "/hotspare/";
        /// User, where etcd asks for one.
        user: Option<String>, otherwise "none";
        /// File with that user's password.
        password_file: Option<PathBuf>, otherwise "none";
        /// Authorities, in PEM, that nodes with https:// URLs are verified with. These three files are read again for each connection.
        ca_file: Option<PathBuf>, otherwise "those that the system trusts";
        /// Certificate to show where etcd asks for one (client-cert-auth), followed by those between it and its authority, in PEM. Without user it is who we are to etcd: its common name.
        cert_file: Option<PathBuf>, otherwise "none is shown";
        /// Its key in PEM, without a passphrase, in a file that only its owner can read.
        key_file: Option<PathBuf>, otherwise "none";
    }
}

one_of! {
    /// Events that a hook can be told of.
    pub EventKind {
        /// An unplanned change of the active, when it is done.
        Failover = "failover",
        /// A planned change of the active, done or given up.
        Switchover = "switchover",
        /// No member serves.
        Outage = "outage",
        /// The spare could not take over now.
        SpareLost = "spare-lost",
        /// The spare could take over again.
        SpareReady = "spare-ready",
        /// Both members fell silent at once: nothing is decided.
        Blind = "blind",
        /// Too many failovers: no more are made by themselves.
        Frozen = "frozen",
        /// Automatic decisions were paused or resumed.
        Pause = "pause",
        /// The spare has other flows, nodes or versions than the active.
        Drift = "drift",
        /// A drill ended.
        Drill = "drill",
        /// Another proxy decides now, or none.
        Leadership = "leadership",
    }
}

section! {
    /// What is told to another system when something happens. A hook never delays a decision.
    pub(in crate::config) Hook {
        /// Name, in logs and metrics.
        name: Name;
        /// Which events.
        on: Vec<EventKind>, otherwise "all";
        /// Which instances.
        instances: Vec<Name>, otherwise "all";
        /// URL that gets the event as JSON by POST.
        url: Option<Url>, otherwise "command is needed";
        /// Program and its arguments, started with the event as JSON on its standard input.
        command: Vec<String>, otherwise "url is needed";
        /// File with the secret that signs each POST, so that the receiver knows whom it comes from.
        secret_file: Option<PathBuf>, otherwise "not signed";
        /// How long one try may take.
        timeout: Duration = "5s", in "100ms" .. "5m";
        /// How often it is tried again; longer pauses each time.
        retries: u32 = 3, in 0 .. 20;
    }
}
