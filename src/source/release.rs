//! A version on the release server: its signed `version.txt`, and the files beside it.

use std::time::SystemTime;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::base::error::Result;
use crate::flatcar::board::{
    Board, DISK, Error, INITRD, KERNEL, SIGNATURE, VERSION_TXT, parse_version_txt, unquoted,
};
use crate::flatcar::version::Version;
use crate::source::http::{self, Http, Part, Patience};
use crate::source::releases;
use crate::trust::openpgp::{Signed, TrustedKey};

/// Number of files that are looked up at the same time.
const PARALLEL: usize = 4;

/// Files that a version's directory may have, each with its use. Signatures, digests and images for single clouds are
/// left out.
const ARTIFACTS: [(&str, &str); 12] = [
    (KERNEL, "PXE kernel"),
    (INITRD, "PXE initrd"),
    (DISK, "disk image, for flatcar-install"),
    ("flatcar_production_iso_image.iso", "ISO"),
    ("flatcar_production_qemu_uefi_image.img", "QEMU disk, qcow2"),
    ("flatcar_production_openstack_image.img.gz", "OpenStack disk, qcow2"),
    ("flatcar_production_proxmoxve_image.img", "Proxmox VE disk, qcow2"),
    ("flatcar_production_vmware_ova.ova", "VMware appliance"),
    ("flatcar_production_update.bin.bz2", "/usr partition, for updates"),
    ("flatcar_production_image_packages.txt", "packages"),
    ("flatcar_production_image_sbom.json", "software bill of materials"),
    (VERSION_TXT, "version"),
];

/// A release as the server has it.
#[derive(Debug)]
pub(crate) struct Release {
    /// The version's number.
    pub version: Version,
    /// `FLATCAR_…` assignments of `version.txt`, in its order, without quotes.
    pub fields: Vec<(String, String)>,
    /// Signer of `version.txt`.
    pub signed: Signed,
}

/// A file of a release.
#[derive(Debug)]
pub(crate) struct Artifact {
    /// Name in the version's directory.
    pub file: &'static str,
    /// Its use, in words.
    pub what: &'static str,
    /// Canonical URL, never a mirror's.
    pub url: String,
    /// Length in bytes, if the server states it.
    pub size: Option<u64>,
}

impl Release {
    /// Reads `version.txt` of a version, and believes nothing in it before its signature is verified.
    pub(crate) async fn read(
        board: &Board,
        version: Version,
        http: &Http<'_>,
        key: &TrustedKey,
    ) -> Result<Release> {
        let directory = version.to_string();
        let url = board.url(&directory, VERSION_TXT);
        let signature_url = format!("{url}{SIGNATURE}");
        let missing = |error| releases::missing(board, &directory, error);
        let (bytes, asked) = http.text(&url).await.map_err(missing)?;
        let (signature, signature_asked) = http.text(&signature_url).await.map_err(missing)?;
        let (url, signature_url) = (asked.to_string(), signature_asked.to_string());
        let mut verifier = key.expect(&signature_url, &signature, SystemTime::now())?;
        verifier.update(&bytes);
        let signed = verifier.finish()?;
        match parse_version_txt(&url, &bytes)? {
            found if found == version => Ok(Release { version, fields: fields(&bytes), signed }),
            found => {
                let why = format!("it says {found} in the directory of {version}");
                Err(Error::BadVersion { url, why }.into())
            }
        }
    }

    /// Build time and id from `FLATCAR_BUILD_ID`, such as `2026-08-10-1200`.
    pub(crate) fn build_id(&self) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == "FLATCAR_BUILD_ID").map(|(_, value)| value.as_str())
    }

    /// The version's files on the server. One byte of each is requested, to learn its length; nothing is verified.
    pub(crate) async fn artifacts(
        &self,
        board: &Board,
        http: &Http<'_>,
    ) -> Result<Vec<Artifact>, http::Error> {
        let version = self.version.to_string();
        let look = async |(file, what): (&'static str, &'static str)| {
            let url = board.url(&version, file);
            let ask = async |url: &str, _: &mut Patience| {
                let first = Part { range: 0..1, validator: None };
                Ok(http.get_part(url, None, first).await?.length())
            };
            let sized = http.each(&url, &http.tells(&url), ask).await;
            match sized {
                Ok(size) => Ok(Some(Artifact { file, what, url, size })),
                Err(error) if http::Error::is_missing(&error) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let found: Vec<Option<Artifact>> =
            stream::iter(ARTIFACTS.into_iter().map(look)).buffered(PARALLEL).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// The assignments of a `version.txt` whose names and values are plain enough to pass on.
fn fields(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let is_name = |name: &str| {
        let rest = name.strip_prefix("FLATCAR_").unwrap_or_default();
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    let assignments = text.lines().filter_map(|line| line.trim_end().split_once('='));
    let plain = assignments.filter(|(name, value)| is_name(name) && !value.chars().any(char::is_control));
    plain.map(|(name, value)| (name.to_owned(), unquoted(value).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_flatcars_own_plain_assignments_are_handed_on() {
        let text = b"FLATCAR_BUILD=4593\r\nFLATCAR_BUILD_ID=\"2026-08-10 1200\"\nPATH=/evil\nFLATCAR_X;id=1\nFLATCAR_=1\nFLATCAR_Y=a\x1bb\n";
        let found = fields(text);
        let found: Vec<(&str, &str)> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(found, [("FLATCAR_BUILD", "4593"), ("FLATCAR_BUILD_ID", "2026-08-10 1200")]);
    }
}
