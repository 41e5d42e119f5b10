//! Files that a node is given once, and only by the guard: authorities, tokens, and configs that hold one.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::Given;
use super::facts::{file, layer};
use crate::base::error::Result;
use crate::base::finding::Findings;
use crate::cluster::description::{Cluster, Join, Node, Role};
use crate::cluster::kubeadm::{self, CONFIG, DISCOVERY, RETRY, Try};
use crate::cluster::pki::{JOINING_LASTS, JOINING_RENEWED};
use crate::cluster::templates::fill;
use crate::cluster::templates::variables::Values;

/// kubeadm's configs of a node.
pub(super) struct Kubeadm {
    /// By path: for the first try, and for each further one.
    configs: [(&'static str, Zeroizing<String>); 2],
    is_secret: bool,
}

impl Kubeadm {
    /// Those that may be public.
    pub(super) fn public(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.configs.iter().filter(|_| !self.is_secret).map(|(path, text)| (*path, text.as_str()))
    }
}

/// Reasons why kubeadm's configs cannot be written.
pub(super) enum Error {
    /// A template has faults.
    Template(Findings),
    /// Another reason.
    Other(crate::base::error::Error),
}

/// kubeadm's configs of a node, by the template of its part.
pub(super) fn kubeadm(
    cluster: &Cluster,
    node: &Node,
    given: &Given<'_>,
    values: Values,
) -> Result<Kubeadm, Error> {
    let begins = cluster.begins(node);
    let name = match (begins, node.role) {
        (true, _) => "kubeadm/init.yaml.tmpl",
        (false, Role::Controller) => "kubeadm/controller.yaml.tmpl",
        (false, Role::Worker) => "kubeadm/worker.yaml.tmpl",
    };
    let hash = given.pki.ca_hash();
    let facts = kubeadm::Given {
        algorithm: given.pki.algorithm(),
        token: given.token,
        ca_hash: &hash,
        images: kubeadm::Images::Carried,
        kube_proxy: true,
        pace: given.pace,
    };
    // The config to begin with has a token and what follows from the keys; one to join with may have neither.
    let mut is_secret = begins || cluster.join != Join::Certificate;
    let mut text = |which| {
        let config =
            kubeadm::config(cluster, node, &facts, which).map_err(|error| Error::Other(error.into()))?;
        let Some(template) = given.templates.get(name) else { return Ok(config) };
        let values = Values::default().and(&values).with("KUBEADM_CONFIG", config.as_str());
        let filled = fill(template, &values).map_err(Error::Template)?;
        is_secret |= filled.uses.contains("KUBEADM_TOKEN");
        Ok(Zeroizing::new(filled.text))
    };
    let configs = [(CONFIG, text(Try::First)?), (RETRY, text(Try::Again)?)];
    Ok(Kubeadm { configs, is_secret })
}

/// The private layer of a node, if it has secrets.
fn of_files(files: Vec<Value>) -> Option<Zeroizing<String>> {
    (!files.is_empty()).then(|| Zeroizing::new(layer(json!({"files": files}), Vec::new())))
}

/// The private layer of a node; nothing for one without secrets.
///
/// # Errors
/// The authority cannot sign.
pub(super) fn layer_of_node(
    cluster: &Cluster,
    node: &Node,
    given: &Given<'_>,
    kubeadm: &Kubeadm,
    earlier: &Path,
) -> Result<Option<Zeroizing<String>>> {
    let mut files = Vec::new();
    if node.role == Role::Controller {
        for (name, bytes) in given.pki.controller_files(cluster)? {
            files.push(file(&format!("/etc/kubernetes/pki/{name}"), 0o600, &String::from_utf8_lossy(&bytes)));
        }
    }
    if kubeadm.is_secret {
        files.extend(kubeadm.configs.iter().map(|(path, text)| file(path, 0o600, text)));
    }
    if cluster.join == Join::Certificate && !cluster.begins(node) {
        files.push(file(DISCOVERY, 0o600, &discovery(cluster, node, earlier, given)?));
    }
    Ok(of_files(files))
}

/// The kubeconfig to join with: that of an earlier layer, while it is young and of the same authority and address.
fn discovery(cluster: &Cluster, node: &Node, earlier: &Path, given: &Given<'_>) -> Result<Zeroizing<String>> {
    let (now, name) = (SystemTime::now(), &node.name.value);
    let kept = || {
        let text = Zeroizing::new(fs::read_to_string(earlier).ok()?);
        let layer: Value = serde_json::from_str(text.split_once('\n')?.1).ok()?;
        let files = layer["storage"]["files"].as_array()?;
        let file = files.iter().find(|file| file["path"] == DISCOVERY)?;
        let conf = file["contents"]["inline"].as_str()?;
        // Its own end counts, and not the age of the layer: that is written anew for other reasons, too.
        let left = given.pki.discovery_ends(cluster, name, conf)?.duration_since(now).ok()?;
        let is_young = left <= JOINING_LASTS && left > JOINING_LASTS.saturating_sub(JOINING_RENEWED);
        is_young.then(|| Zeroizing::new(conf.to_owned()))
    };
    match kept() {
        Some(conf) => Ok(conf),
        None => Ok(Zeroizing::new(given.pki.discovery(cluster, name, JOINING_LASTS, now)?.text().to_owned())),
    }
}
