//! A stream of requests, held against httparse: what is accepted here has the same end and the same body there. How
//! the bytes are cut changes no decision. The first byte says where they are cut.
#![no_main]

#[path = "../../../proxy/datapath/tests/common/follow.rs"]
mod follow;

use hotspare_datapath::framing::{Body, request_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let step = usize::from(cut).max(1);
    assert_eq!(
        follow::requests(bytes.chunks(step)),
        follow::requests(std::iter::once(bytes)),
        "cut every {step} bytes"
    );
    let Ok(Some(head)) = request_head(bytes) else { return };
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut other = httparse::Request::new(&mut headers);
    // It knows fewer characters of a target, and no more than so many headers; that is no other meaning.
    let Ok(parsed) = other.parse(bytes) else { return };
    assert_eq!(parsed, httparse::Status::Complete(head.length), "{head:?}");
    assert_eq!(head.body, hotspare_fuzz::body_of(other.headers).unwrap_or_else(Body::none));
});
