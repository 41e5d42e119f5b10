//! systemd-sysupdate: the files that a node needs to update its sysexts from the published tree (sysupdate.d(5)).
//!
//! Beside a sysext's images are `SHA256SUMS`, from which systemd-sysupdate learns the versions, and transfer
//! definitions: `NAME.conf` follows every version, `NAME-v1.34.conf` only the patches of one minor version, since nodes
//! of a Kubernetes cluster must not skip minors on their own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Built, Options, OutputFormat};
use crate::bake::artifacts::SysextImage;
use crate::bake::extensions::Published;
use crate::machine::base_url::BaseUrl;
use crate::sysext::place::{KEPT, link};
use crate::tree::manifest::Role;
use crate::tree::names::{CHECKSUMS, sysext_directory, sysext_file};
use crate::tree::row::Row;

/// Number of versions that a node keeps unless the recipe states another, as in the sysext-bakery.
const INSTANCES: u32 = 3;
/// systemd-sysupdate raises any lower number to this.
const MIN_INSTANCES: u32 = 2;

/// The output `sysupdate`: settings of systemd-sysupdate on nodes.
#[derive(Debug)]
struct Updates {
    /// URL of the root of the tree.
    base_url: BaseUrl,
    /// Number of versions that a node keeps, the running one included.
    instances: u32,
    /// Versions that are published besides those that profiles boot, by sysext.
    versions: Vec<Published>,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let decoder = options.decoder;
    let base_url = options.base_url();
    let instances = options.get("instances").and_then(|node| {
        let instances = decoder.parsed(node)?;
        if instances < MIN_INSTANCES {
            let text =
                format!("`instances` must be at least {MIN_INSTANCES}: the running version and the next");
            decoder.error(node, text);
        }
        Some(instances)
    });
    let versions = options.get("versions").map(|node| decoder.entries(node, "`versions`"));
    let versions = versions.unwrap_or_default().into_iter();
    let versions = versions.map(|(name, list)| {
        let versions = decoder.strings(list, "a sysext's versions");
        Published { name, versions }
    });
    Some(Box::new(Updates {
        instances: instances.unwrap_or(INSTANCES),
        versions: versions.collect(),
        base_url: base_url?,
    }))
}

impl OutputFormat for Updates {
    fn sysext_versions(&self) -> &[Published] {
        &self.versions
    }

    fn base_url(&self) -> Option<&BaseUrl> {
        Some(&self.base_url)
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let mut images: BTreeMap<&str, Vec<&SysextImage>> = BTreeMap::new();
        for image in &built.artifacts.sysexts {
            images.entry(&image.name).or_default().push(image);
        }
        images.into_iter().flat_map(|(name, images)| rows(name, &images, self)).collect()
    }
}

fn rows(name: &str, images: &[&SysextImage], options: &Updates) -> Vec<Row> {
    let directory = sysext_directory(name);
    let line = |image: &&SysextImage| {
        format!("{}  {}\n", image.object.sha256, sysext_file(name, &image.version, image.arch))
    };
    let sums: BTreeSet<String> = images.iter().map(line).collect();
    let sums: String = sums.into_iter().collect();
    let minors: BTreeSet<&str> = images.iter().filter_map(|image| minor(&image.version)).collect();
    let streams = minors.into_iter().map(|minor| (format!("{name}-{minor}"), format!("{minor}.")));
    let transfers = [(name.to_owned(), String::new())].into_iter().chain(streams).map(|(file, fixed)| {
        let text = transfer(name, &fixed, &directory, options);
        Row::text(format!("{directory}/{file}.conf"), Role::Transfer, text)
    });
    [Row::text(format!("{directory}/{CHECKSUMS}"), Role::Checksums, sums)]
        .into_iter()
        .chain(transfers)
        .collect()
}

/// `v1.34` of `v1.34.4`; `None` if this is not a version of three numbers.
fn minor(version: &str) -> Option<&str> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = version.strip_prefix('v').unwrap_or(version).split('.').collect();
    let three = parts.len() == 3 && parts.iter().all(|part| is_number(part));
    version.rsplit_once('.').filter(|_| three).map(|(minor, _)| minor)
}

/// `Verify=no`: the list of digests is not signed with a key in systemd's keyring, so it is only as trustworthy as the
/// connection. `%a` is the machine's architecture in systemd's spelling, as in the images' names. The link in
/// /etc/extensions gives the image the name that its extension-release file has.
fn transfer(name: &str, fixed: &str, directory: &str, options: &Updates) -> String {
    let Updates { base_url: base, instances, .. } = options;
    format!(
        "[Transfer]\nVerify=no\n\n\
         [Source]\nType=url-file\nPath={base}/{directory}/\nMatchPattern={name}-{fixed}@v-%a.raw\n\n\
         [Target]\nType=regular-file\nPath={KEPT}/{name}\nMatchPattern={name}-{fixed}@v-%a.raw\n\
         CurrentSymlink={}\nInstancesMax={instances}\nMode=0644\n",
        link(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_versions_of_three_numbers_have_a_minor_stream() {
        for (version, expected) in [
            ("v1.34.4", Some("v1.34")),
            ("2.1.5", Some("2.1")),
            ("v1.34.4-rc.1", None),
            ("1.0", None),
            ("1..2", None),
            ("vv1.2.3", None),
            ("nightly", None),
        ] {
            assert_eq!(minor(version), expected, "{version}");
        }
    }
}
