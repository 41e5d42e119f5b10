//! Extended attributes that are stored with their inode.

use crate::format::fields::{u16_at, u32_at};
use crate::format::image::Xattrs;

/// Bytes of the header before an inode's attributes.
pub(super) const HEADER: usize = 12;
/// Namespaces by their numbers in the format (`EROFS_XATTR_INDEX_*`).
const NAMESPACES: [(u8, &str); 3] = [(1, "user."), (4, "trusted."), (6, "security.")];

/// Encodes the attributes that follow an inode; empty if it has none.
///
/// # Errors
/// The name of an attribute for which the format has no room or no namespace.
pub(super) fn encode(xattrs: &Xattrs) -> Result<Vec<u8>, String> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; HEADER];
    for (name, value) in xattrs {
        let space = NAMESPACES.iter().find_map(|(number, space)| Some((*number, name.strip_prefix(space)?)));
        let lengths = space
            .and_then(|(_, short)| Some((u8::try_from(short.len()).ok()?, u16::try_from(value.len()).ok()?)));
        let (Some((number, short)), Some((name_len, value_len))) = (space, lengths) else {
            return Err(name.clone());
        };
        bytes.extend([name_len, number]);
        bytes.extend(value_len.to_le_bytes());
        bytes.extend(short.as_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    Ok(bytes)
}

/// Decodes the attributes that follow an inode. `shared` returns the image's bytes from a shared attribute on, by its
/// number.
pub(super) fn decode<E>(
    bytes: &[u8],
    mut shared: impl FnMut(u32) -> Result<Vec<u8>, E>,
    damaged: impl Fn(&str) -> E,
) -> Result<Xattrs, E> {
    let mut xattrs = Xattrs::new();
    let Some(count) = bytes.get(4) else { return Ok(xattrs) };
    let mut at = HEADER + 4 * usize::from(*count);
    for number in 0..usize::from(*count) {
        let bytes = shared(u32_at(bytes, HEADER + 4 * number))?;
        let (name, value, _) = entry(&bytes).ok_or_else(|| damaged("a shared attribute is cut off"))?;
        xattrs.insert(name, value);
    }
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let (name, value, length) = entry(rest).ok_or_else(|| damaged("an attribute is cut off"))?;
        xattrs.insert(name, value);
        at += length.next_multiple_of(4);
    }
    Ok(xattrs)
}

/// Name, value and length of an attribute. The name is prefixed with its namespace's number if prebake does not know
/// the namespace.
fn entry(bytes: &[u8]) -> Option<(String, Vec<u8>, usize)> {
    let (name_len, number) = (usize::from(*bytes.first()?), *bytes.get(1)?);
    let (end, value_len) = (4 + name_len, usize::from(u16_at(bytes, 2)));
    let short = String::from_utf8_lossy(bytes.get(4..end)?);
    let name = match NAMESPACES.iter().find(|(known, _)| *known == number) {
        Some((_, space)) => format!("{space}{short}"),
        None => format!("{number}:{short}"),
    };
    Some((name, bytes.get(end..end + value_len)?.to_vec(), end + value_len))
}
