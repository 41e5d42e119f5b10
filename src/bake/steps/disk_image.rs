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
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Bench, Lengths, Part, Planned, Step, Work, gone};
use crate::bake::boot::BootWish;
use crate::bake::lock_ids;
use crate::bake::recipe::INSTALL_SYSEXTS;
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::{Advice, Result};
use crate::base::finding::{Finding, Findings, Source};
use crate::disk::layout::Layout;
use crate::disk::make::{self, Input, Wish};
use crate::disk::oem::{self, Add, Injection, Oem, Ready};
use crate::disk::payload::Payload;
use crate::disk::platform::Platform;
use crate::flatcar::board::DISK;
use crate::format::disk::Format;
use crate::ignition::closure::gunzip;
use crate::ignition::{self, data_url};
use crate::source::input::Entry;
use crate::tree::lock::Lock;
use crate::tree::names;

/// Longest file of a config below user data, unpacked, in bytes.
const MAX_FILE: u64 = 64 << 20;

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

/// How the config of an image stands to the config that the machine's platform gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is the machine's config: the platform is not asked.
    Own,
    /// It lies below the platform's.
    Base,
}

impl Standing {
    fn as_str(self) -> &'static str {
        match self {
            Standing::Own => "own",
            Standing::Base => "base",
        }
    }
}

impl FromStr for Standing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [Standing::Own, Standing::Base].into_iter().find(|known| known.as_str() == text);
        known.ok_or_else(|| format!("`{text}` is not a part of a config: use own or base"))
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
    /// Whether sysexts go to ROOT, because OEM is too small.
    pub on_root: bool,
    /// How the config stands to user data.
    pub config: Standing,
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
    let config = linked(boot.installed.as_deref().unwrap_or(&boot.ignition), &sysexts, wanted.on_root)?;
    let config = match wanted.config {
        Standing::Own => config,
        Standing::Base => replaceable(&config)?,
    };
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
    must_fit(&image.name, layout, &image.injection(Vec::new(), image.foreseen(), Path::new("")))?;
    Ok(Step::new(image, needs))
}

/// A config with a lower layer that links these sysexts of OEM or ROOT: whether the boots of the network have them in an initrd
/// or fetch them, a disk has them itself.
///
/// # Errors
/// Bytes that are not a config; `compile` makes none such.
fn linked(config: &[u8], sysexts: &[String], on_root: bool) -> Result<Vec<u8>, Findings> {
    let source = Source::new("the compiled config", String::from_utf8_lossy(config));
    let config = ignition::Config::parse(&source)?.config;
    if sysexts.is_empty() {
        return Ok(config.to_json().into_bytes());
    }
    let links = ignition::Config::from_json(&oem::links(sysexts, on_root))?;
    let config = if on_root { without_links(&config, &oem::links(sysexts, false))? } else { config };
    Ok(ignition::merge(links, config).to_json().into_bytes())
}

/// A config without these links, which an overlay's config has to OEM: they would win over those to ROOT.
fn without_links(config: &ignition::Config, those: &Value) -> Result<ignition::Config, Findings> {
    let fault = |error: serde_json::Error| Finding::error(format!("the compiled config: {error}"));
    let mut config: Value = serde_json::from_str(&config.to_json()).map_err(fault)?;
    let those = those["storage"]["links"].as_array().map_or(&[][..], Vec::as_slice);
    let is_one =
        |link: &Value| those.iter().any(|one| one["path"] == link["path"] && one["target"] == link["target"]);
    if let Some(links) = config.pointer_mut("/storage/links").and_then(Value::as_array_mut) {
        links.retain(|link| !is_one(link));
    }
    ignition::Config::from_json(&config)
}

/// A config whose files can be replaced by files of user data. Ignition merges field by field, so that a file of user
/// data without the field `compression` would have that of the file below it, and the boot would end with "unexpected
/// EOF": the contents are unpacked here. So are digests left out, which are those of the contents below.
///
/// # Errors
/// Contents that are not what their fields say, or unpack to more than 64 MiB.
fn replaceable(config: &[u8]) -> Result<Vec<u8>, Findings> {
    let fault = |why: String| Finding::error(format!("the compiled config: {why}"));
    let mut config: Value = serde_json::from_slice(config).map_err(|error| fault(error.to_string()))?;
    let files = config.pointer_mut("/storage/files").and_then(Value::as_array_mut);
    for file in files.into_iter().flatten() {
        let path = file["path"].as_str().unwrap_or_default().to_owned();
        let Some(contents) = file.get_mut("contents").and_then(Value::as_object_mut) else { continue };
        let source = contents.get("source").and_then(Value::as_str).unwrap_or_default();
        if !source.starts_with("data:") {
            continue;
        }
        if contents.get("compression").is_some_and(|method| method == "gzip") {
            let packed = data_url::decode(source).map_err(|why| fault(format!("{path}: {why}")))?;
            let bytes = gunzip(&packed, MAX_FILE).map_err(|why| fault(format!("{path}: {why}")))?;
            contents.insert("source".into(), format!("data:;base64,{}", STANDARD.encode(bytes)).into());
        }
        contents.remove("compression");
        contents.remove("verification");
    }
    Ok(config.to_string().into_bytes())
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
    /// The injection with these sysexts, into an image that these files make one for the platform. `base` is where the
    /// config lies if it is one below user data.
    fn injection(&self, sysexts: Vec<Add>, ready: Option<Ready>, base: &Path) -> Injection {
        let Wanted { autologin, arguments, on_root, config, .. } = &self.wanted;
        let (root, mut files) = match on_root {
            true => (sysexts.into_iter().filter_map(Add::on_root).collect(), Vec::new()),
            false => (Vec::new(), sysexts),
        };
        if *config == Standing::Base {
            let size = self.config.len() as u64;
            let sha256 = Sha256::of(&self.config);
            files.push(Add { path: oem::BASE.into(), mode: 0o644, from: base.into(), size, sha256 });
        }
        Injection {
            config: (*config == Standing::Own).then(|| self.config.clone()),
            files,
            root,
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
        let extension = object.map(|object| (PathBuf::new(), object.size, object.sha256));
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
        let Wanted { platform, format, size, autologin, on_root, config, arguments } = &self.wanted;
        let extension = self.extension.as_ref().map(|(_, object)| object.map(|object| object.sha256));
        let mut params = json!({
            "revisions": make::revision(*format),
            "name": self.name, "platform": platform.id, "settings": platform.grub_cfg(), "version": self.version,
            "format": format.name(), "size": size, "length": self.length, "autologin": autologin, "arguments": arguments,
            "extension": extension, "config": Sha256::of(&self.config), "standing": config.as_str(), "epoch": self.epoch,
        });
        // Without files on ROOT nothing of it counts.
        if *on_root {
            params["on_root"] = json!(make::root_revision());
        }
        params
    }

    fn build(&self, bench: &Bench<'_>) -> Result<Object> {
        let mut sysexts = Vec::new();
        for (name, image) in bench.all_needed()?.iter().filter(|(name, _)| *name != STOCK) {
            sysexts.push(Add::sysext(name, &bench.store.path(&image.sha256), image.size, image.sha256));
        }
        let spool = bench.store.spool()?;
        let base = spool.path().join("config");
        fs::write(&base, &self.config).map_err(disk::Error::io("write", &base))?;
        let injection = self.injection(sysexts, self.ready(bench)?, &base);
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

    fn foresee(&self, needs: &Lengths) -> Result<Option<Finding>> {
        let needs = needs.iter().filter(|(name, _)| *name != STOCK);
        let (mut sysexts, mut are_built) = (Vec::new(), true);
        for (name, length) in needs {
            // Only its length counts here.
            sysexts.push(Add::sysext(name, Path::new(""), length.bytes, Sha256::of(b"")));
            are_built &= length.is_built;
        }
        let fits =
            must_fit(&self.name, self.layout, &self.injection(sysexts, self.foreseen(), Path::new("")));
        match fits {
            Ok(()) => Ok(None),
            Err(error) if are_built => Err(error.into()),
            Err(error) => {
                let finding = Finding::warning(format!("by the lengths in the lock, {error}"));
                Ok(Some(match error.hint() {
                    Some(hint) => finding.hint(hint),
                    None => finding,
                }))
            }
        }
    }

    fn parts(&self) -> Vec<Part<'_>> {
        self.extension.iter().map(|(id, _)| Part::Input(id.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Length;
    use super::*;

    /// Seen with Ignition 2.14: user data's file of the same path came to nothing.
    #[test]
    fn files_below_user_data_leave_no_field_that_would_be_taken_for_the_files_above() {
        // `printf kept | gzip -n | base64`
        let packed = "data:;base64,H4sIAAAAAAAAA8tOLSgBAAZqKPsEAAAA";
        let config = json!({"ignition": {"version": "3.3.0"}, "storage": {"files": [
            {"path": "/a", "mode": 384, "contents": {"source": packed, "compression": "gzip"}},
            {"path": "/b", "contents": {"source": "data:,b", "compression": "", "verification": {"hash": "sha256-x"}}},
            {"path": "/c", "contents": {"source": "http://h/c", "verification": {"hash": "sha256-x"}}},
            {"path": "/d"},
        ]}});
        let made: Value =
            serde_json::from_slice(&replaceable(config.to_string().as_bytes()).unwrap()).unwrap();
        let files = &made["storage"]["files"];
        assert_eq!(
            files[0],
            json!({"path": "/a", "mode": 384, "contents": {"source": "data:;base64,a2VwdA=="}})
        );
        assert_eq!(files[1], json!({"path": "/b", "contents": {"source": "data:,b"}}));
        assert_eq!((&files[2], &files[3]), (&config["storage"]["files"][2], &config["storage"]["files"][3]));
        let torn = config.to_string().replace("H4sI", "AAAA");
        let error = replaceable(torn.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("/a: not gzip"), "{error}");
    }

    /// LTS 4081 has 128 MiB of OEM.
    #[test]
    fn lengths_that_do_not_fit_are_an_error_once_all_are_built_and_a_warning_before() {
        let layout = Layout::of_release(4081);
        let platform = Platform::of("qemu").unwrap();
        let image = Image {
            boot: "node".into(),
            name: "x-node-qemu".into(),
            wanted: Wanted {
                on_root: false,
                platform,
                format: Format::Qcow2,
                size: None,
                autologin: false,
                config: Standing::Base,
                arguments: Vec::new(),
            },
            layout,
            length: platform.length(layout, None).unwrap(),
            extension: None,
            version: "4081.3.6".into(),
            config: b"{}".to_vec(),
            epoch: 0,
        };
        let lengths = |bytes, is_built| {
            let stock = (STOCK.to_owned(), Length { bytes: 1 << 40, is_built: true });
            BTreeMap::from([stock, ("images".to_owned(), Length { bytes, is_built })])
        };
        let said = image.foresee(&lengths(200 << 20, false)).unwrap().unwrap().to_string();
        let numbers = "x-node-qemu: OEM (134217728 bytes, 128.00 MiB) has no room";
        assert!(said.contains("by the lengths in the lock") && said.contains(numbers), "{said}");
        assert!(said.contains("sysext/images.raw 209715200"), "{said}");
        let refused = image.foresee(&lengths(200 << 20, true)).unwrap_err();
        assert!(refused.to_string().starts_with(numbers), "{refused}");
        assert!(image.foresee(&lengths(100 << 20, false)).unwrap().is_none());
    }

    #[test]
    fn a_disk_links_its_own_sysexts_whatever_the_network_does_and_a_layer_still_wins() {
        let made = |config: &str| -> Value {
            let config = linked(config.as_bytes(), &["hello".into(), "report".into()], false).unwrap();
            serde_json::from_slice(&config).unwrap()
        };
        let plain = made(r#"{"ignition":{"version":"3.3.0"}}"#);
        let links = plain["storage"]["links"].as_array().unwrap();
        let targets: Vec<&str> = links.iter().filter_map(|link| link["target"].as_str()).collect();
        assert_eq!(targets, ["/oem/sysext/hello.raw", "/oem/sysext/report.raw"]);
        assert_eq!(made(&plain.to_string()), plain, "an overlay's config has them already");
        let rooted = linked(plain.to_string().as_bytes(), &["hello".into(), "report".into()], true).unwrap();
        assert!(!String::from_utf8(rooted).unwrap().contains("/oem/"), "and ROOT's have their place");
        let masked = r#"{"ignition":{"version":"3.3.0"},"storage":{"links":[{"path":"/etc/extensions/hello.raw","target":"/dev/null","overwrite":true}]}}"#;
        let links = made(masked)["storage"]["links"].clone();
        assert_eq!(links.as_array().unwrap().len(), 2);
        assert!(links.to_string().contains("/dev/null"), "{links}");
    }
}
