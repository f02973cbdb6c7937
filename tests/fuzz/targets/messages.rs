//! What comes over a link, a line a message: it is refused, or read and written alike; a decider and a guard that are
//! told it go on.
#![no_main]

use std::time::Duration;

use hotspare_decide::{Decider, Guard, GuardConfig, GuardInput, GuardRecord, Input, LinkId, Member, Settings, Time};
use hotspare_protocol::{decode_down, decode_up, encode_down, encode_up};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut now = Time::from_nanos(1_000_000_000);
    let mut decider = Decider::new(now, 1_700_000_000_000, "line-1".to_owned(), Settings::default(), None);
    let mut guard = Guard::new(now, GuardConfig { session: 7, controllers: 1 }, GuardRecord::default());
    for member in Member::BOTH {
        decider.handle(now, Input::LinkUp { member, link: LinkId(member.index() as u64), session: 7 });
    }
    guard.handle(now, GuardInput::LinkUp { controller: 0 });
    for (number, line) in text.lines().enumerate() {
        now += Duration::from_millis(50);
        if let Ok(msg) = decode_up(line) {
            assert_eq!(decode_up(&encode_up(&msg)).expect("what was just written is read"), msg);
            let member = Member::BOTH[number % 2];
            decider.handle(now, Input::Up { member, link: LinkId(member.index() as u64), msg });
        }
        if let Ok(msg) = decode_down(line) {
            assert_eq!(decode_down(&encode_down(&msg)).expect("what was just written is read"), msg);
            guard.handle(now, GuardInput::Down { controller: 0, msg });
        }
        hotspare_fuzz::drain(&mut decider);
        let effects = std::iter::from_fn(|| guard.poll_effect()).take(10_000).count();
        assert!(effects < 10_000, "effects without end");
        let _ = (decider.poll_timeout(), guard.poll_timeout(), guard.status(now));
        decider.handle_timeout(now);
        guard.handle_timeout(now);
    }
});
