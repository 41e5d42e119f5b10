//! One authority: its certificate, its key, and what it signs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{Decode, Encode, Tag, Tagged};
use x509_cert::ext::pkix::{BasicConstraints as Constraints, KeyUsage, SubjectKeyIdentifier};
use x509_cert::name::Name;
use zeroize::Zeroizing;

use super::error::Error;
use super::key::{self, Algorithm};
use super::store::{Store, read_given};
use crate::base::clock::{self, LAST};

/// Lifetime of an authority, as kubeadm's.
const AUTHORITY_LASTS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// An authority that can sign.
pub(super) struct Authority {
    base: &'static str,
    issuer: Issuer<'static, KeyPair>,
    /// The file of its certificate: the first one in it is its own, further ones are of authorities before or after it.
    pem: Zeroizing<Vec<u8>>,
    certificate: Certificate,
    begins: Duration,
}

/// The user and group that a certificate of a client stands for.
pub(super) struct Subject<'a> {
    pub(super) group: &'a str,
    pub(super) user: &'a str,
}

/// A certificate of a client, and its key.
pub(super) struct Client {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

impl Authority {
    /// Makes what lacks: a certificate for a key that is there, or both if a key may be made.
    pub(super) fn ensure(
        store: &Store,
        base: &'static str,
        common_name: &str,
        make: Option<Algorithm>,
        now: SystemTime,
    ) -> Result<(), Error> {
        let (certificate_name, key_name) = (names(base).0, names(base).1);
        let certificate = store.read(certificate_name)?;
        let key = match store.read(key_name)? {
            Some(bytes) => key::load(store, key_name, &bytes)?,
            None => {
                let path = store.path(key_name);
                let algorithm = match (&certificate, make) {
                    (Some(_), _) => return Err(Error::Lost { path, why: "only its certificate is there" }),
                    (None, None) => return Err(Error::Lost { path, why: "it was there once" }),
                    (None, Some(algorithm)) => algorithm,
                };
                let key = algorithm.generate(&format!("the key of the authority {common_name}"))?;
                store.write(key_name, key::pem(&key).as_bytes())?;
                key
            }
        };
        if certificate.is_none() {
            let made = params(common_name, now)?.self_signed(&key);
            let made = made.map_err(Error::crypto(format!("the authority {common_name}")))?;
            store.write(certificate_name, made.pem().as_bytes())?;
        }
        Ok(())
    }

    /// Opens one that is there.
    pub(super) fn open(store: &Store, base: &'static str, now: SystemTime) -> Result<Authority, Error> {
        let (certificate_name, key_name) = names(base);
        let path = store.path(certificate_name);
        let unfit = |why: &str| Error::Unfit { path: path.clone(), why: why.to_owned() };
        let pem = store.need(certificate_name)?;
        let certificate = first(&pem).ok_or_else(|| unfit("it does not begin with a certificate in PEM"))?;
        let key = key::load(store, key_name, &store.need(key_name)?)?;
        let tbs = &certificate.tbs_certificate;
        if !tbs.subject_public_key_info.to_der().is_ok_and(|der| der == key.subject_public_key_info()) {
            return Err(Error::Strangers { path, key: store.path(key_name) });
        }
        let is_authority = tbs.get::<Constraints>().ok().flatten().is_some_and(|(_, found)| found.ca);
        let may_sign =
            tbs.get::<KeyUsage>().is_ok_and(|usage| usage.is_none_or(|(_, usage)| usage.key_cert_sign()));
        if !is_authority || !may_sign {
            return Err(unfit("it is not the certificate of an authority: it may not sign others"));
        }
        let ended = tbs.validity.not_after.to_system_time();
        if ended <= now {
            return Err(Error::Expired { path, ended, now });
        }
        let subject = distinguished(&tbs.subject).ok_or_else(|| {
            unfit("its subject has a form that certificates below it cannot be made with: one attribute of each kind, as text")
        })?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        if let Ok(Some((_, SubjectKeyIdentifier(id)))) = tbs.get() {
            params.key_identifier_method = KeyIdMethod::PreSpecified(id.as_bytes().to_vec());
        }
        let begins = tbs.validity.not_before.to_unix_duration();
        Ok(Authority { base, issuer: Issuer::new(params, key), pem, certificate, begins })
    }

    /// File name of its certificate, in the directory of the keys.
    pub(super) fn certificate_name(&self) -> &'static str {
        names(self.base).0
    }

    /// File name of its key.
    pub(super) fn key_name(&self) -> &'static str {
        names(self.base).1
    }

    /// Its certificate in PEM, with those that its file has after it.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.pem
    }

    /// DER of its public key.
    pub(super) fn public_key(&self) -> Vec<u8> {
        self.issuer.key().subject_public_key_info()
    }

    /// The kind of its key.
    pub(super) fn algorithm(&self) -> Algorithm {
        Algorithm::of(self.issuer.key())
    }

    /// The end of its certificate.
    pub(super) fn ends(&self) -> SystemTime {
        self.certificate.tbs_certificate.validity.not_after.to_system_time()
    }

    /// Whether a certificate in PEM is this authority's, or an earlier or later one for the same key.
    pub(super) fn is_of(&self, pem: &[u8]) -> bool {
        let all = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
        let mut all = all.filter_map(|der| Certificate::from_der(&der).ok());
        let own = &self.certificate.tbs_certificate;
        all.any(|other| {
            let other = other.tbs_certificate;
            other.subject_public_key_info == own.subject_public_key_info && other.subject == own.subject
        })
    }

    /// Whether it signed a certificate in PEM, by its name in it; and the end of that. The signature is not judged: who wrote the file
    /// beside the keys could have made one.
    pub(super) fn end_of(&self, pem: &[u8]) -> Option<SystemTime> {
        let issued = first(pem)?.tbs_certificate;
        let is_ours = issued.issuer == self.certificate.tbs_certificate.subject;
        is_ours.then(|| issued.validity.not_after.to_system_time())
    }

    /// Makes a client's key and certificate. It counts from the authority's first day on, as those of kubeadm do: a machine whose clock
    /// is behind takes it.
    pub(super) fn issue(
        &self,
        subject: &Subject<'_>,
        lasts: Duration,
        now: SystemTime,
    ) -> Result<Client, Error> {
        let what = || format!("a certificate for {}", subject.user);
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, subject.group);
        params.distinguished_name.push(DnType::CommonName, subject.user);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = self.has_identifier();
        // A clock that is behind must not end it before it begins.
        let end = since_1970(now).max(clock::EARLIEST) + lasts;
        params.not_before = date_time_ymd(1970, 1, 1) + self.begins;
        params.not_after = date_time_ymd(1970, 1, 1) + end.min(since_1970(self.ends())).min(LAST);
        // Always on this curve, whatever the authority's kind: hundreds of machines are given one in a moment.
        let key = Algorithm::EcdsaP256.generate(&what())?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(Error::crypto(what()))?;
        Ok(Client { certificate: certificate.pem(), key: key::pem(&key) })
    }

    fn has_identifier(&self) -> bool {
        matches!(self.certificate.tbs_certificate.get::<SubjectKeyIdentifier>(), Ok(Some(_)))
    }
}

/// Names of its certificate and of its key.
fn names(base: &'static str) -> (&'static str, &'static str) {
    match base {
        "front-proxy-ca" => ("front-proxy-ca.crt", "front-proxy-ca.key"),
        "etcd/ca" => ("etcd/ca.crt", "etcd/ca.key"),
        _ => ("ca.crt", "ca.key"),
    }
}

/// Files of a client that somebody else's authority knows: that authority, the certificate, and its key.
pub(super) fn client_files(
    ca: &Path,
    certificate: &Path,
    key: &Path,
) -> Result<[Zeroizing<Vec<u8>>; 3], Error> {
    let files = [read_given(ca)?, read_given(certificate)?, read_given(key)?];
    let unfit = |path: &Path| Error::Given {
        path: path.to_owned(),
        why: "it does not begin with a certificate in PEM",
    };
    first(&files[0]).ok_or_else(|| unfit(ca))?;
    let client = first(&files[1]).ok_or_else(|| unfit(certificate))?;
    let pair = PrivateKeyDer::from_pem_slice(&files[2]).ok().and_then(|der| KeyPair::try_from(&der).ok());
    let pair =
        pair.ok_or_else(|| Error::Given { path: key.to_owned(), why: "it is not a private key in PEM" })?;
    let public = client.tbs_certificate.subject_public_key_info.to_der();
    match public.is_ok_and(|der| der == pair.subject_public_key_info()) {
        true => Ok(files),
        false => {
            Err(Error::Given { path: key.to_owned(), why: "it is not the key of the certificate beside it" })
        }
    }
}

fn since_1970(time: SystemTime) -> Duration {
    clock::shown(time).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// As kubeadm's own: the common name, the name again as a DNS name, and these usages. It counts from 2020 on: kubeadm gives what it
/// signs the authority's first moment, so a machine whose clock is behind takes it (kubernetes/kubernetes#42791).
fn params(common_name: &str, now: SystemTime) -> Result<CertificateParams, Error> {
    let params = CertificateParams::new(vec![common_name.to_owned()]);
    let mut params = params.map_err(Error::crypto(format!("the authority {common_name}")))?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::KeyCertSign,
    ];
    params.not_before = date_time_ymd(2020, 1, 1);
    // A clock that is behind would make an authority that has ended for all others.
    let begins = since_1970(now).max(clock::EARLIEST);
    params.not_after = date_time_ymd(1970, 1, 1) + (begins + AUTHORITY_LASTS).min(LAST);
    Ok(params)
}

/// The first certificate in PEM: the one that kubeadm takes (`TryLoadCertFromDisk`).
fn first(pem: &[u8]) -> Option<Certificate> {
    let der = CertificateDer::pem_slice_iter(pem).next()?.ok()?;
    Certificate::from_der(&der).ok()
}

/// A name as rcgen writes it; nothing if it would write another one.
fn distinguished(name: &Name) -> Option<DistinguishedName> {
    let mut distinguished = DistinguishedName::new();
    for part in &name.0 {
        let [attribute] = part.0.as_slice() else { return None };
        let oid: Vec<u64> = attribute.oid.arcs().map(u64::from).collect();
        let kind = DnType::from_oid(&oid);
        if distinguished.get(&kind).is_some() {
            return None;
        }
        let value = &attribute.value;
        let value = match value.tag() {
            Tag::Utf8String => DnValue::from(value.decode_as::<Utf8StringRef<'_>>().ok()?.as_str()),
            Tag::PrintableString => DnValue::PrintableString(
                value.decode_as::<PrintableStringRef<'_>>().ok()?.as_str().try_into().ok()?,
            ),
            Tag::Ia5String => {
                DnValue::Ia5String(value.decode_as::<Ia5StringRef<'_>>().ok()?.as_str().try_into().ok()?)
            }
            _ => return None,
        };
        distinguished.push(kind, value);
    }
    Some(distinguished)
}
