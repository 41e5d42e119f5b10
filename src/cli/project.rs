//! Arguments that verbs on a recipe share: its path, the store, fetching; and the runtime.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::runtime::{Builder, Runtime};

use crate::bake::project::Project;
use crate::bake::recipe::{ConfigFrom, Recipe};
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::yaml::decode::Spanned;
use crate::machine::base_url::BaseUrl;
use crate::source::http::Options;
use crate::store::Store;
use crate::trust::openpgp::{FLATCAR_PRIMARY, Fingerprint};

/// The recipe and the store.
#[derive(Args)]
pub(crate) struct ProjectArgs {
    /// The recipe, such as recipes/kubernetes.yaml
    pub recipe: PathBuf,
    #[command(flatten)]
    pub store: StoreArg,
}

/// The store's arguments.
#[derive(Args)]
pub(crate) struct StoreArg {
    /// Where verified inputs and built artifacts are kept [default: $XDG_CACHE_HOME/prebake/store, else
    /// ~/.cache/prebake/store]
    #[arg(long, value_name = "DIR", env = "PREBAKE_STORE")]
    store: Option<PathBuf>,
}

/// There is no place for a store.
#[derive(Debug, thiserror::Error)]
#[error("there is no place for the store: no home directory is set (HOME)")]
struct Homeless;

impl Advice for Homeless {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("name one with --store DIR, or set PREBAKE_STORE or XDG_CACHE_HOME".into())
    }
}

impl StoreArg {
    /// Opens the store.
    pub(crate) fn open(&self) -> Result<Store> {
        Ok(Store::open(&self.path()?)?)
    }

    /// The store's directory, which may not exist yet.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        Ok(self.store.clone().or_else(default_store).ok_or(Homeless)?)
    }
}

/// The trusted key, the place of its stored copy, and the output format: for verbs that judge signatures without a
/// recipe.
#[derive(Args)]
pub(crate) struct PinArgs {
    /// Fingerprint of the primary key that is trusted; Flatcar's own if absent
    #[arg(long, value_name = "FINGERPRINT", default_value_t = FLATCAR_PRIMARY, hide_default_value = true)]
    pub pin: Fingerprint,
    #[command(flatten)]
    pub store: StoreArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Heading of these options.
const HEADING: &str = "Delivery";

/// Delivery of the built files to machines.
#[derive(Args)]
pub(crate) struct DeliveryArgs {
    /// If the release loses a config in an initrd (some alphas and betas), have machines fetch config and sysexts by HTTP; as
    /// `config_from: auto` in the recipe
    #[arg(help_heading = HEADING, long)]
    auto: bool,
    /// Where machines will find the root of the tree, for what must hold that URL; as `base_url:` in the recipe
    #[arg(help_heading = HEADING, long, value_name = "URL")]
    base_url: Option<BaseUrl>,
}

impl DeliveryArgs {
    /// Applies the command line's settings to the recipe. A recipe that always wants a URL keeps that.
    pub(crate) fn apply(&self, recipe: &mut Recipe) {
        let asked = recipe.config_from.as_ref().map(|asked| asked.value);
        if self.auto && asked != Some(ConfigFrom::Url) {
            let place = recipe.release.channel.place.clone();
            recipe.config_from = Some(Spanned { value: ConfigFrom::Auto, place });
        }
        if self.base_url.is_some() {
            recipe.base_url = self.base_url.clone();
        }
    }
}

/// Settings for fetching inputs.
#[derive(Args)]
pub(crate) struct FetchArgs {
    /// Fetch at most this many bytes per second in total: 500K, 20M, 1G
    #[arg(long, value_name = "RATE", value_parser = rate, help_heading = "Fetching")]
    limit_rate: Option<u64>,
    /// Give up a server that is silent for this long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s", help_heading = "Fetching")]
    stall_timeout: Duration,
    /// Read and verify every object in the store before it is used; corrupt ones are fetched or built again
    #[arg(long)]
    paranoid: bool,
}

impl FetchArgs {
    /// The store, in paranoid mode if the user asked for it.
    pub(crate) fn trusting(&self, store: Store) -> Store {
        if self.paranoid { store.paranoid() } else { store }
    }

    /// Options for the fetcher.
    pub(crate) fn options(&self) -> Options {
        Options { limit_rate: self.limit_rate, stall: self.stall_timeout }
    }
}

/// Parses a rate: bytes with a binary suffix, as in curl and wget.
fn rate(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        other => return Err(format!("`{other}` is not a unit: K, M or G")),
    };
    let number: u64 = digits.parse().map_err(|_| "a number is required, such as 20M".to_owned())?;
    let rate = number.checked_mul(1 << unit).filter(|rate| *rate > 0);
    rate.ok_or_else(|| "a rate must be at least 1 byte per second".to_owned())
}

impl ProjectArgs {
    /// Reads the recipe, and opens the store.
    pub(crate) fn open(&self) -> Result<(Project, Store)> {
        let project = Project::load(&self.recipe)?;
        Ok((project, self.store.open()?))
    }
}

/// `$XDG_CACHE_HOME/prebake/store`, else `~/.cache/prebake/store`. Never below the working directory, where nobody looks for a
/// store.
fn default_store() -> Option<PathBuf> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || absolute("HOME").map(|home| home.join(".cache"));
    Some(absolute("XDG_CACHE_HOME").or_else(home)?.join("prebake/store"))
}

/// A runtime for the asynchronous part of a verb.
pub(crate) fn runtime() -> Result<Runtime> {
    let built = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    Ok(built.map_err(disk::Error::io("start threads for", "this process".as_ref()))?)
}

/// Runs the asynchronous part of a verb.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(work)
}
