//! `bundle.json`: the list of a bundle's members, in the bytes that its signers sign.
//!
//! It gives the length and the digest of every member after it. It does not state what follows from these: positions of
//! members, names of trees and their BUILD-IDs are derived, so a bundle cannot contradict itself about them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Error, INDEX};
use crate::base::canonical::{self, rfc3339};
use crate::base::digest::Sha256;
use crate::base::words;
use crate::format::tar::MOST_OCTAL;
use crate::tree::names::{self, CHECKSUMS, below};

/// Version of the format; raised when the meaning of a field or the form of the file changes.
pub const SCHEMA: u32 = 1;
/// Upper limit for the length of an index that is read, in bytes: some 300 000 members.
pub(crate) const MOST_BYTES: u64 = 64 << 20;
/// A first guide for a person who has only this file.
pub(crate) const README: &str = "README";
/// Directory of the public keys, by file name.
pub(crate) const KEYS: &str = "keys";
/// Directory of the binaries of prebake, by architecture.
pub(crate) const BINARIES: &str = "bin";
/// Directory of the trees, by name.
pub(crate) const TREES: &str = "trees";

/// Upper limits for a member's path and for one name in it, in bytes; file systems accept no longer names.
const MOST_PATH: usize = 1024;
const MOST_NAME: usize = 255;

/// The signed list of a bundle's members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Version of the format: [`SCHEMA`].
    pub schema: u32,
    /// Name under which sites remember it; later bundles of one name replace earlier ones.
    pub name: String,
    /// Number among the bundles of this name; a site refuses a number lower than the highest it has seen.
    pub sequence: u64,
    /// Modification time of all members, in seconds since 1970.
    pub epoch: u64,
    /// Time after which it is refused, in whole seconds.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "rfc3339")]
    pub expires: Option<SystemTime>,
    /// Every member after the index, by path.
    pub members: BTreeMap<String, Member>,
}

/// Length, digest and mode of one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Length of the member's data, in bytes.
    pub size: u64,
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
    /// Mode 0755 instead of 0644.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub executable: bool,
}

impl Member {
    /// The entry for a member with these bytes, not executable.
    pub fn of(bytes: &[u8]) -> Self {
        Member { size: bytes.len() as u64, sha256: Sha256::of(bytes), executable: false }
    }
}

/// A tree in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeName<'i> {
    /// The recipe's name.
    pub name: &'i str,
    /// SHA-256 of its manifest; the BUILD-ID is its beginning.
    pub manifest: &'i Sha256,
}

impl TreeName<'_> {
    /// The BUILD-ID, as [`crate::tree::manifest::Manifest::build_id`] gives it.
    pub fn build_id(&self) -> String {
        names::build_id(self.manifest)
    }
}

/// Directory of a tree in a bundle, with a trailing slash.
pub(crate) fn directory(tree: &str) -> String {
    format!("{TREES}/{tree}/")
}

/// Reason why a bundle, or a tree in one, cannot have this name; `None` if it can.
pub(crate) fn name_flaw(name: &str) -> Option<&'static str> {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-_.+".contains(letter);
    match () {
        _ if name.is_empty() || name.len() > 128 => Some("a name has 1 to 128 characters"),
        _ if name.starts_with('.') || !name.chars().all(letter) => {
            Some("a name has letters, digits, `-`, `_`, `+` and `.`, and does not begin with `.`")
        }
        _ => None,
    }
}

impl Index {
    /// Reads an index; `subject` names the bundle in errors.
    ///
    /// # Errors
    /// Another schema, a member that no bundle holds, or bytes that are not exactly what [`Index::to_bytes`] writes: a name
    /// twice, another order, another spelling of a number.
    pub fn parse(subject: &str, bytes: &[u8]) -> Result<Self, Error> {
        let flaw = |reason: String| Error::Index { subject: subject.into(), reason };
        let syntax = |error: serde_json::Error| flaw(words::of_serde(&error));
        let found = canonical::schema_of(bytes).map_err(syntax)?;
        if found != SCHEMA {
            return Err(Error::Schema { subject: subject.into(), found });
        }
        let index: Index = serde_json::from_slice(bytes).map_err(syntax)?;
        index.check().map_err(flaw)?;
        let canonical = index.to_bytes();
        match bytes == canonical {
            true => Ok(index),
            false => Err(flaw(difference(bytes, &canonical))),
        }
    }

    /// The canonical bytes, which are signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::canonical_json(self)
    }

    /// The trees, by name.
    pub fn trees(&self) -> impl Iterator<Item = TreeName<'_>> {
        let members = self.members.range(format!("{TREES}/")..format!("{TREES}0"));
        members.filter_map(|(path, member)| {
            let (name, file) = below(path, TREES)?.split_once('/')?;
            (file == names::MANIFEST).then_some(TreeName { name, manifest: &member.sha256 })
        })
    }

    /// The members of one tree, by their paths in it.
    pub(crate) fn tree<'i>(&'i self, name: &str) -> impl Iterator<Item = (&'i str, &'i Member)> {
        let directory = directory(name);
        let length = directory.len();
        self.members
            .range(directory.clone()..)
            .take_while(move |(path, _)| path.starts_with(&directory))
            .map(move |(path, member)| (&path[length..], member))
    }

    /// Content of [`CHECKSUMS`], as it follows from the other members.
    pub fn checksums(&self) -> Vec<u8> {
        let others = self.members.iter().filter(|(path, _)| *path != CHECKSUMS);
        others.map(|(path, member)| format!("{}  {path}\n", member.sha256)).collect::<String>().into_bytes()
    }

    /// Checks what serde does not: names, paths, and members that contradict each other.
    fn check(&self) -> Result<(), String> {
        if let Some(flaw) = name_flaw(&self.name) {
            return Err(format!("it is called `{}`: {flaw}", self.name.escape_debug()));
        }
        if self.epoch > MOST_OCTAL {
            return Err(format!("its epoch {} is beyond the largest time that tar can store", self.epoch));
        }
        for path in self.members.keys() {
            if let Some(flaw) = path_flaw(path) {
                return Err(format!("its member `{}` {flaw}", path.escape_debug()));
            }
            let mut above = path.match_indices('/').map(|(cut, _)| &path[..cut]);
            if let Some(file) = above.find(|above| self.members.contains_key(*above)) {
                return Err(format!("it names `{file}` as a file and as the directory of `{path}`"));
            }
        }
        let trees: BTreeSet<_> = self.trees().map(|tree| tree.name).collect();
        let orphan = |path: &&String| {
            let tree = below(path, TREES).and_then(|rest| rest.split_once('/'));
            tree.is_some_and(|(name, _)| !trees.contains(name))
        };
        if let Some(path) = self.members.keys().find(orphan) {
            return Err(format!("it names `{path}` of a tree without a {}", names::MANIFEST));
        }
        // People who unpack by hand check the files against this list, so it must agree with the index.
        match self.members.get(CHECKSUMS) == Some(&Member::of(&self.checksums())) {
            true => Ok(()),
            false => Err(format!("its {CHECKSUMS} does not list the digests of its members")),
        }
    }
}

/// Reason why no bundle holds a member of this path; `None` if it may.
fn path_flaw(path: &str) -> Option<&'static str> {
    let (room, rest) = path.split_once('/').unwrap_or((path, ""));
    let in_tree = rest.split_once('/').map_or("", |(_, in_tree)| in_tree);
    match () {
        _ if !canonical::is_contained_in_url(path) => Some("is not a path inside the bundle"),
        _ if path.chars().any(char::is_control) => Some("has a control character in its name"),
        _ if path.len() > MOST_PATH || path.split('/').any(|name| name.len() > MOST_NAME) => {
            Some("is longer than file systems allow")
        }
        _ if in_tree.split('/').next() == Some(names::PRIVATE) && room == TREES => {
            Some("is private: bundles hold no secrets")
        }
        _ => match room {
            README | CHECKSUMS if rest.is_empty() => None,
            KEYS | BINARIES if !rest.is_empty() => None,
            TREES if !in_tree.is_empty() => match name_flaw(&rest[..rest.len() - in_tree.len() - 1]) {
                Some(_) => Some("belongs to a tree with an invalid name"),
                None => None,
            },
            INDEX | super::SIGNATURES => Some("is reserved for the index and its signatures"),
            _ => Some("has no place in a bundle"),
        },
    }
}

/// The first line that differs from the canonical form.
fn difference(found: &[u8], canonical: &[u8]) -> String {
    let mut lines = canonical.split(|byte| *byte == b'\n');
    let differs = |line: &[u8]| lines.next() != Some(line);
    let number = found.split(|byte| *byte == b'\n').position(differs).unwrap_or_default();
    let line = found.split(|byte| *byte == b'\n').nth(number).unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let line: String = line.trim().chars().filter(|letter| !letter.is_control()).take(80).collect();
    format!("line {} is not in prebake's canonical form (each entry once, in order): `{line}`", number + 1)
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    /// An index of these members.
    pub(crate) fn index(members: &[(&str, &[u8])]) -> Index {
        let mut index = Index {
            schema: SCHEMA,
            name: "small".into(),
            sequence: 7,
            epoch: 1_700_000_000,
            expires: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000)),
            members: members.iter().map(|(path, bytes)| ((*path).to_owned(), Member::of(bytes))).collect(),
        };
        index.members.insert(CHECKSUMS.into(), Member::of(&index.checksums()));
        index
    }

    fn refused(index: &Index) -> String {
        Index::parse("x.bundle", &index.to_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn an_index_says_again_what_was_written_and_which_trees_it_has() {
        let index = index(&[
            ("README", b"read"),
            ("trees/a/manifest.json", b"{}"),
            ("trees/a/assets/x", b"x"),
            ("trees/a-b/manifest.json", b"{ }"),
        ]);
        assert_eq!(Index::parse("x", &index.to_bytes()).unwrap(), index);
        let names: Vec<_> = index.trees().map(|tree| tree.name).collect();
        assert_eq!(names, ["a-b", "a"], "in the order of their members");
        let first = index.trees().next().unwrap();
        assert_eq!(first.build_id(), Sha256::of(b"{ }").to_string()[..16]);
        let files: Vec<_> = index.tree("a").map(|(path, _)| path).collect();
        assert_eq!(files, ["assets/x", "manifest.json"]);
    }

    #[test]
    fn members_that_no_bundle_holds_are_refused_by_name() {
        for (path, reason) in [
            ("../etc/passwd", "not a path inside"),
            ("/etc/passwd", "not a path inside"),
            ("trees/a/../../x", "not a path inside"),
            ("trees/a/b\\c", "not a path inside"),
            ("trees/a/b\nc", "control character"),
            ("trees/a/private/ignition/x.ign", "is private"),
            ("trees/.a/manifest.json", "an invalid name"),
            ("trees/manifest.json", "has no place in a bundle"),
            ("bundle.json", "reserved for the index"),
            ("signatures/X.minisig", "reserved for the index"),
            ("bin", "has no place in a bundle"),
            ("etc/passwd", "has no place in a bundle"),
        ] {
            let message = refused(&index(&[("trees/a/manifest.json", b"{}"), (path, b"x")]));
            assert!(message.contains(reason), "{path}: {message}");
        }
        let long = format!("trees/a/{}", "x".repeat(256));
        assert!(refused(&index(&[(&long, b"x")])).contains("longer than"), "{long}");
    }

    #[test]
    fn an_index_that_contradicts_itself_is_refused() {
        let both = index(&[("keys/a", b"1"), ("keys/a/b", b"2")]);
        assert!(refused(&both).contains("`keys/a` as a file and as the directory of `keys/a/b`"));
        let orphan = index(&[("trees/a/x", b"1")]);
        assert!(refused(&orphan).contains("`trees/a/x` of a tree without a manifest.json"));
        let mut other = index(&[("README", b"1")]);
        other.members.insert("README".into(), Member::of(b"2"));
        assert!(refused(&other).contains("SHA256SUMS does not list"));
        let newer = Index { schema: 2, ..index(&[]) };
        assert!(refused(&newer).contains("schema 2"));
    }

    #[test]
    fn only_one_spelling_of_an_index_is_read() {
        let text = String::from_utf8(index(&[("README", b"1")]).to_bytes()).unwrap();
        let blank = text.replace("\"sequence\": 7", "\"sequence\":  7");
        let twice =
            text.replace("\"README\": {", "\"README\": {\"size\":0,\"sha256\":\"00\"},\n    \"README\": {");
        for changed in [&blank, &twice, &format!("{text}\n"), &text.replace("\n}", "}")] {
            assert_ne!(*changed, text);
            assert!(Index::parse("x", changed.as_bytes()).is_err(), "{changed}");
        }
        let message = Index::parse("x", blank.as_bytes()).unwrap_err().to_string();
        assert!(message.contains("line 16") && message.contains("sequence"), "{message}");
    }
}
