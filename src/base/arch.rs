//! The machine architectures that Flatcar is released for, and how each project spells them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A machine architecture. Recipes and manifests spell it as Go and Kubernetes do (`amd64`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Arch {
    /// Every architecture, in the order in which people see them listed.
    pub const ALL: [Arch; 2] = [Arch::Amd64, Arch::Arm64];

    /// As Kubernetes, Go and container registries spell it: `amd64`.
    pub(crate) const fn go(self) -> &'static str {
        ["amd64", "arm64"][self as usize]
    }

    /// As Flatcar's release server and `FLATCAR_BOARD` spell it: `amd64-usr`.
    pub(crate) const fn board(self) -> &'static str {
        ["amd64-usr", "arm64-usr"][self as usize]
    }

    /// As systemd's `ARCHITECTURE=` and sysext file names spell it: `x86-64`. With any other spelling systemd skips the
    /// image.
    pub const fn systemd(self) -> &'static str {
        ["x86-64", "arm64"][self as usize]
    }

    /// As iPXE's `buildarch` spells it on UEFI machines; on BIOS machines `buildarch` is `i386`.
    pub(crate) const fn ipxe(self) -> &'static str {
        ["x86_64", "arm64"][self as usize]
    }

    /// Whether a machine with this `buildarch` of iPXE can run it. An iPXE for BIOS says `i386` on any processor.
    pub(crate) fn is_buildarch(self, said: &str) -> bool {
        match self {
            Arch::Amd64 => matches!(said, "i386" | "x86_64"),
            Arch::Arm64 => matches!(said, "arm32" | "arm64"),
        }
    }

    /// As the kernel and `uname -m` spell it: `x86_64`.
    pub(crate) const fn uname(self) -> &'static str {
        ["x86_64", "aarch64"][self as usize]
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.go())
    }
}

impl FromStr for Arch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = |arch: &Arch| [arch.go(), arch.board(), arch.systemd(), arch.uname()].contains(&text);
        Arch::ALL
            .into_iter()
            .find(known)
            .ok_or_else(|| format!("unknown architecture `{text}`: amd64 or arm64"))
    }
}
