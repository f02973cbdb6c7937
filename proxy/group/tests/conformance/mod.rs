//! What every backend must do, asked of each in the same words.
#![allow(unreachable_pub, clippy::large_futures)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hotspare_group::backend::Backend;
use hotspare_group::{Answer, Document, Entry, Event, Group, GroupConfig, Handle, Revision};
use tokio::sync::mpsc;

use crate::support::{DEADLINE, eventually};

/// A document that differs from every other one.
pub fn document(write: u64) -> Arc<Document> {
    let records = [("line-1".to_owned(), Entry { write, record: serde_json::json!({"epoch": write, "ü": "\"\n"}) })];
    Arc::new(Document {
        version: Document::VERSION,
        holder: format!("writer/{write}"),
        admin: String::new(),
        serial: write,
        write,
        term: 1,
        lead_for_ms: 5000,
        released: false,
        records: records.into(),
    })
}

fn written(answer: Answer) -> Revision {
    match answer {
        Answer::Written(revision) => revision,
        other => panic!("a write that had to succeed was answered with {other:?}"),
    }
}

/// Everything that is asked of a backend; `connect` gives another client of the same, empty object each time.
pub async fn all<B: Backend>(connect: impl AsyncFn() -> B) {
    reads_what_was_written(&connect().await, &connect().await).await;
    tells_of_changes(&connect().await, &connect().await).await;
    of_many_writers_one_wins(&connect).await;
    lets_one_lead_and_the_next_take_over(&connect).await;
}

async fn reads_what_was_written(one: &impl Backend, other: &impl Backend) {
    assert_eq!(one.get().await, Answer::Missing, "nothing was written yet");
    let nowhere = one.compare_and_set(Revision("1".into()), document(1)).await;
    assert!(!matches!(nowhere, Answer::Written(_)), "what is missing cannot be at a revision: {nowhere:?}");

    let first = written(one.create(document(1)).await);
    assert_eq!(other.get().await, Answer::Found(first.clone(), document(1)), "another client reads it");
    assert_eq!(other.create(document(2)).await, Answer::Conflict, "it is there already");

    let second = written(one.compare_and_set(first.clone(), document(2)).await);
    assert_ne!(first, second, "every write has a revision of its own");
    assert_eq!(one.compare_and_set(first.clone(), document(3)).await, Answer::Conflict, "an old revision");
    assert_eq!(other.compare_and_set(first, document(3)).await, Answer::Conflict, "an old revision, elsewhere");
    assert_eq!(other.get().await, Answer::Found(second.clone(), document(2)), "a conflict writes nothing");
    let third = written(other.compare_and_set(second, document(3)).await);
    assert_eq!(one.get().await, Answer::Found(third, document(3)));
}

async fn tells_of_changes(one: &impl Backend, other: &impl Backend) {
    let seen = AtomicU64::new(0);
    let count = || {
        seen.fetch_add(1, Ordering::Relaxed);
    };
    let write = async {
        eventually("the watch has begun", async || (seen.load(Ordering::Relaxed) > 0).then_some(())).await;
        for write in 10..13 {
            let Answer::Found(revision, _) = other.get().await else { panic!("it is there") };
            let before = seen.load(Ordering::Relaxed);
            written(other.compare_and_set(revision, document(write)).await);
            eventually("the watch tells of a write", async || (seen.load(Ordering::Relaxed) > before).then_some(()))
                .await;
        }
    };
    tokio::select! {
        why = one.watch(&count) => panic!("the watch ended: {why}"),
        () = write => {}
    }
}

async fn of_many_writers_one_wins<B: Backend>(connect: &impl AsyncFn() -> B) {
    let mut won = 0;
    for round in 0..10 {
        let Answer::Found(revision, _) = connect().await.get().await else { panic!("it is there") };
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..5 {
            let backend = connect().await;
            let at = revision.clone();
            writers.spawn(async move {
                // A client may have to have read what it replaces.
                let _ = backend.get().await;
                backend.compare_and_set(at, document(100 + round * 10 + writer)).await
            });
        }
        let answers = writers.join_all().await;
        let winners = answers.iter().filter(|answer| matches!(answer, Answer::Written(_))).count();
        assert_eq!(winners, 1, "of five writes at one revision: {answers:?}");
        won += winners;
    }
    assert_eq!(won, 10);
}

/// One proxy of a group, and what it says.
pub struct Proxy {
    pub handle: Handle,
    pub events: mpsc::UnboundedReceiver<Event>,
}

impl Proxy {
    pub fn join(name: &str, backend: impl Backend) -> Self {
        let (tell, events) = mpsc::unbounded_channel();
        let config = GroupConfig {
            me: name.to_owned(),
            admin: String::new(),
            lead_for: Duration::from_millis(1500),
            renew: Duration::from_millis(200),
            request_timeout: Duration::from_millis(400),
            drift_ppm: 10_000,
        };
        let handle = Group::start(config, backend, move |event| {
            // The test may have stopped listening.
            let _ = tell.send(event);
        });
        Self { handle, events }
    }

    /// Skips what was said until something fits.
    pub async fn hears<T>(&mut self, what: &str, fits: impl Fn(&Event) -> Option<T>) -> T {
        let mut said = Vec::new();
        loop {
            match tokio::time::timeout(DEADLINE, self.events.recv()).await {
                Ok(Some(event)) => match fits(&event) {
                    Some(found) => return found,
                    None => said.push(event),
                },
                _ => panic!("{}: {what}: not said within {DEADLINE:?}, only {said:#?}", self.handle.me()),
            }
        }
    }

    pub async fn leads(&mut self) -> Arc<Document> {
        self.hears("leads", |event| match event {
            Event::Led { document, .. } => Some(document.clone()),
            _ => None,
        })
        .await
    }

    pub async fn loses(&mut self) {
        self.hears("loses", |event| matches!(event, Event::Lost { .. }).then_some(())).await;
    }

    /// Stores a record, and waits until it is durable.
    pub async fn stores(&mut self, id: u64, record: serde_json::Value) -> Result<(), String> {
        self.handle.persist(0, "line-1".into(), id, record);
        self.hears("stored", |event| match event {
            Event::Stored { ticket, result } if ticket.id == id => Some(result.clone()),
            _ => None,
        })
        .await
    }
}

async fn lets_one_lead_and_the_next_take_over<B: Backend>(connect: &impl AsyncFn() -> B) {
    let mut first = Proxy::join("first", connect().await);
    first.leads().await;
    let mut second = Proxy::join("second", connect().await);
    let refused = second.stores(1, serde_json::json!(0)).await;
    assert!(refused.is_err(), "a follower stores nothing");
    for id in 1..20 {
        first.stores(id, serde_json::json!({"epoch": id})).await.expect("the leader stores");
    }
    second
        .hears("sees the last record", |event| match event {
            Event::Seen { document, .. } => {
                (document.records["line-1"].record == serde_json::json!({"epoch": 19})).then_some(())
            }
            _ => None,
        })
        .await;

    assert!(first.handle.release().await, "the store knows of the release");
    let found = second.leads().await;
    assert_eq!(found.records["line-1"].record, serde_json::json!({"epoch": 19}), "nothing was lost");
    assert_eq!(first.handle.leads_until().as_nanos(), 0);

    let mut third = Proxy::join("third", connect().await);
    third.hears("sees who leads", |event| matches!(event, Event::Seen { .. }).then_some(())).await;
    drop(second);
    let found = third.leads().await;
    assert_eq!(found.records["line-1"].record, serde_json::json!({"epoch": 19}), "nothing was lost by a crash either");
}
