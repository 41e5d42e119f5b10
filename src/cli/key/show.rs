//! `prebake key show`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::{is_minisign, read, vendor, with_suffix};
use crate::base::error::{Advice, Exit, Result};
use crate::cli::project::PinArgs;
use crate::trust::minisign::{PublicKey, SUFFIX, Secret, SecretKey, Signature};
use crate::trust::rotation::Rotation;

/// Say what key, signature and rotation files are
///
/// Of an OpenPGP key file it shows each key, and whether a signature that it makes today would be believed. Nothing secret is
/// shown, and no passphrase is asked for.
#[derive(Args)]
pub(crate) struct ShowArgs {
    /// Key files, signatures or rotations; the vendor's key in the store if absent
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    common: PinArgs,
}

/// The description of one file, as text and JSON.
pub(crate) struct Shown {
    pub text: String,
    pub json: Value,
}

/// A file of TLS, which is another program's to show.
#[derive(Debug, thiserror::Error)]
#[error("{} is {kind} in PEM, no key, signature or rotation of OpenPGP or minisign", path.display())]
struct OfTls {
    path: PathBuf,
    kind: &'static str,
    tool: &'static str,
}

impl Advice for OfTls {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        let (tool, path) = (self.tool, self.path.display());
        Some(format!(
            "`openssl {tool} -in {path} -noout` shows it; `prebake key tls` makes and renews such files"
        ))
    }
}

/// The kinds of PEM blocks (RFC 7468) by the ends of their labels, with the command of OpenSSL for each: nothing secret is shown.
const PEM: [(&str, &str, &str); 3] = [
    ("CERTIFICATE", "a certificate", "x509 -text"),
    ("PRIVATE KEY", "a private key of TLS", "pkey -text_pub"),
    ("PUBLIC KEY", "a public key of TLS", "pkey -pubin -text"),
];

/// The refusal of a file of TLS. Text may stand before its first block.
fn of_tls(path: &Path, bytes: &[u8]) -> Option<OfTls> {
    let text = String::from_utf8_lossy(bytes);
    let label =
        text.lines().find_map(|line| line.strip_prefix("-----BEGIN ")?.trim_end().strip_suffix("-----"))?;
    let is = |(end, ..): &&(&str, &str, &str)| label.ends_with(end) && !label.starts_with("PGP");
    PEM.iter().find(is).map(|&(_, kind, tool)| OfTls { path: path.into(), kind, tool })
}

impl ShowArgs {
    pub(crate) fn run(self) -> Result<()> {
        let files = match self.files.is_empty() {
            true => vec![vendor::stored_path(&self.common)?],
            false => self.files,
        };
        let shown = files.iter().map(|file| show(file, &self.common)).collect::<Result<Vec<_>>>()?;
        if self.common.json {
            say!("{:#}", shown.into_iter().map(|shown| shown.json).collect::<Value>());
        } else {
            shown.iter().for_each(|shown| say_part!("{}", shown.text));
        }
        Ok(())
    }
}

/// Shows a file by its kind, which its first words tell, and for minisign's files the length of their second line.
fn show(path: &Path, common: &PinArgs) -> Result<Shown> {
    let bytes = read(path)?;
    let subject = path.display().to_string();
    if bytes.starts_with(b"{") {
        let signature = with_suffix(path, SUFFIX);
        return Ok(rotation(&subject, &Rotation::parse(&subject, &bytes, &read(&signature)?)?));
    }
    if let Some(of_tls) = of_tls(path, &bytes) {
        return Err(of_tls.into());
    }
    if !is_minisign(&bytes) {
        return vendor::show(&subject, &bytes, common.pin);
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let second = lines.get(1).map_or(0, |line| line.len());
    Ok(match lines.len() <= 2 && second != 100 {
        _ if second == 56 => public(&subject, &PublicKey::parse(&subject, &text)?),
        _ if second == 212 => secret(&subject, &SecretKey::parse(&subject, &text)?),
        true if second < 100 => public(&subject, &PublicKey::parse(&subject, &text)?),
        true => secret(&subject, &SecretKey::parse(&subject, &text)?),
        false => signatures(&subject, &Signature::parse_all_commented(&subject, &bytes)?),
    })
}

fn public(subject: &str, key: &PublicKey) -> Shown {
    Shown {
        text: format!("{subject}: public key {}\n  {key}\n", key.id()),
        json: json!({"file": subject, "kind": "public key", "id": key.id(), "key": key}),
    }
}

fn secret(subject: &str, secret: &Secret) -> Shown {
    match secret {
        Secret::Open(key) => {
            let key = key.public();
            Shown {
                text: format!("{subject}: secret key {}, not sealed\n  its public key is {key}\n", key.id()),
                json: json!({"file": subject, "kind": "secret key", "sealed": false, "id": key.id(), "key": key}),
            }
        }
        Secret::Locked(locked) => Shown {
            text: format!(
                "{subject}: secret key, sealed with a passphrase that takes {} MiB of memory\n",
                locked.memory() >> 20
            ),
            json: json!({"file": subject, "kind": "secret key", "sealed": true, "memory": locked.memory()}),
        },
    }
}

fn signatures(subject: &str, signatures: &[Signature]) -> Shown {
    let text = |signature: &Signature| {
        let (id, comment) = (signature.key_id(), signature.trusted_comment());
        let legacy = if signature.is_legacy() { ", legacy" } else { "" };
        format!("{subject}: signature by {id}{legacy}, not verified\n  {comment}\n")
    };
    let row = |signature: &Signature| {
        let (id, comment) = (signature.key_id(), signature.trusted_comment());
        json!({"signer": id, "legacy": signature.is_legacy(), "comment": comment})
    };
    let rows: Value = signatures.iter().map(row).collect();
    Shown {
        text: signatures.iter().map(text).collect(),
        json: json!({"file": subject, "kind": "signature", "signatures": rows}),
    }
}

fn rotation(subject: &str, rotation: &Rotation) -> Shown {
    let (old, new) = (rotation.old_key(), rotation.new_key());
    Shown {
        text: format!(
            "{subject}: key {} names {} as its successor\n  old  {old}\n  new  {new}\n",
            old.id(),
            new.id()
        ),
        json: json!({"file": subject, "kind": "rotation", "old": old, "new": new}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_tls_are_known_by_their_first_block() {
        let told = |text: &str| of_tls(Path::new("pki/x"), text.as_bytes());
        for (text, kind, tool) in [
            ("-----BEGIN CERTIFICATE-----\nMII", "a certificate", "openssl x509 -text -in pki/x"),
            ("subject=x\n-----BEGIN TRUSTED CERTIFICATE-----\r\n", "a certificate", "openssl x509"),
            ("-----BEGIN EC PRIVATE KEY-----\n", "a private key", "openssl pkey -text_pub -in"),
            ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "a private key", "openssl pkey -text_pub -in"),
            ("-----BEGIN PUBLIC KEY-----\n", "a public key", "openssl pkey -pubin"),
        ] {
            let told = told(text).unwrap();
            assert!(told.to_string().contains(kind) && told.hint().unwrap().contains(tool), "{told}");
        }
        for text in [
            "-----BEGIN PGP PUBLIC KEY BLOCK-----\n",
            "-----BEGIN PGP PRIVATE KEY-----",
            "untrusted comment: x\n",
            "{}",
            "",
        ] {
            assert!(told(text).is_none(), "{text}");
        }
    }
}
