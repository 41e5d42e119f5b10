//! `prebake capi doctor`

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::text::text;
use crate::base::count::counted;
use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::{Findings, Severity};
use crate::capi::doctor::{Image, Live, RULES, Subject, examine, manifest};
use crate::cli::failure;
use crate::cli::project::block_on;
use crate::cluster::api::client::Connection;
use crate::cluster::api::management;
use crate::disk::look::{Asked, Image as Disk};
use crate::disk::make::Input;
use crate::tree::names;

/// How long the API server may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest kubeconfig, in bytes.
const LONGEST: usize = 1 << 20;

/// Hold manifests, machine image and management cluster against each other
///
/// Finds what would keep a cluster from forming, each with its place and the way out: feature gates, fields and versions that a provider
/// does not know, what Ignition or Flatcar cannot do, addresses, names and references. Manifests may be templates: what a variable will
/// hold is not judged. Nothing is changed, and without --kubeconfig nobody is asked.
#[derive(Args)]
pub(super) struct DoctorArgs {
    /// Manifests or templates; `-` reads standard input [default: the template in --built]
    #[arg(value_name = "MANIFEST")]
    files: Vec<PathBuf>,
    /// A tree with the output `capi`, for its versions and gates
    #[arg(long, value_name = "TREE")]
    built: Option<PathBuf>,
    /// The disk image that machines are cloned from
    #[arg(long, value_name = "FILE")]
    machine_image: Option<PathBuf>,
    /// Ask the management cluster of this kubeconfig, too
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Fail on any warning
    #[arg(short, long)]
    strict: bool,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Nothing is named.
#[derive(Debug, thiserror::Error)]
#[error("there is nothing to examine")]
struct Nothing;

impl Advice for Nothing {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("name manifests, a tree with --built, or a management cluster with --kubeconfig".into())
    }
}

/// The manifests have nothing of Cluster API: no verdict can be given.
#[derive(Debug, thiserror::Error)]
#[error("no object of Cluster API is in {0}")]
struct Void(String);

impl Advice for Void {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        Some(
            "name what `clusterctl generate cluster NAME` printed; in a script, `set -o pipefail` tells when the program before a pipe failed"
                .into(),
        )
    }
}

/// There are warnings, and none were wanted.
#[derive(Debug, thiserror::Error)]
#[error("there {} and --strict was given", if *.0 == 1 { "is a warning".to_owned() } else { format!("are {} warnings", .0) })]
struct Doubtful(usize);

impl Advice for Doubtful {
    fn exit(&self) -> Exit {
        Exit::Config
    }
}

impl DoctorArgs {
    /// Examines, and tells.
    pub(super) fn run(self) -> Result<()> {
        if self.files.is_empty() && self.built.is_none() && self.kubeconfig.is_none() {
            return Err(Nothing.into());
        }
        let mut subject = Subject {
            index: self.built.as_deref().map(super::config::index_of).transpose()?,
            ..Subject::default()
        };
        let mut files = self.files.clone();
        if let (true, Some(tree), Some(index)) = (files.is_empty(), &self.built, &subject.index) {
            files = vec![tree.join(&index.template)];
        }
        for file in &files {
            subject.manifests.push(manifest(&text(file)?)?);
        }
        if let Some(manifest) = subject.void() {
            return Err(Void(manifest.source.name.clone()).into());
        }
        subject.image = self.machine_image.as_deref().map(image).transpose()?;
        subject.live = self.kubeconfig.as_deref().map(live).transpose()?;
        let findings = examine(&subject);
        if findings.iter().any(|finding| finding.severity == Severity::Error) {
            return Err(Findings(findings).into());
        }
        let objects: usize = subject.manifests.iter().map(|manifest| manifest.objects.len()).sum();
        match self.json {
            true => say!(
                "{:#}",
                json!({
                    "schema": 1,
                    "objects": objects,
                    "rules": RULES.iter().map(|rule| rule.code).collect::<Vec<_>>(),
                    "findings": findings.iter().map(failure::finding).collect::<Vec<_>>(),
                })
            ),
            false => {
                findings.iter().for_each(|finding| tell!("{finding}"));
                let (objects, rules) =
                    (counted(objects as u64, "object"), counted(RULES.len() as u64, "rule"));
                say!("{objects} held against {rules}: nothing keeps a cluster from forming");
            }
        }
        match self.strict && !findings.is_empty() {
            true => Err(Doubtful(findings.len()).into()),
            false => Ok(()),
        }
    }
}

/// The facts that an image tells of itself.
fn image(path: &Path) -> Result<Image> {
    let disk =
        Disk::look(Input::open(path)?, Asked { esp: true, ..Asked::default() }, &std::env::temp_dir(), 1)?;
    let mut image = Image { name: path.display().to_string(), ..Image::default() };
    if disk.flatcar().is_err() {
        return Ok(image);
    }
    let (platform, extension, files) = disk.with_oem(|content| {
        let oem = &content.oem;
        let on_root = oem.on_root()?.into_keys();
        let files: Vec<String> = oem.iter().map(|(path, _)| path.to_owned()).chain(on_root).collect();
        Ok((oem.platform(), oem.extension_version().map(str::to_owned), files))
    })?;
    image.platform = platform;
    image.release = disk.release().or(extension);
    // An older image without either is Flatcar all the same.
    image.release.get_or_insert_with(|| "of an unknown version".into());
    image.kubernetes =
        files.iter().find_map(|name| Some(format!("v{}", names::sysext_version(name, "kubernetes")?)));
    Ok(image)
}

/// The facts that the management cluster tells.
fn live(path: &Path) -> Result<Live> {
    let bytes = disk::read_at_most(path, LONGEST).map_err(disk::Error::io("read the kubeconfig", path))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    block_on(async {
        let connection = Connection::new(&path.display().to_string(), &text).await?;
        Ok(management::look(&connection, LIMIT).await?)
    })
}
