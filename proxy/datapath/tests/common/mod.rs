//! What the tests share: a data path on a free port, plain servers behind it, and waiting for a condition.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use hotspare_datapath::{
    CloseReason, Config, Counters, DataPath, Drain, InstanceId, InstanceSpec, Limits, Listener, ListenerSpec, Protocol,
    Route, Signal, Timeouts,
};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub const INSTANCE: InstanceId = InstanceId(7);
/// Longest wait for anything in a test.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A data path with one instance and one listener.
pub struct Rig {
    pub data: DataPath,
    pub listener: Listener,
    pub signals: Arc<Mutex<Vec<Signal>>>,
}

#[derive(Default)]
pub struct Options {
    pub threads: usize,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub protocol: Protocol,
    pub max_connections: usize,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let signals: Arc<Mutex<Vec<Signal>>> = Arc::default();
        let sink = Arc::clone(&signals);
        let threads = if options.threads == 0 { 2 } else { options.threads };
        let config = Config { threads, max_connections: options.max_connections, ..Config::default() };
        let data = DataPath::start(config, Arc::new(move |signal| sink.lock().unwrap().push(signal))).unwrap();
        data.add_instance(InstanceSpec { id: INSTANCE, name: "line-1".into(), limits: options.limits }).unwrap();
        let listener = data
            .add_listener(ListenerSpec {
                protocol: options.protocol,
                timeouts: options.timeouts,
                ..listener_spec("127.0.0.1:0")
            })
            .unwrap();
        Self { data, listener, signals }
    }

    pub fn to(&self, epoch: u64, member: u8, addr: SocketAddr, drain: Drain) -> u64 {
        self.data.set_route(INSTANCE, Route::To { epoch, member, addrs: vec![addr] }, drain).unwrap()
    }

    pub fn set(&self, route: Route, drain: Drain) -> u64 {
        self.data.set_route(INSTANCE, route, drain).unwrap()
    }

    pub fn counters(&self) -> Counters {
        self.data.counters(INSTANCE).unwrap()
    }

    pub fn closed_for(&self, reason: CloseReason) -> u64 {
        self.counters().closed_for(reason)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.listener.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Waits until the counters are as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&Counters) -> bool) {
        until(what, || wanted(&self.counters()), || format!("{:#?}", self.counters()));
    }

    pub fn until_idle(&self) {
        self.until("no connection", |c| c.active == 0 && c.parked == 0 && c.to_member == [0, 0]);
    }
}

pub fn listener_spec(listen: &str) -> ListenerSpec {
    ListenerSpec::new(INSTANCE, "editor", listen.parse().unwrap())
}

/// Waits for a condition, with a deadline; says what was seen when it does not come.
pub fn until(what: &str, mut wanted: impl FnMut() -> bool, seen: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "waited for: {what}; seen: {}", seen());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server that does the same with each connection, each in a thread of its own.
pub struct Server {
    pub addr: SocketAddr,
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn new(each: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), each)
    }

    pub fn on(listener: TcpListener, each: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        // Room for a whole crowd: what overflows is answered with SYN cookies and sorted out in seconds, or reset.
        rustix::net::listen(&listener, 4096).unwrap();
        let addr = listener.local_addr().unwrap();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let each = Arc::new(each);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(std::sync::atomic::Ordering::SeqCst) {
                    return;
                }
                let (stream, each) = (stream.unwrap(), Arc::clone(&each));
                stream.set_nodelay(true).unwrap();
                std::thread::spawn(move || each(stream));
            }
        });
        Self { addr, stop, thread: Some(thread) }
    }

    /// Sends its name and closes at the end of the input.
    pub fn named(name: &'static str) -> Self {
        Self::new(move |mut stream| {
            let mut rest = Vec::new();
            if stream.write_all(name.as_bytes()).is_ok() {
                let _ = stream.read_to_end(&mut rest);
            }
        })
    }

    /// Sends back what comes.
    pub fn echo() -> Self {
        Self::new(|mut stream| {
            let mut buffer = vec![0; 256 << 10];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(read) => {
                        if stream.write_all(&buffer[..read]).is_err() {
                            return;
                        }
                    }
                }
            }
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// An address where nobody listens: bound, so that nobody else gets it, but not listening.
pub struct Refusing {
    pub addr: SocketAddr,
    _held: rustix::fd::OwnedFd,
}

impl Refusing {
    pub fn new() -> Self {
        use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket};
        let held = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&held, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        let addr = getsockname(&held).unwrap().try_into().unwrap();
        Self { addr, _held: held }
    }
}

/// An address that never answers a connect: its queue of connections is full.
pub struct Silent {
    pub addr: SocketAddr,
    _held: rustix::fd::OwnedFd,
    _queued: Vec<rustix::fd::OwnedFd>,
}

impl Silent {
    pub fn new() -> Self {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with};
        let open = || {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
        };
        let held = open();
        bind(&held, &"127.0.0.1:0".parse::<SocketAddr>().unwrap()).unwrap();
        listen(&held, 0).unwrap();
        let addr: SocketAddr = getsockname(&held).unwrap().try_into().unwrap();
        let queued = (0..4)
            .map(|_| {
                let fd = open();
                let _ = connect(&fd, &addr);
                fd
            })
            .collect();
        Self { addr, _held: held, _queued: queued }
    }
}

/// Closes with a reset.
pub fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Reads one name as sent by [`Server::named`].
pub fn read_name(stream: &mut TcpStream) -> String {
    let mut name = [0; 1];
    stream.read_exact(&mut name).unwrap();
    String::from_utf8(name.to_vec()).unwrap()
}

/// Asserts that the peer was reset (and not closed in order).
pub fn assert_reset(stream: &mut TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => panic!("closed in order, a reset was expected"),
            Ok(_) => {}
            Err(e) => {
                assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "{e}");
                return;
            }
        }
    }
}

/// Asserts that the peer closed in order.
pub fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

/// A cheap stream of bytes that repeats only after 2^64 of them, and a checksum over it.
pub struct Bytes(u64);

impl Bytes {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// FNV-like, eight bytes at a time, independent of how the bytes are chunked.
#[derive(Default, Debug, PartialEq, Eq, Clone)]
pub struct Checksum {
    sum: u64,
    pub count: u64,
    rest: Vec<u8>,
}

impl Checksum {
    pub fn add(&mut self, bytes: &[u8]) {
        self.count += bytes.len() as u64;
        let mut bytes = bytes;
        if !self.rest.is_empty() {
            let take = bytes.len().min(8 - self.rest.len());
            self.rest.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.rest.len() == 8 {
                let word = u64::from_le_bytes(self.rest[..].try_into().unwrap());
                self.mix(word);
                self.rest.clear();
            }
        }
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            self.mix(u64::from_le_bytes(word.try_into().unwrap()));
        }
        self.rest.extend_from_slice(words.remainder());
    }

    fn mix(&mut self, word: u64) {
        self.sum = (self.sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }
}

/// Sends `total` bytes in chunks given by `chunk`, then shuts the sending side.
pub fn send_all(mut stream: &TcpStream, seed: u64, total: u64, mut chunk: impl FnMut(u64) -> usize) -> Checksum {
    let (mut bytes, mut sum) = (Bytes::new(seed), Checksum::default());
    let mut buffer = vec![0; 512 << 10];
    bytes.fill(&mut buffer);
    while sum.count < total {
        let size = chunk(bytes.next()).min(buffer.len()).min((total - sum.count) as usize);
        let from = (bytes.next() as usize) % (buffer.len() - size + 1);
        let part = &buffer[from..from + size];
        sum.add(part);
        stream.write_all(part).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    sum
}

/// Reads to the end in pieces given by `chunk`.
pub fn read_all(mut stream: &TcpStream, seed: u64, mut chunk: impl FnMut(u64) -> usize) -> Checksum {
    let (mut bytes, mut sum) = (Bytes::new(seed), Checksum::default());
    let mut buffer = vec![0; 512 << 10];
    loop {
        let size = chunk(bytes.next()).clamp(1, buffer.len());
        match stream.read(&mut buffer[..size]).unwrap() {
            0 => return sum,
            read => sum.add(&buffer[..read]),
        }
    }
}

/// Open descriptors of this process, sockets and pipes only.
pub fn open_descriptors() -> usize {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    entries
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| {
            target.to_string_lossy().starts_with("socket:") || target.to_string_lossy().starts_with("pipe:")
        })
        .count()
}
