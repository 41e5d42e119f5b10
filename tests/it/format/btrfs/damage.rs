//! Damaged filesystems: an error or a listing, never more.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::files::*;
use prebake::format::btrfs::{Files, Filesystem, Layout, Source};
use prebake::format::image::{Kind, Limits};
use prebake::format::tree::{Entry, Tree};

/// Length of the device.
const LENGTH: u64 = 16 * MIB;
const BLOCK: usize = 4096;
/// A block in the bytes of an input: its number, then itself.
const RECORD: usize = 4 + BLOCK;

/// A device whose other blocks are zeros.
struct Blocks(BTreeMap<u64, Vec<u8>>);

impl Source for Blocks {
    fn length(&self) -> u64 {
        LENGTH
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        assert!(buffer.len() <= 1 << 20, "{} bytes at once", buffer.len());
        let (mut at, mut rest) = (offset, buffer);
        while !rest.is_empty() {
            let inside = at as usize % BLOCK;
            let length = rest.len().min(BLOCK - inside);
            let (part, behind) = rest.split_at_mut(length);
            match self.0.get(&(at / BLOCK as u64)) {
                Some(block) => part.copy_from_slice(&block[inside..inside + length]),
                None => part.fill(0),
            }
            (at, rest) = (at + length as u64, behind);
        }
        Ok(())
    }
}

/// The property of the fuzz target. The first byte says whether the sums of superblocks and tree blocks are made right, and
/// whether everything that is read is written again; then come blocks with their numbers.
fn btrfs(bytes: &[u8]) {
    let Some((mode, records)) = bytes.split_first() else { return };
    let mut blocks = BTreeMap::new();
    for record in records.chunks_exact(RECORD) {
        let number = u64::from(u32::from_le_bytes([record[0], record[1], record[2], record[3]]));
        let mut block = record[4..].to_vec();
        let own = (number * BLOCK as u64).to_le_bytes();
        if mode & 1 != 0 && (block[48..56] == own || block[64..72] == *b"_BHRfS_M") {
            let sum = crc32c::crc32c(&block[32..]);
            block[..4].copy_from_slice(&sum.to_le_bytes());
        }
        blocks.insert(number, block);
    }
    let limits = Limits { total: MIB, file: MIB, inodes: 10_000, ..Limits::default() };
    let Ok(filesystem) = Filesystem::open(Blocks(blocks), "input", limits) else { return };
    let paths: Vec<_> = filesystem.list().map(|listed| listed.path.clone()).collect();
    assert!(paths.is_sorted());
    for listed in filesystem.list() {
        if let Kind::File(size) = listed.kind
            && let Ok(mut stream) = filesystem.stream(&listed.path)
        {
            assert!(size <= limits.total);
            if let Ok(read) = io::copy(&mut stream.by_ref(), &mut io::sink()) {
                assert_eq!(read, size, "{}", listed.path);
            }
        }
    }
    if mode & 2 != 0
        && let Ok(files) = filesystem.files()
        && let Ok(layout) = Layout::new(&files, &options(LENGTH))
    {
        let mut memory = Memory(Vec::new());
        if layout.write(&mut memory).is_ok() {
            let again = Filesystem::open(memory.0, "again", limits).unwrap();
            assert!(again.list().map(|listed| &listed.path).eq(&paths));
        }
    }
}

/// A sound input: a small filesystem with a tree of two levels.
fn seed() -> Vec<u8> {
    let mut tree = Tree::new();
    for number in 0..12 {
        tree.insert(&format!("dir/{number}"), file(noise(number, 150 * number as usize))).unwrap();
    }
    let (one, other) = colliding();
    tree.insert(&one, file(noise(20, 9000))).unwrap();
    tree.insert(&other, Entry::symlink("dir/1", "test")).unwrap();
    tree.link("dir/hard", &one, "test").unwrap();
    let mut noted = file("noted");
    noted.xattrs.insert("user.note".into(), b"kept".into());
    tree.insert("noted", noted).unwrap();
    let mut memory = Memory(Vec::new());
    let files = Files::of_tree(&tree).unwrap();
    Layout::new(&files, &options(LENGTH)).unwrap().write(&mut memory).unwrap();
    let mut bytes = vec![1];
    for (number, block) in memory.0.chunks(BLOCK).enumerate() {
        if block.iter().any(|byte| *byte != 0) {
            bytes.extend((number as u32).to_le_bytes());
            bytes.extend(block);
        }
    }
    bytes
}

#[test]
fn the_seed_gets_in() {
    let seed = seed();
    assert!(seed.len() < 100 << 10, "{}", seed.len());
    let blocks = seed[1..].chunks(RECORD);
    let number = |record: &[u8]| u64::from(u32::from_le_bytes(record[..4].try_into().unwrap()));
    let blocks = Blocks(blocks.map(|record| (number(record), record[4..].to_vec())).collect());
    let filesystem = Filesystem::open(blocks, "seed", Limits::default()).unwrap();
    assert_eq!(filesystem.list().count(), 17);
    btrfs(&seed);
}

#[test]
fn thousands_of_damaged_filesystems_do_no_harm() {
    let sound = seed();
    let mut random = Random(7);
    for round in 0..4000 {
        let mut bytes = sound.clone();
        // Sums are right in most rounds, so that the damage is met behind them.
        bytes[0] = [1, 1, 1, 0, 3, 1, 1, 1][round % 8];
        for _ in 0..=random.below(4) {
            // Most of a block's meaning is in its first and last bytes.
            let record = 1 + random.below(sound.len() / RECORD) * RECORD + 4;
            let offset = match random.below(4) {
                0 => random.below(BLOCK),
                1 => BLOCK - 1 - random.below(600),
                _ => random.below(800),
            };
            let byte = &mut bytes[record + offset];
            *byte = match random.below(5) {
                0 => 0,
                1 => 0xff,
                2 => *byte ^ 1 << random.below(8),
                3 => byte.wrapping_add(1),
                _ => random.below(256) as u8,
            };
        }
        if random.below(50) == 0 {
            let from = random.below(sound.len() / RECORD) * RECORD;
            let to = random.below(sound.len() / RECORD) * RECORD;
            let block = sound[1 + from + 4..1 + from + RECORD].to_vec();
            bytes[1 + to + 4..1 + to + RECORD].copy_from_slice(&block);
        }
        btrfs(&bytes);
    }
}
