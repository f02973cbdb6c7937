//! Events in sentences that a person understands at three in the morning.

use hotspare_decide::message::{ExitCause, FenceHow};
use hotspare_decide::{Cause, ConnectTrouble, EventKind, Member, Proof};

/// One sentence about what happened; `names` are the members' names in configured order.
pub(super) fn sentence(kind: &EventKind, names: [&str; 2]) -> String {
    let n = |m: &Member| names[m.index()];
    match kind {
        EventKind::Recovering => "started; looking which member is active before anything is decided".to_owned(),
        EventKind::Adopted { member, epoch } => {
            format!("found {} running under epoch {epoch}; adopted without disturbing it", n(member))
        }
        EventKind::LeadershipLost => "another proxy decides now; this one only carries traffic".to_owned(),
        EventKind::Link { member, up: true, new_session: true } => {
            format!("the launcher of {} has started and connected", n(member))
        }
        EventKind::Link { member, up: true, .. } => format!("the launcher of {} is connected again", n(member)),
        EventKind::Link { member, up: false, .. } => format!("the connection to the launcher of {} is gone", n(member)),
        EventKind::FailoverBegan { from, from_epoch, why } => {
            format!("{} (epoch {from_epoch}) is to be replaced: {}", n(from), cause(why))
        }
        EventKind::FenceOrdered { member, fence_epoch, .. } => {
            format!("{} was told to stop its flows for good, up to epoch {fence_epoch}", n(member))
        }
        EventKind::Fenced { member, tenure, by } => {
            format!("{} (epoch {tenure}) certainly runs no flows: {}", n(member), proof(by))
        }
        EventKind::StartOrdered { member, tenure, stale, .. } => {
            let note = if *stale { ", although it differs from the last active" } else { "" };
            format!("{} was told to start its flows under epoch {tenure}{note}", n(member))
        }
        EventKind::StartFailed { member, tenure, reason } => {
            format!("{} could not start under epoch {tenure}: {reason}", n(member))
        }
        EventKind::Active { member, tenure, took_ms, planned, .. } => {
            let how = if *planned { "as planned" } else { "unplanned" };
            format!("{} is active under epoch {tenure}, {how}, {took_ms} ms after the decision", n(member))
        }
        EventKind::Halted { member, why: Some(why), .. } => {
            format!("the flows of {} stand still, and it stays active: {why}", n(member))
        }
        EventKind::Halted { member, .. } => format!("the flows of {} run again", n(member)),
        EventKind::Suspected { member, trouble } => {
            format!("{} {}; new connections wait while it is looked at", n(member), trouble_words(*trouble))
        }
        EventKind::Cleared { member } => format!("{} was looked at and is well", n(member)),
        EventKind::Step { text, .. } => text.clone(),
        EventKind::PlanEnded { done: true, text, .. } => format!("done: {text}"),
        EventKind::PlanEnded { text, .. } => format!("not done: {text}"),
        EventKind::Refused { reasons, .. } => format!("a request was refused: {}", reasons.join("; ")),
        EventKind::SpareNotReady { member, reason } => {
            format!("no redundancy: {} could not take over: {reason}", n(member))
        }
        EventKind::SpareReady { member } => format!("{} could take over at any moment", n(member)),
        EventKind::OutOfSync { member, reason } => format!("{} differs from the active: {reason}", n(member)),
        EventKind::InSync { member } => format!("{} has what the active has", n(member)),
        EventKind::Stuck { reason } => format!("nothing can take over: {reason}"),
        EventKind::Blind => {
            "both members fell silent at once: this side suspects itself and changes nothing".to_owned()
        }
        EventKind::Seeing => "at least one member is heard again".to_owned(),
        EventKind::Stalled { gap_ms } => {
            format!("this process stood still for {gap_ms} ms and looks afresh before it acts")
        }
        EventKind::JournalFailing { reason } => {
            format!("nothing new is decided, since it cannot be made durable: {reason}")
        }
        EventKind::JournalRecovered => "records become durable again".to_owned(),
        EventKind::Frozen { failovers } => {
            format!(
                "{failovers} failovers in an hour: no more of them by itself until somebody says `hotspare unfreeze`"
            )
        }
        EventKind::Unfrozen => "failovers are allowed again".to_owned(),
        EventKind::Paused { for_ms, reason } => {
            format!("paused for {} s, no automatic decision: {reason}", for_ms / 1000)
        }
        EventKind::Resumed { expired: true } => "the pause has ended by itself".to_owned(),
        EventKind::Resumed { .. } => "the pause was ended".to_owned(),
        EventKind::Held { member, held: true } => {
            format!("{} was fenced on request and is not started until released", n(member))
        }
        EventKind::Held { member, .. } => format!("{} may be started again", n(member)),
        EventKind::Intruder { member, tenure } => {
            let under = tenure.map_or_else(|| "no epoch".to_owned(), |t| format!("epoch {t}"));
            format!("{} runs flows under {under} and must not: it is being fenced", n(member))
        }
    }
}

/// A bounded word for a metric's label.
pub(super) fn cause_word(cause: &Cause) -> &'static str {
    match cause {
        Cause::Exited { exit: ExitCause::Hung } => "hung",
        Cause::Exited { exit: ExitCause::LauncherDied } => "launcher_died",
        Cause::Exited { .. } => "exited",
        Cause::StoppedItself => "stopped_itself",
        Cause::LeaseExpired => "lease_expired",
        Cause::Unhealthy { .. } => "unhealthy",
        Cause::Unreachable { .. } => "unreachable",
        Cause::StartFailed { .. } => "start_failed",
        Cause::Operator { .. } => "operator",
        Cause::FoundNoActive => "found_no_active",
    }
}

pub(crate) fn cause(cause: &Cause) -> String {
    match cause {
        Cause::Exited { exit } => exit_words(exit),
        Cause::StoppedItself => "its launcher says that its flows are stopped".to_owned(),
        Cause::LeaseExpired => "nothing was heard of it until its lease had certainly ended".to_owned(),
        Cause::Unhealthy { reason } => format!("its health checks failed: {reason}"),
        Cause::Unreachable { reason } => format!("clients could not reach it: {reason}"),
        Cause::StartFailed { reason } => format!("it did not start: {reason}"),
        Cause::Operator { reason } => format!("on request: {reason}"),
        Cause::FoundNoActive => "nobody was found active".to_owned(),
    }
}

fn exit_words(exit: &ExitCause) -> String {
    match exit {
        ExitCause::Crash { signal: Some(signal), .. } => format!("its Node-RED was ended by signal {signal}"),
        ExitCause::Crash { code: Some(code), .. } => format!("its Node-RED ended by itself with code {code}"),
        ExitCause::Crash { .. } => "its Node-RED ended by itself".to_owned(),
        ExitCause::Hung => "its event loop hung, and its launcher killed it".to_owned(),
        ExitCause::LeaseEnded => "its lease ended, and its launcher killed it".to_owned(),
        ExitCause::Fenced => "it was killed by the fence".to_owned(),
        ExitCause::Requested => "its Node-RED was stopped on request".to_owned(),
        ExitCause::BootFailed => "its Node-RED did not come up".to_owned(),
        ExitCause::LauncherDied => "its launcher died, and its Node-RED with it".to_owned(),
    }
}

pub(super) fn proof(proof: &Proof) -> String {
    match proof {
        Proof::StopConfirmed { how: FenceHow::FlowsStopped } => "it confirmed that its flows are stopped".to_owned(),
        Proof::StopConfirmed { how: FenceHow::ProcessExited } => {
            "its launcher confirmed that the process is gone".to_owned()
        }
        Proof::StopConfirmed { how: FenceHow::NeverRan } => "its launcher confirmed that nothing ran".to_owned(),
        Proof::ExitReceipt => "its launcher handed in the receipt of the process's exit".to_owned(),
        Proof::LeaseExpired => "its lease has ended on the slowest clock allowed".to_owned(),
        Proof::HeartbeatSaysFenced => "its own heartbeat says so".to_owned(),
        Proof::NeverStarted => "it was never told to start".to_owned(),
        Proof::NothingToFence => "members of this kind run no flows".to_owned(),
        Proof::UnreachableRule { silent_ms } => {
            format!("on_unreachable says to take it for stopped after {silent_ms} ms of silence: a rule, not a fact")
        }
        Proof::OperatorForced => "a person took the responsibility: not a fact".to_owned(),
    }
}

fn trouble_words(trouble: ConnectTrouble) -> &'static str {
    match trouble {
        ConnectTrouble::Refused => "refused a client's connection",
        ConnectTrouble::Reset => "reset a client's connection",
        ConnectTrouble::Timeout => "did not answer a client's connection",
    }
}
