//! What a lock promises about its recipe, above all whom to believe: another promise is drift, and a store that is warm does not
//! make a signature good (finding 1.1 of the review of 2026-11-28: a changed pin had no effect once lock and store were warm).

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::lab::mirror::Mirror;
use crate::world::{PRIMARY, Run, VERSION, World, repository};

const RECIPE: &str = "recipes/small.yaml";
const LOCK: &str = "recipes/small.lock";
const SIGNER: &str = "8F2E8753048542474D9D9200D26D2108E2F05BC2";
/// A key that has nothing to do with the lab's, and its file.
const FOREIGN: &str = "tests/lab/keys/foreign.asc";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt";

/// A world with every kind of promise in its recipe, built once: lock and store are warm.
struct Warm {
    world: World,
    web: Mirror,
}

impl Warm {
    fn new() -> Warm {
        let world = World::new();
        for (directory, name) in [("recipes/keys", "ours"), ("recipes/other", "other")] {
            certificate(&world.path(directory), name);
        }
        let component = "components:\n  tool: {url: \"https://files.example/tool\", sha256_url: \"https://files.example/tool.sha256\", install: /usr/bin/tool}\n  pinned: {url: \"https://files.example/pinned\", sha256: {amd64: PINNED, arm64: PINNED}, install: /usr/bin/pinned}\n";
        let digest = |text: &str| prebake::base::digest::Sha256::of(text.as_bytes()).to_string();
        let component = component.replace("PINNED", &digest("pinned"));
        world.edit("sysext/hello/sysext.yaml", "reload: true\n", &format!("reload: true\n{component}"));
        for (file, text) in [
            ("tool", "tool".to_owned()),
            ("tool.sha256", digest("tool")),
            ("elsewhere.sha256", digest("tool")),
            ("pinned", "pinned".to_owned()),
        ] {
            world.write(&format!("web/files.example/{file}"), text);
        }
        for user in ["octo", "other"] {
            world.write(&format!("web/{user}.keys"), format!("{KEY} {user}\n"));
        }
        let promises = "ssh_keys: [\"github:octo\"]\ntrust_ca: [keys/ca.pem]\npackaging:\n  verity: {key: keys/sysext.key, certificate: keys/sysext.crt}\nsysexts:";
        world.edit(RECIPE, "sysexts:", promises);
        let web = Mirror::builder().directory("/", &world.path("web")).start().unwrap();
        let warm = Warm { world, web };
        warm.prebake(&["build", RECIPE]).ok();
        warm
    }

    fn prebake(&self, args: &[&str]) -> Run {
        let mut command = self.world.command(args);
        command.env("PREBAKE_MIRROR_WEB", self.web.url()).env("PREBAKE_MIRROR_GITHUB", self.web.url());
        Run::of(command.output().unwrap())
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.world.path(path)).unwrap()
    }
}

/// A key, its certificate, and the certificate of an authority, in a directory.
fn certificate(directory: &Path, name: &str) {
    fs::create_dir_all(directory).unwrap();
    for (key, file) in [("sysext.key", "sysext.crt"), ("ca.key", "ca.pem")] {
        let subject = format!("/CN={name}");
        let args = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3000", "-subj", &subject];
        let made = Command::new("openssl")
            .args(args)
            .args(["-keyout", key, "-out", file])
            .current_dir(directory)
            .output();
        assert!(made.as_ref().unwrap().status.success(), "{made:?}");
    }
}

#[test]
fn every_promise_of_a_recipe_that_its_lock_keeps_is_drift_when_it_changes() {
    let warm = Warm::new();
    let sysext = "sysext/hello/sysext.yaml";
    let other_digest = "0".repeat(64);
    let digest = prebake::base::digest::Sha256::of(b"pinned").to_string();
    for (what, file, from, to, told) in [
        ("the pin", RECIPE, "9B36", "9B37", "pins the primary key 9B37"),
        ("no pin, which is Flatcar's", RECIPE, "trust: {", "#", "pins the primary key F88CFEDE"),
        ("the certificate of signed sysexts", RECIPE, "keys/sysext", "other/sysext", "for the certificate"),
        ("no certificate", RECIPE, "packaging:\n  verity", "#\n#", "packages sysexts without a certificate"),
        ("an authority", RECIPE, "keys/ca.pem", "other/ca.pem", "is locked but not trusted by the recipe"),
        ("no authority", RECIPE, "trust_ca", "#", "is locked but not trusted by the recipe"),
        (
            "a user on GitHub",
            RECIPE,
            "github:octo",
            "github:other",
            "the SSH keys of github:other are not locked",
        ),
        (
            "no user on GitHub",
            RECIPE,
            "ssh_keys",
            "#",
            "the SSH keys of github:octo are locked but not needed",
        ),
        (
            "a version",
            RECIPE,
            "channel: stable",
            "channel: stable, version: 4593.2.4",
            "wants version 4593.2.4",
        ),
        ("a channel", RECIPE, "channel: stable", "channel: beta", "wants channel beta"),
        ("an architecture", RECIPE, "channel: stable", "channel: stable, arch: [arm64]", "flatcar/arm64/"),
        ("a component's digest", sysext, &digest, &other_digest, "is pinned for it"),
        (
            "where a digest is read",
            sysext,
            "tool.sha256",
            "elsewhere.sha256",
            "not at https://files.example/elsewhere",
        ),
        (
            "a component's URL",
            sysext,
            "example/pinned",
            "example/other",
            "is locked to https://files.example/pinned",
        ),
        ("a component less", sysext, "  pinned:", "#", "is locked but not needed"),
        (
            "an image",
            RECIPE,
            "sysexts:",
            "images: [\"registry.example/a:1\"]\nsysexts:",
            "image registry.example/a:1",
        ),
    ] {
        let before = warm.text(file);
        let lock = warm.text(LOCK);
        warm.world.edit(file, from, to);
        for verb in
            [&["build", "--locked"][..], &["build", "--locked", "--offline", "--paranoid"], &["fetch"]]
        {
            let run = warm.prebake(&[verb, &[RECIPE]].concat());
            assert!(
                run.code == Some(9) && run.stderr.contains(told),
                "{what}, {verb:?}: {:?} {}",
                run.code,
                run.stderr
            );
        }
        let plan = warm.prebake(&["plan", "--locked", "--exit-code", RECIPE]);
        assert!(
            plan.code == Some(9) && plan.stderr.contains(told),
            "{what}: {:?} {}",
            plan.code,
            plan.stderr
        );
        assert_eq!(warm.text(LOCK), lock, "{what}: the lock stays");
        fs::write(warm.world.path(file), before).unwrap();
        warm.prebake(&["build", "--locked", "--offline", RECIPE]).ok();
    }
}

/// What is beside the recipe is taken as it is now: no byte of it comes from elsewhere, so no lock has to promise it.
#[test]
fn what_the_recipe_holds_itself_is_built_as_it_stands_and_moves_no_lock() {
    let warm = Warm::new();
    let lock = warm.text(LOCK);
    let mut seen = vec![warm.world.current().unwrap()];
    for (what, file, from, to) in [
        ("a layer", "recipes/worker.ign", "worker", "another"),
        ("kernel arguments", RECIPE, "console=ttyS0", "console=ttyS1"),
        (
            "an SSH key of the recipe's own",
            RECIPE,
            "\"github:octo\"",
            &format!("\"github:octo\", \"{KEY} x\""),
        ),
        ("a sysext's file", "sysext/hello/files/usr/share/hello/greeting", "hello", "hallo"),
        ("what sysexts are compressed with", RECIPE, "packaging:\n", "packaging:\n  compression: gzip\n"),
    ] {
        warm.world.edit(file, from, to);
        warm.prebake(&["build", "--locked", "--offline", RECIPE]).ok();
        let build = warm.world.current().unwrap();
        assert!(!seen.contains(&build), "{what}");
        seen.push(build);
        assert_eq!(warm.text(LOCK), lock, "{what}");
    }
    // Line ends are no other certificates, and the key file may be a newer copy: the pin holds it.
    let certificate = warm.text("recipes/keys/ca.pem");
    warm.world.write("recipes/keys/ca.pem", certificate.replace('\n', "\r\n"));
    let two_keys =
        [fs::read(repository(FOREIGN)).unwrap(), fs::read(warm.world.path("recipes/lab.asc")).unwrap()];
    warm.world.write("recipes/lab.asc", two_keys.concat());
    warm.prebake(&["build", "--locked", "--offline", RECIPE]).ok();
    assert_eq!(warm.text(LOCK), lock);
}

#[test]
fn a_lock_that_was_edited_by_hand_is_refused_whatever_the_store_has() {
    let warm = Warm::new();
    let lock = warm.text(LOCK);
    let current = warm.world.current();
    let sha512 = lock.lines().find_map(|line| line.trim().strip_prefix("sha512: ")).unwrap().to_owned();
    let kernel = "flatcar/amd64/flatcar_production_pxe.vmlinuz";
    let row = |id: &str, key: &str| {
        let entry = lock.split(&format!("  {id}:\n")).nth(1).unwrap();
        entry.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap().trim().to_owned()
    };
    let (kernel_sha256, text_sha256) = (row(kernel, "sha256:"), row("flatcar/amd64/version.txt", "sha256:"));
    let (kernel_size, text_size) = (row(kernel, "size:"), row("flatcar/amd64/version.txt", "size:"));
    // The bytes of another file that the store has: the kernel's entry is version.txt, signature and all else as before.
    let swapped = {
        let at = lock.find(&format!("  {kernel}:\n")).unwrap();
        let (front, back) = lock.split_at(at);
        let back = back.replacen(&kernel_sha256, &text_sha256, 1);
        format!(
            "{front}{}",
            back.replacen(&format!("size: {kernel_size}\n"), &format!("size: {text_size}\n"), 1)
        )
    };
    let subkey = "440A2DF8BF53477F2F0E4E76CFDADC948D47013F";
    for (what, edited, code, told) in [
        ("a stranger as signer", lock.replacen(SIGNER, &"A".repeat(40), 1), 5, "was signed by AAAA"),
        ("another key below the pin", lock.replacen(SIGNER, subkey, 1), 5, "was signed by 440A"),
        ("no signer", lock.replacen(&format!("    signer: {SIGNER}\n"), "", 1), 9, "without its signer"),
        ("another time", lock.replacen("signed: 2026", "signed: 2025", 1), 4, "was signed at 2025"),
        ("another SHA-512", lock.replacen(&sha512, &"0".repeat(128), 1), 4, "over the sha512 000"),
        ("other bytes", swapped, 5, "the bytes are not what"),
        ("bytes that nobody has", lock.replacen(&kernel_sha256, &"0".repeat(64), 1), 4, "was expected"),
    ] {
        assert_ne!(edited, lock, "{what}");
        fs::write(warm.world.path(LOCK), &edited).unwrap();
        for args in [
            &["build", "--locked", RECIPE][..],
            &["fetch", RECIPE],
            &["build", "--locked", "--paranoid", RECIPE],
        ] {
            let run = warm.prebake(args);
            assert!(
                run.code == Some(code) && run.stderr.contains(told),
                "{what}, {args:?}: {:?} {}",
                run.code,
                run.stderr
            );
        }
        assert_eq!(warm.text(LOCK), edited, "{what}");
        assert_eq!(warm.world.current(), current, "{what}");
    }
    // A plan reads no large file; what the lock claims of signers it judges all the same.
    fs::write(warm.world.path(LOCK), lock.replacen(SIGNER, &"A".repeat(40), 1)).unwrap();
    warm.prebake(&["plan", RECIPE]).fails(5, &["was signed by AAAA", "prebake lock --update"]);
    fs::remove_dir_all(warm.world.path("store/objects")).unwrap();
    warm.prebake(&["plan", RECIPE]).fails(5, &["AAAA", "no key of the pinned primary"]);
}

#[test]
fn another_pin_is_judged_by_every_verb_offline_and_with_a_warm_store_too() {
    let world = World::new();
    world.build();
    let lock = fs::read(world.path(LOCK)).unwrap();
    let (store, current) = (world.objects(), world.current());
    // The other vendor's key file is at hand, and did not sign these files.
    fs::copy(repository(FOREIGN), world.path("recipes/foreign.asc")).unwrap();
    let foreign =
        prebake::trust::openpgp::Certificate::read_all("foreign", &fs::read(repository(FOREIGN)).unwrap())
            .unwrap();
    let pin = foreign[0].parts[0].fingerprint.to_string();
    world.edit(RECIPE, &format!("{PRIMARY}, key: lab.asc"), &format!("{pin}, key: foreign.asc"));
    for args in [
        &["build"][..],
        &["build", "--offline"],
        &["build", "--paranoid"],
        &["lock"],
        &["lock", "--update"],
        &["plan"],
    ] {
        let run = world.prebake(&[args, &[RECIPE]].concat());
        run.fails(5, &[SIGNER, "which is no key of the pinned primary", &pin]);
    }
    world.prebake(&["plan", "--exit-code", RECIPE]).fails(9, &[&pin, "prebake lock"]);
    world.prebake(&["fetch", RECIPE]).fails(9, &[&pin]);
    assert_eq!((world.objects(), world.current()), (store, current));
    assert_eq!(fs::read(world.path(LOCK)).unwrap(), lock);
}

#[test]
fn bytes_that_another_recipe_brought_are_published_under_its_own_pin_only() {
    let world = World::new();
    world.build();
    // The same files, wished for by a recipe that pins Flatcar's own key, of which nobody here has the file.
    let text = fs::read_to_string(world.path(RECIPE)).unwrap();
    let trust = text.lines().find(|line| line.starts_with("trust:")).unwrap();
    world.write("recipes/other.yaml", text.replace(trust, "").replace("name: small", "name: other"));
    let lock = fs::read_to_string(world.path(LOCK)).unwrap();
    let own = prebake::trust::openpgp::FLATCAR_PRIMARY.to_string();
    for (what, lock, code) in [
        ("the other recipe's lock", lock.clone(), 5),
        ("a lock that says the right pin", lock.replace(PRIMARY, &own), 6),
    ] {
        world.write("recipes/other.lock", &lock);
        for args in [&["build"][..], &["build", "--offline"], &["lock"]] {
            let run = world.prebake(&[args, &["recipes/other.yaml"]].concat());
            assert_eq!(run.code, Some(code), "{what}, {args:?}: {}", run.stderr);
            assert!(!run.stdout.contains("verified"), "{what}, {args:?}: {}", run.stdout);
        }
        assert_eq!(fs::read_to_string(world.path("recipes/other.lock")).unwrap(), lock, "{what}");
    }
    assert!(!world.path("output/other/current").exists());
    // With its file the verdict is certain: no key below that pin signed.
    fs::create_dir_all(world.path("store/keys")).unwrap();
    let foreign = fs::read(repository(FOREIGN)).unwrap();
    let pin = prebake::trust::openpgp::Certificate::read_all("foreign", &foreign).unwrap()[0].parts[0]
        .fingerprint
        .to_string();
    world.write(&format!("store/keys/{pin}.asc"), &foreign);
    world.write(
        "recipes/other.yaml",
        text.replace(trust, &format!("trust: {{primary_fingerprint: {pin}}}"))
            .replace("name: small", "name: other"),
    );
    world.write("recipes/other.lock", lock.replace(PRIMARY, &pin));
    for args in [&["build", "--locked", "--offline"][..], &["fetch", "--offline"], &["plan"]] {
        world.prebake(&[args, &["recipes/other.yaml"]].concat()).fails(5, &["no key of the pinned primary"]);
    }
}

#[test]
fn a_key_that_is_revoked_since_no_longer_makes_what_the_store_has_good() {
    let world = World::new();
    world.build();
    // The lab's key file as it was before the subkey that signed was made.
    let file = fs::read(world.path("recipes/lab.asc")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let gpg = |args: &[&str]| {
        let output = Command::new("gpg")
            .arg("--homedir")
            .arg(home.path())
            .args(["--batch", "--yes"])
            .args(args)
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let key = world.path("recipes/lab.asc").display().to_string();
    gpg(&["--import", &key]);
    let kept = "keep-uid=uid =~ .";
    let without = gpg(&[
        "--armor",
        "--export-filter",
        kept,
        "--export-filter",
        &format!("drop-subkey=fpr = {SIGNER}"),
        "--export",
    ]);
    assert_ne!(without, file);
    world.write("recipes/lab.asc", without);
    for args in [&["build", "--locked", "--offline"][..], &["build"], &["lock"], &["plan"], &["fetch"]] {
        world.prebake(&[args, &[RECIPE]].concat()).fails(5, &[SIGNER, "no key of the pinned primary"]);
    }
}

/// The lab's key file as a mirror would serve it that brings revoked keys back.
fn without_revocations(bytes: &[u8]) -> Vec<u8> {
    use pgp::composed::{Deserializable, SignedPublicKey};
    use pgp::packet::SignatureType;
    let (mut key, _) = SignedPublicKey::from_armor_single(bytes).unwrap();
    for subkey in &mut key.public_subkeys {
        subkey.signatures.retain(|s| s.typ() != Some(SignatureType::SubkeyRevocation));
    }
    pgp::ser::Serialize::to_bytes(&key).unwrap()
}

/// attacks.md, §4: a revocation that was cut out of a key file was believed wherever the store had no earlier copy. The lock has one
/// now, but for Flatcar's own, which the binary knows.
#[test]
fn a_key_file_without_a_revocation_that_the_lock_remembers_is_refused_and_the_lock_moves_for_one_more() {
    let world = World::new();
    let whole = fs::read(world.path("recipes/lab.asc")).unwrap();
    let cut = without_revocations(&whole);
    // At first contact nobody can know.
    world.write("recipes/lab.asc", &cut);
    world.build();
    let first = fs::read_to_string(world.path(LOCK)).unwrap();
    assert!(!first.contains("revoked:"), "{first}");
    // One more is taken at any time, and kept where the lock may move.
    world.write("recipes/lab.asc", &whole);
    world.prebake(&["build", "--locked", RECIPE]).ok();
    world.prebake(&["fetch", RECIPE]).ok();
    assert_eq!(fs::read_to_string(world.path(LOCK)).unwrap(), first);
    let told = world.prebake(&["lock", RECIPE]).ok().stdout;
    assert!(told.contains("revoked keys"), "{told}");
    let second = fs::read_to_string(world.path(LOCK)).unwrap();
    let revoked = second.split("  revoked:\n").nth(1).unwrap().lines().next().unwrap().trim();
    let (key, from) = revoked.split_once(": ").unwrap();
    assert!(key.len() == 40 && from == "always", "{revoked}");
    world.write("recipes/lab.asc", &cut);
    let lost = format!("the revocation of {key} is missing (recipes/small.lock has it)");
    for args in [
        &["build", "--locked", "--offline"][..],
        &["build"],
        &["lock"],
        &["lock", "--update"],
        &["plan"],
        &["fetch"],
    ] {
        world.prebake(&[args, &[RECIPE]].concat()).fails(5, &["lab.asc takes back", &lost, "hint:"]);
        assert_eq!(fs::read_to_string(world.path(LOCK)).unwrap(), second, "{args:?}");
    }
    // The whole one is as good as ever, in this store and in a new one.
    world.write("recipes/lab.asc", &whole);
    for args in [&["build", "--locked"][..], &["lock", "--update"], &["build", "--store", "new-store"]] {
        world.prebake(&[args, &[RECIPE]].concat()).ok();
        assert_eq!(fs::read_to_string(world.path(LOCK)).unwrap(), second, "{args:?}");
    }
    world.write(LOCK, second.replace("always", "once"));
    world.prebake(&["build", RECIPE]).fails(3, &["is not a lock file"]);
}

#[test]
fn verified_is_said_of_what_was_judged_and_what_was_read_is_told_apart() {
    let world = World::new();
    let line = |args: &[&str]| {
        let run = world.prebake(args).ok();
        run.stdout.lines().find(|line| line.trim_start().starts_with("verified")).unwrap().trim().to_owned()
    };
    let all = format!("verified  3 files signed by {SIGNER} below the pinned {PRIMARY}");
    assert_eq!(line(&["build", RECIPE]), all);
    assert_eq!(line(&["build", RECIPE]), format!("{all}; their bytes were read by an earlier run"));
    assert_eq!(line(&["build", "--paranoid", RECIPE]), all);
    // A store that remembers no verdict reads the bytes again.
    fs::remove_dir_all(world.path("store/notes")).unwrap();
    assert_eq!(line(&["build", "--locked", "--offline", RECIPE]), all);
    // Bytes that are not those of their name are told as what they are.
    let object = fs::read_to_string(world.path(LOCK)).unwrap();
    let sha256 = object.lines().find_map(|line| line.trim().strip_prefix("sha256: ")).unwrap().to_owned();
    let path = world.path("store/objects").join(&sha256[..2]).join(&sha256[2..]);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, vec![b'x'; bytes.len()]).unwrap();
    fs::remove_dir_all(world.path("store/notes")).unwrap();
    world.prebake(&["build", RECIPE]).fails(4, &["is damaged in the store", "--paranoid"]);
    world.prebake(&["build", "--paranoid", RECIPE]).ok();
}

#[test]
fn a_lock_of_the_schema_before_is_read_moved_by_lock_and_told_to_those_who_may_not_move_it() {
    let warm = Warm::new();
    let new = warm.text(LOCK);
    // As prebake wrote it until schema 2.
    let trust = new.find("trust:\n").unwrap()..new.find("ssh_keys:\n").unwrap();
    let mut old = format!("{}{}", &new[..trust.start], &new[trust.end..]).replace("schema: 2", "schema: 1");
    old = old.lines().filter(|line| !line.contains("sha256_url")).map(|line| format!("{line}\n")).collect();
    let put = || fs::write(warm.world.path(LOCK), &old).unwrap();
    put();
    for args in [&["build", "--locked"][..], &["fetch"], &["plan", "--locked"], &["plan", "--exit-code"]] {
        let run = warm.prebake(&[args, &[RECIPE]].concat());
        run.fails(
            9,
            &["it has schema 1, which does not state the keys that the recipe trusts", "run `prebake lock`"],
        );
    }
    assert_eq!(warm.text(LOCK), old);
    warm.prebake(&["store", "gc"]).ok();
    let told = warm.prebake(&["lock", RECIPE]).ok().stdout;
    let lines: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["schema", "1", "→", "2"]), "{told}");
    assert!(lines.contains(&vec!["pinned", "key", "-", "→", PRIMARY]), "{told}");
    assert_eq!(warm.text(LOCK), new, "nothing else moved, and nothing was fetched");
    put();
    let report: Value = serde_json::from_str(&warm.prebake(&["lock", "--json", RECIPE]).ok().stdout).unwrap();
    assert_eq!(report["schema"], serde_json::json!({"old": 1, "new": 2}));
    assert_eq!(report["trust"]["new"]["primary_fingerprint"], PRIMARY);
    put();
    // A build that may move the lock does so.
    assert!(warm.prebake(&["build", "--offline", RECIPE]).ok().stdout.contains("lock      wrote"));
    assert_eq!(warm.text(LOCK), new);
    for (flawed, told) in [
        (
            new.replace("schema: 2", "schema: 3"),
            "is a lock of schema 3, and this prebake reads schemas up to 2",
        ),
        (new.replace("schema: 2", "schema: 1"), "its schema is 1"),
        (old.replace("schema: 1", "schema: 2"), "it does not state the keys that its recipe trusts"),
        (new.replace(PRIMARY, "9B36"), "is not a fingerprint"),
    ] {
        fs::write(warm.world.path(LOCK), flawed).unwrap();
        warm.prebake(&["build", RECIPE]).fails(3, &[told]);
    }
    assert!(new.contains(VERSION));
}
