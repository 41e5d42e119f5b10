//! The paths that Flatcar expects in an overlay.
//!
//! Flatcar copies `usr/share/oem` of the initramfs to `/oem`, takes `config.ign` there as the user's Ignition config,
//! and reads nothing else there by itself: sysexts are in `sysext/` for the links that the config makes, container
//! images in `images/` for units of the config. Files that must be in the final root (certificates) are written by the
//! config.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::Error;
use crate::base::finding::{Finding, Findings};
use crate::format::tree::{self, Contents, Entry, PLAIN, Tree};
use crate::ignition::authorities::{self, Authorities};
use crate::ignition::{self, Config, Spec, Transpile, boot, lint};
use crate::sysext::inspect;
use crate::sysext::place::{IMAGE_END, link};

/// Directory that becomes `/oem`.
pub(crate) const OEM: &str = boot::OEM.split_at(1).1;
/// The user's Ignition config.
pub(crate) const CONFIG: &str = "usr/share/oem/config.ign";
/// Where a booted machine has what was in [`OEM`].
pub(crate) const MOUNTED: &str = "/oem";

/// The image of a sysext, below [`OEM`] and [`MOUNTED`].
fn sysext(name: &str) -> String {
    format!("sysext/{name}{IMAGE_END}")
}

/// An image in an overlay, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Image<'p> {
    /// That of a sysext.
    Sysext(&'p str),
    /// That of a container.
    Container(&'p str),
}

/// The image that a file of an overlay is, if any: the inverse of [`Overlay::sysext`] and [`Overlay::image`].
pub(crate) fn image_at(path: &str) -> Option<Image<'_>> {
    let (folder, name) = path.strip_prefix(OEM)?.strip_prefix('/')?.split_once('/')?;
    match folder {
        "sysext" => Some(Image::Sysext(name.strip_suffix(IMAGE_END).unwrap_or(name))),
        "images" => Some(Image::Container(name)),
        _ => None,
    }
}

/// An overlay in the making.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    tree: Tree,
    /// Names of its sysexts.
    sysexts: Vec<String>,
    /// Layers of its config, lowest first.
    layers: Vec<Config>,
    authorities: Vec<Authorities>,
    findings: Vec<Finding>,
}

impl Overlay {
    /// Adds the finished config.
    pub(crate) fn config(&mut self, config: Vec<u8>) -> Result<(), tree::Error> {
        let entry = Entry::file(PLAIN, Contents::Bytes(config), "the compiled Ignition config");
        self.tree.insert(CONFIG, entry)
    }

    /// Adds the image of a sysext under the name that it must be merged under.
    pub(crate) fn sysext(&mut self, name: &str, image: impl Into<PathBuf>) -> Result<(), tree::Error> {
        let entry = Entry::file(PLAIN, Contents::on_disk(image)?, format!("sysext {name}"));
        self.tree.insert(&format!("{OEM}/{}", sysext(name)), entry)?;
        self.sysexts.push(name.to_owned());
        Ok(())
    }

    /// Adds the image of a sysext that somebody else built, under the name of its extension-release file, else that of
    /// the image file.
    pub(crate) fn foreign_sysext(&mut self, image: &Path) -> Result<(), Error> {
        let (name, _, findings) = inspect::foreign(image)?;
        self.findings.extend(findings);
        Ok(self.sysext(&name, image)?)
    }

    /// Adds a container image, for a unit that imports it from `/oem/images`.
    pub(crate) fn image(&mut self, archive: &Path) -> Result<(), Error> {
        let name = file_name(archive)?;
        let entry = Entry::file(PLAIN, Contents::on_disk(archive)?, format!("image {}", archive.display()));
        Ok(self.tree.insert(&format!("{OEM}/images/{name}"), entry)?)
    }

    /// Adds any file.
    pub(crate) fn file(&mut self, path: &str, from: &Path, mode: u16) -> Result<(), Error> {
        let entry = Entry::file(mode, Contents::on_disk(from)?, format!("{}", from.display()));
        self.tree.insert(path, entry)?;
        if !path.starts_with(&format!("{OEM}/")) {
            let text = format!("`{path}` exists only in the initramfs: only {OEM} reaches the booted system");
            let hint =
                "Flatcar from 4487 on (Stable from 4593) unpacks it into a first stage that ends at once";
            self.findings.push(Finding::warning(text).hint(hint));
        }
        Ok(())
    }

    /// Adds a layer of the config, on top of those before.
    pub(crate) fn layer(&mut self, path: &Path) -> Result<(), Error> {
        let checked = ignition::load(path, &Transpile::of_recipe())?;
        self.findings.extend(checked.warnings);
        self.layers.push(checked.config);
        Ok(())
    }

    /// Adds authorities whose certificates the node shall trust.
    pub(crate) fn authority(&mut self, pem: &Path) -> Result<(), Error> {
        self.authorities.push(Authorities::load(pem).map_err(Findings::from)?);
        Ok(())
    }

    /// Returns the overlay's files and the findings about them.
    pub(crate) fn finish(mut self) -> Result<(Tree, Vec<Finding>), Error> {
        if let Some(config) = self.merged(None)? {
            self.config(config.to_json().into_bytes())?;
        }
        Ok(Findings::settle(self.findings, self.tree)?)
    }

    /// The files of this overlay over those of an older one, whose config is below this one's and is in `config` alone;
    /// returns the new config at a spec up to `ceiling`, and the findings.
    ///
    /// # Errors
    /// A layer that needs a newer spec; a file where the older overlay has a directory.
    pub(crate) fn over(
        mut self,
        older: Tree,
        config: Config,
        ceiling: Spec,
    ) -> Result<(Tree, Vec<u8>, Vec<Finding>), Error> {
        let config = self.merged(Some(config))?.unwrap_or_else(|| Config::empty(ceiling));
        let config = config.at_most(ceiling)?.to_json().into_bytes();
        self.config(config.clone())?;
        for (path, entry) in older.iter() {
            if self.tree.get(path).is_none() {
                self.tree.insert(path, entry.clone())?;
            }
        }
        let (tree, findings) = Findings::settle(self.findings, self.tree)?;
        Ok((tree, config, findings))
    }

    /// All layers merged over `below`: links for the sysexts, certificates, and the given layers. `None` if there are
    /// none.
    fn merged(&mut self, below: Option<Config>) -> Result<Option<Config>, Error> {
        let mut layers: Vec<Config> = below.into_iter().collect();
        if !self.sysexts.is_empty() {
            layers.extend(links_layer(&self.sysexts));
        }
        layers.extend(authorities::layer(&self.authorities)?);
        layers.append(&mut self.layers);
        if layers.is_empty() {
            return Ok(None);
        }
        self.findings.extend(lint::conflicts(&layers));
        let config = ignition::merge_all(layers);
        self.findings.extend(lint::pxe(&config));
        Ok(Some(config))
    }

    /// The files alone, for an overlay whose config is compiled elsewhere.
    pub(crate) fn into_tree(self) -> Tree {
        self.tree
    }
}

/// The layer that links sysexts of the overlay into the directory where systemd-sysext finds them and their names. A
/// link moves no bytes, unlike a file written from `oem://`, which Stable and LTS refuse anyway.
pub(crate) fn links_layer(sysexts: &[String]) -> Option<Config> {
    let of = |name: &String| json!({"path": link(name), "target": format!("{MOUNTED}/{}", sysext(name))});
    let links: Vec<_> = sysexts.iter().map(of).collect();
    let config = json!({"ignition": {"version": "3.3.0"}, "storage": {"links": links}});
    // Names are plain, so the config is valid.
    Config::from_json(&config).ok()
}

fn file_name(path: &Path) -> Result<&str, Error> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.ok_or_else(|| Error::Unfit { path: path.into(), why: "its name is not UTF-8".into() })
}
