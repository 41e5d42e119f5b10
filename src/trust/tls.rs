//! Trust in HTTPS servers: by an authority among the named certificates, as usual, because the server's own
//! certificate is among them, or by the fingerprint of its certificate alone.
//!
//! `openssl req -x509`, with which Docker's documentation makes a registry's certificate, sets CA:TRUE. webpki accepts
//! no such certificate for a server (rustls/webpki#205), while OpenSSL and Go do if it is named itself. So does
//! prebake: a certificate among the named ones needs nobody to vouch for it. Its name, validity and purpose must fit
//! all the same.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use tokio_rustls::rustls;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc5280::{ANY_EXTENDED_KEY_USAGE, ID_KP_SERVER_AUTH};
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage};

use crate::base::digest::Sha256;

/// The variable that names certificates instead of the system's.
const CERT_FILE: &str = "SSL_CERT_FILE";
/// The command for a certificate that every client accepts.
const MAKE: &str = "`openssl req -x509 -newkey rsa:2048 -nodes -keyout KEY -out CERT -subj /CN=NAME -addext \
    subjectAltName=DNS:NAME,IP:ADDRESS -addext basicConstraints=critical,CA:FALSE` makes a suitable one";

/// The certificates by which servers are trusted.
pub(crate) struct Roots {
    certificates: Vec<CertificateDer<'static>>,
    /// Certificates and files that could not be read.
    troubles: Vec<String>,
}

impl Roots {
    /// The system's certificates, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name instead.
    pub(crate) fn system() -> Self {
        let found = rustls_native_certs::load_native_certs();
        let mut troubles: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        if let Some(file) = std::env::var_os(CERT_FILE)
            && found.certs.is_empty()
            && troubles.is_empty()
        {
            let file = std::path::Path::new(&file).display();
            troubles.push(format!("{CERT_FILE} names {file}, which contains no PEM certificate"));
        }
        Roots { certificates: found.certs, troubles }
    }

    /// These roots, plus the certificates in a PEM file.
    ///
    /// # Errors
    /// In words, the problem with the file.
    pub(crate) fn and(mut self, pem: &[u8]) -> Result<Self, String> {
        let named: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let named = named.map_err(|error| error.to_string())?;
        if named.is_empty() {
            return Err("it contains no PEM certificate".into());
        }
        self.certificates.extend(named);
        Ok(self)
    }

    /// Whether no certificate is trusted at all.
    pub(crate) fn are_none(&self) -> bool {
        self.certificates.is_empty()
    }

    /// Certificates and files that could not be read.
    pub(crate) fn troubles(&self) -> &[String] {
        &self.troubles
    }

    /// TLS configuration of a client that trusts these roots.
    ///
    /// # Errors
    /// rustls rejects its own defaults.
    pub(crate) fn client(&self) -> Result<ClientConfig, rustls::Error> {
        config(self.belief())
    }

    /// The belief in them; none where there is no root.
    fn belief(&self) -> Option<Belief> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(self.certificates.iter().cloned());
        let authorities =
            WebPkiServerVerifier::builder_with_provider(store.into(), provider()).build().ok()?;
        Some(Belief::Roots { authorities, named: self.certificates.clone() })
    }
}

/// TLS configuration of a client that trusts the one certificate with this SHA-256 of its DER form, and no other: neither
/// names nor dates of it count, as a person compared it.
///
/// # Errors
/// rustls rejects its own defaults.
pub(crate) fn pinned(certificate: Sha256) -> Result<ClientConfig, rustls::Error> {
    config(Some(Belief::Certificate(certificate)))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// TLS configuration of a client with this belief; one without any trusts no server.
fn config(belief: Option<Belief>) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let mut config = match belief {
        Some(belief) => {
            let verifier = Arc::new(Verifier::new(belief));
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
        None => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
    };
    config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
    Ok(config)
}

/// The ground on which a server is trusted.
enum Belief {
    /// webpki's verdict, overruled for certificates that are named themselves.
    Roots { authorities: Arc<WebPkiServerVerifier>, named: Vec<CertificateDer<'static>> },
    /// The one certificate of this digest.
    Certificate(Sha256),
}

/// A certificate that is not the one that was named.
#[derive(Debug)]
struct Unpinned(Sha256);

impl fmt::Display for Unpinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its fingerprint is {}, which is not the one that was named", fingerprint(&self.0))
    }
}

impl Error for Unpinned {}

/// A digest as OpenSSL and Proxmox VE show fingerprints: `AB:CD:…`, in upper case.
pub(crate) fn fingerprint(digest: &Sha256) -> String {
    digest.bytes().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// Judges servers by a belief; signatures by the provider's algorithms.
struct Verifier {
    belief: Belief,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn new(belief: Belief) -> Self {
        Verifier { belief, algorithms: provider().signature_verification_algorithms }
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.belief {
            Belief::Roots { named, .. } => write!(f, "Verifier({} certificates)", named.len()),
            Belief::Certificate(digest) => write!(f, "Verifier({})", fingerprint(digest)),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let (authorities, named) = match &self.belief {
            Belief::Roots { authorities, named } => (authorities, named),
            Belief::Certificate(certificate) => {
                let seen = Sha256::of(end_entity);
                let why = || CertificateError::Other(OtherError(Arc::new(Unpinned(seen))));
                return match seen == *certificate {
                    true => Ok(ServerCertVerified::assertion()),
                    false => Err(rustls::Error::InvalidCertificate(why())),
                };
            }
        };
        match authorities.verify_server_cert(end_entity, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(why)) if named.contains(end_entity) => {
                judge_named(end_entity, name, now, why).map_err(rustls::Error::InvalidCertificate)?;
                Ok(ServerCertVerified::assertion())
            }
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Checks whether a named certificate, which needs nobody to vouch for it, is right for this server now. `refused` is
/// webpki's reason, which stands unless it is about who vouches.
fn judge_named(
    bytes: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
    refused: CertificateError,
) -> Result<(), CertificateError> {
    let Ok(certificate) = Certificate::from_der(bytes) else { return Err(refused) };
    let certificate = certificate.tbs_certificate;
    let is_authority = matches!(certificate.get::<BasicConstraints>(), Ok(Some((_, basic))) if basic.ca);
    match &refused {
        // Another known authority may have the issuer's name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {}
        // webpki's CaUsedAsEndEntity, for which rustls has no name.
        CertificateError::Other(_) if is_authority => {}
        _ => return Err(refused),
    }
    let seconds = |time: x509_cert::time::Time| UnixTime::since_unix_epoch(time.to_unix_duration());
    let (not_before, not_after) =
        (seconds(certificate.validity.not_before), seconds(certificate.validity.not_after));
    if now.as_secs() < not_before.as_secs() {
        return Err(CertificateError::NotValidYetContext { time: now, not_before });
    }
    if now.as_secs() > not_after.as_secs() {
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    match certificate.get::<ExtendedKeyUsage>() {
        Ok(None) => {}
        Ok(Some((_, usage)))
            if usage.0.contains(&ID_KP_SERVER_AUTH) || usage.0.contains(&ANY_EXTENDED_KEY_USAGE) => {}
        _ => return Err(CertificateError::InvalidPurpose),
    }
    let parsed = rustls::server::ParsedCertificate::try_from(bytes);
    let fits = parsed.and_then(|parsed| rustls::client::verify_server_name(&parsed, name));
    fits.map_err(|error| match error {
        rustls::Error::InvalidCertificate(why) => why,
        _ => refused,
    })
}

/// The problem with a server's certificate, for the user.
#[derive(Clone, Debug)]
pub struct Distrust {
    /// The problem, in words.
    pub why: String,
    /// The way out.
    pub hint: String,
}

impl Distrust {
    /// Extracts it from a failed request; `None` if that failed for another reason.
    pub(crate) fn of(error: &reqwest::Error) -> Option<Self> {
        find(error, &|error| match error {
            rustls::Error::InvalidCertificate(why) => Some(Distrust::because(why)),
            _ => None,
        })
    }

    /// The words for a verdict on a certificate.
    pub(crate) fn because(error: &CertificateError) -> Self {
        let (why, hint) = match error {
            CertificateError::ExpiredContext { time, not_after } => (
                format!("it was valid until {}, and this machine's clock says {}", at(not_after), at(time)),
                "check this machine's clock first (`date`); if that is right, the server needs a new certificate".into(),
            ),
            CertificateError::NotValidYetContext { time, not_before } => (
                format!("it is valid from {} on, and this machine's clock says {}", at(not_before), at(time)),
                "set this machine's clock first (`date`; a dead battery sets it back); if that is right, the server needs a new certificate".into(),
            ),
            CertificateError::Expired | CertificateError::NotValidYet => (
                "this machine's clock is outside of the time that it is valid for".into(),
                "check this machine's clock first (`date`); if that is right, the server needs a new certificate".into(),
            ),
            CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => (
                format!("its subjectAltName names no host, so not {} either", expected.to_str()),
                format!("the common name is ignored; {MAKE}"),
            ),
            CertificateError::NotValidForNameContext { expected, presented } => (
                format!("it is for {}, not for {}", presented.join(", "), expected.to_str()),
                format!("use one of its names, or make a certificate with the right names in subjectAltName; {MAKE}"),
            ),
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                match error {
                    CertificateError::BadSignature => {
                        "an authority of its issuer's name is known, but has another key".into()
                    }
                    _ => "none of the known authorities has issued it".into(),
                },
                format!(
                    "if a site's own authority has issued it, name that authority's PEM file, or the server's own certificate, with {CERT_FILE}; a server must also send the certificates between the two"
                ),
            ),
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
                "it is an authority's certificate (CA:TRUE), and not one of the trusted ones".into(),
                format!("name exactly this certificate in PEM with {CERT_FILE}; or give the server one of its own: {MAKE}"),
            ),
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => (
                "its extended key usage is not for servers".into(),
                format!("it needs serverAuth, or no extended key usage; {MAKE}"),
            ),
            CertificateError::Other(other) if other.0.downcast_ref::<Unpinned>().is_some() => (
                other.0.to_string(),
                "compare it with the server's own, over another way than this network; either it has a new certificate, or somebody is between".into(),
            ),
            other => (other.to_string(), MAKE.into()),
        };
        Distrust { why, hint }
    }
}

/// Whether the server's answer is not TLS.
pub(crate) fn is_plain(error: &reqwest::Error) -> bool {
    let plain = |error: &rustls::Error| matches!(error, rustls::Error::InvalidMessage(_)).then_some(());
    find(error, &plain).is_some()
}

/// Whether the server hung up during the TLS handshake, as HTTP servers do. tokio-rustls reports that only as text.
pub(crate) fn is_cut(error: &reqwest::Error) -> bool {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.map(ToString::to_string).any(|text| text.contains("tls handshake eof"))
}

fn at(time: &UnixTime) -> String {
    // A certificate may have a year beyond the clock's range.
    crate::base::clock::date(
        UNIX_EPOCH.checked_add(Duration::from_secs(time.as_secs())).unwrap_or(UNIX_EPOCH),
    )
}

/// Applies `of` to the rustls errors among the causes, at any depth, and returns the first result.
fn find<T>(error: &(dyn Error + 'static), of: &impl Fn(&rustls::Error) -> Option<T>) -> Option<T> {
    std::iter::successors(error.source(), |&cause| cause.source()).find_map(|cause| within(cause, of))
}

/// `io::Error::source` skips the error it wraps, so unwrap it first; hyper-rustls nests two.
fn within<T>(cause: &(dyn Error + 'static), of: &impl Fn(&rustls::Error) -> Option<T>) -> Option<T> {
    match cause.downcast_ref::<io::Error>() {
        Some(outer) => outer.get_ref().and_then(|held| within(held, of)),
        None => cause.downcast_ref().and_then(of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_found_however_deep_it_is_wrapped() {
        let any = |error: &rustls::Error| match error {
            rustls::Error::InvalidCertificate(why) => Some(why.clone()),
            _ => None,
        };
        let tls = io::Error::new(
            io::ErrorKind::InvalidData,
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer),
        );
        assert!(within(&io::Error::other(tls), &any).is_some());
        let closed = io::Error::new(io::ErrorKind::InvalidData, rustls::Error::HandshakeNotComplete);
        assert!(within(&io::Error::other(closed), &any).is_none());
        assert!(within(&io::Error::from(io::ErrorKind::ConnectionReset), &any).is_none());
    }

    /// A certificate with these parameters, and a verifier to which it is named.
    fn named(change: impl FnOnce(&mut rcgen::CertificateParams)) -> (Verifier, CertificateDer<'static>) {
        let mut params =
            rcgen::CertificateParams::new(vec!["mirror.lab".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        change(&mut params);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let roots = Roots { certificates: vec![certificate.clone()], troubles: Vec::new() };
        (Verifier::new(roots.belief().unwrap()), certificate)
    }

    #[test]
    fn a_fingerprint_is_that_of_one_certificate_whatever_its_names_and_dates() {
        let (_, own) = named(|params| params.not_after = rcgen::date_time_ymd(1999, 1, 1));
        let (_, other) = named(|_| {});
        let pin = Verifier::new(Belief::Certificate(Sha256::of(&own)));
        let name = ServerName::try_from("anything.lab").unwrap();
        let judge = |certificate| pin.verify_server_cert(certificate, &[], &name, &[], UnixTime::now());
        judge(&own).unwrap();
        let Err(rustls::Error::InvalidCertificate(why)) = judge(&other) else { panic!("another was taken") };
        assert!(Distrust::because(&why).why.contains(&fingerprint(&Sha256::of(&other))));
    }

    fn judged(verifier: &Verifier, certificate: &CertificateDer<'_>, name: &str, year: i32) -> String {
        let now = rcgen::date_time_ymd(year, 6, 1).unix_timestamp() as u64;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        match verifier.verify_server_cert(certificate, &[], &name, &[], now) {
            Ok(_) => "taken".into(),
            Err(rustls::Error::InvalidCertificate(why)) => Distrust::because(&why).why,
            Err(other) => panic!("{other}"),
        }
    }

    /// rustls/webpki#205, seanmonstar/reqwest#2041 and #1554, moby/buildkit#3218.
    #[test]
    fn an_authoritys_certificate_that_is_named_itself_is_taken_for_its_names_times_and_purposes_only() {
        let times = |params: &mut rcgen::CertificateParams| {
            params.not_before = rcgen::date_time_ymd(2026, 1, 1);
            params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        };
        let (verifier, own) = named(times);
        assert_eq!(judged(&verifier, &own, "mirror.lab", 2026), "taken");
        assert_eq!(judged(&verifier, &own, "127.0.0.1", 2026), "taken");
        let other = judged(&verifier, &own, "other.lab", 2026);
        assert!(other.contains("not for other.lab") && other.contains("mirror.lab"), "{other}");
        let early = judged(&verifier, &own, "mirror.lab", 2010);
        assert!(
            early.contains("from 2026-01-01T00:00:00Z") && early.contains("clock says 2010-06-01"),
            "{early}"
        );
        let late = judged(&verifier, &own, "mirror.lab", 2040);
        assert!(
            late.contains("until 2027-01-01T00:00:00Z") && late.contains("clock says 2040-06-01"),
            "{late}"
        );

        let (_, stranger) = named(times);
        let why = judged(&verifier, &stranger, "mirror.lab", 2026);
        assert!(why.contains("authority's certificate (CA:TRUE), and not one of the trusted ones"), "{why}");

        let (verifier, client) = named(|params| {
            times(params);
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        });
        assert!(judged(&verifier, &client, "mirror.lab", 2026).contains("key usage"));
    }

    #[test]
    fn a_certificate_by_an_unnamed_authority_is_taken_where_it_is_named_itself() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::Issuer::new(authority, key);
        let (verifier, _) = named(|_| {});
        let leaf = rcgen::CertificateParams::new(vec!["leaf.lab".to_owned()]).unwrap();
        let leaf = leaf.signed_by(&rcgen::KeyPair::generate().unwrap(), &issuer).unwrap().der().clone();
        // rcgen gives all authorities the same name.
        assert!(judged(&verifier, &leaf, "leaf.lab", 2026).contains("has another key"));
        let Belief::Roots { authorities, .. } = verifier.belief else { panic!("it has roots") };
        let verifier = Verifier::new(Belief::Roots { authorities, named: vec![leaf.clone()] });
        assert_eq!(judged(&verifier, &leaf, "leaf.lab", 2026), "taken");
        assert!(judged(&verifier, &leaf, "mirror.lab", 2026).contains("not for mirror.lab"));
    }
}
