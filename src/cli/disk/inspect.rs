//! `prebake disk inspect`

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{input, threads};
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::cli::table::Table;
use crate::disk::Error;
use crate::disk::layout::{self, BIOS, Choice, DATA, EFI, RAID, RESERVED, RESIZE, USR};
use crate::disk::look::Image;
use crate::disk::oem::{Node, Room};
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
    platform: Option<String>,
    oem_id: Option<String>,
    extension: Option<String>,
    autologin: bool,
    injected: Vec<String>,
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
                platform: oem.platform(),
                oem_id: oem.oem_id(),
                extension: oem.extension_version().map(str::to_owned),
                autologin: oem.has_autologin(),
                injected: oem.injected()?,
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

impl InspectArgs {
    pub(super) fn run(self) -> Result<()> {
        let image = Image::look(input(&self.image)?, &std::env::temp_dir(), threads())?;
        let flatcar = image.flatcar();
        let seen = match &flatcar {
            Ok(_) => Some(Seen::of(&image)),
            Err(_) => None,
        };
        let mut findings: Vec<String> = image.table.findings.iter().map(ToString::to_string).collect();
        findings.extend(seen.iter().flatten().flat_map(|seen| seen.notes.iter().cloned()));
        findings.iter().for_each(|finding| tell!("{finding}"));
        let layout = flatcar.as_ref().ok().and_then(|flatcar| flatcar.layout);
        let mut rows = Vec::new();
        for partition in &image.table.partitions {
            rows.push((partition, image.content(partition)?));
        }
        match self.json {
            true => {
                let seen = seen.as_ref().and_then(|seen| seen.as_ref().ok());
                say!("{:#}", self.document(&image, &rows, seen, layout, &findings));
            }
            false => self.print(&image, &rows, seen.as_ref().and_then(|seen| seen.as_ref().ok()), layout),
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
            "layout": layout.map(|layout| layout.since), "partitions": partitions.collect::<Vec<_>>(),
            "platform": seen.map(|seen| json!({
                "id": seen.platform, "oem_id": seen.oem_id, "extension": seen.extension,
            })),
            "autologin": seen.map(|seen| seen.autologin), "injected": seen.map(|seen| &seen.injected),
            "room": seen.map(|Seen { room, .. }| json!({
                "length": room.length, "there": room.there, "reserve": room.reserve, "free": room.free,
            })),
            "files": files, "findings": findings,
        })
    }

    fn print(
        &self,
        image: &Image,
        rows: &[(&Partition, layout::Content)],
        seen: Option<&Seen>,
        layout: Option<&layout::Layout>,
    ) {
        let mut table = Table::new([">NUMBER", "NAME", ">START", ">LENGTH", "TYPE", "FILESYSTEM", ">USED"]);
        for (partition, content) in rows {
            let used = seen.filter(|_| partition.name == layout::OEM).map(|seen| seen.used.to_string());
            table.row([
                partition.number.to_string(),
                partition.name.clone(),
                partition.start.to_string(),
                partition.length.to_string(),
                kind(partition),
                content.name().into(),
                used.unwrap_or_default(),
            ]);
        }
        say_part!("{table}");
        let packed = image.packing.map_or_else(String::new, |packing| format!(" in {packing}"));
        let layout =
            layout.map_or_else(|| "an unknown layout".to_owned(), |layout| format!("layout of {layout}"));
        say!(
            "\nimage      {}{packed}, {} bytes ({}), {layout}",
            image.form,
            image.length,
            Bytes(image.length)
        );
        let usr = rows.iter().filter(|(partition, _)| partition.kind == USR);
        let first = usr.filter(|(partition, _)| Choice::of(partition).priority > 0);
        if let Some((partition, _)) = first.max_by_key(|(partition, _)| Choice::of(partition).priority) {
            say!("boots      {} first", partition.name);
        }
        let Some(seen) = seen else { return };
        let id = seen.oem_id.as_ref().map_or_else(String::new, |id| format!(" (flatcar.oem.id={id})"));
        let extension =
            seen.extension.as_ref().map_or_else(String::new, |version| format!(", extension {version}"));
        say!("platform   {}{id}{extension}", seen.platform.as_deref().unwrap_or("generic"));
        if seen.autologin {
            say!("autologin  whoever is at the console is logged in");
        }
        let injected = if seen.injected.is_empty() { "nothing".to_owned() } else { seen.injected.join(", ") };
        say!("injected   {injected}");
        say!("room       {}", seen.room);
        for (path, mode, size) in seen.files.iter().filter(|_| self.files) {
            let size = size.map_or_else(|| "-".to_owned(), |size| size.to_string());
            say!("{mode:04o} {size:>12} {}", crate::cli::say::seen(path));
        }
    }
}
