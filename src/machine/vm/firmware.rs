//! UEFI firmware for QEMU: where distributions install it, as a table.

use std::path::Path;

use super::Error;
use crate::base::arch::Arch;

/// How QEMU takes an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum As {
    /// Code and variables in one, in place of the BIOS.
    Bios,
    /// Code alone, in a flash that is not written; variables are kept in memory then.
    Flash,
}

/// An image of UEFI firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    arch: Arch,
    path: &'static str,
    is: As,
}

const fn image(arch: Arch, path: &'static str, is: As) -> Image {
    Image { arch, path, is }
}

/// Places where distributions have images. The lab boots the first, Debian's; the others were not tried.
const IMAGES: [Image; 9] = [
    image(Arch::Amd64, "/usr/share/ovmf/OVMF.fd", As::Bios),
    image(Arch::Amd64, "/usr/share/qemu/OVMF.fd", As::Bios),
    image(Arch::Amd64, "/usr/share/edk2/ovmf/OVMF_CODE.fd", As::Flash),
    image(Arch::Amd64, "/usr/share/edk2/x64/OVMF_CODE.4m.fd", As::Flash),
    image(Arch::Amd64, "/usr/share/OVMF/OVMF_CODE_4M.fd", As::Flash),
    image(Arch::Amd64, "/usr/share/qemu/ovmf-x86_64.bin", As::Bios),
    image(Arch::Arm64, "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd", As::Bios),
    image(Arch::Arm64, "/usr/share/edk2/aarch64/QEMU_EFI.fd", As::Bios),
    image(Arch::Arm64, "/usr/share/qemu/aavmf-aarch64-code.bin", As::Bios),
];

impl Image {
    /// The image of this host for an architecture.
    ///
    /// # Errors
    /// None is installed.
    pub(crate) fn find(arch: Arch) -> Result<Image, Error> {
        let mut images = IMAGES.into_iter().filter(|image| image.arch == arch);
        images.find(|image| Path::new(image.path).is_file()).ok_or(Error::NoFirmware { arch })
    }

    /// QEMU's arguments for it.
    pub(crate) fn arguments(self) -> [String; 2] {
        match self.is {
            As::Bios => ["-bios".into(), self.path.into()],
            As::Flash => ["-drive".into(), format!("if=pflash,format=raw,readonly=on,file={}", self.path)],
        }
    }
}
