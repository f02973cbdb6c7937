//! A PROXY header, held against the `ppp` crate: what is accepted here means the same there. How the bytes are cut
//! changes nothing, and what is written is read.
#![no_main]

use std::net::SocketAddr;

use hotspare_datapath::proxy_protocol::{Origin, Version, read, write};
use libfuzzer_sys::fuzz_target;
use ppp::{HeaderResult, v1, v2};

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    for cut in 0..bytes.len().min(300) {
        match (read(&bytes[..cut]), &whole) {
            (Ok(None), _) => {}
            (part, whole) => assert_eq!(part, *whole, "decided otherwise after {cut} bytes"),
        }
    }
    let Ok(Some(header)) = whole else { return };
    let told = header.origin.map(|origin| (origin.source, origin.destination));
    match HeaderResult::parse(bytes) {
        HeaderResult::V1(Ok(other)) => {
            assert_eq!(other.header.len(), header.length);
            let ends = match other.addresses {
                v1::Addresses::Unknown => None,
                v1::Addresses::Tcp4(ip) => Some((
                    SocketAddr::from((ip.source_address, ip.source_port)),
                    SocketAddr::from((ip.destination_address, ip.destination_port)),
                )),
                v1::Addresses::Tcp6(ip) => Some((
                    SocketAddr::from((ip.source_address, ip.source_port)),
                    SocketAddr::from((ip.destination_address, ip.destination_port)),
                )),
            };
            assert_eq!(told, ends);
        }
        HeaderResult::V2(Ok(other)) => {
            assert_eq!(other.as_bytes().len(), header.length);
            assert!(other.tlvs().all(|extension| extension.is_ok()), "extensions that the other parser refuses");
            let ends = match (other.command, other.addresses) {
                (v2::Command::Proxy, v2::Addresses::IPv4(ip)) => Some((
                    SocketAddr::from((ip.source_address, ip.source_port)),
                    SocketAddr::from((ip.destination_address, ip.destination_port)),
                )),
                (v2::Command::Proxy, v2::Addresses::IPv6(ip)) => Some((
                    SocketAddr::from((ip.source_address, ip.source_port)),
                    SocketAddr::from((ip.destination_address, ip.destination_port)),
                )),
                _ => None,
            };
            assert_eq!(told, ends);
        }
        // What follows UNKNOWN is to be ignored (specification, 2.1); the other parser counts its words.
        HeaderResult::V1(Err(_)) if bytes.starts_with(b"PROXY UNKNOWN ") => assert_eq!(told, None),
        other => panic!("accepted here, and there it is {other:?}"),
    }
    if let Some(origin) = header.origin {
        for version in [Version::V1, Version::V2] {
            let written = write(version, Some(origin));
            let again = read(&written).expect("what was written is a header").expect("a whole one");
            assert_eq!(again.length, written.len());
            let canonical = |ip: SocketAddr| SocketAddr::new(ip.ip().to_canonical(), ip.port());
            let plain = |origin: Origin| (canonical(origin.source), canonical(origin.destination));
            assert_eq!(again.origin.map(plain), Some(plain(origin)));
        }
    }
});
