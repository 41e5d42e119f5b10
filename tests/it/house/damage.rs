//! Files of people and of strangers, damaged at random: whatever happens to them, what `judges/properties` asks for
//! holds. The randomness is the same in every run, so that a failure comes back; the fuzz targets dig deeper.

use std::fs;
use std::ops::Range;
use std::path::Path;

use prebake::trust::minisign::{PublicKey, Secret, SecretKey};
use prebake::trust::rotation::Rotation;

use crate::format::archives::Tar;
use crate::judges::properties;
use crate::sysext::packaging;
use crate::world::repository;

/// Knuth's MMIX generator.
pub struct Random(pub u64);

impl Random {
    /// A number of 31 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// A number below another.
    pub fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }

    /// Bytes that no packer shortens.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// The bytes with some of them changed, most often within the places that decide, and sometimes cut off.
    pub fn damage(&mut self, sound: &[u8], places: &[Range<usize>]) -> Vec<u8> {
        let mut bytes = sound.to_owned();
        let whole = 0..bytes.len();
        for _ in 0..=self.below(4) {
            let place = places.get(self.below(places.len() + 1)).unwrap_or(&whole);
            let at = (place.start + self.below(place.len())).min(bytes.len() - 1);
            bytes[at] = match self.below(4) {
                0 => 0,
                1 => 0xff,
                2 => bytes[at] ^ 1 << self.below(8),
                _ => self.below(256) as u8,
            };
        }
        if self.below(7) == 0 {
            bytes.truncate(self.below(bytes.len()));
        }
        bytes
    }
}

/// Holds for the sound bytes, and for so many that were damaged.
pub fn harmless(sound: &[u8], places: &[Range<usize>], rounds: usize, holds: fn(&[u8])) {
    let mut random = Random(7);
    holds(sound);
    for _ in 0..rounds {
        holds(&random.damage(sound, places));
    }
}

#[test]
fn damaged_erofs_images_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut sound = fs::read(packaging::small_erofs(dir.path())).unwrap();
    // The superblock's checksum is switched off: what it protects shall be doubted too.
    sound[1032] = 0;
    let tables = 1024..4096;
    harmless(&sound, &[tables], 3000, properties::erofs);
}

#[test]
fn damaged_disk_images_do_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let sound = fs::read(packaging::signed(dir.path()).0).unwrap();
    let (header, entries) = (512..604, 1024..1408);
    harmless(&sound, &[header, entries], 1000, properties::disk);
}

#[test]
fn damaged_archives_do_no_harm() {
    let tar = || Tar::default().file("a/b", "text").link("a/l", "b").file("a/c", &"c".repeat(3000));
    harmless(&tar().bytes(), &[0..512, 1024..1536], 1000, properties::archive);
    harmless(&tar().gzipped(), &[], 500, properties::archive);
}

#[test]
fn damaged_keys_do_no_harm() {
    for name in ["two-keys.gpg", "two-keys.asc"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openpgp").join(name);
        harmless(&fs::read(path).unwrap(), &[], 300, properties::key);
    }
}

#[test]
fn damaged_keys_and_signatures_of_minisign_do_no_harm() {
    let read = |name: &str| fs::read(repository("tests/data/minisign").join(name)).unwrap();
    let text = |name: &str| String::from_utf8(read(name)).unwrap();
    let Ok(Secret::Open(key)) = SecretKey::parse("open.key", &text("open.key")) else { panic!("open.key") };
    let rotation = Rotation::sign(&key, &PublicKey::parse("next.pub", &text("next.pub")).unwrap()).unwrap();
    let rotated = [&rotation.statement()[..], b"\0", &rotation.signature().to_bytes()].concat();
    let files =
        [read("open.pub"), read("open.key"), read("message.minisig"), read("legacy.minisig"), rotated];
    files.iter().for_each(|file| harmless(file, &[], 500, properties::minisign));
}

#[test]
fn damaged_recipes_and_manifests_do_no_harm() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for recipe in fs::read_dir(root.join("recipes")).unwrap().map(|item| item.unwrap().path()) {
        if recipe.extension().is_some_and(|end| end == "yaml") {
            harmless(&fs::read(recipe).unwrap(), &[], 500, properties::recipe);
        }
    }
    let manifest = fs::read(root.join("tests/golden/small.manifest.json")).unwrap();
    harmless(&manifest, &[], 2000, properties::manifest);
}

#[test]
fn damaged_packets_of_firmware_do_no_harm() {
    let captures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dhcp");
    for capture in fs::read_dir(captures).unwrap().map(|item| item.unwrap().path()) {
        if capture.extension().is_some_and(|end| end == "bin") {
            // What decides: operation, type and length of the address, and the options.
            harmless(&fs::read(capture).unwrap(), &[0..4, 24..28, 236..340], 3000, properties::dhcp);
        }
    }
    let request = b"\0\x01ipxe.efi\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0timeout\x002\0";
    harmless(request, &[], 20_000, properties::tftp);
}

#[test]
fn damaged_requests_do_no_harm() {
    let sound = b"GET http://boot.example/assets/a?mac=52-54-00-00-00-01 HTTP/1.1\r\nHost: x\r\nRange: bytes=0-1,5-,-7\r\nContent-Length: 12\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nand a body!!";
    let (line, headers) = (0..70, 70..160);
    harmless(sound, &[line, headers], 20_000, properties::request);
}

#[test]
fn damaged_groups_and_profiles_of_matchbox_do_no_harm() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/matchbox/data");
    for path in ["groups/meta-types.json", "groups/mac-dot.json", "profiles/multi-initrd.json"] {
        let sound = fs::read(data.join(path)).unwrap();
        harmless(&sound, &[], 3000, properties::records);
    }
}

#[test]
fn any_text_is_looked_through_for_secrets() {
    let digits = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digits.repeat(3));
    let text = format!(
        "\x05-----BEGIN PRIVATE KEY-----\n{digits}\ntoken: abcdef.0123456789abcdef\nkind: Config\nx: http://a:bcd@h/ {encoded}\n"
    );
    let head = 0..28;
    harmless(text.as_bytes(), &[head], 3000, properties::secrets);
}
