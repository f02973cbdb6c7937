//! `soak [--minutes M] [--seed N]`: mixed load on a real pair while random faults come and go; the same seed gives the
//! same sequence.
//!
//! Run it through `tests/run soak …`, which sets up Node-RED. Exit code 0 if flows never ran twice, nothing panicked, the
//! proxy's memory and descriptors stayed what they were, and every error of a client came between the begin of a fault and
//! the service's return (or a moment later), which is a part of the time only.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hotspare_test_support::fault;
use hotspare_test_support::flows::TICK;
use hotspare_test_support::mixed::{Load, Trouble};
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::scenario::{self, Fault, Needs};
use hotspare_test_support::wait::wait_until;
use hotspare_test_support::witness::judge;
use hotspare_test_support::witness::record::Nanos;

const USAGE: &str = "usage: soak [--minutes M] [--seed N]";
/// What a fault may still do to a client after the service is back: to a request that was under way.
const AFTERMATH: Nanos = 2_000_000_000;
/// How much the proxy's memory may grow from the second quarter of the run to the last: what an allocator keeps.
const GROWTH_KIB: u64 = 8 << 10;
/// How far its descriptors may wander under the same load: connections come and go.
const WANDER: usize = 100;

fn main() -> ExitCode {
    let (mut minutes, mut seed) = (60.0, 1);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().unwrap_or_default();
        let taken = match word.as_str() {
            "--minutes" => value.parse().map(|m| minutes = m).is_ok(),
            "--seed" => value.parse().map(|s| seed = s).is_ok(),
            _ => false,
        };
        if !taken {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    }
    let findings = soak(Duration::from_secs_f64(minutes * 60.0), seed);
    for finding in &findings {
        println!("FAILED: {finding}");
    }
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// When a fault may hurt clients.
struct Window {
    fault: &'static str,
    began: Nanos,
    served: Nanos,
}

impl Window {
    fn explains(&self, trouble: &Trouble) -> bool {
        (self.began..=self.served + AFTERMATH).contains(&trouble.ended)
    }
}

/// What the proxy has after a fault, when the pair is steady again.
struct Sample {
    resident_kib: u64,
    descriptors: usize,
}

fn soak(time: Duration, mut dice: u64) -> Vec<String> {
    let mut pair = Setup { all_senders: true, ..Setup::default() }.prepare();
    let mut web = pair.front();
    web.set_port(1881);
    pair.write_config(&format!(
        "[[instance.listener]]\nname = \"web\"\nlisten = \"{web}\"\nport = 1880\nprotocol = \"http\"\n\
         [instance.failover]\nhold_down = \"0s\"\nmax_per_hour = 1000\n[instance.timeouts]\npark = \"1m\"\nhead = \"1s\"\n"
    ));
    pair.start_launcher("a");
    pair.start_launcher("b");
    pair.start_proxy();
    pair.wait_until_steady();
    let proxy = pair.proxy().pid();
    let quiet = fault::open_descriptors(proxy);

    // Those that kill the proxy are not for here: a new one has used nothing yet.
    let faults: Vec<&Fault> =
        scenario::all().filter(|fault| fault.needs == Needs::Nothing && !fault.name.contains("kill-proxy")).collect();
    let load = Load::start(pair.front(), web);
    let (mut windows, mut samples, mut findings) = (Vec::new(), Vec::new(), Vec::new());
    let began = Instant::now();
    while began.elapsed() < time {
        let fault = faults[usize::try_from(scenario::roll(&mut dice) % faults.len() as u64).unwrap_or(0)];
        let outcome = scenario::run(&mut pair, fault);
        windows.push(Window { fault: fault.name, began: outcome.began, served: outcome.served });
        let sample = Sample { resident_kib: fault::resident_kib(proxy), descriptors: fault::open_descriptors(proxy) };
        println!(
            "{:6.0} s  {:28} {} -> {}  {} answers, {} errors, {} KiB, {} descriptors",
            began.elapsed().as_secs_f64(),
            fault.name,
            outcome.before.member,
            outcome.after.member,
            load.answers(),
            load.troubles().len(),
            sample.resident_kib,
            sample.descriptors
        );
        samples.push(sample);
        findings.extend(panics(&mut pair));
    }
    let (answers, troubles) = (load.answers(), load.troubles());
    drop(load);
    findings.extend(unexplained(&troubles, &windows));
    findings.extend(growth(&samples));
    wait_until(PATIENCE, "the descriptors of a quiet proxy", || {
        let open = fault::open_descriptors(proxy);
        // Launchers and checks come and go as well.
        if open <= quiet + 8 { Ok(()) } else { Err(format!("{open} open, {quiet} before the load")) }
    });
    let verdict = judge(&pair.sink.history(), TICK);
    println!("{verdict}");
    let hurt: Nanos = windows.iter().map(|window| window.served + AFTERMATH - window.began).sum();
    println!(
        "{} faults in {:.0} s, of which {:.0} s may explain an error; {answers} answers, {} errors of clients",
        windows.len(),
        began.elapsed().as_secs_f64(),
        hurt as f64 / 1e9,
        troubles.len()
    );
    if !verdict.is_clean() {
        findings.push("the witness found the flows guilty".to_owned());
    }
    findings
}

fn panics(pair: &mut Pair) -> Vec<String> {
    // A launcher writes what Node-RED writes too; whatever it is, a panic is looked at.
    let mut outputs = vec![("the proxy", pair.proxy().output())];
    outputs.extend(["a", "b"].map(|name| (name, pair.launcher(name).output())));
    let panicked = |text: &str| text.contains("panicked at") || text.contains("a fault while serving");
    outputs.retain(|(_, text)| panicked(text));
    outputs.into_iter().map(|(name, text)| format!("{name} panicked:\n{text}")).collect()
}

fn unexplained(troubles: &[Trouble], windows: &[Window]) -> Vec<String> {
    let without = troubles.iter().filter(|trouble| windows.iter().all(|window| !window.explains(trouble)));
    let after = |trouble: &Trouble| match windows.iter().rfind(|window| window.began <= trouble.ended) {
        None => "before any fault".to_owned(),
        Some(last) => {
            let late = trouble.ended.saturating_sub(last.served) / 1_000_000;
            format!("{late} ms after the service was back from {}", last.fault)
        }
    };
    without.map(|trouble| format!("an error that no fault explains, {}: {}", after(trouble), trouble.what)).collect()
}

fn growth(samples: &[Sample]) -> Vec<String> {
    let quarter = samples.len() / 4;
    if quarter == 0 {
        return vec!["too short to say anything about memory: make it longer".to_owned()];
    }
    let (early, late) = (&samples[quarter..2 * quarter], &samples[samples.len() - quarter..]);
    let median = |part: &[Sample], of: fn(&Sample) -> u64| {
        let mut values: Vec<u64> = part.iter().map(of).collect();
        values.sort_unstable();
        values[values.len() / 2]
    };
    let memory = [early, late].map(|part| median(part, |sample| sample.resident_kib));
    let open = [early, late].map(|part| median(part, |sample| sample.descriptors as u64));
    for (what, of, [early, late]) in [
        ("memory in KiB", (|sample: &Sample| sample.resident_kib) as fn(&Sample) -> u64, memory),
        ("descriptors", |sample| sample.descriptors as u64, open),
    ] {
        let values: Vec<u64> = samples.iter().map(of).collect();
        let (first, last) = (values[0], values[values.len() - 1]);
        let most = values.iter().max().copied().unwrap_or_default();
        println!(
            "{what}: first {first}, most {most}, last {last}; median of the second quarter {early}, of the last {late}"
        );
    }
    let mut findings = Vec::new();
    if memory[1] > memory[0] + GROWTH_KIB {
        findings.push(format!("memory grew from {} to {} KiB", memory[0], memory[1]));
    }
    if open[1].abs_diff(open[0]) > WANDER as u64 {
        findings.push(format!("descriptors went from {} to {}", open[0], open[1]));
    }
    findings
}
