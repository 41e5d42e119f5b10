//! The lab's release server tree, from `release/build.sh`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the parts of a built release lie.
pub struct Release {
    /// `CHANNEL/BOARD/VERSION/FILE`, as a release server has it.
    pub server: PathBuf,
    /// What a machine loads before the release's initrd; the directory holds `bootengine.cpio.gz` and nothing else.
    pub harness: PathBuf,
}

/// Where what was built once is kept, outside the clone.
pub fn cache() -> PathBuf {
    let at = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || at("HOME").unwrap_or_else(|| PathBuf::from("/root"));
    at("PREBAKE_CACHE")
        .unwrap_or_else(|| at("XDG_CACHE_HOME").unwrap_or_else(|| home().join(".cache")).join("prebake"))
}

/// Builds the release, or finds it in the cache, and links it to `out`. The builder tells its story on stderr.
pub fn build(out: &Path) -> io::Result<Release> {
    let builder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/release/build.sh");
    let status = Command::new(builder).arg(out).status()?;
    match status.success() {
        true => Ok(Release { server: out.join("release"), harness: out.join("harness") }),
        false => Err(io::Error::other(format!("the lab's release could not be built ({status})"))),
    }
}
