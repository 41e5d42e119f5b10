//! `prebake sysext key`

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde_json::json;

use super::print_json;
use crate::base::error::Result;
use crate::sysext::signing::{self, Generated};

/// Make keys that sign sysext images (`packaging: {verity: …}`)
#[derive(Args)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    verb: KeyVerb,
}

#[derive(Subcommand)]
enum KeyVerb {
    Generate(GenerateArgs),
}

/// Make a private key and its certificate: sysext.key and sysext.crt in DIR
///
/// RSA of 3072 bits. Keep the key off the nodes; a build puts the certificate on them.
#[derive(Args)]
struct GenerateArgs {
    /// Where both are written; made where it is missing
    #[arg(short, long, value_name = "DIR", required_unless_present = "directory")]
    output: Option<PathBuf>,
    /// The same, as it was given before there was --output
    #[arg(hide = true, conflicts_with = "output")]
    directory: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl KeyArgs {
    /// Makes the key.
    pub(crate) fn run(self) -> Result<()> {
        let KeyVerb::Generate(GenerateArgs { output, directory, json }) = self.verb;
        let directory = output.or(directory).unwrap_or_default();
        let Generated { fingerprint, key_was_there } = signing::generate(&directory, SystemTime::now())?;
        let file = |name| directory.join(name).display().to_string();
        if key_was_there {
            tell!(
                "warning: {} existed without a certificate, as an interrupted run leaves it; a new certificate was made. If the key \
                 had one before, restore that: locks and machines know it by its fingerprint",
                file(signing::KEY)
            );
        }
        if json {
            let (key, certificate) = (file(signing::KEY), file(signing::CERTIFICATE));
            print_json(
                &json!({"key": key, "certificate": certificate, "fingerprint": fingerprint.to_string()}),
            );
            return Ok(());
        }
        say!("key          {}", file(signing::KEY));
        say!("certificate  {}", file(signing::CERTIFICATE));
        say!("fingerprint  {fingerprint}");
        Ok(())
    }
}
