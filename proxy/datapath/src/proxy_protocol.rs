//! The PROXY protocol, versions 1 and 2: who the client is, told by the proxy before us and to the member behind
//! us. No I/O: bytes in, decisions out.
//!
//! Strict on purpose: a header that is not exactly as the specification has it is refused, since whoever can get
//! a wrong one past us can claim any address. Which peers may send one at all is the listener's to say.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Which version to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// Both ends of the client's connection, as the first proxy saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client.
    pub source: SocketAddr,
    /// What it connected to.
    pub destination: SocketAddr,
}

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the header.
    pub length: usize,
    /// Whose connection it is; none for the proxy's own (health checks) and for families other than IP.
    pub origin: Option<Origin>,
}

/// Why a header is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Bad {
    /// The bytes begin no header of either version.
    #[error("no PROXY header")]
    Absent,
    /// The header is longer than any may be.
    #[error("PROXY header too long")]
    TooLong,
    /// Malformed.
    #[error("malformed PROXY header")]
    Malformed,
    /// The checksum in it does not match.
    #[error("checksum of the PROXY header does not match")]
    Checksum,
}

/// Longest header accepted: version 2 with 2 KiB of extensions.
pub const MAX_BYTES: usize = 16 + 36 + 2048;
/// Longest line of version 1, its end included (specification, 2.1).
const MAX_LINE: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const CHECKSUM_TYPE: u8 = 0x03;

/// Reads a header from the beginning of `bytes`; none while it is incomplete.
///
/// # Errors
/// [`Bad`] as soon as the bytes can no longer become a header.
pub fn read(bytes: &[u8]) -> Result<Option<Header>, Bad> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(a, b)| a == b);
    if begins(SIGNATURE) {
        read_v2(bytes)
    } else if begins(b"PROXY ") {
        read_v1(bytes)
    } else {
        Err(Bad::Absent)
    }
}

fn read_v1(bytes: &[u8]) -> Result<Option<Header>, Bad> {
    let seen = &bytes[..bytes.len().min(MAX_LINE)];
    let Some(end) = seen.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= MAX_LINE { Err(Bad::TooLong) } else { Ok(None) };
    };
    let line = std::str::from_utf8(&seen[..end]).map_err(|_| Bad::Malformed)?;
    // Another parser may take it for the end, also in what follows UNKNOWN and is not looked at.
    if line.contains(['\r', '\n']) {
        return Err(Bad::Malformed);
    }
    let length = end + 2;
    let mut words = line.split(' ').skip(1);
    let family = words.next().ok_or(Bad::Malformed)?;
    if family == "UNKNOWN" {
        return Ok(Some(Header { length, origin: None }));
    }
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else { return Err(Bad::Malformed) };
    let ip = |text: &str| match family {
        "TCP4" => text.parse().map(IpAddr::V4).map_err(|_| Bad::Malformed),
        "TCP6" => text.parse().map(IpAddr::V6).map_err(|_| Bad::Malformed),
        _ => Err(Bad::Malformed),
    };
    let origin = Origin {
        source: (ip(source)?, port(source_port)?).into(),
        destination: (ip(destination)?, port(destination_port)?).into(),
    };
    Ok(Some(Header { length, origin: Some(origin) }))
}

fn port(text: &str) -> Result<u16, Bad> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().map_err(|_| Bad::Malformed) } else { Err(Bad::Malformed) }
}

fn read_v2(bytes: &[u8]) -> Result<Option<Header>, Bad> {
    let Some((head, rest)) = bytes.split_at_checked(16) else { return Ok(None) };
    let (command, family) = (head[12], head[13]);
    let size = usize::from(u16::from_be_bytes([head[14], head[15]]));
    let length = 16 + size;
    if !matches!(command, 0x20 | 0x21) {
        return Err(Bad::Malformed);
    }
    if length > MAX_BYTES {
        return Err(Bad::TooLong);
    }
    let Some(payload) = rest.get(..size) else { return Ok(None) };
    let addresses = match family {
        // Unspecified, datagrams and Unix sockets say nothing that we can use.
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => return Err(Bad::Malformed),
    };
    let (addresses, extensions) = payload.split_at_checked(addresses).ok_or(Bad::Malformed)?;
    check_extensions(&bytes[..length], length - extensions.len())?;
    let origin = match (command, family) {
        (0x21, 0x11) => Some(origin_of::<4>(addresses).ok_or(Bad::Malformed)?),
        (0x21, 0x21) => Some(origin_of::<16>(addresses).ok_or(Bad::Malformed)?),
        (0x21, 0x12 | 0x22 | 0x32) => return Err(Bad::Malformed),
        _ => None,
    };
    Ok(Some(Header { length, origin }))
}

fn origin_of<const BYTES: usize>(addresses: &[u8]) -> Option<Origin>
where
    IpAddr: From<[u8; BYTES]>,
{
    let (source, rest) = addresses.split_first_chunk::<BYTES>()?;
    let (destination, ports) = rest.split_first_chunk::<BYTES>()?;
    let [a, b, c, d] = *ports else { return None };
    Some(Origin {
        source: (IpAddr::from(*source), u16::from_be_bytes([a, b])).into(),
        destination: (IpAddr::from(*destination), u16::from_be_bytes([c, d])).into(),
    })
}

/// Extensions must fill the header exactly, and a checksum among them must match.
fn check_extensions(header: &[u8], from: usize) -> Result<(), Bad> {
    let mut at = from;
    while at < header.len() {
        let [kind, high, low] = header.get(at..at + 3).and_then(|head| head.try_into().ok()).ok_or(Bad::Malformed)?;
        let value_at = at + 3;
        let end = value_at + usize::from(u16::from_be_bytes([high, low]));
        let value = header.get(value_at..end).ok_or(Bad::Malformed)?;
        if kind == CHECKSUM_TYPE {
            let told: [u8; 4] = value.try_into().map_err(|_| Bad::Malformed)?;
            // Computed over the header with the checksum's own bytes as zero.
            let mut copy = header.to_vec();
            copy[value_at..end].fill(0);
            if crc32c(&copy) != u32::from_be_bytes(told) {
                return Err(Bad::Checksum);
            }
        }
        at = end;
    }
    Ok(())
}

/// CRC-32C (Castagnoli), bit by bit: headers are short and rare.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// The header that tells a member whose connection it gets.
pub fn write(version: Version, origin: Option<Origin>) -> Vec<u8> {
    let origin = origin.map(|origin| same_family(origin.source, origin.destination));
    match (version, origin) {
        (Version::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (Version::V1, Some((source, destination))) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
        }
        (Version::V2, None) => [&SIGNATURE[..], &[0x20, 0x00, 0, 0]].concat(),
        (Version::V2, Some((source, destination))) => {
            let mut header = SIGNATURE.to_vec();
            match (source.ip(), destination.ip()) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    header.extend([0x21, 0x11, 0, 12]);
                    header.extend(source.octets());
                    header.extend(destination.octets());
                }
                (source, destination) => {
                    header.extend([0x21, 0x21, 0, 36]);
                    header.extend(as_v6(source).octets());
                    header.extend(as_v6(destination).octets());
                }
            }
            header.extend(source.port().to_be_bytes());
            header.extend(destination.port().to_be_bytes());
            header
        }
    }
}

/// IPv4 clients of an IPv6 socket are told as IPv4, unless the two ends differ.
fn same_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let (from, to) = if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (as_v6(from).into(), as_v6(to).into()) };
    ((from, source.port()).into(), (to, destination.port()).into())
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// A network: an address and the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// None when the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= longest).then_some(Self { address, prefix })
    }

    /// Whether an address lies in it; an IPv4 address told as IPv6 counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let same = |a: u128, b: u128, bits: u8| (a ^ b).checked_shr(u32::from(bits - self.prefix)).unwrap_or(0) == 0;
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => same(bits(a), bits(b), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

fn bits(ip: Ipv4Addr) -> u128 {
    u128::from(ip.to_bits())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn origin(source: &str, destination: &str) -> Option<Origin> {
        Some(Origin { source: source.parse().unwrap(), destination: destination.parse().unwrap() })
    }

    #[test]
    fn version_1_is_read() {
        let header = read(b"PROXY TCP4 1.2.3.4 5.6.7.8 65535 80\r\nGET").unwrap().unwrap();
        assert_eq!((header.length, header.origin), (37, origin("1.2.3.4:65535", "5.6.7.8:80")));
        let header = read(b"PROXY TCP6 ::1 2001:db8::2 1 2\r\n").unwrap().unwrap();
        assert_eq!(header.origin, origin("[::1]:1", "[2001:db8::2]:2"));
        assert_eq!(read(b"PROXY UNKNOWN ignored\r\n").unwrap().unwrap().origin, None);
    }

    #[test]
    fn malformed_headers_are_refused() {
        for (text, bad) in [
            ("GET / HTTP/1.1\r\n", Bad::Absent),
            ("proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", Bad::Absent),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", Bad::Malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", Bad::Malformed),
            ("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", Bad::Malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", Bad::Malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 02\r\n", Bad::Malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 +2\r\n", Bad::Malformed),
            ("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n", Bad::Malformed),
            ("PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n", Bad::Malformed),
            ("PROXY TCP4 ::1 ::1 1 2\r\n", Bad::Malformed),
            ("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", Bad::Malformed),
            ("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", Bad::Malformed),
            ("PROXY \r\n", Bad::Malformed),
            ("PROXY UNKNOWN a\rb\r\n", Bad::Malformed),
            ("PROXY UNKNOWN a\nb\r\n", Bad::Malformed),
            ("\r\n\r\n\0\r\nQUIX\n", Bad::Absent),
        ] {
            assert_eq!(read(text.as_bytes()), Err(bad), "{text:?}");
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(read(long.as_bytes()), Err(Bad::TooLong));
    }

    fn v2(command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, payload].concat()
    }

    #[test]
    fn version_2_is_read_with_its_extensions() {
        let addresses = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 0, 80];
        let plain = v2(0x21, 0x11, &addresses);
        assert_eq!(read(&plain).unwrap().unwrap().origin, origin("1.2.3.4:9", "5.6.7.8:80"));
        let extended = v2(0x21, 0x11, &[&addresses[..], &[0x05, 0, 2, 7, 7, 0x04, 0, 0]].concat());
        assert_eq!(read(&extended).unwrap().unwrap().length, extended.len());
        assert_eq!(read(&v2(0x20, 0x00, &[])).unwrap().unwrap().origin, None);
        assert_eq!(read(&v2(0x20, 0x11, &addresses)).unwrap().unwrap().origin, None, "the proxy's own connection");
        for (command, family, payload) in [
            (0x11, 0x11, &addresses[..]),
            (0x22, 0x11, &addresses[..]),
            (0x21, 0x41, &addresses[..]),
            (0x21, 0x12, &addresses[..]),
            (0x21, 0x21, &addresses[..]),
            (0x21, 0x11, &addresses[..11]),
            (0x20, 0x00, &[0x05, 0, 2, 7][..]),
            (0x20, 0x00, &[0x05, 0][..]),
        ] {
            assert_eq!(read(&v2(command, family, payload)), Err(Bad::Malformed), "{command:x} {family:x} {payload:?}");
        }
        assert_eq!(read(&v2(0x20, 0x00, &[0; 3000])), Err(Bad::TooLong));
    }

    #[test]
    fn a_checksum_is_checked() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
        let mut header = v2(0x20, 0x00, &[CHECKSUM_TYPE, 0, 4, 0, 0, 0, 0]);
        let sum = crc32c(&header).to_be_bytes();
        assert_eq!(read(&header), Err(Bad::Checksum));
        header[19..].copy_from_slice(&sum);
        assert!(read(&header).is_ok());
    }

    #[test]
    fn networks_contain_what_they_should() {
        let network = |text: &str, prefix| Network::new(text.parse().unwrap(), prefix).unwrap();
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(network("10.1.0.0", 16).contains(ip("10.1.255.255")));
        assert!(!network("10.1.0.0", 16).contains(ip("10.2.0.0")));
        assert!(network("10.1.0.0", 16).contains(ip("::ffff:10.1.2.3")));
        assert!(network("0.0.0.0", 0).contains(ip("255.255.255.255")));
        assert!(!network("0.0.0.0", 0).contains(ip("::1")));
        assert!(network("::", 0).contains(ip("2001:db8::1")));
        assert!(network("2001:db8::", 32).contains(ip("2001:db8:ffff::1")));
        assert!(!network("2001:db8::1", 128).contains(ip("2001:db8::2")));
        assert_eq!(Network::new(ip("10.0.0.0"), 33), None);
    }

    fn any_origin() -> impl Strategy<Value = Option<Origin>> {
        let v4 = any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port)));
        let v6 = any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddr::from((ip, port)));
        let pair = |one: BoxedStrategy<SocketAddr>| (one.clone(), one);
        let both = prop_oneof![pair(v4.boxed()), pair(v6.boxed())];
        proptest::option::of(both.prop_map(|(source, destination)| Origin { source, destination }))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_from_any_number_of_pieces(origin in any_origin(), first in any::<bool>()) {
            let header = write(if first { Version::V1 } else { Version::V2 }, origin);
            for cut in 0..header.len() {
                prop_assert_eq!(read(&header[..cut]), Ok(None));
            }
            let canonical = origin.map(|o| same_family(o.source, o.destination))
                .map(|(source, destination)| Origin { source, destination });
            prop_assert_eq!(read(&header), Ok(Some(Header { length: header.len(), origin: canonical })));
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300), signed in any::<bool>()) {
            let bytes = if signed { [&SIGNATURE[..], &bytes].concat() } else { bytes };
            let _ = read(&bytes);
        }
    }
}
