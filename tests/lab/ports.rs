//! Ports for programs that cannot say which one they took, or whose address must be written down before they start.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below all that the kernel gives to whoever asks for any port (`net.ipv4.ip_local_port_range` begins at 32768): a port that was
/// taken and given back there went to another test before its own server bound it (CI of 2026-11-29).
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// An address of the loopback that nobody listens on, which no other test of this run gets, nor any socket that takes any port.
pub fn unused() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Runs at once begin at different places, and each looks before it takes one.
    let start = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (start + offset) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return (Ipv4Addr::LOCALHOST, port).into();
        }
    }
    panic!("no port from {FIRST} on is free");
}
