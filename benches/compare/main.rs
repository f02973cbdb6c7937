//! Proxies side by side with the direct connection, interleaved in one run: `benches/peers [OPTIONS] [PEER...]`, and
//! what a failover costs clients: `benches/peers failover [OPTIONS] [PEER...]` (see `failover`).
//!
//! A round puts every load on every proxy, in an order that rotates from round to round; each figure is the median
//! over the rounds of the ratio to the direct connection of the same round. A PEER is `hotspare` (this build, with
//! checks, limits, epochs and metrics on), `hotspare-http` (the same with a listener of protocol http), `haproxy`,
//! `nginx`, `envoy` (each as found in PATH, `envoy` by the variable ENVOY too, or at `haproxy@PATH`), or `NAME=COMMAND`
//! with `{listen}`, `{active}` and `{spare}` in it. Without any: all that are there.
//!
//! The loads are in `load` and `gap`, the proxies' configurations in `proxies`, the table and the plot in `report`.

mod failover;
mod gap;
mod load;
mod measure;
mod proxies;
mod report;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use proxies::{Places, Proxy};
use report::{Row, Sample};

const USAGE: &str = "usage: benches/peers [--rounds N] [--seconds S] [--idle N] [--times N] [--svg FILE] [PEER...]
       benches/peers failover [--trials N] [--events kill,stop,drop,planned] [PEER...]";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let result = match args.first().map(String::as_str) {
        Some("as-load") => as_load(&args[1..]),
        Some("failover") => Options::parse(&args[1..]).and_then(|options| {
            in_work_folder(|work| failover::run(&options.peers, &options.events, options.trials, work))
        }),
        _ => Options::parse(&args)
            .and_then(|options| (0..options.times).try_for_each(|_| in_work_folder(|work| run(&options, work)))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    rounds: usize,
    seconds: f64,
    idle: usize,
    times: usize,
    svg: Option<String>,
    trials: usize,
    events: Vec<String>,
    peers: Vec<String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Box<dyn Error>> {
        let events = failover::EVENTS.map(str::to_owned).to_vec();
        let mut options =
            Self { rounds: 5, seconds: 1.5, idle: 9000, times: 1, svg: None, trials: 20, events, peers: Vec::new() };
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(USAGE);
            match word.as_str() {
                "--rounds" => options.rounds = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--idle" => options.idle = value()?.parse()?,
                "--times" => options.times = value()?.parse()?,
                "--trials" => options.trials = value()?.parse()?,
                "--events" => options.events = value()?.split(',').map(str::to_owned).collect(),
                "--svg" => options.svg = Some(value()?.clone()),
                peer if !peer.starts_with('-') => options.peers.push(peer.to_owned()),
                _ => return Err(USAGE.into()),
            }
        }
        if options.peers.is_empty() {
            options.peers = ["hotspare", "hotspare-http", "haproxy", "nginx"].map(str::to_owned).to_vec();
            if std::env::var_os("ENVOY").is_some() {
                options.peers.push("envoy".to_owned());
            }
        }
        if let Some(event) = options.events.iter().find(|event| !failover::EVENTS.contains(&event.as_str())) {
            return Err(format!("{event} is no event: {}", failover::EVENTS.join(", ")).into());
        }
        Ok(options)
    }
}

/// A folder for configurations and logs, that goes unless something failed.
fn in_work_folder(what: impl FnOnce(&Path) -> Result<(), Box<dyn Error>>) -> Result<(), Box<dyn Error>> {
    let work = std::env::temp_dir().join(format!("hotspare-peers-{}", std::process::id()));
    std::fs::create_dir_all(&work)?;
    what(&work).map_err(|e| format!("{e} (logs in {})", work.display()))?;
    Ok(std::fs::remove_dir_all(&work)?)
}

/// This program again, as a load or as the server.
fn as_load(args: &[String]) -> Result<(), Box<dyn Error>> {
    let [what, at, rest @ ..] = args else { return Err(USAGE.into()) };
    let at: SocketAddr = at.parse()?;
    let number = |place: usize| rest.get(place).ok_or(USAGE)?.parse::<usize>().map_err(Box::<dyn Error>::from);
    let length = || Ok::<_, Box<dyn Error>>(Duration::from_secs_f64(rest.get(1).ok_or(USAGE)?.parse()?));
    match what.as_str() {
        "serve" => load::serve(at, rest.first().ok_or(USAGE)?)?,
        "down" => load::bulk(at, number(0)?, length()?, true)?,
        "up" => load::bulk(at, number(0)?, length()?, false)?,
        "connections" => load::connections(at, number(0)?, length()?)?,
        "requests" => load::requests(at, number(0)?, length()?)?,
        "idle" => load::idle(at, number(0)?)?,
        "gap" => gap::run(at, length()?)?,
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

struct Helper {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Helper {
    fn start(args: &[String]) -> Result<Self, Box<dyn Error>> {
        Self::spawn(Command::new(std::env::current_exe()?), args)
    }

    fn spawn(mut command: Command, args: &[String]) -> Result<Self, Box<dyn Error>> {
        let mut process = command.arg("as-load").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(process.stdout.take().ok_or("no output")?);
        Ok(Self { process, output })
    }

    fn line(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() { Err("a load ended without a result".into()) } else { Ok(line.trim().to_owned()) }
    }
}

impl Helper {
    fn kill(&mut self) -> Result<(), Box<dyn Error>> {
        self.process.kill()?;
        self.process.wait()?;
        Ok(())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.kill();
    }
}

fn run(options: &Options, work: &Path) -> Result<(), Box<dyn Error>> {
    let (active, spare) = (free()?, free()?);
    let mut servers = Vec::new();
    for (addr, name) in [(active, "A"), (spare, "B")] {
        let mut server = Helper::start(&["serve".into(), addr.to_string(), name.into()])?;
        server.line()?;
        servers.push(server);
    }
    let mut proxies = Vec::new();
    for name in &options.peers {
        let places = Places { listen: free()?, admin: free()?, active, spare };
        let proxy = proxies::start(name, &places, work).map_err(|e| format!("{name}: {e}"))?;
        wait_until_it_answers(&proxy)?;
        proxies.push(proxy);
    }
    let mut rows: Vec<Row> = proxies.iter().map(|proxy| idle(proxy, options.idle)).collect::<Result<_, _>>()?;
    for round in 0..options.rounds {
        one_round(round, options.seconds, active, &proxies, &mut rows)?;
        eprintln!("round {} of {}", round + 1, options.rounds);
    }
    println!("{}", report::table(&rows));
    if let Some(path) = &options.svg {
        std::fs::write(path, report::svg(&rows))?;
    }
    Ok(())
}

/// Every load on every target, the direct connection among them.
fn one_round(
    round: usize,
    seconds: f64,
    active: SocketAddr,
    proxies: &[Proxy],
    rows: &mut [Row],
) -> Result<(), Box<dyn Error>> {
    let count = proxies.len() + 1;
    let mut samples = vec![[Sample::default(); report::LOADS.len()]; proxies.len()];
    let loads = [("down", 1), ("down", 8), ("connections", 32), ("requests", 32)];
    for (at, (load, streams)) in loads.into_iter().enumerate() {
        let unit = if load == "down" { 1e9 } else { 1.0 };
        let scale = if load == "down" { 1.0 } else { 1e6 };
        let mut rates = vec![0.0; count];
        for turn in 0..count {
            let target = (turn + round) % count;
            let proxy = target.checked_sub(1).map(|place| &proxies[place]);
            let to = proxy.map_or(active, |proxy| proxy.listen);
            let mut helper = Helper::start(&[load.into(), to.to_string(), streams.to_string(), seconds.to_string()])?;
            helper.line()?;
            let pid = proxy.map(|proxy| proxy.process.id());
            let before = pid.map_or(0.0, measure::cpu_seconds);
            let result = helper.line()?;
            let cpu = pid.map_or(0.0, measure::cpu_seconds) - before;
            let words: Vec<f64> = result.split(' ').filter_map(|word| word.parse().ok()).collect();
            let [units, seconds, errors] = words[..] else { return Err(format!("unexpected: {result}").into()) };
            rates[target] = units / seconds;
            if target > 0 {
                samples[target - 1][at].cpu = cpu * scale * unit / units;
                rows[target - 1].errors += errors as u64;
            }
        }
        for (place, sample) in samples.iter_mut().enumerate() {
            sample[at].ratio = rates[place + 1] / rates[0];
        }
    }
    for (row, sample) in rows.iter_mut().zip(samples) {
        row.rounds.push(sample);
    }
    Ok(())
}

/// Memory before and with many idle connections.
fn idle(proxy: &Proxy, count: usize) -> Result<Row, Box<dyn Error>> {
    let pid = proxy.process.id();
    let base_mib = measure::memory_mib(pid);
    let mut helper = Helper::start(&["idle".into(), proxy.listen.to_string(), count.to_string()])?;
    let line = helper.line()?;
    let opened: f64 = line.strip_prefix("READY ").ok_or("unexpected answer of a load")?.parse()?;
    let idle_mib = (measure::memory_mib(pid) - base_mib) * 10_000.0 / opened.max(1.0);
    let errors = (count as f64 - opened) as u64;
    Ok(Row { name: proxy.name.clone(), rounds: Vec::new(), base_mib, idle_mib, errors })
}

fn free() -> Result<SocketAddr, Box<dyn Error>> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn wait_until_it_answers(proxy: &Proxy) -> Result<(), Box<dyn Error>> {
    use std::io::{Read, Write};
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        let mut answer = [0; 12];
        let answered = std::net::TcpStream::connect(proxy.listen).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            stream.read_exact(&mut answer)
        });
        if answered.is_ok() && answer.starts_with(b"HTTP/1.1 200") {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(format!("{} does not answer on {}", proxy.name, proxy.listen).into())
}
