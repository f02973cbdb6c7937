//! The few instructions between `fork` and Node-RED, as a hidden subcommand of the same binary.
//!
//! Owns: that Node-RED dies with its launcher (`PR_SET_PDEATHSIG`), that it holds a lock for as long as it lives, and
//! that the module's socket has a descriptor which only Node-RED holds. Done by a program that replaces itself rather than between `fork` and `exec`, because
//! that needs no unsafe code. Never returns when it works. Next: `node_red` starts it.

use std::ffi::{OsStr, OsString};
use std::os::fd::IntoRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal, setpriority_process};

/// First argument of the hidden subcommand.
pub(crate) const SUBCOMMAND: &str = "launcher-child";
/// Exit code when the program could not be started, as shells have it.
pub(crate) const EXIT_CANNOT_START: i32 = 127;

/// Becomes the program in `args` (`PARENT_PID LOCK_FILE NICE PROGRAM [ARG…]`); its module's socket arrives as standard input.
pub(crate) fn main(mut args: impl Iterator<Item = OsString>) -> ExitCode {
    let parent = args.next().and_then(|pid| pid.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let lock = args.next();
    let nice = args.next().and_then(|nice| nice.to_str()?.parse().ok());
    let (Some(parent), Some(lock), Some(nice), Some(program)) = (parent, lock, nice, args.next()) else {
        return fail("it is started by `hotspare launcher` only");
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        return fail(&format!("cannot tie Node-RED to its launcher: {error}"));
    }
    // The launcher may have died before the line above: then nobody would send that signal.
    if getppid() != Some(parent) {
        return fail("the launcher is gone");
    }
    // The launcher's own priority is higher. Lowering it is always allowed.
    let _ = setpriority_process(None, nice);
    if let Err(error) = hold_lock(&lock) {
        return fail(&format!("another Node-RED of this member still runs: {error}"));
    }
    let socket = match give_socket_its_place() {
        Ok(fd) => fd,
        Err(error) => return fail(&format!("cannot pass the module's socket on: {error}")),
    };
    let mut command = Command::new(&program);
    command.args(args).env("HOTSPARE_FD", socket.to_string());
    let error = command.exec();
    fail(&format!("cannot run {}: {error}", program.to_string_lossy()))
}

/// Node-RED inherits the locked descriptor and never looks at it: the lock ends with the process, however it ends.
fn hold_lock(path: &OsStr) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE; // and no CLOEXEC
    let lock = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    let _ = lock.into_raw_fd();
    Ok(())
}

/// Moves the socket from standard input, which children of Node-RED may inherit, to a descriptor of its own
/// (Node.js closes those in its children), and leaves `/dev/null` in its place.
fn give_socket_its_place() -> rustix::io::Result<i32> {
    let socket = rustix::io::dup(std::io::stdin())?;
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket.into_raw_fd())
}

fn fail(why: &str) -> ExitCode {
    eprintln!("hotspare {SUBCOMMAND}: {why}");
    ExitCode::from(u8::try_from(EXIT_CANNOT_START).unwrap_or(u8::MAX))
}
