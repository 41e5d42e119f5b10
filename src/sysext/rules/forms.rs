//! Rules on the image itself: format, name, owners, attributes, size.

use super::super::extension::{Error, Extension, Fault, Form, Kind};
use super::super::identify::Format;
use super::super::merge::Merge;
use super::super::release;
use super::{Breach, some};

/// The most that the kernel allows (`SQUASHFS_FILE_MAX_SIZE`).
const MAX_BLOCK: u32 = 1 << 20;
/// Images together from which on memory is worth a word, in bytes.
const MUCH: u64 = 1 << 30;

pub(super) fn image(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    Ok(match &extension.fault {
        Some(Fault::Broken(why)) => vec![Breach::of(extension).saying(why.as_str())],
        _ => Vec::new(),
    })
}

pub(super) fn opaque(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    Ok(match &extension.fault {
        // That one is refused by a rule of its own.
        Some(Fault::Opaque(_)) if is_unmountable(extension) => Vec::new(),
        Some(Fault::Opaque(what)) => vec![Breach::of(extension).saying(format!("it is {what}"))],
        _ => Vec::new(),
    })
}

fn is_unmountable(extension: &Extension) -> bool {
    matches!(extension.form, Form::Image(Format::Squashfs(superblock)) if !superblock.is_mountable())
}

pub(super) fn compression(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let Form::Image(Format::Squashfs(superblock)) = extension.form else { return Ok(Vec::new()) };
    let breach =
        || Breach::of(extension).saying(format!("it is compressed with {}", superblock.compression()));
    Ok((!superblock.is_mountable()).then(breach).into_iter().collect())
}

pub(super) fn block_size(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let Form::Image(Format::Squashfs(superblock)) = extension.form else { return Ok(Vec::new()) };
    let breach = || Breach::of(extension).saying(format!("its blocks have {} KiB", superblock.block >> 10));
    Ok((superblock.block > MAX_BLOCK).then(breach).into_iter().collect())
}

pub(super) fn file_name(_: &Merge, extension: &Extension) -> Result<Vec<Breach>, Error> {
    let names = extension.release_names();
    if names.is_empty() || names.contains(&extension.name()) || is_lenient(extension) {
        return Ok(Vec::new());
    }
    let name = extension.name();
    let detail = format!(
        "it will be found as `{name}`, but holds extension-release.{}",
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

/// One release file whose xattr makes systemd take it under any name (os-release(5)).
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
    // A folder on disk belongs to who works in it; what is built from it belongs to root.
    let foreign = extension.entries.iter().filter(|(_, seen)| (seen.uid, seen.gid) != (0, 0));
    let paths: Vec<String> =
        foreign.map(|(path, seen)| format!("/{path} ({}:{})", seen.uid, seen.gid)).collect();
    let breach = || Breach::of(extension).saying(format!("{} does not belong to root", some(&paths)));
    Ok((!paths.is_empty()).then(breach).into_iter().collect())
}

/// Attributes that another rule speaks of.
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
    let detail = || format!("the images have {} MiB together", total >> 20);
    Ok((total > MUCH).then(|| Breach::of(largest).saying(detail())).into_iter().collect())
}

/// Whether an extension holds nothing that can be judged.
pub(super) fn is_closed(extension: &Extension) -> bool {
    extension.fault.is_some()
}

/// Paths of all files of an extension with their sizes.
pub(super) fn files(extension: &Extension) -> impl Iterator<Item = (&str, u64)> {
    extension.entries.iter().filter_map(|(path, seen)| match seen.kind {
        Kind::File(size) => Some((path.as_str(), size)),
        _ => None,
    })
}
