//! The index of a clusterctl local repository in a tree, and the `clusterctl.yaml` that it stands for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::error::{Advice, Exit};

/// Most bytes of one; a real one has a few KiB.
const LONGEST: usize = 1 << 20;
/// Beginnings of the names of Cluster API's feature gates. A tree may set some, and no other part of the environment of whoever runs a
/// command.
const GATES: [&str; 2] = ["EXP_", "CLUSTER_TOPOLOGY"];
/// The version of its form.
pub const SCHEMA: u32 = 1;

/// A tree's repository for clusterctl, as far as verbs need it (docs/formats/capi.md).
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Index {
    /// Version of the form.
    pub schema: u32,
    /// Name of the infrastructure provider, such as `proxmox`.
    #[serde(default)]
    pub provider: String,
    /// Platform of the disk images that its machines boot.
    #[serde(default)]
    pub platform: String,
    /// Name of the flavor, such as `flatcar`.
    #[serde(default)]
    pub flavor: String,
    /// Version of Kubernetes that the image has, with its `v`.
    #[serde(default)]
    pub kubernetes: String,
    /// The flavor's template, relative to the tree.
    #[serde(default)]
    pub template: String,
    /// Feature gates that the controllers need, as environment variables.
    #[serde(default)]
    pub gates: BTreeMap<String, String>,
    /// Providers with their components.
    pub providers: Vec<Provider>,
    /// cert-manager's components, if the tree has them.
    #[serde(default)]
    pub cert_manager: Option<CertManager>,
    /// Variables of the template and of the components.
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// Container images that the components run, each with its archives in the tree.
    #[serde(default)]
    pub images: BTreeMap<String, Vec<String>>,
    /// Container images that add-ons run on the nodes.
    #[serde(default)]
    pub node_images: Vec<String>,
}

/// A variable.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Variable {
    /// As the environment spells it.
    pub name: String,
    /// Its value if nobody gives one.
    #[serde(default)]
    pub default: Option<String>,
    /// Whether its value must be kept from everybody.
    #[serde(default)]
    pub secret: bool,
    /// `init`, `generate`, or `argument` for what options of clusterctl set.
    #[serde(default)]
    pub stage: String,
    /// Its meaning, in a sentence.
    #[serde(default)]
    pub about: String,
    /// A value that it may have.
    #[serde(default)]
    pub example: String,
}

/// A provider of Cluster API.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Provider {
    /// Such as `proxmox`.
    pub name: String,
    /// Such as `InfrastructureProvider`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The option of `clusterctl init` that names it.
    #[serde(default)]
    pub option: Option<String>,
    /// With its `v`.
    pub version: String,
    /// Its components, relative to the tree.
    pub path: String,
}

/// cert-manager, which clusterctl installs before all providers.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct CertManager {
    /// With its `v`.
    pub version: String,
    /// Its manifest, relative to the tree.
    pub path: String,
}

/// A tree without a repository for clusterctl.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error("{} has no {file}", tree.display())]
    Absent {
        /// The tree.
        tree: PathBuf,
        /// The index's path in trees.
        file: &'static str,
    },
    /// It is no index, or one of a later prebake.
    #[error("{} is not an index that this prebake reads: {why}", path.display())]
    Form {
        /// The file that was read.
        path: PathBuf,
        /// The first fault in it.
        why: String,
    },
    /// The directory's name is no text, which a URL could not have.
    #[error("{} is not a name that a `file://` URL has", .0.display())]
    Name(PathBuf),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Absent { .. } | Error::Name(_) => Exit::Usage,
            Error::Form { .. } => Exit::Integrity,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Absent { .. } => {
                Some("name a tree that a recipe with the output `capi` made; `prebake build` makes it".into())
            }
            Error::Form { .. } => Some("build the tree again with this prebake".into()),
            Error::Name(_) => {
                Some("move the tree to a directory whose name is letters, digits and `-_.`".into())
            }
        }
    }
}

impl Index {
    /// The index in the bytes of a file. They were held against the tree's manifest before.
    ///
    /// # Errors
    /// It has another form, or names what a tree must not set.
    pub fn read(path: &Path, bytes: &[u8]) -> Result<Index, Error> {
        let fail = |why: String| Error::Form { path: path.to_owned(), why };
        if bytes.len() > LONGEST {
            return Err(fail(format!("it has more than {} KiB", LONGEST >> 10)));
        }
        let index: Index = serde_json::from_slice(bytes).map_err(|error| fail(error.to_string()))?;
        if index.schema != SCHEMA {
            return Err(fail(format!("its schema is {}, not {SCHEMA}", index.schema)));
        }
        let paths = index.providers.iter().map(|provider| &provider.path);
        for path in
            paths.chain(index.cert_manager.iter().map(|manager| &manager.path)).chain([&index.template])
        {
            if path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(fail(format!("`{path}` is not below the tree")));
            }
        }
        for (gate, value) in &index.gates {
            let is_word =
                gate.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if !is_word || !GATES.iter().any(|lead| gate.starts_with(lead)) {
                return Err(fail(format!(
                    "`{gate}` is no feature gate of Cluster API, and a tree sets nothing else"
                )));
            }
            if !matches!(value.as_str(), "true" | "false") {
                return Err(fail(format!("the feature gate `{gate}` is neither `true` nor `false`")));
            }
        }
        Ok(index)
    }

    /// The files that it names, relative to the tree.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let providers = self.providers.iter().map(|provider| provider.path.as_str());
        let others = self.cert_manager.iter().map(|manager| manager.path.as_str());
        providers.chain(others).chain(Some(self.template.as_str()).filter(|path| !path.is_empty()))
    }

    /// The `clusterctl.yaml` by which clusterctl finds the components in the tree: URLs, versions and gates, no secrets.
    ///
    /// `tree` must be absolute: clusterctl takes no relative `file://` URL (cmd/clusterctl/client/repository/repository_local.go).
    ///
    /// # Errors
    /// The tree's path is no text.
    pub fn config(&self, tree: &Path, others: &[Named]) -> Result<String, Error> {
        let base = tree.to_str().ok_or_else(|| Error::Name(tree.to_owned()))?;
        // clusterctl expands `${…}` in URLs (providers_client.go), and parses them: these bytes would be read as something else.
        if base.chars().any(|letter| letter.is_control() || "$%?#\"\\ ".contains(letter)) {
            return Err(Error::Name(tree.to_owned()));
        }
        let mut text = String::from("# Made by `prebake capi config`. It names no secret.\nproviders:\n");
        for provider in &self.providers {
            let url = format!("file://{base}/{}", provider.path);
            text += &entry(&provider.name, &url, &provider.kind);
        }
        let is_ours = |other: &Named| {
            self.providers.iter().any(|provider| provider.name == other.name && provider.kind == other.kind)
        };
        for other in others.iter().filter(|other| !is_ours(other)) {
            text += &entry(&other.name, &other.url, &other.kind);
        }
        if let Some(CertManager { version, path }) = &self.cert_manager {
            text += &format!(
                "cert-manager:\n  url: {}\n  version: {}\n",
                quoted(&format!("file://{base}/{path}")),
                quoted(version)
            );
        }
        for (gate, value) in &self.gates {
            text += &format!("{gate}: {}\n", quoted(value));
        }
        Ok(text)
    }
}

/// A provider that a file of inputs names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Such as `in-cluster`.
    pub name: String,
    /// The address of its components.
    pub url: String,
    /// Such as `IPAMProvider`.
    pub kind: String,
}

/// The `clusterctl.yaml` of providers alone.
pub fn config_of(providers: &[Named]) -> String {
    let entries = providers.iter().map(|named| entry(&named.name, &named.url, &named.kind));
    format!("providers:\n{}", entries.collect::<String>())
}

fn entry(name: &str, url: &str, kind: &str) -> String {
    format!("- name: {}\n  url: {}\n  type: {}\n", quoted(name), quoted(url), quoted(kind))
}

/// A text of JSON, which is one of YAML, too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"schema":1,"kubernetes":"v1.34.4","flavor":"flatcar","providers":[{"name":"proxmox",
        "type":"InfrastructureProvider","version":"v0.9.0","path":"capi/repository/infrastructure-proxmox/v0.9.0/infrastructure-components.yaml"}],
        "cert_manager":{"version":"v1.20.3","path":"capi/cert-manager.yaml"},"gates":{"EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION":"true"},
        "template":"capi/repository/infrastructure-proxmox/v0.9.0/cluster-template-flatcar.yaml","images":{"a:v1":["images/a.tar"]},
        "variables":[{"name":"PROXMOX_SECRET","stage":"init","default":null,"secret":true,"about":"","example":""}]}"#;

    fn index(text: &str) -> Result<Index, Error> {
        Index::read(Path::new("/srv/tree/capi/capi.json"), text.as_bytes())
    }

    #[test]
    fn a_config_names_each_provider_by_an_absolute_url_once() {
        let index = index(TEXT).unwrap();
        let proxmox = Named {
            name: "proxmox".into(),
            url: "https://e.org/x".into(),
            kind: "InfrastructureProvider".into(),
        };
        let ipam = Named { name: "in-cluster".into(), kind: "IPAMProvider".into(), ..proxmox.clone() };
        let config = index.config(Path::new("/srv/tree"), &[proxmox, ipam]).unwrap();
        let value: serde_json::Value = serde_yaml::from_str(&config).unwrap();
        assert_eq!(value["providers"].as_array().unwrap().len(), 2, "{config}");
        assert_eq!(
            value["providers"][0]["url"],
            "file:///srv/tree/capi/repository/infrastructure-proxmox/v0.9.0/infrastructure-components.yaml"
        );
        assert_eq!(value["providers"][1]["name"], "in-cluster");
        assert_eq!(value["cert-manager"]["url"], "file:///srv/tree/capi/cert-manager.yaml");
        assert_eq!(value["EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION"], "true");
        assert!(matches!(index.config(Path::new("/srv/a b"), &[]), Err(Error::Name(_))));
        assert!(matches!(index.config(Path::new("/srv/${HOME}"), &[]), Err(Error::Name(_))));
    }

    #[test]
    fn an_index_of_another_form_is_refused_by_name() {
        for wrong in [
            TEXT.replace("\"schema\":1", "\"schema\":2"),
            TEXT.replace("capi/repository", "../x"),
            "[]".into(),
        ] {
            let error = index(&wrong).unwrap_err();
            assert!(matches!(error, Error::Form { .. }) && error.exit() == Exit::Integrity, "{error}");
        }
    }

    /// Review of issue 20: a tree of somebody else set LD_PRELOAD of the command.
    #[test]
    fn a_tree_sets_feature_gates_and_nothing_else() {
        let gates = |text: &str| TEXT.replace(r#"{"EXP_KUBEADM_BOOTSTRAP_FORMAT_IGNITION":"true"}"#, text);
        for gate in ["EXP_MACHINE_POOL", "CLUSTER_TOPOLOGY"] {
            assert!(index(&gates(&format!("{{\"{gate}\":\"true\"}}"))).is_ok(), "{gate}");
        }
        for gate in ["LD_PRELOAD", "PATH", "PROXMOX_URL", "exp_x", "EXP_A=B", "EXP_\\u0000"] {
            let error = index(&gates(&format!("{{\"{gate}\":\"true\"}}"))).unwrap_err().to_string();
            assert!(error.contains("no feature gate"), "{gate}: {error}");
        }
        let error = index(&gates(r#"{"EXP_X":"/tmp/x.so"}"#)).unwrap_err().to_string();
        assert!(error.contains("neither `true` nor `false`"), "{error}");
    }
}
