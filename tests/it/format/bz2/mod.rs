//! bzip2: the crate, the program and lbzip2 as judges.

mod made;
mod open;
mod unpack;

use std::io::{self, Read, Write};
use std::process::{Command, Stdio};

use bzip2::Compression;
use bzip2::read::MultiBzDecoder;
use bzip2::write::BzEncoder;
use made::{BLOCK, END, Stream};
use open::{Kept, decode, encode};
use proptest::prelude::*;

use crate::judges::properties::seeds::disks::noise;

fn packed(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = BzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn unpacked(bytes: &[u8], threads: usize) -> Result<Vec<u8>, String> {
    let mut kept = Kept::default();
    let done = decode(bytes, threads, &mut kept).map_err(|error| error.to_string())?;
    assert_eq!((done.0, done.1), (bytes.len() as u64, kept.bytes.len() as u64));
    Ok(kept.bytes)
}

fn by_crate(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    MultiBzDecoder::new(bytes).read_to_end(&mut out).map(|_| out)
}

/// Standard output of a program, if it succeeds.
fn by(program: &[&str], input: &[u8]) -> Result<Vec<u8>, String> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && said.is_empty() { Ok(output.stdout) } else { Err(said) }
}

/// Text whose letters depend on those before.
fn text(length: usize) -> Vec<u8> {
    let words = ["block ", "of ", "the ", "stream, ", "mark ", "and ", "zero\n", "sorted "];
    let choice = noise(length, 7);
    choice.iter().flat_map(|byte| words[usize::from(byte % 8)].bytes()).take(length).collect()
}

#[derive(Clone, Debug)]
enum Part {
    Noise(usize, u32),
    Run(u8, usize),
    Runs(u8, usize, usize),
    Text(usize),
}

fn bytes_of(parts: &[Part]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in parts {
        match *part {
            Part::Noise(length, seed) => bytes.extend(noise(length, seed)),
            Part::Run(byte, length) => bytes.resize(bytes.len() + length, byte),
            Part::Runs(byte, length, count) => (0..count).for_each(|k| {
                bytes.resize(bytes.len() + length, byte);
                bytes.push(byte.wrapping_add(1 + k as u8 % 3));
            }),
            Part::Text(length) => bytes.extend(text(length)),
        }
    }
    bytes
}

fn parts() -> impl Strategy<Value = Vec<Part>> {
    let run = prop_oneof![
        Just(3_usize),
        Just(4),
        Just(5),
        Just(251),
        Just(254),
        Just(255),
        Just(256),
        Just(259),
        1..20_000_usize
    ];
    let part = prop_oneof![
        (0..30_000_usize, any::<u32>()).prop_map(|(length, seed)| Part::Noise(length, seed)),
        (prop_oneof![Just(0), any::<u8>()], run.clone()).prop_map(|(byte, length)| Part::Run(byte, length)),
        (
            prop_oneof![Just(0), any::<u8>()],
            prop_oneof![Just(3_usize), Just(4), Just(5), Just(251), Just(255)],
            0..300_usize
        )
            .prop_map(|(byte, length, count)| Part::Runs(byte, length, count)),
        (0..40_000_usize).prop_map(Part::Text),
    ];
    proptest::collection::vec(part, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn streams_of_the_crate_unpack_to_what_they_are_made_of(
        streams in proptest::collection::vec((parts(), 1..=9_u32), 1..4),
        threads in 1..4_usize,
        zeros in prop_oneof![Just(0_usize), 0..10_000_usize],
    ) {
        let (mut file, mut bytes) = (Vec::new(), Vec::new());
        for (parts, level) in streams {
            let part = bytes_of(&parts);
            file.extend(packed(&part, level));
            bytes.extend(part);
        }
        file.resize(file.len() + zeros, 0);
        prop_assert!(unpacked(&file, threads).unwrap() == bytes);
    }

    #[test]
    fn symbols_of_any_kind_unpack_as_with_the_crate(symbols in proptest::collection::vec(0..255_u8, 1..300), origin in any::<prop::sample::Index>()) {
        let symbols: Vec<u8> = [&[77], symbols.as_slice()].concat();
        let length = 1 + symbols.iter().filter(|symbol| **symbol > 1).count();
        let Ok((file, contents)) = std::panic::catch_unwind(|| {
            let mut stream = Stream::new(9);
            stream.block(&symbols, origin.index(length - 1));
            stream.finish()
        }) else { return Ok(()) };
        match by_crate(&file) {
            Ok(bytes) => {
                prop_assert!(bytes == contents);
                prop_assert!(unpacked(&file, 2) == Ok(bytes));
            }
            Err(_) => prop_assert!(unpacked(&file, 2).is_err()),
        }
    }
}

#[test]
fn blocks_that_are_just_full_and_just_not() {
    for level in [1, 9] {
        let full = 100_000 * level as usize;
        for length in [full - 20, full - 19, full - 18, full - 1, full, full + 1, 2 * full - 38, 2 * full] {
            for bytes in [noise(length, 3), vec![0; length], text(length), [1, 1, 1, 1, 2].repeat(length / 5)]
            {
                assert!(unpacked(&packed(&bytes, level), 2).unwrap() == bytes, "{level} {length}");
            }
        }
    }
}

#[test]
fn zeros_arrive_as_zeros_across_blocks() {
    let mut bytes = text(5000);
    bytes.resize(bytes.len() + (100 << 20), 0);
    bytes.extend(text(10));
    bytes.resize(bytes.len() + 4000, 0);
    let file = packed(&bytes, 1);
    let mut kept = Kept::default();
    let done = decode(&file[..], 2, &mut kept).unwrap();
    assert!(kept.bytes == bytes && done.3 > 10);
    assert_eq!(kept.zeros, 100 << 20);
}

/// Three streams, one of them empty, each without padding.
fn small() -> (Vec<u8>, Vec<usize>, Vec<u8>) {
    let (mut file, mut ends, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for part in [text(150), Vec::new(), [text(30), vec![b'a'; 400]].concat()] {
        file.extend(packed(&part, 9));
        ends.push(file.len());
        bytes.extend(part);
    }
    (file, ends, bytes)
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let (file, ends, _) = small();
    for length in 0..file.len() {
        let said = unpacked(&file[..length], 2);
        if ends.contains(&length) {
            assert!(by_crate(&file[..length]).unwrap() == said.unwrap());
        } else if length == 0 {
            assert_eq!(said.unwrap_err(), "it is not a bzip2 file");
        } else {
            let error = said.expect_err(&length.to_string());
            let place = format!("byte {length} bit 0 of the input");
            assert!(error.contains("truncated") && error.contains(&place), "{length}: {error}");
        }
    }
}

#[test]
fn a_flipped_bit_is_seen_or_does_not_matter() {
    let (file, _, bytes) = small();
    let mut harmless = 0;
    for bit in 0..8 * file.len() {
        let mut file = file.clone();
        file[bit / 8] ^= 0x80 >> (bit % 8);
        if let Ok(found) = unpacked(&file, 2) {
            assert!(found == bytes, "{bit}");
            harmless += 1;
        }
    }
    // The levels, three times two bits or so, padding, and codes that nothing uses.
    assert!(harmless < 400, "{harmless}");
}

#[test]
fn what_follows_the_last_stream_is_zeros_or_refused() {
    let (mut file, _, bytes) = small();
    let length = file.len();
    file.resize(length + 200_000, 0);
    assert!(unpacked(&file, 2).unwrap() == bytes);
    for at in [length, length + 3, length + 199_999] {
        let mut file = file.clone();
        file[at] = b'B';
        let error = unpacked(&file, 2).unwrap_err();
        assert_eq!(error, format!("it has something else behind its last bzip2 stream, at byte {at}"));
    }
    let twice = [&file[..], &file[..length]].concat();
    assert!(unpacked(&twice, 2).unwrap_err().ends_with(&format!("at byte {}", length + 200_000)));
}

/// Places of a mark's bytes in symbols.
fn with(mark: u64, before: usize, after: usize) -> Vec<u8> {
    let calm = |length, seed| noise(length, seed).into_iter().map(|byte| byte % 250 + 2).collect::<Vec<u8>>();
    [calm(before, 5), mark.to_be_bytes()[2..].to_vec(), calm(after, 9)].concat()
}

#[test]
fn marks_inside_of_blocks_are_none() {
    // A whole stream without its header, inside of a block.
    let nested =
        (0..100).map(|k| packed(format!("{k}").as_bytes(), 9)).find(|file| !file.contains(&255)).unwrap();
    let nested = [with(BLOCK, 100, 30), nested[4..].to_vec(), with(END, 400, 33)].concat();
    let many = with(BLOCK, 40, 30).repeat(900);
    let mut cases = vec![nested, many];
    for mark in [BLOCK, END] {
        for (before, after) in [(0, 0), (1, 7), (43, 5), (44, 6), (45, 2000), (3000, 1), (70_000, 70_000)] {
            cases.push(with(mark, before, after));
        }
    }
    let mut all = Stream::new(9);
    for symbols in &cases {
        let mut stream = Stream::new(9);
        stream.block(symbols, symbols.len() / 3);
        stream.block(&with(0, 50, 50), 7);
        let (file, contents) = stream.finish();
        assert!(by_crate(&file).unwrap() == contents);
        for threads in [1, 3] {
            assert!(unpacked(&file, threads).unwrap() == contents, "{} symbols", symbols.len());
        }
        for end in [file.len() - 1, file.len() - 11, file.len() - 200, file.len() / 2] {
            unpacked(&file[..end], 2).unwrap_err();
        }
        all.block(symbols, 1);
    }
    let (file, contents) = all.finish();
    assert!(by(&["bzip2", "-dc"], &file).unwrap() == contents);
    assert!(unpacked(&file, 2).unwrap() == contents);
}

#[test]
fn marks_beyond_measure_are_refused() {
    let mut stream = Stream::new(9);
    stream.block(&with(BLOCK, 40, 30).repeat(3000), 1);
    let error = unpacked(&stream.finish().0, 2).unwrap_err();
    assert!(error.contains("more than 1000 marks"), "{error}");
}

#[test]
fn randomised_blocks_are_read() {
    // The mask, as bzip2 applies it: the crate packs masked bytes, then the bit and the checksums are set by hand.
    let distances = [619, 720, 127, 481, 931, 816, 813, 233, 566, 247, 985, 724];
    let bytes = noise(5000, 77);
    assert!(!bytes.windows(4).any(|four| four.iter().all(|byte| byte == &four[0])));
    let mut masked = bytes.clone();
    let mut at = 0;
    for distance in distances {
        at += distance;
        if let Some(byte) = masked.get_mut(at - 2) {
            *byte ^= 1;
        }
    }
    assert!(at > 5000 && !masked.windows(4).any(|four| four.iter().all(|byte| byte == &four[0])));
    let mut file = packed(&masked, 9);
    let checksum = made::crc(&bytes).to_be_bytes();
    file[10..14].copy_from_slice(&checksum);
    file[14] |= 0x80;
    // The stream's checksum stands behind its mark, at some bit.
    let start = (0..8 * file.len() as u64).rev().find(|bit| number(&file, *bit, 48) == END).unwrap() + 48;
    for (k, value) in (0..32).map(|k| (k, u32::from_be_bytes(checksum) >> (31 - k) & 1)) {
        let (byte, mask) = (((start + k) / 8) as usize, 0x80 >> ((start + k) % 8));
        file[byte] = if value == 1 { file[byte] | mask } else { file[byte] & !mask };
    }
    assert!(by(&["bzip2", "-dc"], &file).unwrap() == bytes);
    assert!(unpacked(&file, 2).unwrap() == bytes);
}

fn number(bytes: &[u8], bit: u64, count: u64) -> u64 {
    (bit..bit + count).fold(0, |value, bit| {
        let byte = bytes.get((bit / 8) as usize).copied().unwrap_or(0);
        value << 1 | u64::from(byte >> (7 - bit % 8) & 1)
    })
}

#[test]
fn files_of_the_programs_unpack_and_they_unpack_ours() {
    let bytes = [text(1_500_000), vec![0; 3_000_000], noise(1_200_000, 1), vec![255; 1_000_000]].concat();
    for program in
        [&["bzip2", "-1c"][..], &["bzip2", "-9c"], &["lbzip2", "-c", "-n2"], &["lbzip2", "-3c", "-n2"]]
    {
        let file = by(program, &bytes).unwrap();
        assert!(unpacked(&file, 2).unwrap() == bytes, "{program:?}");
    }
    let ours = encode(Vec::new(), 2, |sink| {
        sink.data(&bytes)?;
        sink.zeros(5_000_000)
    });
    let (ours, contents) = (ours.unwrap(), [&bytes[..], &vec![0; 5_000_000]].concat());
    for program in [["bzip2", "-dc"], ["lbzip2", "-dc"]] {
        assert!(by(&program, &ours).unwrap() == contents, "{program:?}");
    }
    assert!(unpacked(&ours, 2).unwrap() == contents);
}

#[test]
fn damage_is_named_with_its_place() {
    let bytes = noise(250_000, 4);
    let file = packed(&bytes, 1);
    // The checksum of the second block.
    let second = (400..8 * file.len() as u64).find(|bit| number(&file, *bit, 48) == BLOCK).unwrap();
    let mut wrong = file.clone();
    wrong[(second / 8) as usize + 8] ^= 0x10;
    let error = unpacked(&wrong, 2).unwrap_err();
    let place = format!("block 2, byte {} bit {} of the input, byte ", second / 8, second % 8);
    assert!(error.contains("checksum") && error.contains(&place), "{error}");
    // Somewhere in it.
    let mut wrong = file.clone();
    for at in 0..400 {
        wrong[(second / 8) as usize + 20_000 + at] ^= 0x55;
    }
    let error = unpacked(&wrong, 2).unwrap_err();
    assert!(error.contains("damaged") && error.contains("block 2, "), "{error}");
    // The stream's checksum.
    let mut wrong = file.clone();
    let at = wrong.len() - 3;
    wrong[at] ^= 1;
    let error = unpacked(&wrong, 2).unwrap_err();
    assert!(error.contains("stream 1 lacks blocks") && error.contains("block 3, "), "{error}");
    // A stream of level 1 with a block of level 9.
    let mut wrong = packed(&bytes, 9);
    wrong[3] = b'1';
    let error = unpacked(&wrong, 2).unwrap_err();
    assert!(error.contains("more bytes than its stream's level"), "{error}");
}
