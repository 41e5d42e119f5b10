//! Both sides of a lock that git could not merge.
//!
//! The text with the marks is not enough: where one side alone changed a line, git wrote that into both, and half an entry of
//! each is an entry of nobody. So the sides come from git's index, as long as the text is what git made of them. They come
//! from the marks where the index has none any more, or where somebody edited the text outside the marks; an entry of two
//! halves then fails its verification.
//!
//! git runs with the caller's configuration, but without its environment, which may name another repository (githooks(5)), and
//! without a network, which a partial clone would use.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::lock::{Error, Lock};
use crate::base::{conflict, disk};
use crate::format::limited::Limited;

/// Longest lock that is taken apart, in bytes. One of thousands of inputs has less than 1 MiB.
const MAX_LOCK: usize = 16 << 20;
/// Longest wait for one answer of git.
const PATIENCE: Duration = Duration::from_secs(10);
/// Arguments before each of git's verbs. A monitor of the file system is a program of the repository's choice
/// (git-config(1), `core.fsmonitor`).
const ARGS: [&str; 3] = ["--no-pager", "-c", "core.fsmonitor=false"];
/// Environment of git (git(1)). No transport has the name `none`; versions before 2.45 do not know `GIT_NO_LAZY_FETCH`.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("GIT_NO_LAZY_FETCH", "1"),
    ("GIT_ALLOW_PROTOCOL", "none"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_OPTIONAL_LOCKS", "0"),
];
/// Stages of a file in the index during a merge (git-merge(1)). A file that both sides added has no base.
const BASE: u8 = 1;
const OURS: u8 = 2;
const THEIRS: u8 = 3;

/// A lock that git could not merge.
#[derive(Debug)]
pub(crate) struct Unmerged {
    /// The whole lock of each side, ours first.
    pub sides: [Lock; 2],
    /// The source of the sides.
    pub origin: Origin,
}

/// Where the sides of a conflict were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In git's index.
    Index,
    /// Between the marks: git's index has no sides, or there is no git.
    Marks,
    /// Between the marks, although the index has sides: the text is not what git made of them.
    Edited,
}

/// Takes apart a lock that git could not merge; `None` where there is no lock, or one without a conflict.
///
/// # Errors
/// [`Error::Side`] where a side is no lock, and [`Error::Syntax`] where the file is no text of a lock's length.
pub(crate) fn read(path: &Path) -> crate::base::error::Result<Option<Unmerged>> {
    let read = || {
        let bytes = disk::read_at_most(path, MAX_LOCK)?;
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    };
    let text = match read() {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // `Lock::load` says what is wrong with it.
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(None),
        Err(error) => return Err(disk::Error::io("read the lock", path)(error).into()),
    };
    let Some(line) = conflict::first(&text) else { return Ok(None) };
    let not_a_lock = |side| move || Error::Side { path: path.into(), line, side };
    let marked = conflict::sides(&text).ok_or_else(not_a_lock("a"))?;
    let (origin, [ours, theirs]) = match of_index(path) {
        Some(index) if is_merge(&index, &marked) => (Origin::Index, index.sides),
        Some(_) => (Origin::Edited, marked),
        None => (Origin::Marks, marked),
    };
    let of = |text: &str, side| Lock::parse(path, text).map_err(|_| not_a_lock(side)());
    Ok(Some(Unmerged { sides: [of(&ours, "our")?, of(&theirs, "their")?], origin }))
}

/// The texts of a conflict as git's index has them.
struct Index {
    /// Empty if there was none.
    base: String,
    sides: [String; 2],
}

fn of_index(path: &Path) -> Option<Index> {
    let stage = |number| stage(path, number, PATIENCE);
    let sides = [stage(OURS)?, stage(THEIRS)?];
    Some(Index { base: stage(BASE).unwrap_or_default(), sides })
}

/// A file's text in a stage of the index; `None` if git has none, or takes longer than `patience`.
fn stage(path: &Path, number: u8, patience: Duration) -> Option<String> {
    let mut git = Command::new("git");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"GIT_")) {
        git.env_remove(name);
    }
    git.envs(ENVIRONMENT).args(ARGS).arg("-C").arg(disk::directory_of(path));
    git.args(["cat-file", "blob", &format!(":{number}:./{}", path.file_name()?.to_str()?)]);
    let mut git = git.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
    let output = git.stdout.take()?;
    let (sender, answer) = mpsc::channel();
    thread::spawn(move || sender.send(io::read_to_string(Limited::new(output, MAX_LOCK as u64))));
    let text = answer.recv_timeout(patience).ok().and_then(Result::ok);
    if text.is_none() {
        // It may have ended by itself.
        let _ = git.kill();
    }
    let is_success = git.wait().is_ok_and(|status| status.success());
    text.filter(|_| is_success)
}

/// Whether the texts of a marked file are a merge of the index's. Each line, below its keys, stands between the marks as the
/// sides have it, or outside as the merge of three has it: as the side that changed it.
fn is_merge(index: &Index, marked: &[String; 2]) -> bool {
    let base = lines(&index.base);
    let [ours, theirs] = index.sides.each_ref().map(|text| lines(text));
    let [in_ours, in_theirs] = marked.each_ref().map(|text| lines(text));
    let all: BTreeSet<_> = [&base, &ours, &theirs, &in_ours, &in_theirs].into_iter().flatten().collect();
    all.into_iter().all(|line| {
        let (base, ours, theirs) = (base.contains(line), ours.contains(line), theirs.contains(line));
        let merged = if ours == base { theirs } else { ours };
        let found = (in_ours.contains(line), in_theirs.contains(line));
        found == (ours, theirs) || found == (merged, merged)
    })
}

/// Every line of a lock behind the lines above it that are indented less, its keys; without comments.
fn lines(text: &str) -> BTreeSet<Vec<&str>> {
    let mut above: BTreeMap<usize, &str> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for line in text.lines().map(str::trim_end) {
        let word = line.trim_start();
        if word.is_empty() || word.starts_with('#') {
            continue;
        }
        // serde_yaml writes the items of a list below the first letter of their key.
        let indent = 2 * (line.len() - word.len()) + usize::from(word.starts_with("- "));
        drop(above.split_off(&indent));
        all.insert(above.values().copied().chain([word]).collect());
        above.insert(indent, word);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const BASE_TEXT: &str =
        "schema: 2\ninputs:\n  a:\n    size: 1\n    signer: X\n  b:\n    size: 1\n    signer: X\n";

    fn texts(ours: &str, theirs: &str) -> (Index, [String; 2]) {
        let sides = [ours, theirs].map(str::to_owned);
        (Index { base: BASE_TEXT.into(), sides: sides.clone() }, sides)
    }

    #[test]
    fn lines_that_one_side_alone_changed_may_stand_in_both_and_nothing_else_may_differ() {
        let ours = BASE_TEXT.replace("a:\n    size: 1", "a:\n    size: 2");
        let theirs = BASE_TEXT
            .replace("a:\n    size: 1", "a:\n    size: 3")
            .replace("b:\n    size: 1\n    signer: X\n", "");
        let (index, sides) = texts(&ours, &theirs);
        assert!(is_merge(&index, &sides));
        // git writes the removal of `b` into both.
        let merged = ours.replace("  b:\n    size: 1\n    signer: X\n", "");
        assert!(is_merge(&index, &[merged.clone(), sides[1].clone()]));
        let by_windows = merged.replace('\n', "\r\n");
        assert!(is_merge(&index, &[format!("# a comment\n{by_windows}"), sides[1].clone()]));
        for (edited, why) in [
            (merged.replace("schema: 2", "schema: 1"), "changed"),
            (merged.replace("    signer: X\n", ""), "removed"),
            (format!("{merged}  c:\n    size: 1\n"), "added"),
            (merged.replace("size: 2", "size: 3"), "a side's lines taken for the other's"),
        ] {
            assert!(!is_merge(&index, &[edited, sides[1].clone()]), "{why}");
        }
    }

    #[test]
    fn lines_are_known_by_all_their_keys() {
        let all = lines("keys:\n  octo:\n  - ssh a\n  other:\n  - ssh b\ninputs: {}\n");
        let of = |words: &[&str]| all.contains(words);
        assert!(
            of(&["keys:", "octo:", "- ssh a"]) && of(&["keys:", "other:", "- ssh b"]) && of(&["inputs: {}"])
        );
        assert_eq!(all.len(), 6);
    }

    #[test]
    fn a_longer_text_than_a_lock_is_refused() {
        let read =
            |length: u64| io::read_to_string(Limited::new(io::repeat(b'a').take(length), MAX_LOCK as u64));
        assert_eq!(read(MAX_LOCK as u64).unwrap().len(), MAX_LOCK);
        assert_eq!(read(MAX_LOCK as u64 + 1).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
