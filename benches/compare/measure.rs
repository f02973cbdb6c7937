//! What a proxy used: processor time and memory of its process and that one's children, as the kernel counts them.

use std::fs;

/// A process and all its descendants.
fn family(of: u32) -> Vec<u32> {
    let mut found = vec![of];
    let mut at = 0;
    while let Some(pid) = found.get(at).copied() {
        at += 1;
        for task in tasks(pid) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{task}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

fn tasks(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Seconds on a processor so far.
pub(crate) fn cpu_seconds(of: u32) -> f64 {
    let nanoseconds = |pid: u32| {
        tasks(pid)
            .into_iter()
            .filter_map(|task| fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")).ok())
            .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .sum::<u64>()
    };
    family(of).into_iter().map(nanoseconds).sum::<u64>() as f64 / 1e9
}

/// Seconds that one thread was on a processor so far.
#[allow(dead_code, reason = "one of the benches that share this file has no use for it")]
pub(crate) fn thread_seconds(of: u32, thread: u32) -> f64 {
    let line = fs::read_to_string(format!("/proc/{of}/task/{thread}/schedstat")).unwrap_or_default();
    line.split_whitespace().next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0) / 1e9
}

/// Proportional memory in MiB.
pub(crate) fn memory_mib(of: u32) -> f64 {
    let kib = |pid: u32| {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:").map(str::to_owned));
        line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0)
    };
    family(of).into_iter().map(kib).sum::<f64>() / 1024.0
}

/// The middle one.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

/// By nearest rank; NaN of nothing.
#[allow(dead_code, reason = "one of the benches that share this file has no use for it")]
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(rank).copied().unwrap_or(f64::NAN)
}
