//! Health checks against servers that misbehave: the cases of Envoy's corpus and of HAProxy's tests, told anew. Each ends
//! with the spare counted out, and each is forgiven once it answers well again. Left out of theirs: agent checks (there are
//! launchers instead), and connections that are kept between checks (there are none).
#![allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use hotspare_test_support::address::LoopbackBlock;
use hotspare_test_support::authority::Authority;
use hotspare_test_support::nginx::Nginx;
use hotspare_test_support::site::{SOON, Site};
use hotspare_test_support::wait::wait_until;

/// What the spare does with a check.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Sends this, then closes.
    Says(&'static str),
    /// Closes at once.
    Closes,
    /// Takes the request and never answers.
    KeepsSilent,
    /// Sends a byte of a good answer now and then.
    Trickles,
    /// Never answers one check, closes at once on the next, and so on.
    SilentThenCloses,
}

const GOOD: &str = "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n";
/// Good answers, each in another manner: a connection that is ended though it could be kept, an answer after an interim
/// one, and one whose end is the connection's.
const GOOD_ANSWERS: [&str; 4] = [
    GOOD,
    "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\nOK",
];

static SPARE: Mutex<Option<(String, Way)>> = Mutex::new(None);

fn serve(name: &str, stream: TcpStream) {
    let way =
        SPARE.lock().unwrap().as_ref().filter(|(spare, _)| spare == name).map_or(Way::Says(GOOD), |(_, way)| *way);
    static CHECKS: AtomicU32 = AtomicU32::new(0);
    let odd = || CHECKS.fetch_add(1, Ordering::Relaxed) % 2 == 1;
    if matches!(way, Way::Closes) || matches!(way, Way::SilentThenCloses) && odd() {
        return;
    }
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    if lines.by_ref().all(|line| !line.is_empty()) {
        return;
    }
    let mut to = &stream;
    match way {
        Way::Says(text) => drop(to.write_all(text.as_bytes())),
        // Until the check has lost its patience.
        Way::KeepsSilent | Way::SilentThenCloses => drop(to.read(&mut [0])),
        Way::Trickles => {
            for byte in GOOD.bytes() {
                std::thread::sleep(Duration::from_millis(50));
                if to.write_all(&[byte]).is_err() {
                    return;
                }
            }
        }
        Way::Closes => {}
    }
}

#[test]
fn a_spare_that_answers_checks_badly_is_counted_out_until_it_answers_well() {
    let mut site = Site::serving("[[instance.health.check]]\nkind = \"http\"\npath = \"/health\"\n", serve);
    let active = site.active();
    let spare = if active == "a" { "b" } else { "a" };
    let becomes = |site: &Site, ready: bool, when: &str| {
        wait_until(SOON, &format!("ready to be {ready}: {when}"), || {
            let status = site.json(&["status", "line-1", "--json"])?;
            let member = status["members"].as_array().unwrap().iter().find(|member| member["name"] == spare).unwrap();
            if member["ready"] == ready { Ok(()) } else { Err(member.to_string()) }
        });
    };
    let set = |way| *SPARE.lock().unwrap() = Some((spare.to_owned(), way));
    let good = GOOD_ANSWERS.iter().cycle();
    let cases = [
        ("closes at once", Way::Closes),
        ("never answers", Way::KeepsSilent),
        ("never answers, then closes, by turns", Way::SilentThenCloses),
        ("answers a byte at a time, past the timeout", Way::Trickles),
        ("closes without an answer", Way::Says("")),
        ("a status below 100", Way::Says("HTTP/1.1 99 x\r\ncontent-length: 0\r\n\r\n")),
        ("a status of 600", Way::Says("HTTP/1.1 600 x\r\ncontent-length: 0\r\n\r\n")),
        ("a status that is no number", Way::Says("HTTP/1.1 2OO OK\r\ncontent-length: 0\r\n\r\n")),
        ("a status of 503", Way::Says("HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n")),
        ("a status of 404", Way::Says("HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n")),
        ("an answer that is cut off", Way::Says("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")),
        ("only an interim answer", Way::Says("HTTP/1.1 100 Continue\r\n\r\n")),
        ("another protocol", Way::Says("SSH-2.0-OpenSSH_9.2\r\n")),
    ];
    for ((case, way), good) in cases.into_iter().zip(good) {
        set(way);
        becomes(&site, false, case);
        set(Way::Says(good));
        becomes(&site, true, &format!("well again after: {case}, answering {good:?}"));
    }
    assert_eq!(site.active(), active, "a bad spare moved the active");

    // One that was bad from the start.
    set(Way::Closes);
    site.start_proxy_anew();
    wait_until(SOON, "an active", || match site.json(&["status", "line-1", "--json"]) {
        Ok(status) if status["active"] == active.as_str() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    becomes(&site, false, "bad from the start");
    set(Way::Says(GOOD));
    becomes(&site, true, "well for the first time");
}

#[test]
fn a_check_over_tls_wants_a_certificate_that_is_good() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (ours, theirs) = (Authority::new(ours.path()), Authority::new(theirs.path()));
    let block = LoopbackBlock::take();
    let [a, b, nowhere] = [(2, 1443), (3, 1443), (4, 80)].map(|(host, port)| block.socket(host, port));
    let secure = |authority: &Authority, at, name: &str| {
        authority.sign("member", &[name]);
        let files = (authority.file("member.crt"), authority.file("member.key"));
        Nginx::start_with(at, nowhere, Some((&files.0, &files.1)))
    };
    let _a = secure(&ours, a, "a.example");
    let member = |name: &str, at| {
        format!(
            "[[instance.member]]\nname = \"{name}\"\naddress = \"{at}\"\nlauncher = {{ kind = \"none\" }}\n\
             tls = {{ ca_file = {:?}, server_name = \"{name}.example\" }}\n",
            ours.file("ca.crt")
        )
    };
    let site = Site::start(&format!(
        "[[instance]]\nname = \"secure\"\nlisten = \"PROXY:1443\"\nprefer = \"a\"\n{}{}\
         [instance.health]\ninterval = \"1s\"\ntimeout = \"1s\"\n",
        member("a", a),
        member("b", b),
    ));
    let becomes = |when: &str, why_not: Option<&str>| {
        wait_until(SOON, when, || {
            let status = site.json(&["status", "secure", "--json"])?;
            let member = &status["members"][1];
            let good = match why_not {
                None => member["ready"] == true,
                Some(why) => {
                    member["ready"] == false && member["why_not"].as_str().is_some_and(|said| said.contains(why))
                }
            };
            if good { Ok(()) } else { Err(member.to_string()) }
        });
    };
    let bad: [(&str, &dyn Fn() -> Nginx); 3] = [
        ("corrupt message", &|| Nginx::start(b, nowhere)),
        ("invalid peer certificate", &|| secure(&theirs, b, "b.example")),
        ("not valid for name", &|| secure(&ours, b, "a.example")),
    ];
    for (why, start) in bad {
        let running = start();
        becomes("the spare to be counted out", Some(why));
        drop(running);
        let _good = secure(&ours, b, "b.example");
        becomes("the spare to be well again", None);
    }
}

/// A server that takes connections and counts them, while it is open.
struct Counting {
    at: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    connections: AtomicU32,
}

impl Counting {
    fn new(at: SocketAddr) -> Self {
        let counting = Self { at, listener: Mutex::default(), connections: AtomicU32::new(0) };
        counting.open(true);
        counting
    }

    fn open(&self, open: bool) {
        let mut listener = self.listener.lock().unwrap();
        if !open {
            *listener = None;
        } else if listener.is_none() {
            let fresh = TcpListener::bind(self.at).unwrap();
            fresh.set_nonblocking(true).unwrap();
            *listener = Some(fresh);
        }
    }

    fn count(&self) {
        while let Some(Ok(_)) = self.listener.lock().unwrap().as_ref().map(TcpListener::accept) {
            self.connections.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn the_checks_of_forty_instances_are_each_of_its_own_member() {
    const INSTANCES: usize = 40;
    let block = LoopbackBlock::take();
    let mut hosts = 1..;
    let mut address = || block.socket(hosts.next().unwrap(), 1880);
    let servers: Vec<Counting> = (0..INSTANCES * 2).map(|_| Counting::new(address())).collect();
    let mut config = String::new();
    for instance in 0..INSTANCES {
        config += &format!(
            "[[instance]]\nname = \"of-many-{instance}\"\nlisten = \"{}\"\nprefer = \"a\"\n\
             [instance.health]\ninterval = \"200ms\"\ntimeout = \"200ms\"\n",
            address()
        );
        for (place, member) in ["a", "b"].into_iter().enumerate() {
            config += &format!(
                "[[instance.member]]\nname = \"{member}\"\naddress = \"{}\"\nlauncher = {{ kind = \"none\" }}\n",
                servers[instance * 2 + place].at
            );
        }
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                servers.iter().for_each(Counting::count);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let site = Site::start(&config);
            // The spares of every other instance are away, then those of the rest, then none.
            for away in [Some(1), Some(0), None] {
                let is_away = |instance: usize| Some(instance % 2) == away;
                (0..INSTANCES).for_each(|instance| servers[instance * 2 + 1].open(!is_away(instance)));
                let before: Vec<u32> = servers.iter().map(|s| s.connections.load(Ordering::Relaxed)).collect();
                wait_until(SOON, &format!("all to be as they are with {away:?} away"), || {
                    let status = site.json(&["status", "--json"])?;
                    for instance in 0..INSTANCES {
                        let name = format!("of-many-{instance}");
                        let all = status["instances"].as_array().ok_or_else(|| status.to_string())?;
                        let one = all.iter().find(|one| one["name"] == *name).ok_or("an instance is not there")?;
                        let ready = [true, !is_away(instance)];
                        if one["active"] != "a" || (0..2).any(|m| one["members"][m]["ready"] != ready[m]) {
                            return Err(one.to_string());
                        }
                    }
                    Ok(())
                });
                wait_until(SOON, "checks at every server that is there", || {
                    let unchecked = (0..servers.len()).find(|&number| {
                        let here = number % 2 == 0 || !is_away(number / 2);
                        here && servers[number].connections.load(Ordering::Relaxed) < before[number] + 3
                    });
                    unchecked.map_or(Ok(()), |number| Err(format!("none came to {}", servers[number].at)))
                });
            }
        }));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = judged {
            std::panic::resume_unwind(panic);
        }
    });
}
