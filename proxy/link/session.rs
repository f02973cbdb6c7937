//! One open link: frames in, frames out, until either side ends it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hotspare_decide::message::Down;
use hotspare_protocol::{MAX_MESSAGE_BYTES, decode_up, encode_down};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::{LinkEvent, LinkKey, OUTBOX};

/// Frames a launcher may send in [`PACE_WINDOW`]: ten times what the fastest heartbeat (10 ms) asks for.
const PACE: u32 = 1000;
const PACE_WINDOW: Duration = Duration::from_secs(1);
/// Held for each link, and filled with zeros before each read: a heartbeat or two. A longer message takes several reads.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Relays between one launcher and the engine; returns when the link has ended and the engine was told.
pub(super) async fn run<S>(
    stream: S,
    key: LinkKey,
    connection: u64,
    idle_after: Duration,
    events: &mpsc::Sender<LinkEvent>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE_BYTES);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
    let (outbox, mut orders) = mpsc::channel::<Down>(OUTBOX);
    if events.send(LinkEvent::Up { key, connection, outbox }).await.is_err() {
        return;
    }
    let why = relay(&mut socket, &mut orders, key, connection, idle_after, events).await;
    let _ = tokio::time::timeout(Duration::from_millis(200), socket.close(None)).await;
    let _ = events.send(LinkEvent::Down { key, connection, why }).await;
}

async fn relay<S>(
    socket: &mut WebSocketStream<S>,
    orders: &mut mpsc::Receiver<Down>,
    key: LinkKey,
    connection: u64,
    idle_after: Duration,
    events: &mpsc::Sender<LinkEvent>,
) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut window_ends = Instant::now() + PACE_WINDOW;
    let mut frames = 0;
    let idle = tokio::time::sleep(idle_after);
    tokio::pin!(idle);
    loop {
        tokio::select! {
            frame = socket.next() => {
                let now = Instant::now();
                idle.as_mut().reset(now + idle_after);
                if now >= window_ends {
                    (window_ends, frames) = (now + PACE_WINDOW, 0);
                }
                frames += 1;
                if frames > PACE {
                    return format!("more than {PACE} messages a second");
                }
                match frame {
                    Some(Ok(Message::Text(text))) => match decode_up(&text) {
                        Ok(message) => {
                            if events.send(LinkEvent::Message { key, connection, message }).await.is_err() {
                                return "the controller is stopping".to_owned();
                            }
                        }
                        Err(error) => return error.to_string(),
                    },
                    Some(Ok(Message::Binary(_))) => return "a binary message; text was expected".to_owned(),
                    Some(Ok(Message::Close(_))) | None => return "closed by the launcher".to_owned(),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error.to_string(),
                }
            }
            order = orders.recv() => {
                let Some(order) = order else { return "closed by the controller".to_owned() };
                let frame = Message::text(encode_down(&order));
                match tokio::time::timeout(idle_after, socket.send(frame)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return error.to_string(),
                    Err(_) => return format!("the launcher took nothing for {idle_after:?}"),
                }
            }
            () = &mut idle => return format!("silent for {idle_after:?}"),
        }
    }
}
