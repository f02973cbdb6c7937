//! The body of a request to a listener of ours: not larger, and not slower, than is good for it.

use std::error::Error;
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body_util::{BodyExt, Limited};
use hyper::StatusCode;
use hyper::body::Body;
use tokio::time::timeout;

/// Time to send a small body.
pub const BODY_DEADLINE: Duration = Duration::from_secs(5);

/// Reads a body to its end, of at most `most` bytes, and waits no longer than `within` for all of it.
///
/// # Errors
/// The status and the sentence to answer with. The rest of the body is not read then.
pub async fn whole<B>(body: B, most: usize, within: Duration) -> Result<Bytes, (StatusCode, &'static str)>
where
    B: Body<Data: Buf, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    const TOO_LARGE: (StatusCode, &str) = (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    // One that says so itself is not waited for.
    if body.size_hint().lower() > most as u64 {
        return Err(TOO_LARGE);
    }
    match timeout(within, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(TOO_LARGE),
        Ok(Err(_)) => Err((StatusCode::BAD_REQUEST, "the body ended too early")),
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time")),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    use super::*;

    const WITHIN: Duration = Duration::from_millis(20);

    fn part() -> Result<Frame<Bytes>, Infallible> {
        Ok(Frame::data(Bytes::from_static(b"part")))
    }

    #[tokio::test]
    async fn a_body_is_whole_or_is_refused_for_its_size_or_its_time() {
        let good = whole(Full::new(Bytes::from_static(b"good")), 4, WITHIN).await;
        assert_eq!(good, Ok(Bytes::from_static(b"good")));
        let status = |got: Result<Bytes, (StatusCode, &'static str)>| got.map_err(|(status, _)| status);
        let said = whole(Full::new(Bytes::from_static(b"large")), 4, WITHIN).await;
        assert_eq!(status(said), Err(StatusCode::PAYLOAD_TOO_LARGE));
        let found = StreamBody::new(stream::iter([part(), part()]));
        assert_eq!(status(whole(found, 4, WITHIN).await), Err(StatusCode::PAYLOAD_TOO_LARGE));
        let slow = StreamBody::new(stream::iter([part()]).chain(stream::pending()));
        assert_eq!(status(whole(Box::pin(slow), 9, WITHIN).await), Err(StatusCode::REQUEST_TIMEOUT));
    }
}
