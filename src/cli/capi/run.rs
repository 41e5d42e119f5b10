//! `prebake capi run`

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use zeroize::Zeroizing;

use super::config::{absolute, index_of};
use crate::base::count::counted;
use crate::base::digest::Sha256;
use crate::base::disk;
use crate::base::error::{Advice, Result};
use crate::base::finding::Finding;
use crate::capi::index::{Index, Named, config_of};
use crate::capi::inputs::{self, Inputs};
use crate::capi::provider::GATE;
use crate::cli::project::StoreArg;
use crate::cluster::sops::file;

/// Variables without which clusterctl hangs on a closed network, or its providers refuse `format: ignition`.
const DEFAULTS: [(&str, &str); 2] = [("CLUSTERCTL_DISABLE_VERSIONCHECK", "true"), (GATE, "true")];
/// The directory below which clusterctl looks for `cluster-api/clusterctl.yaml` (github.com/adrg/xdg).
const CONFIG_HOME: &str = "XDG_CONFIG_HOME";

/// Run clusterctl with inputs from encrypted files, and with the components and the flavor of a tree
///
/// The words behind `--` are run unchanged. Variables of files that SOPS encrypted with age are opened in memory and put into the
/// program's environment alone: no file, no command line and no message has them. A variable that is set already stays as it is, as
/// clusterctl itself has it. With TREE, clusterctl finds the tree's providers without internet. The program takes prebake's place, so
/// its exit code, its signals and its terminal are its own.
#[derive(Args)]
pub(super) struct RunArgs {
    /// A tree with the output `capi`
    #[arg(value_name = "TREE")]
    tree: Option<PathBuf>,
    /// Variables as in clusterctl.yaml, encrypted by sops for age; `-` reads standard input, such as what `sops decrypt` writes
    #[arg(short, long, value_name = "FILE")]
    secrets: Vec<PathBuf>,
    #[command(flatten)]
    store: StoreArg,
    /// The command, such as `clusterctl generate cluster NAME`
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

/// The command does not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot run {}", program.display())]
struct NotRun {
    program: PathBuf,
    source: std::io::Error,
}

impl Advice for NotRun {
    fn hint(&self) -> Option<String> {
        Some(match self.source.kind() {
            ErrorKind::NotFound => "install it, or name it by its path: it is looked for in PATH".into(),
            ErrorKind::ArgumentListTooLong => {
                "all variables and words together are longer than a program may be given".into()
            }
            _ => return None,
        })
    }
}

impl RunArgs {
    /// Becomes the command.
    pub(super) fn run(self) -> Result<()> {
        let mut values: BTreeMap<String, Zeroizing<String>> = BTreeMap::new();
        let mut providers: Vec<Named> = Vec::new();
        let index = self.tree.as_deref().map(index_of).transpose()?;
        for path in &self.secrets {
            let Inputs { variables, providers: mut named } = self.read(path, index.as_ref())?;
            // A later file stands over an earlier one, as a later option does.
            values.extend(variables.into_iter().map(|variable| (variable.name, variable.value)));
            providers.append(&mut named);
        }
        let gates =
            index.iter().flat_map(|index| &index.gates).map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in gates.chain(DEFAULTS) {
            values.entry(name.to_owned()).or_insert_with(|| Zeroizing::new(value.to_owned()));
        }
        let Some((program, words)) = self.command.split_first() else { return Ok(()) };
        let mut command = Command::new(program);
        command.args(words);
        for (name, value) in &values {
            match env::var_os(name) {
                Some(there) if there == OsStr::new(value.as_str()) => {}
                Some(_) => detail!("{name} is set in the environment, and stands over other values\n"),
                None => {
                    command.env(name, value.as_str());
                }
            }
        }
        let config = match (&self.tree, &index) {
            (Some(tree), Some(index)) => Some(index.config(&absolute(tree)?, &providers)?),
            _ => (!providers.is_empty()).then(|| config_of(&providers)),
        };
        if let Some(config) = config.filter(|_| !names_config(words)) {
            command.env(CONFIG_HOME, self.place(&config)?);
        }
        detail!(
            "{} from {}\n",
            counted(values.len() as u64, "variable"),
            counted(self.secrets.len() as u64, "file")
        );
        // Only a failure comes back.
        let source = command.exec();
        Err(NotRun { program: program.into(), source }.into())
    }

    /// The inputs of a file.
    fn read(&self, path: &Path, index: Option<&Index>) -> Result<Inputs> {
        let secrets = file::read(path)?;
        let inputs = inputs::read(&secrets.tree, &secrets.source)?;
        let told = |name: &str| {
            index.is_some_and(|index| index.variables.iter().any(|one| one.secret && one.name == name))
        };
        let held = inputs
            .variables
            .iter()
            .find(|variable| inputs::is_secret(&variable.name) || told(&variable.name));
        if let Some(variable) = held.filter(|_| secrets.is_clear) {
            let finding = Finding::warning(format!("{} is in clear text in a file", variable.name))
                .at(variable.place.clone())
                .without_lines()
                .hint(format!(
                    "encrypt it: `sops encrypt --age RECIPIENT {} > {}`",
                    path.display(),
                    sealed(path)
                ));
            tell!("{finding}");
        }
        Ok(inputs)
    }

    /// A directory with this config for clusterctl. Its name is its content's digest, so that the same one serves each run and none is
    /// ever in use half-written; it holds no secret.
    fn place(&self, config: &str) -> Result<PathBuf> {
        let digest = Sha256::of(config.as_bytes()).to_string();
        let home = self.store.path()?.join("clusterctl").join(digest);
        let directory = home.join("cluster-api");
        disk::create_directories(&directory)?;
        disk::write_atomic(&directory.join("clusterctl.yaml"), config.as_bytes())?;
        // Relative ones are ignored by clusterctl.
        absolute(&home)
    }
}

/// Whether a command names a config of its own, which stays the one.
fn names_config(words: &[OsString]) -> bool {
    words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--config" || word.to_str().is_some_and(|word| word.starts_with("--config=")))
}

/// A name for the encrypted file.
fn sealed(path: &Path) -> String {
    let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or("clusterctl");
    path.with_file_name(format!("{stem}.enc.yaml")).display().to_string()
}
