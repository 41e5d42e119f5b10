//! Bytes that the parsers of disk images take: containers, tables, filesystems and packed files of little content.

use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZeroUsize;

use prebake::format::btrfs::{Files, Layout};
use prebake::format::disk::qcow2::{self, Packing};
use prebake::format::disk::{self, Format, Options};
use prebake::format::gpt::{Guid, Partition, Table};
use prebake::format::tree::{Contents, Entry, Tree};

use super::super::disks::{BLOCK, Whole, btrfs_options};
use super::{Seeds, gzipped, texts};

/// The same numbers for a seed in every run, which no packer shortens (Marsaglia's xorshift).
pub fn noise(length: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// What is packed: bytes without a pattern, text, runs of all lengths.
fn contents() -> Vec<u8> {
    let mut bytes = noise(700, 7);
    bytes.extend(b"some text ".repeat(40));
    for length in [3, 4, 5, 254, 255, 256, 259, 6000] {
        bytes.resize(bytes.len() + length, length as u8);
    }
    bytes.resize(bytes.len() + 9000, 0);
    bytes.extend(b"the end");
    bytes
}

fn bzip2_of(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut packer = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(level));
    packer.write_all(bytes).expect("memory");
    packer.finish().expect("memory")
}

/// One stream, several, none of a block, of two blocks, randomised.
pub fn bzip2() -> Seeds {
    let one = bzip2_of(&contents(), 9);
    let (short, empty) = (bzip2_of(b"abracadabra", 1), bzip2_of(b"", 1));
    let mut several = [&one[..], &empty, &short].concat();
    several.resize(several.len() + 100, 0);
    let two = bzip2_of(&b"some text \0\0\0\0\0\0".repeat(7000), 1);
    // The bit behind a block's mark and checksum, as bzip2 0.9.0 and older set it; what it unpacks to is another text.
    let mut randomised = one.clone();
    randomised[14] |= 0x80;
    vec![short, empty, one, several, two, randomised]
}

/// One of each packing, and two in a row.
pub fn packed() -> Seeds {
    let contents = contents();
    let zstd = zstd::encode_all(&contents[..], 3).expect("memory");
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 6);
    xz.write_all(&contents).expect("memory");
    let xz = xz.finish().expect("memory");
    let skipped = [&b"\x50\x2a\x4d\x18\x04\0\0\0abcd"[..], &zstd].concat();
    let both = [&gzipped(&contents)[..], &gzipped(b"more"), &[0; 40]].concat();
    vec![gzipped(&contents), both, zstd, skipped, xz, bzip2_of(&contents, 9), contents]
}

/// As `sgdisk` makes them, with sectors of 512 bytes, and one whose beginning is lost.
pub fn tables() -> Seeds {
    let partition = |number: u32, name: &str, start: u64, kind: u128| Partition {
        number,
        kind: Guid::of(kind),
        id: Guid([number as u8; 16]),
        name: name.into(),
        flags: 1 << 48,
        start: Table::FIRST + start * 4096,
        length: 4096,
    };
    // Flatcar's types of USR-A and of a ROOT that grows.
    let partitions = vec![
        partition(3, "USR-A", 0, 0x5dfbf5f4_2848_4bac_aa5e_0d9a20b745a6),
        partition(6, "OEM", 1, 0x0fc63daf_8483_4772_8e79_3d69d8477de4),
        partition(9, "ROOT", 2, 0x3884dd41_8582_4404_b9a8_e9b84f2df50e),
    ];
    let table = Table::new(Guid([7; 16]), partitions, Table::disk_length(Table::FIRST + 3 * 4096));
    let mut bytes = table.head();
    bytes.resize(table.tail_start() as usize, 0);
    bytes.extend(table.tail());
    let mut lost = bytes.clone();
    lost[512..1024].fill(0);
    vec![bytes, lost]
}

/// A FAT12 of sixteen sectors with `flatcar/first_boot`, whose name is long, and `EFI` without anything.
pub fn fats() -> Seeds {
    const SECTOR: usize = 512;
    let mut bytes = vec![0; 16 * SECTOR];
    // Sectors of 512 bytes in a cluster each, one reserved, one table of one sector, 16 entries in the root.
    bytes[11..24].copy_from_slice(&[0, 2, 1, 1, 0, 1, 16, 0, 16, 0, 0xf8, 1, 0]);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    // Clusters 2 and 3 are the last ones of their files.
    bytes[SECTOR..SECTOR + 6].copy_from_slice(&[0xf8, 0xff, 0xff, 0xff, 0xff, 0xff]);
    let mut entry = |at: usize, name: &[u8; 11], attributes: u8, cluster: u8, length: u8| {
        bytes[at..at + 11].copy_from_slice(name);
        (bytes[at + 11], bytes[at + 26], bytes[at + 28]) = (attributes, cluster, length);
    };
    let (root, directory) = (2 * SECTOR, 3 * SECTOR);
    entry(root, b"LABEL      ", 0x08, 0, 0);
    entry(root + 32, b"FLATCAR    ", 0x10, 2, 0);
    entry(root + 64, b"EFI        ", 0x10, 3, 0);
    entry(directory + 32, b"FIRST_~1   ", 0x20, 5, 7);
    // The long name's only part: its number with the mark of the last one, and 13 units in three fields.
    let mut long = [0xff_u8; 32];
    (long[0], long[11], long[12], long[26], long[27]) = (0x41, 0x0f, 0, 0, 0);
    let places = (1..11).step_by(2).chain((14..26).step_by(2)).chain((28..32).step_by(2));
    for (at, unit) in places.zip(b"first_boot\0") {
        long[at..at + 2].copy_from_slice(&u16::from(*unit).to_le_bytes());
    }
    bytes[directory..directory + 32].copy_from_slice(&long);
    vec![bytes]
}

/// Google's archive, with a header of pax as well; one of another disk; what is none.
pub fn archives() -> Seeds {
    let disk = contents();
    let archive = |name: &str, with_size: bool| {
        let mut builder = tar::Builder::new(Vec::new());
        if with_size {
            let size = disk.len().to_string();
            builder.append_pax_extensions([("size", size.as_bytes())]).expect("memory");
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(disk.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &disk[..]).expect("memory");
        builder.into_inner().expect("memory")
    };
    vec![archive("disk.raw", false), archive("disk.raw", true), archive("disk.vmdk", false), disk.clone()]
}

/// A disk in each container that is read at any place, with small clusters and large ones.
pub fn containers() -> Seeds {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let mut bytes = noise(3000, 7);
    bytes.resize(16 << 10, 0);
    bytes.extend(contents());
    bytes.resize(40 << 10, 0);
    let raw = directory.path().join("disk.raw");
    fs::write(&raw, &bytes).expect("a disk");
    let qcow2 = |packing, bits| qcow2::Options { packing, bits };
    let shapes = [
        (Format::Qcow2, qcow2(Packing::Deflate(6), 9)),
        (Format::Qcow2, qcow2(Packing::Zstd(3), 12)),
        (Format::Qcow2, qcow2(Packing::Plain, 9)),
        (Format::Vmdk, qcow2::Options::default()),
        (Format::RawZst, qcow2::Options::default()),
        (Format::Vhd, qcow2::Options::default()),
    ];
    let image = |(format, qcow2)| {
        let path = directory.path().join("image");
        let out = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let disk = disk::open(File::open(&raw).expect("a disk"), "disk").expect("a disk");
        let options = Options { qcow2, ..Options::default() };
        disk::convert(&*disk, format, out.expect("a file"), &options, NonZeroUsize::MIN).expect("an image");
        fs::read(&path).expect("an image")
    };
    shapes.map(image).into()
}

/// Two names whose hashes are the same, so that they share an item.
const COLLIDING: [&str; 2] = ["name-1441e896", "name-fca1a963"];

/// A small filesystem with a tree of two levels, its blocks as `disks::btrfs` takes them.
pub fn btrfs() -> Seeds {
    let file = |bytes: Vec<u8>| Entry::file(0o644, Contents::Bytes(bytes), "seed");
    let mut tree = Tree::new();
    let mut insert = |path: &str, entry| tree.insert(path, entry).expect("a fresh path");
    for number in 0..12 {
        insert(&format!("dir/{number}"), file(noise(150 * number, 7)));
    }
    let [long, link] = COLLIDING;
    insert(long, file(noise(9000, 7)));
    insert(link, Entry::symlink("dir/1", "seed"));
    let mut noted = file(b"noted".to_vec());
    noted.xattrs.insert("user.note".into(), b"kept".into());
    insert("noted", noted);
    tree.link("dir/hard", long, "seed").expect("a fresh path");
    let files = Files::of_tree(&tree).expect("files");
    let mut whole = Whole(Vec::new());
    Layout::new(&files, &btrfs_options()).expect("room").write(&mut whole).expect("memory");
    let mut blocks = Vec::new();
    for (number, block) in whole.0.chunks(BLOCK).enumerate().filter(|(_, block)| **block != [0; BLOCK]) {
        blocks.extend((number as u32).to_le_bytes());
        blocks.extend(block);
    }
    [1, 3].map(|mode| [&[mode], &blocks[..]].concat()).into()
}

/// Generic, of a platform, injected, and with a stranger's record.
pub fn oems() -> Seeds {
    let record = r#"{"prebake": 1, "added": ["sysext/x.raw"], "directories": ["sysext"],
        "texts": {"grub.cfg": {"sha256": "0000000000000000000000000000000000000000000000000000000000000000",
        "stock": {"mode": 420, "base64": "c2V0IGE9MQo="}}}}"#;
    let mut seeds = texts([
        "cf images/a.tar a/b/c\n",
        "cafql ip=dhcp x=$y;z\n644 grub.cfg\nset oem_id=\"qemu\"\nset linux_append=\"flatcar.autologin\"\x00644 oem-release\nID=qemu\n\x00600 sysext/active-oem-qemu\n\x00644 sysext/oem-qemu-4593.2.5.raw\nimage",
        "p\n755 sysext/\n\x00644 config.ign\n{ }",
        "al quiet\n644 grub.cfg\nset linux_append='a coreos.autologin=tty1'",
    ]);
    seeds.push(
        format!("c\n644 prebake.json\n{record}\0644 sysext/x.raw\nx\0644 grub.cfg\n# prebake begin\nx\n# prebake end\n")
            .into_bytes(),
    );
    seeds
}
