//! The operator's own means to make certain that a member is off (a power switch, a hypervisor, `kubectl`).
//!
//! Its exit code 0 is taken as proof, as the configuration says; anything else proves nothing.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// For one run of the command; switches of power strips take seconds.
const LIMIT: Duration = Duration::from_secs(60);

/// A program with its arguments, never a shell's line.
#[derive(Debug, Clone)]
pub struct PowerOff {
    command: Vec<String>,
    instance: String,
    member: String,
}

impl PowerOff {
    /// `None` if there is no command. The names are handed to it as HOTSPARE_INSTANCE and HOTSPARE_MEMBER.
    pub fn new(command: &[String], instance: &str, member: &str) -> Option<Self> {
        let (instance, member) = (instance.to_owned(), member.to_owned());
        (!command.is_empty()).then(|| Self { command: command.to_vec(), instance, member })
    }

    /// Runs it to its end; `Ok` if it ended with 0.
    pub(super) async fn run(&self) -> Result<(), String> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env("HOTSPARE_INSTANCE", &self.instance).env("HOTSPARE_MEMBER", &self.member);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        match tokio::time::timeout(LIMIT, command.status()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(format!("ended with {status}")),
            Ok(Err(error)) => Err(format!("'{}' could not be started: {error}", self.command[0])),
            Err(_) => Err(format!("had not ended after {LIMIT:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn command(words: &[&str]) -> PowerOff {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        PowerOff::new(&words, "line-1", "a").unwrap()
    }

    #[tokio::test]
    async fn only_exit_code_0_is_proof() {
        assert!(PowerOff::new(&[], "line-1", "a").is_none());
        let names = r#"test "$HOTSPARE_INSTANCE/$HOTSPARE_MEMBER" = line-1/a"#;
        assert_eq!(command(&["sh", "-c", names]).run().await, Ok(()));
        assert!(command(&["sh", "-c", "exit 3"]).run().await.is_err());
        assert!(command(&["/not/there"]).run().await.is_err());
    }
}
