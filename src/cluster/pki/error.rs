//! Reasons why a cluster's keys cannot be made or used. None of them tells anything of a key.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::base::clock::{Judgement, date, first};
use crate::base::disk;
use crate::base::error::{Advice, Exit};

/// Reasons why a cluster's keys cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error(transparent)]
    Store(#[from] disk::Error),
    /// There are no keys yet.
    #[error("the cluster has no keys: {} is not there", .0.display())]
    Absent(PathBuf),
    /// A key is lost: either its certificate is there, or it was there once.
    #[error("{} is lost: {why}", path.display())]
    Lost {
        /// The key's file.
        path: PathBuf,
        /// How that is known.
        why: &'static str,
    },
    /// A file has the wrong content.
    #[error("{} cannot be used: {why}", path.display())]
    Unfit {
        /// A file of the cluster's keys.
        path: PathBuf,
        /// The reason, in words, without anything of its content.
        why: String,
    },
    /// A certificate or public key is not of the key beside it.
    #[error("{} does not belong to the key {}", path.display(), key.display())]
    Strangers {
        /// The certificate or public key.
        path: PathBuf,
        /// The private key.
        key: PathBuf,
    },
    /// An authority's certificate has expired.
    #[error("{} expired at {}", path.display(), date(*ended))]
    Expired {
        /// The certificate.
        path: PathBuf,
        /// Its end.
        ended: SystemTime,
        /// This machine's time.
        now: SystemTime,
    },
    /// The kubeconfig is of another cluster, or of this one's earlier keys.
    #[error("{} belongs to another authority than {}", kubeconfig.display(), authority.display())]
    Disagree {
        /// The kubeconfig.
        kubeconfig: PathBuf,
        /// The certificate of the cluster's authority.
        authority: PathBuf,
    },
    /// The file is no kubeconfig.
    #[error("{} is not a kubeconfig of this cluster: {why}", path.display())]
    NoKubeconfig {
        /// The file in the place of the kubeconfig.
        path: PathBuf,
        /// The reason, in words.
        why: &'static str,
    },
    /// A bootstrap token has a wrong form.
    #[error("{} does not hold a bootstrap token of the form [a-z0-9]{{6}}.[a-z0-9]{{16}}", .0.display())]
    Token(PathBuf),
    /// A file that the description names has the wrong content.
    #[error("{} cannot be used: {why}", path.display())]
    Given {
        /// The file that the description names.
        path: PathBuf,
        /// The reason, in words, without anything of its content.
        why: &'static str,
    },
    /// The library that makes keys and certificates refused.
    #[error("cannot make {what}")]
    Crypto {
        /// The product.
        what: String,
        /// The library's error.
        source: rcgen::Error,
    },
}

impl Error {
    /// Wraps an error of rcgen; for `map_err`.
    pub(super) fn crypto(what: impl Into<String>) -> impl FnOnce(rcgen::Error) -> Error {
        move |source| Error::Crypto { what: what.into(), source }
    }
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Store(error) => Some(error),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::Store(_) => self.inner_exit(),
            Error::Absent(_) | Error::Crypto { .. } => Exit::Failed,
            Error::Token(_) | Error::Given { .. } => Exit::Config,
            Error::Lost { .. }
            | Error::Unfit { .. }
            | Error::Strangers { .. }
            | Error::Expired { .. }
            | Error::Disagree { .. }
            | Error::NoKubeconfig { .. } => Exit::Trust,
        }
    }

    fn hint(&self) -> Option<String> {
        /// Machines and files made with the old keys are then of another cluster.
        const ANEW: &str =
            "if no machine was ever given these keys, remove the directory, and all are made anew";
        Some(match self {
            Error::Store(_) => return self.inner_hint(),
            Error::Crypto { .. } => return None,
            Error::Absent(_) => "`prebake cluster generate` makes them".into(),
            Error::Lost { path, .. } => {
                format!("put {} back from a backup; {ANEW}", name(path))
            }
            Error::Unfit { .. } => format!("put it back from a backup; {ANEW}"),
            Error::Strangers { key, .. } => {
                format!("put the file back that belongs to {}; {ANEW}", name(key))
            }
            Error::Expired { path, now, .. } => first(
                *now,
                Judgement::Lapsed,
                &format!(
                    "renew it for the same key (remove {}, and a certificate for the kept key is made), and give it to all machines",
                    name(path)
                ),
            ),
            Error::Disagree { kubeconfig, .. } | Error::NoKubeconfig { path: kubeconfig, .. } => format!(
                "move {} away if it is of another cluster, or give each cluster its own --output; put the earlier keys back if it is of this one",
                kubeconfig.display()
            ),
            Error::Given { .. } => "`etcd:` of the cluster's description names it".into(),
            Error::Token(path) => format!("remove {}, and a token is made anew", path.display()),
        })
    }
}

fn name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
