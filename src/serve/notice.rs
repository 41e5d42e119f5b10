//! Notices: events from the servers, for the log, the timeline and the metrics.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;

use crate::serve::http::tls;
use crate::serve::site::labels::Labels;
use crate::serve::site::{self, Flaw, Site};

/// Receives notices. It is called often and from any thread, so it must be quick.
pub type Notices = Arc<dyn Fn(&Notice<'_>) + Send + Sync>;

/// An event in a server.
#[derive(Debug)]
pub enum Notice<'n> {
    /// A part of a long answer has left. Sent a few times a second, and never for answers that are sent at once.
    Progress(&'n Record),
    /// The last part of an answer is about to leave, for actions that must precede the client's next one. If the
    /// transfer is aborted after all, [`Notice::Answered`] says so. Sent once for each answer that leaves completely.
    Leaving(&'n Record),
    /// An answer has left, or was aborted.
    Answered(&'n Record),
    /// A client was turned away before it had made a valid request, or its connection was cut off.
    Cut(&'n Cut),
    /// A file's bytes differ from the manifest, so it is not sent. Reported once, until the file is replaced.
    Corrupt(&'n Path),
    /// A machine's request for an address or boot file was answered.
    Dhcp(&'n Dhcp),
    /// A machine's request for an address or boot file was not answered. Reported at most once a minute for each
    /// machine.
    DhcpSilent(&'n DhcpSilent),
    /// A TFTP transfer has ended.
    Tftp(&'n Tftp),
    /// The site was replaced: `current` points to another build, or files were edited.
    Swapped(&'n Arc<Site>),
    /// The new content cannot be served; the old one stays.
    Kept(&'n site::Error),
    /// A file of a data directory cannot be used. Groups and profiles are checked when they are read, configs when they
    /// are requested.
    Flawed(&'n Flaw),
    /// Something that people should know about a machine, in addition to its line.
    Warning {
        /// The machine's address.
        peer: IpAddr,
        /// A text for people.
        text: &'n str,
    },
    /// A client wrote over gRPC, or asked for what is none of its calls.
    Called(&'n Call),
    /// The certificate was replaced, or its replacement cannot be used and the old one stays.
    Certificate(Result<(), &'n tls::Error>),
}

/// One HTTP request, answered or in progress.
#[derive(Clone, Debug)]
pub struct Record {
    /// The client's address and port.
    pub peer: SocketAddr,
    /// HTTP method.
    pub method: Method,
    /// Path as sent.
    pub path: String,
    /// The machine's labels.
    pub labels: Labels,
    /// HTTP status code.
    pub status: u16,
    /// Body bytes sent.
    pub sent: u64,
    /// Body bytes to send.
    pub length: u64,
    /// Time since the request.
    pub took: Duration,
    /// The group that matched.
    pub group: Option<String>,
    /// The profile that matched.
    pub profile: Option<String>,
    /// Why there was nothing to answer, unless another notice says so.
    pub why: Option<String>,
}

/// A client that was turned away.
#[derive(Clone, Debug)]
pub struct Cut {
    /// The client's address and port.
    pub peer: SocketAddr,
    /// The status that it was sent; `None` if it was just disconnected.
    pub status: Option<u16>,
    /// The reason, in words.
    pub why: String,
}

/// One DHCP answer.
#[derive(Clone, Debug)]
pub struct Dhcp {
    /// The machine's MAC address, lower case with colons.
    pub mac: String,
    /// The SMBIOS UUID (option 97), if the request has one.
    pub uuid: Option<String>,
    /// The kind of firmware, in words: `BIOS`, `UEFI x86-64`, `UEFI arm64`, `iPXE`.
    pub firmware: &'static str,
    /// The type of the answer: `offer`, `ack`, `nak`.
    pub answer: &'static str,
    /// The address that it was given; `None` from a proxy.
    pub address: Option<Ipv4Addr>,
    /// The file or URL to boot.
    pub file: Option<String>,
    /// Why there is no boot file, although the machine boots.
    pub lacks: Option<String>,
}

/// A DHCP request without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpSilent {
    /// The machine's MAC address, lower case with colons.
    pub mac: String,
    /// The kind of firmware, in words.
    pub firmware: &'static str,
    /// The reason, in words.
    pub why: String,
}

/// One TFTP transfer.
#[derive(Clone, Debug)]
pub struct Tftp {
    /// The client's address and port.
    pub peer: SocketAddr,
    /// The requested name, with control characters escaped.
    pub file: String,
    /// Bytes that were acknowledged.
    pub sent: u64,
    /// Length of the file in bytes; 0 if there is none.
    pub length: u64,
    /// Time from the request to the end.
    pub took: Duration,
    /// Why it was aborted, if it was.
    pub failed: Option<String>,
}

/// One call of the gRPC API.
#[derive(Clone, Debug)]
pub struct Call {
    /// The client's address and port.
    pub peer: SocketAddr,
    /// The common name of its certificate.
    pub client: String,
    /// The method, such as `GroupPut`; the whole path if it is none.
    pub method: String,
    /// The file that was written or removed, such as `groups/node1.json`.
    pub file: Option<String>,
    /// Why nothing was done.
    pub refused: Option<String>,
}
