//! `prebake initrd inject`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Misuse;
use crate::base::disk;
use crate::base::error::Result;
use crate::cli::file_arg::FileArg;
use crate::cli::project::StoreArg;
use crate::format::tree::Tree;
use crate::initrd;
use crate::initrd::inject::{Target, inject, write_overlay};
use crate::initrd::overlay::Overlay;
use crate::tree::inject::{PublishedTree, Selection};
use crate::tree::meant;
use crate::tree::secrets;

/// Append Ignition, sysexts and files to an initrd, without unpacking it
///
/// An earlier injection is replaced. Flatcar finds all of it below /oem: config.ign is its Ignition config, sysexts
/// are linked to /etc/extensions by a layer below yours, images lie in /oem/images. `remove` gives the initrd back byte for
/// byte.
///
/// With a published tree and --profile, the given files are added to what the profile's machines boot, and the result is
/// published beside the tree, as a build of its own that `current` then leads to. The tree stays as it is.
#[derive(Args)]
pub(super) struct InjectArgs {
    /// The initrd, such as flatcar_production_pxe_image.cpio.gz; or a tree, such as output/NAME/current
    #[arg(required_unless_present = "overlay_only", conflicts_with = "overlay_only")]
    initrd: Option<PathBuf>,
    /// The new file, which appears whole or not at all; of a tree, where trees are published, if not beside it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the file if it exists (the input, too: it is read to its end first)
    #[arg(long, conflicts_with = "profile")]
    force: bool,
    /// Write the overlay alone, for loaders that take two initrds
    #[arg(long)]
    overlay_only: bool,
    #[command(flatten)]
    tree: TreeArgs,
    #[command(flatten)]
    contents: ContentArgs,
    /// Seconds since 1970 that all files carry; in a tree they carry the tree's own epoch
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0, value_name = "SECONDS")]
    epoch: u64,
    #[command(flatten)]
    store: StoreArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Heading of these options.
const HEADING: &str = "Into a tree";
/// Heading of what is put in.
const CONTENTS: &str = "Contents";

/// The part of a tree to inject into.
#[derive(Args)]
struct TreeArgs {
    /// All boots of this profile, those of nodes with layers of their own among them
    #[arg(help_heading = HEADING, long, value_name = "NAME", requires = "initrd")]
    profile: Option<String>,
    /// Only this node's own boot
    #[arg(help_heading = HEADING, long, value_name = "NAME", requires = "profile")]
    node: Option<String>,
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct ContentArgs {
    /// Ignition or Butane; several are merged, the last wins
    #[arg(help_heading = CONTENTS, long, value_name = "FILE")]
    ignition: Vec<PathBuf>,
    /// Sysext image, linked under the name in its extension-release file
    #[arg(help_heading = CONTENTS, long, value_name = "IMAGE")]
    sysext: Vec<PathBuf>,
    /// Container image archive, for a unit that imports it from /oem/images
    #[arg(help_heading = CONTENTS, long, value_name = "ARCHIVE")]
    image: Vec<PathBuf>,
    /// Certificates (PEM) to trust, while Ignition fetches and in the booted system
    #[arg(help_heading = CONTENTS, long, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Any file, with the mode 644 unless another is given
    #[arg(help_heading = CONTENTS, long, value_name = "PATH=SOURCE[:MODE]")]
    file: Vec<FileArg>,
}

impl InjectArgs {
    pub(super) fn run(self) -> Result<()> {
        let InjectArgs { initrd, output, force, tree, contents, epoch, store, json, .. } = self;
        if let Some(profile) = tree.profile {
            let path = initrd.unwrap_or_default();
            if path.is_file() {
                return Err(initrd::Error::NoTree { path }.into());
            }
            let published = PublishedTree::open(&path)?;
            let selection = Selection { profile, node: tree.node };
            let add = || contents.overlay();
            let store = store.open()?;
            tell_secrets(&add()?.finish()?.0, &path)?;
            let (published, findings) = published.inject(&selection, &add, output.as_deref(), &store)?;
            findings.iter().for_each(|finding| tell!("{finding}"));
            match json {
                true => {
                    let build_id = published.manifest.build_id();
                    say!("{:#}", json!({"path": published.path, "build_id": build_id}));
                }
                false => say!("{}", published.path.display()),
            }
            return Ok(());
        }
        // A directory that is no tree, and leads to none, is refused below as what it is.
        if let Some(path) = initrd.as_ref().filter(|path| path.is_dir()) {
            match PublishedTree::open(path) {
                Ok(tree) => {
                    return Err(Misuse::WhoseBoot { path: path.clone(), profiles: tree.profiles() }.into());
                }
                Err(error) if meant::instead_of(path).is_some() => return Err(error.into()),
                Err(_) => {}
            }
        }
        let output = output.ok_or(Misuse::NoOutput)?;
        let (overlay, findings) = contents.overlay()?.finish()?;
        findings.iter().for_each(|finding| tell!("{finding}"));
        let target = Target { path: output, force };
        tell_secrets(&overlay, &target.path)?;
        let path = target.path.display().to_string();
        let document = |overlay: u64, base: Option<u64>, replaced: bool| json!({"file": path, "overlay_bytes": overlay, "base_bytes": base, "replaced": replaced});
        match &initrd {
            Some(base) => {
                let done = inject(base, &overlay, epoch, &target)?;
                done.warnings.iter().for_each(|finding| tell!("{finding}"));
                let seal = &done.seal;
                if json {
                    say!("{:#}", document(seal.overlay_length, Some(seal.base_length), done.replaced));
                    return Ok(());
                }
                let replaced = if done.replaced { ", replacing an earlier injection" } else { "" };
                say!(
                    "{path}: {} bytes after a base of {}{replaced}",
                    done.seal.overlay_length,
                    done.seal.base_length
                );
            }
            None => {
                let bytes = write_overlay(&overlay, epoch, &target)?;
                match json {
                    true => say!("{:#}", document(bytes, None, false)),
                    false => say!("{path}: {bytes} bytes"),
                }
            }
        }
        Ok(())
    }
}

/// Warns of secrets that are put into a file or a tree, because everyone who is served it can read them.
fn tell_secrets(overlay: &Tree, target: &Path) -> Result<()> {
    let hint = "put it into a `private:` layer, which only its own machine gets";
    let findings =
        secrets::injected(overlay, "initrd", hint).map_err(disk::Error::io("read what goes into", target))?;
    findings.iter().for_each(|finding| tell!("{finding}"));
    Ok(())
}

impl ContentArgs {
    /// The given files as an unfinished overlay.
    fn overlay(&self) -> Result<Overlay, initrd::Error> {
        let mut overlay = Overlay::default();
        let ContentArgs { ignition, sysext, image, ca, file } = self;
        ca.iter().try_for_each(|path| overlay.authority(path))?;
        ignition.iter().try_for_each(|path| overlay.layer(path))?;
        sysext.iter().try_for_each(|path| overlay.foreign_sysext(path))?;
        image.iter().try_for_each(|path| overlay.image(path))?;
        let root = |path: &str| path.trim_start_matches('/').to_owned();
        file.iter().try_for_each(|file| overlay.file(&root(&file.path), &file.from, file.mode))?;
        Ok(overlay)
    }
}
