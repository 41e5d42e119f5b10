//! The partitions of a Flatcar disk.
//!
//! Owns the layouts of the releases as a table (`build_library/disk_layout.json` of flatcar/scripts), the recognition
//! of an image by its partitions, and their growth. Leaves the bytes of the table to `format::gpt`.

use std::fmt;

use crate::base::digest::Sha256;
use crate::disk::Error;
use crate::format::gpt::{Guid, Partition, SECTOR, Table};

/// An EFI system partition.
pub const EFI: Guid = Guid::of(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b);
/// The partition in which GRUB's core lies for BIOS: the ASCII text `Hah!IdontNeedEFI`.
pub const BIOS: Guid = Guid::of(0x21686148_6449_6e6f_744e_656564454649);
/// `flatcar-rootfs`: `/usr`, of which there are two.
pub const USR: Guid = Guid::of(0x5dfbf5f4_2848_4bac_aa5e_0d9a20b745a6);
/// Linux data, which OEM is.
pub const DATA: Guid = Guid::of(0x0fc63daf_8483_4772_8e79_3d69d8477de4);
/// `flatcar-reserved`.
pub const RESERVED: Guid = Guid::of(0xc95dc21a_df0e_4340_8d7b_26cbfa9a03e0);
/// `flatcar-resize`: ROOT, which `extend-filesystems` of flatcar/init grows at boot if it is the last partition.
pub const RESIZE: Guid = Guid::of(0x3884dd41_8582_4404_b9a8_e9b84f2df50e);
/// ROOT on a RAID of Linux, which the initrd puts together (bootengine, `dracut/99start-root`).
pub const RAID: Guid = Guid::of(0xbe9067b9_ea49_4f15_b4f6_f36f8c9e1818);

/// The name by which GRUB finds OEM.
pub const OEM: &str = "OEM";
/// The name of the root's partition, and of its file system, by which the kernel finds it.
pub const ROOT: &str = "ROOT";
/// The disk's GUID in published images; `disk-uuid.service` gives each machine another one at its first boot.
pub const DISK: Guid = Guid::of(1);

const MIB: u64 = 1 << 20;
/// Partitions begin at multiples of 4096 sectors.
const ALIGNMENT: u64 = 4096 * SECTOR;
/// Disks are multiples of 258,048 sectors: the least common multiple of the alignment and of a cylinder of 16 heads
/// with 63 sectors, which a VHD needs.
const DISK_ALIGNMENT: u64 = 258_048 * SECTOR;
/// Sectors before the first partition, and behind the last one, that are kept for tables.
const RESERVED_SECTORS: u64 = 34;

/// The length of ROOT, which differs between platforms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// The generic image, and those of platforms that have no layout of their own.
    Base,
    /// Virtual machines.
    Vm,
    /// Azure, whose disk is 30.4 GiB long.
    Azure,
    /// Vagrant's boxes.
    Vagrant,
}

/// The layout of a range of releases. Lengths in MiB.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    /// The first release, by its major number.
    pub since: u32,
    efi: u64,
    usr: u64,
    oem: u64,
    /// ROOT by [`Variant`].
    root: [u64; 4],
}

/// All layouts, the newest first. `azure` of the second one is that of 2023; the first one's is 2026's, by which the
/// disk keeps its length.
pub static LAYOUTS: [Layout; 2] = [
    Layout { since: 4487, efi: 1024, usr: 2048, oem: 1024, root: [1784, 6320, 24_842, 16_526] },
    Layout { since: 0, efi: 128, usr: 1024, oem: 128, root: [2162, 6320, 28_748, 16_526] },
];

impl Layout {
    /// The layout of a release, by its major number.
    pub fn of_release(major: u32) -> &'static Layout {
        let [newest, oldest] = &LAYOUTS;
        if major >= newest.since { newest } else { oldest }
    }

    /// The layout that a table follows up to ROOT, whose length may be any.
    pub fn of(table: &Table) -> Option<&'static Layout> {
        let fits = |layout: &&Layout| {
            layout.partitions(Variant::Base).iter().all(|expected| {
                let found = table.partitions.iter().find(|found| found.number == expected.number);
                found.is_some_and(|found| {
                    let is_as_long = found.length == expected.length || expected.name == ROOT;
                    found.start == expected.start && is_as_long
                })
            })
        };
        LAYOUTS.iter().find(fits)
    }

    /// Length of OEM in bytes.
    pub fn oem(&self) -> u64 {
        self.oem * MIB
    }

    /// Length of ROOT in bytes.
    pub fn root(&self, variant: Variant) -> u64 {
        let [base, vm, azure, vagrant] = self.root;
        MIB * match variant {
            Variant::Base => base,
            Variant::Vm => vm,
            Variant::Azure => azure,
            Variant::Vagrant => vagrant,
        }
    }

    /// The partitions as `disk_util` places them. Entries 5 (ROOT-C) and 8 are blank. The GUIDs of USR-A and USR-B are
    /// fixed upstream; the others, which are random there, are made of their names.
    pub fn partitions(&self, variant: Variant) -> Vec<Partition> {
        let rows = [
            (1, "EFI-SYSTEM", EFI, self.efi * MIB, None),
            (2, "BIOS-BOOT", BIOS, 2 * MIB, None),
            (3, "USR-A", USR, self.usr * MIB, Some(Guid::of(0x7130c94a_213a_4e5a_8e26_6cce9662f132))),
            (4, "USR-B", USR, self.usr * MIB, Some(Guid::of(0xe03dd35c_7c2d_4a47_b3fe_27f15780a57c))),
            (6, OEM, DATA, self.oem(), None),
            (7, "OEM-CONFIG", RESERVED, 64 * MIB, None),
            (9, ROOT, RESIZE, self.root(variant), None),
        ];
        let mut end = RESERVED_SECTORS * SECTOR;
        let place = |(number, name, kind, length, id): (u32, &str, Guid, u64, Option<Guid>)| {
            let start = end.next_multiple_of(ALIGNMENT);
            end = start + length;
            // gptprio: priority 1 and successful, as `cgpt add -S1 -P1` sets them for the feature `prioritize`.
            let flags = if name == "USR-A" { 1 << 56 | 1 << 48 } else { 0 };
            Partition {
                number,
                kind,
                id: id.unwrap_or_else(|| made_id(name)),
                name: name.to_owned(),
                flags,
                start,
                length,
            }
        };
        rows.into_iter().map(place).collect()
    }

    /// The whole table of a stock image.
    pub fn table(&self, variant: Variant) -> Table {
        let partitions = self.partitions(variant);
        let end = partitions.last().map_or(0, Partition::end);
        Table::new(DISK, partitions, disk_length(end))
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.since {
            0 => write!(f, "releases before {}", LAYOUTS[0].since),
            since => write!(f, "releases from {since} on"),
        }
    }
}

/// A UUID of version 8 that is made of a partition's name.
fn made_id(name: &str) -> Guid {
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256::of(format!("prebake partition {name}").as_bytes()).bytes()[..16]);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    Guid(id)
}

/// The length in bytes that `disk_util` gives a disk whose last partition ends at `end`.
pub fn disk_length(end: u64) -> u64 {
    (end + RESERVED_SECTORS * SECTOR).next_multiple_of(DISK_ALIGNMENT)
}

/// A Flatcar image, by its partition table.
#[derive(Clone, Debug)]
pub struct Flatcar {
    /// The partition OEM.
    pub oem: Partition,
    /// The partition ROOT; some images have it elsewhere.
    pub root: Option<Partition>,
    /// The layout, if it is a known one.
    pub layout: Option<&'static Layout>,
}

/// Distributions that are known by names of partitions, each of which must be there.
const OTHERS: &[(&[&str], &str)] = &[
    (&["KERN-A", "STATE"], "ChromeOS or Container-Optimized OS"),
    (&["BOTTLEROCKET-BOOT-A"], "Bottlerocket"),
    (&["META", "STATE"], "Talos"),
    (&["EFI-SYSTEM", "boot", "root"], "Fedora CoreOS or one of its kin"),
    (&["p.lxroot"], "an image made by KIWI, such as openSUSE's"),
];

impl Flatcar {
    /// Recognises an image; `subject` is its name, for messages.
    ///
    /// # Errors
    /// It lacks a partition of the type of USR-A, or one that is named OEM.
    pub fn recognise(table: &Table, subject: &str) -> Result<Self, Error> {
        let names: Vec<&str> = table.partitions.iter().map(|partition| partition.name.as_str()).collect();
        let listed = || match names.iter().filter(|name| !name.is_empty()).copied().collect::<Vec<_>>() {
            names if names.is_empty() => "partitions without names".to_owned(),
            names => format!("the partitions {}", names.join(", ").escape_debug()),
        };
        if table.of_kind(USR).next().is_none() {
            let other = OTHERS.iter().find(|(needed, _)| needed.iter().all(|name| names.contains(name)));
            let has = match other {
                Some((_, name)) => format!("its partitions are those of {name}"),
                None if names.is_empty() => "it has no partitions at all".into(),
                None => format!("it has {}", listed()),
            };
            return Err(Error::NotFlatcar { subject: subject.into(), has });
        }
        let no_oem = || Error::NoOem { subject: subject.into(), has: listed() };
        let oem = table.named(OEM).ok_or_else(no_oem)?.clone();
        let root = table.named(ROOT).or_else(|| table.of_kind(RESIZE).next()).cloned();
        Ok(Flatcar { oem, root, layout: Layout::of(table) })
    }
}

/// The attributes by which Flatcar's GRUB chooses between USR-A and USR-B (`gptprio`, after ChromeOS' disk format).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The higher one is tried first, 0 never.
    pub priority: u8,
    /// Boots that are left to it before it is given up, while it is not successful.
    pub tries: u8,
    /// Whether it has booted.
    pub is_successful: bool,
}

impl Choice {
    /// Those of a partition.
    pub fn of(partition: &Partition) -> Self {
        let bits = |at: u32| (partition.flags >> at & 0xf) as u8;
        Choice { priority: bits(48), tries: bits(52), is_successful: partition.flags >> 56 & 1 == 1 }
    }
}

/// The growth that is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Growth {
    /// The new length of the disk in bytes.
    pub length: Option<u64>,
    /// The new length of ROOT in bytes; without it ROOT gets all that a longer disk gives.
    pub root: Option<u64>,
}

/// Lets ROOT and the disk grow in the table. The file system in ROOT grows when the machine boots
/// (`extend-filesystems`). A ROOT that is longer already stays.
///
/// # Errors
/// ROOT is not the last partition; the disk is too small for the partitions.
pub fn grow(table: &mut Table, growth: Growth, subject: &str) -> Result<(), Error> {
    let flatcar = Flatcar::recognise(table, subject)?;
    if growth == Growth::default() {
        return Ok(());
    }
    let last = table.last().map_or_else(String::new, |last| last.name.clone());
    let root = flatcar.root.filter(|root| root.kind == RESIZE && root.name == last);
    let Some(root) = root else { return Err(Error::NotLast { subject: subject.into(), last }) };
    let asked = growth.root.unwrap_or(0).checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX);
    let length = root.length.max(asked);
    let small =
        |needed| Error::Small { subject: subject.into(), asked: growth.length.unwrap_or(length), needed };
    // A longer disk is no file that could be made.
    let end = root.start.checked_add(length).filter(|end| *end < 1 << 60).ok_or_else(|| small(length))?;
    let disk = growth.length.unwrap_or_else(|| disk_length(end).max(table.length));
    table.set_length(disk).map_err(Error::gpt(subject))?;
    let room = table.tail_start().saturating_sub(root.start) / ALIGNMENT * ALIGNMENT;
    let length = if growth.root.is_some() { length } else { length.max(room) };
    if root.start + length > table.tail_start() {
        return Err(small(disk_length(end)));
    }
    table.grow(root.number, length).map_err(Error::gpt(subject))
}

/// The content of a partition, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Btrfs.
    Btrfs,
    /// Ext2, ext3 or ext4.
    Ext,
    /// FAT.
    Fat,
    /// XFS.
    Xfs,
    /// Squashfs.
    Squashfs,
    /// Erofs.
    Erofs,
    /// Encrypted.
    Luks,
    /// A physical volume of LVM.
    Lvm,
    /// A member of a Linux RAID.
    Raid,
    /// Zeros only, as far as was looked.
    Empty,
    /// Anything else.
    Unknown,
}

/// Bytes that [`Content::of`] needs: btrfs' magic is at offset 65,600.
pub const PROBED: usize = 65_608;

/// Magics by offset, the most distinctive first.
const MAGICS: &[(usize, &[u8], Content)] = &[
    (65_600, b"_BHRfS_M", Content::Btrfs),
    (0, b"LUKS\xba\xbe", Content::Luks),
    // A label is in one of the first four sectors, in the second by default (lvm2, lib/label/label.h).
    (512, b"LABELONE", Content::Lvm),
    (0, b"LABELONE", Content::Lvm),
    (1024, b"LABELONE", Content::Lvm),
    (1536, b"LABELONE", Content::Lvm),
    // Versions 1.1 and 1.2 (md_p.h); those at the end are told by their partition's type.
    (4096, &[0xfc, 0x4e, 0x2b, 0xa9], Content::Raid),
    (0, &[0xfc, 0x4e, 0x2b, 0xa9], Content::Raid),
    (0, b"XFSB", Content::Xfs),
    (0, b"hsqs", Content::Squashfs),
    (1024, &[0xe2, 0xe1, 0xf5, 0xe0], Content::Erofs),
    (1080, &[0x53, 0xef], Content::Ext),
    (82, b"FAT32", Content::Fat),
    (54, b"FAT1", Content::Fat),
];

impl Content {
    /// Recognises the first [`PROBED`] bytes of a partition, or all bytes of a shorter one.
    pub fn of(head: &[u8]) -> Self {
        let fits = |(at, magic, _): &&(usize, &[u8], Content)| {
            head.get(*at..).is_some_and(|rest| rest.starts_with(magic))
        };
        match MAGICS.iter().find(fits) {
            Some((_, _, content)) => *content,
            None if head.iter().all(|byte| *byte == 0) => Content::Empty,
            None => Content::Unknown,
        }
    }

    /// The name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Content::Btrfs => "btrfs",
            Content::Ext => "ext4",
            Content::Fat => "fat",
            Content::Xfs => "xfs",
            Content::Squashfs => "squashfs",
            Content::Erofs => "erofs",
            Content::Luks => "encrypted (LUKS)",
            Content::Lvm => "a volume of LVM",
            Content::Raid => "a member of a RAID",
            Content::Empty => "empty",
            Content::Unknown => "unknown",
        }
    }
}

/// Refuses a ROOT that does not grow at boot because what fills it is no file system (`extend-filesystems`).
///
/// # Errors
/// It is encrypted, or a part of a volume group or RAID.
pub fn judge_growth(content: Content, subject: &str) -> Result<(), Error> {
    match content {
        Content::Luks | Content::Lvm | Content::Raid => {
            Err(Error::RootGrowth { subject: subject.into(), is: content.name() })
        }
        _ => Ok(()),
    }
}

/// Refuses a ROOT whose file system prebake cannot change, by its partition and first bytes.
pub fn judge_root(root: &Partition, head: &[u8], subject: &str) -> Result<(), Error> {
    let is = match Content::of(head) {
        _ if root.kind == RAID => "a member of a RAID, by its type",
        Content::Ext => return Ok(()),
        content => content.name(),
    };
    Err(Error::Root { subject: subject.into(), is })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::Advice;

    /// Starts and lengths of the published images (`facts/flatcar.md` §4; computed there by disk_util's own algorithm).
    #[test]
    fn the_layouts_are_those_of_4593_and_4081() {
        let [new, old] = &LAYOUTS;
        let starts = |layout: &Layout| -> Vec<u64> {
            layout.partitions(Variant::Base).iter().map(|partition| partition.start).collect()
        };
        assert_eq!(
            starts(new),
            [
                2_097_152,
                1_075_838_976,
                1_077_936_128,
                3_225_419_776,
                5_372_903_424,
                6_446_645_248,
                6_513_754_112
            ]
        );
        assert_eq!(
            starts(old),
            [2_097_152, 136_314_880, 138_412_032, 1_212_153_856, 2_285_895_680, 2_420_113_408, 2_487_222_272]
        );
        let lengths =
            |layout: &Layout| [Variant::Base, Variant::Vm].map(|variant| layout.table(variant).length);
        assert_eq!(lengths(new), [8_455_716_864, 13_212_057_600]);
        assert_eq!(lengths(old), [4_756_340_736, 9_116_319_744]);
        // Azure's disk keeps its length from one layout to the next.
        assert_eq!(new.table(Variant::Azure).length, old.table(Variant::Azure).length);
        for layout in [new, old] {
            for variant in [Variant::Base, Variant::Vm, Variant::Azure, Variant::Vagrant] {
                assert_eq!(Layout::of(&layout.table(variant)), Some(layout));
            }
        }
        let choices = |layout: &Layout| -> Vec<Choice> {
            layout.table(Variant::Vm).of_kind(USR).map(Choice::of).collect()
        };
        let [first, second] = choices(new)[..] else { panic!("two partitions for /usr") };
        assert_eq!(first, Choice { priority: 1, tries: 0, is_successful: true });
        assert_eq!(second, Choice { priority: 0, tries: 0, is_successful: false });
        assert_eq!(Layout::of_release(4593), new);
        assert_eq!(Layout::of_release(4459), old);
    }

    #[test]
    fn a_generic_image_becomes_one_for_virtual_machines() {
        for layout in &LAYOUTS {
            let mut table = layout.table(Variant::Base);
            let growth = Growth { root: Some(layout.root(Variant::Vm)), length: None };
            grow(&mut table, growth, "x.bin").unwrap();
            assert_eq!((table.head(), table.tail()), {
                let stock = layout.table(Variant::Vm);
                (stock.head(), stock.tail())
            });
        }
    }

    #[test]
    fn root_takes_all_that_a_longer_disk_gives() {
        let mut table = LAYOUTS[0].table(Variant::Base);
        grow(&mut table, Growth { length: Some(20 << 30), root: None }, "x.bin").unwrap();
        let root = table.named(ROOT).unwrap();
        assert_eq!(table.length, 20 << 30);
        assert!(table.tail_start() - root.end() < ALIGNMENT, "{}", root.end());
        let mut table = LAYOUTS[0].table(Variant::Base);
        let error =
            grow(&mut table, Growth { length: Some(8_000_000_000), root: None }, "x.bin").unwrap_err();
        assert_eq!(
            error.to_string(),
            "x.bin: a disk of 8000000000 bytes (7.45 GiB) is too small: the layout needs 8384430592 (7.81 GiB)"
        );
        assert_eq!(error.hint().unwrap(), "ask for 8384430592 bytes or more, or leave the size out");
        let both = Growth { length: Some(9_000_000_128 / 512 * 512), root: Some(6320 << 20) };
        let mut table = LAYOUTS[0].table(Variant::Base);
        let error = grow(&mut table, both, "x.bin").unwrap_err().to_string();
        assert!(error.ends_with("the layout needs 13212057600 (12.30 GiB)"), "{error}");
    }

    #[test]
    fn other_images_are_told_apart() {
        let told = |names: &[&str], kind: Guid| {
            let one = |(number, name): (u32, &&str)| Partition {
                number,
                kind,
                id: Guid::of(7),
                name: (*name).to_owned(),
                flags: 0,
                start: u64::from(number) << 20,
                length: 1 << 20,
            };
            let partitions = (1..).zip(names).map(one).collect();
            let table = Table::new(DISK, partitions, 64 << 20);
            Flatcar::recognise(&table, "x.img").map(|_| ()).unwrap_err().to_string()
        };
        assert_eq!(
            told(&["EFI-SYSTEM", "boot", "root"], DATA),
            "x.img is not a Flatcar image: it has no USR-A; its partitions are those of Fedora CoreOS or one of its kin"
        );
        assert_eq!(
            told(&["a\u{1b}", "", "b"], DATA),
            "x.img is not a Flatcar image: it has no USR-A; it has the partitions a\\u{1b}, b"
        );
        assert_eq!(
            told(&["USR-A", "ROOT"], USR),
            "x.img has no partition `OEM`; it has the partitions USR-A, ROOT"
        );
        assert!(told(&[], USR).ends_with("it has no partitions at all"));
    }

    #[test]
    fn a_root_that_would_not_grow_at_boot_is_told() {
        for content in [Content::Ext, Content::Btrfs, Content::Xfs, Content::Empty, Content::Unknown] {
            assert!(judge_growth(content, "x").is_ok(), "{content:?}");
        }
        let told = |content| judge_growth(content, "x").unwrap_err().to_string();
        assert_eq!(told(Content::Luks), "x: ROOT is encrypted (LUKS), and would not grow at boot");
        assert_eq!(told(Content::Lvm), "x: ROOT is a volume of LVM, and would not grow at boot");
        assert!(judge_growth(Content::Raid, "x").is_err());
    }

    #[test]
    fn only_a_plain_ext4_is_changed() {
        let table = LAYOUTS[0].table(Variant::Base);
        let root = table.named(ROOT).unwrap();
        let head = |at: usize, magic: &[u8]| {
            let mut head = vec![0; PROBED];
            head[at..][..magic.len()].copy_from_slice(magic);
            head
        };
        assert!(judge_root(root, &head(1080, &[0x53, 0xef]), "x").is_ok());
        let told = |head: &[u8]| judge_root(root, head, "x").unwrap_err().to_string();
        let says = |is: &str| format!("x: ROOT is {is}, and prebake changes a plain ext4 only");
        assert_eq!(told(&head(0, b"LUKS\xba\xbe")), says("encrypted (LUKS)"));
        assert_eq!(told(&head(512, b"LABELONE")), says("a volume of LVM"));
        assert_eq!(told(&head(0, &[])), says("empty"));
        assert_eq!(told(&[]), says("empty"));
        let raid = Partition { kind: RAID, ..root.clone() };
        assert!(judge_root(&raid, &head(1080, &[0x53, 0xef]), "x").is_err());
    }
}
