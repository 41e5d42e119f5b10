//! The components of Cluster API that a management cluster runs: their names for clusterctl, where they are published, and their places in
//! a repository of files.
//!
//! A repository of files is `BASE/LABEL/VERSION/FILE` (clusterctl's `repository_local.go`); its URL names the version that is taken if
//! nobody names one.

/// The kind of a component, as clusterctl calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Cluster API itself.
    Core,
    /// Makes machines' user data.
    Bootstrap,
    /// Makes control planes.
    ControlPlane,
    /// Makes machines.
    Infrastructure,
    /// Gives addresses.
    Ipam,
    /// cert-manager, which gives the others' webhooks their certificates; no provider.
    CertManager,
}

impl Kind {
    /// The word in clusterctl's configuration; none for cert-manager, which has a key of its own there.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Kind::Core => Some("CoreProvider"),
            Kind::Bootstrap => Some("BootstrapProvider"),
            Kind::ControlPlane => Some("ControlPlaneProvider"),
            Kind::Infrastructure => Some("InfrastructureProvider"),
            Kind::Ipam => Some("IPAMProvider"),
            Kind::CertManager => None,
        }
    }

    /// The option of `clusterctl init` that names it.
    pub fn option(self) -> Option<&'static str> {
        match self {
            Kind::Core => Some("--core"),
            Kind::Bootstrap => Some("--bootstrap"),
            Kind::ControlPlane => Some("--control-plane"),
            Kind::Infrastructure => Some("--infrastructure"),
            Kind::Ipam => Some("--ipam"),
            Kind::CertManager => None,
        }
    }

    /// The words before its name in labels (clusterctl's `ManifestLabel`).
    fn prefix(self) -> &'static str {
        match self {
            Kind::Core | Kind::CertManager => "",
            Kind::Bootstrap => "bootstrap-",
            Kind::ControlPlane => "control-plane-",
            Kind::Infrastructure => "infrastructure-",
            Kind::Ipam => "ipam-",
        }
    }
}

/// A component.
#[derive(Debug)]
pub struct Component {
    /// Its name for clusterctl.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its version, with a `v`, if the recipe names no other.
    pub version: &'static str,
    /// URL of the files of a release, in which `{v}` is the version.
    pub url: &'static str,
    /// The file with its objects, at that URL and in the repository.
    pub file: &'static str,
    /// Images that no `image:` of its objects names; `{v}` is the version.
    pub images: &'static [&'static str],
}

/// The file that tells clusterctl the contract of each version of a provider.
pub const METADATA: &str = "metadata.yaml";

const CAPI: &str = "https://github.com/kubernetes-sigs/cluster-api/releases/download/{v}";

/// Cluster API itself.
pub static CORE: Component = Component {
    name: "cluster-api",
    kind: Kind::Core,
    version: "v1.12.10",
    url: CAPI,
    file: "core-components.yaml",
    images: &[],
};

/// kubeadm's bootstrap provider.
pub static BOOTSTRAP: Component = Component {
    name: "kubeadm",
    kind: Kind::Bootstrap,
    version: "v1.12.10",
    url: CAPI,
    file: "bootstrap-components.yaml",
    images: &[],
};

/// kubeadm's control plane provider.
pub static CONTROL_PLANE: Component = Component {
    name: "kubeadm",
    kind: Kind::ControlPlane,
    version: "v1.12.10",
    url: CAPI,
    file: "control-plane-components.yaml",
    images: &[],
};

/// The provider of addresses that lie in the management cluster.
pub static IPAM: Component = Component {
    name: "in-cluster",
    kind: Kind::Ipam,
    version: "v1.1.0",
    url: "https://github.com/kubernetes-sigs/cluster-api-ipam-provider-in-cluster/releases/download/{v}",
    file: "ipam-components.yaml",
    images: &[],
};

/// cert-manager, in the version that clusterctl of [`CORE`]'s version installs.
pub static CERT_MANAGER: Component = Component {
    name: "cert-manager",
    kind: Kind::CertManager,
    version: "v1.20.3",
    url: "https://github.com/cert-manager/cert-manager/releases/download/{v}",
    file: "cert-manager.yaml",
    // Only an argument of the controller names it.
    images: &["quay.io/jetstack/cert-manager-acmesolver:{v}"],
};

impl Component {
    /// Its label, which is also its directory in a repository.
    pub fn label(&self) -> String {
        format!("{}{}", self.kind.prefix(), self.name)
    }

    /// The files of a release, each with its URL.
    pub fn files(&self, version: &str) -> Vec<(&'static str, String)> {
        let base = self.url.replace("{v}", version);
        let metadata = (self.kind != Kind::CertManager).then_some(METADATA);
        [self.file].into_iter().chain(metadata).map(|file| (file, format!("{base}/{file}"))).collect()
    }

    /// Images that its objects do not name.
    pub fn more_images(&self, version: &str) -> Vec<String> {
        self.images.iter().map(|image| image.replace("{v}", version)).collect()
    }
}
