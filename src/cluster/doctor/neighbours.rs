//! Which cards have which addresses on the networks of this host. The kernel asks by ARP when a packet is to be sent, and its
//! table says who answered; so this takes no rights and no raw socket.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// The kernel's table of neighbours.
const TABLE: &str = "/proc/net/arp";
/// Flag of an entry that was answered (`ATF_COM`).
const COMPLETE: u32 = 2;
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// The port that the packets go to: `discard`, RFC 863.
const DISCARD: u16 = 9;

/// The MAC address of each address that somebody has, in lower case. Returns when all have answered, and else after this time.
///
/// # Errors
/// No packet can be sent.
pub(super) fn ask(addresses: &[Ipv4Addr], patience: Duration) -> io::Result<BTreeMap<Ipv4Addr, String>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut sent = false;
    let mut refused = None;
    for address in addresses {
        match socket.send_to(&[0], (*address, DISCARD)) {
            Ok(_) => sent = true,
            // An address that did not answer a moment ago is refused at once: nobody has it.
            Err(error) if error.kind() == io::ErrorKind::HostUnreachable => sent = true,
            Err(error) => refused = Some(error),
        }
    }
    if let Some(error) = refused.filter(|_| !sent) {
        return Err(error);
    }
    let since = Instant::now();
    loop {
        let known = complete(&fs::read_to_string(TABLE)?);
        let found: BTreeMap<Ipv4Addr, String> =
            addresses.iter().filter_map(|address| Some((*address, known.get(address)?.clone()))).collect();
        if found.len() == addresses.len() || since.elapsed() >= patience {
            return Ok(found);
        }
        thread::sleep(PAUSE);
    }
}

/// The answered entries of the table: lines of address, hardware type, flags, hardware address, mask, device.
fn complete(table: &str) -> BTreeMap<Ipv4Addr, String> {
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [address, _, flags, card, ..] = fields[..] else { return None };
        let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
        (flags & COMPLETE != 0).then_some((address.parse().ok()?, card.to_lowercase()))
    };
    table.lines().skip(1).filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answered_entries_count() {
        let table = "IP address       HW type     Flags       HW address            Mask     Device\n\
                     10.0.0.11        0x1         0x2         52:54:00:AA:00:01     *        eth0\n\
                     10.0.0.12        0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                     10.0.0.13        0x1         0x6         52:54:00:aa:00:03     *        eth0\n";
        let known = complete(table);
        assert_eq!(known.len(), 2);
        assert_eq!(known[&Ipv4Addr::new(10, 0, 0, 11)], "52:54:00:aa:00:01");
    }
}
