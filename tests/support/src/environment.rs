//! Where the programs under test are. The paths come from `tests/run`; a test that lacks one fails and says so.

use std::env;
use std::path::PathBuf;

/// The `hotspare` program that was built with the tests, or the one named by `HOTSPARE_BIN`.
///
/// # Panics
/// If it isn't there.
pub fn hotspare() -> PathBuf {
    if let Some(path) = env::var_os("HOTSPARE_BIN") {
        return path.into();
    }
    // Tests run as target/<profile>/deps/<test>, benches and programs as target/<profile>/<program>.
    let this = env::current_exe().expect("the path of the running test");
    this.ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join("hotspare"))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no hotspare beside {}: cargo build", this.display()))
}

/// A line of Node-RED releases that hotspare supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeRed {
    /// Node-RED 4.x on the machine's own Node.js.
    V4,
    /// Node-RED 5.x on the Node.js that came with it from npm.
    V5,
}

impl NodeRed {
    /// The command that starts it, without any argument of Node-RED's own.
    ///
    /// # Panics
    /// If `tests/run` hasn't said where it is.
    pub fn command(self) -> Vec<String> {
        let (node, folder) = match self {
            NodeRed::V4 => ("node".to_owned(), folder("HOTSPARE_NR4")),
            NodeRed::V5 => (folder("HOTSPARE_NODE22").display().to_string(), folder("HOTSPARE_NR5")),
        };
        let program = folder.join("node_modules/node-red/red.js");
        assert!(program.is_file(), "no Node-RED at {}: run ./tests/run", program.display());
        vec![node, program.display().to_string()]
    }
}

/// The program of FlowFuse's launcher (`index.js`).
///
/// # Panics
/// If `tests/run` hasn't said where it is.
pub fn flowfuse_launcher() -> PathBuf {
    folder("HOTSPARE_NRL").join("node_modules/@flowfuse/nr-launcher/index.js")
}

/// The folder with FlowFuse's dashboard nodes, and what they need, to be a userDir's `node_modules`.
///
/// # Panics
/// If `tests/run` hasn't said where it is.
pub fn dashboard_nodes() -> PathBuf {
    folder("HOTSPARE_DASHBOARD").join("node_modules")
}

fn folder(variable: &str) -> PathBuf {
    match env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set: run ./tests/run (or ./tests/run NAME for one test)"),
    }
}
