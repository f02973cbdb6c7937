//! A mosquitto of the test's own.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::process::Process;
use crate::wait::wait_until;

/// A running broker that lets anyone in.
#[derive(Debug)]
pub struct Broker {
    /// Where it listens.
    pub address: SocketAddr,
    _process: Process,
    _folder: TempDir,
}

impl Broker {
    /// Starts mosquitto on `address` and waits until it accepts.
    ///
    /// # Panics
    /// If it isn't installed or doesn't come up.
    pub fn start(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("mosquitto.conf");
        let text = format!(
            "listener {} {}\nallow_anonymous true\npersistence false\nset_tcp_nodelay true\nuser root\n",
            address.port(),
            address.ip()
        );
        fs::write(&config, text).expect("write mosquitto.conf");
        // Debian has the broker outside an ordinary user's PATH.
        let program =
            ["/usr/sbin/mosquitto"].into_iter().find(|path| fs::metadata(path).is_ok()).unwrap_or("mosquitto");
        let mut command = Command::new(program);
        command.arg("-c").arg(&config);
        let process = Process::start("mosquitto", command);
        wait_until(Duration::from_secs(10), &format!("mosquitto at {address}"), || TcpStream::connect(address));
        Broker { address, _process: process, _folder: folder }
    }
}
