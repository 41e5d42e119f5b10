//! The folders in `sysext/` that ship: all of them built for both architectures in one run, from mirrors that hold files
//! of the shape that each upstream project publishes, and what they bring judged by systemd and containerd.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::base::arch::Arch;
use prebake::base::digest::Sha256;
use prebake::base::finding::Finding;
use prebake::sysext::description::{Description, Expected, Placement};
use prebake::sysext::inspect::inspect;

use crate::judges;
use crate::lab::mirror::Mirror;
use crate::sysext::folders::tgz;
use crate::world::{Run, World, repository};

/// Every folder that ships, but the lab's own.
const FOLDERS: [&str; 10] = [
    "cilium-cli",
    "cni-plugins",
    "containerd",
    "containerd-config",
    "kubernetes",
    "kubernetes-config",
    "nerdctl",
    "prebake-images",
    "report",
    "template",
];

/// What upstream's archives hold, by the name of the component.
const ARCHIVES: [(&str, &[&str]); 5] = [
    ("cilium", &["cilium"]),
    ("cni-plugins", &["./bridge", "./host-local", "./loopback", "./LICENSE", "./README.md"]),
    ("containerd", &["bin/containerd", "bin/containerd-shim-runc-v2", "bin/containerd-stress", "bin/ctr"]),
    ("crictl", &["crictl"]),
    ("nerdctl", &["nerdctl", "containerd-rootless-setuptool.sh", "containerd-rootless.sh"]),
];

/// What the images hold beside directories and the extension-release file.
const CONTENTS: [(&str, &[&str]); 10] = [
    ("cilium-cli", &["/usr/bin/cilium"]),
    (
        "cni-plugins",
        &[
            "/usr/lib/systemd/system/cni-plugins.service",
            "/usr/lib/systemd/system/multi-user.target.d/10-cni-plugins.conf",
            "/usr/libexec/cni/LICENSE",
            "/usr/libexec/cni/README.md",
            "/usr/libexec/cni/bridge",
            "/usr/libexec/cni/host-local",
            "/usr/libexec/cni/loopback",
        ],
    ),
    (
        "containerd",
        &[
            "/usr/bin/containerd",
            "/usr/bin/containerd-shim-runc-v2",
            "/usr/bin/containerd-stress",
            "/usr/bin/ctr",
            "/usr/bin/runc",
            "/usr/lib/systemd/system/containerd.service",
            "/usr/lib/systemd/system/multi-user.target.d/10-containerd.conf",
            "/usr/share/containerd/config.toml",
        ],
    ),
    (
        "containerd-config",
        &[
            "/usr/lib/systemd/system/containerd.service.d/10-config.conf",
            "/usr/share/containerd-config/config.toml",
        ],
    ),
    (
        "kubernetes",
        &[
            "/usr/bin/kubeadm",
            "/usr/bin/kubectl",
            "/usr/bin/kubelet",
            "/usr/lib/systemd/system/kubelet.service",
            "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf",
            "/usr/lib/systemd/system/multi-user.target.d/10-kubernetes.conf",
            "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
            "/usr/local/bin/cni/LICENSE",
            "/usr/local/bin/cni/README.md",
            "/usr/local/bin/cni/bridge",
            "/usr/local/bin/cni/host-local",
            "/usr/local/bin/cni/loopback",
            "/usr/local/bin/crictl",
            "/usr/local/share/kubernetes-cni-version",
            "/usr/local/share/kubernetes-version",
        ],
    ),
    (
        "kubernetes-config",
        &[
            "/usr/lib/systemd/system/kubeadm-init.service.d/20-route.conf",
            "/usr/lib/systemd/system/kubeadm-join.service.d/20-route.conf",
            "/usr/lib/systemd/system/kubeadm.service.d/20-route.conf",
            "/usr/lib/systemd/system/kubelet.service.d/20-config-dir.conf",
            "/usr/lib/systemd/system/kubelet.service.d/20-route.conf",
            "/usr/lib/systemd/system/prebake-route.service",
            "/usr/libexec/prebake-route",
        ],
    ),
    ("nerdctl", &["/usr/bin/nerdctl"]),
    (
        "prebake-images",
        &[
            "/usr/lib/systemd/system/kubeadm-init.service.d/20-prebake-images.conf",
            "/usr/lib/systemd/system/kubeadm-join.service.d/20-prebake-images.conf",
            "/usr/lib/systemd/system/kubeadm.service.d/20-prebake-images.conf",
            "/usr/lib/systemd/system/kubelet.service.d/20-prebake-images.conf",
            "/usr/lib/systemd/system/multi-user.target.d/10-prebake-images.conf",
            "/usr/lib/systemd/system/prebake-images.service",
            "/usr/libexec/prebake-images",
        ],
    ),
    (
        "report",
        &[
            "/usr/lib/systemd/system/kubeadm-.service.d/50-prebake-report.conf",
            "/usr/lib/systemd/system/kubeadm.service.d/50-prebake-report.conf",
            "/usr/lib/systemd/system/multi-user.target.d/10-report.conf",
            "/usr/lib/systemd/system/prebake-failed@.service",
            "/usr/lib/systemd/system/prebake-install.service.d/50-prebake-report.conf",
            "/usr/lib/systemd/system/prebake-joined.path",
            "/usr/lib/systemd/system/prebake-joined.service",
            "/usr/lib/systemd/system/prebake-report.service",
            "/usr/lib/systemd/system/prebake-route.service.d/50-prebake-report.conf",
            "/usr/libexec/prebake-report",
        ],
    ),
    (
        "template",
        &[
            "/usr/lib/systemd/system/multi-user.target.d/10-template.conf",
            "/usr/lib/systemd/system/template.service",
            "/usr/share/template/greeting",
        ],
    ),
];

fn folder(name: &str) -> Description {
    Description::load(&repository("sysext").join(name)).unwrap()
}

/// What stands in for a program: the name and the architecture it is for.
fn program(name: &str, arch: Arch) -> Vec<u8> {
    format!("#!/bin/sh\necho {name} {arch}\n").into_bytes()
}

/// The host that a URL names, emptied: all mirrors are one directory.
fn below(directory: &Path, url: &str) -> PathBuf {
    let (_, path) = url.trim_start_matches("https://").split_once('/').unwrap();
    directory.join(path)
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Everything that the folders fetch, with digests as upstream publishes them: bare, or as lines of sha256sum.
fn upstream(directory: &Path) {
    for name in FOLDERS {
        let description = folder(name);
        for arch in Arch::ALL {
            let variables = description.variables(arch, &BTreeMap::new()).unwrap();
            for component in description.components(arch, &variables).unwrap() {
                let bytes = match &component.placement {
                    Placement::File { .. } => program(&component.name, arch),
                    Placement::Members { .. } => {
                        let (_, members) = ARCHIVES.iter().find(|(name, _)| *name == component.name).unwrap();
                        let programs: Vec<(&str, Vec<u8>)> =
                            members.iter().map(|member| (*member, program(member, arch))).collect();
                        let files: Vec<(&str, &[u8])> =
                            programs.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
                        tgz(&files)
                    }
                };
                write(&below(directory, &component.url), &bytes);
                let Expected::Published { url } = &component.digest else { panic!("{name} pins a digest") };
                let file = component.url.rsplit('/').next().unwrap();
                let digests = below(directory, url);
                let known = fs::read_to_string(&digests).unwrap_or_default();
                let digest = Sha256::of(&bytes);
                let text = match url.ends_with(".sha256") {
                    true => digest.to_string(),
                    false => format!("{known}{digest}  {file}\n"),
                };
                write(&digests, text.as_bytes());
            }
        }
    }
}

/// A world whose one profile boots all that ships, on both architectures.
fn world() -> World {
    let world = World::with_arm64();
    let copied = Command::new("cp").arg("-a").arg(repository("sysext")).arg(world.path("")).status().unwrap();
    assert!(copied.success());
    world.edit("recipes/small.yaml", "channel: stable}", "channel: stable, arch: [amd64, arm64]}");
    world.edit("recipes/small.yaml", "profile: worker}", "profile: worker, arch: amd64}");
    world.edit("recipes/small.yaml", "profile: control,", "profile: control, arch: arm64,");
    world.edit("recipes/small.yaml", "[hello]", &format!("[{}]", FOLDERS.join(", ")));
    world
}

fn build(world: &World) {
    upstream(&world.path("upstream"));
    let mirror = Mirror::builder().directory("/", &world.path("upstream")).start().unwrap();
    let mut command = world.command(&["build", "recipes/small.yaml"]);
    command.env("PREBAKE_MIRROR_KUBERNETES", mirror.url()).env("PREBAKE_MIRROR_GITHUB", mirror.url());
    Run::of(command.output().unwrap()).ok();
}

fn image(world: &World, name: &str, arch: Arch) -> PathBuf {
    let file = format!("assets/sysext/{name}/{}", folder(name).file_name(&folder(name).version, arch));
    world.path("output/small/current").join(file)
}

/// Unpacks images as if they were merged.
fn merged(world: &World, names: &[&str], root: &Path) {
    fs::create_dir_all(root).unwrap();
    for name in names {
        let unpacked = Command::new("unsquashfs")
            .args(["-force", "-no-progress", "-quiet", "-no-xattrs", "-dest"])
            .arg(root)
            .arg(image(world, name, Arch::Amd64))
            .output()
            .unwrap();
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
    }
}

#[test]
fn every_shipped_folder_is_built_for_both_architectures_in_one_run() {
    let world = world();
    build(&world);
    for (name, files) in CONTENTS {
        let expected: Vec<String> = files.iter().map(|file| file.to_string()).collect();
        for arch in Arch::ALL {
            let (image, findings) = inspect(&image(&world, name, arch)).unwrap();
            // An image cannot say that the folder's node.bu masks Flatcar's own; `sysext lint FOLDER` knows.
            let masked =
                |finding: &&Finding| name == "containerd" && finding.message.starts_with("stock-collision");
            let findings: Vec<_> = findings.iter().filter(|finding| !masked(finding)).collect();
            assert!(findings.is_empty(), "{name} {arch}: {findings:?}");
            assert_eq!(image.release["ARCHITECTURE"], arch.systemd(), "{name}");
            assert_eq!(image.release["ID"], "_any", "{name}");
            let release = format!("/usr/lib/extension-release.d/extension-release.{name}");
            let rows = image.entries.iter().filter(|row| row.kind != "dir" && row.path != release);
            let found: Vec<String> = rows.map(|row| row.path.clone()).collect();
            assert_eq!(found, expected, "{name} {arch}");
        }
    }
    let root = world.path("unpacked");
    merged(&world, &["kubernetes"], &root);
    assert_eq!(fs::read(root.join("usr/bin/kubelet")).unwrap(), program("kubelet", Arch::Amd64));
    assert_eq!(fs::read(root.join("usr/local/bin/crictl")).unwrap(), program("crictl", Arch::Amd64));

    let config = world.path("output/small/current/ignition/control.arm64+n2.ign");
    let config: serde_json::Value = serde_json::from_slice(&fs::read(config).unwrap()).unwrap();
    let links = config["storage"]["links"].as_array().unwrap();
    let target = |path: &str| links.iter().find(|link| link["path"] == path).map(|link| &link["target"]);
    for flatcars in ["containerd-flatcar", "docker-flatcar"] {
        let path = format!("/etc/extensions/{flatcars}.raw");
        assert_eq!(target(&path).unwrap(), "/dev/null", "two containerds in one /usr");
    }
    let files = config["storage"]["files"].to_string();
    for part in
        ["/etc/crictl.yaml", "/etc/modules-load.d/kubernetes.conf", "/etc/sysctl.d/90-kubernetes.conf"]
    {
        assert!(files.contains(part), "no {part} in {files}");
    }
}

#[test]
fn systemd_finds_no_fault_in_the_units_that_ship() {
    if judges::systemd().is_none() {
        return;
    }
    let world = world();
    build(&world);
    // The programs of these are in the images; what others bring is merged into one node.
    let state = world.path("node");
    merged(&world, &FOLDERS, &state.join("files"));
    let units = ["kubelet", "containerd", "cni-plugins", "prebake-images", "prebake-report", "template"];
    let mut units = units.map(|unit| format!("{unit}.service")).to_vec();
    units.extend(["prebake-joined.path".to_owned(), "prebake-joined.service".to_owned()]);
    let verify = |arguments: &[String]| {
        let node = repository("tests/peers/systemd-node.sh");
        let mut command = Command::new(node);
        let output = command.arg(&state).args(["systemd-analyze", "verify", "--man=no"]).args(arguments);
        Run::of(output.output().unwrap())
    };
    let run = verify(&units);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""));

    // The judge does see what is wrong with a drop-in of ours.
    let drop_in = state.join("files/usr/lib/systemd/system/kubelet.service.d/90-wrong.conf");
    write(&drop_in, b"[Service]\nRestart=perhaps\n");
    let run = verify(&units[..1]);
    assert!(run.stderr.contains("90-wrong.conf"), "{}", run.stderr);
}

/// The command of a unit or drop-in that begins like this.
fn command_of(unit: &Path, beginning: &str) -> String {
    let text = fs::read_to_string(unit).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(beginning));
    line.unwrap_or_else(|| panic!("no {beginning} in {text}")).to_owned()
}

#[test]
fn a_running_cni_plugin_is_replaced_and_never_written_over() {
    let units = [
        (
            "kubernetes",
            "kubelet.service.d/10-kubeadm.conf",
            "ExecStartPre=/usr/bin/bash -c ",
            "/usr/local/bin/cni",
        ),
        ("cni-plugins", "cni-plugins.service", "ExecStart=/usr/bin/bash -c ", "/usr/libexec/cni"),
    ];
    for (name, unit, beginning, source) in units {
        let unit = repository("sysext").join(name).join("files/usr/lib/systemd/system").join(unit);
        let script = command_of(&unit, beginning);
        let node = tempfile::tempdir().unwrap();
        let at = |path: &str| node.path().join(path);
        write(&at("usr/new"), b"#!/bin/sh\necho new\n");
        fs::set_permissions(at("usr/new"), fs::Permissions::from_mode(0o755)).unwrap();
        let installed = at(&source[1..]);
        fs::create_dir_all(&installed).unwrap();
        fs::rename(at("usr/new"), installed.join("bridge")).unwrap();
        fs::create_dir_all(at("opt/cni/bin")).unwrap();
        fs::copy("/bin/sleep", at("opt/cni/bin/bridge")).unwrap();
        let mut running = Command::new(at("opt/cni/bin/bridge")).arg("60").spawn().unwrap();

        let here = node.path().display();
        let script = script.trim_matches('\'').replace("/opt/", &format!("{here}/opt/"));
        let script = script.replace(source, &installed.display().to_string());
        let output = Command::new("bash").arg("-c").arg(&script).output().unwrap();
        running.kill().unwrap();
        running.wait().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let bridge = Command::new(at("opt/cni/bin/bridge")).output().unwrap();
        assert_eq!(bridge.stdout, b"new\n", "{name}");
        assert!(!at("opt/cni/.new").exists(), "{name} leaves nothing behind");
    }
}

/// The file of a folder's `text`, with the pause image's tag set where the folder has one.
fn generated(name: &str, path: &str, pause: Option<&str>) -> String {
    let description = folder(name);
    let set = pause.map(|tag| ("pause".to_owned(), tag.to_owned())).into_iter().collect();
    let variables = description.variables(Arch::Amd64, &set).unwrap();
    let texts = description.texts(&variables).unwrap();
    texts.into_iter().find(|(known, _)| known == path).unwrap().1
}

/// What a containerd understands of a config: its own dump, with one kind of quotes.
fn dump(containerd: &Path, config: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), config).unwrap();
    let output =
        Command::new(containerd).arg("--config").arg(file.path()).args(["config", "dump"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.trim().replace('\'', "\"")).collect()
}

#[test]
fn the_containerd_of_every_flatcar_release_reads_the_shipped_configs() {
    // LTS has 1.7, Stable and newer 2.x; a config of version 3 would end the first.
    for (peer, sandbox) in [("containerd-1.7", "sandbox_image"), ("containerd", "sandbox")] {
        let Some(programs) = judges::build(peer) else { return };
        let containerd = programs.join("containerd");
        let config = generated("containerd-config", "usr/share/containerd-config/config.toml", Some("3.9"));
        let dumped = dump(&containerd, &config);
        for value in [
            format!("{sandbox} = \"registry.k8s.io/pause:3.9\""),
            "config_path = \"/etc/containerd/certs.d\"".into(),
            "SystemdCgroup = true".into(),
            "enable_selinux = true".into(),
            "oom_score = -999".into(),
            "address = \"/run/containerd/containerd.sock\"".into(),
        ] {
            assert!(dumped.contains(&value), "{peer} has no {value} in\n{}", dumped.join("\n"));
        }
        let own = generated("containerd", "usr/share/containerd/config.toml", None);
        assert!(dump(&containerd, &own).contains(&"SystemdCgroup = true".to_owned()), "{peer}");
    }
}
