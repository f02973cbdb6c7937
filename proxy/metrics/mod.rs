//! `/metrics`: the engine's status in Prometheus's text format, or in OpenMetrics for whoever asks for that.
//!
//! Every scrape builds its families from one [`Status`], so the engine keeps no second set of numbers and an
//! instance that was removed leaves no series behind. Labels are bounded by the configuration: names of instances
//! and members, and closed lists of reasons; clients are named by exemplars alone. Histograms of outages live here, fed by the engine.

mod open_metrics;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::SystemTime;

use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, TextEncoder};

use crate::drill::Drills;
use crate::engine::status::{InstanceStatus, Status};

/// How the page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus's text format.
    Text,
    /// OpenMetrics 1.0.0: with exemplars.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for.
    pub fn wanted(accept: Option<&str>) -> Self {
        let is_open = |one: &str| one.trim_start().starts_with("application/openmetrics-text");
        if accept.is_some_and(|accept| accept.split(',').any(is_open)) { Self::OpenMetrics } else { Self::Text }
    }

    /// Its content type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What counts ended connections.
const CLOSED: &str = "hotspare_connections_closed_total";

/// The states of an instance, so that every one of them has a series from the start.
const STATES: [&str; 6] = ["recovering", "no_active", "starting", "active", "fencing", "switching"];

/// Client-seen outages and how quickly they were noticed; fed once a failover.
pub struct Durations {
    outage: HistogramVec,
    detection: HistogramVec,
}

/// The process's own.
pub static DURATIONS: LazyLock<Durations> = LazyLock::new(|| {
    // From a tenth of the target for a crash (50 ms) to well beyond a machine loss (ttl + margin).
    let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0];
    let histogram = |name: &str, help: &str| {
        let options = HistogramOpts::new(name, help).buckets(buckets.clone());
        HistogramVec::new(options, &["instance"]).expect("name and labels are constants that check")
    };
    Durations {
        outage: histogram("hotspare_outage_seconds", "From the first sign of a failure to the new route."),
        detection: histogram("hotspare_detection_seconds", "From the last sign of life to the decision to fail over."),
    }
});

impl Durations {
    /// Records a failover of `instance`.
    pub fn observe(&self, instance: &str, outage: std::time::Duration, detection: Option<std::time::Duration>) {
        self.outage.with_label_values(&[instance]).observe(outage.as_secs_f64());
        if let Some(detection) = detection {
            self.detection.with_label_values(&[instance]).observe(detection.as_secs_f64());
        }
    }
}

/// The whole page.
pub fn render(status: &Status, drills: &Drills, lost: [(&'static str, u64); 2], format: Format) -> Vec<u8> {
    let mut families = Families::default();
    for (file, lines) in lost {
        let help = "Lines that did not reach their file, since the disk was full or too slow.";
        families.counter("hotspare_lines_lost_total", help, &[("file", file)], lines);
    }
    controller(&mut families, status);
    for shared in &status.shared {
        for (reason, count) in &shared.closed {
            let labels = [("address", shared.address.as_str()), ("reason", *reason)];
            let help = "Connections to an address that instances share by name, ended before they were any instance's.";
            families.counter("hotspare_shared_closed_total", help, &labels, *count);
        }
    }
    for instance in &status.instances {
        instance_families(&mut families, instance);
        let of = [("instance", instance.name.as_str())];
        let age = drills.age_ms(&instance.name).map_or(f64::INFINITY, |age| age as f64 / 1000.0);
        families.gauge("hotspare_drill_age_seconds", "Since the last drill ended; +Inf: there was none.", &of, age);
    }
    let mut page = String::new();
    let mut all = families.gather();
    all.extend(prometheus::core::Collector::collect(&DURATIONS.outage));
    all.extend(prometheus::core::Collector::collect(&DURATIONS.detection));
    all.retain(|family| !family.get_metric().is_empty());
    TextEncoder::new().encode_utf8(&all, &mut page).expect("writing to a String cannot fail");
    match format {
        Format::Text => page,
        Format::OpenMetrics => open_metrics::page(&page, &exemplars(status)),
    }
    .into_bytes()
}

/// Whose connection was the last that ended for a reason.
fn exemplars(status: &Status) -> open_metrics::Exemplars {
    let of = |i: &'_ InstanceStatus| {
        let name = i.name.clone();
        let one = move |(reason, (client, at)): (&'static str, (IpAddr, SystemTime))| {
            (format!("{CLOSED}{{instance=\"{name}\",reason=\"{reason}\"}}"), (client.to_string(), at))
        };
        i.traffic.last_clients.clone().into_iter().map(one)
    };
    status.instances.iter().flat_map(of).collect()
}

fn controller(families: &mut Families, status: &Status) {
    let c = &status.controller;
    families.gauge("hotspare_build_info", "Always 1; the release is the label.", &[("version", c.version)], 1.0);
    families.gauge("hotspare_leader", "1 if this proxy decides, 0 if it only carries traffic.", &[], flag(c.leader));
    families.gauge("hotspare_store_up", "1 if the store took the last write.", &[], flag(c.store_ok));
    families.counter(
        "hotspare_journal_failures_total",
        "Records that could not be made durable.",
        &[],
        c.journal_failures,
    );
    let help = "Faults in the program itself: each is in the log.";
    families.counter("hotspare_panics_total", help, &[], crate::panics::count());
    families.counter("hotspare_stalls_total", "Times this process itself stood still.", &[], c.stalls);
    for (reason, count) in &c.links_refused {
        let help = "Links of launchers that were refused.";
        families.counter("hotspare_links_refused_total", help, &[("reason", reason)], *count);
    }
}

fn instance_families(families: &mut Families, i: &InstanceStatus) {
    let name = i.name.as_str();
    let of = [("instance", name)];
    for state in STATES {
        let labels = [("instance", name), ("state", state)];
        families.gauge("hotspare_instance_state", "1 for the state it is in.", &labels, flag(i.state == state));
    }
    families.gauge("hotspare_epoch", "The epoch of the active, or the newest that was reserved.", &of, i.epoch as f64);
    families.gauge("hotspare_frozen", "1 after too many failovers: somebody must look.", &of, flag(i.frozen));
    families.gauge("hotspare_paused", "1 while automatic decisions are off.", &of, flag(i.paused.is_some()));
    families.gauge("hotspare_blind", "1 while both members are silent at once.", &of, flag(i.blind));
    if let Some(in_sync) = i.in_sync {
        families.gauge("hotspare_in_sync", "1 if the spare has what the active has.", &of, flag(in_sync));
    }
    for (cause, count) in &i.failovers {
        let labels = [("instance", name), ("cause", cause.as_str())];
        families.counter("hotspare_failovers_total", "Unplanned changes of the active.", &labels, *count);
    }
    for (result, count) in &i.switchovers {
        let labels = [("instance", name), ("result", result.as_str())];
        families.counter("hotspare_switchovers_total", "Planned changes of the active.", &labels, *count);
    }
    for (why, count) in &i.ignored {
        let labels = [("instance", name), ("why", why.as_str())];
        families.counter(
            "hotspare_inputs_ignored_total",
            "Late, old or illegal inputs; none had an effect.",
            &labels,
            *count,
        );
    }
    if let Some(last) = &i.last_failover {
        let seconds = last.outage_ms as f64 / 1000.0;
        families.gauge("hotspare_last_outage_seconds", "The outage of the newest failover.", &of, seconds);
    }
    members(families, i);
    traffic(families, i);
}

fn members(families: &mut Families, i: &InstanceStatus) {
    for m in &i.members {
        let of = [("instance", i.name.as_str()), ("member", m.name.as_str())];
        families.gauge("hotspare_member_active", "1 for the member that is active.", &of, flag(m.role == "active"));
        families.gauge("hotspare_member_ready", "1 if it could take over now.", &of, flag(m.ready));
        families.gauge("hotspare_member_flows_running", "1 if its flows run.", &of, flag(m.flows == "running"));
        if let Some(link) = m.link {
            families.gauge("hotspare_member_link_up", "1 if its launcher's link is open.", &of, flag(link == "up"));
        }
        if let Some(lag) = m.lag_worst_ms {
            let help = "How late its event loop was at the worst in the last minute.";
            families.gauge("hotspare_event_loop_lag_seconds", help, &of, lag as f64 / 1000.0);
        }
        if let Some(left) = m.lease_margin_ms {
            let help = "The least that was left of its lease in the last minute.";
            families.gauge("hotspare_lease_margin_seconds", help, &of, left as f64 / 1000.0);
        }
        families.counter("hotspare_heartbeats_total", "Heartbeats heard.", &of, m.heartbeats);
        for (result, count) in &m.probes {
            let labels = [of[0], of[1], ("result", *result)];
            families.counter("hotspare_probes_total", "Health checks by result.", &labels, *count);
        }
    }
}

fn traffic(families: &mut Families, i: &InstanceStatus) {
    let name = i.name.as_str();
    let (of, t) = ([("instance", name)], &i.traffic);
    families.gauge("hotspare_connections", "Open client connections.", &of, t.connections as f64);
    families.counter("hotspare_connections_total", "Client connections accepted.", &of, t.connections_total);
    families.gauge("hotspare_parked_connections", "Clients that wait for an active.", &of, t.parked as f64);
    for (direction, bytes) in [("in", t.bytes_in), ("out", t.bytes_out)] {
        let labels = [("instance", name), ("direction", direction)];
        families.counter("hotspare_bytes_total", "Bytes from clients (in) and to clients (out).", &labels, bytes);
    }
    for (reason, count) in &t.closed {
        let labels = [("instance", name), ("reason", *reason)];
        families.counter(CLOSED, "Ended connections by reason.", &labels, *count);
    }
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

/// Families by name, each made when its first series is set.
#[derive(Default)]
struct Families {
    gauges: BTreeMap<&'static str, GaugeVec>,
    counters: BTreeMap<&'static str, IntCounterVec>,
}

impl Families {
    fn gauge(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: f64) {
        let (names, values): (Vec<&str>, Vec<&str>) = labels.iter().copied().unzip();
        let family = self.gauges.entry(name).or_insert_with(|| {
            GaugeVec::new(Opts::new(name, help), &names).expect("name and labels are constants that check")
        });
        family.with_label_values(&values).set(value);
    }

    fn counter(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: u64) {
        let (names, values): (Vec<&str>, Vec<&str>) = labels.iter().copied().unzip();
        let family = self.counters.entry(name).or_insert_with(|| {
            IntCounterVec::new(Opts::new(name, help), &names).expect("name and labels are constants that check")
        });
        family.with_label_values(&values).inc_by(value);
    }

    fn gather(self) -> Vec<MetricFamily> {
        use prometheus::core::Collector;
        let gauges = self.gauges.into_values().flat_map(|f| f.collect());
        gauges.chain(self.counters.into_values().flat_map(|f| f.collect())).collect()
    }
}
