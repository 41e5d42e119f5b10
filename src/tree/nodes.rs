//! `boot/nodes.json`: which network card is which node, and its address, for a server that lends addresses.

use serde::{Deserialize, Serialize};

use crate::base::canonical::canonical_json;
use crate::base::words;
use crate::machine::dhcp::Host;

/// Version of the schema.
pub(crate) const SCHEMA: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Document {
    schema: u32,
    nodes: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    name: String,
    mac: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ip: Option<String>,
}

/// The file's bytes.
pub(crate) fn write(hosts: Vec<Host>) -> Vec<u8> {
    let entry = |host: Host| Entry {
        name: host.name,
        mac: host.mac.to_string(),
        ip: host.ip.map(|ip| ip.to_string()),
    };
    canonical_json(&Document { schema: SCHEMA, nodes: hosts.into_iter().map(entry).collect() })
}

/// Reads `boot/nodes.json`.
///
/// # Errors
/// A description of the fault.
pub fn read(bytes: &[u8]) -> Result<Vec<Host>, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| words::of_serde(&error))?;
    if document.schema != SCHEMA {
        return Err(format!("it has schema {}, and this prebake reads {SCHEMA}", document.schema));
    }
    let host = |entry: Entry| {
        let mac = entry.mac.parse().map_err(|_| format!("`{}` is not a MAC address", entry.mac))?;
        let address =
            |ip: String| ip.parse().map_err(|_| format!("`{ip}` is not an address with its prefix length"));
        Ok(Host { name: entry.name, mac, ip: entry.ip.map(address).transpose()? })
    };
    document.nodes.into_iter().map(host).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_or_it_is_said_what_is_wrong() {
        let one = |node: &str| read(format!(r#"{{"schema": 1, "nodes": [{node}]}}"#).as_bytes());
        let hosts = one(r#"{"name": "n1", "mac": "52:54:00:00:00:01", "ip": "10.0.0.11/24"}"#).unwrap();
        assert_eq!((hosts[0].name.as_str(), hosts[0].address()), ("n1", Some([10, 0, 0, 11].into())));
        assert_eq!(one(r#"{"name": "n1", "mac": "52:54:00:00:00:01"}"#).unwrap()[0].ip, None);
        for (node, words) in [
            (r#"{"name": "n1", "mac": "x"}"#, "`x` is not a MAC address"),
            (r#"{"name": "n1", "mac": "52:54:00:00:00:01", "ip": "x"}"#, "`x` is not an address"),
            (r#"{"name": "n1", "mac": "52:54:00:00:00:01", "colour": 1}"#, "unknown key `colour`"),
        ] {
            let why = one(node).unwrap_err();
            assert!(why.contains(words), "{why}");
        }
        assert!(read(br#"{"schema": 2, "nodes": []}"#).unwrap_err().contains("schema 2"));
    }
}
