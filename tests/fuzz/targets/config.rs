//! A configuration file: whatever it says, it is a valid configuration or a list of problems.
#![no_main]

use std::path::Path;

use hotspare_fuzz::config::{Config, Secrets};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse("fuzz.toml", text, Path::new("/nowhere"), Secrets::Skip) {
        Ok(config) => assert!(!config.instances.is_empty(), "a configuration without an instance was taken"),
        Err(problems) => {
            assert!(!problems.list.is_empty(), "refused without a reason");
            let lines = text.lines().count().max(1);
            for problem in &problems.list {
                assert!((1..=lines + 1).contains(&problem.line), "line {} of {lines}: {problem:?}", problem.line);
            }
            assert!(!problems.to_string().is_empty());
        }
    }
});
