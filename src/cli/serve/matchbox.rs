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
use crate::tree::names::{ASSETS, CHECKSUMS, GROUPS, MANIFEST, PROFILES};

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

/// Matchbox's variables; one of them says that its command line is meant.
const MATCHBOX_VARIABLES: [&str; 12] = [
    "MATCHBOX_ADDRESS",
    "MATCHBOX_ASSETS_PATH",
    "MATCHBOX_CA_FILE",
    "MATCHBOX_CERT_FILE",
    "MATCHBOX_KEY_FILE",
    "MATCHBOX_KEY_RING_PATH",
    "MATCHBOX_LOG_LEVEL",
    "MATCHBOX_PASSPHRASE",
    "MATCHBOX_RPC_ADDRESS",
    "MATCHBOX_WEB_CERT_FILE",
    "MATCHBOX_WEB_KEY_FILE",
    "MATCHBOX_WEB_SSL",
];

/// Where Matchbox looks for its data if nothing says otherwise.
const DEFAULT_DIRECTORY: &str = "/var/lib/matchbox";
/// Where Matchbox looks for assets if nothing says otherwise, whatever its data directory is.
const DEFAULT_ASSETS: &str = "/var/lib/matchbox/assets";

/// Flags that have an effect on the gRPC API alone.
const OF_RPC: [&str; 4] = ["ca-file", "cert-file", "key-file", "lenient"];

#[derive(Args)]
pub(crate) struct MatchboxArgs {
    /// Serve a Matchbox data directory instead of a tree: groups/, profiles/, ignition/, generic/ and cloud/, edits
    /// included at once [env: MATCHBOX_DATA_PATH]
    #[arg(long, alias = "data-path", value_name = "DIR", conflicts_with = "tree", help_heading = "Matchbox")]
    matchbox: Option<PathBuf>,
    /// Directory served below /assets/ of a data directory; its own assets/ if absent, '' for none [env:
    /// MATCHBOX_ASSETS_PATH]
    #[arg(long, value_name = "DIR", help_heading = "Matchbox")]
    assets_path: Option<OsString>,
    /// Refuse a data directory with a group, profile or config that cannot be used or does not do what was meant; a server
    /// that runs keeps the last good ones. Matchbox skips such files, and their machines boot as the default group says
    #[arg(long, help_heading = "Matchbox")]
    strict: bool,
    /// Sign answers with the first key of this OpenPGP secret key ring: /ipxe.sig, /grub.asc and so on; its passphrase
    /// is read from MATCHBOX_PASSPHRASE [env: MATCHBOX_KEY_RING_PATH]
    #[arg(long, value_name = "FILE", help_heading = "Matchbox")]
    key_ring_path: Option<PathBuf>,
    /// How much is told on stderr [env: MATCHBOX_LOG_LEVEL]
    #[arg(long, value_name = "LEVEL", help_heading = "Matchbox")]
    log_level: Option<LogLevel>,
}

/// Matchbox's levels; prebake's messages belong to `warn` or `info`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum LogLevel {
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
    #[error(
        "no tree, bundle or data directory was given, and {DEFAULT_DIRECTORY}, which {by} stands for, is not there"
    )]
    NoDefault {
        /// The flag or variable that is Matchbox's.
        by: String,
    },
    #[error("{} is no tree, but a Matchbox data directory", path.display())]
    DataDirectory { path: PathBuf },
    #[error("{flag} is for a Matchbox data directory, and {} is none", path.display())]
    OfDirectory {
        /// As it is typed.
        flag: &'static str,
        /// In the place of a tree.
        path: PathBuf,
    },
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
            UsageError::NoDefault { .. } => {
                Some("name the data directory with --matchbox DIR or MATCHBOX_DATA_PATH, or a build, such as output/NAME/current".into())
            }
            UsageError::DataDirectory { path } => Some(format!("serve it with --matchbox {}", path.display())),
            UsageError::OfDirectory { flag, .. } => {
                Some(format!("leave out {flag}, or name a data directory with --matchbox DIR"))
            }
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

/// Whether Matchbox has a flag of this name, which it also takes with one dash.
pub(crate) fn is_matchbox_flag(name: &str) -> bool {
    MATCHBOX_FLAGS.contains(&name)
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

/// The flag or variable by which a command line is one for Matchbox: a flag with one dash, or a variable of its environment.
/// `args` are those after `serve`, as they were typed.
fn sign_of_matchbox(args: &[OsString], is_set: impl Fn(&str) -> bool) -> Option<String> {
    let name = |arg: &OsString| {
        let flag = arg.to_str()?.split('=').next()?;
        let name = flag.strip_prefix('-')?;
        MATCHBOX_FLAGS.contains(&name).then(|| flag.to_owned())
    };
    let flag = args.iter().find_map(name);
    flag.or_else(|| MATCHBOX_VARIABLES.into_iter().find(|name| is_set(name)).map(str::to_owned))
}

/// The flag or variable of Matchbox by which the data directory is named; none where `--matchbox` names it, which is ours.
fn naming_of_matchbox(args: &[OsString], is_set: impl Fn(&str) -> bool) -> Option<String> {
    let flags = args.iter().filter_map(|arg| arg.to_str()?.split('=').next());
    let mut naming = flags.filter(|flag| ["--matchbox", "-data-path", "--data-path"].contains(flag));
    match naming.next() {
        Some(flag) => Some(flag.to_owned()).filter(|flag| flag != "--matchbox"),
        None => Some("MATCHBOX_DATA_PATH").filter(|name| is_set(name)).map(str::to_owned),
    }
}

/// The assets of a data directory where nothing names others, and words about them where Matchbox's own are elsewhere: `naming`
/// is Matchbox's way by which the directory was named, and `own` where Matchbox then looks.
fn default_assets(directory: &Path, naming: Option<&str>, own: &Path) -> (Option<PathBuf>, Option<String>) {
    let beside = Some(directory.join(ASSETS)).filter(|path| path.is_dir());
    let Some(naming) = naming.filter(|_| beside.as_deref() != Some(own)) else { return (beside, None) };
    let (is_there, own_shown) = (own.is_dir(), own.display());
    match (is_there, beside) {
        (true, Some(beside)) => {
            let words = format!(
                "assets are those of {own_shown}, as in Matchbox, and not {}: {naming} names the data alone, --assets-path names others",
                beside.display()
            );
            (Some(own.into()), Some(words))
        }
        (true, None) => (Some(own.into()), None),
        (false, Some(beside)) => {
            let words = format!(
                "assets are those of {}: {own_shown}, Matchbox's own, is not there",
                beside.display()
            );
            (Some(beside), Some(words))
        }
        (false, None) => (None, None),
    }
}

/// The assets that an option names, of which an empty one says that there are none; `None` if it is not given.
pub(crate) fn named_assets(option: Option<OsString>) -> Option<Option<PathBuf>> {
    option.map(|path| Some(PathBuf::from(path)).filter(|path| !path.as_os_str().is_empty()))
}

/// Flags for the gRPC API on a command line that says nothing of its address, not even that there is none.
fn idle_flags(args: &[OsString]) -> Vec<String> {
    let flags: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()?.split('=').next()).collect();
    let name =
        |flag: &&&str| flag.strip_prefix("--").or(flag.strip_prefix('-')).unwrap_or_default().to_owned();
    if flags.iter().any(|flag| name(&flag) == "rpc-address") {
        return Vec::new();
    }
    let idle = flags.iter().filter(|flag| flag.starts_with('-') && OF_RPC.contains(&&*name(flag)));
    idle.map(|flag| (*flag).to_owned()).collect()
}

/// The arguments after `serve` up to `--`, as they were typed; none in a process that serves by another verb.
fn typed() -> Vec<OsString> {
    let mut args = env::args_os().skip(1);
    let is_serve = args.next().is_some_and(|verb| verb == "serve");
    args.take_while(|arg| is_serve && arg != "--").collect()
}

/// Whether a directory is Matchbox's, and no tree, not even a damaged one.
fn is_data_directory(path: &Path) -> bool {
    [GROUPS, PROFILES].iter().any(|folder| path.join(folder).is_dir())
        && ![MANIFEST, CHECKSUMS].iter().any(|file| path.join(file).exists())
}

impl MatchboxArgs {
    /// Checks whether what is to be served is named as it is; `tree` is what was given in the place of a tree.
    ///
    /// # Errors
    /// A data directory in the place of a tree, a flag for one beside a tree, or Matchbox's command line without its directory.
    pub(crate) fn check(&self, tree: Option<&Path>) -> Result<()> {
        if let Some(path) = tree {
            if is_data_directory(path) {
                return Err(UsageError::DataDirectory { path: path.into() }.into());
            }
            let flags = [("--assets-path", self.assets_path.is_some()), ("--strict", self.strict)];
            return match flags.into_iter().find(|(_, is_given)| *is_given) {
                Some((flag, _)) => Err(UsageError::OfDirectory { flag, path: path.into() }.into()),
                None => Ok(()),
            };
        }
        let Some(by) = Self::sign().filter(|_| self.named().is_none()) else { return Ok(()) };
        if self.directory().is_none() {
            return Err(UsageError::NoDefault { by }.into());
        }
        tell!(
            "the data directory is {DEFAULT_DIRECTORY}: {by} is Matchbox's, and no other directory is named"
        );
        Ok(())
    }

    /// A warning about flags that do nothing, because no gRPC is served.
    pub(crate) fn idle(&self) -> Option<String> {
        let idle = idle_flags(&typed());
        let first = idle.first()?;
        let others = if idle.len() > 1 { " and others do" } else { " does" };
        Some(format!("{first}{others} nothing without --rpc-address HOST:PORT: no gRPC is served"))
    }

    /// Whether doubtful files are refused.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict
    }

    fn sign() -> Option<String> {
        sign_of_matchbox(&typed(), |name| variable(name).is_some())
    }

    /// The content to serve: a tree or bundle if one was named, else a data directory. Flags override the environment.
    /// `written` says whether clients write the directory over gRPC. Adds the paths that it reads to `files`.
    pub(crate) fn content(
        &self,
        tree: Option<(&Path, Open)>,
        nodes: Option<&Path>,
        secrets: Option<Secrets>,
        written: bool,
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
        let directory = self.directory().ok_or(UsageError::Nothing)?;
        let named = named_assets(self.assets_path.clone().or_else(|| variable("MATCHBOX_ASSETS_PATH")));
        let assets = named.unwrap_or_else(|| {
            let naming = naming_of_matchbox(&typed(), |name| variable(name).is_some());
            let (assets, words) = default_assets(&directory, naming.as_deref(), Path::new(DEFAULT_ASSETS));
            words.iter().for_each(|words| tell!("{words}"));
            assets
        });
        files.read(&directory);
        assets.iter().for_each(|assets| files.read(assets));
        let settings = Settings { assets, strict: self.strict, written, signer };
        Ok(Content::directory(&directory, settings, notices)?)
    }

    /// The data directory, if one was named; Matchbox's own where it is there, and a flag or variable is Matchbox's.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        let default = || Self::sign().map(|_| PathBuf::from(DEFAULT_DIRECTORY)).filter(|path| path.is_dir());
        self.named().or_else(default)
    }

    fn named(&self) -> Option<PathBuf> {
        self.matchbox.clone().or_else(|| variable("MATCHBOX_DATA_PATH").map(PathBuf::from))
    }

    fn signer(&self) -> Result<Option<Arc<Signer>>> {
        let path =
            self.key_ring_path.clone().or_else(|| variable("MATCHBOX_KEY_RING_PATH").map(PathBuf::from));
        let Some(path) = path else { return Ok(None) };
        let passphrase = env::var("MATCHBOX_PASSPHRASE").ok().filter(|phrase| !phrase.is_empty());
        Ok(Some(Arc::new(Signer::open(&path, passphrase.as_deref())?)))
    }

    /// Decides whether a notice is logged.
    pub(crate) fn tells(&self) -> Result<impl Fn(&Notice<'_>) -> bool + use<>> {
        Ok(self.level()?.filter())
    }

    /// How much is logged.
    pub(crate) fn level(&self) -> Result<LogLevel> {
        const NAME: &str = "MATCHBOX_LOG_LEVEL";
        let from_environment = || {
            let value = variable(NAME)?.to_string_lossy().into_owned();
            Some(LogLevel::from_str(&value, true).map_err(|_| UsageError::LogLevel { name: NAME, value }))
        };
        let chosen = self.log_level.map(Ok).or_else(from_environment).transpose()?;
        Ok(chosen.unwrap_or(LogLevel::Info))
    }
}

impl LogLevel {
    /// Decides whether a notice is logged.
    pub(crate) fn filter(self) -> impl Fn(&Notice<'_>) -> bool + use<> {
        move |notice| {
            let level = match notice {
                Notice::Kept(_) | Notice::Flawed(_) | Notice::Warning { .. } => LogLevel::Warn,
                Notice::Called(call) if call.refused.is_some() => LogLevel::Warn,
                _ => LogLevel::Info,
            };
            level <= self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn a_command_line_is_matchboxs_by_a_flag_with_one_dash_or_by_a_variable() {
        for (line, variables, by) in [
            ("-address=:8080 -log-level=debug", &[][..], Some("-address")),
            ("--quiet -rpc-address :8081", &[], Some("-rpc-address")),
            ("--address :8080 --rpc-address :8081 -v -q", &[], None),
            ("--address :8080", &["MATCHBOX_RPC_ADDRESS"], Some("MATCHBOX_RPC_ADDRESS")),
            ("", &["MATCHBOX_LOG_LEVEL"], Some("MATCHBOX_LOG_LEVEL")),
            ("", &["MATCHBOX"], None),
        ] {
            let sign = sign_of_matchbox(&words(line), |name| variables.contains(&name));
            assert_eq!(sign.as_deref(), by, "{line}");
        }
    }

    /// On 2026-11-30 `-data-path=/srv/mb` served /srv/mb/assets in silence, where Matchbox serves its default.
    #[test]
    fn assets_are_matchboxs_own_where_the_directory_is_named_in_its_way() {
        for (line, is_set, naming) in [
            ("-data-path=/d", false, Some("-data-path")),
            ("--data-path /d -address=:1", true, Some("--data-path")),
            ("--matchbox /d -address=:1", true, None),
            ("--matchbox=/d", false, None),
            ("-address=:1", true, Some("MATCHBOX_DATA_PATH")),
            ("-address=:1", false, None),
        ] {
            let found = naming_of_matchbox(&words(line), |name| is_set && name == "MATCHBOX_DATA_PATH");
            assert_eq!(found.as_deref(), naming, "{line}");
        }
        let root = tempfile::tempdir().unwrap();
        let (mine, own) = (root.path().join("mine"), root.path().join("own/assets"));
        let of = |naming| default_assets(&mine, naming, &own);
        assert_eq!(of(Some("-data-path")), (None, None));
        let beside = mine.join(ASSETS);
        std::fs::create_dir_all(&beside).unwrap();
        assert_eq!(of(None), (Some(beside.clone()), None));
        let (assets, words) = of(Some("-data-path"));
        assert_eq!(assets.as_ref(), Some(&beside));
        assert!(words.unwrap().ends_with("own/assets, Matchbox's own, is not there"));
        std::fs::create_dir_all(&own).unwrap();
        assert_eq!(of(None), (Some(beside.clone()), None));
        let (assets, words) = of(Some("-data-path"));
        assert_eq!(assets.as_ref(), Some(&own));
        assert!(words.unwrap().contains(&format!("and not {}: -data-path names", beside.display())));
        assert_eq!(
            default_assets(&root.path().join("own"), Some("-data-path"), &own),
            (Some(own.clone()), None)
        );
        std::fs::remove_dir(&beside).unwrap();
        assert_eq!(of(Some("MATCHBOX_DATA_PATH")), (Some(own.clone()), None));
    }

    #[test]
    fn flags_of_grpc_without_its_address_are_told() {
        for (line, idle) in [
            (
                "--matchbox d -cert-file=c --key-file k --lenient",
                &["-cert-file", "--key-file", "--lenient"][..],
            ),
            ("--cert-file c --rpc-address :8081", &[]),
            ("-cert-file c -rpc-address=", &[]),
            ("--tls-cert cert-file", &[]),
        ] {
            assert_eq!(idle_flags(&words(line)), idle, "{line}");
        }
    }

    #[test]
    fn a_data_directory_is_not_taken_for_a_damaged_tree() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_data_directory(directory.path()));
        std::fs::create_dir(directory.path().join(GROUPS)).unwrap();
        assert!(is_data_directory(directory.path()));
        std::fs::write(directory.path().join(CHECKSUMS), "").unwrap();
        assert!(!is_data_directory(directory.path()));
    }

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
