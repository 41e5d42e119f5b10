//! The state machine: which request gets which reply, and its destination. RFC 2131, 4.3; PXE 2.1, 2.2.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use dhcproto::v4::{CLIENT_PORT, DhcpOption, MessageType, OptionCode, SERVER_PORT};

use super::boot::{Boot, NoBoot, Sources};
use super::client::{self, Client};
use super::leases::{Lease, Leases};
use super::packet::{Reply, Request};
use super::rate::{Rates, Told};
use crate::machine::dhcp::Mode;
use crate::serve::lan::near::Near;
use crate::serve::notice;

/// The port of PXE boot servers, which firmware asks once it has an address.
pub(crate) const PXE_PORT: u16 = 4011;

/// The port on which a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Port 67.
    Server,
    /// Port 4011.
    Pxe,
}

/// A reply and its destination.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The datagram.
    pub bytes: Vec<u8>,
    /// Its destination.
    pub to: SocketAddrV4,
    /// The notice for the log and the timeline.
    pub told: notice::Dhcp,
}

/// A DHCP server without sockets.
#[derive(Debug)]
pub struct Responder {
    sources: Sources,
    /// The leases. `None` next to another server.
    leases: Option<Leases>,
    near: Near,
    rates: Rates,
    told: Told,
}

/// Why nothing is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Silence is right: the request is not for us, or it comes from strangers or too often.
    Due,
    /// A machine may be waiting for an answer.
    Told(notice::DhcpSilent),
}

/// Why there is no reply, in words. `None` if none is due.
type Why = Option<String>;

impl Responder {
    /// A responder; without leases it is a proxy.
    pub fn new(sources: Sources, leases: Option<Leases>, near: Near) -> Responder {
        Responder { sources, leases, near, rates: Rates::default(), told: Told::default() }
    }

    /// The leases, to update their nodes.
    pub(crate) fn leases(&mut self) -> Option<&mut Leases> {
        self.leases.as_mut()
    }

    /// Answers a datagram, if it is a request that we have an answer to.
    ///
    /// # Errors
    /// Why nothing is sent.
    pub fn answer(
        &mut self,
        datagram: &[u8],
        from: SocketAddrV4,
        port: Port,
        now: Instant,
    ) -> Result<Answer, Silence> {
        let request = Request::parse(datagram).map_err(|_| Silence::Due)?;
        let client = Client::of(&request);
        let firmware = client.map_or("system", Client::name);
        let reply = match (port, request.kind, client) {
            (Port::Pxe, MessageType::Request | MessageType::Inform, Some(client)) => {
                self.boot_server(&request, client)
            }
            (Port::Server, MessageType::Discover, Some(client)) if self.leases.is_none() => {
                self.proxy_offer(&request, client)
            }
            (Port::Server, _, client) if self.leases.is_some() => self.lend(&request, client, now),
            _ => Err(None),
        };
        let (reply, lacks) = reply.map_err(|why| match why.filter(|_| self.told.take(request.mac, now)) {
            None => Silence::Due,
            Some(why) => Silence::Told(notice::DhcpSilent { mac: request.mac.to_string(), firmware, why }),
        })?;
        let to = destination(&request, &reply, from, port);
        if !self.rates.take(request.mac, now) || !(to.ip().is_broadcast() || self.near.is((*to.ip()).into()))
        {
            return Err(Silence::Due);
        }
        let told = notice::Dhcp {
            mac: request.mac.to_string(),
            uuid: client::uuid(&request),
            firmware,
            answer: match reply.kind {
                MessageType::Offer => "offer",
                MessageType::Nak => "nak",
                _ => "ack",
            },
            address: Some(reply.yiaddr).filter(|address| !address.is_unspecified()),
            file: reply.file.clone(),
            lacks: lacks.map(|lacks| lacks.to_string()),
        };
        Ok(Answer { bytes: reply.encode(&request), to, told })
    }

    /// A proxy's offer: a boot file without an address.
    fn proxy_offer(&self, request: &Request, client: Client) -> Result<(Reply, Option<NoBoot>), Why> {
        let boot = self.sources.boot(client, request, Mode::Proxy).map_err(|why| Some(why.to_string()))?;
        Ok((self.reply(MessageType::Offer, Ipv4Addr::UNSPECIFIED, Some(boot)), None))
    }

    /// The answer of a PXE boot server to a client that has an address already.
    fn boot_server(&self, request: &Request, client: Client) -> Result<(Reply, Option<NoBoot>), Why> {
        let boot = self.sources.boot(client, request, Mode::Proxy).map_err(|why| Some(why.to_string()))?;
        Ok((self.reply(MessageType::Ack, Ipv4Addr::UNSPECIFIED, Some(boot)), None))
    }

    /// The answer of a server that lends addresses. For a client that boots, also the reason if there is no boot file.
    fn lend(
        &mut self,
        request: &Request,
        client: Option<Client>,
        now: Instant,
    ) -> Result<(Reply, Option<NoBoot>), Why> {
        let leases = self.leases.as_mut().ok_or(None)?;
        let asked = request.address(OptionCode::RequestedIpAddress);
        match request.kind {
            MessageType::Discover => {
                let lease = leases.find(request, asked, now).map_err(|why| Some(why.to_string()))?;
                leases.offer(request.mac, lease.address, now);
                Ok(self.lease(MessageType::Offer, request, client, &lease))
            }
            MessageType::Request => {
                let server = request.address(OptionCode::ServerIdentifier);
                if server.is_some_and(|server| server != self.sources.address) {
                    // The client accepted another server's offer.
                    leases.release(request.mac, asked.ok_or(None)?);
                    return Err(None);
                }
                // The address that it was offered, that it remembers, or that it has and wants to keep.
                let wanted = asked.unwrap_or(request.ciaddr);
                match leases.find(request, Some(wanted), now) {
                    Ok(lease) if lease.address == wanted => {
                        leases.lend(request.mac, wanted, now);
                        Ok(self.lease(MessageType::Ack, request, client, &lease))
                    }
                    // The client has another address, or its offer has expired.
                    _ if server.is_some() || leases.knows(request.mac) => {
                        Ok((self.nak("that is not your address"), None))
                    }
                    // 4.3.2 requires silence: another server may know the client.
                    _ => Err(None),
                }
            }
            MessageType::Decline => {
                leases.decline(request.mac, asked.ok_or(None)?, now);
                Err(None)
            }
            MessageType::Release => {
                leases.release(request.mac, request.ciaddr);
                Err(None)
            }
            MessageType::Inform => {
                let (boot, lacks) = self.boot(request, client);
                let mut reply = self.reply(MessageType::Ack, Ipv4Addr::UNSPECIFIED, boot);
                reply.options.extend(self.network(request));
                Ok((reply, lacks))
            }
            _ => Err(None),
        }
    }

    /// An offer or a lease of an address, with a boot file for clients that boot.
    fn lease(
        &self,
        kind: MessageType,
        request: &Request,
        client: Option<Client>,
        lease: &Lease,
    ) -> (Reply, Option<NoBoot>) {
        let (boot, lacks) = self.boot(request, client);
        let mut reply = self.reply(kind, lease.address, boot);
        let seconds = self.leases.as_ref().map_or(0, |leases| leases.dhcp().lease.as_secs());
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        reply.options.extend([
            DhcpOption::AddressLeaseTime(seconds),
            // T1 and T2, 4.4.5.
            DhcpOption::Renewal(seconds / 2),
            DhcpOption::Rebinding(seconds / 8 * 7),
            DhcpOption::SubnetMask(lease.network.netmask()),
            DhcpOption::BroadcastAddr(lease.network.broadcast()),
        ]);
        reply.options.extend(self.network(request));
        reply.options.extend(lease.name.clone().map(DhcpOption::Hostname));
        (reply, lacks)
    }

    /// The boot file of a client that gets its address from us, or the reason why a booting client gets none.
    fn boot(&self, request: &Request, client: Option<Client>) -> (Option<Boot>, Option<NoBoot>) {
        match client.map(|client| self.sources.boot(client, request, Mode::Full)) {
            None => (None, None),
            Some(Ok(boot)) => (Some(boot), None),
            Some(Err(lacks)) => (None, Some(lacks)),
        }
    }

    /// The router, name servers and domain.
    fn network(&self, request: &Request) -> Vec<DhcpOption> {
        let Some(dhcp) = self.leases.as_ref().map(Leases::dhcp) else { return Vec::new() };
        // A relay is the router of its network, unless it is in our own.
        let relay = request.relay().filter(|relay| !dhcp.subnet.contains(*relay));
        let router = relay.or(dhcp.gateway).map(|router| DhcpOption::Router(vec![router]));
        let dns = Some(dhcp.dns.clone()).filter(|dns| !dns.is_empty()).map(DhcpOption::DomainNameServer);
        let domain = dhcp.domain.clone().map(DhcpOption::DomainName);
        router.into_iter().chain(dns).chain(domain).collect()
    }

    fn nak(&self, why: &str) -> Reply {
        let mut reply = self.reply(MessageType::Nak, Ipv4Addr::UNSPECIFIED, None);
        reply.options.push(DhcpOption::Message(why.into()));
        reply
    }

    fn reply(&self, kind: MessageType, yiaddr: Ipv4Addr, boot: Option<Boot>) -> Reply {
        let siaddr = boot.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |_| self.sources.address);
        let (file, mut options) = boot.map_or((None, Vec::new()), |boot| (boot.file, boot.options));
        options.push(DhcpOption::ServerIdentifier(self.sources.address));
        Reply { kind, yiaddr, siaddr, file, options }
    }
}

/// The destination of a reply, according to RFC 2131, 4.1. A client without an address is always reached by broadcast:
/// it cannot answer ARP yet, and bypassing ARP takes a raw socket.
fn destination(request: &Request, reply: &Reply, from: SocketAddrV4, port: Port) -> SocketAddrV4 {
    let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, CLIENT_PORT);
    match (port, request.relay()) {
        // The client has an address, and waits on the port that it asked from.
        (Port::Pxe, _) => from,
        (_, Some(relay)) => SocketAddrV4::new(relay, SERVER_PORT),
        _ if reply.kind == MessageType::Nak || request.wants_broadcast() => everybody,
        _ if request.ciaddr.is_unspecified() => everybody,
        _ => SocketAddrV4::new(request.ciaddr, CLIENT_PORT),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use dhcproto::v4::borrowed;

    use super::super::leases::tests::leases;
    use super::super::packet::tests::datagram;
    use super::*;

    const OWN: [u8; 4] = [10, 0, 0, 101];
    const NOBODY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT);
    const PXE: (u8, &[u8]) = (60, b"PXEClient:Arch:00007:UNDI:003016");

    fn responder(leases: Option<Leases>) -> Responder {
        let sources = Sources {
            address: OWN.into(),
            base_url: "http://10.0.0.101:8080".into(),
            loaders: BTreeSet::from(["undionly.kpxe", "ipxe.efi"]),
            tftp: true,
        };
        Responder::new(sources, leases, Near::default())
    }

    /// The fields of an answer that tests look at.
    struct Seen {
        kind: u8,
        yiaddr: [u8; 4],
        siaddr: [u8; 4],
        file: String,
        to: SocketAddrV4,
        options: Vec<(u8, Vec<u8>)>,
    }

    impl Seen {
        fn of(answer: &Answer) -> Seen {
            let message = borrowed::Message::new(&answer.bytes).unwrap();
            let options: Vec<_> =
                message.opts().map(|option| (u8::from(option.code()), option.data().to_vec())).collect();
            Seen {
                kind: options.iter().find(|(code, _)| *code == 53).unwrap().1[0],
                yiaddr: message.yiaddr().octets(),
                siaddr: message.siaddr().octets(),
                file: String::from_utf8(message.fname().to_vec()).unwrap(),
                to: answer.to,
                options,
            }
        }

        fn option(&self, code: u8) -> Option<&[u8]> {
            self.options.iter().find(|(known, _)| *known == code).map(|(_, data)| data.as_slice())
        }
    }

    fn ask(responder: &mut Responder, port: Port, from: SocketAddrV4, bytes: &[u8]) -> Option<Seen> {
        responder.answer(bytes, from, port, Instant::now()).ok().as_ref().map(Seen::of)
    }

    /// Asks on port 67 as machine `last`.
    fn machine(responder: &mut Responder, last: u8, options: &[(u8, &[u8])]) -> Option<Seen> {
        let mut bytes = datagram(options);
        bytes[33] = last;
        ask(responder, Port::Server, NOBODY, &bytes)
    }

    const DISCOVER: (u8, &[u8]) = (53, &[1]);
    const REQUEST: (u8, &[u8]) = (53, &[3]);
    const OUR_ID: (u8, &[u8]) = (54, &OWN);

    #[test]
    fn a_proxy_offers_a_file_and_no_address_to_those_that_boot_and_is_silent_to_others() {
        let mut proxy = responder(None);
        let offer = machine(&mut proxy, 1, &[DISCOVER, PXE, (97, &[0; 17])]).unwrap();
        assert_eq!((offer.kind, offer.yiaddr, offer.siaddr), (2, [0; 4], OWN));
        assert_eq!((offer.file.as_str(), offer.option(67)), ("ipxe.efi", Some(&b"ipxe.efi"[..])));
        assert_eq!((offer.option(60), offer.option(54)), (Some(&b"PXEClient"[..]), Some(&OWN[..])));
        assert_eq!((offer.option(97), offer.option(51)), (Some(&[0; 17][..]), None));
        assert_eq!(offer.to, "255.255.255.255:68".parse().unwrap());
        assert!(machine(&mut proxy, 1, &[DISCOVER]).is_none());
        assert!(machine(&mut proxy, 1, &[DISCOVER, (60, b"MSFT 5.0")]).is_none());
        assert!(
            machine(&mut proxy, 1, &[REQUEST, PXE, OUR_ID]).is_none(),
            "addresses are the other server's"
        );
    }

    #[test]
    fn a_boot_server_answers_where_it_was_asked_from() {
        let mut proxy = responder(None);
        let from = "10.0.0.50:4011".parse().unwrap();
        let mut bytes = datagram(&[REQUEST, PXE]);
        bytes[12..16].copy_from_slice(&[10, 0, 0, 50]);
        let ack = ask(&mut proxy, Port::Pxe, from, &bytes).unwrap();
        assert_eq!((ack.kind, ack.file.as_str(), ack.to), (5, "ipxe.efi", from));
        assert!(ask(&mut proxy, Port::Pxe, from, &datagram(&[DISCOVER, PXE])).is_none());
        assert!(ask(&mut proxy, Port::Pxe, from, &datagram(&[REQUEST])).is_none());
    }

    #[test]
    fn strangers_and_relays_of_strangers_are_not_answered() {
        let mut proxy = responder(None);
        let stranger = "198.51.100.9:4011".parse().unwrap();
        assert!(ask(&mut proxy, Port::Pxe, stranger, &datagram(&[REQUEST, PXE])).is_none());
        let mut relayed = datagram(&[DISCOVER, PXE]);
        relayed[24..28].copy_from_slice(&[198, 51, 100, 1]);
        assert!(ask(&mut proxy, Port::Server, NOBODY, &relayed).is_none());
        relayed[24..28].copy_from_slice(&[10, 9, 0, 1]);
        let offer = ask(&mut proxy, Port::Server, NOBODY, &relayed).unwrap();
        assert_eq!(offer.to, "10.9.0.1:67".parse().unwrap());
    }

    #[test]
    fn a_node_gets_its_address_and_everything_that_goes_with_it() {
        let mut server = responder(Some(leases()));
        let offer = machine(&mut server, 1, &[DISCOVER]).unwrap();
        assert_eq!((offer.kind, offer.yiaddr), (2, [10, 0, 0, 11]));
        for (code, expected) in [
            (1, &[255, 255, 255, 0][..]),
            (3, &[10, 0, 0, 254]),
            (6, &[10, 0, 0, 53]),
            (12, b"n1"),
            (15, b"lab.example"),
            (28, &[10, 0, 0, 255]),
            (51, &600u32.to_be_bytes()),
            (54, &OWN),
            (58, &300u32.to_be_bytes()),
            (59, &525u32.to_be_bytes()),
        ] {
            assert_eq!(offer.option(code), Some(expected), "option {code}");
        }
        assert_eq!(
            (offer.siaddr, offer.file.as_str(), offer.option(67)),
            ([0; 4], "", None),
            "it does not boot"
        );
        let ack = machine(&mut server, 1, &[REQUEST, OUR_ID, (50, &[10, 0, 0, 11])]).unwrap();
        assert_eq!((ack.kind, ack.yiaddr), (5, [10, 0, 0, 11]));
    }

    #[test]
    fn a_machine_that_boots_gets_its_address_and_its_file_in_one_answer() {
        let mut server = responder(Some(leases()));
        let offer = machine(&mut server, 1, &[DISCOVER, PXE, (93, &[0, 7])]).unwrap();
        assert_eq!((offer.yiaddr, offer.siaddr, offer.file.as_str()), ([10, 0, 0, 11], OWN, "ipxe.efi"));
        let offer = machine(&mut server, 1, &[DISCOVER, PXE, (93, &[0, 7]), (77, b"iPXE")]).unwrap();
        assert_eq!(offer.file, "http://10.0.0.101:8080/boot.ipxe");
        let offer =
            machine(&mut server, 1, &[DISCOVER, (60, b"HTTPClient:Arch:00016"), (93, &[0, 16])]).unwrap();
        assert_eq!(offer.file, "http://10.0.0.101:8080/loaders/ipxe.efi");
        assert_eq!(offer.option(60), Some(&b"HTTPClient"[..]));
    }

    #[test]
    fn who_asks_for_what_is_not_his_is_told_no_and_who_is_unknown_nothing() {
        let mut server = responder(Some(leases()));
        let wrong = machine(&mut server, 1, &[REQUEST, (50, &[10, 0, 0, 12])]).unwrap();
        assert_eq!((wrong.kind, wrong.yiaddr, wrong.option(51)), (6, [0; 4], None));
        assert_eq!(wrong.to, "255.255.255.255:68".parse().unwrap());
        assert!(
            machine(&mut server, 66, &[REQUEST, (50, &[10, 0, 0, 12])]).is_none(),
            "another server may know it"
        );
        let late = machine(&mut server, 66, &[REQUEST, OUR_ID, (50, &[10, 0, 0, 12])]).unwrap();
        assert_eq!(late.kind, 6);
    }

    #[test]
    fn an_address_that_a_client_had_before_a_restart_is_given_again_if_it_is_free() {
        let mut server = responder(Some(leases()));
        let ack = machine(&mut server, 66, &[REQUEST, (50, &[10, 0, 0, 102])]).unwrap();
        assert_eq!((ack.kind, ack.yiaddr), (5, [10, 0, 0, 102]));
        assert!(machine(&mut server, 67, &[REQUEST, (50, &[10, 0, 0, 102])]).is_none());
    }

    #[test]
    fn a_renewal_is_answered_where_the_client_is() {
        let mut server = responder(Some(leases()));
        let mut bytes = datagram(&[REQUEST]);
        bytes[10] = 0;
        bytes[12..16].copy_from_slice(&[10, 0, 0, 11]);
        let ack = ask(&mut server, Port::Server, "10.0.0.11:68".parse().unwrap(), &bytes).unwrap();
        assert_eq!((ack.kind, ack.yiaddr, ack.to), (5, [10, 0, 0, 11], "10.0.0.11:68".parse().unwrap()));
    }

    #[test]
    fn an_offer_that_another_server_wins_is_withdrawn() {
        let mut server = responder(Some(leases()));
        assert_eq!(machine(&mut server, 50, &[DISCOVER]).unwrap().yiaddr, [10, 0, 0, 100]);
        let other = [REQUEST, (54, &[10, 0, 0, 2][..]), (50, &[10, 0, 0, 100])];
        assert!(machine(&mut server, 50, &other).is_none());
        assert_eq!(machine(&mut server, 51, &[DISCOVER]).unwrap().yiaddr, [10, 0, 0, 100]);
    }

    #[test]
    fn a_declined_address_is_not_offered_and_a_released_one_is() {
        let mut server = responder(Some(leases()));
        let get = |server: &mut Responder, machine_id| {
            let offered = machine(server, machine_id, &[DISCOVER]).unwrap().yiaddr;
            machine(server, machine_id, &[REQUEST, OUR_ID, (50, &offered)]).unwrap().yiaddr
        };
        assert_eq!(get(&mut server, 50), [10, 0, 0, 100]);
        assert!(machine(&mut server, 50, &[(53, &[4]), OUR_ID, (50, &[10, 0, 0, 100])]).is_none());
        assert_eq!(get(&mut server, 50), [10, 0, 0, 102]);
        let mut release = datagram(&[(53, &[7]), OUR_ID]);
        release[33] = 50;
        release[12..16].copy_from_slice(&[10, 0, 0, 102]);
        assert!(ask(&mut server, Port::Server, "10.0.0.102:68".parse().unwrap(), &release).is_none());
        assert_eq!(get(&mut server, 51), [10, 0, 0, 102]);
    }

    #[test]
    fn who_configured_itself_is_told_the_rest_without_a_lease() {
        let mut server = responder(Some(leases()));
        let mut inform = datagram(&[(53, &[8])]);
        inform[10] = 0;
        inform[12..16].copy_from_slice(&[10, 0, 0, 77]);
        let ack = ask(&mut server, Port::Server, "10.0.0.77:68".parse().unwrap(), &inform).unwrap();
        assert_eq!((ack.kind, ack.yiaddr, ack.option(51)), (5, [0; 4], None));
        assert_eq!((ack.option(6), ack.to), (Some(&[10, 0, 0, 53][..]), "10.0.0.77:68".parse().unwrap()));
    }

    #[test]
    fn behind_a_relay_the_relay_is_the_router_and_gets_the_reply() {
        let mut server = responder(Some(leases()));
        let mut bytes = datagram(&[DISCOVER, (82, &[1, 1, 7])]);
        bytes[33] = 4;
        bytes[24..28].copy_from_slice(&[10, 9, 0, 1]);
        let offer = ask(&mut server, Port::Server, "10.9.0.1:67".parse().unwrap(), &bytes).unwrap();
        assert_eq!((offer.yiaddr, offer.to), ([10, 9, 0, 4], "10.9.0.1:67".parse().unwrap()));
        assert_eq!(
            (offer.option(3), offer.option(1)),
            (Some(&[10, 9, 0, 1][..]), Some(&[255, 255, 0, 0][..]))
        );
        assert_eq!(offer.option(82), Some(&[1, 1, 7][..]));
    }

    /// Packets of real clients; `tests/data/dhcp/README.md` describes them.
    macro_rules! captured {
        ($name:literal) => {
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/dhcp/", $name, ".bin"))
        };
    }

    #[test]
    fn what_real_clients_sent_is_answered() {
        const SCRIPT: &str = "http://10.0.0.101:8080/boot.ipxe";
        let pxe = "10.77.0.100:4011".parse().unwrap();
        for (datagram, port, firmware, file) in [
            (&captured!("ovmf-discover")[..], Port::Server, "UEFI x86-64", "ipxe.efi"),
            (captured!("ovmf-boot-request"), Port::Pxe, "UEFI x86-64", "ipxe.efi"),
            (captured!("ipxe-uefi-discover"), Port::Server, "iPXE", SCRIPT),
            (captured!("ipxe-bios-discover"), Port::Server, "iPXE", SCRIPT),
        ] {
            let from = if port == Port::Pxe { pxe } else { NOBODY };
            let answer = responder(None).answer(datagram, from, port, Instant::now()).unwrap();
            assert_eq!((answer.told.firmware, answer.told.file.as_deref()), (firmware, Some(file)));
            assert_eq!(answer.told.mac, "52:54:00:00:00:01");
        }
        // They ask another server for an address that it offered.
        for datagram in [&captured!("ovmf-request")[..], captured!("ipxe-uefi-request")] {
            assert!(ask(&mut responder(None), Port::Server, NOBODY, datagram).is_none());
            assert!(ask(&mut responder(Some(leases())), Port::Server, NOBODY, datagram).is_none());
        }
    }

    fn why(responder: &mut Responder, last: u8, options: &[(u8, &[u8])], now: Instant) -> Option<String> {
        let mut bytes = datagram(options);
        bytes[33] = last;
        match responder.answer(&bytes, NOBODY, Port::Server, now) {
            Err(Silence::Told(told)) => Some(format!("{} {}: {}", told.mac, told.firmware, told.why)),
            Err(Silence::Due) => None,
            Ok(answer) => panic!("{:?}", answer.told),
        }
    }

    #[test]
    fn a_machine_that_may_wait_for_an_answer_is_told_of_once_a_minute() {
        let (mut server, now) = (responder(Some(leases())), Instant::now());
        let far = "52:54:00:00:00:04 system: node far has the address 10.9.0.4, which is not in 10.0.0.0/24";
        assert_eq!(why(&mut server, 4, &[DISCOVER], now).as_deref(), Some(far));
        assert_eq!(why(&mut server, 4, &[DISCOVER], now), None);
        let mut proxy = responder(None);
        for (last, arch, expected) in [
            (1, 27, "UEFI RISC-V 64: there is no boot file for its architecture, 27"),
            (2, 11, "UEFI arm64: there is no ipxe-arm64.efi for UEFI arm64"),
        ] {
            let expected = format!("52:54:00:00:00:0{last} {expected}");
            assert_eq!(why(&mut proxy, last, &[DISCOVER, PXE, (93, &[0, arch])], now), Some(expected));
        }
        assert_eq!(why(&mut proxy, 3, &[DISCOVER], now), None, "addresses are the other server's");
    }

    // flatcar/Flatcar#1636: real U-Boot 2023.01 said "serverip not set".
    #[test]
    fn uboot_is_told_the_server_in_both_modes() {
        let asked = [DISCOVER, (60, &b"U-Boot.armv8"[..]), (93, &[0, 22])];
        for mut server in [responder(None), responder(Some(leases()))] {
            let offer = machine(&mut server, 1, &asked).unwrap();
            assert_eq!((offer.kind, offer.siaddr, offer.file.as_str()), (2, OWN, ""));
            assert_eq!(offer.option(66), Some(&b"10.0.0.101"[..]));
        }
    }

    #[test]
    fn a_machine_that_boots_and_has_nothing_to_load_gets_its_address_and_the_log_says_why() {
        let mut server = responder(Some(leases()));
        let bytes = datagram(&[DISCOVER, PXE, (93, &[0, 11])]);
        let answer = server.answer(&bytes, NOBODY, Port::Server, Instant::now()).unwrap();
        assert_eq!(answer.told.lacks.as_deref(), Some("there is no ipxe-arm64.efi for UEFI arm64"));
        assert_eq!(Seen::of(&answer).yiaddr, [10, 0, 0, 11]);
    }

    #[test]
    fn a_card_that_asks_without_end_is_answered_now_and_then() {
        let mut proxy = responder(None);
        let answered = (0..200).filter(|_| machine(&mut proxy, 1, &[DISCOVER, PXE]).is_some()).count();
        assert!((1..=25).contains(&answered), "{answered}");
    }
}
