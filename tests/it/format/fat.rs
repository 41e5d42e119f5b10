//! FAT file systems of every width by mkfs.fat, filled by mtools.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use prebake::format::fat::Filesystem;

fn tool(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output();
    let done = done.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{program} {arguments:?}: {text}");
}

#[test]
fn files_are_found_in_every_width_by_short_and_long_names() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("source");
    fs::write(&source, "twelve bytes").unwrap();
    let source = source.to_str().unwrap();
    for (width, length) in [("12", 2_u64 << 20), ("16", 32 << 20), ("32", 80 << 20)] {
        let image = directory.path().join(width);
        File::create(&image).unwrap().set_len(length).unwrap();
        let path = image.to_str().unwrap();
        tool("mkfs.fat", &["-F", width, "-s", "1", path]);
        tool("mmd", &["-i", path, "::flatcar", "::a directory with a long name"]);
        // More entries than a cluster of a sector has, so that the table of clusters is followed.
        for number in 0..60 {
            tool("mcopy", &["-i", path, source, &format!("::flatcar/filler number {number}.txt")]);
        }
        tool("mcopy", &["-i", path, source, "::flatcar/first_boot"]);
        tool("mcopy", &["-i", path, source, "::a directory with a long name/Größe.txt"]);
        tool("mcopy", &["-i", path, source, "::flatcar/gone"]);
        tool("mdel", &["-i", path, "::flatcar/gone"]);
        tool("fsck.fat", &["-n", path]);
        let file = File::open(&image).unwrap();
        let read = |at: u64, bytes: &mut [u8]| file.read_exact_at(bytes, at);
        let fat = Filesystem::open(length, &read, "x").unwrap();
        let found = |path: &str| fat.find(path).unwrap();
        for path in ["flatcar/first_boot", "FLATCAR/First_Boot", "a directory with a long name/größe.txt"] {
            let found = found(path).unwrap_or_else(|| panic!("FAT{width}: no {path}"));
            assert_eq!((found.is_directory, found.length), (false, 12), "FAT{width}: {path}");
        }
        assert!(found("flatcar").unwrap().is_directory && found("").unwrap().is_directory);
        for path in ["flatcar/gone", "flatcar/first", "first_boot", "flatcar/first_boot/x", "flatcar/source"]
        {
            assert_eq!(found(path), None, "FAT{width}: {path}");
        }
        // Whatever one byte of the beginning is changed to, there is an end.
        let mut bytes = fs::read(&image).unwrap();
        bytes.truncate(1 << 20);
        for at in (0..64).chain([510, 512, 513, 514, 515]) {
            for value in [0, 1, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                let read = |at: u64, into: &mut [u8]| {
                    let from = bytes.get(at as usize..).and_then(|rest| rest.get(..into.len()));
                    into.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
                    Ok(())
                };
                if let Ok(fat) = Filesystem::open(length, &read, "x") {
                    let _ = fat.find("flatcar/first_boot");
                }
            }
        }
    }
    let short = |at: u64, bytes: &mut [u8]| -> std::io::Result<()> {
        bytes.fill(at as u8);
        Ok(())
    };
    assert!(Filesystem::open(100, &short, "x").is_err());
    let error = Filesystem::open(4096, &short, "EFI of x").err().unwrap();
    assert_eq!(error.to_string(), "EFI of x is no intact FAT: its boot sector has no signature");
}
