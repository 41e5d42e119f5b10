//! The flavor `flatcar`: the manifests of a cluster whose machines boot a disk image of prebake, as a template of clusterctl.
//!
//! The image brings programs, container images, containerd's config, and the order of units (`docs/guides/node-image.md`); the template
//! brings what a cluster and its machines are told apart by. Objects are values and become text at the end, so that every reader of YAML
//! takes it for the same; clusterctl's placeholders come last ([`variables`](super::variables)).

mod addons;
mod kubeadm;
mod node;

use serde_json::{Value, json};

use super::provider::{Choices, GATE, Provider, Role, Template};
use super::variables::{COMMON, Default, Filled, VIP, Variable, written};
use super::words::{BOOTSTRAP, CONTROL_PLANE, CORE};
use crate::machine::yaml::{documents, readable};

pub use addons::{MAX_OBJECT, split};

/// Its name: `--flavor flatcar`.
pub const NAME: &str = "flatcar";
/// Network of the pods if the recipe names none: that of most providers' own templates.
pub const PODS: &str = "192.168.0.0/16";
/// The user that machines have if the recipe names none.
pub const USER: &str = "core";

/// Version of Cluster API's own kinds.
const API: &str = "v1beta2";

/// The template that is wanted.
#[derive(Debug)]
pub struct Wish {
    /// The provider.
    pub provider: &'static Provider,
    /// Its own settings.
    pub choices: Choices,
    /// Version of Kubernetes in the machines' image, with a `v`.
    pub kubernetes: String,
    /// Its minor version.
    pub minor: u32,
    /// kube-vip's image, where the provider needs it.
    pub kube_vip: String,
    /// Whether the machines' image has all container images, so that none is pulled.
    pub is_carried: bool,
    /// The users that may log in, at least one.
    pub users: Vec<String>,
    /// Their SSH keys; empty for those that clusterctl asks for.
    pub ssh_keys: Vec<String>,
    /// Network of the pods.
    pub pods: String,
    /// Whether systemd-networkd is started anew before kubeadm runs.
    pub restart_networkd: bool,
    /// The objects of add-ons, by name of the add-on, each group of them within [`MAX_OBJECT`].
    pub addons: Vec<(String, Vec<String>)>,
}

impl Wish {
    /// When images are pulled.
    fn policy(&self) -> &'static str {
        // A lacking one is an error then, and no wait for a registry that there is none of.
        if self.is_carried { "Never" } else { "IfNotPresent" }
    }

    fn needs_super_admin(&self) -> bool {
        self.provider.is_vip && crate::machine::vip::begins_with_super_admin(self.minor)
    }
}

/// The template.
pub fn template(wish: &Wish) -> String {
    let variables = variables(wish);
    let texts: Vec<String> =
        objects(wish).iter().map(|object| written(&readable(object), &variables)).collect();
    format!("{}{}", head(wish), documents(&texts))
}

/// The variables of a template, with their defaults: exactly those that its text has.
pub fn variables(wish: &Wish) -> Vec<Filled> {
    let vip = if wish.provider.is_vip { VIP } else { &[] };
    let all = COMMON.iter().chain(vip).chain(wish.provider.variables);
    all.filter(|variable| is_asked(wish, variable))
        .map(|variable| Filled { variable, default: default(wish, variable) })
        .collect()
}

/// Whether a template has a variable.
fn is_asked(wish: &Wish, variable: &Variable) -> bool {
    let by_tags = matches!(wish.choices.template, Some(Template::Tags(_)));
    match variable.name {
        "VM_SSH_KEYS" => wish.ssh_keys.is_empty(),
        "TEMPLATE_VMID" | "PROXMOX_SOURCENODE" => !by_tags,
        _ => !matches!(variable.default, Default::Components { .. }),
    }
}

fn default(wish: &Wish, variable: &Variable) -> Option<String> {
    match variable.default {
        Default::Is(value) => Some(value.to_owned()),
        Default::Needed | Default::Secret | Default::Clusterctl | Default::Components { .. } => None,
        Default::Recipe => match (variable.name, &wish.choices.template) {
            ("KUBERNETES_VERSION", _) => Some(wish.kubernetes.clone()),
            ("POD_CIDR", _) => Some(wish.pods.clone()),
            ("TEMPLATE_VMID", Some(Template::Id(id))) => Some(id.to_string()),
            _ => None,
        },
    }
}

/// Words for those who read the template.
fn head(wish: &Wish) -> String {
    let Provider { title, component, .. } = wish.provider;
    let mut head = format!(
        "# Flatcar with Kubernetes {} on {title} ({} {}), made by prebake.\n\
         # clusterctl generate cluster NAME --kubernetes-version {} --flavor {NAME}\n\
         # The management cluster must have been made with {GATE}=true.\n",
        wish.kubernetes,
        component.label(),
        component.version,
        wish.kubernetes,
    );
    for gate in wish.provider.gates {
        head.push_str(&format!("# And with {gate}=true.\n"));
    }
    for remark in wish.provider.remarks {
        head.push_str(&format!("# {remark}\n"));
    }
    // clusterctl looks for variables in comments, too; words have no `$`.
    head.replace('$', "")
}

/// The objects, before clusterctl's placeholders.
fn objects(wish: &Wish) -> Vec<Value> {
    let provider = wish.provider;
    let api_version = provider.api_version();
    let infrastructure =
        |kind: &str, name: &str| json!({"apiGroup": super::provider::GROUP, "kind": kind, "name": name});
    let labels = json!({"cluster.x-k8s.io/cluster-name": "${CLUSTER_NAME}"});
    let machine = |name: &str, role| {
        json!({
            "apiVersion": api_version, "kind": provider.machine, "metadata": {"name": name},
            "spec": {"template": {"spec": (provider.machine_spec)(&wish.choices, role)}},
        })
    };
    const CONTROL: &str = "${CLUSTER_NAME}-control-plane";
    const WORKERS: &str = "${CLUSTER_NAME}-workers";
    let mut objects = vec![
        json!({
            "apiVersion": format!("{CORE}/{API}"), "kind": "Cluster",
            "metadata": {"name": "${CLUSTER_NAME}", "labels": labels},
            "spec": {
                "clusterNetwork": {
                    "pods": {"cidrBlocks": ["${POD_CIDR}"]},
                    "services": {"cidrBlocks": ["${SERVICE_CIDR}"]},
                    "serviceDomain": "cluster.local",
                },
                "infrastructureRef": infrastructure(provider.cluster, "${CLUSTER_NAME}"),
                "controlPlaneRef": {"apiGroup": CONTROL_PLANE, "kind": "KubeadmControlPlane", "name": CONTROL},
            },
        }),
        json!({
            "apiVersion": api_version, "kind": provider.cluster,
            "metadata": {"name": "${CLUSTER_NAME}", "labels": labels},
            "spec": (provider.cluster_spec)(&wish.choices),
        }),
        json!({
            "apiVersion": format!("{CONTROL_PLANE}/{API}"), "kind": "KubeadmControlPlane",
            "metadata": {"name": CONTROL},
            "spec": {
                "replicas": "${CONTROL_PLANE_MACHINE_COUNT}",
                "version": "${KUBERNETES_VERSION}",
                "machineTemplate": {"spec": {"infrastructureRef": infrastructure(provider.machine, CONTROL)}},
                "kubeadmConfigSpec": kubeadm::config(wish, Role::ControlPlane),
            },
        }),
        machine(CONTROL, Role::ControlPlane),
    ];
    let of_workers = json!({
        "cluster.x-k8s.io/cluster-name": "${CLUSTER_NAME}",
        "cluster.x-k8s.io/deployment-name": WORKERS,
    });
    let mut of_machines = of_workers.clone();
    // Cluster API puts labels of this prefix on nodes; a kubelet may not.
    of_machines["node-role.kubernetes.io/worker"] = json!("");
    let mut template = json!({
        "clusterName": "${CLUSTER_NAME}",
        "version": "${KUBERNETES_VERSION}",
        "bootstrap": {"configRef": {"apiGroup": BOOTSTRAP, "kind": "KubeadmConfigTemplate", "name": WORKERS}},
        "infrastructureRef": infrastructure(provider.machine, WORKERS),
    });
    if provider.variables.iter().any(|variable| variable.name == "OPENSTACK_FAILURE_DOMAIN") {
        template["failureDomain"] = json!("${OPENSTACK_FAILURE_DOMAIN}");
    }
    objects.push(json!({
        "apiVersion": format!("{CORE}/{API}"), "kind": "MachineDeployment",
        "metadata": {"name": WORKERS, "labels": labels},
        "spec": {
            "clusterName": "${CLUSTER_NAME}",
            "replicas": "${WORKER_MACHINE_COUNT}",
            "selector": {"matchLabels": of_workers},
            "template": {"metadata": {"labels": of_machines}, "spec": template},
        },
    }));
    objects.push(machine(WORKERS, Role::Worker));
    objects.push(json!({
        "apiVersion": format!("{BOOTSTRAP}/{API}"), "kind": "KubeadmConfigTemplate",
        "metadata": {"name": WORKERS},
        "spec": {"template": {"spec": kubeadm::config(wish, Role::Worker)}},
    }));
    objects.extend((provider.more)());
    objects.extend(addons::objects(wish));
    objects
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::provider::PROVIDERS;
    use super::super::variables::Form;
    use super::*;

    /// Length that Cluster API allows an `additionalConfig`, in bytes (`kubeadmconfig_types.go`, `MaxLength`).
    const MAX_ADDITIONAL: usize = 32 << 10;

    fn wish(provider: &'static Provider) -> Wish {
        Wish {
            provider,
            choices: Choices::default(),
            kubernetes: "v1.34.4".into(),
            minor: 34,
            kube_vip: "ghcr.io/kube-vip/kube-vip:v1.2.1".into(),
            is_carried: true,
            users: vec![USER.into()],
            ssh_keys: Vec::new(),
            pods: PODS.into(),
            restart_networkd: false,
            addons: Vec::new(),
        }
    }

    /// The names in placeholders for clusterctl.
    fn names(template: &str) -> BTreeSet<&str> {
        let open = template.match_indices("${").filter(|(at, _)| !template[..*at].ends_with('$'));
        let name = |(at, _): (usize, &str)| {
            let rest = &template[at + 2..];
            &rest[..rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap()]
        };
        open.map(name).collect()
    }

    /// The template as clusterctl fills it: each variable gets the same.
    fn filled(template: &str, variables: &[Filled]) -> String {
        let mut text = template.to_owned();
        for filled in variables {
            let value = match filled.variable.form {
                Form::Number => "3",
                Form::List => "[a, b]",
                Form::Items => "ssh-ed25519 AAAA= me, ssh-ed25519 BBBB= you",
                Form::Text | Form::Bare => "some",
            };
            let default = filled.default.as_ref().map(|value| format!(":={value}")).unwrap_or_default();
            text = text.replace(&format!("${{{}{default}}}", filled.variable.name), value);
        }
        text.replace("$$", "$")
    }

    #[test]
    fn a_template_of_every_provider_has_exactly_its_variables_and_no_number_or_list_is_a_text() {
        for provider in PROVIDERS {
            let wish = wish(provider);
            let (template, variables) = (template(&wish), variables(&wish));
            let known: BTreeSet<&str> = variables.iter().map(|filled| filled.variable.name).collect();
            assert_eq!(names(&template), known, "{}", provider.name);
            assert!(known.iter().all(|name| !name.starts_with("NODE_N") && *name != "NODE_ID"), "{known:?}");
            let text = filled(&template, &variables);
            let documents: Vec<Value> = serde_yaml::Deserializer::from_str(&text)
                .map(|document| serde::Deserialize::deserialize(document).unwrap())
                .collect();
            let of = |kind: &str| documents.iter().find(|document| document["kind"] == kind).unwrap();
            let control = &of("KubeadmControlPlane")["spec"];
            assert_eq!(control["replicas"], 3);
            assert_eq!(control["version"], "some");
            let spec = &control["kubeadmConfigSpec"];
            assert_eq!(spec["users"][0]["sshAuthorizedKeys"][1], "ssh-ed25519 BBBB= you");
            assert_eq!(spec["format"], "ignition");
            let additional = spec["ignition"]["containerLinuxConfig"]["additionalConfig"].as_str().unwrap();
            assert!(additional.len() < MAX_ADDITIONAL);
            let own: Value = serde_yaml::from_str(additional).unwrap();
            assert_eq!(own["systemd"]["units"][0]["name"], "kubeadm.service");
            let workers = &of("KubeadmConfigTemplate")["spec"]["template"]["spec"];
            assert!(
                workers.get("clusterConfiguration").is_none() && workers.get("initConfiguration").is_none()
            );
            let script = workers["files"][0]["content"].as_str().unwrap();
            assert!(script.contains("s|[$]{NODE_NAME}|$NODE_NAME|g"), "{script}");
            let selector = &of("MachineDeployment")["spec"]["selector"]["matchLabels"];
            for (label, value) in selector.as_object().unwrap() {
                assert_eq!(&of("MachineDeployment")["spec"]["template"]["metadata"]["labels"][label], value);
            }
        }
    }

    #[test]
    fn choices_change_what_they_name_and_nothing_else() {
        let plain = template(&wish(PROVIDERS[0]));
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
        let changed = |change: &dyn Fn(&mut Wish)| {
            let mut wish = wish(PROVIDERS[0]);
            change(&mut wish);
            let text = template(&wish);
            let known: BTreeSet<String> =
                variables(&wish).iter().map(|filled| filled.variable.name.to_owned()).collect();
            assert_eq!(names(&text).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), known);
            let mut more: Vec<String> =
                lines(&text).difference(&lines(&plain)).map(|line| line.trim().to_owned()).collect();
            more.sort();
            more.dedup();
            more
        };
        assert!(changed(&|_| ()).is_empty());
        let memory = changed(&|wish| wish.choices.memory_adjustment = Some(0));
        assert_eq!(memory, ["memoryAdjustment: 0", "schedulerHints:"]);
        assert_eq!(
            changed(&|wish| wish.choices.vm_ids = Some((2000, 2999))),
            ["end: 2999", "start: 2000", "vmIDRange:"]
        );
        assert_eq!(
            changed(&|wish| wish.choices.template = Some(Template::Id(211))),
            ["templateID: ${TEMPLATE_VMID:=211}"]
        );
        assert_eq!(
            changed(&|wish| wish.choices.template = Some(Template::Tags(vec!["flatcar".into()]))),
            ["- flatcar", "matchPolicy: uniqueSubset", "matchTags:", "templateSelector:"]
        );
        assert_eq!(
            changed(&|wish| wish.ssh_keys = vec!["ssh-ed25519 AAAA me".into()]),
            ["- \"ssh-ed25519 AAAA me\"", "sshAuthorizedKeys:"]
        );
        assert_eq!(changed(&|wish| wish.users = vec!["core".into(), "ops".into()]), ["- name: ops"]);
        let networkd = changed(&|wish| wish.restart_networkd = true);
        assert_eq!(networkd.len(), 2, "{networkd:?}");
        let pull = changed(&|wish| wish.is_carried = false);
        assert!(pull.iter().all(|line| line == "imagePullPolicy: IfNotPresent"), "{pull:?}");
        // kube-vip/kube-vip#684, on the machine that begins the cluster alone.
        let old = changed(&|wish| wish.minor = 32);
        assert!(old.len() == 1 && old[0].starts_with("if grep -q 'kubeadm init' /etc/kubeadm.sh"), "{old:?}");
        let addon =
            changed(&|wish| wish.addons = vec![("cilium".into(), vec!["---\n{\"a\":\"${X} $$\"}\n".into()])]);
        assert!(addon.iter().any(|line| line == "{\"a\":\"$${X} $$$\"}"), "{addon:?}");
    }
}
