//! What the configuration says of a listener holds for its connections: PROXY headers in and out, HTTP.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use hotspare_test_support::site::Site;

/// Gives back the first line, with the server's name before it.
fn first_line(name: &str, stream: TcpStream) {
    let mut line = String::new();
    let _ = BufReader::new(&stream).read_line(&mut line);
    let _ = write!(&stream, "{name}: {line}");
}

/// Answers one HTTP request.
fn http(name: &str, stream: TcpStream) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    if lines.by_ref().any(|line| line.is_empty()) {
        let _ = write!(&stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n{name}");
    }
}

#[test]
fn proxy_headers_are_taken_from_the_networks_listed_and_passed_on() {
    let site = Site::serving(
        "[[instance.listener]]\nname = \"passed-on\"\nlisten = \"PROXY:1881\"\nport = 1880\n\
         proxy_from = [\"127.0.0.0/8\"]\nproxy_to = \"v1\"\n\
         [[instance.listener]]\nname = \"told\"\nlisten = \"PROXY:1882\"\nport = 1880\nproxy_to = \"v1\"\n\
         [[instance.listener]]\nname = \"strangers\"\nlisten = \"PROXY:1883\"\nport = 1880\n\
         proxy_from = [\"10.0.0.0/8\"]\n",
        first_line,
    );
    let header = b"PROXY TCP4 192.0.2.7 192.0.2.8 4711 1880\r\n";
    let passed_on = site.answer(1881, header);
    assert!(passed_on.ends_with(": PROXY TCP4 192.0.2.7 192.0.2.8 4711 1880\r\n"), "{passed_on:?}");
    assert_eq!(site.answer(1881, b"no header\r\n"), "", "a connection without a header went through");
    assert_eq!(site.answer(1883, header), "", "a header from elsewhere was taken");
    let told = site.answer(1882, b"hello\r\n");
    assert!(told.contains(": PROXY TCP4 127."), "{told:?}");
    let plain = site.answer(1880, b"hello\r\n");
    assert!(plain.ends_with(": hello\r\n"), "{plain:?}");
}

#[test]
fn an_http_listener_refuses_what_is_ambiguous() {
    let site = Site::serving(
        "[[instance.listener]]\nname = \"web\"\nlisten = \"PROXY:1881\"\nport = 1880\nprotocol = \"http\"\n",
        http,
    );
    let good = site.answer(1881, b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(good.starts_with("HTTP/1.1 200"), "{good:?}");
    let both = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    let ambiguous = site.answer(1881, both);
    assert!(ambiguous.starts_with("HTTP/1.1 400"), "{ambiguous:?}");
}
