//! A real nginx as an ingress: it takes clients' connections and keeps a pool of its own to what is behind it.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::wait::wait_until;

/// Idle connections that a worker keeps to the upstream.
const POOL: u32 = 64;

/// A running nginx; it ends when dropped.
#[derive(Debug)]
pub struct Nginx {
    /// Where clients connect.
    pub address: SocketAddr,
    process: Process,
    _folder: TempDir,
}

impl Nginx {
    /// Starts one on `address` that passes every request on to `upstream`, over connections that it keeps. What is not
    /// said here is nginx's default: which failures it hides by asking again, and when it ends a connection.
    ///
    /// # Panics
    /// If it doesn't come up.
    pub fn start(address: SocketAddr, upstream: SocketAddr) -> Self {
        Self::start_with(address, upstream, None)
    }

    /// The same for one that clients speak https with, with this certificate and key, if there are some.
    ///
    /// # Panics
    /// If it doesn't come up.
    pub fn start_with(address: SocketAddr, upstream: SocketAddr, https: Option<(&Path, &Path)>) -> Self {
        let (ssl, files) = https.map_or_else(Default::default, |(certificate, key)| {
            let (certificate, key) = (certificate.display(), key.display());
            (" ssl", format!("ssl_certificate {certificate}; ssl_certificate_key {key};"))
        });
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().display();
        let text = format!(
            "user root; worker_processes 1; worker_rlimit_nofile 16384; daemon off; pid {path}/pid; error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;
  uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
  upstream hotspare {{ server {upstream}; keepalive {POOL}; }}
  server {{
    listen {address}{ssl} backlog=2048; {files}
    location / {{ proxy_pass http://hotspare; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}
  }}
}}
"
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, text).expect("write nginx's configuration");
        let mut command = Command::new("nginx");
        let path = std::env::var("PATH").unwrap_or_default();
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).env("PATH", format!("{path}:/usr/sbin:/sbin"));
        let mut process = Process::start("nginx", command);
        wait_until(Duration::from_secs(30), "nginx to take connections", || {
            assert!(process.is_running(), "nginx has ended: {}", process.output());
            TcpStream::connect(address)
        });
        Nginx { address, process, _folder: folder }
    }

    /// What it complained about: each line is about a request that it could not pass on as it was.
    pub fn complaints(&self) -> String {
        self.process.output()
    }
}
