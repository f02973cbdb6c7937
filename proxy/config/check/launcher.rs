//! What each kind of launcher, store, hook and token needs, and what makes no sense for it.

use crate::config::file::{CheckKind, File, Instance, Launcher, LauncherKind, Member, StoreKind};
use crate::config::read::Located;
use crate::config::report::Report;

pub(super) fn check(report: &mut Report, file: &File) {
    for instance in &file.instance {
        for member in &instance.member {
            needs(report, &member.launcher);
            nonsense(report, &member.launcher);
            tls(report, member);
        }
        one_kind(report, instance);
        checks(report, instance);
    }
    admin(report, file);
    store(report, file);
    hooks(report, file);
}

fn needs(report: &mut Report, launcher: &Located<Launcher>) {
    let key = |name: &str| format!("{}.{name}", launcher.at);
    let missing = "nothing: the key is missing";
    let wants_url = matches!(launcher.kind, LauncherKind::Hotspare | LauncherKind::FlowFuse);
    if wants_url && launcher.url.is_none() && !report.is_bad(&key("url")) {
        let help = Some("as in url = \"http://10.0.0.11:2880\"".to_owned());
        report.problem(&key("url"), format!("the URL of the launcher, for kind \"{}\"", launcher.kind), missing, help);
    }
    let no_token = launcher.token_file.is_none() && launcher.token_env.is_none();
    if launcher.kind == LauncherKind::Hotspare && no_token && !report.is_bad(&key("token_file")) {
        let help = Some("make one with: (umask 077; openssl rand -hex 32 > FILE)".to_owned());
        report.problem(&key("token_file"), "a file with the token that launcher and proxy share", missing, help);
    }
    if launcher.token_file.is_some() && launcher.token_env.is_some() {
        report.problem(&key("token_env"), "token_file or token_env", "both", None);
    }
}

fn nonsense(report: &mut Report, launcher: &Located<Launcher>) {
    let key = |name: &str| format!("{}.{name}", launcher.at);
    let (useless, why): (&[&str], &str) = match launcher.kind {
        LauncherKind::Hotspare => (&["on_unreachable", "fence_command"], "its lease ends by itself, which is certain"),
        LauncherKind::None => (
            &["url", "ca_file", "token_file", "token_env", "on_unreachable", "fence_command"],
            "there is nothing to start or stop",
        ),
        LauncherKind::FlowFuse | LauncherKind::NodeRed => return,
    };
    for name in useless.iter().filter(|name| report.has(&key(name))).collect::<Vec<_>>() {
        let expected = format!("no such key for kind \"{}\": {why}", launcher.kind);
        report.problem(&key(name), expected, *name, None);
    }
}

/// TLS to a member whose kind can have it.
fn tls(report: &mut Report, member: &Member) {
    match (member.launcher.kind, &member.tls) {
        // What ends TLS in front of a Node-RED goes on listening when that one is gone: no stop would be certain.
        (LauncherKind::FlowFuse, Some(tls)) => {
            let expected =
                "no tls for kind \"flowfuse\": its Node-RED speaks plain HTTP, and its own port must be seen to refuse";
            report.problem(&tls.at, expected, "tls", None);
        }
        (LauncherKind::NodeRed, tls) => {
            let Some(url) = member.launcher.url.as_ref().filter(|url| url.is_at(&member.address)) else { return };
            // There Node-RED is its own admin API: both speak TLS, or neither.
            let is_https = url.uri().scheme_str() == Some("https");
            if is_https != tls.is_some() {
                let (scheme, why) = if is_https { ("http", "no tls") } else { ("https", "tls") };
                let expected = format!("{scheme}://: this is the member's own address, and it has {why}");
                report.problem(&format!("{}.url", member.launcher.at), expected, url.to_string(), None);
            }
        }
        _ => {}
    }
}

/// What is promised for an instance depends on the kind; half a promise is none.
fn one_kind(report: &mut Report, instance: &Located<Instance>) {
    if let [first, second] = instance.member.as_slice()
        && first.launcher.kind != second.launcher.kind
    {
        let expected = format!("\"{}\", as the other member has: a pair is of one kind", first.launcher.kind);
        report.problem(
            &format!("{}.kind", second.launcher.at),
            expected,
            format!("\"{}\"", second.launcher.kind),
            None,
        );
    }
    let kind = instance.member.first().map(|member| member.launcher.kind);
    let lease = format!("{}.lease", instance.at);
    if let Some(kind) = kind.filter(|kind| *kind != LauncherKind::Hotspare)
        && report.has(&lease)
    {
        report.problem(
            &lease,
            format!("no lease for kind \"{kind}\": only \"hotspare\" has one"),
            "[instance.lease]",
            None,
        );
    }
}

fn checks(report: &mut Report, instance: &Located<Instance>) {
    let plain = instance.member.iter().any(|member| member.launcher.kind == LauncherKind::None);
    for check in &instance.health.check {
        for name in ["path", "status"] {
            let key = format!("{}.{name}", check.at);
            if check.kind != CheckKind::Http && report.has(&key) {
                report.problem(&key, format!("no such key for kind \"{}\"", check.kind), name, None);
            }
        }
        if !check.path.starts_with('/') {
            report.problem(
                &format!("{}.path", check.at),
                "a path that begins with /",
                format!("{:?}", check.path),
                None,
            );
        }
        if plain && check.kind == CheckKind::FlowsState {
            let expected = "\"tcp\" or \"http\": a plain server (launcher.kind \"none\") has no flows";
            report.problem(&format!("{}.kind", check.at), expected, "\"flows-state\"", None);
        }
    }
}

fn admin(report: &mut Report, file: &File) {
    let listen = file.admin.listen;
    let nobody = file.admin.token.is_empty() && file.admin.client.is_empty();
    if !listen.ip().is_loopback() && nobody && !report.is_bad_inside("admin") {
        let help = Some("add [[admin.token]] with name, role and token_file, or listen on 127.0.0.1".to_owned());
        let expected = "a loopback address, as there is no [[admin.token]] and no [[admin.client]]";
        report.problem("admin.listen", expected, listen.to_string(), help);
    }
    let verifies = file.admin.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
    if let Some(client) = file.admin.client.first().filter(|_| !verifies)
        && !report.is_bad_inside("admin.tls")
    {
        let expected = "[admin.tls] with client_ca_file, which a client's certificate is verified with";
        report.problem(&format!("{}.name", client.at), expected, "a client without it", None);
    }
    for token in &file.admin.token {
        let key = |name: &str| format!("{}.{name}", token.at);
        match (&token.token_file, &token.token_env) {
            (None, None) if !report.is_bad(&key("token_file")) && !report.is_bad(&key("token_env")) => {
                report.problem(&key("token_file"), "token_file or token_env", "neither", None);
            }
            (Some(_), Some(_)) => report.problem(&key("token_env"), "token_file or token_env", "both", None),
            _ => {}
        }
    }
}

fn store(report: &mut Report, file: &File) {
    let store = &file.store;
    for (name, kind) in [("kubernetes", StoreKind::Kubernetes), ("etcd", StoreKind::Etcd)] {
        let key = format!("store.{name}");
        if report.has(&key) && store.kind != kind {
            report.problem(&key, format!("store.kind = \"{kind}\" with it"), format!("kind \"{}\"", store.kind), None);
        }
    }
    if store.kind == StoreKind::Etcd && !hotspare_group::backend::HAS_ETCD {
        let help = Some("build it with: cargo build --release --features etcd (needs protoc)".to_owned());
        report.problem("store.kind", "a program that was built with etcd", "one without", help);
    }
    let Some(etcd) = &store.etcd else {
        if store.kind == StoreKind::Etcd && !report.is_bad_inside("store.etcd") {
            let help = Some("endpoints = [\"http://10.0.0.21:2379\"]".to_owned());
            report.problem("store.etcd", "[store.etcd] with endpoints", "nothing: the table is missing", help);
        }
        return;
    };
    if etcd.endpoints.is_empty() && !report.is_bad_inside("store.etcd.endpoints") {
        report.problem("store.etcd.endpoints", "at least one URL", "none", None);
    }
    if etcd.user.is_some() != etcd.password_file.is_some() {
        report.problem("store.etcd.user", "user and password_file together", "one of them", None);
    }
    if etcd.cert_file.is_some() != etcd.key_file.is_some() {
        report.problem("store.etcd.cert_file", "cert_file and key_file together", "one of them", None);
    }
    let plain = etcd.endpoints.iter().find(|url| url.uri().scheme_str() != Some("https"));
    let named = ["ca_file", "cert_file", "key_file"].into_iter().find(|key| report.has(&format!("store.etcd.{key}")));
    if let (Some(url), Some(key)) = (plain, named) {
        let expected = format!("https:// URLs only, as there is {key}");
        report.problem("store.etcd.endpoints", expected, url.to_string(), None);
    }
}

fn hooks(report: &mut Report, file: &File) {
    for hook in &file.hook {
        let url = format!("{}.url", hook.at);
        match (hook.url.is_some(), hook.command.is_empty()) {
            (false, true) if !report.is_bad_inside(&hook.at) => {
                report.problem(&url, "url or command", "neither", None);
            }
            (true, false) => report.problem(&url, "url or command", "both", None),
            (false, false) if hook.secret_file.is_some() => {
                report.problem(
                    &format!("{}.secret_file", hook.at),
                    "no such key with command: it signs a POST",
                    "secret_file",
                    None,
                );
            }
            _ => {}
        }
    }
}
