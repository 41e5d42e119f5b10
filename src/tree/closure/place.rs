//! Where a location leads: into the tree, to the server that serves it, to the machine itself, or outside.

use percent_encoding::percent_decode_str;
use url::Url;

use super::boot;
use super::reference::urls;
use crate::machine::firmware;
use crate::tree::manifest::Manifest;
use crate::tree::names::{Endpoint, Form, LOADERS, below};

/// Where a location leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To files of the tree: more than one where the location has variables.
    Tree(Vec<String>),
    /// To an endpoint of the server, or a signature of its answer.
    Endpoint(Endpoint, Option<Form>),
    /// To an iPXE binary that the server hands out.
    Loader,
    /// To the machine itself.
    Machine,
    /// To the root of the server.
    Root,
    /// Into the tree or to its server, where it does not exist; the text gives the reason.
    Nowhere(String),
    /// To another host.
    Outside,
}

/// A tree's files and URLs, for locations to be resolved in.
pub(super) struct Places<'m> {
    pub manifest: &'m Manifest,
    /// URLs of the root of the tree, without a trailing slash.
    pub bases: Vec<String>,
}

impl Places<'_> {
    /// Learns URLs of the tree: from `prebake.url=`, and from the files of the tree that the outputs' own files load.
    pub(crate) fn learn(&mut self, text: &str, made_by_outputs: bool) {
        let mut found: Vec<String> = boot::servers(text).map(str::to_owned).collect();
        if made_by_outputs {
            found.extend(urls(text).filter_map(|url| self.base_of(url)));
            // GRUB states the host apart from the paths.
            let root = text.split_once("set root='http,").and_then(|(_, rest)| rest.split('\'').next());
            let paths = text.split(['\'', ' ']).filter(|word| word.starts_with('/'));
            found.extend(paths.filter_map(|path| self.base_of(&format!("http://{}{path}", root?))));
        }
        for base in found {
            let base = base.trim_end_matches('/').to_owned();
            if Url::parse(&base).is_ok() && !self.bases.contains(&base) {
                self.bases.push(base);
            }
        }
    }

    /// The part of a URL before the path of a file or directory of the tree.
    fn base_of(&self, url: &str) -> Option<String> {
        let start = url.find("://")? + 3;
        let url = url.split(['?', '#']).next()?;
        let mut slashes = url[start..].match_indices('/').map(|(at, _)| start + at);
        let is_inside = |path: &str| {
            let directory = || self.manifest.files.keys().any(|file| file.starts_with(&format!("{path}/")));
            !path.is_empty()
                && (self.manifest.files.contains_key(path)
                    || self.manifest.joined.contains_key(path)
                    || directory())
        };
        slashes.find(|at| is_inside(url[at + 1..].trim_end_matches('/'))).map(|at| url[..at].to_owned())
    }

    /// Target of a location in a text in `directory` of the tree. GRUB's locations are paths, whose host is stated
    /// elsewhere.
    pub(crate) fn of(&self, directory: &str, location: &str) -> Place {
        if location.contains("://") {
            return self.of_url(location);
        }
        let text = location.split('?').next().unwrap_or_default();
        if let Some(path) = text.strip_prefix("::").or_else(|| text.strip_prefix('/')) {
            let below = self.bases.iter().filter_map(|base| {
                let (_, rest) = base.split_once("://")?;
                let (_, above) = rest.split_once('/')?;
                below(path, above)
            });
            let mut paths = std::iter::once(path.trim_start_matches('/')).chain(below);
            let found = paths
                .find_map(|path| Some(self.inside(path)).filter(|place| !matches!(place, Place::Nowhere(_))));
            return found.unwrap_or_else(|| self.inside(path.trim_start_matches('/')));
        }
        match normal(&format!("{directory}/{text}")) {
            Some(path) => self.inside(&path),
            None => Place::Nowhere("it leads out of the tree".into()),
        }
    }

    /// Target of a URL.
    pub(crate) fn of_url(&self, url: &str) -> Place {
        let Some((scheme, rest)) = url.split_once("://") else { return Place::Outside };
        if scheme == "oem" || scheme == "file" {
            return Place::Machine;
        }
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let name = host.rsplit('@').next().unwrap_or_default();
        if ["localhost", "[::1]"].iter().any(|own| name == *own || name.starts_with(&format!("{own}:")))
            || name.starts_with("127.")
        {
            return Place::Machine;
        }
        let below = self.bases.iter().filter_map(|base| url.strip_prefix(base.as_str()));
        let mut below = below.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
        let Some(rest) = below.next() else { return Place::Outside };
        let path = rest.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
        match path {
            "" => Place::Root,
            path => self.inside(&percent_decode_str(path).decode_utf8_lossy()),
        }
    }

    /// Target of a path from the root of the server.
    fn inside(&self, path: &str) -> Place {
        let has =
            |path: &str| self.manifest.files.contains_key(path) || self.manifest.joined.contains_key(path);
        if has(path) {
            return Place::Tree(vec![path.to_owned()]);
        }
        // The page is at the root, which only a URL names.
        if let Some((endpoint, form)) = Endpoint::parse(path).filter(|_| !path.is_empty()) {
            return Place::Endpoint(endpoint, form);
        }
        if let Some(loader) = path.strip_prefix(LOADERS) {
            return match firmware::loaders().any(|known| known == loader) {
                true => Place::Loader,
                false => Place::Nowhere("the server has no such loader".into()),
            };
        }
        if let Some(pattern) = pattern(path) {
            let found: Vec<String> =
                self.manifest.files.keys().filter(|path| matches(&pattern, path)).cloned().collect();
            if !found.is_empty() {
                return Place::Tree(found);
            }
        }
        Place::Nowhere("the tree has no such file".into())
    }

    /// The files directly in a directory of the tree.
    pub(crate) fn listed<'s>(&'s self, directory: &'s str) -> impl Iterator<Item = &'s str> {
        let directory = directory.trim_matches('/');
        self.manifest.files.keys().filter_map(move |path| {
            let rest = match directory {
                "" => path.as_str(),
                directory => below(path, directory)?,
            };
            (!rest.contains('/')).then_some(rest)
        })
    }

    /// The directory of the tree that a URL names; `None` if it names another place.
    pub(crate) fn directory(&self, url: &str) -> Option<String> {
        let mut below = self.bases.iter().filter_map(|base| url.strip_prefix(base.as_str()));
        below.next().map(|rest| rest.trim_matches('/').to_owned())
    }
}

/// A path with `${…}` in it as a pattern in which `*` matches anything; `None` without variables.
fn pattern(path: &str) -> Option<String> {
    let mut rest = path;
    let mut pattern = String::new();
    while let Some((before, variable)) = rest.split_once("${") {
        let (_, after) = variable.split_once('}')?;
        pattern += before;
        pattern.push('*');
        rest = after;
    }
    (rest.len() < path.len()).then(|| pattern + rest)
}

/// Whether a text matches a pattern in which `*` matches anything.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A path without `.` and `..`; `None` if it leads above the root.
fn normal(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::Sha256;
    use crate::tree::manifest::{File, Role};

    #[test]
    fn locations_lead_into_the_tree_to_the_server_or_outside() {
        let paths = ["a/k", "boot/ipxe/mac-01.ipxe", "boot/ipxe/mac-02.ipxe", "boot.ipxe"];
        let file = || File::new(Role::Boot, 0, Sha256::of(b""));
        let manifest = Manifest::new("x", paths.iter().map(|path| (path.to_string(), file())).collect());
        let places = Places { manifest: &manifest, bases: vec!["http://10.0.0.1:8080/t".into()] };
        let tree = |paths: &[&str]| Place::Tree(paths.iter().map(|path| path.to_string()).collect());
        let nowhere = || Place::Nowhere("the tree has no such file".into());
        for (directory, location, expected) in [
            ("boot/ipxe", "../../a/k", tree(&["a/k"])),
            (
                "",
                "boot/ipxe/mac-${mac:hexhyp}.ipxe",
                tree(&["boot/ipxe/mac-01.ipxe", "boot/ipxe/mac-02.ipxe"]),
            ),
            ("", "boot/ipxe/uuid-${uuid}.ipxe", nowhere()),
            ("x", "/a/k", tree(&["a/k"])),
            ("x", "/t/a/k", tree(&["a/k"])),
            ("x", "::a/k", tree(&["a/k"])),
            ("x", "../../a/k", Place::Nowhere("it leads out of the tree".into())),
            ("", "http://10.0.0.1:8080/t/a/k?x=${y}", tree(&["a/k"])),
            ("", "http://10.0.0.1:8080/t", Place::Root),
            ("", "http://10.0.0.1:8080/t/ignition?mac=1", Place::Endpoint(Endpoint::Ignition, None)),
            (
                "",
                "http://10.0.0.1:8080/t/ignition.sig?mac=1",
                Place::Endpoint(Endpoint::Ignition, Some(Form::Binary)),
            ),
            ("", "/generic.asc", Place::Endpoint(Endpoint::Generic, Some(Form::Armored))),
            ("", "http://10.0.0.1:8080/t/status", Place::Endpoint(Endpoint::Status, None)),
            ("", "/status.sig", nowhere()),
            ("", "/loaders/snponly.efi", Place::Loader),
            ("", "/loaders/odd.efi", Place::Nowhere("the server has no such loader".into())),
            ("", "http://10.0.0.1:8080/t/b", nowhere()),
            ("", "http://10.0.0.1:8080/tt/a/k", Place::Outside),
            ("", "http://10.0.0.1/a/k", Place::Outside),
            ("", "http://127.0.0.1:10248/healthz", Place::Machine),
            ("", "https://quay.io/a/k", Place::Outside),
        ] {
            assert_eq!(places.of(directory, location), expected, "{location}");
        }
        assert_eq!(places.directory("http://10.0.0.1:8080/t/boot/ipxe/").as_deref(), Some("boot/ipxe"));
        assert_eq!(places.listed("boot/ipxe").count(), 2);
    }

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, fits) in [
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("a*c", "acd", false),
            ("*", "", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("*b*b", "b", false),
            ("x*y*z", "x1y2y3z", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
