//! Notices: what the servers saw, for the log, the timeline and the metrics.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;

use crate::serve::http::tls;
use crate::serve::site::labels::Labels;
use crate::serve::site::{self, Flaw, Site};

/// Takes notices; called from any thread, often, so it must be quick.
pub type Notices = Arc<dyn Fn(&Notice<'_>) + Send + Sync>;

/// Something that happened.
#[derive(Debug)]
pub enum Notice<'n> {
    /// A part of a long answer has left. Comes some times a second, and never for what is sent at once.
    Progress(&'n Record),
    /// The last part of an answer is about to leave, for what must be so before the client can act on it. If it breaks off after
    /// all, [`Notice::Answered`] says so. Comes once for each answer that leaves whole.
    Leaving(&'n Record),
    /// An answer has left, or broke off.
    Answered(&'n Record),
    /// A client was turned away before it had asked anything that can be answered, or its connection was cut off.
    Cut(&'n Cut),
    /// A file's bytes are not what the manifest says; it is not sent. Told once, until it is replaced.
    Corrupt(&'n Path),
    /// A machine asked for an address or for what to boot, and was answered.
    Dhcp(&'n Dhcp),
    /// A machine asked for an address or for what to boot, and was not answered. Told once a minute.
    DhcpSilent(&'n DhcpSilent),
    /// A transfer by TFTP has ended.
    Tftp(&'n Tftp),
    /// What is served was replaced: `current` points at another build, or files were edited.
    Swapped(&'n Arc<Site>),
    /// What is there now cannot be served; the old one stays.
    Kept(&'n site::Error),
    /// A file of a data directory cannot be used: a group or profile when it was read, a config when it was asked for.
    Flawed(&'n Flaw),
    /// Something about a machine that a person should know, beside its line.
    Warning {
        /// Its address.
        peer: IpAddr,
        /// What.
        text: &'n str,
    },
    /// The certificate was replaced, or what replaced it cannot be used and the old one stays.
    Certificate(Result<(), &'n tls::Error>),
}

/// One request over HTTP, answered or on its way.
#[derive(Clone, Debug)]
pub struct Record {
    /// Who asked.
    pub peer: SocketAddr,
    /// HTTP method.
    pub method: Method,
    /// Path as sent.
    pub path: String,
    /// What the machine said of itself.
    pub labels: Labels,
    /// HTTP status.
    pub status: u16,
    /// Body bytes that left.
    pub sent: u64,
    /// Body bytes that were to leave.
    pub length: u64,
    /// From the request until now.
    pub took: Duration,
    /// The group that matched.
    pub group: Option<String>,
    /// The profile that matched.
    pub profile: Option<String>,
    /// Why there was nothing to answer, where no other notice says it.
    pub why: Option<String>,
}

/// A client that was turned away.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Who.
    pub peer: SocketAddr,
    /// What it was told; none if it was only hung up on.
    pub status: Option<u16>,
    /// Why, in words.
    pub why: String,
}

/// One answer over DHCP.
#[derive(Clone, Debug)]
pub struct Dhcp {
    /// The machine, with colons, lower case.
    pub mac: String,
    /// Its SMBIOS UUID (option 97), if it said one.
    pub uuid: Option<String>,
    /// What its firmware is, in words: `BIOS`, `UEFI x86-64`, `UEFI arm64`, `iPXE`.
    pub firmware: &'static str,
    /// What it was answered: `offer`, `ack`, `nak`.
    pub answer: &'static str,
    /// The address it was given; none from a proxy.
    pub address: Option<Ipv4Addr>,
    /// The file or URL that it was told to boot.
    pub file: Option<String>,
    /// Why it was told of none though it boots.
    pub lacks: Option<String>,
}

/// A request over DHCP without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhcpSilent {
    /// The machine, with colons, lower case.
    pub mac: String,
    /// What its firmware is, in words.
    pub firmware: &'static str,
    /// Why, in words.
    pub why: String,
}

/// One transfer over TFTP.
#[derive(Clone, Debug)]
pub struct Tftp {
    /// Who asked.
    pub peer: SocketAddr,
    /// Name as asked for, without what would move a terminal.
    pub file: String,
    /// Bytes that were acknowledged.
    pub sent: u64,
    /// Bytes of the file; 0 if there is none.
    pub length: u64,
    /// From the request to the end.
    pub took: Duration,
    /// Why it broke off, if it did.
    pub failed: Option<String>,
}
