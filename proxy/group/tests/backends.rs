//! Each backend against what every backend must do; etcd, a real one, also while nodes of it fail.
#![allow(clippy::unwrap_used, clippy::large_futures)]

mod conformance;
mod support;

use conformance::Proxy;
use hotspare_group::Answer;
use hotspare_group::Event;
use hotspare_group::backend::{Backend, Memory};
use hotspare_test_support::authority::Authority;
use support::etcd::{Cluster, client_files};

#[tokio::test]
async fn memory_does_what_a_backend_must() {
    let memory = Memory::new();
    conformance::all(async || memory.clone()).await;
}

#[tokio::test]
async fn etcd_does_what_a_backend_must() {
    let etcd = Cluster::start(3).await;
    conformance::all(async || etcd.backend("/conformance/")).await;
}

#[tokio::test]
async fn foreign_content_is_never_written_over() {
    let etcd = Cluster::start(1).await;
    let backend = etcd.backend("/foreign/");
    etcd.client().await.put(backend.key(), "not ours", None).await.unwrap();
    let answer = backend.get().await;
    assert!(matches!(answer, Answer::Foreign(..)), "{answer:?}");
    let mut proxy = Proxy::join("proxy", etcd.backend("/foreign/"));
    let why = proxy
        .hears("the store cannot be used", |event| match event {
            Event::Health { up: false, why } => Some(why.clone()),
            _ => None,
        })
        .await;
    assert!(why.contains("does not hold hotspare's document"), "{why}");
    let there = etcd.client().await.get(backend.key(), None).await.unwrap();
    assert_eq!(there.kvs()[0].value(), b"not ours");
}

#[tokio::test]
async fn a_leader_outlives_the_death_of_etcds_own_leader() {
    let mut etcd = Cluster::start(3).await;
    let mut proxy = Proxy::join("proxy", etcd.backend("/kill/"));
    proxy.leads().await;
    let node = etcd.leader().await;
    etcd.kill(node);
    stores_in_the_end(&mut proxy, 100).await;
    etcd.revive(node);
    etcd.wait().await;
    stores_in_the_end(&mut proxy, 200).await;
}

#[tokio::test]
async fn a_frozen_etcd_node_is_left_behind() {
    let etcd = Cluster::start(3).await;
    let mut proxy = Proxy::join("proxy", etcd.backend("/freeze/"));
    proxy.leads().await;
    let node = etcd.leader().await;
    etcd.freeze(node);
    stores_in_the_end(&mut proxy, 100).await;
    etcd.thaw(node);
    stores_in_the_end(&mut proxy, 200).await;
}

#[tokio::test]
async fn while_the_whole_store_is_away_nobody_leads_and_afterwards_nothing_is_lost() {
    let mut etcd = Cluster::start(3).await;
    let mut one = Proxy::join("one", etcd.backend("/gone/"));
    one.leads().await;
    let mut other = Proxy::join("other", etcd.backend("/gone/"));
    one.stores(1, serde_json::json!({"epoch": 7})).await.unwrap();

    etcd.freeze_all();
    one.loses().await;
    assert_eq!(one.handle.leads_until().as_nanos(), 0);
    let refused = one.stores(2, serde_json::json!({"epoch": 8})).await;
    assert!(refused.is_err(), "nothing is stored in a store that is away");
    (0..3).for_each(|node| etcd.kill(node));
    (0..3).for_each(|node| etcd.revive(node));

    let led = tokio::select! {
        document = one.leads() => document,
        document = other.leads() => document,
    };
    assert_eq!(led.records["line-1"].record, serde_json::json!({"epoch": 7}), "what was durable is there");
}

#[tokio::test]
async fn etcd_that_asks_for_certificates_does_what_a_backend_must() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path());
    authority.sign("proxy", &[]);
    let etcd = Cluster::start_with_tls(&authority, "proxy").await;
    conformance::all(async || etcd.backend("/conformance/")).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_certificate_of_etcd_is_said_and_mended_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(&folder.path().join("ours"));
    let other = Authority::new(&folder.path().join("theirs"));
    authority.sign("proxy", &[]);
    other.sign("proxy", &[]);
    let etcd = Cluster::start_with_tls(&authority, "proxy").await;
    let says = async |files| match etcd.backend_with("/wrong/", files).get().await {
        Answer::Failed(why) => why,
        answer => panic!("it was answered: {answer:?}"),
    };
    let why = says(client_files(&other, Some("proxy"))).await;
    assert!(why.contains("invalid peer certificate"), "{why}");
    let why = says(client_files(&authority, None)).await;
    assert!(why.contains("cert_file and key_file"), "{why}");
    let mut foreign = client_files(&other, Some("proxy"));
    foreign.ca_file = client_files(&authority, None).ca_file;
    let why = says(foreign).await;
    assert!(why.contains("may not trust the certificate in cert_file"), "{why}");

    // The files are read for each connection: what was wrong is right once they are.
    let place = folder.path().join("late.crt");
    let late = hotspare_tls::ClientFiles { ca_file: Some(place.clone()), ..client_files(&authority, Some("proxy")) };
    let backend = etcd.backend_with("/late/", late);
    let answer = backend.get().await;
    assert!(matches!(&answer, Answer::Failed(why) if why.contains("late.crt")), "{answer:?}");
    std::fs::copy(authority.file("ca.crt"), place).unwrap();
    let answer = backend.get().await;
    assert!(matches!(answer, Answer::Missing), "{answer:?}");
}

/// Stores a record as soon as it can be done, whatever is lost and won again on the way.
async fn stores_in_the_end(proxy: &mut Proxy, first: u64) {
    for id in first.. {
        match proxy.stores(id, serde_json::json!({"epoch": id})).await {
            Ok(()) => return,
            Err(why) => assert!(id < first + 90, "not stored: {why}"),
        }
        support::eventually("leads again", async || (proxy.handle.leads_until().as_nanos() > 0).then_some(())).await;
    }
}

#[test]
fn every_backend_says_its_word_in_the_configuration() {
    assert_eq!(Memory::new().kind(), "memory");
}
