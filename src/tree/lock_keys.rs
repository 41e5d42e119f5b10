//! The keys of a lock. serde reads it by its types; a test holds this table against them.

use crate::base::forms;
use crate::base::yaml::keys::{Form, Key, Mapping, Value};

static USER: Form = Form { name: "USER", pattern: "", numeric: true };
static INPUT: Form = Form { name: "INPUT", pattern: "", numeric: true };
static SYSEXT: Form = Form { name: "SYSEXT", pattern: "", numeric: true };
static SUBKEY: Form = Form { name: "FINGERPRINT", ..forms::FINGERPRINT };
static SHA512: Form = Form { name: "SHA-512", pattern: "^[0-9A-Fa-f]{128}$", numeric: true };
static TIME: Form =
    Form { name: "time", pattern: "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]+[Zz]?$", numeric: false };

/// The top level of a lock.
pub static LOCK: Mapping = Mapping::of(
    "the lock",
    &[
        Key::needed("schema", Value::Number(1, 2), "2", "Version of the format; 1 is still read."),
        Key::needed(
            "release",
            Value::Keys(&RELEASE),
            "{channel: stable, version: 4593.2.5}",
            "The release that the recipe's wish was resolved to.",
        ),
        Key::may(
            "trust",
            Value::Keys(&TRUST),
            "a lock of schema 1, or one without a recipe",
            "{primary_fingerprint: F88CFEDEFF29A5B4D9523864E25D9AED0593B34A}",
            "The keys that the recipe trusted when this was locked.",
        ),
        Key::may(
            "ssh_keys",
            Value::Names(&USER, &Value::List(&Value::Text)),
            "the recipe names no `github:USER`",
            "{octo: [ssh-ed25519 AAAA…]}",
            "The SSH keys that each GitHub user published.",
        ),
        Key::may(
            "kubeadm",
            Value::Keys(&KUBEADM),
            "a table knows the images, or none are carried",
            "{version: v1.34.4, images: [registry.k8s.io/pause:3.10]}",
            "Images that kubeadm's source names, for a version that no table knows.",
        ),
        Key::may(
            "sysexts",
            Value::Names(&SYSEXT, &Value::Form(&forms::SHA256)),
            "no sysext out of prebake's binary is used",
            "{report: 3d07d8a3a1c1e0b2a4a5b6c7d8e9f0a1b2c3d4e5f60718293a4b5c6d7e8f9012}",
            "SHA-256 of the folder of each sysext that comes with prebake, by name.",
        ),
        Key::needed(
            "inputs",
            Value::Names(&INPUT, &Value::Keys(&ENTRY)),
            "{}",
            "Every file that is fetched, by its id.",
        ),
    ],
);

static RELEASE: Mapping = Mapping::of(
    "`release`",
    &[
        Key::needed("channel", Value::Text, "stable", "Its channel: `stable`, `beta`, `alpha` or `lts`."),
        Key::needed("version", Value::Text, "4593.2.5", "Its version; empty to be resolved anew."),
    ],
);

static TRUST: Mapping = Mapping::of(
    "`trust`",
    &[
        Key::needed(
            "primary_fingerprint",
            Value::Form(&forms::FINGERPRINT),
            "F88CFEDEFF29A5B4D9523864E25D9AED0593B34A",
            "The pinned primary key, which certified the signers of all signed inputs.",
        ),
        Key::may(
            "sysext_certificate",
            Value::Form(&forms::SHA256),
            "the recipe has no `packaging.verity`",
            "5d1cdc4f3c9a1c1e3e9c0a4e8f6d6f4b7b0f5e2a1d9c8b7a6f5e4d3c2b1a0f9e",
            "SHA-256 of the certificate, as DER, for which images of sysexts are signed.",
        ),
        Key::may(
            "authorities",
            Value::List(&Value::Form(&forms::SHA256)),
            "the recipe has no `trust_ca`",
            "[9ab2dc4f3c9a1c1e3e9c0a4e8f6d6f4b7b0f5e2a1d9c8b7a6f5e4d3c2b1a0f9e]",
            "SHA-256 of the certificate of each authority, as DER, that machines are told to trust.",
        ),
        Key::may(
            "revoked",
            Value::Names(
                &SUBKEY,
                &Value::Either(&[
                    Value::Words(&[("always", "nothing that it signed counts")]),
                    Value::Form(&TIME),
                ]),
            ),
            "the key file revokes nothing that prebake does not know itself",
            "{440A2DF8F88CFEDEFF29A5B4D9523864E25D9AED: always}",
            "Keys below the pinned one that its key file revoked, each with the time from which its signatures are void.",
        ),
    ],
);

static KUBEADM: Mapping = Mapping::of(
    "`kubeadm`",
    &[
        Key::needed("version", Value::Text, "v1.34.4", "The version of Kubernetes."),
        Key::needed(
            "images",
            Value::List(&Value::Text),
            "[registry.k8s.io/pause:3.10]",
            "Its container images.",
        ),
    ],
);

static ENTRY: Mapping = Mapping::of(
    "an input",
    &[
        Key::needed(
            "url",
            Value::Text,
            "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet",
            "Canonical URL, never a mirror's.",
        ),
        Key::needed("size", Value::Number(0, u64::MAX), "59199780", "Its length in bytes."),
        Key::needed(
            "sha256",
            Value::Form(&forms::SHA256),
            "0c2fdc4f3c9a1c1e3e9c0a4e8f6d6f4b7b0f5e2a1d9c8b7a6f5e4d3c2b1a0f9e",
            "SHA-256 of its bytes.",
        ),
        Key::may(
            "sha256_url",
            Value::Text,
            "the input is signed, or its digest is pinned",
            "https://dl.k8s.io/release/v1.34.4/bin/linux/amd64/kubelet.sha256",
            "URL of the digest that its publisher states.",
        ),
        Key::may(
            "sha512",
            Value::Form(&SHA512),
            "no check of a signature computed it",
            "78bddc4f3c9a1c1e3e9c0a4e8f6d6f4b7b0f5e2a1d9c8b7a6f5e4d3c2b1a0f9e78bddc4f3c9a1c1e3e9c0a4e8f6d6f4b7b0f5e2a1d9c8b7a6f5e4d3c2b1a0f9e",
            "SHA-512 of the bytes of a signed file.",
        ),
        Key::may(
            "signer",
            Value::Text,
            "the input has no signature",
            "8F2E8753048542474D9D9200D26D2108E2F05BC2",
            "Fingerprint of the key that signed it.",
        ),
        Key::may(
            "signed",
            Value::Form(&TIME),
            "the input has no signature",
            "2026-08-13T09:00:00Z",
            "Time of the signature, RFC 3339 in UTC.",
        ),
    ],
);
