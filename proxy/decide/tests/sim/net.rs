//! Links as TCP gives them: in order within one connection, late, stuck while the way is cut, broken unseen by one
//! end; the promise's requests: late, lost, doubled, overtaking.

use super::rng::{MS, Rng};
use super::world::{Ev, World};
use hotspare_decide::message::{Down, Hello, LauncherSettings, Peer, PromiseAnswer, PromiseAsk, Up, VERSION, Welcome};
use hotspare_decide::{Epoch, GuardInput, Input, LinkId, Member};
use std::collections::VecDeque;

/// The connection of one launcher.
#[derive(Debug, Default)]
pub struct Conn {
    /// What the launcher holds for open.
    pub guard: Option<u64>,
    /// What the controller holds for open.
    pub control: Option<u64>,
    /// Sent while the way was cut; TCP sends it again when it isn't.
    held_up: VecDeque<(u64, Up)>,
    held_down: VecDeque<(u64, Down)>,
    /// The newest connection that the controller has closed: what still comes over it is answered by a reset.
    pub closed: u64,
    last_up: u64,
    last_down: u64,
}

/// What is cut, and how slow the rest is.
#[derive(Debug, Default)]
pub struct Net {
    pub conns: [Conn; 2],
    /// Cut from this launcher to the controller.
    pub cut_up: [bool; 2],
    /// Cut from the controller to this launcher.
    pub cut_down: [bool; 2],
    /// Cut from this launcher to its peer.
    pub cut_peer: [bool; 2],
    /// Milliseconds of delay that may come on top.
    pub slow: u64,
    pub conn_count: u64,
    /// Every start ordered so far.
    pub said: Vec<(Member, Down)>,
}

impl World {
    fn delay(&mut self) -> u64 {
        let slow = self.net.slow;
        let rng: &mut Rng = &mut self.rng;
        let base = if rng.chance(90) { rng.range(50_000, 800_000) } else { rng.range(1, 60) * MS };
        if slow > 0 { base + rng.below(slow) * MS } else { base }
    }

    pub fn send_up(&mut self, member: Member, msg: Up) {
        let Some(conn) = self.conn(member).guard else { return };
        if self.net.cut_up[member.index()] {
            return self.conn(member).held_up.push_back((conn, msg));
        }
        if self.conn(member).closed >= conn && !self.net.cut_down[member.index()] {
            let (era, back) = (self.era, self.delay());
            return self.after(back, Ev::GuardSeesDown { member, conn, era });
        }
        let when = (self.now + self.delay()).max(self.conn(member).last_up + 1);
        self.conn(member).last_up = when;
        if self.faulty && self.rng.chance(1) && !matches!(msg, Up::Hello(_)) {
            self.at(when, Ev::ToControl { member, conn, msg: msg.clone() });
        }
        self.at(when, Ev::ToControl { member, conn, msg });
    }

    pub fn send_down(&mut self, member: Member, conn: u64, msg: Down) {
        if self.conn(member).control != Some(conn) {
            return;
        }
        if matches!(msg, Down::Start { .. }) {
            self.net.said.push((member, msg.clone()));
        }
        if self.net.cut_down[member.index()] {
            return self.conn(member).held_down.push_back((conn, msg));
        }
        let when = (self.now + self.delay()).max(self.conn(member).last_down + 1);
        self.conn(member).last_down = when;
        if self.faulty && self.rng.chance(1) {
            self.at(when, Ev::ToGuard { member, conn, msg: msg.clone() });
        }
        self.at(when, Ev::ToGuard { member, conn, msg });
    }

    /// Something that a controller said to this launcher before, at any time, reaches it once more.
    pub fn echo(&mut self, member: Member) {
        let said: Vec<Down> = self.net.said.iter().filter(|(m, _)| *m == member).map(|(_, msg)| msg.clone()).collect();
        if !said.is_empty() {
            let msg = said[self.rng.below(said.len() as u64) as usize].clone();
            self.tell_guard(member, GuardInput::Down { controller: 0, msg });
        }
    }

    /// The way is free again: what was stuck goes on, in order.
    pub fn release(&mut self, member: Member) {
        if !self.net.cut_up[member.index()] {
            while let Some((conn, msg)) = self.conn(member).held_up.pop_front() {
                let when = (self.now + self.delay()).max(self.conn(member).last_up + 1);
                self.conn(member).last_up = when;
                self.at(when, Ev::ToControl { member, conn, msg });
            }
        }
        if !self.net.cut_down[member.index()] {
            while let Some((conn, msg)) = self.conn(member).held_down.pop_front() {
                let when = (self.now + self.delay()).max(self.conn(member).last_down + 1);
                self.conn(member).last_down = when;
                self.at(when, Ev::ToGuard { member, conn, msg });
            }
        }
    }

    /// A launcher without a connection tries for one.
    pub fn connect(&mut self, member: Member, life: u64) {
        let node = &self.nodes[member.index()];
        if node.life != life || node.guard.is_none() || self.net.conns[member.index()].guard.is_some() {
            return;
        }
        let cut = self.net.cut_up[member.index()] || self.net.cut_down[member.index()];
        if cut || node.frozen || self.control.decider.is_none() {
            let again = self.rng.range(20, 300) * MS;
            return self.after(again, Ev::Connect { member, life });
        }
        self.net.conn_count += 1;
        let conn = self.net.conn_count;
        let (session, max_epoch) = (node.session, node.disk.max_epoch);
        self.conn(member).guard = Some(conn);
        self.conn(member).last_up = self.now;
        self.conn(member).last_down = self.now;
        self.log(|| format!("{member} connects ({conn})"));
        self.send_up(member, Up::Hello(hello(session, max_epoch)));
        self.tell_guard(member, GuardInput::LinkUp { controller: 0 });
    }

    /// The controller accepts, and says welcome first.
    pub fn accept(&mut self, member: Member, conn: u64, session: u64) {
        // The server keeps the newest connection; an older one that comes late is refused.
        if conn <= self.conn(member).closed || self.conn(member).control.is_some_and(|newer| newer > conn) {
            return;
        }
        self.conn(member).control = Some(conn);
        let welcome = Welcome {
            version: VERSION,
            controller: "sim".into(),
            leader: true,
            settings: LauncherSettings { lease: self.settings.lease, ..LauncherSettings::default() },
            peer: Some(Peer { member: member.other().to_string(), url: String::new(), secret: String::new() }),
        };
        self.send_down(member, conn, Down::Welcome(welcome));
        self.tell_control(Input::LinkUp { member, link: LinkId(conn), session });
    }

    /// A break of before everything was healed is void if both ends still hold the connection: TCP got over it.
    fn got_over(&self, member: Member, era: u64) -> bool {
        let c = &self.net.conns[member.index()];
        era < self.era && c.guard == c.control
    }

    pub fn control_sees_down(&mut self, member: Member, conn: u64, era: u64) {
        if self.conn(member).control == Some(conn) && !self.got_over(member, era) {
            self.conn(member).control = None;
            self.conn(member).closed = conn;
            self.tell_control(Input::LinkDown { member, link: LinkId(conn) });
        }
    }

    pub fn guard_sees_down(&mut self, member: Member, conn: u64, era: u64) {
        if self.conn(member).guard != Some(conn) || self.got_over(member, era) {
            return;
        }
        self.conn(member).guard = None;
        self.tell_guard(member, GuardInput::LinkDown { controller: 0 });
        let life = self.node(member).life;
        let again = self.rng.range(5, 300) * MS;
        self.after(again, Ev::Connect { member, life });
    }

    /// The connection breaks; each end notices in its own time.
    pub fn break_conn(&mut self, member: Member, control_in: u64, guard_in: u64) {
        let era = self.era;
        if let Some(conn) = self.conn(member).control {
            self.after(control_in, Ev::ControlSeesDown { member, conn, era });
        }
        if let Some(conn) = self.conn(member).guard {
            self.after(guard_in, Ev::GuardSeesDown { member, conn, era });
        }
    }

    pub fn ask_peer(&mut self, from: Member, ask: PromiseAsk) {
        if self.net.cut_peer[from.index()] || self.faulty && self.rng.chance(3) {
            return;
        }
        let delay = self.delay();
        self.after(delay, Ev::Ask { to: from.other(), ask });
    }

    pub fn answer_peer(&mut self, from: Member, answer: PromiseAnswer) {
        if self.net.cut_peer[from.index()] || self.faulty && self.rng.chance(3) {
            return;
        }
        // An answer may come very late, even after the asker's next tenure has begun.
        let late = if self.faulty && self.rng.chance(5) { self.rng.below(3_000) * MS } else { 0 };
        let delay = self.delay() + late;
        if self.faulty && self.rng.chance(2) {
            self.after(delay + MS, Ev::Answer { to: from.other(), answer });
        }
        self.after(delay, Ev::Answer { to: from.other(), answer });
    }
}

fn hello(session: u64, max_epoch: Epoch) -> Hello {
    Hello {
        version: VERSION,
        instance: String::new(),
        member: String::new(),
        session,
        software: String::new(),
        node_red: None,
        max_epoch,
    }
}
