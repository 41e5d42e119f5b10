//! `prebake bundle verify`

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::Value;

use super::{Error, as_json, signed_by};
use crate::base::count::counted;
use crate::base::error::Result;
use crate::cli::demand::DemandArgs;
use crate::cli::project::StoreArg;
use crate::tree::bundle::Bundle;
use crate::tree::bundle::policy::Taken;

/// Verify a bundle's signatures, then every byte of it
///
/// Names each place that differs from the signed state: headers, data, padding and the end. Exits with 5 if the signature is
/// not trusted and with 4 if anything else is wrong.
#[derive(Args)]
pub(crate) struct VerifyArgs {
    /// The bundle
    pub file: PathBuf,
    #[command(flatten)]
    pub demand: DemandArgs,
    #[command(flatten)]
    pub store: StoreArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl VerifyArgs {
    /// Reads the bundle and reports its defects.
    pub(crate) fn run(self) -> Result<()> {
        let (_, json) = self.verify()?;
        if self.json {
            say!("{json:#}");
        }
        Ok(())
    }

    /// Verifies every byte. Returns the bundle and the JSON to print; defects are reported immediately.
    pub(crate) fn verify(&self) -> Result<(Bundle, Value)> {
        let Taken { bundle, .. } = self.demand.open(&self.file, &self.store.path()?)?;
        let report = bundle.verify()?;
        let mut json = as_json(&self.file, report.bytes, bundle.index(), bundle.signatures());
        json["trusted"] = bundle.proof().is_some().into();
        json["flaws"] = serde_json::json!(report.flaws);
        if !report.flaws.is_empty() {
            match self.json {
                true => say!("{json:#}"),
                false => {
                    let flaws = report.flaws.iter();
                    flaws.for_each(|flaw| say!("damaged {}", flaw.to_string().escape_debug()));
                }
            }
            let subject = bundle.subject().to_owned();
            return Err(Error::Flaws { subject, count: report.flaws.len() }.into());
        }
        // The members match the index; each tree must also match its manifest.
        let trees: Vec<&str> = bundle.trees().collect();
        trees.iter().try_for_each(|tree| bundle.manifest(tree).map(drop))?;
        drop(trees);
        if !self.json {
            let signatures = bundle.signatures();
            let is_plain = bundle.proof().is_some() || signatures.is_empty();
            let trusted = if is_plain { "" } else { ", not trusted here" };
            say!(
                "{}: {}, {}, all bytes intact, {}{trusted}",
                self.file.display(),
                counted(report.members, "member"),
                HumanBytes(report.bytes),
                signed_by(signatures),
            );
        }
        Ok((bundle, json))
    }
}
