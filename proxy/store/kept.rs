//! A record as it is kept: with the names of the members it speaks of.
//!
//! The decision core knows members by their place in the configuration. Should somebody list them in the other order,
//! the record must not speak of the wrong one.

use hotspare_decide::{Intent, Record};
use serde::{Deserialize, Serialize};

/// What a store keeps of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kept {
    /// The members' names, in the order the record means.
    pub members: [String; 2],
    /// The record.
    pub record: Record,
}

impl Kept {
    /// The record as it is to be read with `members` in their present order. Names that are new keep their place:
    /// what ran there before is waited out like any other tenure.
    pub fn for_members(self, members: [&str; 2]) -> Record {
        let swapped = self.members[0] == members[1] && self.members[1] == members[0];
        if swapped { swap(self.record) } else { self.record }
    }
}

fn swap(mut record: Record) -> Record {
    for tenure in &mut record.tenures {
        tenure.member = tenure.member.other();
    }
    record.last_active = record.last_active.map(|member| member.other());
    record.held.swap(0, 1);
    if let Some(rolling) = &mut record.rolling {
        rolling.restarted.swap(0, 1);
    }
    record.intent = record.intent.map(|Intent::Switchover { from, to, reason }| Intent::Switchover {
        from: from.other(),
        to: to.other(),
        reason,
    });
    record
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotspare_decide::{Epoch, LeaseSettings, Member, RollingRecord, Tenure};

    fn kept() -> Kept {
        let record = Record {
            version: Record::VERSION,
            epoch: Epoch(7),
            tenures: vec![Tenure { member: Member::A, epoch: Epoch(7) }],
            last_active: Some(Member::A),
            intent: Some(Intent::Switchover { from: Member::A, to: Member::B, reason: "why".to_owned() }),
            rolling: Some(RollingRecord { restarted: [true, false], reason: "why".to_owned() }),
            lease: LeaseSettings::default(),
            failovers_unix_ms: Vec::new(),
            paused: None,
            frozen: false,
            held: [true, false],
        };
        Kept { members: ["left".to_owned(), "right".to_owned()], record }
    }

    #[test]
    fn members_listed_the_other_way_round_keep_what_is_theirs() {
        let record = kept().for_members(["right", "left"]);
        assert_eq!(record.tenures, [Tenure { member: Member::B, epoch: Epoch(7) }]);
        assert_eq!((record.last_active, record.held), (Some(Member::B), [false, true]));
        assert_eq!(record.rolling.map(|rolling| rolling.restarted), Some([false, true]));
        assert!(matches!(record.intent, Some(Intent::Switchover { from: Member::B, to: Member::A, .. })));
    }

    #[test]
    fn the_same_order_and_new_names_change_nothing() {
        assert_eq!(kept().for_members(["left", "right"]), kept().record);
        assert_eq!(kept().for_members(["left", "third"]), kept().record);
    }
}
