//! The output `capi`, and the flavor `flatcar` of each provider, as the real clusterctl takes them: out of a repository of files, with no
//! network at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use prebake::addon::manifest;
use prebake::base::finding::Source;
use prebake::capi::components::METADATA;
use prebake::capi::flavor::{self, Wish};
use prebake::capi::provider::{PROVIDERS, Template};
use prebake::capi::variables::{COMMON, Default, Form, VIP, Variable};
use prebake::tree::manifest::{Manifest, Role};
use serde_json::{Value, json};

use super::judges::wish;
use crate::bake::recipes::{self, KUBERNETES};
use crate::disk::made;
use crate::judges::build;
use crate::lab::cluster::VERSION;
use crate::lab::mirror::Mirror;
use crate::world::{PRIMARY, Run, World, registry, repository};

/// clusterctl with a configuration, in a network of its own that leads nowhere; nothing where it cannot be built.
struct Clusterctl {
    program: PathBuf,
    world: World,
}

impl Clusterctl {
    fn new(world: World) -> Option<Clusterctl> {
        Some(Clusterctl { program: build("cluster-api")?.join("clusterctl"), world })
    }

    /// Its providers are the files at these paths, by name and type.
    fn configure(&self, providers: &[(String, String, PathBuf)], variables: &[(&str, &str)]) {
        let providers: Vec<Value> = providers
            .iter()
            .map(|(name, kind, path)| json!({"name": name, "type": kind, "url": format!("file://{}", path.display())}))
            .collect();
        let mut config = json!({"providers": providers});
        for (name, value) in variables {
            config[name] = json!(value);
        }
        self.world.write("clusterctl.yaml", config.to_string());
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut command = Command::new("unshare");
        // Without the variable it asks the internet for a newer version of itself, and hangs where there is none.
        command
            .args(["-rn", "timeout", "60"])
            .arg(&self.program)
            .args(args)
            .arg("--config")
            .arg(self.world.path("clusterctl.yaml"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.world.path("."))
            .env("CLUSTERCTL_DISABLE_VERSIONCHECK", "true");
        Run::of(command.stdin(Stdio::null()).output().unwrap())
    }

    /// The seed's command. The provider's name takes the place of a management cluster, which knows it.
    fn generate(&self, provider: &str, more: &[&str]) -> Run {
        let args =
            ["generate", "cluster", "prod", "--flavor", "flatcar", "-n", "kube-system", "-i", provider];
        self.run(&[&args, more].concat())
    }
}

fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text);
    documents.map(|document| serde::Deserialize::deserialize(document).unwrap()).collect()
}

fn of<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    let found = documents.iter().find(|document| document["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {documents:#?}"))
}

/// A value that a variable takes.
fn value(form: Form) -> &'static str {
    match form {
        Form::Number => "24",
        Form::List => "[10.0.0.10-10.0.0.20, 10.0.0.30]",
        Form::Items => "ssh-ed25519 AAAA ops@site, ssh-ed25519 BBBB me",
        Form::Text | Form::Bare => "some-text",
    }
}

/// Every wish that the output's options can make, each with a name.
fn wishes() -> Vec<(String, Wish)> {
    let mut all: Vec<(String, Wish)> =
        PROVIDERS.into_iter().map(|provider| (provider.name.to_owned(), wish(provider))).collect();
    let mut with = |name: &str, change: &dyn Fn(&mut Wish)| {
        let mut wish = wish(PROVIDERS[0]);
        change(&mut wish);
        all.push((name.to_owned(), wish));
    };
    with("memory", &|wish| wish.choices.memory_adjustment = Some(0));
    with("ids", &|wish| wish.choices.vm_ids = Some((2000, 2999)));
    with("id", &|wish| wish.choices.template = Some(Template::Id(211)));
    with("tags", &|wish| wish.choices.template = Some(Template::Tags(vec!["flatcar".into(), "k8s".into()])));
    with("users", &|wish| wish.users = vec!["core".into(), "ops".into()]);
    with("keys", &|wish| wish.ssh_keys = vec!["ssh-ed25519 AAAA me@site".into(), "ssh-ed25519 B".into()]);
    with("networkd", &|wish| wish.restart_networkd = true);
    with("pulled", &|wish| wish.is_carried = false);
    with("old", &|wish| wish.minor = 31);
    with("addon", &|wish| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"},
            "data": {"run": "echo $$ ${NOT_OURS} $(date) $1 \\ \" '"}});
        wish.addons = vec![("net".into(), flavor::split(&[object.clone(), object]).unwrap())];
    });
    all
}

/// Issue 20: each option of each provider goes through clusterctl, with defaults, with every value, and with a value that lacks.
#[test]
fn clusterctl_renders_the_flavor_of_every_provider_with_every_option_and_asks_for_exactly_its_variables() {
    let Some(clusterctl) = Clusterctl::new(World::new()) else { return };
    for (name, wish) in wishes() {
        let component = &wish.provider.component;
        let directory = clusterctl.world.path(&format!("{name}/{}/{}", component.label(), component.version));
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("cluster-template-flatcar.yaml"), flavor::template(&wish)).unwrap();
        let file = directory.join(component.file);
        fs::write(&file, "").unwrap();
        let providers = [(component.name.to_owned(), component.kind.word().unwrap().to_owned(), file)];
        let provider = format!("{}:{}", component.name, component.version);
        let variables = flavor::variables(&wish);
        let needed: Vec<_> = variables
            .iter()
            .map(|filled| filled.variable)
            .filter(|variable| match variable.default {
                Default::Needed | Default::Secret => true,
                Default::Recipe => !variables
                    .iter()
                    .any(|filled| filled.variable.name == variable.name && filled.default.is_some()),
                _ => false,
            })
            .collect();

        // Its questions, with the defaults.
        clusterctl.configure(&providers, &[]);
        let listed = clusterctl.generate(&provider, &["--list-variables"]).ok().stdout;
        let mut asked = BTreeMap::new();
        for line in listed.lines().filter_map(|line| line.trim().strip_prefix("- ")) {
            let (name, default) = line.split_once(" (defaults to ").unwrap_or((line, ""));
            asked.insert(name.trim().to_owned(), default.trim_end_matches(')').trim_matches('"').to_owned());
        }
        let known: BTreeMap<String, String> = variables
            .iter()
            .map(|filled| {
                let default = filled.default.as_deref().unwrap_or_default().trim_matches('"');
                (filled.variable.name.to_owned(), default.to_owned())
            })
            .collect();
        let names = |map: &BTreeMap<String, String>| map.keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&asked), names(&known), "{name}: {listed}");
        for filled in &variables {
            let (own, its) = (&known[filled.variable.name], &asked[filled.variable.name]);
            assert!(
                its == own || filled.default.is_none(),
                "{name}: {} is {its:?}, not {own:?}",
                filled.variable.name
            );
        }

        // With nothing but what it must know.
        let given: Vec<_> = needed.iter().map(|variable| (variable.name, value(variable.form))).collect();
        clusterctl.configure(&providers, &given);
        let run = clusterctl.generate(&provider, &[]).ok();
        let objects = documents(&run.stdout);
        let control = of(&objects, "KubeadmControlPlane");
        assert_eq!(control["spec"]["version"], VERSION, "{name}: the recipe's version is the default");
        assert!(
            objects.iter().all(|object| object["metadata"]["namespace"] == "kube-system"),
            "{name}: {objects:#?}"
        );
        assert!(!run.stdout.contains("${CLUSTER"), "{name}: {}", run.stdout);
        holds_together(&name, &objects, &wish);

        // One value lacks.
        for lacking in &needed {
            let given: Vec<_> = given.iter().copied().filter(|(name, _)| *name != lacking.name).collect();
            clusterctl.configure(&providers, &given);
            clusterctl
                .generate(&provider, &[])
                .fails(1, &[&format!("value for variables [{}] is not set", lacking.name)]);
        }

        // With every value given, and the seed's own version.
        let all: Vec<_> = variables
            .iter()
            .filter(|filled| !matches!(filled.variable.default, Default::Clusterctl))
            .map(|filled| (filled.variable.name, value(filled.variable.form)))
            .collect();
        clusterctl.configure(&providers, &all);
        let more = [
            "--kubernetes-version",
            "v1.31.0",
            "--control-plane-machine-count",
            "3",
            "--worker-machine-count",
            "2",
        ];
        let objects = documents(&clusterctl.generate(&provider, &more).ok().stdout);
        let control = &of(&objects, "KubeadmControlPlane")["spec"];
        assert_eq!((&control["replicas"], &control["version"]), (&json!(3), &json!("v1.31.0")), "{name}");
        assert_eq!(of(&objects, "MachineDeployment")["spec"]["replicas"], 2);
    }
}

/// References lead to objects of the same text, and what a machine expands itself came through.
fn holds_together(name: &str, objects: &[Value], wish: &Wish) {
    let is_there = |reference: &Value| {
        objects.iter().any(|object| {
            let group = object["apiVersion"].as_str().unwrap().split('/').next().unwrap();
            object["kind"] == reference["kind"]
                && object["metadata"]["name"] == reference["name"]
                && reference["apiGroup"] == group
        })
    };
    let cluster = &of(objects, "Cluster")["spec"];
    let control = &of(objects, "KubeadmControlPlane")["spec"];
    let workers = &of(objects, "MachineDeployment")["spec"]["template"]["spec"];
    for reference in [
        &cluster["infrastructureRef"],
        &cluster["controlPlaneRef"],
        &control["machineTemplate"]["spec"]["infrastructureRef"],
        &workers["bootstrap"]["configRef"],
        &workers["infrastructureRef"],
    ] {
        assert!(is_there(reference), "{name}: {reference}");
    }
    let join = &of(objects, "KubeadmConfigTemplate")["spec"]["template"]["spec"];
    for spec in [&control["kubeadmConfigSpec"], join] {
        let file = |path: &str| {
            let files = spec["files"].as_array().unwrap();
            files
                .iter()
                .find(|file| file["path"] == path)
                .map(|file| file["content"].as_str().unwrap().to_owned())
        };
        let script = file("/etc/prebake/before-kubeadm").unwrap();
        let checked = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
        assert!(checked.status.success(), "{script}");
        assert!(script.contains("s|[$]{NODE_NAME}|$NODE_NAME|g"), "{name}: {script}");
        assert_eq!(spec["joinConfiguration"]["nodeRegistration"]["name"], "${NODE_NAME}");
        let additional = spec["ignition"]["containerLinuxConfig"]["additionalConfig"].as_str().unwrap();
        let config: Value = serde_yaml::from_str(additional).unwrap();
        assert_eq!(config["systemd"]["units"][0]["name"], "kubeadm.service");
        let commands = spec["preKubeadmCommands"].as_array().unwrap();
        assert_eq!(commands.len(), if wish.restart_networkd { 3 } else { 1 }, "{name}");
        assert_eq!(spec["users"].as_array().unwrap().len(), wish.users.len());
        let keys = spec["users"][0]["sshAuthorizedKeys"].as_array().unwrap();
        assert_eq!(keys.len(), 2, "{name}: {keys:?}");
    }
    let vip = control["kubeadmConfigSpec"]["files"].as_array().unwrap().iter();
    let vip = vip.clone().find(|file| file["path"] == "/etc/kubernetes/manifests/kube-vip.yaml");
    assert_eq!(vip.is_some(), wish.provider.is_vip);
    if let Some(vip) = vip {
        let pod = &documents(vip["content"].as_str().unwrap())[0];
        let environment = pod["spec"]["containers"][0]["env"].as_array().unwrap();
        let of = |name: &str| &environment.iter().find(|one| one["name"] == name).unwrap()["value"];
        assert_eq!((of("address"), of("vip_interface")), (&json!("some-text"), &json!("")));
        assert_eq!(pod["spec"]["containers"][0]["image"], "ghcr.io/kube-vip/kube-vip:v1.2.1");
    }
    if let Some((addon, groups)) = wish.addons.first() {
        let map = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
        assert_eq!(map["data"][format!("{addon}.yaml")], groups[0].as_str());
    }
}

/// The script that a machine runs before kubeadm, on a config as Cluster API writes it.
#[test]
fn a_machine_tells_kubeadm_its_name_and_ends_with_a_reason_where_it_cannot_become_a_node() {
    let world = World::new();
    world.write("bin/kubeadm", "#!/bin/sh\necho v1.34.4\n");
    fs::set_permissions(world.path("bin/kubeadm"), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |path: &str| world.path(path).display().to_string();
    let mut wish = wish(PROVIDERS[0]);
    wish.minor = 32;
    let template = flavor::template(&wish).replace("$$", "$");
    let script =
        template.split("content: |\n").find(|text| text.trim_start().starts_with("#!/bin/bash")).unwrap();
    let lines: Vec<&str> =
        script.lines().take_while(|line| line.starts_with("        ") || line.is_empty()).collect();
    let script = lines
        .join("\n")
        .replace("/etc/kubeadm.", &at("kubeadm."))
        .replace("/etc/kubernetes/manifests", &at("manifests"));
    let config = "---\nkubernetesVersion: v1.34.4\nnodeRegistration:\n  kubeletExtraArgs:\n  - name: provider-id\n    \
                  value: proxmox://${NODE_ID}\n  name: ${NODE_NAME}\n  other: ${HOME}\n";
    let run = |config: &str, begins: bool, name: &str, id: &str| {
        world.write("kubeadm.yml", config);
        world.write("kubeadm.sh", if begins { "kubeadm init" } else { "kubeadm join" });
        world.write(
            "manifests/kube-vip.yaml",
            "      mountPath: \"/etc/kubernetes/admin.conf\"\n      path: \"/etc/kubernetes/admin.conf\"\n",
        );
        let path = format!("{}:{}", at("bin"), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-c", &script]).env_clear().env("PATH", path);
        Run::of(
            command
                .env("COREOS_CUSTOM_HOSTNAME", name)
                .env("COREOS_CUSTOM_INSTANCE_ID", id)
                .output()
                .unwrap(),
        )
    };
    let read = |path: &str| fs::read_to_string(world.path(path)).unwrap();
    for begins in [true, false] {
        run(config, begins, "prod-control-plane-x7", "6c3fa683-bef9").ok();
        let expected =
            config.replace("${NODE_ID}", "6c3fa683-bef9").replace("${NODE_NAME}", "prod-control-plane-x7");
        assert_eq!(read("kubeadm.yml"), expected, "and nothing else is filled in");
        let kubeconfig = if begins { "super-admin" } else { "admin" };
        let vip = format!(
            "      mountPath: \"/etc/kubernetes/admin.conf\"\n      path: \"/etc/kubernetes/{kubeconfig}.conf\"\n"
        );
        assert_eq!(read("manifests/kube-vip.yaml"), vip);
    }
    // A worker's, or a second control plane's: it has no version.
    run(&config.replace("kubernetesVersion: v1.34.4\n", ""), false, "n1", "1").ok();
    let other = config.replace("v1.34.4", "v1.31.0");
    run(&other, true, "n1", "1")
        .fails(1, &["want Kubernetes v1.31.0 and the image has v1.34.4", "--kubernetes-version v1.34.4"]);
    run(config, true, "", "1").fails(1, &["gave this machine no name that a node can have: ''"]);
    run(config, true, "n1|x", "1").fails(1, &["no name that a node can have: 'n1|x'"]);
    run(config, true, "n1", "").fails(1, &["no number that a node can have"]);
}

/// Releases of Cluster API's components in their own form, each with an image.
fn components(directory: &Path) {
    let write = |path: &str, text: String| {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let github = [
        (
            "kubernetes-sigs/cluster-api",
            "v1.12.10",
            "core-components.yaml",
            "cluster-api/cluster-api-controller",
        ),
        (
            "kubernetes-sigs/cluster-api",
            "v1.12.10",
            "bootstrap-components.yaml",
            "cluster-api/kubeadm-bootstrap-controller",
        ),
        (
            "kubernetes-sigs/cluster-api",
            "v1.12.10",
            "control-plane-components.yaml",
            "cluster-api/kubeadm-control-plane-controller",
        ),
        (
            "kubernetes-sigs/cluster-api-ipam-provider-in-cluster",
            "v1.1.0",
            "ipam-components.yaml",
            "capi-ipam-ic/controller",
        ),
        (
            "ionos-cloud/cluster-api-provider-proxmox",
            "v0.9.0",
            "infrastructure-components.yaml",
            "capmox/manager",
        ),
        ("cert-manager/cert-manager", "v1.20.3", "cert-manager.yaml", "jetstack/cert-manager-controller"),
    ];
    for (repository, version, file, image) in github {
        let base = format!("{repository}/releases/download/{version}");
        let name = image.rsplit('/').next().unwrap();
        write(
            &format!("{base}/{file}"),
            format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}-system, labels: {{cluster.x-k8s.io/provider: x}}}}\n---\n\
                 apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}, namespace: {name}-system}}\nspec:\n  \
                 selector: {{matchLabels: {{a: b}}}}\n  template:\n    metadata: {{labels: {{a: b}}}}\n    spec:\n      containers:\n      \
                 - name: manager\n        image: lab.example/{image}:{version}\n        \
                 args: [--leader-elect, '--diagnostics-address=${{CAPI_DIAGNOSTICS_ADDRESS:=:8443}}']\n"
            ),
        );
        let numbers: Vec<&str> = version.trim_start_matches('v').split('.').collect();
        let contract = "contract: v1beta2";
        write(
            &format!("{base}/{METADATA}"),
            format!(
                "apiVersion: clusterctl.cluster.x-k8s.io/v1alpha3\nkind: Metadata\nreleaseSeries:\n- major: {}\n  minor: {}\n  {contract}\n",
                numbers[0], numbers[1]
            ),
        );
    }
    write(
        "flannel-io/flannel/releases/download/v0.27.3/kube-flannel.yml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kube-flannel-cfg, namespace: kube-flannel}\ndata:\n  net-conf.json: |\n    \
         {\"Network\": \"10.244.0.0/16\", \"Backend\": {\"Type\": \"vxlan\"}}\n---\napiVersion: apps/v1\nkind: DaemonSet\n\
         metadata: {name: kube-flannel, namespace: kube-flannel}\nspec:\n  selector: {matchLabels: {a: b}}\n  template:\n    \
         metadata: {labels: {a: b}}\n    spec: {containers: [{name: f, image: 'ghcr.io/flannel-io/flannel:v0.27.3'}]}\n"
            .into(),
    );
}

/// A world with the shipped recipe, what upstream publishes for it, and a registry with its images.
fn site() -> (World, Mirror, registry::Registry) {
    let world = World::new();
    let recipe = "recipes/capi-proxmox.yaml";
    recipes::copy(&world, &[recipe, "recipes/capi-node", "sysext"]);
    world.edit(
        recipe,
        "sysexts:",
        &format!("trust: {{primary_fingerprint: {PRIMARY}, key: lab.asc}}\nsysexts:"),
    );
    world.release_file("flatcar_production_image.bin.bz2", made::generic());
    world.release_file("oem-proxmoxve.raw", &made::extension("proxmoxve"));
    recipes::upstream(&world.path("upstream"));
    components(&world.path("upstream"));
    let mirror = Mirror::builder().directory("/", &world.path("upstream")).start().unwrap();
    let mut registry = registry::Builder::default();
    let own = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];
    let others = [
        ("coredns/coredns", "v1.12.1"),
        ("etcd", "3.6.5-0"),
        ("pause", "3.10.1"),
        ("kube-vip/kube-vip", "v1.2.1"),
        ("flannel-io/flannel", "v0.27.3"),
        ("cluster-api/cluster-api-controller", "v1.12.10"),
        ("cluster-api/kubeadm-bootstrap-controller", "v1.12.10"),
        ("cluster-api/kubeadm-control-plane-controller", "v1.12.10"),
        ("capi-ipam-ic/controller", "v1.1.0"),
        ("capmox/manager", "v0.9.0"),
        ("jetstack/cert-manager-controller", "v1.20.3"),
        ("jetstack/cert-manager-acmesolver", "v1.20.3"),
    ];
    for (repository, tag) in own.map(|name| (name, KUBERNETES)).into_iter().chain(others) {
        registry.push(repository, tag, &["amd64"]);
    }
    (world, mirror, registry.start())
}

/// Every object in a report that leads somewhere.
fn edges_of(report: &Value) -> Vec<&Value> {
    match report {
        Value::Object(map) if map.contains_key("to") => vec![report],
        Value::Object(map) => map.values().flat_map(edges_of).collect(),
        Value::Array(items) => items.iter().flat_map(edges_of).collect(),
        _ => Vec::new(),
    }
}

/// Seed 003, words of its page: a recipe becomes the image, and a directory out of which its own commands work with no network.
#[test]
fn the_recipe_for_proxmox_becomes_a_repository_that_clusterctl_works_from_and_every_image_of_it_is_there() {
    let (world, mirror, registry) = site();
    let run = |args: &[&str]| {
        let mut command = world.command(args);
        command.env("PREBAKE_MIRROR_KUBERNETES", mirror.url()).env("PREBAKE_MIRROR_GITHUB", mirror.url());
        Run::of(command.env("PREBAKE_MIRROR_OCI", registry.url()).output().unwrap())
    };
    let recipe = "recipes/capi-proxmox.yaml";
    run(&["plan", recipe]).fails(
        3,
        &[
            "the manifests of cluster-api are not here",
            "`prebake capi vendor recipes/capi-proxmox.yaml` fetches it",
        ],
    );
    let vendored = run(&["capi", "vendor", recipe]).ok();
    assert!(
        vendored.stdout.contains("infrastructure-proxmox 0.9.0 is in recipes/capi/infrastructure-proxmox"),
        "{}",
        vendored.stdout
    );
    let again = run(&["capi", "vendor", recipe, "--json"]).ok();
    let list: Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 7);
    run(&["lock", recipe]).ok();
    let built = run(&["build", recipe, "--locked"]).ok();
    assert!(!built.stderr.contains("warning"), "{}", built.stderr);
    let tree = world.path("output/capi-proxmox/current");
    assert!(tree.join("disk/node/proxmoxve.qcow2").is_file());

    // Closure: every image that a manifest of the repository names is an archive of the tree, and those of nodes are in their sysext.
    let record: Value = serde_json::from_slice(&fs::read(tree.join("capi/capi.json")).unwrap()).unwrap();
    let manifest = Manifest::parse("the tree", &fs::read(tree.join("manifest.json")).unwrap()).unwrap();
    let of_role =
        manifest.files.iter().filter(|(_, file)| file.role == Role::ClusterApi).map(|(path, _)| path);
    let mut named = BTreeSet::new();
    for path in
        of_role.filter(|path| path.ends_with("components.yaml") || path.ends_with("cert-manager.yaml"))
    {
        let text = fs::read_to_string(tree.join(path)).unwrap();
        for document in manifest::read(&Source::new(path.clone(), text)).unwrap() {
            let image =
                document.value.pointer("/spec/template/spec/containers/0/image").and_then(Value::as_str);
            named.extend(image.map(str::to_owned));
        }
    }
    named.insert("quay.io/jetstack/cert-manager-acmesolver:v1.20.3".into());
    let images = record["images"].as_object().unwrap();
    assert_eq!(images.keys().cloned().collect::<BTreeSet<_>>(), named);
    for paths in images.values() {
        assert!(tree.join(paths[0].as_str().unwrap()).is_file(), "{paths}");
    }
    assert_eq!(record["node_images"], json!(["ghcr.io/flannel-io/flannel:v0.27.3"]));
    let lock = fs::read_to_string(world.path("recipes/capi-proxmox.lock")).unwrap();
    assert!(lock.contains("image/ghcr.io/flannel-io/flannel:v0.27.3/amd64/manifest"));
    let carried = manifest.files.keys().filter(|path| path.contains("assets/images/")).count();
    assert_eq!(carried, named.len(), "images of nodes are in their sysext, and no files of their own");

    let proof = run(&["verify", "output/capi-proxmox/current", "--closure", "--json"]).stdout;
    let proof: Value = serde_json::from_str(&proof).unwrap();
    let edges = edges_of(&proof);
    let of_nodes = record["node_images"].as_array().unwrap().iter().filter_map(Value::as_str);
    for image in named.iter().map(String::as_str).chain(of_nodes) {
        let of_image = edges.iter().find(|edge| edge["to"] == image && edge["kind"] == "image");
        assert!(
            of_image.is_some_and(|edge| edge.to_string().contains("\"inside\"")),
            "{image}: {of_image:?}"
        );
    }

    // clusterctl, by the record alone.
    let Some(clusterctl) = Clusterctl::new(world) else { return };
    let tree = fs::canonicalize(clusterctl.world.path("output/capi-proxmox/current")).unwrap();
    let providers: Vec<_> = record["providers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|provider| {
            let text = |key: &str| provider[key].as_str().unwrap().to_owned();
            (text("name"), text("type"), tree.join(text("path")))
        })
        .collect();
    assert_eq!(providers.len(), 5);
    let variables = [
        ("CONTROL_PLANE_ENDPOINT_IP", "10.0.0.9"),
        ("PROXMOX_SOURCENODE", "pve1"),
        ("NODE_IP_RANGES", "[10.0.0.10-10.0.0.20]"),
        ("IP_PREFIX", "24"),
        ("GATEWAY", "10.0.0.1"),
        ("DNS_SERVERS", "[10.0.0.53]"),
        ("VM_SSH_KEYS", "ssh-ed25519 AAAA ops"),
    ];
    clusterctl.configure(&providers, &variables);
    let args = ["generate", "cluster", "prod", "--kubernetes-version", KUBERNETES, "-n", "kube-system"];
    let template = tree.join(record["template"].as_str().unwrap()).display().to_string();
    for from in [&["--flavor", "flatcar", "-i", "proxmox:v0.9.0"][..], &["--from", &template]] {
        let objects = documents(&clusterctl.run(&[&args, from].concat()).ok().stdout);
        let machine = &of(&objects, "ProxmoxMachineTemplate")["spec"]["template"]["spec"];
        assert_eq!(
            (&machine["templateID"], &machine["vmIDRange"]),
            (&json!(211), &json!({"start": 2000, "end": 2999}))
        );
        let cluster = &of(&objects, "ProxmoxCluster")["spec"];
        assert_eq!(
            cluster["ipv4Config"],
            json!({"addresses": ["10.0.0.10-10.0.0.20"], "prefix": 24, "gateway": "10.0.0.1"})
        );
        assert_eq!(
            of(&objects, "Cluster")["spec"]["clusterNetwork"]["pods"]["cidrBlocks"],
            json!(["10.244.0.0/16"])
        );
        let set = &of(&objects, "ClusterResourceSet")["spec"];
        assert_eq!(set["resources"], json!([{"kind": "ConfigMap", "name": "prod-flannel-1"}]));
    }
    let components = clusterctl.run(&["generate", "provider", "--infrastructure", "proxmox:v0.9.0"]).ok();
    assert!(components.stdout.contains("image: lab.example/capmox/manager:v0.9.0"), "{}", components.stdout);

    // A file that is not what was recorded.
    clusterctl.world.edit("recipes/capi/cluster-api/core-components.yaml", "leader-elect", "leader-elects");
    clusterctl
        .world
        .prebake(&["plan", recipe])
        .fails(3, &["core-components.yaml was changed since it was vendored", "capi vendor"]);
}

/// Options that cannot be, each at its place.
#[test]
fn what_the_output_cannot_be_is_refused_where_it_is_said() {
    let world = World::new();
    let recipe = |capi: &str, kubernetes: &str| {
        world.write(
            "recipe.yaml",
            format!(
                "schema: 1\nname: x\nrelease: {{channel: stable}}\n{kubernetes}profiles: {{node: {{}}}}\noutputs:\n  \
                 disk: {{platforms: [proxmoxve], config: base}}\n  capi: {capi}\n"
            ),
        );
        world.prebake(&["plan", "recipe.yaml"])
    };
    let kubernetes = "kubernetes: {version: v1.34.4}\n";
    for (capi, words) in [
        ("{provider: proxmoxx}", "unknown provider `proxmoxx` of Cluster API"),
        ("{provider: openstack, vm_ids: 2000-2999}", "`vm_ids` is for Proxmox VE alone"),
        ("{provider: aws, memory_adjustment: 0}", "`memory_adjustment` is for Proxmox VE alone"),
        ("{vm_ids: 2999-2000}", "`2999-2000` is no range of numbers"),
        ("{vm_ids: 99-2000}", "`99-2000` is no range of numbers"),
        ("{template: {id: 12}}", "12 is no number of Proxmox VE"),
        ("{template: {id: 211, tags: [a]}}", "`template` is either `id` or `tags`"),
        ("{template: {tags: []}}", "`tags` needs at least one tag"),
        ("{template: {tags: ['a b']}}", "`a b` is no tag of Proxmox VE"),
        ("{addons: [../x]}", "`../x` is not a name of small letters"),
        ("{addons: [flannel, flannel]}", "`flannel` is listed twice"),
        ("{versions: {flanel: 1.2.3}}", "`flanel` is no component and no add-on of this output"),
        ("{versions: {cluster-api: latest}}", "`latest` is not a version"),
        ("{ssh_keys: [x y]}", "type of SSH key"),
        (
            "{ssh_keys: ['ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt a: b']}",
            "a key with `: ` or ` #` in it",
        ),
        ("{users: [Root]}", "`Root` is not a name"),
        ("{pods: 10.244.0.0}", "10.244.0.0"),
    ] {
        recipe(capi, kubernetes).fails(3, &[words]);
    }
    recipe("{}", "").fails(3, &["`capi` needs `kubernetes:`"]);
    let carried = "kubernetes: {version: v1.34.4, images: sysext}\nsysexts: [kubernetes]\n";
    recipe("{}", carried).fails(3, &["nodes do not carry its image", "`kube_vip: true`"]);
}

const PAGE: &str = "docs/formats/capi.md";
const MARKS: [&str; 2] = ["<!-- variables: tests/it/capi/flavor.rs -->\n", "<!-- end -->"];

/// A row for each variable of these.
fn rows(variables: &[Variable]) -> String {
    let row = |variable: &Variable| {
        let without = match variable.default {
            Default::Needed => "asked for".to_owned(),
            Default::Secret => "asked for; **secret**".to_owned(),
            Default::Is("\"\"") => "empty".to_owned(),
            Default::Is(value) => format!("`{value}`"),
            Default::Recipe => "the recipe's".to_owned(),
            Default::Clusterctl => "clusterctl's own".to_owned(),
            Default::Components { secret: true } => "for `clusterctl init`; **secret**".to_owned(),
            Default::Components { secret: false } => "for `clusterctl init`".to_owned(),
        };
        format!("| `{}` | {without} | {} | `{}` |\n", variable.name, variable.about, variable.example)
    };
    let head = "| variable | without it | is | example |\n|---|---|---|---|\n";
    head.to_owned() + &variables.iter().map(row).collect::<String>()
}

fn table() -> String {
    let mut text = format!("\n### Every provider\n\n{}", rows(COMMON));
    text += &format!("\n### Where kube-vip holds the control plane's address\n\n{}", rows(VIP));
    for provider in PROVIDERS {
        let vip = if provider.is_vip { ", with kube-vip" } else { "" };
        text +=
            &format!("\n### {} (`{}`{vip})\n\n{}", provider.title, provider.name, rows(provider.variables));
        for remark in provider.remarks {
            text += &format!("\n{remark}\n");
        }
        for gate in provider.gates {
            text += &format!("\nIts own gate for Ignition at `clusterctl init` is `{gate}=true`.\n");
        }
    }
    text + "\n"
}

#[test]
fn the_page_has_every_variable_with_its_default() {
    let path = repository(PAGE);
    let page = fs::read_to_string(&path).unwrap();
    let [begin, end] = MARKS;
    let (before, rest) = page.split_once(begin).expect("the page has the first mark");
    let (found, after) = rest.split_once(end).expect("the page has the second mark");
    if std::env::var_os("PREBAKE_BLESS").is_some() {
        fs::write(&path, format!("{before}{begin}{}{end}{after}", table())).unwrap();
        return;
    }
    assert_eq!(found, table(), "`PREBAKE_BLESS=1` writes it");
}

/// A row in two tables of one provider would be asked for twice.
#[test]
fn no_provider_has_a_variable_twice() {
    for provider in PROVIDERS {
        let names: Vec<&str> =
            COMMON.iter().chain(VIP).chain(provider.variables).map(|variable| variable.name).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
    }
}
