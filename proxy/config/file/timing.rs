//! The tables of an instance that say how long and how much: health, lease, timeouts, limits, failover, drill.

use std::time::Duration;

use crate::config::read::Located;
use crate::config::section::section;
use crate::config::value::{OrOff, Percent, StatusRange, Window, one_of};

section! {
    /// How it is found out that a member serves. The spare is checked as hard as the active.
    pub(in crate::config) Health {
        /// How often each member is checked.
        interval: Duration = "1s", in "50ms" .. "5m";
        /// How long one check may take.
        timeout: Duration = "1s", in "10ms" .. "1m";
        /// How many good checks in a row make a member healthy.
        rise: u32 = 2, in 1 .. 100;
        /// How many bad checks in a row make it unhealthy. Raise it on a lossy network.
        fall: u32 = 3, in 1 .. 100;
        /// How long after a start of its flows a member's bad checks don't count. Raise it for flows that take long to serve.
        start_grace: Duration = "2s", in "0s" .. "1h";
        /// How long Node-RED's event loop may stand still before it counts as hung; below that it is busy. What it waits for a processor counts half at least. Raise it for flows that compute long.
        hang_after: Duration = "2s", in "200ms" .. "10m";
        /// What is checked; all must be good.
        check: Vec<Located<HealthCheck>>, otherwise "one of kind \"tcp\"";
    }
}

one_of! {
    /// What a check looks at.
    pub CheckKind {
        /// A connection is accepted.
        Tcp = "tcp",
        /// A path answers with an expected status.
        Http = "http",
        /// Node-RED itself says that its flows run.
        FlowsState = "flows-state",
    }
}

section! {
    /// One check of a member.
    pub(in crate::config) HealthCheck {
        /// What is looked at. A TCP accept alone is no proof of life; add "http" with a path that a flow answers.
        kind: CheckKind;
        /// The member's port.
        port: Option<u16>, otherwise "the port of the member's address";
        /// Path, for "http".
        path: String = "/";
        /// Statuses that are good, for "http".
        status: Vec<StatusRange>, otherwise "[\"200-399\"]";
        /// Whether only the active is asked. A path that a flow answers is not there on a spare, whose flows are stopped.
        active_only: bool = false;
    }
}

one_of! {
    /// What an active does that reaches neither a controller nor its peer.
    pub Isolated {
        /// Stops its flows before the spare may start.
        Stop = "stop",
        /// Goes on. If the spare is alive behind the cut, flows run twice.
        Run = "run",
    }
}

section! {
    /// The permission to run flows for a bounded time, renewed by heartbeats. For launcher.kind "hotspare" only.
    pub Lease {
        /// How often a launcher reports and renews.
        heartbeat: Duration = "100ms", in "10ms" .. "10s";
        /// How long flows may run after the last renewal. It bounds the outage when the active's machine vanishes: shorter is sooner, longer forgives worse networks.
        ttl: Duration = "1s", in "50ms" .. "10m";
        /// How far two machines' clocks may drift apart in speed.
        drift: Percent = "1%", in "0%" .. "10%";
        /// Time between the end of a lease and the certain end of the process. Raise it for machines whose cores are all busy.
        kill_budget: Duration = "200ms", in "20ms" .. "1m";
        /// How long before its end a lease that was not renewed makes flows stop gracefully, before the kill.
        stop_lead: Duration = "250ms", in "0s" .. "1m";
        /// How long the spare promises to start nothing when no controller is there. A launcher that has just booted starts nothing for as long.
        promise: Duration = "2s", in "200ms" .. "10m";
        /// What an active does that reaches neither a controller nor its peer. "run" gives up that flows never run twice.
        on_isolated: Isolated = "stop";
    }
}

section! {
    /// How long each step may take.
    pub Timeouts {
        /// Connecting to a member.
        connect: Duration = "1s", in "10ms" .. "1m";
        /// The TLS handshake of a client, on a listener that ends TLS.
        handshake: Duration = "10s", in "100ms" .. "1m";
        /// A connection on which nothing moves. Websockets of the editor are silent for up to 15 s.
        idle: OrOff<Duration> = "1h", in "1s" .. "30d";
        /// A PROXY header to be complete once a client is there, and the head of an HTTP request once it has begun. Shorter sheds clients sooner that send a byte now and then to hold connections.
        head: Duration = "10s", in "100ms" .. "5m";
        /// A client that waits for an active. Behind an ingress keep it below the ingress's own connect timeout.
        park: Duration = "5s", in "0s" .. "5m";
        /// At a planned switch: for what is under way with the old active to finish, while new clients wait; then it is cut. Connections on which nothing is under way are not waited for. "0s" cuts at once.
        drain: Duration = "2s", in "0s" .. "1h";
        /// Node-RED coming up, its flows still stopped. Raise it for many nodes or a slow disk.
        boot: Duration = "1m", in "1s" .. "1h";
        /// Flows starting on a member.
        start: Duration = "15s", in "100ms" .. "1h";
        /// Flows stopping on a member, before Node-RED is killed. Raise it for nodes that write something when they close.
        stop: Duration = "5s", in "100ms" .. "10m";
        /// A new active being seen to serve in a planned switch; past it the old one is taken back.
        verify: Duration = "5s", in "100ms" .. "10m";
        /// A member coming back ready in a rolling restart.
        restart: Duration = "90s", in "1s" .. "2h";
    }
}

section! {
    /// How much this instance may take; more is refused, and counted.
    pub Limits {
        /// Client connections at once.
        connections: u32 = 10000, in 1 .. 10000000;
        /// Clients that may wait for an active at once.
        parked: u32 = 1000, in 0 .. 1000000;
        /// Client connections at once from one address (of a PROXY header where there is one). Leave it off behind a load balancer that hides addresses.
        per_source: OrOff<u32> = "off", in 1 .. 10000000;
        /// New connections in a second. Set it well above what comes after a failover, when all clients return at once.
        rate: OrOff<u32> = "off", in 1 .. 10000000;
    }
}

section! {
    /// When the active is changed without being asked, and when not.
    pub Failover {
        /// Failovers in an hour; one more and the instance is frozen until someone looks.
        max_per_hour: u32 = 6, in 1 .. 1000;
        /// How long after a failover the next one waits; doubles each time.
        hold_down: Duration = "1s", in "0s" .. "1h";
        /// What that wait doubles up to.
        hold_down_max: Duration = "1m", in "0s" .. "1d";
        /// How long the preferred member must have been ready again before it is switched back to.
        auto_failback: OrOff<Duration> = "off", in "1s" .. "7d";
        /// How long the preferred member is waited for when neither has ever been active.
        wait_for_preferred: Duration = "5s", in "0s" .. "10m";
        /// Whether a spare with older flows or missing nodes may take over when the active is lost. It is an alarm either way.
        promote_stale: bool = true;
    }
}

one_of! {
    /// What a drill does to the active.
    pub DrillFault {
        /// Kills its Node-RED.
        Crash = "crash",
        /// Makes its event loop stand still.
        Hang = "hang",
        /// Cuts its launcher off.
        Partition = "partition",
        /// Nothing: a planned switch.
        Switchover = "switchover",
    }
}

section! {
    /// Rehearsals. One is put off while the spare isn't ready.
    pub(in crate::config) Drill {
        /// How often.
        every: OrOff<Duration> = "off", in "1m" .. "365d";
        /// What is done.
        fault: DrillFault = "switchover";
        /// When it may be done.
        window: Option<Window>, otherwise "at any time of day";
    }
}
