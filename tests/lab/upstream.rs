//! Files of upstream projects, under the paths and in the shapes that they publish, with their digests: the
//! programs that sysexts are made of, built here or taken from Debian.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use prebake::base::digest::Sha256;

/// A directory with upstream's files: `kubernetes/` has the paths of dl.k8s.io, `github/` those of GitHub.
pub struct Upstream {
    /// Where it lies.
    pub directory: PathBuf,
}

impl Upstream {
    /// Nothing yet.
    pub fn new(directory: &Path) -> Upstream {
        Upstream { directory: directory.to_owned() }
    }

    /// A file, and beside it another, `digests`, that has its digest as `sha256sum` prints it.
    pub fn publish(&self, path: &str, file: &Path, digests: &str) -> io::Result<()> {
        let published = self.place(path)?;
        symlink(file, &published)?;
        write_digest(&published, digests)
    }

    /// A `.tar.gz` of these files, each under a name, and its digest as above.
    pub fn publish_archive(&self, path: &str, files: &[(String, PathBuf)], digests: &str) -> io::Result<()> {
        let published = self.place(path)?;
        let gzip = GzEncoder::new(File::create(&published)?, Compression::fast());
        let mut archive = tar::Builder::new(gzip);
        for (name, file) in files {
            archive.append_path_with_name(file, name)?;
        }
        archive.into_inner()?.finish()?;
        write_digest(&published, digests)
    }

    fn place(&self, path: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
        Ok(path)
    }
}

fn write_digest(published: &Path, digests: &str) -> io::Result<()> {
    let (digest, _) = Sha256::of_reader(File::open(published)?)?;
    let name = published.file_name().unwrap_or_default().to_string_lossy();
    fs::write(published.with_file_name(digests), format!("{digest}  {name}\n"))
}
