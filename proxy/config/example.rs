//! A configuration file with every key in it, made from the description of the keys.
//!
//! What must be said stands there with a sample; all else is commented out, with the value that holds anyway
//! or one that it could have.

use std::fmt::Write;

use super::file::File;
use super::key::{Key, Kind, Section};
use super::read::Table;

const INTRODUCTION: &str = "\
# Every key of hotspare's configuration, with what it sets. What is commented out shows the value that holds
# anyway or, after \"as in\", one that it could have. docs/configuration.md has the same as tables.
# This file is printed by: hotspare config example
";

/// Values for the keys that must be there.
const NEEDED: [(&str, &str); 7] = [
    ("instance.name", "\"line-1\""),
    ("instance.listen", "\"0.0.0.0:1880\""),
    ("instance.member.name", "\"a\""),
    ("instance.member.address", "\"10.0.0.11:1880\""),
    ("instance.member.launcher.kind", "\"hotspare\""),
    ("instance.member.launcher.url", "\"http://10.0.0.11:2880\""),
    ("instance.member.launcher.token_file", "\"/etc/hotspare/line-1-a.token\""),
];

/// Values for keys that may be left out and have no default to show.
const POSSIBLE: [(&str, &str); 37] = [
    ("proxy.name", "\"proxy-1\""),
    ("admin.token.name", "\"shift-leader\""),
    ("admin.token.role", "\"operate\""),
    ("admin.token.token_file", "\"/etc/hotspare/shift-leader.token\""),
    ("admin.token.token_env", "\"SHIFT_LEADER_TOKEN\""),
    ("admin.tls.cert_file", "\"/etc/hotspare/admin.crt\""),
    ("admin.tls.key_file", "\"/etc/hotspare/admin.key\""),
    ("admin.tls.client_ca_file", "\"/etc/hotspare/people-ca.crt\""),
    ("admin.client.name", "\"shift-leader@plant.example\""),
    ("links.tls.cert_file", "\"/etc/hotspare/links.crt\""),
    ("links.tls.key_file", "\"/etc/hotspare/links.key\""),
    ("links.tls.client_ca_file", "\"/etc/hotspare/launchers-ca.crt\""),
    ("links.listen", "\"10.0.0.1:9481\""),
    ("store.kubernetes.namespace", "\"node-red\""),
    ("store.kubernetes.active_label", "\"hotspare/active\""),
    ("store.etcd.endpoints", "[\"http://10.0.0.21:2379\", \"http://10.0.0.22:2379\", \"http://10.0.0.23:2379\"]"),
    ("store.etcd.user", "\"hotspare\""),
    ("store.etcd.password_file", "\"/etc/hotspare/etcd.password\""),
    ("store.etcd.ca_file", "\"/etc/hotspare/etcd-ca.crt\""),
    ("store.etcd.cert_file", "\"/etc/hotspare/etcd-client.crt\""),
    ("store.etcd.key_file", "\"/etc/hotspare/etcd-client.key\""),
    ("hook.name", "\"pager\""),
    ("hook.instances", "[\"line-1\"]"),
    ("hook.url", "\"http://10.0.0.30/hotspare\""),
    ("hook.command", "[\"/usr/local/bin/page\", \"--urgent\"]"),
    ("hook.secret_file", "\"/etc/hotspare/pager.secret\""),
    ("instance.prefer", "\"a\""),
    ("instance.member.launcher.ca_file", "\"/etc/hotspare/launchers-ca.crt\""),
    ("instance.member.launcher.token_env", "\"LINE_1_A_TOKEN\""),
    ("instance.member.launcher.fence_command", "[\"/usr/local/bin/power-off\", \"line-1-a\"]"),
    ("instance.listener.name", "\"mqtt\""),
    ("instance.listener.listen", "\"0.0.0.0:1883\""),
    ("instance.listener.sni", "[\"line-1.example\"]"),
    ("instance.listener.tls.cert_file", "\"/etc/hotspare/line-1.crt\""),
    ("instance.listener.tls.key_file", "\"/etc/hotspare/line-1.key\""),
    ("instance.member.tls.ca_file", "\"/etc/hotspare/members-ca.crt\""),
    ("instance.member.tls.server_name", "\"line-1-a.example\""),
];

const SECOND_MEMBER: &str = "
# And the other one.
[[instance.member]]
name = \"b\"
address = \"10.0.0.12:1880\"
launcher = { kind = \"hotspare\", url = \"http://10.0.0.12:2880\", token_file = \"/etc/hotspare/line-1-b.token\" }
";

/// The file.
pub fn example() -> String {
    let mut text = INTRODUCTION.to_owned();
    write_tables(&mut text, &File::section(), "");
    text
}

fn write_tables(text: &mut String, section: &Section, path: &str) {
    for key in &section.keys {
        let path = if path.is_empty() { key.name.to_owned() } else { format!("{path}.{}", key.name) };
        match &key.kind {
            Kind::Table(inner) => {
                // A table that may be left out means something by being there.
                write_table(text, &format!("[{path}]"), inner, &path, if key.required { "" } else { "#" });
            }
            Kind::List(item) => {
                if let Kind::Table(inner) = item.as_ref() {
                    let needed = matches!(path.as_str(), "instance" | "instance.member");
                    write_table(text, &format!("[[{path}]]"), inner, &path, if needed { "" } else { "#" });
                }
            }
            _ => {}
        }
        if path == "instance.member" {
            text.push_str(SECOND_MEMBER);
        }
    }
}

/// One table with its keys, and then those inside it; `off` is what comments it out.
fn write_table(text: &mut String, header: &str, section: &Section, path: &str, off: &str) {
    let _ = write!(text, "\n# {}\n{off}{header}\n", section.about);
    for key in section.keys.iter().filter(|key| !holds_tables(key)) {
        let full = format!("{path}.{}", key.name);
        let needed = sample(&NEEDED, &full).filter(|_| off.is_empty());
        let possible = || sample(&POSSIBLE, &full).map_or_else(|| could_be(&key.kind), str::to_owned);
        let value = match (needed, key.default) {
            (Some(sample), _) => sample.to_owned(),
            (None, Some(default)) => default.to_string(),
            (None, None) => possible(),
        };
        let hint = if needed.is_some() { String::new() } else { hint(key.otherwise) };
        let mark = if needed.is_some() { "" } else { "#" };
        let _ = writeln!(text, "# {}{hint}\n{mark}{} = {value}", key.about, key.name);
    }
    write_tables(text, section, path);
}

fn sample(samples: &[(&str, &'static str)], path: &str) -> Option<&'static str> {
    samples.iter().find(|(name, _)| *name == path).map(|(_, sample)| *sample)
}

fn hint(otherwise: Option<&str>) -> String {
    otherwise.map(|words| format!(" If absent: {}.", words.trim_matches('*'))).unwrap_or_default()
}

fn holds_tables(key: &Key) -> bool {
    match &key.kind {
        Kind::Table(_) => true,
        Kind::List(item) => matches!(item.as_ref(), Kind::Table(_)),
        _ => false,
    }
}

/// A value of this kind: the one that its words give as an example.
fn could_be(kind: &Kind) -> String {
    match kind {
        Kind::List(item) => format!("[{}]", could_be(item)),
        Kind::OneOf(words) => format!("{:?}", words.first().copied().unwrap_or_default()),
        Kind::Boolean => "true".to_owned(),
        Kind::Integer { .. } => "1883".to_owned(),
        Kind::Text { what, .. } | Kind::IntegerOrText { what, .. } => {
            let quoted = what.split_once("such as \"").and_then(|(_, rest)| rest.split_once('"'));
            format!("{:?}", quoted.map_or("...", |(example, _)| example))
        }
        Kind::Table(_) => "{}".to_owned(),
    }
}
