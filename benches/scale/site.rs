//! Names and addresses of a site with many instances, and the configuration that says so. Each member has a loopback
//! address of its own.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The two members of every instance.
pub(super) const MEMBERS: [&str; 2] = ["a", "b"];
const PORT: u16 = 18_801;

/// What the stand-in of member `number` proves itself with.
pub(super) fn token(number: usize) -> String {
    format!("token-of-the-stand-in-for-member-{number:06}")
}

/// The name of an instance.
pub(super) fn name(instance: usize) -> String {
    format!("line-{instance}")
}

fn place(net: u8, number: usize) -> SocketAddr {
    let [high, low] = [(number / 250) as u8, (number % 250 + 1) as u8];
    (Ipv4Addr::new(127, net, high, low), PORT).into()
}

/// Where member `number` (two for each instance) serves.
pub(super) fn address(number: usize) -> SocketAddr {
    place(71, number)
}

/// Where clients of an instance connect to.
pub(super) fn listener(instance: usize) -> SocketAddr {
    place(72, instance)
}

/// Writes the tokens; gives the configuration. A lease is ten heartbeats long.
pub(super) fn configuration(
    instances: usize,
    admin: SocketAddr,
    links: SocketAddr,
    heartbeat_ms: u64,
    work: &Path,
) -> std::io::Result<String> {
    let dir = work.display();
    let mut text = format!(
        "[proxy]\nthreads = 2\n[store]\ndir = \"{dir}/state\"\n[admin]\nlisten = \"{admin}\"\n[links]\nlisten = \"{links}\"\n"
    );
    for instance in 0..instances {
        let _ = write!(
            text,
            "[[instance]]\nname = \"{}\"\nlisten = \"{}\"\nfailover = {{ max_per_hour = 1000, hold_down = \"0s\" }}\n\
             lease = {{ heartbeat = \"{heartbeat_ms}ms\", ttl = \"{}ms\" }}\n",
            name(instance),
            listener(instance),
            heartbeat_ms * 10
        );
        for (place, member) in MEMBERS.into_iter().enumerate() {
            let number = instance * 2 + place;
            let token = work.join(format!("token-{number}"));
            std::fs::write(&token, self::token(number))?;
            std::fs::set_permissions(&token, Permissions::from_mode(0o600))?;
            let _ = write!(
                text,
                "[[instance.member]]\nname = \"{member}\"\naddress = \"{}\"\nlauncher = {{ kind = \"hotspare\", url = \
                 \"http://127.73.{}.{}:2880\", token_file = \"{}\" }}\n",
                address(number),
                number / 250,
                number % 250 + 1,
                token.display()
            );
        }
    }
    Ok(text)
}
