//! Arguments of all verbs that sign or judge signatures: the sources of keys and passphrases.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use zeroize::Zeroizing;

use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::plain;
use crate::trust::minisign::{MAX_BYTES, PublicKey, Secret, SecretKey};
use crate::trust::signers::Trust;

/// The variable with the passphrase, for use without a terminal.
const PASSPHRASE: &str = "PREBAKE_SIGN_PASSPHRASE";

/// The signers.
#[derive(Args)]
pub(crate) struct SignArgs {
    /// Sign with this secret key, made by `prebake key generate` or minisign; once for each signer
    ///
    /// The variable may hold the key's text instead of the file's name.
    #[arg(
        long = "sign-key",
        value_name = "FILE",
        env = "PREBAKE_SIGN_KEY",
        hide_env_values = true,
        help_heading = "Signing"
    )]
    sign_keys: Vec<KeySource>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// The trusted signers.
#[derive(Args)]
pub(crate) struct TrustArgs {
    /// Believe this public key: a file, or its line of base64; once for each key, or separated by commas
    #[arg(
        long,
        value_name = "FILE|KEY",
        env = "PREBAKE_TRUST",
        value_delimiter = ',',
        help_heading = "Trust"
    )]
    trust: Vec<KeySource>,
    /// How many of the trusted keys must have signed
    #[arg(long, value_name = "N", default_value_t = 1, requires = "trust", help_heading = "Trust")]
    threshold: usize,
}

/// The passphrase of a secret key.
#[derive(Args)]
pub(crate) struct PassphraseArgs {
    /// Read the passphrase of the secret key from the first line of this file
    ///
    /// Without it the passphrase is taken from PREBAKE_SIGN_PASSPHRASE, or else asked for.
    #[arg(long, value_name = "FILE", help_heading = "Signing")]
    passphrase_file: Option<PathBuf>,
}

/// Source of a key. It may be a secret key itself, so it is never printed.
#[derive(Clone)]
struct KeySource(Zeroizing<Vec<u8>>);

impl SignArgs {
    /// The places of the keys that are files, so that no output overwrites one.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.sign_keys.iter().map(|KeySource(text)| Path::new(OsStr::from_bytes(text)))
    }
}

impl From<OsString> for KeySource {
    fn from(value: OsString) -> Self {
        KeySource(Zeroizing::new(value.into_encoded_bytes()))
    }
}

/// Reasons why a key or passphrase is not available.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{subject} needs its passphrase, and there is no terminal to ask for it on")]
    NoTerminal { subject: String, source: io::Error },
    #[error("{subject} would be sealed with an empty passphrase, which protects nothing")]
    Empty { subject: String },
    #[error("the two passphrases for {subject} differ")]
    Differ { subject: String },
    #[error("{} is not text of at most {MAX_BYTES} bytes", .0.display())]
    NotText(PathBuf),
    #[error("{PASSPHRASE} is not text")]
    Variable,
    #[error("a key was given, but its path is empty")]
    Nameless,
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::NoTerminal { .. } => {
                format!("give --passphrase-file FILE, or put the passphrase into {PASSPHRASE}")
            }
            Error::Empty { .. } => {
                "--no-passphrase makes an open key, for machines that keep it elsewhere".into()
            }
            Error::Differ { .. } => "run it again and type the same passphrase twice".into(),
            Error::Nameless => "in CI, the secret may not be set for this job".into(),
            Error::NotText(_) | Error::Variable => return None,
        };
        Some(hint)
    }
}

impl SignArgs {
    /// The signers' keys, unlocked; empty if nobody signs. Warns of key files that others can read.
    pub(crate) fn keys(&self) -> Result<Vec<SecretKey>> {
        self.sign_keys.iter().map(|source| source.secret(&self.passphrase)).collect()
    }
}

impl TrustArgs {
    /// Whether the user named a key.
    pub(crate) fn is_given(&self) -> bool {
        !self.trust.is_empty()
    }

    /// The trusted keys, if the user named any.
    pub(crate) fn trust(&self) -> Result<Option<Trust>> {
        if !self.is_given() {
            return Ok(None);
        }
        // In `a.pub, b.pub`, blanks beside a comma are not part of a name.
        let keys = self.trust.iter().map(|key| key.trimmed().public()).collect::<Result<Vec<_>>>()?;
        Ok(Some(Trust::new(keys, self.threshold)?))
    }
}

impl PassphraseArgs {
    /// Gets the passphrase of an existing key.
    pub(crate) fn of(&self, subject: &str) -> Result<Zeroizing<String>> {
        match self.given()? {
            Some(passphrase) => Ok(passphrase),
            None => ask(subject, &format!("Passphrase of {subject}: ")),
        }
    }

    /// Gets the passphrase for a new key, asking twice if it is typed.
    pub(crate) fn new_one(&self, subject: &str) -> Result<Zeroizing<String>> {
        let passphrase = match self.given()? {
            Some(passphrase) => passphrase,
            None => {
                let passphrase = ask(subject, &format!("New passphrase for {subject}: "))?;
                if !passphrase.is_empty() && passphrase != ask(subject, "Repeat it: ")? {
                    return Err(Error::Differ { subject: subject.into() }.into());
                }
                passphrase
            }
        };
        match passphrase.is_empty() {
            true => Err(Error::Empty { subject: subject.into() }.into()),
            false => Ok(passphrase),
        }
    }

    /// Reads it from the file, else from the variable.
    fn given(&self) -> Result<Option<Zeroizing<String>>> {
        if let Some(path) = &self.passphrase_file {
            let text = read_text(path)?;
            warn_if_others_can_read("passphrase file", path);
            // Line ends and Windows editors' byte order mark are not part of it.
            let line = plain(&text).lines().next().unwrap_or_default();
            return Ok(Some(Zeroizing::new(line.to_owned())));
        }
        let value =
            std::env::var_os(PASSPHRASE).map(|value| value.into_string().map_err(|_| Error::Variable));
        Ok(value.transpose()?.map(Zeroizing::new))
    }
}

/// Asks on the terminal, which need not be standard input.
fn ask(subject: &str, prompt: &str) -> Result<Zeroizing<String>> {
    let typed = rpassword::prompt_password(prompt);
    if typed.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::Interrupted) {
        crate::base::unfinished::await_end();
    }
    Ok(Zeroizing::new(typed.map_err(|source| Error::NoTerminal { subject: subject.into(), source })?))
}

impl KeySource {
    /// The key's text, if that was given instead of a path: the text of a key file, or its base64 line of 42 or 158
    /// bytes that begin with `Ed`.
    fn as_text(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.0).ok()?.trim();
        let is_line = text.starts_with("RW") && [56, 212].contains(&text.len());
        (text.starts_with("untrusted comment:") || is_line).then_some(text)
    }

    fn trimmed(&self) -> KeySource {
        KeySource(Zeroizing::new(self.0.trim_ascii().to_vec()))
    }

    fn path(&self) -> Result<&Path> {
        match self.0.is_empty() {
            true => Err(Error::Nameless.into()),
            false => Ok(Path::new(OsStr::from_bytes(&self.0))),
        }
    }

    fn secret(&self, passphrase: &PassphraseArgs) -> Result<SecretKey> {
        let (subject, secret) = match self.as_text() {
            Some(text) => {
                let subject = "the key in PREBAKE_SIGN_KEY".to_owned();
                let secret = SecretKey::parse(&subject, text)?;
                (subject, secret)
            }
            None => {
                let path = self.path()?;
                let subject = path.display().to_string();
                let secret = SecretKey::parse(&subject, &read_text(path)?)?;
                warn_if_others_can_read("secret key", path);
                (subject, secret)
            }
        };
        match secret {
            Secret::Open(key) => Ok(key),
            Secret::Locked(locked) => Ok(locked.unlock(&passphrase.of(&subject)?)?),
        }
    }

    fn public(&self) -> Result<PublicKey> {
        Ok(match self.as_text() {
            Some(text) => PublicKey::parse("the trusted key", text)?,
            None => read_public(self.path()?)?,
        })
    }
}

/// Reads a public key file.
pub(crate) fn read_public(path: &Path) -> Result<PublicKey> {
    Ok(PublicKey::parse(&path.display().to_string(), &read_text(path)?)?)
}

/// Parses a file that may be a secret key, without unlocking it.
pub(crate) fn secret_in(path: &Path) -> Option<Secret> {
    SecretKey::parse(&path.display().to_string(), &read_text(path).ok()?).ok()
}

/// Reads a secret key file and unlocks it.
pub(crate) fn read_secret(path: &Path, passphrase: &PassphraseArgs) -> Result<SecretKey> {
    KeySource::from(path.as_os_str().to_owned()).secret(passphrase)
}

/// Reads a key or passphrase file into memory that is cleared.
fn read_text(path: &Path) -> Result<Zeroizing<String>> {
    let file = File::open(path).map_err(disk::Error::io("open", path))?;
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES + 1));
    match file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text) {
        Ok(length) if length <= MAX_BYTES => Ok(text),
        Err(error) if error.kind() != io::ErrorKind::InvalidData => {
            Err(disk::Error::io("read", path)(error).into())
        }
        _ => Err(Error::NotText(path.to_owned()).into()),
    }
}

/// For key files and passphrase files alike, because anyone who has both can sign.
pub(crate) fn warn_if_others_can_read(what: &str, path: &Path) {
    // Terminals and pipes have other permissions.
    let file = fs::metadata(path).ok().filter(fs::Metadata::is_file);
    let mode = file.map_or(0, |metadata| metadata.permissions().mode() & 0o777);
    if mode & 0o077 != 0 {
        let path = path.display();
        tell!("warning: others can read or write the {what} {path} (mode {mode:04o}): chmod 600 {path}");
    }
}
