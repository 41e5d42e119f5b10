//! `prebake key`: the user's own signing keys (minisign's format), the vendor's (OpenPGP), and certificates of mutual TLS.

mod generate;
mod rotate;
mod show;
mod sign;
mod tls;
mod vendor;
mod verify;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::base::disk;
use crate::base::error::Result;
use crate::trust::openpgp;
pub(crate) use vendor::{expect, read_into};

/// Make keys, sign with them, and verify signatures
///
/// Keys of your own are minisign's: trees and bundles are signed with them, and `minisign -V` takes the signatures. The key
/// that signs Flatcar's releases is an OpenPGP key, known by the fingerprint of its primary. `tls` makes certificates for Matchbox's API.
#[derive(Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Subcommand)]
enum KeyVerb {
    Generate(generate::GenerateArgs),
    Rotate(rotate::RotateArgs),
    Show(show::ShowArgs),
    Sign(sign::SignFilesArgs),
    Tls(tls::TlsArgs),
    Update(vendor::UpdateArgs),
    Verify(verify::VerifyArgs),
}

impl KeyArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            KeyVerb::Generate(args) => args.run(),
            KeyVerb::Rotate(args) => args.run(),
            KeyVerb::Show(args) => args.run(),
            KeyVerb::Sign(args) => args.run(),
            KeyVerb::Tls(args) => args.run(),
            KeyVerb::Update(args) => args.run(),
            KeyVerb::Verify(args) => args.run(),
        }
    }
}

/// Reads a key or signature file into memory that is cleared. Of a longer file it reads just enough for the parser to
/// refuse it.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let most = openpgp::MAX_BYTES + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    let file = File::open(path).map_err(disk::Error::io("open", path))?;
    file.take(most as u64).read_to_end(&mut bytes).map_err(disk::Error::io("read", path))?;
    Ok(bytes)
}

/// Appends a suffix to a path: `site` and `.key` give `site.key`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(suffix);
    name.into()
}

/// Whether a file is one of minisign's, which are all text and begin so, even after an editor has added a mark or made
/// it UTF-16.
fn is_minisign(bytes: &[u8]) -> bool {
    let begin = "untrusted comment:";
    let wide: Vec<u8> = begin.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let behind = |mark: &[u8]| bytes.strip_prefix(mark).unwrap_or(bytes);
    behind(b"\xef\xbb\xbf").starts_with(begin.as_bytes()) || behind(b"\xff\xfe").starts_with(&wide)
}
