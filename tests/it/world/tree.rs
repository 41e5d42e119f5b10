//! A published tree made by hand, for what no recipe would make: many groups, files of any length.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prebake::base::digest::Sha256;
use prebake::tree::manifest::{File, Manifest, Role, SCHEMA};
use prebake::tree::names::MANIFEST as FILE_NAME;
use tempfile::TempDir;

/// A tree on the disk, and the manifest that is written with [`Tree::publish`].
pub struct Tree {
    directory: TempDir,
    files: BTreeMap<String, File>,
}

impl Tree {
    /// One without files.
    pub fn new() -> Tree {
        Tree { directory: tempfile::tempdir().unwrap(), files: BTreeMap::new() }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// With a file.
    pub fn file(self, path: &str, bytes: &[u8]) -> Tree {
        self.row(path, Role::Sysext, bytes)
    }

    /// With a profile `one`, and so many groups, one for each MAC address.
    pub fn groups(mut self, count: u32) -> Tree {
        let profile = r#"{"id":"one","boot":{"kernel":"/assets/kernel","initrd":["/assets/initrd"],"args":["quiet"]},"ignition_id":"one.ign"}"#;
        self = self.row("profiles/one.json", Role::Profile, profile.as_bytes());
        self = self.row("ignition/one.ign", Role::Ignition, br#"{"ignition":{"version":"3.3.0"}}"#);
        for number in 0..count {
            let mac = mac(number);
            let group = format!(r#"{{"id":"n{number}","profile":"one","selector":{{"mac":"{mac}"}}}}"#);
            self = self.row(&format!("groups/n{number}.json"), Role::Group, group.as_bytes());
        }
        self
    }

    /// Writes the manifest.
    pub fn publish(self) -> Tree {
        let manifest = Manifest {
            schema: SCHEMA,
            name: "tree".into(),
            epoch: 1_700_000_000,
            releases: Vec::new(),
            files: self.files.clone(),
            joined: BTreeMap::new(),
        };
        fs::write(self.path().join(FILE_NAME), manifest.to_bytes()).unwrap();
        self
    }

    /// With a file of a role.
    pub fn row(mut self, path: &str, role: Role, bytes: &[u8]) -> Tree {
        let target = self.path().join(path);
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(target, bytes).unwrap();
        let file = File::new(role, bytes.len() as u64, Sha256::of(bytes));
        self.files.insert(path.into(), file);
        self
    }
}

/// The MAC address of a machine.
pub fn mac(number: u32) -> String {
    let [a, b, c, d] = number.to_be_bytes();
    format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}
