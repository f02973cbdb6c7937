//! A fixed amount of work for the data path, for counting its instructions (see `benches/instructions`): so many
//! connections one after the other, each with so many messages there and back. Whoever is to do something next waits
//! until the data path's thread waits too, so that each event has a turn of its loop for itself, on any machine.
//!
//! ```text
//! counted tcp|http CONNECTIONS MESSAGES
//! ```

use hotspare_datapath::{Config, DataPath, Drain, InstanceId, InstanceSpec, Limits, ListenerSpec, Protocol, Route};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

const REQUEST: &[u8] = b"GET /path HTTP/1.1\r\nHost: example\r\nAccept: */*\r\n\r\n";
/// `epoll_wait`, `epoll_pwait` and `epoll_pwait2` by the numbers of x86-64 and aarch64.
const WAITS: [&str; 4] = ["232", "281", "441", "22"];
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nA\n";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [protocol, connections, messages] = args.as_slice() else {
        return Err("usage: counted tcp|http CONNECTIONS MESSAGES".into());
    };
    let (connections, messages): (u32, u32) = (connections.parse()?, messages.parse()?);
    let member = TcpListener::bind("127.0.0.1:0")?;
    let instance = InstanceId(1);
    let data = DataPath::start(Config { threads: 1, ..Config::default() }, Arc::new(|_| {}))?;
    data.add_instance(InstanceSpec { id: instance, name: "counted".into(), limits: Limits::default() })?;
    let spec = ListenerSpec::new(instance, "counted", "127.0.0.1:0".parse()?);
    let protocol = if protocol == "http" { Protocol::Http } else { Protocol::Tcp };
    let listener = data.add_listener(ListenerSpec { protocol, ..spec })?;
    let route = Route::To { epoch: 1, member: 0, addrs: vec![member.local_addr()?] };
    data.set_route(instance, route, Drain::Now)?;
    let thread = DataThread::find()?;
    let seen_by_server = thread.clone();
    let server = std::thread::spawn(move || -> Result<(), String> {
        for _ in 0..connections {
            let (stream, _) = member.accept().map_err(|e| e.to_string())?;
            serve(stream, &seen_by_server).map_err(|e| e.to_string())?;
        }
        Ok(())
    });
    let mut answer = [0; ANSWER.len()];
    for _ in 0..connections {
        thread.wait_until_idle()?;
        let mut client = TcpStream::connect(listener.addr)?;
        client.set_nodelay(true)?;
        for _ in 0..messages {
            thread.wait_until_idle()?;
            client.write_all(REQUEST)?;
            client.read_exact(&mut answer)?;
        }
        thread.wait_until_idle()?;
        client.shutdown(std::net::Shutdown::Write)?;
        client.read_to_end(&mut Vec::new())?;
    }
    server.join().map_err(|_| "the server failed")??;
    let counters = data.counters(instance)?;
    println!("{} connections, {} bytes up", counters.accepted, counters.bytes_up);
    Ok(())
}

fn serve(mut stream: TcpStream, thread: &DataThread) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST.len()];
    loop {
        let read = stream.read_exact(&mut request);
        thread.wait_until_idle()?;
        if let Err(e) = read {
            return if e.kind() == std::io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(e) };
        }
        stream.write_all(ANSWER)?;
    }
}

/// The only thread of the data path, as the kernel shows it.
#[derive(Clone)]
struct DataThread {
    /// Says in which system call it is.
    syscall: PathBuf,
}

impl DataThread {
    fn find() -> std::io::Result<Self> {
        for task in std::fs::read_dir("/proc/self/task")? {
            let task = task?.path();
            if std::fs::read_to_string(task.join("comm"))?.trim() == "data-0" {
                return Ok(DataThread { syscall: task.join("syscall") });
            }
        }
        Err(std::io::Error::other("no thread is named data-0"))
    }

    /// Returns once it has nothing to do. What was sent to it before has woken it already.
    fn wait_until_idle(&self) -> std::io::Result<()> {
        loop {
            // "running", or the number of the call and its arguments.
            let call = std::fs::read_to_string(&self.syscall)?;
            if WAITS.contains(&call.split_whitespace().next().unwrap_or_default()) {
                return Ok(());
            }
            std::thread::yield_now();
        }
    }
}
