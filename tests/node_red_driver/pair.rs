//! A pair of bare Node-REDs behind `hotspare run`: a crash, and the crashed one's return behind its gate.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::authority::Authority;
use hotspare_test_support::environment::{NodeRed, hotspare};
use hotspare_test_support::flows::{Flows, WHO};
use hotspare_test_support::process::Process;
use hotspare_test_support::wait::{holds_for, wait_until};
use hotspare_test_support::witness::Sink;
use hotspare_test_support::{http, node_red};
use tempfile::TempDir;

use crate::rig::PATIENCE;

fn start(member: &str, folder: &TempDir) -> Process {
    let line = node_red::command(NodeRed::V4, folder.path());
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).env("HOTSPARE_MEMBER", member);
    Process::start(&format!("node-red {member}"), command)
}

fn who(front: SocketAddr) -> Result<String, String> {
    let answer = http::get(front, WHO).within(Duration::from_secs(2)).send().map_err(|e| e.to_string())?;
    answer.json()["member"].as_str().map(str::to_owned).ok_or_else(|| format!("{answer:?}"))
}

#[test]
fn a_crashed_active_is_replaced_by_the_hot_spare_and_comes_back_stopped() {
    crash_and_return(false);
}

#[test]
fn so_it_is_where_the_node_reds_serve_https() {
    crash_and_return(true);
}

/// With `https` the members speak nothing else; clients are served without it all the same.
fn crash_and_return(https: bool) {
    let block = LoopbackBlock::take();
    let sink = Sink::start(block.ip(4));
    let flows = Flows::new().tick_udp(sink.udp);
    let mut text = format!(
        "[admin]\nlisten = \"{ip}:9480\"\n[[instance]]\nname = \"line-1\"\nlisten = \"{ip}:1880\"\n",
        ip = block.ip(1)
    );
    let mut members = Vec::new();
    let certificates = TempDir::new().unwrap();
    let authority = Authority::new(certificates.path());
    for (name, host) in [("a", 2), ("b", 3)] {
        let folder = TempDir::new().unwrap();
        let address = block.socket(host, 1880);
        authority.sign(name, &[&address.ip().to_string()]);
        let files = (authority.file(&format!("{name}.crt")), authority.file(&format!("{name}.key")));
        let served = https.then_some((files.0.as_path(), files.1.as_path()));
        node_red::write_user_dir_with(folder.path(), address, &flows, served);
        node_red::add_settings(folder.path(), &node_red::gate());
        let tls = if https { format!("tls = {{ ca_file = {:?} }}", authority.file("ca.crt")) } else { String::new() };
        text.push_str(&format!(
            "[[instance.member]]\nname = \"{name}\"\naddress = \"{address}\"\n{tls}\n\
             launcher = {{ kind = \"node-red\" }}\n"
        ));
        members.push((name, start(name, &folder), folder));
    }
    let folder = TempDir::new().unwrap();
    let store = folder.path().join("store");
    text.push_str(&format!(
        "[[instance.health.check]]\nkind = \"http\"\npath = \"{WHO}\"\nactive_only = true\n\
         [store]\ndir = \"{}\"\n",
        store.display()
    ));
    let config = folder.path().join("hotspare.toml");
    fs::write(&config, text).unwrap();
    let mut command = Command::new(hotspare());
    command.arg("run").arg("--config").arg(&config);
    let _proxy = Process::start("hotspare", command);

    let front = block.socket(1, 1880);
    let status = || http::get(block.socket(1, 9480), "/status").send().map(|a| a.json()["instances"][0].clone());
    let active = wait_until(PATIENCE, "one serves, the other is ready", || {
        let (active, status) = (who(front)?, status().map_err(|e| e.to_string())?);
        let spare = status["members"].as_array().into_iter().flatten().find(|m| m["name"] != active.as_str());
        if spare.is_some_and(|m| m["ready"] == true) { Ok(active) } else { Err(status.to_string()) }
    });
    let (_, process, folder) = members.iter_mut().find(|(name, ..)| *name == active).unwrap();
    process.kill();
    wait_until(PATIENCE, "the spare serves", || match who(front) {
        Ok(now) if now != active => Ok(()),
        other => Err(format!("{other:?}, status: {:?}", status())),
    });
    *process = start(&active, folder);
    process.wait_for_line(PATIENCE, "Stopped flows");

    let acts = || sink.history().acts().map(|act| act.member.clone()).collect::<Vec<_>>();
    holds_for(Duration::from_secs(2), "only the new active acts", || {
        let acts = acts();
        let first_of_new = acts.iter().position(|member| *member != active).unwrap_or(acts.len());
        if acts[first_of_new..].contains(&active) { Err(format!("{active} acted again")) } else { Ok(()) }
    });
    assert!(acts().iter().any(|member| *member != active), "the witness saw the new active");
}
