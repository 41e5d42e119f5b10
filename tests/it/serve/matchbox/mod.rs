//! `prebake serve --matchbox`: Matchbox's data directories, answered as Matchbox answers them.
//!
//! `kit` holds recorded answers of real Matchbox against ours, `random` a living one; `edits`, `signatures` and `flags`
//! show what a recording cannot, and `differences` each row of the table in `docs/guides/matchbox.md`.

mod differences;
mod edits;
mod flags;
mod flaws;
mod kit;
mod random;
mod signatures;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::Run;
use crate::world::http::{Reply, Server, get};

/// A data directory, made by a test.
struct Directory(TempDir);

impl Directory {
    /// With a profile `p` that boots and a default group that says so.
    fn new() -> Directory {
        let directory = Directory::empty();
        directory.json(
            "profiles/p.json",
            &json!({"id": "p", "boot": {"kernel": "k"}, "generic_id": "t", "ignition_id": "i"}),
        );
        directory.json("groups/default.json", &json!({"profile": "p", "metadata": {"v": "one"}}));
        directory
    }

    fn empty() -> Directory {
        Directory(tempfile::tempdir().unwrap())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }

    fn json(&self, path: &str, value: &Value) {
        self.write(path, value.to_string());
    }

    fn serve(&self) -> Served {
        self.serve_with(&[])
    }

    fn serve_with(&self, args: &[&str]) -> Served {
        Served::new(self.0.path(), args)
    }
}

/// What `prebake` says where it should end by itself. A server that is not refused would go on for ever, as one did in CI of
/// 2026-11-29, since another test had made what was thought to be absent; it is stopped.
fn ended(args: &[&str]) -> Run {
    let mut command = Command::new("timeout");
    Run::of(command.args(["120", env!("CARGO_BIN_EXE_prebake")]).args(args).output().unwrap())
}

/// A server on a data directory.
struct Served {
    server: Server,
    address: String,
}

impl Served {
    fn new(directory: &Path, args: &[&str]) -> Served {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(["serve", "--address", "127.0.0.1:0", "--matchbox"]).arg(directory).args(args);
        Served::started(command)
    }

    /// By a command line of one's own.
    fn started(mut command: Command) -> Served {
        let mut server = Server::start(&mut command);
        let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
        // What is wrong with the directory comes before this line.
        server.says("confined");
        Served { server, address }
    }

    fn get(&self, target: &str) -> Reply {
        get(&self.address, target, "")
    }

    /// Status and body.
    #[track_caller]
    fn answers(&self, target: &str, status: u16, body: &str) {
        let reply = self.get(target);
        assert_eq!((reply.status, reply.text().as_str()), (status, body), "{target}");
    }

    /// Matchbox's own answer to all that it lacks.
    #[track_caller]
    fn lacks(&self, target: &str) {
        self.answers(target, 404, "404 page not found\n");
    }
}
