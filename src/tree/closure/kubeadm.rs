//! The images that kubeadm pulls for a control plane, by its configuration or its flags.
//!
//! A version in prebake's table has an exact list; for any other version only the four programs are certain, while the
//! tags of `pause`, `etcd` and `coredns` are unknown (`cmd/kubeadm/app/images`).

use super::graph::Kind;
use super::reference::{Reference, Rule};
use crate::base::yaml::Node;
use crate::sysext::known;

/// Default repository of the images (`kubeadmapiv1beta4.DefaultImageRepository`).
const REPOSITORY: &str = "registry.k8s.io";
/// Programs of every control plane, tagged with the version of Kubernetes.
const PROGRAMS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
/// Images with tags of their own.
const OTHERS: [&str; 3] = ["pause", "etcd", "coredns/coredns"];
/// Where kubeadm asks for the newest version (`util/version.go`).
const RELEASES: &str = "https://dl.k8s.io/release";

/// kubeadm's settings about images.
#[derive(Default)]
struct Told<'t> {
    line: usize,
    version: Option<&'t str>,
    repository: Option<&'t str>,
    /// `imageRepository` and `imageTag` of CoreDNS and etcd.
    dns: [Option<&'t str>; 2],
    etcd: [Option<&'t str>; 2],
    /// An etcd elsewhere needs no image on this machine.
    external_etcd: bool,
}

/// Images that kubeadm pulls because of a file's documents, each of which comes with the number of lines above it.
pub(super) fn of_documents(documents: &[(usize, Node)]) -> Vec<Reference> {
    let of_kind = |kind: &str| {
        documents.iter().find(|(_, root)| {
            let is = |key: &str| root.get(key).and_then(Node::scalar).unwrap_or_default();
            is("apiVersion").starts_with("kubeadm.k8s.io/") && is("kind") == kind
        })
    };
    let Some((before, root)) = of_kind("ClusterConfiguration") else {
        // `kubeadm init` then takes defaults, and asks for the newest version.
        let init = of_kind("InitConfiguration").map(|(before, root)| before + root.start.line);
        return init.map(|line| pulled(&Told { line, ..Told::default() })).unwrap_or_default();
    };
    let at = |path: &[&str]| path.iter().try_fold(root, |node, key| node.get(key));
    let text = |path: &[&str]| at(path).and_then(Node::scalar).filter(|text| !text.is_empty());
    let line = at(&["kubernetesVersion"]).unwrap_or(root).start.line;
    pulled(&Told {
        line: before + line,
        version: text(&["kubernetesVersion"]),
        repository: text(&["imageRepository"]),
        dns: [text(&["dns", "imageRepository"]), text(&["dns", "imageTag"])],
        etcd: [text(&["etcd", "local", "imageRepository"]), text(&["etcd", "local", "imageTag"])],
        external_etcd: at(&["etcd", "external"]).is_some(),
    })
}

/// Images that a `kubeadm init` with flags alone pulls.
pub(super) fn of_flags(line: usize, words: &[&str]) -> Vec<Reference> {
    let flag = |name: &str| {
        words.iter().enumerate().find_map(|(index, word)| match word.strip_prefix(name)? {
            "" => words.get(index + 1).copied(),
            rest => rest.strip_prefix('='),
        })
    };
    if flag("--config").is_some() {
        return Vec::new();
    }
    let (version, repository) = (flag("--kubernetes-version"), flag("--image-repository"));
    pulled(&Told { line, version, repository, ..Told::default() })
}

fn pulled(told: &Told<'_>) -> Vec<Reference> {
    let line = Some(told.line);
    let version = told.version.unwrap_or("stable-1");
    if !version.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()) {
        return vec![Reference::url(line, format!("{RELEASES}/{version}.txt"))];
    }
    let version = format!("v{}", version.trim_start_matches('v'));
    let known = known::known_images(&version);
    let unknown = || {
        let programs = PROGRAMS.iter().map(|name| format!("{REPOSITORY}/{name}:{version}"));
        programs.chain(OTHERS.iter().map(|name| format!("{REPOSITORY}/{name}"))).collect()
    };
    let images: Vec<String> = known.unwrap_or_else(unknown);
    let images = images.iter().filter(|image| !(told.external_etcd && image.contains("/etcd")));
    images.map(|image| Reference { line, kind: Kind::Image, ..told.image(image) }).collect()
}

impl Told<'_> {
    /// An image of the default repository, under the name that this configuration gives it. Without a tag any tag will
    /// do.
    fn image(&self, image: &str) -> Reference {
        let (name, tag) = match image.trim_start_matches(REPOSITORY).trim_start_matches('/').rsplit_once(':')
        {
            Some((name, tag)) => (name, Some(tag)),
            None => (image.trim_start_matches(REPOSITORY).trim_start_matches('/'), None),
        };
        let own = match name {
            "coredns/coredns" => self.dns,
            "etcd" => self.etcd,
            _ => [None, None],
        };
        let repository = own[0].or(self.repository).unwrap_or(REPOSITORY);
        // In another repository CoreDNS has no directory of its own (`images.GetDNSImage`).
        let name = if repository == REPOSITORY { name } else { name.rsplit('/').next().unwrap_or(name) };
        match own[1].or(tag) {
            Some(tag) => Reference::image(None, format!("{repository}/{name}:{tag}")),
            None => Reference::new(None, Kind::Image, format!("{repository}/{name}"), Rule::AnyTag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Source;
    use crate::base::yaml;

    fn of(text: &str) -> Vec<String> {
        let root = yaml::parse(&Source::new("x", text)).unwrap();
        let found = of_documents(&[(0, root)]);
        found.into_iter().map(|found| format!("{} {}", found.line.unwrap(), found.text)).collect()
    }

    #[test]
    fn a_known_version_has_its_exact_list() {
        let text =
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.34.4\n";
        let images = of(text);
        for image in ["kube-apiserver:v1.34.4", "etcd:3.6.5-0", "coredns/coredns:v1.12.1", "pause:3.10.1"] {
            assert!(images.contains(&format!("3 registry.k8s.io/{image}")), "{image} in {images:?}");
        }
        assert_eq!(images.len(), 7);
    }

    #[test]
    fn repositories_and_tags_of_the_configuration_count() {
        let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: 1.34.4\nimageRepository: r.example/k8s\ndns: {imageTag: v9}\netcd: {external: {}}\n";
        let images = of(text);
        assert!(images.contains(&"3 r.example/k8s/coredns:v9".to_owned()), "{images:?}");
        assert!(images.contains(&"3 r.example/k8s/kube-proxy:v1.34.4".to_owned()), "{images:?}");
        assert!(!images.iter().any(|image| image.contains("etcd")), "{images:?}");
    }

    #[test]
    fn without_a_version_kubeadm_asks_for_one() {
        let text = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n";
        assert_eq!(of(text), ["1 https://dl.k8s.io/release/stable-1.txt"]);
        let words = ["kubeadm", "init", "--kubernetes-version", "v1.99.0"];
        let images: Vec<String> = of_flags(1, &words).into_iter().map(|found| found.text).collect();
        assert!(images.contains(&"registry.k8s.io/kube-proxy:v1.99.0".to_owned()));
        assert!(images.contains(&"registry.k8s.io/etcd".to_owned()), "any tag: {images:?}");
        assert_eq!(of_flags(1, &["kubeadm", "init", "--config=/x"]), []);
        assert_eq!(of("apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\n"), Vec::<String>::new());
    }
}
