//! Rules about the image itself: format, name, owners, attributes, size.

use super::super::extension::{Error, Extension, Fault, Form};
use super::super::identify::Format;
use super::super::merge::Merge;
use super::super::release;
use super::{Breach, some};
use crate::flatcar::quirks::{self, Packing};
use crate::format::gpt::SECTOR;
use crate::format::image::Kind;

/// The kernel's largest block size (`SQUASHFS_FILE_MAX_SIZE`).
const MAX_BLOCK: u32 = 1 << 20;
/// Total bytes of images from which on their memory use is reported.
const MUCH: u64 = 1 << 30;

pub(super) fn image(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    Ok(match &extension.fault {
        Some(Fault::Broken(why)) => vec![Breach::of(extension).saying(why.as_str())],
        _ => Vec::new(),
    })
}

pub(super) fn opaque(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    Ok(match &extension.fault {
        Some(Fault::Opaque(what)) => vec![Breach::of(extension).saying(format!("it is {what}"))],
        _ => Vec::new(),
    })
}

/// The compressions of an extension's data, in all of its file systems.
fn packings(extension: &Extension) -> impl Iterator<Item = Packing> {
    extension.filesystems.iter().flat_map(Format::packings)
}

pub(super) fn compression(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let never = packings(extension).filter(|packing| !packing.is_known());
    Ok(never.map(|packing| Breach::of(extension).saying(format!("it is {}", packing.name()))).collect())
}

pub(super) fn target(merge: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let Some(release) = merge.release else { return Ok(Vec::new()) };
    // An image to be built has no form yet; `packaging` judges its settings.
    let Form::Image(_) = extension.form else { return Ok(Vec::new()) };
    let mut breaches = Vec::new();
    if !quirks::merges_sysexts(release) {
        breaches.push(Breach::of(extension).saying("it has no systemd-sysext.service, which came with 3185"));
    }
    // The last unsupported compression is reported: for an unsupported file system that entry is the most informative
    // one.
    let foreign = extension.filesystems.iter().filter_map(|format| {
        let is_foreign = |packing: &Packing| packing.is_known() && !packing.is_mounted_by(release);
        format.packings().into_iter().rfind(is_foreign)
    });
    breaches.extend(foreign.map(|packing| {
        Breach::of(extension)
            .saying(format!("the kernel of Flatcar {release} cannot mount {}", packing.name()))
    }));
    let Some(disk) = extension.disk else { return Ok(breaches) };
    // Extensions that Flatcar publishes for this very release are signed by a key that the release knows.
    let flatcars = extension.fault.is_none()
        && extension.release()?.is_some_and(|fields| {
            fields.get("ID") == Some("flatcar")
                && fields.get("VERSION_ID") == Some(release.to_string().as_str())
        });
    if disk.is_signed
        && !flatcars
        && let Some(why) = quirks::refuses_signed_sysexts(release)
    {
        let text = format!("it is signed, but Flatcar {release} would not merge it: {why}");
        breaches.push(Breach::of(extension).saying(text));
    }
    if disk.sector != SECTOR && !quirks::probes_sectors(release) {
        let detail =
            format!("its sectors have {} bytes, which that release's systemd may not find", disk.sector);
        breaches.push(Breach::of(extension).saying(detail).doubtful());
    }
    Ok(breaches)
}

pub(super) fn block_size(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let large = extension.filesystems.iter().filter_map(|format| match format {
        Format::Squashfs(superblock) if superblock.block > MAX_BLOCK => Some(superblock.block >> 10),
        _ => None,
    });
    Ok(large.map(|block| Breach::of(extension).saying(format!("its blocks have {block} KiB"))).collect())
}

pub(super) fn file_name(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let names = extension.release_names();
    if names.is_empty() || is_lenient(extension) {
        return Ok(Vec::new());
    }
    if names.contains(&extension.name()) {
        // Usually a collection of versions is linked from elsewhere; in /etc/extensions itself nothing would be merged
        // at all (flatcar/Flatcar#1338).
        let stem = extension.file_stem().filter(|stem| extension.shelved && *stem != extension.name());
        let breach = |stem| {
            let name = extension.name();
            let detail = format!(
                "in this folder it would be found as `{stem}`, but it contains extension-release.{name}"
            );
            let fix = format!(
                "if systemd-sysext looks into this folder, keep {stem}.raw elsewhere and link {name}.raw to it"
            );
            Breach::of(extension).saying(detail).fix(fix).doubtful()
        };
        return Ok(stem.map(breach).into_iter().collect());
    }
    let name = extension.name();
    let detail = format!(
        "it will be found as `{name}`, but it contains extension-release.{}",
        names.join(", extension-release.")
    );
    let fix = match names.as_slice() {
        [only] => format!(
            "call it {only}.raw or {only}-VERSION-ARCH.raw, and link it as /etc/extensions/{only}.raw"
        ),
        _ => String::new(),
    };
    Ok(vec![Breach::of(extension).saying(detail).fix(fix)])
}

/// Whether its only release file has the xattr that makes systemd accept it under any name (os-release(5)).
pub(super) fn is_lenient(extension: &Extension) -> bool {
    let [only] = extension.release_names()[..] else { return false };
    let seen = extension.entries.get(&release::path(only));
    let lenient = |xattr: &String| {
        let value = xattr.strip_prefix("user.extension-release.strict=");
        value.is_some_and(|value| {
            ["0", "no", "n", "false", "f", "off"].contains(&value.trim_end_matches('\0'))
        })
    };
    seen.is_some_and(|seen| seen.xattrs.iter().any(lenient))
}

pub(super) fn owner(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    // A folder on disk belongs to the user who works in it; the image built from it belongs to root.
    let foreign = extension.entries.iter().filter(|(_, seen)| (seen.uid, seen.gid) != (0, 0));
    let paths: Vec<String> =
        foreign.map(|(path, seen)| format!("/{path} ({}:{})", seen.uid, seen.gid)).collect();
    let breach = || Breach::of(extension).saying(format!("{} does not belong to root", some(&paths)));
    Ok((!paths.is_empty()).then(breach).into_iter().collect())
}

/// Attributes that other rules report.
const TOLD: [&str; 5] = [
    "user.extension-release.strict",
    "security.capability",
    "trusted.overlay.opaque",
    "trusted.overlay.whiteout",
    "user.overlay.opaque",
];

pub(super) fn xattrs(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let mut found = Vec::new();
    for (path, seen) in &extension.entries {
        let names = seen.xattrs.iter().filter_map(|xattr| xattr.split('=').next());
        found.extend(names.filter(|name| !TOLD.contains(name)).map(|name| format!("{name} of /{path}")));
    }
    let breach = || Breach::of(extension).saying(format!("it has {}", some(&found)));
    Ok((!found.is_empty()).then(breach).into_iter().collect())
}

pub(super) fn memory(merge: &Merge) -> Result<Vec<Breach>, Error> {
    let images = || merge.extensions().iter().filter(|extension| matches!(extension.form, Form::Image(_)));
    let total: u64 = images().map(|extension| extension.size).sum();
    let Some(largest) = images().max_by_key(|extension| extension.size) else { return Ok(Vec::new()) };
    let detail = || format!("the images have {} MiB in total", total >> 20);
    Ok((total > MUCH).then(|| Breach::of(largest).saying(detail())).into_iter().collect())
}

/// Whether the extension's content cannot be judged.
pub(super) fn is_closed(extension: &Extension) -> bool {
    extension.fault.is_some()
}

/// Paths of all files of an extension, with their sizes.
pub(super) fn files(extension: &Extension) -> impl Iterator<Item = (&str, u64)> {
    extension.entries.iter().filter_map(|(path, seen)| match seen.kind {
        Kind::File(size) => Some((path.as_str(), size)),
        _ => None,
    })
}
