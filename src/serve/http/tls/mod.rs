//! HTTPS: the server's identity, and the handshake.
//!
//! Certificates come from files, or from an authority next to the server ([`authority`]). Both are checked for changes
//! while the server runs, at most once a second and only when a client connects. A replaced certificate is used for the
//! next connection; an unusable one is reported once, and the old one stays.

pub mod authority;

use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::ready;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io, thread};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig, crypto};
use tokio_rustls::server::TlsStream;

use self::authority::Authority;
use crate::base::clock;
use crate::base::error::{Advice, Exit};
use crate::serve::notice::{Notice, Notices};

/// A client that has not completed the handshake by then is cut off.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes that rustls buffers for a client that does not read: two records.
const BUFFER: usize = 32 << 10;
/// How often the certificate is checked for changes, at most.
const LOOK: Duration = Duration::from_secs(1);
/// Longest certificate or key file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Protocols to offer, best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a server cannot speak HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The unreadable file.
        path: PathBuf,
        /// The I/O error.
        source: io::Error,
    },
    /// A file has the wrong content.
    #[error("{} cannot be used: {why}", path.display())]
    Unfit {
        /// The unusable file.
        path: PathBuf,
        /// The reason, in words.
        why: String,
    },
    /// Certificate and key are not a pair.
    #[error("the key {} does not belong to the certificate {}", key.display(), certificate.display())]
    Strangers {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// The error of rustls.
        source: rustls::Error,
    },
    /// A certificate cannot be made.
    #[error("cannot make a certificate for {}", names.join(", "))]
    Issue {
        /// The names and addresses in the certificate.
        names: Vec<String>,
        /// The error of the library that makes certificates.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// No name is known for the certificate.
    #[error("a certificate needs a name, and {address} is every address of this machine")]
    Nameless {
        /// `HOST:PORT`.
        address: String,
    },
    /// The files of a generated authority cannot be written.
    #[error(transparent)]
    Store(#[from] crate::base::disk::Error),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Nameless { .. } => Exit::Usage,
            Error::Unfit { .. } | Error::Strangers { .. } => Exit::Trust,
            Error::Store(error) => error.exit(),
            Error::Read { .. } | Error::Issue { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Nameless { .. } => {
                Some("with --tls-name, give the names and addresses under which machines reach it".into())
            }
            Error::Strangers { .. } => Some("name the two files that were made together".into()),
            Error::Store(error) => error.hint(),
            Error::Read { .. } | Error::Unfit { .. } | Error::Issue { .. } => None,
        }
    }
}

/// Where the certificate comes from.
pub enum Identity {
    /// Files in PEM: the certificate followed by its issuers' certificates, and its key.
    Files {
        /// The chain, the server's own first.
        certificate: PathBuf,
        /// PKCS #8, PKCS #1 or SEC 1.
        key: PathBuf,
    },
    /// From an authority that this process holds.
    Issued {
        /// The authority that issues it.
        authority: Box<Authority>,
        /// DNS names and IP addresses.
        names: Vec<String>,
    },
}

/// A certificate in use.
struct Current {
    config: Arc<ServerConfig>,
    /// The state of the identity when it was last read, whether usable or not.
    seen: Seen,
    looked: Instant,
}

/// Tells whether a certificate must be loaded or issued again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Inode, size and time of both files; `None` for a missing file.
    Files([Option<(u64, u64, SystemTime)>; 2]),
    /// The time of renewal.
    Until(SystemTime),
}

/// The server's side of TLS 1.2 and 1.3.
pub struct Tls {
    identity: Identity,
    current: Mutex<Current>,
    notices: Notices,
    /// Turns for handshakes. Thousands of handshakes that begin at once would run before a machine's request on every
    /// thread, so they take turns on half of the threads.
    turns: Semaphore,
}

impl Tls {
    /// Reads or makes the certificate.
    pub fn new(identity: Identity, notices: Notices) -> Result<Tls, Error> {
        let (seen, config) = identity.load(SystemTime::now());
        let current = Current { config: config?, seen, looked: Instant::now() };
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let turns = Semaphore::new((threads / 2).max(1));
        Ok(Tls { identity, current: Mutex::new(current), notices, turns })
    }

    /// Performs the handshake, within a time limit.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let accepting = TlsAcceptor::from(self.config())
            .accept_with(stream, |connection| connection.set_buffer_limit(Some(BUFFER)));
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        tokio::time::timeout(HANDSHAKE, self.in_turn(accepting)).await.map_err(timed_out)?
    }

    /// Polls a future in turns: while it waits for its client, others have the turn.
    async fn in_turn<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut turn = Box::pin(self.turns.acquire());
        poll_fn(|context| {
            let taken = ready!(turn.as_mut().poll(context));
            turn.set(self.turns.acquire());
            let polled = future.as_mut().poll(context);
            drop(taken);
            polled
        })
        .await
    }

    /// Directories that must stay readable so that a replaced certificate is noticed.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let Identity::Files { certificate, key } = &self.identity else { return Vec::new() };
        // certbot's files are links to those of the last renewal, in another directory.
        let targets = [certificate, key].map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
        let files = targets.iter().chain([certificate, key]);
        files.map(|path| crate::base::disk::directory_of(path).to_owned()).collect()
    }

    /// The current certificate.
    fn config(&self) -> Arc<ServerConfig> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.looked.elapsed() >= LOOK {
            current.looked = Instant::now();
            let now = SystemTime::now();
            if self.identity.has_changed(current.seen, now) {
                let (seen, config) = self.identity.load(now);
                current.seen = seen;
                (self.notices)(&Notice::Certificate(config.as_ref().map(|_| ())));
                if let Ok(config) = config {
                    current.config = config;
                }
            }
        }
        current.config.clone()
    }
}

impl Identity {
    fn has_changed(&self, seen: Seen, now: SystemTime) -> bool {
        match (self, seen) {
            (Identity::Files { certificate, key }, seen) => seen != Seen::files(certificate, key),
            (Identity::Issued { .. }, Seen::Until(until)) => now >= until,
            (Identity::Issued { .. }, Seen::Files(_)) => true,
        }
    }

    /// The certificate, and the state that shows whether there is a new one.
    fn load(&self, now: SystemTime) -> (Seen, Result<Arc<ServerConfig>, Error>) {
        match self {
            // The state is taken before the files are read, so that a replacement in between is noticed later.
            Identity::Files { certificate, key } => {
                (Seen::files(certificate, key), from_files(certificate, key))
            }
            Identity::Issued { authority, names } => {
                let issued = authority.issue(names, now);
                let config = issued.and_then(|(chain, key)| {
                    let failed =
                        |source: rustls::Error| Error::Issue { names: names.clone(), source: source.into() };
                    config(chain, key).map_err(failed)
                });
                // A clock beyond all calendars is limited to the last date that can be shown, until it is set.
                (Seen::Until(clock::shown(now) + authority::RENEW), config)
            }
        }
    }
}

impl Seen {
    fn files(certificate: &Path, key: &Path) -> Seen {
        Seen::Files([certificate, key].map(|path| {
            let meta = fs::metadata(path).ok()?;
            Some((meta.ino(), meta.len(), meta.modified().ok()?))
        }))
    }
}

fn from_files(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Error> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.ok().filter(|chain| !chain.is_empty());
    let no_chain = || Error::Unfit { path: certificate.into(), why: "it contains no PEM certificate".into() };
    let secret = PrivateKeyDer::from_pem_slice(&read(key)?);
    let secret = secret.map_err(|_| Error::Unfit {
        path: key.into(),
        why: "it holds no private key in PEM that is not encrypted".into(),
    })?;
    config(chain.ok_or_else(no_chain)?, secret).map_err(|source| Error::Strangers {
        certificate: certificate.into(),
        key: key.into(),
        source,
    })
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read { path: path.into(), source };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        return Err(Error::Unfit { path: path.into(), why: "it is longer than 1 MiB".into() });
    }
    fs::read(path).map_err(failed)
}
