//! What holds for whatever bytes a person hands in. The tests and the fuzz targets (`fuzz/`) ask for the same.
//!
//! None of these functions may panic but by an assertion here, and none may take more memory than a limit allows.

pub mod disks;
pub mod seeds;
pub mod targets;
mod words;

use std::fs;
use std::io::{Cursor, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use prebake::bake::outputs;
use prebake::bake::recipe::Recipe;
use prebake::bake::roster::{self, Rows, Target, Wishes};
use prebake::base::arch::Arch;
use prebake::base::finding::{Finding, Findings, Source};
use prebake::cluster::power::redfish::change::{LADDER, Wish};
use prebake::cluster::power::redfish::document;
use prebake::format::archive::{self, Selection};
use prebake::format::gotemplate::{self, Template};
use prebake::format::gpt::Table;
use prebake::format::image::{Kind, Limits};
use prebake::format::squashfs::Image;
use prebake::format::{erofs, pe};
use prebake::ignition::{self, Checked, Config, Transpile};
use prebake::initrd::{segments, show};
use prebake::proxmox::document as pve;
use prebake::proxmox::record::Record;
use prebake::serve::answer::ranges::{self, Ranges};
use prebake::serve::http::{head, limits};
use prebake::serve::lan::near::Near;
use prebake::serve::lan::{dhcp, tftp};
use prebake::serve::rpc::messages as rpc;
use prebake::serve::rpc::store::{form, read};
use prebake::sysext::identify::{Format, HEAD};
use prebake::sysext::{ddi, inspect};
use prebake::tree::bundle::index::Index;
use prebake::tree::bundle::{Bundle, Demand};
use prebake::tree::manifest::Manifest;
use prebake::tree::records::{Group, Profile, normal_mac};
use prebake::tree::secrets::scan;
use prebake::trust::minisign::{PublicKey, Secret, SecretKey, Signature};
use prebake::trust::openpgp::Certificate;
use prebake::trust::rotation::Rotation;

/// Documents of a BMC are read or refused, within limits, and a change that it holds is not sent again.
pub fn redfish(bytes: &[u8]) {
    let is_short = |text: &String| assert!(text.len() <= 4096);
    if let Ok(root) = document::root(bytes) {
        is_short(&root.systems);
    }
    if let Ok(page) = document::page(bytes) {
        assert!(page.members.len() <= 512);
        page.members.iter().for_each(is_short);
    }
    let _ = (document::addresses(bytes), document::reset_types(bytes), document::reason(bytes));
    let Ok(system) = document::system(bytes) else { return };
    assert_eq!(Ok(&system), document::system(bytes).as_ref());
    let Some(now) = system.boot else { return };
    for wish in [Wish::Http("http://10.0.0.1/a.efi"), Wish::Pxe, Wish::Usual] {
        for scope in LADDER {
            let body = wish.body(&now, scope).map(|body| body.to_string()).unwrap_or_default();
            assert!(!body.contains(r#""BootSourceOverrideTarget":"None""#), "{body}");
        }
        if wish.held(&now) == Some(true) && wish == Wish::Pxe {
            assert_eq!(wish.body(&now, LADDER[0]), None);
        }
    }
}

/// Answers of Proxmox VE are read or refused, lists are in order, a task's id stays a part of a path, and a record is written as it was
/// read.
pub fn proxmox(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Some(record) = Record::read(text)
    {
        assert_eq!(Record::read(&record.to_string()), Some(record));
    }
    let Ok(pve::Envelope { data, .. }) = pve::envelope(bytes) else { return };
    let _ = (pve::version(&data), pve::state(&data), pve::privileges(&data, "/"), pve::volumes(&data));
    assert!(pve::guests(&data, Some("pve")).is_sorted() && pve::nodes(&data).is_sorted());
    assert!(pve::storages(&data).is_sorted_by(|a, b| a.name <= b.name));
    for task in pve::tasks(&data).iter().chain(&pve::task(&data)) {
        assert!(task.id.starts_with("UPID:") && !task.id.contains(['/', ' ', '\n']) && task.id.len() <= 512);
    }
    let config = pve::config(&data);
    assert!(config.iter().all(|(key, value)| config.get(key) == Some(value)));
}

/// Splits the layers of [`merge`]; no config holds such a byte.
const BETWEEN_LAYERS: u8 = 0;

/// Translating is deterministic, and what Butane's rules accept is Ignition that reads the same again.
pub fn transpile(bytes: &[u8]) {
    let Ok(source) = ignition::read_from("config.bu", bytes) else { return };
    let translate = || outcome(ignition::transpile(&source, &Transpile::default()), &source);
    let first = translate();
    assert_eq!(first, translate(), "translated twice");
    if let Ok(json) = first {
        let again =
            Config::parse(&Source::new("translated.ign", json.as_str())).map(|read| read.config.to_json());
        assert_eq!(again.ok(), Some(json), "read again");
    }
}

/// Checking is deterministic, and what is valid stays valid and the same when it is written and read again.
pub fn validate(bytes: &[u8]) {
    let Ok(source) = ignition::read_from("config.ign", bytes) else { return };
    let check = || outcome(Config::parse(&source), &source);
    let first = check();
    assert_eq!(first, check(), "checked twice");
    if let Ok(json) = first {
        let again = outcome(Config::parse(&Source::new("config.ign", json.as_str())), &source);
        assert_eq!(again, Ok(json), "read again");
    }
}

/// Merging is deterministic, a config that says nothing changes nothing on either side, and merging layers one by one
/// is merging them at once.
pub fn merge(bytes: &[u8]) {
    let read = |layer: &[u8]| {
        let source = ignition::read_from("layer.ign", layer).ok()?;
        Some(Config::parse(&source).ok()?.config)
    };
    let layers: Vec<Config> = bytes.split(|byte| *byte == BETWEEN_LAYERS).filter_map(read).collect();
    let merged = ignition::merge_all(layers.clone());
    let json = merged.to_json();
    assert_eq!(json, ignition::merge_all(layers.clone()).to_json(), "merged twice");
    let nothing = Config::empty(merged.spec());
    assert_eq!(ignition::merge(nothing.clone(), merged.clone()).to_json(), json, "into an empty one");
    assert_eq!(ignition::merge(merged.clone(), nothing).to_json(), json, "with an empty one");
    let raised = layers.into_iter().map(|layer| layer.raised(merged.spec()));
    let one_by_one = raised.reduce(ignition::merge);
    assert!(one_by_one.is_none_or(|config| config.to_json() == json), "one by one");
}

/// Looking into an initrd is deterministic, and its parts cover the file, as far as it was read, without gap or overlap.
pub fn initrd(bytes: &[u8]) {
    let limits = segments::Limits { bytes: 8 << 20, ..segments::Limits::default() };
    let size = bytes.len() as u64;
    let look = || show::contents("initrd".as_ref(), Cursor::new(bytes), size, limits);
    let (shown, fault) = look();
    let (again, other) = look();
    assert_eq!(shown.parts, again.parts, "looked at twice");
    assert_eq!(fault.as_ref().map(|e| e.to_string()), other.map(|e| e.to_string()), "looked at twice");
    let end = shown.parts.iter().fold(0, |end, part| {
        assert_eq!(part.offset, end, "a gap before {part:?}");
        end + part.length
    });
    assert!(end <= size && (fault.is_some() || end == size), "{end} of {size} bytes, {fault:?}");
    if let Ok(quick) = show::show("initrd".as_ref(), Cursor::new(bytes), size) {
        assert_eq!(quick.parts.iter().map(|part| part.length).sum::<u64>(), size, "without unpacking");
    }
}

/// An image is refused or can be read; what it lists is bounded; reading a file gives as many bytes as listed; and
/// extracting it makes what is listed, below the target and nowhere else.
pub fn squashfs(bytes: &[u8]) {
    let limits = Limits { inodes: 500, table: 1 << 20, depth: 16, file: 1 << 20, total: 4 << 20, ratio: 200 };
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut file = tempfile::tempfile().expect("a scratch file");
    file.write_all(bytes).expect("space for an image");
    let Ok(image) = Image::open_at("fuzzed.raw", file, 0, bytes.len() as u64, limits) else { return };
    let listed: Vec<_> = image.list().collect();
    assert!(listed.len() <= limits.inodes as usize, "{} entries", listed.len());
    for entry in &listed {
        if let Ok(read) = image.read(&entry.path) {
            assert_eq!(entry.kind, Kind::File(read.len() as u64), "{}", entry.path);
        }
    }
    let target = scratch.path().join("target");
    let extracted = image.extract(&target);
    let around: Vec<_> = fs::read_dir(scratch.path()).expect("the scratch directory").collect();
    assert_eq!(around.len(), usize::from(extracted.is_ok()), "{around:?}, {extracted:?}");
    if extracted.is_ok() {
        assert_eq!(count(&target), listed.len(), "entries on disk");
    }
}

/// A template is refused with a line that it has, or renders: twice the same, and no more than the limits allow.
pub fn gotemplate(bytes: &[u8]) {
    let limits = gotemplate::Limits { text: 1 << 16, written: 1 << 18, steps: 10_000 };
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
    let stands_in_text = |error: &gotemplate::Error| {
        assert!(error.line().is_none_or(|line| (1..=lines).contains(&line)), "{error}, of {lines} lines");
        assert!(!error.message().is_empty(), "{error:?}");
    };
    let template = match Template::parse_within(bytes, limits) {
        Ok(template) => template,
        Err(error) => return stands_in_text(&error),
    };
    let data = gotemplate::Value::from(serde_json::json!({
        "a": "text", "b": [1, 2.5, null, "ä"], "c": {"a": {"b": true}, "b": [[], {}]}, "d": null, "e": 1e21,
    }));
    let rendered = template.render(&data);
    assert_eq!(rendered, template.render(&data), "rendered twice");
    match rendered {
        Ok(text) => assert!(text.len() <= limits.written, "{} bytes", text.len()),
        Err(error) => stands_in_text(&error),
    }
}

/// An image is refused or can be read; what it lists is bounded and named once; and a file gives as many bytes as listed.
pub fn erofs(bytes: &[u8]) {
    let limits = Limits { inodes: 500, file: 1 << 20, ..Limits::default() };
    let Ok(image) = erofs::Image::open(scratch(bytes).path(), limits) else { return };
    let listed: Vec<_> = image.list().collect();
    assert!(listed.len() <= limits.inodes as usize, "{} entries", listed.len());
    assert!(listed.is_sorted_by(|one, other| one.path < other.path), "{listed:?}");
    for entry in &listed {
        if let Ok(read) = image.read(&entry.path) {
            assert_eq!(entry.kind, Kind::File(read.len() as u64), "{}", entry.path);
        }
    }
}

/// A disk image is refused, or what its table names lies within it; and so it is where the checksums are right.
pub fn disk(bytes: &[u8]) {
    disk_as_it_is(bytes);
    if let Some(right) = with_right_checksums(bytes) {
        disk_as_it_is(&right);
    }
}

/// A disk image of 512-byte sectors whose table's checksums are made to fit, since nobody guesses those.
fn with_right_checksums(bytes: &[u8]) -> Option<Vec<u8>> {
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let mut right = bytes.to_vec();
    let header = right.get(512..1024).filter(|header| header.starts_with(b"EFI PART"))?.to_vec();
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let (size, entries, count) = (word(12) as usize, word(72) as usize, word(80) as usize);
    let start = entries.checked_mul(512)?;
    let sum = crc(right.get(start..start.checked_add(count.checked_mul(128)?)?)?);
    right.get_mut(600..604)?.copy_from_slice(&sum);
    right[528..532].fill(0);
    let sum = crc(right.get(512..512_usize.checked_add(size)?)?);
    right[528..532].copy_from_slice(&sum);
    Some(right)
}

fn disk_as_it_is(bytes: &[u8]) {
    let file = scratch(bytes);
    let _ = ddi::protection(file.path());
    let _ = ddi::volumes(file.as_file());
    let _ = ddi::filesystem(file.as_file());
    if let Ok(Some(table)) = Table::read(file.as_file()) {
        for partition in table.partitions {
            let end = partition.start.checked_add(partition.length);
            assert!(end.is_some_and(|end| end <= bytes.len() as u64), "{partition:?}");
        }
    }
}

/// A sysext's image, of whatever kind, is refused or shown; what is shown is bounded by what was read, and named once.
pub fn extension(bytes: &[u8]) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let path = directory.path().join("fuzzed.raw");
    fs::write(&path, bytes).expect("space for an image");
    if let Ok((shown, _)) = inspect::inspect(&path) {
        assert!(shown.entries.is_sorted_by(|one, other| one.path < other.path), "{shown:?}");
        assert_eq!(shown.length, bytes.len() as u64);
    }
    let _ = Format::of(&bytes[..bytes.len().min(HEAD)]);
}

/// A UEFI program is refused, or has room for a section or not; where it has, the section is found again.
pub fn program(bytes: &[u8]) {
    let _ = pe::section(&mut Cursor::new(bytes), ".linux", 1 << 20);
    let Ok(image) = pe::Image::parse("fuzzed.efi", bytes.to_vec(), Arch::Amd64) else { return };
    let contents = b"what a kernel is told";
    let section =
        pe::Section { name: ".fuzzed", size: contents.len() as u64, bytes: Box::new(&contents[..]) };
    let mut whole = Vec::new();
    if image.append(vec![section], &mut whole).is_ok() {
        assert!(whole.len() < bytes.len() + (1 << 18), "{} bytes", whole.len());
        let had = pe::section(&mut Cursor::new(bytes), ".fuzzed", 1 << 20).expect("memory");
        let found = pe::section(&mut Cursor::new(&whole), ".fuzzed", 1 << 20).expect("memory");
        assert!(had.is_some() || found.as_deref() == Some(contents), "{found:?}");
    }
}

/// A UEFI program with one section of 16 bytes and room for more headers (Microsoft's "PE Format").
fn smallest_program() -> Vec<u8> {
    let mut bytes = vec![0; 0x600];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"MZ");
    put(0x3c, &0x40u32.to_le_bytes());
    put(0x40, b"PE\0\0");
    // COFF: x86-64, one section, 240 bytes of optional header.
    put(0x44, &0x8664u16.to_le_bytes());
    put(0x46, &1u16.to_le_bytes());
    put(0x54, &240u16.to_le_bytes());
    // The optional header: its kind, alignments, length of all headers, an EFI application, 16 directories.
    for (at, value) in [(0, 0x20bu32), (32, 0x200), (36, 0x200), (60, 0x400), (68, 10), (108, 16)] {
        put(0x58 + at, &value.to_le_bytes());
    }
    put(0x148, b".text");
    for (at, value) in [(8, 16u32), (12, 0x1000), (16, 0x200), (20, 0x400)] {
        put(0x148 + at, &value.to_le_bytes());
    }
    bytes
}

/// A file of the repository, whichever crate this is compiled into.
fn repository(path: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|directory| directory.join("tests/golden").is_dir()).unwrap_or(here).join(path)
}

/// Unpacking is deterministic, stays within its limits, and gives a tree whose paths lead nowhere else.
pub fn archive(bytes: &[u8]) {
    let file = scratch(bytes);
    let limits = archive::Limits { bytes: 1 << 20, members: 200 };
    let all = [Selection { members: "*".into(), to: "usr/".into() }];
    for kind in [archive::Kind::Tar, archive::Kind::TarGz] {
        let take = || {
            let spool = tempfile::tempdir().expect("a spool directory");
            let tree = archive::extract(file.path(), kind, &all, limits, spool.path(), "fuzzed");
            tree.map(|tree| tree.iter().map(|(path, _)| path.to_owned()).collect::<Vec<_>>()).ok()
        };
        let taken = take();
        assert_eq!(taken, take(), "unpacked twice");
        for path in taken.into_iter().flatten() {
            let plain = |part: &str| !matches!(part, "" | "." | "..");
            assert!(path.split('/').all(plain) && path.starts_with("usr"), "{path:?}");
        }
    }
}

/// A bundle is refused or read. Its members lie inside of the file, its index is written again as it was, and a member without a
/// flaw has the bytes that the index says.
pub fn bundle(bytes: &[u8]) {
    let file = scratch(bytes);
    let Ok(bundle) = Bundle::open(file.path(), &Demand::anything()) else { return };
    let index = bundle.index();
    assert_eq!(bundle.layout().length(), bytes.len() as u64, "the length follows from the index");
    assert_eq!(Index::parse("fuzzed", &index.to_bytes()).as_ref().ok(), Some(index), "read again");
    let flaws = bundle.verify().expect("all of it is there").flaws;
    for path in index.members.keys() {
        let extent = bundle.extent(path).expect("each member has a place");
        assert!(extent.start + extent.size <= bytes.len() as u64, "{path} is inside");
        assert!(!flaws.is_empty() || bundle.read(path, u64::MAX).is_ok(), "{path} is sound");
    }
    for tree in bundle.trees() {
        let _ = bundle.manifest(tree);
    }
}

/// A key file is refused or shown; a key that signs is never one that was revoked.
pub fn key(bytes: &[u8]) {
    let Ok(certificates) = Certificate::read_all("fuzzed.asc", bytes) else { return };
    for part in certificates.iter().flat_map(|certificate| &certificate.parts) {
        assert!(part.revoked.is_none() || part.refusal(SystemTime::now()).is_some(), "{part:?}");
    }
}

/// Ends the statement of a rotation in [`minisign`], before its signature.
const AFTER_STATEMENT: u8 = 0;

/// A key or signature of minisign's format is refused, or written again it says the same; and of a rotation that is read
/// every byte but the first line is what the old key signed.
pub fn minisign(bytes: &[u8]) {
    let lossy = String::from_utf8_lossy(bytes);
    if let Ok(key) = PublicKey::parse("fuzzed.pub", &lossy) {
        assert_eq!(PublicKey::parse("again.pub", &key.to_file()).expect("what was written can be read"), key);
    }
    // Unlocking is left out: it takes what minisign's own keys take, which is a second each.
    if let Ok(Secret::Open(key)) = SecretKey::parse("fuzzed.key", &lossy) {
        let file = key.to_file(None).expect("an open key is written");
        let Ok(Secret::Open(again)) = SecretKey::parse("again.key", &file) else { panic!("read again") };
        assert_eq!(again.public(), key.public());
    }
    if let Ok(signature) = Signature::parse_commented("fuzzed.minisig", bytes) {
        let written = signature.to_bytes();
        Signature::parse("again.minisig", &written).expect("what was written can be read");
        // minisign reads four lines, whatever they end with.
        let said = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let lines = bytes.split(|byte| *byte == b'\n').skip(1).take(3);
            lines.map(|line| line.split(|byte| *byte == b'\r').next().unwrap_or_default().to_vec()).collect()
        };
        assert_eq!(said(&written), said(bytes), "one signature has one spelling");
    }
    if let Ok(signature) = Signature::parse("fuzzed.minisig", bytes) {
        let written = signature.to_bytes();
        assert_eq!(below_first_line(&written), below_first_line(bytes), "one signature has one spelling");
    }
    let mut parts = bytes.splitn(2, |byte| *byte == AFTER_STATEMENT);
    if let (Some(statement), Some(signature)) = (parts.next(), parts.next())
        && let Ok(rotation) = Rotation::parse("fuzzed.json", statement, signature)
    {
        assert_eq!(rotation.statement(), statement);
        assert_eq!(below_first_line(&rotation.signature().to_bytes()), below_first_line(signature));
    }
}

fn below_first_line(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|byte| *byte == b'\n').map(|end| &bytes[end..])
}

/// A recipe is understood or what is wrong stands in it; and so is what a published tree says of itself.
pub fn recipe(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = Source::new("fuzzed.yaml", text);
    if let Err(Findings(findings)) = Recipe::parse(&source, "/nowhere".into(), outputs::read) {
        assert!(!findings.is_empty(), "refused without a word");
        findings.iter().for_each(|finding| stands_in(finding, &source));
    }
}

/// Whatever a description of a cluster says, findings stand in its text; whatever is in an encrypted one, no finding shows what
/// was sealed.
pub fn cluster(bytes: &[u8]) {
    use prebake::cluster::description::Cluster;
    use prebake::cluster::sops::{self, identities::Identities};
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = Source::new("fuzzed.yaml", text);
    match Cluster::parse(&source, "/nowhere".into()) {
        Ok((cluster, _)) => assert!(cluster.controllers().count() > 0, "a cluster without a controller"),
        Err(Findings(findings)) => {
            assert!(!findings.is_empty(), "refused without a word");
            findings.iter().for_each(|finding| stands_in(finding, &source));
        }
    }
    let Ok(root) = prebake::base::yaml::parse(&source) else { return };
    if !sops::is_encrypted(&root) {
        return;
    }
    let identities = Identities::parse(seeds::SOPS_IDENTITY, "keys.txt").unwrap();
    if let Err(finding) = sops::open(root, &source, &identities) {
        stands_in(&finding, &source);
        assert!(!finding.to_string().contains(seeds::SOPS_SECRET), "{finding}");
    }
}

/// Whatever a manifest says, what is moved is a manifest again that is moved no further, findings stand in its text, and inputs for
/// clusterctl are refused without showing a line.
pub fn moved(bytes: &[u8]) {
    use prebake::capi::convert::{Converted, convert};
    use prebake::capi::{doctor, inputs};
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let source = Source::new("fuzzed.yaml", text);
    if let Ok(root) = prebake::base::yaml::parse(&source)
        && let Err(Findings(findings)) = inputs::read(&root, &source)
    {
        assert!(
            findings
                .iter()
                .all(|finding| finding.place.as_ref().is_none_or(|place| place.source.text.is_empty()))
        );
    }
    let Ok(Converted { text, findings, .. }) = convert(&source) else { return };
    findings.iter().for_each(|finding| stands_in(finding, &source));
    let again = Source::new("again.yaml", text);
    let twice = convert(&again).unwrap_or_else(|findings| panic!("{findings}\n{}", again.text));
    assert_eq!(twice.text, again.text, "moved once more, it changes");
    let manifests = vec![doctor::manifest(&source).expect("it was moved")];
    doctor::examine(&doctor::Subject { manifests, ..doctor::Subject::default() });
}

/// Whatever a list of machines says, it is refused, or its lines make an inventory with as many nodes; and findings stand
/// in its text.
pub fn roster(bytes: &[u8]) {
    use roster::Format;
    let formats =
        [None, Some(Format::Csv), Some(Format::Dnsmasq), Some(Format::Matchbox), Some(Format::Netbox)];
    for format in formats {
        let wishes = Wishes { profile: Some("worker".into()), ..Wishes::default() };
        let mut rows = Rows::default();
        rows.take("fuzzed", bytes.to_vec(), format);
        rows.join(&wishes);
        let Ok((entries, _)) = roster::judge(rows, &wishes) else { continue };
        let lines: String = entries.iter().map(|entry| format!("  {entry}\n")).collect();
        let inventory = Source::new("nodes.yaml", format!("schema: 1\nnodes:\n{lines}"));
        let target = Target::parse(Path::new("nodes.yaml"), &inventory);
        let target = target.unwrap_or_else(|findings| panic!("{lines}{findings}"));
        let written = target.insert(entries).expect("they are all there");
        assert_eq!(written.text, inventory.text);
    }
}

/// A manifest is refused, or written again it reads the same; and it names nothing outside of its tree.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse("manifest.json", bytes) else { return };
    let written = manifest.to_bytes();
    let again = Manifest::parse("manifest.json", &written).expect("what was written can be read");
    assert_eq!(again.to_bytes(), written);
    for name in manifest.files.keys().chain(manifest.joined.keys()) {
        assert!(name.split('/').all(|part| !matches!(part, "" | "." | "..")), "{name:?}");
    }
}

/// Whatever a group or profile says, what is taken from it is plain: MAC addresses in one form, numbers that Go has. As the gRPC
/// API reads and writes it, it is the same again.
pub fn records(bytes: &[u8]) {
    let _ = Profile::read(bytes);
    if let Ok(profile) = read::profile(bytes) {
        assert_eq!(read::profile(&form::profile(&profile)).as_ref(), Ok(&profile));
    }
    if let Ok(group) = read::group(bytes) {
        let written = form::group(&read::rich(&group).expect("what was read can be written"));
        let again = read::group(&written).expect("what was written can be read");
        // Go leaves out an object without members.
        let is_bare = group.metadata == b"{}";
        let metadata = if is_bare { Vec::new() } else { group.metadata.clone() };
        assert_eq!(again, rpc::Group { metadata, ..group });
    }
    let of_metadata = rpc::Group { metadata: bytes.to_vec(), ..rpc::Group::default() };
    if let Ok(rich) = read::rich(&of_metadata) {
        let _ = read::group(&form::group(&rich)).expect("what was written can be read");
    }
    let Ok(group) = Group::read("g", bytes) else { return };
    for (key, value) in &group.selector {
        if key.eq_ignore_ascii_case("mac") {
            assert_eq!(normal_mac(value).as_ref(), Some(value));
        }
    }
    let mut rest: Vec<&serde_json::Value> = group.metadata.values().collect();
    while let Some(value) = rest.pop() {
        match value {
            serde_json::Value::Number(number) => assert!(number.as_f64().is_some_and(f64::is_finite)),
            serde_json::Value::Array(items) => rest.extend(items),
            serde_json::Value::Object(members) => rest.extend(members.values()),
            _ => {}
        }
    }
}

/// The head of a request is the same whatever follows it, or is refused with a status for it; and no range of it leaves a file.
pub fn request(bytes: &[u8]) {
    let limits = limits::Limits::default();
    let head = match head::parse(bytes, &limits) {
        Ok(Some(head)) => head,
        Ok(None) => return assert!(bytes.len() < limits.head, "it would be waited for without end"),
        Err(refusal) => return assert!((400..600).contains(&refusal.status), "{refusal:?}"),
    };
    let alone = head::parse(&bytes[..head.length], &limits).expect("as before").expect("whole");
    assert_eq!((&alone.parts.method, &alone.parts.uri), (&head.parts.method, &head.parts.uri));
    assert_eq!((alone.keep_alive, alone.has_body), (head.keep_alive, head.has_body));
    for header in head.parts.headers.get_all("range").iter().filter_map(|header| header.to_str().ok()) {
        for size in [1, 1000, u64::MAX] {
            if let Ranges::Parts(parts) = ranges::parse(header, size) {
                assert!(parts.iter().all(|part| part.start < part.end && part.end <= size), "{header}");
            }
        }
    }
}

/// The bytes as a file.
fn scratch(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a scratch file");
    file.write_all(bytes).expect("space for it");
    file
}

/// A TFTP request is refused or names a file that can only be looked up; what is granted keeps within the limits, and the
/// OACK is short enough not to amplify.
pub fn tftp(bytes: &[u8]) {
    let _ = tftp::packet::Reply::parse(bytes);
    let Ok(request) = tftp::packet::Request::parse(bytes) else { return };
    let padding = bytes.iter().rev().take_while(|byte| **byte == 0).count();
    assert!(bytes.len() - padding < tftp::packet::MAX_REQUEST);
    let plain = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', '\0']);
    for meaning in request.name.meanings() {
        assert!(meaning.split('/').all(plain), "{meaning:?}");
    }
    assert!(!request.name.shown().chars().any(char::is_control), "{:?}", request.name);
    let size = bytes.len() as u64 * 1_000;
    let Ok(negotiated) = tftp::options::negotiate(&request.options, size) else { return };
    let grant = negotiated.grant;
    assert!((8..=1468).contains(&grant.block) && (1..=64).contains(&grant.window), "{grant:?}");
    assert!(tftp::packet::oack(&negotiated.told).len() <= bytes.len() + 20);
    let now = std::time::Instant::now();
    let mut transfer = tftp::transfer::Transfer::new(size, grant, !negotiated.told.is_empty(), now);
    // The rest of the bytes answer it.
    let mut step = transfer.send(now);
    for pair in bytes.chunks_exact(2) {
        if let tftp::transfer::Step::Blocks(blocks) = &step {
            assert!(blocks.end - blocks.start <= u64::from(grant.window));
            assert!(blocks.clone().all(|block| transfer.bytes(block).end <= size));
        }
        step = transfer.acknowledged(u16::from_be_bytes([pair[0], pair[1]]), now);
    }
}

/// Whatever comes by DHCP, the server goes on, and what it answers is a reply to that client and goes nowhere strange.
pub fn dhcp(bytes: &[u8]) {
    use dhcp::responder::{Port, Responder};
    let sources = dhcp::boot::Sources {
        address: [10, 0, 0, 1].into(),
        base_url: "http://10.0.0.1:8080".into(),
        loaders: ["undionly.kpxe", "ipxe.efi"].into(),
        tftp: true,
    };
    let network = prebake::machine::dhcp::Dhcp {
        base_url: "http://10.0.0.1:8080".parse().expect("a URL"),
        subnet: "10.0.0.0/24".parse().expect("a network"),
        interface: None,
        range: "10.0.0.100-10.0.0.103".parse().ok(),
        gateway: None,
        dns: Vec::new(),
        domain: None,
        lease: std::time::Duration::from_secs(600),
    };
    let leases = dhcp::leases::Leases::new(network, [10, 0, 0, 1].into());
    for leases in [None, Some(leases)] {
        let mut responder = Responder::new(sources.clone(), leases, Near::default());
        for port in [Port::Server, Port::Pxe] {
            let from = "10.0.0.9:68".parse().expect("an address");
            let Ok(answer) = responder.answer(bytes, from, port, std::time::Instant::now()) else {
                continue;
            };
            assert!((300..=1472).contains(&answer.bytes.len()), "{} bytes", answer.bytes.len());
            assert_eq!(
                (answer.bytes[0], &answer.bytes[4..8]),
                (2, &bytes[4..8]),
                "a reply, and to this request"
            );
            assert_eq!(answer.bytes[28..34], bytes[28..34], "and to this client");
            let to = *answer.to.ip();
            assert!(to.is_broadcast() || Near::default().is(to.into()), "{to}");
        }
    }
}

fn count(directory: &Path) -> usize {
    let items = fs::read_dir(directory).into_iter().flatten().flatten();
    items
        .map(|item| {
            1 + if item.file_type().is_ok_and(|kind| kind.is_dir()) { count(&item.path()) } else { 0 }
        })
        .sum()
}

/// The JSON, or what was found. Whatever was found stands in the text that was handed in.
fn outcome(checked: Result<Checked, Findings>, source: &Arc<Source>) -> Result<String, Vec<String>> {
    let (json, findings) = match checked {
        Ok(Checked { config, warnings }) => (Some(config.to_json()), warnings),
        Err(Findings(findings)) => (None, findings),
    };
    findings.iter().for_each(|finding| stands_in(finding, source));
    json.ok_or_else(|| findings.iter().map(ToString::to_string).collect())
}

fn stands_in(finding: &Finding, source: &Arc<Source>) {
    assert!(!finding.message.is_empty(), "{finding:?}");
    if let Some(place) = &finding.place {
        assert_eq!(place.source.name, source.name, "{finding}");
        let lines = source.text.lines().count() + 1;
        assert!((1..=lines).contains(&place.line) && place.column > 0, "{}:{}", place.line, place.column);
    }
}

/// A text gives the same secrets whatever pieces it comes in, and each lies in one of its lines.
pub fn secrets(bytes: &[u8]) {
    let Some((length, text)) = bytes.split_first() else { return };
    let whole = scan("/x", text).unwrap();
    assert_eq!(scan("/x", Pieces { text, length: usize::from(*length).max(1) }).unwrap(), whole);
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let packed = text.starts_with(&[0x1f, 0x8b]);
    assert!(packed || whole.iter().all(|hit| (1..=lines.len()).contains(&hit.line) && hit.column > 0));
}

/// Hands out a text in pieces of a length.
struct Pieces<'t> {
    text: &'t [u8],
    length: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.length.min(buffer.len());
        self.text.read(&mut buffer[..length])
    }
}
