//! A unified kernel image: systemd's stub with the kernel, all initrds and the kernel's arguments behind it, one UEFI program
//! (the UAPI group's "Unified Kernel Image" specification).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Bench, Part, Planned, Step, Work, gone, overlay};
use crate::bake::boot::{BootWish, Delivery};
use crate::bake::early;
use crate::bake::lock_ids::stock_id;
use crate::bake::recipe::Layout;
use crate::base::arch::Arch;
use crate::base::digest::{Object, Sha256};
use crate::base::disk;
use crate::base::error::Result;
use crate::flatcar::board::{INITRD, KERNEL};
use crate::format::pe;
use crate::source::input::Entry;

/// Its name for the step that it needs.
const OVERLAY: &str = "overlay";

/// An image to be.
#[derive(Debug)]
struct Uki {
    /// The boot's id.
    boot: String,
    arch: Arch,
    /// Path of the stub.
    stub: PathBuf,
    /// The digest of that file when the build was planned.
    stub_digest: Sha256,
    kernel: Option<Object>,
    /// The initrds before the overlay.
    initrds: Vec<Object>,
    cmdline: String,
    /// The lines that boot menus show of it.
    os_release: String,
}

/// The id of the step that makes the image of a boot.
pub(crate) fn id(boot: &str) -> String {
    format!("uki/{boot}")
}

/// The step that makes the image of a boot, out of this stub, with these arguments of the kernel.
///
/// # Errors
/// The stub or an early initrd cannot be read.
pub(crate) fn step<'p>(
    planned: &Planned<'_, 'p>,
    boot: &BootWish,
    stub: PathBuf,
    cmdline: String,
) -> Result<Step<'p>> {
    let Planned { recipe, lock, .. } = planned;
    let stub_digest = Sha256::of(&read_stub(&stub)?);
    let stock = |file| lock.inputs.get(&stock_id(boot.arch, file)).map(Entry::object);
    let mut initrds = Vec::new();
    for path in &recipe.profiles[&boot.profile].early_initrds {
        initrds.push(Object::of(&early::read(&path.value)?));
    }
    // With that layout the overlay's step has already put the base before it.
    if boot.delivery != Delivery::Initrd(Layout::Single) {
        initrds.extend(stock(INITRD));
    }
    let (version, name, id) = (&lock.release.version, &recipe.name, &boot.id);
    let uki = Uki {
        boot: id.clone(),
        arch: boot.arch,
        stub_digest,
        stub,
        kernel: stock(KERNEL),
        initrds,
        cmdline,
        os_release: format!(
            "ID=flatcar\nVERSION_ID={version}\nPRETTY_NAME=\"Flatcar {version}, {name} {id}\"\n"
        ),
    };
    let overlay = overlay::id(boot).and_then(|id| planned.key(&id));
    let needs: BTreeMap<_, _> = overlay.map(|key| (OVERLAY.to_owned(), key)).into_iter().collect();
    Ok(Step::new(uki, needs))
}

impl Uki {
    /// The stub's bytes, unless its file changed since the build was planned.
    fn stub_bytes(&self) -> Result<Vec<u8>, disk::Error> {
        let bytes = read_stub(&self.stub)?;
        match Sha256::of(&bytes) == self.stub_digest {
            true => Ok(bytes),
            false => Err(unreadable(&self.stub)(io::Error::other("it changed during the build"))),
        }
    }
}

fn read_stub(path: &Path) -> Result<Vec<u8>, disk::Error> {
    disk::read_at_most(path, pe::MAX_IMAGE).map_err(unreadable(path))
}

fn unreadable(stub: &Path) -> impl FnOnce(io::Error) -> disk::Error {
    disk::Error::io("read the stub", stub)
}

impl Work for Uki {
    fn id(&self) -> String {
        id(&self.boot)
    }

    fn kind(&self) -> (&'static str, u32) {
        ("uki", pe::REVISION)
    }

    fn params(&self) -> Value {
        let initrds: Vec<Sha256> = self.initrds.iter().map(|initrd| initrd.sha256).collect();
        let kernel = self.kernel.map(|kernel| kernel.sha256);
        json!({
            "stub": self.stub_digest, "kernel": kernel, "initrds": initrds,
            "cmdline": self.cmdline, "os_release": self.os_release,
        })
    }

    /// Writes the sections that systemd-stub(7) looks for; the kernel comes last, where it has room to unpack itself.
    fn build(&self, bench: &Bench<'_>) -> Result<Object> {
        let overlay = bench.all_needed()?.into_values();
        let kernel = self.kernel.ok_or_else(|| gone(stock_id(self.arch, KERNEL).into()))?;
        let initrds = self.initrds.iter().copied().chain(overlay);
        let initrds = initrds.map(|initrd| Ok((initrd, bench.open(initrd)?))).collect::<Result<_>>()?;
        let (size, initrd) = joined(initrds);
        let text = |name, text: &'_ str| {
            let bytes = text.as_bytes().to_vec();
            pe::Section { name, size: bytes.len() as u64, bytes: Box::new(io::Cursor::new(bytes)) }
        };
        let sections = vec![
            text(".osrel", &self.os_release),
            text(".cmdline", &self.cmdline),
            pe::Section { name: ".initrd", size, bytes: initrd },
            pe::Section { name: ".linux", size: kernel.size, bytes: Box::new(bench.open(kernel)?) },
        ];
        let stub = pe::Image::parse(&self.stub.display().to_string(), self.stub_bytes()?, self.arch)?;
        let mut incoming = bench.store.incoming()?;
        stub.append(sections, &mut incoming).map_err(disk::Error::io("write to", bench.store.root()))?;
        Ok(bench.admit(incoming)?)
    }

    fn parts(&self) -> Vec<Part<'_>> {
        vec![Part::System(self.arch)]
    }
}

/// Concatenates initrds, each padded with zeros to a multiple of four, where a cpio must begin.
fn joined<'f>(initrds: Vec<(Object, File)>) -> (u64, Box<dyn Read + 'f>) {
    let mut whole: Box<dyn Read> = Box::new(io::empty());
    let mut size = 0;
    for (object, file) in initrds {
        let padded = object.size.next_multiple_of(4);
        whole = Box::new(whole.chain(file).chain(io::repeat(0).take(padded - object.size)));
        size += padded;
    }
    (size, whole)
}
