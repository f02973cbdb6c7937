//! The configuration as users meet it: every example loads, every wrong file says what is wrong with it.
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hotspare::config::{Config, Secrets};
use proptest::prelude::*;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn toml_files(name: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder(name)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    assert!(!files.is_empty(), "no .toml in {name}");
    files
}

/// The token files that the wrong files name, each wrong in its own way.
fn secrets() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, mode) in [
        ("one.token", "1111111111111111\n", 0o600),
        ("copy-of-one.token", "2222222222222222\n1111111111111111\n", 0o600),
        ("two.token", "3333333333333333\n", 0o400),
        ("readable-by-all.token", "4444444444444444\n", 0o644),
        ("too-short.token", "secret\n", 0o600),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
    }
    folder
}

#[test]
fn every_example_loads() {
    for path in toml_files("config") {
        if let Err(problems) = Config::load(&path, Secrets::Skip) {
            panic!("{problems}");
        }
    }
}

/// Each `tests/config/NAME.toml` has its report in `NAME.expected` beside it. To accept new reports after
/// reading them: `HOTSPARE_BLESS=1 cargo test --test config`.
#[test]
fn every_wrong_file_has_its_own_report() {
    let secrets = secrets();
    let mut wrong = Vec::new();
    for path in toml_files("tests/config") {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let report = match Config::parse(name, &text, secrets.path(), Secrets::Read) {
            Ok(_) => "taken as valid".to_owned(),
            Err(problems) => problems.to_string().replace(&format!("{}/", secrets.path().display()), ""),
        };
        let expected_file = path.with_extension("expected");
        if std::env::var_os("HOTSPARE_BLESS").is_some() {
            std::fs::write(&expected_file, format!("{report}\n")).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_file).unwrap_or_default();
        if expected.trim_end() != report {
            wrong.push(format!("== {name}, expected:\n{expected}\n== {name}, reported:\n{report}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is made from the description of the keys and kept in the repository must be what the code makes.
#[test]
fn schema_and_reference_are_current() {
    let made = [
        ("config/hotspare.schema.json", hotspare::config::schema(), "schema"),
        ("docs/configuration.md", hotspare::config::reference(), "reference"),
        ("config/everything.toml", hotspare::config::example(), "example"),
    ];
    for (file, made, what) in made {
        let kept = std::fs::read_to_string(folder(file)).unwrap_or_default();
        assert!(kept == made, "{file} is not what the code makes: cargo run -- config {what} > {file}");
    }
}

fn broken() -> impl Strategy<Value = String> {
    let examples: Vec<String> =
        toml_files("config").iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let scrap = prop_oneof![
        Just("[[instance]]\n".to_owned()),
        Just(" = ".to_owned()),
        Just("\"".to_owned()),
        Just("9223372036854775807".to_owned()),
        "\\PC{0,8}",
    ];
    (prop::sample::select(examples), any::<prop::sample::Index>(), 0..40_usize, scrap).prop_map(
        |(text, at, cut, scrap)| {
            let mut chars: Vec<char> = text.chars().collect();
            let at = at.index(chars.len());
            let end = (at + cut).min(chars.len());
            chars.splice(at..end, scrap.chars());
            chars.into_iter().collect()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever stands in a file: it is taken, or every problem names a place in it.
    #[test]
    fn no_file_is_too_broken_to_report(text in prop_oneof![broken(), "\\PC{0,200}"]) {
        if let Err(problems) = Config::parse("broken.toml", &text, Path::new("/no/such/folder"), Secrets::Skip) {
            prop_assert!(!problems.list.is_empty());
            let lines = text.split('\n').count();
            for problem in &problems.list {
                prop_assert!((1..=lines).contains(&problem.line) && problem.column > 0, "{problem:?} in {lines} lines");
            }
        }
    }
}
