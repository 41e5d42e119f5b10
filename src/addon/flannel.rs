//! flannel's own setting, which must name the network of the pods.
//!
//! kube-controller-manager gives each node a part of the pods' network, and flannel takes no node whose part is elsewhere ("Error
//! registering network").

use super::Addon;
use super::manifest::Document;

/// The key of its ConfigMap.
pub const SETTING: &str = "net-conf.json";

/// The first object that sets another network than this one, and that network.
pub fn other_network<'a>(addon: &'a Addon, wanted: &str) -> Option<(&'a Document, String)> {
    let mut networks = addon.documents.iter().filter_map(|document| Some((document, network(document)?)));
    networks.find(|(_, network)| network != wanted)
}

/// The network that an object sets.
fn network(document: &Document) -> Option<String> {
    let text = document.value.get("data")?.get(SETTING)?.as_str()?;
    let setting: serde_json::Value = serde_json::from_str(text).ok()?;
    setting.get("Network")?.as_str().map(str::to_owned)
}

/// Its manifest with this network in place of its own.
pub(super) fn with_network(text: &str, network: &str) -> String {
    text.replace("\"Network\": \"10.244.0.0/16\"", &format!("\"Network\": \"{network}\""))
}
