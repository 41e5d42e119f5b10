//! The kinds of secrets, and patterns for those that are recognised by the word before them; [`super::token`] has the
//! patterns of those with a shape of their own.

use std::fmt;

use crate::base::finding::Severity;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};

/// Padding is cut off with the words, and a cut word has leftover bits at its end.
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
    /// In PEM, DER or SSH's format or as a JWK, of any algorithm, encrypted or not.
    PrivateKey,
    /// PKCS #12, Java's and KeePass' stores, Kerberos' keytab.
    KeyStore,
    /// A text encrypted with a passphrase, such as Ansible's; the passphrase can be guessed from it.
    Vault,
    /// A secret key of age.
    AgeKey,
    /// A secret key of minisign or signify, and so of prebake.
    MinisignKey,
    /// PuTTY's key file, which always contains the private key.
    PuttyKey,
    /// A private or preshared key of WireGuard, in systemd's or its own files.
    WireguardKey,
    /// `ID.SECRET`, with which anybody can join the cluster.
    BootstrapToken,
    /// A token with which a node joins a cluster of K3s or RKE2.
    ClusterToken,
    /// The key with which kubeadm encrypts a control plane's certificates.
    CertificateKey,
    /// A user's key or token in a kubeconfig.
    KubeconfigUser,
    /// The key with which the API server encrypts its data.
    EncryptionKey,
    /// The login of a container registry.
    RegistryLogin,
    /// A signed token, such as a service account's.
    WebToken,
    /// A key of AWS, Google or a similar cloud.
    CloudKey,
    /// A token of GitHub, GitLab, Slack and the like.
    ServiceToken,
    /// Name and password in a URL.
    UrlPassword,
    /// The key of an encrypted volume.
    VolumeKey,
    /// An HTTP header with credentials.
    LoginHeader,
    /// An entry of a Kubernetes Secret.
    KubernetesSecret,
    /// A value after a name such as `password`, or a command's password.
    Password,
    /// A value after a name such as `token` or `API_KEY`.
    Secret,
    /// The hash of a password: not a secret itself, but the password can be guessed from it.
    PasswordHash,
    /// Not a secret, but an unscanned rest after this place: the work of a scan is limited by the length of its text.
    Unread,
}

impl Kind {
    /// A warning for hashes, which are public on some systems, and for unscanned rests; every other kind gives access
    /// at once.
    pub(crate) fn severity(self) -> Severity {
        match self {
            Kind::PasswordHash | Kind::Unread => Severity::Warning,
            _ => Severity::Error,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::PrivateKey => "a private key",
            Kind::KeyStore => "a store of private keys",
            Kind::Vault => "an encrypted vault",
            Kind::AgeKey => "a secret key of age",
            Kind::MinisignKey => "a secret key of minisign",
            Kind::PuttyKey => "a private key of PuTTY",
            Kind::WireguardKey => "a private key of WireGuard",
            Kind::BootstrapToken => "a bootstrap token of kubeadm",
            Kind::ClusterToken => "the join token of a cluster",
            Kind::CertificateKey => "the key of kubeadm's certificates",
            Kind::KubeconfigUser => "the login of a kubeconfig",
            Kind::EncryptionKey => "an encryption key of the API server",
            Kind::RegistryLogin => "the login of a registry",
            Kind::WebToken => "a signed token (JWT)",
            Kind::CloudKey => "the key of a cloud account",
            Kind::ServiceToken => "the token of a service",
            Kind::UrlPassword => "a password in a URL",
            Kind::VolumeKey => "the key of an encrypted volume",
            Kind::LoginHeader => "a header with credentials",
            Kind::KubernetesSecret => "the data of a Kubernetes Secret",
            Kind::Password => "a password",
            Kind::Secret => "a secret",
            Kind::PasswordHash => "the hash of a password",
            Kind::Unread => "what was not scanned completely",
        })
    }
}

/// The end of the header of the table in containerd's config that has a registry's login.
pub(super) const CONTAINERD_LOGIN: &str = ".auth]";

/// Marks a document that has a `kty`: a JSON Web Key.
pub(super) const WEB_KEY: &str = "kty";
/// Marks a document that has `auths`: logins of registries, as docker and containers store them.
pub(super) const AUTHS: &str = "auths";

/// A pattern for a secret that is recognised by the key before it. Keys are compared in lower case and without `-` and
/// `_`.
pub(super) struct Keyed {
    pub key: fn(&str) -> bool,
    pub value: fn(&str) -> bool,
    pub kind: Kind,
    /// The value counts only in a document of that `kind:`, which may also come later, or in such a table.
    pub document: Option<&'static str>,
}

pub(super) static KEYED: [Keyed; 19] = [
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
        |value| value.len() == 40 && all(value, base64) && !value.ends_with("EXAMPLEKEY"),
        Kind::CloudKey,
    ),
    keyed(|key| key == "auth", is_login, Kind::RegistryLogin),
    keyed(
        |key| ["identitytoken", "registrytoken"].contains(&key),
        |value| value.len() >= 16,
        Kind::RegistryLogin,
    ),
    // 32 bytes; the padding is not part of a word.
    keyed(
        |key| ["privatekey", "presharedkey"].contains(&key),
        |value| value.len() == 43 && all(value, base64),
        Kind::WireguardKey,
    ),
    // Keys of Ceph's users: base64 of a type, a time and 16 bytes (ceph, `CryptoKey`).
    keyed(
        |key| key == "key",
        |value| value.len() == 38 && value.starts_with("AQ") && all(value, base64),
        Kind::Secret,
    ),
    // Keys of Consul, Nomad and Serf: 16, 24 or 32 bytes that encrypt the traffic between members.
    keyed(
        |key| key == "encrypt",
        |value| [22, 32, 43].contains(&value.len()) && all(value, base64),
        Kind::EncryptionKey,
    ),
    // RFC 7518, §6.2.2, §6.3.2 and §6.4: the private exponent or scalar, the first factor, the key itself.
    in_document(
        WEB_KEY,
        |key| key == "d",
        |value| value.len() >= 42 && all(value, base64_url),
        Kind::PrivateKey,
    ),
    in_document(
        WEB_KEY,
        |key| key == "p",
        |value| value.len() >= 42 && all(value, base64_url),
        Kind::PrivateKey,
    ),
    in_document(
        WEB_KEY,
        |key| key == "k",
        |value| value.len() >= 16 && all(value, base64_url),
        Kind::PrivateKey,
    ),
    // containers' auth.json may have this in place of `auth`.
    in_document(AUTHS, |key| key == "password", super::value::is_given, Kind::RegistryLogin),
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

/// Beginnings of password hashes, as listed in crypt(5), and those of Apache, Django, Cisco and LDAP (RFC 2307).
pub(super) const HASHES: [&str; 24] = [
    "$1$", "$3$", "$5$", "$6$", "$7$", "$8$", "$9$", "$y$", "$gy$", "$2$", "$2a$", "$2b$", "$2x$", "$2y$",
    "$apr1$", "$sha1$", "$md5", "$argon2", "$scrypt$", "$pbkdf2", "{SHA", "{SSHA", "{PBKDF2", "{CRYPT}",
];

/// Whether a word matches `[a-z0-9]{6}.[a-z0-9]{16}` (kubeadm's `BootstrapTokenPattern`).
pub(super) fn is_bootstrap_token(word: &str) -> bool {
    let lower = |part: &str, length| {
        part.len() == length && all(part, |b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    word.split_once('.').is_some_and(|(id, secret)| lower(id, 6) && lower(secret, 16))
}

/// Whether a word has three parts of base64url, the first of which is a JSON object that names an algorithm (RFC 7519,
/// RFC 7515).
pub(super) fn is_web_token(word: &str) -> bool {
    if !word.starts_with('e') {
        return false;
    }
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

/// Whether a word is the base64 of `NAME:PASSWORD`, as docker stores it.
fn is_login(word: &str) -> bool {
    let text = decode(word).and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default();
    let printable = text.chars().all(|c| !c.is_control());
    printable && text.split_once(':').is_some_and(|(name, password)| !name.is_empty() && !password.is_empty())
}

/// Whether a word may be a real value: not a placeholder, and not too short.
fn is_opaque(word: &str) -> bool {
    word.len() >= 8 && !word.starts_with(['$', '{', '<', '%', '/', '*', '.'])
}

/// Decodes base64 with or without its padding; a surplus digit at the end is dropped.
pub(super) fn decode(word: &str) -> Option<Vec<u8>> {
    let digits = word.trim_end_matches('=');
    let whole = digits.len() - usize::from(digits.len() % 4 == 1);
    BASE64.decode(digits.get(..whole)?).ok()
}

pub(super) fn all(text: &str, letters: fn(u8) -> bool) -> bool {
    text.bytes().all(letters)
}

pub(super) fn base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/'
}

pub(super) fn base64_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}
