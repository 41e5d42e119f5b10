//! The recipe's key `kubernetes:` and the key `role:` of a profile.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::Sysext;
use super::keys::KUBERNETES;
use crate::base::yaml::Node as Yaml;
use crate::base::yaml::decode::{Decoder, Spanned};
use crate::tree::names;

/// The settings below `kubernetes:`.
#[derive(Debug)]
pub struct Kubernetes {
    /// Its version, which is also the version of the sysext `kubernetes`.
    pub version: Spanned<String>,
    /// How nodes get its container images without a registry; `None` if they use one.
    pub images: Option<Images>,
    /// Network plugin whose images are needed besides Kubernetes' own.
    pub cni: Option<Cni>,
    /// Whether control planes get kube-vip's image.
    pub kube_vip: bool,
}

/// How nodes get container images.
#[derive(Debug)]
pub struct Images {
    /// Where the archives are.
    pub carriage: Spanned<Carriage>,
    /// The sysext that imports them, as if the recipe had named it.
    pub importer: Sysext,
}

/// Name of the sysext that imports images.
const IMPORTER: &str = "prebake-images";

/// Where a node finds the archives of its container images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carriage {
    /// In a sysext of its boot.
    Sysext,
    /// Below `assets/images/` of the server that boots it.
    Asset,
}

impl FromStr for Carriage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "sysext" => Ok(Carriage::Sysext),
            "asset" => Ok(Carriage::Asset),
            _ => Err(format!("`{text}` is not a way to carry images: use true, sysext, asset or false")),
        }
    }
}

/// A network plugin whose images are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cni {
    /// Cilium's agent and operator.
    Cilium,
    /// Flannel's images.
    Flannel,
}

impl Cni {
    /// Its spelling in recipes and in the image lists of sysexts.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Cni::Cilium => "cilium",
            Cni::Flannel => "flannel",
        }
    }
}

/// Role of a profile's nodes in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// They run the API server and its companions, and may run pods.
    ControlPlane,
    /// They run pods only.
    Worker,
}

impl Role {
    /// Its spelling in recipes and in groups.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::ControlPlane => names::CONTROL_PLANE,
            Role::Worker => names::WORKER,
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            names::CONTROL_PLANE => Ok(Role::ControlPlane),
            names::WORKER => Ok(Role::Worker),
            _ => Err(format!("unknown role `{text}`: control-plane or worker")),
        }
    }
}

/// Reads `kubernetes:`.
pub(super) fn decode(decoder: &Decoder, node: &Yaml) -> Option<Kubernetes> {
    let fields = decoder.fields(node, &KUBERNETES);
    let images = fields.get("images").and_then(|n| images(decoder, n));
    let cni = fields.get("cni").and_then(|n| cni(decoder, n));
    let kube_vip = fields.get("kube_vip").and_then(|n| decoder.boolean(n)).unwrap_or_default();
    let version = fields.need("version")?;
    let text = decoder.string(version)?;
    let numbers: Vec<&str> = text.strip_prefix('v').unwrap_or_default().split('.').collect();
    // It becomes part of URLs, so only digits, without a sign.
    let is_number = |n: &&str| n.bytes().all(|digit| digit.is_ascii_digit()) && n.parse::<u16>().is_ok();
    if numbers.len() != 3 || !numbers.iter().all(is_number) {
        decoder.error(version, format!("`{text}` is not a Kubernetes version such as v1.34.4"));
    }
    Some(Kubernetes { version: decoder.spanned(version, text), images, cni, kube_vip })
}

fn images(decoder: &Decoder, node: &Yaml) -> Option<Images> {
    let carriage = match node.scalar() {
        Some("false") => return None,
        Some("true") => Carriage::Sysext,
        _ => decoder.parsed(node)?,
    };
    let importer = Sysext { name: decoder.spanned(node, IMPORTER.to_owned()), set: BTreeMap::new() };
    Some(Images { carriage: decoder.spanned(node, carriage), importer })
}

fn cni(decoder: &Decoder, node: &Yaml) -> Option<Cni> {
    match decoder.string(node)?.as_str() {
        "cilium" => Some(Cni::Cilium),
        "flannel" => Some(Cni::Flannel),
        "none" => None,
        other => {
            let text = format!("the images of `{other}` are not known: cilium, flannel or none");
            decoder.error(node, format!("{text}; name them under the recipe's `images:`"));
            None
        }
    }
}
