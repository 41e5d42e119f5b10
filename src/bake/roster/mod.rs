//! Machines that other programs list, on their way into `nodes:`.
//!
//! ```text
//!   CSV, dnsmasq, Matchbox, NetBox ─▶ Row ─▶ Node, judged as a recipe's ─▶ Entry ─▶ lines, or insertion into a file
//! ```
//! Each format is one file, which takes bytes of strangers apart into [`Row`]s and judges nothing; what the texts mean, and
//! whether the machines can be right together, is the same for all of them. Leaves to `machine::node` what a node may be.

mod csv;
mod dnsmasq;
mod insertion;
mod matchbox;
mod netbox;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use crate::base::arch::Arch;
use crate::base::disk;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, MAX_TEXT, MOST, Place, Severity, Source, more, not_text};
use crate::base::size::Bytes;
use crate::base::yaml::decode::Spanned;
use crate::machine::entry::{self, Entry, nearest_host_name};
use crate::machine::network::{Cidr, Network};
use crate::machine::node::{Mac, Node, judge_ip, judge_mac, judge_together, parse_uuid};

pub use insertion::{Target, Written};
pub(crate) use matchbox::address_of;

/// Most machines that are taken from one file.
const MOST_MACHINES: usize = 50_000;
/// Most files of a directory of groups.
const MOST_FILES: usize = 50_000;

/// A format of lists of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table with a line of headings; commas, semicolons or tabs.
    Csv,
    /// dnsmasq's leases, its `dhcp-host=` lines, or a file of `--dhcp-hostsfile`.
    Dnsmasq,
    /// A group of Matchbox, or a directory of them.
    Matchbox,
    /// JSON of NetBox: devices, virtual machines and their interfaces.
    Netbox,
}

/// The kind of a value in a list of machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Field {
    Name,
    Mac,
    Uuid,
    Ip,
    Profile,
    Arch,
    Memory,
}

impl Field {
    /// Headings of columns, and names of NetBox's custom fields, without case and with `_` for blanks and hyphens.
    const NAMES: [(Field, &'static [&'static str]); 7] = [
        (Field::Name, &["name", "hostname", "host_name", "host", "node", "device", "rechner", "rechnername"]),
        (
            Field::Mac,
            &["mac", "mac_address", "macaddress", "mac_addr", "mac_adresse", "hwaddr", "hardware_address"],
        ),
        (Field::Uuid, &["uuid", "smbios_uuid", "system_uuid", "product_uuid"]),
        (
            Field::Ip,
            &[
                "ip",
                "ip_address",
                "ipaddress",
                "ip_adresse",
                "address",
                "adresse",
                "ipv4",
                "primary_ip",
                "cidr",
            ],
        ),
        (Field::Profile, &["profile", "profil"]),
        (Field::Arch, &["arch", "architecture", "architektur"]),
        (Field::Memory, &["memory", "ram", "mem", "speicher", "arbeitsspeicher"]),
    ];

    /// The field that a heading names.
    pub(crate) fn of(heading: &str) -> Option<Field> {
        let plain = heading.trim().to_lowercase().replace([' ', '-'], "_");
        let plain = plain.trim_matches('_');
        Field::NAMES.iter().find(|(_, names)| names.contains(&plain)).map(|(field, _)| *field)
    }
}

/// A machine as a list has it: texts, and where they stand.
#[derive(Debug)]
pub struct Row {
    /// Where it begins.
    pub(crate) place: Place,
    pub(crate) values: BTreeMap<Field, Spanned<String>>,
    /// Whether addresses of this format state their network.
    pub(crate) has_prefixes: bool,
}

impl Row {
    fn new(place: Place, has_prefixes: bool) -> Row {
        Row { place, values: BTreeMap::new(), has_prefixes }
    }

    /// Adds a value, unless it is empty.
    fn put(&mut self, field: Field, text: &str, place: &Place) {
        if !text.trim().is_empty() {
            self.values.insert(field, Spanned { value: text.trim().to_owned(), place: place.clone() });
        }
    }
}

/// Rows of lists, and what was found on the way; among the findings may be errors.
#[derive(Debug, Default)]
pub struct Rows {
    pub(crate) rows: Vec<Row>,
    pub(crate) findings: Vec<Finding>,
    /// Interfaces and devices of NetBox, which are joined when all files are read.
    netbox: netbox::Inventory,
}

impl Rows {
    /// Reads files or directories, of one format or each of its own. `-` is the standard input.
    ///
    /// # Errors
    /// A file that cannot be read; findings are kept for [`judge`].
    pub(crate) fn read(paths: &[PathBuf], format: Option<Format>, wishes: &Wishes) -> Result<Rows> {
        let mut rows = Rows::default();
        for path in paths {
            match path.is_dir() {
                true => rows.take_directory(path)?,
                false => {
                    let name = path.display().to_string();
                    let bytes = match name.as_str() {
                        "-" => {
                            let mut bytes = Vec::new();
                            let most = MAX_TEXT as u64 + 1;
                            let read = std::io::stdin().lock().take(most).read_to_end(&mut bytes);
                            read.map_err(disk::Error::io("read", path))?;
                            bytes
                        }
                        _ => disk::read_at_most(path, MAX_TEXT).map_err(disk::Error::io("read", path))?,
                    };
                    rows.take(&name, bytes, format);
                }
            }
        }
        rows.join(wishes);
        Ok(rows)
    }

    /// Takes a file's bytes apart.
    pub fn take(&mut self, name: &str, bytes: Vec<u8>, format: Option<Format>) {
        if bytes.len() > MAX_TEXT {
            self.findings.push(Finding::error(format!("{name} is longer than {} MiB", MAX_TEXT >> 20)));
            return;
        }
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(_) => return self.findings.extend(not_text(name).0),
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let source = Source::new(name, text);
        match format.unwrap_or_else(|| Format::guess(text)) {
            Format::Csv => csv::read(&source, self),
            Format::Dnsmasq => dnsmasq::read(&source, self),
            Format::Matchbox => matchbox::read(&source, self),
            Format::Netbox => netbox::read(&source, self),
        }
    }

    /// The groups of a Matchbox data directory, or of a directory of groups.
    fn take_directory(&mut self, path: &Path) -> Result<()> {
        let groups = Some(path.join("groups")).filter(|groups| groups.is_dir());
        let directory = groups.unwrap_or_else(|| path.to_owned());
        let entries = fs::read_dir(&directory).map_err(disk::Error::io("read", &directory))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
        files.sort();
        if files.is_empty() || files.len() > MOST_FILES {
            let text = format!("{} has {} groups of Matchbox", directory.display(), files.len());
            self.findings
                .push(Finding::error(text).hint("name its folder `groups`, with files that end in .json"));
            return Ok(());
        }
        for file in files {
            let bytes = disk::read_at_most(&file, MAX_TEXT).map_err(disk::Error::io("read", &file))?;
            self.take(&file.display().to_string(), bytes, Some(Format::Matchbox));
        }
        Ok(())
    }

    /// Makes rows of what has to be joined over several files.
    pub fn join(&mut self, wishes: &Wishes) {
        let inventory = std::mem::take(&mut self.netbox);
        netbox::join(inventory, wishes, self);
    }

    /// Adds a row; of too many, only the first are kept.
    fn push(&mut self, row: Row) {
        if self.rows.len() == MOST_MACHINES {
            let text = format!("there are more than {MOST_MACHINES} machines");
            self.findings.push(Finding::error(text).at(row.place.clone()));
        }
        if self.rows.len() <= MOST_MACHINES {
            self.rows.push(row);
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = [
            ("csv", Format::Csv),
            ("dnsmasq", Format::Dnsmasq),
            ("matchbox", Format::Matchbox),
            ("netbox", Format::Netbox),
        ];
        let found = known.iter().find(|(name, _)| *name == text).map(|(_, format)| *format);
        found.ok_or_else(|| format!("`{text}` is not a format: {}", known.map(|(name, _)| name).join(", ")))
    }
}

impl Format {
    /// The format of a text, by how it looks.
    fn guess(text: &str) -> Format {
        if text.trim_start().starts_with(['{', '[']) {
            return match text.contains("\"selector\"")
                || text.contains("\"profile\"") && !text.contains("\"results\"")
            {
                true => Format::Matchbox,
                false => Format::Netbox,
            };
        }
        match text.lines().any(dnsmasq::is_line) {
            true => Format::Dnsmasq,
            false => Format::Csv,
        }
    }
}

/// Things that a person adds to the lists.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Profile of machines whose list names none.
    pub profile: Option<String>,
    /// Network of addresses without a prefix length.
    pub subnet: Option<Network>,
    /// Name of the interface that boots, for machines with several.
    pub interface: Option<String>,
}

/// Judges rows as the nodes of a recipe are, and as many together.
///
/// # Errors
/// Every finding at once, if one of them is an error.
pub fn judge(rows: Rows, wishes: &Wishes) -> Result<(Vec<Entry>, Vec<Finding>), Findings> {
    let Rows { rows, mut findings, .. } = rows;
    let mut nodes: Vec<(Node, Option<Arch>, Option<String>)> = Vec::new();
    for row in &rows {
        let node = Judge { row, wishes, findings: &mut findings }.node();
        // Lists of leases and of hosts often have the same machine.
        let is_same = |(known, ..): &(Node, Option<Arch>, Option<String>), node: &Node| {
            let key = |node: &Node| {
                let mac = node.mac.as_ref().map(|mac| mac.value);
                let ip = node.ip.as_ref().map(|ip| ip.value);
                (node.name.value.clone(), mac, node.uuid.as_ref().map(|uuid| uuid.value.clone()), ip)
            };
            key(known) == key(node)
        };
        if let Some(node) = node
            && !nodes.last().is_some_and(|last| is_same(last, &node.0))
        {
            nodes.push(node);
        }
    }
    let (nodes, more): (Vec<Node>, Vec<_>) =
        nodes.into_iter().map(|(node, arch, memory)| (node, (arch, memory))).unzip();
    findings.extend(judge_together(&nodes));
    if nodes.is_empty() && !findings.iter().any(|finding| finding.severity == Severity::Error) {
        findings.push(Finding::error("no machine was found").hint("--format says what the file is"));
    }
    let entry = |(node, (arch, memory)): (Node, (Option<Arch>, Option<String>))| Entry {
        // Most of what a file refuses is a profile that it has not.
        from: Some(node.profile.place),
        name: node.name.value,
        mac: node.mac.map(|mac| mac.value),
        uuid: node.uuid.map(|uuid| uuid.value),
        profile: Some(node.profile.value).filter(|profile| !profile.is_empty()),
        arch,
        memory,
        ip: node.ip.map(|ip| ip.value),
    };
    let (entries, findings) =
        Findings::settle(shortened(findings), nodes.into_iter().zip(more).map(entry).collect())?;
    Ok((entries, findings))
}

/// The first findings, and how many there are besides.
fn shortened(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    if let Some(others) = findings.len().checked_sub(MOST).filter(|others| *others > 0) {
        findings.truncate(MOST);
        findings.push(Finding::warning(format!("there are {}", more(others))));
    }
    findings
}

/// Reads one row.
struct Judge<'r> {
    row: &'r Row,
    wishes: &'r Wishes,
    findings: &'r mut Vec<Finding>,
}

impl Judge<'_> {
    /// The node of the row, with its architecture and amount of memory as they were written; none if it has nothing to
    /// be identified by.
    fn node(mut self) -> Option<(Node, Option<Arch>, Option<String>)> {
        let place = self.row.place.clone();
        let mac: Option<Spanned<Mac>> = self.parsed(Field::Mac);
        self.findings.extend(mac.as_ref().and_then(judge_mac));
        let uuid = self.read(Field::Uuid, parse_uuid);
        let ip = self.ip();
        let arch: Option<Spanned<Arch>> = self.parsed(Field::Arch);
        let memory: Option<Spanned<Bytes>> = self.parsed(Field::Memory);
        let said = self.row.values.get(&Field::Name);
        let is_refused = [Field::Mac, Field::Uuid].iter().any(|field| self.row.values.contains_key(field));
        if mac.is_none() && uuid.is_none() {
            if !is_refused {
                let name = said.map_or(String::new(), |name| format!(" `{}`", name.value));
                let text = format!("machine{name} has neither a MAC address nor a UUID to be identified by");
                self.error(text, &place);
            }
            return None;
        }
        let name = self.name(said, mac.as_ref().map(|mac| mac.value), uuid.as_deref().map(String::as_str));
        let profile = match (self.row.values.get(&Field::Profile), &self.wishes.profile) {
            (Some(own), _) => own.clone(),
            (None, profile) => Spanned { value: profile.clone().unwrap_or_default(), place: place.clone() },
        };
        let written = self.row.values.get(&Field::Memory).map(|memory| memory.value.clone());
        let node = Node {
            name: Spanned { value: name, place: said.map_or(place, |name| name.place.clone()) },
            mac,
            uuid,
            profile,
            arch: arch.as_ref().map_or(Arch::Amd64, |arch| arch.value),
            memory,
            ip,
            ignition: Vec::new(),
            private: Vec::new(),
        };
        Some((node, arch.map(|arch| arch.value), written))
    }

    /// The name, as a host name; a text that is none is changed, and told.
    fn name(&mut self, said: Option<&Spanned<String>>, mac: Option<Mac>, uuid: Option<&str>) -> String {
        let near = said.map(|said| nearest_host_name(&said.value)).filter(|name| !name.is_empty());
        let name = near.unwrap_or_else(|| entry::name(None, mac, uuid, |_| false));
        if let Some(said) = said.filter(|said| !said.value.eq_ignore_ascii_case(&name)) {
            let text = format!("`{}` is not a host name; the node is called `{name}`", said.value);
            self.findings.push(Finding::warning(text).at(said.place.clone()));
        }
        name
    }

    /// The address with its prefix length: its own, or that of the network that the user named.
    fn ip(&mut self) -> Option<Spanned<Cidr>> {
        let written = self.row.values.get(&Field::Ip)?;
        let place = &written.place;
        let cidr = match (written.value.parse::<IpAddr>(), self.wishes.subnet) {
            (Err(_), _) => self.parsed::<Cidr>(Field::Ip)?.value,
            (Ok(IpAddr::V4(address)), Some(subnet)) if subnet.contains(address) => subnet.at(address),
            (Ok(address), Some(subnet)) => {
                self.error(format!("{address} is not in {subnet}"), place);
                return None;
            }
            (Ok(address), None) => {
                let finding = match self.row.has_prefixes {
                    true => Finding::error(format!("{address} has no prefix length")),
                    false => Finding::warning(format!("{address} has no prefix length, and is left out")),
                };
                let hint = format!("name its network: --subnet {}", example(address));
                self.findings.push(finding.at(place.clone()).hint(hint));
                return None;
            }
        };
        let ip = Spanned { value: cidr, place: place.clone() };
        self.findings.extend(judge_ip(&ip));
        Some(ip)
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, field: Field) -> Option<Spanned<T>> {
        self.read(field, |text| text.parse().map_err(|why: T::Err| why.to_string()))
    }

    fn read<T>(&mut self, field: Field, parse: impl Fn(&str) -> Result<T, String>) -> Option<Spanned<T>> {
        let text = self.row.values.get(&field)?;
        match parse(&text.value) {
            Ok(value) => Some(Spanned { value, place: text.place.clone() }),
            Err(why) => {
                self.error(why, &text.place);
                None
            }
        }
    }

    fn error(&mut self, text: impl Into<String>, place: &Place) {
        self.findings.push(Finding::error(text).at(place.clone()));
    }
}

/// A network that an address may be in.
fn example(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(_) => "10.0.0.0/24".into(),
    }
}

/// Places of bytes in a text, each found without reading all that is before it: an export may be one line of 16 MiB.
struct Places<'s> {
    source: &'s Arc<Source>,
    /// An offset at least every [`Places::STEP`] bytes, with its line and column.
    marks: Vec<(usize, usize, usize)>,
}

impl<'s> Places<'s> {
    const STEP: usize = 256;

    fn new(source: &'s Arc<Source>) -> Places<'s> {
        let mut marks = vec![(0, 1, 1)];
        let (mut line, mut column, mut next) = (1, 1, Places::STEP);
        for (offset, letter) in source.text.char_indices() {
            if offset >= next {
                marks.push((offset, line, column));
                next = offset + Places::STEP;
            }
            (line, column) = if letter == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        Places { source, marks }
    }

    /// The place of a byte; beyond the text, its end.
    fn at(&self, offset: usize) -> Place {
        let text = &self.source.text;
        let offset = if text.is_char_boundary(offset) { offset } else { text.len() };
        let index = self.marks.partition_point(|(mark, ..)| *mark <= offset).saturating_sub(1);
        let (mark, mut line, mut column) = self.marks[index];
        for letter in text[mark..offset].chars() {
            (line, column) = if letter == '\n' { (line + 1, 1) } else { (line, column + 1) };
        }
        Place { source: self.source.clone(), line, column }
    }
}

#[cfg(test)]
mod tests;
