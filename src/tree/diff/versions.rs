//! Versions of a tree's parts: its sysexts, from their paths, and the components and images of its lock.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::arch::Arch;
use crate::base::digest::Sha256;
use crate::base::error::Result;
use crate::registry::reference::ImageRef;
use crate::tree::lock::Lock;
use crate::tree::manifest::Role;
use crate::tree::open::Tree;
use crate::tree::sbom::purl::version_in;

/// A version, and the digest of the bytes that carry it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Version {
    /// As upstream spells it, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// SHA-256 of the file, or of an image's manifest.
    pub sha256: Sha256,
}

/// Everything that has a version, by name. One name may have several versions at once.
pub(crate) fn versions(tree: &Tree) -> Result<BTreeMap<String, Vec<Version>>> {
    let mut versions: BTreeMap<String, Vec<Version>> = BTreeMap::new();
    let mut add = |name: String, version: Option<&str>, sha256| {
        let version = version.map(str::to_owned);
        versions.entry(name).or_default().push(Version { version, sha256 });
    };
    for (path, file) in &tree.manifest().files {
        match file.role {
            Role::Sysext => {
                if let Some((name, version, arch)) = sysext(path, file.arch) {
                    add(format!("sysext {name} ({arch})"), Some(version), file.sha256);
                }
            }
            Role::Lock => {
                let lock = Lock::parse(path.as_ref(), &String::from_utf8_lossy(&tree.read(path)?))?;
                for (id, entry) in &lock.inputs {
                    match id.split('/').collect::<Vec<_>>()[..] {
                        ["sysext", sysext, arch, component] => {
                            let sysext = sysext.split('@').next().unwrap_or(sysext);
                            let name = format!("component {component} of {sysext} ({arch})");
                            add(name, version_in(&entry.url), entry.sha256);
                        }
                        ["image", .., arch, "manifest"] => {
                            if let Some(image) = image(id, arch) {
                                let name = format!("image {} ({arch})", image.name());
                                add(name, Some(&image.object()), entry.sha256);
                            }
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    versions.values_mut().for_each(|list| list.sort());
    Ok(versions)
}

/// Name, version and architecture of `assets/sysext/NAME/NAME-VERSION-ARCH.raw`.
pub(crate) fn sysext(path: &str, arch: Option<Arch>) -> Option<(&str, &str, Arch)> {
    let (directory, file) = path.rsplit_once('/')?;
    let name = directory.rsplit('/').next()?;
    let arch = arch?;
    let rest = file.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".raw")?;
    Some((name, rest.strip_suffix(arch.systemd())?.strip_suffix('-')?, arch))
}

/// The reference in `image/REFERENCE/ARCH/manifest`.
fn image(id: &str, arch: &str) -> Option<ImageRef> {
    let rest = id.strip_prefix("image/")?.strip_suffix("/manifest")?;
    rest.strip_suffix(arch)?.strip_suffix('/')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_ids_are_taken_apart_where_prebake_made_them() {
        let path = "assets/sysext/cni-plugins/cni-plugins-v1.8.0-rc-1-x86-64.raw";
        assert_eq!(sysext(path, Some(Arch::Amd64)), Some(("cni-plugins", "v1.8.0-rc-1", Arch::Amd64)));
        assert_eq!(sysext(path, Some(Arch::Arm64)), None);
        assert_eq!(sysext("x.raw", Some(Arch::Amd64)), None);
        let reference = image("image/registry.k8s.io/coredns/coredns:v1/amd64/manifest", "amd64").unwrap();
        assert_eq!(
            (reference.name().as_str(), reference.object().as_str()),
            ("registry.k8s.io/coredns/coredns", "v1")
        );
    }
}
