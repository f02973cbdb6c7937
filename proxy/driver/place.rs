//! Where a member is: its address, and whether that is this host.

use std::net::{IpAddr, UdpSocket};

use tokio::net::lookup_host;

/// Whether `address` (`host:port`) names this very host, so that a refused connection means that no process
/// listens there. `false` whenever that is not certain.
pub(super) async fn is_this_host(address: &str) -> bool {
    let Ok(found) = lookup_host(address).await else { return false };
    let ips: Vec<IpAddr> = found.map(|a| a.ip()).collect();
    // Only an address of an interface of this host can be bound to.
    !ips.is_empty() && ips.iter().all(|ip| ip.is_loopback() || UdpSocket::bind((*ip, 0)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_this_hosts_own_addresses_count() {
        assert!(is_this_host("127.0.0.1:1880").await);
        assert!(is_this_host("127.9.9.9:1880").await);
        // RFC 5737: an address of nobody's.
        assert!(!is_this_host("192.0.2.1:1880").await);
        assert!(!is_this_host("not an address").await);
    }
}
