//! The pieces that run for every message: framing of HTTP heads and bodies, PROXY headers, and a whole message there
//! and back through the data path. `cargo bench -p hotspare-datapath --bench hot`; times depend on the machine and
//! its mood, `benches/instructions` does not.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hotspare_datapath::framing::{Body, Method, request_head, response_head};
use hotspare_datapath::proxy_protocol::{Origin, Version, read, write};
use hotspare_datapath::{Config, DataPath, Drain, InstanceId, InstanceSpec, Limits, ListenerSpec, Protocol, Route};
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

const REQUEST: &[u8] = b"GET /flows HTTP/1.1\r\nHost: line-1.example:1880\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: application/json, */*; q=0.01\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\nCookie: a=b\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nX-Powered-By: Express\r\nContent-Type: application/json\r\n\
    Content-Length: 2\r\nETag: W/\"2-vyGp6PvFo4RvsFtPoIWeCReyIC8\"\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n{}";

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("request head", |b| b.iter(|| request_head(black_box(REQUEST)).unwrap()));
    group.throughput(Throughput::Bytes(ANSWER.len() as u64));
    group.bench_function("answer head", |b| b.iter(|| response_head(black_box(ANSWER), Method::Other).unwrap()));
    let mut chunks = Vec::new();
    for _ in 0..16 {
        chunks.extend_from_slice(b"1000\r\n");
        chunks.extend_from_slice(&[b'x'; 4096]);
        chunks.extend_from_slice(b"\r\n");
    }
    chunks.extend_from_slice(b"0\r\n\r\n");
    group.throughput(Throughput::Bytes(chunks.len() as u64));
    group.bench_function("chunks of 4 KiB", |b| b.iter(|| Body::chunked().advance(black_box(&chunks)).unwrap()));
    group.finish();
}

fn proxy_headers(criterion: &mut Criterion) {
    let origin =
        Origin { source: "203.0.113.7:4711".parse().unwrap(), destination: "198.51.100.1:80".parse().unwrap() };
    for (name, version) in [("PROXY v1", Version::V1), ("PROXY v2", Version::V2)] {
        let header = write(version, Some(origin));
        criterion.bench_function(name, |b| b.iter(|| read(black_box(&header)).unwrap()));
    }
}

/// One client, one member, one message in flight: mostly the kernel, so compare it with itself only.
fn message(criterion: &mut Criterion) {
    for (name, protocol) in [("message, TCP", Protocol::Tcp), ("message, HTTP", Protocol::Http)] {
        let member = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = member.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = member.accept().unwrap();
            stream.set_nodelay(true).unwrap();
            let mut request = [0; REQUEST.len()];
            while stream.read_exact(&mut request).is_ok() {
                stream.write_all(ANSWER).unwrap();
            }
        });
        let (data, mut client) = through(addr, protocol);
        let mut answer = [0; ANSWER.len()];
        criterion.bench_function(name, |b| {
            b.iter(|| {
                client.write_all(REQUEST).unwrap();
                client.read_exact(&mut answer).unwrap();
            });
        });
        drop((client, data));
        server.join().unwrap();
    }
}

fn through(member: std::net::SocketAddr, protocol: Protocol) -> (DataPath, TcpStream) {
    let instance = InstanceId(1);
    let data = DataPath::start(Config { threads: 1, ..Config::default() }, Arc::new(|_| {})).unwrap();
    data.add_instance(InstanceSpec { id: instance, name: "bench".into(), limits: Limits::default() }).unwrap();
    let spec = ListenerSpec::new(instance, "bench", "127.0.0.1:0".parse().unwrap());
    let spec = ListenerSpec { protocol, ..spec };
    let listener = data.add_listener(spec).unwrap();
    data.set_route(instance, Route::To { epoch: 1, member: 0, addrs: vec![member] }, Drain::Now).unwrap();
    let client = TcpStream::connect(listener.addr).unwrap();
    client.set_nodelay(true).unwrap();
    (data, client)
}

criterion_group!(benches, framing, proxy_headers, message);
criterion_main!(benches);
