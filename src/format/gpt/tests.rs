//! The format, read and written.

use proptest::prelude::*;

use std::os::unix::fs::FileExt;

use super::*;
use crate::format::fields::u32_at;

fn table(partitions: u32) -> Table {
    let one = |number| Partition {
        number: 2 * number + 1,
        kind: Guid(*b"0123456789abcdef"),
        id: Guid([9; 16]),
        name: format!("root-x86-64-{number}"),
        flags: 1 << 60,
        start: Table::FIRST + u64::from(number) * 8192,
        length: 8192,
    };
    let length = Table::disk_length(Table::FIRST + u64::from(partitions) * 8192);
    Table::new(Guid([7; 16]), (0..partitions).map(one).collect(), length)
}

fn image(table: &Table) -> Vec<u8> {
    let mut bytes = table.head();
    bytes.resize(table.tail_start() as usize, 0);
    bytes.extend(table.tail());
    bytes
}

fn open(bytes: &[u8]) -> Result<Option<Table>, Error> {
    Table::open(bytes.len() as u64, &|at, into| {
        into.copy_from_slice(&bytes[at as usize..][..into.len()]);
        Ok(())
    })
}

#[test]
fn what_is_written_is_read_and_a_flipped_byte_is_told() {
    let table = table(1);
    let file = tempfile::tempfile().unwrap();
    file.set_len(table.length).unwrap();
    assert_eq!(Table::read(&file).unwrap(), None);
    table.write(&file).unwrap();
    let mut found = Table::read(&file).unwrap().unwrap();
    assert_eq!(found.head(), table.head());
    found.entries.clone_from(&table.entries);
    assert_eq!(found, table);
    for at in [600, 1024 + 40] {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[!byte[0]], at).unwrap();
        assert!(Table::read(&file).is_err(), "{at}");
        file.write_all_at(&byte, at).unwrap();
    }
}

#[test]
fn the_copy_stands_in_for_a_damaged_table_and_is_told() {
    let table = table(3);
    let intact = image(&table);
    assert_eq!(open(&intact).unwrap().unwrap().findings, []);
    for range in [512..513, 600..601, 1024 + 40..1024 + 41, 0..17_408] {
        let mut bytes = intact.clone();
        bytes[range.clone()].iter_mut().for_each(|byte| *byte = !*byte);
        let found = open(&bytes).unwrap().unwrap();
        assert!(found.from_backup(), "{range:?}");
        assert_eq!(found.partitions, table.partitions);
        assert_eq!(found.head()[mbr::ENTRIES..], table.head()[mbr::ENTRIES..], "{range:?}");
        assert_eq!(found.tail(), table.tail());
    }
    for at in [table.length - 500, table.tail_start() + 40] {
        let mut bytes = intact.clone();
        bytes[at as usize] ^= 1;
        let found = open(&bytes).unwrap().unwrap();
        assert!(matches!(found.findings[..], [Finding::Backup(_)]), "{at}: {:?}", found.findings);
        assert_eq!(image(&found), intact);
    }
    let mut both = intact.clone();
    both[600] ^= 1;
    both[table.length as usize - 500] ^= 1;
    assert!(matches!(open(&both), Err(Error::Damaged("the checksum of its header is wrong"))));
    assert!(open(&vec![0; 1 << 20]).unwrap().is_none());
}

#[test]
fn growing_moves_the_copy_and_keeps_all_else() {
    let old = table(2);
    let mut bytes = image(&old);
    bytes[..440].fill(0x90);
    let mut grown = open(&bytes).unwrap().unwrap();
    grown.set_length(1 << 20).unwrap();
    grown.grow(3, 100 << 10).unwrap();
    let bytes = image(&grown);
    assert_eq!(bytes.len(), 1 << 20);
    let found = open(&bytes).unwrap().unwrap();
    assert_eq!(found.findings, []);
    assert_eq!(found.partitions[1].length, 100 << 10);
    assert_eq!(found.partitions[1].flags, 1 << 60);
    assert_eq!(bytes[..440], [0x90; 440]);
    assert_eq!(u32_at(&bytes, 458), 2047);
    let told = |error: Error| error.to_string();
    assert_eq!(
        told(grown.grow(1, 9 << 10).unwrap_err()),
        "the partition `root-x86-64-0` cannot grow to 9216 bytes: the partition `root-x86-64-1` leaves it 8192"
    );
    assert_eq!(
        told(grown.grow(3, 2 << 20).unwrap_err()),
        "the partition `root-x86-64-1` cannot grow to 2097152 bytes: the end of the disk leaves it 1003008"
    );
    assert!(told(grown.grow(3, 8192).unwrap_err()).ends_with("it has 102400 bytes already"));
    assert_eq!(
        told(grown.set_length(64 << 10).unwrap_err()),
        "a disk of 65536 bytes is too short: the partition `root-x86-64-1` and the table after it end at byte 147968"
    );
}

#[test]
fn an_image_that_was_made_longer_and_a_hybrid_mbr_are_told() {
    let table = table(1);
    let mut bytes = image(&table);
    bytes[446 + 16 + 4] = 0x0c;
    bytes.resize(bytes.len() + 4096, 0);
    let found = open(&bytes).unwrap().unwrap();
    let length = table.length;
    assert_eq!(found.findings, [Finding::Inside { length, image: length + 4096 }, Finding::Hybrid]);
    assert_eq!(found.head()[..512], bytes[..512]);
}

#[test]
fn the_beginning_is_enough_for_a_table() {
    let table = table(2);
    let found = Table::of_head(&image(&table)[..HEAD]).unwrap().unwrap();
    assert_eq!(found.length, table.length);
    assert_eq!(image(&found), image(&table));
    assert!(Table::of_head(&[0; HEAD]).unwrap().is_none());
    let mut long = vec![0; HEAD];
    long[4096..][..8].copy_from_slice(b"EFI PART");
    assert!(matches!(Table::of_head(&long), Err(Error::Damaged("its sectors are longer than 512 bytes"))));
}

#[test]
fn partitions_that_overlap_are_refused() {
    let mut two = table(2);
    two.partitions[1].start -= 512;
    assert!(matches!(open(&image(&two)), Err(Error::Damaged("two partitions overlap"))));
    let mut early = table(1);
    early.partitions[0].start = 1024;
    assert!(matches!(open(&image(&early)), Err(Error::Damaged("a partition lies over the table"))));
}

#[test]
fn a_copy_that_would_be_written_over_a_partition_or_the_table_is_refused() {
    let intact = image(&table(2));
    let of_copy = |sector: u64| open(&confirmed(intact.clone(), &[(8, sector)]));
    for (sector, told) in [
        (2, "its copy would lie over it"),
        (33, "its copy would lie over it"),
        (90, "a partition lies outside of the disk, or over the table's copy"),
    ] {
        assert!(matches!(of_copy(sector), Err(Error::Damaged(why)) if why == told), "sector {sector}");
    }
    assert!(of_copy(intact.len() as u64 / 512 - 1).is_ok());
}

/// The image with header fields that their checksums confirm, whatever they are.
fn confirmed(mut bytes: Vec<u8>, changes: &[(usize, u64)]) -> Vec<u8> {
    for (at, value) in changes {
        bytes[512 + 24 + at % 700..][..8].copy_from_slice(&value.to_le_bytes());
    }
    let count = (u32_at(&bytes, 512 + 80) as usize).min(128);
    let entries = crc(&bytes[1024..1024 + count * ENTRY]);
    bytes[512 + 88..512 + 92].copy_from_slice(&entries.to_le_bytes());
    bytes[512 + 16..512 + 20].fill(0);
    let checksum = crc(&bytes[512..512 + HEADER]);
    bytes[512 + 16..512 + 20].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_field_of_a_header_leads_astray(
        changes in proptest::collection::vec((0_usize..700, prop_oneof![any::<u64>(), 0_u64..300, Just(u64::MAX)]), 0..4),
        length in any::<u64>(),
    ) {
        let bytes = confirmed(image(&table(2)), &changes);
        let tables = [Table::of_head(&bytes[..HEAD]).ok().flatten(), open(&bytes).ok().flatten()];
        prop_assert!(!changes.is_empty() || tables.iter().all(Option::is_some));
        for mut table in tables.into_iter().flatten() {
            let ends: Vec<u64> = table.partitions.iter().map(Partition::end).collect();
            let _ = table.grow(1, length);
            let _ = table.set_length(length / 512 * 512);
            prop_assert_eq!(table.head().len() % 512, 0);
            prop_assert!(table.tail().len() as u64 <= 17_408);
            prop_assert!(ends.iter().all(|end| *end <= table.tail_start()));
        }
    }
}

#[test]
fn entries_stay_where_they_are_with_what_lies_before_them() {
    let mut table = table(2);
    for partition in &mut table.partitions {
        partition.start += 1 << 16;
    }
    table.gap = (0..98 * 512).map(|at| (at % 251) as u8).collect();
    table.first_usable += 98;
    table.length += 1 << 16;
    let bytes = image(&table);
    assert_eq!(fields_of(&bytes), (100, 100 + 34 - 2));
    let mut found = open(&bytes).unwrap().unwrap();
    assert!(image(&found) == bytes);
    found.set_length(bytes.len() as u64 + (1 << 20)).unwrap();
    assert!(found.head()[1024..100 * 512] == bytes[1024..100 * 512]);
    assert_eq!(fields_of(&found.head()), (100, 132));
    let at = found.head().len() as u64 - 512;
    table.partitions[0].start = at;
    assert!(matches!(open(&image(&table)), Err(Error::Damaged("a partition lies over the table"))));
}

/// The sector of the entries by the header, and the first one for partitions.
fn fields_of(bytes: &[u8]) -> (u64, u64) {
    (crate::format::fields::u64_at(bytes, 512 + 72), crate::format::fields::u64_at(bytes, 512 + 40))
}

#[test]
fn guids_are_printed_as_uefi_spells_them() {
    let guid = Guid::of(0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709);
    assert_eq!(guid.to_string(), "4f68bce3-e8cd-4db1-96e7-fbcaf984b709");
}
