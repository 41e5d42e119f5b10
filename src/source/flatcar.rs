//! Flatcar's release server: channels, boards, file names and their quirks.
//!
//! Layout: `https://CHANNEL.release.flatcar-linux.net/BOARD/VERSION/FILE`, with `current` beside the versions.

use std::time::SystemTime;

use crate::arch::Arch;
use crate::error::{Advice, Exit};
use crate::recipe::{Version, VersionWish};
use crate::report::{Place, nearest};
use crate::source::http;
use crate::yaml::decode::Spanned;

/// What all release hosts end in; the channel stands before it.
pub const RELEASE_HOST: &str = ".release.flatcar-linux.net";
/// Where the public key file lies.
pub const WEBSITE_HOST: &str = "www.flatcar.org";
/// The public key file. It is not trusted for where it comes from, but for holding the pinned primary key.
pub const KEY_URL: &str = "https://www.flatcar.org/security/image-signing-key/Flatcar_Image_Signing_Key.asc";
/// The channels there are.
pub const CHANNELS: [&str; 4] = ["stable", "beta", "alpha", "lts"];

/// The stock PXE kernel.
pub const KERNEL: &str = "flatcar_production_pxe.vmlinuz";
/// The stock PXE initrd.
pub const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";
/// The stock disk image.
pub const DISK: &str = "flatcar_production_image.bin.bz2";
/// Names the version.
pub const VERSION_TXT: &str = "version.txt";

/// Why a release cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such channel.
    #[error("{place}: there is no Flatcar channel `{channel}`")]
    UnknownChannel {
        /// As the recipe names it.
        channel: String,
        /// Where.
        place: Place,
    },
    /// The server has no such file.
    #[error("there is no Flatcar release {version} in channel {channel} for {board}")]
    UnknownRelease {
        /// Channel.
        channel: String,
        /// Version or `current`.
        version: String,
        /// Board.
        board: &'static str,
        /// What the server said.
        source: http::Error,
    },
    /// `version.txt` says something else than its directory.
    #[error("{url} does not name the release: {why}")]
    BadVersion {
        /// Canonical URL.
        url: String,
        /// What is wrong.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::UnknownRelease
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::UnknownChannel { channel, .. } => match nearest(channel, CHANNELS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("channels: {}", CHANNELS.join(", ")),
            },
            Error::UnknownRelease { .. } => {
                "check `release:` in the recipe; `version: latest` takes what the channel names as current"
                    .into()
            }
            Error::BadVersion { .. } => "the mirror is incomplete or mixed up; try another one".into(),
        })
    }
}

/// One channel's and board's releases.
#[derive(Clone, Debug)]
pub struct Board {
    /// Channel.
    pub channel: String,
    /// Architecture.
    pub arch: Arch,
}

impl Board {
    /// The board of a recipe's channel.
    pub fn new(channel: &Spanned<String>, arch: Arch) -> Result<Self, Error> {
        match CHANNELS.contains(&channel.value.as_str()) {
            true => Ok(Board { channel: channel.value.clone(), arch }),
            false => {
                Err(Error::UnknownChannel { channel: channel.value.clone(), place: channel.place.clone() })
            }
        }
    }

    /// Canonical URL of a file of a version (or of `current`).
    pub fn url(&self, version: &str, file: &str) -> String {
        format!("https://{}{RELEASE_HOST}/{}/{version}/{file}", self.channel, self.arch.board())
    }

    /// Canonical URLs where a file's detached signature may be, in order. The PXE kernel is the disk image's kernel
    /// under another name, and for some releases only the latter's signature was published.
    pub fn signature_urls(&self, version: &str, file: &str) -> Vec<String> {
        let names: &[&str] = match file {
            KERNEL => &[KERNEL, "flatcar_production_image.vmlinuz"],
            _ => &[file],
        };
        names.iter().map(|name| self.url(version, &format!("{name}.sig"))).collect()
    }

    /// The version that a wish means: itself, or what `current/version.txt` says. That text is not trusted: the files
    /// of the version it names are verified one by one.
    pub async fn resolve(
        &self,
        wish: &VersionWish,
        http: &http::Http,
    ) -> Result<Version, crate::error::Error> {
        let VersionWish::Latest = wish else {
            let VersionWish::Exactly(version) = wish else { unreachable!("two variants") };
            return Ok(*version);
        };
        let url = self.url("current", VERSION_TXT);
        let bytes = http.small(&url).await.map_err(|e| self.missing("current", e))?;
        Ok(parse_version_txt(&url, &bytes)?)
    }

    /// Says of a missing file that the release is unknown; other failures stay what they are.
    pub fn missing(&self, version: &str, error: http::Error) -> crate::error::Error {
        match error.is_missing() {
            true => Error::UnknownRelease {
                channel: self.channel.clone(),
                version: version.into(),
                board: self.arch.board(),
                source: error,
            }
            .into(),
            false => error.into(),
        }
    }
}

/// Reads `FLATCAR_VERSION=` out of a `version.txt` (shell assignments, some quoted).
pub fn parse_version_txt(url: &str, bytes: &[u8]) -> Result<Version, Error> {
    let bad = |why: String| Error::BadVersion { url: url.into(), why };
    let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not text".into()))?;
    let value = text.lines().find_map(|line| line.strip_prefix("FLATCAR_VERSION="));
    let value = value.ok_or_else(|| bad("it has no line FLATCAR_VERSION=".into()))?;
    value.trim().trim_matches('"').parse().map_err(bad)
}

/// Seconds since 1970 of a signature's time, for locks.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_txt_is_read_as_the_installer_reads_it() {
        let text = b"FLATCAR_BUILD=4593\nFLATCAR_VERSION=4593.2.5\nFLATCAR_BUILD_ID=\"2026-08-10-1200\"\n";
        assert_eq!(parse_version_txt("u", text).unwrap().to_string(), "4593.2.5");
        assert!(parse_version_txt("u", b"<html>not found</html>").is_err());
    }

    #[test]
    fn the_pxe_kernel_may_be_signed_under_the_images_name() {
        let board = Board { channel: "stable".into(), arch: Arch::Amd64 };
        let urls = board.signature_urls("4593.2.5", KERNEL);
        let base = "https://stable.release.flatcar-linux.net/amd64-usr/4593.2.5";
        assert_eq!(
            urls,
            [
                format!("{base}/flatcar_production_pxe.vmlinuz.sig"),
                format!("{base}/flatcar_production_image.vmlinuz.sig")
            ]
        );
    }
}
