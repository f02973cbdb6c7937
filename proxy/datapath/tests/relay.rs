//! Bytes through the data path are intact, and so are ends and resets, copied or spliced.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Checksum, Options, PATIENCE, Rig, Server, assert_closed, assert_reset, read_all, reset, send_all, until};
use hotspare_datapath::{CloseReason, Drain, Timeouts};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// A debug build moves less.
const BULK: u64 = if cfg!(debug_assertions) { 64 << 20 } else { 1 << 30 };

/// A rig whose member side comes out of a channel.
fn rig_with_member(options: Options) -> (Rig, Server, Receiver<TcpStream>) {
    let (streams, members) = channel();
    let server = Server::new(move |stream| {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        streams.send(stream).unwrap();
    });
    let rig = Rig::with(options);
    rig.to(1, 0, server.addr, Drain::Now);
    (rig, server, members)
}

fn pair(rig: &Rig, members: &Receiver<TcpStream>) -> (TcpStream, TcpStream) {
    (rig.connect(), members.recv_timeout(PATIENCE).unwrap())
}

/// Both directions at once, each with its own pattern of chunks.
fn both_ways(
    total: u64,
    send_chunk: fn(u64) -> usize,
    read_chunk: fn(u64) -> usize,
) -> (hotspare_datapath::Counters, [Checksum; 4]) {
    let (rig, _server, members) = rig_with_member(Options::default());
    let (client, member) = pair(&rig, &members);
    let sums = std::thread::scope(|scope| {
        let up = scope.spawn(|| send_all(&client, 1, total, send_chunk));
        let down = scope.spawn(|| send_all(&member, 2, total, send_chunk));
        let up_read = scope.spawn(|| read_all(&member, 3, read_chunk));
        let down_read = scope.spawn(|| read_all(&client, 4, read_chunk));
        [up.join().unwrap(), up_read.join().unwrap(), down.join().unwrap(), down_read.join().unwrap()]
    });
    rig.until_idle();
    (rig.counters(), sums)
}

fn assert_intact(sums: &[Checksum; 4], total: u64) {
    let [up, up_read, down, down_read] = sums;
    assert_eq!(up, up_read, "client to member");
    assert_eq!(down, down_read, "member to client");
    assert_eq!((up.count, down.count), (total, total));
}

#[test]
fn bulk_is_spliced_and_intact_both_ways() {
    let (counters, sums) = both_ways(BULK, |_| 256 << 10, |_| 256 << 10);
    assert_intact(&sums, BULK);
    assert!(counters.splices >= 2, "the stream was to be spliced in both directions: {counters:#?}");
    assert_eq!((counters.bytes_up, counters.bytes_down), (BULK, BULK));
}

#[test]
fn one_byte_writes_are_copied_and_intact() {
    let total = 200_000;
    let (counters, sums) = both_ways(total, |_| 1, |_| 7);
    assert_intact(&sums, total);
    assert_eq!((counters.bytes_up, counters.bytes_down), (total, total));
}

#[test]
fn random_chunks_and_pauses_go_back_and_forth_between_copy_and_splice() {
    let total = BULK / 8;
    let (counters, sums) = both_ways(
        total,
        |random| {
            if random % 500 == 0 {
                std::thread::sleep(Duration::from_millis(2));
            }
            [1, 17, 1000, 20_000, 65_536, 300_000][(random % 6) as usize]
        },
        |random| [512, 65_536, 262_144][(random % 3) as usize],
    );
    assert_intact(&sums, total);
    assert!(counters.splices > 0, "{counters:#?}");
}

#[test]
fn the_client_may_end_first_and_still_read_the_answer() {
    for total in [10, 5 << 20] {
        let (rig, _server, members) = rig_with_member(Options::default());
        let (client, member) = pair(&rig, &members);
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| send_all(&client, 1, total, |_| 100_000));
            assert_eq!(read_all(&member, 2, |_| 100_000), sent.join().unwrap());
            let answered = scope.spawn(|| send_all(&member, 3, total, |_| 100_000));
            assert_eq!(read_all(&client, 4, |_| 100_000), answered.join().unwrap());
        });
        rig.until_idle();
        assert_eq!(rig.closed_for(CloseReason::ClientClosed), 1, "{:#?}", rig.counters());
    }
}

#[test]
fn the_member_may_end_first_while_the_client_still_sends() {
    for total in [10, 5 << 20] {
        let (rig, _server, members) = rig_with_member(Options::default());
        let (client, member) = pair(&rig, &members);
        std::thread::scope(|scope| {
            let sent = scope.spawn(|| send_all(&member, 1, total, |_| 100_000));
            assert_eq!(read_all(&client, 2, |_| 100_000), sent.join().unwrap());
            let more = scope.spawn(|| send_all(&client, 3, total, |_| 100_000));
            assert_eq!(read_all(&member, 4, |_| 100_000), more.join().unwrap());
        });
        rig.until_idle();
        assert_eq!(rig.closed_for(CloseReason::MemberClosed), 1, "{:#?}", rig.counters());
    }
}

#[test]
fn a_member_that_speaks_first_is_heard() {
    let (rig, _server, members) = rig_with_member(Options::default());
    let (mut client, mut member) = pair(&rig, &members);
    member.write_all(b"220 ready").unwrap();
    let mut greeting = [0; 9];
    client.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ready");
}

#[test]
fn a_reset_stays_a_reset() {
    let (rig, _server, members) = rig_with_member(Options::default());
    for bulky in [false, true] {
        let (mut client, mut member) = pair(&rig, &members);
        exchange(&mut client, &mut member, bulky);
        reset(client);
        assert_reset(&mut member);

        let (mut client, mut member) = pair(&rig, &members);
        exchange(&mut client, &mut member, bulky);
        reset(member);
        assert_reset(&mut client);
    }
    rig.until_idle();
    let counters = rig.counters();
    assert_eq!(counters.closed_for(CloseReason::ClientReset), 2, "{counters:#?}");
    assert_eq!(counters.closed_for(CloseReason::MemberReset), 2, "{counters:#?}");
}

fn exchange(client: &mut TcpStream, member: &mut TcpStream, bulky: bool) {
    let mut block = vec![7; if bulky { 4 << 20 } else { 4 }];
    std::thread::scope(|scope| {
        let sent = block.clone();
        scope.spawn(move || client.write_all(&sent).unwrap());
        member.read_exact(&mut block).unwrap();
    });
}

#[test]
fn an_answer_before_a_reset_is_delivered() {
    // A server that refuses an upload answers and closes with the upload unread: a reset follows the answer.
    let (rig, _server, members) = rig_with_member(Options::default());
    let (mut client, mut member) = pair(&rig, &members);
    client.write_all(b"some request").unwrap();
    let mut first = [0; 1];
    member.read_exact(&mut first).unwrap();
    member.write_all(b"413").unwrap();
    drop(member);
    let mut answer = [0; 3];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"413");
    assert_reset(&mut client);
}

#[test]
fn a_slow_reader_holds_back_the_sender() {
    let (rig, _server, members) = rig_with_member(Options::default());
    let (client, member) = pair(&rig, &members);
    client.set_nonblocking(true).unwrap();
    // Each hop's kernel buffers and one pipe may fill up, but no more than that.
    let bound = 48 << 20;
    let (mut taken, mut quiet) = (0, 0);
    let block = vec![1; 1 << 20];
    while quiet < 50 {
        match (&client).write(&block) {
            Ok(sent) => {
                taken += sent;
                quiet = 0;
                assert!(taken < bound, "{taken} bytes went in and nobody reads");
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                quiet += 1;
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(e) => panic!("{e}"),
        }
    }
    client.set_nonblocking(false).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&member, 1, |_| 65_536).count, taken as u64, "what went in comes out");
}

#[test]
fn urgent_data_does_not_cut_the_stream() {
    use rustix::net::{SendFlags, send};
    let (rig, _server, members) = rig_with_member(Options::default());
    for _ in 0..50 {
        let (mut client, mut member) = pair(&rig, &members);
        client.write_all(b"before").unwrap();
        send(&client, b"!", SendFlags::OOB).unwrap();
        client.write_all(b"after").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut seen = Vec::new();
        member.read_to_end(&mut seen).unwrap();
        assert_eq!(String::from_utf8_lossy(&seen), "beforeafter");
    }
}

#[test]
fn an_idle_connection_is_closed_in_order_and_a_busy_one_is_not() {
    let timeouts = Timeouts { idle: Duration::from_millis(300), ..Timeouts::default() };
    let (rig, _server, members) = rig_with_member(Options { timeouts, ..Options::default() });
    let (mut idle, mut idle_member) = pair(&rig, &members);
    let (mut busy, mut busy_member) = pair(&rig, &members);
    let mut byte = [0; 1];
    until(
        "the idle one to be closed",
        || {
            busy.write_all(b"x").unwrap();
            busy_member.read_exact(&mut byte).unwrap();
            rig.closed_for(CloseReason::IdleTimeout) == 1
        },
        || format!("{:#?}", rig.counters()),
    );
    assert_closed(&mut idle);
    assert_closed(&mut idle_member);
    busy.write_all(b"y").unwrap();
    busy_member.read_exact(&mut byte).unwrap();
    assert_eq!(&byte, b"y");
}

/// The shape that quick ways of closing get wrong: a message of any size, and the end right behind it.
#[test]
fn short_connections_lose_no_byte_before_their_end() {
    let server = Server::new(|mut stream| {
        // Four bytes say how much to answer; the sum of what follows comes first in the answer.
        let mut size = [0; 4];
        if stream.read_exact(&mut size).is_err() {
            return;
        }
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
        let mut answer = rest.iter().map(|&byte| u64::from(byte)).sum::<u64>().to_le_bytes().to_vec();
        answer.resize(8 + u32::from_le_bytes(size) as usize, 0xa5);
        stream.write_all(&answer).unwrap();
    });
    let rig = Rig::new();
    rig.to(1, 0, server.addr, Drain::Now);
    let runs = if cfg!(debug_assertions) { 500 } else { 5000 };
    std::thread::scope(|scope| {
        for seed in 1..5 {
            let rig = &rig;
            scope.spawn(move || {
                let mut random = common::Bytes::new(seed);
                for run in 0..runs {
                    let sizes = [0, 1, 100, 1448, 65_535, 65_536, 65_537, 300_000];
                    let (up, down) = (sizes[random.next() as usize % 8], sizes[random.next() as usize % 8]);
                    let mut request = (down as u32).to_le_bytes().to_vec();
                    request.resize(4 + up, 3);
                    let mut client = rig.connect();
                    client.write_all(&request).unwrap();
                    client.shutdown(Shutdown::Write).unwrap();
                    let mut answer = Vec::new();
                    client.read_to_end(&mut answer).unwrap();
                    assert_eq!(answer.len(), 8 + down, "run {run} of {seed}: {up} up, {down} down");
                    assert_eq!(answer[..8], (3 * up as u64).to_le_bytes(), "run {run} of {seed}: {up} up, {down} down");
                }
            });
        }
    });
    rig.until_idle();
    let counters = rig.counters();
    assert_eq!(counters.closed_for(CloseReason::ClientClosed), 4 * runs, "{counters:#?}");
}

/// The thread is held up, so that it finds a request and a member that is gone at one time.
#[test]
fn a_first_byte_that_meets_a_dead_member_goes_to_the_next_connection() {
    let (rig, server, members) = rig_with_member(Options { threads: 1, ..Options::default() });
    for half_closed in [false, true] {
        let (mut client, member) = pair(&rig, &members);
        rig.until("it is connected", |c| c.to_member[0] == 1);
        let held_up = rig.signals.lock().unwrap();
        // The thread waits for this lock to say that it is clear.
        let version = rig.to(1, 0, server.addr, Drain::Now);
        let clear = || rig.data.is_clear(common::INSTANCE, version).unwrap();
        until("clear", clear, || format!("{:#?}", rig.counters()));
        client.write_all(b"a request").unwrap();
        if half_closed {
            client.shutdown(Shutdown::Write).unwrap();
        }
        reset(member);
        drop(held_up);
        let mut next = members.recv_timeout(PATIENCE).unwrap();
        let mut request = [0; 9];
        next.read_exact(&mut request).unwrap();
        assert_eq!(&request, b"a request");
        if half_closed {
            assert_closed(&mut next);
        }
        next.write_all(b"answer").unwrap();
        drop(next);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"answer");
        drop(client);
        rig.until_idle();
    }
}

/// The kernel ends a silent connection in order when it kills the process behind it.
#[test]
fn a_silent_connection_outlives_its_member_and_goes_to_the_next() {
    let (rig, server, members) = rig_with_member(Options::default());
    let spare = Server::named("b");
    let (mut client, member) = pair(&rig, &members);
    rig.until("it is connected", |c| c.to_member[0] == 1);
    drop(server);
    drop(member);
    rig.until("it waits", |c| c.parked == 1);
    rig.to(2, 1, spare.addr, Drain::Now);
    client.write_all(b"?").unwrap();
    assert_eq!(common::read_name(&mut client), "b");
}

#[test]
fn a_member_that_ends_silent_connections_is_taken_at_its_second_word() {
    let (rig, _server, members) = rig_with_member(Options::default());
    let (mut client, member) = pair(&rig, &members);
    drop(member);
    let again = members.recv_timeout(PATIENCE).unwrap();
    drop(again);
    assert_closed(&mut client);
    drop(client);
    rig.until_idle();
    assert_eq!(rig.closed_for(CloseReason::MemberClosed), 1);
}

#[test]
fn an_idle_timeout_resets_a_spliced_stream_that_is_stuck() {
    let timeouts = Timeouts { idle: Duration::from_millis(300), ..Timeouts::default() };
    let (rig, _server, members) = rig_with_member(Options { timeouts, ..Options::default() });
    let (mut client, member) = pair(&rig, &members);
    let sending = std::thread::spawn(move || {
        let mut member = member;
        let block = vec![1; 1 << 20];
        while member.write_all(&block).is_ok() {}
    });
    rig.until("it is stuck, and closed for that", |c| c.closed_for(CloseReason::IdleTimeout) == 1);
    assert!(rig.counters().splices > 0, "{:#?}", rig.counters());
    // Bytes were lost: nobody may take what there is for all.
    assert_reset(&mut client);
    sending.join().unwrap();
    rig.until_idle();
}
