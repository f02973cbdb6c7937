//! The Kubernetes backend, through kube, against `api_server_shim_over_etcd`; and against a real API server if
//! `HOTSPARE_TEST_KUBECONFIG` names one. Nothing here has been tested on Kubernetes unless it does.
#![allow(clippy::unwrap_used, clippy::large_futures)]

mod conformance;
mod shim;
mod support;

use std::time::Duration;

use conformance::Proxy;
use hotspare_group::backend::{Backend, Kubernetes, STATE_ANNOTATION};
use hotspare_group::{Answer, Pods};
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use shim::ApiServerShimOverEtcd;
use support::etcd::Cluster;

const CONNECT: Duration = Duration::from_millis(500);

fn backend(shim: &ApiServerShimOverEtcd) -> Kubernetes {
    let config = Config::new(format!("http://{}", shim.address).parse().unwrap());
    Kubernetes::at(config, "hotspare".into(), Some("default".into()), CONNECT).unwrap()
}

#[tokio::test]
async fn kubernetes_through_the_shim_does_what_a_backend_must() {
    let etcd = Cluster::start(3).await;
    let shim = ApiServerShimOverEtcd::start(etcd.endpoints()).await;
    conformance::all(async || backend(&shim)).await;
}

#[tokio::test]
async fn kubernetes_on_a_real_api_server_does_what_a_backend_must() {
    let Some(file) = std::env::var_os("HOTSPARE_TEST_KUBECONFIG") else {
        eprintln!("SKIPPED: HOTSPARE_TEST_KUBECONFIG names no API server, so nothing was tested on Kubernetes");
        return;
    };
    let kubeconfig = Kubeconfig::read_from(&file).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let lease = format!("hotspare-test-{}", std::process::id());
    conformance::all(async || Kubernetes::at(config.clone(), lease.clone(), None, CONNECT).unwrap()).await;
}

#[tokio::test]
async fn what_others_keep_in_the_lease_stays() {
    let etcd = Cluster::start(1).await;
    let shim = ApiServerShimOverEtcd::start(etcd.endpoints()).await;
    let backend = backend(&shim);
    assert!(matches!(backend.create(conformance::document(1)).await, Answer::Written(_)));
    // Somebody labels the Lease.
    let key = "/registry/leases/default/hotspare";
    let mut client = etcd.client().await;
    let there = client.get(key, None).await.unwrap();
    let mut object: serde_json::Value = serde_json::from_slice(there.kvs()[0].value()).unwrap();
    object["metadata"]["labels"] = serde_json::json!({"team": "x"});
    object["metadata"]["annotations"]["note"] = serde_json::json!("y");
    client.put(key, object.to_string(), None).await.unwrap();

    let Answer::Found(revision, _) = backend.get().await else { panic!("it is there") };
    assert!(matches!(backend.compare_and_set(revision, conformance::document(2)).await, Answer::Written(_)));
    let there = client.get(key, None).await.unwrap();
    let object: serde_json::Value = serde_json::from_slice(there.kvs()[0].value()).unwrap();
    assert_eq!(object["metadata"]["labels"]["team"], "x");
    assert_eq!(object["metadata"]["annotations"]["note"], "y");
    assert!(object["metadata"]["annotations"][STATE_ANNOTATION].as_str().unwrap().contains("writer/2"));
    assert_eq!(object["spec"]["holderIdentity"], "writer/2", "for people");
}

#[tokio::test]
async fn a_lease_that_is_not_ours_is_never_written_over() {
    let etcd = Cluster::start(1).await;
    let shim = ApiServerShimOverEtcd::start(etcd.endpoints()).await;
    let foreign = serde_json::json!({"metadata": {"name": "hotspare", "namespace": "default", "uid": "1"}, "spec": {}});
    etcd.client().await.put("/registry/leases/default/hotspare", foreign.to_string(), None).await.unwrap();
    let answer = backend(&shim).get().await;
    let Answer::Foreign(_, why) = answer else { panic!("{answer:?}") };
    assert!(why.contains("is not hotspare's"), "{why}");
}

#[tokio::test]
async fn with_etcd_frozen_behind_the_server_nobody_leads_and_a_stale_read_helps_nobody() {
    let etcd = Cluster::start(1).await;
    let shim = ApiServerShimOverEtcd::start(etcd.endpoints()).await;
    let mut one = Proxy::join("one", backend(&shim));
    one.leads().await;
    let mut other = Proxy::join("other", backend(&shim));
    one.stores(1, serde_json::json!({"epoch": 7})).await.unwrap();
    etcd.freeze(0);
    one.loses().await;
    assert_eq!(one.handle.leads_until().as_nanos(), 0);
    assert!(one.stores(2, serde_json::json!({"epoch": 8})).await.is_err());
    etcd.thaw(0);
    let led = tokio::select! {
        document = one.leads() => document,
        document = other.leads() => document,
    };
    assert_eq!(led.records["line-1"].record, serde_json::json!({"epoch": 7}), "what was durable is there");
}

#[tokio::test]
async fn the_actives_pod_carries_the_label_and_keeps_what_others_put_on_it() {
    let etcd = Cluster::start(1).await;
    let shim = ApiServerShimOverEtcd::start(etcd.endpoints()).await;
    let config = Config::new(format!("http://{}", shim.address).parse().unwrap());
    let pods = Pods::at(config, "hotspare/active".into(), Some("default".into()), CONNECT).unwrap();
    let key = shim::pod_key("default", "line-1-0");
    let pod = serde_json::json!({"metadata": {"name": "line-1-0", "namespace": "default", "uid": "1",
        "labels": {"hotspare/pair": "line-1"}}, "spec": {"containers": []}});
    let mut client = etcd.client().await;
    client.put(key.as_str(), pod.to_string(), None).await.unwrap();
    let mut there = async || -> serde_json::Value {
        serde_json::from_slice(client.get(key.as_str(), None).await.unwrap().kvs()[0].value()).unwrap()
    };

    pods.set("line-1-0", true).await.unwrap();
    let labels = serde_json::json!({"hotspare/pair": "line-1", "hotspare/active": "true"});
    assert_eq!(there().await["metadata"]["labels"], labels);
    pods.set("line-1-0", true).await.unwrap();
    pods.set("line-1-0", false).await.unwrap();
    assert_eq!(there().await, pod, "it is as it was");
    let why = pods.set("line-1-1", true).await.unwrap_err();
    assert!(why.contains("\"line-1-1\" not found (404)"), "{why}");
}
