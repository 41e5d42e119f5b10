//! Texts that are secrets and texts that only look like secrets; the way in which a text is read makes no difference.

use std::io::{self, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::tree::secrets::place;
use planted::Planted;

mod planted;

const DIGITS: &str = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";
/// kubeadm's own example.
const TOKEN: &str = "abcdef.0123456789abcdef";

fn pem(label: &str) -> String {
    format!("-----BEGIN {label}-----\n{DIGITS}\n-----END {label}-----\n")
}

fn encoded(text: &str) -> String {
    STANDARD.encode(text)
}

fn web_token() -> String {
    let part = |json: &str| encoded(json).trim_end_matches('=').to_owned();
    format!(
        "{}.{}.{}",
        part(r#"{"alg":"RS256","kid":"x"}"#),
        part(r#"{"iss":"kubernetes"}"#),
        "c2ln".repeat(10)
    )
}

fn gzip(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::GzEncoder::new(text.as_bytes(), flate2::Compression::default())
        .read_to_end(&mut out)
        .unwrap();
    out
}

fn hits(path: &str, text: impl AsRef<[u8]>) -> Vec<(usize, usize, Kind)> {
    let hits = scan(path, text.as_ref()).unwrap();
    hits.into_iter().map(|hit| (hit.line, hit.column, hit.kind)).collect()
}

#[test]
fn every_kind_of_secret_is_found_where_it_stands() {
    use crate::tree::secrets::kind::Kind::*;
    let minisign = format!("untrusted comment: minisign encrypted secret key\nRWRTY0Iy{}\n", "A".repeat(204));
    let json_key = format!("{{\"private_key\": \"-----BEGIN PRIVATE KEY-----\\n{DIGITS}\\n\"}}");
    let wireguard = format!("[WireGuard]\nPrivateKey={}=\n", "kH".repeat(21) + "8");
    let kubeconfig =
        "apiVersion: v1\nusers:\n- name: x\n  user:\n    token: s3cr3t-of-a-user\nkind: Config\n";
    let encryption =
        format!("kind: EncryptionConfiguration\nkeys:\n- secret: {}\n", encoded(&"k".repeat(32)));
    let docker = format!("{{\"auths\": {{\"r.example\": {{\"auth\": \"{}\"}}}}}}", encoded("me:pass"));
    let secret_key = format!("aws_secret_access_key = {}\n", "aB3/".repeat(10));
    for (text, expected) in [
        (pem("RSA PRIVATE KEY"), (1, 1, PrivateKey)),
        (pem("PRIVATE KEY"), (1, 1, PrivateKey)),
        (pem("ENCRYPTED PRIVATE KEY"), (1, 1, PrivateKey)),
        (pem("OPENSSH PRIVATE KEY"), (1, 1, PrivateKey)),
        (pem("EC PRIVATE KEY").replace('\n', "\r\n"), (1, 1, PrivateKey)),
        (
            format!("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nComment: \"x\"\n{DIGITS}\n"),
            (1, 1, PrivateKey),
        ),
        (format!("-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1\n\n{DIGITS}\n"), (1, 1, PrivateKey)),
        (
            format!(
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{DIGITS}\n"
            ),
            (1, 1, PrivateKey),
        ),
        (format!("a\n  key: |\n    {}", pem("PRIVATE KEY").replace('\n', "\n    ")), (3, 5, PrivateKey)),
        (format!("# {}", pem("PRIVATE KEY").replace('\n', "\n# ")), (1, 3, PrivateKey)),
        (json_key, (1, 18, PrivateKey)),
        (format!("x: {}\n", encoded(&pem("RSA PRIVATE KEY"))), (1, 4, PrivateKey)),
        (format!("u: data:;base64,{}\n", encoded(&encoded(&pem("PRIVATE KEY")))), (1, 17, PrivateKey)),
        (format!("u: {}\n", STANDARD.encode(gzip(&pem("PRIVATE KEY")))), (1, 4, PrivateKey)),
        (pem("PRIVATE KEY").replace(' ', "%20").replace('\n', "%0A"), (1, 6, PrivateKey)),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n".into(), (1, 1, PuttyKey)),
        (format!("# created\nAGE-SECRET-KEY-1{}\n", "Q".repeat(58)), (2, 1, AgeKey)),
        (minisign, (2, 1, MinisignKey)),
        (wireguard, (2, 12, WireguardKey)),
        (format!("    token: {TOKEN}\n"), (1, 12, BootstrapToken)),
        (format!("kubeadm join 10.0.0.1:6443 --token {TOKEN} \\\n"), (1, 36, BootstrapToken)),
        (format!("kubeadm join --discovery-token={TOKEN}\n"), (1, 32, BootstrapToken)),
        (format!("bootstrapTokens:\n- token: \"{TOKEN}\"\n"), (2, 11, BootstrapToken)),
        (format!("JOIN_TOKEN='{TOKEN}'\n"), (1, 13, BootstrapToken)),
        (format!("tlsBootstrapToken: >-\n  {TOKEN}\n"), (2, 3, BootstrapToken)),
        ("token-id: abcdef\ntoken-secret: 0123456789abcdef\n".into(), (2, 15, BootstrapToken)),
        (format!("certificateKey: {}\n", "0a".repeat(32)), (1, 17, CertificateKey)),
        (format!("--certificate-key {}\n", "0a".repeat(32)), (1, 19, CertificateKey)),
        (format!("    client-key-data: {}\n", encoded("anything of that kind")), (1, 22, KubeconfigUser)),
        (kubeconfig.into(), (5, 12, KubeconfigUser)),
        (encryption, (3, 11, EncryptionKey)),
        (docker, (1, 35, RegistryLogin)),
        (
            "[plugins.\"x\".registry.configs.\"r\".auth]\n  password = \"hunter22\"\n".into(),
            (2, 15, RegistryLogin),
        ),
        (format!("t={}\n", web_token()), (1, 3, WebToken)),
        (secret_key, (1, 25, CloudKey)),
        (format!("id: AKIA{}\n", "A2".repeat(8)), (1, 5, CloudKey)),
        (format!("key=AIza{}\n", "x".repeat(35)), (1, 5, CloudKey)),
        (format!("{}_{}\n", "ghp", "a".repeat(36)), (1, 1, ServiceToken)),
        ("proxy=http://me:hunter2@proxy.example:3128/\n".into(), (1, 7, UrlPassword)),
        ("core:$6$salt$hashhashhashhash:19000:0\n".into(), (1, 6, PasswordHash)),
    ] {
        assert_eq!(hits("/etc/x", &text), [expected], "{text}");
    }
    assert_eq!(hits("/etc/kubernetes/bootstrap-token", TOKEN), [(1, 1, BootstrapToken)]);
    assert_eq!(hits("/etc/x.gz", gzip(&pem("PRIVATE KEY"))), [(1, 1, PrivateKey)]);
}

#[test]
fn what_only_looks_like_a_secret_is_none() {
    let public = format!("minisign public key\nRWQ{}\n", "f6LRCGA9i5x3".repeat(4) + "abcd");
    for text in [
        pem("CERTIFICATE"),
        pem("PUBLIC KEY"),
        pem("PGP PUBLIC KEY BLOCK"),
        format!("client-certificate-data: {}\n", encoded(&pem("CERTIFICATE"))),
        "if grep -q '-----BEGIN PRIVATE KEY-----' \"$file\"; then\n  exit 1\nfi\n".into(),
        "the file begins with `-----BEGIN RSA PRIVATE KEY-----`\nand goes on for a while\n".into(),
        "key=/etc/ssl/private/site.key\nclient-key: /var/lib/kubelet/pki/kubelet.pem\n".into(),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host\n".into(),
        "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n".into(),
        public,
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n".into(),
        format!("hash: sha512-{}\n", "ab".repeat(64)),
        "discovery-token-ca-cert-hash sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n".into(),
        "kubeadm join --token \"$TOKEN\" --token ${TOKEN} --token {{.token}} --token <token>\n".into(),
        "token: /var/run/secrets/kubernetes.io/serviceaccount/token\n".into(),
        "kernel.abcdef0123456789 and abcdef.0123456789abcdef without a word before\n".into(),
        "kind: Pod\nspec:\n  password: not-in-a-kubeconfig\n".into(),
        "kind: Config\nusers: []\n---\nkind: Pod\npassword: in-another-document\n".into(),
        "url: http://${USER}:${PASSWORD}@proxy/ http://user@host/ https://host:8443/a@b\n".into(),
        "image: quay.io/cilium/cilium:v1.18.6@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n".into(),
        "core:*:500:500:CoreOS Admin:/home/core:/bin/bash\nroot:!:19000\n".into(),
        format!("payload: {}\n", encoded(&"plain text that nobody minds ".repeat(20))),
        "AKIA and AIza are prefixes, ghp_x is short, eyJhbGciOiJSUzI1NiJ9 is a header\n".into(),
    ] {
        assert_eq!(hits("/etc/x", &text), [], "{text}");
    }
    let mut program = b"\x7fELF\0\0".to_vec();
    program.extend(pem("PRIVATE KEY").bytes());
    assert_eq!(hits("/usr/bin/x", program), [], "a program that knows what keys look like");
}

/// A reader that returns its bytes in pieces of these lengths, repeatedly.
struct Pieces<'p> {
    bytes: &'p [u8],
    lengths: std::iter::Cycle<std::slice::Iter<'p, usize>>,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.lengths.next().copied().unwrap_or(1).min(self.bytes.len()).min(buffer.len());
        buffer[..length].copy_from_slice(&self.bytes[..length]);
        self.bytes = &self.bytes[length..];
        Ok(length)
    }
}

proptest! {
    #[test]
    fn pieces_make_no_difference(
        before in "[ -~\n]{0,200}",
        which in 0usize..4,
        after in "[ -~\n]{0,200}",
        lengths in prop::collection::vec(1usize..40, 1..8),
    ) {
        let secret = [pem("PRIVATE KEY"), format!("token: {TOKEN}"), web_token(), encoded(&pem("EC PRIVATE KEY"))][which].clone();
        let text = format!("{before}\n{secret}\n{after}");
        let whole = scan("/x", text.as_bytes()).unwrap();
        let pieces = Pieces { bytes: text.as_bytes(), lengths: lengths.iter().cycle() };
        prop_assert_eq!(&scan("/x", pieces).unwrap(), &whole);
        let line = before.matches('\n').count() + 2;
        prop_assert!(whole.iter().any(|hit| hit.line == line), "{:?} in {}", whole, text);
    }

    #[test]
    fn any_bytes_are_looked_at(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        scan("/x", bytes.as_slice()).unwrap();
    }

    #[test]
    fn any_text_is_looked_at_and_hits_lie_in_it(text in "(\\PC|\n|-----BEGIN |PRIVATE KEY-----|://|@|:|token){0,80}") {
        for hit in scan("/x", text.as_bytes()).unwrap() {
            let line = text.split('\n').nth(hit.line - 1);
            prop_assert!(line.is_some_and(|line| hit.column <= line.chars().count()), "{hit:?}");
        }
    }
}

#[test]
fn a_secret_in_a_line_of_megabytes_is_found_wherever_it_lies() {
    for at in [0usize, (1 << 20) - 40, (1 << 20) - 8, 1 << 20, 3 << 20] {
        let line = format!("{} token: {TOKEN} {}", "x ".repeat(at / 2), "y ".repeat(1 << 19));
        let found = hits("/x", &line);
        assert_eq!(found, [(1, 2 * (at / 2) + 9, Kind::BootstrapToken)], "{at}");
    }
}

/// findings C, M14: 105 of 159 kinds went into public layers without a warning.
#[test]
fn every_kind_of_secret_that_was_planted_in_an_attack_is_found_and_so_are_its_siblings() {
    let missed = |planted: Vec<Planted>| {
        let missed = planted.into_iter().filter(|Planted(_, path, text)| hits(path, text).is_empty());
        missed.map(|Planted(name, ..)| name).collect::<Vec<_>>()
    };
    assert_eq!(missed(planted::listed()), [""; 0]);
    assert_eq!(missed(planted::siblings()), [""; 0]);
}

/// The note of issue 15, "missed still".
#[test]
fn passphrases_signs_commands_and_small_formats_hold_secrets_without_digits() {
    let missed = planted::others().into_iter().filter(|Planted(_, path, text)| hits(path, text).is_empty());
    assert_eq!(missed.map(|Planted(name, ..)| name).collect::<Vec<_>>(), [""; 0]);
}

/// The note of issue 15, "false still".
#[test]
fn what_says_what_a_secret_is_for_and_texts_about_one_are_none() {
    let namespace = encoded("kube-system");
    for (path, text) in [
        ("a.yaml", "kind: Secret\nstringData:\n  type: git\n  url: https://git.example/x\n  project: default\n  namespace: argocd\n".to_owned()),
        ("a.yaml", format!("kind: Secret\ndata:\n  namespace: {namespace}\n  username: {}\n  description: {}\n", encoded("admin2"), encoded("the key of a repository"))),
        ("a.json", format!("{{\"kind\": \"Secret\", \"data\": {{\"namespace\": \"{namespace}\"}}}}\n")),
        ("a.yaml", "password: TO_BE_SET\ntoken: set-by-ansible\nsecret: to-be-replaced1\n".into()),
        ("a.sh", "PASSWORD=set_by_ansible\nAPI_TOKEN=managed-by-terraform\nSECRET_KEY=not-set-yet1\n".into()),
        ("a.yaml", "password: Enter your password\npassphrase: Please enter the passphrase\npassword: Forgot password\n".into()),
        ("i18n/de.json", "{\"password\": \"Passwort eingeben\", \"newPassword\": \"Kennwort\", \"token\": \"Zugriffsschlüssel\"}\n".into()),
        ("a.json", "{\"password\": \"Passwort\", \"confirmPassword\": \"Mot de passe\"}\n".into()),
        ("README.md", format!("kubeadm join --token {TOKEN} and kubeadm token create {TOKEN}\n")),
        ("a.ini", "aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n".into()),
        ("a.txt", "password = \"$PASSWORD\"\npassword: '${PASSWORD}'\npassword: \"%PASSWORD%\"\npassword: \"@PASSWORD@\"\npassword: \"!vault\"\npassword: \"<password>\"\n".into()),
        ("nsswitch.conf", "passwd: files usrfiles systemd\nshadow: files systemd\n".into()),
        ("a.yaml", "password: string required here\npassword: the one of the user\n".into()),
        ("a.sh", "echo \"$PASSWORD\" | sudo -S true\necho done | tee x\nsudo -S true\nvault login \"$TOKEN\"\nvault login -method=oidc\n".into()),
        ("a.sh", "chpasswd <<< \"root:$PASSWORD\"\ncurl -sSfL https://h.example/x\ncurl -fsSLu \"$U:$P\" https://h\n".into()),
    ] {
        assert_eq!(hits(path, &text), [], "{text}");
    }
}

/// Base64 contains every prefix sooner or later; large files were refused because of that (note of issue 15).
#[test]
fn random_digits_are_no_token() {
    // Pseudorandom bytes by xorshift (Marsaglia, 2003).
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let bytes: Vec<u8> = (0..(1 << 20) / 8).flat_map(|_| random()).collect();
    let digits = STANDARD.encode(&bytes);
    let lines: String =
        digits.as_bytes().chunks(76).map(|line| String::from_utf8_lossy(line).into_owned() + "\n").collect();
    assert_eq!(hits("/x", &digits), []);
    assert_eq!(hits("/x", &lines), []);
    assert_eq!(hits("/x", digits.replace('+', "-").replace('/', "_")), []);
}

/// The break run of issue 15: commands, names, quotes, escapes and braces cost the square of their line's length; a
/// stream in base64 was unpacked to 16 MiB on every line.
#[test]
fn work_grows_with_the_text_and_no_faster_whatever_is_in_it() {
    let bomb = STANDARD.encode(gzip(&"a ".repeat(1 << 9))) + "\n";
    for unit in [
        "curl -u a ",
        "curl ",
        "echo a chpasswd ",
        "docker login -p $X ",
        "password\"",
        "\"password\": \"\" , ",
        "token ",
        "a-",
        "{\"a\":",
        "{}",
        "http://",
        "x://a:b@",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "$6$",
        "\\n",
        "\\u0041",
        "\\\"",
        "%41",
        "%2525",
        "name: password value: ",
        "value: ",
        ":",
        "machine a login b password ",
        "K10::",
        "sig=se=",
        "8Q~:AA",
        "a~",
        "xoxe.",
        "AGE-PLUGIN-",
        "ä",
        "äpassword=$ä ",
        "<token>",
        "SetCredential=",
        "token -",
        "' token=x ",
        "kind: Secret\n",
        "password: $x\n",
        "data:\n a:\n",
        "hooks.slack.com/services/T",
        "eyJhbGciOiJI.",
        "wpa_passphrase a ",
        "password: hunterXYZ12 ",
        "echo a | sudo -S x ; ",
        "echo ' | sudo -S ",
        "echo a; sudo -S ",
        "password_1_",
        "kubectl secret --from-literal a=b ",
        "sudo -S <<E |",
        "a <<",
        &bomb,
    ] {
        let text = |bytes: usize| unit.repeat((bytes / unit.len()).max(1));
        let (small, large) = (text(12 << 10), text(48 << 10));
        let work = |text: &str| super::scan::work("/x", text.as_bytes()).unwrap();
        let (one, four) = (work(&small), work(&large));
        assert!(four <= one * 5 + (64 << 10), "{unit}: {one} steps, and {four} for four times as much");
    }
}

/// Budgets ran out silently.
#[test]
fn what_is_not_looked_at_is_told() {
    let told = |text: &[u8]| hits("/x", text).iter().any(|(.., kind)| *kind == Kind::Unread);
    let bomb = |bytes: usize| STANDARD.encode(gzip(&" ".repeat(bytes))) + "\n";
    assert!(!told(bomb(1 << 20).as_bytes()));
    assert!(told(bomb(20 << 20).as_bytes()), "one stream");
    assert!(told(bomb(6 << 20).repeat(4).as_bytes()), "all streams together");
    let mut nested = format!("password: {}", "hunterXYZ12");
    for _ in 0..8 {
        nested = encoded(&format!("{nested}{}", " ".repeat(20)));
    }
    assert!(told(nested.as_bytes()), "levels");
    // A key after all of that is still found.
    let text = bomb(20 << 20) + &pem("PRIVATE KEY");
    assert!(hits("/x", text).iter().any(|(.., kind)| *kind == Kind::PrivateKey));
}

#[test]
fn a_command_in_a_line_of_many_kilobytes_is_looked_at() {
    let line = format!("{} curl -sSu admin:OpenSesameNow https://h.example", "word ".repeat(3000));
    assert_eq!(hits("/x", &line), [(1, 15018, Kind::Password)]);
}

/// A secret that stands alone is found inside any encoding as well.
#[test]
fn what_is_found_in_plain_text_is_found_in_gzip_in_base64_in_base64() {
    let packed = |text: &[u8]| STANDARD.encode(STANDARD.encode(gzip(&String::from_utf8_lossy(text))));
    for Planted(name, path, text) in planted::listed().into_iter().chain(planted::siblings()) {
        // Some are recognised only by the name of their file, and hashes are left as they are.
        if hits("", &text).is_empty() || path != "/etc/app/app.conf" {
            continue;
        }
        assert!(!hits("/x", format!("k: {}\n", packed(&text))).is_empty(), "{name}");
    }
}

#[test]
fn what_encodings_unfold_to_has_an_end() {
    let mut nested = vec![b'A'; 1 << 20];
    for _ in 0..3 {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(nested.as_slice(), flate2::Compression::best())
            .read_to_end(&mut packed)
            .unwrap();
        nested = packed;
    }
    let text =
        format!("{}\n", encoded(&"k: ".repeat(9))) + &format!("a: {}\n", STANDARD.encode(nested)).repeat(12);
    assert_eq!(hits("/x", text), []);
}

/// From public configs of Flatcar, Fedora CoreOS, Kubernetes and cloud-init: texts that are easily mistaken for
/// secrets.
#[test]
fn tempting_innocents_are_none() {
    let hex = planted::hex;
    let certificate = planted::pem("CERTIFICATE", planted::CERTIFICATE);
    let innocents = [

        "PASSWORD=${PASSWORD}\nTOKEN=$TOKEN\nAPI_KEY=$(cat /run/key)\nDB_PASSWORD=`pass show db`\n".into(),
        "token: {{ .Values.token }}\npassword: \"{{ lookup('env', 'PW') }}\"\nsecret: <%= secret %>\n".into(),
        "password: <your password>\npassword: changeme\npassword: \"***\"\ntoken: xxxxxxxxxxxxxxxx\n".into(),
        "TOKEN=REPLACE_ME\nAPI_KEY=your-api-key-here\nSECRET_KEY=change-me-please1\nPASSWORD=\n".into(),
        "K3S_TOKEN=##K3S_TOKEN##\nTOKEN=@@TOKEN@@\nPASSWORD=__PASSWORD__\ntoken: my-secret-token\n".into(),
        "POSTGRES_PASSWORD_FILE=/run/secrets/db\npassword_file: /etc/pw\ntoken: /var/run/secrets/token\n".into(),
        "password: !vault |\nsecretRef: ref+vault://x/y#z\ntoken: op://vault/item/token\npassword: vault:secret/x#y\n".into(),
        "passwd:\n  users:\n    - name: core\n      ssh_authorized_keys:\n        - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwOsBCJDqvWDZFNTYQqJMAOPtRBwq9Yl2Hlpc8Yl9Zt me@host\n".into(),
        "env:\n- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef: {name: db, key: password}\n".into(),
        "volumes:\n- name: token\n  secret:\n    secretName: bootstrap-token-2\nimagePullSecrets:\n- name: regcred\n".into(),
        "kind: ConfigMap\ndata:\n  a: correct horse\n  b: Y29ycmVjdCBob3JzZQ==\n".into(),
        "kind: Secret\ndata:\n  password: \"{{ .Values.password | b64enc }}\"\nstringData:\n  token: ${TOKEN}\n".into(),
        format!("kind: Secret\ndata:\n  ca.crt: {}\n", encoded(&certificate)),
        "kind: SealedSecret\nspec:\n  encryptedData:\n    a: AgBy3i4OJSWK+PiTySYZZA9rO43cGDEq\n".into(),
        format!("kind: SealedSecret\nspec:\n  encryptedData:\n    password: AgBy{}\n    tls.key: AgA{}=\n", planted::alnum(800), planted::alnum(2001)),
        "[client]\nuser=app\npassword=\nsocket=/run/mysqld/mysqld.sock\n".into(),
        "[client]\n#password = \nport = 3306\nbind-address = 127.0.0.1\n".into(),
        "[client]\nuser=app\n# password=\nsocket=/run/mysqld/mysqld.sock\n".into(),
        "valuesFrom:\n- kind: Secret\n  name: x\n---\nkind: ConfigMap\ndata:\n  a: b\n".into(),
        certificate,
        planted::pem("PUBLIC KEY", planted::PUBLIC),
        format!("caBundle: {}\npublic: {}\n", planted::CERTIFICATE, planted::PUBLIC),
        format!("{{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"{}\",\"y\":\"{}\"}}\n", planted::alnum(43), planted::alnum(43)),
        format!("image: registry.example/app@sha256:{}\nsha512-{}\n{}  file.tar.gz\n", hex(64), hex(128), hex(64)),
        format!("sha256sum -c <<<'{}  kubeadm'\nhash: sha256-{}\nintegrity: sha512-{}==\n", hex(64), hex(64), planted::alnum(86)),
        "uuid: 8f246b77-f3e1-ff88-5b48-8ec93abf3e05\nroot=UUID=8f246b77-f3e1-ff88-5b48-8ec93abf3e05\n".into(),
        "TokenRequest\ntoken-ttl: 24h0m0s\ntokens: []\nmax_tokens: 4096\ntoken_type: bearer\n".into(),
        "ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd_1\nPublicKeyToken=b77a5c561934e089\nnextPageToken: CAUQAA1b2c3\n".into(),
        "read -rsp \"Password: \" PASSWORD\nread -p 'Token: ' TOKEN1234\necho \"password: $PASSWORD\"\n".into(),
        "if [ \"$PASSWORD\" = \"secret\" ]; then\n[[ -z $TOKEN ]] && exit\nunset PASSWORD TOKEN2\n".into(),
        "curl -u \"$USER:$PASSWORD\" -H \"Authorization: Bearer $TOKEN\" -H 'Authorization: Bearer <token>' https://h\n".into(),
        "docker login -u me -p \"$PASSWORD\" r.io\necho \"$TOKEN\" | docker login --password-stdin\n".into(),
        "docker run --user 1000:1000 -p 8080:80 x\nmysql -u root -p -e 'select 1'\nmysql -P 3306\n".into(),
        "password = os.environ[\"DB_PASSWORD\"]\ntoken = getToken1(request)\nself.password = password\n".into(),
        "const token = parser.nextToken();\n{password: password, token: state.token}\nfunc(password string, token []byte)\n".into(),
        "#%PAM-1.0\npassword    sufficient    pam_unix.so sha512 shadow\npassword required pam_deny.so\n".into(),
        "passwd: files sss\nshadow: files\nNOPASSWD: ALL\ncore ALL=(ALL) NOPASSWD: ALL\nPasswordAuthentication no\n".into(),
        "SSH_ASKPASS=/usr/bin/askpass1\nproxy_pass http://10.0.0.1:8080;\nOLDPWD=/root/a1\nPWD=/home/core\n".into(),
        "description: the password of the user\n--password string   Password for the registry\n".into(),
        "url: https://git@host.example/x ssh://git@host/x http://user:password@proxy:3128 redis://host:6379\n".into(),
        "Authorization: Basic\nproxy_set_header Authorization \"\";\nX-Auth-Token: \"{{ token }}\"\nauthorization: true\n".into(),
        "awk '{print $1$2$3}' $1$HOME/some/longer/path/of/mine\necho \"$6$7$8\" costs $5$\n".into(),
        "core:x:500:500:CoreOS Admin:/home/core:/bin/bash\nfe80:1234:5678:9abc:def0\n127.0.0.1:8080:80\n".into(),
        "server_tokens off;\nenable-bootstrap-token-auth: \"true\"\nservice-account-key-file: sa.pub\n".into(),
        "machine learning is password protected\nmachine: amd64\nlogin: core\npassword: prompt\n".into(),
        "encrypt: true\nencryption: {providers: [aescbc]}\nkey: value\nkey: AQID\n".into(),
        "SetCredential=vconsole.keymap:de\nSetCredentialEncrypted=token: \\\n  k6iUCUh0RJCQyvL8k8q1UyAAAAABAAAADAAAABAAAAC\n".into(),
        "chpasswd: {expire: false}\nssh_pwauth: false\nlock_passwd: true\n".into(),
        format!("payload: {}\n", encoded(&"nothing that anybody minds, only long ".repeat(60))),
    ];
    let found = innocents.iter().map(|text: &String| (text, hits("/etc/app/app.conf", text)));
    assert_eq!(found.filter(|(_, hits)| !hits.is_empty()).collect::<Vec<_>>(), []);
}

/// Hashes are warnings; many of them hid a key.
#[test]
fn warnings_hide_no_error() {
    let hashes: String = (0..200).map(|n| format!("u{n}:$6$saltsalt$abcdefghijklmnopqrstuvwxyz0123456789./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuv:1::::::\n")).collect();
    let text = hashes + &planted::pem("PRIVATE KEY", DIGITS);
    let kinds = |text: &str| -> Vec<Kind> {
        scan("x", text.as_bytes()).unwrap().into_iter().map(|hit| hit.kind).collect()
    };
    assert!(kinds(&text).contains(&Kind::PrivateKey), "{:?}", kinds(&text).len());
    let inside = encoded(&text);
    assert_eq!(kinds(&inside), [Kind::PrivateKey]);
}

#[test]
fn maps_of_yaml_in_one_line_hold_secrets_and_a_shells_remark_is_none() {
    let found = |text: &str| !scan("x", text.as_bytes()).unwrap().is_empty();
    for secret in [
        "db: {user: app, password: S3same!ouvre}\n",
        "logins: [{name: a, password: S3same!ouvre}, {name: b}]\n",
        "auth: {token: abcDEF123456abcDEF}\n",
    ] {
        assert!(found(secret), "{secret}");
    }
    for innocent in [
        ": \"${PASSWORD:?must be set}\"\n",
        "PASSWORD=${DB_PASS:?set DB_PASS}\n",
        "password = random_password.db.result\n",
    ] {
        assert!(!found(innocent), "{innocent}");
    }
}

/// The shown part of a line, for each of its secrets.
fn excerpts(line: &str) -> Vec<String> {
    let hits = scan("/x", line.as_bytes()).unwrap();
    hits.into_iter().map(|hit| place::of_source("x", line, hit).source.text.clone()).collect()
}

#[track_caller]
fn shows_nothing_of(secret: &str, line: &str) {
    for shown in excerpts(line) {
        let mut parts = secret.as_bytes().windows(4);
        let part = parts.find(|part| shown.as_bytes().windows(4).any(|four| four == *part));
        assert!(part.is_none(), "{shown:?} of {line:?} shows a part of {secret:?}");
    }
}

/// The break run of issue 15: the words of one secret were shown in the excerpt of the next, if punctuation followed
/// them.
#[test]
fn an_excerpt_shows_the_name_before_its_secret_and_nothing_else_of_the_line() {
    for (line, secrets) in [
        (
            "{\"PrivateKey\": \"q7Zk2Xv9+Lm4RtBwNp/AbcdEfghIj=\", \"password\": \"Sesame9Open\"}",
            ["q7Zk2Xv9+Lm4RtBwNp/AbcdEfghIj=", "Sesame9Open"],
        ),
        (
            "AccountKey=q7Zk2Xv9Lm4RtBwNpQxMlKjVb=;SharedAccessKey=q8Zk2Xv9Lm4RtBwNp",
            ["q7Zk2Xv9Lm4RtBwNpQxMlKjVb=", "q8Zk2Xv9Lm4RtBwNp"],
        ),
        ("PASSWORD=ab!Geheimnis=cd TOKEN=abcDEF123456abcDEF", ["ab!Geheimnis=cd", "abcDEF123456abcDEF"]),
        ("mysql -pSesame=Geheim --token abcDEF123456abcDEF", ["Sesame=Geheim", "abcDEF123456abcDEF"]),
        (
            "password=\"Ouvre,la-porte: vite\" token=abcDEF123456abcDEF",
            ["Ouvre,la-porte: vite", "abcDEF123456abcDEF"],
        ),
        (
            "Authorization: Basic QWxhZGRpbjpvcGVu/abcdefghij= token=abcDEF123456abcDEF",
            ["QWxhZGRpbjpvcGVu/abcdefghij=", "abcDEF123456abcDEF"],
        ),
        (
            "passphrase: open Sesame= now forever, password: \"other12X\"",
            ["open Sesame= now forever", "other12X"],
        ),
        (
            "core:$6$saltsalt$abcdef0123456789/GEHEIMdigits: x password=Zug4aBcD3f",
            ["$6$saltsalt$abcdef0123456789/GEHEIMdigits", "Zug4aBcD3f"],
        ),
        ("curl -u ApiTokenOfLetters:xoauthbasic https://h", ["ApiTokenOfLetters", "xoauthbasic"]),
        ("PASSWORD=abMyQzkvPassword=Zug4aBcD3f TOKEN=abcDEF123456abcDEF", ["abMyQzkv", "abcDEF123456abcDEF"]),
    ] {
        assert!(!excerpts(line).is_empty(), "{line}");
        secrets.into_iter().for_each(|secret| shows_nothing_of(secret, line));
    }
    let shown = |line: &str| excerpts(line).pop().unwrap();
    assert_eq!(shown("  - token: abcDEF123456abcDEF"), "  - token: …");
    assert_eq!(
        shown("DB_PASSWORD=Zug4aBcD3f API_TOKEN=abcDEF123456abcDEF"),
        "***                    API_TOKEN=…"
    );
    // The length of the part before the name is hidden, except as far as the column shows it.
    assert_eq!(shown("x=Zug4aBcD3f y z TOKEN=abcDEF123456abcDEF"), "***              TOKEN=…");
}

/// Ways to write a secret in a line; `~` marks its position.
const WRITTEN: [&str; 16] = [
    "PASSWORD=~",
    "password: \"~\"",
    "{\"PrivateKey\": \"~\"}",
    "AccountKey=~;",
    "mysql -p~ -u x",
    "--token ~",
    "--password='~'",
    "curl -u ~:~ https://h",
    "passphrase: ~",
    "Authorization: Basic ~",
    "https://a:~@h.example/x",
    "core:$6$salt$~",
    "<password>~</password>",
    "SetCredential=db.password:~",
    "echo ~ | sudo -S true",
    "API_TOKEN=~,",
];

proptest! {
    #[test]
    fn no_excerpt_shows_four_bytes_of_any_secret_of_its_line(
        written in prop::collection::vec((0..WRITTEN.len(), "([qzkvjQZKVJ7-9]{3,9}[=:/+,!;& -]?){2,4}"), 1..4),
        between in prop::sample::select(vec![" ", ", ", "; ", "&", "\t"]),
    ) {
        let line: Vec<String> = written.iter().map(|(form, secret)| WRITTEN[*form].replace('~', secret)).collect();
        written.iter().for_each(|(_, secret)| shows_nothing_of(secret, &line.join(between)));
    }
}

#[test]
fn no_excerpt_of_two_planted_secrets_in_a_line_shows_a_part_of_either() {
    let planted = planted::listed().into_iter().chain(planted::siblings()).chain(planted::others());
    // One line of each, with its secret.
    let lines: Vec<(String, String)> = planted
        .filter_map(|Planted(_, _, text)| {
            let text = String::from_utf8(text).ok()?;
            let line = text.lines().find(|line| line.len() < 400 && !excerpts(line).is_empty())?;
            let hit = scan("/x", line.as_bytes()).unwrap()[0];
            let rest: String = line.chars().skip(hit.column - 1).collect();
            let secret = rest.split(|c: char| c.is_whitespace() || "\"'<,;".contains(c)).next()?;
            // Names of secrets are shown, and some secrets consist of such words.
            let generic = ["token", "pass", "word", "secret", "key", "auth"];
            let plain =
                secret.len() >= 4 && !generic.iter().any(|word| secret.to_ascii_lowercase().contains(word));
            plain.then(|| (line.to_owned(), secret.to_owned()))
        })
        .collect();
    assert!(lines.len() > 100, "{}", lines.len());
    for (index, (line, secret)) in lines.iter().enumerate() {
        for step in [1, 7, 31] {
            let (second, other) = &lines[(index + step) % lines.len()];
            let both = format!("{line} {second}");
            [secret, other].into_iter().for_each(|secret| shows_nothing_of(secret, &both));
        }
    }
}

/// The second break run of issue 15: texts that refused builds without reason.
#[test]
fn what_is_said_beside_a_reader_and_what_names_something_else_is_no_secret() {
    for (path, text) in [
        ("a.sh", "echo 'Opening luks volume1'; cryptsetup open /dev/sda2 root\n"),
        ("a.sh", "[ -b /dev/sda2 ] || { echo \"no device yet\"; exit 1; }; cryptsetup open /dev/sda2 root\n"),
        ("a.sh", "echo \"Formatting /dev/sda2\" && cryptsetup luksFormat /dev/sda2 /etc/key1\n"),
        (
            "a.sh",
            "echo \"Logging in to registry1\" && cat /run/t | docker login -u a --password-stdin r.io\n",
        ),
        ("a.sh", "sudo -S echo hello1\n"),
        ("a.sh", "echo \"first1 of all\" || true; cat /run/p | sudo -S true\n"),
        ("a.sh", "printf 'done with step2\\n' >&2; passwd --stdin core < /run/p\n"),
        ("a.sh", "echo hello1 | tee /run/log; cryptsetup open /dev/sda2 root\n"),
        (
            "a.yaml",
            "checksum/secret: 3f9a0c7be2418d56f07a9bc1e4d2385a60b7f1c9d8e3425a7b6c0f1e9d8a4b3c\nchecksum/config-secret: 3f9a0c7be2418d56f07a9bc1e4d2385a\n",
        ),
        ("a.sh", "openssl req -x509 -passout pass: -subj /CN=x -keyout k.pem\n"),
        (
            "a.sh",
            "kubectl create secret generic x --from-literal=username=admin1 --from-literal=type=git1 --from-literal name=repository1\n",
        ),
        ("a.env", "AZURE_KEY_VAULT_SECRET=app-db-pw2\n"),
        ("a.yaml", "secret: my-tls-cert-a1b2c3\nimagePullSecret: the-pull-secret-7f9c\n"),
        ("a.sh", "echo \"PASS: test1\"\nprintf 'PASS: test_of_2\\n'\n"),
        ("README.md", "Each node is identified by 'name1', and a user is identified by \"id42\".\n"),
        ("a.sh", "zip -P out.zip -r dir\nmysql -prod-db1\nmysql -port=3307 -u app\n"),
        (
            "a.txt",
            "-----BEGIN PRIVATE KEY-----\nMIIEXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX\n-----END PRIVATE KEY-----\n",
        ),
        ("a.yaml", "password: argon2id\npassword: bcrypt\n"),
        ("a.sh", "cat <<EOF | sudo tee /etc/x\nhunterXYZ12\nEOF\n"),
        ("a.sh", "cryptsetup open /dev/sda2 root; cat <<EOF >/etc/motd\nWelcome2all\nEOF\n"),
        ("a.js", "token: decode1(foo,\n  bar)\npassword: getPass1(req),\n"),
        (
            "a.sh",
            "helm install x --set auth.password=$PW --docker-password=${PW} --password=string --password=PASSWORD\n",
        ),
        (
            "a.yaml",
            "password2: ''\ntoken_1: \"$TOKEN\"\nTOKEN_PROD=${TOKEN}\nkey1: somebody2\nvalue_2: other\n",
        ),
        (
            "a.yaml",
            "kind: Secret # of nobody\ndata:\n  a: \"{{ .x }}\"\n  b: PHBhc3N3b3JkPg==\n  c: JHtQQVNTfQ==\n",
        ),
        ("a.sh", "pass \"successfully built server\"\n# we pass \"-subj1\" as an argument\n"),
        ("a.md", "pkcs11:model=IBM%20EP11Tok;serial=93AAA1XX22347171;token=IBM%20OS%20PKCS%2311\n"),
        ("a.txt", "http://me:%s@h.example http://me:%(password)s@h.example\n"),
    ] {
        assert_eq!(hits(path, text), [], "{text}");
    }
}

/// The same run: secrets that were missed.
#[test]
fn numbers_suffixes_signs_and_here_documents_hide_no_secret() {
    let missed = planted::missed().into_iter().filter(|Planted(_, path, text)| hits(path, text).is_empty());
    assert_eq!(missed.map(|Planted(name, ..)| name).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn a_file_that_is_packed_seven_times_is_told_as_unread() {
    let told = |bytes: &[u8]| hits("/x", bytes).iter().any(|(.., kind)| *kind == Kind::Unread);
    let raw = |bytes: &[u8]| {
        let mut out = Vec::new();
        flate2::read::GzEncoder::new(bytes, flate2::Compression::default()).read_to_end(&mut out).unwrap();
        out
    };
    let times = |pack: &dyn Fn(&[u8]) -> Vec<u8>, count: usize| {
        (0..count).fold(b"password: hunterXYZ12\n".to_vec(), |bytes, _| pack(&bytes))
    };
    for pack in
        [&raw as &dyn Fn(&[u8]) -> Vec<u8>, &planted::xz_of, &|bytes| zstd::encode_all(bytes, 3).unwrap()]
    {
        assert_eq!(hits("/x", times(pack, 6)).len(), 1);
        assert!(!told(&times(pack, 6)));
        assert!(told(&times(pack, 7)));
    }
}
