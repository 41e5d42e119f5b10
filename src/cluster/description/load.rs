//! A description from a file or a pipe, and the files with SSH keys that it names.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::decode::Origin;
use super::{Cluster, decode, ssh};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::{Finding, Findings, MAX_TEXT, Severity, Source, not_text};
use crate::base::kind;
use crate::base::yaml;
use crate::base::yaml::decode::Spanned;
use crate::cluster::sops::{self, identities::Identities};
use crate::ignition::ssh_keys::{self, Origin as KeyOrigin};

/// Longest file of SSH keys that is looked into, in bytes.
const LONGEST_KEYS: usize = 1 << 20;

/// A path without a description.
#[derive(Debug, thiserror::Error)]
enum Absent {
    #[error("cannot read the cluster's description {}: there is no such file", .0.display())]
    Missing(PathBuf),
    #[error("{} is a directory, not a cluster's description", .0.display())]
    Directory(PathBuf),
}

impl Advice for Absent {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Absent::Missing(_) => "begin with cluster.yaml.example: `prebake schema cluster` and prebake-cluster(5) tell all of its keys".into(),
            Absent::Directory(path) => format!("name the file in it, such as {}", path.join("cluster.yaml").display()),
        })
    }
}

pub(super) fn load(path: &Path) -> Result<(Cluster, Vec<Finding>)> {
    let is_stdin = path == Path::new("-");
    // A pipe is where a program writes what it decrypted; nobody else sees that.
    let is_pipe = is_stdin || fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo());
    let name = if is_stdin { "<stdin>".to_owned() } else { path.display().to_string() };
    let bytes = match is_stdin {
        true => piped().map_err(disk::Error::io("read", Path::new("<stdin>")))?,
        false => disk::read_at_most(path, MAX_TEXT).map_err(|error| -> crate::base::error::Error {
            match error.kind() {
                ErrorKind::NotFound => Absent::Missing(path.to_owned()).into(),
                ErrorKind::IsADirectory => Absent::Directory(path.to_owned()).into(),
                _ => disk::Error::io("read the cluster's description", path)(error).into(),
            }
        })?,
    };
    let text = String::from_utf8(bytes).map_err(|bytes| match kind::of(bytes.as_bytes()) {
        Some(kind::Known { what, advice }) => Findings::from(
            Finding::error(format!("{name} is {what}, not a cluster's description")).hint(advice),
        ),
        None => not_text(&name),
    })?;
    // The paths of a piped text are those of the directory where it is read. The directory is absolute: a path that is relative to it
    // may be joined to it once more, and programs of the site run in it.
    let directory = if is_pipe { Path::new(".") } else { disk::directory_of(path) };
    let directory = std::path::absolute(directory).map_err(disk::Error::io("find", directory))?;
    let source = Source::new(name, text);
    let root = yaml::parse(&source).map_err(|finding| masked(&source, finding))?;
    let (cluster, mut doubts) = if sops::is_encrypted(&root) {
        let identities = Identities::find()?;
        let opened = sops::open(root, &source, &identities).map_err(Findings::from)?;
        let opened = opened.merged(&source).map_err(Findings::from)?;
        decode(&opened, &source, directory, Origin::Encrypted(opened.sealed()))?
    } else {
        let mut root = root;
        yaml::merge::resolve(&mut root, &source).map_err(Findings::from)?;
        decode(&root, &source, directory, if is_pipe { Origin::Piped } else { Origin::Plain })?
    };
    let of_files: Vec<Finding> =
        cluster.ssh_keys.iter().filter_map(|key| of_key_file(key, &cluster.directory)).collect();
    doubts.extend(of_files);
    match doubts.iter().any(|finding| finding.severity == Severity::Error) {
        true => Err(Findings(doubts).into()),
        false => Ok((cluster, doubts)),
    }
}

/// A private key in the place of a description would be shown by the complaint about its first line.
fn masked(source: &Source, finding: Finding) -> Findings {
    match kind::of(source.text.as_bytes()) {
        Some(kind::Known { what, advice }) => {
            Finding::error(format!("{} is {what}, not a cluster's description", source.name))
                .hint(advice)
                .into()
        }
        None if ssh::is_private(&source.text) => finding.without_lines().into(),
        None => finding.into(),
    }
}

fn piped() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > MAX_TEXT {
        true => Err(io::Error::new(ErrorKind::FileTooLarge, "it is longer than a description may be")),
        false => Ok(bytes),
    }
}

/// The finding about a file of SSH keys: people forget `.pub`.
fn of_key_file(key: &Spanned<String>, directory: &Path) -> Option<Finding> {
    if key.value.contains(char::is_whitespace) || key.value.starts_with("github:") {
        return None;
    }
    let path = directory.join(&key.value);
    let fail = |text: String| Finding::error(text).at(key.place.clone());
    let bytes = match disk::read_at_most(&path, LONGEST_KEYS) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let finding = fail(format!("there is no file {} with SSH keys", path.display()));
            return Some(match key.value.starts_with("~") {
                true => finding.hint("write the whole path: no shell reads `~` here"),
                false => finding.hint("an SSH key is a line such as `ssh-ed25519 AAAA… you@host`, a file relative to this one, or `github:USER`"),
            });
        }
        Err(error) => return Some(fail(format!("cannot read the SSH keys in {}: {error}", path.display()))),
    };
    let text = String::from_utf8_lossy(&bytes);
    if ssh::is_private(&text) {
        return Some(
            ssh::private(&key.place).hint(format!("name its public half, such as {}.pub", key.value)),
        );
    }
    let Findings(mut findings) =
        ssh_keys::parse(&Source::new(path.display().to_string(), text), KeyOrigin::Recipe).err()?;
    findings.drain(..).next().map(|finding| fail(format!("{}: {}", path.display(), finding.message)))
}
