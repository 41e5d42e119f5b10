//! A Flatcar release as a validation target. Leaves the spec that it reads to `quirks`.

use std::fmt;
use std::str::FromStr;

use crate::flatcar::quirks;
use crate::ignition::Spec;
use crate::ignition::boot::System;

/// A Flatcar release as a validation target: a version, or a channel's current version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    name: String,
    major: u32,
}

impl Target {
    /// The properties that decide how a config boots.
    pub(crate) fn system(&self) -> System {
        System { major: self.major, newest: self.spec() }
    }

    /// The newest stable spec that the release's Ignition reads; `None` for releases before Ignition 2.
    pub(crate) fn spec(&self) -> Option<Spec> {
        quirks::newest_spec(self.major)
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let numbers = name.split('.').all(|part| part.parse::<u32>().is_ok());
        let of_version = || name.split('.').next().and_then(|major| major.parse().ok()).filter(|_| numbers);
        let expected = "a version such as 4593.2.5, or alpha, beta, stable, lts";
        let major = quirks::channel(name).or_else(of_version);
        let major = major.ok_or_else(|| format!("`{name}` is not {expected}"))?;
        Ok(Target { name: name.to_owned(), major })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_number_decides_the_spec() {
        let spec = |name: &str| name.parse::<Target>().unwrap().spec();
        assert_eq!(spec("stable"), Some(Spec::V3_5));
        assert_eq!(spec("lts"), Some(Spec::V3_4));
        assert_eq!(spec("3510.3.1"), Some(Spec::V3_3));
        assert_eq!(spec("3139.2.0"), None);
        assert!("4593.x".parse::<Target>().is_err());
    }
}
