//! A stream of requests, held against httparse: what is accepted here has the same end and the same body there. How
//! the bytes are cut changes no decision. The first byte says where they are cut.
#![no_main]

use hotspare_datapath::framing::{Body, request_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, bytes)) = bytes.split_first() else { return };
    let step = usize::from(cut).max(1);
    assert_eq!(follow(bytes, step), follow(bytes, bytes.len().max(1)), "cut every {step} bytes");
    let Ok(Some(head)) = request_head(bytes) else { return };
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut other = httparse::Request::new(&mut headers);
    // It knows fewer characters of a target, and no more than so many headers; that is no other meaning.
    let Ok(parsed) = other.parse(bytes) else { return };
    assert_eq!(parsed, httparse::Status::Complete(head.length), "{head:?}");
    assert_eq!(head.body, hotspare_fuzz::body_of(other.headers).unwrap_or_else(Body::none));
});

/// Follows a stream as a connection does, so many bytes at a time; returns what was decided, and where.
fn follow(bytes: &[u8], step: usize) -> Vec<String> {
    let (mut decisions, mut input, mut body) = (Vec::new(), Vec::new(), None::<Body>);
    for part in bytes.chunks(step) {
        input.extend_from_slice(part);
        loop {
            if let Some(current) = body.as_mut() {
                match current.advance(&input) {
                    Ok(used) => drop(input.drain(..used)),
                    Err(bad) => {
                        decisions.push(format!("{bad:?} in a body"));
                        return decisions;
                    }
                }
                if !current.is_over() {
                    break;
                }
                decisions.push("end of a body".to_owned());
                body = None;
            }
            match request_head(&input) {
                Ok(None) => break,
                Ok(Some(head)) => {
                    decisions.push(format!("{head:?}"));
                    input.drain(..head.length);
                    body = Some(head.body);
                }
                Err(bad) => {
                    decisions.push(format!("{bad:?} in a head"));
                    return decisions;
                }
            }
        }
    }
    decisions
}
