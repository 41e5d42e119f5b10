//! The policy against real gpg's signatures and keys (`tests/data/openpgp/README.md`).

use std::time::SystemTime;

use super::armor::Form;
use super::*;
use crate::trust::openpgp::key::Certificate;
use crate::trust::openpgp::{self, armor, known};

const LAB: &str = "tests/lab/keys/lab.asc";

fn read(path: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

const FOREIGN: &str = "tests/lab/keys/foreign.asc";

fn fixture(name: &str) -> Vec<u8> {
    read(&format!("tests/data/openpgp/{name}"))
}

/// The primary fingerprint of a key file's last key.
fn primary(path: &str) -> Fingerprint {
    Certificate::read_all(path, &read(path)).unwrap().last().unwrap().parts[0].fingerprint
}

fn key(path: &str, pin: Fingerprint) -> TrustedKey {
    TrustedKey::parse(path, &read(path), pin).unwrap()
}

fn verdict_by(key: &TrustedKey, signature: &str, data: &[u8]) -> Result<Signed, Error> {
    let mut verifier = key.expect(signature, &fixture(signature), SystemTime::now())?;
    data.chunks(7).for_each(|chunk| verifier.update(chunk));
    verifier.finish()
}

fn verdict(signature: &str, data: &[u8]) -> Result<Signed, Error> {
    verdict_by(&key(LAB, primary(LAB)), signature, data)
}

/// The reason for which a signature is refused under the last primary of a fixture key file.
fn refusal_under(key_file: &str, signature: &str) -> Refusal {
    let path = format!("tests/data/openpgp/{key_file}");
    match verdict_by(&key(&path, primary(&path)), signature, &fixture("data.txt")) {
        Err(openpgp::Error::Refused { refusal, .. }) => refusal,
        other => panic!("{key_file}, {signature}: {other:?}"),
    }
}

fn refusal(signature: &str) -> Refusal {
    match verdict(signature, &read("tests/data/openpgp/data.txt")) {
        Err(openpgp::Error::Refused { refusal, .. }) => refusal,
        other => panic!("{signature}: {other:?}"),
    }
}

/// attacks.md, C-M13: a signature file with the right signature 1,850 times cost an hour of hashing.
#[test]
fn a_file_of_many_signatures_is_refused_before_anything_is_hashed() {
    let (key, one) = (key(LAB, primary(LAB)), fixture("good.sig"));
    assert!(key.expect("a.sig", &one.repeat(MAX_SIGNATURES), SystemTime::now()).is_ok());
    let refused = key.expect("a.sig", &one.repeat(MAX_SIGNATURES + 1), SystemTime::now()).err().unwrap();
    assert!(refused.to_string().contains("more than 16 signatures"), "{refused}");
}

#[test]
fn a_good_signature_names_its_signer_and_yields_the_sha512_of_the_file() {
    let data = read("tests/data/openpgp/data.txt");
    for good in ["good.sig", "good-armored.asc", "foreign-then-good.sig", "good-then-refused.sig"] {
        let signed = verdict(good, &data).unwrap();
        let expected: [u8; 64] = <sha2::Sha512 as sha2::Digest>::digest(&data).into();
        assert_eq!(signed.sha512, Some(expected.into()), "{good}");
    }
}

#[test]
fn a_subkey_that_expired_after_it_signed_is_believed() {
    assert!(verdict("by-expired-subkey.sig", &read("tests/data/openpgp/data.txt")).is_ok());
}

#[test]
fn every_signer_that_must_not_be_believed_is_refused_with_the_reason() {
    assert_eq!(refusal("by-subkey-after-its-expiry.sig"), openpgp::Refusal::Expired);
    assert_eq!(refusal("by-revoked-subkey.sig"), openpgp::Refusal::Revoked);
    assert_eq!(refusal("sha1.sig"), openpgp::Refusal::WeakHash);
    assert_eq!(refusal("text-mode.sig"), openpgp::Refusal::WrongType);
    assert_eq!(refusal("before-its-subkey.sig"), openpgp::Refusal::NotYetValid);
    assert_eq!(refusal("from-the-future.sig"), openpgp::Refusal::FromTheFuture);
    assert_eq!(refusal("all-refused.sig"), openpgp::Refusal::WrongType);
}

#[test]
fn a_foreign_key_a_torn_file_and_changed_bytes_are_three_different_errors() {
    let data = read("tests/data/openpgp/data.txt");
    assert!(matches!(verdict("by-foreign.sig", &data), Err(openpgp::Error::Foreign { .. })));
    assert!(matches!(verdict("truncated.sig", &data), Err(openpgp::Error::Malformed { .. })));
    assert!(matches!(verdict("good.sig", b"other bytes"), Err(openpgp::Error::Mismatch { .. })));
}

#[test]
fn a_key_file_without_the_pinned_primary_is_refused() {
    let error = TrustedKey::parse(LAB, &read(LAB), FLATCAR_PRIMARY).unwrap_err();
    assert!(matches!(error, openpgp::Error::WrongPrimary { .. }), "{error}");
    assert!(matches!(
        TrustedKey::parse("page", b"<html>not found</html>", FLATCAR_PRIMARY),
        Err(openpgp::Error::KeyFile { .. })
    ));
}

#[test]
fn fingerprints_are_read_with_blanks_and_never_as_short_ids() {
    let spelled = "F88C FEDE FF29 A5B4 D952 3864 E25D 9AED 0593 B34A";
    assert_eq!(spelled.parse(), Ok(FLATCAR_PRIMARY));
    assert_eq!(FLATCAR_PRIMARY.to_string(), spelled.replace(' ', ""));
    assert!("0593B34A".parse::<Fingerprint>().is_err());
}

#[test]
fn a_subkey_that_may_not_sign_any_more_is_refused() {
    assert_eq!(refusal_under("wrong-usage.asc", "by-wrong-usage.sig"), openpgp::Refusal::WrongUsage);
}

#[test]
fn a_subkey_falls_with_its_primary() {
    assert_eq!(
        refusal_under("expired-primary.asc", "by-expired-primary.sig"),
        openpgp::Refusal::PrimaryInvalid
    );
    assert_eq!(
        refusal_under("revoked-primary.asc", "by-revoked-primary.sig"),
        openpgp::Refusal::PrimaryInvalid
    );
}

#[test]
fn a_subkey_that_another_primary_bound_is_not_adopted() {
    assert_eq!(primary("tests/data/openpgp/adopted-subkey.asc"), primary(FOREIGN));
    assert_eq!(refusal_under("adopted-subkey.asc", "good.sig"), openpgp::Refusal::Unbound);
}

#[test]
fn a_file_with_several_keys_trusts_the_pinned_one_only() {
    let data = fixture("data.txt");
    let text = [b"Comment: two keys\n\n".to_vec(), read(FOREIGN), b"\n".to_vec(), read(LAB)].concat();
    for (name, bytes) in [
        ("armored", fixture("two-keys.asc")),
        ("binary", fixture("two-keys.gpg")),
        ("two armored blocks after text", text),
    ] {
        let lab = TrustedKey::parse(name, &bytes, primary(LAB)).unwrap();
        assert!(verdict_by(&lab, "good.sig", &data).is_ok(), "{name}");
        assert!(
            matches!(verdict_by(&lab, "by-foreign.sig", &data), Err(openpgp::Error::Foreign { .. })),
            "{name}"
        );
        let foreign = TrustedKey::parse(name, &bytes, primary(FOREIGN)).unwrap();
        assert!(
            matches!(verdict_by(&foreign, "good.sig", &data), Err(openpgp::Error::Foreign { .. })),
            "{name}"
        );
        assert_eq!(Certificate::read_all(name, &bytes).unwrap().len(), 2, "{name}");
    }
}

#[test]
fn an_older_copy_of_a_key_file_cannot_take_a_subkey_or_a_revocation_back() {
    let new = key(LAB, primary(LAB));
    assert!(new.must_follow(&new, LAB).is_ok());
    let adopted = "tests/data/openpgp/adopted-subkey.asc";
    let (more, less) = (key(adopted, primary(FOREIGN)), key(FOREIGN, primary(FOREIGN)));
    assert!(more.must_follow(&less, adopted).is_ok());
    assert!(
        matches!(less.must_follow(&more, FOREIGN), Err(openpgp::Error::RolledBack { lost, .. }) if lost.len() == 1)
    );
}

/// The real key may not be distributed with prebake; CI's machine and developers name their own copy.
#[test]
fn flatcars_own_key_file_is_accepted_with_its_real_subkeys() {
    let Some(path) = std::env::var_os("PREBAKE_TEST_FLATCAR_KEY") else {
        eprintln!("SKIPPED: PREBAKE_TEST_FLATCAR_KEY names no copy of Flatcar's key file");
        return;
    };
    let bytes = std::fs::read(&path).unwrap();
    let key = TrustedKey::parse("Flatcar's key", &bytes, FLATCAR_PRIMARY).unwrap();
    let part = |fingerprint: &str| {
        let part = key.parts().iter().find(|part| part.fingerprint.to_string().ends_with(fingerprint));
        part.unwrap_or_else(|| panic!("no key {fingerprint}"))
    };
    let at = |date: &str| humantime::parse_rfc3339(&format!("{date}T00:00:00Z")).unwrap();
    assert_eq!(key.parts()[0].fingerprint, FLATCAR_PRIMARY);
    let current = part("52F145DFD00BBDCD928CBB5A32DA80F91EF52974");
    assert_eq!(current.usage, ["sign"]);
    assert_eq!(current.refusal(at("2026-08-13")), None);
    assert_eq!(current.refusal(at("2025-03-06")), Some(openpgp::Refusal::NotYetValid));
    assert_eq!(current.refusal(at("2027-03-09")), Some(openpgp::Refusal::Expired));
    assert_eq!(part("85F7C8868837E271").refusal(at("2024-06-01")), None);
    assert_eq!(part("85F7C8868837E271").refusal(at("2025-06-01")), Some(openpgp::Refusal::Expired));
    for revoked in ["B51DE377064D542D", "603443A1D0FC498C"] {
        assert_eq!(part(revoked).refusal(at("2018-06-01")), Some(openpgp::Refusal::Revoked));
    }
    // The built-in revocations are exactly those in the file.
    let revoked: Vec<Fingerprint> =
        key.parts().iter().filter(|part| part.revoked.is_some()).map(|part| part.fingerprint).collect();
    assert_eq!(revoked, known::REVOKED);
    assert!(key.must_be_whole("Flatcar's key").is_ok());
    let cut = TrustedKey::parse("cut", &without_revocations(&bytes), FLATCAR_PRIMARY).unwrap();
    for fingerprint in known::REVOKED {
        let part = cut.parts().iter().find(|part| part.fingerprint == fingerprint).unwrap();
        assert_eq!(part.refusal(at("2018-06-01")), Some(openpgp::Refusal::Revoked));
    }
    let Err(openpgp::Error::RolledBack { lost, .. }) = cut.must_be_whole("cut") else {
        panic!("it is whole")
    };
    assert_eq!(lost.len(), 2);
}

/// A key file without its revocations, as a malicious mirror would serve it to bring revoked keys back.
fn without_revocations(bytes: &[u8]) -> Vec<u8> {
    use pgp::composed::{Deserializable, SignedPublicKey};
    use pgp::packet::SignatureType;
    let Form::Armored(blocks) = armor::read(bytes).unwrap() else { panic!("it is not armored") };
    let mut key = SignedPublicKey::from_bytes(blocks[0].1.as_slice()).unwrap();
    for subkey in &mut key.public_subkeys {
        subkey.signatures.retain(|s| s.typ() != Some(SignatureType::SubkeyRevocation));
    }
    pgp::ser::Serialize::to_bytes(&key).unwrap()
}

/// attacks.md, §4: after a first contact with a file that lacked the revocation, the revoked subkey was accepted for
/// good.
#[test]
fn a_revocation_that_prebake_knows_stays_known_and_one_that_it_does_not_is_held_against_the_earlier_file() {
    let whole = key(LAB, primary(LAB));
    let cut = TrustedKey::parse("cut", &without_revocations(&read(LAB)), primary(LAB)).unwrap();
    assert!(matches!(cut.must_follow(&whole, "cut"), Err(openpgp::Error::RolledBack { .. })));
    // The lab's key is not in the built-in table, so a first copy without the revocation cannot be recognised.
    assert!(cut.must_be_whole("cut").is_ok());
    assert_eq!(
        known::REVOKED.map(|f| f.to_string()[24..].to_owned()),
        ["B51DE377064D542D", "603443A1D0FC498C"]
    );
}

/// One copy of a key may have a revocation that another lacks: the primary signed it, so its origin does not matter.
#[test]
fn a_copy_in_the_store_has_its_revocations_count_in_a_file_that_lacks_them() {
    let whole = key(LAB, primary(LAB));
    let mut cut = TrustedKey::parse("cut", &without_revocations(&read(LAB)), primary(LAB)).unwrap();
    let data = fixture("data.txt");
    assert!(verdict_by(&cut, "by-revoked-subkey.sig", &data).is_ok());
    assert!(cut.must_revoke(&cut.revoked(), "x").is_ok());
    let refused = cut.must_revoke(&whole.revoked(), "small.lock").unwrap_err().to_string();
    assert!(refused.contains("cut takes back") && refused.contains("(small.lock has it)"), "{refused}");
    cut.learn(&whole);
    let Err(openpgp::Error::Refused { refusal, .. }) = verdict_by(&cut, "by-revoked-subkey.sig", &data)
    else {
        panic!("the revocation does not count")
    };
    assert_eq!(refusal, openpgp::Refusal::Revoked);
    // A milder revocation is a rollback too.
    let milder: Revoked = whole.revoked().into_keys().map(|key| (key, SystemTime::now())).collect();
    assert!(whole.must_revoke(&milder, "x").is_ok());
    assert!(whole.revoked().into_values().all(|from| from == SystemTime::UNIX_EPOCH));
}

/// A signature by the lab's current subkey over `data.txt`, with an additional subpacket.
fn signature_with(subpacket: pgp::packet::Subpacket, hashed: bool) -> Vec<u8> {
    use pgp::composed::{Deserializable, DetachedSignature, SignedSecretKey};
    use pgp::crypto::hash::HashAlgorithm;
    use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
    use pgp::types::{KeyDetails, Password, Timestamp};
    let secret = read("tests/lab/keys/lab.secret.asc");
    let (secret, _) = SignedSecretKey::from_armor_single(secret.as_slice()).unwrap();
    let key = &secret.secret_subkeys.last().unwrap().key;
    let mut config = SignatureConfig::v4(SignatureType::Binary, key.algorithm(), HashAlgorithm::Sha512);
    let said = [
        SubpacketData::SignatureCreationTime(Timestamp::from_secs(1_748_736_000)),
        SubpacketData::IssuerFingerprint(key.fingerprint()),
    ];
    config.hashed_subpackets = said.into_iter().map(|data| Subpacket::critical(data).unwrap()).collect();
    let place = if hashed { &mut config.hashed_subpackets } else { &mut config.unhashed_subpackets };
    place.push(subpacket);
    let signature = config.sign(key, &Password::empty(), fixture("data.txt").as_slice()).unwrap();
    pgp::ser::Serialize::to_bytes(&DetachedSignature::new(signature)).unwrap()
}

/// attacks.md, §4. gpg says "assuming bad signature … due to an unknown critical bit" (tests/it/trust/key_vendor/mod.rs asks it).
#[test]
fn what_is_critical_and_not_understood_makes_a_signature_bad() {
    use pgp::packet::{Notation, Subpacket, SubpacketData};
    let bytes = || b"x".to_vec().into();
    let notation = |name: &str| {
        SubpacketData::Notation(Notation {
            readable: true,
            name: name.as_bytes().to_vec().into(),
            value: bytes(),
        })
    };
    let lab = key(LAB, primary(LAB));
    let judged = |signature: &[u8]| {
        let mut verifier = lab.expect("a.sig", signature, SystemTime::now())?;
        verifier.update(&fixture("data.txt"));
        verifier.finish()
    };
    let bad = [
        notation("evil@example.com"),
        notation("preferred-email-encoding@pgp.com"),
        SubpacketData::Experimental(101, bytes()),
        SubpacketData::RegularExpression(bytes()),
        SubpacketData::TrustSignature(1, 60),
    ];
    for data in bad {
        for hashed in [true, false] {
            let critical = signature_with(Subpacket::critical(data.clone()).unwrap(), hashed);
            let refused = judged(&critical).unwrap_err();
            assert!(
                matches!(refused, openpgp::Error::Refused { refusal: openpgp::Refusal::UnknownCritical, .. }),
                "{data:?}: {refused}"
            );
            let plain = signature_with(Subpacket::regular(data.clone()).unwrap(), hashed);
            assert!(judged(&plain).is_ok(), "{data:?}");
        }
    }
    for data in [SubpacketData::PolicyURI("https://a.example".into()), SubpacketData::SignersUserID(bytes())]
    {
        assert!(judged(&signature_with(Subpacket::critical(data).unwrap(), true)).is_ok());
    }
}

/// attacks.md, §4: rPGP's errors named lines of its source code, and repeated armor headers of 100 KB.
#[test]
fn errors_about_foreign_packets_are_short_and_in_our_words() {
    let header = format!("-----BEGIN PGP SIGNATURE-----\n{}\n\n", "\u{1b}[31m\u{202e}".repeat(20_000));
    let good = fixture("good.sig");
    let mut cases =
        vec![header.into_bytes(), fixture("truncated.sig"), vec![0x88; 40], vec![0xc2, 0xff, 0xff]];
    // Changes each byte of the packet in turn, and cuts it at each length.
    for at in 0..good.len().min(80) {
        let mut damaged = good.clone();
        damaged[at] ^= 0xff;
        cases.extend([damaged, good[..at].to_vec()]);
    }
    let lab = key(LAB, primary(LAB));
    let public = read(LAB);
    let Form::Armored(blocks) = armor::read(&public).unwrap() else { panic!("it is not armored") };
    for at in (0..600).step_by(7) {
        let mut damaged = blocks[0].1.clone();
        damaged[at] ^= 0xff;
        cases.extend([damaged, blocks[0].1[..at].to_vec()]);
    }
    let plain = |error: &Error| {
        let text = error.to_string();
        let foreign = ["Some(", "Error", "{ ", "backtrace", "\u{1b}", "\u{202e}", "nom::"];
        assert!(text.len() < 400 && !foreign.iter().any(|word| text.contains(word)), "{text}");
    };
    for case in &cases {
        if let Err(error) = lab.expect("a.sig", case, SystemTime::now()) {
            plain(&error);
        }
        if let Err(error) = TrustedKey::parse("key.asc", case, primary(LAB)) {
            plain(&error);
        }
    }
    // The error for a file of many keys lists only a few.
    let many = TrustedKey::parse("key.asc", &blocks[0].1.repeat(30), FLATCAR_PRIMARY).unwrap_err();
    plain(&many);
    assert!(many.to_string().ends_with("and 26 more"), "{many}");
}

/// Finding 1.12 of 2026-11-28: an air-gapped server whose clock said 2010 was told that the signature is forged.
#[test]
fn a_dead_clock_is_suspected_before_the_signature_that_it_makes_look_forged() {
    use crate::base::error::Advice;
    let at = |date: &str| humantime::parse_rfc3339(date).unwrap();
    let key = key(LAB, primary(LAB));
    let signed = {
        let mut verifier = key.expect("good.sig", &fixture("good.sig"), SystemTime::now()).unwrap();
        verifier.update(&fixture("data.txt"));
        verifier.finish().unwrap()
    };
    for (now, told) in
        [("2010-01-01T00:00:00Z", true), ("2025-05-30T23:59:59Z", true), ("2025-05-31T00:00:00Z", false)]
    {
        let judged = key.expect("good.sig", &fixture("good.sig"), at(now));
        assert_eq!(key.vouches("good.sig", signed.signer, signed.created, at(now)).is_err(), told, "{now}");
        let Err(error) = judged else {
            assert!(!told, "{now}");
            continue;
        };
        let (text, hint) = (error.to_string(), error.hint().unwrap());
        assert!(
            text.contains("it is dated 2025-06-01T00:00:00Z") && text.contains(&format!("clock says {now}")),
            "{text}"
        );
        assert!(hint.starts_with("set this machine's clock first") && hint.contains(now), "{hint}");
    }
    // Judgements at the time of the signature have nothing to do with the clock.
    for refused in ["by-subkey-after-its-expiry.sig", "by-revoked-subkey.sig", "sha1.sig"] {
        let error = key.expect(refused, &fixture(refused), SystemTime::now()).err().unwrap();
        assert!(error.hint().unwrap().starts_with("do not use these bytes"), "{error}");
    }
}
