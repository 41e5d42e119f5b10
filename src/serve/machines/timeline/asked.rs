//! What a request means to a boot.

use percent_encoding::percent_decode_str;

/// What a path is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The script that is the same for all, and asks to come back.
    FirstScript,
    /// The script of one machine.
    Script,
    /// An Ignition config.
    Ignition,
    /// Another kind of config.
    Config,
    /// A report; it is told to the timeline as it comes.
    Report,
    /// What people and their tools look at.
    Watch,
    /// A file.
    File,
}

/// What is no file, by path; the path is also what counters call it.
const ENDPOINTS: [(&str, Asked); 15] = [
    ("/", Asked::Watch),
    ("/boot.ipxe", Asked::FirstScript),
    ("/boot.ipxe.0", Asked::FirstScript),
    ("/cloud", Asked::Config),
    ("/events", Asked::Watch),
    ("/explain", Asked::Watch),
    ("/favicon.ico", Asked::Watch),
    ("/generic", Asked::Config),
    ("/grub", Asked::Script),
    ("/ignition", Asked::Ignition),
    ("/ipxe", Asked::Script),
    ("/metadata", Asked::Config),
    ("/metrics", Asked::Watch),
    ("/report", Asked::Report),
    ("/status", Asked::Watch),
];

/// A path as the routes see it: decoded, without the slashes at its start.
pub fn plain_path(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().trim_start_matches('/').to_owned()
}

impl Asked {
    /// What a plain path is asked for.
    pub fn of(path: &str) -> Asked {
        endpoint(path).map_or(Asked::File, |(_, asked)| *asked)
    }
}

/// A plain path as counters name it: one of few, whatever clients ask for.
pub fn route(path: &str) -> &'static str {
    let file = if path.starts_with("assets/") { "/assets" } else { "other" };
    endpoint(path).map_or(file, |(known, _)| known)
}

fn endpoint(path: &str) -> Option<&'static (&'static str, Asked)> {
    ENDPOINTS.iter().find(|(known, _)| known[1..] == *path)
}
