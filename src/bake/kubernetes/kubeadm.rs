//! The images that a version of kubeadm needs, read from its source: nothing is run.
//!
//! The tags are constants in `cmd/kubeadm/app/constants/constants.go`, and which of them `kubeadm config images list`
//! prints is in `cmd/kubeadm/app/images/images.go`. The text decides only a tag below registry.k8s.io, even if a mirror
//! sent a forged file; a program from a mirror could do anything that its user may do.

use std::collections::BTreeMap;

use crate::base::error::{Advice, Exit};
use crate::base::finding::is_unseen;
use crate::registry::reference::ImageRef;
use crate::source::http::{self, Asked};

/// Images of control planes only, by the last part of the repository.
const CONTROL_PLANE: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];
/// Kubernetes' own images, which have its version as their tag.
const OWN: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
/// The first minor version whose images are at registry.k8s.io.
const FIRST_MINOR: u32 = 25;
/// The pause image without its tag.
const PAUSE: &str = "registry.k8s.io/pause:";

/// Reasons why the list is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A version for which reading kubeadm's source is not supported.
    #[error(
        "prebake's table lacks the images of Kubernetes {version}, and the source of its kubeadm is not supported: {why}"
    )]
    Version {
        /// Version of Kubernetes.
        version: String,
        /// Why it is not supported.
        why: &'static str,
    },
    /// Its source cannot be fetched.
    #[error("prebake's table lacks the images of Kubernetes {version}, and kubeadm's source cannot be read")]
    Unread {
        /// Version of Kubernetes.
        version: String,
        /// The network error.
        source: http::Error,
    },
    /// Its source does not have the known form.
    #[error(
        "prebake's table lacks the images of Kubernetes {version}, and kubeadm's source does not state them: {why} ({url})"
    )]
    Unsaid {
        /// Version of Kubernetes.
        version: String,
        /// URL it was read from.
        url: Asked,
        /// The missing part.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Version { .. } => Exit::Config,
            // A server that is not trusted has its own exit code; any other wrong answer counts as a network failure.
            Error::Unread { source, .. } if source.exit() == Exit::Trust => Exit::Trust,
            Error::Unread { .. } | Error::Unsaid { .. } => Exit::Network,
        }
    }

    fn hint(&self) -> Option<String> {
        let (Error::Version { version, .. } | Error::Unread { version, .. } | Error::Unsaid { version, .. }) =
            self;
        Some(format!(
            "name the tags in the recipe, `sysexts: [{{name: kubernetes, set: {{etcd: TAG, coredns: TAG, pause: TAG}}}}]`, \
             as `kubeadm config images list --kubernetes-version {version}` prints them"
        ))
    }
}

/// URL of the constants of a version; a mirror has them below the same prefix as the CNI plugins.
pub fn url(version: &str) -> String {
    format!("https://github.com/kubernetes/kubernetes/raw/{version}/cmd/kubeadm/app/constants/constants.go")
}

/// The images that kubeadm of a version lists, in its order; `url` is where the constants were read.
///
/// # Errors
/// [`Error::Unsaid`] if the text is not such a file, [`Error::Version`] for a version whose file is not known to state
/// the images.
pub fn images(constants: &str, version: &str, url: &Asked) -> Result<Vec<String>, Error> {
    let minor = minor(version)?;
    list(constants, version, minor).map_err(|why| {
        let (version, url) = (version.into(), url.clone());
        Error::Unsaid { version, url, why }
    })
}

/// The minor version, if kubeadm's source of that version is known to state the images.
///
/// # Errors
/// [`Error::Version`].
pub(crate) fn minor(version: &str) -> Result<u32, Error> {
    let wrong = |why| Error::Version { version: version.into(), why };
    let mut numbers = version.strip_prefix('v').unwrap_or(version).split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(1)), Some(Ok(minor))) if minor >= FIRST_MINOR => Ok(minor),
        (Some(Ok(0)), _) | (Some(Ok(1)), Some(Ok(_))) => Err(wrong("it is older than v1.25")),
        (Some(Ok(_)), _) => Err(wrong("only the source of Kubernetes 1 is supported")),
        _ => Err(wrong("it is not a version such as v1.34.4")),
    }
}

/// The tag of the pause image in a list.
pub(crate) fn pause(images: &[String]) -> Option<String> {
    images.iter().find_map(|image| image.strip_prefix(PAUSE)).map(str::to_owned)
}

fn list(constants: &str, version: &str, minor: u32) -> Result<Vec<String>, String> {
    let (coredns, pause) = (constant(constants, "CoreDNSVersion")?, constant(constants, "PauseVersion")?);
    let etcd = supported_etcd(constants, minor)?;
    let [apiserver, controller_manager, scheduler, proxy] = OWN.map(|name| (name, version));
    let all = [
        apiserver,
        controller_manager,
        scheduler,
        proxy,
        ("coredns/coredns", coredns),
        ("pause", pause),
        ("etcd", etcd),
    ];
    all.into_iter().map(|(name, tag)| reference(name, tag)).collect()
}

fn reference(name: &str, tag: &str) -> Result<String, String> {
    let text = format!("registry.k8s.io/{name}:{tag}");
    let image: ImageRef = text.parse()?;
    // Refuse a digest or another repository in place of a tag.
    match image.to_string() == text && image.tag() == Some(tag) {
        true => Ok(text),
        false => Err(format!("`{}` is not a tag of {name}", tag.escape_debug())),
    }
}

/// The value of `NAME = "VALUE"`, which must occur once.
fn constant<'t>(text: &'t str, name: &str) -> Result<&'t str, String> {
    let value = |line: &'t str| {
        let rest = line.trim().strip_prefix(name)?.trim_start().strip_prefix('=')?;
        rest.trim_start().strip_prefix('"')?.split_once('"').map(|(value, _)| value)
    };
    let mut values = text.lines().filter_map(value);
    match (values.next(), values.next()) {
        (Some(value), None) if value.chars().any(is_unseen) => {
            Err(format!("{name} contains invisible characters: `{}`", value.escape_debug()))
        }
        (Some(value), None) => Ok(value),
        (None, _) => Err(format!("there is no {name} in it")),
        (Some(_), Some(_)) => Err(format!("{name} occurs twice")),
    }
}

/// etcd's tag, by the rules of `EtcdSupportedVersion` there and `GetEtcdImage` in images.go: the map's tag for the
/// minor version, beyond either end the tag at that end, and the default in a gap.
fn supported_etcd(text: &str, minor: u32) -> Result<&str, String> {
    const MAP: &str = "SupportedEtcdVersion = map[uint8]string{";
    let default = constant(text, "DefaultEtcdVersion")?;
    let lines = text.lines().map(str::trim).skip_while(|line| *line != MAP).skip(1);
    let lines =
        lines.take_while(|line| *line != "}").filter(|line| !line.is_empty() && !line.starts_with("//"));
    let rows: BTreeMap<u32, &str> = lines
        .map(|line| map_row(line).ok_or_else(|| format!("`{}` is not a row of its map", line.escape_debug())))
        .collect::<Result<_, _>>()?;
    let (Some(first), Some(last)) = (rows.first_key_value(), rows.last_key_value()) else {
        return Err("there is no SupportedEtcdVersion in it".into());
    };
    Ok(match rows.get(&minor) {
        Some(tag) => tag,
        None if minor < *first.0 => first.1,
        None if minor > *last.0 => last.1,
        None => default,
    })
}

/// Parses a row such as `33: "3.5.24-0",`.
fn map_row(line: &str) -> Option<(u32, &str)> {
    let (key, value) = line.split_once(':')?;
    let value = value.trim().strip_prefix('"')?.strip_suffix("\",")?;
    Some((key.parse().ok()?, value)).filter(|_| !value.chars().any(is_unseen))
}

/// Splits a list of kubeadm into the images that every node needs and those that only control planes need.
pub fn lists(images: &[String]) -> Result<(Vec<ImageRef>, Vec<ImageRef>), String> {
    let images: Vec<ImageRef> = images.iter().map(|image| image.parse()).collect::<Result<_, _>>()?;
    Ok(images.into_iter().partition(|image| !CONTROL_PLANE.contains(&name(image))))
}

fn name(image: &ImageRef) -> &str {
    let repository = image.repository();
    repository.rsplit('/').next().unwrap_or(repository)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has the form of the file at v1.33.13.
    const CONSTANTS: &str = "\
const (
\t// DefaultEtcdVersion indicates the default etcd version that kubeadm uses
\tDefaultEtcdVersion = \"3.5.20-0\"
\tCoreDNSImageName = \"coredns\"
\tCoreDNSVersion = \"v1.12.0\"
\tPauseVersion = \"3.10\"
)

var (
\tSupportedEtcdVersion = map[uint8]string{
\t\t32: \"3.5.21-0\",
\t\t33: \"3.5.24-0\",
\t}
)
";

    /// Output of kubeadm v1.33.13, to the byte.
    const ANSWER: &str = "\
registry.k8s.io/kube-apiserver:v1.33.13
registry.k8s.io/kube-controller-manager:v1.33.13
registry.k8s.io/kube-scheduler:v1.33.13
registry.k8s.io/kube-proxy:v1.33.13
registry.k8s.io/coredns/coredns:v1.12.0
registry.k8s.io/pause:3.10
registry.k8s.io/etcd:3.5.24-0
";

    fn images(constants: &str, version: &str) -> Result<Vec<String>, Error> {
        super::images(constants, version, &"http://mirror.example/constants.go".into())
    }

    #[test]
    fn kubeadms_source_says_what_kubeadm_says_and_it_is_parted_by_role() {
        let images = images(CONSTANTS, "v1.33.13").unwrap();
        assert_eq!(images.join("\n") + "\n", ANSWER);
        let (node, control_plane) = lists(&images).unwrap();
        let names = |list: &[ImageRef]| list.iter().map(|image| name(image).to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&node), ["kube-proxy", "coredns", "pause"]);
        assert_eq!(
            names(&control_plane),
            ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"]
        );
    }

    /// v1.37.2 has rows for 34, 35 and 36 only.
    #[test]
    fn a_version_without_a_row_takes_etcd_as_kubeadm_does() {
        let constants = CONSTANTS.replace("32: ", "31: ");
        let cases = [
            ("v1.33.13", "3.5.24-0"),
            ("v1.37.2", "3.5.24-0"),
            ("v1.31.1", "3.5.21-0"),
            ("v1.30.0", "3.5.21-0"),
            ("v1.32.1", "3.5.20-0"),
        ];
        for (version, etcd) in cases {
            let images = images(&constants, version).unwrap();
            assert_eq!(images[6], format!("registry.k8s.io/etcd:{etcd}"), "{version}");
        }
    }

    #[test]
    fn a_source_that_is_none_is_refused() {
        let with = |from: &str, to: &str| CONSTANTS.replace(from, to);
        let cases = [
            (String::new(), "no CoreDNSVersion"),
            (with("PauseVersion", "PauseTag"), "no PauseVersion"),
            (
                with("\tPauseVersion = \"3.10\"", "\tPauseVersion = \"3.10\"\n\tPauseVersion = \"3.9\""),
                "twice",
            ),
            (with("SupportedEtcdVersion", "Etcds"), "no SupportedEtcdVersion"),
            (with("33: \"3.5.24-0\"", "33: etcd"), "is not a row"),
            (with("\"3.10\"", "\"3.10@sha256:00\""), ""),
            (with("\"3.10\"", "\"\\u001b[31m\""), ""),
            (with("\"v1.12.0\"", "\"v1/../../evil:1\""), ""),
            (with("\"3.10\"", "\"3\u{1b}[2J\u{7}\""), "invisible characters"),
            (with("\"3.5.24-0\"", "\"3\u{1b}[2J\""), "is not a row"),
        ];
        for (source, expected) in cases {
            let error = images(&source, "v1.33.13").unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.hint().unwrap().contains("--kubernetes-version v1.33.13"), "{error}");
            assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
            assert!(error.to_string().contains("http://mirror.example/constants.go"), "{error}");
            assert_eq!(error.exit(), Exit::Network, "{error}");
        }
    }

    /// A run of 2026-11-29: `v1.300.0` and `v2.0.0` were reported as older than v1.25.
    #[test]
    fn versions_whose_source_is_not_known_are_told_by_what_they_are() {
        for (version, expected) in [
            ("v1.24.17", "older than v1.25"),
            ("v0.300.0", "older than v1.25"),
            ("v2.0.0", "only the source of Kubernetes 1 is"),
            ("v2.30.1", "only the source of Kubernetes 1 is"),
            ("x", "not a version such as"),
        ] {
            let error = images(CONSTANTS, version).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.exit(), Exit::Config, "{error}");
        }
        for version in ["v1.300.0", "v1.70000.1"] {
            assert!(images(CONSTANTS, version).unwrap()[6].ends_with("etcd:3.5.24-0"), "{version}");
        }
    }
}
