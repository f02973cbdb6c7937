//! Many instances in one process: `benches/scale [--instances N,N...] [--connections N] [--seconds S] [--heartbeat MS]`.
//!
//! For each number of instances: the proxy beside stand-ins for two launchers an instance (`stand_in.rs`; they
//! heartbeat at the default pace if no other is said, and start nothing), with idle clients spread over all instances.
//! Printed: what the proxy costs while nothing happens, beside what reading and answering those heartbeats costs alone
//! (`floor.rs`), and what a failover takes a client: of one instance, and of a hundred at once.

mod client;
mod floor;
#[path = "../compare/measure.rs"]
mod measure;
mod site;
mod stand_in;

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: benches/scale [--instances N,N...] [--connections N] [--seconds S] [--heartbeat MS]";
/// The default pace of heartbeats, in milliseconds.
const HEARTBEAT_MS: u64 = 100;
/// Failovers of one instance, one after the other.
const SINGLE: usize = 20;
/// Failovers of many at once, and how many.
const STORMS: usize = 5;
const AT_ONCE: usize = 100;
/// Between two failovers: the member that went down is a spare again.
const PAUSE: Duration = Duration::from_millis(1500);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let result = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["as-stand-ins", instances, links, heartbeat] => as_stand_ins(instances, links, heartbeat),
        _ => Options::parse(&args).and_then(|options| run(&options)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn as_stand_ins(instances: &str, links: &str, heartbeat: &str) -> Result<()> {
    stand_in::run(instances.parse()?, links.parse()?, Duration::from_millis(heartbeat.parse()?))
}

struct Options {
    instances: Vec<usize>,
    connections: usize,
    seconds: f64,
    heartbeat: u64,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self> {
        let mut options =
            Self { instances: vec![1, 10, 100, 1000], connections: 10_000, seconds: 10.0, heartbeat: HEARTBEAT_MS };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(USAGE);
            match word.as_str() {
                "--instances" => {
                    options.instances = value()?.split(',').map(str::parse).collect::<std::result::Result<_, _>>()?;
                }
                "--connections" => options.connections = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--heartbeat" => options.heartbeat = value()?.parse()?,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(options)
    }
}

fn run(options: &Options) -> Result<()> {
    println!(
        "| instances | idle connections | CPU of one core, idle | of it links and engine | reading and answering alone | MiB | failover of one, median (worst) ms \
         | of {AT_ONCE} at once (or all), median (worst) ms | /status ms | /metrics ms |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
    for &instances in &options.instances {
        println!("{}", measured(instances, options)?);
    }
    Ok(())
}

/// A child that is ended with its owner.
struct Running {
    process: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<ChildStdout>>,
}

impl Running {
    fn start(command: &mut Command) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (process.stdin.take(), process.stdout.take().map(BufReader::new));
        Ok(Self { process, input, output })
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        let mut line = String::new();
        if let Some(output) = &mut self.output {
            output.read_line(&mut line)?;
        }
        if line.trim() == word { Ok(()) } else { Err(format!("{word} was expected, '{}' came", line.trim()).into()) }
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or("no input")?;
        Ok(writeln!(input, "{line}").and_then(|()| input.flush())?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One row of the table.
fn measured(instances: usize, options: &Options) -> Result<String> {
    let work = tempfile::tempdir()?;
    let (admin, links) = (free()?, free()?);
    let file = work.path().join("hotspare.toml");
    std::fs::write(&file, site::configuration(instances, admin, links, options.heartbeat, work.path())?)?;
    let mut members = Running::start(Command::new(std::env::current_exe()?).args([
        "as-stand-ins",
        &instances.to_string(),
        &links.to_string(),
        &options.heartbeat.to_string(),
    ]))?;
    members.expect("SERVING")?;
    let log_file = work.path().join("log");
    let log = std::fs::File::create(&log_file)?;
    let mut proxy = Command::new(env!("CARGO_BIN_EXE_hotspare"));
    let proxy = Running::start(proxy.arg("run").arg("--config").arg(&file).stderr(log))?;
    let pid = proxy.process.id();
    members.expect("RUNNING").map_err(|error| {
        let said = std::fs::read_to_string(&log_file).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(5).collect();
        format!("{error}; the proxy said last: {}", last.join(" / "))
    })?;

    let mut held = client::hold(instances, options.connections);
    std::thread::sleep(Duration::from_secs(3));
    let (before, main_before) = (measure::cpu_seconds(pid), measure::thread_seconds(pid, pid));
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs_f64(options.seconds));
    let seconds = began.elapsed().as_secs_f64();
    let cpu = (measure::cpu_seconds(pid) - before) / seconds * 100.0;
    let main = (measure::thread_seconds(pid, pid) - main_before) / seconds * 100.0;
    let mib = measure::memory_mib(pid);

    let one = repeated(SINGLE, || failover(&mut members, &[instances / 2]))?;
    let all: Vec<usize> = (0..instances.min(AT_ONCE)).collect();
    let many = repeated(STORMS, || failover(&mut members, &all))?;
    let (status, metrics) = (client::page_ms(admin, "/status")?, client::page_ms(admin, "/metrics")?);
    let connections = held.len();
    held.clear();
    drop((members, proxy));
    let links = instances * site::MEMBERS.len();
    let floor = floor::measured(links, Duration::from_millis(options.heartbeat), options.seconds)? * 100.0;
    Ok(format!(
        "| {instances} | {connections} | {cpu:.1} % | {main:.1} % | {floor:.1} % | {mib:.0} | {} | {} | {status:.1} | {metrics:.1} |",
        spread(&one),
        spread(&many)
    ))
}

fn repeated(times: usize, mut each: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    (0..times)
        .map(|_| {
            std::thread::sleep(PAUSE);
            each()
        })
        .collect()
}

/// Milliseconds from the exits until a client of the last of these instances has an answer of the other member.
fn failover(members: &mut Running, instances: &[usize]) -> Result<f64> {
    let before: Vec<String> = instances.iter().map(|&i| client::who(site::listener(i))).collect::<Result<_>>()?;
    let words: Vec<String> = instances.iter().map(usize::to_string).collect();
    let began = Instant::now();
    members.tell(&format!("exit {}", words.join(" ")))?;
    let ends = std::thread::scope(|scope| {
        let waiting: Vec<_> = instances
            .iter()
            .zip(&before)
            .map(|(&instance, before)| scope.spawn(move || client::until_other(site::listener(instance), before)))
            .collect();
        waiting.into_iter().map(|thread| thread.join().map_err(|_| "a client failed")).collect::<Vec<_>>()
    });
    let mut last = began;
    for end in ends {
        last = last.max(end??);
    }
    Ok((last - began).as_secs_f64() * 1e3)
}

fn spread(values: &[f64]) -> String {
    let worst = values.iter().copied().fold(0.0, f64::max);
    format!("{:.1} ({worst:.1})", measure::median(values))
}

fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
