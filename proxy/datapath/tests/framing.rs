//! Framing: what is accepted, what is refused, and that neither depends on how the bytes are cut.
#![allow(clippy::unwrap_used)]

#[path = "common/follow.rs"]
#[allow(missing_docs, unreachable_pub)]
mod follow;

use hotspare_datapath::framing::{Bad, Body, MAX_HEAD_BYTES, Method, request_head, response_head};
use proptest::prelude::*;

fn request(text: &str) -> Result<hotspare_datapath::framing::RequestHead, Bad> {
    request_head(text.as_bytes()).map(|head| head.unwrap_or_else(|| panic!("incomplete: {text:?}")))
}

#[test]
fn plain_requests_are_understood() {
    let head = request("GET / HTTP/1.1\r\nHost: x\r\n\r\nrest").unwrap();
    assert_eq!((head.length, head.method, head.keep_alive, head.upgrade), (27, Method::Repeatable, true, false));
    assert!(head.body.is_over());
    let head = request("POST /a HTTP/1.1\r\ncontent-LENGTH:  5 \r\nConnection: x, Close\r\n\r\n").unwrap();
    assert_eq!((head.body, head.keep_alive, head.method), (Body::length(5), false, Method::Other));
    let head = request("PUT /a HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n").unwrap();
    assert_eq!(head.body, Body::chunked());
    assert!(!request("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive);
    assert!(request("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap().keep_alive);
    assert!(request("GET /comms HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").unwrap().upgrade);
    assert_eq!(request("\r\n\r\nHEAD / HTTP/1.1\r\n\r\n").unwrap().method, Method::Head);
}

#[test]
fn whatever_two_parsers_could_read_in_two_ways_is_refused() {
    let cases = [
        // Lengths.
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 5, 6\r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nContent-Length: +5\r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 0x5\r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 5 5\r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nContent-Length: \r\n\r\n", Bad::Length),
        ("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", Bad::Length),
        // Codings.
        ("POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n", Bad::Coding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n", Bad::Coding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Bad::Coding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Bad::Coding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n", Bad::Coding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", Bad::Coding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", Bad::Coding),
        ("POST / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n", Bad::Coding),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Bad::Coding),
        // Header lines.
        ("POST / HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\nContent-Length\t: 5\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\n Content-Length: 5\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\nX: a\r\n b\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\nX: a\r\n\tTransfer-Encoding: chunked\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\nno colon\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\n: no name\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\nTransfer\u{b}-Encoding: chunked\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\nX: \u{1}\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\nX: \0\r\n\r\n", Bad::Header),
        ("POST / HTTP/1.1\r\nTransfer-Encoding:\u{b}chunked\r\n\r\n", Bad::Header),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Bad::Host),
        // Line ends.
        ("GET / HTTP/1.1\nHost: a\n\n", Bad::LineEnd),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", Bad::LineEnd),
        ("GET / HTTP/1.1\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n", Bad::LineEnd),
        ("GET / HTTP/1.1\r\r\n\r\n", Bad::LineEnd),
        ("\nGET / HTTP/1.1\r\n\r\n", Bad::LineEnd),
        // Request lines.
        ("GET /  HTTP/1.1\r\n\r\n", Bad::RequestLine),
        ("GET\t/ HTTP/1.1\r\n\r\n", Bad::RequestLine),
        (" GET / HTTP/1.1\r\n\r\n", Bad::RequestLine),
        ("GET / a HTTP/1.1\r\n\r\n", Bad::RequestLine),
        ("GET /\r\n\r\n", Bad::RequestLine),
        ("G(T / HTTP/1.1\r\n\r\n", Bad::RequestLine),
        ("GET / http/1.1\r\n\r\n", Bad::RequestLine),
        ("GET / HTTP/1.2\r\n\r\n", Bad::Version),
        ("GET / HTTP/2.0\r\n\r\n", Bad::Version),
        ("GET / HTTP/1.1x\r\n\r\n", Bad::Version),
        ("CONNECT a:80 HTTP/1.1\r\n\r\n", Bad::Method),
    ];
    for (text, bad) in cases {
        assert_eq!(request(text), Err(bad), "{text:?}");
    }
}

#[test]
fn responses_are_framed_by_their_request() {
    let head = |text: &str, to| response_head(text.as_bytes(), to).map(Option::unwrap);
    let ok = head("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nA\n", Method::Repeatable).unwrap();
    assert_eq!((ok.length, ok.status, ok.body, ok.keep_alive), (38, 200, Body::length(2), true));
    assert!(head("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", Method::Head).unwrap().body.is_over());
    assert!(head("HTTP/1.1 304 \r\nContent-Length: 2\r\n\r\n", Method::Other).unwrap().body.is_over());
    assert!(head("HTTP/1.1 204\r\n\r\n", Method::Other).unwrap().body.is_over());
    assert!(head("HTTP/1.1 100 Continue\r\n\r\n", Method::Other).unwrap().is_interim());
    assert!(!head("HTTP/1.1 101 Switching\r\n\r\n", Method::Other).unwrap().is_interim());
    let open = head("HTTP/1.1 200 OK\r\n\r\n", Method::Other).unwrap();
    assert!(open.body.ends_with_connection() && !open.keep_alive);
    let kept = |field: &str| head(&format!("HTTP/1.1 204 x\r\n{field}\r\n\r\n"), Method::Other).unwrap().keep_for;
    assert_eq!(kept("Keep-Alive: max=7, timeout=5"), Some(5));
    assert_eq!((kept("Keep-Alive: timeout=-5"), kept("Keep-Alive: x"), kept("a: b")), (None, None, None));
    let chunked = head("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Method::Other).unwrap();
    assert_eq!((chunked.body, chunked.keep_alive), (Body::chunked(), true));
    for (text, bad) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", Bad::Length),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", Bad::Length),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", Bad::Coding),
        ("HTTP/1.1 2000 OK\r\n\r\n", Bad::StatusLine),
        ("HTTP/1.1 099 OK\r\n\r\n", Bad::StatusLine),
        ("HTTP/1.1200 OK\r\n\r\n", Bad::StatusLine),
        ("HTTP/3.0 200 OK\r\n\r\n", Bad::Version),
        ("SSH-2.0-OpenSSH\r\n\r\n", Bad::StatusLine),
    ] {
        assert_eq!(head(text, Method::Other), Err(bad), "{text:?}");
    }
}

#[test]
fn a_head_without_end_is_refused_when_it_is_too_large() {
    let mut head = b"GET / HTTP/1.1\r\n".to_vec();
    while head.len() < MAX_HEAD_BYTES {
        assert_eq!(request_head(&head), Ok(None));
        head.extend_from_slice(b"X-Padding: 0123456789012345678901234567890123456789\r\n");
    }
    assert_eq!(request_head(&head), Err(Bad::TooLarge));
}

#[test]
fn chunked_bodies_end_where_they_end() {
    for (text, belongs) in [
        ("0\r\n\r\nGET", 5),
        ("5\r\nhello\r\n0\r\n\r\nGET", 15),
        ("5;ext=\"a\"\r\nhello\r\n00\r\nTrailer: x\r\n\r\nGET", 36),
        ("A\r\n0123456789\r\n0\r\n\r\n", 20),
    ] {
        let mut body = Body::chunked();
        assert_eq!(body.advance(text.as_bytes()), Ok(belongs), "{text:?}");
        assert!(body.is_over(), "{text:?}");
    }
}

#[test]
fn malformed_chunks_are_refused() {
    for (text, bad) in [
        ("\r\n", Bad::Chunk),
        ("x\r\n", Bad::Chunk),
        ("0x5\r\n", Bad::Chunk),
        ("-1\r\n", Bad::Chunk),
        (" 5\r\n", Bad::Chunk),
        ("5 \r\n", Bad::Chunk),
        ("5\n", Bad::LineEnd),
        ("5\rhello", Bad::LineEnd),
        ("5\r\nhelloworld", Bad::Chunk),
        ("5\r\nhello\n", Bad::Chunk),
        ("5\r\nhello\r0", Bad::Chunk),
        ("1234567890123456\r\n", Bad::Chunk),
        ("5;a\nb\r\n", Bad::LineEnd),
        ("5;\0\r\n", Bad::Chunk),
        ("0\r\n\n", Bad::LineEnd),
        ("0\r\nX : y\r\n\r\n", Bad::Header),
        ("0\r\n folded\r\n\r\n", Bad::Header),
        ("0\r\nX: y\n\r\n", Bad::LineEnd),
    ] {
        assert_eq!(Body::chunked().advance(text.as_bytes()), Err(bad), "{text:?}");
    }
    let long = format!("5;{}\r\n", "a".repeat(300));
    assert_eq!(Body::chunked().advance(long.as_bytes()), Err(Bad::TooLarge));
}

/// What is decided of a stream of requests that comes cut at the given places.
fn follow(bytes: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    follow::requests(cuts.windows(2).map(|part| &bytes[part[0]..part[1]]))
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => Just("GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        4 => (0usize..40).prop_map(|n| format!("POST / HTTP/1.1\r\nContent-Length: {n}\r\n\r\n{}", "b".repeat(n))),
        4 => (1usize..40).prop_map(|n| {
            format!("PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{n:x}\r\n{}\r\n0\r\nT: v\r\n\r\n", "c".repeat(n))
        }),
        1 => Just("\r\n".to_owned()),
        1 => "[ -~\r\n\t]{0,30}",
    ];
    let damage = prop_oneof![3 => Just(None), 2 => (any::<usize>(), any::<u8>()).prop_map(Some)];
    (proptest::collection::vec(piece, 1..6), damage).prop_map(|(pieces, damage)| {
        let mut bytes = pieces.concat().into_bytes();
        if let (Some((at, byte)), false) = (damage, bytes.is_empty()) {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn decisions_do_not_depend_on_how_the_bytes_are_cut(
        bytes in stream(),
        cuts in proptest::collection::vec(any::<usize>(), 0..20),
    ) {
        prop_assert_eq!(follow(&bytes, &cuts), follow(&bytes, &[]));
    }

    /// Whatever is accepted here and by a more lenient parser means the same to both: the same end, the same body.
    #[test]
    fn what_is_accepted_means_the_same_to_another_parser(bytes in stream()) {
        if let Ok(Some(head)) = request_head(&bytes) {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut other = httparse::Request::new(&mut headers);
            let parsed = other.parse(&bytes);
            if parsed.is_err() {
                // It knows fewer characters of a target; that is no other meaning.
                return Ok(());
            }
            prop_assert_eq!(&parsed, &Ok(httparse::Status::Complete(head.length)), "{:?}", head);
            let values = |name: &str| other.headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).collect::<Vec<_>>();
            let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
            let body = match (&lengths[..], &codings[..]) {
                ([], []) => Body::none(),
                ([length], []) => Body::length(std::str::from_utf8(length.value).unwrap().trim().parse().unwrap()),
                ([], [_]) => Body::chunked(),
                both => panic!("accepted with {both:?}"),
            };
            prop_assert_eq!(head.body, body);
        }
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = request_head(&bytes);
        let _ = response_head(&bytes, Method::Other);
        let _ = Body::chunked().advance(&bytes);
    }
}
