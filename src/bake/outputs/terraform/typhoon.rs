//! A bench for Typhoon's module `bare-metal/flatcar-linux/kubernetes`: `boot/terraform/typhoon/main.tf.json`, a root module for
//! Terraform, and `bench.json`, which has what the recipe says of the cluster.
//!
//! The root module is the same for every tree, and reads the tree at each plan, as the module of `boot/terraform/` does. It
//! gives Typhoon's module arguments; the module itself is fetched by Terraform. A machine's config beside Typhoon's own
//! is its config in the tree, as a snippet that has Ignition merge it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::Serialize;
use serde_json::{Value, json};
use url::Host;

use super::WHERE;
use crate::bake::boot::Delivery;
use crate::bake::outputs::keys::TYPHOON;
use crate::bake::outputs::{Built, Options};
use crate::bake::recipe::{ConfigFrom, Profile, Recipe, Role as Part};
use crate::base::arch::Arch;
use crate::base::finding::{Finding, Place};
use crate::base::yaml::Node as Yaml;
use crate::base::yaml::decode::Spanned;
use crate::machine::base_url::BaseUrl;
use crate::machine::device::is_device;
use crate::machine::dhcp::is_domain;
use crate::machine::node::{Node, judge_host_name};
use crate::tree::names::{TYPHOON_BENCH, config_id, config_path, ignition};

/// Typhoon's module. A bench of another release says so in a file `override.tf` of its own.
const MODULE: &str =
    "git::https://github.com/poseidon/typhoon//bare-metal/flatcar-linux/kubernetes?ref=v1.36.1";
/// The channels that the module knows (its variable `os_channel`).
const CHANNELS: [&str; 3] = ["stable", "beta", "alpha"];
/// Matchbox's port for its API.
const RPC_PORT: u16 = 8081;
/// The module's own default.
const INSTALL_DISK: &str = "/dev/sda";
/// Longest name of a machine: kubelet makes it the value of the label `kubernetes.io/hostname`.
const LONGEST_HOST: usize = 63;
/// Version of `bench.json`.
const SCHEMA: u32 = 1;

/// The options of a bench.
#[derive(Debug)]
pub(super) struct Typhoon {
    place: Place,
    /// URL under which machines reach groups, profiles and assets.
    base_url: BaseUrl,
    /// Domain of the machines' names.
    domain: String,
    /// `HOST:PORT` of the API; by default that of `base_url` with [`RPC_PORT`].
    rpc: Option<String>,
    /// Name under which machines reach the API server; by default the first controller's.
    api: Option<String>,
    /// Disk to which all machines install.
    install_disk: String,
}

/// `bench.json`: the arguments of Typhoon's module, and what the root module makes others of.
#[derive(Debug, Serialize)]
struct Bench {
    schema: u32,
    rpc_endpoint: String,
    cluster_name: String,
    matchbox_http_endpoint: String,
    os_channel: String,
    os_version: String,
    k8s_domain_name: String,
    ssh_authorized_key: String,
    install_disk: String,
    kernel_args: Vec<String>,
    controllers: Vec<Machine>,
    workers: Vec<Machine>,
    /// For each machine the configs of the tree that it merges over Typhoon's, as paths in the tree.
    snippets: BTreeMap<String, Vec<String>>,
}

/// A machine as Typhoon's module wants it.
#[derive(Debug, Serialize)]
struct Machine {
    name: String,
    mac: String,
    domain: String,
}

pub(super) fn read(options: &Options<'_>, node: &Yaml) -> Option<Typhoon> {
    let decoder = options.decoder;
    let told = |node: &Yaml, text: String, hint: &str| {
        decoder.push(Finding::error(text).at(decoder.spanned(node, ()).place).hint(hint));
    };
    if node.is_null() {
        let hint = "give it both, as in `typhoon: {base_url: http://10.0.0.1:8080, domain: lab.example}`, or leave it out";
        told(node, "`typhoon` has neither `base_url` nor `domain`".into(), hint);
        return None;
    }
    let fields = decoder.fields(node, &TYPHOON);
    let base_url: Option<BaseUrl> = fields.need("base_url").and_then(|node| {
        let base: BaseUrl = decoder.parsed(node)?;
        let url = base.url();
        let root = "give scheme, host and port, such as http://10.0.0.1:8080";
        if !url.username().is_empty() || url.password().is_some() {
            told(node, "`base_url` has a user or a password, which every machine would show".into(), root);
        } else if url.path() != "/" {
            told(node, format!("`{base}` has a path, and Matchbox answers at the root of its server"), root);
        }
        Some(base)
    });
    let named = |key| {
        let node = fields.get(key)?;
        let name = decoder.spanned(node, decoder.string(node)?);
        match judge_host_name(&name) {
            Some(_) if name.value.parse::<IpAddr>().is_ok() => {
                let text = format!("`{}` is not a host name: it is an address", name.value);
                let hint = match key {
                    "api" => {
                        "give a name of it that machines resolve, such as api.lab.example; without `api` it is the first controller's"
                    }
                    _ => "give the domain of the machines' names, such as lab.example",
                };
                told(node, text, hint);
            }
            Some(finding) => decoder.push(finding),
            None if !is_domain(&name.value) => {
                decoder.error(node, format!("`{}` is not a name such as lab.example", name.value));
            }
            None => {}
        }
        Some(name.value)
    };
    let domain = fields.need("domain").and_then(|_| named("domain"));
    let rpc = fields.get("rpc").and_then(|node| {
        let text = decoder.string(node)?;
        if !is_endpoint(&text) {
            let hint = "a name or an address, and a port from 1 on; an IPv6 address stands in brackets: [fd00::1]:8081";
            told(node, format!("`{text}` is not HOST:PORT such as 10.0.0.1:8081"), hint);
        }
        Some(text)
    });
    let install_disk = fields.get("install_disk").and_then(|node| {
        let text = decoder.string(node)?;
        if !is_disk(&text) {
            let hint = "`lsblk -p` on a machine lists its disks; /dev/disk/by-path/… is the same at machines of one kind";
            told(node, format!("`{text}` is not a disk such as /dev/sda"), hint);
        }
        Some(text)
    });
    Some(Typhoon {
        place: decoder.spanned(node, ()).place,
        api: named("api"),
        rpc,
        install_disk: install_disk.unwrap_or_else(|| INSTALL_DISK.into()),
        base_url: base_url?,
        domain: domain?,
    })
}

/// Whether this is a server with its port, as Terraform's provider takes it.
fn is_endpoint(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_host = match Host::parse(host) {
        // Of names the parser takes more than a server can have, and writes some of them anew.
        Ok(Host::Domain(_)) => is_domain(host),
        Ok(Host::Ipv4(address)) => address.to_string() == host,
        Ok(Host::Ipv6(_)) => true,
        Err(_) => false,
    };
    is_host && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<NonZeroU16>().is_ok()
}

/// Whether this is the path of a device in plain letters: the module writes it into a shell script.
fn is_disk(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:+@/".contains(c);
    is_device(text) && text.chars().all(is_plain)
}

impl Typhoon {
    /// The URL of the tree's root.
    pub(super) fn base_url(&self) -> &BaseUrl {
        &self.base_url
    }

    /// Parts of a recipe that Typhoon's module cannot make.
    pub(super) fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        let here = |text: &str| Finding::error(text).at(self.place.clone());
        let mut findings = Vec::new();
        if !recipe.has_output("disk") {
            let finding = here("machines of Typhoon install the stock disk image, which the tree lacks");
            findings.push(finding.hint("add `disk: {}` to the outputs"));
        }
        if recipe.ssh_keys.is_empty() {
            let finding = here("Typhoon logs in to its controllers, and nobody may");
            findings.push(finding.hint("name a key under `ssh_keys`, whose other half is in your SSH agent"));
        }
        if !recipe.nodes.iter().any(|node| is_controller(recipe, node)) {
            let finding = here("the cluster has no controller");
            findings.push(finding.hint("say `role: control-plane` in the profile of its controllers"));
        }
        if recipe.release.archs != [Arch::Amd64] {
            findings.push(here("Typhoon's module for Flatcar installs amd64 alone"));
        }
        let channel = &recipe.release.channel;
        if !CHANNELS.contains(&channel.value.as_str()) {
            let text = format!("Typhoon does not know the channel `{}`", channel.value);
            let known = format!("it knows {}", CHANNELS.join(", "));
            findings.push(Finding::error(text).at(channel.place.clone()).hint(known));
        }
        let without_mac = recipe.nodes.iter().filter(|node| node.mac.is_none());
        findings.extend(without_mac.map(|node| {
            let text =
                format!("Typhoon knows machines by their MAC address, and `{}` has none", node.name.value);
            Finding::error(text).at(node.name.place.clone())
        }));
        findings.extend(recipe.nodes.iter().filter_map(|node| self.misnamed(&node.name)));
        findings.extend(profiles(recipe).flat_map(|(name, profile)| unfit(recipe, name, profile)));
        findings.extend(differing(recipe));
        findings
    }

    /// A machine whose name cannot stand before the domain.
    fn misnamed(&self, name: &Spanned<String>) -> Option<Finding> {
        let (short, domain) = (&name.value, &self.domain);
        let whole = format!("{short}.{domain}");
        let told = |text: String| Finding::error(text).at(name.place.clone());
        let bare = short.strip_suffix(domain.as_str()).and_then(|bare| bare.strip_suffix('.'));
        match bare.filter(|bare| !bare.is_empty()) {
            Some(bare) => {
                let text = format!("`{short}` has the domain already, and its machine would be `{whole}`");
                Some(told(text).hint(format!("call it `{bare}`: `domain` of `typhoon` follows")))
            }
            None if whole.len() > LONGEST_HOST => {
                let text =
                    format!("the name `{whole}` has {} characters; the limit is {LONGEST_HOST}", whole.len());
                Some(told(text).hint("it becomes the value of a label of its node in Kubernetes: shorten it"))
            }
            None => None,
        }
    }

    /// The text of `bench.json`.
    pub(super) fn bench(&self, built: &Built<'_>) -> Value {
        let recipe = built.recipe;
        let machine = |node: &Node| {
            Some(Machine {
                name: node.name.value.clone(),
                mac: node.mac.as_ref()?.value.to_string(),
                domain: format!("{}.{}", node.name.value, self.domain),
            })
        };
        let (controllers, workers): (Vec<&Node>, Vec<&Node>) =
            recipe.nodes.iter().partition(|node| is_controller(recipe, node));
        let machines = |nodes: &[&Node]| nodes.iter().filter_map(|node| machine(node)).collect::<Vec<_>>();
        let (controllers, workers) = (machines(&controllers), machines(&workers));
        let snippets = recipe.nodes.iter().filter_map(|node| {
            let boot = built.boot_of(node)?;
            let config = match boot.delivery {
                // With the files of its sysexts.
                Delivery::Fetched(_) => config_path(&boot.id),
                Delivery::Initrd(_) => ignition(&config_id(&boot.id)),
            };
            Some((node.name.value.clone(), vec![config]))
        });
        let key = recipe.nodes.iter().find_map(|node| key_of(&built.boot_of(node)?.ignition));
        let args = profiles(recipe).next().map(|(_, profile)| &profile.kernel_args);
        json!(Bench {
            schema: SCHEMA,
            rpc_endpoint: self.rpc.clone().unwrap_or_else(|| {
                format!("{}:{RPC_PORT}", self.base_url.url().host_str().unwrap_or_default())
            }),
            cluster_name: recipe.name.clone(),
            matchbox_http_endpoint: self.base_url.to_string(),
            os_channel: format!("flatcar-{}", recipe.release.channel.value),
            os_version: built.version.to_string(),
            k8s_domain_name: self
                .api
                .clone()
                .or_else(|| controllers.first().map(|machine| machine.domain.clone()))
                .unwrap_or_default(),
            ssh_authorized_key: key.unwrap_or_default(),
            install_disk: self.install_disk.clone(),
            kernel_args: args.into_iter().flatten().map(|arg| arg.value.clone()).collect(),
            snippets: snippets.collect(),
            controllers,
            workers,
        })
    }
}

fn is_controller(recipe: &Recipe, node: &Node) -> bool {
    let profile = recipe.profiles.get(&node.profile.value);
    profile.is_some_and(|profile| profile.role == Some(Part::ControlPlane))
}

/// The profiles of the machines with a name, each once.
fn profiles(recipe: &Recipe) -> impl Iterator<Item = (&String, &Profile)> {
    let names: BTreeSet<&String> = recipe.nodes.iter().map(|node| &node.profile.value).collect();
    recipe.profiles.iter().filter(move |(name, _)| names.contains(name))
}

/// Parts of a profile that reach no machine that Typhoon installs: they boot the stock image, with a config.
fn unfit(recipe: &Recipe, name: &str, profile: &Profile) -> Vec<Finding> {
    let finding = |text: String| Finding::error(text).at(profile.place.clone());
    let mut findings = Vec::new();
    if profile.install.is_some() {
        let text = format!("Typhoon has an installer of its own, and `{name}` has `install`");
        findings.push(finding(text).hint("`install_disk` of `typhoon` is the disk"));
    }
    let is_fetched = recipe.config_from.as_ref().is_some_and(|from| from.value == ConfigFrom::Url);
    if !is_fetched && !recipe.sysexts_of(profile).is_empty() {
        let text =
            format!("Typhoon installs the stock image: the sysexts of `{name}` would not be on its machines");
        findings.push(finding(text).hint("with `config_from: url` machines fetch them"));
    }
    let of_nodes =
        recipe.nodes.iter().filter(|node| node.profile.value == name).flat_map(|node| &node.private);
    findings.extend(profile.private.iter().chain(of_nodes).map(|layer| {
        let text = format!("private layers reach no machine that Typhoon installs, and `{name}` has one");
        Finding::error(text).at(layer.place.clone())
    }));
    findings
}

/// Typhoon has one list of kernel arguments for all machines.
fn differing(recipe: &Recipe) -> Option<Finding> {
    let args =
        |profile: &Profile| profile.kernel_args.iter().map(|arg| arg.value.clone()).collect::<Vec<_>>();
    let mut all = profiles(recipe);
    let (first, of_first) = all.next()?;
    let (other, profile) = all.find(|(_, profile)| args(profile) != args(of_first))?;
    let text = format!(
        "Typhoon has one list of kernel arguments for all machines, and those of `{first}` and `{other}` differ"
    );
    Some(Finding::error(text).at(profile.place.clone()).hint("give both the same `kernel_args`"))
}

/// The first key that may log in as `core` by a compiled config.
fn key_of(config: &[u8]) -> Option<String> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let users = config["passwd"]["users"].as_array()?;
    let core = users.iter().find(|user| user["name"] == "core")?;
    Some(core["sshAuthorizedKeys"].as_array()?.first()?.as_str()?.to_owned())
}

/// The root module.
pub(super) fn module() -> Value {
    let certificate = |file: &str| format!("${{file(pathexpand(\"${{var.certificates}}/{file}\"))}}");
    let bench = |argument: &str| (argument.to_owned(), json!(format!("${{local.bench.{argument}}}")));
    let same = [
        "cluster_name",
        "matchbox_http_endpoint",
        "os_channel",
        "os_version",
        "k8s_domain_name",
        "ssh_authorized_key",
        "install_disk",
        "kernel_args",
        "controllers",
        "workers",
    ];
    // A snippet is Butane. Its merged config wins over Typhoon's own, as snippets do. It is a URL: of an inline config of another
    // version than its own Butane warns (base/v0_4/util.go), and the provider `ct` is strict, as Typhoon uses it.
    let snippets = "${{for name, configs in local.bench.snippets : name => [for config in configs : yamlencode({\
         variant = \"flatcar\", version = \"1.0.0\", ignition = {config = {merge = [\
         {source = \"data:;base64,${filebase64(\"${local.tree}/${config}\")}\"}]}}})]}}";
    let own = [
        ("source", json!(MODULE)),
        // From the tree's assets, never from the internet.
        ("cached_install", json!(true)),
        ("snippets", json!(snippets)),
    ];
    let own = own.map(|(argument, value)| (argument.to_owned(), value));
    let arguments: serde_json::Map<String, Value> = own.into_iter().chain(same.map(bench)).collect();
    json!({
        "terraform": {
            "required_version": ">= 1.3",
            "required_providers": {
                "ct": {"source": "poseidon/ct", "version": "~> 0.14"},
                "matchbox": {"source": "poseidon/matchbox", "version": "~> 0.5.0"},
            },
        },
        "variable": {
            "tree": {
                "type": "string",
                "description": "The tree, such as ./output/NAME/current: it is read at each plan.",
                "validation": {
                    "condition": format!("${{fileexists(\"${{var.tree}}/{TYPHOON_BENCH}\")}}"),
                    "error_message": format!(
                        "No tree with a bench for Typhoon is there: name a build, such as output/NAME/current, whose \
                         recipe has `terraform: {{typhoon: …}}` among its outputs. {WHERE}"
                    ),
                },
            },
            "certificates": {
                "type": "string",
                "default": "~/.matchbox",
                "description": "Directory of client.crt, client.key and ca.crt, as `prebake key tls` makes them.",
            },
        },
        "locals": {
            "tree": "${trimsuffix(var.tree, \"/\")}",
            "bench": format!("${{jsondecode(file(\"${{local.tree}}/{TYPHOON_BENCH}\"))}}"),
        },
        "provider": {
            "ct": {},
            "matchbox": {
                "endpoint": "${local.bench.rpc_endpoint}",
                "client_cert": certificate("client.crt"),
                "client_key": certificate("client.key"),
                "ca": certificate("ca.crt"),
            },
        },
        "module": {"cluster": arguments},
        "output": {"kubeconfig": {"value": "${module.cluster.kubeconfig-admin}", "sensitive": true}},
    })
}
