//! Servers that answer to firmware: a DHCPDISCOVER as PXE sends it (RFC 2131, PXE 2.1), and the answers to it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use crate::serve::lan::interface::Interface;

/// The ports of clients and servers.
const CLIENT: u16 = 68;
const SERVER: u16 = 67;
/// Longest answer that is read, in bytes.
const LONGEST: usize = 1500;
/// Time between two looks, and between two requests: the first may be lost.
const PAUSE: Duration = Duration::from_millis(20);
const AGAIN: Duration = Duration::from_millis(1000);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer {
    /// The server that answered.
    pub server: Ipv4Addr,
    /// The address that it offers; unspecified from a server that gives boot files alone.
    pub address: Ipv4Addr,
    /// The boot file that it names.
    pub file: Option<String>,
    /// Whether it says that it is a boot server (`PXEClient`).
    pub is_booter: bool,
}

impl Offer {
    /// Whether it gives addresses.
    pub(super) fn lends(&self) -> bool {
        !self.address.is_unspecified()
    }

    /// The file that it has machines boot, in words; `None` if it leaves that to others.
    pub(super) fn boots(&self) -> Option<String> {
        match (&self.file, self.is_booter) {
            (Some(file), _) => Some(format!("{} with the boot file {file}", self.server)),
            (None, true) => Some(format!("{} (proxyDHCP)", self.server)),
            (None, false) => None,
        }
    }

    /// Reads an answer to the request with this number.
    fn read(bytes: &[u8], xid: u32, sender: Ipv4Addr) -> Option<Offer> {
        let message = Message::decode(&mut Decoder::new(bytes)).ok()?;
        let options = message.opts();
        let is_offer =
            matches!(options.get(OptionCode::MessageType), Some(DhcpOption::MessageType(MessageType::Offer)));
        if message.opcode() != Opcode::BootReply || message.xid() != xid || !is_offer {
            return None;
        }
        let server = match options.get(OptionCode::ServerIdentifier) {
            Some(DhcpOption::ServerIdentifier(server)) => *server,
            _ => sender,
        };
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).trim_end_matches('\0').trim().to_owned();
            Some(text).filter(|text| !text.is_empty())
        };
        let named = match options.get(OptionCode::BootfileName) {
            Some(DhcpOption::BootfileName(name)) => text(name),
            _ => None,
        };
        let class = match options.get(OptionCode::ClassIdentifier) {
            Some(DhcpOption::ClassIdentifier(class)) => class.clone(),
            _ => Vec::new(),
        };
        Some(Offer {
            server,
            address: message.yiaddr(),
            file: named.or_else(|| message.fname().and_then(text)),
            is_booter: class.starts_with(b"PXEClient"),
        })
    }
}

/// The request: from a card that nobody has, so that no server keeps an address for one of our machines.
fn discover(card: [u8; 6], xid: u32) -> Option<Vec<u8>> {
    let mut message = Message::default();
    message
        .set_opcode(Opcode::BootRequest)
        .set_xid(xid)
        .set_chaddr(&card)
        .set_flags(Flags::default().set_broadcast());
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Discover));
    options.insert(DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        OptionCode::Router,
        OptionCode::BootfileName,
        OptionCode::TFTPServerName,
        OptionCode::ClassIdentifier,
    ]));
    // UEFI on x86-64, which sends these three (PXE 2.1, RFC 4578).
    options.insert(DhcpOption::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003016".to_vec()));
    options.insert(DhcpOption::ClientSystemArchitecture(dhcproto::v4::Architecture::from(7)));
    options.insert(DhcpOption::ClientNetworkInterface(1, 3, 16));
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).ok()?;
    Some(bytes)
}

/// All answers on an interface within a time, each server's once.
///
/// # Errors
/// The client's port cannot be used, or nothing can be sent.
pub(super) fn ask(interface: &Interface, patience: Duration) -> io::Result<Vec<Offer>> {
    let socket = interface.socket(CLIENT)?;
    let mut random = [0; 9];
    // Without random numbers there is a request all the same.
    let _ = aws_lc_rs::rand::fill(&mut random);
    let [a, b, c, d, e, f, g, h, i] = random;
    // Locally administered, and no multicast address (IEEE 802).
    let card = [0x02, a, b, c, d, e];
    let xid = u32::from_be_bytes([f, g, h, i]);
    let bytes = discover(card, xid).ok_or_else(|| io::Error::other("no request can be written"))?;
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER);
    let since = Instant::now();
    let mut sent: Option<Instant> = None;
    let mut offers: Vec<Offer> = Vec::new();
    let mut buffer = [0; LONGEST];
    while since.elapsed() < patience {
        if sent.is_none_or(|sent| sent.elapsed() >= AGAIN) {
            socket.send_to(&bytes, everybody)?;
            sent = Some(Instant::now());
        }
        match socket.recv_from(&mut buffer) {
            Ok((length, sender)) => {
                let std::net::IpAddr::V4(sender) = sender.ip() else { continue };
                let offer = Offer::read(&buffer[..length], xid, sender);
                offers.extend(offer.filter(|offer| !offers.contains(offer)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(PAUSE),
            Err(error) => return Err(error),
        }
    }
    Ok(offers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_that_our_own_server_would_answer_as_firmwares() {
        let bytes = discover([2, 0, 0, 0, 0, 1], 7).unwrap();
        let message = Message::decode(&mut Decoder::new(&bytes)).unwrap();
        assert!(message.flags().broadcast(), "it has no address at which it could be answered");
        assert_eq!((message.xid(), message.chaddr()), (7, &[2, 0, 0, 0, 0, 1][..]));
    }

    #[test]
    fn of_answers_only_offers_to_this_request_count() {
        let mut message = Message::default();
        message.set_opcode(Opcode::BootReply).set_xid(7).set_yiaddr([10, 0, 0, 50]);
        message.opts_mut().insert(DhcpOption::MessageType(MessageType::Offer));
        message.opts_mut().insert(DhcpOption::ServerIdentifier([10, 0, 0, 1].into()));
        message.opts_mut().insert(DhcpOption::BootfileName(b"undionly.kpxe\0".to_vec()));
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).unwrap();
        let sender = Ipv4Addr::new(10, 0, 0, 9);
        let offer = Offer::read(&bytes, 7, sender).unwrap();
        assert!(offer.lends());
        assert_eq!(offer.boots().as_deref(), Some("10.0.0.1 with the boot file undionly.kpxe"));
        assert_eq!(Offer::read(&bytes, 8, sender), None);
        assert_eq!(Offer::read(&bytes[..100], 7, sender), None);
    }
}
