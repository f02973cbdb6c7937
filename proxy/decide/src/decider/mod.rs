//! Who is active: the controller's side, one decider per instance.

use crate::effect::{Effect, ParkReason, Route};
use crate::ids::{Epoch, Member};
use crate::input::Input;
use crate::record::Record;
use crate::settings::Settings;
use crate::time::Time;
use crate::view::{Forecast, StateName, View};
use std::collections::VecDeque;

/// Decides for one instance.
#[derive(Debug)]
pub struct Decider {
    effects: VecDeque<Effect>,
}

impl Decider {
    /// A controller that has just started and decides for this instance. `wall_ms` is the wall clock (milliseconds
    /// since 1970), used only to read and write the times in the record.
    pub fn new(_now: Time, _wall_ms: u64, _name: String, _settings: Settings, _record: Option<Record>) -> Self {
        Decider { effects: VecDeque::new() }
    }

    /// A controller of a group that doesn't lead (yet): it answers heartbeats and decides nothing.
    pub fn follower(now: Time, wall_ms: u64, name: String, settings: Settings) -> Self {
        Decider::new(now, wall_ms, name, settings, None)
    }

    /// Tells the decider what happened. `now` is this host's `CLOCK_BOOTTIME`.
    pub fn handle(&mut self, _now: Time, _input: Input) {}

    /// Tells the decider that the time of `poll_timeout` has come.
    pub fn handle_timeout(&mut self, _now: Time) {}

    /// When to call `handle_timeout` next. `None`: only after an input.
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }

    /// What to do next, in order; `None` when there is nothing more.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// New settings, from a reload. A wider lease takes effect once it is durable.
    pub fn set_settings(&mut self, _now: Time, _settings: Settings) {}

    /// The state, by name.
    pub fn state(&self) -> StateName {
        StateName::Recovering
    }

    /// Who is active, and under which epoch.
    pub fn active(&self) -> Option<(Member, Epoch)> {
        None
    }

    /// The highest epoch reserved.
    pub fn epoch(&self) -> Epoch {
        Epoch::NONE
    }

    /// Where connections go.
    pub fn route(&self) -> Route {
        Route::Park { reason: ParkReason::Recovering }
    }

    /// Whether this controller decides for the instance (what `Welcome` and `Ack` say).
    pub fn is_leader(&self) -> bool {
        false
    }

    /// Everything, for status and metrics. Costs some allocations; call it when asked, not per connection.
    pub fn view(&self, _now: Time) -> View {
        panic!("comes with the decider")
    }

    /// Would a switchover (to `to`, or to the spare) work now? If not, every reason.
    pub fn check_switchover(&self, _now: Time, _to: Option<Member>) -> Result<Member, Vec<String>> {
        Err(Vec::new())
    }

    /// "If the active died this moment: …"
    pub fn forecast(&self, _now: Time) -> Forecast {
        Forecast { to: None, after_exit_ms: None, after_silence_ms: None, sentences: Vec::new() }
    }
}
