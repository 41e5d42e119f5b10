//! A small HTTP/1.1 file server on the loopback: release servers and mirrors for tests, with faults on demand.
//!
//! Plain threads and std only, and deliberately not the server under test. GET, HEAD, one Range, ETag with If-Range.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// A request as it came, and as a hook sees it.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// The `Range` header, as sent.
    pub range: Option<String>,
    /// The `If-Range` header.
    pub if_range: Option<String>,
    /// The `Accept-Encoding` header.
    pub accept_encoding: Option<String>,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// How many requests for this path came before.
    pub earlier: usize,
}

/// What goes wrong with one response. Positions count in its body.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The body ends here, though `Content-Length` promises all of it, and the connection with it.
    Truncate(u64),
    /// The byte here has its bits flipped.
    Corrupt(u64),
    /// This status and an empty body.
    Status(u16),
    /// Too many requests; come back after so many seconds.
    Busy(u64),
    /// After these bytes nothing comes, and the connection stays open.
    Stall(u64),
    /// One byte comes in this many milliseconds, and so on.
    Drip(u64),
    /// At most this many bytes come in a second.
    Pace(u64),
    /// This redirect.
    Redirect(&'static str),
    /// The whole body, whatever range was asked for.
    NoRanges,
    /// The bytes from here on, whatever range was asked for.
    WrongRange(u64),
    /// Another `ETag` than the file has.
    Etag(&'static str),
    /// This `Last-Modified`, and no `ETag`.
    Modified(&'static str),
    /// This total in `Content-Range`, whatever the file's length.
    Total(u64),
    /// One byte of each range.
    Crumb,
    /// A 206 that does not say clearly what it is.
    Unclear(Unclear),
    /// All of it, packed with gzip, and said to be.
    Gzip,
    /// As it is, but said to be packed so.
    Coding(&'static str),
    /// A page for people, with status 200.
    Page(&'static str),
    /// A body without an end.
    Endless,
}

/// Ways not to say which bytes these are.
#[derive(Clone, Copy, Debug)]
pub enum Unclear {
    /// `Content-Range: bytes 0-1/*`
    NoTotal,
    /// No `Content-Range`.
    NoHeader,
    /// `multipart/byteranges` with one part.
    Multipart,
}

type Hook = dyn Fn(&Request) -> Option<Fault> + Send + Sync;

/// What to serve, before it is.
#[derive(Default)]
pub struct Builder {
    directories: Vec<(String, PathBuf)>,
    pages: BTreeMap<String, Vec<u8>>,
    hook: Option<Box<Hook>>,
    rate: Option<u64>,
}

impl Builder {
    /// A directory's files below a prefix that ends in `/`. Links inside it are followed.
    pub fn directory(mut self, prefix: &str, directory: &Path) -> Self {
        self.directories.push((prefix.into(), directory.into()));
        self
    }

    /// A body of its own at a path; it comes before directories.
    pub fn page(mut self, path: &str, body: impl Into<Vec<u8>>) -> Self {
        self.pages.insert(path.into(), body.into());
        self
    }

    /// Asked before every response.
    pub fn faults(mut self, hook: impl Fn(&Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        self.hook = Some(Box::new(hook));
        self
    }

    /// At most this many bytes a second go out, over all connections.
    pub fn rate(mut self, rate: u64) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Starts to serve, on a port that is free.
    pub fn start(self) -> io::Result<Mirror> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            site: self,
            requests: Mutex::default(),
            stopped: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            paid: Mutex::new(Instant::now()),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.stopped.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&accepting);
                // An error here is a client that went away.
                thread::spawn(move || shared.converse(stream));
            }
        });
        Ok(Mirror { address, shared })
    }
}

/// A server that runs until it is dropped.
pub struct Mirror {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Mirror {
    /// Nothing yet.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of bodies that clients took so far, as far as the kernel tells.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

struct Shared {
    site: Builder,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
    sent: AtomicU64,
    paid: Mutex<Instant>,
}

impl Shared {
    /// Answers the requests of one connection.
    fn converse(&self, stream: TcpStream) -> io::Result<()> {
        // Head and body are two writes; Nagle would hold the second back for the client's delayed ACK.
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut output = stream.try_clone()?;
        let mut input = BufReader::new(stream);
        while let Some(mut request) = read_request(&mut input)? {
            let fault = {
                let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
                request.earlier = requests.iter().filter(|earlier| earlier.path == request.path).count();
                requests.push(request.clone());
                self.site.hook.as_ref().and_then(|hook| hook(&request))
            };
            if !self.respond(&request, fault, &mut output)? {
                break;
            }
        }
        Ok(())
    }

    /// Answers one request; whether the connection can go on.
    fn respond(&self, request: &Request, fault: Option<Fault>, output: &mut TcpStream) -> io::Result<bool> {
        match fault {
            Some(Fault::Status(status)) => return write_head(output, status, Some(0), &[]).map(|()| true),
            Some(Fault::Busy(seconds)) => {
                let after = ("Retry-After", seconds.to_string());
                return write_head(output, 429, Some(0), &[after]).map(|()| true);
            }
            Some(Fault::Redirect(target)) => {
                return write_head(output, 302, Some(0), &[("Location", target.into())]).map(|()| true);
            }
            Some(Fault::Page(page)) => {
                let html = ("Content-Type", "text/html".to_owned());
                write_head(output, 200, Some(page.len() as u64), &[html])?;
                return output.write_all(page.as_bytes()).map(|()| true);
            }
            _ => {}
        }
        let Some(mut body) = self.body(&request.path)? else {
            return write_head(output, 404, Some(0), &[]).map(|()| true);
        };
        if let Some(Fault::Etag(etag)) = fault {
            body.etag = etag.into();
        }
        if let Some(Fault::Gzip) = fault {
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            io::copy(&mut body.bytes, &mut packer)?;
            let packed = packer.finish()?;
            let coding = ("Content-Encoding", "gzip".to_owned());
            write_head(output, 200, Some(packed.len() as u64), &[coding])?;
            return output.write_all(&packed).map(|()| true);
        }
        let etag = match fault {
            Some(Fault::Modified(time)) => {
                body.etag = time.into();
                ("Last-Modified", time.to_owned())
            }
            Some(Fault::Coding(coding)) => ("Content-Encoding", coding.to_owned()),
            _ => ("ETag", body.etag.clone()),
        };
        let accept = ("Accept-Ranges", "bytes".to_owned());
        let whole = request.if_range.as_ref().is_some_and(|validator| *validator != body.etag);
        let ignored = whole || matches!(fault, Some(Fault::NoRanges | Fault::Endless));
        let range = request.range.as_ref().filter(|_| !ignored).and_then(|range| parse_range(range));
        let (start, length) = match range {
            None if matches!(fault, Some(Fault::Endless)) => {
                write_head(output, 200, None, &[])?;
                (0, 0)
            }
            None => {
                write_head(output, 200, Some(body.length), &[etag, accept])?;
                (0, body.length)
            }
            Some(range) => {
                let Some((start, end)) = range.within(body.length) else {
                    let total = ("Content-Range", format!("bytes */{}", body.length));
                    return write_head(output, 416, Some(0), &[total]).map(|()| true);
                };
                let start = if let Some(Fault::WrongRange(start)) = fault { start } else { start };
                let end = if let Some(Fault::Crumb) = fault { start + 1 } else { end };
                let total = if let Some(Fault::Total(total)) = fault { total } else { body.length };
                let part = format!("bytes {start}-{}/{total}", end - 1);
                let headers = match fault {
                    Some(Fault::Unclear(Unclear::NoTotal)) => {
                        vec![etag, ("Content-Range", format!("bytes {start}-{}/*", end - 1))]
                    }
                    Some(Fault::Unclear(Unclear::NoHeader)) => vec![etag],
                    Some(Fault::Unclear(Unclear::Multipart)) => {
                        return self.multipart(&mut body, start..end, &part, output);
                    }
                    _ => vec![etag, accept, ("Content-Range", part)],
                };
                write_head(output, 206, Some(end - start), &headers)?;
                (start, end - start)
            }
        };
        if request.method == "HEAD" {
            return Ok(true);
        }
        body.bytes.seek(SeekFrom::Start(start))?;
        // Read in large pieces: this server also stands in races.
        let mut body = BufReader::with_capacity(256 << 10, body.bytes.take(length));
        let output = &mut Counting { output, shared: self };
        match fault {
            Some(Fault::Truncate(at)) => {
                io::copy(&mut body.take(at), output)?;
                return Ok(false);
            }
            Some(Fault::Corrupt(at)) => {
                io::copy(&mut body.by_ref().take(at), output)?;
                let mut byte = [0];
                if body.read(&mut byte)? == 1 {
                    output.write_all(&[!byte[0]])?;
                }
                io::copy(&mut body, output)?;
            }
            Some(Fault::Stall(at)) => {
                io::copy(&mut body.take(at), output)?;
                while !self.stopped.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(20));
                }
                return Ok(false);
            }
            Some(Fault::Drip(pause)) => {
                for byte in body.bytes() {
                    output.write_all(&[byte?])?;
                    thread::sleep(Duration::from_millis(pause));
                }
            }
            Some(Fault::Pace(rate)) => {
                let started = Instant::now();
                let mut sent = 0;
                while let n @ 1.. = io::copy(&mut body.by_ref().take(16 << 10), output)? {
                    sent += n;
                    let due = started + Duration::from_secs_f64(sent as f64 / rate as f64);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            }
            Some(Fault::Endless) => {
                io::copy(&mut io::repeat(b'x'), output)?;
            }
            _ => {
                io::copy(&mut body, output)?;
            }
        }
        Ok(true)
    }

    fn multipart(
        &self,
        body: &mut Body,
        range: std::ops::Range<u64>,
        part: &str,
        output: &mut TcpStream,
    ) -> io::Result<bool> {
        let mut bytes = format!("--X\r\nContent-Range: {part}\r\n\r\n").into_bytes();
        body.bytes.seek(SeekFrom::Start(range.start))?;
        (&mut body.bytes).take(range.end - range.start).read_to_end(&mut bytes)?;
        bytes.extend_from_slice(b"\r\n--X--\r\n");
        let kind = ("Content-Type", "multipart/byteranges; boundary=X".to_owned());
        write_head(output, 206, Some(bytes.len() as u64), &[kind])?;
        output.write_all(&bytes).map(|()| true)
    }

    fn body(&self, path: &str) -> io::Result<Option<Body>> {
        if let Some(page) = self.site.pages.get(path) {
            let length = page.len() as u64;
            let bytes = Box::new(io::Cursor::new(page.clone()));
            return Ok(Some(Body { bytes, length, etag: format!("\"{length}\"") }));
        }
        let Some(file) = self.file(path) else { return Ok(None) };
        let metadata = fs::metadata(&file)?;
        let changed = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let length = metadata.len();
        let etag = format!("\"{length:x}-{changed:x}\"");
        Ok(Some(Body { bytes: Box::new(File::open(file)?), length, etag }))
    }

    fn file(&self, path: &str) -> Option<PathBuf> {
        self.site.directories.iter().find_map(|(prefix, directory)| {
            let below = Path::new(path.strip_prefix(prefix.as_str())?);
            let contained = below.components().all(|part| matches!(part, Component::Normal(_)));
            let file = directory.join(below);
            (contained && file.is_file()).then_some(file)
        })
    }
}

/// Counts what clients take, and holds the rate.
struct Counting<'a> {
    output: &'a mut TcpStream,
    shared: &'a Shared,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.output.write(bytes)?;
        self.shared.sent.fetch_add(written as u64, Ordering::Relaxed);
        if let Some(rate) = self.shared.site.rate {
            let due = {
                let mut paid = self.shared.paid.lock().unwrap_or_else(PoisonError::into_inner);
                *paid = (*paid).max(Instant::now()) + Duration::from_secs_f64(written as f64 / rate as f64);
                *paid
            };
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

trait Bytes: Read + Seek {}

impl<T: Read + Seek> Bytes for T {}

struct Body {
    bytes: Box<dyn Bytes>,
    length: u64,
    etag: String,
}

fn read_request(input: &mut BufReader<TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(None) };
    let path = target.split('?').next().unwrap_or_default();
    let mut request = Request {
        method: method.into(),
        path: path.into(),
        range: None,
        earlier: 0,
        if_range: None,
        accept_encoding: None,
        authorization: None,
    };
    loop {
        let mut header = String::new();
        input.read_line(&mut header)?;
        let Some((name, value)) = header.trim_end().split_once(':') else { return Ok(Some(request)) };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.trim().into()),
            "if-range" => request.if_range = Some(value.trim().into()),
            "accept-encoding" => request.accept_encoding = Some(value.trim().into()),
            "authorization" => request.authorization = Some(value.trim().into()),
            _ => {}
        }
    }
}

fn write_head(
    output: &mut TcpStream,
    status: u16,
    length: Option<u64>,
    headers: &[(&str, String)],
) -> io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} -\r\n");
    match length {
        Some(length) => head.push_str(&format!("Content-Length: {length}\r\n")),
        None => head.push_str("Connection: close\r\n"),
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    output.write_all(head.as_bytes())
}

/// One range of `bytes=…` (RFC 9110, 14.1.2).
enum ByteRange {
    From(u64),
    FromTo(u64, u64),
    Last(u64),
}

fn parse_range(range: &str) -> Option<ByteRange> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    match (first, last) {
        ("", last) => Some(ByteRange::Last(last.parse().ok()?)),
        (first, "") => Some(ByteRange::From(first.parse().ok()?)),
        (first, last) => Some(ByteRange::FromTo(first.parse().ok()?, last.parse().ok()?)),
    }
}

impl ByteRange {
    /// Start and end (exclusive) in a body, unless it lies outside.
    fn within(&self, length: u64) -> Option<(u64, u64)> {
        let (start, end) = match *self {
            ByteRange::From(first) => (first, length),
            ByteRange::FromTo(first, last) => (first, last.saturating_add(1).min(length)),
            ByteRange::Last(count) => (length.saturating_sub(count), length),
        };
        (start < end).then_some((start, end))
    }
}
