//! The cluster's keys: made once, completed after any kill, refused where they do not fit, and never shown.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime};

use prebake::base::error::{Advice, Exit};
use prebake::cluster::pki::key::Algorithm;
use prebake::cluster::pki::kubeconfig::Written;
use prebake::cluster::pki::{Error, JOINING_LASTS, Pki, token};
use prebake::cluster::place::Place;

use prebake::cluster::description::Etcd;

use super::{description, said};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
/// In the order in which they are made.
const FILES: [&str; 9] = [
    "ca.key",
    "ca.crt",
    "front-proxy-ca.key",
    "front-proxy-ca.crt",
    "etcd/ca.key",
    "etcd/ca.crt",
    "sa.key",
    "sa.pub",
    ".complete",
];

fn ensure(place: &Place) -> Result<Pki, Error> {
    Pki::ensure(place, Algorithm::default(), SystemTime::now())
}

fn place(directory: &Path) -> Place {
    Place::new(&directory.join("output"), "lab")
}

fn files(place: &Place) -> BTreeMap<&'static str, Vec<u8>> {
    FILES.iter().filter_map(|name| Some((*name, fs::read(place.pki().join(name)).ok()?))).collect()
}

fn openssl(directory: &Path, args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The hint of a refusal, which each has.
fn refusal(result: Result<Pki, Error>) -> (Error, String) {
    let error = result.expect_err("it was taken");
    let hint = error.hint().unwrap_or_default();
    assert!(!hint.is_empty(), "{error}");
    (error, hint)
}

/// Found on 2026-11-29: the directory was lost, the kubeconfig was there, and machines were given the authorities of a new cluster before
/// the kubeconfig was found to be of another.
#[test]
fn keys_that_are_lost_are_not_made_anew_beside_the_kubeconfig_that_was_made_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    ensure(&place).unwrap().write_kubeconfig(&place, &description("v1.33.13"), SystemTime::now()).unwrap();
    fs::remove_dir_all(place.own()).unwrap();
    let (error, hint) = refusal(ensure(&place));
    assert!(error.to_string().contains("ca.key is lost: the kubeconfig"), "{error}");
    assert!(hint.contains("backup"), "{hint}");
    assert_eq!(files(&place), BTreeMap::new());
}

/// kubernetes/kubeadm#2353: a half-done run must not be in the next one's way. Each file has its name only when it is complete, so a kill
/// leaves the first files of the list.
#[test]
fn keys_are_made_once_and_a_set_that_was_cut_off_after_any_file_is_completed_and_keeps_what_was_there() {
    let directory = tempfile::tempdir().unwrap();
    let whole = place(directory.path());
    ensure(&whole).unwrap();
    let all = files(&whole);
    assert_eq!(all.len(), FILES.len());
    ensure(&whole).unwrap();
    Pki::open(&whole, SystemTime::now()).unwrap();
    assert_eq!(files(&whole), all);

    for kept in 0..FILES.len() {
        let part = place(&directory.path().join(kept.to_string()));
        fs::create_dir_all(part.pki().join("etcd")).unwrap();
        for name in &FILES[..kept] {
            fs::write(part.pki().join(name), &all[name]).unwrap();
        }
        let early = Pki::open(&part, SystemTime::now());
        assert_eq!(early.is_ok(), kept == FILES.len() - 1, "{kept}");
        ensure(&part).unwrap_or_else(|error| panic!("after {kept} files: {error}"));
        let now = files(&part);
        assert_eq!(now.len(), FILES.len());
        assert!(FILES[..kept].iter().all(|name| now[name] == all[name]), "{kept}");
    }
}

#[test]
fn runs_at_once_make_one_set() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let hashes: Vec<String> = thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| ensure(&place).unwrap().ca_hash())).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}

#[test]
fn a_lost_key_is_never_made_anew_and_what_follows_from_a_key_is() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    ensure(&place).unwrap();
    let all = files(&place);
    for name in &FILES[..8] {
        let path = place.pki().join(name);
        fs::remove_file(&path).unwrap();
        let again = ensure(&place);
        match name.ends_with(".key") {
            true => {
                let (error, hint) = refusal(again);
                assert!(matches!(&error, Error::Lost { path: lost, .. } if *lost == path), "{error}");
                assert!(hint.contains("backup"), "{hint}");
                assert_eq!(error.exit(), Exit::Trust);
            }
            // A certificate or public key of the same key.
            false => drop(again.unwrap()),
        }
        fs::write(&path, &all[name]).unwrap();
    }
    // Of a set that never was complete, a certificate alone says that there was a key.
    for pair in [["sa.pub", "sa.key"], ["etcd/ca.crt", "etcd/ca.key"], ["ca.crt", "ca.key"]] {
        fs::remove_file(place.pki().join(".complete")).unwrap();
        fs::remove_file(place.pki().join(pair[1])).unwrap();
        refusal(ensure(&place));
        fs::remove_file(place.pki().join(pair[0])).unwrap();
        let (error, _) = refusal(Pki::open(&place, SystemTime::now()));
        assert!(matches!(error, Error::Lost { .. }));
        ensure(&place).unwrap();
    }
    fs::remove_dir_all(place.own()).unwrap();
    let (error, hint) = refusal(Pki::open(&place, SystemTime::now()));
    assert!(matches!(error, Error::Absent(_)) && hint.contains("generate"), "{error}");
}

#[test]
fn what_does_not_belong_together_or_cannot_sign_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    ensure(&place).unwrap();
    let pki = place.pki();
    let refuse = |name: &str, bytes: &[u8], what: fn(&Error) -> bool| {
        let kept = fs::read(pki.join(name)).unwrap();
        fs::write(pki.join(name), bytes).unwrap();
        for opened in [ensure(&place), Pki::open(&place, SystemTime::now())] {
            let (error, _) = refusal(opened);
            assert!(what(&error), "{name}: {error}");
            assert!(!format!("{error:?}").contains("PRIVATE"), "{error:?}");
        }
        fs::write(pki.join(name), kept).unwrap();
    };
    let other = |name: &str| fs::read(pki.join(name)).unwrap();
    let strangers = |error: &Error| matches!(error, Error::Strangers { .. });
    let unfit = |error: &Error| matches!(error, Error::Unfit { .. });
    for (name, of) in [
        ("ca.key", "etcd/ca.key"),
        ("ca.crt", "etcd/ca.crt"),
        ("etcd/ca.crt", "front-proxy-ca.crt"),
        ("front-proxy-ca.key", "sa.key"),
        ("sa.key", "ca.key"),
    ] {
        refuse(name, &other(of), strangers);
    }
    for name in &FILES[..8] {
        for bytes in
            [&b""[..], b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &[0xff; 100]]
        {
            refuse(name, bytes, unfit);
        }
    }
    refuse("ca.crt", &other("ca.key"), unfit);
    let made = directory.path();
    openssl(made, &["genpkey", "-algorithm", "ed25519", "-out", "ed.key"]);
    openssl(
        made,
        &[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-aes256",
            "-pass",
            "pass:x",
            "-out",
            "locked.key",
        ],
    );
    for key in ["ed.key", "locked.key"] {
        refuse("ca.key", &fs::read(made.join(key)).unwrap(), unfit);
    }
    // A certificate of the authority's own key that may not sign.
    let key = pki.join("ca.key");
    let key = key.to_str().unwrap();
    openssl(
        made,
        &[
            "req",
            "-x509",
            "-key",
            key,
            "-subj",
            "/CN=kubernetes",
            "-out",
            "leaf.crt",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ],
    );
    openssl(
        made,
        &[
            "req",
            "-x509",
            "-key",
            key,
            "-subj",
            "/CN=kubernetes",
            "-out",
            "usage.crt",
            "-addext",
            "keyUsage=digitalSignature",
        ],
    );
    openssl(made, &["req", "-x509", "-key", key, "-subj", "/CN=a+O=b", "-out", "twofold.crt"]);
    openssl(made, &["req", "-x509", "-key", key, "-subj", "/OU=a/OU=b", "-out", "twice.crt"]);
    for certificate in ["leaf.crt", "usage.crt", "twofold.crt", "twice.crt"] {
        refuse("ca.crt", &fs::read(made.join(certificate)).unwrap(), unfit);
    }
}

#[test]
fn an_expired_authority_is_said_with_this_machine_s_clock_and_a_certificate_for_the_same_key_helps() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let hash = ensure(&place).unwrap().ca_hash();
    let later = SystemTime::now() + 11 * YEAR;
    let (error, hint) = refusal(Pki::ensure(&place, Algorithm::default(), later));
    assert!(
        matches!(error, Error::Expired { .. }) && error.to_string().contains("ca.crt expired at 20"),
        "{error}"
    );
    assert!(hint.contains("clock") && hint.contains("remove ca.crt"), "{hint}");
    for name in ["ca.crt", "front-proxy-ca.crt", "etcd/ca.crt"] {
        fs::remove_file(place.pki().join(name)).unwrap();
    }
    let renewed = Pki::ensure(&place, Algorithm::default(), later).unwrap();
    assert_eq!(renewed.ca_hash(), hash);
}

/// kubernetes/kubernetes#42791, kubernetes-retired/cluster-api-bootstrap-provider-kubeadm#158: "certificate is not valid yet".
#[test]
fn certificates_count_for_a_machine_whose_clock_is_behind_and_whatever_this_clock_says() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = description("v1.33.13");
    let clocks = [0, 978_307_200, 1_793_491_200, 253_402_300_799, i64::MAX as u64];
    for (number, seconds) in clocks.into_iter().enumerate() {
        let Some(now) = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)) else { continue };
        let place = place(&directory.path().join(number.to_string()));
        let pki = match Pki::ensure(&place, Algorithm::default(), now) {
            Ok(pki) => pki,
            // Nothing lasts beyond the last day of all calendars.
            Err(Error::Expired { .. }) if seconds >= 253_402_300_799 => continue,
            Err(error) => panic!("{seconds}: {error}"),
        };
        let made = place.output();
        fs::write(made.join("now.conf"), pki.discovery(&cluster, "w1", JOINING_LASTS, now).unwrap().text())
            .unwrap();
        let certificate = part(made, "now.conf", "client-certificate-data");
        let dates = openssl(made, &["x509", "-noout", "-dates", "-in", certificate.to_str().unwrap()]);
        assert!(dates.contains("notBefore=Jan  1 00:00:00 2020"), "{dates}");
        let authority = place.pki().join("ca.crt");
        let dates = openssl(
            made,
            &["x509", "-noout", "-startdate", "-checkend", "1", "-in", authority.to_str().unwrap()],
        );
        assert!(
            dates.contains("notBefore=Jan  1 00:00:00 2020") && dates.contains("will not expire"),
            "{dates}"
        );
    }
}

/// A part of a kubeconfig, decoded into a file.
fn part(directory: &Path, kubeconfig: &str, key: &str) -> PathBuf {
    let text = fs::read_to_string(directory.join(kubeconfig)).unwrap();
    let line = text.lines().map(str::trim).find_map(|line| line.strip_prefix(&format!("{key}: "))).unwrap();
    use base64::Engine;
    let bytes = base64::engine::general_purpose::STANDARD.decode(line.trim_matches('"')).unwrap();
    let path = directory.join(key);
    fs::write(&path, bytes).unwrap();
    path
}

/// Authorities as people make them: OpenSSL's three forms of keys, other names and kinds, bundles, text before the PEM.
#[test]
fn authorities_of_one_s_own_are_taken_and_what_they_sign_is_believed() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path();
    openssl(made, &["ecparam", "-name", "prime256v1", "-genkey", "-out", "parameters.key"]);
    openssl(made, &["ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "sec1.key"]);
    openssl(made, &["genrsa", "-traditional", "-out", "pkcs1.key", "2048"]);
    openssl(made, &["genrsa", "-out", "pkcs8.key", "3072"]);
    let subjects = ["/CN=kubernetes", "/C=DE/O=Größe & Co/CN=root", "/DC=example/CN=k", "/CN=kubernetes"];
    let wanted = [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Rsa2048, Algorithm::Rsa3072];
    let cluster = description("v1.33.13");
    for ((name, subject), algorithm) in
        ["parameters", "sec1", "pkcs1", "pkcs8"].into_iter().zip(subjects).zip(wanted)
    {
        let place = place(&made.join(name));
        fs::create_dir_all(place.pki()).unwrap();
        let key = format!("{name}.key");
        let bare = name == "pkcs8";
        let mut args = vec![
            "req", "-x509", "-utf8", "-key", &key, "-subj", subject, "-days", "30", "-text", "-out", "ca.crt",
        ];
        if bare {
            args.extend(["-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none"]);
        }
        openssl(made, &args);
        fs::copy(made.join(&key), place.pki().join("ca.key")).unwrap();
        // An authority that is to come after it.
        let mut bundle = fs::read(made.join("ca.crt")).unwrap();
        openssl(
            made,
            &[
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "next.key", "-subj", "/CN=next",
                "-out", "next.crt",
            ],
        );
        bundle.extend(fs::read(made.join("next.crt")).unwrap());
        fs::write(place.pki().join("ca.crt"), &bundle).unwrap();

        let pki = ensure(&place).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((pki.algorithm(), pki.ca_certificate()), (algorithm, &bundle[..]));
        assert_eq!(fs::read(place.pki().join("ca.crt")).unwrap(), bundle);
        let now = SystemTime::now();
        fs::write(made.join("admin.conf"), pki.admin_kubeconfig(&cluster, now).unwrap().text()).unwrap();
        let client = part(made, "admin.conf", "client-certificate-data");
        let told = openssl(
            made,
            &["verify", "-purpose", "sslclient", "-CAfile", "ca.crt", client.to_str().unwrap()],
        );
        assert!(told.contains("OK"), "{told}");
        // It ends with the authority, not after it.
        let end = |file: &str| openssl(made, &["x509", "-noout", "-enddate", "-in", file]);
        assert_eq!(end(client.to_str().unwrap()), end("ca.crt"));
        let key = part(made, "admin.conf", "client-key-data");
        let public = |args: &[&str]| openssl(made, args);
        assert_eq!(
            public(&["pkey", "-pubout", "-in", key.to_str().unwrap()]),
            public(&["x509", "-noout", "-pubkey", "-in", client.to_str().unwrap()])
        );
    }
}

/// `openssl rsa`, which the documentation of Kubernetes names, gives the digest of nothing for an ECDSA key.
#[test]
fn the_authority_s_hash_is_openssl_s_for_each_kind_of_key() {
    let directory = tempfile::tempdir().unwrap();
    for algorithm in Algorithm::ALL.into_iter().filter(|algorithm| *algorithm != Algorithm::Rsa4096) {
        let place = place(&directory.path().join(algorithm.as_str()));
        let pki = Pki::ensure(&place, algorithm, SystemTime::now()).unwrap();
        assert_eq!(pki.algorithm(), algorithm);
        let script = "openssl x509 -noout -pubkey -in ca.crt | openssl pkey -pubin -outform DER | openssl dgst -sha256 -r";
        let output = Command::new("sh").args(["-c", script]).current_dir(place.pki()).output().unwrap();
        let told = String::from_utf8(output.stdout).unwrap();
        assert_eq!(pki.ca_hash(), format!("sha256:{}", told.split_whitespace().next().unwrap()));
    }
}

#[test]
fn keys_are_their_owner_s_alone_from_the_start_and_open_ones_are_closed_and_told() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let cluster = description("v1.33.13");
    let pki = ensure(&place).unwrap();
    pki.write_kubeconfig(&place, &cluster, SystemTime::now()).unwrap();
    token::ensure(&place, &cluster).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in [place.own(), place.pki(), place.pki().join("etcd")] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    let secrets = FILES
        .iter()
        .map(|name| place.pki().join(name))
        .chain([place.kubeconfig(), place.own().join("token")]);
    for path in secrets {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    assert!(pki.exposed().is_empty());

    let open = [place.pki(), place.pki().join("sa.key")];
    fs::set_permissions(&open[0], Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&open[1], Permissions::from_mode(0o640)).unwrap();
    assert_eq!(ensure(&place).unwrap().exposed(), open);
    assert_eq!([mode(&open[0]), mode(&open[1])], [0o700, 0o600]);
}

#[test]
fn the_kubeconfig_is_kept_while_it_lasts_and_never_written_over_another_cluster_s() {
    let directory = tempfile::tempdir().unwrap();
    let one = place(directory.path());
    let cluster = description("v1.33.13");
    let now = SystemTime::now();
    let pki = ensure(&one).unwrap();
    let write = |pki: &Pki, cluster: &_, now| pki.write_kubeconfig(&one, cluster, now);
    assert_eq!(write(&pki, &cluster, now).unwrap(), Written::Made);
    let first = fs::read(one.kubeconfig()).unwrap();
    assert_eq!(write(&pki, &cluster, now).unwrap(), Written::Kept);
    assert_eq!(fs::read(one.kubeconfig()).unwrap(), first);
    // Four weeks before its end, and where the API server's address moved.
    assert_eq!(write(&pki, &cluster, now + YEAR - 28 * YEAR / 365).unwrap(), Written::Renewed);
    assert_ne!(fs::read(one.kubeconfig()).unwrap(), first);
    let mut moved = description("v1.33.13");
    moved.vip = None;
    assert_eq!(write(&pki, &moved, now).unwrap(), Written::Renewed);
    assert!(fs::read_to_string(one.kubeconfig()).unwrap().contains("https://10.77.0.11:6443"));
    assert_eq!(write(&pki, &cluster, now).unwrap(), Written::Renewed);

    // The same key under a new certificate is the same authority.
    fs::remove_file(one.pki().join("ca.crt")).unwrap();
    let pki = ensure(&one).unwrap();
    assert_eq!(write(&pki, &cluster, now).unwrap(), Written::Kept);

    // Another cluster in the same directory, and keys that were made anew.
    let two = Place::new(one.output(), "two");
    let (lost, _) = refusal(ensure(&two));
    assert!(matches!(lost, Error::Lost { .. }), "{lost}");
    let ours = fs::read(one.kubeconfig()).unwrap();
    fs::remove_file(one.kubeconfig()).unwrap();
    let other = ensure(&two).unwrap();
    fs::write(one.kubeconfig(), &ours).unwrap();
    let error = other.write_kubeconfig(&two, &cluster, now).unwrap_err();
    assert!(matches!(error, Error::Disagree { .. }) && error.hint().unwrap().contains("--output"), "{error}");
    // A file with several clusters is its owner's; while this one's part is good, it is kept.
    let text = String::from_utf8(ours.clone()).unwrap();
    let merged = text
        .replace("contexts:\n", "- cluster:\n    server: \"https://elsewhere\"\n  name: other\ncontexts:\n");
    assert_ne!(merged, text);
    fs::write(one.kubeconfig(), &merged).unwrap();
    assert_eq!(write(&pki, &cluster, now).unwrap(), Written::Kept);
    assert!(matches!(write(&pki, &moved, now), Err(Error::NoKubeconfig { .. })));
    assert_eq!(fs::read_to_string(one.kubeconfig()).unwrap(), merged);
    for strange in ["", "hello", "apiVersion: v1\nkind: Config\n", "a: [", "\u{0}"] {
        fs::write(one.kubeconfig(), strange).unwrap();
        assert!(matches!(write(&pki, &cluster, now), Err(Error::NoKubeconfig { .. })), "{strange:?}");
        assert_eq!(fs::read_to_string(one.kubeconfig()).unwrap(), strange);
    }
}

#[test]
fn tokens_have_kubeadm_s_form_are_kept_and_a_given_one_wins() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let cluster = description("v1.33.13");
    let first = token::ensure(&place, &cluster).unwrap();
    assert!(token::is_token(&first.0));
    assert_eq!(token::ensure(&place, &cluster).unwrap().0, first.0);
    assert_ne!(token::generate().0, token::generate().0);
    assert_eq!(format!("{first:?}"), "Secret(…)");
    let letters: String = (0..200).map(|_| token::generate().0.to_string()).collect();
    assert!(('a'..='z').chain('0'..='9').all(|letter| letters.contains(letter)));
    for wrong in [
        "",
        "abcdef.0123456789abcde",
        "ABCDEF.0123456789abcdef",
        "abcdef-0123456789abcdef",
        "abcdef.0123456789abcdef0",
        "abcdéf.123456789abcdef",
    ] {
        assert!(!token::is_token(wrong), "{wrong}");
        fs::write(place.own().join("token"), wrong).unwrap();
        let error = token::ensure(&place, &cluster).unwrap_err();
        assert!(
            matches!(error, Error::Token(_)) && (wrong.is_empty() || !error.to_string().contains(wrong)),
            "{error}"
        );
    }
}

#[test]
fn nothing_of_a_key_is_in_what_is_printed_about_keys() {
    let directory = tempfile::tempdir().unwrap();
    let place = place(directory.path());
    let cluster = description("v1.33.13");
    let pki = ensure(&place).unwrap();
    let kubeconfig = pki.admin_kubeconfig(&cluster, SystemTime::now()).unwrap();
    let printed = format!("{pki:?} {kubeconfig:?}");
    assert!(printed.len() < 300 && !printed.contains("PRIVATE") && !printed.contains("LS0t"), "{printed}");
    let controllers = pki.controller_files(&cluster).unwrap();
    assert_eq!(controllers.keys().map(|name| (*name).to_owned()).collect::<Vec<_>>(), {
        let mut names: Vec<String> = FILES[..8].iter().map(|name| (*name).to_owned()).collect();
        names.sort();
        names
    });
    assert!(controllers.iter().all(|(name, bytes)| **bytes == fs::read(place.pki().join(name)).unwrap()));
}

#[test]
fn an_etcd_outside_brings_its_own_files_which_are_judged_and_none_of_ours_is_given_out() {
    let directory = tempfile::tempdir().unwrap();
    let made = directory.path();
    let place = place(made);
    let pki = ensure(&place).unwrap();
    for name in ["ca", "client"] {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.crt"));
        openssl(
            made,
            &[
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-keyout",
                &key,
                "-subj",
                "/CN=etcd",
                "-out",
                &certificate,
            ],
        );
    }
    let mut cluster = description("v1.33.13");
    let mut with = |[ca, cert, key]: [&str; 3]| {
        cluster.etcd = Some(Etcd {
            endpoints: vec![said("https://10.77.0.31:2379".parse().unwrap())],
            ca: said(made.join(ca)),
            cert: said(made.join(cert)),
            key: said(made.join(key)),
        });
        pki.controller_files(&cluster)
    };
    let files = with(["ca.crt", "client.crt", "client.key"]).unwrap();
    let names: Vec<_> = files.keys().copied().filter(|name| name.contains("etcd")).collect();
    assert_eq!(names, ["apiserver-etcd-client.crt", "apiserver-etcd-client.key", "etcd/ca.crt"]);
    assert_eq!(*files["etcd/ca.crt"], fs::read(made.join("ca.crt")).unwrap());
    for wrong in [
        ["client.key", "client.crt", "client.key"],
        ["ca.crt", "client.crt", "ca.key"],
        ["ca.crt", "client.key", "client.key"],
        ["ca.crt", "client.crt", "client.crt"],
        ["ca.crt", "client.crt", "absent"],
    ] {
        let error = with(wrong).unwrap_err();
        assert!(
            matches!(error, Error::Given { .. } | Error::Store(_)) && !error.to_string().contains("PRIVATE"),
            "{error}"
        );
    }
}
