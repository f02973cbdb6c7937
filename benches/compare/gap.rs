//! The load of a failover: a new connection each millisecond, every fifth of which is silent for a while before it
//! asks, and one connection that stays open. Every connection's story is printed at the end, a line each:
//! `START SENT END WORD` (nanoseconds of `CLOCK_MONOTONIC`; SENT 0 if nothing was sent; WORD the server's name, or what
//! went wrong). A story that begins with `kept` is that of the open connection.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, connect, recv, send, sockopt};
use rustix::time::{ClockId, clock_gettime};

use crate::load::{LAST_REQUEST, REQUEST, open};

const PACE: Duration = Duration::from_millis(1);
/// Each of so many connections is silent first, and for how long.
const SILENT_EVERY: u64 = 5;
const SILENT_NS: u64 = 30_000_000;
/// Longest a client waits for its answer.
const PATIENCE_NS: u64 = 2_000_000_000;
const KEPT_EVERY_NS: u64 = 5_000_000;
const KEPT: u64 = u64::MAX;

/// Now, on the clock that all processes of this machine share.
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

struct Client {
    fd: OwnedFd,
    start: u64,
    /// When it may send; set once it is connected.
    send_at: u64,
    sent: u64,
    answer: Vec<u8>,
}

struct Run {
    epoll: OwnedFd,
    /// By number; those that have ended leave a gap.
    clients: VecDeque<Option<Client>>,
    first: u64,
    /// Connected, and silent for now.
    silent: VecDeque<u64>,
    story: String,
}

/// Runs for `length`, then waits for the last answers.
pub(crate) fn run(to: SocketAddr, length: Duration) -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut run = Run { epoll, clients: VecDeque::new(), first: 0, silent: VecDeque::new(), story: String::new() };
    let mut kept = Some(kept_connection(&run.epoll, to)?);
    let (mut kept_next, mut waiting) = (now_ns(), false);
    println!("START");
    let (began, mut opened) = (Instant::now(), 0);
    let mut events: Vec<Event> = Vec::with_capacity(512);
    loop {
        let opening = began.elapsed() < length;
        while opening && began.elapsed() >= PACE * opened {
            run.open(to)?;
            opened += 1;
        }
        run.give_up();
        if !opening && run.clients.is_empty() {
            break;
        }
        run.break_silence();
        if let Some(fd) = &kept
            && opening
            && !waiting
            && now_ns() >= kept_next
        {
            waiting = send(fd, REQUEST, SendFlags::NOSIGNAL).is_ok();
            kept_next = now_ns() + KEPT_EVERY_NS;
        }
        events.clear();
        let pause = Timespec { tv_sec: 0, tv_nsec: 300_000 };
        match epoll::wait(&run.epoll, rustix::buffer::spare_capacity(&mut events), Some(&pause)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            if event.data.u64() != KEPT {
                run.serve(event.data.u64());
                continue;
            }
            let mut answer = [0; 4096];
            match kept.as_ref().map(|fd| recv(fd, &mut answer, RecvFlags::empty())) {
                Some(Ok((read, _))) if read > 0 => waiting = false,
                Some(Err(Errno::AGAIN)) | None => {}
                Some(_) => {
                    kept = None;
                    run.story += &format!("kept 0 {} closed\n", now_ns());
                }
            }
        }
    }
    println!("{}END", run.story);
    Ok(())
}

fn kept_connection(epoll: &OwnedFd, to: SocketAddr) -> io::Result<OwnedFd> {
    let fd = open(false)?;
    connect(&fd, &to)?;
    rustix::io::ioctl_fionbio(&fd, true)?;
    epoll::add(epoll, &fd, EventData::new_u64(KEPT), EventFlags::IN)?;
    Ok(fd)
}

impl Run {
    fn open(&mut self, to: SocketAddr) -> io::Result<()> {
        let fd = open(true)?;
        let (start, number) = (now_ns(), self.first + self.clients.len() as u64);
        match connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => return Err(e.into()),
        }
        epoll::add(&self.epoll, &fd, EventData::new_u64(number), EventFlags::OUT)?;
        self.clients.push_back(Some(Client { fd, start, send_at: 0, sent: 0, answer: Vec::new() }));
        Ok(())
    }

    fn client(&mut self, number: u64) -> Option<&mut Client> {
        self.clients.get_mut(number.checked_sub(self.first)? as usize)?.as_mut()
    }

    fn end(&mut self, number: u64, word: &str) {
        let Some(client) = self.clients.get_mut((number - self.first) as usize).and_then(Option::take) else { return };
        self.story += &format!("{} {} {} {word}\n", client.start, client.sent, now_ns());
        while let Some(None) = self.clients.front() {
            self.clients.pop_front();
            self.first += 1;
        }
    }

    fn give_up(&mut self) {
        let now = now_ns();
        while let Some(Some(client)) = self.clients.front()
            && now - client.start > PATIENCE_NS
        {
            self.end(self.first, "timeout");
        }
    }

    /// Sends for those whose silence is over.
    fn break_silence(&mut self) {
        while let Some(&number) = self.silent.front() {
            match self.client(number).map(|client| client.send_at) {
                Some(at) if at > now_ns() => return,
                Some(_) => self.ask(number),
                None => {}
            }
            self.silent.pop_front();
        }
    }

    fn ask(&mut self, number: u64) {
        let Some(client) = self.client(number) else { return };
        client.sent = now_ns();
        if send(&client.fd, LAST_REQUEST, SendFlags::NOSIGNAL) != Ok(LAST_REQUEST.len()) {
            client.sent = 0;
            self.end(number, "not-sent");
        }
    }

    fn serve(&mut self, number: u64) {
        let Some(at) = number.checked_sub(self.first) else { return };
        let Some(Some(client)) = self.clients.get_mut(at as usize) else { return };
        if client.send_at == 0 {
            if sockopt::socket_error(&client.fd) != Ok(Ok(())) {
                return self.end(number, "refused");
            }
            if epoll::modify(&self.epoll, &client.fd, EventData::new_u64(number), EventFlags::IN).is_err() {
                return self.end(number, "not-watched");
            }
            let silent = number.is_multiple_of(SILENT_EVERY);
            client.send_at = now_ns() + if silent { SILENT_NS } else { 0 };
            return if silent { self.silent.push_back(number) } else { self.ask(number) };
        }
        let mut buffer = [0; 2048];
        match recv(&client.fd, &mut buffer, RecvFlags::empty()) {
            Ok((0, _)) => {
                let text = String::from_utf8_lossy(&client.answer);
                let name = text.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
                match name.filter(|name| !name.is_empty() && text.starts_with("HTTP/1.1 200")) {
                    Some(name) => self.end(number, &name),
                    None => self.end(number, "no-answer"),
                }
            }
            Ok((read, _)) => client.answer.extend_from_slice(&buffer[..read]),
            Err(Errno::AGAIN) => {}
            Err(_) => self.end(number, "reset"),
        }
    }
}
