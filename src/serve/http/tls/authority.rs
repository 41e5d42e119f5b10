//! An authority for one site: a key and a certificate in a directory, used for this server alone.
//!
//! Certificates that it issues live in memory and are made anew at every start, so only the authority itself needs to
//! be kept.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, date_time_ymd,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use x509_cert::Certificate;
use x509_cert::der::{DecodePem, Encode};

use super::{Error, read};
use crate::base::clock::{self, date};
use crate::base::digest::Sha256;
use crate::base::disk::{self, write_atomic, write_secret};

/// File name of the certificate that machines must trust.
pub(crate) const CERTIFICATE: &str = "ca.crt";
/// File name of the key, which nobody else may read.
pub(crate) const KEY: &str = "ca.key";

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Lifetime of an authority.
const AUTHORITY_HOLDS: Duration = Duration::from_secs(10 * 365 * DAY.as_secs());
/// Lifetime of a certificate that it issues.
const ISSUED_HOLDS: Duration = Duration::from_secs(90 * DAY.as_secs());
/// Age at which such a certificate is replaced.
pub(crate) const RENEW: Duration = Duration::from_secs(60 * DAY.as_secs());

/// Issues certificates for the server.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: PathBuf,
}

impl Authority {
    /// Opens the authority in a directory, or makes one there.
    ///
    /// # Errors
    /// A key or certificate that cannot be read, that was not made here, or that has expired.
    pub fn open(directory: &Path, now: SystemTime) -> Result<Authority, Error> {
        let (key_file, certificate) = (directory.join(KEY), directory.join(CERTIFICATE));
        let key = match key_file.exists() {
            true => load_key(&key_file)?,
            false => make_key(directory, &key_file)?,
        };
        let params = params(&key, now);
        if !certificate.exists() {
            let made = params.self_signed(&key).map_err(issue(&["the authority".into()]))?;
            write_atomic(&certificate, made.pem().as_bytes())?;
        }
        check(&certificate, &key, now)?;
        Ok(Authority { issuer: Issuer::new(params, key), certificate })
    }

    /// The file with the certificate that machines must trust.
    pub fn certificate(&self) -> &Path {
        &self.certificate
    }

    /// Makes a key and a certificate for a server under these names and addresses.
    pub(crate) fn issue(
        &self,
        names: &[String],
        now: SystemTime,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        for name in names {
            let plain = name.strip_prefix("*.").unwrap_or(name);
            ServerName::try_from(plain)
                .map_err(|error| Error::Issue { names: vec![name.clone()], source: error.into() })?;
        }
        let mut params = CertificateParams::new(names).map_err(issue(names))?;
        params.distinguished_name = named("prebake serve");
        hold(&mut params, now, ISSUED_HOLDS);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(issue(names))?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(issue(names))?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Ok((vec![certificate.der().clone()], key))
    }
}

fn make_key(directory: &Path, path: &Path) -> Result<KeyPair, Error> {
    let key = KeyPair::generate().map_err(issue(&["the authority".into()]))?;
    disk::create_directories(directory)?;
    write_secret(path, key.serialize_pem().as_bytes())?;
    Ok(key)
}

fn load_key(path: &Path) -> Result<KeyPair, Error> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    KeyPair::from_pem(&text).map_err(|error| Error::Unfit {
        path: path.into(),
        why: format!("it is not a private key ({error})"),
    })
}

/// Two authorities differ in name, too, so that a client that trusts an older one can say what is wrong.
fn common_name(key: &KeyPair) -> String {
    format!("prebake authority {}", &Sha256::of(key.der_bytes()).to_string()[..16])
}

fn params(key: &KeyPair, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&common_name(key));
    hold(&mut params, now, AUTHORITY_HOLDS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Checks that a certificate belongs to the key and has not expired.
fn check(path: &Path, key: &KeyPair, now: SystemTime) -> Result<(), Error> {
    let unfit = |why: String| Error::Unfit { path: path.into(), why };
    let certificate = Certificate::from_pem(read(path)?).map_err(|error| unfit(error.to_string()))?;
    let certificate = certificate.tbs_certificate;
    let same_key =
        certificate.subject_public_key_info.to_der().is_ok_and(|der| der == key.subject_public_key_info());
    if !same_key || certificate.subject.to_string() != format!("CN={}", common_name(key)) {
        return Err(unfit(
            "it does not belong to the key beside it, or was not made by --tls-generate".into(),
        ));
    }
    let until = certificate.validity.not_after;
    if until.to_system_time() <= now {
        return Err(unfit(format!(
            "it expired at {}, and this machine's clock says {}; if that is right, remove it, and a new one is made for the same key",
            until.to_date_time(),
            date(now)
        )));
    }
    Ok(())
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Valid from the year 2000 on: a machine with an empty clock battery boots in the past, and must still reach its
/// server.
fn hold(params: &mut CertificateParams, now: SystemTime, holds: Duration) {
    // If the clock is beyond all calendars, the certificate ends on the last possible day (RFC 5280, 4.1.2.5).
    let since_1970 = clock::shown(now).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let since_1970 = (since_1970 + holds).min(clock::LAST);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(1970, 1, 1) + since_1970;
}

fn issue(names: &[String]) -> impl Fn(rcgen::Error) -> Error {
    |source| Error::Issue { names: names.to_vec(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_that_expired_or_lost_its_key_is_refused_with_the_way_out() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        Authority::open(directory.path(), now).unwrap();
        let later = Authority::open(directory.path(), now + AUTHORITY_HOLDS + DAY);
        let Err(Error::Unfit { path, why }) = later else { panic!("it was taken") };
        assert!(path.ends_with(CERTIFICATE) && why.contains("expired") && why.contains("remove it"), "{why}");

        std::fs::remove_file(directory.path().join(KEY)).unwrap();
        assert!(matches!(Authority::open(directory.path(), now), Err(Error::Unfit { .. })));
    }

    /// Beyond the year 9999 no certificate could be made, so every TLS connection failed (attacks.md, C-A17).
    #[test]
    fn whatever_the_clock_says_there_is_a_certificate() {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::open(directory.path(), SystemTime::now()).unwrap();
        let of = |seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap();
        let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1_000_000_000);
        for now in [before, of(0), of(253_402_300_799), of(300_000_000_000), of(i64::MAX as u64)] {
            let (chain, _) = authority.issue(&["boot.example.com".to_owned()], now).unwrap();
            let issued = <Certificate as x509_cert::der::Decode>::from_der(&chain[0]).unwrap();
            let until = issued.tbs_certificate.validity.not_after.to_system_time();
            assert!(until + Duration::from_secs(1) > clock::shown(now), "{now:?}");
            assert!(Authority::open(&directory.path().join("own"), now).is_ok() || now > of(1 << 37));
            let _ = std::fs::remove_dir_all(directory.path().join("own"));
        }
    }

    #[test]
    fn what_is_issued_holds_past_its_renewal_for_names_and_addresses() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let authority = Authority::open(directory.path(), now).unwrap();
        let names = ["boot.example.com", "*.example.com", "10.0.0.1", "fd00::1"].map(str::to_owned);
        let (chain, _) = authority.issue(&names, now).unwrap();
        let issued = <Certificate as x509_cert::der::Decode>::from_der(&chain[0]).unwrap().tbs_certificate;
        assert!(issued.validity.not_after.to_system_time() > now + RENEW + 7 * DAY);
        assert!(issued.validity.not_before.to_system_time() < now - 365 * DAY);
        for bad in ["", "no name", "a/b", "*", "10.0.0.256.", "-"] {
            assert!(authority.issue(&[bad.to_owned()], now).is_err(), "{bad}");
        }
    }
}
