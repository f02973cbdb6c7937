//! The safety rules by name, so that each can be shown to be needed. Checks that another rule makes redundant (a
//! grant of another tenure, a promise asked for by an earlier one) are kept in the code and not listed here.
//!
//! In every build that ships, all rules hold: [`Rules::holds`] is a constant `true`. With the feature `mutants`,
//! which only the simulation's tests switch on, one rule at a time can be broken; the simulation must notice.

/// One safety rule of the guard or the decider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Guard: a lease counts from when its heartbeat was sent, not from when the answer came.
    CountFromSending,
    /// Guard: an epoch that is not above the highest known one is refused.
    StaleEpochRefused,
    /// Guard: a fence is confirmed when the flows have stopped, not when the stop was asked for.
    FencedMeansStopped,
    /// Guard: a promise to the peer forbids every start.
    PromiseIsKept,
    /// Guard: after boot nothing is started for the longest promise.
    QuarantineAfterBoot,
    /// Guard: one that hears a controller gives no promise, or a member cut off would never be replaced.
    HearingDeclines,
    /// Guard: a start is durable before the flows run.
    StartIsDurable,
    /// Guard: what still runs at the end of the lease is killed.
    KillAtEnd,
    /// Guard: the lease in a start counts from sending too; one that has ended on the way is refused.
    StartCountsFromSending,
    /// Decider: without another proof, the lease must have ended.
    WaitForLease,
    /// Decider: the wait includes the drift of the clocks.
    WaitForDrift,
    /// Decider: the wait includes the kill budget.
    WaitForKill,
    /// Decider: a heartbeat proves the end of those epochs only that its launcher has used up.
    HeartbeatEpochChecked,
    /// Decider: a receipt proves the end of the epochs it speaks for only.
    ReceiptEpochChecked,
    /// Decider: a confirmed fence proves the end of the epochs it speaks for only.
    FencedEpochChecked,
    /// Decider: an epoch is durable before its start is ordered.
    EpochIsDurable,
    /// Decider: after a restart, a grant may have gone out a moment before.
    LeaseSurvivesRestart,
    /// Decider: every grant moves the time to wait for.
    GrantIsCounted,
}

impl Rule {
    /// All of them.
    pub const ALL: [Rule; 18] = [
        Rule::CountFromSending,
        Rule::StaleEpochRefused,
        Rule::FencedMeansStopped,
        Rule::PromiseIsKept,
        Rule::QuarantineAfterBoot,
        Rule::HearingDeclines,
        Rule::StartIsDurable,
        Rule::KillAtEnd,
        Rule::StartCountsFromSending,
        Rule::WaitForLease,
        Rule::WaitForDrift,
        Rule::WaitForKill,
        Rule::HeartbeatEpochChecked,
        Rule::ReceiptEpochChecked,
        Rule::FencedEpochChecked,
        Rule::EpochIsDurable,
        Rule::LeaseSurvivesRestart,
        Rule::GrantIsCounted,
    ];
}

/// Which rules of a set hold: all, unless a test broke one.
#[derive(Clone, Copy, Debug)]
pub struct Rules<R> {
    #[cfg(feature = "mutants")]
    broken: Option<R>,
    #[cfg(not(feature = "mutants"))]
    all_hold: std::marker::PhantomData<R>,
}

impl<R> Default for Rules<R> {
    fn default() -> Self {
        #[cfg(feature = "mutants")]
        return Rules { broken: None };
        #[cfg(not(feature = "mutants"))]
        return Rules { all_hold: std::marker::PhantomData };
    }
}

impl<R: Copy + PartialEq> Rules<R> {
    /// Whether this rule holds.
    #[cfg(not(feature = "mutants"))]
    pub const fn holds(self, _rule: R) -> bool {
        true
    }

    /// Whether this rule holds.
    #[cfg(feature = "mutants")]
    pub fn holds(self, rule: R) -> bool {
        self.broken != Some(rule)
    }

    /// Breaks one rule.
    #[cfg(feature = "mutants")]
    pub fn breaking(rule: R) -> Self {
        Rules { broken: Some(rule) }
    }
}
