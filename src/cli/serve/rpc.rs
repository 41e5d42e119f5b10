//! Flags of `prebake serve` for Matchbox's gRPC API, and the process that serves it: `prebake serve-rpc`, which is in no list of
//! verbs because only `prebake serve` starts it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{Args, Parser, ValueEnum};

use super::LogFormat;
use super::confine::ConfineArgs;
use super::matchbox::{LogLevel, MatchboxArgs, variable};
use crate::base::error::{Advice, Error, Exit, Result};
use crate::cli::project::runtime;
use crate::cli::{say, terminal};
use crate::serve::http::limits;
use crate::serve::lan::ports::{Port, Protocol};
use crate::serve::line::Line;
use crate::serve::notice::Notices;
use crate::serve::rpc::process::{
    self, Child, First, LAST, Said, Wish, end_with_parent, orphaned, own_program,
};
use crate::serve::rpc::store::Manner;

/// The word by which this program becomes the write side.
const VERB: &str = "serve-rpc";
/// Variables that the write side keeps: those that say how messages look.
const KEPT: [&str; 5] = ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TERM", "RUST_BACKTRACE"];
/// Files that Matchbox reads where no flag names others.
const DEFAULTS: [&str; 3] = ["/etc/matchbox/server.crt", "/etc/matchbox/server.key", "/etc/matchbox/ca.crt"];

/// The gRPC API.
#[derive(Args)]
pub(crate) struct RpcArgs {
    /// Serve Matchbox's gRPC API here, by which Terraform and bootcmd write the data directory; clients need a certificate
    /// [env: MATCHBOX_RPC_ADDRESS]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Matchbox")]
    rpc_address: Option<OsString>,
    /// The server's certificate for gRPC in PEM, followed by its issuers' [env: MATCHBOX_CERT_FILE] [default:
    /// /etc/matchbox/server.crt]
    #[arg(long, value_name = "FILE", help_heading = "Matchbox")]
    cert_file: Option<PathBuf>,
    /// Its key in PEM [env: MATCHBOX_KEY_FILE] [default: /etc/matchbox/server.key]
    #[arg(long, value_name = "FILE", help_heading = "Matchbox")]
    key_file: Option<PathBuf>,
    /// The authorities in PEM that vouch for clients of gRPC [env: MATCHBOX_CA_FILE] [default: /etc/matchbox/ca.crt]
    #[arg(long, value_name = "FILE", help_heading = "Matchbox")]
    ca_file: Option<PathBuf>,
    /// Store over gRPC what Matchbox stores: configs that no machine can use, with a warning in place of a refusal
    #[arg(long, conflicts_with = "strict", help_heading = "Matchbox")]
    lenient: bool,
}

/// The write side does not fit what is served.
#[derive(Debug, thiserror::Error)]
enum UsageError {
    #[error("--rpc-address needs a data directory, which clients write")]
    NoDirectory,
    #[error("--rpc-address writes a Matchbox data directory, and {} is none", path.display())]
    Tree {
        /// In the place of a tree.
        path: PathBuf,
    },
}

impl Advice for UsageError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            UsageError::NoDirectory => {
                "name one with --matchbox DIR; a tree is built, and written by nobody else".into()
            }
            UsageError::Tree { .. } => {
                "name a data directory with --matchbox DIR, or leave out --rpc-address: a tree is built, and written by nobody else"
                    .into()
            }
        })
    }
}

/// The write side of a server, and what its first lines say of it.
pub(crate) struct WriteSide {
    pub child: Child,
    /// `HOST:PORT`.
    pub address: String,
    /// The rights of its process, in words.
    pub confined: String,
}

/// A file of gRPC.
pub(crate) struct File {
    /// The flag that names it.
    pub flag: &'static str,
    /// The path that was given, or the default.
    pub path: PathBuf,
    /// The thing that belongs into it.
    pub holds: &'static str,
}

impl RpcArgs {
    /// Checks that clients are not to write what was given in the place of a tree.
    ///
    /// # Errors
    /// They are.
    pub(crate) fn check(&self, tree: Option<&Path>) -> Result<()> {
        match (tree, self.rpc_address.as_ref().filter(|address| !address.is_empty())) {
            (Some(path), Some(_)) => Err(UsageError::Tree { path: path.into() }.into()),
            _ => Ok(()),
        }
    }

    /// Where gRPC is served, if that is wanted.
    fn address(&self, is_tree: bool) -> Option<OsString> {
        // An empty flag turns it off, whatever the environment says; an empty variable is unset.
        match &self.rpc_address {
            Some(address) => Some(address.clone()).filter(|address| !address.is_empty()),
            None => variable("MATCHBOX_RPC_ADDRESS").filter(|_| !is_tree),
        }
    }

    /// The process that has the port already, if any has. Must be asked before [`start`](Self::start), which begins a domain of
    /// landlock: no process within one sees those outside of it.
    pub(crate) fn holder(&self, is_tree: bool) -> Option<String> {
        let address = self.address(is_tree)?.into_string().ok()?;
        let number = address.rsplit(':').next()?.parse().ok().filter(|number| *number != 0)?;
        // Named only where it may be seen.
        Port { number, protocol: Protocol::Tcp }.taken().ok()?.filter(|by| by.contains("(process "))
    }

    /// The files by which the two sides know each other.
    pub(crate) fn files(&self) -> [File; 3] {
        let [certificate, key, authorities] = DEFAULTS;
        let file = |flag, given: &Option<PathBuf>, name, default: &str, holds| {
            let path = given.clone().or_else(|| variable(name).map(PathBuf::from));
            File { flag, path: path.unwrap_or_else(|| default.into()), holds }
        };
        [
            file(
                "--cert-file",
                &self.cert_file,
                "MATCHBOX_CERT_FILE",
                certificate,
                "the server's certificate",
            ),
            file("--key-file", &self.key_file, "MATCHBOX_KEY_FILE", key, "its key"),
            file("--ca-file", &self.ca_file, "MATCHBOX_CA_FILE", authorities, "the authorities of clients"),
        ]
    }

    /// Starts the process that serves gRPC, if that is wanted; `matchbox` says of which directory. Must be called while this
    /// process still has its rights, and only one thread.
    pub(crate) fn start(
        &self,
        is_tree: bool,
        matchbox: &MatchboxArgs,
        confine: &ConfineArgs,
        log_format: LogFormat,
    ) -> Result<Option<WriteSide>> {
        let Some(address) = self.address(is_tree) else { return Ok(None) };
        let directory = matchbox.directory().ok_or(UsageError::NoDirectory)?;
        let mut command = own_program(&KEPT);
        // Calls run on threads that come and go, each of which would keep what glibc's allocator gave it for the largest one.
        command.env("MALLOC_ARENA_MAX", "2");
        command.arg(VERB).arg("--matchbox").arg(directory).arg("--rpc-address").arg(address);
        for File { flag, path, .. } in self.files() {
            command.arg(flag).arg(path);
        }
        confine.again(&mut command);
        let flags = [
            ("--lenient", self.lenient),
            ("--strict", matchbox.is_strict()),
            ("--quiet", terminal::is_quiet()),
        ];
        for (flag, is_given) in flags {
            if is_given {
                command.arg(flag);
            }
        }
        let word =
            |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
        let colour = if terminal::colours_stderr() { "always" } else { "never" };
        for (flag, value) in [
            ("--log-format", word(log_format.to_possible_value())),
            ("--log-level", word(matchbox.level()?.to_possible_value())),
            ("--color", Some(colour.to_owned())),
        ] {
            command.arg(flag).args(value);
        }
        confine.begin()?;
        let (child, first) = Child::start(&mut command)?;
        match first {
            First::Listening { address, confined } => Ok(Some(WriteSide { child, address, confined })),
            First::Failed(said) => Err(process::Error::Said(said).into()),
        }
    }
}

/// Serve Matchbox's gRPC API as a part of `prebake serve`
#[derive(Parser)]
#[command(name = "prebake serve-rpc", no_binary_name = true)]
struct ServeRpc {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    matchbox: PathBuf,
    /// Where to listen.
    #[arg(long, value_name = "HOST:PORT")]
    rpc_address: String,
    /// The server's certificate.
    #[arg(long, value_name = "FILE")]
    cert_file: PathBuf,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// The authorities of clients.
    #[arg(long, value_name = "FILE")]
    ca_file: PathBuf,
    /// Whether it stores what Matchbox stores.
    #[arg(long)]
    lenient: bool,
    /// Whether it refuses what it would otherwise warn of.
    #[arg(long)]
    strict: bool,
    /// The form of the log.
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: LogFormat,
    /// How much is logged.
    #[arg(long, value_name = "LEVEL", value_enum)]
    log_level: LogLevel,
    #[command(flatten)]
    confine: ConfineArgs,
    #[command(flatten)]
    terminal: terminal::TerminalArgs,
}

/// Runs the write side, if that is what this process was started for.
pub(crate) fn run_if_asked(arguments: &[OsString]) -> Option<ExitCode> {
    let [_, verb, rest @ ..] = arguments else { return None };
    if verb != VERB {
        return None;
    }
    terminal::set_colours(arguments);
    let args = ServeRpc::try_parse_from(rest).unwrap_or_else(|error| error.exit());
    args.terminal.apply();
    let code = match args.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The parent tells it, as its own error.
            let said = Said::of(error.chain(), error.hint(), error.exit());
            tell_parent(&First::Failed(said));
            ExitCode::from(error.exit() as u8)
        }
    };
    say::flush();
    Some(code)
}

/// Writes the first line.
fn tell_parent(first: &First) {
    // Texts always have a form.
    say!("{}", serde_json::to_string(first).unwrap_or_default());
}

impl ServeRpc {
    /// Serves until the parent is gone.
    fn run(self) -> Result<()> {
        if self.log_format == LogFormat::Json {
            say::take_form(|text| Line::message(text, SystemTime::now().into()).to_json());
        }
        limits::allow_open_files();
        let notices = self.notices();
        let bound = self.wish().bind(notices.clone())?;
        let (address, files) = (bound.address().to_owned(), bound.files());
        let confined = self.confine.confine(files, false)?.to_string();
        end_with_parent()?;
        for note in bound.notes() {
            insist!("warning: gRPC: {note}");
        }
        // Started here, because their threads inherit the rights that are left.
        say::queue();
        let runtime = runtime()?;
        let served = runtime.block_on(async {
            let orphaned = orphaned()?;
            let server = bound.open(notices)?;
            tell_parent(&First::Listening { address, confined });
            server.run(orphaned).await;
            Ok::<_, Error>(())
        });
        // A write that takes longer is cut off, and has no file then: files get their names when they are complete.
        runtime.shutdown_timeout(LAST);
        served
    }

    fn wish(&self) -> Wish {
        Wish {
            directory: self.matchbox.clone(),
            address: self.rpc_address.clone(),
            certificate: self.cert_file.clone(),
            key: self.key_file.clone(),
            authorities: self.ca_file.clone(),
            manner: match (self.lenient, self.strict) {
                (true, _) => Manner::Lenient,
                (false, true) => Manner::Strict,
                (false, false) => Manner::Usual,
            },
        }
    }

    /// The log on stderr.
    fn notices(&self) -> Notices {
        let (tells, is_json) = (self.log_level.filter(), self.log_format == LogFormat::Json);
        Arc::new(move |notice| match Line::of(notice, SystemTime::now().into()).filter(|_| tells(notice)) {
            None => {}
            Some(line) if is_json => say::log(line.to_json()),
            Some(line) => insist!("{}", line.to_text()),
        })
    }
}
