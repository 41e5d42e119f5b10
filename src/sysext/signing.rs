//! The signer of an image's root hash: a private key and its certificate.
//!
//! Owns reading, checking and making the two, and the signature, a detached PKCS#7 (RFC 5652) without signed
//! attributes: it contains no time, and RSA with PKCS #1 v1.5 padding gives the same bytes for the same key and hash
//! each time. The private key is never part of a build; the certificate is.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fmt, fs, io};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use cms::cert::{CertificateChoices, IssuerAndSerialNumber};
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo};
use x509_cert::Certificate;
use x509_cert::certificate::{TbsCertificate, Version};
use x509_cert::der::asn1::{
    BitString, GeneralizedTime, Null, ObjectIdentifier, OctetString, SetOfVec, UtcTime,
};
use x509_cert::der::pem::LineEnding;
use x509_cert::der::{self, Any, Decode, DecodePem, Document, Encode, EncodePem};
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage, KeyUsages};
use x509_cert::ext::{AsExtension, Extension};
use x509_cert::name::Name;
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::time::{Time, Validity};

use crate::base::clock::{self, Judgement};
use crate::base::digest::Sha256;
use crate::base::disk::{write_atomic, write_secret};
use crate::base::error::{Advice, Exit};
use crate::base::finding::{Finding, plain};
use crate::base::unfinished::together;

/// Name of the key file in the directory that [`generate`] fills.
pub const KEY: &str = "sysext.key";
/// Name of the certificate file beside it. systemd accepts certificates with this suffix.
pub const CERTIFICATE: &str = "sysext.crt";

/// Longest key or certificate file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Fewest bytes of an RSA modulus: 2048 bits.
const MIN_MODULUS: usize = 256;
/// Validity of a generated certificate: ten years. Nodes ignore it.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");

/// A signing key, and the certificate by which nodes know it.
#[derive(Clone)]
pub struct Signer {
    key: Arc<RsaKeyPair>,
    certificate: Certificate,
    fingerprint: Sha256,
}

/// Shows the certificate's fingerprint and nothing of the key.
impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.fingerprint)
    }
}

/// Reasons why a key cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The key or certificate could not be written.
    #[error(transparent)]
    Store(#[from] crate::base::disk::Error),
    /// A key file already exists; holds its path.
    #[error("{0} already exists, and images signed with it would not be trusted with another key")]
    Exists(String),
    /// The cryptographic library failed; holds the failed operation.
    #[error("cannot {0}")]
    Crypto(&'static str),
    /// A structure could not be encoded.
    #[error("cannot encode the signature or certificate")]
    Encode(#[from] der::Error),
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Store(error) => error.exit(),
            Error::Exists(_) => Exit::Usage,
            Error::Crypto(_) | Error::Encode(_) => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Store(error) => error.hint(),
            Error::Exists(_) => Some("name another directory, or remove both files".into()),
            Error::Crypto(_) | Error::Encode(_) => None,
        }
    }
}

impl Signer {
    /// Reads a private key (PEM, PKCS #8 or PKCS #1) and a certificate (PEM).
    ///
    /// # Errors
    /// A finding about the key, and one about the certificate, without places.
    pub fn load(
        key: &Path,
        certificate: &Path,
        now: SystemTime,
    ) -> Result<Signer, Box<[Option<Finding>; 2]>> {
        let (signing, known) = match (load_key(key), load_certificate(certificate, now)) {
            (Ok(signing), Ok(known)) => (signing, known),
            (key, certificate) => return Err(Box::new([key.err(), certificate.err()])),
        };
        let (known, fingerprint) = known;
        let public = &known.tbs_certificate.subject_public_key_info.subject_public_key;
        if public.raw_bytes() != signing.public_key().as_ref() {
            let finding = Finding::error(format!(
                "the certificate {} does not belong to the key {}",
                certificate.display(),
                key.display()
            ));
            return Err(Box::new([None, Some(finding.hint("name the two files that were made together"))]));
        }
        Ok(Signer { key: Arc::new(signing), certificate: known, fingerprint })
    }

    /// SHA-256 of the certificate in DER.
    pub fn fingerprint(&self) -> Sha256 {
        self.fingerprint
    }

    /// The certificate in PEM, as nodes need it.
    pub(crate) fn certificate_pem(&self) -> Result<String, Error> {
        Ok(self.certificate.to_pem(LineEnding::LF)?)
    }

    /// Signs bytes. Returns the PKCS#7 structure in DER, with the certificate and without the bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let certificate = &self.certificate.tbs_certificate;
        let signer = SignerInfo {
            version: CmsVersion::V1,
            sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
                issuer: certificate.issuer.clone(),
                serial_number: certificate.serial_number.clone(),
            }),
            digest_alg: algorithm(SHA256),
            signed_attrs: None,
            signature_algorithm: algorithm(RSA),
            signature: OctetString::new(signature(&self.key, message)?)?,
            unsigned_attrs: None,
        };
        let signed = SignedData {
            version: CmsVersion::V1,
            digest_algorithms: one(algorithm(SHA256))?,
            encap_content_info: EncapsulatedContentInfo { econtent_type: DATA, econtent: None },
            certificates: Some(one(CertificateChoices::Certificate(self.certificate.clone()))?.into()),
            crls: None,
            signer_infos: one(signer)?.into(),
        };
        let content = Any::encode_from(&signed)?;
        Ok(ContentInfo { content_type: SIGNED_DATA, content }.to_der()?)
    }
}

/// SHA-256 of a certificate file's certificate in DER, whether it has expired or not.
///
/// # Errors
/// A finding without a place, if the file cannot be read or has no certificate.
pub(crate) fn fingerprint(certificate: &Path) -> Result<Sha256, Finding> {
    Ok(read_certificate(certificate)?.1)
}

/// Result of [`generate`].
#[derive(Clone, Copy, Debug)]
pub struct Generated {
    /// The certificate's fingerprint.
    pub fingerprint: Sha256,
    /// Whether the key already existed, without a certificate.
    pub key_was_there: bool,
}

/// Makes a key of 3072 bits and a self-signed certificate, as [`KEY`] and [`CERTIFICATE`] in a directory, which is
/// created if it is missing. Only the owner may read the key. A key without a certificate, as left behind by a run that
/// was killed between the two, gets a new certificate. It differs from any certificate that the key had before, so
/// machines that trust the old one do not trust the new one.
///
/// # Errors
/// [`Error::Exists`] if the certificate exists, or a key file that is not a readable key.
pub fn generate(directory: &Path, now: SystemTime) -> Result<Generated, Error> {
    let (key_file, certificate_file) = (directory.join(KEY), directory.join(CERTIFICATE));
    let is_there = |file: &Path| fs::symlink_metadata(file).is_ok();
    // `is_file`, because reading a pipe in the key's place would block.
    if !is_there(&certificate_file)
        && key_file.is_file()
        && let Ok(key) = load_key(&key_file)
    {
        let certificate = self_signed(&key, now)?;
        write_atomic(&certificate_file, certificate.to_pem(LineEnding::LF)?.as_bytes())?;
        return Ok(Generated { fingerprint: Sha256::of(&certificate.to_der()?), key_was_there: true });
    }
    if let Some(there) = [&key_file, &certificate_file].into_iter().find(|file| is_there(file)) {
        return Err(Error::Exists(there.display().to_string()));
    }
    let key = RsaKeyPair::generate(KeySize::Rsa3072).map_err(|_| Error::Crypto("make an RSA key"))?;
    let certificate = self_signed(&key, now)?;
    let secret: Pkcs8V1Der = key.as_der().map_err(|_| Error::Crypto("encode the RSA key"))?;
    let secret = der::pem::encode_string("PRIVATE KEY", LineEnding::LF, secret.as_ref())
        .map_err(|_| Error::Crypto("encode the RSA key"))?;
    crate::base::disk::create_directories(directory)?;
    let pem = certificate.to_pem(LineEnding::LF)?;
    together(|| {
        write_secret(&key_file, secret.as_bytes())?;
        let written = write_atomic(&certificate_file, pem.as_bytes());
        // A file may exist although its directory could not be synced. The next run gives a lone key a certificate, but
        // a lone certificate no key: so the key is removed last.
        written
            .inspect_err(|_| [&certificate_file, &key_file].map(fs::remove_file).into_iter().for_each(drop))
    })?;
    Ok(Generated { fingerprint: Sha256::of(&certificate.to_der()?), key_was_there: false })
}

fn self_signed(key: &RsaKeyPair, now: SystemTime) -> Result<Certificate, Error> {
    let public: PublicKeyX509Der =
        key.public_key().as_der().map_err(|_| Error::Crypto("encode the RSA key"))?;
    let digest = Sha256::of(public.as_ref());
    // A positive number of 16 bytes that is unique to the key.
    let mut serial: [u8; 16] = [0; 16];
    serial.copy_from_slice(&digest.bytes()[..16]);
    serial[0] = serial[0] & 0x7f | 0x40;
    let subject: Name = format!("CN=prebake sysexts {}", &digest.to_string()[..16]).parse()?;
    let seconds =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let time = |time| {
        let date = der::DateTime::from_unix_duration(Duration::from_secs(seconds(time)))?;
        // RFC 5280, 4.1.2.5: years before 2050 have two digits.
        Ok::<Time, der::Error>(match date.year() <= UtcTime::MAX_YEAR {
            true => UtcTime::from_date_time(date)?.into(),
            false => GeneralizedTime::from_date_time(date).into(),
        })
    };
    let extensions: [Result<Extension, der::Error>; 2] = [
        BasicConstraints { ca: false, path_len_constraint: None }.to_extension(&subject, &[]),
        KeyUsage(KeyUsages::DigitalSignature.into()).to_extension(&subject, &[]),
    ];
    let tbs_certificate = TbsCertificate {
        version: Version::V3,
        serial_number: SerialNumber::new(&serial)?,
        signature: algorithm(SHA256_WITH_RSA),
        issuer: subject.clone(),
        validity: Validity { not_before: time(now)?, not_after: time(now + VALIDITY)? },
        subject,
        subject_public_key_info: SubjectPublicKeyInfoOwned::from_der(public.as_ref())?,
        issuer_unique_id: None,
        subject_unique_id: None,
        extensions: Some(extensions.into_iter().collect::<Result<_, _>>()?),
    };
    let signature = BitString::from_bytes(&signature(key, &tbs_certificate.to_der()?)?)?;
    Ok(Certificate { tbs_certificate, signature_algorithm: algorithm(SHA256_WITH_RSA), signature })
}

fn signature(key: &RsaKeyPair, message: &[u8]) -> Result<Vec<u8>, Error> {
    let mut signature = vec![0; key.public_modulus_len()];
    // PKCS #1 v1.5 does not use the random numbers: the interface is shared with PSS.
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| Error::Crypto("sign with the RSA key"))?;
    Ok(signature)
}

fn algorithm(oid: ObjectIdentifier) -> AlgorithmIdentifierOwned {
    AlgorithmIdentifierOwned { oid, parameters: Some(Null.into()) }
}

fn one<T: der::DerOrd>(value: T) -> Result<SetOfVec<T>, der::Error> {
    SetOfVec::try_from(vec![value])
}

fn load_key(path: &Path) -> Result<RsaKeyPair, Finding> {
    let unusable =
        |why: &str| Finding::error(format!("{} is not a usable private key: {why}", path.display()));
    let text = read(path)?;
    let how = "make one with `prebake sysext key generate -o DIR`, or with `openssl genrsa 3072`";
    let (label, document) =
        Document::from_pem(&text).map_err(|_| unusable("it is not a PEM file").hint(how))?;
    let key = match label {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(document.as_bytes()),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(document.as_bytes()),
        "ENCRYPTED PRIVATE KEY" => {
            return Err(unusable("it is encrypted").hint("decrypt it: `openssl pkey -in FILE`"));
        }
        other => {
            return Err(
                unusable(&format!("it is a PEM file with `{other}`, not a private RSA key")).hint(how)
            );
        }
    };
    let key = key.map_err(|_| unusable("it is not an RSA key of 2048 to 8192 bits").hint(how))?;
    if key.public_modulus_len() < MIN_MODULUS {
        return Err(unusable("it has fewer than 2048 bits").hint(how));
    }
    Ok(key)
}

fn load_certificate(path: &Path, now: SystemTime) -> Result<(Certificate, Sha256), Finding> {
    let (certificate, fingerprint) = read_certificate(path)?;
    let until = certificate.tbs_certificate.validity.not_after;
    if until.to_system_time() < now {
        let renew = "renew it for the same key, and give nodes the new one first";
        return Err(unusable(path, &format!("it expired at {}", until.to_date_time())).hint(clock::first(
            now,
            Judgement::Lapsed,
            renew,
        )));
    }
    Ok((certificate, fingerprint))
}

fn read_certificate(path: &Path) -> Result<(Certificate, Sha256), Finding> {
    let text = read(path)?;
    let certificate = Certificate::from_pem(text.as_bytes())
        .map_err(|error| unusable(path, &format!("it is not one X.509 certificate in PEM ({error})")))?;
    let der = certificate.to_der().map_err(|error| unusable(path, &error.to_string()))?;
    Ok((certificate, Sha256::of(&der)))
}

fn unusable(path: &Path, why: &str) -> Finding {
    Finding::error(format!("{} is not a usable certificate: {why}", path.display()))
}

fn read(path: &Path) -> Result<String, Finding> {
    let read = || {
        if fs::metadata(path)?.len() > MAX_FILE {
            return Err(io::Error::other("it is longer than 1 MiB"));
        }
        Ok(plain(&fs::read_to_string(path)?).to_owned())
    };
    read().map_err(|error| Finding::error(format!("cannot read {}: {error}", path.display())))
}
