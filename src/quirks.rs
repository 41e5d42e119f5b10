//! What differs between Flatcar releases, as one table. Rooms ask questions here instead of comparing versions.
//!
//! Boundaries are from Flatcar's release notes. A version is `MAJOR.CHANNEL.REVISION`; majors only grow, and a change
//! reaches the channels alpha, beta, stable, LTS in that order at different majors.

use crate::ignition::Spec;
use crate::recipe::Version;

/// First major version whose Ignition reads a spec, newest first: every channel branches from alpha, so the major number
/// decides. Releases before the last row have Ignition 0.x, which reads spec 2.
const SPECS: [(u32, Spec); 3] = [(4152, Spec::V3_5), (3535, Spec::V3_4), (3185, Spec::V3_3)];

/// Releases whose first-stage initrd drops `usr/share/oem`, so that an injected config never reaches Ignition:
/// `(channel digit, from, before)`.
const DROPS_INJECTED_CONFIG: [(u32, Version, Version); 2] =
    [(0, Version([4487, 0, 0]), Version([4669, 0, 0])), (1, Version([4515, 1, 0]), Version([4628, 1, 0]))];

/// First release of each channel (by its digit) whose initrd merges extensions, so that what is read early in the boot
/// works from them too.
const MERGES_IN_INITRD: [(u32, Version); 2] = [(0, Version([4628, 0, 0])), (1, Version([4628, 1, 0]))];

/// containerd of the releases whose release notes are known, by major version.
const CONTAINERD: [(u32, (u32, u32)); 4] = [(4757, (2, 2)), (4593, (2, 1)), (4459, (2, 0)), (4081, (1, 7))];

/// Whether a release merges extensions in the initrd.
pub fn merges_in_initrd(version: Version) -> bool {
    let [_, channel, _] = version.0;
    let first = MERGES_IN_INITRD.iter().find(|(digit, _)| *digit == channel);
    first.is_some_and(|(_, first)| version >= *first)
}

/// `MAJOR.MINOR` of a release's own containerd, where it is known.
pub fn containerd(version: Version) -> Option<(u32, u32)> {
    CONTAINERD.iter().find(|(major, _)| version.0[0] == *major).map(|(_, containerd)| *containerd)
}

/// The newest stable Ignition spec that releases of a major version read; nothing where Ignition is too old for spec 3.
pub fn newest_spec(major: u32) -> Option<Spec> {
    SPECS.iter().find(|(first, _)| major >= *first).map(|(_, spec)| *spec)
}

/// First major version whose kernel is known to have EROFS, as a module (coreos-modules, `commonconfig`): the LTS 4081
/// has none.
const MOUNTS_EROFS: u32 = 4593;

/// Whether a release's kernel mounts EROFS.
pub fn mounts_erofs(version: Version) -> bool {
    version.0[0] >= MOUNTS_EROFS
}

/// From this major on a release counts as one that merges in the initrd where certificates are asked for, whatever its
/// channel: to be wrong there would cost a node all of its extensions.
const TRUSTS_FLATCAR_ALONE: u32 = MERGES_IN_INITRD[0].1.0[0];
/// First major version whose systemd (255) is known to judge a dm-verity signature by `/etc/verity.d`.
const JUDGES_SIGNATURES: u32 = 4081;

/// Why a release would refuse an image whose signer only `/etc/verity.d` knows, if it would. systemd merges nothing then.
pub fn refuses_signed_sysexts(version: Version) -> Option<&'static str> {
    match version.0[0] {
        ..JUDGES_SIGNATURES => Some("its systemd is not known to judge signatures by /etc/verity.d"),
        TRUSTS_FLATCAR_ALONE.. => {
            Some("it merges sysexts in the initrd, which knows Flatcar's own certificate only")
        }
        _ => None,
    }
}

/// Whether a release loses what is injected through a second initrd.
pub fn drops_injected_config(version: Version) -> bool {
    let [_, channel, _] = version.0;
    DROPS_INJECTED_CONFIG
        .iter()
        .any(|(digit, from, before)| channel == *digit && (*from..*before).contains(&version))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn stable_and_lts_keep_an_injected_config_and_some_alphas_and_betas_lose_it() {
        for kept in ["4593.2.5", "4081.3.10", "4790.0.0", "4757.1.0", "4628.1.0", "4459.2.4"] {
            assert!(!drops_injected_config(version(kept)), "{kept}");
        }
        for lost in ["4487.0.0", "4668.0.0", "4515.1.0", "4593.1.0"] {
            assert!(drops_injected_config(version(lost)), "{lost}");
        }
    }

    #[test]
    fn erofs_is_for_4593_and_newer() {
        assert!(!mounts_erofs(version("4081.3.10")));
        assert!(mounts_erofs(version("4593.2.5")));
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
