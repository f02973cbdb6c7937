//! The command line's side of the admin API.
//!
//! Owns address, token and what a refusal means. It asks once: a command that failed is for a person to repeat.

use std::time::Duration;

use hotspare_tls::stream::Expected;
use hotspare_tls::{ClientFiles, Keeper, Pair};
use hyper::StatusCode;
use serde_json::Value;

use super::args::AdminArgs;
use super::failure::Failure;
use crate::http::{Answer, Ask};

/// For what is answered at once.
const LOOK: Duration = Duration::from_secs(10);
/// For what is answered when it is done: a rolling restart is the longest, with two boots and a drain in it.
const ORDER: Duration = Duration::from_secs(15 * 60);

/// A proxy's admin API.
pub(super) struct Client {
    base: String,
    token: Option<String>,
    tls: Option<Expected>,
}

impl Client {
    pub(super) fn new(args: &AdminArgs) -> Result<Self, Failure> {
        let token = match &args.token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Failure::usage(format!("the token file {}: {error}", path.display())))?;
                text.lines().next().map(|line| line.trim().to_owned())
            }
            None => std::env::var("HOTSPARE_ADMIN_TOKEN").ok(),
        };
        let base = args.admin.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        // The files matter to https only; a bad one is no reason to refuse the rest.
        let tls = if base.starts_with("https://") { Some(expected(args)?) } else { None };
        Ok(Client { base, token: token.filter(|token| !token.is_empty()), tls })
    }

    /// The whole status.
    pub(super) async fn status(&self) -> Result<Value, Failure> {
        self.get("/status").await
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.judge(self.ask(path).await?)
    }

    /// The same for what is no JSON.
    pub(super) async fn text(&self, path: &str) -> Result<String, Failure> {
        let answer = self.accepted(self.ask(path).await?)?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    async fn ask(&self, path: &str) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.base);
        let answer = Ask::get(&url, LOOK).bearer(self.token()).tls(self.tls()).send().await;
        answer.map_err(|error| Failure::unreachable(&self.base, &error))
    }

    /// Gives an order to an instance and waits until it is done or has failed.
    pub(super) async fn order(&self, instance: &str, verb: &str, body: &Value) -> Result<Value, Failure> {
        let url = format!("{}/v1/instances/{instance}/{verb}", self.base);
        let answer = Ask::post(&url, body, ORDER).bearer(self.token()).tls(self.tls()).send().await;
        self.judge(answer.map_err(|error| Failure::unreachable(&self.base, &error))?)
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// What an https proxy must show.
    pub(super) fn tls(&self) -> Option<&Expected> {
        self.tls.as_ref()
    }

    fn judge(&self, answer: Answer) -> Result<Value, Failure> {
        let answer = self.accepted(answer)?;
        answer
            .json()
            .map_err(|error| Failure::refused(format!("{}: {error}; is it hotspare's admin listener?", self.base)))
    }

    /// The answer, if it says yes.
    fn accepted(&self, answer: Answer) -> Result<Answer, Failure> {
        let text = || String::from_utf8_lossy(&answer.body).trim().to_owned();
        match answer.status {
            status if status.is_success() => Ok(answer),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let help = if self.token.is_none() {
                    "; show a token with --token-file FILE or HOTSPARE_ADMIN_TOKEN"
                } else {
                    ""
                };
                Err(Failure::not_allowed(format!("refused: {}{help}", text())))
            }
            _ => Err(Failure::refused(refusal(&answer).unwrap_or_else(text))),
        }
    }
}

fn expected(args: &AdminArgs) -> Result<Expected, Failure> {
    let pair = args.cert_file.clone().zip(args.key_file.clone());
    let pair = pair.map(|(cert_file, key_file)| Pair { cert_file, key_file });
    let files = ClientFiles { ca_file: args.ca_file.clone(), pair };
    let client = Keeper::default().client(files).map_err(|bad| {
        let help = bad.help.map(|help| format!("; {help}")).unwrap_or_default();
        let option = bad.key.replace('_', "-");
        Failure::usage(format!("--{option}: expected {}, found {}{help}", bad.expected, bad.found))
    })?;
    Ok(Expected { client, name: None })
}

/// The words of `{"error": …, "reasons": […]}`; one reason a line where there are several.
fn refusal(answer: &Answer) -> Option<String> {
    let body: Value = answer.json().ok()?;
    let reasons: Vec<&str> = body["reasons"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if reasons.len() > 1 {
        return Some(format!("refused:\n  - {}", reasons.join("\n  - ")));
    }
    Some(format!("refused: {}", reasons.first().copied().or_else(|| body["error"].as_str())?))
}
