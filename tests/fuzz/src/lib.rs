//! What is fuzzed of the root package, taken in by path, and what several targets do.

// The configuration asks the crate of the stores one question: whether etcd was built in.
extern crate self as hotspare_group;
/// Stands for `hotspare_group::backend`.
pub mod backend {
    /// As in a release.
    pub const HAS_ETCD: bool = true;
}

#[path = "../../../proxy/admin/auth.rs"]
pub mod auth;
#[allow(dead_code, unused_imports, reason = "the proxy uses all of it")]
#[path = "../../../proxy/config/mod.rs"]
pub mod config;
#[allow(dead_code, reason = "the group uses all of it")]
#[path = "../../../proxy/group/src/document.rs"]
pub mod document;
#[path = "../../../proxy/store/journal.rs"]
pub mod journal;
#[path = "../../../proxy/store/kept.rs"]
pub mod kept;

use std::time::Duration;

use hotspare_datapath::framing::Body;
use hotspare_decide::{Decider, Record, Settings, Time};

/// Starts a decider from a record as it was found, and lets its deadlines come up. Whatever the record says, nothing
/// panics and no effect goes on for ever.
pub fn decide_from(record: Record) {
    let mut now = Time::from_nanos(1_000_000_000);
    let mut decider = Decider::new(now, 1_700_000_000_000, "line-1".to_owned(), Settings::default(), Some(record));
    for _ in 0..20 {
        drain(&mut decider);
        let Some(due) = decider.poll_timeout() else { return };
        now = now.max(due) + Duration::from_nanos(1);
        decider.handle_timeout(now);
    }
}

/// Takes every effect; their number is bounded.
pub fn drain(decider: &mut Decider) {
    let effects = std::iter::from_fn(|| decider.poll_effect()).take(10_000).count();
    assert!(effects < 10_000, "effects without end");
}

/// The body that these headers announce, as another parser read them; `None` if they announce none. Headers that could
/// be understood in two ways must have been refused.
pub fn body_of(headers: &[httparse::Header<'_>]) -> Option<Body> {
    let values = |name: &str| -> Vec<&[u8]> {
        headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value).collect()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match (&lengths[..], &codings[..]) {
        ([], []) => None,
        ([length], []) => {
            let text = std::str::from_utf8(length).expect("an accepted length is text");
            Some(Body::length(text.trim().parse().expect("an accepted length is a number")))
        }
        ([], [coding]) => {
            let last = coding.rsplit(|&byte| byte == b',').next().unwrap_or(coding).trim_ascii();
            assert!(last.eq_ignore_ascii_case(b"chunked"), "accepted with transfer-encoding {coding:?}");
            Some(Body::chunked())
        }
        both => panic!("accepted with {both:?}"),
    }
}
