//! Disk images: unpacking Flatcar's bzip2, changing an image, and packing it anew, against bzip2, lbzip2 and qemu-img.
//!
//! ```text
//! decode     bzip2 → sparse raw, against lbzip2 -d and bzip2 -d
//! riders     decoding alone, and with digests, signature, injection and sparse writing
//! convert    stock bzip2 → customised qcow2 in one pass, against lbzip2 -d to a file and qemu-img convert -c
//! inject     into a raw of 8 GiB and into a compressed qcow2, beside a mere copy of the file
//! platforms  one recipe for ten platforms, and for one
//! ```
//! `cargo bench --bench disk -- decode inject` runs two of them, and a number (256 and more) makes the images of so many
//! MiB of data. Those are files of this machine's `/usr`, made once and kept in `target/tmp`.

#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use prebake::base::digest::Hashing;
use prebake::disk::layout::{DISK, LAYOUTS, Variant};
use prebake::disk::make::{Input, Wish, make};
use prebake::disk::payload::Payload;
use prebake::format::bz2;
use prebake::format::disk::Format;
use prebake::format::gpt::Table;
use prebake::format::sparse::Sink;
use prebake::trust::openpgp::{TrustedKey, Verifier};

#[path = "../tests/it/disk/image.rs"]
mod image;
#[path = "../tests/lab/mod.rs"]
mod lab;
#[path = "../tests/it/disk/made.rs"]
mod made;
mod race;
#[path = "../tests/it/world/fixture.rs"]
mod world;

use race::{Race, noise, run};
use world::World;

const ROUNDS: usize = 5;
const MIB: u64 = 1 << 20;
/// MiB of data in the images, if no other number is given: half of the smaller one.
const DATA: u64 = 1024;
/// Where the data comes from, and how many percent of it.
const SOURCES: [(&str, u64); 3] = [("/usr/bin", 30), ("/usr/lib", 50), ("/usr/share", 20)];
/// MiB of the sysext that is injected.
const SYSEXT: u64 = 24;
/// A prebake that only decodes.
const ALONE: &str = "--alone";
/// A prebake that decodes into a sparse file. Times are compared within one program: in another one the same functions
/// may lie less well in memory, which is worth some percent.
const WRITTEN: &str = "--written";
/// A prebake that does all at once that a stock image goes through.
const RIDERS: &str = "--riders";
const PLATFORMS: [&str; 10] = [
    "digitalocean",
    "gce",
    "generic",
    "hetzner",
    "kubevirt",
    "nutanix",
    "openstack",
    "proxmoxve",
    "qemu",
    "scaleway",
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match &args[..] {
        [mode, image] if mode == ALONE => return alone(Path::new(image)),
        [mode, image, out] if mode == WRITTEN => return written(Path::new(image), Path::new(out)),
        [mode, image, out] if mode == RIDERS => return riders(Path::new(image), Path::new(out)),
        _ => {}
    }
    let data = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(DATA);
    let names: Vec<&String> = args.iter().filter(|arg| arg.parse::<u64>().is_err()).collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|arg| *arg == name);
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("disks");
    fs::create_dir_all(&kept).unwrap();
    let work = tempfile::tempdir_in(&kept).unwrap();
    let desk = Desk { work: work.path(), kept: &kept, data };
    desk.payload();
    if wanted("decode") {
        decode(&desk);
    }
    if wanted("riders") {
        riders_race(&desk);
    }
    if wanted("convert") {
        convert(&desk);
    }
    if wanted("inject") {
        inject(&desk);
    }
    if wanted("platforms") {
        platforms(&desk);
    }
}

/// Directories, and how large images are.
struct Desk<'d> {
    /// Where contestants work.
    work: &'d Path,
    /// Where images stay for the next run.
    kept: &'d Path,
    /// MiB of data in an image.
    data: u64,
}

impl Desk<'_> {
    /// What is injected everywhere: a config, a sysext, and an argument.
    fn payload(&self) {
        let files = r#"[{"path":"/etc/hostname","contents":{"source":"data:,race"}}]"#;
        let config = format!(r#"{{"ignition":{{"version":"3.3.0"}},"storage":{{"files":{files}}}}}"#);
        fs::write(self.work.join("config.ign"), config).unwrap();
        let releases = self.work.join("tree/usr/lib/extension-release.d");
        fs::create_dir_all(&releases).unwrap();
        fs::write(releases.join("extension-release.race"), "ID=flatcar\nSYSEXT_LEVEL=1.0\n").unwrap();
        fs::write(self.work.join("tree/usr/noise"), noise(SYSEXT * MIB)).unwrap();
        run(Command::new("mksquashfs")
            .args(["tree", "race.raw", "-quiet", "-no-progress", "-all-root"])
            .current_dir(self.work));
    }

    /// The options for that.
    fn options(&self) -> [&'static str; 6] {
        ["--ignition", "config.ign", "--sysext", "race.raw", "--kernel-arg", "race=1"]
    }

    /// Half data and half zeros, in a table whose partitions fit it.
    fn half(&self) -> PathBuf {
        self.stock("half", &half(self.data))
    }

    /// A disk as Flatcar's own, 8 GiB long, with as much data.
    fn whole(&self) -> PathBuf {
        self.stock("whole", &LAYOUTS[0].table(Variant::Base))
    }

    /// An image as it is published, with these partitions: packed by the program that Flatcar's builds use.
    fn stock(&self, name: &str, table: &Table) -> PathBuf {
        let path = self.kept.join(format!("{name}-{}.bin.bz2", self.data));
        if !path.exists() {
            let directory = tempfile::tempdir_in(self.kept).unwrap();
            let raw = image::with_table(directory.path(), "disk.bin", table, &[]);
            let usr = table.named("USR-A").unwrap();
            fill(&File::options().write(true).open(&raw).unwrap(), usr.start, self.data * MIB);
            run(Command::new("lbzip2").arg("--keep").arg(&raw));
            fs::rename(raw.with_extension("bin.bz2"), &path).unwrap();
        }
        println!(
            "{}: {} bytes, a disk of {} MiB with {} MiB of data",
            path.display(),
            size(&path),
            table.length / MIB,
            self.data
        );
        path
    }

    fn prebake(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(args).current_dir(self.work);
        command
    }

    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", script]).current_dir(self.work);
        command
    }

    fn this(&self, args: &[&str]) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(args).current_dir(self.work);
        command
    }

    /// Lets go of outputs, before they reach the disk and disturb the next contestant.
    fn gone(&self, name: &str) {
        fs::remove_file(self.work.join(name)).unwrap();
    }
}

/// Flatcar's partitions on a disk of twice `data` MiB, for 256 MiB and more.
fn half(data: u64) -> Table {
    let lengths = [(1, 16), (2, 2), (3, data + 16), (4, 16), (6, 128), (7, 2)];
    let mut partitions = LAYOUTS[1].partitions(Variant::Base);
    let mut end = MIB;
    for partition in &mut partitions {
        let length =
            lengths.iter().find(|(number, _)| *number == partition.number).map(|(_, length)| length * MIB);
        partition.start = end.next_multiple_of(2 * MIB);
        partition.length = length.unwrap_or((2 * data - 4) * MIB - partition.start);
        end = partition.end();
    }
    Table::new(DISK, partitions, 2 * data * MIB)
}

/// Writes files in the order of their names, each from a block on, as a file system has them.
fn fill(disk: &File, start: u64, length: u64) {
    let mut at = start;
    for (source, share) in SOURCES {
        let end = start + (at - start) + length * share / 100 / 4096 * 4096;
        let mut open = vec![PathBuf::from(source)];
        while let Some(path) = open.pop().filter(|_| at < end) {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                let mut names: Vec<_> =
                    fs::read_dir(&path).unwrap().map(|item| item.unwrap().path()).collect();
                names.sort_by(|a, b| b.cmp(a));
                open.extend(names);
            } else if metadata.is_file() && metadata.size() > 0 {
                let mut bytes = fs::read(&path).unwrap();
                bytes.truncate((end - at) as usize);
                disk.write_all_at(&bytes, at).unwrap();
                at += (bytes.len() as u64).next_multiple_of(4096);
            }
        }
        assert!(at >= end, "{source} has too few files");
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap().len()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Says whether a goal was met.
fn goal(is_met: bool, what: &str) {
    println!("  {}: {what}", if is_met { "met" } else { "MISSED" });
}

fn decode(desk: &Desk<'_>) {
    let stock = desk.half();
    let mut race = Race::new(format!("a disk of {} MiB, half zeros, out of bzip2 to a file", 2 * desk.data));
    for _ in 0..ROUNDS {
        race.program("prebake", &desk.prebake(&["disk", "convert", text(&stock), "-o", "ours.bin"]));
        race.program("bzip2 -d", &desk.shell(&format!("bzip2 -dc {} > bzip2.bin", text(&stock))));
        desk.gone("bzip2.bin");
        race.program("lbzip2 -d", &desk.shell(&format!("lbzip2 -dc {} > lbzip2.bin", text(&stock))));
        run(&mut desk.shell("cmp ours.bin lbzip2.bin"));
        desk.gone("ours.bin");
        desk.gone("lbzip2.bin");
    }
    let ratio = |peer: &str| race.seconds(peer) / race.seconds("prebake");
    let cpu = |peer: &str| race.cost(peer).cpu / race.cost("prebake").cpu;
    let (lbzip2, bzip2) = (ratio("lbzip2 -d"), ratio("bzip2 -d"));
    let processors = (cpu("lbzip2 -d"), cpu("bzip2 -d"));
    race.finish();
    println!("  processors' work: {:.2}× of ours for lbzip2, {:.2}× for bzip2", processors.0, processors.1);
    goal(lbzip2 >= 1.0, &format!("at least as fast as lbzip2: {lbzip2:.2}×"));
    goal(bzip2 >= 1.8, &format!("1.8× as fast as bzip2: {bzip2:.2}×"));
}

/// Takes bytes, and that is all.
struct Nowhere;

impl Sink for Nowhere {
    fn data(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn zeros(&mut self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

fn alone(image: &Path) {
    bz2::decode(File::open(image).unwrap(), threads(), &mut Nowhere, "the image").unwrap();
}

fn written(image: &Path, out: &Path) {
    let wish = Wish { threads: threads(), ..Wish::of_format(Format::Raw) };
    make(Input::of_file(File::open(image).unwrap(), "the image").unwrap(), &wish, &created(out)).unwrap();
}

fn created(out: &Path) -> File {
    File::options().read(true).write(true).create_new(true).open(out).unwrap()
}

/// An input whose digests and signature are judged while it is read.
struct Witnessed {
    file: File,
    witnesses: Arc<Mutex<(Hashing<io::Sink>, Verifier)>>,
}

impl Read for Witnessed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        let (sha256, signature) = &mut *self.witnesses.lock().unwrap();
        sha256.write_all(&buffer[..count])?;
        signature.update(&buffer[..count]);
        Ok(count)
    }
}

/// SHA-256 for the store, SHA-512 by the signature's own pass, the signature, an injection, and a sparse file.
fn riders(image: &Path, out: &Path) {
    let key = fs::read(world::repository("tests/lab/keys/lab.asc")).unwrap();
    let key = TrustedKey::parse("lab.asc", &key, world::PRIMARY.parse().unwrap()).unwrap();
    let signature = fs::read("stock.sig").unwrap();
    let verifier = key.expect("stock.sig", &signature, SystemTime::now()).unwrap();
    let witnesses = Arc::new(Mutex::new((Hashing::new(io::sink()), verifier)));
    let input = Witnessed { file: File::open(image).unwrap(), witnesses: witnesses.clone() };
    let mut payload = Payload::default();
    payload.layer(Path::new("config.ign")).unwrap();
    payload.sysext(Path::new("race.raw")).unwrap();
    payload.arguments(["race=1".to_owned()]).unwrap();
    let (injection, _) = payload.finish().unwrap();
    let wish = Wish { injection: Some(&injection), threads: threads(), ..Wish::of_format(Format::Raw) };
    make(Input::of_stream(input, "the image").unwrap(), &wish, &created(out)).unwrap();
    let (sha256, verifier) = Arc::into_inner(witnesses).unwrap().into_inner().unwrap();
    assert_eq!(sha256.finish().2, size(image));
    assert!(verifier.finish().unwrap().sha512.is_some(), "the signature is over SHA-512");
}

fn riders_race(desk: &Desk<'_>) {
    let stock = desk.half();
    fs::write(desk.work.join("stock.sig"), world::sign_file(&stock)).unwrap();
    let mut race = Race::new(format!("what rides along with the decoding of {} MiB", 2 * desk.data));
    for _ in 0..ROUNDS {
        race.program("with all riders", &desk.this(&[RIDERS, text(&stock), "ridden.bin"]));
        desk.gone("ridden.bin");
        race.program("written sparsely", &desk.this(&[WRITTEN, text(&stock), "ours.bin"]));
        desk.gone("ours.bin");
        race.program("decoded to nothing", &desk.this(&[ALONE, text(&stock)]));
    }
    let ratio = |of: &str| race.seconds("with all riders") / race.seconds(of);
    let cpu = |of: &str| race.cost("with all riders").cpu / race.cost(of).cpu;
    let rows = ["written sparsely", "decoded to nothing"].map(|of| (of, ratio(of), cpu(of)));
    race.finish();
    for (of, ratio, cpu) in rows {
        goal(
            ratio <= 1.05,
            &format!("at most 1.05× of the time {of}: {ratio:.3}×, and {cpu:.3}× of the processors' work"),
        );
    }
}

fn convert(desk: &Desk<'_>) {
    let stock = desk.whole();
    let stock = text(&stock);
    let inject = [&["disk", "inject", stock, "-o", "ours.qcow2"][..], &desk.options()[..]].concat().join(" ");
    // No file may be longer than this, or the kernel ends the program.
    let most = 2 * size(Path::new(stock)) / 1024;
    let ours = format!("ulimit -f {most}; exec {} {inject}", env!("CARGO_BIN_EXE_prebake"));
    let unpack = format!("lbzip2 -dc {stock} > peer.bin");
    let mut race = Race::new("a stock image of 8 GiB in bzip2, customised as a compressed qcow2");
    let mut sizes = (0, 0);
    for _ in 0..ROUNDS.min(3) {
        race.program("prebake, in one pass", &desk.shell(&ours));
        race.program("lbzip2 to nothing", &desk.shell(&format!("lbzip2 -dc {stock} > /dev/null")));
        race.program("lbzip2 to a file", &desk.shell(&unpack));
        desk.gone("peer.bin");
        race.program(
            "lbzip2, then qemu-img",
            &desk.shell(&format!("{unpack}; qemu-img convert -c -O qcow2 peer.bin peer.qcow2")),
        );
        run(&mut desk.shell("qemu-img check -q ours.qcow2"));
        sizes = (size(&desk.work.join("ours.qcow2")), size(&desk.work.join("peer.qcow2")));
        ["peer.bin", "ours.qcow2", "peer.qcow2"].into_iter().for_each(|name| desk.gone(name));
    }
    let file = race.seconds("lbzip2 to a file") - race.seconds("lbzip2 to nothing");
    let saved = race.seconds("lbzip2, then qemu-img") - race.seconds("prebake, in one pass");
    let memory = race.cost("prebake, in one pass").memory;
    race.finish();
    println!("  sizes: {} and {} bytes, {:.3}×", sizes.0, sizes.1, sizes.0 as f64 / sizes.1 as f64);
    goal(saved >= file, &format!("{saved:.1} s are saved, and writing the file of 8 GiB costs {file:.1} s"));
    goal(
        memory < 200,
        &format!("memory below 200 MiB: {memory} MiB; no file longer than {} MiB", most >> 10),
    );
}

fn inject(desk: &Desk<'_>) {
    let stock = desk.whole();
    run(&mut desk.prebake(&["disk", "convert", text(&stock), "-o", "stock.bin"]));
    run(&mut desk.prebake(&["disk", "convert", "stock.bin", "-o", "stock.qcow2"]));
    for name in ["stock.bin", "stock.qcow2"] {
        let stored = fs::metadata(desk.work.join(name)).unwrap().blocks() * 512 / MIB;
        let mut race = Race::new(format!("an injection into {name}, {stored} MiB on the disk"));
        let out = format!("ours.{}", &name[6..]);
        for _ in 0..2 * ROUNDS {
            let args = [&["disk", "inject", name, "-o", &out][..], &desk.options()[..]].concat();
            race.program("prebake", &desk.prebake(&args));
            desk.gone(&out);
            race.program("cp, which shares or copies", &desk.shell(&format!("cp {name} peer")));
            desk.gone("peer");
        }
        let (ours, copy) = (race.seconds("prebake"), race.seconds("cp, which shares or copies"));
        race.finish();
        goal(
            ours - copy < 0.5,
            &format!("less than 0.5 s beside the copy: {:.2} s, of {ours:.2} s", ours - copy),
        );
    }
    desk.gone("stock.bin");
    desk.gone("stock.qcow2");
}

fn platforms(desk: &Desk<'_>) {
    // Images of ten platforms for each boot: small ones do.
    let small = Desk { data: (desk.data / 4).max(256), ..*desk };
    let stock = fs::read(small.half()).unwrap();
    let mut race = Race::new(format!("one recipe, a stock image of {} MiB of data", small.data));
    let mut told = Vec::new();
    for _ in 0..ROUNDS.min(3) {
        told = [1, 10]
            .map(|count| {
                let world = World::new();
                world.release_file("flatcar_production_image.bin.bz2", &stock);
                for id in PLATFORMS.iter().filter(|id| **id != "generic") {
                    world.release_file(&format!("oem-{id}.raw"), &made::extension(id));
                }
                let list = PLATFORMS[..count].join(", ");
                let disk = format!(
                    "outputs:\n  disk: {{platforms: [{list}], formats: [qcow2], size: 20GiB}}\nprofiles:\n"
                );
                world.edit("recipes/small.yaml", "profiles:\n", &disk);
                world.prebake(&["lock", "recipes/small.yaml"]).ok();
                let name = if count == 1 { "one platform" } else { "ten platforms" };
                race.turn(name, || {
                    drop(world.prebake(&["build", "recipes/small.yaml", "--events", "events"]).ok())
                });
                steps(&world)
            })
            .into_iter()
            .zip(["one platform", "ten platforms"])
            .collect();
    }
    race.finish();
    for (steps, name) in told {
        let of = |start: &str| -> Vec<f64> {
            steps.iter().filter(|(id, _)| id.starts_with(start)).map(|(_, seconds)| *seconds).collect()
        };
        let (decodes, images) = (of("stock/image/"), of("disk/"));
        assert!(!images.is_empty(), "{steps:?}");
        println!(
            "  {name}: {} decoded in {:.1} s, {} images in {:.1} s of work",
            decodes.len(),
            decodes.iter().sum::<f64>(),
            images.len(),
            images.iter().sum::<f64>()
        );
        goal(decodes.len() == 1, "the image is decoded once");
    }
}

/// The steps that a build made, with their seconds.
fn steps(world: &World) -> Vec<(String, f64)> {
    let events = fs::read_to_string(world.path("events")).unwrap();
    let events = events.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let done = events.filter(|event| event["event"] == "step-done");
    done.map(|event| (event["id"].as_str().unwrap().to_owned(), event["seconds"].as_f64().unwrap())).collect()
}
