//! Extended attributes: sets of names and values, to which inodes refer by number.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::Fault;
use super::codec::Encoder;
use super::fields::Fields;
use super::layout::{NO_TABLE, Position};
use super::metadata::{Reader, Table, Writer};
use crate::format::image::Xattrs;
use crate::format::tree::Tree;

/// Namespaces, which are stored as numbers. The format has no others.
const NAMESPACES: [&str; 3] = ["user.", "trusted.", "security."];
/// Flag in a namespace's number: the value is a reference to an equal one stored elsewhere.
const ELSEWHERE: u16 = 0x100;
/// Linux' longest name and longest value (include/uapi/linux/limits.h).
const MAX_NAME: usize = 255;
const MAX_VALUE: usize = 65536;
/// Most memory for the attributes of an untrusted image, and the overhead of a set or an attribute beside its bytes.
const MEMORY: usize = 32 << 20;
const OVERHEAD: usize = 64;

/// The reason why an attribute cannot be stored; `None` if it can.
pub(crate) fn fault(name: &str, value: &[u8]) -> Option<&'static str> {
    match split(name) {
        None => Some("its namespace is not one of user, trusted and security"),
        Some((_, "")) => Some("it has only a namespace"),
        _ if name.len() > MAX_NAME || name.contains('\0') => {
            Some("Linux allows names of 255 bytes without NUL")
        }
        _ if value.len() > MAX_VALUE => Some("Linux allows values of 64 KiB"),
        _ => None,
    }
}

fn split(name: &str) -> Option<(u16, &str)> {
    let numbered = (0..).zip(NAMESPACES);
    numbered.into_iter().find_map(|(number, space)| Some((number, name.strip_prefix(space)?)))
}

/// The distinct sets of a tree, each with a number.
#[derive(Default)]
pub(crate) struct Sets<'t>(BTreeMap<&'t Xattrs, u32>);

impl<'t> Sets<'t> {
    /// All sets of a tree in the order of their first entries.
    pub(crate) fn of(tree: &'t Tree) -> Self {
        let mut sets = BTreeMap::new();
        for (_, entry) in tree.iter().filter(|(_, entry)| !entry.xattrs.is_empty()) {
            let next = sets.len() as u32;
            sets.entry(&entry.xattrs).or_insert(next);
        }
        Sets(sets)
    }

    /// Whether there are no sets.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of a set; `None` for an empty one.
    pub(crate) fn number(&self, set: &Xattrs) -> Option<u32> {
        self.0.get(set).copied()
    }

    /// The tables for an image in which they start at `at`, and the position for the superblock. The kernel requires
    /// the values first, then the table of sets, then its head and index at the end of the image.
    pub(crate) fn encode(&self, at: u64, encoder: &mut Encoder) -> io::Result<(Vec<u8>, u64)> {
        let mut values = Writer::new(encoder);
        let mut numbered: Vec<_> = self.0.iter().map(|(set, number)| (*number, *set)).collect();
        numbered.sort();
        let mut sets = Vec::new();
        for (_, set) in &numbered {
            let position = values.position();
            let mut bytes = Vec::new();
            for (name, value) in *set {
                // `fault` has refused names without a namespace.
                let (space, rest) = split(name).unwrap_or_default();
                bytes.extend(space.to_le_bytes());
                bytes.extend((rest.len() as u16).to_le_bytes());
                bytes.extend(rest.as_bytes());
                bytes.extend((value.len() as u32).to_le_bytes());
                bytes.extend(value);
            }
            values.write(&bytes)?;
            sets.extend(u64::from(position).to_le_bytes());
            sets.extend((set.len() as u32).to_le_bytes());
            sets.extend((bytes.len() as u32).to_le_bytes());
        }
        let mut out = values.finish()?;
        let mut table = Writer::new(encoder);
        table.write(&sets)?;
        let (stored, index) = table.finish_indexed(at + out.len() as u64)?;
        let blocks = index - at - out.len() as u64;
        let (stored, starts) = stored.split_at(blocks as usize);
        out.extend(stored);
        out.extend(at.to_le_bytes());
        out.extend((numbered.len() as u32).to_le_bytes());
        out.extend([0; 4]);
        out.extend(starts);
        Ok((out, index))
    }
}

/// Reads all sets of an image.
pub(crate) fn read(reader: &mut Reader<'_>, table: u64) -> Result<Vec<Arc<Xattrs>>, Fault> {
    if table == NO_TABLE {
        return Ok(Vec::new());
    }
    let mut head = Vec::new();
    reader.source.read(table, 16, &mut head)?;
    let mut head = Fields(&head);
    let [start, count] = [head.u64()?, u64::from(head.u32()?)];
    if count == 0 {
        return Ok(Vec::new());
    }
    let (sets, end) = reader.indexed(table.saturating_add(16), count * 16)?;
    let values = reader.table(start, end)?;
    let mut sets = Fields(&sets);
    let mut left = MEMORY;
    let mut read = Vec::new();
    for _ in 0..count {
        let [position, count] = [sets.u64()?, u64::from(sets.u32()?)];
        sets.u32()?;
        spend(&mut left, 0)?;
        let mut fields = Fields(&values.bytes[values.find(position.into())?..]);
        let mut set = Xattrs::new();
        for _ in 0..count {
            let (name, value) = attribute(&mut fields, &values)?;
            spend(&mut left, name.len() + value.len())?;
            if set.insert(name, value.to_vec()).is_some() {
                return Err(Fault::Damaged("an extended attribute occurs twice"));
            }
        }
        read.push(Arc::new(set));
    }
    Ok(read)
}

fn spend(left: &mut usize, bytes: usize) -> Result<(), Fault> {
    let limit = || Fault::Limit { what: "memory for its extended attributes".into(), limit: MEMORY as u64 };
    *left = left.checked_sub(bytes + OVERHEAD).ok_or_else(limit)?;
    Ok(())
}

fn attribute<'t>(fields: &mut Fields<'t>, values: &'t Table) -> Result<(String, &'t [u8]), Fault> {
    const WRONG: Fault = Fault::Damaged("an extended attribute has an unknown namespace");
    let kind = fields.u16()?;
    let length = fields.u16()?.into();
    let name = String::from_utf8_lossy(fields.bytes(length)?);
    let space = NAMESPACES.get(usize::from(kind & !ELSEWHERE)).ok_or(WRONG)?;
    let mut value = fields.u32()? as usize;
    if kind & ELSEWHERE == 0 {
        return Ok((format!("{space}{name}"), within(value, fields)?));
    }
    let position = Position::from(fields.u64()?);
    let mut there = Fields(&values.bytes[values.find(position)?..]);
    value = there.u32()? as usize;
    Ok((format!("{space}{name}"), within(value, &mut there)?))
}

fn within<'t>(length: usize, fields: &mut Fields<'t>) -> Result<&'t [u8], Fault> {
    if length > MAX_VALUE {
        return Err(Fault::Damaged("an extended attribute is longer than Linux allows"));
    }
    fields.bytes(length)
}
