//! A bare HTTP/1.1 client on a socket, and a server process that ends with the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Patience with anything that must happen.
pub const SOON: Duration = Duration::from_secs(60);

/// Asks until the answer is as wanted: a client may have its answer before the server notes that it left.
#[track_caller]
pub fn soon(ask: impl Fn() -> bool) {
    let started = Instant::now();
    while !ask() {
        assert!(started.elapsed() < SOON, "it never came to that");
        thread::sleep(Duration::from_millis(20));
    }
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, as far as it came.
    pub body: Vec<u8>,
}

impl Reply {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Sends a request as it is written, `\n` standing for a line's end, and reads the answer to the connection's end.
pub fn send(address: &str, request: &str) -> Reply {
    let mut stream = connect(address);
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
    read_reply(&mut BufReader::new(stream), !request.starts_with("HEAD"))
}

/// `GET` with further header lines.
pub fn get(address: &str, target: &str, headers: &str) -> Reply {
    send(address, &format!("GET {target} HTTP/1.1\nHost: {address}\nConnection: close\n{headers}\n"))
}

/// `HEAD`.
pub fn head(address: &str, target: &str) -> Reply {
    send(address, &format!("HEAD {target} HTTP/1.1\nHost: {address}\nConnection: close\n\n"))
}

/// A connection that waits for an answer, though not for ever.
pub fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// The same from another address of the loopback, as another client.
pub fn connect_from(source: [u8; 4], address: &str) -> TcpStream {
    try_connect_from(source, address).unwrap()
}

/// The same where the server may not be there.
pub fn try_connect_from(source: [u8; 4], address: &str) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let stream = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&stream, &SocketAddr::from((source, 0)))?;
    connect(&stream, &address.parse::<SocketAddr>().unwrap())?;
    let stream = TcpStream::from(stream);
    stream.set_read_timeout(Some(SOON))?;
    Ok(stream)
}

/// Appends one chunk of a body whose length was not known when it began, as Go sends from about 2 KB on; whether
/// another follows.
fn chunk(input: &mut impl BufRead, body: &mut Vec<u8>) -> bool {
    let mut line = String::new();
    input.read_line(&mut line).unwrap();
    let length = u64::from_str_radix(line.trim_end(), 16).unwrap_or_else(|_| panic!("no length: {line:?}"));
    input.by_ref().take(length).read_to_end(body).unwrap();
    input.read_line(&mut String::new()).unwrap();
    length > 0
}

/// Reads one answer; its body only where one is due.
pub fn read_reply(input: &mut impl BufRead, has_body: bool) -> Reply {
    let mut line = String::new();
    input.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}")).parse().unwrap();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        input.read_line(&mut header).unwrap();
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply { status, headers, body: Vec::new() };
    let has_body = has_body && !matches!(status, 204 | 304);
    if has_body && reply.header("transfer-encoding") == Some("chunked") {
        while chunk(input, &mut reply.body) {}
    } else if has_body {
        let length = reply.header("content-length").map_or(u64::MAX, |length| length.parse().unwrap());
        input.take(length).read_to_end(&mut reply.body).unwrap();
    }
    reply
}

/// A server's process and what it says.
pub struct Server {
    process: Child,
    lines: Receiver<String>,
    /// Everything that was read of what it said.
    pub log: Vec<String>,
}

impl Server {
    /// Starts a server that tells its story on stderr.
    pub fn start(command: &mut Command) -> Server {
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = process.stderr.take().unwrap();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Server { process, lines, log: Vec::new() }
    }

    /// Starts `prebake serve` on a tree, and says where it listens.
    pub fn prebake(tree: &Path) -> (Server, String) {
        Server::prebake_with(tree, &["--address", "127.0.0.1:0"])
    }

    /// The same with flags of one's own.
    pub fn prebake_with(tree: &Path, flags: &[&str]) -> (Server, String) {
        Server::of(Path::new(env!("CARGO_BIN_EXE_prebake")), tree, flags)
    }

    /// The same by a copy of the binary.
    pub fn of(program: &Path, tree: &Path, flags: &[&str]) -> (Server, String) {
        let mut server = Server::start(Command::new(program).arg("serve").args(flags).arg(tree));
        let address = server.says("listening on http://").rsplit('/').next().unwrap_or_default().to_owned();
        (server, address)
    }

    /// Its process's id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// Reads what it says until a line has these words; the line.
    #[track_caller]
    pub fn says(&mut self, words: &str) -> String {
        self.says_within(SOON, words)
    }

    /// The same with more patience for each line.
    #[track_caller]
    pub fn says_within(&mut self, patience: Duration, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(patience) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(_) => panic!("it never said {words:?}, but:\n{}", self.log.join("\n")),
            }
        }
    }

    /// Asks it to end, with SIGTERM.
    pub fn terminate(&mut self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(id, signal).unwrap();
    }

    /// Its resident memory now, in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    /// Waits for its end; the exit code.
    pub fn wait(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }

    /// Ends it and returns all that it said.
    pub fn end(&mut self) -> String {
        let _ = self.process.kill();
        let _ = self.process.wait();
        self.log.extend(self.lines.iter());
        self.log.join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
