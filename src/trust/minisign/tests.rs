use super::secret::Limits;
use super::*;
use crate::trust::minisign::{self, public, secret, signature};

/// scrypt's cost in these tests: 1 MiB.
const CHEAP: Limits = Limits { operations: 1 << 15, memory: 1 << 20 };

const MESSAGE: &[u8] = b"hello\n";
// Made by minisign 0.11 over the message: `-G -W`, `-S`, `-S -l`.
const PUBLIC: &str = "untrusted comment: minisign public key 387941DE67D3058B
RWSLBdNn3kF5OD4/jf7MM5yNZrfIhUWt5P2tFY835AEh83yPvIoypfRJ
";
const SECRET: &str = "untrusted comment: minisign encrypted secret key
RWQAAEIyAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAiwXTZ95BeThOgvJACjhv3j4XozWH+HbtUEh9UAk8rgLjrA+3j7FnZD4/jf7MM5yNZrfIhUWt5P2tFY835AEh83yPvIoypfRJAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
";
const SIGNED: &str = "untrusted comment: signature from minisign secret key
RUSLBdNn3kF5OMalF+VkahXr9MjUyUOPx2pq9CTkyLAJYHZV8wQJA/Ls19zWQoHmyd2ymKw+ThcQebZl7V02zsw/2BW3F/XQmg4=
trusted comment: timestamp:1795284329\tfile:m\thashed
Z5FsP4W9pnmAMYCzTYU5lypp9cnWicFwb8KcSAaEiw25WyXgxPPoUxRUkJlQEa9/5ukK67PneblO6SZLtaxvBw==
";
const LEGACY: &str = "untrusted comment: signature from minisign secret key
RWSLBdNn3kF5OOiU6rj6/+oUAdNmZ48pfMckpHWsvsRIt+pQDgyCd6pcHwOEGbc5W+uOxgpzxi/d9FoDlqVnfIiH6l9GkNj4JwA=
trusted comment: timestamp:1795284349\tfile:m
2ogR8eYLIFBwEPtB/7fXceQqSUVBkB+HCLWXXAyuK6ERvi69yEFBtmsQgoEGyOYe66ZnwG6cMBkHr1+E3uXrCQ==
";

fn open(text: &str) -> SecretKey {
    match secret::SecretKey::parse("a.key", text).unwrap() {
        secret::Secret::Open(key) => key,
        secret::Secret::Locked(_) => panic!("it is locked"),
    }
}

fn locked(text: &str) -> Locked {
    match secret::SecretKey::parse("a.key", text).unwrap() {
        secret::Secret::Locked(key) => key,
        secret::Secret::Open(_) => panic!("it is open"),
    }
}

/// A key file with the bytes of its second line changed.
fn with_bytes(file: &str, change: impl Fn(&mut Vec<u8>)) -> String {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let (comment, line) = file.trim_end().split_once('\n').unwrap();
    let mut bytes = engine.decode(line).unwrap();
    change(&mut bytes);
    format!("{comment}\n{}\n", engine.encode(bytes))
}

#[test]
fn what_minisign_made_is_read_and_believed() {
    let key = public::PublicKey::parse("minisign.pub", PUBLIC).unwrap();
    assert_eq!(key.id().to_string(), "387941DE67D3058B");
    assert_eq!(key.to_file(), PUBLIC);
    assert_eq!(public::PublicKey::parse("-P", PUBLIC.lines().nth(1).unwrap()).unwrap(), key);
    assert_eq!(open(SECRET).public(), key);
    for (text, is_legacy) in [(SIGNED, false), (LEGACY, true)] {
        let signature = signature::Signature::parse("m.minisig", text.as_bytes()).unwrap();
        assert_eq!(signature.is_legacy(), is_legacy);
        signature.verify(&key, MESSAGE).unwrap();
        assert!(matches!(signature.verify(&key, b"hellO\n"), Err(minisign::Error::Mismatch { .. })));
    }
}

#[test]
fn the_same_key_and_comment_sign_as_minisign_does() {
    let key = open(SECRET);
    let signature = key.sign(MESSAGE, &trusted_comment(1795284329, "m"));
    let text = String::from_utf8(signature.to_bytes()).unwrap();
    let ours = SIGNED.replace("signature from minisign secret key", "signature by 387941DE67D3058B");
    assert_eq!(text, ours);
    let prehash = minisign::Prehash::of_reader(MESSAGE).unwrap();
    assert_eq!(key.sign_prehash(&prehash, signature.trusted_comment()).to_bytes(), ours.as_bytes());
    signature.verify_prehash(&key.public(), &prehash).unwrap();
}

#[test]
fn a_legacy_signature_cannot_be_judged_by_a_digest() {
    let key = public::PublicKey::parse("minisign.pub", PUBLIC).unwrap();
    let legacy = signature::Signature::parse("m.minisig", LEGACY.as_bytes()).unwrap();
    let error = legacy.verify_prehash(&key, &minisign::Prehash::of(MESSAGE)).unwrap_err();
    assert!(matches!(error, minisign::Error::Legacy { .. }), "{error}");
    assert_eq!(signature::Signature::parse("m", &legacy.to_bytes()).unwrap().to_bytes(), legacy.to_bytes());
}

#[test]
fn each_flipped_bit_of_a_signature_is_refused() {
    let key = open(SECRET);
    for bytes in [key.sign(MESSAGE, "file:ü\t1").to_bytes(), SIGNED.into(), LEGACY.into()] {
        for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let verdict = signature::Signature::parse("m.minisig", &flipped)
                .and_then(|s| s.verify(&key.public(), MESSAGE));
            assert!(verdict.is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_signature_that_is_cut_short_or_goes_on_is_refused() {
    for end in 0..SIGNED.len() {
        assert!(signature::Signature::parse("m.minisig", &SIGNED.as_bytes()[..end]).is_err(), "{end} bytes");
        // Files from elsewhere may lack the last line end, which minisign does not require.
        let is_whole = end == SIGNED.len() - 1;
        let commented = signature::Signature::parse_commented("m.minisig", &SIGNED.as_bytes()[..end]);
        assert_eq!(commented.is_ok(), is_whole, "{end} bytes");
    }
    for more in ["\n", "x", "untrusted comment: again\n"] {
        let longer = format!("{SIGNED}{more}");
        assert!(signature::Signature::parse("m.minisig", longer.as_bytes()).is_err(), "{more:?}");
    }
    let again = format!("{SIGNED}untrusted comment: again\n");
    assert!(signature::Signature::parse_all_commented("m.minisig", again.as_bytes()).is_err());
    let crlf = SIGNED.replace('\n', "\r\n");
    assert!(signature::Signature::parse("m.minisig", crlf.as_bytes()).is_err());
    let bomb = SIGNED.replace("timestamp", &"t".repeat(MAX_BYTES));
    let error = signature::Signature::parse_commented("m.minisig", bomb.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
}

#[test]
fn signatures_that_stand_one_after_the_other_are_read_whole() {
    let two = [SIGNED, LEGACY].concat();
    let read = signature::Signature::parse_all("m.minisig", two.as_bytes()).unwrap();
    assert_eq!(read.iter().map(signature::Signature::is_legacy).collect::<Vec<_>>(), [false, true]);
    assert!(signature::Signature::parse_all("m.minisig", b"").unwrap().is_empty());
    for bad in [format!("{two}\n"), format!("\n{two}"), two[..two.len() - 1].into(), two.replace("=\n", "=")]
    {
        assert!(signature::Signature::parse_all("m.minisig", bad.as_bytes()).is_err(), "{bad:?}");
    }
    for bad in [format!("\n{two}"), two.replace("=\n", "="), format!("{two}untrusted comment: x\n")] {
        assert!(signature::Signature::parse_all_commented("m.minisig", bad.as_bytes()).is_err(), "{bad:?}");
    }
    // Variants that editors, or git on Windows, leave behind.
    for kept in [
        format!("{two}\n\n"),
        two.replace('\n', "\r\n"),
        format!("{SIGNED}\r\n{LEGACY}"),
        format!("{two}end"),
    ] {
        assert_eq!(
            signature::Signature::parse_all_commented("m.minisig", kept.as_bytes()).unwrap().len(),
            2,
            "{kept:?}"
        );
    }
}

#[test]
fn any_first_line_will_do_only_where_people_made_the_signature() {
    let named = SIGNED.replace("signature from minisign secret key", "by Ada, of Operations");
    let error = signature::Signature::parse("m.minisig", named.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("first line"), "{error}");
    let signature = signature::Signature::parse_commented("m.minisig", named.as_bytes()).unwrap();
    assert!(!String::from_utf8(signature.to_bytes()).unwrap().contains("Ada"));
}

#[test]
fn a_comment_cannot_end_its_line_or_move_a_cursor() {
    let key = open(SECRET);
    let signature = key.sign(MESSAGE, "file:a\n\u{1b}[2Jb\tc");
    assert_eq!(signature.trusted_comment(), "file:a\\n\\u{1b}[2Jb\tc");
    signature::Signature::parse("m.minisig", &signature.to_bytes())
        .unwrap()
        .verify(&key.public(), MESSAGE)
        .unwrap();
    let escape = SIGNED.replace("file:m", "file:\u{1b}[2J");
    let error = signature::Signature::parse("m.minisig", escape.as_bytes()).unwrap_err();
    assert!(error.to_string().contains("control characters"), "{error}");
}

#[test]
fn another_key_is_named_with_the_one_that_was_expected() {
    let (key, other) = (open(SECRET), secret::SecretKey::generate().unwrap().public());
    let error = key.sign(MESSAGE, "").verify(&other, MESSAGE).unwrap_err().to_string();
    assert!(error.contains("387941DE67D3058B") && error.contains(&other.id().to_string()), "{error}");
}

#[test]
fn a_sealed_key_is_opened_by_its_passphrase_alone() {
    let key = secret::SecretKey::generate().unwrap();
    let file = key.sealed(Some(("correct horse", CHEAP))).unwrap();
    let locked = locked(&file);
    assert_eq!(locked.memory(), 1 << 20);
    assert_eq!(locked.unlock("correct horse").unwrap().public(), key.public());
    for wrong in ["", "correct hors", "correct horse "] {
        assert!(matches!(locked.unlock(wrong), Err(minisign::Error::Passphrase { .. })), "{wrong:?}");
    }
    assert_ne!(*file, *key.sealed(Some(("correct horse", CHEAP))).unwrap(), "each sealing has its own salt");
}

#[test]
fn an_open_key_is_written_and_read_again_with_its_checksum() {
    let key = secret::SecretKey::generate().unwrap();
    let file = key.to_file(None).unwrap();
    assert_eq!(open(&file).public(), key.public());
    // None of the key's own signatures contains the id alone, so only the checksum guards it.
    let changed = with_bytes(&file, |bytes| bytes[54] ^= 1);
    let error = secret::SecretKey::parse("a.key", &changed).unwrap_err();
    assert!(matches!(error, minisign::Error::Damaged { what: "checksum does not match", .. }), "{error}");
}

#[test]
fn a_key_whose_halves_do_not_belong_together_is_refused() {
    let changed = with_bytes(SECRET, |bytes| bytes[62] ^= 1);
    let error = secret::SecretKey::parse("a.key", &changed).unwrap_err();
    assert!(error.to_string().contains("public half"), "{error}");
}

#[test]
fn a_key_that_asks_for_more_memory_than_minisign_is_a_bomb() {
    let file = secret::SecretKey::generate().unwrap().sealed(Some(("p", CHEAP))).unwrap();
    for (at, value) in [(46, (1u64 << 30) + 1), (38, (1 << 25) + 1), (46, u64::MAX)] {
        let changed = with_bytes(&file, |bytes| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes()));
        let error = secret::SecretKey::parse("a.key", &changed).unwrap_err();
        assert!(matches!(error, minisign::Error::Bomb { .. }), "{error}");
    }
}

#[test]
fn a_truncated_key_is_refused() {
    for (end, text) in [(PUBLIC.len(), PUBLIC), (SECRET.len(), SECRET)] {
        for end in 0..end - 1 {
            assert!(public::PublicKey::parse("a.pub", &text[..end]).is_err(), "{end} characters");
            assert!(secret::SecretKey::parse("a.key", &text[..end]).is_err(), "{end} characters");
        }
    }
}

#[test]
fn a_key_of_another_algorithm_is_named_so() {
    let other = with_bytes(PUBLIC, |bytes| bytes[..2].copy_from_slice(b"RS"));
    let error = public::PublicKey::parse("a.pub", &other).unwrap_err();
    assert!(matches!(error, minisign::Error::Algorithm { found: [b'R', b'S'], .. }), "{error}");
    for (at, what) in [(0, "another algorithm"), (2, "another function than scrypt"), (4, "BLAKE2b")] {
        let other = with_bytes(SECRET, |bytes| bytes[at] ^= 0x20);
        let error = secret::SecretKey::parse("a.key", &other).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn a_key_for_which_anybody_can_sign_is_refused() {
    // The neutral point, for which R = S·B is a signature of every message; and a value that is no point at all.
    let neutral = with_bytes(PUBLIC, |bytes| {
        bytes[10..].fill(0);
        bytes[10] = 1;
    });
    let nowhere = with_bytes(PUBLIC, |bytes| {
        bytes[10..].fill(0);
        bytes[10] = 2;
    });
    for text in [neutral, nowhere] {
        assert!(
            matches!(public::PublicKey::parse("a.pub", &text), Err(minisign::Error::WeakKey { .. })),
            "{text}"
        );
    }
}

#[test]
fn the_kinds_of_files_are_not_mistaken_for_each_other() {
    assert!(public::PublicKey::parse("x", SECRET).is_err() && public::PublicKey::parse("x", SIGNED).is_err());
    assert!(secret::SecretKey::parse("x", PUBLIC).is_err() && secret::SecretKey::parse("x", SIGNED).is_err());
    assert!(signature::Signature::parse("x", PUBLIC.as_bytes()).is_err());
}

#[test]
fn minisigns_limits_are_a_gibibyte_in_one_lane() {
    let limits = |operations, memory| Limits { operations, memory };
    // libsodium's SENSITIVE and INTERACTIVE limits, and limits that it clamps.
    for (limits, expected) in [
        (Limits::SENSITIVE, (20, 1)),
        (limits(1 << 19, 1 << 24), (14, 1)),
        (limits(1 << 15, 1 << 30), (10, 1)),
        (limits(0, 1 << 30), (10, 1)),
    ] {
        assert_eq!(limits.parameters(), expected, "{limits:?}");
    }
}

#[test]
fn nothing_secret_is_shown() {
    let key = secret::SecretKey::generate().unwrap();
    let shown = format!("{key:?} {:?}", locked(&key.sealed(Some(("p", CHEAP))).unwrap()));
    assert_eq!(shown, format!("SecretKey({}) Locked(a.key)", key.public().id()));
}

/// The findings B39 and B40 of 2026-11-28 (jedisct1/zig-minisign#11, aead/minisign#7 and #8, KenAKAFrosty/Prns#81).
#[test]
fn what_is_taken_for_a_minisign_file_is_called_by_its_name() {
    let signify = SIGNED.lines().take(2).collect::<Vec<_>>().join("\n").replace("RUS", "RWS") + "\n";
    let utf16: Vec<u8> = SIGNED.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let utf16 = [b"\xff\xfe".to_vec(), utf16].concat();
    for (file, told, way) in [
        (
            format!("\u{feff}{SIGNED}").into_bytes(),
            "begins with a byte order mark",
            "without a byte order mark",
        ),
        (utf16.clone(), "it is UTF-16", "save it as UTF-8"),
        (signify.into_bytes(), "signify", "signify's public keys are accepted"),
        (PUBLIC.into(), "it is a public key", ".minisig"),
        (SECRET.into(), "it is a secret key", ".pub"),
        (b"-----BEGIN PGP SIGNATURE-----\n\nx\n".to_vec(), "it is an OpenPGP signature", "gpg"),
        (b"\x89\x02\x33\x04\x00".to_vec(), "it is an OpenPGP signature", "gpg"),
        (b"-----BEGIN SSH SIGNATURE-----\n".to_vec(), "it is an SSH signature", "minisign"),
    ] {
        let error = signature::Signature::parse_commented("x", &file).unwrap_err();
        let (text, hint) = (error.to_string(), crate::base::error::Advice::hint(&error).unwrap());
        assert!(text.contains(told) && hint.contains(way), "{text}; {hint}");
    }
    for (file, told, way) in [
        (SECRET, "it is a secret key", ".pub"),
        (SIGNED, "it is a signature", "public key"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nx\n", "it is an OpenPGP key", "prebake key generate"),
        ("ssh-ed25519 AAAA me\n", "it is an SSH key", "prebake key generate"),
        (
            "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n",
            "it is a PEM file",
            "prebake key generate",
        ),
    ] {
        let error = public::PublicKey::parse("x", file).unwrap_err();
        let (text, hint) = (error.to_string(), crate::base::error::Advice::hint(&error).unwrap());
        assert!(text.contains(told) && hint.contains(way), "{text}; {hint}");
    }
    assert!(secret::SecretKey::parse("x", PUBLIC).unwrap_err().to_string().contains("it is a public key"));
    assert!(secret::SecretKey::parse("x", SIGNED).unwrap_err().to_string().contains("it is a signature"));
    // The mark and line ends that an editor on Windows adds to a key change nothing in it.
    let marked = format!("\u{feff}{}\r\n", PUBLIC.replace('\n', "\r\n"));
    assert_eq!(
        public::PublicKey::parse("x", &marked).unwrap(),
        public::PublicKey::parse("x", PUBLIC).unwrap()
    );
    assert_eq!(open(&format!("\u{feff}{}", SECRET.replace('\n', "\r\n"))).public(), open(SECRET).public());
}
