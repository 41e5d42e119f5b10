//! A short run of every fuzz target, without libFuzzer: its seeds, and as many inputs made of them as its row says. What fails
//! here is a fault; `make fuzz` digs deeper. The randomness is the same in every run, so that a failure comes back;
//! the key of the signed disk image alone is a new one each time, and what failed is kept in a file.

use std::panic::catch_unwind;

use prebake::disk::layout::Flatcar;
use prebake::format::gpt::Table;
use prebake::format::{bz2, disk, fat};

use crate::house::damage::Random;
use crate::judges::properties::targets::{TARGETS, Target};
use crate::judges::properties::{disks, seeds};

/// Longest input that is made of seeds.
const LONGEST: usize = 256 << 10;

/// One more input: seeds cut, spliced, repeated and with other bytes in them.
fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..random.below(5) {
        let length = bytes.len();
        if length == 0 {
            break;
        }
        let start = random.below(length);
        let end = (start + random.below(40)).min(length);
        match random.below(8) {
            0 => drop(bytes.drain(start..end)),
            1 => {
                let piece = bytes[start..end].to_vec();
                bytes.splice(start..start, piece);
            }
            2 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len().max(1)).min(other.len());
                let piece = other[from..(from + random.below(200)).min(other.len())].to_vec();
                bytes.splice(start..end, piece);
            }
            // What numbers end with, in either order of bytes and as text.
            3 => {
                let edges: [&[u8]; 8] = [
                    &[0xff; 8],
                    &[0; 8],
                    &[0, 0, 0, 0x80],
                    &[0xff, 0xff, 0xff, 0x7f],
                    b"18446744073709551615",
                    b"-1",
                    b"\r",
                    b"99999999999",
                ];
                let edge = edges[random.below(edges.len())];
                bytes.splice(start..(start + edge.len()).min(length), edge.iter().copied());
            }
            4 => bytes.truncate(start),
            _ => bytes[start] = [0, 0xff, b'\n', bytes[start] ^ (1 << random.below(8))][random.below(4)],
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

fn run(target: &Target) -> Result<(), String> {
    let seeds = (target.seeds)();
    if seeds.is_empty() {
        return Err(format!("{} has no seeds", target.name));
    }
    let mut random = Random(11);
    let mut inputs = seeds.iter().cloned().chain((0..target.rounds).map(|_| mutated(&mut random, &seeds)));
    let failed = inputs.find(|input| catch_unwind(|| (target.holds)(input)).is_err());
    failed.map_or(Ok(()), |input| {
        let path = std::env::temp_dir().join(format!("fuzz-{}", target.name));
        std::fs::write(&path, &input).unwrap();
        Err(format!("{} does not hold for {}: {}", target.name, path.display(), input.escape_ascii()))
    })
}

#[test]
fn every_target_holds_for_its_seeds_and_for_what_is_made_of_them() {
    let failed: Vec<String> = TARGETS.iter().filter_map(|target| run(target).err()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A target whose seeds are refused at the first byte finds nothing for hours: of the disk, 161 places were ever reached.
#[test]
fn the_seeds_of_images_get_in() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.raw");
    for image in seeds::extensions() {
        std::fs::write(&path, image).unwrap();
        let shown = prebake::sysext::inspect::inspect(&path).unwrap().0;
        assert!(shown.entries.iter().any(|row| row.path == "/usr/many/name-3"), "{}", shown.format);
    }
    for state in seeds::states() {
        std::fs::write(&path, state).unwrap();
        assert_eq!(prebake::serve::machines::state::read(&path).unwrap().len(), 1);
    }
    for bundle in seeds::bundles() {
        std::fs::write(&path, bundle).unwrap();
        let opened =
            prebake::tree::bundle::Bundle::open(&path, &prebake::tree::bundle::Demand::anything()).unwrap();
        assert_eq!(opened.verify().unwrap().flaws.len(), 0);
    }
}

#[test]
fn the_seeds_of_disks_get_in() {
    let read = |bytes: &[u8]| {
        let read = |at: u64, into: &mut [u8]| {
            into.copy_from_slice(&bytes[at as usize..][..into.len()]);
            Ok(())
        };
        Table::open(bytes.len() as u64, &read).unwrap().unwrap()
    };
    let tables: Vec<Table> = seeds::disks::tables().iter().map(|bytes| read(bytes)).collect();
    assert_eq!(tables[0].partitions, tables[1].partitions);
    assert!(!tables[0].from_backup() && tables[1].from_backup());
    assert!(Flatcar::recognise(&tables[0], "seed").unwrap().root.is_some());
    for image in seeds::disks::containers() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), image).unwrap();
        let disk = disk::open(file.reopen().unwrap(), "seed").unwrap();
        assert_eq!(disk.length(), 40 << 10);
    }
    for bytes in seeds::disks::fats() {
        let read = |at: u64, into: &mut [u8]| {
            into.copy_from_slice(&bytes[at as usize..][..into.len()]);
            Ok(())
        };
        let opened = fat::Filesystem::open(bytes.len() as u64, &read, "seed").unwrap();
        assert_eq!(opened.find("flatcar/first_boot").unwrap().unwrap().length, 7);
    }
    for bytes in seeds::disks::btrfs() {
        assert!(bytes.len() < 128 << 10, "{} bytes", bytes.len());
        assert_eq!(disks::btrfs_of(&bytes).unwrap().list().count(), 17);
    }
    let unpacks = |file: &Vec<u8>| bz2::decode(&file[..], 1, &mut disks::Kept::default(), "seed").is_ok();
    let files = seeds::disks::bzip2();
    assert_eq!(
        files.iter().filter(|file| unpacks(file)).count(),
        files.len() - 1,
        "all but the randomised one"
    );
}
