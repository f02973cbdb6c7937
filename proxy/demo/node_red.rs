//! Finds Node.js, and Node-RED in a cache folder; fetches Node-RED from npm when it isn't there.

use std::fmt;
use std::fs;
use std::io::{IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{Instant, interval};

use super::Failure;

/// What runs a member.
#[derive(Debug)]
pub(super) struct NodeRed {
    node: String,
    release: &'static str,
    /// Node-RED's program.
    pub(super) program: PathBuf,
}

impl fmt::Display for NodeRed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node-RED {} on Node.js {}", self.release, self.node)
    }
}

/// The Node-RED that suits the Node.js of this machine.
pub(super) async fn find_or_fetch() -> Result<NodeRed, Failure> {
    let node = node_version().await?;
    let release = release_for(&node).ok_or_else(|| {
        format!("Node.js {node} is too old for Node-RED: install Node.js 20 or newer, then run this again")
    })?;
    let folder = cache()?.join(format!("node-red-{release}"));
    let program = folder.join("node_modules/node-red/red.js");
    if !program.is_file() {
        fetch(release, &folder).await?;
    }
    Ok(NodeRed { node, release, program })
}

async fn node_version() -> Result<String, Failure> {
    match Command::new("node").arg("--version").stdin(Stdio::null()).output().await {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned())
        }
        _ => Err("Node.js is missing: install Node.js 20 or newer (with npm), then run this again".to_owned()),
    }
}

/// Node-RED 5 wants Node.js 22.9, Node-RED 4 wants 18.5.
fn release_for(node: &str) -> Option<&'static str> {
    let mut parts = node.split('.').map_while(|part| part.parse::<u32>().ok());
    match (parts.next()?, parts.next()?) {
        version if version >= (22, 9) => Some("5"),
        version if version >= (18, 5) => Some("4"),
        _ => None,
    }
}

fn cache() -> Result<PathBuf, Failure> {
    let set = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    let base = base.ok_or("neither XDG_CACHE_HOME nor HOME says where Node-RED can be kept: set one of them")?;
    Ok(base.join("hotspare/demo"))
}

/// Installs into a folder beside the final one and renames it, so that what is there is always whole.
async fn fetch(release: &str, folder: &Path) -> Result<(), Failure> {
    let unfinished = folder.with_extension(format!("unfinished-{}", std::process::id()));
    let io = |error: std::io::Error| format!("can't write to {}: {error}", folder.display());
    fs::create_dir_all(&unfinished).map_err(io)?;
    let cleanup = RemoveDir(&unfinished);
    let mut command = Command::new("npm");
    command.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts", "--prefix"]);
    command.arg(&unfinished).arg(format!("node-red@{release}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            "npm is missing: install npm (it comes with Node.js), then run this again".to_owned()
        }
        _ => format!("can't start npm: {error}"),
    })?;
    let output = with_progress(
        &format!("Getting Node-RED {release} from npm into {}", folder.display()),
        child.wait_with_output(),
    )
    .await
    .map_err(|error| format!("can't wait for npm: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "npm could not install node-red@{release}; is the package registry within reach? It said:\n{}",
            said.trim()
        ));
    }
    // A second demo may have been faster: what it put there is just as good.
    if let Err(error) = fs::rename(&unfinished, folder)
        && !folder.join("node_modules/node-red/red.js").is_file()
    {
        return Err(io(error));
    }
    drop(cleanup);
    Ok(())
}

/// One line that says what is going on and, on a terminal, for how long it has been.
async fn with_progress<T>(what: &str, work: impl Future<Output = T>) -> T {
    let terminal = stdout().is_terminal();
    let began = Instant::now();
    let mut second = interval(Duration::from_secs(1));
    if !terminal {
        println!("{what} (once; about half a minute)");
    }
    tokio::pin!(work);
    loop {
        tokio::select! {
            result = &mut work => {
                if terminal {
                    println!("\r{what}: done in {} s", began.elapsed().as_secs());
                }
                return result;
            }
            _ = second.tick(), if terminal => {
                print!("\r{what}: {} s ", began.elapsed().as_secs());
                let _ = stdout().flush();
            }
        }
    }
}

struct RemoveDir<'a>(&'a Path);

impl Drop for RemoveDir<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::release_for;

    #[test]
    fn each_node_gets_the_node_red_it_can_run() {
        let cases = [
            ("16.20.2", None),
            ("18.4.0", None),
            ("18.19.0", Some("4")),
            ("20.20.2", Some("4")),
            ("22.8.0", Some("4")),
            ("22.9.0", Some("5")),
            ("24.1.0", Some("5")),
            ("nonsense", None),
        ];
        for (node, expected) in cases {
            assert_eq!(release_for(node), expected, "for Node.js {node}");
        }
    }
}
