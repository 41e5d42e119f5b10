//! Flags of `prebake serve` for Matchbox's data directories, and Matchbox's own spellings of them.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};

use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::serve::endpoint::sign::Signer;
use crate::serve::notice::{Notice, Notices};
use crate::serve::process::confine::Files;
use crate::serve::site::content::{Additions, Content, Open, Secrets};
use crate::serve::site::datadir::Settings;
use crate::tree::names::ASSETS;

/// Matchbox's flags, which it also accepts with one dash.
const MATCHBOX_FLAGS: [&str; 14] = [
    "address",
    "assets-path",
    "ca-file",
    "cert-file",
    "data-path",
    "help",
    "key-file",
    "key-ring-path",
    "log-level",
    "rpc-address",
    "version",
    "web-cert-file",
    "web-key-file",
    "web-ssl",
];

#[derive(Args)]
pub(crate) struct MatchboxArgs {
    /// Serve a Matchbox data directory instead of a tree: groups/, profiles/, ignition/, generic/ and cloud/, edits
    /// included at once [env: MATCHBOX_DATA_PATH]
    #[arg(long, alias = "data-path", value_name = "DIR", conflicts_with = "tree", help_heading = "Matchbox")]
    matchbox: Option<PathBuf>,
    /// Directory served below /assets/ of a data directory; its own assets/ if absent, '' for none [env:
    /// MATCHBOX_ASSETS_PATH]
    #[arg(long, value_name = "DIR", conflicts_with = "tree", help_heading = "Matchbox")]
    assets_path: Option<OsString>,
    /// Refuse a data directory with a group, profile or config that cannot be used or does not do what was meant; a server
    /// that runs keeps the last good ones. Matchbox skips such files, and their machines boot as the default group says
    #[arg(long, conflicts_with = "tree", help_heading = "Matchbox")]
    strict: bool,
    /// Sign answers with the first key of this OpenPGP secret key ring: /ipxe.sig, /grub.asc and so on; its passphrase
    /// is read from MATCHBOX_PASSPHRASE [env: MATCHBOX_KEY_RING_PATH]
    #[arg(long, value_name = "FILE", help_heading = "Matchbox")]
    key_ring_path: Option<PathBuf>,
    /// How much is told on stderr [env: MATCHBOX_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL", help_heading = "Matchbox")]
    log_level: Option<LogLevel>,
    /// Understood and not served: the gRPC API
    #[arg(long, value_name = "HOST:PORT", hide = true)]
    rpc_address: Option<String>,
    /// Accepted and ignored, for the gRPC API
    #[arg(long, value_name = "FILE", hide = true)]
    cert_file: Option<PathBuf>,
    /// Accepted and ignored, for the gRPC API
    #[arg(long, value_name = "FILE", hide = true)]
    key_file: Option<PathBuf>,
    /// Accepted and ignored, for the gRPC API
    #[arg(long, value_name = "FILE", hide = true)]
    ca_file: Option<PathBuf>,
}

/// Matchbox's levels; prebake's messages belong to `warn` or `info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum LogLevel {
    Panic,
    Fatal,
    Error,
    #[value(alias = "warning")]
    Warn,
    Info,
    Debug,
    Trace,
}

/// A command line that is not meaningful.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("no tree, bundle or data directory was given")]
    Nothing,
    #[error("--nodes adds machines to a tree or bundle, and none was named")]
    NoTree,
    #[error("{name} is `{value}`, which is not one of panic, fatal, error, warn, info, debug, trace")]
    LogLevel { name: &'static str, value: String },
}

impl Advice for UsageError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            UsageError::Nothing => Some(
                "name a build, such as output/NAME/current, or a Matchbox data directory with --matchbox DIR"
                    .into(),
            ),
            UsageError::NoTree => {
                Some("a Matchbox data directory takes a file below groups/ for each machine".into())
            }
            UsageError::LogLevel { .. } => None,
        }
    }
}

/// A variable of the environment; as in Matchbox, an empty one counts as unset.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The command line with Matchbox's single dashes doubled, only after `serve`: `-data-path=DIR` becomes
/// `--data-path=DIR`.
pub(crate) fn with_double_dashes(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    if args.get(1).is_some_and(|verb| verb == "serve") {
        for arg in args.iter_mut().skip(2).take_while(|arg| *arg != "--") {
            let name = arg.to_str().and_then(|arg| arg.strip_prefix('-')?.split('=').next());
            if name.is_some_and(|name| MATCHBOX_FLAGS.contains(&name)) {
                let mut double = OsString::from("-");
                double.push(&*arg);
                *arg = double;
            }
        }
        // Go accepts `-version=true` too.
        if args.iter().skip(2).any(|arg| arg == "--version" || arg == "--version=true") {
            args.truncate(1);
            args.push("--version".into());
        }
    }
    args
}

impl MatchboxArgs {
    /// The content to serve: a tree or bundle if one was named, else a data directory. Flags override the environment.
    /// Adds the paths that it reads to `files`.
    pub(crate) fn content(
        &self,
        tree: Option<(&Path, Open)>,
        nodes: Option<&Path>,
        secrets: Option<Secrets>,
        notices: Notices,
        files: &mut Files,
    ) -> Result<Content> {
        let signer = self.signer()?;
        if let Some((tree, open)) = tree {
            nodes.iter().for_each(|nodes| files.read(disk::directory_of(nodes)));
            let additions = Additions { signer, nodes: nodes.map(Path::to_owned), secrets };
            return Ok(Content::tree(tree, open, additions, notices)?);
        }
        if nodes.is_some() {
            return Err(UsageError::NoTree.into());
        }
        let named = self.matchbox.clone().or_else(|| variable("MATCHBOX_DATA_PATH").map(PathBuf::from));
        let directory = named.ok_or(UsageError::Nothing)?;
        let assets = match self.assets_path.clone().or_else(|| variable("MATCHBOX_ASSETS_PATH")) {
            Some(path) => Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty()),
            None => Some(directory.join(ASSETS)).filter(|path| path.is_dir()),
        };
        files.read(&directory);
        assets.iter().for_each(|assets| files.read(assets));
        Ok(Content::directory(&directory, Settings { assets, strict: self.strict, signer }, notices)?)
    }

    fn signer(&self) -> Result<Option<Arc<Signer>>> {
        let path =
            self.key_ring_path.clone().or_else(|| variable("MATCHBOX_KEY_RING_PATH").map(PathBuf::from));
        let Some(path) = path else { return Ok(None) };
        let passphrase = env::var("MATCHBOX_PASSPHRASE").ok().filter(|phrase| !phrase.is_empty());
        Ok(Some(Arc::new(Signer::open(&path, passphrase.as_deref())?)))
    }

    /// Warnings about flags that are accepted but have no effect.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let rpc = self.rpc_address.is_some() || variable("MATCHBOX_RPC_ADDRESS").is_some();
        rpc.then_some(
            "Matchbox's gRPC API is not served: write groups and profiles into the data directory instead",
        )
        .into_iter()
        .collect()
    }

    /// Decides whether a notice is logged.
    pub(crate) fn tells(&self) -> Result<impl Fn(&Notice<'_>) -> bool + use<>> {
        const NAME: &str = "MATCHBOX_LOG_LEVEL";
        let from_environment = || {
            let value = variable(NAME)?.to_string_lossy().into_owned();
            Some(LogLevel::from_str(&value, true).map_err(|_| UsageError::LogLevel { name: NAME, value }))
        };
        let chosen = self.log_level.map(Ok).or_else(from_environment).transpose()?.unwrap_or(LogLevel::Info);
        Ok(move |notice: &Notice<'_>| {
            let level = match notice {
                Notice::Kept(_) | Notice::Flawed(_) | Notice::Warning { .. } => LogLevel::Warn,
                _ => LogLevel::Info,
            };
            level <= chosen
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_dashes_are_doubled_behind_serve_and_nowhere_else() {
        let doubled = |line: &str| {
            let args = with_double_dashes(line.split(' ').map(OsString::from));
            args.into_iter().map(|arg| arg.into_string().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            doubled("prebake serve -data-path /d -assets-path= --address -web-ssl=true -v -- -address"),
            "prebake serve --data-path /d --assets-path= --address --web-ssl=true -v -- -address"
        );
        assert_eq!(doubled("prebake serve -version"), "prebake --version");
        assert_eq!(doubled("prebake plan -address"), "prebake plan -address");
    }
}
