//! A small disk with Flatcar's partitions, whose OEM mkfs.btrfs made.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::disk::layout::{BIOS, DATA, DISK, EFI, RESERVED, RESIZE, USR};
use prebake::format::gpt::{Guid, Partition, Table};

const MIB: u64 = 1 << 20;

/// Runs a judge; returns what it said.
#[track_caller]
pub(crate) fn tool(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {text}");
    text
}

/// The files of a stock OEM: path, mode, text.
const STOCK: [(&str, u32, &str); 5] = [
    ("grub.cfg", 0o644, "set oem_id=\"qemu\"\nset linux_append=\"flatcar.autologin\"\n"),
    ("oem-release", 0o644, "ID=qemu\nVERSION_ID=4593.2.5\n"),
    ("bin/tool", 0o755, "#!/bin/sh\n"),
    ("sysext/active-oem-qemu", 0o644, ""),
    ("sysext/oem-qemu-4593.2.5.raw", 0o600, "an extension that is longer than what is stored inline\n"),
];

/// The partitions: name, type, length in MiB.
const PARTITIONS: [(u32, &str, Guid, u64); 7] = [
    (1, "EFI-SYSTEM", EFI, 4),
    (2, "BIOS-BOOT", BIOS, 2),
    (3, "USR-A", USR, 12),
    (4, "USR-B", USR, 12),
    (6, "OEM", DATA, 64),
    (7, "OEM-CONFIG", RESERVED, 2),
    (9, "ROOT", RESIZE, 12),
];

/// The table of the small disk, with another name for OEM or another type for USR if these are given.
pub(crate) fn table(oem: &str, usr: Guid) -> Table {
    let mut end = MIB;
    let partitions = PARTITIONS.iter().map(|(number, name, kind, length)| {
        let start = end.next_multiple_of(2 * MIB);
        end = start + length * MIB;
        Partition {
            number: *number,
            kind: if *kind == USR { usr } else { *kind },
            id: Guid::of(0x1000 + u128::from(*number)),
            name: if *name == "OEM" { oem.to_owned() } else { (*name).to_owned() },
            flags: if *name == "USR-A" { 1 << 56 | 1 << 48 } else { 0 },
            start,
            length: length * MIB,
        }
    });
    let partitions: Vec<_> = partitions.collect();
    Table::new(DISK, partitions, (end + MIB).next_multiple_of(MIB))
}

/// Makes the image in a directory.
pub(crate) fn image(directory: &Path, name: &str) -> PathBuf {
    with_table(directory, name, &table("OEM", USR), &STOCK)
}

/// Makes an image with this table, whose OEM has these files; one without them has none.
pub(crate) fn with_table(
    directory: &Path,
    name: &str,
    table: &Table,
    files: &[(&str, u32, &str)],
) -> PathBuf {
    let oem = directory.join("oem");
    fs::create_dir_all(&oem).unwrap();
    for (path, mode, text) in files {
        let file = oem.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        // More than what a btrfs stores in its leaves.
        let text = if path.ends_with(".raw") { text.repeat(20_000) } else { (*text).to_owned() };
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(*mode)).unwrap();
    }
    let path = directory.join(name);
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    file.set_len(table.length).unwrap();
    table.write(&file).unwrap();
    for partition in &table.partitions {
        // Something in each that must come through.
        file.write_all_at(format!("{} begins", partition.name).as_bytes(), partition.start + 300_000)
            .unwrap();
        file.write_all_at(b"ends", partition.end() - 4).unwrap();
    }
    if let Some(partition) = table.named("OEM") {
        let made = directory.join("oem.btrfs");
        File::create(&made).unwrap().set_len(partition.length).unwrap();
        tool(
            "mkfs.btrfs",
            &["-q", "-f", "--mixed", "-L", "OEM", "--rootdir", oem.to_str().unwrap(), made.to_str().unwrap()],
        );
        file.write_all_at(&fs::read(&made).unwrap(), partition.start).unwrap();
        fs::remove_file(made).unwrap();
    }
    fs::remove_dir_all(oem).unwrap();
    path
}

/// A partition of a raw image, as a file of its own beside it.
pub(crate) fn partition(image: &Path, name: &str) -> PathBuf {
    let file = File::open(image).unwrap();
    let length = file.metadata().unwrap().len();
    let table = Table::open(length, &|at, bytes| file.read_exact_at(bytes, at)).unwrap().unwrap();
    let partition = table.named(name).unwrap();
    let mut bytes = vec![0; partition.length as usize];
    file.read_exact_at(&mut bytes, partition.start).unwrap();
    let path = image.with_extension(name.to_lowercase());
    fs::write(&path, bytes).unwrap();
    path
}

/// OEM of a raw image, as a file of its own.
pub(crate) fn oem(image: &Path) -> PathBuf {
    partition(image, "OEM")
}

/// Puts a file into a partition of a raw image, over what is there.
pub(crate) fn put(image: &Path, name: &str, content: &Path) {
    let file = File::options().read(true).write(true).open(image).unwrap();
    let partition = table("OEM", USR).named(name).unwrap().clone();
    let bytes = fs::read(content).unwrap();
    assert!(bytes.len() as u64 <= partition.length);
    file.write_all_at(&vec![0; partition.length as usize], partition.start).unwrap();
    file.write_all_at(&bytes, partition.start).unwrap();
}

/// Makes an ext4 on ROOT of a raw image, as stock ones have it, with a file in it.
pub(crate) fn with_ext4(image: &Path) {
    let made = image.with_extension("ext4");
    File::create(&made).unwrap().set_len(table("OEM", USR).named("ROOT").unwrap().length).unwrap();
    let uuid = "00000000-0000-4000-8000-000000000009";
    let seed = format!("root_owner=0:0,hash_seed={uuid}");
    let path = made.to_str().unwrap();
    tool("mkfs.ext4", &["-q", "-L", "ROOT", "-U", uuid, "-E", &seed, path]);
    let note = image.with_extension("note");
    fs::write(&note, "stock").unwrap();
    tool("debugfs", &["-w", "-R", &format!("write {} stock", note.display()), path]);
    put(image, "ROOT", &made);
    fs::remove_file(made).unwrap();
    fs::remove_file(note).unwrap();
}

/// Makes a FAT on the EFI system partition of a raw image, with these empty files in it.
pub(crate) fn with_fat(image: &Path, files: &[&str]) {
    let made = image.with_extension("fat");
    File::create(&made).unwrap().set_len(table("OEM", USR).named("EFI-SYSTEM").unwrap().length).unwrap();
    let path = made.to_str().unwrap();
    tool("mkfs.fat", &["-n", "EFI-SYSTEM", path]);
    let empty = image.with_extension("empty");
    fs::write(&empty, "").unwrap();
    for file in files {
        for (end, _) in file.match_indices('/') {
            tool("mmd", &["-D", "s", "-i", path, &format!("::{}", &file[..end])]);
        }
        tool("mcopy", &["-i", path, empty.to_str().unwrap(), &format!("::{file}")]);
    }
    put(image, "EFI-SYSTEM", &made);
    fs::remove_file(made).unwrap();
    fs::remove_file(empty).unwrap();
}

/// The judges find nothing wrong with a raw image.
#[track_caller]
pub(crate) fn judged(image: &Path) {
    let text = tool("sgdisk", &["-v", image.to_str().unwrap()]);
    assert!(text.contains("No problems found."), "{text}");
    let oem = oem(image);
    tool("btrfs", &["check", "--check-data-csum", oem.to_str().unwrap()]);
    fs::remove_file(oem).unwrap();
}

/// All files below a directory: path, permission bits, bytes.
pub(crate) fn files(root: &Path) -> Vec<(String, u32, Vec<u8>)> {
    fn below(root: &Path, directory: &Path, found: &mut Vec<(String, u32, Vec<u8>)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below(root, &path, found);
                continue;
            }
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.push((name, mode, fs::read(&path).unwrap()));
        }
    }
    let mut found = Vec::new();
    below(root, root, &mut found);
    found.sort();
    found
}
