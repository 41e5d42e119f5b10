//! The server and the token: from the environment, from a file that only its owner reads, or from a file of SOPS.
//!
//! Owns where they are looked for. A token is no argument: arguments are seen by every user of the machine (proc(5), `cmdline`).

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use zeroize::Zeroizing;

use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::{Finding, Findings, Source, not_text};
use crate::base::yaml::{Kind, Node};
use crate::proxmox::Limits;
use crate::proxmox::token::{NAME, SECRET, Token, URL};
use crate::proxmox::wire::{Trust, Wire};

/// Longest file of credentials, in bytes: clusterctl's has a page.
const LONGEST: usize = 1 << 20;
/// Longest file of certificates, in bytes.
const LONGEST_PEM: usize = 1 << 20;

/// The server and the token.
#[derive(Args)]
pub(super) struct ConnectArgs {
    /// Proxmox VE's API, such as `https://pve.example.org:8006`
    #[arg(long, value_name = "URL", env = URL, help_heading = "Proxmox VE")]
    url: Option<String>,
    /// File with PROXMOX_URL, PROXMOX_TOKEN (USER@REALM!NAME) and PROXMOX_SECRET, in YAML, such as clusterctl's; encrypted by SOPS,
    /// or readable by its owner alone [default: these variables]
    #[arg(long, value_name = "FILE", help_heading = "Proxmox VE")]
    credentials: Option<PathBuf>,
    /// Trust these CA certificates (PEM), too, such as a node's /etc/pve/pve-root-ca.pem
    #[arg(long, value_name = "FILE", conflicts_with = "fingerprint")]
    ca: Option<PathBuf>,
    /// Trust the server's certificate by its SHA-256, as `pvenode cert info` and System, Certificates show it
    #[arg(long, value_name = "SHA256", value_parser = fingerprint, help_heading = "Proxmox VE")]
    fingerprint: Option<Sha256>,
    /// Give up waiting for a task of Proxmox VE after this time, with exit code 8
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30m", help_heading = "Proxmox VE")]
    timeout: Duration,
}

/// Reasons why nobody can be asked.
#[derive(Debug, thiserror::Error)]
enum Misuse {
    #[error("no {0} is known")]
    Missing(&'static str),
    #[error("the variable {0} is not UTF-8")]
    Variable(&'static str),
    #[error("others can read {} (mode {mode:04o}), which holds a token", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("{} is encrypted by SOPS, and this prebake was built without that", .0.display())]
    #[cfg_attr(feature = "cluster", expect(dead_code, reason = "a prebake with clusters opens it"))]
    NoSops(PathBuf),
}

impl Advice for Misuse {
    fn exit(&self) -> Exit {
        match self {
            Misuse::Exposed { .. } => Exit::Trust,
            _ => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Misuse::Missing(name) => format!(
                "set the variable {name}, or name a file that has it, such as clusterctl.yaml or its copy that SOPS encrypted, with --credentials"
            ),
            Misuse::Exposed { path, .. } => {
                format!(
                    "`chmod 600 {0}` closes it; `sops encrypt` makes a file that others may read",
                    path.display()
                )
            }
            Misuse::Variable(_) => return None,
            Misuse::NoSops(path) => {
                format!("`sops exec-env {} 'prebake proxmox …'` sets the variables", path.display())
            }
        })
    }
}

/// 64 hex digits, with or without colons between each two.
fn fingerprint(text: &str) -> Result<Sha256, String> {
    let digits: String =
        text.chars().filter(|letter| *letter != ':').collect::<String>().to_ascii_lowercase();
    digits.parse().map_err(|_| "a SHA-256 was expected: 64 hex digits, such as 4A:7F:…".to_owned())
}

impl ConnectArgs {
    /// The way to the server; nothing is sent yet.
    ///
    /// # Errors
    /// URL or token are not known or are none, or a file cannot be read.
    pub(super) fn wire(&self) -> Result<Wire> {
        let file = self.credentials.as_deref().map(Credentials::read).transpose()?;
        let of = |name: &'static str| -> Result<Zeroizing<String>> {
            let value = match &file {
                Some(file) => file.get(name),
                None => variable(name)?,
            };
            value.ok_or_else(|| Misuse::Missing(name).into())
        };
        // The option comes before the file's, and the file's before the variable's.
        let typed =
            self.url.clone().filter(|url| file.is_none() || std::env::var(URL).ok().as_ref() != Some(url));
        let url = match typed {
            Some(url) => Zeroizing::new(url),
            None => match of(URL) {
                Ok(url) => url,
                Err(error) => self.url.clone().map(Zeroizing::new).ok_or(error)?,
            },
        };
        let place =
            self.credentials.as_ref().map_or("the environment".into(), |path| path.display().to_string());
        let name = of(NAME)?;
        let secret = if name.contains('=') { of(SECRET).ok() } else { Some(of(SECRET)?) };
        let token = Token::new(&name, secret, &place)?;
        let trust = match (&self.fingerprint, &self.ca) {
            (Some(digest), _) => Trust::Certificate(*digest),
            (None, Some(path)) => Trust::Authority {
                pem: disk::read_at_most(path, LONGEST_PEM).map_err(super::unread(path, "--ca"))?,
                place: path.display().to_string(),
            },
            (None, None) => Trust::System,
        };
        let limits = Limits { task: self.timeout, ..Limits::default() };
        Ok(Wire::new(url.trim(), token, &trust, limits)?)
    }
}

fn variable(name: &'static str) -> Result<Option<Zeroizing<String>>> {
    let Some(value) = std::env::var_os(name) else { return Ok(None) };
    let text = value.into_string().map_err(|_| Misuse::Variable(name))?;
    Ok(Some(Zeroizing::new(text)).filter(|text| !text.trim().is_empty()))
}

/// The values of a file, in clear text until it is dropped.
struct Credentials(Vec<(&'static str, Zeroizing<String>)>);

impl Credentials {
    fn get(&self, name: &str) -> Option<Zeroizing<String>> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone())
    }

    fn read(path: &Path) -> Result<Credentials> {
        let failed = || disk::Error::io("read", path);
        let file = File::open(path).map_err(super::unread(path, "--credentials"))?;
        let metadata = file.metadata().map_err(failed())?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST.min(metadata.len() as usize + 1)));
        file.take(LONGEST as u64).read_to_end(&mut bytes).map_err(failed())?;
        let name = path.display().to_string();
        let text = std::str::from_utf8(&bytes).map_err(|_| not_text(&name))?;
        let source = Source::new(name, text);
        let root = parse(&source).map_err(Findings::from)?;
        if is_encrypted(&root) {
            return opened(root, &source, path);
        }
        let mode = metadata.permissions().mode() & 0o777;
        // A pipe of a shell's <(…) has other permissions, and one reader.
        if metadata.is_file() && mode & 0o077 != 0 {
            return Err(Misuse::Exposed { path: path.to_owned(), mode }.into());
        }
        Credentials::of(&root, &source)
    }

    /// Takes the values of the three keys.
    ///
    /// # Errors
    /// Findings, all at once: a key has a list or a mapping for its value, or the file no keys. They show nothing of the file.
    fn of(root: &Node, source: &Arc<Source>) -> Result<Credentials> {
        let fault = |node: &Node, words: String| Finding::error(words).at(node.place(source)).without_lines();
        let kind = |node: &Node| match node.kind {
            Kind::Sequence(_) => Some("a list"),
            Kind::Mapping(_) => Some("a mapping"),
            _ => None,
        };
        if let Some(kind) = kind(root).filter(|_| !matches!(root.kind, Kind::Mapping(_))) {
            return Err(Findings::from(fault(
                root,
                format!("keys such as {SECRET} were expected, and this is {kind}"),
            ))
            .into());
        }
        let (mut values, mut faults) = (Vec::new(), Vec::new());
        for name in [URL, NAME, SECRET] {
            let Some(node) = root.get(name) else { continue };
            match (node.scalar(), kind(node)) {
                (Some(text), _) => values.push((name, Zeroizing::new(text.trim().to_owned()))),
                (None, Some(kind)) => {
                    faults.push(fault(node, format!("{name} is {kind}, and one text was expected")))
                }
                (None, None) => {}
            }
        }
        if !faults.is_empty() {
            return Err(Findings(faults).into());
        }
        values.retain(|(_, value)| !value.is_empty());
        Ok(Credentials(values))
    }
}

/// Reads the tree of a text. The lines of the file stay out of messages: each may have the secret.
#[cfg(feature = "cluster")]
fn parse(source: &Arc<Source>) -> Result<Node, Finding> {
    crate::cluster::sops::parse(source)
}

#[cfg(feature = "cluster")]
fn is_encrypted(root: &Node) -> bool {
    crate::cluster::sops::is_encrypted(root)
}

#[cfg(feature = "cluster")]
fn opened(root: Node, source: &Arc<Source>, _: &Path) -> Result<Credentials> {
    use crate::cluster::sops::{self, identities::Identities};
    let opened = sops::open(root, source, &Identities::find()?).map_err(Findings::from)?;
    Credentials::of(&opened, source)
}

#[cfg(not(feature = "cluster"))]
fn parse(source: &Arc<Source>) -> Result<Node, Finding> {
    crate::base::yaml::parse(source).map_err(Finding::without_lines)
}

#[cfg(not(feature = "cluster"))]
fn is_encrypted(root: &Node) -> bool {
    root.get("sops").is_some()
}

#[cfg(not(feature = "cluster"))]
fn opened(_: Node, _: &Arc<Source>, path: &Path) -> Result<Credentials> {
    Err(Misuse::NoSops(path.to_owned()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_text_is_told_without_being_shown() {
        let read = |text: &str| {
            let source = Source::new("c.yaml", text);
            Credentials::of(&parse(&source).unwrap(), &source)
        };
        assert_eq!(read("PROXMOX_SECRET: geheim\n").unwrap().get(SECRET).unwrap().as_str(), "geheim");
        for (text, words) in [
            ("PROXMOX_SECRET: [geheim]\n", "PROXMOX_SECRET is a list"),
            ("PROXMOX_TOKEN: {a: geheim}\n", "PROXMOX_TOKEN is a mapping"),
            ("- PROXMOX_SECRET: geheim\n", "this is a list"),
        ] {
            let told = read(text).err().unwrap().to_string();
            assert!(told.contains(words) && told.contains("c.yaml") && !told.contains("geheim"), "{told}");
        }
    }

    #[test]
    fn a_fingerprint_has_64_digits_with_or_without_colons() {
        let digest = Sha256::of(b"certificate");
        let shown = crate::trust::tls::fingerprint(&digest);
        for text in [shown.as_str(), &shown.to_lowercase(), &digest.to_string()] {
            assert_eq!(fingerprint(text).unwrap(), digest);
        }
        for text in ["", "AB:CD", &shown[3..], "sha1"] {
            fingerprint(text).unwrap_err();
        }
    }
}
