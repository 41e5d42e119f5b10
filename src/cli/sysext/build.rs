//! `prebake sysext build`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use indicatif::HumanBytes;
use serde_json::json;

use super::print_json;
use crate::bake::alone::{self, Made, Pinned};
use crate::bake::project::Limits;
use crate::base::arch::Arch;
use crate::base::error::Result;
use crate::base::finding::{Findings, Source};
use crate::base::yaml;
use crate::base::yaml::decode::Decoder;
use crate::cli::progress::Progress;
use crate::cli::project::{FetchArgs, StoreArg, block_on};
use crate::cli::table::Table;
use crate::sysext::packaging::{Packaging, Wish};

/// Build sysexts on their own, without a recipe
///
/// Fetches and verifies their components, or takes them from the store, and writes NAME-VERSION-ARCH.raw for each into
/// OUTPUT, with SHA256SUMS beside them. The same folder and components give the same bytes everywhere. On a node, link
/// /etc/extensions/NAME.raw to the image: systemd-sysext goes by that name.
#[derive(Args)]
pub(crate) struct SysextBuildArgs {
    /// Names as `sysext ls` lists them, or folders
    #[arg(required = true, value_name = "NAME|DIR")]
    sysexts: Vec<String>,
    /// For which machines: amd64 or arm64 (repeatable)
    #[arg(long, value_name = "ARCH", default_values_t = [Arch::Amd64])]
    arch: Vec<Arch>,
    /// Where the images are written
    #[arg(long, short, value_name = "DIR", default_value = "output/sysext")]
    output: PathBuf,
    /// Build this version instead of the description's; of one sysext only
    #[arg(long = "sysext-version", alias = "version", value_name = "VERSION")]
    version: Option<String>,
    /// Set a variable of the description (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
    /// Settings for making the images, as under `packaging:` in a recipe: '{compression: gzip, level: 6}'
    #[arg(long, value_name = "YAML")]
    packaging: Option<String>,
    /// Use only the store; reports all missing inputs at once
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    fetch: FetchArgs,
    #[command(flatten)]
    store: StoreArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or("a variable and its value are required, such as cni=v1.7.1")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Reads the value of `--packaging`; its files are relative to the working directory.
fn packaging(text: &str) -> Result<Packaging> {
    let source = Source::new("--packaging", text);
    let root = yaml::parse(&source).map_err(Findings::from)?;
    let decoder = Decoder::new(&source);
    let wish = Wish::decode(&decoder, &root, Path::new(""));
    Ok(decoder.finish(wish)?.load(SystemTime::now())?)
}

impl SysextBuildArgs {
    /// Builds and writes the images, and reports digests that were pinned.
    pub(crate) fn run(self) -> Result<()> {
        let mut values: BTreeMap<String, String> = self.set.iter().cloned().collect();
        values.extend(self.version.clone().map(|version| ("version".to_owned(), version)));
        let mut archs = self.arch.clone();
        archs.sort();
        archs.dedup();
        let mut sysexts = Vec::new();
        for name in &self.sysexts {
            sysexts.extend(alone::select(&alone::find(name)?, &archs, &values)?);
        }
        let packaging = self.packaging.as_deref().map(packaging).transpose()?.unwrap_or_default();
        let store = self.fetch.trusting(self.store.open()?);
        let limits = Limits { offline: self.offline, http: self.fetch.options(), ..Limits::default() };
        let (pinned, made) = block_on(alone::build(&sysexts, &packaging, &store, limits, &Progress::new()))?;
        alone::publish(&made, &store, &self.output)?;
        match self.json {
            true => print_json(&as_json(&self.output, &pinned, &made)),
            false => print(&self.output, &pinned, &made),
        }
        Ok(())
    }
}

fn print(output: &std::path::Path, pinned: &[Pinned], made: &[Made]) {
    let fresh: Vec<&Pinned> = pinned.iter().filter(|pin| pin.fetched).collect();
    if !fresh.is_empty() {
        tell!("no recipe's lock pins these; the store has pinned them now:");
        fresh.iter().for_each(|pin| tell!("  {} {}", pin.object.sha256, pin.url));
    }
    let mut table = Table::new(["FILE", ">SIZE", "SHA256"]);
    for image in made {
        let file = output.join(&image.file).display().to_string();
        table.row([
            file,
            HumanBytes(image.outcome.object.size).to_string(),
            image.outcome.object.sha256.to_string(),
        ]);
    }
    say_part!("{table}");
}

fn as_json(output: &std::path::Path, pinned: &[Pinned], made: &[Made]) -> serde_json::Value {
    let input = |pin: &Pinned| json!({"id": pin.id, "url": pin.url, "sha256": pin.object.sha256, "size": pin.object.size, "fetched": pin.fetched});
    let image = |image: &Made| {
        let object = image.outcome.object;
        json!({"name": image.name, "version": image.version, "arch": image.arch, "path": output.join(&image.file),
            "sha256": object.sha256, "size": object.size, "cached": image.outcome.cached})
    };
    json!({
        "inputs": pinned.iter().map(input).collect::<Vec<_>>(),
        "images": made.iter().map(image).collect::<Vec<_>>(),
    })
}
