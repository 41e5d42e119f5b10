//! Authorities of our own, and the certificates that they issue (X.509, RFC 5280).
//!
//! Owns keys, and what a certificate says: name, lifetime, purpose, serial number. An authority may have been made elsewhere: its
//! name is written into certificates as it stands in its own, byte for byte, and a certificate that is issued again keeps all
//! that it says but its lifetime. Leaves certificates that are there to [`certificate`](super::certificate), files to
//! [`pairs`](super::pairs) and to `serve::http::tls`, which decide how long something holds.

use std::fmt;
use std::time::SystemTime;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256, PublicKeyData, RsaKeySize, SerialNumber,
    SigningKey, date_time_ymd,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use x509_cert::Certificate;
use x509_cert::certificate::TbsCertificate;
use x509_cert::der::asn1::{Any, BitString, ObjectIdentifier, OctetString, SetOfVec};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::der::{Encode, Tag};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::name::RelativeDistinguishedName;
use zeroize::Zeroizing;

use super::certificate::{Known, Purpose, judge_authority};
use crate::base::clock;
use crate::base::digest::Sha256;

/// Bytes of a serial number: RFC 5280, 4.1.2.2 allows 20.
const SERIAL: usize = 16;
/// The word in an encrypted key's label or head.
const ENCRYPTED: &[u8] = b"ENCRYPTED";
/// The kinds of keys that rustls and rcgen can use.
pub(crate) const KINDS: &str =
    "RSA of 2048 bits and more, ECDSA on P-256, P-384 and P-521, and Ed25519 are known";
/// Longest common name, in characters (RFC 5280, appendix A, ub-common-name).
pub(crate) const LONGEST_NAME: usize = 64;

/// Why a certificate cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No certificate can have such a name.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    Name(String),
    /// The library that makes certificates refused.
    #[error("cannot make a certificate for `{0}`")]
    Make(String, #[source] rcgen::Error),
    /// There are no random numbers for a serial number.
    #[error("the system has no random numbers")]
    Random,
    /// An authority's certificate that cannot issue others.
    #[error("it is not the certificate of an authority that can issue others: {0}")]
    NoAuthority(String),
    /// A certificate whose parts cannot be written again.
    #[error("it cannot be issued again as it is: {0}")]
    Unrepeatable(String),
}

/// How keys are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on the curve P-256.
    #[default]
    Ecdsa,
    /// RSA of 3072 bits.
    Rsa,
}

/// A private key.
pub(crate) struct Key(KeyPair);

impl Key {
    /// Makes a key.
    pub(crate) fn generate(algorithm: Algorithm) -> Result<Key, Error> {
        let made = match algorithm {
            Algorithm::Ecdsa => KeyPair::generate(),
            Algorithm::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_3072),
        };
        made.map(Key).map_err(|source| Error::Make("a new key".into(), source))
    }

    /// Reads PKCS #8, PKCS #1 or SEC 1 in PEM.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(crate) fn parse(pem: &[u8]) -> Result<Key, String> {
        if pem.windows(ENCRYPTED.len()).any(|word| word == ENCRYPTED) {
            return Err("it is encrypted; `openssl pkey -in FILE` opens it".into());
        }
        // Behind other blocks, such as the curve that `openssl ecparam -genkey` writes first.
        let der = PrivateKeyDer::from_pem_slice(pem);
        let der = der.map_err(|error| format!("it is not a private key in PEM ({error})"))?;
        KeyPair::try_from(&der)
            .map(Key)
            .map_err(|error| format!("it is of no kind that can be used: {KINDS} ({error})"))
    }

    /// PKCS #8 in PEM.
    pub(crate) fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// PKCS #8.
    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.serialize_der()
    }

    /// Whether a certificate is of this key.
    pub(crate) fn is_of(&self, certificate: &Known) -> bool {
        self.0.subject_public_key_info() == certificate.public_key()
    }

    /// The public key alone.
    fn public_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    /// How keys beside this one are made.
    pub(crate) fn algorithm(&self) -> Algorithm {
        match self.0.algorithm() == &PKCS_RSA_SHA256 {
            true => Algorithm::Rsa,
            false => Algorithm::Ecdsa,
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a private key")
    }
}

/// The time from and until which a certificate holds, to the second, within the years that a certificate can name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    pub from: SystemTime,
    pub until: SystemTime,
}

/// The holder of a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    /// Its name for people and logs.
    pub common_name: String,
    /// DNS names, also `*.example.com`, and IP addresses.
    pub names: Vec<String>,
    /// Its side of a connection.
    pub purpose: Purpose,
}

/// A key and its certificate, which issue others.
pub(crate) struct Authority {
    certificate: Known,
    issuer: Issuer<'static, Key>,
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        PublicKeyData::algorithm(&self.0)
    }
}

impl SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// The certificate of a new authority with this key.
pub(crate) fn found(key: &Key, validity: Validity) -> Result<Known, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&name_of(key));
    params.key_identifier_method = KeyIdMethod::Sha256;
    hold(&mut params, validity)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let failed = |source| Error::Make("the authority".into(), source);
    known(params.self_signed(key).map_err(failed)?.der().clone())
}

/// The common name of an authority that was made here. Two differ in name, too, so that a program that trusts an older one can say
/// what is wrong.
pub(crate) fn name_of(key: &Key) -> String {
    format!("prebake authority {}", &Sha256::of(key.public_bytes()).to_string()[..16])
}

impl Authority {
    /// The authority that a certificate and its key are.
    pub(crate) fn new(certificate: Known, key: Key) -> Authority {
        let mut params = CertificateParams::default();
        if let Some(identifier) = identifier(&certificate) {
            params.key_identifier_method = KeyIdMethod::PreSpecified(identifier.0.as_bytes().to_vec());
        }
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    /// Its certificate.
    pub(crate) fn certificate(&self) -> &Known {
        &self.certificate
    }

    /// The authority's key.
    pub(crate) fn key(&self) -> &Key {
        self.issuer.key()
    }

    /// Judges whether it may issue certificates for one side of a connection.
    ///
    /// # Errors
    /// The certificate is no authority's, or another kind's.
    pub(crate) fn judge(&self, purpose: Purpose) -> Result<(), Error> {
        judge_authority(self.certificate.parts(), purpose).map_err(Error::NoAuthority)
    }

    /// The same authority with a certificate that holds longer: of the same name and key, with the same extensions.
    ///
    /// # Errors
    /// It is of a form that cannot be repeated.
    pub(crate) fn renewed(self, validity: Validity) -> Result<Authority, Error> {
        let certificate = self.again(&self.certificate, validity)?;
        Ok(Authority { certificate: self.sign(certificate)?, ..self })
    }

    /// A certificate for the holder of a key.
    ///
    /// # Errors
    /// A name that no certificate can have.
    pub(crate) fn issue(&self, key: &Key, holder: &Holder, validity: Validity) -> Result<Known, Error> {
        let mut params = self.params(&holder.common_name, &holder.names, validity)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if key.algorithm() == Algorithm::Rsa {
            // Clients of TLS 1.2 without an elliptic curve encrypt with the server's key.
            params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
        }
        params.extended_key_usages = vec![match holder.purpose {
            Purpose::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        self.sign(self.draft(key, &params)?)
    }

    /// A certificate that says what one that is there says, of another lifetime; for a server's it may have other names, of
    /// which one becomes the common name if the old one was one of the old ones.
    ///
    /// # Errors
    /// It is of a form that cannot be repeated, or no certificate can have such a name.
    pub(crate) fn issue_again(
        &self,
        old: &Known,
        names: Option<(&str, &[String])>,
        validity: Validity,
    ) -> Result<Known, Error> {
        let mut contents = self.again(old, validity)?;
        if let Some((common_name, names)) = names {
            let params = self.params(common_name, names, validity)?;
            let draft = self.draft(self.key(), &params)?;
            let new = draft.extensions.unwrap_or_default();
            let new = new.into_iter().find(|extension| extension.extn_id == SubjectAltName::OID);
            place(&mut contents, SubjectAltName::OID, new);
            let is_in =
                |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case(&old.common_name()));
            if is_in(&old.names()) && !is_in(names) {
                rename(&mut contents, common_name)?;
            }
        }
        self.sign(contents)
    }

    /// The contents of a certificate for another lifetime, with a serial number of its own. It is identified with its issuer by
    /// the issuer's key alone: a serial number in its place would be that of the issuer's certificate before this one.
    fn again(&self, old: &Known, validity: Validity) -> Result<TbsCertificate, Error> {
        if !old.is_repeatable() {
            return Err(Error::Unrepeatable(
                "it is not in DER by the rules, and would have other bytes".into(),
            ));
        }
        let draft = self.draft(self.key(), &self.params("", &[], validity)?)?;
        let mut contents = old.parts().tbs_certificate.clone();
        (contents.serial_number, contents.validity) = (draft.serial_number, draft.validity);
        let has_one =
            contents.extensions.iter().flatten().any(|one| one.extn_id == AuthorityKeyIdentifier::OID);
        if has_one {
            let of_issuer = identifier(&self.certificate).map(|identifier| AuthorityKeyIdentifier {
                key_identifier: Some(identifier.0),
                ..AuthorityKeyIdentifier::default()
            });
            let extension = of_issuer.map(|own| extension(AuthorityKeyIdentifier::OID, &own)).transpose()?;
            place(&mut contents, AuthorityKeyIdentifier::OID, extension);
        }
        Ok(contents)
    }

    fn params(
        &self,
        common_name: &str,
        names: &[String],
        validity: Validity,
    ) -> Result<CertificateParams, Error> {
        names.iter().try_for_each(|name| judge_name(name))?;
        let failed = |source| Error::Make(common_name.to_owned(), source);
        let mut params = CertificateParams::new(names).map_err(failed)?;
        params.distinguished_name = named(common_name);
        hold(&mut params, validity)?;
        Ok(params)
    }

    /// The contents of a certificate with these parts, under a signature that no one needs.
    fn draft(&self, key: &Key, params: &CertificateParams) -> Result<TbsCertificate, Error> {
        let failed = |source| Error::Make("a draft".into(), source);
        let made = params.clone().signed_by(key, &self.issuer).map_err(failed)?;
        Ok(known(made.der().clone())?.parts().tbs_certificate.clone())
    }

    /// Signs contents in the authority's name, as it stands in its own certificate.
    fn sign(&self, mut contents: TbsCertificate) -> Result<Known, Error> {
        let broken = |error: x509_cert::der::Error| Error::Unrepeatable(error.to_string());
        let algorithm = self.draft(self.key(), &CertificateParams::default())?.signature;
        contents.issuer = self.certificate.parts().tbs_certificate.subject.clone();
        contents.signature = algorithm.clone();
        let signed = self.key().sign(&contents.to_der().map_err(broken)?);
        let signed = signed.map_err(|source| Error::Make(contents.subject.to_string(), source))?;
        let certificate = Certificate {
            tbs_certificate: contents,
            signature_algorithm: algorithm,
            signature: BitString::from_bytes(&signed).map_err(broken)?,
        };
        known(certificate.to_der().map_err(broken)?.into())
    }
}

/// The identifier of an authority's key by its certificate.
fn identifier(certificate: &Known) -> Option<SubjectKeyIdentifier> {
    certificate.parts().tbs_certificate.get().ok().flatten().map(|(_, identifier)| identifier)
}

/// A certificate that was made.
fn known(der: CertificateDer<'static>) -> Result<Known, Error> {
    Known::of(der).map_err(Error::Unrepeatable)
}

fn extension(id: ObjectIdentifier, value: &impl Encode) -> Result<Extension, Error> {
    let bytes = value.to_der().and_then(OctetString::new);
    let bytes = bytes.map_err(|error| Error::Unrepeatable(error.to_string()))?;
    Ok(Extension { extn_id: id, critical: false, extn_value: bytes })
}

/// Puts an extension in the place of the one of its kind.
fn place(contents: &mut TbsCertificate, id: ObjectIdentifier, new: Option<Extension>) {
    let all = contents.extensions.get_or_insert_default();
    let at = all.iter().position(|extension| extension.extn_id == id).unwrap_or(all.len());
    all.retain(|extension| extension.extn_id != id);
    if let Some(new) = new {
        all.insert(at.min(all.len()), new);
    }
    if all.is_empty() {
        contents.extensions = None;
    }
}

/// Replaces the common name in a holder's name, whose other parts stay.
fn rename(contents: &mut TbsCertificate, common_name: &str) -> Result<(), Error> {
    let broken = |error: x509_cert::der::Error| Error::Unrepeatable(error.to_string());
    for part in &mut contents.subject.0 {
        let mut values = part.0.clone().into_vec();
        for value in values.iter_mut().filter(|value| value.oid == CN) {
            value.value = Any::new(Tag::Utf8String, common_name.as_bytes()).map_err(broken)?;
        }
        *part = RelativeDistinguishedName(SetOfVec::try_from(values).map_err(broken)?);
    }
    Ok(())
}

/// Judges a DNS name or IP address for a certificate.
///
/// # Errors
/// No server can have it, or no client asks for it: to Go's a name with a dot at its end is another one (RFC 6125, 6.4).
pub(crate) fn judge_name(name: &str) -> Result<(), Error> {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    match ServerName::try_from(plain) {
        Ok(ServerName::IpAddress(_)) if plain != name => Err(Error::Name(name.into())),
        Ok(ServerName::DnsName(_)) if plain.ends_with('.') => Err(Error::Name(name.into())),
        Ok(_) => Ok(()),
        Err(_) => Err(Error::Name(name.into())),
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Sets lifetime and serial number. By default a serial number follows from the key, and a renewed certificate would have that of
/// the one before it, which RFC 5280, 4.1.2.2 forbids and NSS refuses.
fn hold(params: &mut CertificateParams, validity: Validity) -> Result<(), Error> {
    let mut serial = [0; SERIAL];
    ::aws_lc_rs::rand::fill(&mut serial).map_err(|_| Error::Random)?;
    // A positive number of as many bytes.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from(serial.to_vec()));
    // A certificate beyond all calendars ends on their last day (RFC 5280, 4.1.2.5).
    let date = |time| {
        let since_1970 = clock::shown(time).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        date_time_ymd(1970, 1, 1) + since_1970
    };
    params.not_before = date(validity.from);
    params.not_after = date(validity.until);
    Ok(())
}
