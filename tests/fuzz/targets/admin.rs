//! A request to the admin listener: without a valid token nothing is allowed that needs one, with one no more than its
//! role includes, and nothing from a page of another origin. (What comes before, the parsing of HTTP, is hyper's.)
#![no_main]

use std::net::SocketAddr;

use hotspare_fuzz::auth::{Access, Bearer, Denied, Role};
use hotspare_protocol::Secret;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;

const TOKENS: [(&str, Role); 3] =
    [("the-token-to-read", Role::Read), ("the-token-to-act!", Role::Operate), ("the-token-for-all", Role::Admin)];
const ROLES: [Role; 4] = [Role::Anyone, Role::Read, Role::Operate, Role::Admin];

fuzz_target!(|bytes: &[u8]| {
    let mut parsed = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut parsed);
    if !request.parse(bytes).is_ok_and(|status| status.is_complete()) {
        return;
    }
    let mut headers = HeaderMap::new();
    for header in request.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(header.value)) {
            headers.append(name, value);
        }
    }
    let bearer = |(token, role): (&str, Role)| Bearer { name: "n".to_owned(), token: Secret::new(token), role };
    // The certificate that is shown is not the one that is known.
    let (known, shown) = (("known".to_owned(), Role::Admin), ["unknown".to_owned()]);
    let guarded = Access { tokens: TOKENS.map(bearer).to_vec(), clients: vec![known] };
    let open = Access::default();
    let from: SocketAddr = ([127, 0, 0, 1], 4711).into();
    let holds = |role: Role| {
        let is = |value: &HeaderValue, token: &str| value.as_bytes() == format!("Bearer {token}").as_bytes();
        TOKENS.iter().any(|(token, of)| *of >= role && headers.get("authorization").is_some_and(|v| is(v, token)))
    };
    for role in ROLES {
        let (with_tokens, without) =
            (guarded.allows(&headers, from, &shown, role), open.allows(&headers, from, &shown, role));
        if role > Role::Anyone {
            assert!(with_tokens.is_err() || holds(role), "{role:?} without its token: {headers:?}");
        }
        let foreign = headers.get("origin").is_some_and(|origin| {
            let host = headers.get("host").map(HeaderValue::as_bytes).unwrap_or_default();
            !origin.as_bytes().ends_with(host) || host.is_empty()
        });
        if role >= Role::Operate && foreign {
            assert_eq!(with_tokens, Err(Denied::ForeignOrigin));
            assert_eq!(without, Err(Denied::ForeignOrigin));
        }
        if let Ok((who, _)) = with_tokens {
            assert!(TOKENS.iter().all(|(token, _)| !who.contains(token)), "the record names the token: {who}");
        }
    }
});
