//! The tables of an instance that say what it is: listeners, members, launchers.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{Drill, Failover, Health, Lease, Limits, Timeouts};
use crate::config::read::Located;
use crate::config::section::section;
use crate::config::value::{HostPort, Name, Network, OrOff, Sni, Url, one_of};

section! {
    /// One Node-RED service as its users see it.
    pub(in crate::config) Instance {
        /// Name, in status, metrics and commands.
        name: Name;
        /// Where clients connect to; short for one listener called "main" that goes to the port of the member's address.
        listen: Option<SocketAddr>, otherwise "an [[instance.listener]] is needed";
        /// Name of the member that becomes active when neither is. Set it where one machine is the better one.
        prefer: Option<Name>, otherwise "the first";
        /// How often files of context stores (`localfilesystem`) are copied from the active to the spare. Best effort: a failover loses what changed since. Off, since context that must survive belongs into an external store; each copy also empties the spare's stores of other kinds.
        copy_context: OrOff<Duration> = "off", in "1s" .. "1d";
        /// More ports that lead to the members, such as those that flows open themselves.
        listener: Vec<Located<Listener>>;
        /// The two Node-REDs; exactly two.
        member: Vec<Located<Member>>, otherwise "**must be there**";
        /// How it is found out that a member serves.
        health: Located<Health>;
        /// The permission to run flows, and its times. For launcher.kind "hotspare" only.
        lease: Located<Lease>;
        /// How long each step may take.
        timeouts: Located<Timeouts>;
        /// How much this instance may take.
        limits: Located<Limits>;
        /// When the active is changed without being asked, and when not.
        failover: Located<Failover>;
        /// Rehearsals.
        drill: Located<Drill>;
        /// For a platform such as FlowFuse: the pair as if it were one launcher.
        platform: Located<Platform>;
    }
}

section! {
    /// An endpoint that speaks FlowFuse's launcher's admin API and means the pair: start, stop, rolling restart, state, logs.
    pub(in crate::config) Platform {
        /// Where it listens. That API knows no authentication: whoever reaches it can stop the instance. Keep it to the platform's network.
        listen: Option<SocketAddr>, otherwise "there is no such endpoint";
    }
}

one_of! {
    /// How much of the traffic is understood.
    pub Protocol {
        /// Bytes, whatever they mean.
        Tcp = "tcp",
        /// HTTP/1.1: a switch waits for the end of a request, and keep-alive connections stay open.
        Http = "http",
    }
}

one_of! {
    /// The header that tells the client's address.
    pub ProxyHeader {
        /// None.
        Off = "off",
        /// PROXY protocol version 1 (text).
        V1 = "v1",
        /// PROXY protocol version 2 (binary).
        V2 = "v2",
    }
}

section! {
    /// A port that leads to the members.
    pub(in crate::config) Listener {
        /// Name, in status and metrics.
        name: Name;
        /// Where clients connect to.
        listen: SocketAddr;
        /// The member's port.
        port: Option<u16>, otherwise "the port of the member's address";
        /// What goes through it. "http" lets a planned switch wait for the end of a request.
        protocol: Protocol = "tcp";
        /// Networks of the load balancers in front, whose connections begin with a PROXY header (v1 or v2). With any here, connections from elsewhere, or without the header, are closed.
        proxy_from: Vec<Network>, otherwise "none: connections from everywhere, without a header";
        /// Names that clients ask for in TLS (SNI), for listeners that share one address: "line-1.example", "*.example" for any one label, "*" for all that no other listener has. Without tls the bytes pass through as they are, to members that end TLS themselves.
        sni: Vec<Sni>, otherwise "the address is this listener's alone, whatever name is asked for";
        /// Certificates to end TLS with; the one that is good for the name that a client asks for is shown, else the first. Files are read again when they change.
        tls: Vec<Located<Certificate>>, otherwise "TLS is not ended here: bytes are passed on as they come";
        /// PROXY header that members get, so that they learn the client's address; they must be made to expect it.
        proxy_to: ProxyHeader = "off";
    }
}

section! {
    /// A certificate and its key.
    pub(in crate::config) Certificate {
        /// The certificate, followed by those between it and its authority, in PEM.
        cert_file: PathBuf;
        /// Its key in PEM, without a passphrase, in a file that only its owner can read.
        key_file: PathBuf;
    }
}

section! {
    /// TLS to a member: for every listener and check that goes to the port of its address.
    pub(in crate::config) MemberTls {
        /// Authorities that the member's certificate is verified with, in PEM; read again when the file changes.
        ca_file: Option<PathBuf>, otherwise "those that the system trusts";
        /// The name or address that its certificate must be good for.
        server_name: Option<String>, otherwise "the host of its address";
    }
}

section! {
    /// One Node-RED process and the launcher beside it.
    pub(in crate::config) Member {
        /// Name, in status, metrics and commands; the launcher says the same one.
        name: Name;
        /// Where its Node-RED listens, as the proxy reaches it. A host name is looked up whenever a connection is made.
        address: HostPort;
        /// TLS to its Node-RED, where that serves https; an empty table verifies with what the system trusts.
        tls: Option<Located<MemberTls>>, otherwise "no TLS to this member";
        /// The launcher beside it, or what there is instead.
        launcher: Located<Launcher>;
    }
}

one_of! {
    /// What starts and stops a member's flows; it decides what can be promised.
    pub(in crate::config) LauncherKind {
        /// `hotspare launcher`: a hot spare, and flows that end with their lease.
        Hotspare = "hotspare",
        /// FlowFuse's nr-launcher, unchanged.
        FlowFuse = "flowfuse",
        /// A bare Node-RED, through its own admin API.
        NodeRed = "node-red",
        /// A plain server: nothing to stop, nothing to protect.
        None = "none",
    }
}

section! {
    /// The launcher beside a member.
    pub(in crate::config) Launcher {
        /// Which launcher it is. "none" is for a server that runs no flows: nothing keeps two of those apart.
        kind: LauncherKind;
        /// URL of its admin API. For "hotspare" the other launcher of the pair must reach it too.
        url: Option<Url>, otherwise "for \"node-red\" the member's address; needed for \"hotspare\" and \"flowfuse\"";
        /// Authorities, in PEM, that its https:// URL is verified with; read again when the file changes.
        ca_file: Option<PathBuf>, otherwise "those that the system trusts; for \"node-red\" at the member's address, its tls";
        /// File with the token that both sides know; for "node-red" an access token of its admin API. Two lines are two valid tokens, so that it can be changed without a gap.
        token_file: Option<PathBuf>, otherwise "needed for \"hotspare\", unless token_env is set";
        /// Environment variable with the token, instead of a file.
        token_env: Option<String>, otherwise "none";
        /// What to do with an active that can't be reached, and so not be stopped: wait ("off"), or take it for dead after this long. Such a time is a bet: if it is wrong, flows run twice. Not for "hotspare", whose lease ends by itself.
        on_unreachable: OrOff<Duration> = "off", in "1s" .. "1d";
        /// Program and arguments that make certain the member is off (a power switch, the hypervisor); exit code 0 says that it is. Not for "hotspare".
        fence_command: Vec<String>, otherwise "none";
    }
}
