//! A certificate that is there, whoever made it (X.509, RFC 5280): its parts, and verdicts on it in words.
//!
//! Verdicts are webpki's, and what webpki leaves out: to it an authority is a name and a key, whatever its certificate says. Leaves
//! blocks of files to [`pem`](super::pem), and what is issued to [`authority`](super::authority).

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, CertificateError, OtherError, RootCertStore};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_CLIENT_AUTH, ID_KP_SERVER_AUTH};
use x509_cert::der::pem::{LineEnding, encode_string};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

use super::pem::{blocks, broken, without_blocks};

/// The side of a connection that shows a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// A server shows it.
    Server,
    /// A client shows it.
    Client,
}

impl Purpose {
    /// `server` or `client`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Purpose::Server => "server",
            Purpose::Client => "client",
        }
    }

    fn usage(self) -> ObjectIdentifier {
        match self {
            Purpose::Server => ID_KP_SERVER_AUTH,
            Purpose::Client => ID_KP_CLIENT_AUTH,
        }
    }
}

/// Whether a certificate may be used on one side of a connection. One that says nothing may be used on both.
pub(crate) fn is_for(certificate: &Certificate, purpose: Purpose) -> bool {
    match certificate.tbs_certificate.get::<ExtendedKeyUsage>() {
        Ok(None) => true,
        Ok(Some((_, usages))) => {
            usages.0.contains(&purpose.usage()) || usages.0.contains(&ANY_EXTENDED_KEY_USAGE)
        }
        Err(_) => false,
    }
}

/// Judges whether a certificate vouches for others that are used on one side of a connection (RFC 5280, 4.2.1.3, 4.2.1.9 and
/// 4.2.1.12).
///
/// # Errors
/// The reason, in words.
pub(crate) fn judge_authority(certificate: &Certificate, purpose: Purpose) -> Result<(), String> {
    let signed = &certificate.tbs_certificate;
    // Before v3 there were no extensions that could say it.
    let is_old = signed.version != Version::V3;
    let says_so = matches!(signed.get::<BasicConstraints>(), Ok(Some((_, basic))) if basic.ca);
    let may_sign = match signed.get::<KeyUsage>() {
        Ok(usage) => usage.is_none_or(|(_, usage)| usage.key_cert_sign()),
        Err(_) => false,
    };
    match () {
        () if !is_old && !says_so => Err("its basic constraints do not say CA:TRUE".into()),
        () if !may_sign => Err("its key usage does not allow it to sign certificates".into()),
        () if !is_for(certificate, purpose) => {
            Err(format!("its extended key usage is not for {}s", purpose.word()))
        }
        () => Ok(()),
    }
}

/// The common name of a certificate's holder, the last if there are several. RFC 5280 allows several kinds of text, all of which but
/// the obsolete BMPString are UTF-8 where they hold ASCII.
pub(crate) fn common_name(certificate: &Certificate) -> Option<String> {
    let mut parts = certificate.tbs_certificate.subject.0.iter().flat_map(|part| part.0.iter());
    let common = parts.rfind(|part| part.oid == CN)?;
    Some(String::from_utf8_lossy(common.value.value()).into_owned())
}

/// The words for a verdict of webpki.
pub(crate) fn words(error: &CertificateError) -> String {
    let CertificateError::Other(OtherError(other)) = error else { return error.to_string() };
    let name = other.to_string();
    let known = [
        (
            "UnsupportedCertVersion",
            "it is X.509 v1, which says neither purpose nor names; `openssl x509 -req` makes v3 with -extfile",
        ),
        ("CaUsedAsEndEntity", "it is an authority's certificate (CA:TRUE), and shown as one's own"),
        ("UnsupportedCriticalExtension", "it has a critical extension that is not understood"),
        ("EndEntityUsedAsCa", "its issuer's certificate is no authority's"),
        ("PathLenConstraintViolated", "its authority allows fewer certificates between the two"),
        ("NameConstraintViolation", "its names are none that its authority may vouch for"),
    ];
    known.into_iter().find(|(own, _)| *own == name).map_or(name, |(_, words)| words.into())
}

/// A certificate that is there.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    der: CertificateDer<'static>,
    parsed: Certificate,
}

impl Known {
    /// Reads DER.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(crate) fn of(der: CertificateDer<'static>) -> Result<Known, String> {
        let parsed =
            Certificate::from_der(&der).map_err(|error| format!("it is no certificate ({error})"))?;
        Ok(Known { der, parsed })
    }

    /// Reads the certificates of a PEM file, of which there is at least one.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub(crate) fn all(pem: &[u8]) -> Result<Vec<Known>, String> {
        let read = |block: super::pem::Block| {
            let known = Known::of(block.certificate.ok_or_else(|| broken(block.line))?);
            known.map_err(|why| format!("what begins in line {} cannot be read: {why}", block.line))
        };
        let all: Vec<Known> = blocks(pem).into_iter().map(read).collect::<Result<_, _>>()?;
        if all.is_empty() { Err(without_blocks(pem)) } else { Ok(all) }
    }

    /// Its bytes.
    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        &self.der
    }

    /// Its bytes in PEM.
    pub(crate) fn pem(&self) -> String {
        // It fails for a buffer that is too short, and has none.
        encode_string("CERTIFICATE", LineEnding::LF, &self.der).unwrap_or_default()
    }

    /// Its parts.
    pub(crate) fn parts(&self) -> &Certificate {
        &self.parsed
    }

    /// Whether its parts give these very bytes again, and so do those of another certificate that are taken from it: verifiers
    /// compare names by their bytes.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.parsed.to_der().is_ok_and(|again| again == self.der.as_ref())
    }

    /// The begin of its lifetime.
    pub(crate) fn from(&self) -> SystemTime {
        self.parsed.tbs_certificate.validity.not_before.to_system_time()
    }

    /// The end of its lifetime.
    pub(crate) fn until(&self) -> SystemTime {
        self.parsed.tbs_certificate.validity.not_after.to_system_time()
    }

    /// Its public key as the bytes that it has (RFC 5280, 4.1.2.7).
    pub(crate) fn public_key(&self) -> Vec<u8> {
        self.parsed.tbs_certificate.subject_public_key_info.to_der().unwrap_or_default()
    }

    /// Its holder's name, as RFC 4514 writes it.
    pub(crate) fn subject(&self) -> String {
        self.parsed.tbs_certificate.subject.to_string()
    }

    /// Its issuer's name, unless it is its holder's.
    pub(crate) fn issuer(&self) -> Option<String> {
        let signed = &self.parsed.tbs_certificate;
        (signed.issuer != signed.subject).then(|| signed.issuer.to_string())
    }

    /// Its holder's common name, or the whole name if it has none.
    pub(crate) fn common_name(&self) -> String {
        common_name(&self.parsed).unwrap_or_else(|| self.subject())
    }

    /// DNS names and addresses that it is for; others with their kind before them.
    pub(crate) fn names(&self) -> Vec<String> {
        let names = self.extension::<SubjectAltName>().map(|names| names.0).unwrap_or_default();
        let text = |name: &GeneralName| match name {
            GeneralName::DnsName(name) => name.to_string(),
            GeneralName::IpAddress(bytes) => {
                address(bytes.as_bytes()).map_or_else(|| "an address of no kind".into(), |ip| ip.to_string())
            }
            GeneralName::UniformResourceIdentifier(uri) => format!("URI:{uri}"),
            GeneralName::Rfc822Name(mail) => format!("email:{mail}"),
            _ => "another kind of name".into(),
        };
        names.iter().map(text).collect()
    }

    /// The sides of a connection that it names.
    pub(crate) fn purposes(&self) -> BTreeSet<Purpose> {
        let usages = self.extension::<ExtendedKeyUsage>().map(|usages| usages.0).unwrap_or_default();
        let both = [Purpose::Server, Purpose::Client];
        both.into_iter().filter(|purpose| usages.contains(&purpose.usage())).collect()
    }

    /// Why an authority did not issue it for a purpose, by the verifiers of rustls; the time counts within its lifetime alone.
    pub(crate) fn is_from(&self, authority: &Known, purpose: Purpose, now: SystemTime) -> Result<(), String> {
        let told = |error: rustls::Error| match error {
            rustls::Error::InvalidCertificate(why) => words(&why),
            other => other.to_string(),
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone()).map_err(told)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let within = now.min(self.until()).max(self.from()).duration_since(SystemTime::UNIX_EPOCH);
        let within = UnixTime::since_unix_epoch(within.unwrap_or_default());
        match purpose {
            Purpose::Client => {
                let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = builder.build().map_err(|error| error.to_string())?;
                verifier.verify_client_cert(&self.der, &[], within).map(drop).map_err(told)
            }
            Purpose::Server => {
                let own = ParsedCertificate::try_from(&self.der).map_err(told)?;
                let algorithms = provider.signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(&own, &roots, &[], within, algorithms).map_err(told)
            }
        }
    }

    fn extension<'c, T: Decode<'c> + AssociatedOid>(&'c self) -> Option<T> {
        self.parsed.tbs_certificate.get::<T>().ok().flatten().map(|(_, extension)| extension)
    }
}

/// An IP address of 4 or 16 bytes.
fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}
