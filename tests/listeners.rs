//! What the configuration says of a listener holds for its connections: PROXY headers in and out, HTTP.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use hotspare_test_support::process::Process;
use hotspare_test_support::site::{SOON, Site};
use hotspare_test_support::wait::wait_until;

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

/// Where nginx listens, for [`to_nginx`].
static NGINX: OnceLock<SocketAddr> = OnceLock::new();

/// A member that passes everything on to nginx.
fn to_nginx(_: &str, client: TcpStream) {
    let Some(Ok(server)) = NGINX.get().map(TcpStream::connect) else { return };
    let copy = |mut from: &TcpStream, mut to: &TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| copy(&client, &server));
        copy(&server, &client);
    });
}

/// nginx, which takes a PROXY header on each connection and answers with the address that it told.
fn nginx(folder: &Path, listen: SocketAddr) -> Process {
    let folder = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.iter().map(|name| format!("{name}_temp_path {folder}/{name};\n")).collect();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n\
         {temporary}server {{\nlisten {listen} proxy_protocol;\n\
         return 200 \"$proxy_protocol_addr $proxy_protocol_port\";\n}}\n}}\n"
    );
    let file = format!("{folder}/nginx.conf");
    std::fs::write(&file, config).expect("a file to write");
    let mut command = Command::new("nginx");
    command.args(["-c", &file, "-e", "stderr"]).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Process::start("nginx", command)
}

/// HAProxy, which sends a PROXY header in three ways, and another with its health checks.
fn haproxy(folder: &Path, site: &Site) -> Process {
    let server = site.proxy(1881);
    let listen = |name: &str, port: u16, options: &str| {
        format!("listen {name}\n bind {}\n server s {server} check inter 100ms {options}\n", site.proxy(port))
    };
    let config = format!(
        "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
         unique-id-format %ci:%cp\n{}{}{}",
        listen("v1", 2001, "send-proxy"),
        listen("v2", 2002, "send-proxy-v2"),
        listen("more", 2003, "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
    );
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, config).expect("a file to write");
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Process::start("haproxy", command)
}

/// What a client gets, and what it is to itself.
fn told(at: SocketAddr) -> Result<(String, String), String> {
    let mut client = TcpStream::connect(at).map_err(|error| error.to_string())?;
    let own = client.local_addr().map_err(|error| error.to_string())?;
    let mut answer = String::new();
    let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.write_all(request).and_then(|()| client.read_to_string(&mut answer)).map_err(|error| error.to_string())?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {answer:?}"))?;
    Ok((body.to_owned(), format!("{} {}", own.ip(), own.port())))
}

#[test]
fn the_client_is_told_from_haproxy_before_us_to_nginx_behind_us() {
    let listener = "name = \"passed-on\"\nlisten = \"PROXY:1881\"\nport = 1880\nproxy_from = [\"127.0.0.0/8\"]\n";
    let site = Site::serving(&format!("[[instance.listener]]\n{listener}proxy_to = \"v2\"\n"), to_nginx);
    let folder = tempfile::tempdir().expect("a folder");
    let behind = *NGINX.get_or_init(|| site.proxy(2080));
    let (_nginx, mut before) = (nginx(folder.path(), behind), haproxy(folder.path(), &site));
    for port in [2001, 2002, 2003] {
        wait_until(SOON, "the client's own address", || match told(site.proxy(port)) {
            Ok((told, own)) if told == own => Ok(()),
            other => Err(format!("{other:?}; haproxy: {}", before.output())),
        });
    }
    assert!(
        before.is_running() && !before.output().contains("DOWN"),
        "health checks with a header: {}",
        before.output()
    );
}
