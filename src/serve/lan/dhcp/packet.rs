//! Packets of RFC 2131, as far as a boot server needs to read and write them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed;
use dhcproto::v4::{Flags, HType, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Encodable, v4};

use crate::machine::node::Mac;

/// Shortest packet, in bytes: the size of BOOTP's. Some relays drop shorter ones.
const SHORTEST: usize = 300;
/// The option that ends a packet.
const END: u8 = 255;

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// DISCOVER, REQUEST and so on.
    pub kind: MessageType,
    /// The transaction ID, which pairs an answer with its request.
    pub xid: u32,
    /// The flags field; its top bit asks for answers by broadcast.
    pub flags: u16,
    /// The address that the client has already.
    pub ciaddr: Ipv4Addr,
    /// The relay that it came through; unspecified if there was none.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub mac: Mac,
    /// The options by code. Options that came in parts are joined (RFC 3396).
    options: BTreeMap<u8, Vec<u8>>,
}

/// Why a packet is not a request that could be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Shorter than the fixed fields.
    #[error("too short for DHCP")]
    Short,
    /// An answer from another server.
    #[error("not a request")]
    NotARequest,
    /// InfiniBand, a tunnel, or an address of the wrong length.
    #[error("not from Ethernet")]
    NotEthernet,
    /// BOOTP, or an unknown message type.
    #[error("no DHCP message type")]
    NoType,
}

impl Request {
    /// Parses a datagram.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Request, Malformed> {
        let message = borrowed::Message::new(bytes).map_err(|_| Malformed::Short)?;
        if message.opcode() != Opcode::BootRequest {
            return Err(Malformed::NotARequest);
        }
        // Checked before the address is read, because dhcproto trusts the length.
        if message.htype() != HType::Eth || message.hlen() != 6 {
            return Err(Malformed::NotEthernet);
        }
        let mac = <[u8; 6]>::try_from(message.chaddr()).map_err(|_| Malformed::NotEthernet)?;
        let mut options: BTreeMap<u8, Vec<u8>> = BTreeMap::new();
        for option in message.opts() {
            options.entry(option.code().into()).or_default().extend(option.data());
        }
        let kind = match options.get(&OptionCode::MessageType.into()).map(Vec::as_slice) {
            Some(&[kind @ 1..=8]) => MessageType::from(kind),
            _ => return Err(Malformed::NoType),
        };
        Ok(Request {
            kind,
            xid: message.xid(),
            flags: message.flags().into(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            mac: Mac::from(mac),
            options,
        })
    }

    /// The bytes of an option.
    pub(crate) fn option(&self, code: OptionCode) -> Option<&[u8]> {
        self.options.get(&code.into()).map(Vec::as_slice)
    }

    /// The value of an option that is an address.
    pub(crate) fn address(&self, code: OptionCode) -> Option<Ipv4Addr> {
        self.option(code).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Ipv4Addr::from)
    }

    /// Whether the client wants answers by broadcast even though it has an address.
    pub(crate) fn wants_broadcast(&self) -> bool {
        Flags::new(self.flags).broadcast()
    }

    /// The relay that it came through.
    pub(crate) fn relay(&self) -> Option<Ipv4Addr> {
        Some(self.giaddr).filter(|relay| !relay.is_unspecified())
    }
}

/// The content of an answer, before it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// OFFER, ACK or NAK.
    pub kind: MessageType,
    /// The address for the client; unspecified in a proxy's answer.
    pub yiaddr: Ipv4Addr,
    /// The server to load from; unspecified if there is nothing to load.
    pub siaddr: Ipv4Addr,
    /// The boot file, sent as an option and, if it fits, in the fixed field, too.
    pub file: Option<String>,
    /// Further options.
    pub options: Vec<v4::DhcpOption>,
}

/// The length of the `file` field, including its final zero.
const FILE: usize = 128;

impl Reply {
    /// The datagram that answers a request.
    pub(crate) fn encode(&self, request: &Request) -> Vec<u8> {
        let mut message = Message::default();
        message
            .set_opcode(Opcode::BootReply)
            .set_xid(request.xid)
            .set_flags(Flags::new(request.flags))
            .set_yiaddr(self.yiaddr)
            .set_siaddr(self.siaddr)
            .set_giaddr(request.giaddr)
            .set_chaddr(&request.mac.octets());
        if self.kind == MessageType::Ack {
            message.set_ciaddr(request.ciaddr);
        }
        let options = message.opts_mut();
        options.insert(v4::DhcpOption::MessageType(self.kind));
        for option in &self.options {
            options.insert(option.clone());
        }
        if let Some(file) = &self.file {
            options.insert(v4::DhcpOption::BootfileName(file.clone().into_bytes()));
            if file.len() < FILE {
                message.set_fname_str(file);
            }
        }
        // Only names that do not fit their fields could fail, and their lengths were checked.
        let mut bytes = with_ends(message.to_vec().unwrap_or_default());
        // RFC 3046 requires a relay's option to come back unchanged, after all others. dhcproto would decode it.
        let relay = request.option(OptionCode::RelayAgentInformation).filter(|bytes| bytes.len() <= 255);
        if let (Some(relay), Some(&END)) = (relay, bytes.last()) {
            bytes.pop();
            bytes.extend([OptionCode::RelayAgentInformation.into(), relay.len() as u8]);
            bytes.extend(relay);
            bytes.push(END);
        }
        if bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        bytes
    }
}

/// Offset of the options, after the fixed fields and the cookie.
const OPTIONS: usize = 240;
/// The padding option.
const PAD: u8 = 0;
/// Options that are text: host name, domain, message, vendor class, TFTP server, boot file.
const TEXTS: [u8; 6] = [12, 15, 56, 60, 66, 67];

/// Adds a pad after each text option. Some firmware reads such an option as a C string, past its length into the next
/// option, until it meets a zero (netbootxyz/netboot.xyz#1198). RFC 2132 allows no zero within, but allows pads
/// anywhere.
fn with_ends(bytes: Vec<u8>) -> Vec<u8> {
    let Some((fixed, mut options)) = bytes.split_at_checked(OPTIONS) else { return bytes };
    let mut ended = fixed.to_vec();
    while let [code, length, rest @ ..] = options
        && *code != END
    {
        let Some((_, next)) = rest.split_at_checked(usize::from(*length)) else { break };
        ended.extend(&options[..options.len() - next.len()]);
        // A value that is too long for one option continues in the next (RFC 3396).
        if TEXTS.contains(code) && next.first() != Some(code) {
            ended.push(PAD);
        }
        options = next;
    }
    ended.extend(options);
    ended
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A request as a client would send it: the fixed part of a broadcast by 52:54:00:00:00:01, followed by options.
    pub(crate) fn datagram(options: &[(u8, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0x80, 0];
        bytes.resize(28, 0);
        bytes.extend([0x52, 0x54, 0, 0, 0, 1]);
        bytes.resize(236, 0);
        bytes.extend([99, 130, 83, 99]);
        for (code, data) in options {
            bytes.extend([*code, data.len() as u8]);
            bytes.extend(*data);
        }
        bytes.push(END);
        bytes
    }

    pub(crate) fn request(options: &[(u8, &[u8])]) -> Request {
        Request::parse(&datagram(options)).unwrap()
    }

    #[test]
    fn an_option_that_comes_in_parts_is_put_together() {
        let request = request(&[(53, &[1]), (77, b"iP"), (12, b"x"), (77, b"XE")]);
        assert_eq!(request.option(OptionCode::UserClass), Some(&b"iPXE"[..]));
    }

    #[test]
    fn what_is_no_request_from_ethernet_is_refused() {
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = datagram(&[(53, &[1])]);
            change(&mut bytes);
            Request::parse(&bytes).map(|_| ())
        };
        assert_eq!(with(&|_| {}), Ok(()));
        assert_eq!(with(&|bytes| bytes.truncate(239)), Err(Malformed::Short));
        assert_eq!(with(&|bytes| bytes[0] = 2), Err(Malformed::NotARequest));
        assert_eq!(with(&|bytes| bytes[1] = 32), Err(Malformed::NotEthernet));
        // Longer than the field; reading that many bytes would run past it.
        assert_eq!(with(&|bytes| bytes[2] = 255), Err(Malformed::NotEthernet));
        assert_eq!(with(&|bytes| bytes[236] = 0), Err(Malformed::NoType));
        for kind in [&[][..], &[0], &[9], &[255], &[1, 1]] {
            assert_eq!(Request::parse(&datagram(&[(53, kind)])).err(), Some(Malformed::NoType), "{kind:?}");
        }
    }

    #[test]
    fn options_whose_length_lies_are_left_out() {
        let mut bytes = datagram(&[(53, &[1])]);
        bytes.pop();
        bytes.extend([97, 200, 1, 2]);
        assert_eq!(Request::parse(&bytes).unwrap().option(OptionCode::ClientMachineIdentifier), None);
    }

    // netbootxyz/netboot.xyz#1198, dnsmasq-discuss 2006q1/000592, garybowers/bootimus#117.
    #[test]
    fn every_text_of_a_reply_ends_for_those_who_read_it_as_a_c_string() {
        let options = vec![
            v4::DhcpOption::Hostname("n1".into()),
            v4::DhcpOption::DomainName("lab.example".into()),
            v4::DhcpOption::Message("no".into()),
            v4::DhcpOption::ClassIdentifier(b"PXEClient".to_vec()),
            v4::DhcpOption::TFTPServerName("10.0.0.1".into()),
            v4::DhcpOption::ClientMachineIdentifier(vec![7; 17]),
        ];
        for file in ["ipxe.efi".to_owned(), format!("http://10.0.0.1/{}", "a".repeat(300))] {
            let any = Ipv4Addr::UNSPECIFIED;
            let (kind, options) = (MessageType::Offer, options.clone());
            let reply = Reply { kind, yiaddr: any, siaddr: any, file: Some(file.clone()), options };
            let bytes = reply.encode(&request(&[(53, &[1])]));
            for text in ["n1", "lab.example", "no", "PXEClient", "10.0.0.1", &file[..file.len().min(255)]] {
                let coded = [&[text.len() as u8], text.as_bytes()].concat();
                let at = bytes.windows(coded.len()).position(|window| window == coded).expect(text);
                let behind = bytes[at + coded.len()];
                assert_eq!(behind, if text.len() == 255 { 67 } else { 0 }, "{text}");
            }
            // Nothing else changed: a reader that follows the lengths finds everything.
            let message = borrowed::Message::new(&bytes).unwrap();
            let read: Vec<u8> =
                message.opts().filter(|o| u8::from(o.code()) == 67).flat_map(|o| o.data().to_vec()).collect();
            assert_eq!(String::from_utf8(read).unwrap(), file);
            assert_eq!(
                message.opts().filter(|o| u8::from(o.code()) == 97).map(|o| o.data().len()).sum::<usize>(),
                17
            );
        }
    }

    #[test]
    fn a_relay_gets_its_own_option_back_as_it_came_and_last() {
        // Circuit id, an unknown sub-option out of order, and one that is malformed.
        let relay = [1, 2, b'e', b'0', 200, 1, 7, 5, 1, 9];
        let request = request(&[(53, &[1]), (82, &relay)]);
        let options = vec![v4::DhcpOption::ClassIdentifier(b"PXEClient".to_vec())];
        let any = Ipv4Addr::UNSPECIFIED;
        let reply = Reply { kind: MessageType::Offer, yiaddr: any, siaddr: any, file: None, options };
        let bytes = reply.encode(&request);
        let tail = [&[82, 10][..], &relay, &[END]].concat();
        let at = bytes.windows(tail.len()).position(|window| window == tail).unwrap();
        assert!(bytes[at + tail.len()..].iter().all(|byte| *byte == 0), "padding only");
        assert_eq!(bytes.len(), SHORTEST);
    }
}
