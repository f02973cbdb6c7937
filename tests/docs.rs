//! What the docs say to type is typed here: every command in README, docs/ and deploy/README.md is run, or says in
//! [`ELSEWHERE`] who runs it or why nobody can. A command that is in neither is a failure.
//!
//! Commands are the lines of code blocks (fenced as `sh`, or indented by four), and what is quoted inline and begins
//! with a program's name.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use hotspare_test_support::environment::{NodeRed, hotspare};
use hotspare_test_support::pair::{PATIENCE, Pair, Setup};
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::wait_until;

/// Programs whose name at the begin of inline code makes it a command.
const PROGRAMS: [&str; 9] =
    ["hotspare ", "kubectl ", "systemctl ", "cargo ", "helm ", "etcdctl ", "podman ", "openssl ", "npm "];

/// The begin of commands that are not run on the pair of this test, and why.
const ELSEWHERE: &[(&str, &str)] = &[
    ("hotspare run", "the quick start of the README, below"),
    ("hotspare launcher", "the quick start of the README, below"),
    ("hotspare check", "on the file of the quick start, below; that of deploy/two-boxes by deploy/check"),
    ("hotspare events --follow", "never ends by itself: the quick start of the README, below"),
    ("hotspare events line-1 --follow", "never ends by itself: tests/cli_live.rs"),
    ("cargo build --release", "the tests have built the same program"),
    ("cargo run --release -- demo", "tests/demo.rs"),
    ("cargo bench", "a measurement; it builds with clippy in tests/run"),
    ("cargo test", "a test of its own"),
    ("cargo run -p hotspare-test-support", "tests/run fault runs the same judge"),
    ("HOTSPARE_SIM_", "tests/run simulates with fewer seeds"),
    ("HOTSPARE_MUTANT=", "tests/run tries all mutants"),
    ("tests/run fault", "real faults for minutes; tests/partition.rs and tests/failover.rs have the short ones"),
    ("tests/run soak", "an hour; tests/run has a minute and a half of it"),
    ("./tests/run", "runs this"),
    ("for m in", "the quick start of the README, below"),
    ("mkdir -p ~/hotspare", "the quick start of the README, below"),
    ("npm install -g node-red", "tests/setup.sh brings the same from npm"),
    ("deploy/static-build", "a release: takes minutes and another target"),
    ("deploy/chart/secrets", "deploy/check, against Kubernetes' schemas"),
    ("helm ", "deploy/check renders the chart; a release needs a cluster"),
    ("kubectl ", "needs a cluster"),
    ("export HOTSPARE_ADMIN_TOKEN=$(kubectl", "needs a cluster"),
    ("podman ", "needs a registry; deploy/check lints the container files"),
    ("etcdctl ", "asks the etcd of the site"),
    ("install ", "changes the machine; deploy/check verifies the units"),
    ("(umask 077; openssl", "changes nothing but files: the quick start does the same"),
    ("sudo -u hotspare", "needs the user of the units"),
    ("systemctl ", "needs an installed unit; deploy/check verifies the units"),
];

/// Every command of a page, comments gone, lines that go on joined.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let (mut fence, mut begun) = (None, String::new());
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(language.to_owned()) };
            continue;
        }
        let indented = fence.is_none() && line.starts_with("    ") && !line.trim_start().starts_with(['-', '|']);
        if fence.as_deref() == Some("sh") || (indented && is_command(line.trim())) || !begun.is_empty() {
            let (part, goes_on) = match line.trim_end().strip_suffix('\\') {
                Some(part) => (part, true),
                None => (line, false),
            };
            begun.push_str(part.split(" #").next().unwrap_or(part).trim());
            begun.push(' ');
            if !goes_on {
                found.push(std::mem::take(&mut begun).trim().to_owned());
            }
        } else if fence.is_none() && !line.starts_with('#') {
            let quoted = line.split('`').skip(1).step_by(2);
            found.extend(quoted.filter(|code| PROGRAMS.iter().any(|name| code.starts_with(name))).map(str::to_owned));
        }
    }
    found.retain(|command| !command.is_empty());
    found
}

/// Whether a line of an indented block is typed, rather than drawn.
fn is_command(line: &str) -> bool {
    let known = |(begin, _): &(&str, &str)| line.starts_with(begin);
    PROGRAMS.iter().any(|name| line.starts_with(name)) || ELSEWHERE.iter().any(known)
}

fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).expect("docs/").flatten().map(|entry| entry.path());
    let all = docs.chain(["README.md", "deploy/README.md"].map(|name| root.join(name)));
    all.map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("a page"))).collect()
}

fn elsewhere(command: &str) -> bool {
    ELSEWHERE.iter().any(|(begin, _)| command.starts_with(begin))
}

#[test]
fn every_command_in_the_docs_is_run_here_or_elsewhere() {
    let all: Vec<_> = pages()
        .into_iter()
        .flat_map(|(page, text)| commands(&text).into_iter().map(move |c| (page.clone(), c)))
        .collect();
    let unknown: Vec<_> = all.iter().filter(|(_, c)| !c.starts_with("hotspare ") && !elsewhere(c)).collect();
    assert!(unknown.is_empty(), "commands that nobody runs: {unknown:#?}");
    assert!(all.iter().filter(|(_, c)| c.starts_with("hotspare ")).count() > 30, "the pages are hardly read: {all:#?}");
}

/// What is quoted as a message in the docs is one that the program says.
#[test]
fn every_message_of_the_troubleshooting_page_is_in_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut source = String::new();
    read_sources(&root.join("proxy"), &mut source);
    let page = include_str!("../docs/troubleshooting.md");
    let messages: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert!(messages.len() > 20, "{messages:?}");
    let gone: Vec<_> = messages.iter().filter(|message| !source.contains(**message)).collect();
    assert!(gone.is_empty(), "quoted, but said nowhere: {gone:?}");
}

fn read_sources(folder: &Path, into: &mut String) {
    for path in fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            read_sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

/// Every command of hotspare's own, on a real pair: it must do what it says, not only be understood.
#[test]
fn the_commands_of_the_docs_work_on_a_running_pair() {
    let all: BTreeSet<String> = pages().iter().flat_map(|(_, text)| commands(text)).collect();
    let mut own: Vec<&str> = all
        .iter()
        .filter_map(|c| c.strip_prefix("hotspare "))
        .filter(|c| !elsewhere(&format!("hotspare {c}")))
        .collect();
    // A command's name alone is a name, unless it needs nothing more.
    own.retain(|command| command.contains(' ') || ["status", "events"].contains(command));
    // What looks comes first; what takes a member away comes last.
    let orders = ["pause", "resume", "unfreeze", "switchover", "drill", "restart", "failover", "fence", "release"];
    let place =
        |command: &&str| orders.iter().position(|order| command.starts_with(order)).map_or(0, |place| place + 1);
    own.sort_by_key(place);
    let pair = Setup::default().start();
    for command in own {
        run_on(&pair, command);
    }
}

fn run_on(pair: &Pair, command: &str) {
    let mut typed: Vec<String> = command.split_whitespace().map(|word| word.replace("INSTANCE", "line-1")).collect();
    for word in &mut typed {
        *word = word.trim_matches(['"', '\'']).to_owned();
    }
    match typed[0].as_str() {
        "switchover" | "drill" | "restart" | "failover" => drop(pair.wait_until_steady()),
        // The docs fence the member that is not active.
        "fence" => {
            if pair.wait_until_steady().member == "b" {
                pair.says(&["switchover", "line-1"]);
            }
            pair.wait_until_steady();
        }
        _ => {}
    }
    if typed[0] == "failover" {
        // It asks; here is no terminal to ask on.
        typed.push("--yes".to_owned());
    }
    let arguments: Vec<&str> = typed.iter().map(String::as_str).collect();
    let output = pair.cli(&arguments).output().expect("hotspare to start");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // How many requests of its own client a drill may lose is for the benches to say; and this pair is not frozen.
    let judged = match typed[0].as_str() {
        "drill" => said.contains("the spare took over"),
        "unfreeze" => said.contains("it is not frozen"),
        _ => false,
    };
    assert!(output.status.success() || judged, "hotspare {command}: {}: {said}", output.status);
    assert!(!said.trim().is_empty(), "hotspare {command} says nothing");
}

/// The quick start of the README, word by word, in a network of its own: its ports are fixed, and here nobody has them.
#[test]
fn the_quick_start_of_the_readme_gives_a_pair_that_fails_over() {
    let readme = include_str!("../README.md");
    let (_, start) = readme.split_once("## Five minutes").expect("the quick start");
    let (start, _) = start.split_once("\n## ").expect("its end");
    let blocks: Vec<(&str, String)> = start.split("```").skip(1).step_by(2).map(block).collect();
    let [("sh", tokens), ("toml", config), ("sh", run), ("sh", look)] = blocks.as_slice() else {
        panic!("the quick start has other blocks: {blocks:?}");
    };
    let home = tempfile::tempdir().expect("a folder");
    let bin = home.path().join("bin");
    fs::create_dir(&bin).expect("a folder");
    let node_red = NodeRed::V4.command();
    script(&bin.join("node-red"), &format!("exec {} \"$@\"", node_red.join(" ")));
    script(&bin.join("cargo"), "echo \"already built: cargo $*\"");
    std::os::unix::fs::symlink(hotspare(), bin.join("hotspare")).expect("a symlink");

    let all = format!(
        "set -eu\nip link set lo up\n{tokens}\ncat >hotspare.toml <<'END'\n{config}END\nhotspare check --config hotspare.toml\n\
         {run}\n{}\necho that is all\nwait\n",
        look.replace(
            "hotspare status",
            "until hotspare status | tee /dev/stderr | grep -q ' [ab] ready'; do sleep 0.2; done"
        )
        .replace("hotspare events --follow", "hotspare events --follow &")
        .replace("--fault crash", "--fault crash || true")
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "bash", "-c", &all]).current_dir(home.path());
    command
        .env("HOME", home.path())
        .env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()));
    let mut shell = Process::start("the quick start", command);
    shell.wait_for_line(PATIENCE, "that is all");
    let said = shell.output();
    assert!(said.contains("would be told to start at once"), "explain does not say what would happen:\n{said}");
    // How many requests a crash may cost is for the benches to say; here, that the drill tells of it.
    assert!(said.contains("drill crash ") && said.contains("the spare took over"), "no report of a drill:\n{said}");

    // And it fails over: whoever holds the active's port is killed.
    let inside = |command: &str| {
        let pid = shell.pid().to_string();
        let mut inside = Command::new("nsenter");
        inside.args(["--net", "--target", &pid, "bash", "-c", command]).stdin(Stdio::null());
        inside.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default()));
        String::from_utf8_lossy(&inside.output().expect("nsenter").stdout).into_owned()
    };
    let active =
        |status: &str| status.lines().find(|line| line.starts_with("line-1")).map(str::to_owned).unwrap_or_default();
    let before = inside("hotspare status");
    let (port, other) = if active(&before).contains("  a  ") { (1881, "  b  ") } else { (1882, "  a  ") };
    inside(&format!("kill -9 $(ss -Hltnp 'sport = :{port}' | grep -o 'pid=[0-9]*' | cut -d= -f2)"));
    wait_until(PATIENCE, "the other member to be active", || {
        let status = inside("hotspare status");
        if active(&status).contains(other) { Ok(()) } else { Err(format!("{status}; before:\n{before}")) }
    });
}

/// Language and text of a fenced block, without the indent of the list that it stands in.
fn block(text: &str) -> (&str, String) {
    let (language, body) = text.split_once('\n').unwrap_or((text, ""));
    let indent = body.len() - body.trim_start_matches(' ').len();
    let lines =
        body.lines().map(|line| line.get(indent.min(line.len() - line.trim_start().len())..).unwrap_or_default());
    (language.trim(), lines.map(|line| format!("{line}\n")).collect())
}

fn script(path: &Path, line: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/sh\n{line}\n")).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
}
