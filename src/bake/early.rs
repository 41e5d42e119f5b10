//! Early initrds: the user's files that the kernel unpacks before Flatcar's own, such as CPU microcode.
//!
//! The kernel takes microcode only out of an uncompressed cpio that comes first (Documentation/arch/x86/microcode.rst).

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::Path;

use crate::bake::recipe::Recipe;
use crate::base::digest::Object;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::{Finding, Findings};
use crate::base::size::Bytes;
use crate::base::yaml::decode::Spanned;
use crate::initrd::{self, inject};
use crate::store::Store;

/// Upper limit in bytes; larger files belong in a layer or a sysext. All microcode of one vendor is some 15 MB.
const MAX_BYTES: u64 = 64 << 20;

/// Reason why a file cannot be an early initrd.
#[derive(Debug, thiserror::Error)]
#[error("{path} {why}")]
pub(crate) struct Error {
    path: String,
    why: String,
    hint: Option<String>,
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

/// Reads an early initrd, padded with zeros to a multiple of four bytes, since not every loader pads before the next
/// initrd.
///
/// # Errors
/// The file cannot be read, is too large, is not an initrd, or would stop the kernel before it reaches Flatcar's own.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let error = |why: String| Error { path: path.display().to_string(), why, hint: None };
    let length = fs::metadata(path).map_err(|why| error(format!("cannot be read: {why}")))?.len();
    if length > MAX_BYTES {
        return Err(error(format!(
            "has {length} bytes; the limit for an early initrd is {}",
            Bytes(MAX_BYTES)
        )));
    }
    let mut bytes = fs::read(path).map_err(|why| error(format!("cannot be read: {why}")))?;
    match inject::walk("it", Cursor::new(&bytes)) {
        // The kernel may be able to unpack an archive that prebake cannot.
        Ok(()) | Err(initrd::Error::Unreadable { .. }) => {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            Ok(bytes)
        }
        Err(why) => {
            let hint = why.hint();
            let why = match why {
                initrd::Error::Foreign { why, .. } => {
                    format!("is neither a cpio archive nor a compressed one: {why}")
                }
                why => {
                    let chain = crate::base::error::Error::from(why).chain().join(": ");
                    format!("would keep the kernel from everything after it: {chain}")
                }
            };
            Err(Error { hint, ..error(why) })
        }
    }
}

/// Reads all early initrds of a recipe, by file name.
///
/// # Errors
/// A finding for each that cannot be used, at the place that names it.
pub(crate) fn read_all(recipe: &Recipe) -> Result<BTreeMap<String, Vec<u8>>, Findings> {
    let mut initrds = BTreeMap::new();
    let mut findings = Vec::new();
    for path in recipe.profiles.values().flat_map(|profile| &profile.early_initrds) {
        match read(&path.value) {
            Ok(bytes) => drop(initrds.insert(file_name(path), bytes)),
            Err(error) => {
                let finding = Finding::error(error.to_string()).at(path.place.clone());
                findings.push(match error.hint() {
                    Some(hint) => finding.hint(hint),
                    None => finding,
                });
            }
        }
    }
    Ok(Findings::settle(findings, initrds)?.0)
}

/// Puts all early initrds of a recipe into the store, by file name.
///
/// # Errors
/// As [`read_all`], or a failed write to the store.
pub(crate) fn admit(recipe: &Recipe, store: &Store) -> Result<BTreeMap<String, Object>> {
    let put = |(name, bytes): (String, Vec<u8>)| Ok((name, store.put(&bytes)?));
    read_all(recipe)?.into_iter().map(put).collect()
}

/// File name of an early initrd in the tree.
pub(crate) fn file_name(path: &Spanned<std::path::PathBuf>) -> String {
    path.value.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
