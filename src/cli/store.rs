//! `prebake store`: the stored objects, whether they are intact, and their users.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::project::StoreArg;
use super::table::Table;
use crate::base::count::counted;
use crate::base::digest::{Object, Sha256};
use crate::base::error::{Advice, Exit, Result};
use crate::store::gc::{Alone, Garbage};
use crate::store::roots::{Reference, References};
use crate::tree::kept;

/// Number of hex digits of a digest in tables; `store path` accepts any unique prefix.
const SHORT: usize = 12;

/// Look after the store of verified inputs and built artifacts
///
/// The store is a cache: everything in it can be fetched or built again. It knows the users of its objects from the locks and
/// published trees that builds told it about.
#[derive(Args)]
pub(crate) struct StoreArgs {
    #[command(subcommand)]
    verb: StoreVerb,
}

#[derive(Subcommand)]
enum StoreVerb {
    Ls(LsArgs),
    Verify(VerifyArgs),
    Gc(GcArgs),
    Path(PathArgs),
}

/// List all objects with their sizes and who refers to them
#[derive(Args)]
struct LsArgs {
    #[command(flatten)]
    store: StoreArg,
    /// List only what no lock and no tree refers to
    #[arg(long)]
    unused: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Read every object again and hold it against its name
///
/// A corrupt object is moved to STORE/corrupt and so never served again: the next build fetches or builds it anew.
/// Exits with 4 if there was one.
#[derive(Args)]
struct VerifyArgs {
    #[command(flatten)]
    store: StoreArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Remove what no lock and no published tree refers to any more
///
/// Never runs beside a build. Published trees stay whole: they hold their files themselves. Incomplete files of killed
/// runs are removed whatever their age.
#[derive(Args)]
struct GcArgs {
    #[command(flatten)]
    store: StoreArg,
    /// Keep complete objects that are younger than this, even unused ones: an interrupted build resumes from them
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1d")]
    grace: Duration,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Wait for builds that are running instead of giving up
    #[arg(long = "wait-for-builds", alias = "wait")]
    wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Print an object's path
#[derive(Args)]
struct PathArgs {
    /// An input's id in a lock, a path in a published tree, or the first digits of a SHA-256
    #[arg(value_name = "ID|SHA256")]
    name: String,
    #[command(flatten)]
    store: StoreArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reasons why a verb on the store fails.
#[derive(Debug, thiserror::Error)]
enum Error {
    /// Another process is using the store.
    #[error("{} is in use by another prebake", store.display())]
    InUse { store: PathBuf },
    /// Corrupt objects were found and set aside.
    #[error("{count} corrupt {} set aside in {}", if *count == 1 { "object was" } else { "objects were" }, place.display())]
    Corrupt { count: usize, place: PathBuf },
    /// No object has this name.
    #[error("no object in the store is called `{name}`")]
    Unknown { name: String },
    /// Several objects have this name.
    #[error("`{name}` may mean {} objects: {}", objects.len(), objects.join(", "))]
    Ambiguous { name: String, objects: Vec<String> },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::InUse { .. } | Error::Unknown { .. } => Exit::Failed,
            Error::Corrupt { .. } => Exit::Integrity,
            Error::Ambiguous { .. } => Exit::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::InUse { .. } => "wait for it, or let --wait-for-builds do so".into(),
            Error::Corrupt { .. } => {
                "the next build fetches or builds them again; check the disk; `prebake build --paranoid` repairs trees, too".into()
            }
            Error::Unknown { .. } => "`prebake store ls` lists all names".into(),
            Error::Ambiguous { .. } => "give more digits, or the full SHA-256".into(),
        })
    }
}

impl StoreArgs {
    /// Runs the verb.
    pub(crate) fn run(self) -> Result<()> {
        match self.verb {
            StoreVerb::Ls(args) => args.run(),
            StoreVerb::Verify(args) => args.run(),
            StoreVerb::Gc(args) => args.run(),
            StoreVerb::Path(args) => args.run(),
        }
    }
}

fn short(sha256: &Sha256) -> String {
    sha256.to_string()[..SHORT].to_owned()
}

/// A reference in the form `recipes/edge.lock: flatcar/amd64/version.txt`.
fn shown(reference: &Reference) -> String {
    // Names come from files that may be anybody's.
    format!("{}: {}", reference.root.display(), reference.name.escape_debug())
}

fn as_json(references: &[Reference]) -> Vec<Value> {
    references.iter().map(|r| json!({"root": r.root.display().to_string(), "name": r.name})).collect()
}

impl LsArgs {
    fn run(self) -> Result<()> {
        let store = self.store.open()?;
        let references = store.references(kept::read)?;
        let mut objects = store.objects()?;
        objects.retain(|object| !self.unused || references.of(&object.sha256).is_empty());
        if self.json {
            let row = |o: &Object| json!({"sha256": o.sha256, "size": o.size, "references": as_json(references.of(&o.sha256))});
            say!("{:#}", json!({"objects": objects.iter().map(row).collect::<Vec<_>>()}));
            return Ok(());
        }
        let mut table = Table::new(["OBJECT", ">SIZE", "REFERRED TO BY"]);
        for object in &objects {
            let mut names = references.of(&object.sha256).iter().map(shown);
            let first = names.next().unwrap_or_else(|| "nobody".into());
            table.row([short(&object.sha256), HumanBytes(object.size).to_string(), first]);
            names.for_each(|name| table.row([String::new(), String::new(), name]));
        }
        say_part!("{table}");
        let total = |objects: &mut dyn Iterator<Item = &Object>| {
            let (count, bytes) = objects.fold((0, 0), |(n, bytes), object| (n + 1, bytes + object.size));
            format!("{}, {}", counted(count, "object"), HumanBytes(bytes))
        };
        let mut unused = objects.iter().filter(|object| references.of(&object.sha256).is_empty());
        say!("{}; unused: {}", total(&mut objects.iter()), total(&mut unused));
        Ok(())
    }
}

impl VerifyArgs {
    fn run(self) -> Result<()> {
        let store = self.store.open()?;
        let references = store.references(kept::read)?;
        let report = store.verify()?;
        if self.json {
            let row = |c: &crate::store::verify::Corrupt| json!({"sha256": c.sha256, "size": c.size, "why": c.why, "references": as_json(references.of(&c.sha256))});
            let corrupt: Vec<Value> = report.corrupt.iter().map(row).collect();
            say!("{:#}", json!({"objects": report.objects, "bytes": report.bytes, "corrupt": corrupt}));
        } else {
            for corrupt in &report.corrupt {
                say!("corrupt {}: {}", corrupt.sha256, corrupt.why);
                references.of(&corrupt.sha256).iter().for_each(|name| say!("  {}", shown(name)));
            }
            say!("{} read, {}", counted(report.objects, "object"), HumanBytes(report.bytes));
        }
        match report.corrupt.len() {
            0 => Ok(()),
            count => Err(Error::Corrupt { count, place: store.root().join("corrupt") }.into()),
        }
    }
}

impl GcArgs {
    fn run(self) -> Result<()> {
        let garbage = if self.dry_run {
            Garbage::find(&self.store.open()?, self.grace, kept::read)?
        } else {
            let store = self.store.path()?;
            let alone = Alone::open(&store, self.wait)?.ok_or(Error::InUse { store })?;
            let garbage = Garbage::find(alone.store(), self.grace, kept::read)?;
            alone.remove(&garbage)?;
            garbage
        };
        let kept = garbage.kept;
        if self.json {
            let objects: Vec<Value> = garbage
                .objects
                .iter()
                .map(|(o, freed)| json!({"sha256": o.sha256, "size": o.size, "freed": freed}))
                .collect();
            say!(
                "{:#}",
                json!({
                    "removed": !self.dry_run,
                    "objects": objects,
                    "steps": garbage.steps,
                    "leftovers": garbage.leftovers.len(),
                    "dead_roots": garbage.roots.len(),
                    "freed": garbage.freed(),
                    "kept": {"objects": kept.objects, "bytes": kept.bytes, "young": kept.young},
                })
            );
            return Ok(());
        }
        let word = if self.dry_run { "would remove" } else { "removed" };
        for (object, _) in &garbage.objects {
            say!("{word} {} {:>11}", short(&object.sha256), HumanBytes(object.size).to_string());
        }
        let objects = counted(garbage.objects.len(), "object");
        let leftovers = counted(garbage.leftovers.len(), "leftover");
        let gone = if self.dry_run { "would be freed" } else { "freed" };
        say!("{objects} and {leftovers}: {} {gone}", HumanBytes(garbage.freed()));
        let held = garbage.objects.iter().filter(|(object, freed)| *freed < object.size).count();
        if held > 0 {
            say!("hard links of published trees keep {held} of them on disk");
        }
        let young = match kept.young {
            0 => String::new(),
            young => format!(", {young} of them unused but younger than --grace"),
        };
        say!("{} kept, {}{young}", counted(kept.objects, "object"), HumanBytes(kept.bytes));
        Ok(())
    }
}

impl PathArgs {
    fn run(self) -> Result<()> {
        let store = self.store.open()?;
        let references = store.references(kept::read)?;
        let found: BTreeSet<Sha256> = store
            .objects()?
            .iter()
            .map(|o| o.sha256)
            .filter(|o| is_called(o, &self.name, &references))
            .collect();
        let found: Vec<Sha256> = found.into_iter().collect();
        match found.as_slice() {
            [] => Err(Error::Unknown { name: self.name }.into()),
            [sha256] => {
                let path = store.path(sha256);
                match self.json {
                    true => say!("{:#}", json!({"sha256": sha256, "path": path})),
                    false => say!("{}", path.display()),
                }
                Ok(())
            }
            several => {
                let objects = several.iter().map(short).collect();
                Err(Error::Ambiguous { name: self.name, objects }.into())
            }
        }
    }
}

fn is_called(object: &Sha256, name: &str, references: &References) -> bool {
    object.to_string().starts_with(&name.to_lowercase())
        || references.of(object).iter().any(|reference| reference.name == name)
}
