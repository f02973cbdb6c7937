//! Failover in the data path alone, side by side: the spare is up and answers, nothing has to be started.
//!
//! Events: `kill` (kill -9 of the active), `stop` (SIGSTOP), `drop` (its packets are dropped) and `planned`. The active
//! lives in a network namespace of its own, so that its packets can be dropped (root, `ip`, `nft`). All proxies check
//! every 100 ms, take 100 ms for no answer and two bad checks for a failure, and give a connect 200 ms, where they know
//! such a thing. The load is in `gap`.

use std::error::Error;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::gap::now_ns;
use crate::measure::{median, percentile};
use crate::proxies::{self, Places, Proxy};
use crate::{Helper, free, wait_until_it_answers};

/// What is done to the active.
pub(crate) const EVENTS: [&str; 4] = ["kill", "stop", "drop", "planned"];
/// How long clients come, and when it is done.
const LENGTH: Duration = Duration::from_millis(1500);
const EVENT_AFTER: Duration = Duration::from_millis(400);
/// Longest wait for the active to be the active again.
const BACK_WITHIN: Duration = Duration::from_secs(30);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What one trial showed.
#[derive(Default)]
struct Trial {
    /// From the last answer of the old active to the first of the spare, in ms; none if the spare never answered.
    gap: Option<f64>,
    failed: usize,
    /// Of these, connections whose client had not sent a byte.
    failed_unsent: usize,
    /// The slowest answer, in ms.
    slowest: f64,
    /// The connection that stayed open was cut.
    cut: bool,
}

/// Runs every event `trials` times against every peer and prints the table.
pub(crate) fn run(peers: &[String], events: &[String], trials: usize, work: &Path) -> Result<()> {
    println!(
        "| event | peer | gap, median / p99 / max ms | failed connections, median / max | of these without a byte sent, \
         all trials | slowest answer, median / max ms | open connection cut | spare never answered |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let site = Site::new()?;
    for event in events {
        for peer in peers {
            let name = peer.split('=').next().unwrap_or(peer);
            println!("| {event} | {name} | {} |", measure(peer, event, trials, &site, work)?);
        }
    }
    Ok(())
}

fn measure(peer: &str, event: &str, trials: usize, site: &Site, work: &Path) -> Result<String> {
    let places = Places { listen: free()?, admin: free()?, active: site.active, spare: free()? };
    let mut active = site.serve()?;
    let mut spare = Helper::start(&["serve".into(), places.spare.to_string(), "B".into()])?;
    spare.line()?;
    let proxy = proxies::start(peer, &places, work).map_err(|e| format!("{peer}: {e}"))?;
    wait_until_it_answers(&proxy)?;
    let mut seen = Vec::new();
    for trial in 0..trials {
        until_active(places.listen, "A").map_err(|e| format!("{peer}, {event}, trial {trial}: {e}"))?;
        // Not in step with anybody's checks.
        std::thread::sleep(Duration::from_millis(250 + trial as u64 * 37 % 100));
        let length = LENGTH.as_secs_f64().to_string();
        let mut load = Helper::start(&["gap".into(), places.listen.to_string(), "1".into(), length])?;
        load.line()?;
        std::thread::sleep(EVENT_AFTER + Duration::from_millis(trial as u64 * 53 % 100));
        let at = now_ns();
        match event {
            "kill" => active.kill()?,
            "stop" => signal(&active, Signal::STOP)?,
            "drop" => site.drop_packets(true)?,
            _ => switch(&proxy, &places, work, true)?,
        }
        seen.push(story(&mut load, at)?);
        match event {
            "kill" => active = site.serve()?,
            "stop" => signal(&active, Signal::CONT)?,
            "drop" => site.drop_packets(false)?,
            _ => {}
        }
        if event == "planned" || proxy.kind.starts_with("hotspare") {
            switch_back(&proxy, &places, work)?;
        }
    }
    Ok(row(&seen))
}

fn story(load: &mut Helper, event: u64) -> Result<Trial> {
    let mut trial = Trial::default();
    let (mut last_a, mut first_b) = (0, u64::MAX);
    loop {
        let line = load.line()?;
        let words: Vec<&str> = line.split(' ').collect();
        let [start, sent, end, word] = words[..] else { break };
        if start == "kept" {
            trial.cut = true;
            continue;
        }
        let (start, sent, end): (u64, u64, u64) = (start.parse()?, sent.parse()?, end.parse()?);
        match word {
            "A" | "B" => {
                if word == "B" && end > event {
                    first_b = first_b.min(end);
                }
                if word == "A" {
                    last_a = last_a.max(end);
                }
                if end > event {
                    trial.slowest = trial.slowest.max((end - start) as f64 / 1e6);
                }
            }
            _ => {
                trial.failed += 1;
                trial.failed_unsent += usize::from(sent == 0);
            }
        }
    }
    if first_b < u64::MAX {
        // What the old one answered after the new one had begun is no gap.
        trial.gap = Some(first_b.saturating_sub(last_a.min(first_b).max(event.min(last_a))) as f64 / 1e6);
    }
    Ok(trial)
}

fn row(trials: &[Trial]) -> String {
    let gaps: Vec<f64> = trials.iter().filter_map(|t| t.gap).collect();
    let failed: Vec<f64> = trials.iter().map(|t| t.failed as f64).collect();
    let slowest: Vec<f64> = trials.iter().map(|t| t.slowest).collect();
    let count = |of: fn(&Trial) -> bool| trials.iter().filter(|t| of(t)).count();
    format!(
        "{:.1} / {:.1} / {:.1} | {:.0} / {:.0} | {} | {:.1} / {:.1} | {} of {} | {}",
        median(&gaps),
        percentile(&gaps, 99),
        percentile(&gaps, 100),
        median(&failed),
        percentile(&failed, 100),
        trials.iter().map(|t| t.failed_unsent).sum::<usize>(),
        median(&slowest),
        percentile(&slowest, 100),
        count(|t| t.cut),
        trials.len(),
        count(|t| t.gap.is_none()),
    )
}

fn signal(of: &Helper, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_child(&of.process), signal)?)
}

/// Who answers a new connection; none if nobody does.
fn who(at: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(crate::load::LAST_REQUEST).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.split_once("\r\n\r\n")?.1.trim().to_owned())
}

fn until_active(at: SocketAddr, name: &str) -> Result<()> {
    let deadline = Instant::now() + BACK_WITHIN;
    let mut in_a_row = 0;
    while in_a_row < 20 {
        if Instant::now() > deadline {
            return Err(format!("{name} is not active again after {BACK_WITHIN:?}").into());
        }
        in_a_row = if who(at).as_deref() == Some(name) { in_a_row + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Makes the spare the active, or the other way round.
fn switch(proxy: &Proxy, places: &Places, work: &Path, to_spare: bool) -> Result<()> {
    match proxy.kind.as_str() {
        "hotspare" | "hotspare-http" => {
            let body = format!("{{\"to\":\"{}\"}}", if to_spare { "b" } else { "a" });
            let answer = post(places.admin, "/v1/instances/bench/switchover", &body)?;
            if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(answer.into()) }
        }
        "haproxy" => {
            let mut control = UnixStream::connect(work.join(format!("{}.sock", proxy.name)))?;
            let state = if to_spare { "maint" } else { "ready" };
            writeln!(control, "set server be/a state {state}")?;
            control.read_to_string(&mut String::new())?;
            Ok(())
        }
        "nginx" => {
            let swapped = Places { active: places.spare, spare: places.active, ..*places };
            let text = proxies::nginx(if to_spare { &swapped } else { places }, &work.join(&proxy.name));
            fs::write(work.join(format!("{}.conf", proxy.name)), text)?;
            signal_of(proxy, Signal::HUP)
        }
        "envoy" => {
            let (first, second) = if to_spare { (places.spare, places.active) } else { (places.active, places.spare) };
            proxies::write_endpoints(work, first, second).map_err(Into::into)
        }
        other => Err(format!("nobody knows how to switch {other}").into()),
    }
}

fn signal_of(proxy: &Proxy, signal: Signal) -> Result<()> {
    Ok(kill_process(Pid::from_child(&proxy.process), signal)?)
}

fn switch_back(proxy: &Proxy, places: &Places, work: &Path) -> Result<()> {
    let deadline = Instant::now() + BACK_WITHIN;
    loop {
        if who(places.listen).as_deref() == Some("A") {
            return Ok(());
        }
        match switch(proxy, places, work, false) {
            Ok(()) => return Ok(()),
            Err(e) if Instant::now() > deadline => return Err(e),
            // The one that was down is not ready yet.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn post(at: SocketAddr, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(at)?;
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A network namespace for the active, with a link to it.
struct Site {
    name: String,
    active: SocketAddr,
}

impl Site {
    fn new() -> Result<Self> {
        let pid = std::process::id();
        let name = format!("hotspare-bench-{pid}");
        let (near, far) = (format!("hsb{pid}n"), format!("hsb{pid}f"));
        let site = Self { name: name.clone(), active: "10.231.77.2:9001".parse()? };
        ip(&["netns", "add", &name])?;
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &name])?;
        ip(&["address", "add", "10.231.77.1/30", "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
        ip(&["-n", &name, "address", "add", "10.231.77.2/30", "dev", &far])?;
        ip(&["-n", &name, "link", "set", &far, "up"])?;
        ip(&["-n", &name, "link", "set", "lo", "up"])?;
        Ok(site)
    }

    /// Starts the active.
    fn serve(&self) -> Result<Helper> {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(std::env::current_exe()?);
        let mut server = Helper::spawn(command, &["serve".into(), self.active.to_string(), "A".into()])?;
        server.line()?;
        Ok(server)
    }

    fn drop_packets(&self, on: bool) -> Result<()> {
        let rules: &[&str] = if on {
            &["add table ip cut", "add chain ip cut incoming { type filter hook input priority 0 ; policy drop ; }"]
        } else {
            &["delete table ip cut"]
        };
        rules.iter().try_for_each(|rule| ip(&["netns", "exec", &self.name, "nft", rule]))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The link goes with it.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(args: &[&str]) -> Result<()> {
    run_command("ip", args)
}

fn run_command(program: &str, args: &[&str]) -> Result<()> {
    let output = Command::new(program).args(args).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program} {}: {said} (root is needed)", args.join(" ")).into())
}
