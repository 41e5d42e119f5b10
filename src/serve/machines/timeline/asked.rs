//! Classifies requests by their meaning for a boot.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::tree::names::{ASSETS, Endpoint, below};

/// The purpose of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The first script, which is the same for all machines and makes them ask again.
    FirstScript,
    /// The script of one machine.
    Script,
    /// An Ignition config.
    Ignition,
    /// Another kind of config.
    Config,
    /// A report, or another word with a running system; the timeline gets it separately.
    Report,
    /// Status for people and their tools.
    Watch,
    /// A file.
    File,
}

/// The icon that browsers ask for by themselves, beside the page.
const ICON: &str = "/favicon.ico";
/// The name that counters have for all files that machines load.
const FILES: &str = "/assets";

/// A path as the routes see it: decoded, without leading slashes, and with repeated slashes merged. They come from a
/// base URL that ends in a slash; nginx and Apache merge them, too. A final slash stays.
pub(crate) fn plain_path(path: &str) -> Cow<'_, str> {
    match percent_decode_str(path).decode_utf8_lossy() {
        Cow::Borrowed(path) if !path.contains("//") => path.strip_prefix('/').unwrap_or(path).into(),
        path => {
            let mut plain = String::with_capacity(path.len());
            for c in path.chars() {
                if c != '/' || !(plain.is_empty() || plain.ends_with('/')) {
                    plain.push(c);
                }
            }
            plain.into()
        }
    }
}

impl Asked {
    /// The purpose of a plain path.
    pub(crate) fn of(path: &str) -> Asked {
        match Endpoint::parse(path) {
            Some((endpoint, None)) => Asked::at(endpoint),
            _ if path == &ICON[1..] => Asked::Watch,
            // Signatures are fetched beside what they sign, and are no step of a boot.
            _ => Asked::File,
        }
    }

    fn at(endpoint: Endpoint) -> Asked {
        match endpoint {
            Endpoint::FirstScript | Endpoint::FirstScriptNumbered => Asked::FirstScript,
            Endpoint::Ipxe | Endpoint::Grub => Asked::Script,
            Endpoint::Ignition => Asked::Ignition,
            Endpoint::Generic | Endpoint::Cloud | Endpoint::Metadata => Asked::Config,
            Endpoint::Report | Endpoint::Turn => Asked::Report,
            Endpoint::Page
            | Endpoint::Status
            | Endpoint::Events
            | Endpoint::Metrics
            | Endpoint::Explain
            | Endpoint::Served
            | Endpoint::Logs => Asked::Watch,
        }
    }
}

/// The name of a plain path in counters: one of few, whatever clients ask for.
pub(crate) fn route(path: &str) -> &'static str {
    match Endpoint::parse(path) {
        Some((endpoint, None)) => endpoint.path(),
        _ if path == &ICON[1..] => ICON,
        _ if below(path, ASSETS).is_some() => FILES,
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_and_its_slashes_are_merged_but_the_last_stays() {
        for (path, plain) in [
            ("/assets/a", "assets/a"),
            ("//assets///a", "assets/a"),
            ("/assets%2F%2Fa", "assets/a"),
            ("/a//", "a/"),
            ("/a/", "a/"),
            ("//", ""),
            ("/%2e/a", "./a"),
        ] {
            assert_eq!(plain_path(path), plain, "{path}");
        }
    }
}
