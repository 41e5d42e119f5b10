//! Which images kubeadm of a version needs, read in its source: nothing is run.
//!
//! The tags are constants in `cmd/kubeadm/app/constants/constants.go`, and which of them `kubeadm config images list` prints
//! is in `cmd/kubeadm/app/images/images.go`. What is read there decides no more than a tag below registry.k8s.io, whoever
//! gave the file; a program that a mirror gave could do what its user may.

use std::collections::BTreeMap;

use crate::error::{Advice, Exit};
use crate::report::is_unseen;
use crate::source::http;
use crate::source::oci::ImageRef;

/// What control planes alone run, by the last part of the repository.
const CONTROL_PLANE: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"];
/// Kubernetes' own images, which have its version as their tag.
const OWN: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
/// The first minor version whose images are at registry.k8s.io.
const FIRST_MINOR: u8 = 25;

/// Why the list is not known.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its source cannot be had.
    #[error("no table knows the images of Kubernetes {version}, and kubeadm's source cannot be read")]
    Unread {
        /// The version.
        version: String,
        /// What the network says.
        source: http::Error,
    },
    /// Its source says something else than it always did.
    #[error(
        "no table knows the images of Kubernetes {version}, and kubeadm's source does not say them: {why}"
    )]
    Unsaid {
        /// The version.
        version: String,
        /// What is missing.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Unread { source, .. } => source.exit(),
            Error::Unsaid { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let (Error::Unread { version, .. } | Error::Unsaid { version, .. }) = self;
        Some(format!(
            "name the tags in the recipe, `sysexts: [{{name: kubernetes, set: {{etcd: TAG, coredns: TAG, pause: TAG}}}}]`, \
             as `kubeadm config images list --kubernetes-version {version}` prints them"
        ))
    }
}

/// Where the constants of a version are: a path of the mirror that the CNI plugins come from, too.
pub fn url(version: &str) -> String {
    format!("https://github.com/kubernetes/kubernetes/raw/{version}/cmd/kubeadm/app/constants/constants.go")
}

/// The images that kubeadm of a version lists, in its order.
///
/// # Errors
/// [`Error::Unsaid`] where the text is not such a file, or the version is too old.
pub fn images(constants: &str, version: &str) -> Result<Vec<String>, Error> {
    list(constants, version).map_err(|why| Error::Unsaid { version: version.into(), why })
}

fn list(constants: &str, version: &str) -> Result<Vec<String>, String> {
    let minor: Option<u8> = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    let minor = minor.filter(|minor| *minor >= FIRST_MINOR).ok_or("it is older than v1.25")?;
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
    // A digest or another repository is no tag.
    match image.to_string() == text && image.tag() == Some(tag) {
        true => Ok(text),
        false => Err(format!("`{}` is no tag of {name}", tag.escape_debug())),
    }
}

/// The value of `NAME = "VALUE"`, which must stand there once.
fn constant<'t>(text: &'t str, name: &str) -> Result<&'t str, String> {
    let value = |line: &'t str| {
        let rest = line.trim().strip_prefix(name)?.trim_start().strip_prefix('=')?;
        rest.trim_start().strip_prefix('"')?.split_once('"').map(|(value, _)| value)
    };
    let mut values = text.lines().filter_map(value);
    match (values.next(), values.next()) {
        (Some(value), None) if value.chars().any(is_unseen) => {
            Err(format!("{name} holds hidden characters: `{}`", value.escape_debug()))
        }
        (Some(value), None) => Ok(value),
        (None, _) => Err(format!("there is no {name} in it")),
        (Some(_), Some(_)) => Err(format!("{name} stands there twice")),
    }
}

/// etcd's tag, as `EtcdSupportedVersion` there and `GetEtcdImage` of images.go find it: the map's for the minor version,
/// beyond its ends that of the end, and the default in a gap.
fn supported_etcd(text: &str, minor: u8) -> Result<&str, String> {
    const MAP: &str = "SupportedEtcdVersion = map[uint8]string{";
    let default = constant(text, "DefaultEtcdVersion")?;
    let lines = text.lines().map(str::trim).skip_while(|line| *line != MAP).skip(1);
    let lines =
        lines.take_while(|line| *line != "}").filter(|line| !line.is_empty() && !line.starts_with("//"));
    let rows: BTreeMap<u8, &str> = lines
        .map(|line| map_row(line).ok_or_else(|| format!("`{}` is no row of its map", line.escape_debug())))
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

/// `33: "3.5.24-0",`
fn map_row(line: &str) -> Option<(u8, &str)> {
    let (key, value) = line.split_once(':')?;
    let value = value.trim().strip_prefix('"')?.strip_suffix("\",")?;
    Some((key.parse().ok()?, value)).filter(|_| !value.chars().any(is_unseen))
}

/// A list of kubeadm's as what every node needs, and what control planes need beside that.
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

    /// In the form of the file at v1.33.13.
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

    /// What kubeadm v1.33.13 says, to the byte.
    const ANSWER: &str = "\
registry.k8s.io/kube-apiserver:v1.33.13
registry.k8s.io/kube-controller-manager:v1.33.13
registry.k8s.io/kube-scheduler:v1.33.13
registry.k8s.io/kube-proxy:v1.33.13
registry.k8s.io/coredns/coredns:v1.12.0
registry.k8s.io/pause:3.10
registry.k8s.io/etcd:3.5.24-0
";

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
            (with("33: \"3.5.24-0\"", "33: etcd"), "is no row"),
            (with("\"3.10\"", "\"3.10@sha256:00\""), ""),
            (with("\"3.10\"", "\"\\u001b[31m\""), ""),
            (with("\"v1.12.0\"", "\"v1/../../evil:1\""), ""),
            (with("\"3.10\"", "\"3\u{1b}[2J\u{7}\""), "hidden characters"),
            (with("\"3.5.24-0\"", "\"3\u{1b}[2J\""), "is no row"),
        ];
        for (source, expected) in cases {
            let error = images(&source, "v1.33.13").unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(error.hint().unwrap().contains("--kubernetes-version v1.33.13"), "{error}");
            assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
        }
        assert!(images(CONSTANTS, "v1.24.17").unwrap_err().to_string().contains("older than v1.25"));
    }
}
