//! The command line: one file per verb, one `Args` struct each. The only roof that prints.
//!
//! Owns arguments, help texts, progress, tables, hints that name options, and exit codes on the way out. Every verb is
//! arguments in, one call into a roof below, words out. Leaves all decisions to the roofs below; a verb that decides is in the
//! wrong place.

pub(crate) mod demand;

// First, because the others use its macros.
#[macro_use]
mod say;

mod boot;
mod build;
mod bundle;
mod capi;
#[cfg(feature = "cluster")]
mod cluster;
mod completions;
mod diff;
mod disk;
pub mod environment;
mod examples;
mod exits;
mod explain;
mod failure;
mod fetch;
mod file_arg;
mod fit;
mod graph;
mod groups;
mod help;
mod hint;
mod ignition;
mod initrd;
mod key;
mod lock;
mod logs;
mod man;
mod manual;
mod mirror;
mod new;
mod nodes;
mod outputs;
mod paint;
mod pending;
mod plan;
mod progress;
mod project;
mod proxmox;
mod prune;
pub mod reference;
mod release;
mod schema;
mod screen;
mod serve;
mod signing;
mod status;
mod store;
mod suggest;
mod sysext;
mod table;
mod terminal;
mod verify;
mod version;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::hint::Options;
use crate::base::error::{Error, Exit, Result};
use crate::base::unfinished;

/// Heading of the options that every verb has.
const GLOBAL: &str = "Global options";

/// Turns a recipe into prebaked Flatcar artifacts and serves them to machines
///
/// Start with `prebake plan RECIPE`, then `prebake build RECIPE`. `prebake help VERB` tells of one verb.
#[derive(Parser)]
#[command(name = "prebake", version, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, disable_help_flag = true, disable_version_flag = true)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    terminal: terminal::TerminalArgs,
    /// Print help; -h prints the short form
    #[arg(id = "help", short = 'h', long = "help", action = ArgAction::Help, global = true)]
    #[arg(help_heading = GLOBAL, display_order = 1000)]
    _help: Option<bool>,
    /// Print the version
    #[arg(id = "version", short = 'V', long = "version", action = ArgAction::Version)]
    #[arg(help_heading = GLOBAL, display_order = 1001)]
    _version: Option<bool>,
}

#[derive(Subcommand)]
enum Verb {
    Boot(Box<boot::BootArgs>),
    Build(build::BuildArgs),
    Bundle(bundle::BundleArgs),
    Capi(capi::CapiArgs),
    #[cfg(feature = "cluster")]
    Cluster(cluster::ClusterArgs),
    Completions(completions::CompletionsArgs),
    Diff(diff::DiffArgs),
    Disk(disk::DiskArgs),
    Explain(explain::ExplainArgs),
    Fetch(fetch::FetchInputsArgs),
    Help(help::HelpArgs),
    Ignition(ignition::IgnitionArgs),
    #[command(alias = "initramfs")]
    Initrd(initrd::InitrdArgs),
    #[command(alias = "keys")]
    Key(key::KeyArgs),
    Lock(lock::LockArgs),
    Logs(logs::LogsArgs),
    Man(man::ManArgs),
    Mirror(mirror::MirrorArgs),
    #[command(alias = "node")]
    Nodes(nodes::NodesArgs),
    #[command(alias = "init")]
    New(new::NewArgs),
    Plan(plan::PlanArgs),
    Proxmox(proxmox::ProxmoxArgs),
    Prune(prune::PruneArgs),
    Release(release::ReleaseArgs),
    Schema(schema::SchemaArgs),
    Serve(Box<serve::ServeArgs>),
    Status(status::StatusArgs),
    Store(store::StoreArgs),
    Sysext(sysext::SysextArgs),
    Verify(verify::VerifyArgs),
    Version(version::VersionArgs),
}

impl Verb {
    /// Whether it takes care of signals itself.
    fn handles_signals(&self) -> bool {
        match self {
            Verb::Serve(_) | Verb::Status(_) | Verb::Explain(_) | Verb::Logs(_) => true,
            #[cfg(feature = "cluster")]
            Verb::Cluster(args) => args.serves(),
            _ => false,
        }
    }
}

/// Runs the command line, and prints an error with its causes and a hint.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = serve::run_if_asked(&arguments) {
        return code;
    }
    let (cli, options) = Cli::from_command_line();
    cli.terminal.apply();
    environment::warn();
    let done = cli.run();
    unfinished::settle();
    // A verdict that could not be printed is none.
    let is_through = done.as_ref().err().is_none_or(|error| error.exit() == Exit::Pending);
    let done = if is_through { say::verdict().map_err(Error::from).and(done) } else { done };
    let code = match &done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::release(&[]);
            tell_error(error, &options);
            // A verb that printed a result, such as `verify` of a damaged tree, has said it all there.
            if options.has_json && error.exit() != Exit::Pending && !say::has_said() {
                let hint = error.hint().and_then(|hint| options.fit(&hint));
                say!("{:#}", failure::document(error, hint.as_deref()));
            }
            ExitCode::from(error.exit() as u8)
        }
    };
    say::flush();
    code
}

fn tell_error(error: &Error, options: &Options) {
    let chain = error.chain();
    // Findings already say `error[…]` and show their place, and pending work is no error; only other plain messages
    // need the word.
    let is_plain = !chain[0].starts_with("error") && !chain[0].starts_with("warning");
    let prefix = if is_plain && error.exit() != Exit::Pending { "error: " } else { "" };
    insist!("{prefix}{}", options.fit_helps(&chain[0]));
    for cause in &chain[1..] {
        insist!("  because: {cause}");
    }
    if let Some(hint) = error.hint().and_then(|hint| options.fit(&hint)) {
        insist!("  hint: {hint}");
    }
}

/// Ends the process with the help or error that a command line leads to.
fn end(mut error: clap::Error, arguments: &[OsString]) -> ! {
    let word = match (error.kind(), error.get(ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(ContextValue::String(word))) => Some(word.as_str()),
        _ => None,
    };
    match error.kind() {
        // Only this case needs the texts that the arguments alone do not give.
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error = help::dressed().try_get_matches_from(arguments).err().unwrap_or(error);
        }
        // As in `prebake sysext help build`.
        _ if word == Some("help") => {
            show_help(arguments.iter().filter(|word| *word != "help").cloned().collect())
        }
        ErrorKind::DisplayVersion => {}
        _ => {
            suggest::improve(&mut error, &mut Cli::command(), arguments);
            if arguments.iter().any(|word| word == "--json") {
                say!("{:#}", failure::of_usage(&error));
            }
        }
    }
    error.exit()
}

/// Ends the process with the help of the verb that a command line begins with.
fn show_help(mut arguments: Vec<OsString>) -> ! {
    arguments.push("--help".into());
    match Cli::command().try_get_matches_from(&arguments) {
        Err(error) => end(error, &arguments),
        Ok(_) => std::process::exit(0),
    }
}

impl Cli {
    /// Parses the command line, or ends the process with an error or help text. Also returns the options of its verb.
    fn from_command_line() -> (Cli, Options) {
        let mut command = Cli::command();
        let arguments = serve::with_double_dashes(std::env::args_os());
        terminal::set_colours(&arguments);
        let matches = command.try_get_matches_from_mut(arguments.iter());
        let matches = matches.unwrap_or_else(|error| end(error, &arguments));
        let options = Options::of(&command, &matches);
        (Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit()), options)
    }

    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        // A server handles signals itself, and drops its privileges before the first thread starts; verbs that only
        // query a server leave nothing behind, and `status` may have a terminal to restore.
        if !self.verb.handles_signals() {
            unfinished::end_on_signals();
        }
        match self.verb {
            Verb::Boot(args) => args.run(),
            Verb::Build(args) => args.run(),
            Verb::Bundle(args) => args.run(),
            Verb::Capi(args) => args.run(),
            #[cfg(feature = "cluster")]
            Verb::Cluster(args) => args.run(),
            Verb::Completions(args) => args.run(),
            Verb::Diff(args) => args.run(),
            Verb::Disk(args) => args.run(),
            Verb::Explain(args) => args.run(),
            Verb::Fetch(args) => args.run(),
            Verb::Help(args) => args.run(),
            Verb::Ignition(args) => args.run(),
            Verb::Initrd(args) => args.run(),
            Verb::Key(args) => args.run(),
            Verb::Lock(args) => args.run(),
            Verb::Logs(args) => args.run(),
            Verb::Man(args) => args.run(),
            Verb::Mirror(args) => args.run(),
            Verb::Nodes(args) => args.run(),
            Verb::New(args) => args.run(),
            Verb::Plan(args) => args.run(),
            Verb::Proxmox(args) => args.run(),
            Verb::Prune(args) => args.run(),
            Verb::Release(args) => args.run(),
            Verb::Schema(args) => args.run(),
            Verb::Serve(args) => args.run(),
            Verb::Status(args) => args.run(),
            Verb::Store(args) => args.run(),
            Verb::Sysext(args) => args.run(),
            Verb::Verify(args) => args.run(),
            Verb::Version(args) => args.run(),
        }
    }
}
