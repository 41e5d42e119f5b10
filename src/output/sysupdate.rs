//! systemd-sysupdate: what a node needs to update its sysexts from the published tree (sysupdate.d(5)).
//!
//! Beside the images of a sysext lie `SHA256SUMS`, by which systemd-sysupdate learns which versions there are, and transfer
//! definitions: `NAME.conf` follows every version, `NAME-v1.34.conf` only the patches of one minor version, since nodes of
//! a Kubernetes cluster must not skip minors on their own.

use std::collections::{BTreeMap, BTreeSet};

use super::{Built, OutputFormat, Row, SysextImage};
use crate::manifest::Role;
use crate::recipe::Sysupdate;

/// The format.
pub struct Updates;

impl OutputFormat for Updates {
    fn name(&self) -> &'static str {
        "sysupdate"
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let Some(options) = &built.recipe.sysupdate else { return Vec::new() };
        let mut images: BTreeMap<&str, Vec<&SysextImage>> = BTreeMap::new();
        for image in &built.sysexts {
            images.entry(&image.name).or_default().push(image);
        }
        images.into_iter().flat_map(|(name, images)| rows(name, &images, options)).collect()
    }
}

fn rows(name: &str, images: &[&SysextImage], options: &Sysupdate) -> Vec<Row> {
    let directory = SysextImage::directory(name);
    let sums: BTreeSet<String> =
        images.iter().map(|image| format!("{}  {}\n", image.object.sha256, image.file_name())).collect();
    let sums: String = sums.into_iter().collect();
    let minors: BTreeSet<&str> = images.iter().filter_map(|image| minor(&image.version)).collect();
    let streams = minors.into_iter().map(|minor| (format!("{name}-{minor}"), format!("{minor}.")));
    let transfers = [(name.to_owned(), String::new())].into_iter().chain(streams).map(|(file, fixed)| {
        let text = transfer(name, &fixed, &directory, options);
        Row::text(format!("{directory}/{file}.conf"), Role::Transfer, text)
    });
    [Row::text(format!("{directory}/SHA256SUMS"), Role::Checksums, sums)]
        .into_iter()
        .chain(transfers)
        .collect()
}

/// `v1.34` of `v1.34.4`; nothing of what is no version of three numbers.
fn minor(version: &str) -> Option<&str> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = version.strip_prefix('v').unwrap_or(version).split('.').collect();
    let three = parts.len() == 3 && parts.iter().all(|part| is_number(part));
    version.rsplit_once('.').filter(|_| three).map(|(minor, _)| minor)
}

/// `Verify=no`: the list of digests is not signed with a key that systemd's keyring has; it is as good as the way to it.
/// `%a` is the machine's architecture in systemd's spelling, as in the images' names. The link in /etc/extensions gives the
/// image the name that its extension-release file has.
fn transfer(name: &str, fixed: &str, directory: &str, options: &Sysupdate) -> String {
    let base = &options.base_url.value;
    let instances = options.instances;
    format!(
        "[Transfer]\nVerify=no\n\n\
         [Source]\nType=url-file\nPath={base}/{directory}/\nMatchPattern={name}-{fixed}@v-%a.raw\n\n\
         [Target]\nType=regular-file\nPath=/opt/extensions/{name}\nMatchPattern={name}-{fixed}@v-%a.raw\n\
         CurrentSymlink=/etc/extensions/{name}.raw\nInstancesMax={instances}\nMode=0644\n"
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
