//! An image that shall become a template: looked at before a byte of it is sent.
//!
//! Owns what a disk image must be to become a node on Proxmox VE. Leaves the look itself to `disk`, and its signature to `cli`.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use super::Error;
use super::record::Record;
use crate::base::digest::Sha256;
use crate::base::size::Bytes;
use crate::disk;
use crate::disk::look::{self, Asked};
use crate::disk::make::Input;
use crate::disk::platform::{GENERIC, Platform};

/// The platform's id.
pub(crate) const PLATFORM: &str = "proxmoxve";
/// The id of the platform whose images glance takes.
pub(crate) const OPENSTACK: &str = "openstack";

/// The first major version of Flatcar whose Ignition knows the platform: 2.20 does, and LTS 4081 has 2.19.
const FIRST: u32 = 4152;

/// Forms that Proxmox VE imports, with the end of their names (`PVE::Storage`, `UPLOAD_IMPORT_EXT_RE_1`).
const FORMS: [(&str, &str); 3] = [("qcow2", "qcow2"), ("raw", "raw"), ("vmdk", "vmdk")];

/// An image that may be sent.
#[derive(Debug)]
pub(crate) struct Image {
    /// Its name, for people.
    pub subject: String,
    pub file: Arc<File>,
    /// Length of the file in bytes.
    pub length: u64,
    /// Digest of the file.
    pub sha256: Sha256,
    /// The end that its name gets.
    pub extension: &'static str,
    /// Length of the disk in bytes.
    pub disk: u64,
    /// The release that is in it, if it tells.
    pub release: Option<String>,
    /// BUILD-ID of its tree.
    pub build: Option<String>,
    /// The version of Kubernetes that its tree has.
    pub kubernetes: Option<String>,
}

/// The facts that were seen of an image.
#[derive(Debug)]
pub(crate) struct Look {
    pub extension: &'static str,
    /// Length of the disk in bytes.
    pub disk: u64,
    pub release: Option<String>,
    /// Remarks that forbid nothing.
    pub remarks: Vec<String>,
}

/// Looks at an opened image that shall be one of a platform.
///
/// # Errors
/// It cannot be read or is no Flatcar; [`Error::Image`] if it would not become a node there.
pub(crate) fn look(
    input: Input,
    subject: &str,
    wanted: &'static str,
    scratch: &Path,
    threads: usize,
) -> Result<Result<Look, Error>, disk::Error> {
    let (form, packing) = input.words();
    let Some((_, extension)) =
        FORMS.iter().find(|(known, _)| *known == form && packing.is_none() && !input.comes_once())
    else {
        // The inside of a packed file is not known before all of it was read: it may as well be a box.
        let form = packing.map_or_else(|| form.to_owned(), |packing| format!("packed with {packing}"));
        return Ok(Err(Error::Image {
            subject: subject.into(),
            why: format!("is {form}, and qcow2, raw and vmdk are taken there"),
            hint: format!("`prebake disk convert {subject} -o node.qcow2` makes one"),
        }));
    };
    let image = look::Image::look(input, Asked { esp: true, ..Asked::default() }, scratch, threads)?;
    let oem = image.with_oem(|content| {
        Ok((content.oem.platform(), content.oem.oem_id(), content.oem.extension_version().map(str::to_owned)))
    })?;
    let (platform, oem_id, extension_version) = oem;
    let arch = image.arch()?;
    let release = image.release().or(extension_version);
    let has_booted = image.esp_has("flatcar/first_boot")? == Some(false);
    let refused = judge(subject, wanted, platform.as_deref(), oem_id.as_deref(), arch, release.as_deref());
    let mut remarks = Vec::new();
    if has_booted {
        remarks.push(format!("{subject} has been booted before: Ignition does not run in its clones"));
    }
    Ok(match refused {
        Some(error) => Err(error),
        None => Ok(Look { extension, disk: image.length, release, remarks }),
    })
}

/// Why an image would not become a node.
fn judge(
    subject: &str,
    wanted: &str,
    platform: Option<&str>,
    oem_id: Option<&str>,
    arch: Option<&'static str>,
    release: Option<&str>,
) -> Option<Error> {
    let refuse = |why: String, hint: String| Some(Error::Image { subject: subject.into(), why, hint });
    let is_proxmox = wanted == PLATFORM;
    if is_proxmox && arch.is_some_and(|arch| arch != "amd64") {
        let hint = "take the image for amd64".into();
        return refuse("is for arm64, and Proxmox VE's machines are amd64".into(), hint);
    }
    let is = platform.unwrap_or(GENERIC);
    if is != wanted || oem_id.is_some_and(|id| id != wanted) {
        let extension = Platform::of(wanted).is_some_and(|platform| platform.extension);
        let extension = if extension { format!(" --extension oem-{wanted}.raw") } else { String::new() };
        return refuse(
            format!(
                "is an image for {}, whose Ignition would not find its config there",
                oem_id.unwrap_or(is)
            ),
            match is {
                GENERIC => format!(
                    "`prebake disk inject {subject} --platform {wanted}{extension} -o node.qcow2` makes one; in a recipe it is `disk: {{platforms: [{wanted}]}}`"
                ),
                _ => format!(
                    "take Flatcar's generic image, and `prebake disk inject IMAGE --platform {wanted}{extension} -o node.qcow2`"
                ),
            },
        );
    }
    let major = release.and_then(|release| release.split('.').next()?.parse::<u32>().ok());
    if let Some(major) = major.filter(|major| is_proxmox && *major < FIRST) {
        return refuse(
            format!("is Flatcar {major}, whose Ignition does not know Proxmox VE"),
            format!("take a release from {FIRST} on; the provider came with Ignition 2.20"),
        );
    }
    None
}

impl Image {
    /// The first 16 digits of its digest, which stand for a BUILD-ID where there is none.
    fn short(&self) -> String {
        self.sha256.to_string()[..16].to_owned()
    }

    /// The record of a VM that is made of it, unfinished.
    pub(crate) fn record(&self, options: String) -> Record {
        Record {
            is_finished: false,
            build: self.build.clone().unwrap_or_else(|| self.short()),
            image: self.sha256,
            release: self.release.clone(),
            kubernetes: self.kubernetes.clone(),
            options,
        }
    }

    /// The name of the file on a storage: of letters that Proxmox VE leaves as they are, and another one for each content.
    pub(crate) fn file_name(&self, name: &str) -> String {
        let build = self.build.as_deref().unwrap_or("image");
        let text = format!("prebake-{name}-{build}-{}.{}", &self.sha256.to_string()[..12], self.extension);
        text.chars().map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' }).collect()
    }

    /// Refuses a disk that would be shorter than the image.
    ///
    /// # Errors
    /// [`Error::Image`].
    pub(crate) fn fits(&self, size: Option<u64>) -> Result<(), Error> {
        match size.filter(|size| *size < self.disk) {
            Some(size) => Err(Error::Image {
                subject: self.subject.clone(),
                why: format!(
                    "has a disk of {}, and {} was asked for: no disk is made shorter",
                    Bytes(self.disk),
                    Bytes(size)
                ),
                hint: "ask for more with --size, or leave it out".into(),
            }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Advice;

    #[test]
    fn an_image_of_another_platform_release_or_machine_is_refused_with_the_way_out() {
        let judge =
            |platform, id, arch, release| super::judge("x.qcow2", PLATFORM, platform, id, arch, release);
        let sound = Some(PLATFORM);
        assert!(judge(sound, sound, Some("amd64"), Some("4593.2.5")).is_none());
        assert!(judge(sound, sound, None, None).is_none());
        for (error, words) in [
            (judge(None, None, None, None), "--platform proxmoxve"),
            (judge(Some("qemu"), Some("qemu"), None, None), "generic image"),
            (judge(sound, Some("qemu"), None, None), "generic image"),
            (judge(sound, sound, Some("arm64"), None), "amd64"),
            (judge(sound, sound, None, Some("4081.3.6")), "4152"),
        ] {
            let error = error.unwrap();
            assert!(error.hint().unwrap().contains(words), "{error}: {:?}", error.hint());
        }
    }
}
