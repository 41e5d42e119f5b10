//! Matchbox's gRPC API on two sides: servers, a client that is Matchbox's own library, and how answers and files are
//! held against each other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::script;
use super::site::Certificates;
use crate::judges::{self, Judge};
use crate::lab::ports;
use crate::world::http::{Reply, Server, get};

/// How grpc-go and tonic say that a message is none.
const UNREAD: [&str; 2] = ["grpc: error unmarshalling request:", "failed to decode Protobuf message:"];

/// A server with its data directory, and a client of it.
pub(crate) struct Side {
    pub(crate) server: Server,
    /// Where gRPC is spoken.
    pub(crate) rpc: String,
    /// Where HTTP is spoken.
    pub(crate) http: String,
    data: PathBuf,
    client: RefCell<Option<Judge>>,
    certificates: PathBuf,
}

impl Side {
    /// Real Matchbox, or nothing where judges are skipped on purpose.
    pub(crate) fn matchbox(data: &Path, certificates: &Certificates) -> Option<Side> {
        let program = judges::build("matchbox")?.join("matchbox");
        let [rpc, http] = [0; 2].map(|_| ports::unused().to_string());
        fs::create_dir_all(data).unwrap();
        let mut command = Command::new(program);
        command.args(["-address", &http, "-rpc-address", &rpc, "-assets-path=", "-data-path"]).arg(data);
        let mut server = Server::start(command.args(certificates.flags()));
        server.says("Starting matchbox HTTP server");
        for address in [&rpc, &http] {
            while TcpStream::connect(address).is_err() {
                assert!(server.is_running(), "Matchbox ended: {}", server.end());
                thread::sleep(Duration::from_millis(20));
            }
        }
        Some(Side::of(server, rpc, http, data, certificates))
    }

    /// Ours, with flags beside.
    pub(crate) fn prebake(data: &Path, certificates: &Certificates, flags: &[&str]) -> Side {
        Side::prebake_at("127.0.0.1:0", "127.0.0.1:0", data, certificates, flags)
    }

    /// The same at known addresses of HTTP and gRPC.
    pub(crate) fn prebake_at(
        http: &str,
        rpc: &str,
        data: &Path,
        certificates: &Certificates,
        flags: &[&str],
    ) -> Side {
        fs::create_dir_all(data).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(["serve", "--address", http, "--rpc-address", rpc, "--assets-path", ""]);
        command.args(certificates.flags()).args(flags).arg("--matchbox").arg(data);
        let mut server = Server::start(&mut command);
        let mut listening = |of: &str| server.says(of).rsplit('/').next().unwrap().to_owned();
        let http = listening("listening on http://");
        let rpc = listening("listening on grpc");
        Side::of(server, rpc, http, data, certificates)
    }

    fn of(server: Server, rpc: String, http: String, data: &Path, certificates: &Certificates) -> Side {
        let certificates = certificates.path("");
        Side { server, rpc, http, data: data.to_owned(), client: RefCell::new(None), certificates }
    }

    /// Asks by Matchbox's client library: the code by its name, the text with `DATA` for the directory, and the response.
    pub(crate) fn ask(&self, call: &Value) -> Value {
        let mut client = self.client.borrow_mut();
        let client = client.get_or_insert_with(|| {
            Judge::of(&mut script::client(&judges::build("matchbox").unwrap(), &self.rpc, &self.certificates))
        });
        let mut answer = client.ask(call);
        let mut message = answer["message"].as_str().unwrap().replace(&*self.data.to_string_lossy(), "DATA");
        // What is wrong with a message is told in the words of each library for protobuf.
        if UNREAD.iter().any(|words| message.starts_with(words)) {
            message = "no message".into();
        }
        answer["message"] = message.into();
        answer
    }

    /// The same, which must go well.
    #[track_caller]
    pub(crate) fn put(&self, call: &Value) -> Value {
        let answer = self.ask(call);
        assert_eq!(answer["code"], "OK", "{call}: {answer}");
        answer
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        get(&self.http, target, "")
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.data.join(path)
    }

    /// Everything in the data directory.
    pub(crate) fn files(&self) -> BTreeMap<String, File> {
        files(&self.data)
    }
}

/// What there is at a path: its mode, and the bytes of a file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) mode: u32,
    pub(crate) bytes: Option<Vec<u8>>,
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let bytes = self.bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes));
        write!(f, "{:o} {bytes:?}", self.mode)
    }
}

/// Everything below a directory, by its path there.
pub(crate) fn files(directory: &Path) -> BTreeMap<String, File> {
    fn add(directory: &Path, at: &str, all: &mut BTreeMap<String, File>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), format!("{at}{}", entry.file_name().display()));
            let metadata = fs::metadata(&path).unwrap();
            let mode = metadata.permissions().mode();
            let bytes = metadata.is_file().then(|| fs::read(&path).unwrap());
            if metadata.is_dir() {
                add(&path, &format!("{name}/"), all);
            }
            all.insert(name, File { mode, bytes });
        }
    }
    let mut all = BTreeMap::new();
    add(directory, "", &mut all);
    all
}

/// Real Matchbox and ours, each on a directory of its own, which are alike at the begin.
pub(crate) struct Both {
    pub(crate) theirs: Side,
    pub(crate) ours: Side,
    /// How many calls were made of both.
    pub(crate) asked: usize,
    pub(crate) certificates: Certificates,
    _directory: TempDir,
}

impl Both {
    /// On empty directories, or nothing where judges are skipped on purpose.
    pub(crate) fn start(flags: &[&str]) -> Option<Both> {
        let (directory, certificates) = (tempfile::tempdir().unwrap(), Certificates::new());
        let theirs = Side::matchbox(&directory.path().join("theirs"), &certificates)?;
        let ours = directory.path().join("ours");
        let ours = Side::prebake(&ours, &certificates, flags);
        Some(Both { theirs, ours, asked: 0, certificates, _directory: directory })
    }

    /// Writes a file on both sides by hand.
    pub(crate) fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        for side in [&self.theirs, &self.ours] {
            let path = side.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &bytes).unwrap();
        }
    }

    /// Both answer alike, to the text of the error, and what is on disk is alike afterwards; the answer.
    #[track_caller]
    pub(crate) fn alike(&mut self, call: &Value) -> Value {
        self.asked += 1;
        let (theirs, ours) = (self.theirs.ask(call), self.ours.ask(call));
        assert_eq!(ours, theirs, "{call}\nMatchbox: {theirs}\nprebake: {ours}");
        self.same_files(call);
        theirs
    }

    /// The same, and the answer has this code and these words.
    #[track_caller]
    pub(crate) fn says(&mut self, call: &Value, code: &str, words: &str) {
        let answer = self.alike(call);
        let message = answer["message"].as_str().unwrap();
        assert!(answer["code"] == code && message.contains(words), "{call}: {answer}");
    }

    /// Matchbox stores it; ours says that it will not, and why, and stores nothing. Matchbox' directory is set back.
    #[track_caller]
    pub(crate) fn refused(&mut self, call: &Value, words: &str) {
        self.asked += 1;
        let before = self.ours.files();
        let (theirs, ours) = (self.theirs.ask(call), self.ours.ask(call));
        let message = ours["message"].as_str().unwrap();
        let expected = theirs["code"] == "OK" && ours["code"] == "InvalidArgument" && message.contains(words);
        assert!(expected, "{call}\nMatchbox: {theirs}\nprebake: {ours}");
        assert_eq!(self.ours.files(), before, "{call}: {ours}");
        self.set_back();
    }

    /// The same, or both refuse it: what is wrong in two ways may be told in either. Whether Matchbox stored it.
    #[track_caller]
    pub(crate) fn fails(&mut self, call: &Value) -> bool {
        self.asked += 1;
        let before = self.ours.files();
        let (theirs, ours) = (self.theirs.ask(call), self.ours.ask(call));
        assert_ne!(ours["code"], "OK", "{call}\nMatchbox: {theirs}\nprebake: {ours}");
        assert_eq!(self.ours.files(), before, "{call}: {ours}");
        let stored = theirs["code"] == "OK";
        assert!(!stored || ours["code"] == "InvalidArgument", "{call}\nMatchbox: {theirs}\nprebake: {ours}");
        self.set_back();
        stored
    }

    /// Makes Matchbox's directory that of ours.
    pub(crate) fn set_back(&self) {
        let (theirs, ours) = (self.theirs.files(), self.ours.files());
        // What is deeper comes later, and goes first.
        for (path, _) in theirs.iter().rev().filter(|(path, _)| !ours.contains_key(*path)) {
            let path = self.theirs.path(path);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir(&path));
        }
        for (path, file) in ours.iter().filter(|(path, file)| theirs.get(*path) != Some(file)) {
            let path = self.theirs.path(path);
            match &file.bytes {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::create_dir_all(&path).unwrap(),
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).unwrap();
        }
        self.same_files(&json!("set back"));
    }

    /// Both directories have the same files with the same modes and bytes.
    #[track_caller]
    pub(crate) fn same_files(&self, after: &Value) {
        let (theirs, ours) = (self.theirs.files(), self.ours.files());
        if theirs != ours {
            let lacks = |one: &BTreeMap<String, File>, other: &BTreeMap<String, File>| {
                let differs = one.iter().filter(|(path, file)| other.get(*path) != Some(file));
                differs.map(|(path, file)| format!("  {path} {file:?}\n")).collect::<String>()
            };
            panic!("{after}\nMatchbox:\n{}prebake:\n{}", lacks(&theirs, &ours), lacks(&ours, &theirs));
        }
    }

    /// Both answer alike over HTTP.
    #[track_caller]
    pub(crate) fn same_answer(&self, target: &str) -> Reply {
        let (theirs, ours) = (self.theirs.get(target), self.ours.get(target));
        // Matchbox's order of lines is random.
        let view = |reply: &Reply| {
            let text = reply.text();
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            if target.starts_with("/metadata") {
                lines.sort_unstable();
            }
            (reply.status, lines.concat())
        };
        // Matchbox sends an empty config instead of one that it cannot read, and ours does not (docs/guides/matchbox.md).
        if target.starts_with("/ignition") && theirs.text().contains(r#""version":"""#) {
            assert_eq!(ours.status, 404, "{target}");
        } else {
            assert_eq!(view(&ours), view(&theirs), "{target}");
        }
        theirs
    }
}
