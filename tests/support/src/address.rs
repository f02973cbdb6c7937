//! Loopback addresses of a test's own. All of 127.0.0.0/8 is the machine's, so every test takes a /24 of it, and inside
//! that the well-known ports (1880, 2880, 9480) are free: nothing has to be picked, closed and hoped for.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

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

impl LoopbackBlock {
    /// Takes a free block.
    ///
    /// # Panics
    /// If all are taken, which means that tests left processes behind.
    pub fn take() -> Self {
        let start = std::process::id();
        (0..20_000_u32)
            .map(|step| start.wrapping_add(step))
            .find_map(|n| {
                let (second, third) = (77 + (n / 250 % 80) as u8, (n % 250) as u8 + 1);
                let held = TcpListener::bind((Ipv4Addr::new(127, second, third, MARK), MARK_PORT)).ok()?;
                Some(LoopbackBlock { second, third, _held: held })
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
