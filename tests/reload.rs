//! The configuration is read again under load: what is not named in the difference notices nothing.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hotspare_test_support::fault::Signal;
use hotspare_test_support::site::{SOON, Site};
use hotspare_test_support::wait::wait_until;
use serde_json::Value;

/// Connections that are held and used all the while.
const CLIENTS: usize = 40;

/// Gives back each byte.
fn echo(_: &str, mut stream: TcpStream) {
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
}

/// Clients that say something and hear it again, over one connection each, until stopped.
struct Load {
    stop: Arc<AtomicBool>,
    echoes: Arc<AtomicU64>,
    clients: Vec<JoinHandle<Result<(), String>>>,
}

impl Load {
    fn start(address: SocketAddr) -> Load {
        let (stop, echoes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = |_| {
            let (stop, echoes) = (stop.clone(), echoes.clone());
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).map_err(|e| e.to_string())?;
                stream.set_read_timeout(Some(SOON)).map_err(|e| e.to_string())?;
                let mut byte = [0];
                while !stop.load(Ordering::Relaxed) {
                    stream.write_all(b"x").and_then(|()| stream.read_exact(&mut byte)).map_err(|e| e.to_string())?;
                    echoes.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            })
        };
        let load = Load { clients: (0..CLIENTS).map(client).collect(), stop, echoes };
        load.goes_on();
        load
    }

    /// Every connection has been used since.
    fn goes_on(&self) {
        let before = self.echoes.load(Ordering::Relaxed);
        wait_until(SOON, "clients to be answered", || {
            let since = self.echoes.load(Ordering::Relaxed) - before;
            if since > 2 * CLIENTS as u64 { Ok(()) } else { Err(since) }
        });
    }

    /// The connections that were lost, in words.
    fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().filter_map(|client| client.join().expect("a client").err()).collect()
    }
}

/// The newest event about a reload after `seen`, and its number.
fn reloaded(site: &Site, seen: u64) -> (u64, String) {
    wait_until(SOON, "news of the reload", || {
        let events = site.says(&["events", "--json", "--since", &seen.to_string(), "--last", "1000"]);
        let mut events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let reload = events.rfind(|event| event["event"]["event"] == "reload");
        reload
            .map(|event| {
                (event["id"].as_u64().unwrap_or_default(), event["text"].as_str().unwrap_or_default().to_owned())
            })
            .ok_or("none")
    })
}

fn status(site: &Site, instance: &str) -> Value {
    site.json(&["status", instance, "--json"]).unwrap_or_else(|error| panic!("{instance}: {error}"))
}

#[test]
fn instances_come_change_and_go_and_no_connection_of_another_is_lost() {
    let mut site = Site::serving("", echo);
    let config = site.folder().join("hotspare.toml");
    let first = fs::read_to_string(&config).expect("the configuration");
    let before = status(&site, "line-1");
    let load = Load::start(site.proxy(1880));
    // One server for all members that come: every address of 127.0.0.0/8 is the machine's.
    let server = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = server.local_addr().expect("an address").port();
    let everywhere = |host: u8| SocketAddr::from(([127, 3, 0, host], port));
    std::thread::spawn(move || {
        server.incoming().flatten().for_each(|stream| drop(std::thread::spawn(move || echo("", stream))));
    });
    let front = site.proxy(1882);
    let second = |a: SocketAddr, interval: &str| {
        format!(
            "{first}\n[[instance]]\nname = \"line-2\"\nlisten = \"{}\"\n\
             [[instance.member]]\nname = \"a\"\naddress = \"{a}\"\nlauncher = {{ kind = \"none\" }}\n\
             [[instance.member]]\nname = \"b\"\naddress = \"{}\"\nlauncher = {{ kind = \"none\" }}\n\
             [instance.health]\ninterval = \"{interval}\"\ntimeout = \"100ms\"\n",
            front,
            everywhere(3),
        )
    };
    let mut seen = 0;
    let mut reload = |site: &mut Site, text: &str| {
        fs::write(&config, text).expect("the configuration");
        site.process().signal(Signal::HUP);
        let (id, said) = reloaded(site, seen);
        seen = id;
        said
    };

    // One more, by SIGHUP; then other times, another address; then it goes.
    let (old_address, new_address) = (everywhere(1), everywhere(2));
    let said = reload(&mut site, &second(old_address, "100ms"));
    assert!(said.contains("1 added, 0 removed, 0 changed"), "{said}");
    wait_until(SOON, "the new instance to serve", || match status(&site, "line-2")["active"].as_str() {
        Some("a") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let other_load = Load::start(site.proxy(1882));
    let said = reload(&mut site, &second(old_address, "200ms"));
    assert!(said.contains("0 added, 0 removed, 1 changed"), "{said}");
    other_load.goes_on();
    let lost = other_load.stop();
    assert!(lost.is_empty(), "lost when only a time changed: {lost:?}");
    let said = reload(&mut site, &second(new_address, "200ms"));
    assert!(said.contains("0 added, 0 removed, 1 changed"), "{said}");
    let address = status(&site, "line-2")["members"][0]["address"].clone();
    assert_eq!(address, new_address.to_string());
    wait_until(SOON, "the instance to serve from its new address", || {
        let stream = TcpStream::connect(site.proxy(1882)).and_then(|mut stream| {
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(b"x")?;
            stream.read_exact(&mut [0])
        });
        stream.map_err(|error| error.to_string())
    });
    load.goes_on();
    let said = reload(&mut site, &first);
    assert!(said.contains("0 added, 1 removed, 0 changed"), "{said}");
    assert!(TcpStream::connect(site.proxy(1882)).is_err(), "the removed instance still listens");

    // A wrong file changes nothing and says why; so does one whose address can't be had.
    let said = reload(&mut site, &first.replace("interval = \"100ms\"", "interval = \"soon\""));
    assert!(said.contains("not taken") && said.contains("interval"), "{said}");
    let taken = format!("listen = \"{}\"", site.proxy(9480));
    let own = format!("listen = \"{}\"", site.proxy(1880));
    let said = reload(&mut site, &first.replace(&own, &taken));
    assert!(said.contains("not taken"), "{said}");
    load.goes_on();

    // A ConfigMap's way: a folder is swapped by its symlink, and nobody sends a signal.
    let folder = site.folder().to_path_buf();
    for (version, interval) in [("v1", "100ms"), ("v2", "300ms")] {
        fs::create_dir(folder.join(version)).expect("a folder");
        fs::write(folder.join(version).join("hotspare.toml"), first.replace("\"100ms\"", &format!("\"{interval}\"")))
            .expect("a configuration");
    }
    symlink("v1", folder.join("..data")).expect("a symlink");
    fs::remove_file(&config).expect("the old file goes");
    symlink("..data/hotspare.toml", &config).expect("a symlink");
    // The text is the same as at first, but the last that was read was refused: so it is read again.
    let (id, said) = reloaded(&site, seen);
    assert!(said.contains("nothing differs"), "{said}");
    symlink("v2", folder.join("..data_tmp")).expect("a symlink");
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).expect("the swap");
    let (_, said) = reloaded(&site, id);
    assert!(said.contains("0 added, 0 removed, 1 changed"), "{said}");

    load.goes_on();
    let lost = load.stop();
    assert!(lost.is_empty(), "{} of {CLIENTS} connections were lost: {lost:?}", lost.len());
    let after = status(&site, "line-1");
    assert_eq!((&after["active"], &after["epoch"]), (&before["active"], &before["epoch"]));
    assert!(after["since_ms"].as_u64() > before["since_ms"].as_u64(), "line-1 began anew: {after}");
}
