//! A fixed amount of work for the data path, for counting its instructions (see `benches/instructions`): so many
//! connections one after the other, each with so many messages there and back.
//!
//! ```text
//! counted tcp|http CONNECTIONS MESSAGES
//! ```

use hotspare_datapath::{
    Config, DataPath, Drain, InstanceId, InstanceSpec, Limits, ListenerSpec, Protocol, Proxied, Route, Timeouts,
};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

const REQUEST: &[u8] = b"GET /path HTTP/1.1\r\nHost: example\r\nAccept: */*\r\n\r\n";
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
    let listener = data.add_listener(ListenerSpec {
        instance,
        name: "counted".into(),
        listen: "127.0.0.1:0".parse()?,
        port_index: 0,
        protocol: if protocol == "http" { Protocol::Http } else { Protocol::Tcp },
        timeouts: Timeouts::default(),
        proxied: Proxied::default(),
        names: Vec::new(),
        tls: None,
        member_tls: [None, None],
        inherited: Vec::new(),
    })?;
    let route = Route::To { epoch: 1, member: 0, addrs: vec![member.local_addr()?] };
    data.set_route(instance, route, Drain::Now)?;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        for _ in 0..connections {
            serve(member.accept()?.0)?;
        }
        Ok(())
    });
    let mut answer = [0; ANSWER.len()];
    for _ in 0..connections {
        let mut client = TcpStream::connect(listener.addr)?;
        client.set_nodelay(true)?;
        for _ in 0..messages {
            client.write_all(REQUEST)?;
            client.read_exact(&mut answer)?;
        }
        client.shutdown(std::net::Shutdown::Write)?;
        client.read_to_end(&mut Vec::new())?;
    }
    server.join().map_err(|_| "the server failed")??;
    let counters = data.counters(instance)?;
    println!("{} connections, {} bytes up", counters.accepted, counters.bytes_up);
    Ok(())
}

fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = [0; REQUEST.len()];
    loop {
        if let Err(e) = stream.read_exact(&mut request) {
            return if e.kind() == std::io::ErrorKind::UnexpectedEof { Ok(()) } else { Err(e) };
        }
        stream.write_all(ANSWER)?;
    }
}
