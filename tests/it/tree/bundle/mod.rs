//! Bundles: made the same everywhere, judged to the byte, read by hand, imported by sites.

mod damage;
mod hostile;
mod import;
mod judges;
mod made;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::base::digest::Sha256;
use prebake::tree::manifest::{self, Manifest, Role};
use prebake::tree::names::MANIFEST as FILE_NAME;
use prebake::trust::minisign::SecretKey;
use serde_json::Value;
use tempfile::TempDir;

use crate::world::{Run, prebake_in};

/// A directory with keys, trees, a store, and the binary run in it.
struct Desk {
    directory: TempDir,
}

impl Desk {
    fn new() -> Desk {
        Desk { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    /// A key that is open, in `NAME.key` and `NAME.pub`.
    fn key(&self, name: &str) -> SecretKey {
        let key = SecretKey::generate().unwrap();
        let file = self.path(&format!("{name}.key"));
        fs::write(&file, key.to_file(None).unwrap()).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(self.path(&format!("{name}.pub")), key.public().to_file()).unwrap();
        key
    }

    /// A published tree called `name` at `place`; its BUILD-ID.
    fn tree(&self, place: &str, name: &str, files: &[(&str, &[u8])]) -> String {
        let mut rows = BTreeMap::new();
        for (path, bytes) in files {
            let target = self.path(place).join(path);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            fs::write(target, bytes).unwrap();
            let row = manifest::File::new(Role::Sysext, bytes.len() as u64, Sha256::of(bytes));
            rows.insert((*path).to_owned(), row);
        }
        let manifest = Manifest {
            schema: manifest::SCHEMA,
            name: name.into(),
            epoch: 1_700_000_000,
            releases: Vec::new(),
            files: rows,
            joined: BTreeMap::new(),
        };
        fs::write(self.path(place).join(FILE_NAME), manifest.to_bytes()).unwrap();
        manifest.build_id()
    }

    fn command(&self, args: &[&str]) -> Command {
        prebake_in(self.directory.path(), args)
    }

    fn prebake(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    /// `prebake bundle create` of a tree, signed by `site.key`.
    fn create(&self, tree: &str, out: &str, more: &[&str]) -> Run {
        let args = ["bundle", "create", tree, "-o", out, "--sign-key", "site.key"];
        self.prebake(&[&args, more].concat())
    }

    /// `prebake bundle import` into `output`.
    fn import(&self, bundle: &str, more: &[&str]) -> Run {
        self.prebake(&[&["bundle", "import", bundle], more].concat())
    }
}

fn json(run: Run) -> Value {
    serde_json::from_str(&run.ok().stdout).unwrap()
}

/// A tree with a bit of everything that matters to an archive: equal files, an empty one, long names, odd lengths.
const VARIED: &[(&str, &[u8])] = &[
    ("assets/one.raw", &[1; 1500]),
    ("assets/same.raw", &[1; 1500]),
    ("assets/empty", b""),
    ("assets/block", &[2; 512]),
    (
        "boot/a name that ustar splits, for it is longer than a hundred bytes/and has a slash to be split at.ipxe",
        b"x",
    ),
    (
        "ignition/a-name-that-needs-a-pax-record-because-it-has-no-slash-where-it-could-be-split-and-is-longer-than-a-hundred-bytes.ign",
        b"{}",
    ),
];

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}
