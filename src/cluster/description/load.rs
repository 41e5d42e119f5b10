//! A description from a file or a pipe, and the files with SSH keys that it names.

use std::io::ErrorKind;
use std::path::Path;

use zeroize::Zeroizing;

use super::decode::Origin;
use super::{Cluster, decode, ssh};
use crate::base::disk;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, Severity, Source, not_text};
use crate::base::kind;
use crate::base::yaml;
use crate::base::yaml::decode::Spanned;
use crate::cluster::sops::file::{Kind, Taken, take};
use crate::cluster::sops::{self, identities::Identities};
use crate::ignition::ssh_keys::{self, Origin as KeyOrigin};

/// Longest file of SSH keys that is looked into, in bytes.
const LONGEST_KEYS: usize = 1 << 20;

/// The words for a description.
const DESCRIPTION: Kind = Kind {
    read: "read the cluster's description",
    a: "a cluster's description",
    missing: "begin with cluster.yaml.example: `prebake schema cluster` and prebake-cluster(5) tell all of its keys",
    directory: |path| format!("name the file in it, such as {}", path.join("cluster.yaml").display()),
};

pub(super) fn load(path: &Path) -> Result<(Cluster, Vec<Finding>)> {
    let Taken { name, bytes, is_pipe } = take(path, &DESCRIPTION)?;
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
    sops::whole(&root, &source).map_err(Findings::from)?;
    let (cluster, mut doubts) = if sops::is_encrypted(&root) {
        sops::alone(&root, &source).map_err(Findings::from)?;
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

/// A private key in the place of a description would be shown by the complaint about its first line, and a secret in clear text by one
/// about a line of an encrypted description.
fn masked(source: &Source, finding: Finding) -> Findings {
    match kind::of(source.text.as_bytes()) {
        Some(kind::Known { what, advice }) => {
            Finding::error(format!("{} is {what}, not a cluster's description", source.name))
                .hint(advice)
                .into()
        }
        None if ssh::is_private(&source.text) || sops::is_sealed_text(&source.text) => {
            finding.without_lines().into()
        }
        None => finding.into(),
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

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = include_str!("../../../tests/data/sops/cluster.yaml");

    /// Review of issue 20: what was wrong with an encrypted file of secrets was wrong with an encrypted description.
    #[test]
    fn an_encrypted_description_is_whole_and_alone_and_no_fault_of_it_shows_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.yaml");
        let at = CLUSTER.find("\nsops:").unwrap() + 1;
        for (text, words) in [
            (CLUSTER[..at].to_owned(), "sops metadata is missing"),
            (format!("{CLUSTER}---\nhunter2: hunter2\n"), "more behind the first document"),
            (CLUSTER.replacen("    token: ", "    token: hunter2: ", 1), "not YAML"),
        ] {
            std::fs::write(&path, text).unwrap();
            let told = load(&path).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(
                told.contains(words) && !told.contains("hunter2") && !told.contains("ENC["),
                "{words}: {told}"
            );
        }
    }
}
