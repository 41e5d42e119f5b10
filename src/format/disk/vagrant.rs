//! Boxes of Vagrant for its provider libvirt.
//!
//! Owns the archive: a tar of `metadata.json`, `Vagrantfile` and `box.img`, in this order, as vagrant-libvirt reads it (its
//! `example_box`, and `action/handle_box_image.rb`, which takes qcow2 alone and `virtual_size` in whole GiB). Leaves the disk to
//! `qcow2`, whose clusters are compressed: the archive itself is not, as Vagrant takes that, too.
//!
//! The disk's length stands before the disk, in a place of fixed length, and is filled in at the end.

use std::fs::File;
use std::io::{self, Write as _};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;

use super::{Error, Format, qcow2};
use crate::format::sparse::Sink;
use crate::format::tar::{self, Contents, Header, MOST_OCTAL};

/// Part of step keys; raised when the bytes for the same disk change.
pub(crate) const REVISION: u32 = 1;

/// The unit of `virtual_size`, in bytes.
const UNIT: u64 = 1 << 30;

/// Defaults of a box, below those of a project's own Vagrantfile. Flatcar has no rsync of a guest's kind and no shell of Vagrant's
/// own user; a control plane of kubeadm needs two CPUs and 1,700 MB.
const VAGRANTFILE: &str = r#"# Defaults of this box; the Vagrantfile of a project overrides them.
Vagrant.configure("2") do |config|
  config.ssh.username = "core"
  config.vm.synced_folder ".", "/vagrant", disabled: true
  config.vm.provider :libvirt do |libvirt|
    libvirt.cpus = 2
    libvirt.memory = 4096
    libvirt.random model: "random"
  end
end
"#;

/// Writes a box around a disk that is handed to it front to back.
pub struct Writer {
    disk: qcow2::Writer,
    file: File,
    /// Length of the disk, in bytes.
    length: u64,
}

impl Writer {
    /// Begins a box with a disk of `length` bytes. The file is emptied.
    ///
    /// # Errors
    /// Those of [`qcow2::Writer::new`].
    pub fn new(file: File, length: u64, options: qcow2::Options, threads: NonZeroUsize) -> io::Result<Self> {
        let start = head(length, 0).len() as u64;
        let disk = qcow2::Writer::at(file.try_clone()?, start, length, options, threads)?;
        Ok(Writer { disk, file, length })
    }

    /// Ends the box. The disk must be complete.
    ///
    /// # Errors
    /// The disk is shorter than announced, or too long when it is compressed, or the file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        let length = self.disk.finish()?;
        if length > MOST_OCTAL {
            let why = format!("its disk may have 8 GiB, and has {length} bytes after compression");
            return Err(Error::Unfit { format: Format::Box, why }.into());
        }
        let head = head(self.length, length);
        self.file.write_all_at(&head, 0)?;
        // Zeros: the file had no bytes there.
        self.file.set_len(head.len() as u64 + length + tar::padding(length) + tar::END)?;
        self.file.flush()
    }
}

/// All that comes before the disk, with the disk's header: of the same length for any compressed length.
fn head(length: u64, compressed: u64) -> Vec<u8> {
    let gib = length.div_ceil(UNIT);
    let metadata = format!("{{\"provider\": \"libvirt\", \"format\": \"qcow2\", \"virtual_size\": {gib}}}\n");
    let header = |path: &str, size: u64| {
        Header { path, executable: false, contents: Contents::Data(size), epoch: 0 }.to_bytes()
    };
    let mut head = Vec::new();
    for (name, text) in [("metadata.json", metadata.as_str()), ("Vagrantfile", VAGRANTFILE)] {
        head.extend(header(name, text.len() as u64));
        head.extend(text.as_bytes());
        head.resize(head.len() + tar::padding(text.len() as u64) as usize, 0);
    }
    head.extend(header("box.img", compressed.min(MOST_OCTAL)));
    head
}

impl Sink for Writer {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.data(bytes)
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.disk.zeros(length)
    }
}
