//! Private keys in the forms that kubeadm reads, and the pair that service accounts' tokens are signed with.

use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SignatureAlgorithm,
};
use rcgen::{PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer};
use zeroize::Zeroizing;

use super::error::Error;
use super::store::Store;
use crate::cluster::description::KeyKind;

/// Kinds of keys, by kubeadm's names for `encryptionAlgorithm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on the curve P-256: made and used in no time also by small and emulated machines.
    #[default]
    EcdsaP256,
    /// ECDSA on the curve P-384; kubeadm makes such keys itself from 1.34 on.
    EcdsaP384,
    /// RSA of 2048 bits.
    Rsa2048,
    /// RSA of 3072 bits.
    Rsa3072,
    /// RSA of 4096 bits.
    Rsa4096,
}

impl From<KeyKind> for Algorithm {
    fn from(kind: KeyKind) -> Algorithm {
        match kind {
            KeyKind::Ecdsa => Algorithm::EcdsaP256,
            KeyKind::Rsa => Algorithm::Rsa2048,
        }
    }
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Algorithm; 5] = [
        Algorithm::EcdsaP256,
        Algorithm::EcdsaP384,
        Algorithm::Rsa2048,
        Algorithm::Rsa3072,
        Algorithm::Rsa4096,
    ];

    /// The kind of keys that it is of.
    pub const fn kind(self) -> KeyKind {
        match self {
            Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => KeyKind::Ecdsa,
            Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => KeyKind::Rsa,
        }
    }

    /// kubeadm's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Algorithm::EcdsaP256 => "ECDSA-P256",
            Algorithm::EcdsaP384 => "ECDSA-P384",
            Algorithm::Rsa2048 => "RSA-2048",
            Algorithm::Rsa3072 => "RSA-3072",
            Algorithm::Rsa4096 => "RSA-4096",
        }
    }

    fn signature(self) -> &'static SignatureAlgorithm {
        match self {
            Algorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
            Algorithm::Rsa2048 | Algorithm::Rsa3072 | Algorithm::Rsa4096 => &PKCS_RSA_SHA256,
        }
    }

    /// Makes a key.
    pub(super) fn generate(self, what: &str) -> Result<KeyPair, Error> {
        let signature = self.signature();
        let key = match self {
            Algorithm::EcdsaP256 | Algorithm::EcdsaP384 => KeyPair::generate_for(signature),
            Algorithm::Rsa2048 => KeyPair::generate_rsa_for(signature, RsaKeySize::_2048),
            Algorithm::Rsa3072 => KeyPair::generate_rsa_for(signature, RsaKeySize::_3072),
            Algorithm::Rsa4096 => KeyPair::generate_rsa_for(signature, RsaKeySize::_4096),
        };
        key.map_err(Error::crypto(what))
    }

    /// The kind nearest to a key that somebody brought.
    pub(super) fn of(key: &KeyPair) -> Algorithm {
        match key.algorithm() {
            other if *other == PKCS_RSA_SHA256 => match key.subject_public_key_info().len() {
                // 256, 384 or 512 bytes of modulus, and some forty around it.
                0..=400 => Algorithm::Rsa2048,
                401..=500 => Algorithm::Rsa3072,
                _ => Algorithm::Rsa4096,
            },
            other if *other == PKCS_ECDSA_P256_SHA256 => Algorithm::EcdsaP256,
            // P-521 is no choice of kubeadm's.
            _ => Algorithm::EcdsaP384,
        }
    }
}

/// A private key in PEM: PKCS #8, SEC 1 or PKCS #1, after parameters if there are any, as `openssl ecparam -genkey` writes them.
pub(super) fn load(store: &Store, name: &str, pem: &[u8]) -> Result<KeyPair, Error> {
    let unfit = |why: &str| Error::Unfit { path: store.path(name), why: why.to_owned() };
    let key = PrivateKeyDer::from_pem_slice(pem)
        .map_err(|_| unfit("it is not a private key in PEM, or it is encrypted"))?;
    let key = KeyPair::try_from(&key).map_err(|_| unfit("it is a key of a kind that is not supported"))?;
    match *key.algorithm() == PKCS_ED25519 {
        true => Err(unfit("it is an Ed25519 key, which kubeadm does not take: RSA or ECDSA")),
        false => Ok(key),
    }
}

/// A private key in PEM, which is overwritten when it is dropped.
pub(super) fn pem(key: &KeyPair) -> Zeroizing<String> {
    Zeroizing::new(key.serialize_pem())
}

/// The pair that service accounts' tokens are signed and judged with.
pub(super) struct Accounts;

impl Accounts {
    /// File name of the private key.
    pub(super) const KEY: &'static str = "sa.key";
    /// File name of the public key.
    pub(super) const PUBLIC: &'static str = "sa.pub";

    /// Makes what lacks, if a key may be made.
    pub(super) fn ensure(store: &Store, make: Option<Algorithm>) -> Result<(), Error> {
        let public = store.read(Accounts::PUBLIC)?;
        let key = match store.read(Accounts::KEY)? {
            Some(bytes) => load(store, Accounts::KEY, &bytes)?,
            None => {
                let path = store.path(Accounts::KEY);
                let algorithm = match (&public, make) {
                    (Some(_), _) => return Err(Error::Lost { path, why: "only its public key is there" }),
                    (None, None) => return Err(Error::Lost { path, why: "it was there once" }),
                    (None, Some(algorithm)) => algorithm,
                };
                let key = algorithm.generate("the key of service accounts")?;
                store.write(Accounts::KEY, pem(&key).as_bytes())?;
                key
            }
        };
        match public {
            Some(_) => Ok(()),
            None => store.write(Accounts::PUBLIC, key.public_key_pem().as_bytes()),
        }
    }

    /// Checks that both belong together.
    pub(super) fn open(store: &Store) -> Result<(), Error> {
        let key = load(store, Accounts::KEY, &store.need(Accounts::KEY)?)?;
        let public =
            SubjectPublicKeyInfoDer::from_pem_slice(&store.need(Accounts::PUBLIC)?).map_err(|_| {
                Error::Unfit {
                    path: store.path(Accounts::PUBLIC),
                    why: "it is not a public key in PEM".into(),
                }
            })?;
        match public.as_ref() == key.subject_public_key_info() {
            true => Ok(()),
            false => {
                Err(Error::Strangers { path: store.path(Accounts::PUBLIC), key: store.path(Accounts::KEY) })
            }
        }
    }
}
