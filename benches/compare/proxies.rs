//! The proxies side by side: how each is configured and started. Two threads each, the same active and spare behind
//! all, health checks on, limits high enough for the test of idle connections.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A proxy that was started.
pub(crate) struct Proxy {
    pub(crate) name: String,
    pub(crate) listen: SocketAddr,
    pub(crate) process: Child,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx's workers end with their master only if it is asked politely.
        let pid = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// Addresses given to one proxy.
pub(crate) struct Places {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) active: SocketAddr,
    pub(crate) spare: SocketAddr,
}

/// Starts the peer called `name`: `hotspare`, `haproxy`, `nginx` or `NAME=COMMAND` with `{listen}`, `{active}` and
/// `{spare}` in it.
pub(crate) fn start(name: &str, places: &Places, work: &Path) -> io::Result<Proxy> {
    let Places { listen, active, spare, .. } = places;
    let (name, mut command) = match name.split_once('=') {
        Some((name, line)) => {
            let line = [("{listen}", listen), ("{active}", active), ("{spare}", spare)]
                .iter()
                .fold(line.to_owned(), |line, (word, addr)| line.replace(word, &addr.to_string()));
            let mut words = line.split_whitespace().map(str::to_owned);
            let program = words.next().ok_or_else(|| io::Error::other("NAME=COMMAND has no command"))?;
            let mut command = Command::new(program);
            command.args(words);
            (name, command)
        }
        None => (name, known(name, places, work)?),
    };
    let log = fs::File::create(work.join(format!("{name}.log")))?;
    let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    Ok(Proxy { name: name.to_owned(), listen: *listen, process })
}

fn known(name: &str, places: &Places, work: &Path) -> io::Result<Command> {
    let write = |ending: &str, text: String| {
        let path = work.join(format!("{name}.{ending}"));
        fs::write(&path, text).map(|()| path)
    };
    let mut command;
    match name {
        "hotspare" => {
            command = Command::new(env!("CARGO_BIN_EXE_hotspare"));
            command.arg("run").arg("--config").arg(write("toml", hotspare(places, work))?);
        }
        "haproxy" => {
            command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(write("cfg", haproxy(places))?);
        }
        "nginx" => {
            command = Command::new("nginx");
            command.arg("-c").arg(write("conf", nginx(places, work))?);
        }
        _ => return Err(io::Error::other(format!("{name}: neither hotspare, haproxy, nginx nor NAME=COMMAND"))),
    }
    Ok(command)
}

fn hotspare(Places { listen, admin, active, spare }: &Places, work: &Path) -> String {
    format!(
        r#"[proxy]
threads = 2

[store]
dir = "{work}/hotspare-state"

[admin]
listen = "{admin}"

[[instance]]
name = "bench"
listen = "{listen}"

[[instance.member]]
name = "a"
address = "{active}"
launcher = {{ kind = "none" }}

[[instance.member]]
name = "b"
address = "{spare}"
launcher = {{ kind = "none" }}

[[instance.health.check]]
kind = "http"
path = "/"
status = [200]
"#,
        work = work.display()
    )
}

fn haproxy(Places { listen, active, spare, .. }: &Places) -> String {
    format!(
        "global
  nbthread 2
  maxconn 9500
  tune.pipesize 1048576
  maxpipes 256
defaults
  mode tcp
  timeout connect 1s
  timeout client 5m
  timeout server 5m
  option splice-auto
  option tcp-smart-accept
  option tcp-smart-connect
frontend fe
  bind {listen} backlog 4096
  default_backend be
backend be
  option httpchk GET /
  default-server check inter 100ms fall 2 rise 2
  server a {active}
  server b {spare} backup
"
    )
}

fn nginx(Places { listen, active, spare, .. }: &Places, work: &Path) -> String {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let work = work.display();
    format!(
        "{load}worker_processes 2; worker_rlimit_nofile 20000; daemon off; pid {work}/nginx.pid; error_log {work}/nginx.err crit;
events {{ worker_connections 19000; multi_accept on; }}
stream {{
  upstream be {{ zone be 64k; server {active} max_fails=1 fail_timeout=1s; server {spare} backup; }}
  server {{
    listen {listen} backlog=4096 reuseport; proxy_pass be; proxy_connect_timeout 200ms; proxy_next_upstream on;
    proxy_timeout 5m; proxy_buffer_size 64k; tcp_nodelay on;
  }}
}}
"
    )
}
