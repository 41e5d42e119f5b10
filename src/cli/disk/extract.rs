//! `prebake disk extract`

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Misuse, input, is_free, threads};
use crate::base::count::counted;
use crate::base::disk as base;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::base::unfinished::Directory;
use crate::disk::Error;
use crate::disk::content::Content;
use crate::disk::look::Image;
use crate::disk::payload;
use crate::format::image::Kind;

/// Copy what is on OEM into a directory
///
/// Nothing is written outside of the directory. Owners, times and attributes are not set.
#[derive(Args)]
pub(super) struct ExtractArgs {
    /// The image, or - for standard input
    image: PathBuf,
    /// An empty directory, made if it is missing
    #[arg(short, long, alias = "directory", short_alias = 'C', value_name = "DIR")]
    output: PathBuf,
    /// Only what prebake injected
    #[arg(long)]
    injected: bool,
    /// Stop when the files are longer than this
    #[arg(long, value_name = "SIZE", default_value = "16GiB")]
    limit: Bytes,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl ExtractArgs {
    pub(super) fn run(self) -> Result<()> {
        if !is_free(&self.output) {
            return Err(Misuse::NotEmpty { path: self.output }.into());
        }
        let scratch = payload::scratch(&self.output);
        let image = Image::look(input(&self.image)?, &scratch, threads())?;
        let parent = base::directory_of(&self.output);
        base::create_directories(parent)?;
        let directory =
            Directory::in_directory(parent).map_err(base::Error::io("create a directory in", parent))?;
        let count = image.with_oem(|content| self.extract(content, directory.path()))?;
        let named = directory.rename(&self.output);
        named.map_err(base::Error::io("write", &self.output))?;
        match self.json {
            true => say!("{:#}", json!({"directory": self.output, "files": count})),
            false => say!("{}: {}", self.output.display(), counted(count, "file")),
        }
        Ok(())
    }

    /// Copies the files; returns their number.
    fn extract(&self, content: &Content<'_>, root: &Path) -> Result<u64, Error> {
        let only: Option<BTreeSet<String>> = match self.injected {
            true => {
                let paths = content.oem.injected()?;
                if paths.is_empty() {
                    return Err(Error::NotInjected { subject: self.image.display().to_string() });
                }
                Some(paths.into_iter().collect())
            }
            false => None,
        };
        let is_wanted = |path: &str| only.as_ref().is_none_or(|only| only.contains(path));
        let files: Vec<_> = content.filesystem.list().filter(|file| is_wanted(&file.path)).collect();
        let size = |kind: &Kind| if let Kind::File(size) = kind { *size } else { 0 };
        let total = files.iter().fold(0_u64, |sum, file| sum.saturating_add(size(&file.kind)));
        if total > self.limit.0 {
            let (subject, limit) = (self.image.display().to_string(), self.limit.0);
            return Err(Error::Long { subject, total, limit });
        }
        let failed = |path: &str| Error::io("write", path);
        let mut count = 0;
        let mut links = Vec::new();
        for file in files {
            let target = root.join(&file.path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(failed(&file.path))?;
            }
            match &file.kind {
                Kind::Dir => fs::create_dir_all(&target).map_err(failed(&file.path))?,
                Kind::File(_) => {
                    let mut stream = content.filesystem.stream(&file.path)?;
                    let mut options = OpenOptions::new();
                    options.write(true).create_new(true).mode(0o600);
                    let mut out = options.open(&target).map_err(failed(&file.path))?;
                    let copied = io::copy(&mut stream, &mut out);
                    copied.map_err(|error| Error::of_sink(error, "write", &file.path))?;
                    let mode = Permissions::from_mode(u32::from(file.mode & 0o777));
                    out.set_permissions(mode).map_err(failed(&file.path))?;
                    count += 1;
                }
                Kind::Symlink(to) => links.push((target, to.clone(), file.path.clone())),
                Kind::Whiteout | Kind::Special => {
                    tell!("skipped: {} is a device, pipe or socket", file.path.escape_debug());
                }
            }
        }
        // Links come last: nothing is written through one.
        for (target, to, path) in links {
            symlink(&to, &target).map_err(failed(&path))?;
            count += 1;
        }
        Ok(count)
    }
}
