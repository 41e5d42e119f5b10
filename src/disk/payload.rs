//! An injection as people give it: files of this machine, judged before they are put on OEM.
//!
//! Owns where each kind of file goes on OEM, and the merging of layers of Ignition with links for the sysexts below
//! them. Leaves the rules for names on OEM to [`super::oem`], and the judgement of configs and sysexts to `ignition` and
//! `sysext`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::finding::{Finding, Findings};
use crate::disk::Error;
use crate::disk::oem::{Add, CONFIG, Injection, Ready, links};
use crate::disk::platform::{Platform, release_of_extension};
use crate::format::tree::{Contents, Entry, PLAIN, Tree};
use crate::ignition::authorities::{self, Authorities};
use crate::ignition::{self, Config, Transpile, lint};
use crate::sysext::inspect::inspect;

/// An injection in the making.
#[derive(Default)]
pub struct Payload {
    injection: Injection,
    /// Names of its sysexts.
    sysexts: Vec<String>,
    /// Layers of its config, lowest first.
    layers: Vec<Config>,
    authorities: Vec<Authorities>,
    findings: Vec<Finding>,
}

/// Length of a file of this machine, in bytes.
fn length(path: &Path) -> Result<u64, Error> {
    Ok(Contents::on_disk(path)?.size())
}

impl Payload {
    /// Adds the image of a sysext, under the name of its extension-release file, else that of the image file.
    ///
    /// # Errors
    /// It is no sysext, or systemd would refuse it.
    pub fn sysext(&mut self, image: &Path) -> Result<(), Error> {
        let stem = image.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let (inspected, findings) = inspect(image)?;
        let name = inspected.name.unwrap_or_else(|| stem.to_owned());
        self.findings.extend(findings.into_iter().map(|finding| Finding {
            message: format!("{}: {}", image.display(), finding.message),
            ..finding
        }));
        self.injection.files.push(Add::sysext(&name, image, length(image)?));
        self.sysexts.push(name);
        Ok(())
    }

    /// Adds a container image, for a unit that imports it from `/oem/images`.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn image(&mut self, archive: &Path) -> Result<(), Error> {
        let name = archive.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::Path {
            path: archive.display().to_string(),
            why: "the file's name is not UTF-8",
        })?;
        self.injection.files.push(Add::image(name, archive, length(archive)?));
        Ok(())
    }

    /// Adds any file. Its path is one on OEM, with or without `/oem/` before it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn file(&mut self, path: &str, from: &Path, mode: u16) -> Result<(), Error> {
        let path = path.trim_start_matches('/');
        let path = path.strip_prefix("oem/").unwrap_or(path).to_owned();
        self.injection.files.push(Add { path, mode, from: from.into(), size: length(from)? });
        Ok(())
    }

    /// Adds a layer of the config, on top of those before.
    ///
    /// # Errors
    /// It is no valid config.
    pub fn layer(&mut self, path: &Path) -> Result<(), Error> {
        let checked = ignition::load(path, &Transpile::of_recipe())?;
        self.findings.extend(checked.warnings);
        self.layers.push(checked.config);
        Ok(())
    }

    /// Adds authorities whose certificates the node shall trust.
    ///
    /// # Errors
    /// There are none in the file.
    pub fn authority(&mut self, pem: &Path) -> Result<(), Error> {
        self.authorities.push(Authorities::load(pem).map_err(Findings::from)?);
        Ok(())
    }

    /// Adds kernel arguments, after the platform's own.
    pub fn arguments(&mut self, arguments: impl IntoIterator<Item = String>) {
        self.injection.arguments.extend(arguments);
    }

    /// Takes the platform's automatic login at consoles away.
    pub fn drop_autologin(&mut self) {
        self.injection.drops_autologin = true;
    }

    /// Makes a generic image one for a platform, by its extension `oem-ID.raw` as published beside the image.
    ///
    /// # Errors
    /// The extension is none, or another one's.
    pub fn platform(&mut self, platform: &'static Platform, extension: Option<&Path>) -> Result<(), Error> {
        let mut ready = Ready { platform, version: String::new(), extension: None, release: String::new() };
        if let Some(path) = extension {
            let (inspected, _) = inspect(path)?;
            let expected = format!("oem-{}", platform.id);
            if inspected.name.as_deref() != Some(expected.as_str()) {
                let name = inspected.name.unwrap_or_else(|| "none".into());
                return Err(Error::Extension { path: path.into(), name, expected });
            }
            ready.version = inspected.release.get("VERSION_ID").cloned().unwrap_or_default();
            let line = |(key, value): (&String, &String)| format!("{key}=\"{value}\"\n");
            let text: String = inspected.release.iter().map(line).collect();
            ready.release = release_of_extension(&text).unwrap_or_default();
            ready.extension = Some((path.into(), length(path)?));
        }
        if ready.release.is_empty() {
            ready.release = platform.oem_release(&ready.version).unwrap_or_default();
        }
        self.injection.ready = Some(ready);
        Ok(())
    }

    /// The injection, and the findings about it.
    ///
    /// # Errors
    /// The layers do not merge.
    pub fn finish(mut self) -> Result<(Injection, Vec<Finding>), Error> {
        let mut layers = Vec::new();
        if !self.sysexts.is_empty() {
            // Names are plain, so the config is valid.
            layers.extend(Config::from_json(&links(&self.sysexts)).ok());
        }
        layers.extend(authorities::layer(&self.authorities)?);
        layers.append(&mut self.layers);
        if !layers.is_empty() {
            self.findings.extend(lint::conflicts(&layers));
            self.injection.config = Some(ignition::merge_all(layers).to_json().into_bytes());
        }
        Ok((self.injection, self.findings))
    }
}

/// The files of an injection by their paths on OEM, for those who look into them.
///
/// # Errors
/// Two files have one path, or a path is none.
pub fn files(injection: &Injection) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    if let Some(config) = &injection.config {
        let entry = Entry::file(PLAIN, Contents::Bytes(config.clone()), "the compiled Ignition config");
        tree.insert(&format!("oem/{CONFIG}"), entry)?;
    }
    for add in &injection.files {
        let contents = Contents::OnDisk { path: add.from.clone(), size: add.size };
        let origin = add.from.display().to_string();
        tree.insert(&format!("oem/{}", add.path), Entry::file(add.mode, contents, origin))?;
    }
    Ok(tree)
}

/// The directory for files without names: `TMPDIR` if it is set, else that of the output.
pub fn scratch(output: &Path) -> PathBuf {
    let beside = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let chosen = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|path| fs::metadata(path).is_ok());
    chosen.unwrap_or_else(|| beside.to_owned())
}
