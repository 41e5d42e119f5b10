//! TFTP through its socket: real clients, a client of ours that loses packets, and what is refused.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::world::http::{SOON, Server, get};
use crate::world::{VERSION, World};

/// The small world, its tree served by TFTP, and a directory of loaders.
struct Served {
    world: World,
    server: Server,
    address: SocketAddr,
}

/// A boot loader of so many bytes.
fn loader(size: usize) -> Vec<u8> {
    (0..size as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

impl Served {
    fn new(loaders: &[(&str, &[u8])]) -> Served {
        Served::of(World::new(), loaders)
    }

    fn of(world: World, loaders: &[(&str, &[u8])]) -> Served {
        world.build();
        let directory = world.path("ipxe");
        fs::create_dir(&directory).unwrap();
        for (name, bytes) in loaders.iter().chain(&[("undionly.kpxe", &b"bios"[..])]) {
            fs::write(directory.join(name), bytes).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
        command.args(["serve", "--address", "127.0.0.1:0", "--tftp=127.0.0.1:0", "--ipxe-dir"]);
        command.arg(&directory).arg(world.path("output/small/current"));
        let mut server = Server::start(&mut command);
        let line = server.says("listening on tftp://");
        let address = line.rsplit('/').next().unwrap().parse().unwrap();
        server.says("serving ");
        Served { world, server, address }
    }

    fn fetch(&self, name: &str, options: &[(&str, &str)]) -> Result<Fetched, Refused> {
        Download::new(self.address, name, options, Loss::None).run()
    }

    /// Sends a request as it is written; the error packet that comes back.
    fn refused(&self, request: &[u8]) -> (u16, String) {
        let (answer, _) = ask(&UdpSocket::bind("127.0.0.1:0").unwrap(), request, self.address);
        assert_eq!(answer[..2], [0, 5], "an ERROR: {answer:?}");
        let text = String::from_utf8(answer[4..answer.len() - 1].to_vec()).unwrap();
        (u16::from_be_bytes([answer[2], answer[3]]), text)
    }
}

/// The first packet that comes back for one, which is sent again until there is one, as clients do: no datagram is sure to
/// arrive, not even here.
pub fn ask(socket: &UdpSocket, packet: &[u8], to: SocketAddr) -> (Vec<u8>, SocketAddr) {
    socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let (started, mut buffer) = (Instant::now(), [0; 2000]);
    loop {
        socket.send_to(packet, to).unwrap();
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            return (buffer[..length].to_vec(), from);
        }
        assert!(started.elapsed() < SOON, "nothing came back");
    }
}

/// A file of a server, if it gives it.
pub fn fetch(server: SocketAddr, name: &str) -> Option<Vec<u8>> {
    Some(Download::new(server, name, &[], Loss::None).run().ok()?.bytes)
}

/// What was fetched.
struct Fetched {
    bytes: Vec<u8>,
    /// The options of the OACK.
    told: Vec<(String, u64)>,
    /// DATA packets that came, lost ones included.
    packets: usize,
}

/// The code of an ERROR packet.
#[derive(Debug, PartialEq, Eq)]
struct Refused(u16);

/// What gets lost on the way.
#[derive(Clone, Copy)]
enum Loss {
    None,
    /// Every so many-th packet from the server, and every so many-th to it.
    Every(usize, usize),
    /// Nothing, but every answer goes out twice.
    Doubled,
}

/// A client with options and windows, RFC 7440's receiving side.
struct Download {
    socket: UdpSocket,
    server: SocketAddr,
    request: Vec<u8>,
    loss: Loss,
    received: usize,
    sent: usize,
}

impl Download {
    fn new(server: SocketAddr, name: &str, options: &[(&str, &str)], loss: Loss) -> Download {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut request = format!("\0\x01{name}\0octet\0").into_bytes();
        for (name, value) in options {
            request.extend(format!("{name}\0{value}\0").bytes());
        }
        Download { socket, server, request, loss, received: 0, sent: 0 }
    }

    fn send(&mut self, packet: &[u8], to: SocketAddr) {
        self.sent += 1;
        let times = match self.loss {
            Loss::Every(_, every) if self.sent.is_multiple_of(every) => 0,
            Loss::Doubled => 2,
            _ => 1,
        };
        for _ in 0..times {
            self.socket.send_to(packet, to).unwrap();
        }
    }

    fn run(mut self) -> Result<Fetched, Refused> {
        let mut fetched = Fetched { bytes: Vec::new(), told: Vec::new(), packets: 0 };
        let (mut block_size, mut window) = (512, 1);
        // The last block in order, how many came since the last answer, and what was last said, and to whom.
        let (mut last, mut unanswered) = (0u64, 0);
        let mut said = (self.request.clone(), self.server);
        self.send(&said.0.clone(), said.1);
        // When something new last came.
        let mut gained = Instant::now();
        let mut buffer = vec![0; 70_000];
        loop {
            assert!(gained.elapsed() < SOON, "the server fell silent at block {last}");
            let Ok((length, from)) = self.socket.recv_from(&mut buffer) else {
                self.send(&said.0.clone(), said.1);
                continue;
            };
            self.received += 1;
            if matches!(self.loss, Loss::Every(every, _) if self.received.is_multiple_of(every)) {
                continue;
            }
            let packet = &buffer[..length];
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            match packet[1] {
                3 => {
                    fetched.packets += 1;
                    let in_order = number == (last + 1) as u16;
                    let is_last = in_order && length - 4 < block_size;
                    if in_order {
                        gained = Instant::now();
                        last += 1;
                        unanswered += 1;
                        fetched.bytes.extend(&packet[4..]);
                    }
                    // The end of a window, the end of the file, or a gap.
                    if !in_order || is_last || unanswered == window {
                        unanswered = 0;
                        said = ([&[0, 4][..], &(last as u16).to_be_bytes()].concat(), from);
                        self.send(&said.0.clone(), said.1);
                    }
                    if is_last {
                        return Ok(fetched);
                    }
                }
                5 => return Err(Refused(number)),
                6 if last == 0 => {
                    let words: Vec<&str> =
                        std::str::from_utf8(&packet[2..length - 1]).unwrap().split('\0').collect();
                    fetched.told =
                        words.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].parse().unwrap())).collect();
                    let told =
                        |name| fetched.told.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
                    block_size = told("blksize").unwrap_or(512) as usize;
                    window = told("windowsize").unwrap_or(1);
                    said = (vec![0, 4, 0, 0], from);
                    self.send(&said.0.clone(), said.1);
                }
                other => panic!("packet {other}"),
            }
        }
    }
}

#[test]
fn real_clients_fetch_loaders_and_the_kernel() {
    let bytes = loader(300_000);
    let served = Served::new(&[("ipxe.efi", &bytes)]);
    let kernel = format!("assets/flatcar/{VERSION}/flatcar_production_pxe.vmlinuz");
    let kernel_bytes = fs::read(served.world.path("output/small/current").join(&kernel)).unwrap();
    for (name, expected) in [("ipxe.efi", &bytes), (kernel.as_str(), &kernel_bytes)] {
        for block in ["512", "1428", "1468", "8192"] {
            let url = format!("tftp://{}/{name}", served.address);
            let output = Command::new("curl").args(["-sS", "--tftp-blksize", block, &url]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(output.stdout == *expected, "curl, {name}, blocks of {block}");
        }
        let target = served.world.path("fetched");
        let (host, port) = (served.address.ip().to_string(), served.address.port().to_string());
        let target_name = target.to_str().unwrap();
        let args = ["-m", "binary", &host, &port, "-c", "get", name, target_name];
        let output = Command::new("tftp").args(args).output().unwrap();
        assert!(fs::read(&target).unwrap() == *expected, "tftp-hpa, {name}: {output:?}");
    }
}

#[test]
fn options_are_told_and_kept() {
    let bytes = loader(100_000);
    let served = Served::new(&[("ipxe.efi", &bytes)]);
    let asked =
        [("tsize", "0"), ("blksize", "1024"), ("windowsize", "4"), ("timeout", "200"), ("unknown", "1")];
    let fetched = served.fetch("ipxe.efi", &asked).unwrap();
    let told = [("tsize", 100_000), ("blksize", 1024), ("windowsize", 4), ("timeout", 200)];
    assert_eq!(fetched.told, told.map(|(name, value)| (name.to_owned(), value)));
    assert!(fetched.bytes == bytes);
    assert_eq!(fetched.packets, 98, "none twice");
}

#[test]
fn whatever_the_block_size_the_end_of_a_file_is_found() {
    let sizes = [0, 1, 511, 512, 513, 1024, 65_535];
    for size in sizes {
        let bytes = loader(size);
        let served = Served::new(&[("ipxe.efi", &bytes)]);
        for block in ["8", "512", "1468"].iter().filter(|_| size < 2000).chain(&["1000"]) {
            assert!(
                served.fetch("ipxe.efi", &[("blksize", block)]).unwrap().bytes == bytes,
                "{size}, {block}"
            );
        }
        assert!(served.fetch("ipxe.efi", &[]).unwrap().bytes == bytes, "{size} without options");
    }
}

#[test]
fn block_numbers_go_round_in_a_long_file() {
    let world = World::new();
    let long = loader(65_536 * 512 + 12_345);
    world.release_file("flatcar_production_pxe_image.cpio.gz", &long);
    let served = Served::of(world, &[]);
    let name = format!("assets/flatcar/{VERSION}/flatcar_production_pxe_image.cpio.gz");
    let fetched = served.fetch(&name, &[("blksize", "512"), ("windowsize", "16")]).unwrap();
    assert!(fetched.bytes == long, "{} bytes", fetched.bytes.len());
}

#[test]
fn lost_packets_are_sent_again_until_everything_is_there() {
    let bytes = loader(60_000);
    let served = Served::new(&[("ipxe.efi", &bytes)]);
    for window in ["1", "8"] {
        for (from, to) in [(5, 1000), (1000, 4), (7, 9)] {
            let options = [("blksize", "1468"), ("windowsize", window)];
            let lossy = Download::new(served.address, "ipxe.efi", &options, Loss::Every(from, to));
            assert!(lossy.run().unwrap().bytes == bytes, "windows of {window}, {from} and {to}");
        }
    }
}

#[test]
fn a_doubled_acknowledgement_doubles_nothing() {
    let bytes = loader(200_000);
    let served = Served::new(&[("ipxe.efi", &bytes)]);
    // Nothing is sent again because this client was slow.
    let options = [("blksize", "1000"), ("timeout", "255")];
    let doubled = Download::new(served.address, "ipxe.efi", &options, Loss::Doubled);
    let fetched = doubled.run().unwrap();
    assert!(fetched.bytes == bytes);
    assert_eq!(fetched.packets, 201, "each block once");
}

#[test]
fn the_script_leads_to_our_http_server_and_boot_files_need_no_directory() {
    let served = Served::new(&[]);
    let script = String::from_utf8(served.fetch("autoexec.ipxe", &[]).unwrap().bytes).unwrap();
    assert!(script.starts_with("#!ipxe\n") && script.contains("chain http://127.0.0.1:"), "{script}");
    let path = served.world.path("output/small/current/boot/ipxe/default.ipxe");
    for name in ["boot/ipxe/default.ipxe", "ipxe/default.ipxe"] {
        assert_eq!(served.fetch(name, &[]).unwrap().bytes, fs::read(&path).unwrap(), "{name}");
    }
}

#[test]
fn what_is_not_published_for_loaders_is_not_found() {
    let served = Served::new(&[("private", b"secret")]);
    for name in
        ["private", "manifest.json", "groups/n1.json", "ignition/worker.ign", "ipxe", "boot", "nothing"]
    {
        assert_eq!(served.fetch(name, &[]).err(), Some(Refused(1)), "{name}");
    }
}

#[test]
fn a_link_that_leaves_the_tree_is_not_found() {
    let served = Served::new(&[]);
    let script =
        served.world.path("output/small/current").canonicalize().unwrap().join("boot/ipxe/default.ipxe");
    fs::remove_file(&script).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &script).unwrap();
    assert_eq!(served.fetch("boot/ipxe/default.ipxe", &[]).err(), Some(Refused(1)));
}

#[test]
fn traversal_is_an_access_violation_and_absolute_names_begin_at_the_tree() {
    let served = Served::new(&[]);
    for name in
        ["../manifest.json", "boot/../../x", "/../etc/passwd", "..\\x", "boot\\..\\x", "undionly.kpxe/"]
    {
        assert_eq!(served.refused(format!("\0\x01{name}\0octet\0").as_bytes()).0, 2, "{name}");
    }
    for name in ["/etc/passwd", "//etc/passwd", "boot\\x", "./x", "a//b", "/", "/manifest.json"] {
        let code = served.refused(format!("\0\x01{name}\0octet\0").as_bytes()).0;
        assert!([1, 2].contains(&code), "{name}: {code}");
    }
}

/// The first packet that comes back for a request, as it is written.
fn first_packet(served: &Served, request: &[u8]) -> Vec<u8> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (packet, from) = ask(&socket, request, served.address);
    // That is enough of the file, so that its line in the log need not be waited for.
    socket.send_to(b"\0\x05\0\0\0", from).unwrap();
    packet
}

// PartialVolume/shredos.x86_64#147, ipxe/ipxe#31, theforeman/puppet-tftp#1: absolute names. netbootxyz/netboot.xyz#1198: strays
// behind the name.
#[test]
fn names_are_taken_as_firmware_and_loaders_write_them_and_the_log_has_them() {
    let mut served = Served::new(&[("ipxe.efi", b"uefi")]);
    let script = fs::read(served.world.path("output/small/current/boot/ipxe/default.ipxe")).unwrap();
    let names: [(&[u8], &[u8], &str); 18] = [
        (b"ipxe.efi", b"uefi", "ipxe.efi"),
        (b"/ipxe.efi", b"uefi", "/ipxe.efi"),
        (b"//ipxe.efi", b"uefi", "//ipxe.efi"),
        (b"./ipxe.efi", b"uefi", "./ipxe.efi"),
        (br"\ipxe.efi", b"uefi", r"\ipxe.efi"),
        (br"\\ipxe.efi", b"uefi", r"\\ipxe.efi"),
        (b"IPXE.EFI", b"uefi", "IPXE.EFI"),
        (b"/UNDIONLY.kpxe", b"bios", "/UNDIONLY.kpxe"),
        (b"ipxe.efi\xff", b"uefi", r"ipxe.efi\xff"),
        (b"ipxe.efi\xff\xff\x80", b"uefi", r"ipxe.efi\xff\xff\x80"),
        (b"ipxe.efia\x11", b"uefi", r"ipxe.efia\x11"),
        (b"/ipxe.efi\x01a", b"uefi", r"/ipxe.efi\x01a"),
        (b"ipxe.efi\n", b"uefi", r"ipxe.efi\n"),
        (b"ipxe.efi ", b"uefi", "ipxe.efi "),
        (b"/boot/ipxe/default.ipxe", &script, "/boot/ipxe/default.ipxe"),
        (br"boot\ipxe\.\default.ipxe", &script, r"boot\ipxe\.\default.ipxe"),
        (b"/ipxe//DEFAULT.ipxe", &script, "/ipxe//DEFAULT.ipxe"),
        (b"/Boot/iPXE/default.ipxe\xff", &script, r"/Boot/iPXE/default.ipxe\xff"),
    ];
    for (name, bytes, told) in names {
        let packet = first_packet(&served, &[b"\0\x01", name, b"\0octet\0"].concat());
        assert_eq!(packet[..4], [0, 3, 0, 1], "{told}: {}", String::from_utf8_lossy(&packet));
        assert!(bytes.starts_with(&packet[4..]) && packet.len() > 4, "{told}");
        served.server.says(&format!(" 127.0.0.1 TFTP {told} "));
    }
    for (name, told) in [
        (&b"../ipxe.efi"[..], "../ipxe.efi"),
        (b"none\xff", r"none\xff"),
        (b"\x1b[2Jnone", r"\x1b[2Jnone"),
        (b"ipxe.efi\0mail", "ipxe.efi"),
    ] {
        let packet = first_packet(&served, &[b"\0\x01", name, b"\0octet\0"].concat());
        assert_eq!(packet[..2], [0, 5], "{told}");
        let line = served.server.says(&format!(" 127.0.0.1 TFTP {told} "));
        assert!(line.contains(", aborted: "), "{line}");
    }
}

#[test]
fn of_two_files_that_differ_in_case_alone_neither_is_guessed() {
    let world = World::new();
    world.build();
    let tree = crate::world::tree::Tree::new()
        .row("boot/menu.cfg", prebake::tree::manifest::Role::Boot, b"small")
        .row("boot/MENU.cfg", prebake::tree::manifest::Role::Boot, b"large")
        .publish();
    fs::create_dir(world.path("ipxe")).unwrap();
    fs::write(world.path("ipxe/undionly.kpxe"), "bios").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_prebake"));
    command.args(["serve", "--address", "127.0.0.1:0", "--tftp=127.0.0.1:0", "--ipxe-dir"]);
    let mut server = Server::start(command.arg(world.path("ipxe")).arg(tree.path()));
    let address: SocketAddr =
        server.says("listening on tftp://").rsplit('/').next().unwrap().parse().unwrap();
    assert_eq!(fetch(address, "menu.cfg").as_deref(), Some(&b"small"[..]));
    assert_eq!(fetch(address, "/MENU.cfg").as_deref(), Some(&b"large"[..]));
    assert_eq!(fetch(address, "Menu.cfg"), None);
}

#[test]
fn requests_that_are_filled_up_with_zeros_are_answered() {
    let served = Served::new(&[("ipxe.efi", b"uefi")]);
    for request in [&b"\0\x01ipxe.efi\0octet\0"[..], b"\0\x01/ipxe.efi\0octet\0tsize\x000\0blksize\x001468\0"]
    {
        for length in [100, 512, 516, 1000] {
            let mut padded = request.to_vec();
            padded.resize(length, 0);
            let packet = first_packet(&served, &padded);
            assert!([3, 6].contains(&packet[1]), "{length}: {}", String::from_utf8_lossy(&packet));
        }
    }
}

#[test]
fn tftp_is_spoken_at_every_address_and_its_flag_takes_a_port_alone() {
    let world = World::new();
    world.build();
    fs::create_dir(world.path("ipxe")).unwrap();
    fs::write(world.path("ipxe/undionly.kpxe"), "bios").unwrap();
    for flag in ["--tftp=0", "--tftp=:0", "--tftp=0.0.0.0:0"] {
        let args = ["serve", "--address", "127.0.0.1:0", flag, "--ipxe-dir", "ipxe", "output/small/current"];
        let mut server = Server::start(&mut world.command(&args));
        let line = server.says("listening on tftp://");
        let port = line.rsplit(':').next().unwrap();
        let script = fetch(format!("127.0.0.1:{port}").parse().unwrap(), "/autoexec.ipxe").unwrap();
        let script = String::from_utf8(script).unwrap();
        assert!(script.contains("chain http://127.0.0.1:"), "{script}");
        let told = server.says("TFTP /autoexec.ipxe");
        assert!(told.contains(" 127.0.0.1 TFTP"), "{told}");
    }
    world.prebake(&["serve", "--tftp=nonsense", "output/small/current"]).fails(2, &["it has no port"]);
}

#[test]
fn writing_other_modes_nul_and_giant_options_are_refused_with_a_reason() {
    let served = Served::new(&[]);
    assert_eq!(served.refused(b"\0\x02undionly.kpxe\0octet\0"), (2, "this server is read-only".into()));
    assert_eq!(served.refused(b"\0\x01undionly.kpxe\0netascii\0").0, 4);
    assert_eq!(served.refused(b"\0\x01someone\0mail\0").0, 4);
    assert_eq!(served.refused(b"\0\x01undionly.kpxe\0x\0octet\0").0, 4, "a NUL in the name");
    let giant = [b"\0\x01undionly.kpxe\0octet\0blksize\0", &[b'9'; 3000][..], b"\0"].concat();
    assert_eq!(served.refused(&giant).0, 4);
    assert_eq!(served.refused(b"\0\x01undionly.kpxe\0octet\0blksize\0many\0").0, 8);
}

#[test]
fn a_forged_request_brings_its_victim_three_small_packets() {
    let bytes = loader(500_000);
    let mut served = Served::new(&[("ipxe.efi", &bytes)]);
    let request = b"\0\x01ipxe.efi\0octet\0blksize\x001468\0windowsize\x0064\0";
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(request, served.address).unwrap();
    served.server.says("the client stopped answering");
    socket.set_nonblocking(true).unwrap();
    let (mut packets, mut buffer) = (Vec::new(), [0; 2000]);
    while let Ok(length) = socket.recv(&mut buffer) {
        packets.push(buffer[..length].to_vec());
    }
    assert!((1..=3).contains(&packets.len()), "{}", packets.len());
    assert!(packets.iter().all(|packet| packet[1] == 6 && packet.len() <= request.len()));
}

#[test]
fn one_client_cannot_take_all_transfers() {
    let bytes = loader(500_000);
    let served = Served::new(&[("ipxe.efi", &bytes)]);
    let begin = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (packet, from) = ask(&socket, b"\0\x01ipxe.efi\0octet\0", served.address);
        // One that answers is waited for longer than it takes to begin the others.
        socket.send_to(b"\0\x04\0\x01", from).unwrap();
        (socket, packet)
    };
    let begun: Vec<_> = (0..8).map(|_| begin()).collect();
    assert!(begun.iter().all(|(_, packet)| packet[1] == 3));
    let (_socket, packet) = begin();
    assert_eq!(packet[..4], [0, 5, 0, 0], "{}", String::from_utf8_lossy(&packet[4..]));
}

/// attacks.md, C-M4: 256 datagrams, whose senders need not be there, stopped TFTP for eleven minutes.
#[test]
fn transfers_to_clients_that_never_answered_make_room_at_once() {
    let served = Served::new(&[("ipxe.efi", &loader(500_000))]);
    let begin = |last: usize| {
        let socket = UdpSocket::bind(format!("127.0.1.{last}:0")).unwrap();
        ask(&socket, b"\0\x01ipxe.efi\0octet\0timeout\x00255\0", served.address);
        socket
    };
    // Before any of them has ended by itself: that takes three answers, two seconds apart.
    let made_room = (0..5).any(|_| {
        let started = Instant::now();
        let _silent: Vec<UdpSocket> = (0..256).map(|number| begin(1 + number / 8)).collect();
        begin(200);
        started.elapsed() < Duration::from_secs(6)
    });
    assert!(made_room);
}

/// A request that was sent again and came late, behind those of a rack, ended the transfer that its first copy had begun.
#[test]
fn a_late_copy_of_a_request_ends_no_transfer_and_a_client_that_starts_anew_is_answered_again() {
    let served = Served::new(&[("ipxe.efi", &loader(500_000))]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let request = b"\0\x01ipxe.efi\0octet\0timeout\x00255\0";
    let (offer, port) = ask(&socket, request, served.address);
    assert_eq!(offer[..2], [0, 6]);
    for block in 1..6u8 {
        // The offer may have been repeated meanwhile; blocks are not, within 255 s.
        let mut answers = std::iter::repeat_with(|| ask(&socket, &[0, 4, 0, block - 1], port).0);
        assert_eq!(answers.find(|answer| answer[1] != 6).unwrap()[..4], [0, 3, 0, block]);
        socket.send_to(request, served.address).unwrap();
        // Whatever is asked behind it is answered behind it.
        assert_eq!(fetch(served.address, "undionly.kpxe").as_deref(), Some(&b"bios"[..]));
    }
    // Silent for a while, it is another one that boots with the same port.
    let (offer, other) = ask(&socket, request, served.address);
    assert_eq!(offer[..2], [0, 6]);
    assert_ne!(other, port);
}

#[test]
fn beyond_the_most_transfers_a_request_waits_until_one_ends() {
    const REQUEST: &[u8] = b"\0\x01ipxe.efi\0octet\0";
    let bytes = loader(500_000);
    let served = Served::new(&[("ipxe.efi", &bytes)]);
    let begin = |last: usize| {
        let socket = UdpSocket::bind(format!("127.0.1.{last}:0")).unwrap();
        let (_, port) = ask(&socket, REQUEST, served.address);
        // A client that answers is waited for.
        ask(&socket, b"\0\x04\0\x01", port);
        (socket, port)
    };
    let begun: Vec<_> = (0..256).map(|number| begin(1 + number / 8)).collect();
    let late = UdpSocket::bind("127.0.1.200:0").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    late.send_to(REQUEST, served.address).unwrap();
    assert!(late.recv(&mut [0; 600]).is_err(), "one too many");
    let (first, port) = &begun[0];
    first.send_to(b"\0\x05\0\0\0", port).unwrap();
    ask(&late, REQUEST, served.address);
}

#[test]
fn without_loaders_the_server_does_not_start_and_names_the_package() {
    let world = World::new();
    world.build();
    let empty = world.path("empty");
    fs::create_dir(&empty).unwrap();
    let empty = empty.to_str().unwrap();
    let args = [
        "serve",
        "--address",
        "127.0.0.1:0",
        "--tftp=127.0.0.1:0",
        "--ipxe-dir",
        empty,
        "output/small/current",
    ];
    world
        .prebake(&args)
        .fails(1, &["there are no iPXE binaries in", "undionly.kpxe", "Debian's package `ipxe`"]);
}

#[test]
fn a_server_of_a_matchbox_directory_has_loaders_too() {
    let world = World::new();
    for directory in ["data/groups", "data/assets/loaders", "ipxe"] {
        fs::create_dir_all(world.path(directory)).unwrap();
    }
    fs::write(world.path("ipxe/undionly.kpxe"), "bios").unwrap();
    fs::write(world.path("ipxe/ipxe.efi"), "uefi").unwrap();
    let flags = ["--matchbox", "data", "--tftp=127.0.0.1:0", "--ipxe-dir", "ipxe"];
    let mut server = Server::start(world.command(&["serve", "--address", "127.0.0.1:0"]).args(flags));
    let tftp: SocketAddr = server.says("listening on tftp://").rsplit('/').next().unwrap().parse().unwrap();
    let address = server.says("listening on http://").rsplit('/').next().unwrap().to_owned();
    let reply = get(&address, "/loaders/ipxe.efi", "");
    assert_eq!((reply.status, reply.text()), (200, "uefi".to_owned()));
    assert_eq!(reply.header("content-type"), Some("application/efi"));
    assert_eq!(fetch(tftp, "ipxe.efi").as_deref(), Some(&b"uefi"[..]));
    // All else is as in Matchbox.
    for missing in ["/loaders/snponly.efi", "/loaders/", "/loaders", "/loaders/../secret"] {
        assert_ne!(get(&address, missing, "").status, 200, "{missing}");
    }
    assert_eq!(get(&address, "/loaders/none", "").text(), "404 page not found\n");
}
