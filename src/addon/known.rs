//! Add-ons that `vendor` knows by name: where their manifests are, and what else belongs to them.
//!
//! Versions are those that were looked at last; another one is `NAME@VERSION`. Each pattern is upstream's own instruction for
//! installing without Helm, or its chart where there is no such manifest.

/// An add-on of the table.
#[derive(Debug)]
pub struct Known {
    /// Its name in `cluster.yaml`, on the command line, and of its directory.
    pub name: &'static str,
    /// The version that is fetched if none is named, without a `v`.
    pub version: &'static str,
    /// Whether it is a network plugin: `cni:` names those, and `addons:` all others.
    pub is_network: bool,
    /// Where it comes from.
    pub from: From,
    /// Images that no `image:` names; `{v}` is the version.
    pub images: &'static [&'static str],
    /// A text with further images, one on each line.
    pub list: Option<&'static str>,
    /// Advice for sites that use it, in a sentence; empty if there is none.
    pub remark: &'static str,
}

/// Where an add-on comes from; `{v}` is the version.
#[derive(Debug)]
pub enum From {
    /// Manifests at these URLs.
    Manifests(&'static [&'static str]),
    /// A chart, rendered by `helm`.
    Chart {
        /// URL of the repository.
        repository: &'static str,
        /// Its name there.
        chart: &'static str,
        /// Namespace of the release.
        namespace: &'static str,
        /// Settings that Flatcar or kubeadm needs, as `--set` takes them.
        settings: &'static [&'static str],
    },
}

/// The table, by name.
pub const KNOWN: &[Known] = &[
    Known {
        name: "calico",
        version: "3.30.3",
        is_network: true,
        from: From::Manifests(&[
            "https://raw.githubusercontent.com/projectcalico/calico/v{v}/manifests/calico.yaml",
        ]),
        images: &[],
        list: None,
        remark: "it takes the pods' addresses from kubeadm's own configuration",
    },
    Known {
        name: "cert-manager",
        version: "1.19.1",
        is_network: false,
        from: From::Manifests(&[
            "https://github.com/cert-manager/cert-manager/releases/download/v{v}/cert-manager.yaml",
        ]),
        // Only an argument of the controller names it.
        images: &["quay.io/jetstack/cert-manager-acmesolver:v{v}"],
        list: None,
        remark: "",
    },
    Known {
        name: "cilium",
        version: "1.18.2",
        is_network: true,
        from: From::Chart {
            repository: "https://helm.cilium.io",
            chart: "cilium",
            namespace: "kube-system",
            // Its own default gives pods 10.0.0.0/8, whatever kubeadm was told.
            settings: &["ipam.mode=kubernetes"],
        },
        images: &[],
        list: None,
        remark: "",
    },
    Known {
        name: "flannel",
        version: "0.27.3",
        is_network: true,
        from: From::Manifests(&[
            "https://github.com/flannel-io/flannel/releases/download/v{v}/kube-flannel.yml",
        ]),
        images: &[],
        list: None,
        remark: "its network must be the cluster's `pod_subnet`",
    },
    Known {
        name: "gpu-operator",
        version: "25.10.0",
        is_network: false,
        from: From::Chart {
            repository: "https://helm.ngc.nvidia.com/nvidia",
            chart: "gpu-operator",
            namespace: "gpu-operator",
            // Flatcar's own sysext brings the driver (`nvidia.service`).
            settings: &["driver.enabled=false"],
        },
        images: &[],
        list: None,
        remark: "the driver comes from Flatcar's NVIDIA extension: enable it on the nodes with GPUs",
    },
    Known {
        name: "kured",
        version: "1.20.0",
        is_network: false,
        from: From::Manifests(&[
            "https://github.com/kubereboot/kured/releases/download/{v}/kured-{v}-combined.yaml",
        ]),
        images: &[],
        list: None,
        remark: "mask locksmithd.service on all nodes, or both reboot them (flatcar/flatcar-website#697)",
    },
    Known {
        name: "longhorn",
        version: "1.10.0",
        is_network: false,
        from: From::Manifests(&[
            "https://raw.githubusercontent.com/longhorn/longhorn/v{v}/deploy/longhorn.yaml",
        ]),
        images: &[],
        // Engines and drivers are named in variables and arguments.
        list: Some("https://raw.githubusercontent.com/longhorn/longhorn/v{v}/deploy/longhorn-images.txt"),
        remark: "enable iscsid.service on the nodes",
    },
    Known {
        name: "metallb",
        version: "0.15.2",
        is_network: false,
        from: From::Manifests(&[
            "https://raw.githubusercontent.com/metallb/metallb/v{v}/config/manifests/metallb-native.yaml",
        ]),
        images: &[],
        list: None,
        remark: "add a manifest with an IPAddressPool and an L2Advertisement of your own beside it",
    },
    Known {
        name: "nebraska",
        version: "2.0.0",
        is_network: false,
        from: From::Chart {
            repository: "https://flatcar.github.io/nebraska",
            chart: "nebraska",
            namespace: "nebraska",
            settings: &[],
        },
        images: &[],
        list: None,
        remark: "an update server outside of the cluster that it updates is simpler",
    },
    Known {
        name: "rook",
        version: "1.18.2",
        is_network: false,
        from: From::Manifests(&[
            "https://raw.githubusercontent.com/rook/rook/v{v}/deploy/examples/crds.yaml",
            "https://raw.githubusercontent.com/rook/rook/v{v}/deploy/examples/common.yaml",
            "https://raw.githubusercontent.com/rook/rook/v{v}/deploy/examples/csi-operator.yaml",
            "https://raw.githubusercontent.com/rook/rook/v{v}/deploy/examples/operator.yaml",
        ]),
        images: &[],
        // Drivers are settings of the operator.
        list: Some("https://raw.githubusercontent.com/rook/rook/v{v}/deploy/examples/images.txt"),
        remark: "add a manifest with a CephCluster of your own beside it",
    },
];

/// The names that stand in `addons:` without a manifest.
pub fn names() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().filter(|known| !known.is_network).map(|known| known.name)
}

/// The add-on of a name.
pub fn of(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_manifest_names_the_version() {
        assert!(KNOWN.is_sorted_by_key(|known| known.name));
        for known in KNOWN {
            if let From::Manifests(urls) = known.from {
                assert!(urls.iter().all(|url| url.contains("{v}")), "{}", known.name);
            }
            assert!(!known.version.starts_with('v') && known.list.is_none_or(|url| url.contains("{v}")));
        }
    }
}
