//! The link to one controller: a websocket that is opened, and opened again, for as long as the launcher lives, and
//! the datagrams beside it (`datagrams`).
//!
//! Owns: connecting with this member's token, the back-off between attempts, and noticing a link that has gone
//! silent. Never decides anything: what arrives goes to the shell, what the shell says goes out in order.
//! The other end is `proxy/link`.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hotspare_decide::message::{Down, Up};
use hotspare_protocol::{
    DATAGRAMS_HEADER, INSTANCE_HEADER, INSTEAD_OF_HEADER, LINK_PATH, MAX_MESSAGE_BYTES, MEMBER_HEADER, Offer, Secret,
    decode_down, encode_up,
};
use hotspare_tls::dial::dial;
use hotspare_tls::stream::{Expected, Stream, connect};
use tokio::net::lookup_host;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::cut::Cut;
use crate::datagrams::Datagrams;
use crate::jitter::Jitter;
use crate::places::{Place, Places};
use crate::shell::Input;

/// Time for the whole opening: connect, upgrade.
const OPEN_WITHIN: Duration = Duration::from_secs(2);
/// A controller answers each heartbeat. Silent for so many of them, the link is opened anew rather than left to TCP,
/// whose retransmissions come ever more rarely while a network is down. The controller's end gives up as soon. Much
/// sooner would do harm: where packets are lost, TCP gets over it in less time than a new link takes.
const SILENT_HEARTBEATS: u32 = 20;
/// Never sooner than this, however fast the heartbeats, nor within a lease. Also holds until the controller has told both.
const SILENT_AT_LEAST: Duration = Duration::from_secs(2);
/// A websocket that is silent while datagrams come is waited for so many times longer: TCP is busy with what was lost.
const PATIENCE: u32 = 5;
/// After so much of that another is opened in its place, while heartbeats and answers go on as datagrams.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// Messages that may wait for a slow link; a link further behind than that is closed.
const OUTBOX: usize = 64;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(1);

/// Who this launcher is to a controller.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) instance: String,
    pub(crate) member: String,
    pub(crate) token: Option<Secret>,
    /// What a controller must show over `wss://`, and what it is shown.
    pub(crate) tls: Expected,
}

/// Keeps the link to the controller of number `controller` at `url` for ever.
pub(crate) async fn keep(
    controller: usize,
    url: String,
    identity: Identity,
    places: Places,
    inputs: Sender<Input>,
    mut jitter: Jitter,
    cut: Cut,
) {
    let mut pause = FIRST_RETRY;
    let mut offer = None;
    for attempt in 0.. {
        if cut.holds() {
            sleep(FIRST_RETRY).await;
            continue;
        }
        let dial = Dial { url: &url, identity: &identity };
        match timeout(OPEN_WITHIN, dial.somewhere(&places, attempt, offer.clone())).await {
            // The place is kept for as long as the link.
            Ok(Ok((mut opened, place))) => loop {
                let datagrams = opened.datagrams.is_some();
                tracing::info!(%url, address = %place.address, datagrams, "linked to a controller");
                let (outbox, waiting) = channel(OUTBOX);
                if inputs.send(Input::LinkUp { controller, outbox }).await.is_err() {
                    return;
                }
                offer = opened.datagrams.as_ref().map(Datagrams::offer);
                let reopen = || dial.at(place.address, offer.clone());
                match carry(opened, waiting, controller, &inputs, reopen).await {
                    Ended::Stuck(next) => opened = *next,
                    Ended::Down { heard, why } => {
                        tracing::warn!(%url, %why, "the link to a controller is down");
                        if inputs.send(Input::LinkDown { controller }).await.is_err() {
                            return;
                        }
                        if heard {
                            pause = FIRST_RETRY;
                        }
                        break;
                    }
                }
            },
            // Said once; what follows are the same words until the link is up.
            Ok(Err(error)) if pause == FIRST_RETRY => tracing::warn!(%url, %error, "no link to a controller yet"),
            Err(_) if pause == FIRST_RETRY => tracing::warn!(%url, "no link to a controller yet: no answer in time"),
            Ok(Err(error)) => tracing::debug!(%url, %error, "no link to a controller"),
            Err(_) => tracing::debug!(%url, "no link to a controller: no answer in time"),
        }
        sleep(jitter.around(pause)).await;
        pause = (pause * 2).min(LAST_RETRY);
    }
}

/// How a link is opened.
#[derive(Clone, Copy)]
struct Dial<'a> {
    url: &'a str,
    identity: &'a Identity,
}

/// An open link.
struct Opened {
    link: WebSocketStream<Stream>,
    datagrams: Option<Datagrams>,
}

impl Dial<'_> {
    fn scheme_and_host(&self) -> (&str, &str) {
        self.url.split_once("://").unwrap_or(("ws", self.url))
    }

    /// At an address that no link has, another one with each attempt.
    async fn somewhere(
        &self,
        places: &Places,
        attempt: usize,
        instead_of: Option<Secret>,
    ) -> Result<(Opened, Place), Error> {
        let nobody = || io::Error::other("every address of this name has its link already");
        let addresses = lookup_host(self.scheme_and_host().1).await?;
        let place = places.take(addresses, attempt).ok_or_else(nobody)?;
        Ok((self.at(place.address, instead_of).await?, place))
    }

    /// At this address, in the place of the link that this offer was made to.
    async fn at(&self, address: SocketAddr, instead_of: Option<Secret>) -> Result<Opened, Error> {
        let mut request = format!("{}{LINK_PATH}", self.url).into_client_request()?;
        let headers = request.headers_mut();
        let text = |value: &str| HeaderValue::from_str(value).map_err(|error| Error::HttpFormat(error.into()));
        headers.insert(INSTANCE_HEADER, text(&self.identity.instance)?);
        headers.insert(MEMBER_HEADER, text(&self.identity.member)?);
        let token = self.identity.token.as_ref().map(|token| format!("Bearer {}", token.expose()));
        let instead_of = instead_of.map(|offer| offer.expose().to_owned());
        for (name, secret) in [("authorization", token), (INSTEAD_OF_HEADER, instead_of)] {
            if let Some(secret) = secret {
                let mut value = text(&secret)?;
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        let (scheme, host) = self.scheme_and_host();
        let tls = (scheme == "wss").then_some(&self.identity.tls);
        let stream = dial(address).await?;
        stream.set_nodelay(true)?;
        // A lost packet is sent again every 200 ms, not after ever longer pauses: few packets, each of them due.
        let _ = rustix::net::sockopt::set_tcp_thin_linear_timeouts(&stream, true);
        let stream = connect(stream, tls, host.rsplit_once(':').map_or(host, |(name, _)| name)).await?;
        let config = WebSocketConfig::default()
            .read_buffer_size(4 << 10)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_MESSAGE_BYTES)
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES));
        let (link, answer) = client_async_with_config(request, stream, Some(config)).await?;
        let offer = answer.headers().get(DATAGRAMS_HEADER).and_then(|offer| Offer::from_header(offer.to_str().ok()?));
        let datagrams = match offer {
            Some(offer) => Datagrams::open(address, offer).await.ok(),
            None => None,
        };
        Ok(Opened { link, datagrams })
    }
}

/// How carrying came to its end.
enum Ended {
    /// The websocket was stuck while datagrams came; this one takes its place.
    Stuck(Box<Opened>),
    /// Whether anything was heard, and why it ended.
    Down { heard: bool, why: String },
}

/// Carries messages both ways until the link ends, or `reopen` gives another in its place.
async fn carry<F: Future<Output = Result<Opened, Error>>>(
    Opened { link, datagrams }: Opened,
    mut outbox: Receiver<Up>,
    controller: usize,
    inputs: &Sender<Input>,
    reopen: impl Fn() -> F,
) -> Ended {
    let (mut to, mut from) = link.split();
    let send = async {
        while let Some(message) = outbox.recv().await {
            let text = encode_up(&message);
            if let Some(datagrams) = &datagrams {
                datagrams.send(&message, &text).await;
            }
            if let Err(error) = to.send(Message::text(text)).await {
                return error.to_string();
            }
        }
        let _ = to.close().await;
        "it fell behind, or the launcher ends".to_owned()
    };
    let mut heard = false;
    let mut silent_for = SILENT_AT_LEAST;
    let last = Mutex::new(Instant::now());
    let silence = || last.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
    let receive = async {
        loop {
            let frame = match timeout(silent_for, from.next()).await {
                Err(_)
                    if datagrams.as_ref().is_some_and(|datagrams| datagrams.heard_within(silent_for))
                        && silence() < silent_for * PATIENCE =>
                {
                    continue;
                }
                Err(_) => return format!("nothing heard for {:?}", silence()),
                Ok(None) => return "closed".to_owned(),
                Ok(Some(Err(error))) => return error.to_string(),
                Ok(Some(Ok(frame))) => frame,
            };
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            let Message::Text(text) = frame else { continue };
            match decode_down(&text) {
                Ok(Down::Refused { reason }) => return format!("refused: {reason}"),
                Ok(msg) => {
                    heard = true;
                    if let Down::Welcome(welcome) = &msg {
                        let lease = &welcome.settings.lease;
                        silent_for = (lease.heartbeat * SILENT_HEARTBEATS).max(lease.ttl).max(SILENT_AT_LEAST);
                    }
                    if let Some(datagrams) = &datagrams {
                        datagrams.note(&msg);
                    }
                    if inputs.send(Input::Down { controller, msg }).await.is_err() {
                        return "the launcher ends".to_owned();
                    }
                }
                // A newer controller may say what this launcher does not know yet.
                Err(error) => tracing::warn!(%error, "a message of a controller is skipped"),
            }
        }
    };
    let receive_datagrams = async {
        let Some(datagrams) = &datagrams else { return std::future::pending().await };
        loop {
            let msg = datagrams.receive().await;
            if inputs.send(Input::Down { controller, msg }).await.is_err() {
                return "the launcher ends".to_owned();
            }
        }
    };
    let replace = async {
        let Some(datagrams) = &datagrams else { return std::future::pending().await };
        loop {
            sleep(STUCK_AFTER.saturating_sub(silence()).max(FIRST_RETRY)).await;
            if silence() < STUCK_AFTER || !datagrams.heard_within(STUCK_AFTER) {
                continue;
            }
            if let Ok(Ok(opened)) = timeout(OPEN_WITHIN, reopen()).await {
                return opened;
            }
        }
    };
    let why = tokio::select! {
        why = send => why,
        why = receive => why,
        why = receive_datagrams => why,
        opened = replace => return Ended::Stuck(Box::new(opened)),
    };
    Ended::Down { heard, why }
}
