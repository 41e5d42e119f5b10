//! Keys and signatures as editors, mails, forges and git on Windows leave them: what minisign and gpg take is taken, and nothing
//! else is (findings B39 and B40 of 2026-11-28: jedisct1/zig-minisign#11, aead/minisign#7 and #8, KenAKAFrosty/Prns#81).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

use prebake::trust::minisign::{PublicKey, Signature};
use prebake::trust::openpgp::TrustedKey;

use crate::world::{PRIMARY, World, prebake_in, repository};

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A directory with a key of real minisign's, a file, and its signature.
struct Signed {
    place: tempfile::TempDir,
    public: String,
    signature: String,
}

impl Signed {
    fn new() -> Signed {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("m"), "hello\n").unwrap();
        let minisign = |args: &[&str]| run(Command::new("minisign").args(args).current_dir(place.path()));
        assert!(minisign(&["-G", "-W", "-p", "a.pub", "-s", "a.key"]).status.success());
        assert!(minisign(&["-S", "-W", "-s", "a.key", "-m", "m", "-x", "m.minisig"]).status.success());
        let read = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
        let (public, signature) = (read("a.pub"), read("m.minisig"));
        Signed { place, public, signature }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Whether real minisign takes it: files as they would be named on its command line.
    fn minisign(&self, public: &[u8], signature: &[u8]) -> bool {
        fs::write(self.path("t.pub"), public).unwrap();
        fs::write(self.path("t.minisig"), signature).unwrap();
        let args = ["-Vm", "m", "-x", "t.minisig", "-p", "t.pub"];
        run(Command::new("minisign").args(args).current_dir(self.place.path())).status.success()
    }
}

#[track_caller]
fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Every way to end each line of a text and the text itself, with something in front of it and behind it.
fn forms(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut forms = Vec::new();
    for (front, behind) in [
        ("", ""),
        ("", "\n"),
        ("", "\r\n\r\n"),
        ("", " \n\n"),
        ("", "more\n"),
        (BYTE_ORDER_MARK, ""),
        ("\n", ""),
        (" ", ""),
    ] {
        for ends in 0..1 << lines.len() {
            for last in ["", "\n", "\r", " \n"] {
                let mut form = front.to_owned();
                for (index, line) in lines.iter().enumerate() {
                    let end = match (index + 1 == lines.len(), ends >> index & 1) {
                        (false, 0) => "\n",
                        (false, _) => "\r\n",
                        (true, 0) => last,
                        (true, _) => "\r\n",
                    };
                    form += line;
                    form += end;
                }
                forms.push(form + behind);
            }
        }
    }
    for (index, line) in lines.iter().enumerate() {
        for changed in [
            format!("{line} "),
            format!("{line}\t"),
            format!(" {line}"),
            format!("{line}\n"),
            format!("{line}\r"),
        ] {
            let mut lines = lines.clone();
            lines[index] = &changed;
            forms.push(lines.join("\n") + "\n");
        }
    }
    forms.sort();
    forms.dedup();
    forms
}

#[test]
fn a_signature_of_any_form_is_taken_if_and_only_if_minisign_takes_it() {
    let signed = Signed::new();
    let key = PublicKey::parse("a.pub", &signed.public).unwrap();
    let lines: Vec<&str> = signed.signature.lines().collect();
    let mut forms: Vec<Vec<u8>> = forms(&signed.signature).into_iter().map(String::into_bytes).collect();
    let with_comment = |comment: &[u8]| {
        [b"untrusted comment: ".as_slice(), comment, b"\n", lines[1..].join("\n").as_bytes(), b"\n"].concat()
    };
    // The comment that nobody signs: any bytes, as long as minisign reads.
    for length in [0, 1, 1002, 1003, 1004, 1005, 1100] {
        forms.push(with_comment(&vec![b'x'; length]));
    }
    forms.extend([b"\xe9".as_slice(), b"\x1b[2J", "ü".as_bytes()].map(with_comment));
    forms.push(lines[..2].join("\n").into_bytes());
    forms.push(signed.signature.encode_utf16().flat_map(u16::to_le_bytes).collect());
    let mut taken = 0;
    for form in &forms {
        let minisign = signed.minisign(signed.public.as_bytes(), form);
        let ours = Signature::parse_commented("form", form).and_then(|read| read.verify(&key, b"hello\n"));
        let shown = String::from_utf8_lossy(form);
        assert_eq!(ours.is_ok(), minisign, "{shown:?}: {ours:?}");
        taken += usize::from(minisign);
    }
    assert!(taken > 50 && taken < forms.len() - 50, "{taken} of {}", forms.len());
}

#[test]
fn a_key_of_any_form_that_minisign_takes_is_the_same_key() {
    let signed = Signed::new();
    let key = PublicKey::parse("a.pub", &signed.public).unwrap();
    let lines: Vec<&str> = signed.public.lines().collect();
    let mut forms = forms(&signed.public);
    forms.push(format!("any words\n{}\n", lines[1]));
    forms.push(format!("\n{}\n", lines[1]));
    let mut taken = 0;
    for form in &forms {
        let ours = PublicKey::parse("form", form);
        match signed.minisign(form.as_bytes(), signed.signature.as_bytes()) {
            true => assert_eq!(ours.as_ref().ok(), Some(&key), "{form:?}: {ours:?}"),
            // Blanks around the line of base64, which a person pasted: no other key comes of them.
            false => assert!(ours.as_ref().map_or(true, |ours| *ours == key), "{form:?}: {ours:?}"),
        }
        taken += usize::from(ours.is_ok());
    }
    assert!(taken > 20, "{taken} of {}", forms.len());
}

#[test]
fn the_command_line_says_what_a_file_is_and_not_what_it_might_be() {
    let signed = Signed::new();
    let verify = |name: &str, bytes: &[u8], trust: &str| {
        fs::write(signed.path(name), bytes).unwrap();
        let output =
            run(&mut prebake_in(signed.place.path(), &["key", "verify", "m", name, "--trust", trust]));
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let crlf = signed.signature.replace('\n', "\r\n");
    for good in [crlf.clone(), signed.signature.trim_end().into(), format!("{crlf}\r\n")] {
        let (code, said) = verify("good.minisig", good.as_bytes(), "a.pub");
        assert_eq!(code, Some(0), "{said}");
    }
    let wide: Vec<u8> = signed.signature.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let wide = [b"\xff\xfe".to_vec(), wide].concat();
    let signify = signed.signature.lines().take(2).collect::<Vec<_>>().join("\n");
    let armored = fs::read(repository("tests/data/openpgp/good-armored.asc")).unwrap();
    let binary = fs::read(repository("tests/data/openpgp/good.sig")).unwrap();
    for (what, bytes, told) in [
        ("a mark", format!("{BYTE_ORDER_MARK}{crlf}").into_bytes(), "byte order mark"),
        ("UTF-16", wide, "UTF-16"),
        ("signify", signify.into_bytes(), "signify"),
        ("OpenPGP", armored, "is an OpenPGP signature"),
        ("OpenPGP, binary", binary, "is an OpenPGP signature"),
        ("SSH", b"-----BEGIN SSH SIGNATURE-----\n".to_vec(), "it is an SSH signature"),
        ("text", b"hello\n".to_vec(), "does not begin with `untrusted comment:`"),
    ] {
        let (code, said) = verify("bad.minisig", &bytes, "a.pub");
        assert!(code == Some(5) && said.contains(told), "{what}: {code:?} {said}");
    }
    let (code, said) = verify("m.minisig", signed.signature.as_bytes(), "a.key");
    assert!(code == Some(5) && said.contains("it is a secret key") && said.contains(".pub"), "{said}");
    // A minisign signature where the vendor's is asked for.
    let key = repository("tests/lab/keys/lab.asc").display().to_string();
    fs::write(signed.path("m.sig"), "untrusted").unwrap();
    let args = ["key", "verify", "m", "m.sig", "--key", &key, "--pin", PRIMARY];
    let said = String::from_utf8(run(&mut prebake_in(signed.place.path(), &args)).stderr).unwrap();
    assert!(said.contains("it contains no OpenPGP data"), "{said}");
}

#[test]
fn a_passphrase_file_of_a_windows_editor_opens_the_key() {
    let place = tempfile::tempdir().unwrap();
    let prebake = |args: &[&str]| run(&mut prebake_in(place.path(), args));
    fs::write(place.path().join("p"), "correct horse\n").unwrap();
    assert!(prebake(&["key", "generate", "-o", "a", "--passphrase-file", "p"]).status.success());
    fs::write(place.path().join("p"), format!("{BYTE_ORDER_MARK}correct horse\r\n")).unwrap();
    fs::write(place.path().join("m"), "hello\n").unwrap();
    let output = prebake(&["key", "sign", "m", "--sign-key", "a.key", "--passphrase-file", "p"]);
    assert!(output.status.success(), "{output:?}");
}

/// Every form of an armored block, by what was done to it.
fn armored(text: &str) -> Vec<(String, Vec<u8>)> {
    let (head, rest) = text.split_once('\n').unwrap();
    let (headers, rest) = rest.split_once("\n\n").unwrap_or(("", rest.trim_start_matches('\n')));
    let foot = rest.lines().find(|line| line.starts_with("-----END")).unwrap();
    let body: Vec<&str> = rest.lines().take_while(|line| !line.starts_with(['=', '-'])).collect();
    let sum = rest.lines().find(|line| line.starts_with('=')).unwrap();
    let joined = |head: &str, headers: &str, body: &[String], sum: &str, foot: &str, end: &str| {
        let headers = headers.lines().map(str::to_owned);
        let mut lines = vec![head.to_owned()];
        lines.extend(headers.chain([String::new()]).chain(body.iter().cloned()));
        lines.extend([sum, foot].iter().filter(|line| !line.is_empty()).map(|line| (*line).to_owned()));
        lines.iter().map(|line| format!("{line}{end}")).collect::<String>()
    };
    let plain: Vec<String> = body.iter().map(|line| (*line).to_owned()).collect();
    let with = |change: &dyn Fn(&str) -> String| plain.iter().map(|line| change(line)).collect::<Vec<_>>();
    let usual = joined(head, headers, &plain, sum, foot, "\n");
    let mut forms = vec![
        ("as it was".to_owned(), usual.clone()),
        ("CRLF".into(), joined(head, headers, &plain, sum, foot, "\r\n")),
        ("two CR".into(), joined(head, headers, &plain, sum, foot, "\r\r\n")),
        ("CR alone".into(), joined(head, headers, &plain, sum, foot, "\r")),
        ("no last line end".into(), usual.trim_end().into()),
        ("no checksum".into(), joined(head, headers, &plain, "", foot, "\n")),
        ("no checksum, CRLF".into(), joined(head, headers, &plain, "", foot, "\r\n")),
        ("another checksum".into(), joined(head, headers, &plain, "=AAAA", foot, "\n")),
        ("no last line".into(), joined(head, headers, &plain, sum, "", "\n")),
        ("neither checksum nor last line".into(), joined(head, headers, &plain, "", "", "\n")),
        ("headers".into(), joined(head, "Version: GnuPG v2\nComment: hello: world", &plain, sum, foot, "\n")),
        ("headers, CRLF".into(), joined(head, "Version: GnuPG v2", &plain, sum, foot, "\r\n")),
        ("a header of nobody's".into(), joined(head, "X-Mailer: x", &plain, sum, foot, "\n")),
        ("a header without a value".into(), joined(head, "Comment:", &plain, sum, foot, "\n")),
        ("a header that is none".into(), joined(head, "hello", &plain, sum, foot, "\n")),
        ("a header without a blank".into(), joined(head, "Comment:x", &plain, sum, foot, "\n")),
        (
            "blanks behind lines".into(),
            joined(head, headers, &with(&|line| format!("{line} \t")), sum, foot, " \n"),
        ),
        (
            "blanks before lines".into(),
            joined(head, headers, &with(&|line| format!("  {line}")), sum, foot, "\n"),
        ),
        (
            "empty lines between".into(),
            joined(head, headers, &with(&|line| format!("{line}\n")), sum, foot, "\n"),
        ),
        ("one long line".into(), joined(head, headers, &[plain.concat()], sum, foot, "\n")),
        (
            "short lines".into(),
            joined(
                head,
                headers,
                &with(&|line| {
                    line.split_at(line.len() / 2).0.to_owned() + "\n" + line.split_at(line.len() / 2).1
                }),
                sum,
                foot,
                "\n",
            ),
        ),
        ("quoted".into(), usual.lines().map(|line| format!("> {line}\n")).collect()),
        ("indented".into(), usual.lines().map(|line| format!("  {line}\n")).collect()),
        ("no empty line".into(), usual.replacen("\n\n", "\n", 1)),
        ("small letters".into(), usual.replacen("BEGIN PGP", "begin pgp", 1)),
        ("changed".into(), joined(head, headers, &with(&|line| line.replacen('A', "B", 1)), sum, foot, "\n")),
        ("cut".into(), usual[..usual.len() / 2].to_owned()),
    ];
    for (what, front) in [
        ("text", "Hello,\n\nhere it is:\n"),
        ("an empty line", "\n"),
        ("a mark", BYTE_ORDER_MARK),
        ("a letter", "x"),
        ("a page", "<html><pre>\n"),
    ] {
        for (form, text) in
            [("", &forms[0].1), (", CRLF", &forms[1].1)].map(|(form, text)| (form, text.clone()))
        {
            forms.push((format!("{what} in front{form}"), format!("{front}{text}")));
        }
    }
    for (what, behind) in [("empty lines", "\n\r\n"), ("text", "Yours\n"), ("a page's end", "</pre>\n")] {
        forms.push((format!("{what} behind"), format!("{usual}{behind}")));
    }
    forms.into_iter().map(|(what, text)| (what, text.into_bytes())).collect()
}

fn gpg(home: &Path, args: &[&str]) -> bool {
    let mut command = Command::new("gpg");
    run(command.arg("--homedir").arg(home).args(["--batch", "--quiet", "--trust-model", "always"]).args(args))
        .status
        .success()
}

#[test]
fn an_armored_signature_of_any_form_is_taken_if_and_only_if_gpg_takes_it() {
    let home = tempfile::tempdir().unwrap();
    let key_file = repository("tests/lab/keys/lab.asc");
    assert!(gpg(home.path(), &["--import", key_file.to_str().unwrap()]));
    let key = TrustedKey::parse("lab.asc", &fs::read(&key_file).unwrap(), PRIMARY.parse().unwrap()).unwrap();
    let data = repository("tests/data/openpgp/data.txt");
    let bytes = fs::read(&data).unwrap();
    let text = fs::read_to_string(repository("tests/data/openpgp/good-armored.asc")).unwrap();
    let (file, mut taken) = (home.path().join("t.asc"), 0);
    let forms = armored(&text);
    for (what, form) in &forms {
        fs::write(&file, form).unwrap();
        let judge = gpg(home.path(), &["--verify", file.to_str().unwrap(), data.to_str().unwrap()]);
        let ours = key.expect("form", form, SystemTime::now()).and_then(|mut verifier| {
            verifier.update(&bytes);
            verifier.finish()
        });
        assert_eq!(ours.is_ok(), judge, "{what}: {ours:?}");
        taken += usize::from(judge);
    }
    assert!(taken > 20 && taken < forms.len() - 8, "{taken} of {}", forms.len());
}

#[test]
fn an_armored_key_of_any_form_is_taken_if_gpg_takes_it() {
    let text = fs::read_to_string(repository("tests/lab/keys/lab.asc")).unwrap();
    let mut taken = 0;
    for (what, form) in armored(&text) {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("t.asc");
        fs::write(&file, &form).unwrap();
        let judge = gpg(home.path(), &["--import", file.to_str().unwrap()]);
        let ours = TrustedKey::parse("form", &form, PRIMARY.parse().unwrap());
        // A mark in front of a key has always been read over.
        if !what.starts_with("a mark in front") {
            assert_eq!(ours.is_ok(), judge, "{what}: {:?}", ours.err());
        }
        taken += usize::from(judge);
    }
    assert!(taken > 20, "{taken}");
}

#[test]
fn a_release_whose_signatures_are_armored_on_windows_is_built() {
    let world = World::new();
    let release = world.path("release/stable/amd64-usr").join(crate::world::VERSION);
    for entry in fs::read_dir(&release).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "sig") {
            let armor =
                run(Command::new("gpg").args(["--batch", "--yes", "--enarmor", "-o", "-"]).arg(&path)).stdout;
            let text = String::from_utf8(armor).unwrap().replace("PGP ARMORED FILE", "PGP SIGNATURE");
            fs::write(&path, text.replace('\n', "\r\n")).unwrap();
        }
    }
    let key = world.path("recipes/lab.asc");
    let text = fs::read_to_string(&key).unwrap();
    fs::write(&key, format!("{BYTE_ORDER_MARK}{}", text.replace('\n', "\r\n"))).unwrap();
    world.build();
}
