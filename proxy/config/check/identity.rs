//! Nothing twice: names, listeners, members' addresses and token files.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::net::SocketAddr;

use crate::config::file::{File, Listener, Protocol};
use crate::config::key::words_or;
use crate::config::read::Located;
use crate::config::report::Report;
use crate::config::value::{Name, Sni};

pub(super) fn check(report: &mut Report, file: &File) {
    names(report, file);
    counts(report, file);
    references(report, file);
    listeners(report, file);
    shared_listeners(report, file);
    addresses(report, file);
    token_files(report, file);
}

/// Reports each entry whose value an earlier one has.
fn no_doubles<T: Display + Eq + Hash>(report: &mut Report, expected: &str, entries: impl Iterator<Item = (String, T)>) {
    let mut seen: HashMap<T, String> = HashMap::new();
    for (key, value) in entries {
        match seen.get(&value) {
            Some(first) => {
                let line = report.line_of(first);
                report.problem(&key, expected, format!("{value} again, after line {line}"), None);
            }
            None => {
                seen.insert(value, key);
            }
        }
    }
}

fn names(report: &mut Report, file: &File) {
    let named = |at: &str, name: &Name| (format!("{at}.name"), name.clone());
    no_doubles(
        report,
        "a name of its own for each instance",
        file.instance.iter().map(|one| named(&one.at, &one.name)),
    );
    no_doubles(
        report,
        "a name of its own for each token",
        file.admin.token.iter().map(|one| named(&one.at, &one.name)),
    );
    no_doubles(report, "a name of its own for each hook", file.hook.iter().map(|one| named(&one.at, &one.name)));
    for instance in &file.instance {
        let members = instance.member.iter().map(|one| named(&one.at, &one.name));
        no_doubles(report, "a name of its own for each member", members);
        let main = instance.listen.map(|_| (format!("{}.listen", instance.at), Name::fixed("main")));
        let listeners = main.into_iter().chain(instance.listener.iter().map(|one| named(&one.at, &one.name)));
        no_doubles(report, "a name of its own for each listener (listen makes one called main)", listeners);
    }
}

fn counts(report: &mut Report, file: &File) {
    if file.instance.is_empty() && !report.has("instance") {
        report.problem("instance", "at least one [[instance]]", "none", None);
    }
    for instance in &file.instance {
        let key = format!("{}.member", instance.at);
        // A member that was refused for a problem of its own is not a missing one.
        let broken = report.is_bad_inside(&key);
        if instance.member.len() != 2 && !(instance.member.len() < 2 && broken) {
            report.problem(
                &key,
                "two [[instance.member]]: the active and its spare",
                format!("{} of them", instance.member.len()),
                None,
            );
        }
        let broken = report.is_bad_inside(&format!("{}.listen", instance.at));
        if instance.listen.is_none() && instance.listener.is_empty() && !broken {
            let help = Some("listen = \"0.0.0.0:1880\"".to_owned());
            report.problem(
                &format!("{}.listen", instance.at),
                "where clients connect to",
                "nothing: the key is missing",
                help,
            );
        }
    }
}

fn references(report: &mut Report, file: &File) {
    for instance in &file.instance {
        let Some(prefer) = &instance.prefer else {
            continue;
        };
        if instance.member.len() == 2 && instance.member.iter().all(|member| member.name != *prefer) {
            let names: Vec<&str> = instance.member.iter().map(|member| member.name.as_str()).collect();
            report.problem(&format!("{}.prefer", instance.at), words_or(&names), format!("\"{prefer}\""), None);
        }
    }
    for hook in &file.hook {
        for name in hook.instances.iter().filter(|name| file.instance.iter().all(|one| one.name != **name)) {
            report.problem(
                &format!("{}.instances", hook.at),
                "names of instances of this file",
                name.to_string(),
                None,
            );
        }
    }
}

fn listeners(report: &mut Report, file: &File) {
    let mut taken: Vec<(String, SocketAddr)> = vec![("admin.listen".to_owned(), file.admin.listen)];
    taken.extend(file.links.listen.map(|listen| ("links.listen".to_owned(), listen)));
    for instance in &file.instance {
        let main = instance.listen.map(|listen| (format!("{}.listen", instance.at), listen));
        let more = instance.listener.iter().map(|one| (format!("{}.listen", one.at), one.listen));
        let platform = instance.platform.listen.map(|listen| (format!("{}.platform.listen", instance.at), listen));
        taken.extend(main.into_iter().chain(more).chain(platform));
    }
    let sharing: Vec<&Located<Listener>> =
        file.instance.iter().flat_map(|one| &one.listener).filter(|one| !one.sni.is_empty()).collect();
    let shares = |key: &str| sharing.iter().any(|one| key == format!("{}.listen", one.at));
    for (index, (key, listen)) in taken.iter().enumerate() {
        let collides = |(other, address): &&(String, SocketAddr)| {
            collide(*listen, *address) && !(listen == address && shares(key) && shares(other))
        };
        if let Some((other, address)) = taken[..index].iter().find(collides) {
            let found = format!("{listen}, which collides with {address} of {other}");
            report.problem(key, "an address and port that nothing else listens on", found, None);
        }
    }
    for member in file.instance.iter().flat_map(|instance| &instance.member) {
        let Some(ip) = member.address.ip() else {
            continue;
        };
        let own = |listen: &SocketAddr| {
            listen.port() == member.address.port
                && (listen.ip() == ip || (listen.ip().is_unspecified() && ip.is_loopback()))
        };
        if let Some((key, _)) = taken.iter().find(|(_, listen)| own(listen)) {
            let found = format!("{}, where this proxy itself listens ({key})", member.address);
            report.problem(&format!("{}.address", member.at), "where the member's Node-RED listens", found, None);
        }
    }
}

/// Whether two sockets can't both listen. Port 0 is a port that the system chooses.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (any || one.ip() == other.ip())
}

/// Listeners that share an address are told apart by name, and all that comes before the name is the same.
fn shared_listeners(report: &mut Report, file: &File) {
    let mut taken: HashMap<(SocketAddr, Sni), String> = HashMap::new();
    let mut first: HashMap<SocketAddr, &Located<Listener>> = HashMap::new();
    let all = file.instance.iter().flat_map(|one| &one.listener).filter(|one| !one.sni.is_empty());
    for listener in all {
        let key = format!("{}.sni", listener.at);
        for name in &listener.sni {
            if let Some(other) = taken.insert((listener.listen, name.clone()), key.clone()) {
                let found = format!("\"{name}\", which {other} has on {} already", listener.listen);
                report.problem(&key, "names that no other listener of this address has", found, None);
            }
        }
        let one = first.entry(listener.listen).or_insert(listener);
        if one.proxy_from != listener.proxy_from {
            let expected = format!("the same networks as {}, which shares the address", one.at);
            report.problem(&format!("{}.proxy_from", listener.at), expected, "others", None);
        }
        if listener.protocol == Protocol::Http && listener.tls.is_empty() {
            let expected = "\"tcp\", or tls with it: what passes through encrypted cannot be followed";
            report.problem(&format!("{}.protocol", listener.at), expected, "\"http\"", None);
        }
    }
}

fn addresses(report: &mut Report, file: &File) {
    let members = || file.instance.iter().flat_map(|instance| &instance.member);
    let addresses = members().map(|member| (format!("{}.address", member.at), member.address.clone()));
    no_doubles(report, "an address of its own for each member", addresses);
    let urls =
        members().filter_map(|member| Some((format!("{}.url", member.launcher.at), member.launcher.url.clone()?)));
    no_doubles(report, "a launcher of its own for each member", urls);
}

fn token_files(report: &mut Report, file: &File) {
    let members = || file.instance.iter().flat_map(|instance| &instance.member);
    let files = members().filter_map(|member| {
        let path = member.launcher.token_file.as_ref()?;
        Some((format!("{}.token_file", member.launcher.at), path.display().to_string()))
    });
    no_doubles(report, "a token of its own for each member", files);
    let variables = members()
        .filter_map(|member| Some((format!("{}.token_env", member.launcher.at), member.launcher.token_env.clone()?)));
    no_doubles(report, "a token of its own for each member", variables);
}
