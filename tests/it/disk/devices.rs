//! `prebake disk write` on block devices, where this machine lets a test have one.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use super::image::tool;
use super::verbs::{disk, world};

/// A MiB of the bytes that a disk holds before.
static OLD: [u8; 1 << 20] = [0xee; 1 << 20];

/// Whether a disk has nothing but the bytes from before, from an offset on that is a multiple of a MiB.
fn is_old(path: &Path, from: usize) -> bool {
    fs::read(path).unwrap()[from..].chunks(OLD.len()).all(|piece| piece == &OLD[..piece.len()])
}

/// A loop device, until it is dropped.
struct Loop(String);

impl Loop {
    /// Shows a file of that many bytes, which are not zeros; `None` where nobody may. A machine of CI lets this run.
    fn of(file: &Path, length: u64, options: &[&str]) -> Option<Loop> {
        let out = File::create(file).unwrap();
        (0..length >> 20).for_each(|number| out.write_all_at(&OLD, number << 20).unwrap());
        let done = Command::new("losetup").args(["-f", "--show"]).args(options).arg(file).output();
        let done = done.ok().filter(|done| done.status.success());
        let Some(done) = done else {
            eprintln!("SKIPPED: this machine lets the test have no loop device");
            return None;
        };
        Some(Loop(String::from_utf8(done.stdout).unwrap().trim().to_owned()))
    }

    /// Its name in the kernel.
    fn name(&self) -> &str {
        self.0.strip_prefix("/dev/").unwrap()
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.0]).status();
    }
}

#[test]
fn a_disk_is_overwritten_only_if_it_is_the_right_one() {
    let (_directory, path) = world();
    let stock = fs::read(path.join("stock.bin")).unwrap();
    let length = stock.len() as u64;
    let write = |image: &str, device: &Loop, more: &[&str]| {
        disk(&path, &[&["write", image, &device.0, "--confirm", device.name()][..], more].concat())
    };
    let backing = path.join("backing");
    let Some(device) = Loop::of(&backing, length + (64 << 20), &[]) else { return };
    disk(&path, &["write", "stock.bin", &device.0])
        .fails(2, &["is not overwritten unasked", "--confirm loop"]);
    disk(&path, &["write", "stock.bin", &device.0, "--confirm", "sdz"]).fails(2, &["nothing was written"]);
    disk(&path, &["write", "stock.bin", "backing", "--force"]).fails(1, &["is what the device loop"]);
    assert!(is_old(&backing, 0));
    disk(&path, &["convert", "stock.bin", "-o", "stock.bin.bz2"]).ok();
    for image in ["stock.bin", "stock.bin.bz2"] {
        let run = write(image, &device, &[]).ok();
        assert!(run.stdout.contains("bytes written and read back"), "{}", run.stdout);
        let disk = Path::new(&device.0);
        assert!(fs::read(disk).unwrap().starts_with(&stock) && is_old(disk, stock.len()), "{image}");
        // Old bytes must not shine through zeros.
        let file = File::options().write(true).open(&device.0).unwrap();
        file.write_all_at(&vec![0xee; stock.len()], 0).unwrap();
    }
    write("stock.bin", &device, &["--grow"]).ok();
    assert!(tool("sgdisk", &["-v", &device.0]).contains("No problems found."));
    drop(device);
    for (bytes, options, words) in [
        (length + (64 << 20), &["-r"][..], "is read-only"),
        (length >> 21 << 20, &[], "take a larger disk"),
        (length + (64 << 20), &["-b", "4096"], "sectors of 4096 bytes"),
    ] {
        let Some(device) = Loop::of(&backing, bytes, options) else { return };
        write("stock.bin", &device, &[]).fails(1, &[words]);
        assert!(is_old(&backing, 0), "{words}");
    }
}
