//! Where a machine has its sysexts.

/// The directory whose links and images systemd-sysext merges, by the names that they have there (systemd-sysext(8)).
pub(crate) const MERGED: &str = "/etc/extensions";
/// The directory that keeps images which are fetched, one below it for each sysext, as Flatcar's documentation has it.
pub(crate) const KEPT: &str = "/opt/extensions";
/// The ending of an image's name.
pub(crate) const IMAGE_END: &str = ".raw";

/// The link by which a sysext is found; its name must be that of the sysext.
pub(crate) fn link(name: &str) -> String {
    format!("{MERGED}/{name}{IMAGE_END}")
}

/// The name of the file below [`MERGED`] that a path is, if it is one.
pub(crate) fn merged(path: &str) -> Option<&str> {
    path.strip_prefix(MERGED)?.strip_prefix('/')
}
