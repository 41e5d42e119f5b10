//! Differences between Flatcar releases, as tables. Rooms ask questions here instead of comparing versions.
//!
//! Boundaries are from Flatcar's release notes (`static/releases-json/releases.json` of flatcar/flatcar-website) and
//! from the issues and kernel configurations that rows name. A version is `MAJOR.CHANNEL.REVISION`; majors only grow,
//! and a change reaches the channels alpha, beta, stable, LTS in that order at different majors. A fix may reach a
//! branch in the middle of its revisions, so a fault that was fixed has a window in each channel: comparing versions
//! across channels gives wrong answers.

use crate::flatcar::version::Version;
use crate::ignition::Spec;
use crate::ignition::boot::System;

const fn v(major: u32, channel: u32, revision: u32) -> Version {
    Version([major, channel, revision])
}

/// Releases of one channel with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// The first release with the fault.
    pub from: Version,
    /// The first later release of that channel without it.
    pub before: Version,
}

impl Window {
    /// Both versions must be of one channel.
    const fn new(from: Version, before: Version) -> Self {
        assert!(from.0[1] == before.0[1]);
        Window { from, before }
    }

    fn holds(&self, version: Version) -> bool {
        version.0[1] == self.from.0[1] && (self.from..self.before).contains(&version)
    }
}

/// The window that a release is in.
fn window(windows: &[Window], version: Version) -> Option<Window> {
    windows.iter().find(|window| window.holds(version)).copied()
}

/// First major version whose Ignition reads a spec, newest first: every channel branches from alpha, so the major number
/// decides. Releases before the last row have Ignition 0.x, which reads only spec 2.
const SPECS: [(u32, Spec); 3] = [(4152, Spec::V3_5), (3535, Spec::V3_4), (3185, Spec::V3_3)];

/// Releases whose initrd ignores `usr/share/oem`, so an injected config never reaches Ignition.
const DROPS_INJECTED_CONFIG: [Window; 5] = [
    // The mount point moved to /oem, and the initrd looked only there (flatcar/Flatcar#1376): moved in 3637.0.0,
    // 3732.1.0 and 3760.2.0, restored in 3913.0.0, 3874.1.0 and 3815.2.1. The LTS 4081 came later, 3510 before.
    Window::new(v(3637, 0, 0), v(3913, 0, 0)),
    Window::new(v(3732, 1, 0), v(3874, 1, 0)),
    Window::new(v(3760, 2, 0), v(3815, 2, 1)),
    // The first-stage initrd dropped it (flatcar/Flatcar#2023): restored in 4669.0.0, 4628.1.0, and 4593.2.0, which is
    // the first stable release with that initrd.
    Window::new(v(4487, 0, 0), v(4669, 0, 0)),
    Window::new(v(4515, 1, 0), v(4628, 1, 0)),
];

/// Releases whose PXE boot ends in the emergency shell: systemd 256 came in 4230.0.0, and a directory that Ignition
/// mounts on was missing (flatcar/Flatcar#1695, flatcar/bootengine#103; fixed in 4284.0.0, 4230.1.1, and before the
/// first stable of that major).
const ENDS_IN_EMERGENCY_SHELL: [Window; 2] =
    [Window::new(v(4230, 0, 0), v(4284, 0, 0)), Window::new(v(4230, 1, 0), v(4230, 1, 1))];

/// Releases whose Ignition does not know the platform `pxe` that their initrd states: from Ignition 2 on (3185) until
/// flatcar/bootengine#45 in 3255.0.0 and 3227.1.0, before the first stable (flatcar/Flatcar#742).
const NAMES_PLATFORM_PXE: [Window; 2] =
    [Window::new(v(3185, 0, 0), v(3255, 0, 0)), Window::new(v(3185, 1, 0), v(3227, 1, 0))];

/// Reasons why a release does not boot by PXE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PxeFault {
    /// Its initrd ends in the emergency shell.
    EmergencyShell,
    /// Its Ignition refuses the platform that its initrd states, unless the kernel arguments state another.
    UnknownPlatform,
}

/// The fault that keeps a release from booting by PXE, and the window of its channel with that fault.
pub(crate) fn pxe_fault(version: Version) -> Option<(PxeFault, Window)> {
    let of = |windows, fault| window(windows, version).map(|window| (fault, window));
    of(&ENDS_IN_EMERGENCY_SHELL[..], PxeFault::EmergencyShell)
        .or_else(|| of(&NAMES_PLATFORM_PXE[..], PxeFault::UnknownPlatform))
}

/// First release of each channel (by its digit) whose initrd merges extensions, so that files which are read early in
/// the boot can come from them, too.
const MERGES_IN_INITRD: [(u32, Version); 2] = [(0, v(4628, 0, 0)), (1, v(4628, 1, 0))];

/// containerd's version by the first major version that has it, newest first (`major_software` of the releases'
/// metadata).
const CONTAINERD: [(u32, (u32, u32)); 5] =
    [(4628, (2, 2)), (4515, (2, 1)), (4284, (2, 0)), (3665, (1, 7)), (3227, (1, 6))];
/// The major version that each channel had on 2026-08-13: for judgements by a channel's name. A lock has the exact version.
const CHANNELS: [(&str, u32); 4] = [("alpha", 4790), ("beta", 4757), ("stable", 4593), ("lts", 4081)];
/// The newest major whose containerd version is known.
const KNOWN: u32 = CHANNELS[0].1;

/// Whether a release merges extensions in the initrd.
pub(crate) fn merges_in_initrd(version: Version) -> bool {
    let [_, channel, _] = version.0;
    let first = MERGES_IN_INITRD.iter().find(|(digit, _)| *digit == channel);
    first.is_some_and(|(_, first)| version >= *first)
}

/// `MAJOR.MINOR` of a release's own containerd, if known.
pub(crate) fn containerd(version: Version) -> Option<(u32, u32)> {
    let [major, ..] = version.0;
    let first = CONTAINERD.iter().find(|(first, _)| major >= *first);
    first.filter(|_| major <= KNOWN).map(|(_, containerd)| *containerd)
}

/// The major version of a channel, such as `stable`, as this prebake knows it.
pub(crate) fn channel(name: &str) -> Option<u32> {
    CHANNELS.iter().find(|(channel, _)| *channel == name).map(|(_, major)| *major)
}

/// The newest stable Ignition spec that releases of a major version read; `None` where Ignition is too old for spec 3.
pub(crate) fn newest_spec(major: u32) -> Option<Spec> {
    SPECS.iter().find(|(first, _)| major >= *first).map(|(_, spec)| *spec)
}

/// The properties of a release that decide how a config boots.
pub fn system(version: Version) -> System {
    System { major: version.0[0], newest: newest_spec(version.0[0]) }
}

/// First major version with `systemd-sysext.service` (release notes of 3185.0.0).
const MERGES_SYSEXTS: u32 = 3185;

/// How the data of an image is packed, as far as kernels differ in what they can mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    /// Squashfs with gzip.
    SquashfsGzip,
    /// Squashfs with lzma.
    SquashfsLzma,
    /// Squashfs with lzo.
    SquashfsLzo,
    /// Squashfs with xz.
    SquashfsXz,
    /// Squashfs with lz4.
    SquashfsLz4,
    /// Squashfs with zstd.
    SquashfsZstd,
    /// EROFS with uncompressed files.
    Erofs,
    /// EROFS whose files may be compressed with lz4.
    ErofsLz4,
    /// EROFS whose files may be compressed with lzma.
    ErofsLzma,
    /// EROFS whose files may be compressed with deflate.
    ErofsDeflate,
    /// EROFS whose files may be compressed with zstd.
    ErofsZstd,
    /// EROFS with a feature newer than Linux 6.12 (`EROFS_FEATURE_INCOMPAT_48BIT` and later, `fs/erofs/erofs_fs.h`).
    ErofsNewer,
}

/// The releases whose kernel mounts a packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mounted {
    /// All releases.
    Always,
    /// Releases from these on: of the channels alpha, beta, stable, LTS.
    Since([Version; 4]),
    /// No known release.
    Never,
}

/// Packings that Flatcar's kernels mount. Unless a row names another source, it is `commonconfig-*` of
/// sys-kernel/coreos-modules in flatcar/scripts: `SQUASHFS_{LZ4,LZO,XZ,ZSTD,XATTR}=y`, `EROFS_FS=m`; zlib is always in
/// squashfs.
const MOUNTS: [(Packing, Mounted); 12] = [
    (Packing::SquashfsGzip, Mounted::Always),
    (Packing::SquashfsXz, Mounted::Always),
    (Packing::SquashfsLz4, Mounted::Always),
    (Packing::SquashfsLzo, Mounted::Always),
    // No Linux reads squashfs with lzma: `fs/squashfs/decompressor.c` lists it as unsupported.
    (Packing::SquashfsLzma, Mounted::Never),
    // flatcar/scripts#1297 and its counterpart for each branch, in the notes of 3602.2.2 and 3760.1.1; the next alpha
    // packs its own extensions with it. The LTS 3510 never got it.
    (Packing::SquashfsZstd, Mounted::Since([v(3794, 0, 0), v(3760, 1, 1), v(3602, 2, 2), v(4081, 3, 0)])),
    // flatcar/Flatcar#1659, flatcar/scripts#2693: notes of 4284.0.0, 4344.1.0, 4459.2.0; no LTS yet.
    (Packing::Erofs, EROFS),
    // The same pull request shows /proc/config.gz: EROFS_FS_ZIP=y, which includes lz4; EROFS_FS_ZIP_LZMA and …_DEFLATE
    // are not set, nor since then …_ZSTD, which Linux 6.10 introduced.
    (Packing::ErofsLz4, EROFS),
    (Packing::ErofsLzma, Mounted::Never),
    (Packing::ErofsDeflate, Mounted::Never),
    (Packing::ErofsZstd, Mounted::Never),
    // Linux refuses images with features that it does not know (`fs/erofs/super.c`); Flatcar has had Linux 6.12 at
    // most.
    (Packing::ErofsNewer, Mounted::Never),
];
const EROFS: Mounted = Mounted::Since([v(4284, 0, 0), v(4344, 1, 0), v(4459, 2, 0), v(4459, 3, 0)]);

impl Packing {
    /// Its name as shown to people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Packing::SquashfsGzip => "squashfs with gzip",
            Packing::SquashfsLzma => "squashfs with lzma",
            Packing::SquashfsLzo => "squashfs with lzo",
            Packing::SquashfsXz => "squashfs with xz",
            Packing::SquashfsLz4 => "squashfs with lz4",
            Packing::SquashfsZstd => "squashfs with zstd",
            Packing::Erofs => "erofs",
            Packing::ErofsLz4 => "erofs with lz4",
            Packing::ErofsLzma => "erofs with lzma",
            Packing::ErofsDeflate => "erofs with deflate",
            Packing::ErofsZstd => "erofs with zstd",
            Packing::ErofsNewer => "erofs with features newer than Linux 6.12",
        }
    }

    /// Whether any known release mounts it.
    pub(crate) fn is_known(self) -> bool {
        self.mounted() != Mounted::Never
    }

    /// Whether a release's kernel mounts it.
    pub(crate) fn is_mounted_by(self, version: Version) -> bool {
        match self.mounted() {
            Mounted::Always => true,
            Mounted::Never => false,
            Mounted::Since(first) => {
                // Any further channel is a developers' channel, built from the future alpha.
                let of_channel = first.get(version.0[1] as usize).unwrap_or(&first[0]);
                version >= *of_channel
            }
        }
    }

    fn mounted(self) -> Mounted {
        MOUNTS.iter().find(|(packing, _)| *packing == self).map_or(Mounted::Never, |(_, mounted)| *mounted)
    }
}

/// Whether a release merges extensions at all.
pub(crate) fn merges_sysexts(version: Version) -> bool {
    version.0[0] >= MERGES_SYSEXTS
}

/// For certificates, a release of any channel counts as merging in the initrd from this major on: a wrong guess there
/// would cost a node all of its extensions.
const TRUSTS_FLATCAR_ALONE: u32 = MERGES_IN_INITRD[0].1.0[0];
/// First major version whose systemd (255) is known to try partition tables with other sectors than 512 bytes; systemd 253
/// and newer do.
const PROBES_SECTORS: u32 = 3913;
/// First major version whose systemd (255) is known to check a dm-verity signature against `/etc/verity.d`.
const JUDGES_SIGNATURES: u32 = 4081;

/// Why a release would refuse an image whose signer is only in `/etc/verity.d`; `None` if it would not. After a refusal
/// systemd merges no image at all.
pub(crate) fn refuses_signed_sysexts(version: Version) -> Option<&'static str> {
    match version.0[0] {
        ..JUDGES_SIGNATURES => Some("its systemd is not known to judge signatures by /etc/verity.d"),
        TRUSTS_FLATCAR_ALONE.. => {
            Some("it merges sysexts in the initrd, which trusts only Flatcar's own certificate")
        }
        _ => None,
    }
}

/// Whether a release is known to find the partitions of an image whose sectors do not have 512 bytes.
pub(crate) fn probes_sectors(version: Version) -> bool {
    version.0[0] >= PROBES_SECTORS
}

/// The window of its channel that loses a config injected through a second initrd, if the release is in it.
pub(crate) fn drops_injected_config(version: Version) -> Option<Window> {
    window(&DROPS_INJECTED_CONFIG, version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    /// Every release of that period, from the release server (flatcar/flatcar-website, 2026-08-21).
    fn releases() -> impl Iterator<Item = Version> {
        include_str!("../../tests/data/flatcar-releases.txt").split_whitespace().map(version)
    }

    /// The releases for which `is` holds, as runs of neighbours in their channel: first to last.
    fn runs(is: impl Fn(Version) -> bool) -> Vec<String> {
        let mut runs = Vec::new();
        for channel in 0..4 {
            let mut of_channel: Vec<Version> = releases().filter(|version| version.0[1] == channel).collect();
            of_channel.sort();
            for run in of_channel.chunk_by(|one, next| is(*one) == is(*next)).filter(|run| is(run[0])) {
                runs.push(format!("{}..{}", run[0], run[run.len() - 1]));
            }
        }
        runs
    }

    // flatcar/Flatcar#1376 and #2023. Until 2026-11 this test claimed that stable and LTS always keep an injected
    // config, which the notes of 3815.2.1 contradict.
    #[test]
    fn an_injected_config_is_lost_in_two_windows_of_alpha_and_beta_one_of_stable_and_none_of_lts() {
        assert_eq!(
            runs(|version| drops_injected_config(version).is_some()),
            [
                "3637.0.0..3874.0.0",
                "4487.0.0..4628.0.0",
                "3732.1.0..3850.1.0",
                "4515.1.0..4593.1.0",
                "3760.2.0..3815.2.0",
            ]
        );
        for kept in ["3602.2.3", "3815.2.1", "3619.0.0", "3913.0.0", "3602.1.6", "3874.1.0", "4459.0.0"] {
            assert_eq!(drops_injected_config(version(kept)), None, "{kept}");
        }
        for kept in ["4669.0.0", "4459.1.2", "4628.1.0", "4593.2.0", "4081.3.10", "3510.3.8", "4790.0.0"] {
            assert_eq!(drops_injected_config(version(kept)), None, "{kept}");
        }
        // The windows include versions that were never released.
        for lost in ["4668.0.0", "3815.1.9", "3912.0.0", "3873.1.0"] {
            assert!(drops_injected_config(version(lost)).is_some(), "{lost}");
        }
    }

    #[test]
    fn pxe_boots_fail_for_systemd_256_and_for_the_first_of_ignition_2() {
        let with = |fault| runs(move |version| pxe_fault(version).is_some_and(|(found, _)| found == fault));
        assert_eq!(with(PxeFault::EmergencyShell), ["4230.0.0..4230.0.1", "4230.1.0..4230.1.0"]);
        assert_eq!(with(PxeFault::UnknownPlatform), ["3185.0.0..3227.0.0", "3185.1.0..3185.1.1"]);
    }

    #[test]
    fn kernels_mount_what_their_configurations_and_notes_say() {
        let first = |packing: Packing| -> Vec<String> {
            runs(|version| packing.is_mounted_by(version))
                .iter()
                .map(|run| run.split("..").next().unwrap().to_owned())
                .collect()
        };
        assert_eq!(first(Packing::Erofs), ["4284.0.0", "4344.1.0", "4459.2.0"]);
        assert_eq!(first(Packing::ErofsLz4), first(Packing::Erofs));
        assert_eq!(first(Packing::SquashfsZstd), ["3794.0.0", "3760.1.1", "3602.2.2", "4081.3.0"]);
        for never in [Packing::SquashfsLzma, Packing::ErofsLzma, Packing::ErofsDeflate, Packing::ErofsZstd] {
            assert!(!never.is_known() && first(never).is_empty());
        }
        for always in [Packing::SquashfsGzip, Packing::SquashfsXz, Packing::SquashfsLz4, Packing::SquashfsLzo]
        {
            assert!(releases().all(|version| always.is_mounted_by(version)));
        }
        for packing in MOUNTS.map(|(packing, _)| packing) {
            assert_eq!(MOUNTS.iter().filter(|(other, _)| *other == packing).count(), 1, "{}", packing.name());
        }
    }

    #[test]
    fn containerd_is_known_for_every_release_with_sysexts_of_its_own() {
        for (release, expected) in [
            ("3510.3.8", (1, 6)),
            ("3654.0.0", (1, 6)),
            ("3665.0.0", (1, 7)),
            ("4230.2.4", (1, 7)),
            ("4459.2.4", (2, 0)),
            ("4593.2.5", (2, 1)),
            ("4757.1.0", (2, 2)),
        ] {
            assert_eq!(containerd(version(release)), Some(expected), "{release}");
        }
        assert_eq!(containerd(version("4900.0.0")), None, "nobody knows yet");
    }

    #[test]
    fn signed_sysexts_are_for_releases_that_find_the_certificate() {
        let refused = |text| refuses_signed_sysexts(version(text)).is_some();
        assert!(!refused("4081.3.10") && !refused("4593.2.5"));
        assert!(refused("3510.2.0") && refused("4628.0.0") && refused("4757.1.0"));
    }

    #[test]
    fn the_spec_follows_the_release() {
        let expected =
            [(4593, Some(Spec::V3_5)), (4081, Some(Spec::V3_4)), (3227, Some(Spec::V3_3)), (3139, None)];
        for (major, spec) in expected {
            assert_eq!(newest_spec(major), spec, "{major}");
        }
    }
}
