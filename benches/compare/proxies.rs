//! The proxies side by side: how each is configured and started. Two threads each, the same active and spare behind
//! all, health checks of the same pace on (nginx has none), limits high enough for the test of idle connections.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A proxy that was started.
pub(crate) struct Proxy {
    /// In tables and file names.
    pub(crate) name: String,
    /// `hotspare`, `haproxy` and so on.
    pub(crate) kind: String,
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

/// Starts the peer called `name`: `hotspare` or `hotspare-http` (a listener of protocol http), `haproxy`, `nginx`,
/// `envoy`, `haproxy@PATH` and the like for another binary, or `NAME=COMMAND` with `{listen}`, `{active}` and `{spare}`
/// in it.
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
    let kind = name.split_once('@').map_or(name, |(kind, _)| kind).to_owned();
    let name = file_name(name);
    let log = fs::File::create(work.join(format!("{name}.log")))?;
    let process = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    Ok(Proxy { name, kind, listen: *listen, process })
}

fn file_name(peer: &str) -> String {
    peer.replace(['/', '@'], "-")
}

/// Starts a kind of proxy that is known here, with its own configuration.
fn known(peer: &str, places: &Places, work: &Path) -> io::Result<Command> {
    let (kind, path) = peer.split_once('@').unwrap_or((peer, ""));
    let name = file_name(peer);
    let write = |ending: &str, text: String| {
        let path = work.join(format!("{name}.{ending}"));
        fs::write(&path, text).map(|()| path)
    };
    let binary = |usual: &str| Command::new(if path.is_empty() { usual } else { path });
    let mut command;
    match kind {
        "hotspare" | "hotspare-http" => {
            command = binary(env!("CARGO_BIN_EXE_hotspare"));
            let protocol = if kind == "hotspare" { "tcp" } else { "http" };
            let state = work.join(format!("{name}-state-{}", places.listen.port()));
            command.arg("run").arg("--config").arg(write("toml", hotspare(places, protocol, &state))?);
        }
        "haproxy" => {
            command = binary("haproxy");
            command.arg("-db").arg("-f").arg(write("cfg", haproxy(places, &work.join(&name)))?);
        }
        "nginx" => {
            command = binary("nginx");
            command.arg("-c").arg(write("conf", nginx(places, &work.join(&name)))?);
        }
        "envoy" => {
            let usual = std::env::var("ENVOY").unwrap_or_else(|_| "envoy".to_owned());
            command = binary(&usual);
            write_endpoints(work, places.active, places.spare)?;
            command.arg("-c").arg(write("yaml", envoy(places, work))?);
            command.args(["--concurrency", "2", "--disable-hot-restart", "-l", "error"]);
        }
        _ => return Err(io::Error::other(format!("{kind}: not a peer that is known, and not NAME=COMMAND"))),
    }
    Ok(command)
}

fn hotspare(Places { listen, admin, active, spare }: &Places, protocol: &str, state: &Path) -> String {
    format!(
        r#"[proxy]
threads = 2

[store]
dir = "{state}"

[admin]
listen = "{admin}"

[[instance]]
name = "bench"
listener = [{{ name = "main", listen = "{listen}", protocol = "{protocol}" }}]
timeouts = {{ connect = "200ms", drain = "0s" }}
failover = {{ max_per_hour = 1000, hold_down = "0s" }}

[[instance.member]]
name = "a"
address = "{active}"
launcher = {{ kind = "none" }}

[[instance.member]]
name = "b"
address = "{spare}"
launcher = {{ kind = "none" }}

[instance.health]
interval = "100ms"
timeout = "100ms"
rise = 2
fall = 2
start_grace = "0s"

[[instance.health.check]]
kind = "http"
path = "/"
status = [200]
"#,
        state = state.display()
    )
}

/// `files`: what the names of its files begin with.
fn haproxy(Places { listen, active, spare, .. }: &Places, files: &Path) -> String {
    let files = files.display();
    format!(
        "global
  nbthread 2
  maxconn 9500
  stats socket {files}.sock mode 600 level admin
  spread-checks 0
  tune.pipesize 1048576
  maxpipes 256
defaults
  mode tcp
  timeout connect 1s
  timeout client 5m
  timeout server 5m
  timeout check 100ms
  option splice-auto
  option tcp-smart-accept
  option tcp-smart-connect
frontend fe
  bind {listen} backlog 4096
  default_backend be
backend be
  option httpchk GET /
  option redispatch 1
  retries 2
  default-server check inter 100ms fastinter 50ms downinter 100ms fall 2 rise 2 on-marked-down shutdown-sessions \
on-marked-up shutdown-backup-sessions observe layer4 error-limit 1 on-error mark-down
  server a {active}
  server b {spare} backup
"
    )
}

/// `files`: what the names of its files begin with.
pub(crate) fn nginx(Places { listen, active, spare, .. }: &Places, files: &Path) -> String {
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let files = files.display();
    format!(
        "{load}worker_processes 2; worker_rlimit_nofile 20000; daemon off; pid {files}.pid; error_log {files}.err crit;
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

/// Envoy reads where its members are from a file, and again when that is replaced.
pub(crate) fn write_endpoints(work: &Path, first: SocketAddr, second: SocketAddr) -> io::Result<()> {
    let endpoint = |priority: usize, at: SocketAddr| {
        format!(
            "  - priority: {priority}\n    lb_endpoints: [ {{ endpoint: {{ address: {{ socket_address: {{ address: {}, \
             port_value: {} }} }} }} }} ]\n",
            at.ip(),
            at.port()
        )
    };
    let text = format!(
        "version_info: \"1\"\nresources:\n- \"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment\n  \
         cluster_name: be\n  endpoints:\n{}{}",
        endpoint(0, first),
        endpoint(1, second)
    );
    let folder = work.join("envoy-endpoints");
    fs::create_dir_all(&folder)?;
    fs::write(work.join("envoy-endpoints.new"), text)?;
    fs::rename(work.join("envoy-endpoints.new"), folder.join("now.yaml"))
}

fn envoy(Places { listen, .. }: &Places, work: &Path) -> String {
    let (ip, port, work) = (listen.ip(), listen.port(), work.display());
    let types = "type.googleapis.com/envoy";
    format!(
        "node: {{ id: bench, cluster: bench }}
static_resources:
  listeners:
  - name: l
    address: {{ socket_address: {{ address: {ip}, port_value: {port} }} }}
    tcp_backlog_size: 4096
    enable_reuse_port: true
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          \"@type\": {types}.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: t
          cluster: be
          max_connect_attempts: 2
          idle_timeout: 300s
  clusters:
  - name: be
    connect_timeout: 0.2s
    type: EDS
    eds_cluster_config:
      service_name: be
      eds_config: {{ resource_api_version: V3, path_config_source: {{ path: {work}/envoy-endpoints/now.yaml, watched_directory: {{ path: {work}/envoy-endpoints }} }} }}
    close_connections_on_host_health_failure: true
    common_lb_config: {{ healthy_panic_threshold: {{ value: 0 }} }}
    circuit_breakers: {{ thresholds: [ {{ max_connections: 20000, max_pending_requests: 20000, max_requests: 20000 }} ] }}
    health_checks:
    - timeout: 0.1s
      interval: 0.1s
      unhealthy_interval: 0.1s
      unhealthy_edge_interval: 0.05s
      no_traffic_interval: 0.1s
      no_traffic_healthy_interval: 0.1s
      unhealthy_threshold: 2
      healthy_threshold: 2
      http_health_check: {{ path: /, host: x }}
    outlier_detection: {{ consecutive_local_origin_failure: 1, split_external_local_origin_errors: true, interval: 0.1s, base_ejection_time: 1s, max_ejection_percent: 100 }}
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config: {{ \"@type\": {types}.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig, max_active_downstream_connections: 19000 }}
"
    )
}
