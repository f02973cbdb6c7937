//! The link to one controller: a websocket that is opened, and opened again, for as long as the launcher lives.
//!
//! Owns: connecting with this member's token, the back-off between attempts, and noticing a link that has gone
//! silent. Never decides anything: what arrives goes to the shell, what the shell says goes out in order.
//! The other end is `proxy/link`.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hotspare_decide::message::{Down, Up};
use hotspare_protocol::{INSTANCE_HEADER, LINK_PATH, MAX_MESSAGE_BYTES, MEMBER_HEADER, Secret, decode_down, encode_up};
use hotspare_tls::stream::{Expected, Stream, connect};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::cut::Cut;
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
    for attempt in 0.. {
        if cut.holds() {
            sleep(FIRST_RETRY).await;
            continue;
        }
        match timeout(OPEN_WITHIN, open(&url, &identity, &places, attempt)).await {
            // The place is kept for as long as the link.
            Ok(Ok((link, place))) => {
                tracing::info!(%url, address = %place.address, "linked to a controller");
                let (outbox, waiting) = channel(OUTBOX);
                if inputs.send(Input::LinkUp { controller, outbox }).await.is_err() {
                    return;
                }
                let (heard, why) = carry(link, waiting, controller, &inputs).await;
                tracing::warn!(%url, %why, "the link to a controller is down");
                if inputs.send(Input::LinkDown { controller }).await.is_err() {
                    return;
                }
                if heard {
                    pause = FIRST_RETRY;
                }
            }
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

type Opened = (WebSocketStream<Stream>, Place);

async fn open(url: &str, identity: &Identity, places: &Places, attempt: usize) -> Result<Opened, Error> {
    let mut request = format!("{url}{LINK_PATH}").into_client_request()?;
    let headers = request.headers_mut();
    let text = |value: &str| HeaderValue::from_str(value).map_err(|error| Error::HttpFormat(error.into()));
    headers.insert(INSTANCE_HEADER, text(&identity.instance)?);
    headers.insert(MEMBER_HEADER, text(&identity.member)?);
    if let Some(token) = &identity.token {
        let mut value = text(&format!("Bearer {}", token.expose()))?;
        value.set_sensitive(true);
        headers.insert("authorization", value);
    }
    let (scheme, host) = url.split_once("://").unwrap_or(("ws", url));
    let tls = (scheme == "wss").then_some(&identity.tls);
    let nobody = || io::Error::other("every address of this name has its link already");
    let place = places.take(lookup_host(host).await?, attempt).ok_or_else(nobody)?;
    let stream = TcpStream::connect(place.address).await?;
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
    let (link, _) = client_async_with_config(request, stream, Some(config)).await?;
    Ok((link, place))
}

/// Carries messages both ways until the link ends. Returns whether anything was heard, and why it ended.
async fn carry(
    link: WebSocketStream<Stream>,
    mut outbox: Receiver<Up>,
    controller: usize,
    inputs: &Sender<Input>,
) -> (bool, String) {
    let (mut to, mut from) = link.split();
    let send = async {
        while let Some(message) = outbox.recv().await {
            if let Err(error) = to.send(Message::text(encode_up(&message))).await {
                return error.to_string();
            }
        }
        let _ = to.close().await;
        "it fell behind, or the launcher ends".to_owned()
    };
    let mut heard = false;
    let mut silent_for = SILENT_AT_LEAST;
    let receive = async {
        loop {
            let frame = match timeout(silent_for, from.next()).await {
                Err(_) => return format!("nothing heard for {silent_for:?}"),
                Ok(None) => return "closed".to_owned(),
                Ok(Some(Err(error))) => return error.to_string(),
                Ok(Some(Ok(frame))) => frame,
            };
            let Message::Text(text) = frame else { continue };
            match decode_down(&text) {
                Ok(Down::Refused { reason }) => return format!("refused: {reason}"),
                Ok(msg) => {
                    heard = true;
                    if let Down::Welcome(welcome) = &msg {
                        let lease = &welcome.settings.lease;
                        silent_for = (lease.heartbeat * SILENT_HEARTBEATS).max(lease.ttl).max(SILENT_AT_LEAST);
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
    let why = tokio::select! { why = send => why, why = receive => why };
    (heard, why)
}
