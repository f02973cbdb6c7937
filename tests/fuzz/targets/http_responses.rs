//! An answer's head, held against httparse: what is accepted here has the same status, end and body there. The first
//! byte says to which method it is the answer.
#![no_main]

use hotspare_datapath::framing::{Body, Method, response_head};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else { return };
    let to = [Method::Repeatable, Method::Head, Method::Other][usize::from(first) % 3];
    let whole = response_head(bytes, to);
    for cut in 0..bytes.len().min(200) {
        match (response_head(&bytes[..cut], to), &whole) {
            (Ok(None), _) => {}
            (part, whole) => assert_eq!(part, *whole, "decided otherwise after {cut} bytes"),
        }
    }
    let Ok(Some(head)) = whole else { return };
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut other = httparse::Response::new(&mut headers);
    let Ok(parsed) = other.parse(bytes) else { return };
    assert_eq!(parsed, httparse::Status::Complete(head.length), "{head:?}");
    assert_eq!(other.code, Some(head.status));
    let bodyless = to == Method::Head || head.status < 200 || matches!(head.status, 204 | 304);
    let body =
        if bodyless { Body::none() } else { hotspare_fuzz::body_of(other.headers).unwrap_or_else(Body::until_close) };
    assert_eq!(head.body, body);
});
