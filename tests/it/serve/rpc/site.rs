//! A site: the certificates of Matchbox's gRPC API, and a bench of machines as Terraform's resources and as calls.
//!
//! A bench takes this file, too.

use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::request;

/// An authority, and what it signed for a server on 127.0.0.1 and for a client, under the names that Matchbox expects.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    /// New ones, in a directory of their own.
    pub(crate) fn new() -> Certificates {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| fs::write(directory.path().join(name), text).unwrap();
        let params = |name: &str, names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut params = CertificateParams::new(names).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let (key, mut authority) = (KeyPair::generate().unwrap(), params("authority", &[]));
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write("ca.crt", authority.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(authority, key);
        for (name, names) in [("server", &["127.0.0.1"][..]), ("client", &[])] {
            let key = KeyPair::generate().unwrap();
            write(&format!("{name}.crt"), params(name, names).signed_by(&key, &issuer).unwrap().pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Certificates(directory)
    }

    /// The path of a file; of the directory, where the name is empty.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The settings of Matchbox's provider for Terraform.
    pub(crate) fn provider(&self, rpc: &str) -> Value {
        let [ca, cert, key] = ["ca.crt", "client.crt", "client.key"].map(|name| self.text(name));
        json!({"endpoint": rpc, "ca": ca, "client_cert": cert, "client_key": key})
    }

    /// Matchbox's flags for a server.
    pub(crate) fn flags(&self) -> Vec<String> {
        [("ca-file", "ca.crt"), ("cert-file", "server.crt"), ("key-file", "server.key")]
            .map(|(flag, file)| format!("-{flag}={}", self.path(file).display()))
            .to_vec()
    }
}

/// A machine's address.
pub(crate) fn mac(node: usize) -> String {
    format!("52:54:00:00:{:02x}:{:02x}", node >> 8, node & 0xff)
}

/// A config of a bench: `mark` stands at its begin and at its end, with a filling between them that half a write would show in.
pub(crate) fn text(of: &str, mark: &str) -> String {
    let filling = "0123456789abcdef".repeat(512);
    let source = format!("data:,{mark}-{filling}-{mark}");
    let file = json!({"path": format!("/etc/{of}"), "contents": {"source": source}});
    json!({"ignition": {"version": "3.3.0"}, "storage": {"files": [file]}}).to_string()
}

/// What boots each machine of a bench.
fn boot(mark: &str) -> Value {
    json!({"kernel": "/assets/vmlinuz", "initrd": ["/assets/initrd"], "args": ["initrd=initrd", format!("mark={mark}")]})
}

/// A bench of Typhoon's shape: for each machine a profile and a group that install it, and those of the installed system.
pub(crate) fn bench(nodes: usize, mark: &str) -> Value {
    let names: Vec<usize> = (0..nodes).collect();
    let each = json!(format!("${{toset([for n in {} : tostring(n)])}}", json!(names)));
    let profile = |name: &str, generic: Value| {
        let mut profile = json!({"for_each": each, "name": format!("bench-{name}-${{each.key}}"), "raw_ignition": text(name, mark)});
        for more in [boot(mark), generic] {
            profile.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        }
        profile
    };
    let generic = json!({"generic_config": format!("{mark}\n")});
    // As `mac` has it.
    let address =
        "${format(\"52:54:00:00:%02x:%02x\", floor(tonumber(each.key) / 256), tonumber(each.key) % 256)}";
    json!({
        "matchbox_profile": {"install": profile("install", generic), "node": profile("node", json!({}))},
        "matchbox_group": {
            "install": {
                "for_each": each,
                "name": "bench-install-${each.key}",
                "profile": "${matchbox_profile.install[each.key].name}",
                "selector": {"mac": address},
                "metadata": {"mark": mark},
            },
            "node": {
                "for_each": each,
                "name": "bench-node-${each.key}",
                "profile": "${matchbox_profile.node[each.key].name}",
                "selector": {"mac": address, "os": "installed"},
                "metadata": {"mark": mark, "domain": "n${each.key}.example.com"},
            },
        },
    })
}

/// One machine's part of a bench as the provider's calls, each group behind its profile. The one of the installed system comes
/// first, so that it never gets the other's config.
pub(crate) fn puts(node: usize, mark: &str) -> Vec<Value> {
    let profile = |id: &str, generic: &str| {
        let profile =
            json!({"id": id, "boot": boot(mark), "ignitionId": format!("{id}.ign"), "genericId": generic});
        request::profile(&profile)
    };
    let (mac, [node_id, install_id]) = (mac(node), ids(node));
    let metadata = json!({"domain": format!("n{node}.example.com"), "mark": mark}).to_string();
    vec![
        profile(&node_id, ""),
        request::config("Ignition", &format!("{node_id}.ign"), text("node", mark)),
        request::group(&node_id, &node_id, &json!({"mac": mac, "os": "installed"}), &metadata),
        profile(&install_id, &install_id),
        request::config("Ignition", &format!("{install_id}.ign"), text("install", mark)),
        request::config("Generic", &install_id, format!("{mark}\n")),
        request::group(&install_id, &install_id, &json!({"mac": mac}), &json!({"mark": mark}).to_string()),
    ]
}

/// The same once it is there: what a plan reads (`Get`), or, in the reverse order, what takes it away (`Delete`).
pub(crate) fn each(verb: &str, node: usize) -> Vec<Value> {
    let call = |kind: &str, name: &str| request::by_id(&format!("{kind}{verb}"), name);
    let of = |id: &String| {
        let config = call("Ignition", &format!("{id}.ign"));
        [call("Group", id), call("Profile", id), config]
    };
    let [node_id, install_id] = ids(node);
    let mut calls = of(&install_id).to_vec();
    calls.push(call("Generic", &install_id));
    calls.extend(of(&node_id));
    calls
}

/// The names of what a machine has in a bench: of its installed system, and of its installation.
fn ids(node: usize) -> [String; 2] {
    ["node", "install"].map(|part| format!("bench-{part}-{node}"))
}
