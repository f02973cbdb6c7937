//! Values held against one another: what is well written and still can't work is refused here.
//!
//! Owns these rules only. Each is one function; `identity` has names, addresses and listeners, `launcher`
//! what each kind of launcher needs, `timing` times and amounts.

mod identity;
mod launcher;
mod timing;

use super::file::File;
use super::report::Report;

/// Reports everything that can't work together.
pub(super) fn check(report: &mut Report, file: &File) {
    identity::check(report, file);
    launcher::check(report, file);
    timing::check(report, file);
}
