//! Certificates for both sides of mutual TLS, as the files of one directory: an authority, a server, and clients.
//!
//! Owns the files' names and lifetimes, and that none is replaced unasked: everything is judged and made before the first byte is
//! written, and what was made by the verifiers that clients and servers have. Keys are never replaced: a renewal issues a
//! certificate for the key that is there, so that a server which reads two files never has one of each. Leaves what a certificate
//! says to [`authority`], and verdicts on it to [`certificate`](super::certificate).
//!
//! ```text
//!   ca.crt  ca.key      the authority; its key stays with the administrator
//!   server.crt  .key    the server, as Matchbox looks for it in /etc/matchbox
//!   NAME.crt  NAME.key  each client; `client` is what bootcmd looks for
//! ```

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use zeroize::Zeroizing;

use crate::base::clock::{self, Judgement};
use crate::base::disk::{self, directory_of, read_at_most, write_new, write_secret};
use crate::base::error::{Advice, Exit};
use crate::base::finding::nearest;
use crate::base::unfinished::{Unfinished, together};
use crate::trust::authority::{self, Algorithm, Authority, Holder, Key, LONGEST_NAME, Validity};
use crate::trust::certificate::{Known, Purpose};

/// The authority's name among the files.
const AUTHORITY: &str = "ca";
/// The server's.
const SERVER: &str = "server";
/// Longest certificate or key file, in bytes.
const MAX_FILE: usize = 1 << 20;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Lifetime of an authority: ten years.
const AUTHORITY_HOLDS: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
/// Clocks of the two sides differ: a certificate holds from an hour before it was made.
const BEFORE: Duration = Duration::from_secs(3600);

/// The certificates that are wanted.
#[derive(Debug)]
pub struct Wish<'w> {
    /// DNS names and addresses of the server; none if it is not asked for.
    pub server: &'w [String],
    /// Names of clients, which are names of files and common names.
    pub clients: &'w [String],
    /// How new keys are made; `None` for that of the authority.
    pub algorithm: Option<Algorithm>,
    /// Lifetime of the certificates in days.
    pub days: u32,
    /// Issues those that are there anew: the named ones, or without names all.
    pub renew: bool,
}

/// The fate of a certificate in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was made, and its key unless that was there.
    Made,
    /// It was there, and is as it was asked for.
    Kept,
    /// It was there, and another one took its place.
    Renewed,
}

impl Done {
    /// The word for reports.
    pub fn word(self) -> &'static str {
        match self {
            Done::Made => "made",
            Done::Kept => "kept",
            Done::Renewed => "renewed",
        }
    }
}

/// A certificate of the directory, after the run.
#[derive(Debug)]
pub struct Row {
    /// `authority`, `server` or `client`.
    pub kind: &'static str,
    /// Its file.
    pub certificate: PathBuf,
    /// The file of its key.
    pub key: PathBuf,
    /// Its holder's common name.
    pub common_name: String,
    /// DNS names and addresses that it is for.
    pub names: Vec<String>,
    /// Those that the one before it was for, and it is not.
    pub dropped: Vec<String>,
    /// The end of its lifetime.
    pub until: SystemTime,
    /// Its fate in this run.
    pub done: Done,
}

/// A file of the directory whose other half is not there, so that a renewal passes over it.
#[derive(Debug)]
pub struct Half {
    /// `server` or `client`.
    pub kind: &'static str,
    /// The certificate, there or not.
    pub certificate: PathBuf,
    /// Its key, there or not.
    pub key: PathBuf,
    /// Whether the key is the one that is there.
    is_key: bool,
}

impl Half {
    /// The file that is there.
    pub fn there(&self) -> &PathBuf {
        if self.is_key { &self.key } else { &self.certificate }
    }

    /// The file that is not.
    pub fn missing(&self) -> &PathBuf {
        if self.is_key { &self.certificate } else { &self.key }
    }
}

/// Why the certificates cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The clock is certainly wrong, so that every lifetime would be.
    #[error("no certificate is made by a clock that shows {}", clock::date(*.0))]
    Clock(SystemTime),
    /// A client's name that is no file's.
    #[error(
        "`{0}` cannot be a client's name: letters, digits, `.`, `_` and `-`, at most {LONGEST_NAME}, and neither `ca` nor `server`"
    )]
    Client(String),
    /// A lifetime of no day, or beyond the authority's.
    #[error("{0} days are no lifetime for a certificate: 1 to {max} are", max = AUTHORITY_HOLDS.as_secs() / DAY.as_secs())]
    Days(u32),
    /// A file that is there and is something else than asked for.
    #[error("{} exists, and {why}", path.display())]
    Exists {
        /// The certificate.
        path: PathBuf,
        /// How it differs.
        why: String,
    },
    /// A server's certificate that is there and lacks a name.
    #[error("{} exists, and it is not for {name}", path.display())]
    Lacking {
        /// The certificate.
        path: PathBuf,
        /// The name that it lacks.
        name: String,
        /// The names that it has, and those that it is to have.
        all: Vec<String>,
    },
    /// A name without files, which are to be renewed.
    #[error("{} has no {kind} `{name}` to renew", directory.display())]
    Unknown {
        /// The directory.
        directory: PathBuf,
        /// `server` or `client`.
        kind: &'static str,
        /// The name of the files.
        name: String,
        /// A similar name that is there.
        nearest: Option<String>,
    },
    /// A certificate without its key.
    #[error("{} is there without {}, its key", certificate.display(), key.display())]
    Keyless {
        /// The certificate.
        certificate: PathBuf,
        /// The missing file.
        key: PathBuf,
    },
    /// A file that cannot be used.
    #[error("{} cannot be used: {why}", path.display())]
    Unfit {
        /// The file that was read.
        path: PathBuf,
        /// The reason, in words.
        why: String,
    },
    /// A certificate beside another one's key.
    #[error("{} cannot be used: it does not belong to {}", certificate.display(), key.display())]
    Strangers {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A certificate of another authority than that of the directory.
    #[error("{} cannot be used: {} did not issue it ({why})", path.display(), authority.display())]
    Foreign {
        /// The certificate of a server or client.
        path: PathBuf,
        /// The authority's certificate.
        authority: PathBuf,
        /// The verifier's reason, in words.
        why: String,
    },
    /// The authority's lifetime is over.
    #[error("{} expired at {}", path.display(), clock::date(*until))]
    Expired {
        /// Its certificate.
        path: PathBuf,
        /// The end of its lifetime.
        until: SystemTime,
        /// This machine's time.
        now: SystemTime,
    },
    /// The authority's lifetime has not begun.
    #[error("{} holds only from {} on", path.display(), clock::date(*from))]
    Early {
        /// Its certificate.
        path: PathBuf,
        /// The begin of its lifetime.
        from: SystemTime,
        /// This machine's time.
        now: SystemTime,
    },
    /// The authority is about to end, and is another one's to renew.
    #[error("{} ends at {}, and {issuer}, which issued it, alone can renew it", path.display(), clock::date(*until))]
    Intermediate {
        /// Its certificate.
        path: PathBuf,
        /// The file of its key.
        key: PathBuf,
        /// Its issuer's name.
        issuer: String,
        /// The end of its lifetime.
        until: SystemTime,
        /// Whole days until then.
        days: u64,
    },
    /// Certificates are there, and not the authority that issued them.
    #[error("{} was issued by {issuer}, whose files are not there", path.display())]
    Orphan {
        /// The certificate of a server or client.
        path: PathBuf,
        /// The authority's certificate, which is missing.
        authority: PathBuf,
        /// Its issuer's name.
        issuer: String,
    },
    /// Verifiers do not take what the authority issues.
    #[error("what {} issues for `{holder}` would be taken by nobody: {why}", authority.display())]
    Unbelieved {
        /// The authority's certificate.
        authority: PathBuf,
        /// The holder's common name.
        holder: String,
        /// The verifier's reason, in words.
        why: String,
    },
    /// Nothing is there to renew.
    #[error("{} has nothing to renew: {what}", directory.display())]
    Nothing {
        /// The directory.
        directory: PathBuf,
        /// The missing part, in words.
        what: String,
    },
    /// A certificate cannot be made.
    #[error(transparent)]
    Make(#[from] authority::Error),
    /// A file cannot be read or written.
    #[error(transparent)]
    Disk(#[from] disk::Error),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Client(_) | Error::Days(_) | Error::Exists { .. } | Error::Nothing { .. } => Exit::Usage,
            Error::Lacking { .. } | Error::Unknown { .. } => Exit::Usage,
            Error::Make(authority::Error::Name(_)) => Exit::Usage,
            Error::Keyless { .. } | Error::Unfit { .. } | Error::Expired { .. } => Exit::Trust,
            Error::Early { .. } | Error::Intermediate { .. } => Exit::Trust,
            Error::Orphan { .. } | Error::Unbelieved { .. } => Exit::Trust,
            Error::Strangers { .. } | Error::Foreign { .. } => Exit::Trust,
            Error::Disk(error) => error.exit(),
            Error::Clock(_) | Error::Make(_) => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Clock(now) => Some(clock::first(*now, Judgement::ToCome, "update prebake")),
            Error::Exists { .. } => Some(
                "`--renew` issues it anew for the same key; to have new keys, move both of its files away first".into(),
            ),
            Error::Lacking { all, .. } => Some(format!(
                "`--renew --server {}` issues it anew for the same key; it is then for the names given there, and for no others",
                all.join(" ")
            )),
            Error::Unknown { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Error::Unknown { .. } => Some("without --renew, it is made".into()),
            Error::Keyless { certificate, .. } if certificate.ends_with(format!("{AUTHORITY}.crt")) => {
                Some("put its key back, or name another directory: another authority knows none of these clients".into())
            }
            Error::Keyless { .. } => {
                Some("put its key back, or move the certificate away: then both are made".into())
            }
            Error::Strangers { certificate, key } => Some(format!(
                "put the two back that were made together; {}",
                anew(certificate, &format!("{} and {}", certificate.display(), key.display()))
            )),
            Error::Foreign { path, authority, .. } => Some(format!(
                "put the {} and its key back that issued it; {}",
                authority.display(),
                anew(path, &format!("{} and its key", path.display()))
            )),
            // An error of a format has its way out in its words.
            Error::Unfit { path, why } if !why.contains('`') => {
                Some(format!("put the right file back; {}", anew(path, "it and the other file of its pair")))
            }
            Error::Expired { now, .. } => {
                let renew = "`--renew` makes one that holds longer for the same key, which both sides must get";
                Some(clock::first(*now, Judgement::Lapsed, renew))
            }
            Error::Early { now, .. } => {
                Some(clock::first(*now, Judgement::ToCome, "wait until then, or have it issued anew"))
            }
            Error::Intermediate { path, key, days, .. } => {
                let (path, key) = (path.display(), key.display());
                let anew = format!("have it issued anew for the key in {key}, and put it into {path}");
                Some(match days {
                    0 => anew,
                    days => format!("{anew}; certificates of `--days {days}` end within its time"),
                })
            }
            Error::Orphan { authority, .. } => Some(format!(
                "put its certificate and key back as {} and {}; for a new authority, which knows none of these certificates, name \
                 another directory, or move them away",
                authority.display(),
                authority.with_extension("key").display()
            )),
            Error::Unbelieved { .. } => {
                Some("name what it may vouch for, or another directory for an authority without such limits".into())
            }
            Error::Make(authority::Error::Name(name)) if name.ends_with('.') => {
                Some("leave out the dot at its end: clients ask for it without".into())
            }
            Error::Make(authority::Error::Name(name)) => {
                let bare = bare(name)?;
                Some(format!("leave out scheme, port, brackets and path: `--server {bare}`"))
            }
            Error::Nothing { .. } => {
                Some("make them first: --server with the server's names, --client with a client's".into())
            }
            Error::Disk(error) => error.hint(),
            Error::Unfit { .. } | Error::Client(_) | Error::Days(_) | Error::Make(_) => None,
        }
    }
}

/// The way to a new pair in the place of one whose files are `both`, one of them at `path`.
fn anew(path: &Path, both: &str) -> String {
    match path.file_stem().is_some_and(|stem| stem == AUTHORITY) {
        true => "for a new authority, which knows none of these certificates, name another directory".into(),
        false => format!("for a new pair, move {both} away, and make it again without --renew"),
    }
}

/// The name or address in a URL, with a port, or in brackets; `None` if there is no such thing around a name.
fn bare(text: &str) -> Option<&str> {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let host = rest.split('/').next()?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.split_once(']')?.0,
        None => host.rsplit_once(':').map_or(host, |(host, _)| host),
    };
    (host != text && authority::judge_name(host).is_ok()).then_some(host)
}

/// The files that are there without the other half of their pair.
///
/// # Errors
/// The directory cannot be read.
pub fn halves(directory: &Path) -> Result<Vec<Half>, Error> {
    let alone = |path: PathBuf| {
        let stem = path.file_stem()?.to_str()?.to_owned();
        let kind = if stem == SERVER { Purpose::Server } else { Purpose::Client }.word();
        let (files, is_key) = (Files::of(directory, &stem), path.extension()? == "key");
        let Files { certificate, key } = files;
        let half = Half { kind, certificate, key, is_key };
        (!half.missing().exists()).then_some(half)
    };
    let (certificates, keys) = (files_of(directory, "crt")?, files_of(directory, "key")?);
    Ok(certificates.into_iter().chain(keys).filter_map(alone).collect())
}

/// The two files of a name in the directory.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// A key that is there, and its certificate.
struct Found {
    key: Key,
    /// None as a run leaves it that was killed between the two.
    certificates: Option<Certificates>,
}

/// The certificates of a file: one of its key, and others around it, as those of issuers behind a server's.
struct Certificates {
    before: Vec<Known>,
    own: Known,
    behind: Vec<Known>,
}

/// A pair of files in question.
struct Asked<'w> {
    /// The name of the files.
    stem: String,
    /// The server's names, if they were given.
    names: Option<&'w [String]>,
}

/// The files that a run has to write for a name.
struct Task {
    files: Files,
    /// A key that is not on disk yet, in PEM.
    new_key: Option<Zeroizing<String>>,
    /// The text of the certificate's file, unless it stays.
    certificate: Option<String>,
    row: Row,
}

/// A file that will take the place of one that is there.
struct Replacement {
    file: Unfinished,
    target: PathBuf,
}

/// Makes, keeps or renews what is wanted in a directory, the authority first.
///
/// # Errors
/// The first thing that stands in the way; nothing is then written, unless the disk fails in the middle.
pub fn make(directory: &Path, wish: &Wish<'_>, now: SystemTime) -> Result<Vec<Row>, Error> {
    let is_dated = |time| clock::has_form(time) && !clock::is_behind(time);
    if !is_dated(now) || !now.checked_add(AUTHORITY_HOLDS).is_some_and(is_dated) {
        return Err(Error::Clock(now));
    }
    let longest = AUTHORITY_HOLDS.as_secs() / DAY.as_secs();
    if wish.days == 0 || u64::from(wish.days) > longest {
        return Err(Error::Days(wish.days));
    }
    wish.server.iter().try_for_each(|name| authority::judge_name(name))?;
    wish.clients.iter().try_for_each(|name| judge_client(name))?;

    let (root, authority) = root(directory, wish, now)?;
    let mut tasks = vec![root];
    for asked in wished(directory, wish)? {
        tasks.push(pair(directory, &asked, wish, &authority, now)?);
    }
    disk::create_directories(directory)?;
    let prepared: Vec<_> = tasks.iter().map(Task::prepare).collect::<Result<_, _>>()?;
    for (task, replacement) in tasks.iter().zip(prepared) {
        task.write(replacement)?;
    }
    Ok(tasks.into_iter().map(|task| task.row).collect())
}

/// A client's name is the name of its files, and stands in logs.
fn judge_client(name: &str) -> Result<(), Error> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let is_good = (1..=LONGEST_NAME).contains(&name.len())
        && name.chars().all(is_plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && ![AUTHORITY, SERVER].contains(&name.to_ascii_lowercase().as_str());
    if is_good { Ok(()) } else { Err(Error::Client(name.into())) }
}

/// The pairs in question, the server first.
fn wished<'w>(directory: &Path, wish: &Wish<'w>) -> Result<Vec<Asked<'w>>, Error> {
    let unnamed = |stem: &String| Asked { stem: stem.clone(), names: None };
    let mut pairs = Vec::new();
    if !wish.server.is_empty() {
        pairs.push(Asked { stem: SERVER.into(), names: Some(wish.server) });
    }
    let mut seen = BTreeSet::new();
    pairs.extend(wish.clients.iter().filter(|name| seen.insert(*name)).map(unnamed));
    if pairs.is_empty() && wish.renew {
        let stems = stems(directory)?;
        if stems.is_empty() {
            let what = "no certificate lies there beside its key".into();
            return Err(Error::Nothing { directory: directory.into(), what });
        }
        let (server, clients): (Vec<_>, Vec<_>) = stems.iter().partition(|stem| *stem == SERVER);
        pairs.extend(server.into_iter().chain(clients).map(unnamed));
    }
    Ok(pairs)
}

/// The names of servers and clients in the directory, whose certificates lie beside their keys.
fn stems(directory: &Path) -> Result<BTreeSet<String>, Error> {
    let certificates = certificates(directory)?.into_iter();
    // Not `with_extension`: see `Files::of`.
    let names = certificates.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()));
    Ok(names.filter(|stem| Files::of(directory, stem).key.exists()).collect())
}

/// The files of certificates in the directory, without the authority's.
fn certificates(directory: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    files_of(directory, "crt")
}

/// The files with such an end in the directory, without the authority's.
fn files_of(directory: &Path, end: &str) -> Result<BTreeSet<PathBuf>, Error> {
    if !directory.exists() {
        return Ok(BTreeSet::new());
    }
    let entries = fs::read_dir(directory).map_err(disk::Error::io("read", directory))?;
    let files = entries.flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        path.extension().is_some_and(|own| own == end)
            && path.file_stem().is_some_and(|stem| stem != AUTHORITY)
    };
    Ok(files.filter(is_one).collect())
}

/// The authority of the directory, and what has to be written of it.
fn root(directory: &Path, wish: &Wish<'_>, now: SystemTime) -> Result<(Task, Authority), Error> {
    let files = Files::of(directory, AUTHORITY);
    let validity = Validity { from: now - BEFORE, until: now + AUTHORITY_HOLDS };
    let (new_key, key, found) = match files.look()? {
        None if wish.renew => {
            orphans(directory, &files, None, now)?;
            let what = format!("there is no {}", files.certificate.display());
            return Err(Error::Nothing { directory: directory.into(), what });
        }
        None => {
            let key = Key::generate(wish.algorithm.unwrap_or_default())?;
            (Some(key.pem()), key, None)
        }
        Some(Found { key, certificates }) => (None, key, certificates),
    };
    let Some(mut chain) = found else {
        let made = authority::found(&key, validity)?;
        orphans(directory, &files, Some(&made), now)?;
        let row = files.row("authority", &made, Done::Made);
        let certificate = Some(made.pem());
        return Ok((Task { files, new_key, certificate, row }, Authority::new(made, key)));
    };
    let mut authority = Authority::new(chain.own.clone(), key);
    authority.judge(Purpose::Client).map_err(|error| files.unfit(error))?;
    let (until, wanted) = (chain.own.until(), now + DAY * wish.days);
    let mut done = Done::Kept;
    if (wish.renew && until < wanted) || until <= now {
        if let Some(issuer) = chain.own.issuer() {
            let days = until.duration_since(now).unwrap_or_default().as_secs() / DAY.as_secs();
            let (path, key) = (files.certificate, files.key);
            return Err(Error::Intermediate { path, key, issuer, until, days });
        }
        if !wish.renew {
            return Err(Error::Expired { path: files.certificate, until, now });
        }
        authority = authority.renewed(validity).map_err(|error| files.unfit(error))?;
        chain.own = authority.certificate().clone();
        done = Done::Renewed;
    }
    if chain.own.from() > now {
        return Err(Error::Early { path: files.certificate, from: chain.own.from(), now });
    }
    let row = files.row("authority", &chain.own, done);
    let certificate = (done == Done::Renewed).then(|| chain.pem());
    Ok((Task { files, new_key, certificate, row }, authority))
}

/// Looks for certificates of another authority in a directory that is to get a new one, or has none.
fn orphans(directory: &Path, files: &Files, authority: Option<&Known>, now: SystemTime) -> Result<(), Error> {
    for path in certificates(directory)? {
        // Others may lie there as well.
        let Ok(found) = read(&path, Known::all) else { continue };
        let Some((first, issuer)) = found.first().and_then(|first| Some((first, first.issuer()?))) else {
            continue;
        };
        let is_own =
            |purpose| authority.is_some_and(|authority| first.is_from(authority, purpose, now).is_ok());
        if ![Purpose::Server, Purpose::Client].into_iter().any(is_own) {
            return Err(Error::Orphan { path, authority: files.certificate.clone(), issuer });
        }
    }
    Ok(())
}

/// The certificate of a server or client, and what has to be written of it.
fn pair(
    directory: &Path,
    asked: &Asked<'_>,
    wish: &Wish<'_>,
    authority: &Authority,
    now: SystemTime,
) -> Result<Task, Error> {
    let files = Files::of(directory, &asked.stem);
    let purpose = if asked.stem == SERVER { Purpose::Server } else { Purpose::Client };
    let (root, of_root) = (authority.certificate(), Files::of(directory, AUTHORITY));
    let until = (now + DAY * wish.days).min(root.until());
    let validity = Validity { from: (now - BEFORE).max(root.from()), until };
    let (new_key, key, found) = match files.look()? {
        None if wish.renew => {
            let (kind, there) = (purpose.word(), stems(directory)?);
            let nearest = nearest(&asked.stem, there.iter().map(String::as_str)).map(str::to_owned);
            let (directory, name) = (directory.into(), asked.stem.clone());
            return Err(Error::Unknown { directory, kind, name, nearest });
        }
        None => {
            let key = Key::generate(wish.algorithm.unwrap_or_else(|| authority.key().algorithm()))?;
            (Some(key.pem()), key, None)
        }
        Some(Found { key, certificates }) => (None, key, certificates),
    };
    let judge = |made: &Known, purpose| {
        authority.judge(purpose).map_err(|error| of_root.unfit(error))?;
        let (path, holder) = (of_root.certificate.clone(), made.common_name());
        made.is_from(root, purpose, now).map_err(|why| Error::Unbelieved { authority: path, holder, why })
    };
    let Some(mut chain) = found else {
        let names = asked.names.unwrap_or_default();
        let common_name = asked.names.map_or(asked.stem.as_str(), common_name).to_owned();
        let made =
            authority.issue(&key, &Holder { common_name, names: names.to_vec(), purpose }, validity)?;
        judge(&made, purpose)?;
        let row = files.row(purpose.word(), &made, Done::Made);
        return Ok(Task { files, new_key, certificate: Some(made.pem()), row });
    };
    // A client's by its file's name, unless it says itself that it is a server's.
    let purposes = chain.own.purposes();
    let purpose = match purposes.first() {
        Some(first) if !purposes.contains(&purpose) => *first,
        _ => purpose,
    };
    chain.own.is_from(root, purpose, now).map_err(|why| {
        let authority = of_root.certificate.clone();
        Error::Foreign { path: files.certificate.clone(), authority, why }
    })?;
    if !wish.renew {
        return files.keep(&chain.own, purpose, asked.names, now);
    }
    let names = asked.names.map(|names| (common_name(names), names));
    let made = authority.issue_again(&chain.own, names, validity).map_err(|error| files.unfit(error))?;
    judge(&made, purpose)?;
    let (old, new) = (chain.own.names(), made.names());
    let dropped = old.into_iter().filter(|old| !new.iter().any(|new| is_same(new, old))).collect();
    let row = Row { dropped, ..files.row(purpose.word(), &made, Done::Renewed) };
    chain.own = made;
    // The authority's old one would not hold as long.
    let of_authority = |known: &&mut Known| known.subject() == root.subject() && authority.key().is_of(known);
    chain.behind.iter_mut().filter(of_authority).for_each(|known| *known = root.clone());
    Ok(Task { files, new_key, certificate: Some(chain.pem()), row })
}

/// Whether two names of a server are the same one.
fn is_same(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one.eq_ignore_ascii_case(other),
    }
}

/// The first name that fits into a common name.
fn common_name(names: &[String]) -> &str {
    names.iter().find(|name| name.len() <= LONGEST_NAME).map_or(SERVER, String::as_str)
}

impl Certificates {
    fn pem(&self) -> String {
        self.before.iter().chain([&self.own]).chain(&self.behind).map(Known::pem).collect()
    }
}

impl Files {
    fn of(directory: &Path, stem: &str) -> Files {
        // Not `with_extension`, which would take a part of `ci.example`.
        let file = |end: &str| directory.join(format!("{stem}.{end}"));
        Files { certificate: file("crt"), key: file("key") }
    }

    fn look(&self) -> Result<Option<Found>, Error> {
        let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
        let has_certificate = is_there(&self.certificate);
        if !is_there(&self.key) {
            let (certificate, key) = (self.certificate.clone(), self.key.clone());
            return if has_certificate { Err(Error::Keyless { certificate, key }) } else { Ok(None) };
        }
        let key = read(&self.key, Key::parse)?;
        if !has_certificate {
            return Ok(Some(Found { key, certificates: None }));
        }
        let mut after = read(&self.certificate, Known::all)?.into_iter();
        let mut before = Vec::new();
        while let Some(known) = after.next() {
            if key.is_of(&known) {
                let certificates = Certificates { before, own: known, behind: after.collect() };
                return Ok(Some(Found { key, certificates: Some(certificates) }));
            }
            before.push(known);
        }
        Err(Error::Strangers { certificate: self.certificate.clone(), key: self.key.clone() })
    }

    /// An error about a certificate that is there.
    fn unfit(&self, error: authority::Error) -> Error {
        match error {
            authority::Error::NoAuthority(_) | authority::Error::Unrepeatable(_) => {
                Error::Unfit { path: self.certificate.clone(), why: error.to_string() }
            }
            other => other.into(),
        }
    }

    /// The certificate that is there, if it is as asked for.
    fn keep(
        self,
        known: &Known,
        purpose: Purpose,
        names: Option<&[String]>,
        now: SystemTime,
    ) -> Result<Task, Error> {
        let (own, names) = (known.names(), names.unwrap_or_default());
        let has = |name: &&String| own.iter().any(|own| is_same(own, name));
        if let Some(name) = names.iter().find(|name| !has(name)) {
            let all = own.iter().chain(names.iter().filter(|name| !has(name))).cloned().collect();
            return Err(Error::Lacking { path: self.certificate, name: name.clone(), all });
        }
        if known.until() <= now {
            let why = format!("it expired at {}", clock::date(known.until()));
            return Err(Error::Exists { path: self.certificate, why });
        }
        let row = self.row(purpose.word(), known, Done::Kept);
        Ok(Task { files: self, new_key: None, certificate: None, row })
    }

    fn row(&self, kind: &'static str, known: &Known, done: Done) -> Row {
        Row {
            kind,
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            common_name: known.common_name(),
            names: known.names(),
            dropped: Vec::new(),
            until: known.until(),
            done,
        }
    }
}

impl Task {
    /// Where a file is to be replaced, another one of its mode and owner, which still lacks the name.
    fn prepare(&self) -> Result<Option<Replacement>, Error> {
        let (Done::Renewed, Some(certificate)) = (self.row.done, &self.certificate) else { return Ok(None) };
        // Where the file is a link, its target is what programs read.
        let path = &self.files.certificate;
        let target = fs::canonicalize(path).map_err(disk::Error::io("find", path))?;
        let prepared = || {
            let old = fs::metadata(&target)?;
            let mut file = Unfinished::in_directory(directory_of(&target), 0o600)?;
            file.write_all(certificate.as_bytes())?;
            let new = file.as_file().metadata()?;
            if (old.uid(), old.gid()) != (new.uid(), new.gid()) {
                unix::fs::fchown(file.as_file(), Some(old.uid()), Some(old.gid()))?;
            }
            // Behind the owner, with whose change the kernel drops some of it.
            file.as_file().set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
            Ok(file)
        };
        let file = prepared().map_err(disk::Error::io("keep mode and owner of", path))?;
        Ok(Some(Replacement { file, target }))
    }

    /// Writes the key before its certificate: a lone key gets a certificate by the next run, a lone certificate no key.
    fn write(&self, replacement: Option<Replacement>) -> Result<(), Error> {
        together(|| {
            if let Some(key) = &self.new_key {
                write_secret(&self.files.key, key.as_bytes())?;
            }
            match (replacement, &self.certificate) {
                (Some(Replacement { file, target }), _) => disk::finish(file, &target)?,
                (None, Some(certificate)) => write_new(&self.files.certificate, certificate.as_bytes())?,
                (None, None) => {}
            }
            Ok(())
        })
    }
}

/// Reads and parses a file; a pipe in its place would block.
fn read<T>(path: &Path, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, Error> {
    let unfit = |why: String| Error::Unfit { path: path.into(), why };
    if !path.is_file() {
        return Err(unfit("it is not a file".into()));
    }
    let bytes = zeroize::Zeroizing::new(read_at_most(path, MAX_FILE).map_err(disk::Error::io("read", path))?);
    parse(&bytes).map_err(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A day after this program was written.
    fn today() -> SystemTime {
        SystemTime::UNIX_EPOCH + clock::EARLIEST + DAY
    }

    fn client(directory: &Path, days: u32, renew: bool, now: SystemTime) -> Result<Vec<Row>, Error> {
        let clients = ["client".to_owned()];
        make(directory, &Wish { server: &[], clients: &clients, algorithm: None, days, renew }, now)
    }

    #[test]
    fn an_expired_certificate_is_told_and_renewed_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        client(path, 30, false, today()).unwrap();
        let key = fs::read(path.join("client.key")).unwrap();
        let later = today() + 40 * DAY;
        let error = client(path, 30, false, later).unwrap_err();
        assert!(error.to_string().contains("client.crt exists, and it expired at 20"), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--renew")));
        let rows = client(path, 30, true, later).unwrap();
        assert_eq!((rows[1].done, rows[1].until), (Done::Renewed, later + 30 * DAY));
        assert_eq!(fs::read(path.join("client.key")).unwrap(), key);
    }

    #[test]
    fn nothing_outlives_its_authority_which_is_renewed_for_the_same_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        client(path, 365, false, today()).unwrap();
        let late = today() + AUTHORITY_HOLDS - 10 * DAY;
        fs::remove_file(path.join("client.crt")).unwrap();
        let rows = client(path, 365, false, late).unwrap();
        assert_eq!(rows[1].until, rows[0].until);
        let over = today() + AUTHORITY_HOLDS + DAY;
        assert!(matches!(client(path, 365, false, over), Err(Error::Expired { .. })));

        let [old, key] = ["ca.crt", "ca.key"].map(|name| fs::read(path.join(name)).unwrap());
        let rows = client(path, 365, true, over).unwrap();
        assert_eq!((rows[0].done, rows[1].until), (Done::Renewed, over + 365 * DAY));
        assert_eq!(fs::read(path.join("ca.key")).unwrap(), key);
        // Programs with the authority's old certificate still know the new ones of the others.
        let [old, own] =
            [old, fs::read(path.join("client.crt")).unwrap()].map(|pem| Known::all(&pem).unwrap().remove(0));
        assert_eq!(own.is_from(&old, Purpose::Client, over), Ok(()));
    }

    #[test]
    fn a_renewal_makes_nothing_new_and_tells_the_names_that_it_drops() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let run = |server: &[&str], clients: &[&str], renew| {
            let [server, clients] =
                [server, clients].map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>());
            let wish = Wish { server: &server, clients: &clients, algorithm: None, days: 30, renew };
            make(path, &wish, today())
        };
        run(&["a.example", "b.example"], &["client"], false).unwrap();
        let error = run(&[], &["clinet"], true).unwrap_err();
        assert!(error.to_string().ends_with("has no client `clinet` to renew"), "{error}");
        assert_eq!(error.hint().as_deref(), Some("did you mean `client`?"));
        assert!(!path.join("clinet.key").exists());
        let error = run(&["c.example"], &[], false).unwrap_err();
        assert!(error.to_string().ends_with("server.crt exists, and it is not for c.example"), "{error}");
        let hint = error.hint().unwrap();
        assert!(hint.contains("--renew --server a.example b.example c.example"), "{hint}");
        let rows = run(&["c.example", "A.example"], &[], true).unwrap();
        assert_eq!((rows[1].done, &rows[1].dropped[..]), (Done::Renewed, &["b.example".to_owned()][..]));
    }

    #[test]
    fn a_name_in_a_url_is_found() {
        for (text, name) in [
            ("http://boot:8081", Some("boot")),
            ("https://boot.example.com/x", Some("boot.example.com")),
            ("boot:8081", Some("boot")),
            ("[::1]", Some("::1")),
            ("[fd00::1]:8081", Some("fd00::1")),
            ("10.0.0.1:8081", Some("10.0.0.1")),
            ("a b:1", None),
            ("no name", None),
            ("[", None),
            ("http://", None),
        ] {
            assert_eq!(bare(text), name, "{text}");
        }
    }

    #[test]
    fn an_authority_that_does_not_hold_yet_issues_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        client(path, 30, false, today() + 2 * DAY).unwrap();
        for renew in [false, true] {
            let error = client(path, 30, renew, today()).unwrap_err();
            assert!(error.to_string().contains("ca.crt holds only from 20"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.starts_with("set this machine's clock first")));
        }
    }

    #[test]
    fn a_clock_that_is_certainly_wrong_makes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pki");
        let of = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap();
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(100_000_000);
        for now in [before, of(0), of(1_262_304_000), of(253_402_300_799), of(1 << 40), of(i64::MAX as u64)] {
            let error = client(&path, 30, false, now).unwrap_err();
            assert!(matches!(error, Error::Clock(_)) && !path.exists(), "{error}");
        }
    }
}
