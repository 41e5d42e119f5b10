//! `prebake sysext inspect`

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanBytes;

use super::{escaped, print_json};
use crate::base::error::Result;
use crate::sysext::inspect::{Inspected, inspect};

/// Show the content of an image or folder, and its defects
///
/// Its file name is not judged here; `prebake sysext lint` does.
#[derive(Args)]
pub(crate) struct InspectArgs {
    /// Image of any format, or an unpacked extension
    image: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl InspectArgs {
    /// Prints the image's own data, then its entries; findings go to stderr.
    pub(crate) fn run(self) -> Result<()> {
        let (inspected, findings) = inspect(&self.image)?;
        for finding in findings {
            tell!("{finding}");
        }
        match self.json {
            true => print_json(&inspected),
            false => print(&inspected),
        }
        Ok(())
    }
}

fn print(image: &Inspected) {
    say!("name    {}", image.name.as_deref().map_or("none".into(), escaped));
    for (key, value) in &image.release {
        say!("        {}={}", escaped(key), escaped(value));
    }
    let packed =
        [image.compression.map(str::to_owned), image.block.map(|b| format!("blocks of {} KiB", b >> 10))];
    let packed: Vec<String> = packed.into_iter().flatten().collect();
    let inside = image.filesystem.map_or(String::new(), |name| format!(" with {name}"));
    say!("format  {}{inside} {}", image.format, packed.join(", "));
    say!("size    {}, unpacked {}", HumanBytes(image.length), HumanBytes(image.size));
    say!("epoch   {}", image.epoch.map_or("none".into(), |epoch| epoch.to_string()));
    say!("entries {}", image.entries.len());
    for row in &image.entries {
        let size = row.size.map(|size| size.to_string()).unwrap_or_default();
        let target = row.target.as_deref().map(|target| format!(" -> {}", escaped(target)));
        say!(
            "{:4} {:04o} {size:>12} {}{}",
            row.kind,
            row.mode,
            escaped(&row.path),
            target.unwrap_or_default()
        );
    }
}
