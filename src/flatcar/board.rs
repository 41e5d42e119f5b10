//! Flatcar's release server: channels, boards, file names and their quirks.
//!
//! Layout: `https://CHANNEL.release.flatcar-linux.net/BOARD/VERSION/FILE`, with `current` beside the versions. The LTS
//! channel has several streams at a time, `current-2024` and so on; here such a stream is the channel `lts-2024`.

use crate::base::arch::Arch;
use crate::base::error::{Advice, Exit};
use crate::base::finding::{Place, nearest};
use crate::base::yaml::decode::Spanned;
use crate::flatcar::version::Version;

/// Suffix of all release hosts; the channel precedes it.
pub(crate) const RELEASE_HOST: &str = ".release.flatcar-linux.net";
/// Host of the public key file.
pub(crate) const WEBSITE_HOST: &str = "www.flatcar.org";
/// URL of the public key file. It is trusted because it holds the pinned primary key, not because of its origin.
pub(crate) const KEY_URL: &str =
    "https://www.flatcar.org/security/image-signing-key/Flatcar_Image_Signing_Key.asc";
/// All channels; `lts` also means the newest LTS stream.
pub(crate) const CHANNELS: [&str; 4] = ["stable", "beta", "alpha", "lts"];

/// Prefix of an LTS stream's name, before the year.
const LTS_STREAM: &str = "lts-";
/// Name of the directory with a channel's newest version.
pub(crate) const CURRENT: &str = "current";

/// The stock PXE kernel.
pub(crate) const KERNEL: &str = "flatcar_production_pxe.vmlinuz";
/// The stock PXE initrd.
pub(crate) const INITRD: &str = "flatcar_production_pxe_image.cpio.gz";
/// The stock disk image.
pub(crate) const DISK: &str = "flatcar_production_image.bin.bz2";
/// The file that states the version.
pub(crate) const VERSION_TXT: &str = "version.txt";
/// The ending of a detached signature's name, behind the name of the file that it signs.
pub(crate) const SIGNATURE: &str = ".sig";

/// Why nothing of a channel or version can be named.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no channel of this name.
    #[error("{}there is no Flatcar channel `{channel}`", place.as_ref().map_or(String::new(), |place| format!("{place}: ")))]
    UnknownChannel {
        /// The name as given.
        channel: String,
        /// Its place, if it is in a file.
        place: Option<Place>,
    },
    /// `version.txt` states another version than its directory.
    #[error("{url} does not name the release: {why}")]
    BadVersion {
        /// Canonical URL, never a mirror's.
        url: String,
        /// The problem, in words.
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
                None => format!("channels: {}, and LTS streams such as lts-2024", CHANNELS.join(", ")),
            },
            Error::BadVersion { .. } => "the mirror is incomplete or mixed up; try another one".into(),
        })
    }
}

/// The releases of one channel and board.
#[derive(Clone, Debug)]
pub struct Board {
    /// Channel or LTS stream.
    pub channel: String,
    /// Architecture of the board.
    pub arch: Arch,
}

impl Board {
    /// The board of a recipe's channel.
    pub(crate) fn new(channel: &Spanned<String>, arch: Arch) -> Result<Self, Error> {
        let unknown =
            || Error::UnknownChannel { channel: channel.value.clone(), place: Some(channel.place.clone()) };
        Board::of(&channel.value, arch).ok_or_else(unknown)
    }

    /// The board of a channel or LTS stream, if there is one of that name.
    pub(crate) fn of(channel: &str, arch: Arch) -> Option<Self> {
        let is_year = |year: &str| year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit());
        let is_known = CHANNELS.contains(&channel) || channel.strip_prefix(LTS_STREAM).is_some_and(is_year);
        is_known.then(|| Board { channel: channel.to_owned(), arch })
    }

    /// Canonical URL of a file of a version (or of `current`).
    pub(crate) fn url(&self, version: &str, file: &str) -> String {
        let (channel, version) = match self.channel.strip_prefix(LTS_STREAM) {
            Some(year) if version == CURRENT => ("lts", format!("{CURRENT}-{year}")),
            Some(_) => ("lts", version.to_owned()),
            None => (self.channel.as_str(), version.to_owned()),
        };
        format!("https://{channel}{RELEASE_HOST}/{}/{version}/{file}", self.arch.board())
    }

    /// Canonical URLs where a file's detached signature may be, in order. The PXE kernel is the disk image's kernel
    /// under another name, and some releases have only the latter's signature.
    pub(crate) fn signature_urls(&self, version: &str, file: &str) -> Vec<String> {
        let names: &[&str] = match file {
            KERNEL => &[KERNEL, "flatcar_production_image.vmlinuz"],
            _ => &[file],
        };
        names.iter().map(|name| self.url(version, &format!("{name}{SIGNATURE}"))).collect()
    }
}

/// Reads `FLATCAR_VERSION=` out of a `version.txt` (shell assignments, some quoted).
pub fn parse_version_txt(url: &str, bytes: &[u8]) -> Result<Version, Error> {
    let bad = |why: String| Error::BadVersion { url: url.into(), why };
    let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not text".into()))?;
    let value = text.lines().find_map(|line| line.strip_prefix("FLATCAR_VERSION="));
    let value = value.ok_or_else(|| bad("it has no line FLATCAR_VERSION=".into()))?;
    unquoted(value).parse().map_err(bad)
}

/// A value of `version.txt` without its double quotes, if it has any.
pub(crate) fn unquoted(value: &str) -> &str {
    value.trim().trim_matches('"')
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
    fn an_lts_stream_has_a_current_of_its_own_and_shares_the_channels_versions() {
        let board = Board::of("lts-2024", Arch::Arm64).unwrap();
        let base = "https://lts.release.flatcar-linux.net/arm64-usr";
        assert_eq!(board.url(CURRENT, VERSION_TXT), format!("{base}/current-2024/version.txt"));
        assert_eq!(board.url("4081.3.10", VERSION_TXT), format!("{base}/4081.3.10/version.txt"));
        assert_eq!(
            Board::of("lts", Arch::Arm64).unwrap().url(CURRENT, VERSION_TXT),
            format!("{base}/current/version.txt")
        );
        for bad in ["lts-24", "lts-", "lts-2024/..", "stable-2024", ""] {
            assert!(Board::of(bad, Arch::Amd64).is_none(), "{bad}");
        }
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
