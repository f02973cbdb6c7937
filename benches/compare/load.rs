//! The load and the server behind the proxies, each a process of its own with one thread, so that their costs are
//! not mixed with a proxy's. Everything is on loopback.
//!
//! The server answers HTTP with its name; whoever asks for `/source` gets a body without end, and one of `/sink` is
//! taken. A load prints `START` when it has warmed up and one line of results at the end.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, connect, listen, recv, send,
    socket_with, sockopt,
};

pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
pub(crate) const LAST_REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
/// A body of this length does not end while anything is measured.
const ENDLESS: u64 = 1 << 53;
const BLOCK: usize = 256 << 10;
const WARM_UP: Duration = Duration::from_millis(250);

/// One epoll with what its sockets carry.
struct Poll<T> {
    epoll: OwnedFd,
    events: Vec<Event>,
    sockets: HashMap<RawFd, (OwnedFd, T)>,
}

impl<T> Poll<T> {
    fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(512),
            sockets: HashMap::new(),
        })
    }

    fn add(&mut self, fd: OwnedFd, flags: EventFlags, state: T) -> io::Result<()> {
        let key = fd.as_raw_fd();
        epoll::add(&self.epoll, &fd, EventData::new_u64(key as u64), flags)?;
        self.sockets.insert(key, (fd, state));
        Ok(())
    }

    fn watch(&self, key: RawFd, flags: EventFlags) -> io::Result<()> {
        let Some((fd, _)) = self.sockets.get(&key) else { return Ok(()) };
        Ok(epoll::modify(&self.epoll, fd, EventData::new_u64(key as u64), flags)?)
    }

    fn wait(&mut self, at_most: Duration) -> io::Result<Vec<RawFd>> {
        let patience = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&patience)) {
            Ok(_) | Err(Errno::INTR) => Ok(self.events.iter().map(|event| event.data.u64() as RawFd).collect()),
            Err(e) => Err(e.into()),
        }
    }
}

pub(crate) fn open(nonblocking: bool) -> io::Result<OwnedFd> {
    let flags = if nonblocking { SocketFlags::NONBLOCK | SocketFlags::CLOEXEC } else { SocketFlags::CLOEXEC };
    let fd = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    Ok(fd)
}

/// A connected socket that does not block from here on.
fn connected(to: SocketAddr) -> io::Result<OwnedFd> {
    let fd = open(false)?;
    connect(&fd, &to)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    Ok(fd)
}

enum Served {
    Listener,
    Http(Vec<u8>),
    Source,
    Sink,
}

/// Serves until it is killed.
pub(crate) fn serve(at: SocketAddr, name: &str) -> io::Result<()> {
    let listener = open(true)?;
    sockopt::set_socket_reuseaddr(&listener, true)?;
    bind(&listener, &at)?;
    listen(&listener, 4096)?;
    let mut poll = Poll::new()?;
    poll.add(listener, EventFlags::IN, Served::Listener)?;
    println!("READY");
    let answer = |close: &str| format!("HTTP/1.1 200 OK\r\n{close}Content-Length: {}\r\n\r\n{name}\n", name.len() + 1);
    let (keep, close) = (answer("").into_bytes(), answer("Connection: close\r\n").into_bytes());
    let mut block = vec![0; BLOCK];
    loop {
        for key in poll.wait(Duration::from_secs(1))? {
            let Some((fd, state)) = poll.sockets.get_mut(&key) else { continue };
            let stays = match state {
                Served::Listener => {
                    let mut accepted = Vec::new();
                    while let Ok(client) = accept_with(&*fd, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                        accepted.push(client);
                    }
                    for client in accepted {
                        sockopt::set_tcp_nodelay(&client, true)?;
                        poll.add(client, EventFlags::IN, Served::Http(Vec::new()))?;
                    }
                    true
                }
                Served::Source => match send(&*fd, &block, SendFlags::NOSIGNAL) {
                    Ok(_) | Err(Errno::AGAIN) => true,
                    Err(_) => false,
                },
                Served::Sink => {
                    !matches!(recv(&*fd, &mut block[..], RecvFlags::empty()), Ok((0, _)) | Err(Errno::CONNRESET))
                }
                Served::Http(seen) => match recv(&*fd, &mut block[..], RecvFlags::empty()) {
                    Ok((0, _)) => false,
                    Ok((read, _)) => {
                        seen.extend_from_slice(&block[..read]);
                        if seen.starts_with(b"GET /source") && seen.ends_with(b"\r\n\r\n") {
                            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n\r\n");
                            let sent = send(&*fd, head.as_bytes(), SendFlags::NOSIGNAL).is_ok();
                            *state = Served::Source;
                            poll.watch(key, EventFlags::OUT)?;
                            sent
                        } else if seen.starts_with(b"PUT /sink") {
                            *state = Served::Sink;
                            true
                        } else {
                            answer_all(fd, seen, &keep, &close)
                        }
                    }
                    Err(Errno::AGAIN) => true,
                    Err(_) => false,
                },
            };
            if !stays {
                poll.sockets.remove(&key);
            }
        }
    }
}

/// Answers every complete request; false when the last wanted the end.
fn answer_all(fd: &OwnedFd, seen: &mut Vec<u8>, keep: &[u8], close: &[u8]) -> bool {
    while let Some(end) = seen.windows(4).position(|four| four == b"\r\n\r\n") {
        let last = seen[..end].windows(5).any(|word| word == b"close");
        seen.drain(..end + 4);
        // A client that is gone is noticed by its own event.
        let _ = send(fd, if last { close } else { keep }, SendFlags::NOSIGNAL);
        if last {
            return false;
        }
    }
    true
}

/// Bulk through `streams` connections, down (from the server) or up.
pub(crate) fn bulk(to: SocketAddr, streams: usize, length: Duration, down: bool) -> io::Result<()> {
    let mut poll = Poll::new()?;
    for _ in 0..streams {
        let fd = connected(to)?;
        let head = if down {
            "GET /source HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()
        } else {
            format!("PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: {ENDLESS}\r\n\r\n")
        };
        send(&fd, head.as_bytes(), SendFlags::NOSIGNAL)?;
        poll.add(fd, if down { EventFlags::IN } else { EventFlags::OUT }, ())?;
    }
    // The server has to read the head of an upload alone.
    std::thread::sleep(Duration::from_millis(50));
    let mut block = vec![0; BLOCK];
    let mut window = Window::new(length);
    let mut bytes = 0u64;
    while window.goes_on(|| bytes = 0) {
        for key in poll.wait(Duration::from_millis(100))? {
            let Some((fd, ())) = poll.sockets.get(&key) else { continue };
            for _ in 0..4 {
                let moved = if down {
                    recv(fd, &mut block[..], RecvFlags::empty()).map(|(read, _)| read)
                } else {
                    send(fd, &block, SendFlags::NOSIGNAL)
                };
                match moved {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(moved) => bytes += moved as u64,
                    Err(Errno::AGAIN) => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
    }
    println!("units {bytes} seconds {} errors 0", window.seconds());
    Ok(())
}

/// Keep-alive requests, one in flight on each of `streams` connections.
pub(crate) fn requests(to: SocketAddr, streams: usize, length: Duration) -> io::Result<()> {
    let mut poll = Poll::new()?;
    for _ in 0..streams {
        let fd = connected(to)?;
        send(&fd, REQUEST, SendFlags::NOSIGNAL)?;
        poll.add(fd, EventFlags::IN, ())?;
    }
    let mut buffer = [0; 4096];
    let mut window = Window::new(length);
    let (mut done, mut errors) = (0u64, 0u64);
    while window.goes_on(|| done = 0) {
        for key in poll.wait(Duration::from_millis(100))? {
            let Some((fd, ())) = poll.sockets.get(&key) else { continue };
            match recv(fd, &mut buffer[..], RecvFlags::empty()) {
                Ok((read, _)) if read > 0 => {
                    done += 1;
                    send(fd, REQUEST, SendFlags::NOSIGNAL)?;
                }
                Err(Errno::AGAIN) => {}
                _ => {
                    errors += 1;
                    poll.sockets.remove(&key);
                }
            }
        }
    }
    println!("units {done} seconds {} errors {errors}", window.seconds());
    Ok(())
}

#[derive(PartialEq)]
enum Step {
    Connecting,
    Asked,
    Answered,
}

/// Connect, ask, read the answer to its end, close; `streams` at one time.
pub(crate) fn connections(to: SocketAddr, streams: usize, length: Duration) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut buffer = [0; 4096];
    let mut window = Window::new(length);
    let (mut done, mut errors) = (0u64, 0u64);
    while window.goes_on(|| (done, errors) = (0, 0)) {
        while poll.sockets.len() < streams {
            let fd = open(true)?;
            match connect(&fd, &to) {
                Ok(()) | Err(Errno::INPROGRESS) => poll.add(fd, EventFlags::OUT, Step::Connecting)?,
                Err(e) => return Err(e.into()),
            }
        }
        for key in poll.wait(Duration::from_millis(100))? {
            let Some((fd, step)) = poll.sockets.get_mut(&key) else { continue };
            if *step == Step::Connecting {
                *step = Step::Asked;
                if send(&*fd, LAST_REQUEST, SendFlags::NOSIGNAL) == Ok(LAST_REQUEST.len()) {
                    poll.watch(key, EventFlags::IN)?;
                    continue;
                }
                errors += 1;
            } else {
                match recv(&*fd, &mut buffer[..], RecvFlags::empty()) {
                    Ok((0, _)) if *step == Step::Answered => done += 1,
                    Ok((read, _)) if read > 0 => {
                        *step = Step::Answered;
                        continue;
                    }
                    Err(Errno::AGAIN) => continue,
                    _ => errors += 1,
                }
            }
            poll.sockets.remove(&key);
        }
    }
    println!("units {done} seconds {} errors {errors}", window.seconds());
    Ok(())
}

/// Opens `count` connections, asks once on each, and holds them until its input ends.
pub(crate) fn idle(to: SocketAddr, count: usize) -> io::Result<()> {
    let mut held = Vec::new();
    let mut buffer = [0; 4096];
    for _ in 0..count {
        let fd = open(false)?;
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(Duration::from_secs(3)))?;
        let answered = connect(&fd, &to).is_ok()
            && send(&fd, REQUEST, SendFlags::NOSIGNAL).is_ok()
            && matches!(recv(&fd, &mut buffer[..], RecvFlags::empty()), Ok((read, _)) if read > 0);
        if answered {
            held.push(fd);
        }
    }
    println!("READY {}", held.len());
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Warm-up, then the time that counts.
struct Window {
    start: Instant,
    length: Duration,
    counting: bool,
    end: Instant,
}

impl Window {
    fn new(length: Duration) -> Self {
        let start = Instant::now() + WARM_UP;
        Self { start, length, counting: false, end: start + length }
    }

    /// Calls `reset` once, when the time begins to count.
    fn goes_on(&mut self, reset: impl FnOnce()) -> bool {
        let now = Instant::now();
        if !self.counting && now >= self.start {
            self.counting = true;
            (self.start, self.end) = (now, now + self.length);
            reset();
            println!("START");
        }
        now < self.end
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
}
