//! Versions of the Ignition config specification.

use std::fmt;

/// A version of the Ignition config specification.
///
/// All of them are `3.MINOR.0`; the last one is Butane's `-experimental` target and not stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // The names say it.
pub enum Spec {
    V3_0,
    V3_1,
    V3_2,
    V3_3,
    V3_4,
    V3_5,
    V3_6,
    V3_7Experimental,
}

/// Reasons why a text is not a usable version. The messages are Ignition's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Not a semantic version.
    #[error("invalid config version (couldn't parse)")]
    Invalid,
    /// A semantic version that no Ignition of the 2.26 line reads.
    #[error("unsupported config version")]
    Unknown,
}

impl Spec {
    /// Every version, oldest first.
    pub const ALL: [Spec; 8] = [
        Spec::V3_0,
        Spec::V3_1,
        Spec::V3_2,
        Spec::V3_3,
        Spec::V3_4,
        Spec::V3_5,
        Spec::V3_6,
        Spec::V3_7Experimental,
    ];

    /// The newest version that is not experimental.
    pub const NEWEST: Spec = Spec::V3_6;

    /// The version as written in `ignition.version`.
    pub fn as_str(self) -> &'static str {
        match self {
            Spec::V3_0 => "3.0.0",
            Spec::V3_1 => "3.1.0",
            Spec::V3_2 => "3.2.0",
            Spec::V3_3 => "3.3.0",
            Spec::V3_4 => "3.4.0",
            Spec::V3_5 => "3.5.0",
            Spec::V3_6 => "3.6.0",
            Spec::V3_7Experimental => "3.7.0-experimental",
        }
    }

    /// Parses `ignition.version` as Ignition does.
    ///
    /// # Errors
    /// [`SpecError::Invalid`] if it is not a semantic version, [`SpecError::Unknown`] if it is not one of
    /// [`Spec::ALL`].
    pub fn parse(text: &str) -> Result<Spec, SpecError> {
        let version = Semver::parse(text).ok_or(SpecError::Invalid)?;
        // As in Ignition, build metadata makes a version different from the known ones.
        let text = version.to_string();
        Spec::ALL.into_iter().find(|spec| spec.as_str() == text).ok_or(SpecError::Unknown)
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        Spec::parse(text)
    }
}

/// A version as coreos/go-semver parses it: leading zeros are dropped, so `01.1.0` is `1.1.0`.
pub(crate) struct Semver<'t> {
    numbers: [i64; 3],
    pre_release: &'t str,
    metadata: &'t str,
}

impl<'t> Semver<'t> {
    /// Parses `MAJOR.MINOR.PATCH[-PRE][+META]`.
    pub(crate) fn parse(text: &'t str) -> Option<Self> {
        let (text, metadata) = text.split_once('+').unwrap_or((text, ""));
        let (text, pre_release) = text.split_once('-').unwrap_or((text, ""));
        let identifier = |id: &str| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.');
        let mut parts = text.splitn(3, '.').map(|part| part.parse().ok());
        let numbers = [parts.next()??, parts.next()??, parts.next()??];
        (identifier(pre_release) && identifier(metadata)).then_some(Semver { numbers, pre_release, metadata })
    }
}

impl fmt::Display for Semver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.pre_release.is_empty() {
            write!(f, "-{}", self.pre_release)?;
        }
        if !self.metadata.is_empty() {
            write!(f, "+{}", self.metadata)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_ignition_reads_them() {
        for spec in Spec::ALL {
            assert_eq!(Spec::parse(spec.as_str()), Ok(spec));
        }
        assert_eq!(Spec::parse("03.4.0"), Ok(Spec::V3_4));
        for text in ["", "3", "3.4", "3.4.x", "v3.4.0", "3.4.0-ä", "3.4.0.1"] {
            assert_eq!(Spec::parse(text), Err(SpecError::Invalid), "{text}");
        }
        for text in ["2.3.0", "3.4.1", "3.6.0-experimental", "3.4.0+build", "3.7.0"] {
            assert_eq!(Spec::parse(text), Err(SpecError::Unknown), "{text}");
        }
    }
}
