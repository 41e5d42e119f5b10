//! The node image for Cluster API (`recipes/capi-node.yaml`), held to the acceptance list of
//! kubernetes-sigs/image-builder (`images/capi/packer/goss`, August 2026): one boot of the image in QEMU, with user
//! data as Cluster API's machines have it.
//!
//! [`ASSERTIONS`] is the list, and the table in docs/guides/node-image.md. containerd, kubeadm, kubelet, kubectl and
//! the CNI plugins are real. The lab's release lacks Flatcar's own containerd, so the sysext `containerd` stands in for
//! it; `crictl` is the peer `cri`'s, which asks by the same protocol; user data is of spec 3, since Debian's Ignition
//! translates no 2.3.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::bake::node::{Site, registry};
use crate::disk::made::Disk;
use crate::judges;
use crate::lab::cluster::VERSION;
use crate::lab::machine::{self, Machine};
use crate::lab::mirror::Mirror;
use crate::lab::upstream::{CNI, CONTAINERD, Upstream};
use crate::lab::{self, release};
use crate::world::{Run, repository};

/// How long one stage may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// The document with the table.
const GUIDE: &str = "docs/guides/node-image.md";
/// Around the table in it.
const MARKS: [&str; 2] = ["<!-- assertions: tests/it/bake/node_image.rs -->\n", "<!-- end -->"];

/// How an assertion is held.
#[derive(Clone, Copy)]
enum Held {
    /// By a command of bash in the booted machine, which must succeed. `CONTAINERD`, `KUBERNETES` and `CNI` are
    /// versions.
    Booted(&'static str),
    /// By a look into the image: `.0` says at what.
    Image(&'static str),
    /// Not, for this reason.
    Differs(&'static str),
}
use Held::{Booted, Differs, Image};

/// image-builder's words for an assertion, by the file of its list, and how it is held here.
struct Assertion(&'static str, &'static str, Held);

const ASSERTIONS: &[Assertion] = &[
    Assertion(
        "command",
        "`containerd --version` is the pinned one",
        Booted("containerd --version | grep -Eq ' v?CONTAINERD( |$)'"),
    ),
    Assertion("command", "`crictl ps` answers", Booted("crictl ps")),
    Assertion(
        "command",
        "`crictl images` has all seven of kubeadm's",
        Booted(
            "[ \"$(crictl images | sed -n '2,$ s|^[^ ]*/\\([^ ]*\\) .*|\\1|p' | sort -u | xargs)\" = 'coredns etcd kube-apiserver kube-controller-manager kube-proxy kube-scheduler pause' ]",
        ),
    ),
    Assertion(
        "command",
        "`kubectl version --client` is the pinned one",
        Booted("kubectl version --client -o json | grep -q '\"gitVersion\": \"KUBERNETES\"'"),
    ),
    Assertion(
        "command",
        "`kubeadm version` is the pinned one",
        Booted("[ \"$(kubeadm version -o short)\" = KUBERNETES ]"),
    ),
    Assertion(
        "command",
        "`kubelet --version` is the pinned one",
        Booted("[ \"$(kubelet --version)\" = 'Kubernetes KUBERNETES' ]"),
    ),
    Assertion(
        "command",
        "CNI plugins are executable",
        Booted(
            "for name in bridge host-local loopback portmap; do [ -x /opt/cni/bin/$name ] || exit 1; done",
        ),
    ),
    Assertion(
        "command",
        "`/opt/cni/bin/host-device` says the pinned version",
        Booted("/opt/cni/bin/host-device 2>&1 | grep -q ' plugin CNI$'"),
    ),
    Assertion(
        "service",
        "containerd is enabled and runs",
        Booted("systemctl -q is-enabled containerd && systemctl -q is-active containerd"),
    ),
    Assertion(
        "service",
        "auditd is enabled and runs",
        Booted("systemctl -q is-enabled auditd && systemctl -q is-active auditd"),
    ),
    Assertion(
        "service",
        "systemd-timesyncd is enabled and runs",
        Booted("systemctl -q is-enabled systemd-timesyncd && systemctl -q is-active systemd-timesyncd"),
    ),
    Assertion(
        "service",
        "kubelet is enabled and does not run",
        Booted("systemctl -q is-enabled kubelet && ! systemctl -q is-active kubelet"),
    ),
    Assertion(
        "service",
        "dockerd is neither",
        Booted(
            "! systemctl -q is-enabled docker && ! systemctl -q is-active docker && [ \"$(systemctl is-enabled docker.socket)\" = masked ]",
        ),
    ),
    Assertion(
        "service",
        "conntrackd is neither",
        Booted("! systemctl -q is-enabled conntrackd && ! systemctl -q is-active conntrackd"),
    ),
    Assertion(
        "kernel-param",
        "`net.bridge.bridge-nf-call-iptables` is 1",
        Booted("[ $(</proc/sys/net/bridge/bridge-nf-call-iptables) = 1 ]"),
    ),
    Assertion(
        "kernel-param",
        "`net.bridge.bridge-nf-call-ip6tables` is 1",
        Booted("[ $(</proc/sys/net/bridge/bridge-nf-call-ip6tables) = 1 ]"),
    ),
    Assertion(
        "kernel-param",
        "`net.ipv4.ip_forward` is 1",
        Booted("[ $(</proc/sys/net/ipv4/ip_forward) = 1 ]"),
    ),
    Assertion(
        "kernel-param",
        "`net.ipv6.conf.all.forwarding` is 1",
        Booted("[ $(</proc/sys/net/ipv6/conf/all/forwarding) = 1 ]"),
    ),
    Assertion(
        "kernel-param",
        "`net.ipv6.conf.all.disable_ipv6` is 0",
        Booted("[ $(</proc/sys/net/ipv6/conf/all/disable_ipv6) = 0 ]"),
    ),
    Assertion(
        "kernel-param",
        "`vm.overcommit_memory` is 1",
        Booted("[ $(</proc/sys/vm/overcommit_memory) = 1 ]"),
    ),
    Assertion("kernel-param", "`kernel.panic` is 10", Booted("[ $(</proc/sys/kernel/panic) = 10 ]")),
    Assertion(
        "kernel-param",
        "`kernel.panic_on_oops` is 1",
        Booted("[ $(</proc/sys/kernel/panic_on_oops) = 1 ]"),
    ),
    Assertion("hygiene", "there is no SSH host key", Image("ROOT is the stock one, byte for byte")),
    Assertion(
        "hygiene",
        "the machine id is empty or `uninitialized`",
        Image("ROOT is the stock one, byte for byte"),
    ),
    Assertion(
        "hygiene",
        "there is no instance id of cloud-init",
        Image("ROOT is the stock one, byte for byte"),
    ),
    Assertion("hygiene", "there are no core dumps", Image("ROOT is the stock one, byte for byte")),
    Assertion("hygiene", "`/var/log` has at most 200 MB", Image("ROOT is the stock one, byte for byte")),
    Assertion("sysext", "`systemd-sysext --version` answers", Booted("systemd-sysext --version")),
    Assertion("sysext", "`systemd-sysext.service` is there", Booted("systemctl cat systemd-sysext.service")),
    Assertion("sysext", "`/etc/extensions` is a directory", Booted("[ -d /etc/extensions ]")),
    Assertion(
        "sysext",
        "`/var/lib/extensions` and `/opt/extensions` are directories",
        Differs(
            "images lie on the partition OEM, so that `flatcar-reset` keeps them; links in `/etc/extensions` lead there",
        ),
    ),
    Assertion(
        "sysext",
        "there is no kubelet, kubeadm, kubectl, containerd or CNI plugin",
        Differs("that is for images that fetch sysexts when they boot; here they are merged already"),
    ),
    Assertion(
        "package",
        "`ntp` is not installed",
        Differs("Flatcar has no packages; its base holds `ntpd`, which nothing enables"),
    ),
    Assertion(
        "package",
        "kubeadm, kubelet, kubectl and kubernetes-cni are installed",
        Differs("the versions that the programs say are held in their place"),
    ),
    Assertion(
        "files",
        "programs of Kubernetes and containerd in `/opt/bin`",
        Differs(
            "they are in `/usr/bin`, by sysexts: read-only, in the PATH of every service, and replaced as one file",
        ),
    ),
    Assertion(
        "files",
        "`/etc/image-builder-release`, if a version is given",
        Differs("`/oem/prebake.json` and the tree's provenance say what an image is made of"),
    ),
    Assertion(
        "options",
        "WASM shims, gVisor, immutable mounts",
        Differs("off by default there; a sysext of your own brings a shim"),
    ),
    Assertion("role node", "swap is off", Booted("[ $(wc -l </proc/swaps) = 1 ]")),
    Assertion(
        "role node",
        "modules `overlay` and `br_netfilter` are loaded",
        Booted("grep -q '^overlay ' /proc/modules && grep -q '^br_netfilter ' /proc/modules"),
    ),
    Assertion(
        "role node",
        "inotify has room for pods",
        Booted(
            "[ $(</proc/sys/fs/inotify/max_user_instances) = 8192 ] && [ $(</proc/sys/fs/inotify/max_user_watches) = 524288 ]",
        ),
    ),
    Assertion(
        "role node",
        "`net.ipv4.tcp_congestion_control` is bbr",
        Differs("a matter of the network, and not of Kubernetes: a layer sets it"),
    ),
    Assertion(
        "role node",
        "udev rules and a script for etcd's disk",
        Differs("a matter of the machine: a layer brings them"),
    ),
    Assertion(
        "role containerd",
        "the cgroup driver is systemd",
        Booted(
            "containerd --config /usr/share/containerd-config/config.toml config dump | grep -q 'SystemdCgroup = true'",
        ),
    ),
    Assertion(
        "role containerd",
        "the sandbox image is kubeadm's, and there",
        Booted(
            "image=$(kubeadm config images list --kubernetes-version KUBERNETES | grep /pause:) && grep -q \"\\\"$image\\\"\" /usr/share/containerd-config/config.toml && crictl images | grep -q \"^${image%:*} ${image##*:} \"",
        ),
    ),
    Assertion(
        "role containerd",
        "the running containerd has that config",
        Booted(
            "tr '\\0' ' ' </proc/$(systemctl show -P MainPID containerd)/cmdline | grep -q ' /usr/share/containerd-config/config.toml'",
        ),
    ),
    Assertion(
        "role kubernetes",
        "`/etc/kubernetes-version` and `/etc/kubernetes/manifests`",
        Booted("[ $(</etc/kubernetes-version) = KUBERNETES ] && [ -d /etc/kubernetes/manifests ]"),
    ),
    Assertion(
        "role kubernetes",
        "`/etc/kubeadm.yml` is kept for `kubeadm init`",
        Image("`base/base.ign` has it, and `kubeadm config validate` takes it"),
    ),
    Assertion(
        "role sysprep",
        "updates are masked",
        Booted("[ \"$(systemctl is-enabled update-engine locksmithd | sort -u)\" = masked ]"),
    ),
    Assertion("role sysprep", "`flatcar.autologin` is gone", Booted("! grep -q autologin /proc/cmdline")),
    Assertion(
        "Cluster API",
        "user data is merged over the image's config",
        Booted("[ \"$(</etc/from-user-data)\" = given ] && [ -e /etc/crictl.yaml ]"),
    ),
    Assertion(
        "Cluster API",
        "images are there before `kubeadm.service` starts",
        Booted("[ \"$(systemctl show -P ActiveState prebake-images)\" = active ]"),
    ),
];

/// Commands that fail on any node image: a machine that finds nothing wrong with them looks at nothing.
const WRONG: [&str; 2] = ["systemctl -q is-active kubelet", "[ $(</proc/sys/kernel/panic) = 0 ]"];

/// The table as Markdown.
fn table() -> String {
    let mut text = String::from("| list | assertion | held |\n|---|---|---|\n");
    for Assertion(list, says, held) in ASSERTIONS {
        let held = match held {
            Booted(command) => format!("in the machine: `{}`", command.replace('|', "\\|")),
            Image(what) => format!("in the image: {what}"),
            Differs(why) => format!("by design otherwise: {why}"),
        };
        text += &format!("| {list} | {says} | {held} |\n");
    }
    text
}

#[test]
fn the_guide_has_the_table_of_assertions() {
    let path = repository(GUIDE);
    let guide = fs::read_to_string(&path).unwrap();
    let [begin, end] = MARKS;
    let (before, rest) = guide.split_once(begin).expect("the guide has the first mark");
    let (found, after) = rest.split_once(end).expect("the guide has the second mark");
    if std::env::var_os("PREBAKE_BLESS").is_some() {
        fs::write(&path, format!("{before}{begin}{}{end}{after}", table())).unwrap();
        return;
    }
    assert_eq!(found, table(), "`PREBAKE_BLESS=1` writes it");
}

#[test]
fn the_recipe_of_the_guide_is_the_one_that_ships() {
    let guide = fs::read_to_string(repository(GUIDE)).unwrap();
    let shown = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let recipe = fs::read_to_string(repository("recipes/capi-node.yaml")).unwrap();
    let lines = |text: &str| -> Vec<String> {
        let kept = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        kept.map(str::to_owned).collect()
    };
    assert_eq!(lines(shown), lines(&recipe));
}

/// The shipped recipe for the versions that the lab has, with the lab's key and a containerd.
pub(crate) fn recipe(site: &Path) {
    let copied =
        Command::new("cp").arg("-a").arg(repository("recipes/capi-node")).arg(site).status().unwrap();
    assert!(copied.success());
    let edit = |file: &str, edits: &[(&str, &str)]| {
        let mut text = fs::read_to_string(repository("recipes").join(file)).unwrap();
        for (from, to) in edits {
            assert!(text.contains(from), "{file} has no {from:?}");
            text = text.replace(from, to);
        }
        fs::write(site.join(file), text).unwrap();
    };
    let trust = format!(
        "trust: {{primary_fingerprint: {}, key: lab.asc}}\nsysexts: [containerd, ",
        crate::world::PRIMARY
    );
    edit(
        "capi-node.yaml",
        &[("v1.34.4", VERSION), ("sysexts: [", &trust), ("[proxmoxve, openstack]", "[qemu]")],
    );
    edit("capi-node/base.bu", &[("v1.34.4", VERSION)]);
}

/// The script that runs in the place of `kubeadm join`: each command with its verdict.
fn script(nonce: &str) -> String {
    let mut script = String::from("#!/bin/bash\nexec >/dev/console 2>&1\n");
    let commands = ASSERTIONS.iter().map(|Assertion(.., held)| match held {
        Booted(command) => Some(*command),
        Image(_) | Differs(_) => None,
    });
    for (number, command) in commands.chain(WRONG.map(Some)).enumerate() {
        let Some(command) = command else { continue };
        let command = command.replace("CONTAINERD", CONTAINERD).replace("KUBERNETES", VERSION);
        let command = command.replace(" CNI$", &format!(" {CNI}$"));
        script += &format!(
            "if said=$(exec 2>&1\n{command}\n); then word=good; else word=bad; fi\n\
             printf '\\nLAB-NODE {number} %s %s\\n' $word \"$(tail -c 300 <<<\"$said\" | tr '\\n' ' ')\"\n"
        );
    }
    // systemd may have left an unfinished status line on the console.
    script + &format!("echo\necho LAB-NODE end {nonce}\n")
}

/// The user data of a machine, in the form of Cluster API's kubeadm bootstrap provider: `kubeadm.service` runs
/// `/etc/kubeadm.sh` where there is an `/etc/kubeadm.yml`.
fn user_data(nonce: &str) -> String {
    let file = |path: &str, mode: u32, text: &str| {
        json!({"path": path, "mode": mode, "overwrite": true,
            "contents": {"source": format!("data:;base64,{}", base64(text.as_bytes()))}})
    };
    let unit = "[Unit]\nDescription=kubeadm\nConditionPathExists=/etc/kubeadm.yml\nAfter=network.target\n\
        [Service]\nType=oneshot\nExecStart=/etc/kubeadm.sh\n[Install]\nWantedBy=multi-user.target\n";
    // Nobody answers there: the machine asks no server of the world for the time.
    let time = "[Time]\nNTP=10.0.2.2\nFallbackNTP=\n";
    json!({
        "ignition": {"version": "3.3.0"},
        "storage": {"files": [
            file("/etc/kubeadm.yml", 0o600, "# Cluster API's\n"),
            file("/etc/kubeadm.sh", 0o700, &script(nonce)),
            file("/etc/from-user-data", 0o644, "given\n"),
            file("/etc/systemd/timesyncd.conf.d/lab.conf", 0o644, time),
        ]},
        "systemd": {"units": [{"name": "kubeadm.service", "enabled": true, "contents": unit}]},
    })
    .to_string()
}

fn base64(bytes: &[u8]) -> String {
    base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)
}

/// Follows a machine's console to the end of the script: verdicts by number, with what a failed command said.
fn follow(machine: &mut Machine, nonce: &str) -> BTreeMap<usize, String> {
    let mut verdicts = BTreeMap::new();
    let end = format!("end {nonce}");
    loop {
        let event = machine.wait_for(&["LAB-NODE "], PATIENCE);
        let event = event.unwrap_or_else(|stall| panic!("{stall}\n{}", machine.last_lines(80).join("\n")));
        let (_, said) = event.line.split_once("LAB-NODE ").unwrap();
        if said.trim_end() == end {
            eprintln!("{:5.1} s  {} verdicts", event.after.as_secs_f64(), verdicts.len());
            return verdicts;
        }
        eprintln!("{:5.1} s  {said}", event.after.as_secs_f64());
        let (number, verdict) = said.split_once(' ').unwrap();
        verdicts.insert(number.parse().unwrap(), verdict.trim_end().to_owned());
    }
}

/// A file of a config, whose contents are in it.
pub(crate) fn written(config: &Value, path: &str) -> String {
    let files = config["storage"]["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("no {path}"));
    let source = file["contents"]["source"].as_str().unwrap();
    let is_packed = file["contents"]["compression"] == "gzip";
    let (head, data) = source.split_once(',').unwrap();
    let bytes = match head.ends_with(";base64") {
        true => base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data).unwrap(),
        false => percent_encoding(data),
    };
    let mut text = String::new();
    match is_packed {
        true => drop(flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text).unwrap()),
        false => text = String::from_utf8(bytes).unwrap(),
    }
    text
}

fn percent_encoding(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    bytes
}

/// Holds what the table holds in the image.
fn judge_image(image: &Path, stock: &Path, kubeadm: &Path, work: &Path) {
    let disk = Disk::open(image);
    let raw = work.join("stock.bin");
    let unpacked =
        Command::new("bzip2").args(["-dc"]).arg(stock).stdout(fs::File::create(&raw).unwrap()).status();
    assert!(unpacked.unwrap().success());
    let packed = Command::new("zstd").args(["-q", "-1"]).arg(&raw).status().unwrap();
    assert!(packed.success());
    let stock = Disk::open(&work.join("stock.bin.zst"));
    let length = usize::try_from(stock.table.named("ROOT").unwrap().length).unwrap();
    assert!(disk.bytes("ROOT", 0, length) == stock.bytes("ROOT", 0, length), "ROOT is not the stock one");

    let paths: Vec<String> = disk.oem().list().map(|listed| listed.path.clone()).collect();
    assert!(
        !paths.contains(&"config.ign".to_owned()),
        "it would keep the machine from its user data: {paths:?}"
    );
    let config: Value = serde_json::from_str(&disk.text("base/base.ign")).unwrap();
    let kept = work.join("kubeadm.yml");
    fs::write(&kept, written(&config, "/etc/kubeadm.yml")).unwrap();
    let mut validate = Command::new(kubeadm);
    validate.args(["config", "validate", "--config"]).arg(&kept);
    Run::of(validate.output().unwrap()).ok();
}

/// The node image, and what it is held against.
pub(crate) struct Built {
    pub image: PathBuf,
    /// The release's own disk image.
    stock: PathBuf,
    kubeadm: PathBuf,
}

/// Builds the node image of the recipe in a directory, out of a mirror and a registry that are gone afterwards; nothing where judges
/// are skipped.
pub(crate) fn build(work: &Path, nonce: &str) -> Option<Built> {
    let peers = ["kubernetes", "containerd", "cni", "cri"].map(judges::build);
    let [Some(kubernetes), Some(containerd), Some(cni), Some(cri)] = peers else { return None };
    let release = release::build(&work.join("lab")).unwrap();
    let upstream = Upstream::of_a_node(&work.join("upstream"), &kubernetes, &containerd, &cni).unwrap();
    let upstream = upstream.with_crictl(&cri).unwrap();
    let (registry, _) = registry(work, nonce);
    let mirror = Mirror::builder()
        .directory("/flatcar/", &release.server)
        .directory("/", &upstream.directory)
        .start()
        .unwrap();
    Site::new(work, &mirror, &registry).prebake(&["build", "capi-node.yaml"]);
    Some(Built {
        image: work.join("output/capi-node/current/disk/node/qemu.qcow2"),
        stock: release.server.join("stable/amd64-usr/current/flatcar_production_image.bin.bz2"),
        kubeadm: kubernetes.join("kubeadm"),
    })
}

#[test]
#[ignore = "takes the machine: `make test` runs it"]
fn the_node_image_holds_the_acceptance_list_of_image_builder() {
    let directory = TempDir::new().unwrap();
    let work = directory.path();
    let nonce = lab::nonce();
    recipe(work);
    let Some(Built { image: built, stock, kubeadm }) = build(work, &nonce) else { return };
    judge_image(&built, &stock, &kubeadm, work);

    let (image, given, console) = (work.join("qemu.qcow2"), work.join("user-data.ign"), work.join("console"));
    fs::copy(&built, &image).unwrap();
    fs::write(&given, user_data(&nonce)).unwrap();
    let _turn = machine::turn();
    let machine = Machine::builder("", &console).no_network_boot().qcow2(&image).user_data(&given);
    let mut machine = machine.memory_mib(3072).start().unwrap();
    let verdicts = follow(&mut machine, &nonce);
    let mut failed = Vec::new();
    for (number, Assertion(list, says, held)) in ASSERTIONS.iter().enumerate() {
        let verdict = verdicts.get(&number).map(String::as_str);
        match (held, verdict.map(|verdict| verdict.starts_with("good"))) {
            (Image(_) | Differs(_), None) | (Booted(_), Some(true)) => {}
            _ => failed.push(format!("{list}: {says}: {verdict:?}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    for (at, command) in WRONG.iter().enumerate() {
        let verdict = &verdicts[&(ASSERTIONS.len() + at)];
        assert!(verdict.starts_with("bad"), "{command} is {verdict}");
    }
}
