//! Disk images: the release's own, decoded once, and one of it for each boot, platform and format.
//!
//! ```text
//!  flatcar_production_image.bin.bz2 ──▶ stock/image/ARCH ──▶ disk/BOOT/PLATFORM.FORMAT
//!   (a locked input)                    compressed qcow2     ▲        ▲         ▲
//!                                                        sysexts   config   oem-ID.raw (a locked input)
//! ```
//! bzip2 is slow to decode and qcow2 is not, so that images for ten platforms cost one decode. Owns what the bytes of
//! an image follow from; leaves making it to [`disk::make`](crate::disk::make).

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::thread;

use serde_json::{Value, json};

use super::{Bench, Part, Planned, Step, Work, gone};
use crate::bake::boot::BootWish;
use crate::bake::lock_ids;
use crate::bake::recipe::INSTALL_SYSEXTS;
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::error::Result;
use crate::base::finding::{Findings, Source};
use crate::disk::layout::Layout;
use crate::disk::make::{self, Input, Wish};
use crate::disk::oem::{self, Add, Injection, Oem, Ready};
use crate::disk::payload::Payload;
use crate::disk::platform::Platform;
use crate::flatcar::board::DISK;
use crate::format::disk::Format;
use crate::ignition;
use crate::source::input::Entry;
use crate::tree::lock::Lock;
use crate::tree::names;

/// Part of step keys, beside that of what makes the images; raised when another image is made for the same params.
const REVISION: u32 = 1;
/// The name of the decoded image for the steps that need it: no sysext may be called so.
const STOCK: &str = "stock/image";

/// The release's disk image, decoded.
#[derive(Debug)]
struct Stock {
    arch: Arch,
    image: Option<Object>,
}

/// The id of the step that decodes the release's image.
pub(crate) fn stock_id(arch: Arch) -> String {
    format!("{STOCK}/{arch}")
}

/// The step that decodes the release's image for an architecture.
pub(crate) fn stock<'p>(arch: Arch, lock: &Lock) -> Step<'p> {
    let image = lock.inputs.get(&lock_ids::stock_id(arch, DISK)).map(Entry::object);
    Step::new(Stock { arch, image }, BTreeMap::new())
}

impl Work for Stock {
    fn id(&self) -> String {
        stock_id(self.arch)
    }

    fn kind(&self) -> (&'static str, u32) {
        ("disk-stock", REVISION)
    }

    fn params(&self) -> Value {
        json!({"image": self.image.map(|image| image.sha256), "revisions": make::revision(Format::Qcow2)})
    }

    fn build(&self, bench: &Bench<'_>) -> Result<Object> {
        let image = self.image.ok_or_else(|| gone(lock_ids::stock_id(self.arch, DISK).into()))?;
        let wish = Wish { target: "the decoded image", ..Wish::of_format(Format::Qcow2) };
        made(bench, image, DISK, wish)
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part::Input(lock_ids::stock_id(self.arch, DISK))]
    }
}

/// Settings of an image of a boot, besides the boot.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The platform.
    pub platform: &'static Platform,
    /// The form of the file.
    pub format: Format,
    /// Length of the disk in bytes, if it is not the platform's own.
    pub size: Option<u64>,
    /// Whether the platform's stock automatic login stays.
    pub autologin: bool,
    /// Kernel arguments after the platform's own.
    pub arguments: Vec<String>,
}

/// The name of the extension that the release has for a platform.
pub(crate) fn extension(platform: &Platform) -> Option<String> {
    platform.extension.then(|| format!("oem-{}.raw", platform.id))
}

/// An image to be.
#[derive(Debug)]
struct Image {
    /// The boot's id.
    boot: String,
    /// The name of the disk, which descriptions in the formats of VMware state.
    name: String,
    wanted: Wanted,
    /// The layout of the release's disks.
    layout: &'static Layout,
    /// Length of the disk in bytes, by that layout.
    length: u64,
    /// The platform's extension, with its id in the lock.
    extension: Option<(String, Option<Object>)>,
    /// Version of the release.
    version: String,
    /// The config, with links to the sysexts.
    config: Vec<u8>,
    /// Seconds since 1970 that all files are stamped with.
    epoch: u64,
}

/// The id of the step that makes an image of a boot.
pub(crate) fn id(boot: &str, platform: &Platform, format: Format) -> String {
    names::disk_image(boot, platform.id, format.name())
}

/// The step that makes an image of a boot, out of the decoded one of this key.
///
/// # Errors
/// There is no room on OEM even for what is known before the sysexts are built.
pub(crate) fn step<'p>(
    planned: &Planned<'_, 'p>,
    boot: &BootWish,
    wanted: Wanted,
    layout: &'static Layout,
    stock: Sha256,
) -> Result<Step<'p>> {
    let Planned { recipe, lock, .. } = planned;
    // A disk has the system that an installation would put there, and not the one that installs.
    let is_on_disk = |name: &&String| boot.installed.is_none() || !INSTALL_SYSEXTS.contains(&name.as_str());
    let sysexts: Vec<String> = boot.sysexts.iter().filter(is_on_disk).cloned().collect();
    let config = linked(boot.installed.as_deref().unwrap_or(&boot.ignition), &sysexts)?;
    let mut needs = BTreeMap::from([(STOCK.to_owned(), stock)]);
    for name in &sysexts {
        needs.insert(name.clone(), planned.booted.of(name, boot.arch).key);
    }
    let extension = extension(wanted.platform).map(|file| {
        let id = lock_ids::stock_id(boot.arch, &file);
        let object = lock.inputs.get(&id).map(Entry::object);
        (id, object)
    });
    let image = Image {
        boot: boot.id.clone(),
        name: format!("{}-{}-{}", recipe.name, boot.id, wanted.platform.id),
        length: wanted.platform.length(layout, wanted.size)?,
        layout,
        extension,
        version: lock.release.version.clone(),
        config,
        epoch: lock.epoch(),
        wanted,
    };
    // The lengths of the sysexts are not known before they are built; all others are.
    must_fit(&image.name, layout, &image.injection(Vec::new(), image.foreseen()))?;
    Ok(Step::new(image, needs))
}

/// A config with a lower layer that links these sysexts of OEM: whether the boots of the network have them in an initrd
/// or fetch them, a disk has them itself.
///
/// # Errors
/// Bytes that are not a config; `compile` makes none such.
fn linked(config: &[u8], sysexts: &[String]) -> Result<Vec<u8>, Findings> {
    let source = Source::new("the compiled config", String::from_utf8_lossy(config));
    let config = ignition::Config::parse(&source)?.config;
    if sysexts.is_empty() {
        return Ok(config.to_json().into_bytes());
    }
    let links = ignition::Config::from_json(&oem::links(sysexts))?;
    Ok(ignition::merge(links, config).to_json().into_bytes())
}

/// Fails if a new OEM of this layout has no room for an injection.
fn must_fit(subject: &str, layout: &Layout, injection: &Injection) -> Result<(), crate::disk::Error> {
    let empty = Oem::<()>::new(subject, layout.oem(), [], &mut |_: &()| Ok(Vec::new()))?;
    empty.inject(injection).map(drop)
}

/// Makes an image out of one in the store, with all CPUs that this process may use.
fn made(bench: &Bench<'_>, image: Object, subject: &str, wish: Wish<'_>) -> Result<Object> {
    let spool = bench.store.spool()?;
    let scratch = bench.store.scratch()?;
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let input = Input::of_file(bench.open(image)?, subject)?;
    make::make(input, &Wish { scratch: spool.path(), threads, ..wish }, scratch.as_file())?;
    Ok(bench.admit_file(scratch)?)
}

impl Image {
    /// The injection with these sysexts, into an image that these files make one for the platform.
    fn injection(&self, sysexts: Vec<Add>, ready: Option<Ready>) -> Injection {
        let Wanted { autologin, arguments, .. } = &self.wanted;
        Injection {
            config: Some(self.config.clone()),
            files: sysexts,
            arguments: arguments.clone(),
            drops_autologin: !autologin,
            ready,
        }
    }

    /// The platform's files, as far as they are known by their lengths; `None` for the generic image, which has none.
    fn foreseen(&self) -> Option<Ready> {
        let (platform, version) = (self.wanted.platform, self.version.clone());
        let release = platform.oem_release(&version)?;
        let object = self.extension.as_ref().and_then(|(_, object)| *object);
        let extension = object.map(|object| (PathBuf::new(), object.size));
        Some(Ready { platform, version, extension, release })
    }

    /// The same out of the store. A signature does not cover a file's name, so that the extension must say itself that it
    /// is this platform's.
    fn ready(&self, bench: &Bench<'_>) -> Result<Option<Ready>> {
        let Some((id, object)) = &self.extension else { return Ok(self.foreseen()) };
        let object = object.ok_or_else(|| gone(id.into()))?;
        let mut payload = Payload::default();
        payload.platform(self.wanted.platform, Some(&bench.store.path(&object.sha256)))?;
        let (injection, _) = payload.finish()?;
        // One that does not say which version it is belongs to the release nevertheless.
        let made =
            |ready: &Ready| ready.platform.oem_release(&self.version).filter(|_| ready.version.is_empty());
        Ok(injection.ready.map(|ready| {
            let release = made(&ready).unwrap_or_else(|| ready.release.clone());
            Ready { version: self.version.clone(), release, ..ready }
        }))
    }
}

impl Work for Image {
    fn id(&self) -> String {
        id(&self.boot, self.wanted.platform, self.wanted.format)
    }

    fn kind(&self) -> (&'static str, u32) {
        ("disk", REVISION)
    }

    fn params(&self) -> Value {
        let Wanted { platform, format, size, autologin, arguments } = &self.wanted;
        let extension = self.extension.as_ref().map(|(_, object)| object.map(|object| object.sha256));
        json!({
            "revisions": make::revision(*format),
            "name": self.name, "platform": platform.id, "settings": platform.grub_cfg(), "version": self.version,
            "format": format.name(), "size": size, "length": self.length, "autologin": autologin, "arguments": arguments,
            "extension": extension, "config": Sha256::of(&self.config), "epoch": self.epoch,
        })
    }

    fn build(&self, bench: &Bench<'_>) -> Result<Object> {
        let mut sysexts = Vec::new();
        for (name, image) in bench.all_needed()?.iter().filter(|(name, _)| *name != STOCK) {
            sysexts.push(Add::sysext(name, &bench.store.path(&image.sha256), image.size));
        }
        let injection = self.injection(sysexts, self.ready(bench)?);
        must_fit(&self.name, self.layout, &injection)?;
        let Wanted { platform, format, size, .. } = &self.wanted;
        let wish = Wish {
            injection: Some(&injection),
            platform: Some(*platform),
            length: *size,
            name: &self.name,
            target: &self.name,
            epoch: self.epoch,
            ..Wish::of_format(*format)
        };
        made(bench, bench.needed(STOCK)?, DISK, wish)
    }

    fn parts(&self) -> Vec<Part<'_>> {
        self.extension.iter().map(|(id, _)| Part::Input(id.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_links_its_own_sysexts_whatever_the_network_does_and_a_layer_still_wins() {
        let made = |config: &str| -> Value {
            let config = linked(config.as_bytes(), &["hello".into(), "report".into()]).unwrap();
            serde_json::from_slice(&config).unwrap()
        };
        let plain = made(r#"{"ignition":{"version":"3.3.0"}}"#);
        let links = plain["storage"]["links"].as_array().unwrap();
        let targets: Vec<&str> = links.iter().filter_map(|link| link["target"].as_str()).collect();
        assert_eq!(targets, ["/oem/sysext/hello.raw", "/oem/sysext/report.raw"]);
        assert_eq!(made(&plain.to_string()), plain, "an overlay's config has them already");
        let masked = r#"{"ignition":{"version":"3.3.0"},"storage":{"links":[{"path":"/etc/extensions/hello.raw","target":"/dev/null","overwrite":true}]}}"#;
        let links = made(masked)["storage"]["links"].clone();
        assert_eq!(links.as_array().unwrap().len(), 2);
        assert!(links.to_string().contains("/dev/null"), "{links}");
    }
}
