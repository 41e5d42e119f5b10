//! Passwords of BMCs, wherever the description has them from.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::Error;
use crate::base::disk;
use crate::cluster::description::Password;

/// Longest password, in bytes. IPMI knows 20, and Redfish services some hundred.
const LONGEST: usize = 1024;

/// The text of a password. A file's last line end is not part of it, for editors and `echo` write one.
///
/// # Errors
/// It is not there, others can read it, or it is no line of text.
pub(super) fn read(password: &Password, directory: &Path) -> Result<Zeroizing<String>, Error> {
    let (place, text) = match password {
        Password::Environment(name) => {
            let value = std::env::var_os(name).ok_or_else(|| Error::NoVariable { name: name.clone() })?;
            let place = format!("the environment variable {name}");
            match value.into_string() {
                Ok(text) => (place, Zeroizing::new(text)),
                Err(_) => return Err(Error::NoPassword { place, why: "it is not UTF-8" }),
            }
        }
        Password::File(path) => {
            let path = directory.join(path);
            (path.display().to_string(), of_file(&path)?)
        }
        Password::Text(secret) => ("the description".into(), Zeroizing::new(secret.0.to_string())),
    };
    let why = match text.as_str() {
        "" => "it is empty",
        long if long.len() > LONGEST => "it is longer than 1 KiB",
        text if text.chars().any(char::is_control) => "it has line ends or other control characters",
        _ => return Ok(text),
    };
    Err(Error::NoPassword { place, why })
}

/// The mode is judged on the file that is read, and not on its name.
fn of_file(path: &Path) -> Result<Zeroizing<String>, Error> {
    let file = File::open(path).map_err(disk::Error::io("open", path))?;
    let metadata = file.metadata().map_err(disk::Error::io("read", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    // Pipes of a shell's <(…) have other permissions, and one reader.
    if metadata.is_file() && mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST + 3));
    file.take(LONGEST as u64 + 3).read_to_end(&mut bytes).map_err(disk::Error::io("read", path))?;
    let text = std::str::from_utf8(&bytes);
    let text =
        text.map_err(|_| Error::NoPassword { place: path.display().to_string(), why: "it is not UTF-8" })?;
    let line = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Zeroizing::new(line.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::description::Secret;

    fn file(mode: u32, bytes: &[u8]) -> Result<String, Error> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bmc");
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        read(&Password::File("bmc".into()), directory.path()).map(|text| text.to_string())
    }

    #[test]
    fn a_file_of_a_password_is_its_owners_alone() {
        assert_eq!(file(0o600, b"geheim\n").unwrap(), "geheim");
        assert_eq!(file(0o400, b" two words \r\n").unwrap(), " two words ");
        for mode in [0o640, 0o604, 0o620, 0o644] {
            assert!(matches!(file(mode, b"geheim\n"), Err(Error::Exposed { .. })), "{mode:o}");
        }
    }

    #[test]
    fn what_is_no_password_is_refused_without_showing_it() {
        for bytes in [&b""[..], b"\n", b"geheim\nzweite\n", b"geheim\0", b"\xff\xfegeheim", &[b'g'; 4000]] {
            let error = file(0o600, bytes).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(matches!(error, Error::NoPassword { .. }) && !shown.contains("geheim"), "{shown}");
        }
        let secret = Password::Text(Secret(Zeroizing::new("geheim".into())));
        assert!(!format!("{secret:?}").contains("geheim"));
        assert_eq!(*read(&secret, Path::new("/")).unwrap(), "geheim");
        let absent = read(&Password::Environment("NO_SUCH_PASSWORD_OF_A_BMC".into()), Path::new("/"));
        assert!(matches!(absent, Err(Error::NoVariable { .. })));
    }
}
