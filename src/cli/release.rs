//! `prebake release`: shows upstream releases.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::progress::Progress;
use super::project::{PinArgs, block_on};
use super::table::Table;
use crate::base::arch::Arch;
use crate::base::error::Result;
use crate::flatcar::board::{Board, Error};
use crate::flatcar::version::VersionWish;
use crate::source::http::{Http, Options};
use crate::source::release::{Artifact, Release};
use crate::source::releases;
use crate::source::{Mirrors, key};
use crate::trust::pin::Trust;

/// Look at Flatcar's releases
#[derive(Args)]
pub(crate) struct ReleaseArgs {
    #[command(subcommand)]
    verb: ReleaseVerb,
}

#[derive(Subcommand)]
enum ReleaseVerb {
    Show(ShowArgs),
}

/// Show a release: version, date, signer, and which files there are
///
/// The version's data comes from its `version.txt`, whose signature is verified first. Files are only looked for, not
/// fetched. Mirrors are taken from PREBAKE_MIRROR_FLATCAR.
///
/// In a shell: eval "$(prebake release show --export)"; echo "$FLATCAR_VERSION"
#[derive(Args)]
struct ShowArgs {
    /// stable, beta, alpha, lts, or an LTS stream such as lts-2024
    #[arg(default_value = "stable")]
    channel: String,
    /// A version; `latest` is the channel's current one
    #[arg(default_value = "latest")]
    version: VersionWish,
    /// amd64 or arm64
    #[arg(long, default_value_t = Arch::Amd64)]
    arch: Arch,
    /// Print FLATCAR_…=… lines for a shell, and look for no files
    #[arg(long, conflicts_with = "json")]
    export: bool,
    /// A local key file instead of the vendor's
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    common: PinArgs,
}

impl ReleaseArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            ReleaseVerb::Show(args) => args.run(),
        }
    }
}

impl ShowArgs {
    fn run(self) -> Result<()> {
        let unknown = || Error::UnknownChannel { channel: self.channel.clone(), place: None };
        let board = Board::of(&self.channel, self.arch).ok_or_else(unknown)?;
        let store = self.common.store.open()?;
        let http = Http::new(Mirrors::new(&Default::default())?, Options::default());
        let trust = Trust { primary: self.common.pin, key: self.key };
        let (release, artifacts) = block_on(async {
            let key = key::trusted(&trust, &store, &http, &Progress::new()).await?;
            let version = releases::resolve(&board, &self.version, &http).await?;
            let release = Release::read(&board, version, &http, &key).await?;
            let artifacts = if self.export { Vec::new() } else { release.artifacts(&board, &http).await? };
            Ok((release, artifacts))
        })?;
        match (self.export, self.common.json) {
            (true, _) => say_part!("{}", exports(&board, &release)),
            (false, true) => say!("{:#}", as_json(&board, &release, &artifacts)),
            (false, false) => print(&board, &release, &artifacts),
        }
        Ok(())
    }
}

fn print(board: &Board, release: &Release, artifacts: &[Artifact]) {
    say!("Flatcar {} {} for {}", board.channel, release.version, board.arch.board());
    if let Some(built) = release.build_id() {
        say!("  built   {built}");
    }
    let signed = crate::base::clock::date(release.signed.created);
    say!("  signed  {signed} by {}", release.signed.signer);
    let mut table = Table::new(["FILE", ">SIZE", "WHAT"]);
    for artifact in artifacts {
        let size = artifact.size.map_or("?".into(), |size| HumanBytes(size).to_string());
        table.row([artifact.file.into(), size, artifact.what.into()]);
    }
    say_part!("{table}");
}

fn as_json(board: &Board, release: &Release, artifacts: &[Artifact]) -> Value {
    let row = |a: &Artifact| json!({"file": a.file, "what": a.what, "url": a.url, "size": a.size});
    let fields: serde_json::Map<String, Value> =
        release.fields.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    json!({
        "channel": board.channel,
        "version": release.version.to_string(),
        "arch": board.arch,
        "board": board.arch.board(),
        "build_id": release.build_id(),
        "signed": crate::base::clock::date(release.signed.created),
        "signer": release.signed.signer,
        "fields": fields,
        "artifacts": artifacts.iter().map(row).collect::<Vec<_>>(),
    })
}

/// Assignments for a POSIX shell, one per line.
fn exports(board: &Board, release: &Release) -> String {
    let own = [("FLATCAR_CHANNEL", board.channel.as_str()), ("FLATCAR_BOARD", board.arch.board())];
    let names_own = |name: &str| own.iter().any(|(own, _)| *own == name);
    let fields = release.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let all = own.into_iter().chain(fields.filter(|(name, _)| !names_own(name)));
    all.map(|(name, value)| format!("{name}={}\n", quoted(value))).collect()
}

/// A word in a POSIX shell's syntax: bare if that is safe, else in single quotes.
fn quoted(value: &str) -> String {
    let is_safe = |b: u8| b.is_ascii_alphanumeric() || b"._-+:/@".contains(&b);
    match !value.is_empty() && value.bytes().all(is_safe) {
        true => value.to_owned(),
        false => format!("'{}'", value.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_can_do_nothing_in_a_shell() {
        for value in ["4593.2.5", "", "$(id)", "a b", "it's; `id`", "\"x\"", "~root", "*"] {
            let script = format!("X={}; printf %s \"$X\"", quoted(value));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), value, "{script}");
        }
        assert_eq!(quoted("4593.2.5"), "4593.2.5");
    }
}
