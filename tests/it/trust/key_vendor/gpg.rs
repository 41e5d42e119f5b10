//! Keys and signatures that real gpg makes with its less usual options, judged by gpg and by prebake's library.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::SystemTime;

use prebake::trust::openpgp::{Error, Fingerprint, Refusal, Signed, TrustedKey};
use tempfile::TempDir;

/// A home of gpg's with one key.
struct Home {
    directory: TempDir,
    primary: Fingerprint,
}

/// 2024-06-01, when all of them sign.
const NOW: &str = "20240601T000000";

impl Home {
    /// A primary that certifies, with a self-signature of this digest.
    fn new(digest: &str) -> Self {
        let private = fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().permissions(private).tempdir().unwrap();
        let mut home = Home { directory, primary: "00".repeat(20).parse().unwrap() };
        home.at("20200101T000000", &["--cert-digest-algo", digest]).run(&[
            "--quick-generate-key",
            "vendor <v@example.com>",
            "rsa2048",
            "cert",
            "never",
        ]);
        home.primary = home.fingerprints()[0].parse().unwrap();
        home
    }

    /// A signing subkey that is bound with this digest and lives so long, as gpg says it.
    fn subkey(&self, digest: &str, life: &str) -> &Self {
        let primary = self.primary.to_string();
        self.at("20200101T000000", &["--cert-digest-algo", digest]).run(&[
            "--quick-add-key",
            &primary,
            "rsa2048",
            "sign",
            life,
        ]);
        self
    }

    /// Binds the subkey once more, without an end.
    fn bind_anew(&self, digest: &str) {
        let (primary, subkey) = (self.primary.to_string(), self.fingerprints().pop().unwrap());
        self.at("20200601T000000", &["--cert-digest-algo", digest]).run(&[
            "--quick-set-expire",
            &primary,
            "never",
            &subkey,
        ]);
    }

    fn gpg(&self) -> Command {
        let mut command = Command::new("gpg");
        command.args(["--batch", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", ""]);
        command.env("GNUPGHOME", self.directory.path()).env("LC_ALL", "C");
        command
    }

    fn at(&self, time: &str, options: &[&str]) -> Gpg {
        let mut command = self.gpg();
        command.args(["--faked-system-time", &format!("{time}!")]).args(options);
        Gpg(command)
    }

    /// Of all its keys, the primary's first.
    fn fingerprints(&self) -> Vec<String> {
        let listed = Gpg(self.gpg()).run(&["--with-colons", "--fingerprint", "--fingerprint", "--list-keys"]);
        let text = String::from_utf8(listed.stdout).unwrap();
        text.lines()
            .filter_map(|line| Some(line.strip_prefix("fpr:")?.trim_matches(':').to_owned()))
            .collect()
    }

    /// Signs `data` with the newest key.
    fn sign(&self, options: &[&str]) -> Vec<u8> {
        let path = self.directory.path().join("data");
        fs::write(&path, "data").unwrap();
        let signer = format!("{}!", self.fingerprints().last().unwrap());
        let options = [&["--local-user", &signer, "--output", "-"][..], options].concat();
        self.at(NOW, &options).run(&["--detach-sign", path.to_str().unwrap()]).stdout
    }

    /// gpg's verdict in its own words.
    fn verdict(&self, signature: &[u8]) -> (bool, String) {
        let path = self.directory.path().join("data");
        fs::write(path.with_extension("sig"), signature).unwrap();
        let mut command = self.gpg();
        command.arg("--verify").arg(path.with_extension("sig")).arg(&path);
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn export(&self) -> Vec<u8> {
        Gpg(self.gpg()).run(&["--export"]).stdout
    }

    /// The last packet of its key: what the newest subkey was bound with.
    fn last_packet(&self) -> Vec<u8> {
        let key = self.export();
        let file = self.directory.path().join("packets");
        fs::write(&file, &key).unwrap();
        let listed = Gpg(self.gpg()).run(&["--list-packets", file.to_str().unwrap()]).stdout;
        let listed = String::from_utf8_lossy(&listed).into_owned();
        let mut offsets = listed.lines().filter_map(|line| line.strip_prefix("# off=")?.split(' ').next());
        key[offsets.next_back().unwrap().parse().unwrap()..].to_vec()
    }

    fn judged(&self, signature: &[u8]) -> Result<Signed, Error> {
        self.judged_by(&self.export(), signature)
    }

    fn judged_by(&self, key: &[u8], signature: &[u8]) -> Result<Signed, Error> {
        let key = TrustedKey::parse("key", key, self.primary).unwrap();
        let mut verifier = key.expect("data.sig", signature, SystemTime::now())?;
        verifier.update(b"data");
        verifier.finish()
    }

    fn refusal(&self, signature: &[u8]) -> Refusal {
        match self.judged(signature) {
            Err(Error::Refused { refusal, .. }) => refusal,
            other => panic!("{other:?}"),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        // gpg leaves an agent running in every home that held a secret key.
        let home = self.directory.path();
        let _ = Command::new("gpgconf").args(["--kill", "all"]).env("GNUPGHOME", home).status();
    }
}

struct Gpg(Command);

impl Gpg {
    fn run(mut self, args: &[&str]) -> Output {
        let output = self.0.args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }
}

/// attacks.md, §4: a signature with an unknown critical notation was taken, which gpg calls bad.
#[test]
fn a_critical_notation_is_bad_for_gpg_and_here_and_others_are_good_for_both() {
    let home = Home::new("SHA512");
    home.subkey("SHA512", "never");
    for (options, good) in [
        (&["--sig-notation", "evil@example.com=x"][..], true),
        (&["--sig-notation", "!evil@example.com=x"], false),
        (&["--sig-notation", "good@example.com=x", "--sig-notation", "!evil@example.com=x"], false),
        (&["--sig-policy-url", "!https://policy.example.com"], true),
        (&["--sig-keyserver-url", "!https://keys.example.com"], true),
        (&["--default-sig-expire", "never", "--sig-policy-url", "https://policy.example.com"], true),
    ] {
        let signature = home.sign(options);
        let (taken, words) = home.verdict(&signature);
        assert_eq!(taken, good, "gpg, {options:?}: {words}");
        match good {
            true => drop(home.judged(&signature).unwrap()),
            false => {
                assert!(words.contains("critical bit"), "{words}");
                assert_eq!(home.refusal(&signature), Refusal::UnknownCritical, "{options:?}");
            }
        }
    }
}

/// attacks.md, §4. gpg 2.2 takes SHA-1 in a key's own signatures; RFC 9580 §9.5 and Sequoia do not.
#[test]
fn a_keys_own_signatures_by_sha1_prove_nothing() {
    let strong = Home::new("SHA256");
    strong.subkey("SHA512", "never");
    assert!(strong.judged(&strong.sign(&[])).is_ok());

    let by_sha1 = Home::new("SHA1");
    by_sha1.subkey("SHA512", "never");
    assert_eq!(by_sha1.refusal(&by_sha1.sign(&[])), Refusal::PrimaryUnproven);

    // The back signature as well as the binding; gpg makes none by SHA-1, and believes none by MD5.
    for digest in ["RIPEMD160", "SHA224"] {
        let other = Home::new("SHA512");
        other.subkey(digest, "never");
        assert_eq!(other.refusal(&other.sign(&[])), Refusal::WeaklyBound, "{digest}");
    }
    // The binding alone.
    let bound = Home::new("SHA512");
    bound.subkey("SHA512", "1y").bind_anew("SHA1");
    let signature = bound.sign(&[]);
    assert!(bound.verdict(&signature).0, "gpg 2.2 takes it");
    assert_eq!(bound.refusal(&signature), Refusal::WeaklyBound);
}

/// What SHA-1 cannot give it cannot prolong either.
#[test]
fn an_expired_subkey_is_not_brought_back_by_a_newer_binding_of_sha1() {
    for (digest, expected) in [("SHA1", Some(Refusal::Expired)), ("SHA512", None)] {
        let home = Home::new("SHA512");
        home.subkey("SHA512", "1y");
        let old = home.export();
        home.bind_anew(digest);
        let signature = home.sign(&[]);
        // gpg has put the new binding in the old one's place; a file on a mirror may have both.
        let both = [old, home.last_packet()].concat();
        let judged = home.judged_by(&both, &signature);
        match expected {
            Some(expected) => {
                assert!(
                    matches!(judged, Err(Error::Refused { refusal, .. }) if refusal == expected),
                    "{judged:?}"
                );
            }
            None => drop(judged.unwrap()),
        }
    }
}
