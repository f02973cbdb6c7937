//! Everything in deploy/ is what it says: checked by the tools it is made for, and held against the real program.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use hotspare_test_support::environment::hotspare;
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::{fault, http};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Chart, units, rules, dashboard, container files, configurations and the commands in the docs: `deploy/check` has
/// the list, and prints one line for each.
#[test]
fn the_checks_of_the_deploy_folder_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(root.join("deploy/check")).arg(hotspare()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

/// Rules and dashboard ask for metrics by name; a running pair must have them, in the form that Prometheus wants, and a
/// real Prometheus with the scrape configuration and the rules of this folder must find all well.
#[test]
fn a_real_prometheus_scrapes_a_running_pair_and_finds_every_metric_that_rules_and_dashboard_use() {
    let config = format!("{}[instance.limits]\nper_source = 20\n", Setup::default().config);
    let pair = Setup { config, ..Setup::default() }.start();
    let first = pair.wait_until_steady();
    // More than one address may have.
    let many: Vec<TcpStream> = (0..25).map(|_| TcpStream::connect(pair.front()).unwrap()).collect();
    let client = many[0].local_addr().unwrap().ip().to_string();
    wait_until(PATIENCE, "a connection too many, refused", || {
        let page = pair.get("/metrics").send().map_err(|error| error.to_string())?.body;
        let series = "hotspare_connections_closed_total{instance=\"line-1\",reason=\"limit_source\"} ";
        match page.lines().find_map(|line| line.strip_prefix(series)) {
            Some(count) if count != "0" => Ok(()),
            seen => Err(format!("{seen:?}")),
        }
    });
    drop(many);
    // What comes only once there is something to say: a failover, a switchover, a drill.
    fault::kill(pair.node_red_pid(&first.member));
    pair.wait_for_takeover(&first);
    pair.wait_until_steady();
    let drilled = pair.order("drill", &json!({"fault": "switchover"}));
    assert!([200, 409].contains(&drilled.status), "{}: {}", drilled.status, drilled.body);
    pair.wait_until_steady();
    let listed: BTreeSet<&str> = include_str!("../deploy/monitoring/metrics.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("seldom"))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(listed.len() > 15, "the list is hardly read: {listed:?}");
    let page = wait_until(PATIENCE, "every metric of deploy/monitoring/metrics.txt", || {
        let page = pair.get("/metrics").send().map_err(|error| error.to_string())?.body;
        let present: BTreeSet<&str> = page.lines().filter_map(|line| line.split([' ', '{']).next()).collect();
        let missing: Vec<&str> = listed.difference(&present).copied().collect();
        if missing.is_empty() { Ok(page) } else { Err(format!("not there: {missing:?}")) }
    });
    check_metrics(&page);

    let prometheus = Prometheus::start(&pair);
    for name in listed {
        wait_until(PATIENCE, name, || {
            prometheus.ask(name).and_then(|all| if all.is_empty() { Err(all) } else { Ok(()) })
        });
    }
    for (rule, value) in [("hotspare:instance_served", "1"), ("hotspare:members_fit", "2"), ("hotspare:leaders", "1")] {
        wait_until(PATIENCE, rule, || {
            prometheus.ask(rule).and_then(|all| match all.as_slice() {
                [one] if one["value"][1] == value => Ok(()),
                _ => Err(all),
            })
        });
    }
    wait_until(PATIENCE, "who was refused, as an exemplar", || {
        let all = prometheus.exemplars("hotspare_connections_closed_total{reason=\"limit_source\"}");
        match all.pointer("/0/exemplars/0/labels/client") {
            Some(shown) if *shown == client => Ok(()),
            _ => Err(all),
        }
    });
    let alerts = prometheus.ask("ALERTS{alertstate=\"firing\"}");
    assert_eq!(alerts, Ok(Vec::new()), "alerts for a healthy pair");
}

/// What `promtool check metrics` says of a page: nothing, where all is well.
fn check_metrics(page: &str) {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "promtool check metrics: {said}\n{page}");
}

/// For a query in a path.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// A Prometheus with the configuration of deploy/monitoring: another target, and a quicker pace.
struct Prometheus {
    address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    fn start(pair: &Pair) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/monitoring");
        let (token, data) = (pair.folder().join("admin.token"), folder.path().join("data"));
        let config = include_str!("../deploy/monitoring/prometheus.yaml")
            .replace("\"10.0.0.11:9480\", \"10.0.0.12:9480\"", &format!("\"{}\"", pair.admin()))
            .replace("/etc/prometheus/hotspare.token", &token.display().to_string())
            .replace("- hotspare.rules.yaml", &format!("- {}", here.join("hotspare.rules.yaml").display()))
            .replace("scrape_interval: 15s", "scrape_interval: 1s");
        assert!(config.contains(&pair.admin().to_string()) && config.contains("interval: 1s"), "{config}");
        let config = format!("global:\n  evaluation_interval: 1s\n{config}");
        std::fs::write(folder.path().join("prometheus.yaml"), config).unwrap();
        // A port of its own, on an address of the pair's block that nothing else uses.
        let address = SocketAddr::new(pair.admin().ip(), 9090);
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", folder.path().join("prometheus.yaml").display()));
        command.arg(format!("--storage.tsdb.path={}", data.display()));
        command.arg(format!("--web.listen-address={address}")).arg("--enable-feature=exemplar-storage");
        Prometheus { address, _process: Process::start("prometheus", command), _folder: folder }
    }

    /// What exemplars there are of a series.
    fn exemplars(&self, series: &str) -> Value {
        let path = format!("/api/v1/query_exemplars?start=0&end=9999999999&query={}", encoded(series));
        http::get(self.address, &path)
            .send()
            .map_or_else(|error| json!(error.to_string()), |all| all.json()["data"].clone())
    }

    /// What a query gives now.
    fn ask(&self, query: &str) -> Result<Vec<Value>, Vec<Value>> {
        let path = format!("/api/v1/query?query={}", encoded(query));
        let answer = http::get(self.address, &path).send().map_err(|error| vec![json!(error.to_string())])?;
        match answer.json()["data"]["result"].as_array() {
            Some(all) => Ok(all.clone()),
            None => Err(vec![json!(answer.body)]),
        }
    }
}
