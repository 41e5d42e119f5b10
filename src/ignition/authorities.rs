//! Certificate authorities that a machine shall trust beside the public ones, and the layer that makes it trust them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prebake_text::digest::Sha256;
use prebake_text::finding::{Finding, Findings};
use serde_json::{Value, json};

use super::Config;

/// Longest file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A file of certificates.
#[derive(Clone, Debug)]
pub struct Authorities {
    /// Path on the booted system.
    path: String,
    /// The file's bytes, as a data URL.
    source: String,
    /// SHA-256 of each certificate in the file, in DER.
    certificates: BTreeSet<Sha256>,
}

impl Authorities {
    /// Reads a file of one or more certificates in PEM.
    ///
    /// # Errors
    /// A finding without a place, if the file cannot be read or has no certificate.
    pub fn load(pem: &Path) -> Result<Authorities, Finding> {
        let unfit = |why: String| Finding::error(format!("{}: {why}", pem.display()));
        let unread = |error: std::io::Error| unfit(format!("cannot be read: {error}"));
        if fs::metadata(pem).map_err(unread)?.len() > MAX_FILE {
            return Err(unfit("a certificate file may have at most 1 MiB".into()));
        }
        let bytes = fs::read(pem).map_err(unread)?;
        let certificates = certificates(&String::from_utf8_lossy(&bytes));
        if certificates.is_empty() {
            return Err(unfit("it contains no PEM certificate".into()));
        }
        let stem = pem.file_stem().and_then(|stem| stem.to_str()).unwrap_or("site");
        let source = format!("data:;base64,{}", STANDARD.encode(bytes));
        Ok(Authorities { path: format!("/etc/ssl/certs/{stem}.pem"), source, certificates })
    }

    /// SHA-256 of each certificate in the file, in DER: `openssl x509 -fingerprint -sha256`. Line ends and comments do
    /// not matter.
    pub fn certificates(&self) -> &BTreeSet<Sha256> {
        &self.certificates
    }
}

/// The digest of each certificate in a text; if one is not base64, the digest of its text.
fn certificates(text: &str) -> BTreeSet<Sha256> {
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let bodies = blocks.map(|block| block.split("-----").next().unwrap_or_default());
    let digest = |body: &str| {
        let line: String = body.split_whitespace().collect();
        Sha256::of(&STANDARD.decode(&line).unwrap_or(line.into_bytes()))
    };
    bodies.map(digest).collect()
}

/// The layer that makes Ignition trust the authorities while it fetches, and the booted system from then on, where
/// `update-ca-certificates` adds them in `/etc/ssl/certs`. `None` if there are no authorities.
///
/// # Errors
/// Two files with the same name.
pub fn layer(authorities: &[Authorities]) -> Result<Option<Config>, Findings> {
    if authorities.is_empty() {
        return Ok(None);
    }
    let file = |file: &Authorities| json!({"path": file.path, "mode": 0o644, "overwrite": true, "contents": {"source": file.source}});
    let files: Vec<Value> = authorities.iter().map(file).collect();
    let sources: Vec<Value> = authorities.iter().map(|file| json!({"source": file.source})).collect();
    Config::from_json(&json!({
        "ignition": {"version": "3.3.0", "security": {"tls": {"certificateAuthorities": sources}}},
        "storage": {"files": files},
    }))
    .map(Some)
}
