//! The served site: an immutable index of a published tree, or of a Matchbox data directory in its current state.

pub(crate) mod added;
pub(crate) mod audit;
pub(crate) mod config;
pub mod content;
pub(crate) mod datadir;
pub mod labels;
pub(crate) mod select;
pub(crate) mod watch;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::datadir::Live;
use self::select::Groups;
use crate::base::error::{Advice, Exit};
use crate::base::finding::Findings;
use crate::base::parallel;
use crate::format::cpio::padding::padding;
use crate::machine::dhcp::Host;
use crate::serve::answer::{Piece, TEXT, Within};
use crate::serve::endpoint::sign::Signer;
use crate::tree::manifest::{self, Joined, Manifest, Role};
use crate::tree::names::{self, CHECKSUMS, CONFIG_END, IPXE_END, record_id};
use crate::tree::notes::Weight;
use crate::tree::open::{self, Place, Tree};
use crate::tree::records::{Group, Profile};
use crate::tree::reporting::reporting;
use crate::tree::{bundle, private};

/// A tree or data directory, ready to answer.
#[derive(Debug)]
pub struct Site {
    /// Where the served files are; none may be outside of it. It is the build itself, or Matchbox's assets.
    pub place: Place,
    /// The manifest of the tree; empty for a data directory.
    pub manifest: Manifest,
    /// Decides which group a machine gets.
    pub groups: Arc<Groups>,
    /// The profiles, by the id that groups use.
    pub profiles: Arc<BTreeMap<String, Arc<Profile>>>,
    /// Nodes without a group, for a server that lends addresses.
    pub nodes: Arc<Vec<Host>>,
    /// The data directory that is served instead of a tree.
    pub live: Option<Live>,
    /// The ids of profiles whose boots bring the sysext that reports.
    pub reporting: Arc<BTreeSet<String>>,
    /// The signer of answers, if they are to be signed.
    pub signer: Option<Arc<Signer>>,
    /// Ids of configs that the tree keeps secrets for, as they were when it was opened: later this process may lack the
    /// right to see them. `None` if it did so then.
    pub private: Option<BTreeSet<String>>,
    /// A problem of the whole site that people should know of, in a sentence: machines do not get everything that they
    /// should.
    pub lack: Option<String>,
    /// Keeps the files of a tree where they are, for as long as answers are made of them.
    pub hold: open::Hold,
}

/// The file, or joined files, of a path.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Changes with every byte: the digest, or those of its parts. `None` for a file that may be written to.
    pub etag: Option<String>,
    /// The modification time, if known.
    pub modified: Option<SystemTime>,
    /// The content type.
    pub kind: Cow<'static, str>,
    /// Length of all pieces together, in bytes.
    pub size: u64,
    /// The files that it consists of, in order.
    pub pieces: Vec<Piece>,
}

/// A flaw in a file that its author should know of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flaw {
    /// Its path below the data directory.
    pub path: String,
    /// A description of the flaw.
    pub why: String,
    /// The severity of the flaw.
    pub weight: Weight,
}

impl Flaw {
    /// A flaw with the given severity.
    pub(crate) fn new(weight: Weight, path: impl Into<String>, why: impl Into<String>) -> Flaw {
        Flaw { path: path.into(), why: why.into(), weight }
    }

    /// A flaw that strict serving refuses.
    pub(crate) fn fault(path: impl Into<String>, why: impl Into<String>) -> Flaw {
        Flaw::new(Weight::Fault, path, why)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.why)
    }
}

/// Content types by file extension; the default is a stream of bytes.
const TYPES: [(&str, &str); 7] = [
    (".gz", "application/gzip"),
    (".bz2", "application/x-bzip2"),
    (".json", "application/json"),
    (CONFIG_END, "application/json"),
    (IPXE_END, TEXT),
    (".txt", TEXT),
    (CHECKSUMS, TEXT),
];

/// Why a tree or data directory cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not a tree, or it is damaged.
    #[error(transparent)]
    Tree(#[from] open::Error),
    /// A group or profile cannot be used.
    #[error("{path} of {place} cannot be used: {why}")]
    Malformed {
        /// The tree's location.
        place: String,
        /// The path of the file in it.
        path: String,
        /// The reason, in words.
        why: String,
    },
    /// Secrets for machines cannot be served.
    #[error(transparent)]
    Secrets(#[from] private::Unfit),
    /// The inventory of added nodes cannot be used.
    #[error(transparent)]
    Nodes(#[from] Findings),
    /// The path is not a readable directory.
    #[error("{} is not a readable directory", path.display())]
    NoDirectory {
        /// The path as it was given.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
    /// Files have flaws that strict serving refuses.
    #[error("{} cannot be served strictly: {}", path.display(), listed(flaws))]
    Flawed {
        /// The data directory's path.
        path: PathBuf,
        /// All flaws that were found.
        flaws: Vec<Flaw>,
    },
}

fn listed(flaws: &[Flaw]) -> String {
    flaws.iter().map(|flaw| format!("\n  {flaw}")).collect()
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Tree(error) => error.exit(),
            Error::Secrets(error) => error.exit(),
            Error::NoDirectory { .. } => Exit::Failed,
            Error::Malformed { .. } => Exit::Integrity,
            Error::Flawed { .. } | Error::Nodes(_) => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Tree(error) => error.hint(),
            Error::Secrets(error) => error.hint(),
            Error::Malformed { .. } => Some("the tree was damaged; build it again".into()),
            Error::NoDirectory { .. } => {
                Some("--matchbox takes a directory with groups/, profiles/ and so on; --assets-path '' turns assets off".into())
            }
            Error::Nodes(_) => None,
            Error::Flawed { .. } => {
                Some("without --strict, such files are skipped or served unchanged, as Matchbox does".into())
            }
        }
    }
}

impl Site {
    /// Reads a tree. Unlike Matchbox, which skips unreadable files, it refuses a tree with a bad group: the group's
    /// machines would silently boot the default.
    pub(crate) fn load(tree: Tree) -> Result<Site, Error> {
        let of_role = |wanted: Role| {
            let files = tree.manifest().files.iter().filter(move |(_, file)| file.role == wanted);
            files.map(|(path, _)| path.as_str()).collect::<Vec<_>>()
        };
        let groups = parallel::map(
            &of_role(Role::Group),
            || (),
            |(), path| read(&tree, path, |bytes| Group::read(record_id(path), bytes)).map(Arc::new),
        )?;
        let profiles = parallel::map(
            &of_role(Role::Profile),
            || (),
            |(), path| {
                Ok::<_, Error>((record_id(path).to_owned(), Arc::new(read(&tree, path, Profile::read)?)))
            },
        )?;
        let profiles: BTreeMap<_, _> = profiles.into_iter().collect();
        if let Some(group) = groups.iter().find(|group| !profiles.contains_key(&group.profile)) {
            let path = names::group(&group.id);
            let why = format!("there is no profile `{}`", group.profile);
            return Err(Error::Malformed { place: tree.place(), path, why });
        }
        let has_nodes = tree.manifest().files.contains_key(names::NODES);
        let nodes = has_nodes
            .then(|| read(&tree, names::NODES, crate::tree::nodes::read))
            .transpose()?
            .unwrap_or_default();
        let (manifest, place, hold) = tree.into_parts();
        let (groups, profiles) = (Arc::new(Groups::new(groups)), Arc::new(profiles));
        let nodes = Arc::new(nodes);
        let reporting = Arc::new(reporting(&place, &manifest, &profiles));
        Ok(Site { nodes, reporting, hold, ..Site::new(place, manifest, groups, profiles) })
    }

    /// A site of these groups and profiles, with nothing else.
    pub(crate) fn new(
        place: Place,
        manifest: Manifest,
        groups: Arc<Groups>,
        profiles: Arc<BTreeMap<String, Arc<Profile>>>,
    ) -> Site {
        Site {
            place,
            manifest,
            groups,
            profiles,
            nodes: Arc::default(),
            live: None,
            reporting: Arc::default(),
            signer: None,
            private: Some(BTreeSet::new()),
            lack: None,
            hold: None,
        }
    }

    /// Whether the tree has images of a sysext.
    pub(crate) fn has_sysext(&self, name: &str) -> bool {
        self.manifest.has_sysext(name)
    }

    /// The published file with this path, or two joined ones, if the manifest names them.
    pub(crate) fn asset(&self, path: &str) -> Option<Asset> {
        let file = |path: &str| {
            let file = self.manifest.files.get(path)?;
            Some((file, self.piece(path, file)?))
        };
        if let Some((file, piece)) = file(path) {
            return Some(self.row(path, file.sha256.to_string(), file.size, vec![piece]));
        }
        let Joined { parts: [first, second], size, .. } = self.manifest.joined.get(path)?;
        let ((first, base), (second, overlay)) = (file(first)?, file(second)?);
        let zeros = Piece::Zeros(padding(first.size));
        let etag = format!("{}+{}", first.sha256, second.sha256);
        Some(self.row(path, etag, *size, vec![base, zeros, overlay]))
    }

    /// A published file in the form that is sent. A file in a bundle is named as if the bundle were a directory.
    fn piece(&self, path: &str, row: &manifest::File) -> Option<Piece> {
        let (size, sha256) = (row.size, Some(row.sha256));
        let (path, within) = match &self.place {
            Place::Directory(directory) => (directory.join(path), None),
            Place::Bundle { bundle, file, tree } => {
                let start = self.place.extent(path)?.start;
                let path = bundle.path().join(bundle::index::directory(tree)).join(path);
                (path, Some(Within(file.clone(), start)))
            }
        };
        Some(Piece::File { path, within, size, sha256 })
    }

    fn row(&self, path: &str, etag: String, size: u64, pieces: Vec<Piece>) -> Asset {
        let known = TYPES.iter().find(|(end, _)| path.ends_with(end));
        let kind = known.map_or("application/octet-stream", |(_, kind)| kind).into();
        Asset { etag: Some(etag), modified: Some(self.modified()), kind, size, pieces }
    }

    /// A template below `generic/` or `cloud/` of a tree.
    ///
    /// # Errors
    /// Why it is unavailable, in words for the client.
    pub(crate) fn template(&self, folder: &str, id: &str) -> Result<Vec<u8>, String> {
        let path = format!("{folder}/{id}");
        let Some(row) = self.manifest.files.get(&path) else {
            return Err(format!("the profile names no file below {folder}/ that is in the tree's manifest"));
        };
        self.place.read(&path, row).map_err(|error| error.to_string())
    }

    /// The modification time of all files of the tree: its epoch.
    pub(crate) fn modified(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.manifest.epoch)
    }
}

fn read<T>(tree: &Tree, path: &str, parse: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, Error> {
    let malformed = |why| Error::Malformed { place: tree.place(), path: path.into(), why };
    parse(&tree.read(path)?).map_err(malformed)
}
