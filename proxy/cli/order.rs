//! The commands that change something: each an order to one instance, with its progress shown live.
//!
//! What may lose work says so and asks first; without a terminal to ask on, it wants `--yes`.

use std::io::{BufRead, IsTerminal, Write};
use std::time::Duration;

use serde_json::{Value, json};

use super::args::{DrillArgs, FailoverArgs, Fault, InstanceArgs, MemberArgs, PauseArgs, ReasonArgs, SwitchoverArgs};
use super::client::Client;
use super::events;
use super::failure::Failure;
use super::status::find;
use super::stream::Stream;
use super::table::{BAD, GOOD, out};
use super::words::{list, number, span, text};

/// How long events that belong to an order may still come after its answer.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// `hotspare switchover`.
///
/// # Errors
/// When it is refused or fails; the old active serves then.
pub async fn switchover(args: &SwitchoverArgs) -> Result<(), Failure> {
    let body = json!({"to": args.to, "reason": args.order.reason, "check": args.check});
    give(&args.order.order, "switchover", body).await
}

/// `hotspare restart`.
///
/// # Errors
/// At the first step that fails; the service is where it was then.
pub async fn restart(args: &ReasonArgs) -> Result<(), Failure> {
    give(&args.order, "restart", json!({"reason": args.reason})).await
}

/// `hotspare failover --force`.
///
/// # Errors
/// When it isn't wanted after all, or is refused.
pub async fn failover(args: &FailoverArgs) -> Result<(), Failure> {
    let order = &args.order.order;
    if !args.yes {
        let status = Client::new(&order.admin)?.status().await?;
        let risk = risk(find(&status, &order.instance)?);
        confirm(&risk, &order.instance)?;
    }
    give(order, "failover", json!({"force": args.force, "reason": args.order.reason})).await
}

/// `hotspare pause`.
///
/// # Errors
/// When it is refused.
pub async fn pause(args: &PauseArgs) -> Result<(), Failure> {
    let for_ms = u64::try_from(args.duration.as_millis()).unwrap_or(u64::MAX);
    give(&args.order, "pause", json!({"for_ms": for_ms, "reason": args.reason})).await
}

/// `hotspare resume`.
///
/// # Errors
/// When it is refused.
pub async fn resume(args: &InstanceArgs) -> Result<(), Failure> {
    give(args, "resume", json!({})).await
}

/// `hotspare unfreeze`.
///
/// # Errors
/// When it is refused.
pub async fn unfreeze(args: &InstanceArgs) -> Result<(), Failure> {
    give(args, "unfreeze", json!({})).await
}

/// `hotspare fence`.
///
/// # Errors
/// When it isn't wanted after all, or is refused.
pub async fn fence(args: &MemberArgs) -> Result<(), Failure> {
    let order = &args.order.order;
    if !args.yes {
        let status = Client::new(&order.admin)?.status().await?;
        let one = find(&status, &order.instance)?;
        if one["active"] == args.member.as_str() {
            confirm(&format!("{} is active: fencing it fails over.", args.member), &order.instance)?;
        }
    }
    give(order, "fence", json!({"to": args.member, "reason": args.order.reason})).await
}

/// `hotspare release`.
///
/// # Errors
/// When it is refused.
pub async fn release(args: &MemberArgs) -> Result<(), Failure> {
    give(&args.order.order, "release", json!({"to": args.member, "reason": args.order.reason})).await
}

/// `hotspare drill`.
///
/// # Errors
/// When the pair is not fit for a drill, or it showed that failover doesn't work.
pub async fn drill(args: &DrillArgs) -> Result<(), Failure> {
    let fault = match args.fault {
        Fault::Crash => "crash",
        Fault::Hang => "hang",
        Fault::Partition => "partition",
        Fault::Switchover => "switchover",
    };
    give(&args.order.order, "drill", json!({"fault": fault, "reason": args.order.reason})).await
}

/// Gives an order, shows what happens meanwhile, and says how it ended.
async fn give(args: &InstanceArgs, verb: &str, mut body: Value) -> Result<(), Failure> {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    let client = Client::new(&args.admin)?;
    let progress = if args.json { None } else { follow_from_now(&client, &args.instance).await };
    let answer = client.order(&args.instance, verb, &body);
    let answer = show_until(answer, progress).await?;
    let mut out = out();
    if args.json {
        return Ok(writeln!(out, "{answer:#}")?);
    }
    let said = Some(text(&answer, "message")).filter(|said| !said.is_empty()).unwrap_or("done");
    Ok(writeln!(out, "{GOOD}{said}{GOOD:#}")?)
}

/// The events of this instance from now on. An order goes on without them where they can't be had.
async fn follow_from_now(client: &Client, instance: &str) -> Option<Stream> {
    let past = client.get("/v1/events").await.ok()?;
    let past = past.as_array().map_or_else(|| list(&past, "events"), Vec::as_slice);
    let last = past.iter().filter_map(|event| number(event, "id")).max().unwrap_or(0);
    Stream::open(client, &format!("?instance={instance}&since={last}&follow=1")).await.ok()
}

async fn show_until(
    answer: impl Future<Output = Result<Value, Failure>>,
    progress: Option<Stream>,
) -> Result<Value, Failure> {
    let Some(mut stream) = progress else { return answer.await };
    tokio::pin!(answer);
    let mut open = true;
    let outcome = loop {
        tokio::select! {
            outcome = &mut answer => break outcome,
            event = stream.next(), if open => match event {
                Some(event) => events::write(&mut out(), &event, false)?,
                None => open = false,
            },
        }
    };
    while open && let Ok(Some(event)) = tokio::time::timeout(LAST_WORDS, stream.next()).await {
        events::write(&mut out(), &event, false)?;
    }
    outcome
}

/// What a forced failover risks here and now.
fn risk(one: &Value) -> String {
    let Some(active) = one["active"].as_str() else {
        return "No member is active. A forced failover skips the proof that the last one is over.".to_owned();
    };
    let member = list(one, "members").iter().find(|member| text(member, "name") == active);
    let heard = member.and_then(|member| number(member, "heard_ms")).map(span);
    let heard = heard.map_or_else(
        || "It is not known when it was last heard.".to_owned(),
        |ago| format!("It was last heard {ago} ago."),
    );
    let address = member.map(|member| text(member, "address")).unwrap_or("");
    format!(
        "{active} ({address}) is active. {heard}\n\
         A forced failover does not wait for the proof that its flows are stopped. If it still runs, both run:\n\
         every timer, MQTT subscription and open connection of these flows happens twice until one is stopped.\n\
         Make certain first that {active} is off."
    )
}

/// Says the risk and asks for the instance's name; anything else is a no.
fn confirm(risk: &str, instance: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{risk}\nThere is no terminal to ask on: say --yes if you mean it.")));
    }
    let mut out = out();
    writeln!(out, "{BAD}{risk}{BAD:#}")?;
    write!(out, "To go on, type the instance's name ({instance}): ")?;
    out.flush()?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed)?;
    if typed.trim() == instance { Ok(()) } else { Err(Failure::refused("nothing was done")) }
}
