//! Hooks: other systems are told of events, by a signed POST or by a program. No hook can delay a decision.
//!
//! Each hook is a task with the event log's bounded broadcast as its queue. A hook that is too slow misses events, and
//! that is logged and counted by itself. Delivery is at least once within the retries, in order.
//!
//! A POST carries the event as JSON and, with a secret, `X-Hotspare-Signature: sha256=HEX`, the HMAC-SHA256 of the body.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use hotspare_protocol::Secret;
use hyper::Method;
use sha2::Sha256;
use tokio::io::AsyncWriteExt;
use tokio::sync::broadcast::error::RecvError;

use crate::config::{EventKind, Hook, HookAction};
use crate::events::{Entry, EventLog};
use crate::http::Ask;

/// The first pause before a try is repeated; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Tells `hook` of every event it asked for, until the log is dropped.
pub async fn run(hook: Hook, log: EventLog) {
    let mut events = log.watch();
    loop {
        match events.recv().await {
            Ok(entry) if wanted(&hook, &entry) => deliver(&hook, &entry).await,
            Ok(_) => {}
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(hook = hook.name.as_str(), missed, "a hook was too slow and missed events");
            }
            Err(RecvError::Closed) => return,
        }
    }
}

fn wanted(hook: &Hook, entry: &Entry) -> bool {
    let instance = hook.instances.is_empty() || hook.instances.iter().any(|name| name.as_str() == entry.instance);
    let Some(kind) = kind(entry) else { return false };
    instance && (hook.on.is_empty() || hook.on.contains(&kind))
}

/// Which of the kinds that can be asked for an entry is; most entries are none.
fn kind(entry: &Entry) -> Option<EventKind> {
    let event = entry.event();
    let word = event.get("event").and_then(|e| e.as_str())?;
    Some(match word {
        "active" if event["planned"] == false => EventKind::Failover,
        "plan_ended" => EventKind::Switchover,
        "stuck" => EventKind::Outage,
        "halted" if !event["why"].is_null() => EventKind::Outage,
        "spare_not_ready" => EventKind::SpareLost,
        "spare_ready" => EventKind::SpareReady,
        "blind" => EventKind::Blind,
        "frozen" => EventKind::Frozen,
        "paused" | "resumed" => EventKind::Pause,
        "out_of_sync" => EventKind::Drift,
        "drill" => EventKind::Drill,
        "recovering" | "leadership_lost" => EventKind::Leadership,
        _ => return None,
    })
}

async fn deliver(hook: &Hook, entry: &Arc<Entry>) {
    let Ok(body) = serde_json::to_value(&**entry) else { return };
    let mut pause = FIRST_PAUSE;
    for attempt in 0..=hook.retries {
        if attempt > 0 {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        let outcome = match &hook.action {
            HookAction::Post { url, secret } => {
                post(&url.uri().to_string(), &body, secret.as_ref(), hook.timeout).await
            }
            HookAction::Run(command) => execute(command, &body, hook.timeout).await,
        };
        match outcome {
            Ok(()) => return,
            Err(why) => tracing::warn!(hook = hook.name.as_str(), event = entry.id, attempt, why, "a hook failed"),
        }
    }
}

async fn post(url: &str, body: &serde_json::Value, secret: Option<&Secret>, timeout: Duration) -> Result<(), String> {
    let signature = secret.map(|secret| format!("sha256={}", sign(secret, body.to_string().as_bytes())));
    let headers: Vec<(&str, &str)> = signature.iter().map(|s| ("x-hotspare-signature", s.as_str())).collect();
    let ask = Ask { method: Method::POST, url, bearer: None, headers: &headers, json: Some(body), tls: None, timeout };
    let answer = ask.send().await.map_err(|e| e.to_string())?;
    if answer.status.is_success() { Ok(()) } else { Err(format!("status {}", answer.status)) }
}

/// HMAC-SHA256 (RFC 2104) in hexadecimal digits.
fn sign(secret: &Secret, body: &[u8]) -> String {
    use std::fmt::Write;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).expect("HMAC takes a key of any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

async fn execute(command: &[String], body: &serde_json::Value, timeout: Duration) -> Result<(), String> {
    let Some((program, arguments)) = command.split_first() else { return Err("no program is named".to_owned()) };
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    let mut input = child.stdin.take();
    let text = body.to_string();
    let finish = async {
        if let Some(input) = input.as_mut() {
            // A program that does not read its input has still been told.
            let _ = input.write_all(text.as_bytes()).await;
        }
        drop(input.take());
        child.wait().await.map_err(|e| e.to_string())
    };
    match tokio::time::timeout(timeout, finish).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(format!("{program}: {status}")),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(format!("{program}: not done within {timeout:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        let digest = sign(&Secret::new("Jefe"), b"what do ya want for nothing?");
        assert_eq!(digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[tokio::test]
    async fn a_program_gets_the_event_and_its_failure_is_told() {
        let dir = tempfile::tempdir().expect("temp dir");
        let out = dir.path().join("out");
        let script = format!("cat > {}", out.display());
        let run = |script: &str| vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()];
        let event = serde_json::json!({"text": "it failed over"});
        execute(&run(&script), &event, Duration::from_secs(5)).await.expect("it works");
        assert_eq!(std::fs::read_to_string(out).expect("it wrote"), event.to_string());
        let error = execute(&run("exit 3"), &event, Duration::from_secs(5)).await.expect_err("it fails");
        assert!(error.contains('3'), "{error}");
        let error = execute(&run("sleep 60"), &event, Duration::from_millis(50)).await.expect_err("it is too slow");
        assert!(error.contains("not done within"), "{error}");
    }
}
