//! What differs between Flatcar releases, as one table. Rooms ask questions here instead of comparing versions.
//!
//! Boundaries are from Flatcar's release notes. A version is `MAJOR.CHANNEL.REVISION`; majors only grow, and a change
//! reaches the channels alpha, beta, stable, LTS in that order at different majors.

use crate::ignition::Spec;
use crate::recipe::Version;

/// Ignition's newest stable spec, by the first version that has it: `(first major, revision of its first release)`.
/// Alpha and stable boundaries differ by less than a major line, so the major alone decides.
const SPECS: [(u32, Spec); 4] = [(4152, Spec::V3_5), (3535, Spec::V3_4), (3185, Spec::V3_3), (0, Spec::V3_0)];

/// Releases whose first-stage initrd drops `usr/share/oem`, so that an injected config never reaches Ignition:
/// `(channel digit, from, before)`.
const DROPS_INJECTED_CONFIG: [(u32, Version, Version); 2] =
    [(0, Version([4487, 0, 0]), Version([4669, 0, 0])), (1, Version([4515, 1, 0]), Version([4628, 1, 0]))];

/// The newest Ignition spec that a release understands.
pub fn newest_spec(version: Version) -> Spec {
    let [major, ..] = version.0;
    SPECS.iter().find(|(first, _)| major >= *first).map_or(Spec::V3_0, |(_, spec)| *spec)
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
    fn the_spec_follows_the_release() {
        assert_eq!(newest_spec(version("4593.2.5")), Spec::V3_5);
        assert_eq!(newest_spec(version("4081.3.10")), Spec::V3_4);
        assert_eq!(newest_spec(version("3227.2.0")), Spec::V3_3);
    }
}
