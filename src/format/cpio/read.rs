//! Reading one archive, member by member.

use std::io::{self, Read, Seek, SeekFrom};

use super::{Error, HEADER, TRAILER, TYPE_DIR, TYPE_FILE, TYPE_MASK, TYPE_SYMLINK, padded};

/// Limits for reading an untrusted archive.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most members.
    pub members: usize,
    /// Longest name or link target in bytes.
    pub name: u32,
}

impl Default for Limits {
    /// A million members (Flatcar's dracut initrds have some thousands), and names up to Linux' `PATH_MAX`.
    fn default() -> Self {
        Limits { members: 1_000_000, name: 4096 }
    }
}

/// One member of an archive, as its header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name as written; an untrusted archive may begin it with `./` or `/`. Bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The name byte for byte: the kernel accepts any byte but zero.
    pub name: Vec<u8>,
    /// Type and permission bits, as in `stat`.
    pub mode: u32,
    /// Modification time, in seconds since 1970.
    pub mtime: u32,
    /// Length of the body in bytes.
    pub size: u32,
    /// Offset of the body, from the start of the archive.
    pub offset: u64,
    /// A symlink's target. Bytes that are not UTF-8 are replaced.
    pub link: Option<String>,
    /// The target byte for byte; empty for other members.
    pub target: Vec<u8>,
    /// Members of one archive with more than one link and the same pair here are one file.
    pub inode: (u64, u32),
    /// Number of links to the file.
    pub nlink: u32,
    /// Major and minor number of a device.
    pub device: (u32, u32),
}

impl Member {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.mode & TYPE_MASK == TYPE_DIR
    }

    /// Whether it is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.mode & TYPE_MASK == TYPE_FILE
    }
}

/// The members of one archive.
#[derive(Debug)]
pub struct Listing {
    /// Members in the archive's order.
    pub members: Vec<Member>,
    /// Bytes of the archive including its trailer; padding or the next archive follows.
    pub length: u64,
}

/// A source of bytes that can skip some.
pub trait Skip: Read {
    /// Skips this many bytes. The end of the source may be noticed only at the next read.
    fn skip(&mut self, count: u64) -> io::Result<()>;
}

/// Skips by reading.
pub struct Streamed<R>(pub R);

/// Skips by seeking, so that of a large file only headers are read.
pub struct Seekable<R>(pub R);

impl<R: Read> Read for Streamed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read> Skip for Streamed<R> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        match io::copy(&mut (&mut self.0).take(count), &mut io::sink())? {
            copied if copied == count => Ok(()),
            _ => Err(cut_off()),
        }
    }
}

impl<R: Read> Read for Seekable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl<R: Read + Seek> Skip for Seekable<R> {
    fn skip(&mut self, count: u64) -> io::Result<()> {
        // A body has fewer than 2^32 bytes.
        self.0.seek(SeekFrom::Current(count as i64)).map(drop)
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the body is cut off")
}

/// Reads one uncompressed archive up to the end of its trailer and no further.
pub struct Reader<'r, R> {
    subject: &'r str,
    from: R,
    limits: Limits,
    /// Offset of the next byte, from the start of the archive.
    offset: u64,
    /// Unread bytes of the last member's body; its padding follows.
    left: u64,
    padding: u64,
    members: usize,
}

impl<'r, R: Skip> Reader<'r, R> {
    /// Starts at the first header. `subject` names the archive in errors.
    pub(crate) fn new(subject: &'r str, from: R, limits: Limits) -> Self {
        Reader { subject, from, limits, offset: 0, left: 0, padding: 0, members: 0 }
    }

    /// Bytes of the archive read so far; its whole length once all members are read.
    pub fn length(&self) -> u64 {
        self.offset
    }

    /// The next member, after skipping the rest of the previous one; `None` at the trailer.
    pub(crate) fn next_member(&mut self) -> Result<Option<Member>, Error> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        let start = self.offset;
        let (subject, limits) = (self.subject, self.limits);
        let damaged = |source| Error::Damaged { subject: subject.into(), offset: start, source };
        let limit = |what, limit| Error::Limit { subject: subject.into(), offset: start, what, limit };
        self.from.skip(rest).map_err(damaged)?;
        let mut header = vec![0; HEADER as usize];
        self.from.read_exact(&mut header).map_err(damaged)?;
        let fields = Fields::parse(&header).map_err(damaged)?;
        if fields.name_length > limits.name {
            return Err(limit("the name", limits.name.into()));
        }
        let body = padded(HEADER + u64::from(fields.name_length));
        header.resize(body as usize, 0);
        self.from.read_exact(&mut header[HEADER as usize..]).map_err(damaged)?;
        let name = fields.name(&header).map_err(damaged)?;
        self.offset += body;
        if name == TRAILER.as_bytes() {
            return Ok(None);
        }
        self.members += 1;
        if self.members > limits.members {
            return Err(limit("the number", limits.members as u64));
        }
        let mut member = Member {
            path: String::from_utf8_lossy(name).into_owned(),
            name: name.to_owned(),
            mode: fields.mode,
            mtime: fields.mtime,
            size: fields.size,
            offset: self.offset,
            link: None,
            target: Vec::new(),
            inode: (u64::from(fields.device.0) << 32 | u64::from(fields.device.1), fields.inode),
            nlink: fields.links,
            device: fields.rdevice,
        };
        let size = u64::from(member.size);
        (self.left, self.padding) = (size, padded(size) - size);
        self.offset += padded(size);
        if member.mode & TYPE_MASK == TYPE_SYMLINK {
            if member.size > limits.name {
                return Err(limit("the link target", limits.name.into()));
            }
            let mut target = Vec::new();
            self.body().read_to_end(&mut target).map_err(damaged)?;
            member.link = Some(String::from_utf8_lossy(&target).into_owned());
            member.target = target;
        }
        Ok(Some(member))
    }

    /// The unread rest of the last member's body.
    pub(crate) fn body(&mut self) -> impl Read {
        Body { from: &mut self.from, left: &mut self.left }
    }
}

struct Body<'b, R> {
    from: &'b mut R,
    left: &'b mut u64,
}

impl<R: Read> Read for Body<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = (*self.left).min(buffer.len() as u64) as usize;
        let read = self.from.read(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(cut_off());
        }
        *self.left -= read as u64;
        Ok(read)
    }
}

/// Lists the members of one uncompressed archive, reading `from` up to the end of its trailer. `subject` names it in
/// errors.
pub fn list(subject: &str, from: &mut impl Read, limits: Limits) -> Result<Listing, Error> {
    let mut reader = Reader::new(subject, Streamed(from), limits);
    let mut members = Vec::new();
    while let Some(member) = reader.next_member()? {
        members.push(member);
    }
    Ok(Listing { members, length: reader.length() })
}

/// The numbers in a header, each of eight hexadecimal digits, after the magic (Linux, `parse_header`).
struct Fields {
    inode: u32,
    mode: u32,
    links: u32,
    mtime: u32,
    size: u32,
    device: (u32, u32),
    rdevice: (u32, u32),
    /// Includes the final zero.
    name_length: u32,
}

impl Fields {
    fn parse(header: &[u8]) -> io::Result<Self> {
        let invalid = || io::Error::new(io::ErrorKind::InvalidData, "not a newc header");
        if !super::MAGICS.iter().any(|magic| header.starts_with(magic)) {
            return Err(invalid());
        }
        let mut numbers = [0; 12];
        for (number, digits) in numbers.iter_mut().zip(header[super::MAGICS[0].len()..].chunks(8)) {
            let digits = std::str::from_utf8(digits).map_err(|_| invalid())?;
            *number = u32::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        // User and group follow the mode.
        let [inode, mode, _, _, links, mtime, size, major, minor, rmajor, rminor, name_length] = numbers;
        let (device, rdevice) = ((major, minor), (rmajor, rminor));
        Ok(Fields { inode, mode, links, mtime, size, device, rdevice, name_length })
    }

    /// The name, which follows the header in these bytes.
    fn name<'h>(&self, header: &'h [u8]) -> io::Result<&'h [u8]> {
        let bytes = header.get(HEADER as usize..).and_then(|name| name.get(..self.name_length as usize));
        match bytes.and_then(|bytes| bytes.split_last()) {
            // dracut-cpio pads names with more zeros, to align data for sharing of blocks (dracut, `src/dracut-cpio`).
            Some((0, name)) => Ok(name.split(|byte| *byte == 0).next().unwrap_or_default()),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "a name does not end with a zero")),
        }
    }
}
