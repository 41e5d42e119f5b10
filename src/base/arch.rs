//! The machine architectures that Flatcar is released for, with one spelling per world.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An architecture. Its own spelling, in recipes and manifests, is Go's and Kubernetes' (`amd64`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit x86.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Arch {
    /// All of them, in the order they are listed to people.
    pub const ALL: [Arch; 2] = [Arch::Amd64, Arch::Arm64];

    /// Kubernetes, Go and container registries: `amd64`.
    pub const fn go(self) -> &'static str {
        ["amd64", "arm64"][self as usize]
    }

    /// Flatcar's release server and `FLATCAR_BOARD`: `amd64-usr`.
    pub const fn board(self) -> &'static str {
        ["amd64-usr", "arm64-usr"][self as usize]
    }

    /// systemd's `ARCHITECTURE=` and sysext file names: `x86-64`. Any other spelling makes systemd skip the image.
    pub const fn systemd(self) -> &'static str {
        ["x86-64", "arm64"][self as usize]
    }

    /// iPXE's `buildarch` on UEFI machines; a BIOS says `i386`.
    pub const fn ipxe(self) -> &'static str {
        ["x86_64", "arm64"][self as usize]
    }

    /// The kernel's and `uname -m`'s: `x86_64`.
    pub const fn uname(self) -> &'static str {
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
