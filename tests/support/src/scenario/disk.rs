//! Faults of the disk below the journal. In a lab it is a small file system of its own.

use std::time::Duration;

use super::{Expect, Fault, Needs};
use crate::client::Who;
use crate::fault;
use crate::pair::Pair;

const LONG: Duration = Duration::from_secs(3);

/// No room for another record.
pub(super) static FAULTS: &[Fault] = &[
    // Traffic to a healthy active goes on, and nothing new is decided.
    Fault {
        name: "disk-full",
        needs: Needs::Lab,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| pair.fill_store(),
        recover: empty,
    },
    // The epoch of the spare was made durable before: a failover does not wait for the disk.
    Fault {
        name: "disk-full-and-crash",
        needs: Needs::Lab,
        expect: Expect::Either(LONG),
        inflict: |pair, active| {
            pair.fill_store();
            fault::kill(pair.node_red_pid(&active.member));
        },
        recover: empty,
    },
    // With a full disk the proxy starts again, looks around, and leaves the active alone.
    Fault {
        name: "disk-full-and-kill-proxy",
        needs: Needs::Lab,
        expect: Expect::Stays(LONG),
        inflict: |pair, _| {
            pair.fill_store();
            pair.proxy().kill();
        },
        recover: |pair, active| {
            empty(pair, active);
            pair.start_proxy();
        },
    },
];

fn empty(pair: &mut Pair, _: &Who) {
    pair.empty_store();
}
