//! Inodes in the inode table.
//!
//! Each kind has a basic form and an extended one with wider fields, links and attributes; prebake writes the shortest
//! form that can hold the inode.

use super::Fault;
use super::fields::Fields;
use super::layout::{NONE, Position};

/// Numbers of the basic forms. Directory entries have only these.
pub(crate) mod form {
    /// Directory.
    pub(crate) const DIR: u16 = 1;
    /// Regular file.
    pub(crate) const FILE: u16 = 2;
    /// Symlink.
    pub(crate) const SYMLINK: u16 = 3;
    /// Pipe. Devices have the numbers before it, sockets the one after it.
    pub(crate) const PIPE: u16 = 6;
    /// Difference between the numbers of an extended form and its basic form.
    pub(crate) const EXTENDED: u16 = 7;
}

/// One inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Inode<'t> {
    /// Permission bits.
    pub mode: u16,
    /// Index of the owner in the table of ids.
    pub uid: u16,
    /// Index of the group in the table of ids.
    pub gid: u16,
    /// Modification time, in seconds since 1970.
    pub mtime: u32,
    /// Inode number, from 1.
    pub number: u32,
    /// Number of names; for a directory, the number of its subdirectories plus two.
    pub nlink: u32,
    /// Index of its set of extended attributes, or [`NONE`].
    pub xattr: u32,
    /// Kind, with its data.
    pub body: Body<'t>,
}

/// Kind of an inode, with its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body<'t> {
    /// A directory.
    Dir(Dir<'t>),
    /// A regular file.
    File(File<'t>),
    /// A symlink and its target.
    Symlink(&'t [u8]),
    /// A device, pipe or socket.
    Special {
        /// Whether it is the character device 0:0, with which overlayfs marks removed files.
        whiteout: bool,
    },
}

/// A directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dir<'t> {
    /// Position of its entries.
    pub at: Position,
    /// Length of its entries in bytes.
    pub length: u32,
    /// Number of the parent's inode.
    pub parent: u32,
    /// Number of entries in the index.
    pub indexed: u16,
    /// The encoded index. Empty after reading.
    pub index: &'t [u8],
}

/// A regular file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct File<'t> {
    /// Position of its first block in the image.
    pub start: u64,
    /// Length of the file, in bytes.
    pub size: u64,
    /// Number of zero bytes that are not stored.
    pub sparse: u64,
    /// Index of a fragment block, and the offset in it.
    pub fragment: Option<(u32, u32)>,
    /// Stored sizes of its blocks, four bytes each.
    pub sizes: &'t [u8],
}

/// `.` and `..` count towards the length of a directory, but are not stored.
const DOTS: u32 = 3;

impl<'t> Inode<'t> {
    /// The form's number in directory entries.
    pub(crate) fn form(&self) -> u16 {
        match self.body {
            Body::Dir(_) => form::DIR,
            Body::File(_) => form::FILE,
            Body::Symlink(_) => form::SYMLINK,
            Body::Special { .. } => form::PIPE,
        }
    }

    fn is_extended(&self) -> bool {
        let wide = match &self.body {
            Body::Dir(dir) => dir.indexed > 0 || dir.length + DOTS > u16::MAX.into(),
            Body::File(file) => {
                let wide = |number| number > u64::from(u32::MAX);
                self.nlink > 1 || file.sparse > 0 || wide(file.start) || wide(file.size)
            }
            Body::Symlink(_) | Body::Special { .. } => false,
        };
        wide || self.xattr != NONE
    }

    /// Encodes the inode.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let extended = self.is_extended();
        let mut out = Vec::with_capacity(64);
        let form = self.form() + if extended { form::EXTENDED } else { 0 };
        out.extend([form, self.mode, self.uid, self.gid].iter().flat_map(|number| number.to_le_bytes()));
        let mut put = |numbers: &[u32]| out.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        put(&[self.mtime, self.number]);
        let low = |wide: u64| wide as u32;
        let high = |wide: u64| (wide >> 32) as u32;
        // Two 16-bit numbers, one after the other.
        let pair = |first: u16, second: u16| u32::from(first) | u32::from(second) << 16;
        match &self.body {
            Body::Dir(dir) => {
                let length = dir.length + DOTS;
                if extended {
                    put(&[self.nlink, length, dir.at.block, dir.parent, pair(dir.indexed, dir.at.offset)]);
                    put(&[self.xattr]);
                    out.extend(dir.index);
                } else {
                    put(&[dir.at.block, self.nlink, pair(length as u16, dir.at.offset), dir.parent]);
                }
            }
            Body::File(file) => {
                let (fragment, offset) = file.fragment.unwrap_or((NONE, 0));
                if extended {
                    let wide = [file.start, file.size, file.sparse];
                    put(&wide.map(|number| [low(number), high(number)]).concat());
                    put(&[self.nlink, fragment, offset, self.xattr]);
                } else {
                    put(&[low(file.start), fragment, offset, low(file.size)]);
                }
                out.extend(file.sizes);
            }
            Body::Symlink(target) => {
                put(&[self.nlink, target.len() as u32]);
                out.extend(*target);
                if extended {
                    out.extend(self.xattr.to_le_bytes());
                }
            }
            Body::Special { .. } => put(&[self.nlink]),
        }
        out
    }

    /// Reads the inode at the start of `table`. `block` is the image's block size.
    pub(crate) fn decode(table: &'t [u8], block: u32) -> Result<Self, Fault> {
        let mut fields = Fields(table);
        let [form, mode, uid, gid] = [fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?];
        let [mtime, number] = [fields.u32()?, fields.u32()?];
        let (nlink, xattr, body) = match form.checked_sub(form::EXTENDED) {
            None | Some(0) => Self::basic(form, &mut fields, block)?,
            Some(form) => Self::extended(form, &mut fields, block)?,
        };
        Ok(Inode { mode: mode & 0o7777, uid, gid, mtime, number, nlink, xattr, body })
    }

    fn basic(form: u16, fields: &mut Fields<'t>, block: u32) -> Result<(u32, u32, Body<'t>), Fault> {
        let (nlink, body) = match form {
            form::DIR => {
                let [block, nlink] = [fields.u32()?, fields.u32()?];
                let [length, offset] = [fields.u16()?, fields.u16()?];
                (nlink, dir(length.into(), Position { block, offset }, fields.u32()?)?)
            }
            form::FILE => {
                let [start, index, offset] = [fields.u32()?, fields.u32()?, fields.u32()?];
                let size = fields.u32()?;
                (1, file(start.into(), size.into(), 0, (index, offset), fields, block)?)
            }
            _ => special(form, fields)?,
        };
        Ok((nlink, NONE, body))
    }

    fn extended(form: u16, fields: &mut Fields<'t>, block: u32) -> Result<(u32, u32, Body<'t>), Fault> {
        Ok(match form {
            form::DIR => {
                let [nlink, length, block, parent] =
                    [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
                let [_, offset] = [fields.u16()?, fields.u16()?];
                (nlink, fields.u32()?, dir(length, Position { block, offset }, parent)?)
            }
            form::FILE => {
                let [start, size, sparse] = [fields.u64()?, fields.u64()?, fields.u64()?];
                let [nlink, index, offset, xattr] =
                    [fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?];
                (nlink, xattr, file(start, size, sparse, (index, offset), fields, block)?)
            }
            _ => {
                let (nlink, body) = special(form, fields)?;
                (nlink, fields.u32()?, body)
            }
        })
    }
}

fn dir<'t>(length: u32, at: Position, parent: u32) -> Result<Body<'t>, Fault> {
    let length = length.checked_sub(DOTS).ok_or(Fault::Damaged("a directory has an impossible length"))?;
    Ok(Body::Dir(Dir { at, length, parent, indexed: 0, index: &[] }))
}

fn file<'t>(
    start: u64,
    size: u64,
    sparse: u64,
    (index, offset): (u32, u32),
    fields: &mut Fields<'t>,
    block: u32,
) -> Result<Body<'t>, Fault> {
    let fragment = (index != NONE).then_some((index, offset));
    let block = u64::from(block);
    let blocks = if fragment.is_some() { size / block } else { size.div_ceil(block) };
    // A number too large for memory is too large for the table as well.
    let sizes = fields.bytes(usize::try_from(blocks * 4).unwrap_or(usize::MAX))?;
    Ok(Body::File(File { start, size, sparse, fragment, sizes }))
}

const CHARACTER_DEVICE: u16 = 5;

/// Reads the kinds that begin with the number of links, basic or extended: symlinks (3), devices (4, 5), pipes and
/// sockets (6, 7).
fn special<'t>(form: u16, fields: &mut Fields<'t>) -> Result<(u32, Body<'t>), Fault> {
    let nlink = fields.u32()?;
    let body = match form {
        form::SYMLINK => {
            let length = fields.u32()? as usize;
            // One page, which is the kernel's limit (fs/squashfs/inode.c).
            if length > 4096 {
                return Err(Fault::Damaged("the target of a symlink is longer than Linux allows"));
            }
            Body::Symlink(fields.bytes(length)?)
        }
        4 | 5 => Body::Special { whiteout: fields.u32()? == 0 && form == CHARACTER_DEVICE },
        6 | 7 => Body::Special { whiteout: false },
        _ => return Err(Fault::Damaged("an inode is of an unknown kind")),
    };
    Ok((nlink, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(nlink: u32, xattr: u32, body: Body<'_>) -> Inode<'_> {
        Inode { mode: 0o751, uid: 1, gid: 2, mtime: 3, number: 4, nlink, xattr, body }
    }

    #[test]
    fn inodes_come_back_in_the_shortest_form_that_holds_them() {
        let at = Position { block: 77, offset: 8 };
        let dir = Dir { at, length: 65532, parent: 9, ..Dir::default() };
        let file = File { start: 5, size: 10, sparse: 0, fragment: Some((3, 4)), sizes: &[] };
        let two = [1, 0, 0, 0, 2, 0, 0, 0];
        let blocks = File { size: (1 << 17) + 1, fragment: None, sizes: &two, ..file };
        let cases = [
            (form::DIR, inode(2, NONE, Body::Dir(dir.clone()))),
            (form::DIR + form::EXTENDED, inode(2, NONE, Body::Dir(Dir { length: 65533, ..dir.clone() }))),
            (form::DIR + form::EXTENDED, inode(2, 6, Body::Dir(dir))),
            (form::FILE, inode(1, NONE, Body::File(file.clone()))),
            (form::FILE, inode(1, NONE, Body::File(blocks.clone()))),
            (form::FILE + form::EXTENDED, inode(2, NONE, Body::File(blocks))),
            (
                form::FILE + form::EXTENDED,
                inode(1, NONE, Body::File(File { start: 1 << 32, ..file.clone() })),
            ),
            (form::FILE + form::EXTENDED, inode(1, 0, Body::File(file))),
            (form::SYMLINK, inode(2, NONE, Body::Symlink(b"target"))),
            (form::SYMLINK + form::EXTENDED, inode(1, 0, Body::Symlink(b"target"))),
            (form::PIPE, inode(1, NONE, Body::Special { whiteout: false })),
        ];
        for (form, inode) in cases {
            let bytes = inode.encode();
            assert_eq!(u16::from_le_bytes([bytes[0], bytes[1]]), form, "{inode:?}");
            assert_eq!(Inode::decode(&bytes, 1 << 17).unwrap(), inode);
            assert!(Inode::decode(&bytes[..bytes.len() - 1], 1 << 17).is_err(), "{inode:?}");
        }
    }
}
