//! TLS: the server's identity, the certificates of clients where some are demanded, and the handshake.
//!
//! Certificates come from files ([`mod@file`]), or from an authority next to the server ([`authority`]). Both are checked for
//! changes while the server runs, at most once a second and only when a client connects, on a thread of its own: a file
//! that cannot be read at once holds up nobody. A replaced certificate is used for the next connection; an unusable one is
//! reported once, the old one stays, and the files are read again until they can be used. [`clients`] judges those that
//! clients show.

pub mod authority;
mod clients;
mod file;

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::ready;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io, thread};

use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::{self, InconsistentKeys, ServerConfig, crypto};
use tokio_rustls::server::TlsStream;
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode;

use self::authority::Authority;
use self::clients::{Clients, Lifetime, Refusal, noted};
use self::file::read;
use crate::base::clock;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::{Advice, Exit};
use crate::serve::notice::{Notice, Notices};
use crate::trust::authority::KINDS;
use crate::trust::certificate::{Purpose, is_for, words};
use crate::trust::pem::{self, blocks, broken, without_blocks};

/// A client that has not completed the handshake by then is cut off.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Bytes that rustls buffers for a client that does not read: two records.
const BUFFER: usize = 32 << 10;
/// How often the certificate is checked for changes, at most.
const LOOK: Duration = Duration::from_secs(1);
/// Protocols to offer, best first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The only protocol of gRPC.
const GRPC_PROTOCOL: &[u8] = b"h2";

/// Why a server cannot speak HTTPS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The unreadable file.
        path: PathBuf,
        /// The I/O error, which is in the text: a line of the log shows no causes.
        error: io::Error,
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
            Error::Read { error, .. } if error.kind() == io::ErrorKind::PermissionDenied => Some(format!(
                "let user {} read it, which this process runs as; the folders above it, too",
                rustix::process::geteuid().as_raw()
            )),
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
    /// Files in PEM for gRPC, whose clients must show a certificate, too.
    Mutual {
        /// The chain, the server's own first.
        certificate: PathBuf,
        /// PKCS #8, PKCS #1 or SEC 1.
        key: PathBuf,
        /// The authorities that vouch for clients.
        authorities: PathBuf,
    },
    /// From an authority that this process holds.
    Issued {
        /// The authority that issues it.
        authority: Box<Authority>,
        /// DNS names and IP addresses.
        names: Vec<String>,
    },
}

/// A certificate that can be used.
struct Loaded {
    config: Arc<ServerConfig>,
    /// The lifetime of the server's own certificate; `None` for one that was made here.
    lifetime: Option<Lifetime>,
    /// The bytes of the files.
    digest: Option<Sha256>,
    /// Notes for people although it can be used.
    notes: Vec<String>,
}

/// A certificate in use.
struct Current {
    loaded: Loaded,
    /// The state of the identity when it was last read, whether usable or not.
    seen: Seen,
    looked: Instant,
    /// Why the last one could not be used, which was told.
    trouble: Option<String>,
}

/// Tells whether a certificate must be loaded or issued again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// Each file; `None` for a missing file, and where there is no third.
    Files([Option<disk::Version>; 3]),
    /// The time of renewal.
    Until(SystemTime),
}

/// The server's side of TLS 1.2 and 1.3.
pub struct Tls {
    watched: Arc<Watched>,
    /// Turns for handshakes. Thousands of handshakes that begin at once would run before a machine's request on every
    /// thread, so they take turns on half of the threads.
    turns: Semaphore,
}

/// The identity, and its certificate as it was last seen.
struct Watched {
    identity: Identity,
    current: Mutex<Current>,
    is_looking: AtomicBool,
    notices: Notices,
}

/// A look at the files, until this is dropped.
struct Look(Arc<Watched>);

impl Drop for Look {
    fn drop(&mut self) {
        self.0.is_looking.store(false, Ordering::Release);
    }
}

impl Tls {
    /// Reads or makes the certificate.
    pub fn new(identity: Identity, notices: Notices) -> Result<Tls, Error> {
        let now = SystemTime::now();
        let (seen, loaded) = identity.load(now);
        let mut loaded = loaded?;
        // The clock may be wrong, as after a battery died, so the server starts.
        let lapse = loaded.lifetime.and_then(|lifetime| lifetime.lapse(now));
        if let (Some(lapse), Some(file)) = (lapse, identity.files().first()) {
            loaded.notes.push(format!("{}: it {lapse}: clients will refuse it", file.display()));
        }
        let current = Current { loaded, seen, looked: Instant::now(), trouble: None };
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let turns = Semaphore::new((threads / 2).max(1));
        let watched =
            Watched { identity, current: Mutex::new(current), is_looking: AtomicBool::new(false), notices };
        Ok(Tls { watched: Arc::new(watched), turns })
    }

    /// Notes for people on the files that are used.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.watched.current().loaded.notes.clone()
    }

    /// Notes for people once this process has given up its rights: files that it can read no more.
    pub(crate) fn unreadable(&self) -> Vec<String> {
        let errors = self.watched.identity.files().into_iter().filter_map(|path| read(path).err());
        let user = rustix::process::geteuid().as_raw();
        let note = |error| {
            format!(
                "{error}; user {user}, which the server has become, needs it when it is renewed, and until then the old one is used"
            )
        };
        errors.map(note).collect()
    }

    /// Performs the handshake, within a time limit.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let peer = stream.peer_addr().ok().map(|peer| peer.ip().to_canonical());
        let handshake = async {
            let config = self.watched.config(peer).await;
            let accepting = TlsAcceptor::from(config)
                .accept_with(stream, |connection| connection.set_buffer_limit(Some(BUFFER)));
            let (done, lapse) = noted(self.in_turn(accepting)).await;
            done.map_err(|error| in_words(error, lapse))
        };
        let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
        tokio::time::timeout(HANDSHAKE, handshake).await.map_err(timed_out)?
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
        let named = self.watched.identity.files();
        // certbot's files are links to those of the last renewal, in another directory.
        let target = |path: &&Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let targets: Vec<PathBuf> = named.iter().map(target).collect();
        let files = targets.iter().map(PathBuf::as_path).chain(named);
        files.map(|path| crate::base::disk::directory_of(path).to_owned()).collect()
    }
}

/// rustls shows some verdicts on certificates by the names of its types, and times as seconds since 1970; `lapse` has a better
/// word on those.
fn in_words(error: io::Error, lapse: Option<String>) -> io::Error {
    let own = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match own {
        Some(rustls::Error::NoCertificatesPresented) => {
            let why = "peer sent no certificates: it has none, or none of these authorities";
            io::Error::new(error.kind(), why)
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            io::Error::new(error.kind(), format!("{error}: it does not speak TLS"))
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            let why = format!("{error}: the client refuses this server's certificate");
            match format!("{alert:?}").contains("Certificate") || format!("{alert:?}") == "UnknownCA" {
                true => io::Error::new(error.kind(), why),
                false => error,
            }
        }
        Some(own) => match lapse.or_else(|| Refusal::words(own)) {
            Some(words) => io::Error::new(error.kind(), format!("invalid peer certificate: {words}")),
            None => error,
        },
        None => error,
    }
}

impl Watched {
    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The certificate for a new connection. The one who finds that a look is due waits for it, up to a second; others have
    /// the old one meanwhile.
    async fn config(self: &Arc<Self>, peer: Option<IpAddr>) -> Arc<ServerConfig> {
        let is_due = self.current().looked.elapsed() >= LOOK;
        if is_due && !self.is_looking.swap(true, Ordering::AcqRel) {
            let look = Look(self.clone());
            let looking = tokio::task::spawn_blocking(move || look.0.look(SystemTime::now(), peer));
            let _ = tokio::time::timeout(LOOK, looking).await;
        }
        self.current().loaded.config.clone()
    }

    /// Looks whether there is a new certificate. Nothing is held while files are read.
    fn look(&self, now: SystemTime, peer: Option<IpAddr>) {
        let (seen, had_trouble) = {
            let mut current = self.current();
            current.looked = Instant::now();
            (current.seen, current.trouble.is_some())
        };
        if !had_trouble && !self.identity.has_changed(seen, now) {
            return;
        }
        let (seen, loaded) = self.identity.load(now);
        let mut current = self.current();
        current.seen = seen;
        match loaded.and_then(|loaded| self.judge(loaded, &current.loaded, now)) {
            Ok(loaded) => {
                let is_new = loaded.digest.is_none() || loaded.digest != current.loaded.digest;
                let notes = loaded.notes.clone();
                (current.loaded, current.trouble) = (loaded, None);
                drop(current);
                if is_new || had_trouble {
                    (self.notices)(&Notice::Certificate(Ok(())));
                }
                for text in notes.iter().filter(|_| is_new) {
                    let peer = peer.unwrap_or_else(|| [0; 4].into());
                    (self.notices)(&Notice::Warning { peer, text });
                }
            }
            Err(error) => {
                let text = error.to_string();
                let is_told = current.trouble.as_ref() == Some(&text);
                current.trouble = Some(text);
                drop(current);
                if !is_told {
                    (self.notices)(&Notice::Certificate(Err(&error)));
                }
            }
        }
    }

    /// Whether a new certificate is better than the old one: one that does not hold takes no place of one that does.
    fn judge(&self, new: Loaded, old: &Loaded, now: SystemTime) -> Result<Loaded, Error> {
        let lapse = |loaded: &Loaded| loaded.lifetime.and_then(|lifetime| lifetime.lapse(now));
        match (lapse(&new), lapse(old), self.identity.files().first()) {
            (Some(lapse), None, Some(path)) => {
                Err(Error::Unfit { path: path.into(), why: format!("it {lapse}") })
            }
            _ => Ok(new),
        }
    }
}

impl Identity {
    /// The files that it is read from.
    fn files(&self) -> Vec<&Path> {
        match self {
            Identity::Files { certificate, key } => vec![certificate, key],
            Identity::Mutual { certificate, key, authorities } => vec![certificate, key, authorities],
            Identity::Issued { .. } => Vec::new(),
        }
    }

    fn has_changed(&self, seen: Seen, now: SystemTime) -> bool {
        match (self, seen) {
            (Identity::Files { .. } | Identity::Mutual { .. }, seen) => seen != Seen::files(&self.files()),
            (Identity::Issued { .. }, Seen::Until(until)) => now >= until,
            (Identity::Issued { .. }, Seen::Files(_)) => true,
        }
    }

    /// The certificate, and the state that shows whether there is a new one.
    fn load(&self, now: SystemTime) -> (Seen, Result<Loaded, Error>) {
        match self {
            // The state is taken before the files are read, so that a replacement in between is noticed later.
            Identity::Files { certificate, key } => {
                (Seen::files(&self.files()), from_files(certificate, key, None, now))
            }
            Identity::Mutual { certificate, key, authorities } => {
                (Seen::files(&self.files()), from_files(certificate, key, Some(authorities), now))
            }
            Identity::Issued { authority, names } => {
                let issued = authority.issue(names, now);
                let loaded = issued.and_then(|(chain, key)| {
                    let failed =
                        |source: rustls::Error| Error::Issue { names: names.clone(), source: source.into() };
                    let config = config(chain, key, None).map_err(failed)?;
                    Ok(Loaded { config, lifetime: None, digest: None, notes: Vec::new() })
                });
                // A clock beyond all calendars is limited to the last date that can be shown, until it is set.
                (Seen::Until(clock::shown(now) + authority::RENEW), loaded)
            }
        }
    }
}

impl Seen {
    fn files(files: &[&Path]) -> Seen {
        let version = |path: &Path| fs::metadata(path).ok().map(disk::Version::from);
        Seen::Files(std::array::from_fn(|index| version(files.get(index)?)))
    }
}

fn from_files(
    certificate: &Path,
    key: &Path,
    authorities: Option<&Path>,
    now: SystemTime,
) -> Result<Loaded, Error> {
    let own = read(certificate)?;
    let (chain, lifetime) = chain(certificate, &own)?;
    let secret = read(key)?;
    let unfit = |path: &Path, why: String| Error::Unfit { path: path.into(), why };
    let parsed = PrivateKeyDer::from_pem_slice(&secret)
        .map_err(|_| unfit(key, "it holds no private key in PEM that is not encrypted".into()))?;
    let mut digests = vec![Sha256::of(&own), Sha256::of(&secret)];
    let mut notes = Vec::new();
    let clients = match authorities {
        None => None,
        Some(path) => {
            let bytes = read(path)?;
            digests.push(Sha256::of(&bytes));
            let (clients, odd) = Clients::of(path, &bytes, provider(), now)?;
            notes = odd;
            Some(clients)
        }
    };
    let config = config(chain, parsed, clients).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            Error::Strangers { certificate: certificate.into(), key: key.into() }
        }
        rustls::Error::InvalidCertificate(why) => unfit(certificate, words(&why)),
        // The only other thing that rustls looks at.
        other => unfit(key, format!("it is of no kind that can be used: {KINDS} ({other})")),
    })?;
    let all: Vec<u8> = digests.iter().flat_map(|digest| digest.bytes().to_vec()).collect();
    Ok(Loaded { config, lifetime: Some(lifetime), digest: Some(Sha256::of(&all)), notes })
}

/// The server's certificate and those of its issuers.
fn chain(path: &Path, bytes: &[u8]) -> Result<(Vec<CertificateDer<'static>>, Lifetime), Error> {
    let unfit = |why: String| Error::Unfit { path: path.into(), why };
    let whole = |block: pem::Block| block.certificate.ok_or_else(|| unfit(broken(block.line)));
    let chain: Vec<_> = blocks(bytes).into_iter().map(whole).collect::<Result<_, _>>()?;
    let first = chain.first().ok_or_else(|| unfit(without_blocks(bytes)))?;
    let own = Certificate::from_der(first)
        .map_err(|error| unfit(format!("its first block is no certificate ({error})")))?;
    if own.tbs_certificate.version != Version::V3 {
        return Err(unfit(
            "it is X.509 v1, for no name of a server; `openssl x509 -req` makes v3 with -extfile".into(),
        ));
    }
    if !is_for(&own, Purpose::Server) {
        let subject = &own.tbs_certificate.subject;
        return Err(unfit(format!(
            "the certificate of {subject} is for a client, or another purpose, and not for a server (extended key usage): no client would take it"
        )));
    }
    let lifetime = Lifetime::of(&own);
    Ok((chain, lifetime))
}

fn provider() -> Arc<crypto::CryptoProvider> {
    Arc::new(crypto::aws_lc_rs::default_provider())
}

/// The server's side, with the judge of clients where these must show a certificate.
fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<Clients>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let Some(clients) = clients else {
        let mut config = builder.with_no_client_auth().with_single_cert(chain, key)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        return Ok(Arc::new(config));
    };
    let mut config = builder.with_client_cert_verifier(Arc::new(clients)).with_single_cert(chain, key)?;
    config.alpn_protocols = vec![GRPC_PROTOCOL.to_vec()];
    // A resumed session would let in a certificate that has expired since, or whose authority was replaced.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
