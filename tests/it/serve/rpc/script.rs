//! Scripts of calls, and Matchbox's own client library, which plays them.
//!
//! A bench takes this file, too.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

/// The client of the peer `matchbox` with the certificates of a directory: it answers each line of its input.
pub(crate) fn client(programs: &Path, rpc: &str, certificates: &Path) -> Command {
    let mut command = Command::new(programs.join("rpc"));
    command.arg(rpc).args(["ca.crt", "client.crt", "client.key"].map(|name| certificates.join(name)));
    command
}

/// Calls in a file, and a file for their answers.
pub(crate) struct Script {
    files: TempDir,
    length: usize,
}

impl Script {
    /// These calls, in this order.
    pub(crate) fn new(calls: &[Value]) -> Script {
        let files = tempfile::tempdir().unwrap();
        let lines: String = calls.iter().map(|call| format!("{call}\n")).collect();
        fs::write(files.path().join("calls"), lines).unwrap();
        Script { files, length: calls.len() }
    }

    /// A client that plays it once, from its first call.
    pub(crate) fn played(&self, mut client: Command) -> Command {
        client.stdin(File::open(self.files.path().join("calls")).unwrap());
        client.stdout(File::create(self.files.path().join("answers")).unwrap());
        client
    }

    /// How many calls the last client did before one failed.
    pub(crate) fn confirmed(&self) -> usize {
        let answers = fs::read_to_string(self.files.path().join("answers")).unwrap();
        answers.lines().take_while(|line| line.contains(r#""code":"OK""#)).count()
    }

    /// Plays it to its end, which must go well.
    #[track_caller]
    pub(crate) fn play(&self, client: Command) {
        assert!(self.played(client).status().unwrap().success());
        self.went_well();
    }

    /// The last client did every call.
    #[track_caller]
    pub(crate) fn went_well(&self) {
        let (confirmed, length) = (self.confirmed(), self.length);
        assert_eq!(confirmed, length, "not all calls went well");
    }
}
