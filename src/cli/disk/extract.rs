//! `prebake disk extract`

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::{Misuse, is_free, threads};
use crate::base::count::counted;
use crate::base::disk as base;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::base::unfinished::Directory;
use crate::disk::Error;
use crate::disk::content::Content;
use crate::disk::layout::ROOT;
use crate::disk::look::{Asked, Image};
use crate::disk::make::Input;
use crate::disk::payload;
use crate::format::image::Kind;
use crate::format::sparse::{Sink, Sparse};

/// Bytes that are copied at a time.
const PIECE: usize = 1 << 20;

/// Copy what is on OEM into a directory
///
/// Files that prebake put on ROOT come below ROOT/ in it, by `debugfs` of e2fsprogs. Nothing is written outside of the
/// directory. Owners, times and attributes are not set.
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

/// Copies a file's bytes; zeros become holes.
fn copy(from: &mut dyn Read, to: &File) -> io::Result<()> {
    let mut sink = Sparse::create(to)?;
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return sink.finish().map(drop),
            Ok(count) => sink.data(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Moves all that is in a directory into its parent, which was empty.
fn fill(directory: &Path, parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        fs::rename(entry.path(), parent.join(entry.file_name()))?;
    }
    Ok(())
}

impl ExtractArgs {
    pub(super) fn run(self) -> Result<()> {
        if !is_free(&self.output) {
            return Err(Misuse::NotEmpty { path: self.output }.into());
        }
        // Links and `.` lead to it.
        let there = self.output.exists().then(|| self.output.canonicalize()).transpose();
        let there = there.map_err(base::Error::io("look at", &self.output))?;
        let scratch = payload::scratch(&self.output);
        let asked = Asked { root: true, ..Asked::default() };
        let image = Image::look(Input::open(&self.image)?, asked, &scratch, threads())?;
        // A directory that is there may be one that cannot be replaced, such as a mount point: it is filled.
        let parent = there.as_deref().unwrap_or_else(|| base::directory_of(&self.output));
        base::create_directories(parent)?;
        let directory =
            Directory::in_directory(parent).map_err(base::Error::io("create a directory in", parent))?;
        let mut count = image.with_oem(|content| self.extract(content, directory.path()))?;
        count += self.extract_root(&image, &scratch, directory.path())?;
        let named = match &there {
            Some(there) => fill(directory.path(), there),
            None => directory.rename(&self.output),
        };
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
                if paths.is_empty() && content.oem.on_root()?.is_empty() {
                    return Err(Error::NotInjected { subject: self.image.display().to_string() });
                }
                Some(paths.into_iter().collect())
            }
            false => None,
        };
        let is_wanted = |path: &str| only.as_ref().is_none_or(|only| only.contains(path));
        let files: Vec<_> = content.filesystem.list().filter(|file| is_wanted(&file.path)).collect();
        let size = |kind: &Kind| if let Kind::File(size) = kind { *size } else { 0 };
        let on_root = content.oem.on_root()?;
        let sizes = files.iter().map(|file| size(&file.kind)).chain(on_root.into_values());
        let total = sizes.fold(0_u64, u64::saturating_add);
        if total > self.limit.0 {
            let (subject, limit) = (self.image.display().to_string(), self.limit.0);
            return Err(Error::Long { subject, total, limit });
        }
        let failed = |path: &str| Error::io("write", path);
        let mut count = 0;
        let (mut links, mut directories) = (Vec::new(), Vec::new());
        for file in files {
            if file.path.contains(char::REPLACEMENT_CHARACTER) {
                tell!(
                    "{} on OEM has a name that is no UTF-8: it is written as here",
                    file.path.escape_debug()
                );
            }
            // The files of ROOT have this directory.
            if file.path.split('/').next() == Some(ROOT) && !content.oem.on_root()?.is_empty() {
                let path = format!("{ROOT} on OEM");
                let source = io::Error::from(io::ErrorKind::AlreadyExists);
                return Err(Error::Io { action: "copy", subject: path, source });
            }
            let target = root.join(&file.path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(failed(&file.path))?;
            }
            match &file.kind {
                Kind::Dir => {
                    fs::create_dir_all(&target).map_err(failed(&file.path))?;
                    directories.push((target, file.mode & 0o777, file.path.clone()));
                }
                Kind::File(_) => {
                    let mut stream = content.filesystem.stream(&file.path)?;
                    let mut options = OpenOptions::new();
                    options.write(true).create_new(true).mode(0o600);
                    let out = options.open(&target).map_err(failed(&file.path))?;
                    let copied = copy(&mut stream, &out);
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
        // One that is closed to its owner takes no files; those below come first.
        for (target, mode, path) in directories.into_iter().rev() {
            let mode = Permissions::from_mode(u32::from(mode));
            fs::set_permissions(&target, mode).map_err(failed(&path))?;
        }
        Ok(count)
    }

    /// Copies the files that prebake put on ROOT; returns their number.
    fn extract_root(&self, image: &Image, scratch: &Path, root: &Path) -> Result<u64, Error> {
        let paths = image.with_oem(|content| content.oem.on_root())?;
        if paths.is_empty() {
            return Ok(0);
        }
        let filesystem = image.root(scratch)?;
        let mut left = self.limit.0;
        for path in paths.keys() {
            let target = root.join(ROOT).join(path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(Error::io("write", path))?;
            }
            let mut options = OpenOptions::new();
            options.write(true).create_new(true).mode(0o644);
            let mut out = options.open(&target).map_err(Error::io("write", path))?;
            left = filesystem.copy_out(path, left, &mut out)?;
        }
        Ok(paths.len() as u64)
    }
}
