//! Stand-ins for members, many in one process with one thread: for each a launcher that only says what a real one
//! says (it starts nothing), and a server that answers HTTP with the member's name. They cost as little as can be, so
//! that what is measured is the proxy.
//!
//! Commands on standard input, a line each: `exit N...` makes the active of each of these instances hand in an exit
//! receipt, as a launcher does when its Node-RED was killed. Printed: `SERVING`, `RUNNING` once every instance has an
//! active.

use std::collections::VecDeque;
use std::error::Error;
use std::io::{self, BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use hotspare_decide::Epoch;
use hotspare_decide::message::{
    Down, ExitCause, ExitReceipt, FenceHow, FlowState, Heartbeat, Hello, MemberStatus, NotReady, Up, VERSION,
};
use hotspare_protocol::{INSTANCE_HEADER, LINK_PATH, MEMBER_HEADER, decode_down, encode_up};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::site::{MEMBERS, address, name, token};

/// How long a member stays down after an exit.
const DOWN_FOR: Duration = Duration::from_millis(300);
const LINK_WITHIN: Duration = Duration::from_secs(60);
const LINKS_AT_ONCE: usize = 2;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What a spare says that is ready.
pub(super) fn heartbeat() -> Up {
    Up::Heartbeat(Heartbeat { seq: 1 << 40, echo: Some(1 << 40), status: stopped() })
}

struct Member {
    link: TcpStream,
    unread: Vec<u8>,
    seq: u64,
    echo: Option<u64>,
    status: MemberStatus,
}

enum Socket {
    Link(usize),
    Listener(usize),
    Client(usize, TcpStream),
}

/// Serves `instances` instances until its input ends, with a heartbeat of each member this often.
pub(super) fn run(instances: usize, links: SocketAddr, heartbeat: Duration) -> Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut sockets: Vec<Option<Socket>> = Vec::new();
    let mut free = Vec::new();
    let mut listeners = Vec::new();
    for member in 0..instances * MEMBERS.len() {
        let listener = TcpListener::bind(address(member))?;
        listener.set_nonblocking(true)?;
        watch(&epoll, &mut sockets, &mut free, &listener, Socket::Listener(member))?;
        listeners.push(listener);
    }
    println!("SERVING");
    let mut members: Vec<Member> = Vec::new();
    let commands = commands();
    let mut down: VecDeque<(Instant, usize)> = VecDeque::new();
    let mut beats: VecDeque<(Instant, usize)> = VecDeque::new();
    let mut announced = false;
    let mut events: Vec<Event> = Vec::with_capacity(512);
    let pause = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            let at = event.data.u64() as usize;
            match sockets.get_mut(at).and_then(Option::as_mut) {
                Some(Socket::Link(member)) => hear(&mut members[*member])?,
                Some(Socket::Listener(member)) => {
                    let member = *member;
                    while let Ok((client, _)) = listeners[member].accept() {
                        client.set_nonblocking(true)?;
                        let client_end = client.try_clone()?;
                        watch(&epoll, &mut sockets, &mut free, &client_end, Socket::Client(member, client))?;
                    }
                }
                Some(Socket::Client(member, client)) => {
                    let goes_on = answer(client, *member);
                    if !goes_on {
                        sockets[at] = None;
                        free.push(at);
                    }
                }
                None => {}
            }
        }
        // A few at a time, so that those which are linked go on beating.
        for member in members.len()..(members.len() + LINKS_AT_ONCE).min(listeners.len()) {
            let link = open_link(member, links)?;
            watch(&epoll, &mut sockets, &mut free, &link, Socket::Link(member))?;
            members.push(Member { link, unread: Vec::new(), seq: 1, echo: None, status: stopped() });
            say(&mut members[member], &hello(member))?;
            beats.push_back((Instant::now(), member));
        }
        while let Some(&(at, member)) = beats.front()
            && at <= Instant::now()
        {
            beats.pop_front();
            beat(&mut members[member])?;
            beats.push_back((at + heartbeat, member));
        }
        while let Some(&(at, member)) = down.front()
            && at <= Instant::now()
        {
            down.pop_front();
            members[member].status = MemberStatus { max_epoch: members[member].status.max_epoch, ..stopped() };
            beat(&mut members[member])?;
        }
        match commands.try_recv() {
            Ok(line) => {
                for instance in line.split(' ').skip(1).filter_map(|word| word.parse::<usize>().ok()) {
                    for (member, state) in members.iter_mut().enumerate().skip(instance * 2).take(2) {
                        if exit(state)? {
                            down.push_back((Instant::now() + DOWN_FOR, member));
                        }
                    }
                }
            }
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return Ok(()),
            Err(std::sync::mpsc::TryRecvError::Empty) => {}
        }
        if !announced
            && members.len() == listeners.len()
            && members.chunks(2).all(|pair| pair.iter().any(|m| m.status.tenure.is_some()))
        {
            announced = true;
            println!("RUNNING");
        }
    }
}

fn watch(
    epoll: impl AsFd,
    sockets: &mut Vec<Option<Socket>>,
    free: &mut Vec<usize>,
    fd: impl AsFd,
    socket: Socket,
) -> Result<()> {
    let at = free.pop().unwrap_or_else(|| {
        sockets.push(None);
        sockets.len() - 1
    });
    sockets[at] = Some(socket);
    Ok(epoll::add(epoll, fd, EventData::new_u64(at as u64), EventFlags::IN)?)
}

fn commands() -> Receiver<String> {
    let (lines, commands) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines().map_while(io::Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    commands
}

fn stopped() -> MemberStatus {
    MemberStatus {
        flows: FlowState::Stopped,
        revision: Some("stand-in".to_owned()),
        node_red: Some("4.1.0".to_owned()),
        ..MemberStatus::default()
    }
}

fn hello(member: usize) -> Up {
    Up::Hello(Hello {
        version: VERSION,
        instance: name(member / 2),
        member: MEMBERS[member % 2].to_owned(),
        session: member as u64 + 1,
        software: "launcher stand-in".to_owned(),
        node_red: Some("4.1.0".to_owned()),
        max_epoch: Epoch::NONE,
    })
}

/// Answers a request; false when the client is gone.
fn answer(client: &mut TcpStream, member: usize) -> bool {
    let mut buffer = [0; 2048];
    match client.read(&mut buffer) {
        Ok(0) => false,
        Ok(read) => {
            let name = MEMBERS[member % 2];
            let last = buffer[..read].windows(5).any(|word| word == b"close");
            let close = if last { "Connection: close\r\n" } else { "" };
            let length = name.len();
            let text = format!("HTTP/1.1 200 OK\r\n{close}Content-Length: {length}\r\n\r\n{name}");
            client.write_all(text.as_bytes()).is_ok() && !last
        }
        Err(e) => e.kind() == io::ErrorKind::WouldBlock,
    }
}

fn open_link(member: usize, links: SocketAddr) -> Result<TcpStream> {
    let deadline = Instant::now() + LINK_WITHIN;
    let mut stream = loop {
        match TcpStream::connect(links) {
            Ok(stream) => break stream,
            Err(e) if Instant::now() > deadline => return Err(e.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    stream.set_nodelay(true)?;
    let (instance, token, member) = (name(member / 2), token(member), MEMBERS[member % 2]);
    write!(
        stream,
        "GET {LINK_PATH} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\
         {INSTANCE_HEADER}: {instance}\r\n{MEMBER_HEADER}: {member}\r\n\r\n"
    )?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(String::from_utf8_lossy(&head).into());
    }
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// One text frame, masked with zeros.
fn say(member: &mut Member, message: &Up) -> Result<()> {
    let text = encode_up(message);
    let mut frame = vec![0x81];
    match u16::try_from(text.len())? {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text.as_bytes());
    Ok(member.link.write_all(&frame)?)
}

fn beat(member: &mut Member) -> Result<()> {
    member.seq += 1;
    let beat = Heartbeat { seq: member.seq, echo: member.echo, status: member.status.clone() };
    say(member, &Up::Heartbeat(beat))
}

fn hear(member: &mut Member) -> Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        match member.link.read(&mut buffer) {
            Ok(0) => return Err("the proxy closed a link".into()),
            Ok(read) => member.unread.extend_from_slice(&buffer[..read]),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e.into()),
        }
    }
    let unread = std::mem::take(&mut member.unread);
    let mut rest = &unread[..];
    while let Some((payload, after)) = frame(rest) {
        match decode_down(std::str::from_utf8(payload)?)? {
            Down::Ack { seq, .. } | Down::Grant { seq, .. } => member.echo = Some(seq),
            Down::Start { op, epoch, .. } => {
                member.status = MemberStatus {
                    flows: FlowState::Running,
                    tenure: Some(epoch),
                    max_epoch: epoch,
                    not_ready: Some(NotReady::Busy),
                    ..stopped()
                };
                say(member, &Up::Started { op, epoch, failure: None })?;
                beat(member)?;
            }
            Down::Fence { op, epoch, .. } => {
                member.status = MemberStatus { max_epoch: epoch, ..stopped() };
                say(member, &Up::Fenced { op, epoch, how: FenceHow::FlowsStopped })?;
                beat(member)?;
            }
            Down::Refused { reason } => return Err(reason.into()),
            Down::Welcome(_) | Down::Restart { .. } => {}
        }
        rest = after;
    }
    member.unread = rest.to_vec();
    Ok(())
}

/// The payload of the first frame and what follows it.
fn frame(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, from) = match *bytes.get(1)? {
        126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
        length => (usize::from(length), 2),
    };
    (bytes.len() >= from + length).then(|| (&bytes[from..from + length], &bytes[from + length..]))
}

/// The receipt of a process that was killed, if this member runs flows.
fn exit(member: &mut Member) -> Result<bool> {
    let Some(epoch) = member.status.tenure else { return Ok(false) };
    let cause = ExitCause::Crash { code: None, signal: Some(9) };
    say(member, &Up::Exited(ExitReceipt { epoch, tenure: Some(epoch), cause }))?;
    member.status =
        MemberStatus { flows: FlowState::Down, max_epoch: epoch, not_ready: Some(NotReady::Down), ..stopped() };
    Ok(true)
}
