//! Drills that are due by themselves: every so often, within a window of the day (UTC), put off while the pair is not fit.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Drills;
use crate::clock;
use crate::config::Instance;

/// How often it is looked whether one is due, and how long one that was refused is put off.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Starts the schedule of an instance that has one.
pub(super) fn start(drills: &Arc<Drills>, instance: &Instance) -> Option<JoinHandle<()>> {
    let drill = instance.drill.clone()?;
    let (drills, name) = (drills.clone(), instance.name.as_str().to_owned());
    let began_ms = clock::wall_ms();
    Some(tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let age = drills.age_ms(&name).unwrap_or_else(|| clock::wall_ms().saturating_sub(began_ms));
            let due = Duration::from_millis(age) >= drill.every;
            let open = drill.window.is_none_or(|window| window.contains(minute_of_day(clock::wall_ms())));
            if due
                && open
                && let Err(refusal) = drills.run(&name, drill.fault, "the schedule").await
            {
                tracing::info!(instance = name, ?refusal, "a drill is due and put off");
            }
        }
    }))
}

fn minute_of_day(wall_ms: u64) -> u16 {
    u16::try_from(wall_ms / 60_000 % 1440).expect("a day has 1440 minutes")
}
