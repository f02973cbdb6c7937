//! One open link: frames in, frames out, until either side ends it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hotspare_decide::message::{Down, Up};
use hotspare_protocol::{MAX_MESSAGE_BYTES, decode_up, encode_down};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::datagrams::{Beside, News};
use super::pace::{PACE, Pace};
use super::{LinkEvent, OUTBOX, Place};

/// A websocket that is silent while datagrams come is waited for so many times longer: TCP is busy with what was lost.
const PATIENCE: u32 = 5;
/// After so much of that its answers go as datagrams alone. So its launcher notices, and opens another.
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// Held for each link, and filled with zeros before each read: a heartbeat or two. A longer message takes several reads.
const READ_BUFFER_BYTES: usize = 4 << 10;

/// Whose link, and how it is carried.
pub(super) struct Session {
    pub(super) place: Place,
    /// Datagrams beside it, if they were offered.
    pub(super) beside: Option<Beside>,
}

/// Relays between one launcher and the engine; returns when the link has ended and the engine was told.
pub(super) async fn run<S>(stream: S, mut session: Session)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limits = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES))
        .write_buffer_size(0)
        .max_write_buffer_size(4 * MAX_MESSAGE_BYTES);
    let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(limits)).await;
    let why = session.relay(&mut socket).await;
    let farewell = async {
        let refused = Down::Refused { reason: why.clone() };
        let _ = socket.send(Message::text(encode_down(&refused))).await;
        socket.close(None).await
    };
    let _ = tokio::time::timeout(Duration::from_millis(200), farewell).await;
    let Place { key, connection, .. } = session.place;
    session.place.shared.tell(LinkEvent::Down { key, connection, why }).await;
}

impl Session {
    /// Returns why the link has ended.
    async fn relay<S>(&mut self, socket: &mut WebSocketStream<S>) -> String
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let idle_after = self.place.shared.idle_after;
        let (outbox, mut orders) = mpsc::channel::<Down>(OUTBOX);
        let mut outbox = Some(outbox);
        let mut pace = Pace::default();
        let mut heard = Instant::now();
        let idle = tokio::time::sleep(idle_after);
        let bell = self.beside.as_ref().map_or_else(Arc::default, Beside::bell);
        // Both outlive a turn of the loop: a turn is a heartbeat or its answer, and registers nothing anew.
        let rings = bell.notified();
        tokio::pin!(idle, rings);
        loop {
            let said = tokio::select! {
                frame = socket.next() => {
                    heard = Instant::now();
                    if !pace.allows(heard) {
                        return format!("more than {PACE} messages a second");
                    }
                    match frame {
                        Some(Ok(Message::Text(text))) => match decode_up(&text) {
                            Ok(message) => Some(message),
                            Err(error) => return error.to_string(),
                        },
                        Some(Ok(Message::Binary(_))) => return "a binary message; text was expected".to_owned(),
                        Some(Ok(Message::Close(_))) | None => return "closed by the launcher".to_owned(),
                        Some(Ok(_)) => None,
                        Some(Err(error)) => return error.to_string(),
                    }
                }
                order = orders.recv() => {
                    let Some(order) = order else { return "closed by the controller".to_owned() };
                    if let Err(why) = self.say(socket, &order, heard).await {
                        return why;
                    }
                    None
                }
                () = &mut rings => {
                    rings.set(bell.notified());
                    match self.beside.as_ref().and_then(Beside::news) {
                        Some(News::Replaced) => return "its launcher has opened another".to_owned(),
                        Some(News::Hello(hello)) => Some(hello),
                        None => None,
                    }
                }
                () = &mut idle => {
                    let silence = heard.elapsed();
                    let lives = self.beside.as_ref().is_some_and(|beside| beside.heard_within(idle_after));
                    if silence >= idle_after && (!lives || silence >= idle_after * PATIENCE) {
                        return format!("silent for {silence:?}");
                    }
                    idle.as_mut().reset(if silence < idle_after { heard } else { Instant::now() } + idle_after);
                    None
                }
            };
            if let Some(message) = said
                && !self.pass_on(message, &mut outbox).await
            {
                return "the controller is stopping".to_owned();
            }
        }
    }

    /// Passes on what a launcher says; false if nobody takes it any more. With its first word the link is up, and takes
    /// the place of the one before: until then that goes on.
    async fn pass_on(&mut self, message: Up, outbox: &mut Option<mpsc::Sender<Down>>) -> bool {
        if self.beside.as_ref().is_some_and(|beside| !beside.is_new(&message)) {
            return true;
        }
        let Place { key, connection, .. } = self.place;
        if let Some(outbox) = outbox.take() {
            self.place.claim();
            if !self.place.shared.tell(LinkEvent::Up { key, connection, outbox }).await {
                return false;
            }
        }
        let greeting = matches!(message, Up::Hello(_));
        let taken = self.place.shared.tell(LinkEvent::Message { key, connection, message }).await;
        if let Some(beside) = self.beside.as_ref().filter(|_| greeting) {
            beside.greeted();
        }
        taken
    }

    /// Sends an order, by the way its question came too; why the link has ended if it has.
    async fn say<S>(&mut self, socket: &mut WebSocketStream<S>, order: &Down, heard: Instant) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let text = encode_down(order);
        if let Some(beside) = &mut self.beside
            && beside.answer(order, &text).await
            && heard.elapsed() > STUCK_AFTER
        {
            return Ok(());
        }
        let idle_after = self.place.shared.idle_after;
        match tokio::time::timeout(idle_after, socket.send(Message::text(text))).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the launcher took nothing for {idle_after:?}")),
        }
    }
}
