//! An authority for one site: a key and a certificate in a directory, used for this server alone.
//!
//! Certificates that it issues live in memory and are made anew at every start, so only the authority itself needs to
//! be kept.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::{Error, read};
use crate::base::clock::{date, shown};
use crate::base::disk::{self, write_atomic, write_secret};
use crate::trust::authority::{self, Algorithm, Holder, Key, Validity};
use crate::trust::certificate::{Known, Purpose};

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

/// Certificates hold from the year 2000 on: a machine with an empty clock battery boots in the past, and must still reach its
/// server.
const FROM: Duration = Duration::from_secs(946_684_800);

/// Issues certificates for the server.
pub struct Authority {
    issuer: authority::Authority,
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
            true => Key::parse(&read(&key_file)?).map_err(|why| unfit(&key_file, why))?,
            false => make_key(directory, &key_file)?,
        };
        if !certificate.exists() {
            let made = authority::found(&key, until(now, AUTHORITY_HOLDS));
            let made = made.map_err(issue(&["the authority".into()]))?;
            write_atomic(&certificate, made.pem().as_bytes())?;
        }
        let all = Known::all(&read(&certificate)?).map_err(|why| unfit(&certificate, why))?;
        let known = all.into_iter().find(|known| key.is_of(known));
        let known = known.filter(|known| known.subject() == format!("CN={}", authority::name_of(&key)));
        let known = known.ok_or_else(|| {
            let why = "it does not belong to the key beside it, or was not made by --tls-generate";
            unfit(&certificate, why.into())
        })?;
        check(&certificate, &known, now)?;
        let issuer = authority::Authority::new(known, key);
        issuer.judge(Purpose::Server).map_err(|error| unfit(&certificate, error.to_string()))?;
        Ok(Authority { issuer, certificate })
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
        let holder =
            Holder { common_name: "prebake serve".into(), names: names.to_vec(), purpose: Purpose::Server };
        let key = Key::generate(Algorithm::Ecdsa).map_err(issue(names))?;
        let issued = self.issuer.issue(&key, &holder, until(now, ISSUED_HOLDS)).map_err(issue(names))?;
        Ok((vec![issued.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.der()))))
    }
}

fn make_key(directory: &Path, path: &Path) -> Result<Key, Error> {
    let key = Key::generate(Algorithm::Ecdsa).map_err(issue(&["the authority".into()]))?;
    disk::create_directories(directory)?;
    write_secret(path, key.pem().as_bytes())?;
    Ok(key)
}

/// Checks that a certificate has not expired.
fn check(path: &Path, known: &Known, now: SystemTime) -> Result<(), Error> {
    if known.until() <= now {
        return Err(unfit(
            path,
            format!(
                "it expired at {}, and this machine's clock says {}; if that is right, remove it, and a new one is made for the same key",
                date(known.until()),
                date(now)
            ),
        ));
    }
    Ok(())
}

fn unfit(path: &Path, why: String) -> Error {
    Error::Unfit { path: path.into(), why }
}

fn until(now: SystemTime, holds: Duration) -> Validity {
    Validity { from: SystemTime::UNIX_EPOCH + FROM, until: shown(now) + holds }
}

fn issue(names: &[String]) -> impl Fn(authority::Error) -> Error {
    |source| Error::Issue { names: names.to_vec(), source: source.into() }
}

#[cfg(test)]
mod tests {
    use x509_cert::Certificate;

    use super::*;
    use crate::base::clock;

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
