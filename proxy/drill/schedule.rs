//! Drills that are due by themselves: every so often, within a window of the day (UTC), put off while the pair is not fit.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Drills;
use crate::clock;
use crate::config::{Drill, Instance};

/// How often it is looked whether one is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long one that was refused is put off.
const PUT_OFF: Duration = Duration::from_secs(60);

/// Starts the schedule of an instance that has one.
pub(super) fn start(drills: &Arc<Drills>, instance: &Instance) -> Option<JoinHandle<()>> {
    let drill = instance.drill.clone()?;
    let (drills, name) = (drills.clone(), instance.name.as_str().to_owned());
    let began_ms = clock::wall_ms();
    Some(tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now_ms = clock::wall_ms();
            let age = drills.age_ms(&name).unwrap_or_else(|| now_ms.saturating_sub(began_ms));
            if is_due(&drill, Duration::from_millis(age), now_ms)
                && let Err(refusal) = drills.run(&name, drill.fault, "the schedule").await
            {
                tracing::info!(instance = name, ?refusal, "a drill is due and put off");
                tokio::time::sleep(PUT_OFF).await;
            }
        }
    }))
}

/// Whether one whose last was `age` ago is to be run now.
fn is_due(drill: &Drill, age: Duration, wall_ms: u64) -> bool {
    age >= drill.every && drill.window.is_none_or(|window| window.contains(minute_of_day(wall_ms)))
}

fn minute_of_day(wall_ms: u64) -> u16 {
    u16::try_from(wall_ms / 60_000 % 1440).expect("a day has 1440 minutes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Secrets};
    use std::path::Path;

    #[test]
    fn a_drill_is_due_after_its_time_and_within_its_window_only() {
        let more = "[instance.drill]\nevery = \"30d\"\nwindow = \"02:00-04:00\"\nfault = \"switchover\"\n";
        let text = format!("{}\n{more}", include_str!("../../config/minimal.toml"));
        let config = Config::parse("minimal.toml", &text, Path::new("."), Secrets::Skip);
        let mut config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let drill = config.instances.remove(0).drill.expect("a schedule");
        let (day, hour_ms) = (Duration::from_secs(86_400), 3_600_000_u64);
        let due = |days, hour| is_due(&drill, day * days, hour * hour_ms);
        assert_eq!((due(29, 3), due(30, 1), due(30, 3), due(31, 5)), (false, false, true, false));
    }
}
