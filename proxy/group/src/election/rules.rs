//! The safety rules by name, so that each can be shown to be needed.
//!
//! In every build that ships all rules hold: [`hotspare_decide::Rules::holds`] is a constant `true`. With the feature `mutants`, which
//! only the simulation's tests switch on, one rule at a time can be broken; the simulation must notice.

/// One safety rule of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A leader leads from when its write was sent, not from when the answer came.
    CountFromSending,
    /// A leader that could not renew in time leads no longer, whatever it has not heard.
    StopAtEnd,
    /// Another waits for as long as the leader's clock may be slow.
    WaitForDrift,
    /// The wait begins anew with every revision seen, not with the first of its writer.
    WaitAnewEachRevision,
    /// The wait is as long as the document says its writer leads, even if less is configured here.
    WaitAsLongAsWritten,
    /// A missing object proves nothing: somebody may lead until the end of a write that is gone.
    WaitWhenMissing,
    /// A leader that resigns decides nothing more from before it sends its release.
    StopBeforeRelease,
    /// A write that had no answer is read back; it counts for nothing until then.
    UnknownIsReadBack,
    /// A write makes durable what was in it, not what has come in since.
    ConfirmWhatWasWritten,
    /// What could not be written while leading is forgotten when leadership ends.
    LossFailsWrites,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 10] = [
        Rule::CountFromSending,
        Rule::StopAtEnd,
        Rule::WaitForDrift,
        Rule::WaitAnewEachRevision,
        Rule::WaitAsLongAsWritten,
        Rule::WaitWhenMissing,
        Rule::StopBeforeRelease,
        Rule::UnknownIsReadBack,
        Rule::ConfirmWhatWasWritten,
        Rule::LossFailsWrites,
    ];
}

/// Which of them hold.
pub(crate) type Rules = hotspare_decide::Rules<Rule>;
