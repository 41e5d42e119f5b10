//! `prebake bundle inspect`

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::{as_json, signed_by};
use crate::base::count::counted;
use crate::base::error::Result;
use crate::cli::table::Table;
use crate::tree::bundle::{Bundle, Demand};
use crate::tree::manifest::{Manifest, Role};

/// Show a bundle's own claims; verifies only that it is a bundle
#[derive(Args)]
pub(crate) struct InspectArgs {
    /// The bundle
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// File names of the published files of a role.
fn names(manifest: &Manifest, role: Role) -> Vec<&str> {
    let files = manifest.files.iter().filter(|(_, file)| file.role == role);
    files.map(|(path, _)| path.rsplit('/').next().unwrap_or(path)).collect()
}

impl InspectArgs {
    /// Prints the bundle's index.
    pub(crate) fn run(self) -> Result<()> {
        let bundle = Bundle::open(&self.file, &Demand::anything())?;
        let index = bundle.index();
        let manifests = bundle.trees().map(|tree| bundle.manifest(tree)).collect::<Result<Vec<_>, _>>()?;
        tell!(
            "warning: NOT VERIFIED: these are the file's own claims; verify them with `prebake bundle verify --trust KEY.pub`"
        );
        if self.json {
            let mut json = as_json(&self.file, bundle.layout().length(), index, bundle.signatures());
            json["verified"] = false.into();
            json["trees"] = manifests
                .iter()
                .map(|manifest| {
                    json!({
                        "name": manifest.name,
                        "build_id": manifest.build_id(),
                        "releases": manifest.releases,
                        "files": manifest.files.len(),
                        "bytes": manifest.files.values().map(|file| file.size).sum::<u64>(),
                        "sysexts": names(manifest, Role::Sysext),
                        "images": names(manifest, Role::ContainerImage),
                    })
                })
                .collect();
            say!("{json:#}");
            return Ok(());
        }
        say!("{}: {}", self.file.display(), HumanBytes(bundle.layout().length()));
        say!("  name      {}, number {}", index.name, index.sequence);
        match index.expires {
            Some(time) => say!("  expires   {}", crate::base::clock::date(time)),
            None => say!("  expires   never"),
        }
        say!("  signature {}", signed_by(bundle.signatures()));
        for rotation in bundle.signatures().rotations() {
            say!("  rotation  {} follows {}", rotation.new_key().id(), rotation.old_key().id());
        }
        for manifest in &manifests {
            let bytes = manifest.files.values().map(|file| file.size).sum();
            say!(
                "\n{} {}: {}, {}",
                manifest.name,
                manifest.build_id(),
                counted(manifest.files.len(), "file"),
                HumanBytes(bytes)
            );
            for release in &manifest.releases {
                say!(
                    "  flatcar   {} {} {}",
                    release.channel.escape_debug(),
                    release.version.escape_debug(),
                    release.arch
                );
            }
            for (word, role) in [("sysext  ", Role::Sysext), ("image   ", Role::ContainerImage)] {
                names(manifest, role).iter().for_each(|name| say!("  {word}  {}", name.escape_debug()));
            }
        }
        let others = index.members.iter().filter(|(path, _)| !path.starts_with("trees/"));
        let mut table = Table::new(["BESIDE", ">SIZE"]);
        others.for_each(|(path, member)| table.row([path.clone(), HumanBytes(member.size).to_string()]));
        say_part!("\n{table}");
        Ok(())
    }
}
