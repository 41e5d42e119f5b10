//! The extension-release file, by which `systemd-sysext` decides whether an image fits a host (os-release(5)).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::description::Os;
use crate::base::arch::Arch;

/// The directory of extension-release files, inside an image.
pub(crate) const DIR: &str = "usr/lib/extension-release.d";

/// The path of the file for an image that is merged under `name`.
pub(crate) fn path(name: &str) -> String {
    format!("{DIR}/extension-release.{name}")
}

/// The fields of an extension-release file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Release(pub BTreeMap<String, String>);

impl Release {
    /// The release file of a built image.
    pub(crate) fn new(os: Os, arch: Arch, reload: bool) -> Self {
        let os: &[(&str, &str)] = match os {
            Os::Any => &[("ID", "_any")],
            // Without a level (or VERSION_ID), systemd silently skips an image for a specific OS.
            Os::Flatcar => &[("ID", "flatcar"), ("SYSEXT_LEVEL", "1.0")],
        };
        let reload = reload.then_some(("EXTENSION_RELOAD_MANAGER", "1"));
        let fields = os.iter().copied().chain([("ARCHITECTURE", arch.systemd())]).chain(reload);
        Release(fields.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// Reads `KEY=value` lines; values may be quoted. As in systemd, lines that are not assignments are ignored.
    pub fn parse(text: &str) -> Self {
        let fields = text.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(|line| {
            let (key, value) = line.trim().split_once('=')?;
            let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
            let value = quoted('"').or_else(|| quoted('\'')).unwrap_or(value);
            Some((key.to_owned(), value.to_owned()))
        });
        Release(fields.collect())
    }

    /// The file's text, sorted by key.
    pub(crate) fn text(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (key, value)| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{key}={value}");
            text
        })
    }

    /// The value of a field.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flatcar_comes_with_a_level_and_systemds_spelling_of_the_architecture() {
        let text = Release::new(Os::Flatcar, Arch::Amd64, true).text();
        assert_eq!(text, "ARCHITECTURE=x86-64\nEXTENSION_RELOAD_MANAGER=1\nID=flatcar\nSYSEXT_LEVEL=1.0\n");
        assert_eq!(Release::parse(&text), Release::new(Os::Flatcar, Arch::Amd64, true));
    }

    #[test]
    fn quotes_and_comments_are_read_as_systemd_reads_them() {
        let release = Release::parse("# c\nID='flatcar'\nVERSION_ID=\"4593.2.5\"\nnonsense\n");
        assert_eq!(release.get("ID"), Some("flatcar"));
        assert_eq!(release.get("VERSION_ID"), Some("4593.2.5"));
    }
}
