//! What goes wrong. Each seed draws its own mix of kinds, so that rare sequences become likely in some seeds.

use super::rng::{MS, Rng};
use super::world::{Ev, World};
use hotspare_decide::{ConnectTrouble, Input, Member, Operator};
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    RedCrash(Member),
    RedHang(Member),
    RedFreeze(Member),
    LauncherCrash(Member),
    LauncherFreeze(Member),
    MachineFreeze(Member),
    MachineLost(Member),
    ControlCrash,
    ControlFreeze,
    /// Its clock stands still with it.
    ControlPause,
    CutUp(Member),
    CutDown(Member),
    CutBoth(Member),
    CutPeer(Member),
    CutPeers,
    Isolate(Member),
    IsolateControl,
    Slow,
    Reset(Member),
    DiskFull,
    SlowDisk,
    GuardDiskFull(Member),
    SlowFlows(Member),
    StartFails(Member),
    Trouble,
    Switchover,
    RollingRestart,
    FailoverByHand,
    PauseByHand,
    FenceByHand(Member),
    /// A controller that lost its lead was frozen, thaws, and says again what it had said.
    Echo(Member),
}

const KINDS: u64 = 31;

/// Which kinds a seed may draw, how many, how close together.
#[derive(Clone, Debug)]
pub struct Profile {
    kinds: Vec<u64>,
    count: u64,
    gap_ms: u64,
}

impl Profile {
    pub fn random(rng: &mut Rng) -> Self {
        let wanted = rng.range(1, 9);
        let kinds = (0..wanted).map(|_| rng.below(KINDS)).collect();
        Profile { kinds, count: rng.range(1, 12), gap_ms: rng.pick(&[150, 600, 1_500]) }
    }

    pub fn count(&self) -> u64 {
        self.count
    }
}

impl World {
    fn draw(&mut self) -> Fault {
        let m = self.rng.pick(&Member::BOTH);
        let kind = self.rng.below(self.profile.kinds.len() as u64) as usize;
        match self.profile.kinds[kind] {
            0 => Fault::RedCrash(m),
            1 => Fault::RedHang(m),
            2 => Fault::RedFreeze(m),
            3 => Fault::LauncherCrash(m),
            4 => Fault::LauncherFreeze(m),
            5 => Fault::MachineFreeze(m),
            6 => Fault::MachineLost(m),
            7 => Fault::ControlCrash,
            8 => Fault::ControlFreeze,
            9 => Fault::CutUp(m),
            10 => Fault::CutDown(m),
            11 => Fault::CutBoth(m),
            12 => Fault::CutPeer(m),
            13 => Fault::CutPeers,
            14 => Fault::Isolate(m),
            15 => Fault::IsolateControl,
            16 => Fault::Slow,
            17 => Fault::Reset(m),
            18 => Fault::DiskFull,
            19 => Fault::SlowDisk,
            20 => Fault::GuardDiskFull(m),
            21 => Fault::SlowFlows(m),
            22 => Fault::StartFails(m),
            23 => Fault::Trouble,
            24 => Fault::Switchover,
            25 => Fault::RollingRestart,
            26 => Fault::FailoverByHand,
            27 => Fault::PauseByHand,
            28 => Fault::FenceByHand(m),
            29 => Fault::ControlPause,
            _ => Fault::Echo(m),
        }
    }

    pub fn next_fault(&mut self) {
        if !self.faulty || self.faults_left == 0 {
            return;
        }
        self.faults_left -= 1;
        let fault = self.draw();
        self.fault(fault);
        let lasts = self.rng.spell();
        self.after(lasts, Ev::Undo(fault));
        let gap = self.rng.below(self.profile.gap_ms) * MS;
        self.after(gap, Ev::NextFault);
    }

    pub fn fault(&mut self, fault: Fault) {
        self.log(|| format!("fault: {fault:?}"));
        match fault {
            Fault::RedCrash(m) => self.red_dies(m),
            Fault::RedHang(m) => self.red_hangs(m),
            Fault::RedFreeze(m) => self.red_freezes(m),
            Fault::LauncherCrash(m) => self.launcher_crashes(m, false),
            Fault::LauncherFreeze(m) => self.node(m).frozen = self.node(m).guard.is_some(),
            Fault::MachineFreeze(m) => {
                self.node(m).frozen = self.node(m).guard.is_some();
                self.red_freezes(m);
            }
            Fault::MachineLost(m) => self.launcher_crashes(m, true),
            Fault::ControlCrash => self.control_crashes(),
            Fault::ControlFreeze => self.control_freezes(false),
            Fault::ControlPause => self.control_freezes(true),
            Fault::CutUp(m) => self.cut(m, true, false),
            Fault::CutDown(m) => self.cut(m, false, true),
            Fault::CutBoth(m) => self.cut(m, true, true),
            Fault::CutPeer(m) => self.net.cut_peer[m.index()] = true,
            Fault::CutPeers => self.net.cut_peer = [true; 2],
            Fault::Isolate(m) => {
                self.cut(m, true, true);
                self.net.cut_peer = [true; 2];
            }
            Fault::IsolateControl => Member::BOTH.into_iter().for_each(|m| self.cut(m, true, true)),
            Fault::Slow => self.net.slow = self.rng.pick(&[50, 300, 900, 2_500]),
            Fault::Reset(m) => {
                let (control, guard) = (self.rng.below(500) * MS, self.rng.below(500) * MS);
                self.break_conn(m, control, guard);
            }
            Fault::DiskFull => self.control.disk_full = true,
            Fault::SlowDisk => self.control.slow_disk = true,
            Fault::GuardDiskFull(m) => self.node(m).disk_full = true,
            Fault::SlowFlows(m) => {
                let (start, stop) = (self.rng.pick(&[20, 500, 4_000]), self.rng.pick(&[20, 500, 8_000]));
                self.node(m).slow_start = start;
                self.node(m).slow_stop = stop;
            }
            Fault::StartFails(m) => self.node(m).start_fails = true,
            Fault::Trouble => {
                if let Some((member, epoch)) = self.control.route {
                    let trouble =
                        self.rng.pick(&[ConnectTrouble::Refused, ConnectTrouble::Timeout, ConnectTrouble::Reset]);
                    self.tell_control(Input::Trouble { member, epoch, trouble });
                }
            }
            Fault::Switchover => self.operator(Operator::Switchover { to: None, reason: String::new() }),
            Fault::RollingRestart => self.operator(Operator::Restart { reason: String::new() }),
            Fault::FailoverByHand => self.operator(Operator::Failover { force: false, reason: String::new() }),
            Fault::PauseByHand => {
                let duration = Duration::from_nanos(self.rng.spell());
                self.operator(Operator::Pause { duration, reason: String::new() });
            }
            Fault::FenceByHand(member) => self.operator(Operator::Fence { member }),
            Fault::Echo(member) => self.echo(member),
        }
    }

    pub fn operator(&mut self, command: Operator) {
        let request = self.rng.next();
        self.tell_control(Input::Operator { request, command });
    }

    fn cut(&mut self, member: Member, up: bool, down: bool) {
        self.net.cut_up[member.index()] |= up;
        self.net.cut_down[member.index()] |= down;
        // Each end gives the connection up in its own time, or not at all.
        if self.rng.chance(70) {
            let (control, guard) = (self.rng.range(300, 5_000) * MS, self.rng.range(300, 1_500) * MS);
            self.break_conn(member, control, guard);
        }
    }

    fn heal_link(&mut self, member: Member) {
        self.net.cut_up[member.index()] = false;
        self.net.cut_down[member.index()] = false;
        self.release(member);
    }

    pub fn undo(&mut self, fault: Fault) {
        self.log(|| format!("undo: {fault:?}"));
        match fault {
            Fault::RedCrash(_) | Fault::Reset(_) | Fault::Trouble | Fault::Echo(_) => {}
            Fault::Switchover | Fault::RollingRestart | Fault::FailoverByHand => {}
            Fault::RedHang(m) | Fault::RedFreeze(m) => self.red_goes_on(m),
            Fault::LauncherCrash(m) | Fault::MachineLost(m) => self.launcher_boots(m),
            Fault::LauncherFreeze(m) => self.launcher_thaws(m),
            Fault::MachineFreeze(m) => {
                // Which of the two runs first is anybody's guess.
                if self.rng.chance(50) {
                    self.launcher_thaws(m);
                    self.red_goes_on(m);
                } else {
                    self.red_goes_on(m);
                    self.launcher_thaws(m);
                }
            }
            Fault::ControlCrash => self.control_boots(),
            Fault::ControlFreeze | Fault::ControlPause => self.control_thaws(),
            Fault::CutUp(m) | Fault::CutDown(m) | Fault::CutBoth(m) => self.heal_link(m),
            Fault::CutPeer(_) | Fault::CutPeers => self.net.cut_peer = [false; 2],
            Fault::Isolate(m) => {
                self.heal_link(m);
                self.net.cut_peer = [false; 2];
            }
            Fault::IsolateControl => Member::BOTH.into_iter().for_each(|m| self.heal_link(m)),
            Fault::Slow => self.net.slow = 0,
            Fault::DiskFull => self.control.disk_full = false,
            Fault::SlowDisk => self.control.slow_disk = false,
            Fault::GuardDiskFull(m) => self.node(m).disk_full = false,
            Fault::SlowFlows(m) => {
                self.node(m).slow_start = 20;
                self.node(m).slow_stop = 20;
            }
            Fault::StartFails(m) => self.node(m).start_fails = false,
            Fault::PauseByHand => self.operator(Operator::Resume),
            Fault::FenceByHand(member) => self.operator(Operator::Release { member }),
        }
    }

    /// Everything is well again, at once.
    pub fn heal_all(&mut self) {
        self.log(|| "everything is healed".into());
        self.faulty = false;
        self.era += 1;
        for m in Member::BOTH {
            for fault in [
                Fault::RedHang(m),
                Fault::LauncherFreeze(m),
                Fault::LauncherCrash(m),
                Fault::CutBoth(m),
                Fault::GuardDiskFull(m),
                Fault::SlowFlows(m),
                Fault::StartFails(m),
            ] {
                self.undo(fault);
            }
        }
        for fault in [Fault::ControlCrash, Fault::ControlFreeze, Fault::CutPeers, Fault::Slow] {
            self.undo(fault);
        }
        for fault in [Fault::DiskFull, Fault::SlowDisk, Fault::PauseByHand] {
            self.undo(fault);
        }
        for member in Member::BOTH {
            self.operator(Operator::Release { member });
        }
        self.operator(Operator::Unfreeze);
    }
}
