//! A machine's own part: the unit's drop-in that waits for what kubeadm needs, and the script that tells kubeadm where it runs.

use serde_json::json;

use super::{Role, Wish};
use crate::machine::vip;
use crate::machine::yaml::readable;

/// Path of the script.
pub(super) const SCRIPT: &str = "/etc/prebake/before-kubeadm";

/// Units in the syntax of Container Linux Config (version 2 of Flatcar's transpiler), which Cluster API merges over its own.
pub(super) fn additional(wish: &Wish) -> String {
    let masked = |name: &str| json!({"name": name, "mask": true});
    let config = json!({"systemd": {"units": [
        {
            "name": "kubeadm.service",
            "enabled": true,
            // Another name than the image's own have: one of the same would take its place.
            "dropins": [{"name": "30-cluster-api.conf", "contents": drop_in(wish)}],
        },
        // Cluster API replaces machines, and updates none in place.
        masked("update-engine.service"),
        masked("locksmithd.service"),
    ]}});
    readable(&config)
}

fn drop_in(wish: &Wish) -> String {
    let identity = &wish.provider.identity;
    let units = "network-online.target containerd.service prebake-images.service";
    let mut text = format!(
        "[Unit]\n\
         # Wants and a look: containerd and the import of images reach systemd by extensions, and a unit that requires what is not\n\
         # known yet is not started at all.\n\
         Wants={units}\nAfter={units}\n"
    );
    if let Some(unit) = identity.unit {
        text.push_str(&format!("Requires={unit}\nAfter={unit}\n"));
    }
    text.push_str("[Service]\n");
    if let Some(file) = identity.environment {
        text.push_str(&format!("EnvironmentFile={file}\n"));
    }
    text.push_str(
        "ExecStartPre=/usr/bin/bash -c 'until [ -S /run/containerd/containerd.sock ]; do sleep 1; done'\n\
         ExecStartPre=/usr/bin/bash -c '[ ! -x /usr/libexec/prebake-images ] || exec /usr/libexec/prebake-images wait'\n",
    );
    text
}

/// The script: `NODE_NAME` and `NODE_ID` of the platform go into kubeadm's config, and what cannot become a node ends with its reason.
pub(super) fn script(wish: &Wish, role: Role) -> String {
    let identity = &wish.provider.identity;
    let mut lines = vec![
        "#!/bin/bash",
        "# Tells kubeadm the name and number that the platform gave this machine.",
        "set -euo pipefail",
        "fail() { echo \"before-kubeadm: $1\" >&2; exit 1; }",
        "config=/etc/kubeadm.yml",
    ];
    lines.extend(identity.lines);
    let mut names = vec![("NODE_NAME", "name")];
    if identity.provider_id.is_some() {
        names.push(("NODE_ID", "number"));
    }
    // Letters that a node's name and a provider's id may have; an empty one is none.
    let check = |(name, what): &(&str, &str)| {
        format!(
            "[[ ${name} =~ ^[A-Za-z0-9][A-Za-z0-9.-]*$ ]] || fail \"the platform gave this machine no {what} that a node can have: '${name}'\""
        )
    };
    // `[$]` is no placeholder of clusterctl's.
    let fill = |(name, _): &(&str, &str)| format!("-e \"s|[$]{{{name}}}|${name}|g\"");
    let checks: Vec<String> = names.iter().map(check).collect();
    let fills: Vec<String> = names.iter().map(fill).collect();
    let fill = format!("sed {} \"$config\" >\"$config.new\"", fills.join(" "));
    let (begins, more) = (super_admin(), wish.needs_super_admin());
    lines.extend(checks.iter().map(String::as_str));
    lines.extend(["umask 077", fill.as_str(), "mv \"$config.new\" \"$config\""]);
    if role == Role::ControlPlane {
        lines.extend([
            "# Another version than the image's would be pulled from a registry, or refused half way.",
            "wanted=$(sed -n 's/^kubernetesVersion: *//p' \"$config\" | tr -d '\"')",
            "have=$(kubeadm version -o short)",
            "[ -z \"$wanted\" ] || [ \"$wanted\" = \"$have\" ] ||",
            "    fail \"the manifests want Kubernetes $wanted and the image has $have: generate them with --kubernetes-version $have\"",
        ]);
        if more {
            lines.push(&begins);
        }
    }
    lines.join("\n") + "\n"
}

/// The line that gives kube-vip more rights on the machine that begins the cluster.
fn super_admin() -> String {
    format!(
        "if grep -q 'kubeadm init' /etc/kubeadm.sh; then sed -i 's|^\\( *path: \\)\"{}\"$|\\1\"{}\"|' {}; fi",
        vip::ADMIN,
        vip::SUPER_ADMIN,
        vip::MANIFEST
    )
}
