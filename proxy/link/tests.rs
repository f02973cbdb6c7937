//! Who gets a link.

use std::time::Duration;

use hotspare_protocol::{INSTANCE_HEADER, MEMBER_HEADER, Secret};
use hyper::StatusCode;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, http::HeaderValue};

use super::*;
use crate::config::Tokens;

#[tokio::test]
async fn one_launcher_an_identity_gets_a_link_and_no_page_in_a_browser_does() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("its address");
    let key = LinkKey { instance: 0, member: hotspare_decide::Member::BOTH[0] };
    let names = ("line-1".to_owned(), "a".to_owned());
    let identity = Identity { key, tokens: Tokens::one(Secret::new("the token of a member")) };
    let identities = Arc::new(ArcSwap::from_pointee(Identities::new([(names, identity)])));
    let (events, mut links) = mpsc::channel(8);
    tokio::spawn(serve(listener, None, identities, Duration::from_secs(30), events));
    let open = async |token: &'static str, origin: Option<&'static str>| {
        let mut request = format!("ws://{address}{LINK_PATH}").into_client_request().expect("a request");
        let headers = request.headers_mut();
        headers.insert(INSTANCE_HEADER, HeaderValue::from_static("line-1"));
        headers.insert(MEMBER_HEADER, HeaderValue::from_static("a"));
        headers.insert("authorization", HeaderValue::from_static(token));
        if let Some(origin) = origin {
            headers.insert("origin", HeaderValue::from_static(origin));
        }
        let stream = TcpStream::connect(address).await.expect("a connection");
        match tokio_tungstenite::client_async(request, stream).await {
            Ok(opened) => Ok(opened.0),
            Err(Error::Http(answer)) => Err(answer.status()),
            Err(other) => panic!("{other}"),
        }
    };
    let own = format!("http://{address}").leak();
    for origin in ["http://plant.example", "null", own] {
        let refused = open("Bearer the token of a member", Some(origin)).await.err();
        assert_eq!(refused, Some(StatusCode::FORBIDDEN), "{origin}");
    }
    let refused = open("Bearer another token", None).await.err();
    assert_eq!(refused, Some(StatusCode::UNAUTHORIZED));
    let link = open("Bearer the token of a member", None).await.expect("a launcher");
    let held = links.recv().await;
    assert!(matches!(held, Some(LinkEvent::Up { .. })), "the first that the engine hears of");
    // A second of the same name (two members called alike, as Patroni's users have had) is refused, and told of.
    let second = open("Bearer the token of a member", None).await.err();
    assert_eq!(second, Some(StatusCode::CONFLICT));
    assert!(matches!(links.recv().await, Some(LinkEvent::Duplicate { .. })), "the second is told of");
    drop(link);
    assert!(matches!(links.recv().await, Some(LinkEvent::Down { .. })), "the first has gone");
}
