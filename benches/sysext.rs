//! Squashfs images of real binaries, against mksquashfs on as many cores.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use prebake::format::squashfs::{BlockSize, Compression, Level, Options, write};
use prebake::format::tree::Tree;

mod race;

use race::{Cost, Race, measured};

const ROUNDS: usize = 3;
/// Where the binaries come from, and how many bytes of each.
const SOURCES: [(&str, u64); 3] =
    [("/usr/bin", 150 << 20), ("/usr/local/go", 150 << 20), ("/usr/lib", 150 << 20)];
/// A prebake that only writes an image, so that its memory can be measured like that of mksquashfs.
const WRITE: &str = "--write";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let [first, tree, image, options] = &args[..]
        && first == WRITE
    {
        let tree = Tree::of_directory(Path::new(tree), "race").unwrap();
        write(&tree, 0, parse(options), &mut File::create(image).unwrap()).unwrap();
        return;
    }
    let wanted = |name: &str| args.iter().all(|arg| arg == name);
    let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let tree = work.path().join("tree");
    println!("{} MiB of binaries", collect(&tree) >> 20);
    // The levels of mksquashfs are named as ours; its default is gzip.
    let same: &[(&str, &[&str])] = &[
        ("zstd 15, 128 KiB", &["-comp", "zstd", "-Xcompression-level", "15"]),
        ("gzip 9, 128 KiB", &["-comp", "gzip"]),
    ];
    for (options, peer) in same {
        let short = &options[..options.find(' ').unwrap()];
        if wanted(short) {
            race(&format!("the same options, {options}"), work.path(), options, peer);
        }
    }
    if wanted("default") {
        race("the defaults of each", work.path(), "default", &[]);
    }
}

fn parse(text: &str) -> Options {
    let number = || text.split([' ', ',']).nth(1).and_then(|number| number.parse().ok()).unwrap();
    let block = BlockSize::Kib128;
    match text.split(' ').next() {
        Some("zstd") => Options { compression: Compression::Zstd(Level::new(number()).unwrap()), block },
        Some("gzip") => Options { compression: Compression::Gzip(Level::new(number()).unwrap()), block },
        _ => Options::default(),
    }
}

fn race(title: &str, work: &Path, options: &str, peer: &[&str]) {
    let (ours, theirs, tree) = (work.join("ours"), work.join("theirs"), work.join("tree"));
    let mut race = Race::new(title);
    let mut used = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let mut prebake = Command::new(std::env::current_exe().unwrap());
        prebake.arg(WRITE).args([&tree, &ours]).arg(options);
        race.turn("prebake", || used[0].push(measured(&prebake)));
        let _ = fs::remove_file(&theirs);
        let mut mksquashfs = Command::new("mksquashfs");
        mksquashfs.args([&tree, &theirs]).args(["-all-root", "-noappend", "-quiet", "-no-progress"]);
        mksquashfs.args(peer);
        race.turn("mksquashfs", || used[1].push(measured(&mksquashfs)));
    }
    race.finish();
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let (ours, theirs) = (size(&ours), size(&theirs));
    println!("  size: {ours} and {theirs} bytes, {:.3}×", ours as f64 / theirs as f64);
    let [Cost { cpu: our_cpu, memory: our_memory }, Cost { cpu, memory }] =
        used.map(|mut used: Vec<Cost>| {
            used.sort_by(|a, b| a.cpu.total_cmp(&b.cpu));
            used[used.len() / 2]
        });
    println!(
        "  processor time, which neighbours disturb less: {our_cpu:.1} and {cpu:.1} s, {:.2}×",
        our_cpu / cpu
    );
    println!("  memory at its peak: {our_memory} and {memory} MiB");
}

/// Copies files in the order of their names until each source has given its share.
fn collect(tree: &Path) -> u64 {
    let mut total = 0;
    for (source, share) in SOURCES.into_iter().filter(|(source, _)| Path::new(source).exists()) {
        let mut left = share;
        let mut open = vec![PathBuf::from(source)];
        while let Some(path) = open.pop() {
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                let mut names: Vec<_> =
                    fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()).collect();
                names.sort_by(|a, b| b.cmp(a));
                open.extend(names);
            } else if metadata.is_file() && metadata.size() <= left {
                left -= metadata.size();
                total += metadata.size();
                let to = tree.join(path.strip_prefix("/").unwrap());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(&path, to).unwrap();
            }
        }
    }
    total
}
