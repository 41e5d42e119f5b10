//! Describes malformed packets in words: rPGP's own errors name lines of its source code and repeat whole inputs.

use std::io::ErrorKind;

use pgp::errors::Error;

/// Most characters of untrusted bytes that an error repeats.
const LONGEST: usize = 60;

/// The problem that rPGP found, in words.
pub(super) fn flaw(error: &Error) -> &'static str {
    match error {
        Error::InvalidPacketContent { source } => flaw(source),
        Error::PacketIncomplete { .. } => "it ends within a packet",
        Error::PacketParsing { source } if source.is_incomplete() => "it ends within a packet",
        Error::IO { source, .. } if source.kind() == ErrorKind::UnexpectedEof => "it ends within a packet",
        Error::Unsupported { .. } | Error::Unimplemented { .. } => "it has an unknown version or algorithm",
        _ => "a packet in it is damaged",
    }
}

/// The beginning of an untrusted text, made safe for one line of a terminal.
pub(super) fn beginning(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * LONGEST)]);
    let mut letters = text.chars();
    let shown: String = letters.by_ref().take(LONGEST).flat_map(char::escape_debug).collect();
    let rest = letters.next().is_some() || bytes.len() > 4 * LONGEST;
    if rest { shown + "…" } else { shown }
}
