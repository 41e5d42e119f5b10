//! The image that a verb takes: a file, or the one in a tree, held against its signature or the tree's manifest, and looked at.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::digest::Object;
use crate::base::digest::{Hashing, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::cli::disk::source::{Source, SourceArgs};
use crate::cli::disk::threads;
use crate::cli::progress::Passing;
use crate::proxmox::image::{self, Image};
use crate::tree::manifest::Manifest;
use crate::tree::names;
use crate::tree::open::Tree;
use crate::trust::openpgp::Signed;

/// Bytes that are read at once.
const CHUNK: usize = 1 << 20;

/// Reasons why there is no image to take.
#[derive(Debug, thiserror::Error)]
enum Misuse {
    #[error("there is no image {}", .0.display())]
    Absent(PathBuf),
    #[error("an image is sent from a file, and not from standard input")]
    Pipe,
    #[error("{} has no disk image for {platform}", path.display())]
    None { path: PathBuf, platform: &'static str },
    #[error("{} has several disk images for {platform}: {}", path.display(), found.join(", "))]
    Several { path: PathBuf, platform: &'static str, found: Vec<String> },
}

impl Advice for Misuse {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Misuse::Absent(_) => "name a disk image, or a tree that has one".into(),
            Misuse::Pipe => "name the file".into(),
            Misuse::None { platform, .. } => {
                format!(
                    "have the recipe make one: the output `disk` with `platforms: [{platform}]` and `format: qcow2`"
                )
            }
            Misuse::Several { .. } => "choose one with --profile, or name the file itself".into(),
        })
    }
}

/// An image, with what is known of where it comes from.
pub(super) struct Picture {
    pub image: Image,
    /// A name for what is made of it, such as the tree's.
    pub name: String,
    pub signed: Option<Signed>,
}

/// Where an image lies.
struct Found {
    path: PathBuf,
    name: String,
    build: Option<String>,
    kubernetes: Option<String>,
    object: Option<Object>,
}

impl Found {
    fn at(path: &Path, profile: Option<&str>, platform: &'static str) -> Result<Found> {
        if path == Path::new("-") {
            return Err(Misuse::Pipe.into());
        }
        // A link that leads nowhere is no image, either.
        if path.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            return Err(Misuse::Absent(path.to_owned()).into());
        }
        if !path.is_dir() {
            let stem = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let name = stem.split('.').next().unwrap_or_default().to_owned();
            return Ok(Found { path: path.to_owned(), name, build: None, kubernetes: None, object: None });
        }
        let (manifest, _, _) = Tree::directory(path)?.into_parts();
        let is_asked =
            |boot: &str| profile.is_none_or(|profile| names::profile_of(boot) == profile || boot == profile);
        let image = |file: &&String| {
            let rest = names::below(file, names::DISKS)?;
            let (boot, file) = rest.split_once('/')?;
            (file.split('.').next() == Some(platform) && is_asked(boot)).then_some(())
        };
        let found: Vec<&String> = manifest.files.keys().filter(|file| image(file).is_some()).collect();
        let path = path.to_owned();
        match found[..] {
            [only] => Ok(Found {
                path: path.join(only),
                name: manifest.name.clone(),
                build: Some(manifest.build_id()),
                kubernetes: kubernetes(&manifest),
                object: manifest.files.get(only).map(|file| Object { sha256: file.sha256, size: file.size }),
            }),
            [] => Err(Misuse::None { path, platform }.into()),
            _ => Err(Misuse::Several { path, platform, found: found.into_iter().cloned().collect() }.into()),
        }
    }
}

/// The version of Kubernetes in a tree, by the sysext of that name; none if there are several.
fn kubernetes(manifest: &Manifest) -> Option<String> {
    let versions: BTreeSet<&str> =
        manifest.files.keys().filter_map(|path| names::sysext_version(path, "kubernetes")).collect();
    let mut versions = versions.into_iter();
    versions.next().filter(|_| versions.next().is_none()).map(str::to_owned)
}

/// Takes an image for a platform: opened, judged and hashed.
///
/// # Errors
/// There is none; its signature or digest is not right; it would not become a node there.
pub(super) fn take(
    source: &SourceArgs,
    path: &Path,
    profile: Option<&str>,
    platform: &'static str,
) -> Result<Picture> {
    let Found { path, name, build, kubernetes, object } = Found::at(path, profile, platform)?;
    let Source { input, seal, file } = source.open(&path)?;
    let subject = path.display().to_string();
    let file = Arc::new(file.ok_or(Misuse::Pipe)?);
    let look = image::look(input, &subject, platform, &std::env::temp_dir(), threads())??;
    let signed = seal.judge()?;
    look.remarks.iter().for_each(|remark| tell!("{remark}"));
    let (sha256, length) = digest(&file, &path)?;
    if let Some(object) = object {
        Object { sha256, size: length }.must_be(&subject, &object)?;
    }
    let image = Image {
        subject,
        file,
        length,
        sha256,
        extension: look.extension,
        disk: look.disk,
        release: look.release,
        build,
        kubernetes,
    };
    Ok(Picture { image, name, signed })
}

/// The digest of all of a file, and its length.
fn digest(file: &std::fs::File, path: &Path) -> Result<(Sha256, u64)> {
    use std::os::unix::fs::FileExt;
    let failed = || disk::Error::io("read", path);
    let length = file.metadata().map_err(failed())?.len();
    let shown = Passing::new(format!("reading {}", path.display()), Some(length));
    let (mut hashing, mut buffer, mut at) = (Hashing::new(()), vec![0; CHUNK], 0);
    loop {
        let count = file.read_at(&mut buffer, at).map_err(failed())?;
        if count == 0 {
            break;
        }
        hashing.update(buffer.get(..count).unwrap_or_default());
        at += count as u64;
        shown.at(at, None);
    }
    let ((), sha256, length) = hashing.finish();
    Ok((sha256, length))
}
