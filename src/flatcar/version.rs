//! Versions of Flatcar releases, and the wish for one.

use std::fmt;
use std::str::FromStr;

/// `latest` or a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionWish {
    /// The version that the channel's `current` names at lock time.
    Latest,
    /// This version.
    Exactly(Version),
}

/// A Flatcar version: `MAJOR.CHANNEL.REVISION`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub [u32; 3]);

impl FromStr for VersionWish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "latest" => Ok(VersionWish::Latest),
            _ => text.parse().map(VersionWish::Exactly),
        }
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Option<Vec<u32>> = text.split('.').map(|part| part.parse().ok()).collect();
        let numbers = parts.and_then(|parts| <[u32; 3]>::try_from(parts).ok()).map(Version);
        // `04593.2.5` would be another directory on the server than the version it means.
        numbers
            .filter(|version| version.to_string() == text)
            .ok_or_else(|| format!("`{text}` is not a Flatcar version such as 4593.2.5, or `latest`"))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, channel, revision] = self.0;
        write!(f, "{major}.{channel}.{revision}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_one_spelling() {
        assert!("4593.2.5".parse::<Version>().is_ok());
        assert!("04593.2.5".parse::<Version>().is_err());
        assert!("4593.2".parse::<Version>().is_err());
    }
}
