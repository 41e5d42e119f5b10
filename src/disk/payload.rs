//! An injection as people give it: files of this machine, judged before they are put on OEM.
//!
//! Owns where each kind of file goes on OEM, and the merging of layers of Ignition with links for the sysexts below
//! them. Leaves the rules for names on OEM to [`super::oem`], and the judgement of configs and sysexts to `ignition` and
//! `sysext`.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::base::digest::Sha256;
use crate::base::finding::{Finding, Findings};
use crate::disk::Error;
use crate::disk::oem::{Add, CONFIG, Injection, Ready, is_autologin, links, names_platform};
use crate::disk::platform::{Platform, release_of_extension};
use crate::format::tree::{Contents, Entry, PLAIN, Tree};
use crate::ignition::authorities::{self, Authorities};
use crate::ignition::{self, Config, Transpile, lint};
use crate::sysext::inspect::{self, Inspected, inspect};

/// Beginnings of archives: tar, gzip, zstd.
const ARCHIVES: [(usize, &[u8]); 3] = [(257, b"ustar"), (0, &[0x1f, 0x8b]), (0, &[0x28, 0xb5, 0x2f, 0xfd])];
/// Bytes that tell an archive.
const HEAD: u64 = 512;

/// An injection in the making.
#[derive(Default)]
pub struct Payload {
    injection: Injection,
    /// Whether sysexts and images go to ROOT.
    on_root: bool,
    /// Names of its sysexts.
    sysexts: Vec<String>,
    /// The first one that says its architecture.
    arch: Option<(PathBuf, String)>,
    /// Layers of its config, lowest first.
    layers: Vec<Config>,
    authorities: Vec<Authorities>,
    findings: Vec<Finding>,
}

/// Length in bytes and digest of a file of this machine.
fn known(path: &Path) -> Result<(u64, Sha256), Error> {
    let contents = Contents::on_disk(path)?;
    let read = contents.sha256();
    Ok((contents.size(), read.map_err(Error::io("read", &path.display().to_string()))?))
}

/// Fails if a file does not begin as an archive of container images does.
fn must_be_archive(path: &Path) -> Result<(), Error> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(Error::io("read", &path.display().to_string()))?;
    let fits = |(at, magic): &(usize, &[u8])| head.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    match ARCHIVES.iter().any(fits) {
        true => Ok(()),
        false => Err(Error::NoArchive { path: path.into() }),
    }
}

impl Payload {
    /// Puts the sysexts and images that are added from now on on ROOT, for images whose OEM is too small.
    pub fn on_root(&mut self) {
        self.on_root = true;
    }

    fn place(&mut self, add: Add) {
        match add.clone().on_root().filter(|_| self.on_root) {
            Some(add) => self.injection.root.push(add),
            None => self.injection.files.push(add),
        }
    }

    /// Adds the image of a sysext, under the name of its extension-release file, else that of the image file.
    ///
    /// # Errors
    /// It is no sysext, or systemd would refuse it.
    pub fn sysext(&mut self, image: &Path) -> Result<(), Error> {
        let (name, inspected, findings) = inspect::foreign(image)?;
        self.one_arch(image, &inspected)?;
        self.findings.extend(findings);
        let (size, sha256) = known(image)?;
        self.place(Add::sysext(&name, image, size, sha256));
        self.sysexts.push(name);
        Ok(())
    }

    /// Fails if a sysext is for another architecture than one before: systemd would skip it without a word.
    fn one_arch(&mut self, image: &Path, inspected: &Inspected) -> Result<(), Error> {
        let Some(is) = inspected.release.get("ARCHITECTURE").cloned() else { return Ok(()) };
        let (other, other_is) = self.arch.get_or_insert_with(|| (image.to_owned(), is.clone()));
        match is == *other_is {
            true => Ok(()),
            false => {
                Err(Error::Arch { path: image.into(), is, other: other.clone(), other_is: other_is.clone() })
            }
        }
    }

    /// Adds a container image, for a unit that imports it from `/oem/images`, or `/opt/images` on ROOT.
    ///
    /// # Errors
    /// It cannot be read, or is no archive.
    pub fn image(&mut self, archive: &Path) -> Result<(), Error> {
        let name = archive.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::Path {
            path: archive.display().to_string(),
            why: "the file's name is not UTF-8",
        })?;
        must_be_archive(archive)?;
        let (size, sha256) = known(archive)?;
        self.place(Add::image(name, archive, size, sha256));
        Ok(())
    }

    /// Adds any file. Its path is one on OEM, with or without `/oem/` before it.
    ///
    /// # Errors
    /// It cannot be read; an absolute path is not below `/oem`.
    pub fn file(&mut self, path: &str, from: &Path, mode: u16) -> Result<(), Error> {
        let on_oem = match path.strip_prefix('/') {
            Some(absolute) => absolute.trim_start_matches('/').strip_prefix("oem/").ok_or_else(|| Error::Path {
                path: path.escape_debug().to_string(),
                why: "an absolute path is one below /oem; other files of the machine are Ignition's to write",
            })?,
            None => path.strip_prefix("oem/").unwrap_or(path),
        };
        let (size, sha256) = known(from)?;
        self.injection.files.push(Add { path: on_oem.to_owned(), mode, from: from.into(), size, sha256 });
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
    ///
    /// # Errors
    /// One names a platform, which is more than an argument.
    pub fn arguments(&mut self, arguments: impl IntoIterator<Item = String>) -> Result<(), Error> {
        for argument in arguments {
            let key = argument.split('=').next().unwrap_or_default();
            if names_platform(key) {
                return Err(Error::NamesPlatform { argument: argument.escape_debug().to_string() });
            }
            if is_autologin(key) {
                let text = format!("`{key}` logs in whoever is at the machine's console");
                self.findings.push(Finding::warning(text).hint("leave it out of images that others get"));
            }
            self.injection.arguments.push(argument);
        }
        Ok(())
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
            self.one_arch(path, &inspected)?;
            ready.version = inspected.release.get("VERSION_ID").cloned().unwrap_or_default();
            let line = |(key, value): (&String, &String)| format!("{key}=\"{value}\"\n");
            let text: String = inspected.release.iter().map(line).collect();
            ready.release = release_of_extension(&text).unwrap_or_default();
            let (size, sha256) = known(path)?;
            ready.extension = Some((path.into(), size, sha256));
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
    /// The layers do not merge; a rule refuses one of the files.
    pub fn finish(mut self) -> Result<(Injection, Vec<Finding>), Error> {
        let mut layers = Vec::new();
        if !self.sysexts.is_empty() {
            // Names are plain, so the config is valid.
            layers.extend(Config::from_json(&links(&self.sysexts, self.on_root)).ok());
        }
        layers.extend(authorities::layer(&self.authorities)?);
        layers.append(&mut self.layers);
        if !layers.is_empty() {
            self.findings.extend(lint::conflicts(&layers));
            self.injection.config = Some(ignition::merge_all(layers).to_json().into_bytes());
        }
        // A sysext that systemd would refuse is no part of an image.
        Ok(Findings::settle(self.findings, self.injection)?)
    }
}

/// The files of an injection by their paths in the booted machine, for those who look into them.
///
/// # Errors
/// Two files have one path, or a path is none.
pub fn files(injection: &Injection) -> Result<Tree, Error> {
    let mut tree = Tree::default();
    if let Some(config) = &injection.config {
        let entry = Entry::file(PLAIN, Contents::Bytes(config.clone()), "the compiled Ignition config");
        tree.insert(&format!("oem/{CONFIG}"), entry)?;
    }
    let of_oem = injection.files.iter().map(|add| (format!("oem/{}", add.path), add));
    let of_root = injection.root.iter().map(|add| (add.path.clone(), add));
    for (path, add) in of_oem.chain(of_root) {
        let contents = Contents::OnDisk { path: add.from.clone(), size: add.size };
        let origin = add.from.display().to_string();
        tree.insert(&path, Entry::file(add.mode, contents, origin))?;
    }
    Ok(tree)
}

/// The directory for files without names: `TMPDIR` if it is set, else that of the output.
pub fn scratch(output: &Path) -> PathBuf {
    let beside = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let chosen = std::env::var_os("TMPDIR").map(PathBuf::from).filter(|path| fs::metadata(path).is_ok());
    chosen.unwrap_or_else(|| beside.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Advice;

    #[test]
    fn paths_arguments_and_archives_that_mean_something_else_are_refused_with_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("node.bu");
        fs::write(&config, "variant: flatcar\n").unwrap();
        let mut payload = Payload::default();
        for path in ["/etc/motd", "/oemx/a", "//etc/motd"] {
            let error = payload.file(path, &config, 0o644).unwrap_err();
            assert!(error.to_string().contains("an absolute path is one below /oem"), "{error}");
            assert!(error.hint().unwrap().contains("Ignition"));
        }
        for path in ["/oem/a", "oem/b", "c"] {
            payload.file(path, &config, 0o644).unwrap();
        }
        let error = payload.image(&config).unwrap_err();
        assert!(error.to_string().contains("is no archive of container images"), "{error}");
        for (name, head) in [("a.gz", &[0x1f, 0x8b][..]), ("a.zst", &[0x28, 0xb5, 0x2f, 0xfd])] {
            let path = directory.path().join(name);
            fs::write(&path, head).unwrap();
            payload.image(&path).unwrap();
        }
        for argument in ["flatcar.oem.id=ec2", "coreos.oem.id"] {
            let error = payload.arguments([argument.to_owned()]).unwrap_err();
            assert!(error.hint().unwrap().contains("--platform ID"), "{error}");
        }
        payload.arguments(["flatcar.autologin=tty1".into(), "quiet".into()]).unwrap();
        let (injection, findings) = payload.finish().unwrap();
        let paths: Vec<&str> = injection.files.iter().map(|add| add.path.as_str()).collect();
        assert_eq!(paths, ["a", "b", "c", "images/a.gz", "images/a.zst"]);
        assert_eq!(injection.arguments, ["flatcar.autologin=tty1", "quiet"]);
        assert_eq!(injection.files[0].sha256, Sha256::of(b"variant: flatcar\n"));
        let told: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
        assert_eq!(told, ["`flatcar.autologin` logs in whoever is at the machine's console"]);
    }

    #[test]
    fn a_finding_that_is_an_error_is_one() {
        let findings = vec![Finding::error("no release file")];
        let payload = Payload { findings, ..Payload::default() };
        assert!(payload.finish().is_err());
    }
}
