//! A directory outside of which nothing may be opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Reasons why a file beneath a directory is not opened.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// A link leads out of the directory.
    #[error("it is a link that leaves the directory")]
    Outside,
    /// It is gone, shorter than it should be, not a regular file, or cannot be read.
    #[error(transparent)]
    Damaged(#[from] io::Error),
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    directory: OwnedFd,
}

impl Root {
    /// Opens the directory; the path must be canonical.
    pub(crate) fn open(path: &Path) -> io::Result<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Root { path: path.into(), directory })
    }

    /// Its canonical path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is still the directory at a path; after its removal it is not, even if another directory takes its
    /// place.
    pub(crate) fn is(&self, path: &Path) -> bool {
        self.path == path && rustix::fs::fstat(&self.directory).is_ok_and(|found| found.st_nlink > 0)
    }

    /// Opens a file beneath the directory, given by its whole path. A link may lead to another place beneath it, and
    /// nowhere else.
    ///
    /// # Errors
    /// A file that cannot be opened, is outside, or is not a regular file.
    pub(crate) fn file(&self, path: &Path) -> Result<File, Refused> {
        let file = self.anything(path)?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is not a regular file").into()),
        }
    }

    /// A folder beneath the directory without any link on the way, given by a whole path. The kernel looks it up once, however
    /// deep it lies.
    ///
    /// # Errors
    /// There is no such folder, or it is outside.
    pub(crate) fn folder(&self, path: &Path) -> Result<PathBuf, Refused> {
        let folder = self.opened(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)?;
        match std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())) {
            Ok(place) => Ok(place),
            // Without /proc.
            Err(_) => Ok(path.canonicalize()?),
        }
    }

    fn anything(&self, path: &Path) -> Result<File, Refused> {
        // A file that blocks when it is opened, such as a pipe, must not hold a thread of the runtime.
        self.opened(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK)
    }

    fn opened(&self, path: &Path, flags: OFlags) -> Result<File, Refused> {
        let beneath = path.strip_prefix(&self.path).map_err(|_| Refused::Outside)?;
        let beneath = if beneath.as_os_str().is_empty() { Path::new(".") } else { beneath };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.directory, beneath, flags, Mode::empty(), resolve) {
            Ok(file) => Ok(file.into()),
            // A link with an absolute target may still stay inside, and kernels before 5.6 and some sandboxes lack
            // openat2(2): fall back to the slow way for both.
            Err(Errno::XDEV | Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
                let path = path.canonicalize()?;
                if !path.starts_with(&self.path) {
                    return Err(Refused::Outside);
                }
                Ok(rustix::fs::open(&path, flags | OFlags::NOFOLLOW, Mode::empty())
                    .map_err(io::Error::from)?
                    .into())
            }
            Err(error) => Err(Refused::Damaged(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("b"), "abcdef").unwrap();
        fs::write(directory.path().join("secret"), "SECRET").unwrap();
        let root = Root::open(&root.canonicalize().unwrap()).unwrap();
        (directory, root)
    }

    #[test]
    fn links_may_lead_about_within_the_root_and_never_out_of_it() {
        let (_directory, root) = root();
        let link = |target: &Path, name| symlink(target, root.path.join(name)).unwrap();
        link("b".as_ref(), "relative");
        link(&root.path.join("b"), "absolute");
        link("../secret".as_ref(), "out");
        link(&root.path.with_file_name("secret"), "far");
        link("..".as_ref(), "up");
        for inside in ["relative", "absolute"] {
            let mut text = String::new();
            root.file(&root.path.join(inside)).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "abcdef", "{inside}");
        }
        for outside in ["out", "far", "up/secret", "../secret"] {
            let refused = root.file(&root.path.join(outside));
            assert!(matches!(refused, Err(Refused::Outside)), "{outside}: {refused:?}");
        }
    }

    #[test]
    fn a_directory_that_was_removed_is_not_the_one_in_its_place() {
        let (_directory, root) = root();
        assert!(root.is(&root.path));
        fs::remove_dir_all(&root.path).unwrap();
        fs::create_dir(&root.path).unwrap();
        assert!(!root.is(&root.path));
    }

    #[test]
    fn a_pipe_or_a_directory_is_no_file_and_holds_nobody_up() {
        let (_directory, root) = root();
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(&root.directory, "pipe", fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        fs::create_dir(root.path.join("directory")).unwrap();
        for name in ["pipe", "directory"] {
            let refused = root.file(&root.path.join(name));
            assert!(matches!(refused, Err(Refused::Damaged(_))), "{name}: {refused:?}");
        }
    }
}
