//! The first bytes of a TLS client: however they are cut, the same name is read from them or more is asked for.
#![no_main]

use hotspare_datapath::client_hello::{Hello, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = read(bytes);
    for cut in 0..bytes.len().min(600) {
        match read(&bytes[..cut]) {
            Hello::More => {}
            part => assert_eq!(part, whole, "decided otherwise after {cut} bytes"),
        }
    }
    if let Hello::Name(name) = whole {
        assert!(
            (1..=253).contains(&name.len()) && name == name.to_ascii_lowercase() && !name.ends_with('.'),
            "{name:?}"
        );
    }
});
