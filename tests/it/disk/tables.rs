//! The tools of GPT judge tables that are written, grown, and taken from the copy at the end.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use prebake::disk::layout::{self, Growth, LAYOUTS, Variant};
use prebake::format::gpt::{Finding, Table};

fn sgdisk(arguments: &[&str], image: &Path) -> String {
    let done =
        Command::new("sgdisk").args(arguments).arg(image).output().expect("sgdisk, of the package gdisk");
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{text}");
    text
}

fn open(image: &Path) -> Table {
    let file = File::open(image).unwrap();
    let length = file.metadata().unwrap().len();
    Table::open(length, &|at, bytes| file.read_exact_at(bytes, at)).unwrap().unwrap()
}

fn write(table: &Table, image: &Path) {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(image).unwrap();
    file.set_len(table.length).unwrap();
    table.write(&file).unwrap();
}

fn judged(image: &Path) {
    let text = sgdisk(&["-v"], image);
    assert!(text.contains("No problems found."), "{text}");
}

#[test]
fn sgdisk_sees_the_layouts_of_both_eras() {
    let directory = tempfile::tempdir().unwrap();
    for (index, layout) in LAYOUTS.iter().enumerate() {
        for variant in [Variant::Base, Variant::Vm, Variant::Azure, Variant::Vagrant] {
            let image = directory.path().join(format!("{index}-{variant:?}"));
            let table = layout.table(variant);
            write(&table, &image);
            judged(&image);
            let printed = sgdisk(&["-p"], &image);
            for partition in &table.partitions {
                let last = (partition.start + partition.length) / 512 - 1;
                let row: Vec<_> = printed
                    .lines()
                    .map(|line| line.split_whitespace().collect::<Vec<_>>())
                    .find(|words| words.last() == Some(&partition.name.as_str()))
                    .unwrap_or_else(|| panic!("{} in {printed}", partition.name));
                let expected =
                    [partition.number.to_string(), (partition.start / 512).to_string(), last.to_string()];
                assert_eq!(row[..3], expected.each_ref().map(String::as_str));
                let told = sgdisk(&[&format!("-i={}", partition.number)], &image).to_lowercase();
                assert!(told.contains(&partition.kind.to_string()), "{told}");
                assert!(told.contains(&partition.id.to_string()), "{told}");
            }
            // priority 1, successful
            assert!(sgdisk(&["-i=3"], &image).contains("Attribute flags: 0101000000000000"));
            let read = open(&image);
            assert_eq!((read.head(), read.tail()), (table.head(), table.tail()));
        }
    }
}

#[test]
fn sgdisk_is_content_with_a_grown_table_and_one_from_the_copy() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk");
    let stock = LAYOUTS[0].table(Variant::Base);
    write(&stock, &image);
    let file = OpenOptions::new().read(true).write(true).open(&image).unwrap();
    // GRUB's boot code, which stays.
    file.write_all_at(&[0xeb, 0x63, 0x90], 0).unwrap();
    file.write_all_at(b"EFI PERT", 512).unwrap();
    assert!(sgdisk(&["-v"], &image).contains("invalid main GPT header, but valid backup"));
    let mut table = open(&image);
    assert!(table.from_backup());
    layout::grow(&mut table, Growth { length: Some(20 << 30), root: None }, "disk").unwrap();
    // The old copy would be a second table.
    file.write_all_at(&vec![0; stock.tail().len()], stock.tail_start()).unwrap();
    write(&table, &image);
    judged(&image);
    let mut code = [0; 3];
    file.read_exact_at(&mut code, 0).unwrap();
    assert_eq!(code, [0xeb, 0x63, 0x90]);
    assert_eq!(open(&image).findings, []);
    let told = sgdisk(&["-i=9"], &image);
    assert!(told.contains("First sector: 12722176 "), "{told}");
    assert!(sgdisk(&["-i=3"], &image).contains("Attribute flags: 0101000000000000"));
}

#[test]
fn tables_of_sgdisk_are_read_and_written_back_bit_for_bit() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk");
    let file = File::create_new(&image).unwrap();
    file.set_len(64 << 20).unwrap();
    let arguments = [
        "-n=1:2048:+4M",
        "-t=1:c12a7328-f81f-11d2-ba4b-00a0c93ec93b",
        "-c=1:EFI-SYSTEM",
        "-n=5:20480:+8M",
        "-c=5:Größe 5 ℵ",
        "-A=5:set:60",
        "-n=128:0:0",
        "-c=128:last",
        "-h=1",
    ];
    sgdisk(&arguments, &image);
    let table = open(&image);
    assert_eq!(table.findings, [Finding::Hybrid]);
    let numbers: Vec<_> = table.partitions.iter().map(|partition| partition.number).collect();
    assert_eq!(numbers, [1, 5, 128]);
    assert_eq!((table.partitions[1].name.as_str(), table.partitions[1].flags), ("Größe 5 ℵ", 1 << 60));
    let bytes = std::fs::read(&image).unwrap();
    assert!(bytes.starts_with(&table.head()) && bytes.ends_with(&table.tail()));
}

#[test]
fn what_a_boot_loader_has_before_moved_entries_stays() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk");
    let file = File::create_new(&image).unwrap();
    file.set_len(64 << 20).unwrap();
    sgdisk(&["-j=100", "-n=1:2048:+4M", "-c=1:data"], &image);
    file.write_all_at(&[0xb0; 98 * 512], 1024).unwrap();
    judged(&image);
    let bytes = std::fs::read(&image).unwrap();
    let mut table = open(&image);
    assert!(bytes.starts_with(&table.head()) && table.head()[1024..100 * 512] == [0xb0; 98 * 512]);
    table.set_length(80 << 20).unwrap();
    table.write(&file).unwrap();
    judged(&image);
    assert!(std::fs::read(&image).unwrap()[1024..100 * 512] == [0xb0; 98 * 512]);
}
