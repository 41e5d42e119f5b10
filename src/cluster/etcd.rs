//! The members of the cluster's own etcd, asked over its JSON gateway with a certificate of the cluster's authority: a member that
//! is gone is taken out while the API server may be as good as gone with it, and no pod has to run a program for that.
//!
//! Each request goes to the members' client port, which kubeadm has on each controller's address.

use std::time::{Duration, SystemTime};

use reqwest::{Certificate, Client, Identity};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::error::{Advice, Exit, Result};
use crate::cluster::description::{Cluster, Node};
use crate::cluster::pki::Pki;

/// The port of clients.
const PORT: u16 = 2379;
/// How long an answer may take. A change of members waits for a majority.
const PATIENCE: Duration = Duration::from_secs(15);

/// A member, as etcd lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Its number, as text: JSON's numbers are too short for it.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name, which kubeadm makes the node's; empty if it never started.
    #[serde(default)]
    pub name: String,
    /// The URLs at which other members find it.
    #[serde(rename = "peerURLs", default)]
    pub peers: Vec<String>,
}

/// Members that cannot be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No certificate can be made, or used.
    #[error("etcd cannot be asked")]
    Client(#[source] reqwest::Error),
    /// No controller answers.
    #[error("no member of etcd answers: {}", .0.join("; "))]
    Silent(Vec<String>),
    /// It refuses.
    #[error("etcd at {controller} refuses to take the member {node} out: {why}")]
    Refused {
        /// The controller that was asked.
        controller: String,
        /// The member's node.
        node: String,
        /// Its reason.
        why: String,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Silent(_) => Exit::Network,
            Error::Client(_) | Error::Refused { .. } => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Client(_) => None,
            Error::Silent(_) => Some(format!(
                "at least one other controller must run, and this host must reach its port {PORT}; without a majority the members that \
                 are left must be restored by etcd's own rules for disasters"
            )),
            Error::Refused { .. } => Some(
                "a majority of the members must be healthy before one is taken out: look at `kubectl -n kube-system logs -l component=etcd`"
                    .into(),
            ),
        }
    }
}

/// Takes the member of a node out, if there is one. In return its name or number.
///
/// # Errors
/// No other controller's member answers, or etcd refuses.
pub async fn remove(cluster: &Cluster, pki: &Pki, node: &Node) -> Result<Option<String>> {
    let (certificate, key) = pki.etcd_client(SystemTime::now())?;
    let roots = Certificate::from_pem_bundle(pki.etcd_certificate()).map_err(Error::Client)?;
    let identity = Identity::from_pem([certificate.as_bytes(), key.as_bytes()].concat().as_slice());
    let client = Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .tls_certs_only(roots)
        .identity(identity.map_err(Error::Client)?)
        .build()
        .map_err(Error::Client)?;
    let mut silent = Vec::new();
    for other in cluster.controllers().filter(|other| other.name.value != node.name.value) {
        let base = format!("https://{}:{PORT}/v3/cluster/member", other.ip.value);
        let members = match members(&client, &base).await {
            Ok(members) => members,
            Err(why) => {
                silent.push(format!("{}: {why}", other.name.value));
                continue;
            }
        };
        let Some(member) = members.iter().find(|member| is_of(member, node)) else { return Ok(None) };
        let refused = |why: String| Error::Refused {
            controller: other.name.value.clone(),
            node: node.name.value.clone(),
            why,
        };
        post(&client, &format!("{base}/remove"), &json!({"ID": member.id})).await.map_err(refused)?;
        return Ok(Some(if member.name.is_empty() { member.id.clone() } else { member.name.clone() }));
    }
    Err(Error::Silent(silent).into())
}

/// A member that never started has no name, and is known by its address.
fn is_of(member: &Member, node: &Node) -> bool {
    let peer = format!("https://{}:", node.ip.value);
    member.name == node.name.value
        || member.name.is_empty() && member.peers.iter().any(|url| url.starts_with(&peer))
}

async fn members(client: &Client, base: &str) -> Result<Vec<Member>, String> {
    #[derive(Deserialize)]
    struct List {
        #[serde(default)]
        members: Vec<Member>,
    }
    let answer = post(client, &format!("{base}/list"), &json!({})).await?;
    serde_json::from_value::<List>(answer).map(|list| list.members).map_err(|error| error.to_string())
}

async fn post(client: &Client, url: &str, body: &Value) -> Result<Value, String> {
    let told = |error: reqwest::Error| {
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        causes.last().map(ToString::to_string).unwrap_or_default()
    };
    let answer = client.post(url).body(body.to_string()).send().await.map_err(told)?;
    let status = answer.status();
    let text = answer.text().await.map_err(told)?;
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    match status.is_success() {
        true => Ok(value),
        false => Err(value["message"].as_str().map_or_else(|| format!("it answers {status}"), str::to_owned)),
    }
}
