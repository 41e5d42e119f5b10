//! Heads of HTTP/1 requests: bytes in, a request or a refusal out (RFC 9110, 9112).

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Uri, Version};

use super::limits::{Limits, MAX_HEADERS};

/// The head of a request.
#[derive(Debug)]
pub struct Head {
    /// Method, target, version and headers.
    pub parts: Parts,
    /// Its length in the input, in bytes.
    pub length: usize,
    /// Whether the client wants to keep the connection open.
    pub keep_alive: bool,
    /// Whether a body follows.
    pub has_body: bool,
}

/// Why a request is refused, and with which status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status code.
    pub status: u16,
    /// The reason, in words.
    pub why: &'static str,
}

const fn refusal(status: u16, why: &'static str) -> Refusal {
    Refusal { status, why }
}

/// The client began a head and did not finish it in time.
pub(crate) const TOO_SLOW: Refusal = refusal(408, "the request took too long");
const TOO_LONG: Refusal = refusal(431, "the head is too long");
const TARGET_TOO_LONG: Refusal = refusal(414, "the target is too long");

/// A client of another port is at this one.
const TLS: &str = "a TLS handshake at the port of plain HTTP: perhaps gRPC, which is at --rpc-address, or HTTPS, at --tls-address";
const HTTP_2: &str = "HTTP/2 without TLS at the port of HTTP/1.1: perhaps gRPC without its certificates, which is at --rpc-address";

/// Parses the head at the start of the input. `None` if it is incomplete.
pub fn parse(input: &[u8], limits: &Limits) -> Result<Option<Head>, Refusal> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(input) {
        Ok(httparse::Status::Complete(length)) if length <= limits.head => length,
        Ok(httparse::Status::Partial) if input.len() < limits.head => return Ok(None),
        Ok(_) if request.version.is_none() => return Err(TARGET_TOO_LONG),
        Ok(_) => return Err(TOO_LONG),
        Err(error) => return Err(malformed(input, error)),
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.version = if request.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let method = request.method.unwrap_or_default();
    parts.method =
        Method::from_bytes(method.as_bytes()).map_err(|_| refusal(400, "the method is not valid"))?;
    let target = request.path.unwrap_or_default();
    if target.len() > limits.target {
        return Err(TARGET_TOO_LONG);
    }
    parts.uri = target.parse::<Uri>().map_err(|_| refusal(400, "the target is not a valid URI"))?;
    for header in request.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes());
        let value = HeaderValue::from_bytes(header.value);
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(refusal(400, "a header is malformed"));
        };
        parts.headers.append(name, value);
    }
    host(&mut parts)?;
    let has_body = has_body(&parts.headers)?;
    // `100 Continue` is sent when the body is read. Each value is checked (RFC 9110, 10.1.1: the field is a list),
    // since the first may be meant for another recipient than the last.
    let is_known = |expected: &[u8]| expected.trim_ascii().eq_ignore_ascii_case(b"100-continue");
    let mut expects =
        parts.headers.get_all(EXPECT).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    if !expects.all(is_known) {
        return Err(refusal(417, "the only supported expectation is 100-continue"));
    }
    let keep_alive = match parts.version {
        Version::HTTP_10 => says(&parts.headers, "keep-alive"),
        _ => !says(&parts.headers, "close"),
    };
    Ok(Some(Head { parts, length, keep_alive, has_body }))
}

/// Why the input is not a valid head.
fn malformed(input: &[u8], error: httparse::Error) -> Refusal {
    let line = input.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let names_version = line.windows(6).any(|word| word == b" HTTP/");
    match error {
        // RFC 8446, 5.1: a record of the kind `handshake`, by a version that begins with 3.
        _ if input.starts_with(&[0x16, 3]) => refusal(400, TLS),
        // RFC 9113, 3.4: the preface of a connection.
        _ if line.starts_with(b"PRI * HTTP/2.0") => refusal(505, HTTP_2),
        httparse::Error::TooManyHeaders => refusal(431, "there are too many headers"),
        // For instance, a serial number with blanks that a loader put into a query unescaped (poseidon/matchbox#432).
        _ if has_blank_in_target(line) => refusal(400, "the target contains a blank: write it as %20"),
        httparse::Error::Version if names_version => refusal(505, "only HTTP/1.0 and HTTP/1.1 are supported"),
        _ => refusal(400, "this is not an HTTP request"),
    }
}

/// Whether a request line has more words than method, target and version, and ends with a version that is supported
/// here.
fn has_blank_in_target(line: &[u8]) -> bool {
    let mut words = line.trim_ascii_end().split(|byte| *byte == b' ');
    let is_version = words.next_back().is_some_and(|word| [&b"HTTP/1.0"[..], b"HTTP/1.1"].contains(&word));
    is_version && words.count() > 2
}

/// RFC 9112, 3.2: HTTP/1.1 needs exactly one `Host`. If the target names a host, that one counts.
fn host(parts: &mut Parts) -> Result<(), Refusal> {
    let count = parts.headers.get_all(HOST).iter().count();
    if count > 1 || (count == 0 && parts.version == Version::HTTP_11) {
        return Err(refusal(400, "exactly one Host header is needed"));
    }
    let named = parts.uri.authority().and_then(|named| HeaderValue::from_str(named.as_str()).ok());
    if let Some(host) = named {
        parts.headers.insert(HOST, host);
    }
    Ok(())
}

/// RFC 9112, 6: a length that is given twice, or in two ways, is how requests are smuggled past proxies.
fn has_body(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    let is_number = |value: &HeaderValue| {
        let digits = value.as_bytes();
        !digits.is_empty() && digits.len() < 20 && digits.iter().all(u8::is_ascii_digit)
    };
    if length.is_some_and(|length| !is_number(length)) || lengths.any(|other| Some(other) != length) {
        return Err(refusal(400, "the length of the body is unclear"));
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return Ok(length.is_some_and(|length| length.as_bytes().iter().any(|digit| *digit != b'0')));
    };
    if length.is_some() {
        return Err(refusal(400, "the length of the body is given in two ways"));
    }
    match coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none() {
        true => Ok(true),
        false => Err(refusal(501, "the only supported transfer coding is chunked")),
    }
}

/// Whether `Connection` lists a word.
fn says(headers: &HeaderMap, word: &str) -> bool {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|said| said.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Option<Head>, Refusal> {
        parse(head.replace('\n', "\r\n").as_bytes(), &Limits::default())
    }

    fn whole(head: &str) -> Head {
        read(head).unwrap_or_else(|refusal| panic!("{head}: {refusal:?}")).unwrap()
    }

    fn status(head: &str) -> u16 {
        read(head).expect_err(head).status
    }

    #[test]
    fn a_head_is_read_once_it_is_whole_and_what_follows_is_left() {
        assert!(read("").unwrap().is_none());
        assert!(read("GET /a HTTP/1.1\nHost: x\n").unwrap().is_none());
        let head = whole("GET /a?b=c HTTP/1.1\nHost: x\nRange: bytes=0-1\n\nGET /");
        assert_eq!((head.parts.uri.path(), head.parts.uri.query()), ("/a", Some("b=c")));
        assert_eq!(head.parts.headers["range"], "bytes=0-1");
        assert_eq!(head.length, "GET /a?b=c HTTP/1.1  Host: x  Range: bytes=0-1    ".len());
    }

    #[test]
    fn a_connection_stays_open_as_its_version_and_the_client_say() {
        for (head, stays) in [
            ("GET / HTTP/1.1\nHost: x\n\n", true),
            ("GET / HTTP/1.1\nHost: x\nConnection: Close\n\n", false),
            ("GET / HTTP/1.1\nHost: x\nConnection: x, close\n\n", false),
            ("GET / HTTP/1.0\n\n", false),
            ("GET / HTTP/1.0\nConnection: keep-alive\n\n", true),
        ] {
            assert_eq!(whole(head).keep_alive, stays, "{head}");
        }
    }

    #[test]
    fn a_target_with_a_host_says_where_the_client_thinks_it_is() {
        let head = whole("GET http://boot.example:8080/a HTTP/1.1\nHost: proxy\n\n");
        assert_eq!(
            (head.parts.uri.path(), &head.parts.headers["host"]),
            ("/a", &HeaderValue::from_static("boot.example:8080"))
        );
    }

    #[test]
    fn a_body_is_announced_in_one_way_or_refused() {
        let with = |headers: &str| format!("POST /report HTTP/1.1\nHost: x\n{headers}\n");
        for (headers, has_body) in [
            ("", false),
            ("Content-Length: 0\n", false),
            ("Content-Length: 3\n", true),
            ("Content-Length: 3\nContent-Length: 3\n", true),
            ("Transfer-Encoding: chunked\n", true),
        ] {
            assert_eq!(whole(&with(headers)).has_body, has_body, "{headers}");
        }
        for (headers, refused) in [
            ("Content-Length: 3\nContent-Length: 4\n", 400),
            ("Content-Length: +3\n", 400),
            ("Content-Length: 99999999999999999999\n", 400),
            ("Content-Length: 3\nTransfer-Encoding: chunked\n", 400),
            ("Transfer-Encoding: gzip, chunked\n", 501),
            ("Transfer-Encoding: gzip\nTransfer-Encoding: chunked\n", 501),
            ("Expect: a-miracle\n", 417),
            ("Expect: 100-continue\nExpect: miracle\n", 417),
            ("Expect: miracle\nExpect: 100-continue\n", 417),
            ("Expect: 100-continue, miracle\n", 417),
        ] {
            assert_eq!(status(&with(headers)), refused, "{headers}");
        }
    }

    /// On 2026-11-30 a client of gRPC at this port was told as "this is not an HTTP request".
    #[test]
    fn a_client_of_another_port_is_told_where_it_belongs() {
        for (bytes, status, words) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 400, "a TLS handshake"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "HTTP/2 without TLS"),
        ] {
            let refusal = parse(bytes, &Limits::default()).unwrap_err();
            assert!(refusal.status == status && refusal.why.starts_with(words), "{refusal:?}");
            assert!(
                refusal.why.contains("perhaps gRPC") && refusal.why.contains("--rpc-address"),
                "{refusal:?}"
            );
        }
    }

    #[test]
    fn what_is_no_head_or_too_long_a_one_is_refused_by_its_flaw() {
        let long = "x".repeat(20_000);
        for (head, refused) in [
            ("GET / HTTP/1.1\n\n".to_owned(), 400),
            ("GET / HTTP/1.1\nHost: x\nHost: y\n\n".into(), 400),
            ("GET / HTTP/1.1\nHost: x\nA : b\n\n".into(), 400),
            ("GET / HTTP/1.1\nHost: x\n folded\n\n".into(), 400),
            ("GET /ipxe?serial=a b HTTP/1.1\nHost: x\n\n".into(), 400),
            ("GET / HTTP/2.0\n\n".into(), 505),
            ("GET / HTTP/9.9\nHost: x\n\n".into(), 505),
            ("nonsense\n\n".into(), 400),
            ("\u{16}\u{3}\u{1}".into(), 400),
            (format!("GET /{long}"), 414),
            (format!("GET /{} HTTP/1.1\nHost: x\n\n", &long[..9000]), 414),
            (format!("GET / HTTP/1.1\nA: {long}"), 431),
            (format!("GET / HTTP/1.1\nHost: x\n{}\n", "A: b\n".repeat(MAX_HEADERS)), 431),
        ] {
            assert_eq!(status(&head), refused, "{}", head.chars().take(60).collect::<String>());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_input_is_read_beyond_its_end_or_refused_without_an_error_status(
            input in "((GET|POST|FOO) )?(/|\\*|http://x/|.){0,6}( HTTP/1\\.[019])?\r?\n((Host|Content-Length|Transfer-Encoding|Expect|Connection): [ -~]{0,12}\r\n){0,4}\r\n.{0,10}",
        ) {
            match parse(input.as_bytes(), &Limits::default()) {
                Ok(Some(head)) => assert!(head.length <= input.len()),
                Ok(None) => {}
                Err(refusal) => assert!((400..600).contains(&refusal.status)),
            }
        }
    }
}
