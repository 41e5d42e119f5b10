//! Sysexts on their own: from a folder to `NAME-VERSION-ARCH.raw`, without a recipe.
//!
//! Uses the same steps as a build, so the images have the same bytes and are built once. The store takes the part of a
//! recipe's lock: the first verified bytes of a component are used again until the store loses them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::json;

use crate::bake::extensions::{self, Selected};
use crate::bake::plan::Plan;
use crate::bake::project;
use crate::bake::resolve::{self, PARALLEL};
use crate::bake::run::{self, Outcome};
use crate::bake::steps;
use crate::base::arch::Arch;
use crate::base::canonical::canonical_json;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::event::{Event, Observer};
use crate::base::finding::{meant, plain};
use crate::base::unfinished::{Unfinished, together};
use crate::source::Mirrors;
use crate::source::fetch::{Fetcher, Want};
use crate::source::http::Http;
use crate::source::input::Entry;
use crate::store::Store;
use crate::sysext::description::{Component, Expected, FILE_NAME};
use crate::sysext::folder::{Folder, is_sysext, shelves};
use crate::sysext::packaging::Packaging;
use crate::tree::lock::Lock;
use crate::tree::names::CHECKSUMS;
use crate::trust::pin::Trust;

/// Name of the one output in the store's note about a component.
const OUTPUT: &str = "component";

/// Reasons why a sysext cannot be built on its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// An argument that is neither a sysext's folder nor the name of one.
    #[error("there is no sysext `{name}`")]
    Unknown {
        /// The argument as given.
        name: String,
        /// The way out.
        hint: String,
    },
    /// An argument that is a built image, not the source of one.
    #[error("{} is a built image; give a folder with a {FILE_NAME}", path.display())]
    Image {
        /// Path of the image.
        path: PathBuf,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Unknown { hint, .. } => Some(hint.clone()),
            Error::Image { path } => {
                Some(format!("`prebake sysext inspect {}` shows its content", path.display()))
            }
        }
    }
}

/// An input of the build.
#[derive(Debug)]
pub(crate) struct Pinned {
    /// Its id, as a lock would have it.
    pub id: String,
    /// URL that it comes from.
    pub url: String,
    /// Its digest and length.
    pub object: Object,
    /// Whether this run fetched it.
    pub fetched: bool,
}

/// An image that was built.
#[derive(Debug)]
pub(crate) struct Made {
    /// The sysext's name.
    pub name: String,
    /// Its version, as in the file name.
    pub version: String,
    /// Architecture of the machines it is for.
    pub arch: Arch,
    /// File name: `NAME-VERSION-ARCH.raw`.
    pub file: String,
    /// The image, and whether the store already had it.
    pub outcome: Outcome,
}

/// Finds a sysext's folder: by its path, or by its name in `sysext/` here or in a parent directory, or in the binary.
pub(crate) fn find(given: &str) -> Result<Folder, Error> {
    let path = PathBuf::from(given);
    if is_sysext(&path) {
        // `.` is not a name, and a sysext is named after its folder.
        return Ok(Folder::Disk(fs::canonicalize(&path).unwrap_or(path)));
    }
    if path.is_file() {
        // The argument is the description file itself.
        return match path.file_name().is_some_and(|name| name == FILE_NAME) {
            true => find(&path.parent().unwrap_or(Path::new("")).join(".").to_string_lossy()),
            false => Err(Error::Image { path }),
        };
    }
    let shelves = shelves(Path::new(""));
    if let Some(folder) = Folder::find(given, &shelves).filter(|_| !given.contains('/')) {
        return Ok(folder);
    }
    let names = Folder::names(&shelves);
    let hint = match path.is_dir() {
        true => format!("{given} has no {FILE_NAME}; docs/formats/sysext.md describes that file"),
        false => meant(given, names.iter().map(String::as_str), "known: "),
    };
    Err(Error::Unknown { name: given.into(), hint })
}

/// The sysext for each architecture, with these values for its variables, `version` among them.
pub(crate) fn select(
    folder: &Folder,
    archs: &[Arch],
    values: &BTreeMap<String, String>,
) -> Result<Vec<Selected>> {
    let description = folder.load()?;
    archs.iter().map(|arch| Ok(extensions::select(folder, &description, *arch, values, true)?)).collect()
}

/// Fetches the components and builds the images into the store.
pub(crate) async fn build(
    sysexts: &[Selected],
    packaging: &Packaging,
    store: &Store,
    limits: project::Limits,
    observer: &dyn Observer,
) -> Result<(Vec<Pinned>, Vec<Made>)> {
    let pinned = components(sysexts, store, limits, observer).await?;
    let entries = pinned.iter().map(|pin| (pin.id.clone(), Entry::plain(&pin.url, pin.object)));
    // No release: these images are for every release.
    let lock = Lock { inputs: entries.collect(), ..Lock::empty() };
    let plan = Plan { steps: steps::sysext::steps(&lock, sysexts, packaging)? };
    let outcomes = run::run(&plan, store, observer)?;
    let made = sysexts.iter().zip(outcomes).map(|(sysext, outcome)| Made {
        name: sysext.description.name.clone(),
        version: sysext.version().to_owned(),
        arch: sysext.arch,
        file: sysext.description.file_name(sysext.version(), sysext.arch),
        outcome,
    });
    Ok((pinned, made.collect()))
}

/// Returns every component, after putting it into the store.
async fn components(
    sysexts: &[Selected],
    store: &Store,
    limits: project::Limits,
    observer: &dyn Observer,
) -> Result<Vec<Pinned>> {
    let mut pinned = Vec::new();
    let mut absent: Vec<(Want, Sha256)> = Vec::new();
    let wants = sysexts.iter().flat_map(|sysext| sysext.components.iter().zip(resolve::components(sysext)));
    for (component, want) in wants {
        let key = memory_key(component);
        match remembered(store, &key, component) {
            Some(object) => pinned.push(Pinned { id: want.id, url: want.url, object, fetched: false }),
            None => absent.push((want, key)),
        }
    }
    if absent.is_empty() {
        return Ok(pinned);
    }
    if limits.offline {
        let missing = absent.into_iter().map(|(want, _)| format!("{} ({})", want.id, want.url)).collect();
        return Err(project::Error::Offline { missing }.into());
    }
    observer.notice(Event::FetchPlanned { inputs: absent.len(), size: None });
    let http = Http::new(Mirrors::new(&BTreeMap::new())?, limits.http).observed(observer);
    let trust = Trust::default();
    let fetcher = Fetcher::new(&http, store, observer, &trust);
    let none = BTreeMap::new();
    let one = async |(want, key): (Want, Sha256)| -> Result<Vec<Pinned>> {
        let entries = fetcher.fetch(&want, &none).await?;
        let pins = entries.into_iter().map(|(id, entry)| Pinned {
            id,
            object: entry.object(),
            url: entry.url,
            fetched: true,
        });
        let pins: Vec<Pinned> = pins.collect();
        for pin in &pins {
            store.record_step(&key, &BTreeMap::from([(OUTPUT.to_owned(), pin.object)]))?;
        }
        Ok(pins)
    };
    let fetched: Vec<Vec<Pinned>> =
        stream::iter(absent.into_iter().map(one)).buffer_unordered(PARALLEL).try_collect().await?;
    pinned.extend(fetched.into_iter().flatten());
    pinned.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(pinned)
}

/// Key of the store's note about a component: made of its source and of the authority for its digest.
fn memory_key(component: &Component) -> Sha256 {
    let check = match &component.digest {
        Expected::Pinned(sha256) => sha256.to_string(),
        Expected::Published { url } => url.clone(),
    };
    Sha256::of(&canonical_json(&json!({"kind": "component", "url": component.url, "check": check})))
}

/// The component's bytes, if the store has them: as fetched earlier, or by the pinned digest.
fn remembered(store: &Store, key: &Sha256, component: &Component) -> Option<Object> {
    if let Some(outputs) = store.step(key) {
        return outputs.get(OUTPUT).copied();
    }
    let Expected::Pinned(sha256) = component.digest else { return None };
    let size = fs::metadata(store.path(&sha256)).ok()?.len();
    Some(Object { sha256, size }).filter(|object| store.has(object))
}

/// Puts images and their [`CHECKSUMS`] into a directory, each whole or not at all; lines of other images stay.
pub(crate) fn publish(made: &[Made], store: &Store, output: &Path) -> Result<(), disk::Error> {
    disk::create_directories(output)?;
    let mut images = Vec::new();
    for image in made {
        let path = output.join(&image.file);
        let from = store.path(&image.outcome.object.sha256);
        let mut file =
            Unfinished::in_directory(output, 0o644).map_err(disk::Error::io("create a file in", output))?;
        let mut image = fs::File::open(&from).map_err(disk::Error::io("read", &from))?;
        std::io::copy(&mut image, &mut file).map_err(disk::Error::io("write", &path))?;
        images.push((file, path));
    }
    // An image that the sums do not name yet would be offered to no node, and would confuse people who look.
    together(|| {
        images.into_iter().try_for_each(|(file, path)| disk::finish(file, &path))?;
        write_sums(made, output)
    })
}

fn write_sums(made: &[Made], output: &Path) -> Result<(), disk::Error> {
    let path = output.join(CHECKSUMS);
    let old = fs::read_to_string(&path).unwrap_or_default();
    let mut sums: BTreeMap<String, String> = BTreeMap::new();
    let rows = plain(&old).lines().filter_map(|line| line.split_once("  "));
    // Images that are gone from the directory must not be offered to nodes.
    sums.extend(
        rows.filter(|(_, file)| output.join(file).is_file()).map(|(sum, file)| (file.into(), sum.into())),
    );
    sums.extend(made.iter().map(|image| (image.file.clone(), image.outcome.object.sha256.to_string())));
    let text: String = sums.iter().map(|(file, sum)| format!("{sum}  {file}\n")).collect();
    disk::write_atomic(&path, text.as_bytes())
}
