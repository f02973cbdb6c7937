//! A client is served by whichever thread has time for it, not by the one that its address falls to.
#![allow(clippy::unwrap_used)]

mod common;

use common::{INSTANCE, Rig, Server, read_name, until};
use hotspare_datapath::Drain;

#[test]
fn clients_of_a_busy_thread_are_served_by_another() {
    let (rig, a) = (Rig::new(), Server::named("a"));
    rig.to(1, 0, a.addr, Drain::Now);
    // One thread of two wants to say that it is clear, and waits for this lock.
    let busy = rig.signals.lock().unwrap();
    let version = rig.to(1, 0, a.addr, Drain::Now);
    until("clear", || rig.data.is_clear(INSTANCE, version).unwrap(), || format!("{:#?}", rig.counters()));
    // Their addresses fall to either thread: all to the free one once in 2^64 runs.
    for number in 0..64 {
        let mut client = rig.connect();
        assert_eq!(read_name(&mut client), "a", "client {number}");
    }
    drop(busy);
    rig.until_idle();
}
