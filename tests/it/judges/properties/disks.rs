//! What holds for whatever disk image, packed file or partition somebody hands in.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use bzip2::bufread::BzDecoder;
use prebake::base::digest::Sha256;
use prebake::disk::layout::{Content, Flatcar};
use prebake::disk::oem::{Add, Injection, Node, Oem, Ready, Source as From};
use prebake::disk::platform::Platform;
use prebake::format::btrfs::{self, Filesystem, Layout, Options};
use prebake::format::bz2;
use prebake::format::disk::archived::Member;
use prebake::format::disk::{self, qcow2};
use prebake::format::fat;
use prebake::format::gpt::{HEAD, Table};
use prebake::format::image::{Kind, Limits};
use prebake::format::sparse::Sink;
use prebake::format::unpack::{self, Packing};

use super::scratch;

/// Most bytes that a sink takes.
const MOST: u64 = 8 << 20;
const THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("not zero");

/// Keeps what it gets, up to [`MOST`].
#[derive(Default)]
pub struct Kept(pub Vec<u8>);

impl Kept {
    fn room(&self, more: u64) -> io::Result<()> {
        if self.0.len() as u64 + more > MOST { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Sink for Kept {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room(bytes.len() as u64)?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.room(length)?;
        self.0.resize(self.0.len() + length as usize, 0);
        Ok(())
    }
}

/// A bzip2 file unpacks to the same bytes as by the crate, with any number of threads, or both refuse it; and so it is where
/// the checksums are right, which nobody guesses.
pub fn bzip2(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    // Each round puts one checksum right.
    for _ in 0..8 {
        let mut one = Kept::default();
        let ours = bz2::decode(&bytes[..], 1, &mut one, "fuzzed.bz2");
        let mut three = Kept::default();
        let again = bz2::decode(&bytes[..], 3, &mut three, "fuzzed.bz2");
        assert_eq!(ours.as_ref().ok(), again.as_ref().ok(), "with three threads");
        assert!(one.0 == three.0, "with three threads");
        match &ours {
            Err(bz2::Error::Write { .. }) => return,
            Err(bz2::Error::Trailing { offset, .. }) => {
                let whole = bzip2_by_crate(&bytes[..*offset as usize]);
                // The sink may lack the end.
                assert!(whole.is_ok_and(|whole| whole.starts_with(&one.0)), "before what trails");
            }
            Err(error) => assert!(bzip2_by_crate(&bytes).is_err(), "the crate takes it: {error}"),
            Ok(decoded) => {
                assert_eq!((decoded.input, decoded.output), (bytes.len() as u64, one.0.len() as u64));
                assert!(bzip2_by_crate(&bytes).is_ok_and(|whole| whole == one.0), "the crate differs");
            }
        }
        // A block's checksum follows its mark of 48 bits, and a stream's that of its end.
        match ours {
            Err(
                bz2::Error::BlockChecksum { place, found, .. }
                | bz2::Error::StreamChecksum { place, found, .. },
            ) => set_bits(&mut bytes, place.bit + 48, found),
            _ => return,
        }
    }
}

/// All streams of a file, by the crate; zeros may follow the last one.
fn bzip2_by_crate(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let mut stream = BzDecoder::new(rest);
        stream.by_ref().take(MOST + 1 - whole.len() as u64).read_to_end(&mut whole)?;
        if whole.len() as u64 > MOST {
            return Err(io::ErrorKind::StorageFull.into());
        }
        rest = stream.into_inner();
        if rest.iter().all(|byte| *byte == 0) {
            return Ok(whole);
        }
    }
}

/// Puts 32 bits at a place.
fn set_bits(bytes: &mut [u8], at: u64, value: u32) {
    for (bit, at) in (at..at + 32).enumerate() {
        let Some(byte) = bytes.get_mut(at as usize / 8) else { return };
        let mask = 0x80 >> (at % 8);
        if value & 0x8000_0000 >> bit != 0 { *byte |= mask } else { *byte &= !mask }
    }
}

/// A file of a FAT is found or not, whoever asks, and no directory is without an end.
pub fn fat(bytes: &[u8]) {
    let read = |at: u64, into: &mut [u8]| {
        let mut from = Cursor::new(bytes);
        from.set_position(at);
        from.read_exact(into)
    };
    let Ok(opened) = fat::Filesystem::open(bytes.len() as u64, &read, "fuzzed") else { return };
    for path in ["flatcar/first_boot", "FLATCAR/FIRST_BOOT", "EFI/boot/bootx64.efi", "flatcar", ""] {
        let found = opened.find(path).ok();
        assert_eq!(found, opened.find(&path.to_uppercase()).ok(), "{path}");
        // A file lies in a directory.
        let is_there = found.is_some_and(|found| found.is_some());
        assert!(
            !is_there || opened.find("flatcar").is_ok_and(|above| above.is_some()) || !path.contains("first")
        );
    }
}

/// The disk in Google's archive is the same in pieces of whatever length, and anything else goes by as it is.
pub fn member(bytes: &[u8]) {
    let taken = |length: usize| {
        let mut kept = Kept::default();
        let mut member = Member::new(&mut kept, "fuzzed");
        let done =
            bytes.chunks(length).try_for_each(|piece| member.data(piece)).and_then(|()| member.finish());
        (done.ok(), kept.0)
    };
    let (whole, disk) = taken(bytes.len().max(1));
    for length in [1, 511, 1000] {
        let (again, other) = taken(length);
        assert_eq!(again, whole, "in pieces of {length}");
        assert!(whole.is_none() || other == disk, "in pieces of {length}");
    }
    if whole == Some(false) {
        assert!(disk == bytes, "no archive");
    }
}

/// A packed file is refused, or was read to its end and unpacks to the same bytes twice.
pub fn packed(bytes: &[u8]) {
    let packing = Packing::of(&bytes[..bytes.len().min(unpack::HEAD)]);
    let unpack = || {
        let mut kept = Kept::default();
        let unpacked = unpack::unpack(packing, bytes, 2, &mut kept, "fuzzed");
        (unpacked, kept.0)
    };
    let (first, kept) = unpack();
    if let Ok(unpacked) = first {
        assert_eq!((unpacked.input, unpacked.output), (bytes.len() as u64, kept.len() as u64));
        assert!(unpack().1 == kept, "unpacked twice");
        assert!(packing != Packing::None || kept == bytes, "not packed");
    }
}

/// A partition table is refused or shown; what is written of it reads the same, lies at both ends and over no partition.
pub fn table(bytes: &[u8]) {
    let length = bytes.len() as u64;
    let read = |at: u64, into: &mut [u8]| {
        let mut from = Cursor::new(bytes);
        from.set_position(at);
        from.read_exact(into)
    };
    let head = Table::of_head(&bytes[..bytes.len().min(HEAD)]).ok().flatten();
    let opened = Table::open(length, &read).ok().flatten();
    if let Some(table) = &opened {
        let _ = Flatcar::recognise(table, "fuzzed").map(|flatcar| flatcar.root);
        for partition in &table.partitions {
            assert!(partition.end() <= length, "{partition:?}");
            let start = partition.start as usize;
            let _ = Content::of(&bytes[start..partition.end() as usize]);
        }
    }
    for mut table in head.into_iter().chain(opened) {
        table_holds(&table);
        let (number, longer) = (table.last().map(|last| last.number), table.length.saturating_add(1 << 20));
        if table.set_length(longer / table.sector * table.sector).is_ok()
            && let Some(number) = number
        {
            let start = table.last().map_or(0, |last| last.start);
            let _ = table.grow(number, table.tail_start() - start);
            table_holds(&table);
        }
    }
}

fn table_holds(table: &Table) {
    let (head, tail) = (table.head(), table.tail());
    assert!(head.len() < 1 << 18 && tail.len() < 1 << 18, "{} and {} bytes", head.len(), tail.len());
    assert_eq!(table.tail_start() + tail.len() as u64, table.length, "the copy ends with the disk");
    for partition in &table.partitions {
        assert!(partition.start >= head.len() as u64, "{partition:?} lies over the table");
        assert!(partition.end() <= table.tail_start(), "{partition:?} lies over the copy");
    }
    let read = |at: u64, into: &mut [u8]| {
        let piece = |bytes: &[u8], at: u64| Some(bytes.get(at as usize..)?.get(..into.len())?.to_vec());
        let found = match at.checked_sub(table.tail_start()) {
            Some(at) => piece(&tail, at),
            None => piece(&head, at),
        };
        into.copy_from_slice(&found.unwrap_or_else(|| vec![0; into.len()]));
        Ok(())
    };
    let again = Table::open(table.length, &read).expect("what was written can be read").expect("a table");
    assert_eq!((&again.partitions, again.disk), (&table.partitions, table.disk), "read again");
    assert!(!again.from_backup() && again.length == table.length, "{:?}", again.findings);
    assert!((again.head(), again.tail()) == (head, tail), "written again");
}

/// A disk in a container is refused or read: poured it has the bytes that are read piece by piece, and as many as it says; and
/// customised by nothing, a qcow2 has the same.
pub fn container(bytes: &[u8]) {
    let file = scratch(bytes);
    let open = || disk::open(file.reopen().expect("a scratch file"), "fuzzed");
    let Ok(disk) = open() else { return };
    let length = disk.length();
    let mut at = 0;
    for _ in 0..1000 {
        if at < length {
            let piece = disk.piece(at);
            assert!(
                piece.start <= at && at < piece.end && piece.end <= length,
                "{piece:?} at {at} of {length}"
            );
            at = piece.end;
        }
    }
    if length > MOST {
        // Of a long one, what its ends have.
        let mut bytes = vec![0; 1 << 16];
        let _ = (disk.read_at(&mut bytes, 0), disk.read_at(&mut bytes, length - (1 << 16)));
        assert!(disk.read_at(&mut bytes, length - 1).is_err(), "beyond the end");
        return;
    }
    let mut poured = Kept::default();
    let done = disk.pour(0..length, THREADS, &mut poured);
    let mut read = vec![0; length as usize];
    let mut pieces = read.chunks_mut(12_345).zip((0..).step_by(12_345));
    let by_pieces = pieces.try_for_each(|(piece, at)| disk.read_at(piece, at));
    assert_eq!(done.is_ok(), by_pieces.is_ok(), "{done:?}, {by_pieces:?}");
    if done.is_err() {
        return;
    }
    assert!(poured.0 == read, "read piece by piece");
    if let Ok(image) = qcow2::Image::open(Arc::new(file.reopen().expect("a scratch file")), "fuzzed") {
        let out = tempfile::NamedTempFile::new().expect("a scratch file");
        let new = out.reopen().expect("a scratch file");
        qcow2::customise(&Arc::new(image), length, vec![], new, THREADS).expect("nothing is patched");
        let again = disk::open(out.reopen().expect("a scratch file"), "again").expect("what was written");
        let mut poured = Kept::default();
        again.pour(0..length, THREADS, &mut poured).expect("what was written can be read");
        assert!(poured.0 == read, "customised by nothing");
    }
}

/// Length of the device in [`btrfs`].
pub const DEVICE: u64 = 16 << 20;
/// Bytes of a tree block and of a sector.
pub const BLOCK: usize = 4096;
/// A block in the bytes of an input: its number, then itself.
pub const RECORD: usize = 4 + BLOCK;

/// A device whose other blocks are zeros.
struct Blocks(BTreeMap<u64, Vec<u8>>);

impl btrfs::Source for Blocks {
    fn length(&self) -> u64 {
        DEVICE
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

/// Limits of [`btrfs`].
const LIMITS: Limits =
    Limits { inodes: 10_000, table: 1 << 20, depth: 128, file: 1 << 20, total: 1 << 20, ratio: 200 };

/// The filesystem in the bytes of an input.
pub fn btrfs_of(bytes: &[u8]) -> Result<Filesystem<impl btrfs::Source>, btrfs::Error> {
    let (mode, records) = bytes.split_first().unwrap_or((&0, &[]));
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
    Filesystem::open(Blocks(blocks), "input", LIMITS)
}

/// A filesystem is refused, or lists what can be read, each file with as many bytes as listed; and what is written of it reads
/// the same.
///
/// The first byte says whether the sums of superblocks and tree blocks are made right (1), and whether everything is written
/// again (2); then come blocks with their numbers.
pub fn btrfs(bytes: &[u8]) {
    let Ok(filesystem) = btrfs_of(bytes) else { return };
    let paths: Vec<_> = filesystem.list().map(|listed| listed.path.clone()).collect();
    assert!(paths.is_sorted());
    for listed in filesystem.list() {
        if let Kind::File(size) = listed.kind
            && let Ok(mut stream) = filesystem.stream(&listed.path)
        {
            assert!(size <= LIMITS.total);
            if let Ok(read) = io::copy(&mut stream.by_ref(), &mut io::sink()) {
                assert_eq!(read, size, "{}", listed.path);
            }
        }
    }
    if bytes[0] & 2 != 0
        && let Ok(files) = filesystem.files()
        && let Ok(layout) = Layout::new(&files, &btrfs_options())
    {
        let mut memory = Whole(Vec::new());
        if layout.write(&mut memory).is_ok() {
            let again = Filesystem::open(memory.0, "again", LIMITS).expect("what was written can be read");
            assert!(again.list().map(|listed| &listed.path).eq(&paths));
            for path in &paths {
                // A file that was damaged was not written.
                assert_eq!(again.read(path).ok(), filesystem.read(path).ok(), "{path}");
            }
        }
    }
}

/// Settings of the filesystems in [`btrfs`].
pub fn btrfs_options() -> Options<'static> {
    Options { length: DEVICE, label: "OEM", epoch: 1_700_000_000, seed: "a key", compression: None }
}

/// Keeps a whole filesystem.
pub struct Whole(pub Vec<u8>);

impl Sink for Whole {
    fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn zeros(&mut self, length: u64) -> io::Result<()> {
        self.0.resize(self.0.len() + length as usize, 0);
        Ok(())
    }
}

/// Ends an entry of [`oem`]; no path has it.
pub const AFTER_ENTRY: u8 = 0;

/// Whatever OEM holds, an injection is refused or taken out again without a trace; and what comes out is a tree that a
/// filesystem can have.
///
/// The first line says what is injected, a letter each: a config `c`, arguments `a`, no autologin `l`, files `f`, the platform
/// `q` or `p`; a blank, then the arguments and files. Entries follow, each a line of its mode in octal and path, `/` behind a
/// directory's, and its bytes.
pub fn oem(bytes: &[u8]) {
    let (what, rest) = split_at_byte(bytes, b'\n');
    let entries: Vec<Vec<u8>> = rest.split(|byte| *byte == AFTER_ENTRY).map(<[u8]>::to_vec).collect();
    let stock = oem_of(&entries);
    is_a_tree(&stock);
    let _ = (stock.platform(), stock.oem_id(), stock.has_autologin(), stock.extension_version());
    let was_injected = stock.is_injected();
    if let Ok((back, _)) = stock.remove() {
        assert!(was_injected && !back.is_injected());
        is_a_tree(&back);
    }
    let _ = stock.injected();
    let injection = injection_of(&String::from_utf8_lossy(what));
    let Ok((once, told)) = stock.inject(&injection) else { return };
    is_a_tree(&once);
    assert!(once.is_injected());
    let paths = once.injected().expect("its own record");
    assert!(paths.iter().all(|path| once.iter().any(|(there, _)| there == path)), "{paths:?}");
    let (twice, findings) = once.inject(&injection).expect("as before");
    assert_eq!(twice, once, "injected twice");
    assert_eq!(findings, Vec::<String>::new(), "injected twice");
    let (back, findings) = once.remove().expect("its own record");
    assert_eq!(findings, Vec::<String>::new(), "taken out");
    let before = if was_injected { stock.remove().expect("as before").0 } else { stock };
    // What others have changed is written anew where it is asked for again, and that is told.
    if told.iter().all(|finding| !finding.ends_with("written anew")) {
        assert_eq!(back, before, "taken out");
    }
    is_a_tree(&back);
}

fn split_at_byte(bytes: &[u8], byte: u8) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|other| *other == byte).unwrap_or(bytes.len());
    (&bytes[..end], bytes.get(end + 1..).unwrap_or_default())
}

/// An OEM of 128 MiB with entries as a filesystem lists them; those that no filesystem has are left out.
fn oem_of(entries: &[Vec<u8>]) -> Oem<Vec<u8>> {
    let mut nodes: BTreeMap<String, (u16, Node<Vec<u8>>)> = BTreeMap::new();
    for entry in entries {
        let (head, contents) = split_at_byte(entry, b'\n');
        let head = String::from_utf8_lossy(head);
        let Some((mode, path)) = head.split_once(' ') else { continue };
        let mode = u16::from_str_radix(mode, 8).unwrap_or(0o644) & 0o7777;
        let (path, is_dir) = path.strip_suffix('/').map_or((path, false), |path| (path, true));
        let plain = |name: &str| !matches!(name, "" | "." | "..") && name.len() < 256;
        let parents: Vec<&str> = path.match_indices('/').map(|(at, _)| &path[..at]).collect();
        let is_dir_or_free = |path: &&str| nodes.get(*path).is_none_or(|(_, node)| *node == Node::Dir);
        if !path.split('/').all(plain) || nodes.contains_key(path) || !parents.iter().all(is_dir_or_free) {
            continue;
        }
        for parent in parents {
            nodes.entry(parent.to_owned()).or_insert((0o755, Node::Dir));
        }
        let file = || Node::File(contents.len() as u64, From::Kept(contents.to_vec()));
        nodes.insert(path.to_owned(), (mode, if is_dir { Node::Dir } else { file() }));
    }
    let entries = nodes.into_iter().map(|(path, (mode, node))| (path, mode, node));
    let mut read = |bytes: &Vec<u8>| Ok(bytes.clone());
    Oem::new("fuzzed.bin", 128 << 20, entries, &mut read).expect("memory")
}

fn injection_of(text: &str) -> Injection {
    let (letters, words) = text.split_once(' ').unwrap_or((text, ""));
    let has = |letter| letters.contains(letter);
    let words = || words.split(' ').filter(|word| !word.is_empty());
    let from = PathBuf::from("image.raw");
    let file = |word: &str| Add {
        path: word.into(),
        mode: 0o644,
        from: from.clone(),
        size: 5000,
        sha256: Sha256::of(b"5000"),
    };
    let platform = [('q', "qemu"), ('p', "proxmoxve")].into_iter().find(|(letter, _)| has(*letter));
    let ready = platform.and_then(|(_, id)| Platform::of(id)).map(|platform| Ready {
        platform,
        version: "4593.2.5".into(),
        extension: Some((from.clone(), 70_000, Sha256::of(b"70000"))),
        release: platform.oem_release("4593.2.5").unwrap_or_default(),
    });
    Injection {
        config: has('c').then(|| b"{\"ignition\": {\"version\": \"3.3.0\"}}".to_vec()),
        files: if has('f') { words().map(file).collect() } else { Vec::new() },
        arguments: if has('a') { words().map(str::to_owned).collect() } else { Vec::new() },
        drops_autologin: has('l'),
        ready,
        root: Vec::new(),
    }
}

/// Parents of everything are there, and are directories.
fn is_a_tree(oem: &Oem<Vec<u8>>) {
    let nodes: BTreeMap<&str, &Node<Vec<u8>>> = oem.iter().map(|(path, entry)| (path, &entry.node)).collect();
    for path in nodes.keys() {
        for (at, _) in path.match_indices('/') {
            assert_eq!(nodes.get(&path[..at]), Some(&&Node::Dir), "above {path:?}");
        }
    }
}
