//! What docs/fencing-token.md tells people to do refuses a tenure that is over: its snippets are run as they stand there.

use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../../docs/fencing-token.md");

/// The code blocks of one language below a heading, in order.
fn snippets(heading: &str, language: &str) -> Vec<String> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("no section {heading} in docs/fencing-token.md"));
    let fence = format!("```{language}\n");
    section.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// What a program prints.
fn prints(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs a function node's code once for each message, with one context, and gives what came of each.
fn function_node(code: &str, epoch: u64, messages: &str) -> String {
    let script = format!(
        "const kept = {{ epoch: {epoch} }};
         const context = {{ get: key => kept[key], set: (key, value) => {{ kept[key] = value }} }};
         const env = {{ get: () => 'a' }};
         const run = new Function('msg', 'context', 'env', {});
         console.log(JSON.stringify({messages}.map(msg => run(msg, context, env))))",
        serde_json::Value::from(code)
    );
    prints("node", &["-e", &script])
}

#[test]
fn a_request_carries_the_epoch() {
    let code = &snippets("HTTP", "js")[0];
    let sent = function_node(code, 7, "[{ payload: 1, headers: { a: 'b' } }]");
    assert_eq!(sent, r#"[{"payload":1,"headers":{"a":"b","x-fencing-token":"7"}}]"#);
}

#[test]
fn a_subscriber_takes_nothing_of_an_earlier_tenure() {
    let [publisher, subscriber] = &snippets("MQTT", "js")[..] else { panic!("two snippets below MQTT") };
    let sent = function_node(publisher, 7, "[{ payload: 21 }]");
    assert_eq!(sent, r#"[{"payload":{"epoch":7,"member":"a","value":21}}]"#);
    let arrive = "[5, 4, 5, undefined, 6, 5].map(epoch => ({ payload: { epoch } }))";
    let taken = function_node(subscriber, 0, arrive);
    let expected = r#"[{"payload":{"epoch":5}},null,{"payload":{"epoch":5}},null,{"payload":{"epoch":6}},null]"#;
    assert_eq!(taken, expected);
}

#[test]
fn a_row_is_not_changed_by_an_earlier_tenure() {
    let update = snippets("SQL", "sql")[0].trim().to_owned();
    let script = "
import sqlite3, sys
db = sqlite3.connect(':memory:')
db.execute('CREATE TABLE valve (id, position, epoch)')
db.execute('INSERT INTO valve VALUES (1, 0, 0)')
print([db.execute(sys.argv[1], {'1': n, '2': epoch, '3': 1}).rowcount for n, epoch in enumerate([5, 4, 5, 6, 5])])
print(db.execute('SELECT position, epoch FROM valve').fetchall())
";
    assert_eq!(prints("python3", &["-c", script, &update]), "[1, 0, 1, 1, 0]\n[(3, 6)]");
}
