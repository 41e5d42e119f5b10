//! Proxmox VE: from a disk image to a template, over its API or by a script, and the MAC addresses of its VMs.
//!
//! ```text
//! image ─look─▶ Image ─┐                          ┌─▶ upload: volume ─▶ VM ─▶ template      wire, over HTTPS
//!                      ├─▶ Vm (options as a value) ┤
//! command line ────────┘                          └─▶ script: the same options for `qm`
//! ```
//! Owns the API token ([`token`]), requests and their limits ([`wire`]), the meaning of answers ([`document`]), the calls ([`call`]),
//! a VM's options ([`vm`]), the record by which a later run knows what an earlier one made ([`record`]), the way to a template
//! ([`upload`]), the script ([`script`]), and who has which card ([`macs`]).
//!
//! Leaves images to `disk`, certificates to `trust`, and questions, progress and encrypted files to `cli`.

pub(crate) mod call;
pub mod document;
pub(crate) mod image;
pub(crate) mod macs;
pub mod record;
pub(crate) mod script;
mod site;
pub mod token;
pub(crate) mod upload;
pub mod vm;
pub(crate) mod wire;

use std::time::Duration;

use crate::base::count::counted;
use crate::base::error::{Advice, Exit};
use crate::trust::tls::Distrust;

/// Limits of requests and waits.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest that a connection takes.
    pub connect: Duration,
    /// Longest that a request without a file takes.
    pub request: Duration,
    /// Longest silence while a file is sent: no byte goes, and no answer comes.
    pub stall: Duration,
    /// First pause between two looks at a task.
    pub poll: Duration,
    /// Longest pause between two looks at a task.
    pub longest_poll: Duration,
    /// Longest that a task may take.
    pub task: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connect: Duration::from_secs(20),
            request: Duration::from_secs(60),
            stall: Duration::from_secs(120),
            poll: Duration::from_millis(200),
            longest_poll: Duration::from_secs(3),
            task: Duration::from_secs(30 * 60),
        }
    }
}

/// Reasons why something on Proxmox VE is not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A text that is no token. It is not shown: it may be one with a slip.
    #[error("the API token of {place} cannot be used: {why}")]
    Token {
        /// The variable or file.
        place: String,
        /// The flaw, in words.
        why: &'static str,
    },
    /// A URL that is none of an API.
    #[error("`{url}` is not the URL of Proxmox VE: {why}")]
    Url {
        /// The URL without a password.
        url: String,
        /// The flaw, in words.
        why: &'static str,
    },
    /// The client could not be made.
    #[error("cannot speak to {url}: {why}")]
    Client {
        /// The server.
        url: String,
        /// The reason, in words.
        why: String,
    },
    /// A file of `--ca` without a certificate.
    #[error("{place} is no CA certificate: {why}")]
    Authority {
        /// The file, as `--ca` named it.
        place: String,
        /// The flaw, in words.
        why: String,
    },
    /// The connection failed or broke.
    #[error("{url} does not answer")]
    Silent {
        /// The resource.
        url: String,
        /// The client's error.
        source: reqwest::Error,
    },
    /// A file could not be sent to its end.
    #[error("the upload to {url} stands still: no byte went for {}", humantime::format_duration(*patience))]
    Stalled {
        /// The resource.
        url: String,
        /// The limit.
        patience: Duration,
    },
    /// The server's certificate is not trusted.
    #[error("the certificate of {url} is not trusted: {}", distrust.why)]
    Impostor {
        /// The resource.
        url: String,
        /// The reason and the way out.
        distrust: Distrust,
    },
    /// The server speaks no TLS.
    #[error("{url} does not speak HTTPS")]
    Plain {
        /// The resource.
        url: String,
    },
    /// The server leads to another one; the token is not sent there.
    #[error("{url} leads to {to}, and the token is not sent there")]
    Elsewhere {
        /// The resource.
        url: String,
        /// The other place.
        to: String,
    },
    /// An answer that Proxmox VE does not give.
    #[error("{url} does not answer as Proxmox VE does: {why}")]
    Stranger {
        /// The resource.
        url: String,
        /// The difference, in words.
        why: String,
    },
    /// The token is not accepted (401).
    #[error("{url} does not accept the token {token}: {words}")]
    Denied {
        /// The server.
        url: String,
        /// The token's name, without its secret.
        token: String,
        /// The server's words.
        words: String,
    },
    /// The token may not do this (403).
    #[error("the token {token} may not {action}: {words}")]
    Forbidden {
        /// The token's name, without its secret.
        token: String,
        /// The action, as a verb with its object.
        action: String,
        /// The server's words, which name path and privilege.
        words: String,
    },
    /// Privileges that the token lacks, all at once.
    #[error("the token {token} lacks {}: {}", counted(lacks.len() as u64, "privilege"), lacks.join(", "))]
    Lacks {
        /// The token's name, without its secret.
        token: String,
        /// `PRIVILEGE on PATH`.
        lacks: Vec<String>,
    },
    /// A node's own server cannot be reached by the one that was asked (595, 596).
    #[error("the node {node} is not reached by the others of its cluster: {words}")]
    Unreached {
        /// The node.
        node: String,
        /// The server's words.
        words: String,
    },
    /// The request is refused.
    #[error("Proxmox VE does not {action}: {words}")]
    Refused {
        /// The action, as a verb with its object.
        action: String,
        /// The server's words.
        words: String,
    },
    /// A task began and failed.
    #[error("Proxmox VE began to {action}, and failed: {words}")]
    Task {
        /// The action, as a verb with its object.
        action: String,
        /// The task's exit status.
        words: String,
    },
    /// A task that takes too long.
    #[error("Proxmox VE has not done it within {}: {action}", humantime::format_duration(*patience))]
    Slow {
        /// The action, as a verb with its object.
        action: String,
        /// The limit.
        patience: Duration,
    },
    /// A version that cannot take images over its API.
    #[error("{url} is Proxmox VE {version}, and takes disk images over its API from {} on", upload::NEEDED)]
    Version {
        /// The server.
        url: String,
        /// Its version.
        version: String,
    },
    /// A node that is not there or is off, or none that was named.
    #[error("{why}")]
    Node {
        /// The fault, in words.
        why: String,
        /// Nodes that are online.
        online: Vec<String>,
    },
    /// A storage that does not serve for this.
    #[error("{why}")]
    Storage {
        /// The fault, in words.
        why: String,
        /// The way out.
        hint: String,
    },
    /// The id is another VM's.
    #[error("the VM id {id} is taken by {by}")]
    Taken {
        /// The id.
        id: u32,
        /// The VM or container, in words.
        by: String,
    },
    /// No id of the range is free.
    #[error("no VM id from {first} to {last} is free")]
    Full {
        /// First id.
        first: u32,
        /// Last id.
        last: u32,
    },
    /// Something changed under the way.
    #[error("VM {id} is not as this run left it: {why}")]
    Changed {
        /// The id.
        id: u32,
        /// The difference, in words.
        why: String,
    },
    /// An image that would not become a node on Proxmox VE.
    #[error("{subject} {why}")]
    Image {
        /// Name of the image.
        subject: String,
        /// The fault, as the rest of a sentence.
        why: String,
        /// The way out.
        hint: String,
    },
    /// No VM is one of those that were asked for.
    #[error("no VM {wanted}")]
    NoVm {
        /// The wish, as the rest of a sentence.
        wanted: String,
        /// The way out.
        hint: String,
    },
    /// A list of addresses that cannot be read.
    #[error("{place} is no list of IP addresses: {why}")]
    Addresses {
        /// The file that was to have them.
        place: String,
        /// The flaw, in words.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Token { .. } | Error::Url { .. } | Error::Authority { .. } => Exit::Usage,
            Error::Silent { .. } | Error::Stalled { .. } | Error::Plain { .. } | Error::Unreached { .. } => {
                Exit::Network
            }
            Error::Impostor { .. } | Error::Denied { .. } | Error::Elsewhere { .. } => Exit::Trust,
            Error::Slow { .. } => Exit::TimedOut,
            Error::Image { .. } | Error::Addresses { .. } => Exit::Config,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::Token { .. } => format!(
                "{} is USER@REALM!NAME, and {} the UUID that `pveum user token add USER@REALM NAME` printed once",
                token::NAME, token::SECRET
            ),
            Error::Url { .. } => "it is such as https://pve.example.org:8006".into(),
            Error::Silent { .. } => "see whether the node is on and its port 8006 is reached from here".into(),
            Error::Stalled { .. } => "run the same command again".into(),
            Error::Slow { .. } => {
                "run the same command again to go on waiting; --timeout says how long it waits".into()
            }
            Error::Impostor { distrust, .. } if distrust.why.contains("fingerprint") => format!(
                "{}: `pvenode cert info` on the node prints it, and --fingerprint names it", distrust.hint
            ),
            Error::Impostor { .. } => "Proxmox VE signs its own certificate: name its authority, the node's /etc/pve/pve-root-ca.pem, with --ca, or the certificate's SHA-256 with --fingerprint (`pvenode cert info` on the node, or System, Certificates in its pages)".into(),
            Error::Plain { .. } | Error::Stranger { .. } => {
                "name the API itself, such as https://pve.example.org:8006, and not a proxy before it".into()
            }
            Error::Elsewhere { .. } => "name that place itself, if it is the right one".into(),
            Error::Denied { .. } => "see whether the token is there and has not expired: `pveum user token list USER@REALM`".into(),
            Error::Forbidden { .. } | Error::Lacks { .. } => {
                "docs/guides/proxmox.md has a role with all that is needed, as `pveum` lines; a token with privilege separation needs the role itself, beside its user".into()
            }
            Error::Unreached { .. } => "see whether that node is online, and its certificate is the cluster's: `pvecm updatecerts`".into(),
            Error::Task { words, .. } if words.contains("checksum mismatch") => {
                "what arrived is not what was sent: run the same command again".into()
            }
            Error::Version { .. } => "`prebake proxmox script` prints the commands for that node instead".into(),
            Error::Node { online, .. } if online.is_empty() => return None,
            Error::Node { online, .. } => format!("name one with --node: {}", online.join(", ")),
            Error::Storage { hint, .. } | Error::Image { hint, .. } | Error::NoVm { hint, .. } => hint.clone(),
            Error::Authority { .. } => {
                "--ca takes certificates in PEM (`-----BEGIN CERTIFICATE-----`), such as a node's /etc/pve/pve-root-ca.pem, and no key".into()
            }
            Error::Taken { .. } | Error::Full { .. } => {
                "name another with --vm-id, or a range with --vm-ids; `qm list` on a node shows them".into()
            }
            Error::Changed { .. } => "somebody else works on it: see there, and run the same command again".into(),
            Error::Addresses { .. } => "`kubectl get ipaddresses -A -o json` prints one".into(),
            Error::Client { .. } | Error::Refused { .. } | Error::Task { .. } => return None,
        })
    }
}
