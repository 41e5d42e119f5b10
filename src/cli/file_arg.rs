//! A file that an option puts somewhere: `PATH=SOURCE[:MODE]`.
//!
//! Owns the form. Leaves what the path means to the verb.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::format::tree::PLAIN;

/// `motd=here/motd:0600`
#[derive(Clone)]
pub(crate) struct FileArg {
    /// The path that it gets, as it was given.
    pub path: String,
    /// The file on this machine.
    pub from: PathBuf,
    /// Permission bits.
    pub mode: u16,
}

impl FromStr for FileArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, from) = text.split_once('=').ok_or("PATH=SOURCE was expected")?;
        let mode = from.rsplit_once(':').and_then(|(from, digits)| {
            let octal = (3..=4).contains(&digits.len()) && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
            Some((from, u16::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777)?))
        });
        if mode.is_none()
            && let Some((file, digits)) = from.rsplit_once(':')
            && Path::new(file).exists()
            && !Path::new(from).exists()
        {
            return Err(format!("`{digits}` is not a mode of three or four octal digits, such as 0644"));
        }
        let (from, mode) = mode.unwrap_or((from, PLAIN));
        Ok(FileArg { path: path.to_owned(), from: from.into(), mode })
    }
}
