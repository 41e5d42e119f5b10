//! `prebake disk inspect`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::threads;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::cli::table::Table;
use crate::disk::Error;
use crate::disk::layout::{self, BIOS, Choice, DATA, EFI, RAID, RESERVED, RESIZE, USR};
use crate::disk::look::{Asked, Image};
use crate::disk::make::Input;
use crate::disk::oem::{Node, Room};
use crate::disk::platform::GENERIC;
use crate::format::gpt::Partition;

/// Show a disk image: partitions, filesystems, platform, release, and what prebake put into it
///
/// Of a packed image all is read once; of a raw or qcow2 image only tables and the filesystems' own.
#[derive(Args)]
pub(super) struct InspectArgs {
    /// The image, or - for standard input
    image: PathBuf,
    /// List the files on OEM, too
    #[arg(long)]
    files: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The facts that are on OEM.
struct Seen {
    platform: String,
    oem_id: Option<String>,
    extension: Option<String>,
    autologin: bool,
    injected: Vec<String>,
    /// Paths on ROOT that were injected, with their lengths in bytes.
    on_root: BTreeMap<String, u64>,
    /// GRUB's settings.
    grub: Option<String>,
    /// A note about files that are stored compressed.
    unpacked: Option<String>,
    room: Room,
    used: u64,
    /// Path, mode, length.
    files: Vec<(String, u16, Option<u64>)>,
    notes: Vec<String>,
}

impl Seen {
    fn of(image: &Image) -> Result<Self, Error> {
        image.with_oem(|content| {
            let oem = &content.oem;
            let size = |node: &Node<String>| match node {
                Node::File(size, _) => Some(*size),
                Node::Dir | Node::Link(_) => None,
            };
            Ok(Seen {
                platform: oem.platform().unwrap_or_else(|| GENERIC.to_owned()),
                oem_id: oem.oem_id(),
                extension: oem.extension_version().map(str::to_owned),
                autologin: oem.has_autologin(),
                injected: oem.injected()?,
                on_root: oem.on_root()?,
                grub: oem.grub().map(std::borrow::Cow::into_owned),
                unpacked: oem.unpacked(),
                room: oem.room(),
                used: content.filesystem.used(),
                files: oem
                    .iter()
                    .map(|(path, entry)| (path.to_owned(), entry.mode, size(&entry.node)))
                    .collect(),
                notes: content.filesystem.notes(),
            })
        })
    }
}

/// The system on an image, as far as it tells.
#[derive(Default)]
struct Told {
    /// Whether the next boot is the first one.
    first_boot: Option<bool>,
    /// Its architecture.
    arch: Option<&'static str>,
    /// Version of its release: by os-release on USR-A, else by the platform's extension.
    release: Option<String>,
}

impl Told {
    fn of(image: &Image, seen: Option<&Seen>) -> Self {
        // A damaged EFI system partition was told with the first boot.
        let arch = image.arch().unwrap_or_default();
        let of_extension = || seen.and_then(|seen| seen.extension.clone());
        Told { first_boot: None, arch, release: image.release().or_else(of_extension) }
    }
}

/// The name of a partition's type.
fn kind(partition: &Partition) -> String {
    let known = [
        (EFI, "efi"),
        (BIOS, "bios"),
        (USR, "usr"),
        (DATA, "data"),
        (RESERVED, "reserved"),
        (RESIZE, "resize"),
        (RAID, "raid"),
    ];
    let found = known.iter().find(|(kind, _)| *kind == partition.kind);
    found.map_or_else(|| partition.kind.to_string(), |(_, name)| (*name).to_owned())
}

/// Files in the EFI system partition by which Flatcar's GRUB tells the first boot; the second is of CoreOS.
const FIRST_BOOT: [&str; 2] = ["flatcar/first_boot", "coreos/first_boot"];

/// Whether the next boot is the first one, at which Ignition runs; `None` if nothing tells.
fn first_boot(image: &Image) -> Result<Option<bool>, Error> {
    let mut told = None;
    for path in FIRST_BOOT {
        match image.esp_has(path)? {
            Some(true) => return Ok(Some(true)),
            seen => told = told.or(seen),
        }
    }
    Ok(told)
}

impl InspectArgs {
    pub(super) fn run(self) -> Result<()> {
        let asked = Asked { esp: true, ..Asked::default() };
        let image = Image::look(Input::open(&self.image)?, asked, &std::env::temp_dir(), threads())?;
        let flatcar = image.flatcar();
        let seen = match &flatcar {
            Ok(_) => Some(Seen::of(&image)),
            Err(_) => None,
        };
        let mut findings: Vec<String> = image.table.findings.iter().map(ToString::to_string).collect();
        findings.extend(seen.iter().flatten().flat_map(|seen| seen.notes.iter().cloned()));
        let first_boot = match flatcar.is_ok() {
            true => first_boot(&image).unwrap_or_else(|error| {
                findings.push(error.to_string());
                None
            }),
            false => None,
        };
        findings.extend(seen.iter().flatten().filter_map(|seen| seen.unpacked.clone()));
        let mut told = match flatcar.is_ok() {
            true => Told::of(&image, seen.as_ref().and_then(|seen| seen.as_ref().ok())),
            false => Told::default(),
        };
        told.first_boot = first_boot;
        if first_boot == Some(false) {
            findings.push(
                "EFI-SYSTEM has no flatcar/first_boot: this image has been booted, and Ignition does not run again"
                    .to_owned(),
            );
        }
        findings.iter().for_each(|finding| tell!("{finding}"));
        let layout = flatcar.as_ref().ok().and_then(|flatcar| flatcar.layout);
        let mut rows = Vec::new();
        for partition in &image.table.partitions {
            rows.push((partition, image.content(partition)?));
        }
        match self.json {
            true => {
                let seen = seen.as_ref().and_then(|seen| seen.as_ref().ok());
                say!("{:#}", self.document(&image, &rows, seen, layout, &told, &findings));
            }
            false => {
                self.print(&image, &rows, seen.as_ref().and_then(|seen| seen.as_ref().ok()), layout, &told);
            }
        }
        // All that could be read is told first.
        match (flatcar, seen) {
            (Err(error), _) | (Ok(_), Some(Err(error))) => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn document(
        &self,
        image: &Image,
        rows: &[(&Partition, layout::Content)],
        seen: Option<&Seen>,
        layout: Option<&layout::Layout>,
        told: &Told,
        findings: &[String],
    ) -> Value {
        let partitions = rows.iter().map(|(partition, content)| {
            let choice = Choice::of(partition);
            let used = seen.filter(|_| partition.name == layout::OEM).map(|seen| seen.used);
            json!({
                "number": partition.number, "name": partition.name, "type": kind(partition),
                "id": partition.id.to_string(), "start": partition.start, "length": partition.length,
                "filesystem": content.name(), "used": used, "priority": choice.priority, "tries": choice.tries,
                "successful": choice.is_successful,
            })
        });
        let files = seen.filter(|_| self.files).map(|seen| {
            let row = |(path, mode, size): &(String, u16, Option<u64>)| {
                json!({"path": path, "mode": format!("{mode:04o}"), "size": size})
            };
            seen.files.iter().map(row).collect::<Vec<_>>()
        });
        json!({
            "format": image.form, "compression": image.packing, "bytes": image.length,
            "arch": told.arch, "release": told.release,
            "layout": layout.map(|layout| layout.since), "partitions": partitions.collect::<Vec<_>>(),
            "platform": seen.map(|seen| json!({
                "id": seen.platform, "oem_id": seen.oem_id, "extension": seen.extension,
            })),
            "first_boot": told.first_boot, "grub": seen.map(|seen| &seen.grub),
            "autologin": seen.map(|seen| seen.autologin), "injected": seen.map(|seen| &seen.injected),
            "on_root": seen.map(|seen| &seen.on_root),
            "room": seen.map(|seen| seen.room),
            "files": files, "findings": findings,
        })
    }

    fn print(
        &self,
        image: &Image,
        rows: &[(&Partition, layout::Content)],
        seen: Option<&Seen>,
        layout: Option<&layout::Layout>,
        told: &Told,
    ) {
        let mut table =
            Table::new([">NUMBER", "NAME", ">START", ">LENGTH", ">SIZE", "TYPE", "FILESYSTEM", ">USED"]);
        for (partition, content) in rows {
            let used = seen.filter(|_| partition.name == layout::OEM).map(|seen| seen.used.to_string());
            table.row([
                partition.number.to_string(),
                partition.name.clone(),
                partition.start.to_string(),
                partition.length.to_string(),
                Bytes(partition.length).to_string(),
                kind(partition),
                content.name().into(),
                used.unwrap_or_default(),
            ]);
        }
        say_part!("{table}");
        let packed = image.packing.map_or_else(String::new, |packing| format!(" in {packing}"));
        let layout = match (layout, seen) {
            (Some(layout), _) => format!(", layout of {layout}"),
            (None, Some(_)) => {
                ", an unknown layout: its partitions have the lengths of no release".to_owned()
            }
            (None, None) => String::new(),
        };
        say!("\nimage      {}{packed}, {} bytes ({}){layout}", image.form, image.length, Bytes(image.length));
        let release = [told.release.as_deref(), told.arch].into_iter().flatten().collect::<Vec<_>>();
        if !release.is_empty() {
            say!("release    {}", crate::cli::say::seen(&release.join(", ")));
        }
        let usr = rows.iter().filter(|(partition, _)| partition.kind == USR);
        let first = usr.filter(|(partition, _)| Choice::of(partition).priority > 0);
        if let Some((partition, _)) = first.max_by_key(|(partition, _)| Choice::of(partition).priority) {
            say!("boots      {} first", partition.name);
        }
        match told.first_boot {
            Some(true) => say!("first boot still to come: Ignition will run"),
            Some(false) => say!("first boot done: Ignition will not run"),
            None => {}
        }
        let Some(seen) = seen else { return };
        let id = seen.oem_id.as_ref().map_or_else(String::new, |id| format!(" (flatcar.oem.id={id})"));
        let extension =
            seen.extension.as_ref().map_or_else(String::new, |version| format!(", extension {version}"));
        say!("platform   {}{id}{extension}", seen.platform);
        if seen.autologin {
            say!("autologin  whoever is at the console is logged in");
        }
        let injected = if seen.injected.is_empty() { "nothing".to_owned() } else { seen.injected.join(", ") };
        say!("injected   {injected}");
        if !seen.on_root.is_empty() {
            let row = |(path, size): (&String, &u64)| format!("/{path} ({})", Bytes(*size));
            say!("on ROOT    {}", seen.on_root.iter().map(row).collect::<Vec<_>>().join(", "));
        }
        let settings = seen.grub.iter().flat_map(|text| text.lines().map(str::trim));
        for line in settings.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            say!("grub.cfg   {}", crate::cli::say::seen(line));
        }
        say!("room       {}", seen.room);
        for (path, mode, size) in seen.files.iter().filter(|_| self.files) {
            let size = size.map_or_else(|| "-".to_owned(), |size| size.to_string());
            say!("{mode:04o} {size:>12} {}", crate::cli::say::seen(path));
        }
    }
}
