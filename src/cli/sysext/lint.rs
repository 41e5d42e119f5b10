//! `prebake sysext lint`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::print_json;
use crate::bake::alone;
use crate::bake::judge::boots;
use crate::bake::project::Project;
use crate::base::count::counted;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::Severity;
use crate::cli::project::StoreArg;
use crate::flatcar::version::Version;
use crate::sysext::base::Base;
use crate::sysext::lint::{self, Gap, Row, Target, Verdict};

/// Judge images, folders or recipes: would nodes merge them, and would they work
///
/// Takes images that anybody built (NAME.raw, NAME-VERSION-ARCH.raw, a link as in /etc/extensions), unpacked
/// extensions, folders with a sysext.yaml, directories full of images, and recipes. Images that are named together are judged
/// together, as if one node merged it; a recipe is judged profile by profile, with its Ignition.
///
/// Nothing wrong, or warnings only: exit code 0. Errors: 3. Images that were not there to be judged are named, such as a sysext whose
/// components are not fetched; with --strict that, too, is 3. The rules are explained in docs/guides/sysexts.md.
#[derive(Args)]
pub(crate) struct LintArgs {
    /// Images, folders, directories of images, recipes, or names as `sysext ls` lists them
    #[arg(required = true, value_name = "IMAGE|DIR|RECIPE|NAME")]
    targets: Vec<PathBuf>,
    /// Judge for this Flatcar release, such as 4593.2.5; a recipe names its own
    #[arg(long, value_name = "RELEASE", value_parser = |text: &str| text.parse::<Version>())]
    target: Option<Version>,
    /// The release's /usr: its PXE image (cpio.gz), its usr.squashfs, or a folder with usr/ in it
    #[arg(long, value_name = "IMAGE")]
    base: Option<PathBuf>,
    /// Treat warnings and unjudged parts as errors
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArg,
}

/// Errors were found and printed.
#[derive(Debug, thiserror::Error)]
#[error("{}, {}{}", counted(*errors, "error"), counted(*warnings, "warning"), not_judged(*gaps))]
struct Refused {
    errors: usize,
    warnings: usize,
    gaps: usize,
}

fn not_judged(gaps: usize) -> String {
    if gaps == 0 { String::new() } else { format!(", {gaps} not judged") }
}

impl Advice for Refused {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        Some("each rule is explained in docs/guides/sysexts.md".into())
    }
}

impl LintArgs {
    /// Prints the defects, group by group.
    pub(crate) fn run(self) -> Result<()> {
        let (recipes, others): (Vec<PathBuf>, Vec<PathBuf>) =
            self.targets.iter().cloned().partition(|path| is_recipe(path));
        let others: Vec<Target> = others.into_iter().map(target).collect::<Result<_>>()?;
        let base = self.base.as_deref().map(read_base).transpose()?;
        let mut verdicts = Vec::new();
        let well_known = Base::well_known();
        for group in lint::open(&others)? {
            verdicts.push(lint::judge(group, base.as_ref().unwrap_or(&well_known), self.target)?);
        }
        for recipe in recipes {
            let project = Project::load(&recipe)?;
            let store = self.store.open()?;
            let own = match &base {
                None => boots::base_of(&project, &store)?,
                Some(_) => None,
            };
            for verdict in boots::recipe(&project, &store, base.as_ref().or(own.as_ref()))? {
                let subject = format!("{}: {}", recipe.display(), verdict.subject);
                verdicts.push(Verdict { subject, ..verdict });
            }
        }
        match self.json {
            true => print_json(&as_json(&verdicts)),
            false => print(&verdicts),
        }
        let all = || verdicts.iter().flat_map(|verdict| &verdict.breaches);
        let errors = all().filter(|breach| breach.severity == Severity::Error).count();
        let warnings = all().count() - errors;
        let gaps = verdicts.iter().map(|verdict| verdict.gaps.len()).sum();
        match errors > 0 || (self.strict && warnings + gaps > 0) {
            true => Err(Refused { errors, warnings, gaps }.into()),
            false => Ok(()),
        }
    }
}

/// A path, or the folder of a name that is none.
fn target(path: PathBuf) -> Result<Target> {
    match path.to_str() {
        Some(name) if !name.contains(['/', '.']) && path.symlink_metadata().is_err() => {
            Ok(Target::Folder(alone::find(name)?))
        }
        _ => Ok(Target::Path(path)),
    }
}

/// Recipes are YAML; a `sysext.yaml` stands for its folder.
fn is_recipe(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|end| end == "yaml" || end == "yml")
}

fn read_base(path: &Path) -> Result<Base> {
    let spool = crate::base::unfinished::Directory::scratch()
        .map_err(crate::base::disk::Error::io("create a directory in", &std::env::temp_dir()))?;
    Ok(Base::open(path, spool.path())?)
}

fn print(verdicts: &[Verdict]) {
    for Verdict { subject, breaches, gaps } in verdicts {
        match (breaches.len(), gaps.is_empty()) {
            (0, true) => say!("{subject}: no findings"),
            (0, false) => say!("{subject}: no findings in the parts that were judged"),
            (count, _) => say!("{subject}: {}", counted(count, "finding")),
        }
        for breach in breaches {
            say_findings!("{}", breach.finding());
        }
        for Gap { what, why } in gaps {
            say!("not judged: {what}: {why}");
        }
    }
}

fn as_json(verdicts: &[Verdict]) -> Vec<serde_json::Value> {
    let one = |Verdict { subject, breaches, gaps }: &Verdict| {
        let findings: Vec<Row<'_>> = breaches.iter().map(Row::from).collect();
        json!({"subject": subject, "findings": findings, "not_judged": gaps})
    };
    verdicts.iter().map(one).collect()
}
