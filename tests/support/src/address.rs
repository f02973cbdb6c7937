//! Loopback addresses of a test's own. All of 127.0.0.0/8 is the machine's, so every test takes a /24 of it, and inside
//! that the well-known ports (1880, 2880, 9480) are free: nothing has to be picked, closed and hoped for.
//!
//! Whoever holds a block ends what listens in it first: fields are dropped from top to bottom, so the block comes last.
//! A process takes no block twice, and nobody takes one in which something of a test before still listens.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// A block of loopback addresses, 127.77.N.0/24 and the like, held until dropped.
#[derive(Debug)]
pub struct LoopbackBlock {
    second: u8,
    third: u8,
    _held: TcpListener,
}

/// The host whose bound port marks a block as taken.
const MARK: u8 = 254;
const MARK_PORT: u16 = 1879;
/// How many blocks there are.
const BLOCKS: u32 = 20_000;

/// How many this process has looked at.
static NEXT: AtomicU32 = AtomicU32::new(0);

impl LoopbackBlock {
    /// Takes a free block.
    ///
    /// # Panics
    /// If all are taken, which means that tests left processes behind.
    pub fn take() -> Self {
        (0..BLOCKS)
            .map(|_| std::process::id().wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)))
            .find_map(|n| {
                let (second, third) = (77 + (n / 250 % 80) as u8, (n % 250) as u8 + 1);
                let held = TcpListener::bind((Ipv4Addr::new(127, second, third, MARK), MARK_PORT)).ok()?;
                let others = listening()
                    .into_iter()
                    .any(|address| address.ip().octets()[..3] == [127, second, third] && address.port() != MARK_PORT);
                (!others).then_some(LoopbackBlock { second, third, _held: held })
            })
            .expect("a free block of loopback addresses")
    }

    /// The address of one host of the block, 1 to 253.
    pub fn ip(&self, host: u8) -> IpAddr {
        assert!((1..MARK).contains(&host), "host {host} is outside the block");
        Ipv4Addr::new(127, self.second, self.third, host).into()
    }

    /// A socket address in the block.
    pub fn socket(&self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(host), port)
    }
}

/// Every IPv4 address and port of this machine on which TCP is listened for (proc(5), /proc/net/tcp).
fn listening() -> Vec<std::net::SocketAddrV4> {
    const LISTEN: &str = "0A";
    let table = fs::read_to_string("/proc/self/net/tcp").expect("the table of sockets");
    let entry = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (ip, port) = fields.next()?.split_once(':')?;
        let is_listening = fields.nth(1)? == LISTEN;
        // The kernel prints the address as the number that its bytes are to this processor.
        let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
        let port = u16::from_str_radix(port, 16).ok()?;
        is_listening.then_some(std::net::SocketAddrV4::new(ip, port))
    };
    table.lines().filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_in_which_something_still_listens_is_not_free() {
        let block = LoopbackBlock::take();
        let left_behind = TcpListener::bind(block.socket(2, 1880)).expect("an address of the test's own");
        let SocketAddr::V4(address) = left_behind.local_addr().expect("its address") else { panic!("IPv4") };
        assert!(listening().contains(&address), "{address} is not in {:?}", listening());
        drop(block);
        // All the same: a process takes no block twice.
        let next = LoopbackBlock::take();
        assert_ne!(next.ip(2), IpAddr::V4(*address.ip()));
        assert!(!listening().iter().any(|other| IpAddr::V4(*other.ip()) == next.ip(2)));
    }
}
