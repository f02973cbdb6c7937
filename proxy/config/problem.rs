//! What is wrong with a configuration: every problem at once, each with its place and what to do.
//!
//! Owns the wording of the report. It never decides what is a problem; that is `read` (types, unknown
//! keys) and `check` (values against one another).

use std::fmt;

/// Exit code of every command that refuses a configuration (`EX_USAGE` of sysexits.h).
pub const EXIT_CODE: u8 = 64;

/// One thing wrong in a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, counted from 1.
    pub line: usize,
    /// Column in that line, counted from 1, in characters.
    pub column: usize,
    /// The key as one would say it, such as `instance[line-1].lease.ttl`; empty for a syntax error.
    pub key: String,
    /// What would have been right.
    pub expected: String,
    /// What stands there instead.
    pub found: String,
    /// What to do about it, where that is not plain.
    pub help: Option<String>,
}

/// All problems of one file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    /// The file as it was named on the command line.
    pub file: String,
    /// At least one.
    pub list: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            write_problem(out, &self.file, problem)?;
        }
        let count = self.list.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(out, "{count} {noun} in {}", self.file)
    }
}

fn write_problem(out: &mut fmt::Formatter<'_>, file: &str, problem: &Problem) -> fmt::Result {
    write!(out, "{file}:{}:{}", problem.line, problem.column)?;
    if !problem.key.is_empty() {
        write!(out, ": {}", problem.key)?;
    }
    writeln!(out)?;
    writeln!(out, "    expected  {}", problem.expected)?;
    writeln!(out, "    found     {}", problem.found)?;
    if let Some(help) = &problem.help {
        writeln!(out, "    help      {help}")?;
    }
    writeln!(out)
}
