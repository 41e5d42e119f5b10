//! Files of certificates and keys: bounded reads of regular files.

use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::Error;

/// Longest certificate or key file, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads a regular file. A pipe in its place would block, and a device might never end.
///
/// # Errors
/// It cannot be read, is no file, or is longer than 1 MiB.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let failed = |error| Error::Read { path: path.into(), error };
    let unfit = |why: &str| Error::Unfit { path: path.into(), why: why.into() };
    let is_file = |meta: fs::Metadata| match meta.is_file() {
        true => Ok(()),
        false if meta.is_dir() => Err(failed(io::ErrorKind::IsADirectory.into())),
        false => Err(unfit("it is a pipe, a socket or a device, and no file")),
    };
    // A device is not even opened; the second look is at what was opened.
    is_file(fs::metadata(path).map_err(failed)?)?;
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags as i32).open(path).map_err(failed)?;
    is_file(file.metadata().map_err(failed)?)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unfit("it is longer than 1 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_pipe_a_socket_a_folder_and_an_endless_file_are_told_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        fs::write(path("long"), vec![b'x'; (MAX_FILE + 1) as usize]).unwrap();
        fs::write(path("most"), vec![b'x'; MAX_FILE as usize]).unwrap();
        for (file, words) in [
            (path("pipe"), "it is a pipe, a socket or a device"),
            (path("socket"), "it is a pipe, a socket or a device"),
            (path("long"), "longer than 1 MiB"),
            (path(""), "is a directory"),
            (path("none"), "No such file or directory"),
        ] {
            let error = read(&file).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(&file.display().to_string()), "{error}");
        }
        assert_eq!(read(&path("most")).unwrap().len() as u64, MAX_FILE);
    }
}
