//! VMware's disks as a stream, VMDK `streamOptimized`.
//!
//! Owns the bytes of the container, after VMware's "Virtual Disk Format 5.0". Written images have version 3, because
//! ESXi refuses older ones; they are written without going back, so they can be piped. Leaves the machine around the
//! disk to `ova`. Images whose data are not compressed, or in other files, are not read.
//!
//! An image is a header, a description, grains of 64 KiB with their tables among them, the directory of tables, a
//! footer, which is the header with the directory's place, and a sector of zeros.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use sha2::{Digest, Sha256};

use super::cutter::{Cut, Cutter, Pieced};
use super::ordered::Ordered;
use super::pieces::{Piece, Pieces, Window};
use super::{Error, Format, check_end};
use crate::format::fields::{u32_at, u64_at};
use crate::format::sparse::{Sink, is_zero};

/// Part of step keys; raised when the bytes for the same disk change.
pub(crate) const REVISION: u32 = 1;

/// Unit of the format's numbers, in bytes.
const SECTOR: u64 = 512;
/// Sectors of a written grain, and offset of the first one.
const GRAIN: u64 = 128;
/// Grains of a table.
const PER_TABLE: u64 = 512;
/// Sectors of a table.
const TABLE: u64 = PER_TABLE * 4 / SECTOR;
/// Sectors of the description.
const TEXT: usize = 2;
/// First number of a header: `KDMV`.
const MAGIC: u32 = 0x564d_444b;
/// Flags: line ends are recorded, grains are compressed, and there are markers.
const FLAGS: u32 = 0x0003_0001;
/// Offset of a directory that stands at the end, where the footer tells its place.
const AT_END: u64 = u64::MAX;
/// Bytes before a compressed grain: its first sector, and its length.
const GRAIN_HEADER: u64 = 12;

/// Kinds of markers.
#[derive(Clone, Copy)]
enum Marker {
    Table = 1,
    Directory = 2,
    Footer = 3,
}

/// Writes an image of a disk that is handed to it front to back.
pub struct Writer<W> {
    out: W,
    /// Offset in the image, in sectors.
    at: u64,
    cutter: Cutter,
    grains: Ordered<Grain>,
    spare: Vec<Vec<u8>>,
    /// Offsets of tables, in sectors; 0 for those of zeros.
    directory: Vec<u32>,
    /// The table of the present grains and its number.
    table: Vec<u32>,
    number: u64,
    length: u64,
}

/// A grain on its way to a thread and back; `packed` stays empty for zeros.
struct Grain {
    number: u64,
    raw: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins an image of `length` bytes, rounded up to a whole number of sectors, named `name`. `identity` becomes the
    /// content's number, by which VMware tells changed disks.
    ///
    /// # Errors
    /// The disk is too long, the output cannot be written, or a thread not be started.
    pub fn new(
        mut out: W,
        length: u64,
        name: &str,
        identity: &[u8; 16],
        level: u32,
        threads: NonZeroUsize,
    ) -> io::Result<Self> {
        let sectors = length.div_ceil(SECTOR);
        let tables = sectors.div_ceil(GRAIN * PER_TABLE);
        // Offsets are numbers of sectors, of 32 bits; VMware's own tools end at 2 TiB less a little.
        if sectors > u64::from(u32::MAX) {
            let why = format!("it ends at 2 TiB, and the disk has {length} bytes");
            return Err(Error::Unfit { format: Format::Vmdk, why }.into());
        }
        let grains = Ordered::new(threads, || {
            let mut zlib = Compress::new(Compression::new(level.min(9)), true);
            Ok(move |grain: &mut Grain| encode(&mut zlib, grain))
        })?;
        let text = description(sectors, name, identity);
        out.write_all(&header(sectors, AT_END))?;
        out.write_all(&text)?;
        out.write_all(&vec![0; (GRAIN * SECTOR) as usize - SECTOR as usize - text.len()])?;
        Ok(Writer {
            out,
            at: GRAIN,
            cutter: Cutter::new((GRAIN * SECTOR) as usize),
            grains,
            spare: Vec::new(),
            directory: vec![0; tables as usize],
            table: vec![0; PER_TABLE as usize],
            number: 0,
            length,
        })
    }

    /// Ends the image. The disk must be complete. Returns the output.
    ///
    /// # Errors
    /// The disk is shorter than announced, or the output cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        check_end(self.cutter.length(), self.length)?;
        if let Some(cut) = self.cutter.finish() {
            self.cut(cut)?;
        }
        while let Some(grain) = self.grains.next() {
            self.store(grain?)?;
        }
        self.end_table()?;
        let mut directory: Vec<u8> = self.directory.iter().flat_map(|at| at.to_le_bytes()).collect();
        directory.resize(directory.len().next_multiple_of(SECTOR as usize), 0);
        let sectors = directory.len() as u64 / SECTOR;
        self.marker(sectors, Marker::Directory)?;
        let directory_at = self.at;
        self.out.write_all(&directory)?;
        self.at += sectors;
        self.marker(1, Marker::Footer)?;
        self.out.write_all(&header(self.length.div_ceil(SECTOR), directory_at))?;
        self.out.write_all(&[0; SECTOR as usize])?; // end of the stream
        self.out.flush()?;
        Ok(self.out)
    }

    fn store(&mut self, grain: Grain) -> io::Result<()> {
        if !grain.packed.is_empty() {
            if grain.number / PER_TABLE != self.number {
                self.end_table()?;
                self.number = grain.number / PER_TABLE;
            }
            self.table[(grain.number % PER_TABLE) as usize] = self.offset()?;
            self.out.write_all(&grain.packed)?;
            self.at += grain.packed.len() as u64 / SECTOR;
        }
        self.cutter.recycle(grain.raw);
        self.spare.push(grain.packed);
        Ok(())
    }

    /// Writes the present table, if it has any entry.
    fn end_table(&mut self) -> io::Result<()> {
        if self.table.iter().all(|at| *at == 0) {
            return Ok(());
        }
        self.marker(TABLE, Marker::Table)?;
        let at = self.offset()?;
        // A disk that is longer than announced is refused at its end.
        if let Some(entry) = self.directory.get_mut(self.number as usize) {
            *entry = at;
        }
        let table: Vec<u8> = self.table.iter().flat_map(|at| at.to_le_bytes()).collect();
        self.out.write_all(&table)?;
        self.at += TABLE;
        self.table.fill(0);
        Ok(())
    }

    fn marker(&mut self, sectors: u64, kind: Marker) -> io::Result<()> {
        let mut marker = [0; SECTOR as usize];
        marker[..8].copy_from_slice(&sectors.to_le_bytes());
        marker[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
        self.at += 1;
        self.out.write_all(&marker)
    }

    /// The present offset, as tables hold it.
    fn offset(&self) -> io::Result<u32> {
        u32::try_from(self.at).map_err(|_| {
            let why = "the compressed image ends at 2 TiB".to_owned();
            Error::Unfit { format: Format::Vmdk, why }.into()
        })
    }
}

impl<W: Write> Pieced for Writer<W> {
    fn cutter(&mut self) -> &mut Cutter {
        &mut self.cutter
    }

    fn cut(&mut self, cut: Cut) -> io::Result<()> {
        // Zeros have no entry.
        let Cut::Data(number, mut raw) = cut else { return Ok(()) };
        raw.resize((GRAIN * SECTOR) as usize, 0);
        let packed = self.spare.pop().unwrap_or_default();
        let done = self.grains.push(Grain { number, raw, packed });
        done.map_or(Ok(()), |grain| self.store(grain?))
    }
}

impl<W: Write> Sink for Writer<W> {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.cut_data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.cut_zeros(length)
    }
}

/// Makes a compressed grain with its header, padded to whole sectors; nothing of zeros.
fn encode(zlib: &mut Compress, grain: &mut Grain) -> io::Result<()> {
    let Grain { number, raw, packed } = grain;
    packed.clear();
    if is_zero(raw) {
        return Ok(());
    }
    packed.extend((*number * GRAIN).to_le_bytes());
    packed.extend([0; 4]);
    zlib.reset();
    // Stored blocks of what cannot be compressed need a little more than the grain.
    packed.reserve(raw.len() + raw.len() / 8 + 64);
    if zlib.compress_vec(raw, packed, FlushCompress::Finish)? != Status::StreamEnd {
        return Err(io::Error::other("zlib made a grain much longer"));
    }
    let length = (zlib.total_out() as u32).to_le_bytes();
    packed[8..12].copy_from_slice(&length);
    packed.resize(packed.len().next_multiple_of(SECTOR as usize), 0);
    Ok(())
}

/// The header, or the footer, with the directory's offset in sectors.
fn header(sectors: u64, directory: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(SECTOR as usize);
    header.extend(MAGIC.to_le_bytes());
    header.extend(3_u32.to_le_bytes());
    header.extend(FLAGS.to_le_bytes());
    header.extend([sectors, GRAIN, 1, TEXT as u64].iter().flat_map(|number| number.to_le_bytes()));
    header.extend((PER_TABLE as u32).to_le_bytes());
    header.extend([0, directory, GRAIN].iter().flat_map(|number| number.to_le_bytes()));
    // Not in use by a machine; line ends by which damage in transit would show; deflate.
    header.extend(b"\0\n \r\n\x01\0");
    header.resize(SECTOR as usize, 0);
    header
}

/// The description of the disk, padded to whole sectors.
fn description(sectors: u64, name: &str, identity: &[u8; 16]) -> Vec<u8> {
    let digest = Sha256::digest(identity);
    // All bits and all but one are reserved (`CID_NOPARENT`).
    let content = digest[..4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte)).min(0xffff_fff0);
    let cylinders = (sectors / (255 * 63)).min(65535);
    let name: String = name.chars().filter(|char| !char.is_control() && *char != '"').take(200).collect();
    let mut text = format!(
        "# Disk DescriptorFile\nversion=1\nCID={content:08x}\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\n\
         # Extent description\nRDONLY {sectors} SPARSE \"{name}.vmdk\"\n\n\
         # The Disk Data Base\n#DDB\n\n\
         ddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"255\"\nddb.geometry.sectors = \"63\"\n\
         ddb.virtualHWVersion = \"13\"\n"
    )
    .into_bytes();
    text.resize(TEXT * SECTOR as usize, 0);
    text
}

/// Most bytes of tables that are read.
const MOST_TABLES: u64 = 64 << 20;

/// An opened image.
#[derive(Debug)]
pub struct Image {
    file: Window,
    name: String,
    /// Length of the disk, in bytes.
    length: u64,
    /// Length of the file, in bytes.
    file_length: u64,
    /// Length of a grain, in bytes.
    grain: u64,
    per_table: u64,
    /// Tables of the grains' offsets in sectors.
    tables: Vec<Option<Box<[u32]>>>,
}

impl Image {
    /// Opens the image `name`: reads its tables and checks that they lie in the file and share nothing.
    ///
    /// # Errors
    /// The file cannot be read, is not an intact image, has features that prebake does not read, or exceeds a limit.
    pub fn open(file: Arc<File>, name: &str) -> Result<Self, Error> {
        let length = super::length_of(&file).map_err(|source| Error::read(name, source))?;
        Self::of_window(Window::new(file, 0, length), name)
    }

    /// Opens an image that is a part of a file.
    ///
    /// # Errors
    /// Those of [`Image::open`].
    pub fn of_window(file: Window, name: &str) -> Result<Self, Error> {
        let read_error = |source| Error::read(name, source);
        let feature = |what: &str| Error::Feature { subject: name.to_owned(), what: what.to_owned() };
        let damaged = |why: &str| Error::Damaged { subject: name.to_owned(), why: why.to_owned() };
        let file_length = file.length();
        let mut header = [0; SECTOR as usize];
        if file_length < 3 * SECTOR {
            return Err(damaged("it is shorter than its header and footer"));
        }
        file.read_exact_at(&mut header, 0).map_err(read_error)?;
        if u64_at(&header, 56) == AT_END {
            file.read_exact_at(&mut header, (file_length / SECTOR - 2) * SECTOR).map_err(read_error)?;
        }
        if u32_at(&header, 0) != MAGIC {
            return Err(damaged("its header or footer is missing"));
        }
        if header[73..77] != *b"\n \r\n" {
            return Err(damaged("its line ends were changed in transit"));
        }
        let (version, flags, algorithm) = (u32_at(&header, 4), u32_at(&header, 8), header[77]);
        if !(1..=3).contains(&version) || flags & 0x1_0000 == 0 || algorithm != 1 {
            return Err(feature("a VMDK other than streamOptimized"));
        }
        let (sectors, grain, per_table) = (u64_at(&header, 12), u64_at(&header, 20), u32_at(&header, 44));
        if !grain.is_power_of_two() || !(8..=2048).contains(&grain) || !(1..=4096).contains(&per_table) {
            return Err(damaged("the lengths of its grains and tables make no sense"));
        }
        let per_table = u64::from(per_table);
        let length = sectors.checked_mul(SECTOR).filter(|length| *length <= u64::from(u32::MAX) * SECTOR);
        let length = length.ok_or_else(|| damaged("its disk is longer than 2 TiB"))?;
        let grain = grain * SECTOR;
        let mut image =
            Image { file, name: name.to_owned(), length, file_length, grain, per_table, tables: Vec::new() };
        image.read_tables(u64_at(&header, 56))?;
        Ok(image)
    }

    fn read_tables(&mut self, directory: u64) -> Result<(), Error> {
        let tables = self.length.div_ceil(self.grain).div_ceil(self.per_table);
        let directory = self.table(directory, tables)?;
        let count = directory.iter().filter(|at| **at != 0).count() as u64;
        if count * self.per_table * 4 > MOST_TABLES {
            let what = "the length of its tables".to_owned();
            return Err(Error::Limit { subject: self.name.clone(), what, limit: MOST_TABLES });
        }
        let mut seen = HashSet::new();
        for at in directory {
            let table = match at {
                0 => None,
                at => Some(self.table(at.into(), self.per_table)?.into_boxed_slice()),
            };
            for at in table.iter().flatten().chain([&at]).filter(|at| **at > 1) {
                if u64::from(*at) * SECTOR >= self.file_length || !seen.insert(*at) {
                    return Err(
                        self.damaged(format!("two grains or tables overlap at sector {at}, or lie outside"))
                    );
                }
            }
            self.tables.push(table);
        }
        Ok(())
    }

    /// Reads a table that begins at a sector.
    fn table(&self, at: u64, entries: u64) -> Result<Vec<u32>, Error> {
        let start = at.checked_mul(SECTOR).filter(|start| {
            start
                .checked_add(entries * 4)
                .is_some_and(|end| end <= self.file_length && entries * 4 <= MOST_TABLES)
        });
        let start =
            start.ok_or_else(|| self.damaged(format!("the table at sector {at} is not in the file")))?;
        let mut bytes = vec![0; entries as usize * 4];
        self.file.read_exact_at(&mut bytes, start).map_err(|error| Error::read(&self.name, error))?;
        Ok(bytes.chunks_exact(4).map(|bytes| u32_at(bytes, 0)).collect())
    }

    /// Offset of a grain in bytes; `None` for zeros. 1 marks a grain of zeros, too.
    fn grain(&self, number: u64) -> Option<u64> {
        let table = self.tables.get((number / self.per_table) as usize)?.as_ref()?;
        let at = *table.get((number % self.per_table) as usize)?;
        (at > 1).then_some(u64::from(at) * SECTOR)
    }

    fn damaged(&self, why: String) -> Error {
        Error::Damaged { subject: self.name.clone(), why }
    }
}

impl Pieces for Image {
    type Decoder = (Decompress, Vec<u8>);

    fn length(&self) -> u64 {
        self.length
    }

    fn decoder(&self) -> io::Result<Self::Decoder> {
        Ok((Decompress::new(true), Vec::new()))
    }

    fn piece(&self, offset: u64) -> Piece {
        let number = offset / self.grain;
        let grains = match self.tables.get((number / self.per_table) as usize) {
            Some(None) => self.per_table - number % self.per_table,
            _ => 1,
        };
        let start = number * self.grain;
        let end = (start + grains * self.grain).min(self.length);
        Piece { start, end, zeros: self.grain(number).is_none() }
    }

    fn decode(&self, start: u64, decoder: &mut Self::Decoder, bytes: &mut Vec<u8>) -> io::Result<()> {
        let (zlib, packed) = decoder;
        bytes.resize(self.grain as usize, 0);
        if let Some(at) = self.grain(start / self.grain) {
            let damaged = |why: &str| self.damaged(format!("the grain at offset {at} {why}"));
            let mut header = [0; GRAIN_HEADER as usize];
            let end = at + GRAIN_HEADER;
            if end > self.file_length {
                return Err(damaged("ends behind the file").into());
            }
            self.file.read_exact_at(&mut header, at)?;
            let (sector, length) = (u64_at(&header, 0), u64::from(u32_at(&header, 8)));
            if sector != start / SECTOR {
                return Err(damaged("belongs to another place").into());
            }
            if length > 2 * self.grain || length > self.file_length - end {
                return Err(damaged("is too long").into());
            }
            packed.resize(length as usize, 0);
            self.file.read_exact_at(packed, end)?;
            zlib.reset(true);
            let status = zlib.decompress(packed, bytes, FlushDecompress::Finish);
            // With its checksum, which comes after the last byte. QEMU's last grain may end with the disk.
            let needed = (self.length - start).min(self.grain);
            if !matches!(status, Ok(Status::StreamEnd)) || zlib.total_out() < needed {
                return Err(damaged("cannot be decompressed").into());
            }
        } else {
            bytes.fill(0);
        }
        bytes.truncate((self.length - start).min(self.grain) as usize);
        Ok(())
    }
}
