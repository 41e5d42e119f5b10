//! The key that signs Flatcar's releases: shows and updates it, and verifies signatures with it.
//!
//! The pin is the fingerprint of the primary key. A key file may come from anywhere and is trusted only if it holds
//! that primary; then the subkeys below it are judged one by one.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use super::read;
use super::show::Shown;
use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::{Advice, Result};
use crate::cli::project::{PinArgs, block_on};
use crate::cli::table::Table;
use crate::source::Mirrors;
use crate::source::http::{Http, Options};
use crate::source::key::{self, Update};
use crate::trust::openpgp::{Certificate, Fingerprint, Part, TrustedKey, Verifier};

/// Number of bytes that are read at a time while a file is verified; fits into one core's own cache.
const CHUNK: usize = 128 << 10;

/// Fetch the vendor's key file, hold it against the pin, store it, and say what changed
///
/// Builds do the same whenever they judge a signature, unless the recipe names a key file; without a network they use
/// the stored copy. A file that takes a subkey or a revocation back is refused (exit code 5).
#[derive(Args)]
pub(crate) struct UpdateArgs {
    #[command(flatten)]
    common: PinArgs,
}

/// The user named no key file, and none is stored.
#[derive(Debug, thiserror::Error)]
#[error("the store has no copy of a key file with the primary key {pin}")]
struct NotStored {
    pin: Fingerprint,
}

impl Advice for NotStored {
    fn hint(&self) -> Option<String> {
        Some("run `prebake key update`, or name a key file".into())
    }
}

/// The date in UTC, such as `2025-03-07`.
fn day(time: SystemTime) -> String {
    let mut text = rfc3339(time);
    text.truncate("2025-03-07".len());
    text
}

fn rfc3339(time: SystemTime) -> String {
    crate::base::clock::date(time)
}

/// The time from which its signatures are void, in words.
fn revoked(part: &Part) -> String {
    match part.revoked {
        None => "-".into(),
        Some(UNIX_EPOCH) => "since its creation".into(),
        Some(from) => day(from),
    }
}

/// Path of the copy in the store, if there is one.
pub(crate) fn stored_path(common: &PinArgs) -> Result<PathBuf> {
    let path = key::path(&common.store.open()?, common.pin);
    match path.exists() {
        true => Ok(path),
        false => Err(NotStored { pin: common.pin }.into()),
    }
}

/// Lists each key of a key file, and whether a signature that it makes today would be trusted.
pub(crate) fn show(subject: &str, bytes: &[u8], pin: Fingerprint) -> Result<Shown> {
    let certificates = Certificate::read_all(subject, bytes)?;
    let now = SystemTime::now();
    let is_pinned = |certificate: &Certificate| certificate.parts[0].fingerprint == pin;
    let row = |c: &Certificate| {
        let keys: Vec<Value> = c.parts.iter().map(|part| as_json(part, now)).collect();
        json!({"users": c.users, "pinned": is_pinned(c), "keys": keys})
    };
    let rows: Vec<Value> = certificates.iter().map(row).collect();
    let json = json!({"file": subject, "kind": "openpgp", "pin": pin, "certificates": rows});
    let mut text = String::new();
    for certificate in &certificates {
        let pinned = if is_pinned(certificate) { "pinned" } else { "not the pinned primary: never trusted" };
        for user in &certificate.users {
            // Anybody can write a user id, including terminal escapes.
            text += &format!("{} ({pinned})\n", user.escape_debug());
        }
        let mut table = Table::new(["", "KEY", "CREATED", "EXPIRES", "REVOKED", "USAGE", "BELIEVED TODAY"]);
        for (index, part) in certificate.parts.iter().enumerate() {
            let believed = match part.refusal(now) {
                _ if !is_pinned(certificate) => "no".into(),
                None => "yes".into(),
                Some(refusal) => format!("no: {}", refusal.name()),
            };
            table.row([
                if index == 0 { "primary".into() } else { "subkey".into() },
                part.fingerprint.to_string(),
                day(part.created),
                part.expires.map_or("never".into(), day),
                revoked(part),
                part.usage.join(", "),
                believed,
            ]);
        }
        text += &table.to_string();
    }
    Ok(Shown { text, json })
}

fn as_json(part: &Part, now: SystemTime) -> Value {
    json!({
        "fingerprint": part.fingerprint,
        "created": rfc3339(part.created),
        "expires": part.expires.map(rfc3339),
        "revoked": part.revoked.map(rfc3339),
        "usage": part.usage,
        "refusal": part.refusal(now).map(|refusal| refusal.name()),
    })
}

impl UpdateArgs {
    pub(crate) fn run(self) -> Result<()> {
        let pin = self.common.pin;
        let store = self.common.store.open()?;
        let http = Http::new(Mirrors::new(&Default::default())?, Options::default());
        let Update { key, earlier } = block_on(async { Ok(key::update(pin, &store, &http).await?) })?;
        let changes = changes(earlier.as_ref(), &key);
        let path = key::path(&store, pin);
        if self.common.json {
            let row = |(what, part): &(&str, &Part)| json!({"change": what, "fingerprint": part.fingerprint});
            let rows: Vec<Value> = changes.iter().map(row).collect();
            say!("{:#}", json!({"file": path, "pin": pin, "changes": rows}));
            return Ok(());
        }
        for (what, part) in &changes {
            let until = part.expires.map_or("without end".into(), |end| format!("until {}", day(end)));
            say!("{what:9} {} {} {until}", part.fingerprint, day(part.created));
        }
        let state = if changes.is_empty() { "nothing new" } else { "stored" };
        say!("{}: {state}, {} under {pin}", path.display(), counted(key.parts().len(), "key"));
        Ok(())
    }
}

/// Keys that are new, newly revoked, or have another expiry than before.
fn changes<'k>(earlier: Option<&TrustedKey>, key: &'k TrustedKey) -> Vec<(&'static str, &'k Part)> {
    let before = |part: &Part| {
        earlier?.parts().iter().find(|old| old.fingerprint == part.fingerprint).map(|old| &**old)
    };
    let change = |part: &'k Part| match before(part) {
        None => Some(("new", part)),
        Some(old) if old.revoked != part.revoked => Some(("revoked", part)),
        Some(old) if old.expires != part.expires => Some(("expiry", part)),
        Some(old) if old.usage != part.usage => Some(("usage", part)),
        Some(_) => None,
    };
    key.parts().iter().filter_map(|part| change(part)).collect()
}

/// One of the vendor's detached signatures, judged as builds do, before a byte of what it signs was seen.
///
/// # Errors
/// There is no key file, or none of its keys may have made the signature.
pub(crate) fn expect(signature: &Path, key_file: Option<&Path>, common: &PinArgs) -> Result<Verifier> {
    let pin = common.pin;
    let key = match key_file {
        Some(path) => TrustedKey::parse(&path.display().to_string(), &read(path)?, pin)?,
        None => key::stored(&common.store.open()?, pin)?.ok_or(NotStored { pin })?,
    };
    Ok(key.expect(&signature.display().to_string(), &read(signature)?, SystemTime::now())?)
}

/// Has a verifier see all that is read; `told` hears how many bytes it has seen.
///
/// # Errors
/// The reader fails.
pub(crate) fn read_into(
    verifier: &mut Verifier,
    mut reader: impl Read,
    mut told: impl FnMut(u64),
) -> io::Result<()> {
    let (mut buffer, mut at) = (vec![0; CHUNK], 0);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                verifier.update(buffer.get(..count).unwrap_or_default());
                at += count as u64;
                told(at);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Verifies one of the vendor's detached signatures as builds do.
pub(crate) fn verify(path: &Path, signature: &Path, key_file: Option<&Path>, common: &PinArgs) -> Result<()> {
    let pin = common.pin;
    let mut verifier = expect(signature, key_file, common)?;
    let file = File::open(path).map_err(disk::Error::io("open", path))?;
    read_into(&mut verifier, file, |_| ()).map_err(disk::Error::io("read", path))?;
    let signed = verifier.finish()?;
    let file = path.display().to_string();
    if common.json {
        let (signer, signed_at, sha512) = (signed.signer, rfc3339(signed.created), signed.sha512);
        let report =
            json!({"file": file, "signer": signer, "primary": pin, "signed": signed_at, "sha512": sha512});
        say!("{report:#}");
        return Ok(());
    }
    say!("{file}: signed by {} on {}", signed.signer, rfc3339(signed.created));
    say!("  primary  {pin}");
    if let Some(sha512) = signed.sha512 {
        say!("  sha512   {sha512}");
    }
    Ok(())
}
