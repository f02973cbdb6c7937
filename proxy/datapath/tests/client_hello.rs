//! The name in a ClientHello: what rustls and openssl send, in pieces of any size; and bytes that are anything.
#![allow(clippy::unwrap_used)]

use hotspare_datapath::client_hello::{Hello, MAX_BYTES, read};
use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::sync::Arc;

/// The first message of rustls to a server of this name or address.
fn hello(server: &'static str) -> Vec<u8> {
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let mut client = ClientConnection::new(Arc::new(config), server.try_into().unwrap()).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// The same message in records of `size` bytes.
fn in_records(hello: &[u8], size: usize) -> Vec<u8> {
    let record = |part: &[u8]| [&[22, 3, 1], &(part.len() as u16).to_be_bytes()[..], part].concat();
    hello[5..].chunks(size).flat_map(record).collect()
}

#[test]
fn a_name_is_found_and_an_address_is_none() {
    assert_eq!(read(&hello("Line-1.Example")), Hello::Name("line-1.example".into()));
    assert_eq!(read(&hello("10.0.0.1")), Hello::NoName);
}

#[test]
fn each_beginning_asks_for_more_and_nothing_else() {
    let whole = hello("line-1.example");
    for bytes in [whole.clone(), in_records(&whole, 1), in_records(&whole, 40)] {
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]), Hello::More, "after {end} of {} bytes", bytes.len());
        }
        assert_eq!(read(&bytes), Hello::Name("line-1.example".into()));
        let followed = [&bytes[..], b"\x16\x03\x01 whatever comes next"].concat();
        assert_eq!(read(&followed), Hello::Name("line-1.example".into()));
    }
}

#[test]
fn other_protocols_are_told_at_once() {
    for bytes in [
        &b"G"[..],
        b"\x10",
        b"\x80\x2e\x01",
        b"\x16\x02",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02",
        b"\x15\x03",
    ] {
        assert_eq!(read(bytes), Hello::NotTls, "{bytes:?}");
    }
    // More than anybody sends: not waited for.
    assert_eq!(read(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff"), Hello::NotTls);
    let endless =
        in_records(&[0u8; 5].iter().copied().chain([1, 0, 0x3f, 0xff]).chain([0; 9000]).collect::<Vec<_>>(), 1);
    assert_eq!(read(&endless[..MAX_BYTES]), Hello::NotTls);
}

proptest! {
    /// Nothing is a panic, and more bytes never change an answer that was given.
    #[test]
    fn an_answer_stays(mut bytes in prop::collection::vec(any::<u8>(), 0..200), real in any::<bool>(), at in any::<prop::sample::Index>(), by in any::<u8>()) {
        if real {
            bytes = hello("line-1.example");
            let at = at.index(bytes.len());
            bytes[at] ^= by;
        } else if bytes.len() > 6 {
            bytes[..3].copy_from_slice(&[22, 3, 1]);
            bytes[5] = 1;
        }
        let last = read(&bytes);
        for end in 0..bytes.len() {
            let early = read(&bytes[..end]);
            prop_assert!(early == Hello::More || early == last, "{early:?} after {end}, {last:?} at the end");
        }
    }
}
