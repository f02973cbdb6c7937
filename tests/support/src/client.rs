//! A client that asks all the time and writes down what it got: the outage as a user of the service sees it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::flows::WHO;
use crate::http;
use crate::witness::record::{Nanos, now};

/// Pause between the end of a request and the next one.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a request may take: longer than any failover.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request and what came of it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// When it was sent.
    pub asked: Nanos,
    /// When its answer, or its failure, was complete.
    pub done: Nanos,
    /// Who answered, or what went wrong.
    pub result: Result<Who, String>,
}

/// The member that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// Its name.
    pub member: String,
    /// Its epoch.
    pub epoch: u64,
}

/// Asks once who is there.
///
/// # Errors
/// Why there was no proper answer, in words.
pub fn who(at: SocketAddr, patience: Duration) -> Result<Who, String> {
    let answer = http::get(at, WHO).within(patience).send().map_err(|error| error.to_string())?;
    let body = answer.json();
    match (answer.status, body["member"].as_str(), body["epoch"].as_u64()) {
        (200, Some(member), Some(epoch)) => Ok(Who { member: member.to_owned(), epoch }),
        _ => Err(format!("{}: {:.200}", answer.status, answer.body)),
    }
}

/// A thread that asks `/who`, one connection per request, until it is stopped.
#[derive(Debug)]
pub struct Client {
    stop: Arc<AtomicBool>,
    answers: Arc<Mutex<Vec<Answer>>>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    /// Starts asking.
    pub fn start(at: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answers = Arc::<Mutex<Vec<Answer>>>::default();
        let (stopped, collected) = (Arc::clone(&stop), Arc::clone(&answers));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let asked = now();
                let result = who(at, PATIENCE);
                collected.lock().unwrap_or_else(PoisonError::into_inner).push(Answer { asked, done: now(), result });
                std::thread::sleep(PAUSE);
            }
        });
        Client { stop, answers, thread: Some(thread) }
    }

    /// What came until now.
    pub fn answers(&self) -> Vec<Answer> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Not joined: a request may hang for as long as its patience, and holds nothing that matters.
        drop(self.thread.take());
    }
}

/// What a fault cost a client.
#[derive(Debug, Clone)]
pub struct Outage {
    /// From the last good answer before another member served to the first good one from it.
    pub gap: Duration,
    /// From the fault to that first good answer.
    pub after_fault: Duration,
    /// Requests that failed in between.
    pub failed: Vec<String>,
    /// Who served then.
    pub then: Who,
}

/// The outage of a fault at `fault` of the member that `before` served, once another epoch has answered.
pub fn outage(answers: &[Answer], fault: Nanos, before: &Who) -> Option<Outage> {
    let good = |answer: &Answer| answer.result.as_ref().ok().cloned();
    let (first, then) = answers.iter().enumerate().find_map(|(index, answer)| {
        let who = good(answer)?;
        (answer.done > fault && who.epoch > before.epoch).then_some((index, who))
    })?;
    let last = answers[..first].iter().rposition(|answer| answer.result.is_ok())?;
    let failed = answers[last + 1..first].iter().filter_map(|answer| answer.result.clone().err()).collect();
    Some(Outage {
        gap: Duration::from_nanos(answers[first].done - answers[last].done),
        after_fault: Duration::from_nanos(answers[first].done.saturating_sub(fault)),
        failed,
        then,
    })
}
