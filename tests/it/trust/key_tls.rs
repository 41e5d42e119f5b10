//! `prebake key tls`. The judges are OpenSSL, and the real Matchbox, which is Go's crypto/tls.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::judges;
use crate::lab::ports;
use crate::world::http::Server;
use crate::world::{Run, prebake_in};

/// A directory in which certificates are made.
struct Desk(TempDir);

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// `prebake key tls pki …`
    fn tls(&self, args: &str) -> Run {
        let words = ["key", "tls"].into_iter().chain(args.split_whitespace());
        Run::of(prebake_in(self.0.path(), &words.collect::<Vec<_>>()).output().unwrap())
    }

    fn openssl(&self, args: &str) -> Run {
        let mut command = Command::new("openssl");
        command.args(args.split_whitespace()).current_dir(self.0.path()).stdin(Stdio::null());
        Run::of(command.output().unwrap())
    }

    /// OpenSSL's words about a certificate of `pki`.
    fn about(&self, name: &str) -> String {
        self.openssl(&format!("x509 -in pki/{name} -noout -text")).ok().stdout
    }

    /// Every file of `pki` with its bytes.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.path("pki")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// OpenSSL's judgement of a certificate of `pki` under the authority there.
    fn verify(&self, args: &str) -> Run {
        self.openssl(&format!("verify -x509_strict -CAfile pki/ca.crt {args}"))
    }
}

#[test]
fn openssl_takes_servers_and_clients_each_for_its_own_purpose() {
    for (algorithm, key) in [("ecdsa", "Public-Key: (256 bit)"), ("rsa", "Public-Key: (3072 bit)")] {
        let desk = Desk::new();
        let names = "--server boot.example.com *.lab.example 10.0.0.2 fd00::2 --client client ci.example";
        let made = desk.tls(&format!("pki {names} --algorithm {algorithm}")).ok();
        assert_eq!(made.stdout.matches(" made, until ").count(), 4, "{}", made.stdout);
        for name in ["server", "client", "ci.example", "ca"] {
            let mode = fs::metadata(desk.path(&format!("pki/{name}.key"))).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            assert!(
                desk.about(&format!("{name}.crt")).contains(key),
                "{}",
                desk.about(&format!("{name}.crt"))
            );
        }
        for name in ["boot.example.com", "any.lab.example"] {
            desk.verify(&format!("-purpose sslserver -verify_hostname {name} pki/server.crt")).ok();
        }
        for address in ["10.0.0.2", "fd00::2"] {
            desk.verify(&format!("-purpose sslserver -verify_ip {address} pki/server.crt")).ok();
        }
        desk.verify("-purpose sslclient pki/client.crt pki/ci.example.crt").ok();
        for wrong in [
            "-purpose sslclient pki/server.crt",
            "-purpose sslserver pki/client.crt",
            "-purpose sslserver -verify_hostname other.example.com pki/server.crt",
            "-purpose sslserver -verify_ip 10.0.0.3 pki/server.crt",
        ] {
            assert_ne!(desk.verify(wrong).code, Some(0), "{wrong}");
        }
        let subject =
            desk.openssl("x509 -in pki/ci.example.crt -noout -subject -nameopt RFC2253").ok().stdout;
        assert_eq!(subject.trim(), "subject=CN=ci.example");
        // A certificate of one authority is nothing to another.
        desk.tls("other --client client").ok();
        let stranger = desk.openssl("verify -CAfile other/ca.crt pki/client.crt");
        assert_ne!(stranger.code, Some(0));
    }
}

#[test]
fn what_is_there_is_kept_or_an_error_and_clients_are_added_later() {
    let desk = Desk::new();
    desk.tls("pki --server boot.example.com 10.0.0.2 --client client").ok();
    let first = desk.files();
    let again = desk.tls("pki --server boot.example.com --client client --json").ok();
    let rows: Value = serde_json::from_str(&again.stdout).unwrap();
    let done: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["done"].as_str().unwrap()).collect();
    assert_eq!(done, ["kept", "kept", "kept"]);
    assert_eq!(rows[1]["names"], serde_json::json!(["boot.example.com", "10.0.0.2"]));
    assert_eq!(desk.files(), first);

    desk.tls("pki --client second").ok();
    assert_eq!(desk.files().len(), first.len() + 2);
    desk.verify("-purpose sslclient pki/second.crt").ok();

    let before = desk.files();
    for (args, code, words) in [
        ("pki --server other.example.com", 2, "pki/server.crt exists, and it is not for other.example.com"),
        ("pki --server http://boot:8081", 2, "leave out scheme, port, brackets and path: `--server boot`"),
        ("pki --server [::1]", 2, "`--server ::1`"),
        ("pki --renew --algorithm rsa", 2, "--algorithm is for new keys, and --renew makes none"),
        ("pki --client ../x", 2, "cannot be a client's name"),
        ("pki --client ca", 2, "cannot be a client's name"),
        ("pki --client Server", 2, "cannot be a client's name"),
        ("pki --server a/b --client third", 2, "`a/b` is neither a DNS name nor an IP address"),
        ("pki --client third --days 0", 2, "0 days are no lifetime"),
        ("pki --client third --days 99999", 2, "99999 days are no lifetime"),
        ("nothing --renew", 2, "nothing has nothing to renew"),
        ("pki", 2, "there is nothing to do in pki"),
        ("pki --renew --client clinet", 2, "did you mean `client`?"),
        ("--server 127.0.0.1 --client new pki", 2, "`pki` was taken for one of the names after --client"),
        ("--client new --server 127.0.0.1 pki", 2, "`pki` was taken for one of the names after --server"),
        ("--renew", 2, "DIR is missing"),
    ] {
        desk.tls(args).fails(code, &[words]);
    }
    assert!(!desk.path("nothing").exists());
    assert_eq!(desk.files(), before, "a refused run wrote something");
}

/// A run that was killed leaves a key alone. A certificate alone is of no use, and its key may be elsewhere.
#[test]
fn a_lone_key_gets_its_certificate_and_a_lone_certificate_is_told() {
    let desk = Desk::new();
    desk.tls("pki --server boot.example.com --client client").ok();
    let keys = ["ca", "server"].map(|name| desk.read(&format!("pki/{name}.key")));
    for name in ["ca.crt", "server.crt", "client.crt", "client.key"] {
        fs::remove_file(desk.path(&format!("pki/{name}"))).unwrap();
    }
    desk.tls("pki --server boot.example.com --client client").ok();
    desk.verify("-purpose sslserver pki/server.crt").ok();
    desk.verify("-purpose sslclient pki/client.crt").ok();
    assert_eq!(["ca", "server"].map(|name| desk.read(&format!("pki/{name}.key"))), keys);

    fs::remove_file(desk.path("pki/client.key")).unwrap();
    desk.tls("pki --client client")
        .fails(5, &["pki/client.crt is there without pki/client.key", "put its key back"]);
    fs::copy(desk.path("pki/server.key"), desk.path("pki/client.key")).unwrap();
    desk.tls("pki --client client").fails(
        5,
        &["pki/client.crt cannot be used: it does not belong to pki/client.key", "for a new pair, move"],
    );
    fs::write(desk.path("pki/ca.key"), "no key\n").unwrap();
    desk.tls("pki --client new").fails(5, &["pki/ca.key cannot be used: it is not a private key"]);
    fs::remove_file(desk.path("pki/ca.key")).unwrap();
    desk.tls("pki --client new")
        .fails(5, &["pki/ca.crt is there without pki/ca.key", "name another directory"]);
    assert!(!desk.path("pki/new.key").exists());
}

/// On 2026-11-30 a renewal passed over them in silence.
#[test]
fn a_renewal_tells_the_pairs_that_it_cannot_renew_and_a_key_that_is_open() {
    let desk = Desk::new();
    desk.tls("pki --server boot.example.com --client client ci").ok();
    fs::remove_file(desk.path("pki/server.key")).unwrap();
    fs::remove_file(desk.path("pki/ci.crt")).unwrap();
    fs::set_permissions(desk.path("pki/ca.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let run = desk.tls("pki --renew").ok();
    for told in [
        "not renewed: there is no pki/server.key beside it",
        "not renewed: there is no pki/ci.crt beside it",
        "pki/client.crt",
    ] {
        assert!(run.stdout.contains(told), "{told}: {}", run.stdout);
    }
    assert!(run.stderr.contains("pki/ca.key (mode 0644): chmod 600"), "{}", run.stderr);
    let rows: Value = serde_json::from_str(&desk.tls("pki --renew --json").ok().stdout).unwrap();
    let rows: Vec<_> = rows.as_array().unwrap().iter().map(|row| (&row["done"], &row["missing"])).collect();
    let missing = |name: &str| (Value::from("not renewed"), Value::from(name));
    for (done, name) in [missing("pki/server.key"), missing("pki/ci.crt"), ("renewed".into(), Value::Null)] {
        assert!(rows.contains(&(&done, &name)), "{rows:?}");
    }
    fs::copy(desk.path("pki/client.crt"), desk.path("pki/server.crt")).unwrap();
    fs::create_dir(desk.path("other")).unwrap();
    desk.tls("other --client client").ok();
    for end in ["crt", "key"] {
        fs::copy(desk.path(&format!("other/client.{end}")), desk.path(&format!("pki/client.{end}"))).unwrap();
    }
    desk.tls("pki --renew --client client")
        .fails(5, &["pki/ca.crt did not issue it", "for a new pair, move"]);
}

#[test]
fn a_renewal_keeps_keys_and_names_and_follows_links() {
    let desk = Desk::new();
    desk.tls("pki --server boot.example.com 10.0.0.2 --client client --days 30").ok();
    // As a site has it whose server reads from elsewhere.
    fs::create_dir(desk.path("etc")).unwrap();
    fs::rename(desk.path("pki/server.crt"), desk.path("etc/server.crt")).unwrap();
    symlink("../etc/server.crt", desk.path("pki/server.crt")).unwrap();
    let before = desk.files();
    let serial = |name: &str| desk.openssl(&format!("x509 -in pki/{name}.crt -noout -serial")).ok().stdout;
    let serials = ["server", "client", "ca"].map(serial);
    let renewed = desk.tls("pki --renew").ok();
    assert_eq!(renewed.stdout.matches(" renewed, until ").count(), 2, "{}", renewed.stdout);
    for ((path, old), (_, new)) in before.iter().zip(desk.files()) {
        let is_renewed = path.ends_with("server.crt") || path.ends_with("client.crt");
        assert_eq!(*old != new, is_renewed, "{}", path.display());
    }
    assert!(fs::symlink_metadata(desk.path("pki/server.crt")).unwrap().is_symlink());
    let again = ["server", "client", "ca"].map(serial);
    assert!(serials[0] != again[0] && serials[1] != again[1] && serials[2] == again[2], "{again:?}");
    desk.verify("-purpose sslserver -verify_hostname boot.example.com -verify_ip 10.0.0.2 pki/server.crt")
        .ok();
    desk.verify("-purpose sslclient pki/client.crt").ok();
    // 300 days from now they still hold, which those of 30 days did not.
    assert_eq!(desk.openssl("x509 -in pki/server.crt -noout -checkend 25920000").code, Some(0));

    let only = desk.tls("pki --renew --server next.example.com").ok();
    assert!(only.stdout.contains("renewed, until") && !only.stdout.contains("client"), "{}", only.stdout);
    assert!(only.stdout.contains("no longer for boot.example.com, 10.0.0.2"), "{}", only.stdout);
    desk.verify("-purpose sslserver -verify_hostname next.example.com pki/server.crt").ok();
    assert_ne!(
        desk.verify("-purpose sslserver -verify_hostname boot.example.com pki/server.crt").code,
        Some(0)
    );
    let keys = |files: &[(PathBuf, Vec<u8>)]| {
        files.iter().filter(|(path, _)| path.extension().unwrap() == "key").cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&desk.files()), keys(&before));
}

/// As Matchbox's documents have one made, and with a name of several parts.
#[test]
fn an_authority_of_another_program_issues_certificates_too() {
    for (make, key) in
        [("-newkey rsa:2048", "3072 bit"), ("-newkey ec -pkeyopt ec_paramgen_curve:P-384", "256 bit")]
    {
        let desk = Desk::new();
        fs::create_dir(desk.path("pki")).unwrap();
        desk.openssl(&format!(
            "req -x509 {make} -nodes -days 3650 -subj /C=DE/O=Gr\u{fc}n/OU=boot/CN=fake-ca -utf8 -keyout pki/ca.key -out pki/ca.crt \
             -addext basicConstraints=critical,CA:true,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign"
        ))
        .ok();
        desk.tls("pki --server boot.example.com --client client").ok();
        desk.verify("-purpose sslserver -verify_hostname boot.example.com pki/server.crt").ok();
        desk.verify("-purpose sslclient pki/client.crt").ok();
        assert!(desk.about("client.crt").contains(key), "{}", desk.about("client.crt"));
        desk.tls("pki --renew").ok();
        desk.verify("-purpose sslclient pki/client.crt").ok();

        // A certificate that is no authority's is told before anything is made.
        fs::rename(desk.path("pki/client.crt"), desk.path("pki/ca.crt")).unwrap();
        fs::rename(desk.path("pki/client.key"), desk.path("pki/ca.key")).unwrap();
        desk.tls("pki --client next")
            .fails(5, &["pki/ca.crt cannot be used", "not the certificate of an authority"]);
    }
}

/// Makes a directory `pki` with an authority by OpenSSL, which has these extensions.
fn foreign(subject: &str, extensions: &str) -> Desk {
    let desk = Desk::new();
    fs::create_dir(desk.path("pki")).unwrap();
    desk.openssl("ecparam -name prime256v1 -genkey -out pki/ca.key").ok();
    let extensions: String = extensions.split_whitespace().map(|one| format!(" -addext {one}")).collect();
    let args =
        format!("req -x509 -new -key pki/ca.key -subj {subject} -utf8 -days 30 -out pki/ca.crt{extensions}");
    desk.openssl(&args).ok();
    desk
}

const AUTHORITY: &str = "keyUsage=critical,keyCertSign,cRLSign";

/// The lines about a certificate without those that a renewal changes: lifetime, both serial numbers and the signature.
fn lasting(text: &str) -> Vec<String> {
    let signed = text.split("Signature Value:").next().unwrap();
    let serial = signed.lines().position(|line| line.contains("Serial Number:")).unwrap();
    let kept = signed.lines().enumerate().filter(|(at, _)| ![serial, serial + 1].contains(at));
    let lines = kept.map(|(_, line)| line.trim().trim_start_matches("keyid:").to_owned());
    let changes = ["Not Before", "Not After", "DirName:", "serial:"];
    lines.filter(|line| !changes.iter().any(|change| line.starts_with(change))).collect()
}

#[test]
fn a_renewal_keeps_all_that_a_certificate_says_and_the_file_s_mode_and_owner() {
    let more = "subjectAltName=email:ops@example.com nameConstraints=permitted;DNS:lab.example,permitted;IP:10.0.0.0/255.0.0.0";
    let desk = foreign(
        "/C=DE/ST=Berlin/O=Gr\u{fc}n/OU=boot+OU=lab/emailAddress=ops@example.com/CN=fake-ca",
        &format!("{AUTHORITY} {more}"),
    );
    desk.tls("pki --server a.lab.example --client client --days 20").ok();
    // A client as a site has made it by itself, and behind the server's certificate that of its issuer.
    fs::write(
        desk.path("ext"),
        "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\nsubjectAltName=URI:spiffe://lab/bob\n\
         authorityKeyIdentifier=keyid,issuer:always\nsubjectKeyIdentifier=hash\n",
    )
    .unwrap();
    desk.openssl(
        "req -new -newkey rsa:2048 -nodes -keyout pki/bob.key -out bob.csr -subj /O=ops/OU=night/CN=Bob",
    )
    .ok();
    desk.openssl("x509 -req -in bob.csr -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 20 -extfile ext -out pki/bob.crt")
        .ok();
    let chain = desk.read("pki/server.crt") + &desk.read("pki/ca.crt");
    fs::write(desk.path("pki/server.crt"), chain).unwrap();
    for (name, mode) in [("ca", 0o640), ("server", 0o600), ("bob", 0o440)] {
        let path = desk.path(&format!("pki/{name}.crt"));
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        // Others than root cannot give files away.
        let _ = chown(&path, Some(12), Some(12));
    }
    let state = |name: &str| {
        let meta = fs::metadata(desk.path(&format!("pki/{name}.crt"))).unwrap();
        (meta.uid(), meta.gid(), meta.mode())
    };
    let names = ["ca", "server", "bob", "client"];
    let before = names.map(|name| (lasting(&desk.about(&format!("{name}.crt"))), state(name)));
    let bob = before[2].0.join("\n");
    assert!(bob.contains("spiffe://lab/bob") && bob.contains("OU = night"), "{bob}");
    let ca = desk.read("pki/ca.crt");

    let renewed = desk.tls("pki --renew").ok();
    assert_eq!(renewed.stdout.matches(" renewed, until ").count(), 4, "{}", renewed.stdout);
    for (name, (said, state_before)) in names.iter().zip(before) {
        let now = desk.about(&format!("{name}.crt"));
        assert_eq!(lasting(&now), said, "{name}");
        assert_eq!(state(name), state_before, "{name}");
        // It would name a serial number that the authority no longer has.
        assert!(!now.contains("DirName"), "{now}");
    }
    assert_ne!(desk.read("pki/ca.crt"), ca);
    let server = desk.read("pki/server.crt");
    assert!(server.ends_with(&desk.read("pki/ca.crt")) && server.matches("BEGIN CERT").count() == 2);
    for args in
        ["-purpose sslserver -verify_hostname a.lab.example pki/server.crt", "-purpose sslclient pki/bob.crt"]
    {
        desk.openssl(&format!("verify -CAfile pki/ca.crt {args}")).ok();
        // Sides that have the old one still know the new certificates.
        fs::write(desk.path("old.crt"), &ca).unwrap();
        desk.openssl(&format!("verify -CAfile old.crt {args}")).ok();
    }
    // With other names it has another common name, and the rest stays.
    let other = desk.tls("pki --renew --server b.lab.example 10.0.0.7 --json").ok();
    let rows: Value = serde_json::from_str(&other.stdout).unwrap();
    assert_eq!(rows[1]["dropped"], serde_json::json!(["a.lab.example"]));
    assert_eq!(rows[1]["common_name"], "b.lab.example");
    desk.openssl(
        "verify -CAfile pki/ca.crt -verify_hostname b.lab.example -verify_ip 10.0.0.7 pki/server.crt",
    )
    .ok();
}

#[test]
fn an_intermediate_authority_issues_and_is_never_made_a_root() {
    let desk = foreign("/CN=root", AUTHORITY);
    fs::rename(desk.path("pki"), desk.path("root")).unwrap();
    fs::create_dir(desk.path("pki")).unwrap();
    fs::write(
        desk.path("ext"),
        "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n",
    )
    .unwrap();
    desk.openssl("req -new -newkey rsa:2048 -nodes -keyout pki/ca.key -out ca.csr -subj /O=site/CN=between")
        .ok();
    desk.openssl("x509 -req -in ca.csr -CA root/ca.crt -CAkey root/ca.key -CAcreateserial -days 100 -extfile ext -out pki/ca.crt")
        .ok();
    desk.tls("pki --server boot.example.com --client client").ok();
    desk.openssl("verify -CAfile root/ca.crt -untrusted pki/ca.crt -purpose sslclient pki/client.crt").ok();
    let before = desk.files();
    desk.tls("pki --renew").fails(
        5,
        &[
            "pki/ca.crt ends at 20",
            "and CN=root, which issued it, alone can renew it",
            "for the key in pki/ca.key",
            "--days 99",
        ],
    );
    assert_eq!(desk.files(), before);
    desk.tls("pki --renew --days 99").ok();
    assert_eq!(
        desk.read("pki/ca.crt").as_bytes(),
        before.iter().find(|(path, _)| path.ends_with("ca.crt")).unwrap().1
    );
    desk.openssl("verify -CAfile root/ca.crt -untrusted pki/ca.crt -purpose sslclient pki/client.crt").ok();
}

#[test]
fn what_no_verifier_would_take_is_not_written() {
    for (extensions, args, words) in [
        (
            "keyUsage=critical,digitalSignature",
            "--client client",
            "its key usage does not allow it to sign certificates",
        ),
        (
            &*format!("{AUTHORITY} extendedKeyUsage=serverAuth"),
            "--client client",
            "its extended key usage is not for clients",
        ),
        (
            &*format!("{AUTHORITY} nameConstraints=critical,permitted;DNS:lab.example"),
            "--client client --server boot.example.com",
            "what pki/ca.crt issues for `boot.example.com` would be taken by nobody: its names are none that its authority may vouch for",
        ),
        (AUTHORITY, "--server boot.example.com.", "leave out the dot at its end"),
    ] {
        let desk = foreign("/CN=odd", extensions);
        let told = desk.tls(&format!("pki {args}"));
        assert!(told.stderr.contains(words), "{}", told.stderr);
        assert!([Some(2), Some(5)].contains(&told.code));
        assert_eq!(desk.files().len(), 2, "{extensions}");
    }
}

#[test]
fn files_of_several_blocks_are_read_as_the_server_reads_them() {
    let desk = foreign("/CN=site", AUTHORITY);
    assert!(desk.read("pki/ca.key").starts_with("-----BEGIN EC PARAMETERS"));
    // The site's authority before this one.
    desk.tls("old --client client").ok();
    let both = desk.read("old/ca.crt") + "# the one of this year\n" + &desk.read("pki/ca.crt");
    fs::write(desk.path("pki/ca.crt"), both).unwrap();
    desk.tls("pki --server boot.example.com --client client --days 20").ok();
    desk.verify("-purpose sslserver pki/server.crt").ok();
    let told = desk.tls("pki --renew --json").ok();
    let rows: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!((&rows[0]["done"], &rows[0]["common_name"]), (&Value::from("renewed"), &Value::from("site")));
    assert!(desk.read("pki/ca.crt").starts_with(&desk.read("old/ca.crt")), "the one before it is gone");
    desk.verify("-purpose sslclient pki/client.crt old/client.crt").ok();

    let broken = desk.read("pki/client.crt").replace("MII", "!II");
    fs::write(desk.path("pki/client.crt"), broken).unwrap();
    desk.tls("pki --client client")
        .fails(5, &["pki/client.crt cannot be used: the certificate that begins in line 1 is broken"]);
    desk.openssl("x509 -in pki/server.crt -outform DER -out pki/client.crt").ok();
    desk.tls("pki --client client")
        .fails(5, &["pki/client.crt cannot be used: it is a certificate in DER, and not in PEM"]);
    desk.openssl("genrsa -out pki/client.key 1024").ok();
    desk.tls("pki --client client")
        .fails(5, &["pki/client.key cannot be used: it is of no kind that can be used: RSA of 2048 bits"]);
}

#[test]
fn no_second_authority_is_founded_beside_certificates_of_a_lost_one() {
    let desk = Desk::new();
    desk.tls("pki --server boot.example.com --client client").ok();
    fs::create_dir(desk.path("away")).unwrap();
    for name in ["ca.crt", "ca.key"] {
        fs::rename(desk.path("pki").join(name), desk.path("away").join(name)).unwrap();
    }
    let before = desk.files();
    let words = [
        "pki/client.crt was issued by CN=prebake authority ",
        "whose files are not there",
        "as pki/ca.crt and pki/ca.key",
        "name another directory",
    ];
    desk.tls("pki --client next").fails(5, &words);
    desk.tls("pki --renew").fails(5, &words);
    assert_eq!(desk.files(), before);
    // Its key is there, and it had another name than one of ours.
    let site = foreign("/CN=site", AUTHORITY);
    site.tls("pki --client client").ok();
    fs::remove_file(site.path("pki/ca.crt")).unwrap();
    site.tls("pki --client next")
        .fails(5, &["pki/client.crt was issued by CN=site, whose files are not there"]);

    fs::rename(desk.path("pki"), desk.path("away/pki")).unwrap();
    desk.tls("pki --client next").ok();
}

/// The private parts of keys are in their files alone.
#[test]
fn no_key_is_printed() {
    let desk = Desk::new();
    let made = desk.tls("pki --server boot.example.com --client client --json").ok();
    for name in ["ca.key", "server.key", "client.key"] {
        let key = desk.read(&format!("pki/{name}"));
        for line in key.lines().filter(|line| !line.starts_with('-')) {
            assert!(!made.stdout.contains(line) && !made.stderr.contains(line));
        }
    }
}

/// Matchbox is given the files as they are named, and refuses clients without a certificate of this authority.
#[test]
fn matchbox_itself_serves_with_them_and_lets_only_their_clients_in() {
    let Some(programs) = judges::build("matchbox") else { return };
    for algorithm in ["ecdsa", "rsa"] {
        let desk = Desk::new();
        desk.tls(&format!("pki --server localhost 127.0.0.1 --client client --algorithm {algorithm}")).ok();
        desk.tls("foreign --client client").ok();
        fs::create_dir(desk.path("data")).unwrap();
        let [rpc, http] = [0; 2].map(|_| ports::unused().to_string());
        let mut command = Command::new(programs.join("matchbox"));
        command.args(["-address", &http, "-rpc-address", &rpc, "-assets-path=", "-data-path"]);
        command.arg(desk.path("data"));
        for (flag, file) in
            [("-ca-file", "ca.crt"), ("-cert-file", "server.crt"), ("-key-file", "server.key")]
        {
            command.arg(flag).arg(desk.path("pki").join(file));
        }
        let mut server = Server::start(&mut command);
        server.says("Starting matchbox HTTP server");
        while TcpStream::connect(&rpc).is_err() {
            assert!(server.is_running(), "Matchbox ended: {}", server.end());
            thread::sleep(Duration::from_millis(20));
        }
        let asked = |client: &str| {
            let args = format!(
                "s_client -connect {rpc} -alpn h2 -CAfile pki/ca.crt -verify_return_error -verify_hostname localhost {client}"
            );
            // Behind the handshake come frames of HTTP/2.
            let mut command = Command::new("openssl");
            command.args(args.split_whitespace()).current_dir(desk.0.path()).stdin(Stdio::null());
            let told = command.output().unwrap();
            let text = [told.stdout, told.stderr].concat();
            (told.status.code(), String::from_utf8_lossy(&text).into_owned())
        };
        // TLS 1.2, where the server's refusal is a part of the handshake.
        let (code, told) = asked("-tls1_2 -cert pki/client.crt -key pki/client.key");
        assert!(code == Some(0) && told.contains("Verify return code: 0 (ok)"), "{told}");
        for refused in ["-tls1_2", "-tls1_2 -cert foreign/client.crt -key foreign/client.key"] {
            let (code, told) = asked(refused);
            assert!(code != Some(0) && told.contains("alert"), "{refused}: {told}");
        }
    }
}
