//! What servers, machines and other people's files say in words: headers, names, lists and documents.

use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use prebake::bake::kubernetes::kubeadm;
use prebake::base::arch::Arch;
use prebake::base::digest::Sha256;
use prebake::base::finding::{Findings, Source};
use prebake::base::{words, yaml};
use prebake::flatcar::board::parse_version_txt;
use prebake::flatcar::version::Version;
use prebake::format::{checksums, ipxe};
use prebake::ignition::ssh_keys::{self, Origin};
use prebake::ignition::{self, parts};
use prebake::machine::network::{AddressRange, Cidr, Network};
use prebake::machine::node::Mac;
use prebake::registry::document::{self, Document};
use prebake::registry::reference::ImageRef;
use prebake::serve::address::Address;
use prebake::serve::endpoint::{escape, guard, sniff};
use prebake::serve::machines::report::Report;
use prebake::serve::machines::state;
use prebake::serve::machines::timeline::Timeline;
use prebake::serve::site::labels::Labels;
use prebake::source::challenge;
use prebake::source::http::encoding::{Coding, Unpacker};
use prebake::source::http::{Part, Ranged, content_range};
use prebake::sysext::release::Release;
use prebake::sysext::{schema, unit};
use prebake::tree::lock::Lock;
use prebake::tree::provenance::statement::Statement;
use prebake::tree::records::normal_mac;
use prebake::tree::{nodes, sbom};
use prebake::trust::dsse::Envelope;
use prebake::trust::openpgp::{Certificate, Fingerprint, TrustedKey};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::{repository, scratch, stands_in};

/// What is printed of others must neither move a cursor nor be long.
fn is_printable(text: &str) {
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.chars().count() < 400, "{} characters", text.chars().count());
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// YAML is read or refused with a place that it has; and so is what describes a sysext.
pub fn yaml(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let source = Source::new("fuzzed.yaml", text);
    for read in [yaml::parse, yaml::merge::parse] {
        match read(&source) {
            Ok(node) => {
                let lines = text.lines().count() + 1;
                assert!((1..=lines).contains(&node.place(&source).line), "{node:?}");
            }
            Err(finding) => stands_in(&finding, &source),
        }
    }
    if let Err(Findings(findings)) = schema::parse(&source, "fuzzed") {
        assert!(!findings.is_empty(), "refused without a word");
        findings.iter().for_each(|finding| stands_in(finding, &source));
    }
}

/// A reference keeps its name when it is written and read again, and what follows from it leads nowhere else.
pub fn reference(bytes: &[u8]) {
    let Some(Ok(image)) = text(bytes).map(str::parse::<ImageRef>) else { return };
    let again: ImageRef = image.to_string().parse().expect("what was written can be read");
    assert_eq!(again.to_string(), image.to_string());
    let file = image.file_name(Arch::Amd64);
    assert!(!file.contains(['/', '\0']) && file != ".." && !file.is_empty(), "{file:?}");
    let url: url::Url = image.manifest_url(&image.object()).parse().expect("a URL");
    // To the letter: a tag may hold `..`, and no part of the path may be it.
    assert_eq!(url.path(), format!("/v2/{}/manifests/{}", image.repository(), image.object()), "{url}");
}

/// A registry's document is refused in words that can be printed, or what it lists is bounded.
pub fn registry(bytes: &[u8]) {
    match document::parse(bytes) {
        Ok(Document::Manifest(manifest)) => {
            assert!(manifest.layers.len() <= 500 && manifest.distinct_layers().len() <= 500);
            manifest.encrypted.iter().for_each(|kind| is_printable(kind));
        }
        Ok(Document::Index(index)) => {
            for arch in [Arch::Amd64, Arch::Arm64] {
                let _ = index.choices(arch).map(|choices| assert!(choices.len() <= 16));
            }
            index.platforms().iter().for_each(|platform| is_printable(platform));
        }
        Err(why) => is_printable(&why),
    }
    if let Ok(Some(platform)) = document::foreign_platform(bytes, Arch::Amd64) {
        is_printable(&platform);
    }
    words::of_refusal(bytes).iter().for_each(|said| is_printable(said));
    words::page(bytes).iter().for_each(|title| is_printable(title));
}

/// Whatever the headers of an answer are, a part of a body is the one that was asked for; the challenge of a registry has a
/// realm; and what a server packs comes out the same however the network cuts it.
pub fn answer(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    for line in parts.next().unwrap_or_default().split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) =
            (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(&line[colon + 1..]));
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    for (start, end) in [(0, 0), (0, 1), (10, 20), (1 << 40, u64::MAX)] {
        match content_range(&headers, &Part { range: start..end, validator: None }) {
            Ranged::Part(part, whole) => {
                assert!(part.start == start && part.start < part.end && part.end <= end && part.end <= whole);
            }
            Ranged::Other(said) => is_printable(&said),
            Ranged::Whole(_) | Ranged::Unclear => {}
        }
    }
    let asked = headers.get_all("www-authenticate").iter().filter_map(|value| value.to_str().ok());
    if let Some(challenge::Challenge::Bearer { realm, .. }) = challenge::choose(asked) {
        assert!(!realm.is_empty());
    }
    let body = parts.next().unwrap_or_default();
    for url in ["http://x/a.tar.gz", "http://x/a.bin"] {
        let coding = Coding::of(&headers, url);
        let whole = unpacked(&coding, body, usize::MAX);
        assert_eq!(whole, unpacked(&coding, body, 3), "in pieces");
    }
}

fn unpacked(coding: &Coding, body: &[u8], piece: usize) -> Option<Vec<u8>> {
    let Some(mut unpacker) = Unpacker::of(coding) else { return Some(body.to_vec()) };
    let mut found = Vec::new();
    for piece in body.chunks(piece.max(1)) {
        found.extend_from_slice(&unpacker.push(bytes::Bytes::copy_from_slice(piece)).ok()?);
    }
    found.extend_from_slice(&unpacker.finish().ok()?);
    Some(found)
}

/// Short texts that stand in a config, a query or a file: what is read is written in one form, which reads the same.
pub fn short(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    macro_rules! keeps {
        ($($kind:ty),*) => {$(
            if let Ok(read) = text.parse::<$kind>() {
                let written = read.to_string();
                let again = written.parse::<$kind>();
                assert_eq!(again.map(|again| again.to_string()).ok().as_ref(), Some(&written), stringify!($kind));
            }
        )*};
    }
    keeps!(Mac, Cidr, Network, Version, Address, Sha256, Fingerprint, guard::Token, Arch);
    let _ = text.parse::<AddressRange>();
    let _ = text.parse::<prebake::base::size::Bytes>();
    let _ = text.parse::<prebake::ignition::Spec>();
    if let Some(mac) = normal_mac(text) {
        assert_eq!(normal_mac(&mac).as_ref(), Some(&mac));
    }
    let _ = sniff::by_contents(bytes);
    let _ = sniff::by_name(text);
    let escaped = escape::escape_html(text);
    assert!(!escaped.contains(['<', '>', '"']), "{escaped}");
    let path = escape::escape_path(bytes);
    assert!(path.is_ascii() && !path.contains([' ', '"', '<']), "{path}");
    let _ = ipxe::stands_for(text, "a/b");
    if let Ok(image) = ipxe::Image::parse(text) {
        let (host, path) = image.host_and_path();
        assert_eq!(format!("{}{path}", host.unwrap_or_default()), image.uri);
        assert!(!image.called().contains('/') || image.name.is_some(), "{:?}", image.called());
    }
}

/// Labels are read the same from what they are written as, and what a machine reports is a line and not a long one.
pub fn labels(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let labels = Labels::parse(text);
    assert_eq!(labels, Labels::parse(text), "read twice");
    let _ = labels.to_string();
    let now = SystemTime::UNIX_EPOCH;
    if let Ok(report) = Report::read(&labels, now) {
        for said in [&report.mac, &report.uuid, &report.stage, &report.detail] {
            assert!(said.len() <= 600 && !said.chars().any(char::is_control), "{said:?}");
        }
    }
    let _ = guard::Machine::of(&labels);
}

/// Digest files, os-release files, units, lists of images and keys: what is read of them stands in them.
pub fn lists(bytes: &[u8]) {
    let _ = parse_version_txt("fuzzed", bytes).map(|version| {
        let written = version.to_string();
        assert_eq!(written.parse::<Version>().ok(), Some(version));
    });
    let Some(text) = text(bytes) else { return };
    if let Some(digest) = checksums::sha256_for(text, "y.tgz") {
        assert!(text.to_lowercase().contains(&digest.to_string()), "{digest}");
    }
    let release = Release::parse(text);
    assert!(
        release.0.iter().all(|(key, value)| text.contains(key.as_str()) && text.contains(value.as_str()))
    );
    let lines = text.lines().count().max(1);
    for assignment in unit::assignments(text) {
        assert!((1..=lines).contains(&assignment.line) && text.contains(&assignment.key));
    }
    for path in ["usr/lib/systemd/system/a.service", "usr/lib/systemd/system/a.service.d/b.conf"] {
        for (line, why) in unit::faults(path, text) {
            assert!((1..=lines).contains(&line) && !why.is_empty());
        }
    }
    if let Ok(images) = kubeadm::images(text, "v1.33.13", &"x".into()) {
        assert!(kubeadm::lists(&images).is_ok(), "{images:?}");
    }
    let source = Source::new("fuzzed.keys", text);
    for origin in [Origin::Recipe, Origin::Published] {
        match ssh_keys::parse(&source, origin) {
            Ok(keys) => {
                let layer = ssh_keys::layer("core", &keys);
                assert!(layer.is_ok(), "{keys:?}");
                let again = ssh_keys::parse(&Source::new("again.keys", keys.join("\n")), origin);
                assert_eq!(again.ok(), Some(keys), "read again");
            }
            Err(Findings(findings)) => findings.iter().for_each(|finding| stands_in(finding, &source)),
        }
    }
}

/// Our own documents, which may come back changed: refused, or written again they read the same.
pub fn documents(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::parse(bytes) {
        assert_eq!(envelope.to_bytes(), bytes, "one envelope has one spelling");
    }
    if let Ok(statement) = Statement::parse(bytes) {
        assert_eq!(Statement::parse(&statement.to_bytes()).as_ref().ok(), Some(&statement));
    }
    if let Ok(read) = sbom::parse("fuzzed.json", bytes) {
        let written = read.into_bytes();
        let again = sbom::parse("again.json", &written).expect("what was written can be read");
        assert_eq!(again.into_bytes(), written);
    }
    let _ = nodes::read(bytes).map(|hosts| hosts.iter().filter_map(|host| host.address()).count());
    if let Some(Ok(lock)) = text(bytes).map(|text| Lock::parse(Path::new("fuzzed.lock"), text)) {
        let written = lock.to_text();
        let again = Lock::parse(Path::new("again.lock"), &written).expect("what was written can be read");
        assert_eq!(again.to_text(), written);
    }
}

/// A state file is refused or remembered; what is remembered is written so that it reads the same.
pub fn state(bytes: &[u8]) {
    let Ok(machines) = state::read(scratch(bytes).path()) else { return };
    let _ = Timeline::remember(machines);
}

/// The parts of an Ignition config lie in it, wherever it was found.
pub fn parts(bytes: &[u8]) {
    let Ok(config) = parts::read("fuzzed.ign", bytes) else { return };
    let found = parts::parts(&config);
    assert_eq!(found.len(), parts::parts(&config).len(), "looked at twice");
    let longest = config.to_json().len() * 2_000;
    assert!(found.iter().all(|part| part.contents.here().is_none_or(|bytes| bytes.len() <= longest)));
    let _ = ignition::validate(&config);
}

/// A signature file is refused before or after the file that it is for; it is by nobody, whatever it says.
pub fn signature(bytes: &[u8]) {
    static TRUSTED: OnceLock<TrustedKey> = OnceLock::new();
    let trusted = TRUSTED.get_or_init(|| {
        let key = std::fs::read(repository("tests/data/openpgp/two-keys.gpg")).expect("a key");
        let read = Certificate::read_all("two-keys.gpg", &key).expect("a key");
        TrustedKey::parse("two-keys.gpg", &key, read[0].parts[0].fingerprint).expect("a key that is trusted")
    });
    if let Ok(mut verifier) = trusted.expect("fuzzed.sig", bytes, SystemTime::now()) {
        verifier.update(b"nothing that anybody signed");
        assert!(verifier.finish().is_err(), "it was not signed");
    }
}
