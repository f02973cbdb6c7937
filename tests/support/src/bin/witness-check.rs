//! `witness-check FILE`: judges a history that a fault run wrote. Exit code 0 if it is clean, 1 if it is guilty, 2 if it
//! can't be read.

use std::fs::File;
use std::io::BufReader;
use std::process::ExitCode;

use hotspare_test_support::flows::TICK;
use hotspare_test_support::witness::{History, judge};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file] = arguments.as_slice() else {
        eprintln!("usage: witness-check FILE");
        return ExitCode::from(2);
    };
    let history = match File::open(file).and_then(|opened| History::read(BufReader::new(opened))) {
        Ok(history) => history,
        Err(error) => {
            eprintln!("witness-check: {file}: {error}");
            return ExitCode::from(2);
        }
    };
    let verdict = judge(&history, TICK);
    println!("{verdict}");
    if verdict.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
