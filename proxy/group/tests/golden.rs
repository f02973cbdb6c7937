//! The shim held against transcripts of real API servers (`golden/`): the same requests, in the same order, must be
//! answered in the same way. Uids, resourceVersions and times differ; each is compared by what it stands for.
#![allow(clippy::unwrap_used, clippy::large_futures)]

mod shim;
mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use shim::ApiServerShimOverEtcd;
use support::etcd::Cluster;

struct Transcript {
    name: String,
    method: String,
    path: String,
    sent: String,
    code: u16,
    body: String,
}

impl Transcript {
    fn read(folder: &Path, name: &str) -> Self {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let (request, answer) = text.split_once('\n').unwrap();
        let (request, sent) = request.split_once(" -d ").unwrap_or((request, ""));
        let method = request.split_once(" -X").map_or("GET", |(_, rest)| rest.split(' ').next().unwrap());
        let path = request.split(' ').find(|word| word.starts_with("/apis")).unwrap();
        let (head, body) = answer.split_once("\n\n").or_else(|| answer.split_once("\r\n\r\n")).unwrap_or((answer, ""));
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Self {
            name: name.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            sent: sent.to_owned(),
            code,
            body: body.to_owned(),
        }
    }
}

/// What stands for what: a real server's uid or version, and the shim's.
#[derive(Default)]
struct Names(BTreeMap<String, String>);

impl Names {
    fn learn(&mut self, golden: &Value, ours: &Value) {
        for field in ["uid", "resourceVersion"] {
            if let (Some(golden), Some(ours)) = (golden["metadata"][field].as_str(), ours["metadata"][field].as_str()) {
                self.0.insert(golden.to_owned(), ours.to_owned());
            }
        }
    }

    /// A golden text in the shim's names. Versions are only replaced where they stand as a whole word.
    fn ours(&self, text: &str) -> String {
        let mut out = String::new();
        let mut word = String::new();
        for c in text.chars().chain(['\n']) {
            if c.is_ascii_alphanumeric() || c == '-' {
                word.push(c);
            } else {
                out.push_str(self.0.get(&word).unwrap_or(&word));
                word.clear();
                out.push(c);
            }
        }
        // The one that ended the last word.
        out.pop();
        out
    }
}

async fn ask(shim: &ApiServerShimOverEtcd, method: &str, path: &str, body: &str) -> (u16, String) {
    let stream = tokio::net::TcpStream::connect(shim.address).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let task = tokio::spawn(connection);
    let request = hyper::Request::builder().method(method).uri(path).header("host", "shim");
    let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let code = response.status().as_u16();
    let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    task.abort();
    (code, text)
}

/// Without what the shim doesn't keep, or what is a time.
fn comparable(mut value: Value) -> Value {
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
        metadata.remove("creationTimestamp");
    }
    value
}

fn parse(text: &str) -> Value {
    // The older server wrote the number in its refusal in hexadecimal.
    serde_json::from_str(&text.replace("0x0", "0")).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn frames(text: &str) -> Vec<(Value, Value)> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(parse).map(|frame| (frame["type"].clone(), comparable(frame["object"].clone()))).collect()
}

async fn replay(version: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version);
    let cluster = Cluster::start(1).await;
    let mut etcd = cluster.client().await;
    for n in 0..5 {
        // So that version 2, which a transcript asks for, lies before all that the shim knows.
        etcd.put("filler", n.to_string(), None).await.unwrap();
    }
    let shim = ApiServerShimOverEtcd::start(cluster.endpoints()).await;
    let mut names = Names::default();

    let same = async |name: &str, names: &mut Names| {
        let golden = Transcript::read(&folder, name);
        let (code, body) = ask(&shim, &golden.method, &names.ours(&golden.path), &names.ours(&golden.sent)).await;
        assert_eq!(code, golden.code, "{version}/{}: {body}", golden.name);
        names.learn(&parse(&golden.body), &parse(&body));
        let expected = comparable(parse(&names.ours(&golden.body)));
        assert_eq!(comparable(parse(&body)), expected, "{version}/{}", golden.name);
    };
    for name in [
        "01-create.txt",
        "02-create-exists.txt",
        "03-get.txt",
        "04-put-ok.txt",
        "05-put-stale.txt",
        "06-put-noop-current-rv.txt",
        "06b-put-noop-stale-rv.txt",
        "07-put-no-rv.txt",
        "08-put-wrong-uid.txt",
        "13-not-found.txt",
        "14-bad-holder.txt",
    ] {
        same(name, &mut names).await;
    }

    // The watch saw two writes and the deletion that others made meanwhile.
    let golden = Transcript::read(&folder, "15-watch.txt");
    let expected: Vec<Value> = golden.body.lines().filter(|line| !line.trim().is_empty()).map(parse).collect();
    let key = "/registry/leases/default/nr";
    let there = etcd.get(key, None).await.unwrap();
    let mut object: Value = serde_json::from_slice(there.kvs()[0].value()).unwrap();
    let (path, watched) = (names.ours(&golden.path), &shim);
    let watch = ask(watched, "GET", &path, "");
    let write = async {
        for frame in &expected[1..3] {
            object["spec"]["holderIdentity"] = frame["object"]["spec"]["holderIdentity"].clone();
            etcd.put(key, object.to_string(), None).await.unwrap();
        }
        etcd.delete(key, None).await.unwrap();
    };
    let ((code, body), ()) = tokio::join!(watch, write);
    assert_eq!(code, golden.code);
    for (golden, ours) in expected.iter().zip(body.lines().map(parse)) {
        names.learn(&golden["object"], &ours["object"]);
    }
    assert_eq!(frames(&body), frames(&names.ours(&golden.body)), "{version}/15-watch.txt");

    same("16-recreate.txt", &mut names).await;
    support::eventually("the cache has seen the new Lease", async || {
        let (code, body) =
            ask(&shim, "GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases/nr?resourceVersion=0", "").await;
        (code == 200 && body.contains("p9")).then_some(())
    })
    .await;
    let golden = Transcript::read(&folder, "17-watch-compacted.txt");
    let (code, body) = ask(&shim, "GET", &golden.path, "").await;
    assert_eq!((code, frames(&body)), (golden.code, frames(&names.ours(&golden.body))), "{version}/17");

    // A frozen etcd: the cache answers, everything else hangs.
    cluster.freeze(0);
    same("18-etcd-frozen-get-cached.txt", &mut names).await;
    for name in ["19-etcd-frozen-get.txt", "20-etcd-frozen-put.txt"] {
        let golden = Transcript::read(&folder, name);
        assert_eq!(golden.code, 0, "the real server did not answer");
        let (path, sent) = (names.ours(&golden.path), names.ours(&golden.sent));
        let asked = ask(&shim, &golden.method, &path, &sent);
        assert!(tokio::time::timeout(Duration::from_millis(1500), asked).await.is_err(), "{version}/{name} hangs");
    }
    cluster.thaw(0);
    let (code, _) = ask(&shim, "GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases/nr", "").await;
    assert_eq!(code, 200);
}

#[tokio::test]
async fn the_shim_answers_as_a_real_server_of_1_36_did() {
    replay("1.36.2").await;
}

#[tokio::test]
async fn the_shim_answers_as_a_real_server_of_1_20_did() {
    replay("1.20.2").await;
}
