//! `prebake ignition closure`: lists the sources that a boot would fetch, and rewrites the config to fetch local
//! copies.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Failure, FindingArgs, load, write};
use crate::base::canonical::is_contained_in_url;
use crate::ignition::Transpile;
use crate::ignition::closure::{self, Remote, Replacement};

/// List what a boot with this config would fetch, or rewrite the config so that it need not.
///
/// Local copies are given with `--asset URL=FILE` or `--assets DIR`, where a URL is looked for under HOST/PATH, PATH and
/// its last part. With `--inline` their bytes go into the config, with `--base-url` the config fetches them from there
/// and checks their sha512. Nothing is fetched here.
#[derive(Args)]
pub(super) struct ClosureArgs {
    /// The config, Ignition or Butane; `-` for standard input
    config: PathBuf,
    /// A local copy of a source
    #[arg(long = "asset", value_name = "URL=FILE", value_parser = asset)]
    named: Vec<(String, PathBuf)>,
    /// A directory of local copies
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
    /// Put the local copies into the config
    #[arg(long, conflicts_with = "base_url")]
    inline: bool,
    /// Fetch the local copies from below this URL instead
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Write the rewritten config to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the list as JSON
    #[arg(long, conflicts_with_all = ["inline", "base_url"])]
    json: bool,
    /// Allow embedding local files from this directory (Butane)
    #[arg(short = 'd', long, value_name = "DIR")]
    files_dir: Option<PathBuf>,
    #[command(flatten)]
    findings: FindingArgs,
}

fn asset(text: &str) -> Result<(String, PathBuf), String> {
    // A URL may contain `=`, a file name rarely does.
    let (url, file) = text.rsplit_once('=').ok_or("expected URL=FILE")?;
    Ok((url.to_owned(), file.into()))
}

impl ClosureArgs {
    pub(super) fn run(self) -> Result<(), Failure> {
        let options =
            Transpile { files_dir: self.files_dir.clone(), experimental: true, ..Transpile::default() };
        let checked = load(&self.config, &options)
            .map_err(|findings| self.findings.refuse(findings, "the config is not valid"))?;
        self.findings.print(&checked.warnings);
        if !self.inline && self.base_url.is_none() {
            return self.list(&closure::remotes(&checked.config));
        }
        let rewritten = closure::rewrite(checked.config, &mut |remote| self.replacement(remote))
            .map_err(|findings| self.findings.refuse(findings, "the config was not rewritten"))?;
        write(self.output.as_ref(), &rewritten.to_json())
    }

    fn list(&self, remotes: &[Remote]) -> Result<(), Failure> {
        let text = match self.json {
            true => {
                let sources = remotes.iter().map(|remote| {
                    json!({
                        "url": remote.url,
                        "hash": remote.hash,
                        "config": remote.is_config,
                        "path": remote.path,
                        "place": remote.place.as_ref().map(ToString::to_string),
                    })
                });
                format!("{:#}\n", json!({"sources": sources.collect::<Vec<_>>()}))
            }
            false => remotes.iter().map(line).collect(),
        };
        write(None, &text)
    }

    fn replacement(&self, remote: &Remote) -> Result<Replacement, String> {
        let file = self.local_copy(&remote.url).ok_or_else(|| {
            format!("there is no local copy of {}; give one with --asset or --assets", remote.url)
        })?;
        let bytes = fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
        Ok(match &self.base_url {
            None => Replacement::Inline(bytes),
            Some(base) => {
                let name = file.file_name().and_then(|name| name.to_str()).unwrap_or("asset");
                Replacement::Url(format!("{}/{name}", base.trim_end_matches('/')), bytes)
            }
        })
    }

    fn local_copy(&self, url: &str) -> Option<PathBuf> {
        let named = self.named.iter().find(|(known, _)| known == url).map(|(_, file)| file.clone());
        named.or_else(|| {
            let dir: &Path = self.assets.as_deref()?;
            let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
            let rest = rest.split(['?', '#']).next().unwrap_or_default();
            let path = rest.split_once('/').map_or("", |(_, path)| path);
            let last = rest.rsplit('/').next().unwrap_or_default();
            let names = [rest, path, last].into_iter().filter(|name| is_contained_in_url(name));
            names.map(|name| dir.join(name)).find(|file| file.is_file())
        })
    }
}

fn line(remote: &Remote) -> String {
    let hash = remote.hash.as_deref().unwrap_or("no hash");
    let kind = if remote.is_config { " config" } else { "" };
    let place = remote.place.as_ref().map(|place| format!(" {place}")).unwrap_or_default();
    format!("{}{kind} ({hash}){place}\n", remote.url)
}
