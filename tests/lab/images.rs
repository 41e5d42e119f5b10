//! The container images that kubeadm wants, and one that answers: `FROM scratch`, out of programs that were built here, under the
//! names of the real ones. They lie as the files of a registry, so that any file server is one (the paths of the distribution
//! specification, its pull half), and are kept in the cache under a key of what they are made of.
//!
//! Layers are zstd: a controller imports 109 MB. (One program for all of Kubernetes' servers, in a layer that their images share, was
//! tried, too: each image's archive brings that along, 141 MB in place of 83, and the kubelet has three containers unpack it at once.)

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::base::digest::{Hashing, Sha256};
use serde_json::{Value, json};

use super::cluster::{VERSION, debian};
use super::release;

/// Raised when the bytes of the images change for the same programs.
const REVISION: u32 = 2;

/// zstd's level: half the bytes of none, in seconds.
const LEVEL: i32 = 9;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// Kubernetes' servers that run in pods.
const SERVERS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];

/// Debian's packages with what kube-proxy calls, and what that is linked with.
const IPTABLES: [&str; 9] = [
    "iptables",
    "libxtables12",
    "libmnl0",
    "libnftnl11",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libip4tc2",
    "libip6tc2",
    "libc6",
];

/// Names that iptables' one program is called by.
const IPTABLES_NAMES: [&str; 6] =
    ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

/// The image of the pod that answers, which is none of kubeadm's: `httpd` and `wget` of BusyBox.
pub const ANSWER: &str = "ghcr.io/lab/answer:1.0";

/// The programs that images are made of: directories of `tests/peers/build.sh`.
pub struct Programs<'p> {
    /// The peer `kubernetes`.
    pub kubernetes: &'p Path,
    /// The peer `etcd`.
    pub etcd: &'p Path,
    /// The peer `coredns`.
    pub coredns: &'p Path,
    /// The peer `kube-vip`, where controllers share an address.
    pub kube_vip: Option<&'p Path>,
}

/// The directory to serve as `/v2/` of a registry.
pub fn registry(programs: &Programs<'_>) -> io::Result<PathBuf> {
    let iptables = IPTABLES.map(debian);
    let iptables: Vec<PathBuf> = iptables.into_iter().collect::<io::Result<_>>()?;
    let busybox = debian("busybox-static")?;
    // The peers' directories and Debian's are named after what is in them.
    let mut parts: Vec<&Path> = vec![programs.kubernetes, programs.etcd, programs.coredns, &busybox];
    parts.extend(programs.kube_vip);
    parts.extend(iptables.iter().map(PathBuf::as_path));
    let names: Vec<String> = parts.iter().map(|part| part.display().to_string()).collect();
    let pause = include_str!("pause.c");
    let key = Sha256::of(format!("{REVISION} {pause} {}", names.join(" ")).as_bytes()).to_string();
    let done = release::cache().join("lab/images").join(&key[..16]);
    if !done.is_dir() {
        let images = done.with_file_name(format!(".{}-{}", &key[..16], std::process::id()));
        fs::create_dir_all(&images)?;
        write(&images, programs, &iptables, &busybox)?;
        // Somebody else may have been faster; then theirs is as good.
        if fs::rename(&images, &done).is_err() {
            fs::remove_dir_all(&images)?;
        }
    }
    Ok(done)
}

fn write(images: &Path, programs: &Programs<'_>, iptables: &[PathBuf], busybox: &Path) -> io::Result<()> {
    let registry = Registry { directory: images.to_owned() };
    let pause = images.join("pause.program");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/pause.c");
    let status = Command::new("cc").args(["-static", "-Os", "-s", "-o"]).arg(&pause).arg(source).status()?;
    if !status.success() {
        return Err(io::Error::other("pause.c does not compile"));
    }
    let single = |program: &str, from: &Path| registry.layer(&Content::default().file(program, from));
    let push = |reference: &str, entry: &str, layers: &[&Layer]| registry.push(reference, entry, layers);

    push("pause:3.10", "/pause", &[&single("pause", &pause)?])?;
    fs::remove_file(&pause)?;
    let iptables = registry.layer(&user_space(iptables)?)?;
    for name in SERVERS {
        let entry = format!("/usr/local/bin/{name}");
        let server = single(&entry[1..], &programs.kubernetes.join(name))?;
        let layers = if name == "kube-proxy" { vec![&iptables, &server] } else { vec![&server] };
        push(&format!("{name}:{VERSION}"), &entry, &layers)?;
    }
    let etcd = single("usr/local/bin/etcd", &programs.etcd.join("etcd"))?;
    push("etcd:3.5.24-0", "/usr/local/bin/etcd", &[&etcd])?;
    push("coredns/coredns:v1.12.0", "/coredns", &[&single("coredns", &programs.coredns.join("coredns"))?])?;
    if let Some(kube_vip) = programs.kube_vip {
        let layer = single("kube-vip", &kube_vip.join("kube-vip"))?;
        push("kube-vip/kube-vip:v1.2.1", "/kube-vip", &[&layer])?;
    }
    let mut answer = Content::default().file("bin/busybox", &busybox.join("bin/busybox"));
    for name in ["sh", "httpd", "wget", "nslookup", "echo", "cat", "sleep"] {
        answer = answer.link(&format!("bin/{name}"), "busybox");
    }
    push(ANSWER.split_once('/').map_or(ANSWER, |(_, name)| name), "/bin/sh", &[&registry.layer(&answer)?])
}

/// What kube-proxy calls, with its libraries, in a system whose `/bin`, `/sbin` and `/lib` are in `/usr`.
fn user_space(packages: &[PathBuf]) -> io::Result<Content> {
    let mut content = Content::default();
    for name in ["bin", "sbin", "lib", "lib64"] {
        content = content.link(name, &format!("usr/{name}"));
    }
    content = content.directory("usr/bin").directory("run").directory("tmp");
    for package in packages {
        for place in ["usr/sbin", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "lib64"] {
            let below = if place.starts_with("usr/") { place.to_owned() } else { format!("usr/{place}") };
            content = content.tree(&package.join(place), &below)?;
        }
    }
    // Conversions between character sets, the greater part of the C library's package.
    content.0.retain(|path, _| !path.starts_with("usr/lib/x86_64-linux-gnu/gconv"));
    for name in IPTABLES_NAMES {
        content = content.link(&format!("usr/sbin/{name}"), "xtables-nft-multi");
    }
    Ok(content)
}

/// What a layer holds: paths, and what is there.
#[derive(Default)]
struct Content(BTreeMap<String, Entry>);

enum Entry {
    Directory,
    File(PathBuf),
    Link(PathBuf),
}

impl Content {
    fn with(mut self, path: &str, entry: Entry) -> Content {
        for parent in Path::new(path).ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty()) {
            self.0.entry(parent.display().to_string()).or_insert(Entry::Directory);
        }
        self.0.insert(path.into(), entry);
        self
    }

    fn directory(self, path: &str) -> Content {
        self.with(path, Entry::Directory)
    }

    fn file(self, path: &str, from: &Path) -> Content {
        self.with(path, Entry::File(from.into()))
    }

    fn link(self, path: &str, target: &str) -> Content {
        self.with(path, Entry::Link(target.into()))
    }

    /// A directory's files and links, if it is there.
    fn tree(mut self, from: &Path, path: &str) -> io::Result<Content> {
        if !from.is_dir() {
            return Ok(self);
        }
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            let (kind, path) =
                (entry.file_type()?, format!("{path}/{}", entry.file_name().to_string_lossy()));
            self = match kind {
                kind if kind.is_dir() => self.tree(&entry.path(), &path)?,
                kind if kind.is_symlink() => self.with(&path, Entry::Link(fs::read_link(entry.path())?)),
                _ => self.file(&path, &entry.path()),
            };
        }
        Ok(self)
    }

    /// A tar with neither times nor owners.
    fn write(&self, output: impl Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(output);
        for (path, entry) in &self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o755);
            header.set_size(0);
            match entry {
                Entry::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    tar.append_data(&mut header, path, io::empty())?;
                }
                Entry::Link(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    tar.append_link(&mut header, path, target)?;
                }
                Entry::File(from) => {
                    let file = File::open(from)?;
                    let metadata = file.metadata()?;
                    let executable = metadata.permissions().mode() & 0o111 != 0;
                    header.set_mode(if executable { 0o755 } else { 0o644 });
                    header.set_size(metadata.len());
                    tar.append_data(&mut header, path, file)?;
                }
            }
        }
        tar.into_inner()?.flush()
    }
}

/// A layer that lies in the registry.
struct Layer {
    descriptor: Value,
    /// The digest of what it unpacks to.
    diff_id: String,
    /// Where it lies.
    file: PathBuf,
}

/// Files under the paths of a registry.
struct Registry {
    directory: PathBuf,
}

impl Registry {
    fn layer(&self, content: &Content) -> io::Result<Layer> {
        let packing = self.directory.join("layer");
        let packer = zstd::Encoder::new(BufWriter::new(File::create(&packing)?), LEVEL)?;
        let mut output = Hashing::new(packer);
        content.write(&mut output)?;
        let (packer, diff_id, _) = output.finish();
        packer.finish()?.flush()?;
        let diff_id = format!("sha256:{diff_id}");
        let (digest, size) = Sha256::of_reader(File::open(&packing)?)?;
        let file = self.directory.join("layers").join(digest.to_string());
        fs::create_dir_all(file.parent().unwrap_or(&self.directory))?;
        fs::rename(packing, &file)?;
        let descriptor = json!({"mediaType": LAYER, "digest": format!("sha256:{digest}"), "size": size});
        Ok(Layer { descriptor, diff_id, file })
    }

    /// Holds an image under `NAME:TAG`.
    fn push(&self, reference: &str, entry: &str, layers: &[&Layer]) -> io::Result<()> {
        let (name, tag) = reference.split_once(':').unwrap_or((reference, "latest"));
        let place = self.directory.join(name);
        let (blobs, manifests) = (place.join("blobs"), place.join("manifests"));
        fs::create_dir_all(&blobs)?;
        fs::create_dir_all(&manifests)?;
        let put = |directory: &Path, kind: &str, value: &Value| {
            let bytes = value.to_string();
            let digest = format!("sha256:{}", Sha256::of(bytes.as_bytes()));
            fs::write(directory.join(&digest), &bytes)?;
            io::Result::Ok(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}))
        };
        for layer in layers {
            let digest = layer.descriptor["digest"].as_str().unwrap_or_default();
            let file = layer.file.strip_prefix(&self.directory).unwrap_or(&layer.file);
            let up = "../".repeat(blobs.strip_prefix(&self.directory).unwrap_or(&blobs).components().count());
            symlink(Path::new(&up).join(file), blobs.join(digest))?;
        }
        let diff_ids: Vec<&String> = layers.iter().map(|layer| &layer.diff_id).collect();
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let config = json!({
            "os": "linux", "architecture": "amd64", "config": {"Entrypoint": [entry], "Env": [path]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = put(&blobs, CONFIG, &config)?;
        let layers: Vec<&Value> = layers.iter().map(|layer| &layer.descriptor).collect();
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let mut manifest = put(&manifests, MANIFEST, &manifest)?;
        manifest["platform"] = json!({"os": "linux", "architecture": "amd64"});
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest]});
        let index = put(&manifests, INDEX, &index)?;
        let digest = index["digest"].as_str().unwrap_or_default();
        fs::copy(manifests.join(digest), manifests.join(tag)).map(drop)
    }
}
