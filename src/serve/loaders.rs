//! iPXE binaries in a directory, such as a distribution's package, which firmware loads by TFTP or HTTP.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use bytes::Bytes;

use crate::machine::firmware;

/// Longest loader, in bytes. The longest of Debian's has 1 MiB.
const MAX_LOADER: u64 = 16 << 20;

/// iPXE binaries, in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loaders(BTreeMap<&'static str, Bytes>);

impl Loaders {
    /// Reads the loaders that a directory has.
    ///
    /// # Errors
    /// The path that cannot be read, and the reason. A missing file is not an error.
    pub(crate) fn read(directory: &Path) -> Result<Loaders, (PathBuf, io::Error)> {
        let mut loaders = BTreeMap::new();
        for name in firmware::loaders() {
            let path = directory.join(name);
            match read_loader(&path) {
                Ok(bytes) => drop(loaders.insert(name, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err((path, error)),
            }
        }
        Ok(Loaders(loaders))
    }

    /// A loader by its file name.
    pub(crate) fn get(&self, name: &str) -> Option<Bytes> {
        self.0.get(name).cloned()
    }

    /// The file names of the loaders that were found.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

fn read_loader(path: &Path) -> io::Result<Bytes> {
    let size = fs::metadata(path)?.len();
    if size > MAX_LOADER {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "larger than 16 MiB, which is too much for a boot loader",
        ));
    }
    fs::read(path).map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loaders_of_the_list_are_taken_from_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["ipxe.efi", "snponly.efi", "shadow"] {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let loaders = Loaders::read(directory.path()).unwrap();
        assert_eq!(loaders.names().collect::<Vec<_>>(), ["ipxe.efi", "snponly.efi"]);
        assert_eq!(loaders.get("ipxe.efi").unwrap(), "ipxe.efi");
        assert_eq!(loaders.get("shadow"), None);
    }
}
