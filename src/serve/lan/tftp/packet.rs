//! Reads and writes packets of RFC 1350 and 2347, with limits.

use std::fmt;

use super::name::{self, Name};

/// Longest request, in bytes (RFC 2347).
pub const MAX_REQUEST: usize = 512;
/// Most options in a request; only six are in use anywhere.
const MAX_OPTIONS: usize = 16;

const RRQ: u16 = 1;
const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// A request to read a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The requested file.
    pub name: Name,
    /// Options and their values in order of arrival; names in lower case, each only once.
    pub options: Vec<(String, String)>,
}

/// A packet that a client may send to the port of a running transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The client has all blocks up to this one, modulo 2^16.
    Ack(u16),
    /// The client gives up.
    Error,
}

/// The error codes of RFC 1350 and 2347 that a file server needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Code {
    /// None of the others; the text explains.
    Undefined = 0,
    /// There is no such file.
    NotFound = 1,
    /// The file may not be read, or the transfer mode or direction is not allowed.
    AccessViolation = 2,
    /// The request is malformed, or not one for a server.
    IllegalOperation = 4,
    /// An option is malformed.
    Negotiation = 8,
}

/// Why a request is refused, as the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error code.
    pub code: Code,
    /// The text; short, since it goes to unconfirmed addresses.
    pub why: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why)
    }
}

/// Why a first packet gets no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// Answered with an ERROR packet.
    Refused(Refusal),
    /// Not answered: replying to packets that are not requests could keep two servers busy with each other for ever.
    Ignored,
}

fn refused(code: Code, why: &'static str) -> Unanswered {
    Unanswered::Refused(Refusal { code, why })
}

impl Request {
    /// Parses a client's first packet. Zeros that pad it after its last option are ignored, even beyond the maximum
    /// length of a request.
    pub fn parse(packet: &[u8]) -> Result<Request, Unanswered> {
        match opcode(packet) {
            Some(RRQ) => {}
            Some(WRQ) => return Err(refused(Code::AccessViolation, "this server is read-only")),
            _ => return Err(Unanswered::Ignored),
        }
        let illegal = |why| refused(Code::IllegalOperation, why);
        let padding = packet.iter().rev().take_while(|byte| **byte == 0).count();
        if packet.len() - padding.saturating_sub(1) > MAX_REQUEST {
            return Err(illegal("request longer than 512 bytes"));
        }
        let body = packet[2..].strip_suffix(&[0]).ok_or(illegal("request is not terminated"))?;
        let mut words = body.split(|byte| *byte == 0);
        let text = |word| std::str::from_utf8(word).map_err(|_| illegal("request is not text"));
        let name = Name::read(words.next().unwrap_or_default()).map_err(Unanswered::Refused)?;
        let mode = text(words.next().ok_or(illegal("no transfer mode"))?)?;
        let mut options: Vec<(String, String)> = Vec::new();
        while let Some(option) = words.next() {
            if option.is_empty() && words.clone().all(<[u8]>::is_empty) {
                break;
            }
            if option.is_empty() {
                return Err(illegal("option without a name"));
            }
            let option = text(option)?.to_ascii_lowercase();
            let value = text(words.next().ok_or(illegal("option without a value"))?)?;
            if options.len() == MAX_OPTIONS || options.iter().any(|(known, _)| *known == option) {
                return Err(refused(Code::Negotiation, "too many options, or a duplicate one"));
            }
            options.push((option, value.to_owned()));
        }
        match mode.to_ascii_lowercase().as_str() {
            "octet" => Ok(Request { name, options }),
            "netascii" => Err(illegal("only octet (binary) mode is served")),
            _ => Err(illegal("unknown transfer mode")),
        }
    }
}

/// The requested file of a first packet, for messages, no matter what else is wrong with the packet. `None` if it names
/// no file.
pub(crate) fn asked(packet: &[u8]) -> Option<String> {
    let name = packet.get(2..)?.split(|byte| *byte == 0).next().filter(|name| !name.is_empty())?;
    Some(name::shown(&name[..name.len().min(MAX_REQUEST)]))
}

impl Reply {
    /// Parses a client's later packet. `None` for anything but an ACK or ERROR.
    pub fn parse(packet: &[u8]) -> Option<Reply> {
        match (opcode(packet)?, packet.get(2..4)?) {
            (ACK, &[high, low]) => Some(Reply::Ack(u16::from_be_bytes([high, low]))),
            (ERROR, _) => Some(Reply::Error),
            _ => None,
        }
    }
}

fn opcode(packet: &[u8]) -> Option<u16> {
    packet.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

/// A DATA packet. Block numbers wrap: 65535 is followed by 0.
pub(crate) fn data(block: u64, bytes: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(4 + bytes.len());
    packet.extend(DATA.to_be_bytes());
    packet.extend((block as u16).to_be_bytes());
    packet.extend(bytes);
    packet
}

/// An OACK packet.
pub fn oack(options: &[(&str, u64)]) -> Vec<u8> {
    let mut packet = OACK.to_be_bytes().to_vec();
    for (name, value) in options {
        packet.extend(format!("{name}\0{value}\0").bytes());
    }
    packet
}

/// An ERROR packet.
pub(crate) fn error(Refusal { code, why }: Refusal) -> Vec<u8> {
    let mut packet = ERROR.to_be_bytes().to_vec();
    packet.extend((code as u16).to_be_bytes());
    packet.extend(why.bytes().chain([0]));
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(packet: &[u8]) -> Result<Request, Unanswered> {
        Request::parse(packet)
    }

    fn code(packet: &[u8]) -> Option<Code> {
        match parse(packet) {
            Err(Unanswered::Refused(refusal)) => Some(refusal.code),
            _ => None,
        }
    }

    #[test]
    fn a_request_of_a_uefi_firmware_is_read() {
        // OVMF's request, from a capture of the lab's boot.
        let request =
            parse(b"\0\x01ipxe.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0").unwrap();
        assert_eq!(request.name.meanings(), ["ipxe.efi"]);
        let options = [("tsize", "0"), ("blksize", "1468"), ("windowsize", "4")];
        assert_eq!(request.options, options.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn option_names_and_modes_are_known_in_any_case() {
        let request = parse(b"\0\x01a\0OcTeT\0BlkSize\x00512\0").unwrap();
        assert_eq!(request.options, [("blksize".to_owned(), "512".to_owned())]);
    }

    #[test]
    fn writing_is_refused() {
        assert_eq!(code(b"\0\x02a\0octet\0"), Some(Code::AccessViolation));
    }

    #[test]
    fn mail_and_netascii_are_refused() {
        for mode in ["mail", "netascii", "", "binary"] {
            let packet = format!("\0\x01a\0{mode}\0");
            assert_eq!(code(packet.as_bytes()), Some(Code::IllegalOperation), "{mode}");
        }
    }

    #[test]
    fn names_that_leave_are_refused() {
        for name in ["../x", "a/../b", "a/..", "/../etc/passwd", "..\\x", "a\\..\\b", "a/"] {
            let packet = format!("\0\x01{name}\0octet\0");
            assert_eq!(code(packet.as_bytes()), Some(Code::AccessViolation), "{name}");
        }
    }

    #[test]
    fn a_nul_in_a_name_ends_it_and_makes_the_rest_the_mode() {
        assert_eq!(code(b"\0\x01a\0b\0octet\0"), Some(Code::IllegalOperation));
    }

    #[test]
    fn malformed_requests_are_refused() {
        for packet in [
            &b"\0\x01"[..],
            b"\0\x01a",
            b"\0\x01a\0",
            b"\0\x01\0octet\0",
            b"\0\x01a\0octet",
            b"\0\x01a\0octet\0blksize\0",
            b"\0\x01a\0\xff\0",
            b"\0\x01a\0octet\0\0x\0",
            b"\0\x01a\0octet\0blksize\x008\0\0x",
        ] {
            assert_eq!(code(packet), Some(Code::IllegalOperation), "{packet:?}");
        }
        let giant = [b"\0\x01a\0octet\0blksize\0", &[b'1'; 600][..], b"\0"].concat();
        assert_eq!(code(&giant), Some(Code::IllegalOperation));
        assert_eq!(code(b"\0\x01a\0octet\0blksize\x008\0blksize\x009\0"), Some(Code::Negotiation));
        let many: String = (0..20).map(|number| format!("o{number}\0x\0")).collect();
        assert_eq!(code(format!("\0\x01a\0octet\0{many}").as_bytes()), Some(Code::Negotiation));
    }

    #[test]
    fn zeros_behind_a_request_are_not_looked_at() {
        let request = b"\0\x01a\0octet\0blksize\x008\0";
        for zeros in [1, 2, 3, 100, 1000] {
            let padded = [&request[..], &vec![0; zeros]].concat();
            assert_eq!(parse(&padded), parse(request), "{zeros}");
            let plain = [&b"\0\x01a\0octet\0"[..], &vec![0; zeros]].concat();
            assert_eq!(parse(&plain).unwrap().options, [], "{zeros}");
        }
        // An option with an empty value is kept.
        let empty = parse(b"\0\x01a\0octet\0blksize\0\0").unwrap();
        assert_eq!(empty.options, [("blksize".to_owned(), String::new())]);
    }

    #[test]
    fn the_name_is_known_of_requests_that_are_refused() {
        for (packet, name) in [
            (&b"\0\x01../x\xff\0octet\0"[..], Some("../x\\xff")),
            (b"\0\x02a", Some("a")),
            (b"\0\x01a\nb\0mail\0", Some("a\\nb")),
            (b"\0\x01\0octet\0", None),
            (b"\0", None),
        ] {
            assert_eq!(asked(packet).as_deref(), name, "{packet:?}");
        }
    }

    #[test]
    fn what_is_no_request_is_not_answered() {
        for packet in [&b""[..], b"\0", b"\0\x03\0\x01x", b"\0\x04\0\x01", b"\0\x05\0\x01x\0", b"\xff\xff"] {
            assert_eq!(parse(packet), Err(Unanswered::Ignored), "{packet:?}");
        }
    }

    #[test]
    fn packets_are_written_as_the_rfcs_have_them() {
        assert_eq!(data(65_537, b"xy"), b"\0\x03\0\x01xy");
        assert_eq!(oack(&[("blksize", 1468), ("tsize", 0)]), b"\0\x06blksize\x001468\0tsize\x000\0");
        let refusal = Refusal { code: Code::NotFound, why: "no" };
        assert_eq!(error(refusal), b"\0\x05\0\x01no\0");
    }
}
