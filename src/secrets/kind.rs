//! Which secrets are known, and what each looks like: one table for what is known by its own shape, one for what is known
//! by the word before it.

use std::fmt;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

use crate::report::Severity;

/// Padding is cut off with the words, and a cut word has odd bits at its end.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A kind of secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// In PEM or SSH's format, whatever the algorithm, encrypted or not.
    PrivateKey,
    /// An identity of age.
    AgeKey,
    /// A secret key of minisign or signify, and so of prebake.
    MinisignKey,
    /// PuTTY's key file, which always holds the private key.
    PuttyKey,
    /// Of WireGuard, in systemd's or its own files.
    WireguardKey,
    /// `ID.SECRET`, by which anybody joins the cluster.
    BootstrapToken,
    /// The key that kubeadm encrypts a control plane's certificates with.
    CertificateKey,
    /// A user's key or token in a kubeconfig.
    KubeconfigUser,
    /// The key that the API server encrypts its data with.
    EncryptionKey,
    /// What logs in to a registry.
    RegistryLogin,
    /// A signed token, such as a service account's.
    WebToken,
    /// A key of AWS, Google or a similar cloud.
    CloudKey,
    /// A token of GitHub, GitLab, Slack and the like.
    ServiceToken,
    /// Name and password in a URL.
    UrlPassword,
    /// What opens an encrypted volume.
    VolumeKey,
    /// A header that logs in.
    LoginHeader,
    /// The hash of a password: no secret itself, but it can be guessed by.
    PasswordHash,
}

impl Kind {
    /// A hash is public on some systems; all else opens something at once.
    pub fn severity(self) -> Severity {
        match self {
            Kind::PasswordHash => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::PrivateKey => "a private key",
            Kind::AgeKey => "a secret key of age",
            Kind::MinisignKey => "a secret key of minisign",
            Kind::PuttyKey => "a private key of PuTTY",
            Kind::WireguardKey => "a private key of WireGuard",
            Kind::BootstrapToken => "a bootstrap token of kubeadm",
            Kind::CertificateKey => "the key of kubeadm's certificates",
            Kind::KubeconfigUser => "the login of a kubeconfig",
            Kind::EncryptionKey => "an encryption key of the API server",
            Kind::RegistryLogin => "the login of a registry",
            Kind::WebToken => "a signed token (JWT)",
            Kind::CloudKey => "the key of a cloud account",
            Kind::ServiceToken => "the token of a service",
            Kind::UrlPassword => "a password in a URL",
            Kind::VolumeKey => "the key of an encrypted volume",
            Kind::LoginHeader => "a header that logs in",
            Kind::PasswordHash => "the hash of a password",
        })
    }
}

/// What is known by how it begins: the beginning, the letters that follow, and how many there are at least.
pub(super) struct Shape {
    pub prefix: &'static str,
    pub letters: fn(u8) -> bool,
    pub least: usize,
    pub kind: Kind,
}

/// age: Bech32 of 32 bytes. minisign and signify: base64 of `Ed`, the algorithm of the passphrase (`Sc`, none or `BK`) and of
/// the checksum; a public key has neither. AWS: 16 letters of base32 behind the kind of the id (IAM's reference of ids).
pub(super) static SHAPES: [Shape; 16] = [
    shape("AGE-SECRET-KEY-1", upper, 58, Kind::AgeKey),
    shape("AGE-SECRET-KEY-PQ-1", upper, 58, Kind::AgeKey),
    shape("RWRTY0Iy", base64, 200, Kind::MinisignKey),
    shape("RWQAAEIy", base64, 200, Kind::MinisignKey),
    shape("RWRCSw", base64, 130, Kind::MinisignKey),
    shape("AKIA", upper, 16, Kind::CloudKey),
    shape("ASIA", upper, 16, Kind::CloudKey),
    shape("AIza", base64_url, 35, Kind::CloudKey),
    shape("ya29.", base64_url, 30, Kind::CloudKey),
    shape("ghp_", word, 36, Kind::ServiceToken),
    shape("gho_", word, 36, Kind::ServiceToken),
    shape("ghs_", word, 36, Kind::ServiceToken),
    shape("github_pat_", word, 60, Kind::ServiceToken),
    shape("glpat-", base64_url, 20, Kind::ServiceToken),
    shape("xoxb-", base64_url, 24, Kind::ServiceToken),
    shape("xoxp-", base64_url, 24, Kind::ServiceToken),
];

const fn shape(prefix: &'static str, letters: fn(u8) -> bool, least: usize, kind: Kind) -> Shape {
    Shape { prefix, letters, least, kind }
}

/// The end of the table in containerd's config that holds the login of a registry.
pub(super) const CONTAINERD_LOGIN: &str = ".auth]";

/// What is known by the key that it stands behind. Keys are compared in lower case and without `-` and `_`.
pub(super) struct Keyed {
    pub key: fn(&str) -> bool,
    pub value: fn(&str) -> bool,
    pub kind: Kind,
    /// The value is one only in a document of that `kind:`, which may be said behind it, or in such a table.
    pub document: Option<&'static str>,
}

pub(super) static KEYED: [Keyed; 13] = [
    keyed(|key| key.ends_with("token") || key.ends_with("tokens"), is_bootstrap_token, Kind::BootstrapToken),
    keyed(|key| key == "tokensecret", |value| value.len() >= 16 && all(value, base64), Kind::BootstrapToken),
    keyed(
        |key| key == "certificatekey",
        |value| value.len() == 64 && all(value, |b| b.is_ascii_hexdigit()),
        Kind::CertificateKey,
    ),
    keyed(
        |key| key == "clientkeydata",
        |value| value.len() >= 16 && all(value, base64),
        Kind::KubeconfigUser,
    ),
    keyed(
        |key| key.ends_with("secretaccesskey"),
        |value| value.len() == 40 && all(value, base64),
        Kind::CloudKey,
    ),
    keyed(|key| key == "auth", is_login, Kind::RegistryLogin),
    keyed(
        |key| ["identitytoken", "registrytoken"].contains(&key),
        |value| value.len() >= 16,
        Kind::RegistryLogin,
    ),
    // 32 bytes; the padding is no part of a word.
    keyed(
        |key| ["privatekey", "presharedkey"].contains(&key),
        |value| value.len() == 43 && all(value, base64),
        Kind::WireguardKey,
    ),
    in_document("Config", |key| key == "token", is_opaque, Kind::KubeconfigUser),
    in_document("Config", |key| key == "password", is_opaque, Kind::KubeconfigUser),
    in_document(CONTAINERD_LOGIN, |key| key == "password", is_opaque, Kind::RegistryLogin),
    in_document(
        "EncryptionConfiguration",
        |key| key == "secret",
        |value| value.len() >= 22 && all(value, base64),
        Kind::EncryptionKey,
    ),
    in_document(
        "EncryptionConfig",
        |key| key == "secret",
        |value| value.len() >= 22 && all(value, base64),
        Kind::EncryptionKey,
    ),
];

const fn keyed(key: fn(&str) -> bool, value: fn(&str) -> bool, kind: Kind) -> Keyed {
    Keyed { key, value, kind, document: None }
}

const fn in_document(
    document: &'static str,
    key: fn(&str) -> bool,
    value: fn(&str) -> bool,
    kind: Kind,
) -> Keyed {
    Keyed { key, value, kind, document: Some(document) }
}

/// Beginnings of password hashes, as crypt(5) lists them.
pub(super) const HASHES: [&str; 10] =
    ["$1$", "$5$", "$6$", "$y$", "$gy$", "$7$", "$2a$", "$2b$", "$2y$", "$argon2"];

/// `[a-z0-9]{6}.[a-z0-9]{16}` (kubeadm's `BootstrapTokenPattern`).
pub(super) fn is_bootstrap_token(word: &str) -> bool {
    let lower = |part: &str, length| {
        part.len() == length && all(part, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    word.split_once('.').is_some_and(|(id, secret)| lower(id, 6) && lower(secret, 16))
}

/// Three parts of base64url, the first of which is a JSON object that names an algorithm (RFC 7519, RFC 7515).
pub(super) fn is_web_token(word: &str) -> bool {
    let mut parts = word.split('.');
    let (Some(head), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let plain = |part: &str| all(part, base64_url);
    let standard = |part: &str| part.replace('-', "+").replace('_', "/");
    claims.len() >= 8
        && signature.len() >= 20
        && [head, claims, signature].into_iter().all(plain)
        && decode(&standard(head)).is_some_and(|json| json.starts_with(b"{") && contains(&json, b"\"alg\""))
}

/// Base64 of `NAME:PASSWORD`, as docker keeps it.
fn is_login(word: &str) -> bool {
    let text = decode(word).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let printable = text.chars().all(|c| !c.is_control());
    printable && text.split_once(':').is_some_and(|(name, password)| !name.is_empty() && !password.is_empty())
}

/// A value that somebody is given, and no place where it is filled in, nor a word of a sentence.
fn is_opaque(word: &str) -> bool {
    word.len() >= 8 && !word.starts_with(['$', '{', '<', '%', '/', '*', '.'])
}

/// Base64 with or without its padding; a digit too many at the end is left out.
pub(super) fn decode(word: &str) -> Option<Vec<u8>> {
    let digits = word.trim_end_matches('=');
    let whole = digits.len() - usize::from(digits.len() % 4 == 1);
    BASE64.decode(digits.get(..whole)?).ok()
}

pub(super) fn all(text: &str, letters: fn(u8) -> bool) -> bool {
    text.bytes().all(letters)
}

fn upper(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit()
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

pub(super) fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

fn base64_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}
