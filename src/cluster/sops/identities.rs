//! age identities, from where sops looks for them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::base::disk;
use crate::base::error::{Advice, Exit};

/// Longest file of identities, in bytes; one has a line of 74 characters.
const LONGEST: usize = 1 << 20;

/// Identities, and the places where they were sought.
#[derive(Default)]
pub struct Identities {
    known: Vec<age::x25519::Identity>,
    sought: Vec<String>,
}

/// Identities cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] disk::Error),
    /// A line is no identity. It is not shown: it may be one with a slip.
    #[error("line {line} of {place} is not an age identity")]
    Line {
        /// File or variable.
        place: String,
        /// Number of the line, from 1.
        line: usize,
        /// The kind of text that it looks like.
        like: Option<&'static str>,
    },
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Read(error) => Some(error),
            Error::Line { .. } => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::Read(_) => self.inner_exit(),
            Error::Line { .. } => Exit::Trust,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Read(_) => self.inner_hint(),
            Error::Line { like: Some(like), .. } => {
                Some(format!("it looks like {like}, which prebake does not use: {}", super::PIPE))
            }
            Error::Line { like: None, .. } => {
                Some("an identity is a line `AGE-SECRET-KEY-1…`, as `age-keygen` makes it".into())
            }
        }
    }
}

impl Identities {
    /// Those of a text: a line each; blank lines and lines with `#` are skipped.
    ///
    /// # Errors
    /// A line that is no identity.
    pub fn parse(text: &str, place: &str) -> Result<Identities, Error> {
        let mut identities = Identities { known: Vec::new(), sought: vec![place.to_owned()] };
        for (at, line) in text.lines().enumerate() {
            // SOPS_AGE_KEY may have several on a line.
            for word in line.split('#').next().unwrap_or_default().split_whitespace() {
                let identity = word.parse().map_err(|_| Error::Line {
                    place: place.to_owned(),
                    line: at + 1,
                    like: like(text, word),
                })?;
                identities.known.push(identity);
            }
        }
        Ok(identities)
    }

    /// Those of SOPS_AGE_KEY, of the file SOPS_AGE_KEY_FILE, and of `sops/age/keys.txt` in the user's directory of settings.
    ///
    /// # Errors
    /// A file that is named and cannot be read, or a line that is no identity.
    pub fn find() -> Result<Identities, Error> {
        let mut all = Identities::default();
        if let Some(text) = env::var_os("SOPS_AGE_KEY").map(OsString::into_string) {
            let text = Zeroizing::new(text.unwrap_or_default());
            all.add(Identities::parse(&text, "SOPS_AGE_KEY")?);
        } else {
            all.sought.push("SOPS_AGE_KEY".into());
        }
        match env::var_os("SOPS_AGE_KEY_FILE").filter(|path| !path.is_empty()) {
            Some(path) => all.add(read(Path::new(&path), &path.to_string_lossy())?),
            None => all.sought.push("SOPS_AGE_KEY_FILE".into()),
        }
        if let Some(path) = usual() {
            match path.exists() {
                true => all.add(read(&path, &path.display().to_string())?),
                false => all.sought.push(path.display().to_string()),
            }
        }
        Ok(all)
    }

    fn add(&mut self, others: Identities) {
        self.known.extend(others.known);
        self.sought.extend(others.sought);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// The places where they were sought, for messages.
    pub fn sought(&self) -> String {
        match self.sought.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => self.sought.concat(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.known.iter().map(|identity| identity as &dyn age::Identity)
    }
}

fn read(path: &Path, place: &str) -> Result<Identities, Error> {
    let bytes = Zeroizing::new(
        disk::read_at_most(path, LONGEST).map_err(disk::Error::io("read the age identities", path))?,
    );
    Identities::parse(&String::from_utf8_lossy(&bytes), place)
}

/// Where sops and age keep identities.
fn usual() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let settings = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some(settings.join("sops/age/keys.txt"))
}

/// The kind of text that was taken for an identity, if it is known.
fn like(text: &str, word: &str) -> Option<&'static str> {
    if text.contains("AGE ENCRYPTED FILE") || text.starts_with("age-encryption.org") {
        Some("an identity that is encrypted itself")
    } else if word.starts_with("AGE-PLUGIN-") {
        Some("an identity of a plugin")
    } else if word.starts_with("AGE-SECRET-KEY-PQ-") {
        Some("an identity for the time of quantum computers")
    } else if text.contains("PRIVATE KEY") {
        Some("an SSH key")
    } else if word.starts_with("age1") {
        Some("a recipient, which is the public half")
    } else {
        None
    }
}
