//! What answering that many heartbeats costs at the least: a server that reads each from its connection and writes as many
//! bytes back as an answer has, and does nothing else. It has no protocol, no decision, no checks, and one thread.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use hotspare_decide::Epoch;
use hotspare_decide::message::Down;
use hotspare_protocol::{encode_down, encode_up};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::thread::gettid;

use super::{measure, stand_in};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What a websocket adds to a message of a client (header, length, mask), and to one of a server, in bytes.
const FRAME_UP: usize = 8;
const FRAME_DOWN: usize = 2;
/// Pause between two looks at which connections are due.
const LOOK: Duration = Duration::from_millis(1);

/// The share of one core that the server takes for `links` connections with a heartbeat each at this pace.
pub(super) fn measured(links: usize, heartbeat: Duration, seconds: f64) -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let at = listener.local_addr()?;
    let question = encode_up(&stand_in::heartbeat()).len() + FRAME_UP;
    let (mut asking, mut serving) = (Vec::new(), Vec::new());
    for _ in 0..links {
        asking.push(quick(TcpStream::connect(at)?)?);
        serving.push(quick(listener.accept()?.0)?);
    }
    let during = Duration::from_secs_f64(seconds);
    let server = std::thread::spawn(move || serve(serving, during).map_err(|error| error.to_string()));
    ask(&mut asking, heartbeat, during, question)?;
    let busy = server.join().map_err(|_| "the server panicked")??;
    Ok(busy / seconds)
}

fn quick(stream: TcpStream) -> std::io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Answers for that long; the seconds that took of a processor.
fn serve(mut links: Vec<TcpStream>, during: Duration) -> Result<f64> {
    let answer = encode_down(&Down::Grant { seq: 1 << 40, epoch: Epoch(1), ttl_ms: 1000 }).len() + FRAME_DOWN;
    let answer = vec![b'-'; answer];
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    for (index, link) in links.iter().enumerate() {
        epoll::add(&epoll, link, EventData::new_u64(index as u64), EventFlags::IN | EventFlags::ET)?;
    }
    let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 128];
    let mut buffer = [0; 4096];
    let at_most = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let thread = gettid().as_raw_nonzero().get().unsigned_abs();
    let busy = || measure::thread_seconds(std::process::id(), thread);
    let (began, before) = (Instant::now(), busy());
    while began.elapsed() < during {
        let ready = epoll::wait(&epoll, &mut events[..], Some(&at_most))?;
        for event in &events[..ready] {
            let link = &mut links[event.data.u64() as usize];
            if link.read(&mut buffer)? > 0 {
                link.write_all(&answer)?;
            }
        }
    }
    Ok(busy() - before)
}

/// Sends heartbeats evenly over time, each on the connection whose turn it is.
fn ask(links: &mut [TcpStream], heartbeat: Duration, during: Duration, bytes: usize) -> Result<()> {
    let question = vec![b'-'; bytes];
    let mut buffer = [0; 4096];
    let began = Instant::now();
    let mut asked = 0;
    while began.elapsed() < during {
        let due = (began.elapsed().as_secs_f64() / heartbeat.as_secs_f64() * links.len() as f64) as usize;
        while asked < due {
            let turn = asked % links.len();
            let link = &mut links[turn];
            match link.read(&mut buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error.into()),
                _ => link.write_all(&question)?,
            }
            asked += 1;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
