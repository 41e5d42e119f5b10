//! Files of upstream projects, under the paths and in the shapes that they publish, with their digests: the
//! programs that sysexts are made of, built here or taken from Debian.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use prebake::base::digest::Sha256;

use super::cluster::{VERSION, debian};

/// What the sysexts' folders name for the version of Kubernetes that the peers are; the CNI plugins of the peer say it
/// of themselves.
pub const CNI: &str = "v1.6.2";
const CRICTL: &str = "v1.32.0";
/// The version of the peer `containerd`.
pub const CONTAINERD: &str = "2.1.5";
const RUNC: &str = "v1.3.3";

/// A directory with upstream's files: `kubernetes/` has the paths of dl.k8s.io, `github/` those of GitHub.
pub struct Upstream {
    /// Where it lies.
    pub directory: PathBuf,
}

impl Upstream {
    /// Nothing yet.
    pub fn new(directory: &Path) -> Upstream {
        Upstream { directory: directory.to_owned() }
    }

    /// What the sysexts of a node are made of, out of the peers `kubernetes`, `containerd` and `cni`, and Debian's runc. (Of
    /// crictl there are no sources to be had here; a line of text stands in, which nothing runs.)
    pub fn of_a_node(
        directory: &Path,
        kubernetes: &Path,
        containerd: &Path,
        cni: &Path,
    ) -> io::Result<Upstream> {
        fs::create_dir(directory)?;
        let upstream = Upstream::new(directory);
        for program in ["kubeadm", "kubelet", "kubectl"] {
            let path = format!("kubernetes/{VERSION}/bin/linux/amd64/{program}");
            upstream.publish(&path, &kubernetes.join(program), &format!("{program}.sha256"))?;
        }
        let archive = |path: String, files: &[(String, PathBuf)], ending: &str| {
            let name = path.rsplit('/').next().unwrap_or_default();
            upstream.publish_archive(&format!("github/{path}"), files, &format!("{name}{ending}"))
        };
        let plugin = |name: &str| (format!("./{name}"), cni.join(name));
        let project = format!("containernetworking/plugins/releases/download/{CNI}");
        let files = ["bridge", "host-device", "host-local", "loopback", "portmap"].map(plugin);
        archive(format!("{project}/cni-plugins-linux-amd64-{CNI}.tgz"), &files, ".sha256")?;
        let project = format!("kubernetes-sigs/cri-tools/releases/download/{CRICTL}");
        let crictl = directory.join("crictl");
        fs::write(&crictl, "there is no crictl in the lab\n")?;
        let files = [("crictl".to_owned(), crictl)];
        archive(format!("{project}/crictl-{CRICTL}-linux-amd64.tar.gz"), &files, ".sha256")?;
        let program = |name: &str| (format!("bin/{name}"), containerd.join(name));
        let project = format!("containerd/containerd/releases/download/v{CONTAINERD}");
        let files = ["containerd", "containerd-shim-runc-v2", "ctr"].map(program);
        archive(
            format!("{project}/containerd-static-{CONTAINERD}-linux-amd64.tar.gz"),
            &files,
            ".sha256sum",
        )?;
        let runc = debian("runc")?.join("usr/sbin/runc");
        let path = format!("github/opencontainers/runc/releases/download/{RUNC}/runc.amd64");
        upstream.publish(&path, &runc, "runc.sha256sum")?;
        Ok(upstream)
    }

    /// Has the peer `cri`'s `crictl` in place of the text.
    pub fn with_crictl(self, cri: &Path) -> io::Result<Upstream> {
        let files = [("crictl".to_owned(), cri.join("crictl"))];
        let project = format!("kubernetes-sigs/cri-tools/releases/download/{CRICTL}");
        let name = format!("crictl-{CRICTL}-linux-amd64.tar.gz");
        self.publish_archive(&format!("github/{project}/{name}"), &files, &format!("{name}.sha256"))?;
        Ok(self)
    }

    /// A file, and beside it another, `digests`, that has its digest as `sha256sum` prints it.
    pub fn publish(&self, path: &str, file: &Path, digests: &str) -> io::Result<()> {
        let published = self.place(path)?;
        symlink(file, &published)?;
        write_digest(&published, digests)
    }

    /// A `.tar.gz` of these files, each under a name, and its digest as above.
    pub fn publish_archive(&self, path: &str, files: &[(String, PathBuf)], digests: &str) -> io::Result<()> {
        let published = self.place(path)?;
        let gzip = GzEncoder::new(File::create(&published)?, Compression::fast());
        let mut archive = tar::Builder::new(gzip);
        for (name, file) in files {
            archive.append_path_with_name(file, name)?;
        }
        archive.into_inner()?.finish()?;
        write_digest(&published, digests)
    }

    fn place(&self, path: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
        Ok(path)
    }
}

fn write_digest(published: &Path, digests: &str) -> io::Result<()> {
    let (digest, _) = Sha256::of_reader(File::open(published)?)?;
    let name = published.file_name().unwrap_or_default().to_string_lossy();
    fs::write(published.with_file_name(digests), format!("{digest}  {name}\n"))
}
