//! A trial boot of one machine of a tree, before the machine exists: what it would send, so that the server answers as it will.
//!
//! Owns the choice of a [`Player`] (a node, or a machine that no node names) and the [`loader`] that plays iPXE. Leaves the
//! machine itself to `machine::vm`, and all answers to the server.

pub(crate) mod loader;

use std::path::Path;

use crate::base::arch::Arch;
use crate::base::error::{Advice, Exit};
use crate::base::finding::{meant, nearest};
use crate::machine::node::Mac;
use crate::serve::site::Site;
use crate::tree::names::{INSTALLED, profile_of};
use crate::tree::records::{Group, Profile};

/// The address of a machine that no node names: one of QEMU's.
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0xb0, 0x07, 0x01];

/// The machine to play.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// A node of the tree.
    Node(String),
    /// Any machine that boots a profile.
    Profile(String),
}

/// A machine as it would describe itself, and the sizes of its loads.
#[derive(Debug)]
pub(crate) struct Player {
    /// Its name, for people.
    pub name: String,
    /// The profile that it boots.
    pub profile: String,
    /// Its network card's address.
    pub mac: Mac,
    /// Its SMBIOS UUID, if it is known by that.
    pub uuid: Option<String>,
    /// Its SMBIOS serial number, if it is known by that.
    pub serial: Option<String>,
    /// The architecture of its kernel.
    pub arch: Arch,
    /// The sizes of all initrds that it loads, in bytes.
    pub initrds: Vec<u64>,
}

impl Player {
    /// The machine that a node is, or one with a profile.
    ///
    /// # Errors
    /// The tree has no such node or profile, or the profile boots nothing.
    pub(crate) fn of(site: &Site, wanted: &Wanted) -> Result<Player, Error> {
        match wanted {
            Wanted::Node(name) => {
                let group = site.groups.iter().find(|group| group.id == *name && group.is_of_one_machine());
                let group = group.ok_or_else(|| Error::no_node(site, name))?;
                Player::of_boot(site, name.clone(), group, &group.profile)
            }
            Wanted::Profile(name) => {
                // A boot of its own belongs to a node; the shared one has the profile's name, or that and an architecture.
                let is_it = |id: &&String| profile_of(id) == name && !id.contains('+');
                let profile = site.profiles.iter().find(|(id, profile)| is_it(id) && profile.boot.is_some());
                let id = profile.map(|(id, _)| id).ok_or_else(|| Error::no_profile(site, name))?;
                Player::of_boot(site, format!("try-{name}"), &Group::default(), id)
            }
        }
    }

    fn of_boot(site: &Site, name: String, group: &Group, id: &str) -> Result<Player, Error> {
        let profile = profile_of(id).to_owned();
        let boot = site.profiles.get(id).and_then(|profile: &std::sync::Arc<Profile>| profile.boot.as_ref());
        let boot = boot.ok_or_else(|| Error::NoBoot { profile: profile.clone() })?;
        let path = |url: &str| url.trim_start_matches('/').to_owned();
        let of_kernel = site.manifest.files.get(&path(&boot.kernel)).and_then(|file| file.arch);
        let of_release = site.manifest.releases.first().map(|release| release.arch);
        let label = |key: &str| group.selector.get(key).cloned();
        Ok(Player {
            name,
            mac: label("mac").and_then(|mac| mac.parse().ok()).unwrap_or_else(|| MAC.into()),
            uuid: label("uuid"),
            serial: label("serial"),
            arch: of_kernel.or(of_release).unwrap_or(Arch::Amd64),
            initrds: boot.initrd.iter().filter_map(|url| Some(site.asset(&path(url))?.size)).collect(),
            profile,
        })
    }

    /// An inventory that makes this machine a node, for a profile that no node of the tree has to have.
    pub(crate) fn inventory(&self) -> String {
        let Player { name, mac, profile, arch, .. } = self;
        format!("schema: 1\nnodes:\n  - {{name: {name}, mac: \"{mac}\", profile: {profile}, arch: {arch}}}\n")
    }
}

/// Why a trial cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The tree has no such node.
    #[error("the tree has no node `{name}`")]
    NoNode {
        /// As it was given.
        name: String,
        /// The nodes, or the one that was likely meant.
        known: String,
    },
    /// The tree has no such profile.
    #[error("the tree has no profile `{name}` that boots")]
    NoProfile {
        /// As it was given.
        name: String,
        /// The profiles, or the one that was likely meant.
        known: String,
    },
    /// The profile only holds files.
    #[error("profile `{profile}` boots nothing: it has no kernel")]
    NoBoot {
        /// The profile that has no `boot`.
        profile: String,
    },
    /// The server gives the machine no script that can be followed.
    #[error("{url} is no script that boots a kernel: {why}")]
    Script {
        /// Where it was asked for.
        url: String,
        /// The reason, in words.
        why: String,
    },
    /// The server does not give a file.
    #[error("{url} cannot be loaded: {why}")]
    Load {
        /// The URL of the file, below the server's.
        url: String,
        /// The reason, in words.
        why: String,
    },
    /// A loaded file cannot be kept.
    #[error(transparent)]
    Disk(#[from] crate::base::disk::Error),
}

impl Error {
    fn no_node(site: &Site, name: &str) -> Error {
        let nodes = site
            .groups
            .iter()
            .filter(|group| group.is_of_one_machine() && !group.selector.contains_key(INSTALLED[0]));
        Error::NoNode { name: name.into(), known: known(name, nodes.map(|group| group.id.as_str())) }
    }

    fn no_profile(site: &Site, name: &str) -> Error {
        let profiles = site.profiles.iter().filter(|(_, profile)| profile.boot.is_some());
        let mut profiles: Vec<&str> = profiles.map(|(id, _)| profile_of(id)).collect();
        profiles.dedup();
        Error::NoProfile { name: name.into(), known: known(name, profiles) }
    }
}

/// Most names that a hint lists.
const LISTED: usize = 12;

fn known<'n>(name: &str, all: impl IntoIterator<Item = &'n str>) -> String {
    let all: Vec<&str> = all.into_iter().collect();
    match all.len() {
        0 => "it has none at all".into(),
        // Many are not listed.
        count if count > LISTED && nearest(name, all.iter().copied()).is_none() => {
            format!("it has {}, …", all[..LISTED].join(", "))
        }
        _ => meant(name, all, "it has "),
    }
}

impl Advice for Error {
    fn inner(&self) -> Option<&dyn Advice> {
        match self {
            Error::Disk(error) => Some(error),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Error::NoNode { .. } | Error::NoProfile { .. } | Error::NoBoot { .. } => Exit::Usage,
            Error::Script { .. } | Error::Load { .. } => Exit::Failed,
            Error::Disk(_) => self.inner_exit(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::NoNode { known, .. } | Error::NoProfile { known, .. } => Some(known.clone()),
            Error::NoBoot { .. } | Error::Script { .. } | Error::Load { .. } => None,
            Error::Disk(_) => self.inner_hint(),
        }
    }
}

/// Where a loader keeps what it loaded.
pub(crate) fn places(directory: &Path) -> [std::path::PathBuf; 2] {
    ["kernel", "initrd"].map(|name| directory.join(name))
}
