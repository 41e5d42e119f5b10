//! `prebake cluster generate`: from a description to a tree, a private part and a kubeconfig.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::cluster::description::Cluster;
use prebake::cluster::place::Place;
use prebake::cluster::project;
use prebake::tree::open::Tree;
use serde_json::Value;

use crate::bake::kubernetes::{command, run, source, world};
use crate::judges;
use crate::world::registry::{Builder, Registry};
use crate::world::{Run, World, repository};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1bYMr9u7sMzr6QJ3MmQXlcT6tGLlGbmm3nmvZ3pJ0c lab@test";

/// Three controllers with a shared address, and two workers.
const DESCRIPTION: &str = r#"
cluster:
  name: edge
  k8s_version: 1.33.13
  flatcar_version: 4593.2.5
  cni: routes
  ssh_authorized_key: KEY
control_plane_vip: 10.77.0.5
bootstrap: {ip: 10.77.0.1}
network: 10.77.0.0/24
nodes:
  - {name: c1, ip: 10.77.0.11, mac: "52:54:00:77:00:11", role: controller, state: /dev/disk/by-id/virtio-c1}
  - {name: c2, ip: 10.77.0.12, mac: "52:54:00:77:00:12", role: controller, state: /dev/disk/by-id/virtio-c2}
  - {name: c3, ip: 10.77.0.13, mac: "52:54:00:77:00:13", role: controller, state: /dev/disk/by-id/virtio-c3}
  - {name: w1, ip: 10.77.0.21, mac: "52:54:00:77:00:21", role: worker, memory: 4GiB}
  - {name: w2, ip: 10.77.0.22, mac: "52:54:00:77:00:22", role: worker, kernel_args: ["console=ttyS0"], ignition: [gpu.bu]}
registry_mirrors: {docker.io: ["http://10.77.0.1:5000"]}
proxy: {url: "http://10.77.0.3:3128"}
ntp: [10.77.0.1]
recipe:
  trust: {primary_fingerprint: 9B368570AEFD715B83A15ACE4F564163D3EA328A, key: recipes/lab.asc}
"#;

pub(super) struct Site {
    pub world: World,
    registry: Registry,
}

impl Site {
    pub fn new() -> Site {
        let world = world("images: asset", &source());
        let sysext = world.path("sysext/kubernetes/sysext.yaml");
        let text =
            fs::read_to_string(&sysext).unwrap() + "  kube-vip: [\"ghcr.io/kube-vip/kube-vip:v1.2.1\"]\n";
        fs::write(sysext, text).unwrap();
        let mut builder = Builder::default();
        for (name, tag) in crate::bake::kubernetes::IMAGES.iter().chain(&[("kube-vip/kube-vip", "v1.2.1")]) {
            builder.push(name, tag, &["amd64"]);
        }
        world.write("cluster.yaml", DESCRIPTION.replace("KEY", KEY));
        world.write("gpu.bu", "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - path: /etc/gpu\n      contents: {inline: yes}\n");
        Site { world, registry: builder.start() }
    }

    /// prebake with the site's mirrors.
    pub fn command(&self, args: &[&str]) -> Command {
        command(&self.world, &self.registry, args)
    }

    /// The same, to its end.
    pub fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    fn generate(&self, args: &[&str]) -> Run {
        run(&self.world, &self.registry, &[&["cluster", "generate"], args].concat())
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.generate(&[&["--json"], args].concat()).ok().stdout).unwrap()
    }

    fn tree(&self) -> PathBuf {
        self.world.path("output/edge/current")
    }

    fn config(&self, id: &str) -> String {
        fs::read_to_string(self.tree().join(format!("ignition/{id}.ign"))).unwrap()
    }

    fn private(&self) -> BTreeMap<String, Vec<u8>> {
        let directory = self.world.path("output/.edge/private/edge/ignition");
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect()
    }
}

/// The files of a config, by path.
fn files(config: &str) -> BTreeMap<String, String> {
    let config: Value = serde_json::from_str(config).unwrap();
    let files = config["storage"]["files"].as_array().cloned().unwrap_or_default();
    let text = |file: &Value| {
        let url = file["contents"]["source"].as_str().unwrap_or_default();
        let compressed = file["contents"]["compression"].as_str() == Some("gzip");
        let url = data_url(url);
        match compressed {
            true => {
                use std::io::Read;
                let mut text = String::new();
                flate2::read::GzDecoder::new(&url[..]).read_to_string(&mut text).unwrap();
                text
            }
            false => String::from_utf8_lossy(&url).into_owned(),
        }
    };
    files.iter().map(|file| (file["path"].as_str().unwrap().to_owned(), text(file))).collect()
}

fn data_url(url: &str) -> Vec<u8> {
    use base64::Engine as _;
    let (head, data) = url.strip_prefix("data:").unwrap_or_default().split_once(',').unwrap_or_default();
    match head.ends_with(";base64") {
        true => base64::engine::general_purpose::STANDARD.decode(data).unwrap(),
        false => percent_encoding::percent_decode_str(data).collect(),
    }
}

/// A unit of the sysext `report` with the drop-ins of a config behind it, as systemd reads them.
fn dropin(config: &str, unit: &str) -> String {
    let own = fs::read_to_string(repository(&format!("sysext/report/files/usr/lib/systemd/system/{unit}")));
    let config: Value = serde_json::from_str(config).unwrap();
    let units = config["systemd"]["units"].as_array().unwrap();
    let ours = units.iter().filter(|known| known["name"] == unit);
    let dropins = ours.flat_map(|unit| unit["dropins"].as_array().cloned().unwrap_or_default());
    let texts: Vec<String> = dropins.map(|one| one["contents"].as_str().unwrap().to_owned()).collect();
    [vec![own.unwrap()], texts].concat().join("\n")
}

/// The paths that a unit waits for: an empty assignment forgets those above it (systemd.path(5)).
fn watched(unit: &str) -> Vec<&str> {
    unit.lines().filter_map(|line| line.strip_prefix("PathExists=")).fold(Vec::new(), |mut paths, path| {
        match path {
            "" => paths.clear(),
            path => paths.push(path),
        }
        paths
    })
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_description_becomes_a_tree_a_private_part_and_a_kubeconfig_whose_bytes_follow_from_it_alone() {
    let site = Site::new();
    let first = site.json(&[]);
    assert!(site.world.path("cluster.lock").exists(), "the lock lies beside the description");
    let kubeconfig = site.world.path("output/kubeconfig");
    assert_eq!(mode(&kubeconfig), 0o600);
    assert_eq!(mode(&site.world.path("output/.edge")), 0o700);

    // Each controller has the authorities, each joining node a certificate to join with, and only there.
    let private = site.private();
    let ids: Vec<&str> = private.keys().map(String::as_str).collect();
    assert_eq!(
        ids,
        [
            "controller+c1.ign",
            "controller+c2.ign",
            "controller+c3.ign",
            "worker+w1.ign",
            "worker-as-w2+w2.ign"
        ]
    );
    let paths = |id: &str| files(&String::from_utf8_lossy(&private[id])).into_keys().collect::<Vec<_>>();
    let pki: Vec<String> = [
        "ca.crt",
        "ca.key",
        "etcd/ca.crt",
        "etcd/ca.key",
        "front-proxy-ca.crt",
        "front-proxy-ca.key",
        "sa.key",
        "sa.pub",
    ]
    .map(|name| format!("/etc/kubernetes/pki/{name}"))
    .into();
    let with =
        |own: &[&str]| own.iter().map(|path| (*path).to_owned()).chain(pki.clone()).collect::<Vec<_>>();
    assert_eq!(
        paths("controller+c1.ign"),
        with(&["/etc/kubernetes/kubeadm-retry.yaml", "/etc/kubernetes/kubeadm.yaml"])
    );
    assert_eq!(paths("controller+c2.ign"), with(&["/etc/kubernetes/discovery.conf"]));
    assert_eq!(paths("worker+w1.ign"), ["/etc/kubernetes/discovery.conf"]);

    // Files that follow from the description.
    let config = site.config("controller+c2");
    let own = files(&config);
    assert_eq!(own["/etc/hostname"], "c2\n");
    assert!(own["/etc/hosts"].contains("10.77.0.21 w1\n"));
    assert!(own["/etc/systemd/network/05-lan0.link"].contains("MACAddress=52:54:00:77:00:12"));
    let network = &own["/etc/systemd/network/05-lan0.network"];
    assert!(
        network.contains("Address=10.77.0.12/24\n")
            && network.contains("Destination=10.244.21.0/24\nGateway=10.77.0.21\n"),
        "{network}"
    );
    assert!(own["/etc/cni/net.d/10-routes.conflist"].contains("10.244.12.0/24"));
    assert!(own["/etc/kubernetes/manifests/kube-vip.yaml"].contains("10.77.0.5"));
    assert!(
        own["/etc/kubernetes/kubeadm.yaml"].contains("kubeConfigPath: "),
        "a join by certificate has no secret in its config"
    );
    assert!(own["/etc/containerd/certs.d/docker.io/hosts.toml"].contains("registry-1.docker.io"));
    assert!(own["/etc/prebake/node.env"].contains("TURN=yes\n"));
    assert!(config.contains("\"kubeadm-join.service\"") && config.contains("NO_PROXY=localhost"), "{config}");
    let config: Value = serde_json::from_str(&config).unwrap();
    let state = &config["storage"]["filesystems"][0];
    assert_eq!(
        (&state["device"], &state["path"]),
        (&"/dev/disk/by-id/virtio-c2".into(), &"/etc/kubernetes".into())
    );
    assert_ne!(state["wipeFilesystem"], true);
    assert_eq!(files(&site.config("worker-as-w2+w2"))["/etc/gpu"], "yes");
    // A controller has kubelet.conf before it is a member of etcd, and the turn of the next one begins with its report.
    for id in ["controller+c1", "controller+c2", "worker+w1"] {
        let merged = dropin(&site.config(id), "prebake-joined.path");
        assert_eq!(watched(&merged), ["/etc/kubernetes/.joined"], "{id}: {merged}");
    }

    // A second run changes nothing; other keys neither, in public.
    let second = site.json(&["--locked", "--offline"]);
    assert_eq!((&second["build_id"], &second["unchanged"]), (&first["build_id"], &true.into()));
    assert_eq!(site.private(), private, "what is there is kept");
    fs::remove_dir_all(site.world.path("output/.edge")).unwrap();
    fs::remove_file(&kubeconfig).unwrap();
    let anew = site.json(&["--locked", "--offline"]);
    assert_eq!((&anew["build_id"], &anew["unchanged"]), (&first["build_id"], &true.into()));
    assert_ne!(site.private()["worker+w1.ign"], private["worker+w1.ign"]);
    for entry in fs::read_dir(site.tree().join("ignition")).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("PRIVATE"), "{text}");
    }
    site.world.prebake(&["verify", "output/edge/current"]).ok();
}

// kubeadm reads the files where it looks for them, and none of our own authority's go to controllers that have no members.
#[test]
fn an_etcd_outside_is_named_in_the_config_and_its_files_are_in_private_parts_alone() {
    let site = Site::new();
    let world = &site.world;
    fs::create_dir_all(world.path("etcd")).unwrap();
    for name in ["ca", "client"] {
        let (key, certificate) = (format!("etcd/{name}.key"), format!("etcd/{name}.crt"));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=etcd", "-keyout"]);
        let made = openssl.arg(world.path(&key)).arg("-out").arg(world.path(&certificate)).output().unwrap();
        assert!(made.status.success());
    }
    let etcd = "  cni: routes\n  key_algorithm: rsa\n  etcd:\n    endpoints: [\"https://10.77.0.31:2379\"]\n    ca: etcd/ca.crt\n    cert: etcd/client.crt\n    key: etcd/client.key\n";
    world.edit("cluster.yaml", "  cni: routes\n", etcd);
    for name in ["c1", "c2", "c3"] {
        world.edit("cluster.yaml", &format!(", state: /dev/disk/by-id/virtio-{name}"), "");
    }
    site.generate(&[]).ok();
    let private = site.private();
    let given = |id: &str| files(&String::from_utf8_lossy(&private[id]));
    let first = given("controller+c1.ign");
    let names: Vec<&String> = first.keys().filter(|path| path.contains("etcd")).collect();
    let [ca, cert, key] = ["etcd/ca.crt", "apiserver-etcd-client.crt", "apiserver-etcd-client.key"]
        .map(|name| format!("/etc/kubernetes/pki/{name}"));
    assert_eq!(names, [&cert, &key, &ca]);
    assert_eq!(first[&ca], fs::read_to_string(world.path("etcd/ca.crt")).unwrap());
    assert!(given("controller+c3.ign").contains_key(&key));
    assert!(!given("worker+w1.ign").keys().any(|path| path.contains("etcd")));
    let config = &first["/etc/kubernetes/kubeadm.yaml"];
    assert!(
        config.contains("https://10.77.0.31:2379") && config.contains("encryptionAlgorithm: RSA-2048"),
        "{config}"
    );
    let Some(programs) = judges::build("kubernetes") else { return };
    let path = world.path("kubeadm.yaml");
    fs::write(&path, config).unwrap();
    let mut kubeadm = Command::new(programs.join("kubeadm"));
    let judged = Run::of(kubeadm.args(["config", "validate", "--config"]).arg(&path).output().unwrap()).ok();
    assert!(!judged.stderr.contains("WARNING"), "{}", judged.stderr);

    // Keys that are there stay, and it is told.
    world.edit("cluster.yaml", "  key_algorithm: rsa\n", "");
    let told = site.generate(&[]).ok().stderr;
    assert!(
        told.contains("are RSA-2048, not ECDSA-P256") && told.contains("a cluster keeps those"),
        "{told}"
    );
    // A file that lacks is told by its name.
    fs::remove_file(world.path("etcd/client.key")).unwrap();
    let refused = site.generate(&[]);
    assert!(refused.code != Some(0) && refused.stderr.contains("etcd/client.key"), "{}", refused.stderr);
}

// A path was joined twice to a relative directory.
#[test]
fn a_description_in_another_directory_has_its_files_beside_it() {
    let site = Site::new();
    let world = &site.world;
    for file in ["cluster.yaml", "gpu.bu"] {
        world.write(&format!("site/{file}"), fs::read_to_string(world.path(file)).unwrap());
        fs::remove_file(world.path(file)).unwrap();
    }
    let recipe = site.generate(&["site/cluster.yaml", "--recipe"]).ok().stdout;
    let layer = world.path("site/gpu.bu");
    assert!(recipe.contains(layer.to_str().unwrap()), "{recipe}");
}

#[test]
fn the_private_part_is_made_without_the_store_and_a_tree_of_another_description_is_refused_by_its_first_difference()
 {
    let site = Site::new();
    site.generate(&[]).ok();
    let place = Place::new(&site.world.path("output"), "edge");
    let tree = Tree::directory(&place.tree()).unwrap();
    fs::remove_dir_all(site.world.path("store")).unwrap();
    assert_eq!(project::private(&place, &tree).unwrap(), site.private());
    site.world.edit("cluster.yaml", "10.77.0.21,", "10.77.0.31,");
    site.generate(&["--recipe"]).ok();
    let refused = project::private(&place, &tree).unwrap_err();
    assert!(refused.to_string().contains("/etc/hosts differs"), "{refused}");
    site.world.edit("cluster.yaml", "10.77.0.31,", "10.77.0.21,");
    site.world.edit("cluster.yaml", "name: w1", "name: w9");
    site.generate(&["--recipe"]).ok();
    let refused = project::private(&place, &tree).unwrap_err();
    assert!(refused.to_string().contains("was not made from this description"), "{refused}");
}

#[test]
fn templates_of_the_seed_take_effect_and_what_would_not_is_refused_with_the_way_out() {
    let site = Site::new();
    let world = &site.world;
    let worker = "variant: flatcar\nversion: 1.1.0\nstorage:\n  files:\n    - path: /etc/mine\n      contents:\n        inline: |\n          ${NODE_NAME} {{NODE_ROLE}} {{ .K8S_VERSION }} ${POD_SUBNET} $HOME\n";
    world.write("mine/ignition/worker.yaml.tmpl", worker);
    world.write("mine/profiles/worker.json.tmpl", r#"{"id": "worker", "boot": {"kernel": "/assets/flatcar_production_pxe.vmlinuz", "args": ["quiet"]}}"#);
    world.write("mine/groups/node.json.tmpl", r#"{"id": "${NODE_NAME}", "profile": "${NODE_ROLE}", "selector": {"mac": "{{NODE_MAC}}"}, "metadata": {"ip": "${NODE_IP}"}}"#);
    world.write("mine/dnsmasq.conf.tmpl", "dhcp-range=${BOOTSTRAP_IP},proxy\n");
    let told = site.generate(&["--templates", "mine"]).ok().stderr;
    assert!(told.contains("dnsmasq.conf") && told.contains("does not read it"), "{told}");
    assert_eq!(files(&site.config("worker+w1"))["/etc/mine"], "w1 worker 1.33.13 10.244.0.0/16 $HOME\n");
    let profile = fs::read_to_string(site.tree().join("profiles/worker+w1.json")).unwrap();
    assert!(profile.contains("\"quiet\""), "{profile}");
    assert_eq!(
        fs::read_to_string(world.path("output/.edge/recipe/dnsmasq.conf")).unwrap(),
        "dhcp-range=10.77.0.1,proxy\n"
    );

    // A layer with the token is none of the public ones.
    world.edit("mine/ignition/worker.yaml.tmpl", "${NODE_NAME} ", "${KUBEADM_TOKEN} ");
    site.generate(&["--templates", "mine"]).ok();
    assert!(!site.config("worker+w1").contains("/etc/mine"));
    assert!(String::from_utf8_lossy(&site.private()["worker+w1.ign"]).contains("/etc/mine"));

    let refused = |path: &str, text: &str, words: &[&str]| {
        world.write(path, text);
        site.generate(&["--templates", "mine"]).fails(3, words);
        fs::remove_file(world.path(path)).unwrap();
    };
    refused(
        "mine/ignition/worker.yaml.tmpl",
        "a: 1\nb: ${NODE_NAM}\n",
        &["mine/ignition/worker.yaml.tmpl:2:4", "no variable `NODE_NAM`", "did you mean `NODE_NAME`?"],
    );
    refused(
        "mine/profiles/worker.json.tmpl",
        r#"{"id": "worker", "boot": {"kernel": "/my/vmlinuz"}}"#,
        &["boot.kernel", "leave it out"],
    );
    refused(
        "mine/groups/node.json.tmpl",
        r#"{"metadata": {"gpu": "yes"}}"#,
        &["reaches no machine", "ignition/"],
    );
    refused("mine/profiles/bootstrap.json.tmpl", "{}", &["never boots from them", "remove the file"]);
    refused("mine/ignition/wroker.yaml.tmpl", "", &["replaces no template", "ignition/worker.yaml.tmpl"]);
    refused("mine/dnsmasq.conf.tmpl", "x ${NODE_NAME}\n", &["has no variable `NODE_NAME`"]);
}

// The real Butane and Ignition read every layer and config.
#[test]
fn butane_and_ignition_take_what_is_generated() {
    let (Some(butane), Some(ignition)) = (judges::build("butane"), judges::build("ignition")) else { return };
    let site = Site::new();
    site.generate(&[]).ok();
    let mut layers = 0;
    for entry in fs::read_dir(site.world.path("output/.edge/recipe")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "bu") {
            continue;
        }
        layers += 1;
        let output = Command::new(butane.join("butane")).arg("--strict").arg(&path).output().unwrap();
        assert!(output.status.success(), "{}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(layers, 4 + 5 + 5 + 1, "common, roles, cluster; each node's two; the bootstrap machine's");
    for directory in ["output/edge/current/ignition", "output/.edge/private/edge/ignition"] {
        for entry in fs::read_dir(site.world.path(directory)).unwrap() {
            let path = entry.unwrap().path();
            let output = Command::new(ignition.join("ignition-validate")).arg(&path).output().unwrap();
            assert!(
                output.status.success(),
                "{}: {}",
                path.display(),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

#[test]
fn the_recipe_is_an_ordinary_one_and_members_that_install_themselves_are_refused() {
    let site = Site::new();
    let printed = site.generate(&["--recipe"]).ok().stdout;
    assert!(printed.contains("kubernetes: {version: v1.33.13, images: asset, kube_vip: true}"), "{printed}");
    assert!(!site.tree().exists(), "nothing is built");
    let (cluster, _) = Cluster::load(&site.world.path("cluster.yaml")).unwrap();
    assert_eq!(cluster.nodes.len(), 5);
    site.world.edit("cluster.yaml", "memory: 4GiB", "install: {device: /dev/vda}");
    site.generate(&[]).fails(3, &["cluster.yaml:", "w1 cannot be installed", "`state:` disk"]);
}

#[test]
fn the_guide_has_every_variable_of_the_templates() {
    let path = repository("docs/guides/cluster-templates.md");
    let guide = fs::read_to_string(&path).unwrap();
    let (before, rest) = guide.split_once("cargo test --test it cluster -->\n").unwrap();
    let (_, after) = rest.split_once("<!-- variables: end -->").unwrap();
    let table = prebake::cluster::templates::variables::table();
    let expected = format!("{before}cargo test --test it cluster -->\n{table}<!-- variables: end -->{after}");
    if std::env::var_os("PREBAKE_BLESS").is_some() {
        fs::write(&path, expected).unwrap();
        return;
    }
    assert_eq!(guide, expected, "PREBAKE_BLESS=1 cargo test --test it cluster");
}
