//! Shared by the tests of btrfs: sinks, comparisons, judges.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};

use prebake::format::btrfs::{self, Files, Filesystem, Layout, Options, Source, Window};
use prebake::format::image::{Kind, Limits};
use prebake::format::sparse::Sink;
use prebake::format::tree::{Content, Contents, Entry, Tree};
use sha2::{Digest, Sha256};

use crate::house::damage::Random;
pub use crate::judges::properties::disks::Whole;

pub const MIB: u64 = 1 << 20;

/// A file on disk, with holes for zeros.
pub struct Sparse {
    file: io::BufWriter<File>,
    at: u64,
}

impl Sparse {
    pub fn create(path: &Path) -> Self {
        Sparse { file: io::BufWriter::new(File::create(path).unwrap()), at: 0 }
    }
    pub fn finish(mut self) -> u64 {
        self.file.flush().unwrap();
        self.file.get_ref().set_len(self.at).unwrap();
        self.at
    }
}

impl Sink for Sparse {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.file.write_all(bytes)
    }
    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.at += length;
        io::Seek::seek(&mut self.file, io::SeekFrom::Start(self.at)).map(drop)
    }
}

pub fn options(length: u64) -> Options<'static> {
    Options { length, label: "OEM", epoch: 1_700_000_000, seed: "a key", compression: None }
}

pub fn write_to(path: &Path, files: &Files<'_>, options: &Options<'_>) -> (u64, u64, u64) {
    let layout = Layout::new(files, options).unwrap();
    let mut sink = Sparse::create(path);
    layout.write(&mut sink).unwrap();
    assert_eq!(sink.finish(), options.length);
    (layout.needed(), layout.used(), layout.free())
}

pub fn open(path: &Path) -> Result<Filesystem<Window>, btrfs::Error> {
    let file = File::open(path).unwrap();
    let length = file.metadata().unwrap().len();
    Filesystem::open(Window::new(file, 0, length), "the image", Limits::default())
}

/// Permissions, and the kind with its data.
pub type Seen = BTreeMap<String, (u32, String)>;

fn digest(mut reader: impl Read) -> String {
    let (mut hasher, mut length) = (Sha256::new(), 0);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = reader.read(&mut buffer).unwrap();
        if read == 0 {
            return format!("file {length} {:02x?}", hasher.finalize());
        }
        hasher.update(&buffer[..read]);
        length += read;
    }
}

/// All that a filesystem has, by our reader.
pub fn seen<S: Source>(filesystem: &Filesystem<S>) -> Seen {
    let entry = |listed: &prebake::format::image::Listed| {
        let what = match &listed.kind {
            Kind::Dir => "dir".to_owned(),
            Kind::Symlink(target) => format!("link {target}"),
            Kind::File(_) => digest(filesystem.stream(&listed.path).unwrap()),
            other => format!("{other:?}"),
        };
        (listed.path.clone(), (u32::from(listed.mode), what))
    };
    filesystem.list().map(entry).collect()
}

/// All that a directory has, by the kernel.
pub fn seen_in(directory: &Path) -> Seen {
    let mut found = Seen::new();
    let mut open = vec![directory.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let what = if metadata.is_dir() {
                open.push(path.clone());
                "dir".to_owned()
            } else if metadata.is_symlink() {
                format!("link {}", fs::read_link(&path).unwrap().display())
            } else {
                digest(File::open(&path).unwrap())
            };
            let name = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
            found.insert(name, (metadata.mode() & 0o7777, what));
        }
    }
    found
}

/// All that a tree has.
pub fn seen_of(tree: &Tree) -> Seen {
    let entry = |(path, entry): (&str, &Entry)| {
        let what = match &entry.content {
            Content::Dir => "dir".to_owned(),
            Content::Symlink(target) => format!("link {target}"),
            Content::File(contents) => digest(contents.reader()),
        };
        (path.to_owned(), (u32::from(entry.mode), what))
    };
    tree.iter().map(entry).collect()
}

/// Runs a judge, which must be there and agree.
pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

/// `btrfs check` with all data; its words must not hold a complaint, either.
pub fn check(image: &Path) {
    let output = run(Command::new("btrfs").args(["check", "--check-data-csum"]).arg(image));
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).to_lowercase();
    for word in ["error:", "warning", "mismatch", "bad ", "wrong", "too large"] {
        assert!(!text.contains(word), "{text}");
    }
    assert!(text.contains("no error found"), "{text}");
}

/// Bytes that are the same in every run, and that no packer shortens.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    Random(seed).bytes(length)
}

pub fn file(bytes: impl Into<Vec<u8>>) -> Entry {
    Entry::file(0o644, Contents::Bytes(bytes.into()), "test")
}

/// Two names with the same hash.
pub fn colliding() -> (String, String) {
    let mut seen = std::collections::HashMap::new();
    for number in 0_u64.. {
        let name = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if let Some(other) = seen.insert(crc32c::crc32c_append(1, name.as_bytes()), name.clone()) {
            return (other, name);
        }
    }
    unreachable!()
}

/// Files of all kinds and of the lengths at which something changes.
pub fn all_kinds() -> Tree {
    let mut tree = Tree::new();
    let lengths = [0, 1, 2047, 2048, 2049, 4095, 4096, 4097, 100_000, 5_000_000];
    for (seed, length) in lengths.into_iter().enumerate() {
        tree.insert(&format!("lengths/{length}"), file(noise(seed as u64, length))).unwrap();
    }
    let (one, other) = colliding();
    for name in ["grub.cfg", "ümläut", "a b", one.as_str(), other.as_str()] {
        // GRUB 2.06 lists a directory for ever whose names share a hash (`grub_btrfs_dir` finds the second one again and
        // again); it finds files in it.
        let path = if name.len() == 16 { format!("same/{name}") } else { name.to_owned() };
        tree.insert(&path, file(format!("I am {name}"))).unwrap();
        tree.insert(&format!("deep/{name}/er/{name}"), file(noise(9, 3000))).unwrap();
    }
    tree.insert("empty", Entry::dir("test")).unwrap();
    tree.insert("link", Entry::symlink("lengths/4096", "test")).unwrap();
    tree.insert("long", Entry::symlink("x/".repeat(1900), "test")).unwrap();
    let mut secret = file("secret");
    secret.mode = 0o600;
    secret.xattrs.insert("user.note".into(), b"kept".into());
    secret.xattrs.insert("security.capability".into(), noise(1, 20));
    tree.insert("secret", secret).unwrap();
    tree.link("hard", "lengths/100000", "test").unwrap();
    tree.link("deep/hard", "lengths/100000", "test").unwrap();
    tree.link("lengths/also", "lengths/100000", "test").unwrap();
    tree
}
