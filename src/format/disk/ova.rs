//! OVA archives: a disk with the description of its machine, as VMware takes them.
//!
//! Owns the archive and the manifest: a ustar archive of `NAME.ovf`, `NAME.mf` and `NAME.vmdk`, in this order, as
//! Flatcar publishes it. Leaves the description's text to `ovf` and the disk to `vmdk`.
//!
//! The disk's length and digest stand before the disk. Their places have a fixed length, so the disk is written once,
//! where it belongs, and what comes before it is filled in at the end.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::ovf::{self, Machine};
use super::{Error, Format, Options, vmdk};
use crate::format::sparse::Sink;
use crate::format::tar::{self, Contents, Header, MOST_OCTAL};

/// Part of step keys; raised when the bytes for the same disk and machine change.
pub(crate) const REVISION: u32 = 1;

/// Longest name, in bytes, so that the names of members fit into a tar header.
const LONGEST: usize = 90;

/// Writes an archive around a disk that is handed to it front to back.
pub struct Writer {
    disk: vmdk::Writer<Member>,
    about: About,
}

/// The settings from which the members before the disk are made.
struct About {
    name: String,
    cpus: u32,
    memory: u32,
    firmware: ovf::Firmware,
    hardware: u32,
    product: String,
    properties: Vec<(String, String)>,
    capacity: u64,
}

/// The disk's member while it is written: its length and digest.
struct Member {
    out: BufWriter<File>,
    length: u64,
    digest: Sha256,
}

impl Writer {
    /// Begins an archive with a disk of `length` bytes. The file is emptied.
    ///
    /// # Errors
    /// The name cannot be that of a member, the disk is too long, the file cannot be written, or a thread not be
    /// started.
    pub fn new(mut out: File, length: u64, options: &Options<'_>, threads: NonZeroUsize) -> io::Result<Self> {
        let name = options.name;
        if name.is_empty()
            || name.len() > LONGEST
            || name.contains(|char: char| char == '/' || char.is_control())
        {
            let why = format!("the name `{}` cannot be that of a file in it", name.escape_debug());
            return Err(Error::Unfit { format: Format::Ova, why }.into());
        }
        let Machine { cpus, memory, firmware, hardware, product, properties } = options.machine.clone();
        let about = About {
            name: name.to_owned(),
            cpus,
            memory,
            firmware,
            hardware,
            product: product.to_owned(),
            properties: properties
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            capacity: length.next_multiple_of(512),
        };
        out.set_len(0)?;
        let start = about.head(0, [0; 32]).len() as u64;
        out.seek(SeekFrom::Start(start))?;
        let member = Member { out: BufWriter::with_capacity(1 << 20, out), length: 0, digest: Sha256::new() };
        let disk = vmdk::Writer::new(member, length, name, &options.identity, options.zlib, threads)?;
        Ok(Writer { disk, about })
    }

    /// Ends the archive. The disk must be complete.
    ///
    /// # Errors
    /// The disk is shorter than announced, or too long when it is compressed, or the file cannot be written.
    pub fn finish(self) -> io::Result<()> {
        let mut member = self.disk.finish()?;
        if member.length > MOST_OCTAL {
            let why = format!("its disk may have 8 GiB, and has {} bytes after compression", member.length);
            return Err(Error::Unfit { format: Format::Ova, why }.into());
        }
        let end = tar::padding(member.length) + tar::END;
        member.out.write_all(&vec![0; end as usize])?;
        let file = member.out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.write_all_at(&self.about.head(member.length, member.digest.finalize().into()), 0)
    }
}

impl About {
    /// All that comes before the disk, with the disk's header: of the same length for any disk.
    fn head(&self, size: u64, digest: [u8; 32]) -> Vec<u8> {
        let [ovf, mf, vmdk] = ["ovf", "mf", "vmdk"].map(|extension| format!("{}.{extension}", self.name));
        let properties: Vec<_> =
            self.properties.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let machine = Machine {
            cpus: self.cpus,
            memory: self.memory,
            firmware: self.firmware,
            hardware: self.hardware,
            product: &self.product,
            properties: &properties,
        };
        let description = ovf::envelope(&self.name, &machine, self.capacity, &vmdk, size);
        let line = |name: &str, digest: &[u8]| {
            let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("SHA256({name})= {digits}\n")
        };
        let manifest = line(&ovf, &Sha256::digest(&description)) + &line(&vmdk, &digest);
        let header = |path: &str, size: u64| {
            Header { path, executable: false, contents: Contents::Data(size), epoch: 0 }.to_bytes()
        };
        let mut head = Vec::new();
        for (name, text) in [(&ovf, description), (&mf, manifest)] {
            head.extend(header(name, text.len() as u64));
            head.extend(text.as_bytes());
            head.resize(head.len() + tar::padding(text.len() as u64) as usize, 0);
        }
        head.extend(header(&vmdk, size));
        head
    }
}

impl Write for Member {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Sink for Writer {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.disk.zeros(length)
    }
}
