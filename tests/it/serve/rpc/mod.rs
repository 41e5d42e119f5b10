//! `prebake serve --rpc-address`: Matchbox's gRPC API.
//!
//! `process` has the process that serves it, `strangers` all that it refuses, `bounds` what clients may not take. curl is the client here: it frames
//! nothing and knows no protobuf, so that messages stand in the tests byte by byte. In `calls`, `random` and `terraform` the real
//! Matchbox is asked the same (`kit`), by its own client library and by Terraform with its provider, about a `site`. `machine` is one
//! that installs itself by what Terraform wrote.

mod bounds;
mod calls;
mod kit;
mod machine;
mod process;
mod random;
mod readers;
mod request;
mod script;
pub(crate) mod site;
mod strangers;
mod terraform;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

use crate::world::http::Server;

/// A field of a message whose value has a length (wire type 2).
fn field(number: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    let value = value.as_ref();
    let mut bytes = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 0x7f {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
    bytes.extend_from_slice(value);
    bytes
}

/// A `GroupPutRequest`.
fn group_put(id: &str, profile: &str) -> Vec<u8> {
    field(1, [field(1, id), field(3, profile)].concat())
}

/// A `ProfilePutRequest`.
fn profile_put(id: &str, kernel: &str) -> Vec<u8> {
    field(1, [field(1, id), field(5, field(1, kernel))].concat())
}

/// A message with the bytes before it.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// An authority, by which certificates are made.
struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    /// Writes its certificate to a file.
    fn new(name: &str, path: &Path) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        fs::write(path, params.self_signed(&key).unwrap().pem()).unwrap();
        Authority(Issuer::new(params, key))
    }

    /// Writes `NAME.crt` and `NAME.key` for this purpose, which hold until the end of a year.
    fn issue(&self, directory: &Path, name: &str, purpose: ExtendedKeyUsagePurpose, until: i32) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![purpose];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 12, 31));
        let certificate = params.signed_by(&key, &self.0).unwrap();
        // As a whole, since a server may look at any time.
        let write = |end: &str, text: String| {
            fs::write(directory.join("next"), text).unwrap();
            fs::rename(directory.join("next"), directory.join(format!("{name}.{end}"))).unwrap();
        };
        write("crt", certificate.pem());
        write("key", key.serialize_pem());
    }
}

/// A year in which certificates of tests still hold.
const LATER: i32 = 2999;

/// A data directory, and the certificates of its server and its client `terraform`.
struct Bench {
    place: TempDir,
    authority: Authority,
}

/// A server on it.
struct Served {
    server: Server,
    /// `HOST:PORT` of HTTP and of gRPC.
    http: String,
    rpc: String,
    /// What it said of the rights of the process that writes.
    confined: String,
}

/// The answer to a call.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    /// The code of gRPC.
    code: u32,
    /// Its text, unescaped.
    words: String,
    /// The message without the bytes before it.
    message: Vec<u8>,
}

impl Bench {
    fn new() -> Bench {
        let place = tempfile::tempdir().unwrap();
        let path = place.path();
        for folder in ["data/profiles", "data/groups", "tls"] {
            fs::create_dir_all(path.join(folder)).unwrap();
        }
        fs::write(path.join("data/profiles/p.json"), r#"{"id":"p","boot":{"kernel":"k"}}"#).unwrap();
        fs::write(path.join("data/groups/default.json"), r#"{"profile":"p"}"#).unwrap();
        let authority = Authority::new("bench", &path.join("tls/ca.crt"));
        authority.issue(&path.join("tls"), "server", ExtendedKeyUsagePurpose::ServerAuth, LATER);
        authority.issue(&path.join("tls"), "terraform", ExtendedKeyUsagePurpose::ClientAuth, LATER);
        Bench { place, authority }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.place.path().join(path)
    }

    /// The names of all files below the data directory.
    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in fs::read_dir(self.path("data")).unwrap() {
            let folder = folder.unwrap().path();
            match folder.is_dir() {
                true => found.extend(fs::read_dir(folder).unwrap().map(|file| file.unwrap().path())),
                false => found.push(folder),
            }
        }
        let names =
            found.iter().map(|path| path.strip_prefix(self.path("data")).unwrap().display().to_string());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    /// The command of a server with these arguments beside; paths are those of the bench.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args([
            "serve",
            "--address",
            "127.0.0.1:0",
            "--matchbox",
            "data",
            "-rpc-address",
            "127.0.0.1:0",
        ]);
        command.args(["-cert-file", "tls/server.crt", "-key-file=tls/server.key", "--ca-file", "tls/ca.crt"]);
        command.args(args).current_dir(self.place.path());
        command
    }

    fn serve(&self, args: &[&str]) -> Served {
        Served::start(&mut self.command(args))
    }

    /// curl with the certificate of a client.
    fn curl(&self, client: &str, args: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "120", "--cacert", "tls/ca.crt"]);
        command.args(["--cert", &format!("tls/{client}.crt"), "--key", &format!("tls/{client}.key")]);
        command.args(args).current_dir(self.place.path()).output().unwrap()
    }

    /// A call by a client with these arguments of curl beside; what curl said where there was no answer.
    fn try_call(
        &self,
        client: &str,
        served: &Served,
        path: &str,
        body: &[u8],
        args: &[&str],
    ) -> Result<Answer, String> {
        let dir = tempfile::tempdir_in(self.place.path()).unwrap();
        let file = |name: &str| dir.path().join(name).display().to_string();
        fs::write(file("request"), body).unwrap();
        let url = format!("https://{}/{path}", served.rpc);
        let data = format!("@{}", file("request"));
        let (head, answer) = (file("head"), file("answer"));
        let mut all = vec!["--http2", "-H", "te: trailers", "--data-binary", &data];
        if !args.iter().any(|arg| arg.starts_with("content-type")) {
            all.extend(["-H", "content-type: application/grpc"]);
        }
        all.extend(["--dump-header", &head, "--output", &answer, &url]);
        all.extend(args);
        let said = self.curl(client, &all);
        let head = fs::read_to_string(&head).unwrap_or_default();
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.map(|value| {
                percent_encoding::percent_decode_str(value.trim()).decode_utf8_lossy().into_owned()
            })
        };
        let Some(code) = header("grpc-status") else {
            return Err(format!("{}\n{head}", String::from_utf8_lossy(&said.stderr)));
        };
        let message = fs::read(&answer).unwrap_or_default();
        Ok(Answer {
            code: code.parse().unwrap(),
            words: header("grpc-message").unwrap_or_default(),
            message: message.get(5..).unwrap_or_default().to_vec(),
        })
    }

    /// A call by the client `terraform`.
    #[track_caller]
    fn call(&self, served: &Served, path: &str, message: &[u8]) -> Answer {
        self.try_call("terraform", served, path, &framed(message), &[])
            .unwrap_or_else(|said| panic!("{said}"))
    }

    /// A call that succeeds.
    #[track_caller]
    fn does(&self, served: &Served, path: &str, message: &[u8]) -> Vec<u8> {
        let answer = self.call(served, path, message);
        assert_eq!((answer.code, answer.words.as_str()), (0, ""), "{path}");
        answer.message
    }
}

impl Served {
    fn start(command: &mut Command) -> Served {
        let mut server = Server::start(command);
        // A line of the log may be an object, too.
        let mut at = |scheme: &str| {
            let line = server.says(&format!("listening on {scheme}://"));
            line.rsplit('/').next().unwrap().trim_end_matches(['"', '}']).to_owned()
        };
        let (http, rpc) = (at("http"), at("grpc"));
        let confined = server.says("gRPC, a process of its own, is ");
        Served { server, http, rpc, confined }
    }

    /// The process that serves gRPC.
    fn writer(&self) -> u32 {
        let parent = self.server.id().to_string();
        let children: Vec<u32> = fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
            .filter(|id: &u32| {
                // The name of a program may hold blanks, and stands in brackets.
                let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
                let fields = stat.rsplit(')').next().unwrap_or_default();
                fields.split_whitespace().nth(1) == Some(&parent)
            })
            .collect();
        assert_eq!(children.len(), 1, "the server has one child");
        children[0]
    }
}
