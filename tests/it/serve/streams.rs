//! Connections over TLS: streams of HTTP/2 whose clients take nothing, spoken by hand, and who is let in (attacks.md, C-M1).

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use prebake::serve::http::limits::Limits;
use prebake::serve::http::listen::Listener;
use prebake::serve::http::tls::authority::Authority;
use prebake::serve::http::tls::{Identity, Tls};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto};

use crate::serve::connections::Here;
use crate::world::http::{SOON, connect, get, read_reply, soon, try_connect_from};
use crate::world::tree::Tree;

/// Types of frames (RFC 9113, 6).
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

/// A client of HTTP/2 over TLS, which opens no window by itself.
pub struct Wire(StreamOwned<ClientConnection, TcpStream>);

impl Wire {
    /// Shakes hands as `localhost`, whose authority's certificate lies in a file, and offers a window for each stream.
    pub fn open(socket: TcpStream, authority: &Path, window: u32) -> io::Result<Wire> {
        let mut roots = RootCertStore::empty();
        let trusted = CertificateDer::from_pem_file(authority).map_err(io::Error::other)?;
        roots.add(trusted).map_err(io::Error::other)?;
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut wire = Wire(StreamOwned::new(client, socket));
        wire.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        // SETTINGS_INITIAL_WINDOW_SIZE.
        wire.frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat())?;
        Ok(wire)
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let length = (payload.len() as u32).to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat())?;
        self.0.flush()
    }

    /// Asks for a path of fewer than 127 bytes by `GET` (RFC 7541, appendix A: 2, 7, 4, 1), on a stream with an odd number.
    pub fn ask(&mut self, stream: u32, path: &str) -> io::Result<()> {
        let literal = |index: u8, value: &str| [&[index, value.len() as u8], value.as_bytes()].concat();
        let block = [vec![0x82, 0x87], literal(4, path), literal(1, "localhost")].concat();
        // END_STREAM and END_HEADERS.
        self.frame(HEADERS, 5, stream, &block)
    }

    /// Shows that it lives.
    pub fn ping(&mut self) -> io::Result<()> {
        self.frame(PING, 0, 0, &[0; 8])
    }

    /// Opens the window of a stream, and that of the connection, further.
    fn widen(&mut self, stream: u32, bytes: u32) -> io::Result<()> {
        self.frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())?;
        self.frame(WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes())
    }

    /// Reads and forgets what comes within a moment: how much; nothing more once the server has closed.
    pub fn hear(&mut self, moment: Duration) -> io::Result<usize> {
        self.0.sock.set_read_timeout(Some(moment))?;
        match self.0.read(&mut [0; 64 << 10]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => Ok(read),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Pings until the server closes.
    #[track_caller]
    fn is_closed(&mut self, what: &str) {
        let started = Instant::now();
        while self.ping().and_then(|()| self.hear(Duration::from_millis(20))).is_ok() {
            assert!(started.elapsed() < SOON, "{what} is still held");
        }
    }
}

const MOMENT: Duration = Duration::from_millis(400);

/// A server over TLS for `localhost`, and its authority's certificate.
fn secured(tree: &Tree, limits: Limits) -> (Here, std::path::PathBuf) {
    let directory = tree.path().join("../ca");
    let authority = Authority::open(&directory, SystemTime::now()).unwrap();
    let certificate = authority.certificate().to_owned();
    let identity = Identity::Issued { authority: Box::new(authority), names: vec!["localhost".into()] };
    let tls = Arc::new(Tls::new(identity, Arc::new(|_| {})).unwrap());
    let listener = Listener::bind("127.0.0.1:0").unwrap().secured(tls);
    (Here::serve_on(listener, tree.path(), |server| server.limits(limits)), certificate)
}

fn tree() -> Tree {
    Tree::new().groups(1).file("assets/large", &vec![b'l'; 4 << 20]).publish()
}

/// 4,000 connections of eight such streams each took 341 MB and were there for as long as their clients answered pings.
#[test]
fn a_stream_that_takes_nothing_ends_its_connection_whatever_it_asked_for_and_however_shut_its_window_is() {
    let tree = tree();
    let (server, authority) = secured(&tree, Limits { window: MOMENT, ..Limits::default() });
    for (path, window) in [
        ("/assets/large", 0),
        ("/assets/large", 1),
        ("/assets/large", 65_535),
        ("/ipxe", 0),
        ("/ipxe", 1),
        ("/status", 0),
        ("/events", 0),
        ("/events", 1),
    ] {
        let mut wire = Wire::open(connect(&server.address), &authority, window).unwrap();
        for stream in 0..8 {
            wire.ask(1 + 2 * stream, path).unwrap();
        }
        wire.is_closed(&format!("{path} with a window of {window}"));
    }
    soon(|| server.told("has stopped reading an answer") == 8);
}

#[test]
fn one_that_takes_its_answer_slowly_keeps_its_connection_beside_one_that_takes_nothing() {
    let tree = tree();
    let (server, authority) = secured(&tree, Limits { window: 3 * MOMENT, ..Limits::default() });
    let open = |address| Wire::open(try_connect_from(address, &server.address).unwrap(), &authority, 1);
    let (mut slow, mut stuck) = (open([127, 0, 0, 1]).unwrap(), open([127, 0, 0, 2]).unwrap());
    slow.ask(1, "/assets/large").unwrap();
    for stream in 0..8 {
        stuck.ask(1 + 2 * stream, "/assets/large").unwrap();
    }
    let mut read = 0;
    while server.told("has stopped reading an answer") == 0 || read < 4 << 20 {
        // The window may be as wide as the file is long, and no wider.
        if read < 4 << 20 {
            slow.widen(1, 64 << 10).unwrap();
        }
        slow.ping().unwrap();
        read += slow.hear(Duration::from_millis(20)).unwrap();
    }
    server.tells("answered 200 /assets/large");
    assert_eq!(server.told("has stopped reading an answer"), 1);
    stuck.is_closed("the one that takes nothing");
}

/// hyper ends no connection over HTTP/2 that answers pings, nor one that says nothing after its handshake.
#[test]
fn a_connection_that_asks_for_nothing_ends_however_alive_it_is() {
    let tree = tree();
    let (server, authority) = secured(&tree, Limits { idle: MOMENT, ..Limits::default() });
    Wire::open(connect(&server.address), &authority, 0).unwrap().is_closed("one that pings");
    let mut asked = Wire::open(connect(&server.address), &authority, 65_535).unwrap();
    asked.ask(1, "/").unwrap();
    asked.is_closed("one that has its answer");
    server.tells("answered 200 /");
    server.tells("cut None it was idle for too long");
}

/// Whoever had too many connections was told so in plain text where TLS was spoken.
#[test]
fn one_too_many_over_tls_is_closed_without_a_word_and_told() {
    let tree = tree();
    let (server, _) = secured(&tree, Limits { per_client: 2, ..Limits::default() });
    let held = [connect(&server.address), connect(&server.address)];
    let mut more = connect(&server.address);
    let mut said = Vec::new();
    let _ = more.read_to_end(&mut said);
    assert_eq!(said, b"");
    server.tells("cut None it has 2 connections already");
    drop(held);
}

#[test]
fn tls_has_a_third_of_all_connections_and_machines_without_it_the_rest() {
    let world = crate::world::World::new();
    world.build();
    let mut command = world.command(&["serve", "output/small/current", "--address", "127.0.0.1:0"]);
    command.args(["--tls-address", "127.0.0.1:0", "--tls-generate", "ca", "--tls-name", "localhost"]);
    let mut server = crate::world::http::Server::start(command.args(["--max-connections", "9"]));
    let mut at = |scheme: &str| {
        let words = format!("listening on {scheme}://");
        let known = server.log.iter().find(|line| line.contains(&words)).cloned();
        known.unwrap_or_else(|| server.says(&words)).rsplit('/').next().unwrap().to_owned()
    };
    let (http, tls) = (at("http"), at("https"));
    let held: Vec<TcpStream> = (0..6).map(|_| connect(&tls)).collect();
    for _ in 0..8 {
        assert_eq!(get(&http, "/ipxe", "").status, 200);
    }
    let mut kept = connect(&http);
    kept.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut io::BufReader::new(&kept), true).status, 200);
    drop(held);
}
