//! ASCII armor: finds the packets in a text, as gpg does (RFC 9580 §6.2).
//!
//! Other text may surround a block, lines may end with CRLF and trailing blanks, and the checksum and the block's last
//! line may be missing. A checksum that is present must match, and headers must be well-formed.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use super::words;
use crate::base::kind;

const BEGIN: &str = "-----BEGIN PGP ";
const ENGINE: GeneralPurpose = GeneralPurpose::new(&STANDARD, NO_PAD);

/// Content of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Bare packets.
    Binary,
    /// Armored blocks, each with its label, such as `SIGNATURE`, and its packets.
    Armored(Vec<(String, Vec<u8>)>),
}

/// Finds the packets in a file.
///
/// # Errors
/// In words, the file's defect, or the kind of file that it is instead.
pub(crate) fn read(bytes: &[u8]) -> Result<Form, String> {
    if let Some(mistaken) = mistaken(bytes) {
        return Err(mistaken.into());
    }
    // Every packet starts with a byte of 0x80 or more. A text can start with one only in UTF-8, and then that line is
    // not the first line of a block.
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) && std::str::from_utf8(bytes).is_err() {
        return Ok(Form::Binary);
    }
    let mut lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end);
    let mut blocks = Vec::new();
    while let Some(label) = lines.by_ref().find_map(begin) {
        blocks.push((label.to_owned(), block(&mut lines)?));
    }
    match blocks.is_empty() {
        true => Err(match kind::of(bytes) {
            Some(kind::Known { what, .. }) => format!("it is {what}"),
            None => "it contains no OpenPGP data".into(),
        }),
        false => Ok(Form::Armored(blocks)),
    }
}

/// Whether a file may be a signature, judged by its first words or first byte.
pub(crate) fn is_signature(bytes: &[u8]) -> bool {
    let is_packet = matches!(bytes, [0x88..=0x8b | 0xc2, ..]) && std::str::from_utf8(bytes).is_err();
    let labels = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).filter_map(begin);
    is_packet || labels.into_iter().any(|label| matches!(label, "SIGNATURE" | "MESSAGE"))
}

/// Recognises files that people and mirrors provide instead of OpenPGP's, and names their kind.
fn mistaken(bytes: &[u8]) -> Option<&'static str> {
    let begins = |word: &str| bytes.trim_ascii_start().starts_with(word.as_bytes());
    let marked = |word: &str| {
        bytes.strip_prefix(b"\xef\xbb\xbf").is_some_and(|rest| rest.starts_with(word.as_bytes()))
    };
    let kinds = [
        (
            marked(BEGIN),
            "it begins with a byte order mark, which an editor added; save it as UTF-8 without one",
        ),
        (bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff"), "it is UTF-16; save it as UTF-8"),
        (begins("untrusted comment:"), "it is a minisign file; minisign keys are named with `--trust`"),
        (
            begins("<!") || begins("<html") || begins("<HTML"),
            "it is an HTML page, which a server sent instead",
        ),
        (begins("-----BEGIN SSH SIGNATURE-----"), "it is an SSH signature"),
    ];
    let is_armored =
        bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).any(|line| begin(line).is_some());
    kinds.into_iter().find_map(|(is, what)| (is && !is_armored).then_some(what))
}

/// The label of the block that a line begins.
fn begin(line: &[u8]) -> Option<&str> {
    std::str::from_utf8(line).ok()?.strip_prefix(BEGIN)?.strip_suffix("-----")
}

/// The packets of a block, from the lines after its first.
fn block<'l>(lines: &mut impl Iterator<Item = &'l [u8]>) -> Result<Vec<u8>, String> {
    for line in lines.by_ref().take_while(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':');
        if !colon.is_some_and(|at| matches!(line.get(at + 1), None | Some(b' ' | b'\t'))) {
            let line = words::beginning(line);
            return Err(format!("`{line}` is not an armor header, and no empty line ends the headers"));
        }
    }
    let (mut data, mut checksum, mut padding) = (Vec::new(), None, 0);
    'lines: for line in lines.by_ref().map(<[u8]>::trim_ascii_start) {
        if line.starts_with(b"-----") {
            break;
        }
        for byte in line {
            match (byte, &mut checksum) {
                (b' ' | b'\t' | b'\r', _) => {}
                (b'=', None) if (data.len() + padding) % 4 == 0 => checksum = Some(Vec::new()),
                (b'=', None) => padding += 1,
                (byte, Some(checksum)) => checksum.push(*byte),
                (byte, None) => data.push(*byte),
            }
        }
        if checksum.is_some() {
            // Skips the rest up to the end of the block.
            if !line.starts_with(b"-----") {
                let _ = lines.find(|line| line.starts_with(b"-----"));
            }
            break 'lines;
        }
    }
    let no_base64 = |_| "it is not valid base64".to_owned();
    let bytes = ENGINE.decode(&data).map_err(no_base64)?;
    if let Some(checksum) = checksum {
        let stated = ENGINE.decode(&checksum).map_err(no_base64)?;
        if stated != crc24(&bytes).to_be_bytes()[1..] {
            return Err("its checksum does not match: it is damaged".into());
        }
    }
    Ok(bytes)
}

/// The armor checksum (RFC 9580 §6.1.1).
fn crc24(bytes: &[u8]) -> u32 {
    const GENERATOR: u32 = 0x0186_4cfb;
    let shift = |crc: u32| if crc & 0x0080_0000 != 0 { (crc << 1) ^ GENERATOR } else { crc << 1 };
    let step = |crc: u32, byte: &u8| (0..8).fold(crc ^ (u32::from(*byte) << 16), |crc, _| shift(crc));
    bytes.iter().fold(0x00b7_04ce, step) & 0x00ff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        // The check value for "123456789" in every implementation's tests (CRC-24/OPENPGP).
        assert_eq!(crc24(b"123456789"), 0x21cf02);
    }

    #[test]
    fn what_is_no_openpgp_file_is_called_by_its_name() {
        for (file, told) in [
            (&b"\xef\xbb\xbf-----BEGIN PGP SIGNATURE-----\n\nAA==\n"[..], "byte order mark"),
            (b"\xff\xfe-\0-\0", "UTF-16"),
            (b"untrusted comment: signature from minisign secret key\nRU\n", "minisign"),
            (b"<!DOCTYPE html><html></html>", "HTML"),
            (b"-----BEGIN SSH SIGNATURE-----\n", "SSH"),
            (b"", "an empty file"),
            (b"-----BEGIN PGP SIGNATURE-----\niQIz\n", "not an armor header"),
            (b"-----BEGIN PGP SIGNATURE-----\n\niQ>z\n", "base64"),
        ] {
            let why = read(file).unwrap_err();
            assert!(why.contains(told), "{why}");
        }
    }
}
