//! The client of the race.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use rustix::net::RecvFlags;

/// Loads a file whole. The bytes are dropped inside the kernel (MSG_TRUNC, tcp(7)), so that the servers are measured and
/// not the client.
pub fn load(stream: TcpStream, target: &str) -> u64 {
    let mut input = BufReader::with_capacity(4096, stream);
    let length = ask(&mut input, target);
    let mut left = length - input.buffer().len() as u64;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let most = left.min(buffer.len() as u64) as usize;
        let (_, read) = rustix::net::recv(input.get_ref(), &mut buffer[..most], RecvFlags::TRUNC).unwrap();
        assert!(read > 0, "{target} broke off, {left} bytes early");
        left -= read as u64;
    }
    length
}

/// Asks and reads the answer, on a connection that stays.
pub fn get(input: &mut BufReader<TcpStream>, target: &str) -> Vec<u8> {
    let length = ask(input, target);
    let mut body = vec![0; length as usize];
    input.read_exact(&mut body).unwrap();
    body
}

/// Asks and reads the head; the length of the body.
fn ask(input: &mut BufReader<TcpStream>, target: &str) -> u64 {
    let request = format!("GET {target} HTTP/1.1\r\nHost: race\r\n\r\n");
    input.get_mut().write_all(request.as_bytes()).unwrap();
    let (mut line, mut length) = (String::new(), None);
    input.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 200 "), "{target}: {line}");
    while line != "\r\n" {
        line.clear();
        input.read_line(&mut line).unwrap();
        if let Some((name, value)) =
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            length = value.trim().parse().ok().or_else(|| panic!("{name}: {value}"));
        }
    }
    length.unwrap_or_else(|| panic!("{target} has no length"))
}
