//! The certificates of clients: judged by the authorities of a file, each of which counts only within its own time.
//!
//! To webpki a trust anchor is a name and a key: neither its lifetime nor its usages count. So they are judged here, the
//! lifetime at each handshake. As in Go, an entry that is no authority vouches for itself alone, byte by byte: sites name the
//! certificate of a single client like that.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    self, CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore,
    SignatureScheme,
};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::Error;
use crate::base::clock::date;
use crate::trust::certificate::{Purpose, is_for, judge_authority, words};
use crate::trust::pem::{blocks, broken, without_blocks};

/// Why a client's certificate is refused, in words. rustls shows only the name of such an error.
#[derive(Debug)]
pub(super) struct Refusal(String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// As an error of rustls.
    fn error(text: String) -> rustls::Error {
        rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(Refusal(text)))))
    }

    /// The words in an error of rustls, if it has any that rustls does not show.
    pub(super) fn words(error: &rustls::Error) -> Option<String> {
        match error {
            rustls::Error::InvalidCertificate(why @ CertificateError::Other(_)) => Some(words(why)),
            _ => None,
        }
    }
}

tokio::task_local! {
    /// Why the certificate of a handshake's client does not hold. Its error has no name, and must keep its kind, by which rustls
    /// tells the client.
    static LAPSE: RefCell<Option<String>>;
}

/// Performs a handshake; with it words about a certificate of the client that does not hold.
pub(super) async fn noted<T>(handshake: impl Future<Output = T>) -> (T, Option<String>) {
    let noting = async {
        let done = handshake.await;
        (done, LAPSE.with(RefCell::take))
    };
    LAPSE.scope(RefCell::default(), noting).await
}

/// Notes the first certificate of a chain that does not hold.
fn note_lapse(own: &CertificateDer<'_>, between: &[CertificateDer<'_>], clock: SystemTime) {
    let all = [("its certificate", own)]
        .into_iter()
        .chain(between.iter().map(|one| ("its issuer's certificate", one)));
    let mut lapses = all.filter_map(|(what, shown)| {
        let parsed = Certificate::from_der(shown).ok()?;
        let lapse = Lifetime::of(&parsed).lapse(clock)?;
        Some(format!("{what}, {}, {lapse}", parsed.tbs_certificate.subject))
    });
    let lapse = lapses.next();
    // Outside of a handshake nobody asks.
    let _ = LAPSE.try_with(|noted| noted.replace(lapse));
}

/// The lifetime of a certificate, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    from: u64,
    until: u64,
}

impl Lifetime {
    pub(super) fn of(certificate: &Certificate) -> Lifetime {
        let validity = &certificate.tbs_certificate.validity;
        let seconds = |time: &x509_cert::time::Time| time.to_unix_duration().as_secs();
        Lifetime { from: seconds(&validity.not_before), until: seconds(&validity.not_after) }
    }

    fn holds(self, now: u64) -> bool {
        (self.from..=self.until).contains(&now)
    }

    /// Why it does not hold now.
    pub(super) fn lapse(self, now: SystemTime) -> Option<String> {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let at = |seconds| date(UNIX_EPOCH + Duration::from_secs(seconds));
        let clock = || format!("and this machine's clock says {}", date(now));
        match self.holds(seconds) {
            true => None,
            false if seconds < self.from => {
                Some(format!("holds only from {} on, {}", at(self.from), clock()))
            }
            false => Some(format!("expired at {}, {}", at(self.until), clock())),
        }
    }
}

/// A certificate of the file that vouches for others.
struct Authority {
    certificate: CertificateDer<'static>,
    subject: String,
    lifetime: Lifetime,
}

/// Lets in clients that the authorities vouch for.
pub(super) struct Clients {
    authorities: Vec<Authority>,
    /// Certificates that are let in themselves.
    named: Vec<(CertificateDer<'static>, Lifetime)>,
    subjects: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
    /// The authorities that held at the last handshake, and their verifier.
    current: Mutex<Option<(Vec<bool>, Verifier)>>,
}

/// None where no authority holds.
type Verifier = Option<Arc<dyn ClientCertVerifier>>;

impl Clients {
    /// The clients of the certificates in a file with these bytes, and what is odd about it.
    ///
    /// # Errors
    /// There is nothing in it by which any client could be let in, or something that is no certificate.
    pub(super) fn of(
        path: &Path,
        bytes: &[u8],
        provider: Arc<CryptoProvider>,
        now: SystemTime,
    ) -> Result<(Clients, Vec<String>), Error> {
        let unfit = |why: String| Error::Unfit { path: path.into(), why };
        let mut clients = Clients {
            authorities: Vec::new(),
            named: Vec::new(),
            subjects: Vec::new(),
            provider,
            current: Mutex::new(None),
        };
        let (mut notes, mut roots) = (Vec::new(), RootCertStore::empty());
        let blocks = blocks(bytes);
        if blocks.is_empty() {
            return Err(unfit(without_blocks(bytes)));
        }
        for block in blocks {
            let Some(der) = block.certificate else {
                // Matchbox passes over it, too.
                notes.push(broken(block.line));
                continue;
            };
            let parsed = Certificate::from_der(&der).map_err(|error| error.to_string()).and_then(|parsed| {
                roots.add(der.clone()).map(|()| parsed).map_err(|error| error.to_string())
            });
            let certificate = parsed.map_err(|why| {
                unfit(format!("what begins in line {} is no certificate ({why})", block.line))
            })?;
            let subject = certificate.tbs_certificate.subject.to_string();
            let lifetime = Lifetime::of(&certificate);
            let here = format!("{subject}, in line {},", block.line);
            match judge_authority(&certificate, Purpose::Client) {
                Ok(()) => {
                    notes.extend(lifetime.lapse(now).map(|lapse| {
                        format!("the authority {here} {lapse}: clients that it vouches for are refused")
                    }));
                    clients.named.push((der.clone(), lifetime));
                    clients.authorities.push(Authority { certificate: der, subject, lifetime });
                }
                Err(why) if is_for(&certificate, Purpose::Client) => {
                    notes.push(format!("{here} is no authority ({why}), and lets in only itself"));
                    clients.named.push((der, lifetime));
                }
                Err(why) => notes.push(format!(
                    "{here} is no authority ({why}), and no client's certificate either (its extended key usage is for others)"
                )),
            }
        }
        if clients.named.is_empty() {
            return Err(unfit(notes.join("; ")));
        }
        clients.subjects = roots.subjects();
        Ok((clients, notes.into_iter().map(|note| format!("{}: {note}", path.display())).collect()))
    }

    /// A verifier by these authorities.
    fn verifier<'a>(&self, authorities: impl Iterator<Item = &'a Authority>) -> Verifier {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.map(|authority| authority.certificate.clone()));
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), self.provider.clone());
        builder.build().ok()
    }

    /// The verifier by those authorities that hold now.
    fn current(&self, now: u64) -> Verifier {
        let hold: Vec<bool> =
            self.authorities.iter().map(|authority| authority.lifetime.holds(now)).collect();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match &*current {
            Some((held, verifier)) if *held == hold => verifier.clone(),
            _ => {
                let holding = self.authorities.iter().zip(&hold).filter(|(_, holds)| **holds);
                let verifier = self.verifier(holding.map(|(authority, _)| authority));
                *current = Some((hold, verifier.clone()));
                verifier
            }
        }
    }

    /// An authority that does not hold, and that alone is why a certificate is refused.
    fn lapsed(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Option<&Authority> {
        let takes = |verifier: Verifier| {
            verifier.is_some_and(|verifier| verifier.verify_client_cert(own, between, now).is_ok())
        };
        let lapsed = || self.authorities.iter().filter(|authority| !authority.lifetime.holds(now.as_secs()));
        lapsed().next()?;
        if !takes(self.verifier(lapsed())) {
            return None;
        }
        lapsed().find(|authority| takes(self.verifier(std::iter::once(*authority))))
    }

    fn algorithms(&self) -> &WebPkiSupportedAlgorithms {
        &self.provider.signature_verification_algorithms
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clients({} authorities)", self.authorities.len())
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let unknown = || Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer));
        let judged = self
            .current(now.as_secs())
            .map_or_else(unknown, |verifier| verifier.verify_client_cert(own, between, now));
        let Err(refused) = judged else { return judged };
        let clock = UNIX_EPOCH + Duration::from_secs(now.as_secs());
        if let Some((_, lifetime)) = self.named.iter().find(|(named, _)| named == own) {
            return match lifetime.lapse(clock) {
                None => Ok(ClientCertVerified::assertion()),
                Some(lapse) => Err(Refusal::error(format!("it {lapse}"))),
            };
        }
        Err(match self.lapsed(own, between, now) {
            Some(Authority { subject, lifetime, .. }) => {
                let lapse = lifetime.lapse(clock).unwrap_or_default();
                Refusal::error(format!("its authority, {subject}, {lapse}"))
            }
            None => {
                use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
                if let rustls::Error::InvalidCertificate(
                    Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
                ) = &refused
                {
                    note_lapse(own, between, clock);
                }
                refused
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints as Basic, CertificateParams, DnType, ExtendedKeyUsagePurpose as Extended, IsCa,
        Issuer, KeyPair, KeyUsagePurpose as Usage, date_time_ymd,
    };
    use tokio_rustls::rustls::crypto::aws_lc_rs;

    use super::*;

    /// An authority from the first day of one year to that of another; `change` alters it.
    fn authority(
        from: i32,
        until: i32,
        change: impl Fn(&mut CertificateParams),
    ) -> (String, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, format!("site {until}"));
        params.is_ca = IsCa::Ca(Basic::Unconstrained);
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        change(&mut params);
        (params.self_signed(&key).unwrap().pem(), Issuer::new(params, key))
    }

    /// A client's certificate of the years 2000 to 2100.
    fn client(issuer: &Issuer<'static, KeyPair>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.extended_key_usages = vec![Extended::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(2100, 1, 1));
        params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
    }

    fn at(year: i32) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(date_time_ymd(year, 6, 1).unix_timestamp() as u64))
    }

    fn of(text: &str) -> Result<(Clients, Vec<String>), String> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let now = UNIX_EPOCH + Duration::from_secs(at(2030).as_secs());
        Clients::of(Path::new("ca.crt"), text.as_bytes(), provider, now).map_err(|error| error.to_string())
    }

    fn judge(clients: &Clients, own: &CertificateDer<'_>, year: i32) -> Result<(), String> {
        let judged = clients.verify_client_cert(own, &[], at(year));
        judged.map(|_| ()).map_err(|error| Refusal::words(&error).unwrap_or_else(|| error.to_string()))
    }

    /// The client is told by the error's kind that its certificate expired; the log has its name and dates beside.
    #[tokio::test]
    async fn a_certificate_that_does_not_hold_is_told_by_name_and_date() {
        let (text, issuer) = authority(1990, 2200, |_| ());
        let (clients, _) = of(&text).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "ops");
        params.extended_key_usages = vec![Extended::ClientAuth];
        (params.not_before, params.not_after) = (date_time_ymd(2010, 1, 1), date_time_ymd(2020, 1, 1));
        let own = params.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap().der().clone();
        for (year, words) in [
            (
                2030,
                Some(
                    "its certificate, CN=ops, expired at 2020-01-01T00:00:00Z, and this machine's clock says 2030",
                ),
            ),
            (
                2005,
                Some(
                    "its certificate, CN=ops, holds only from 2010-01-01T00:00:00Z on, and this machine's clock says 2005",
                ),
            ),
            (2015, None),
        ] {
            let (judged, lapse) = noted(async { clients.verify_client_cert(&own, &[], at(year)) }).await;
            assert_eq!(judged.is_ok(), words.is_none(), "{year}");
            let kind = judged.err().map(|error| format!("{error:?}")).unwrap_or_default();
            assert!(
                kind.contains(match year {
                    2030 => "Expired",
                    2005 => "NotValidYet",
                    _ => "",
                }),
                "{kind}"
            );
            assert!(lapse.as_deref().unwrap_or_default().starts_with(words.unwrap_or_default()), "{lapse:?}");
        }
    }

    #[test]
    fn an_authority_lets_clients_in_within_its_own_time_alone() {
        let ((first, early), (second, late)) = (authority(2010, 2020, |_| ()), authority(2040, 2050, |_| ()));
        let (clients, notes) = of(&(first + &second)).unwrap();
        assert!(notes[0].contains("site 2020") && notes[0].contains("expired at 2020-01-01"), "{notes:?}");
        assert!(
            notes[1].contains("site 2050") && notes[1].contains("holds only from 2040-01-01"),
            "{notes:?}"
        );
        let (early, late) = (client(&early), client(&late));
        // Forwards and back, as a clock goes that is set.
        for year in [2015, 2030, 2045, 2060, 2015] {
            let (one, other) = (judge(&clients, &early, year), judge(&clients, &late, year));
            assert_eq!((one.is_ok(), other.is_ok()), (year == 2015, year == 2045), "{year}");
        }
        let told = judge(&clients, &early, 2030).unwrap_err();
        assert!(told.contains("its authority, CN=site 2020, expired at 2020-01-01"), "{told}");
        let told = judge(&clients, &late, 2030).unwrap_err();
        assert!(told.contains("its authority, CN=site 2050, holds only from 2040-01-01"), "{told}");
        let stranger = judge(&clients, &client(&authority(2000, 2100, |_| ()).1), 2015).unwrap_err();
        assert!(stranger.contains("UnknownIssuer"), "{stranger}");
    }

    #[test]
    fn what_is_no_authority_vouches_for_itself_alone() {
        type Change = fn(&mut CertificateParams);
        let changes: [(Change, &str); 4] = [
            (|params| params.is_ca = IsCa::NoCa, "basic constraints"),
            (|params| params.is_ca = IsCa::ExplicitNoCa, "basic constraints"),
            (|params| params.key_usages = vec![Usage::DigitalSignature], "key usage"),
            (|params| params.extended_key_usages = vec![Extended::ServerAuth], "extended key usage"),
        ];
        let (good, own) = authority(2000, 2100, |_| ());
        for (change, words) in changes {
            let (bad, issuer) = authority(2000, 2101, change);
            let (clients, notes) = of(&(bad.clone() + &good)).unwrap();
            assert!(notes.len() == 1 && notes[0].contains(words), "{notes:?}");
            assert_eq!(judge(&clients, &client(&own), 2030), Ok(()));
            judge(&clients, &client(&issuer), 2030).unwrap_err();
            let itself = blocks(bad.as_bytes()).remove(0).certificate.unwrap();
            let is_client = words != "extended key usage";
            assert_eq!(judge(&clients, &itself, 2030).is_ok(), is_client, "{words}");
            judge(&clients, &itself, 2150).unwrap_err();
            assert_eq!(of(&bad).is_ok(), is_client, "{words}");
        }
        let (server, _) = authority(2000, 2100, |params| {
            (params.is_ca, params.extended_key_usages) = (IsCa::NoCa, vec![Extended::ServerAuth]);
        });
        let why = of(&server).unwrap_err();
        assert!(why.contains("is no authority") && why.contains("no client's certificate either"), "{why}");
    }

    #[test]
    fn a_broken_block_is_told_and_what_is_no_certificate_refused() {
        let (good, issuer) = authority(2000, 2100, |_| ());
        let broken = "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        let (clients, notes) = of(&(broken.to_owned() + &good)).unwrap();
        assert!(notes[0].contains("ca.crt: the certificate that begins in line 1 is broken"), "{notes:?}");
        assert_eq!(judge(&clients, &client(&issuer), 2030), Ok(()));
        assert!(of(broken).unwrap_err().contains("line 1 is broken"));
        let none = broken.replace("!!!!", "AAAA");
        assert!(of(&(good + &none)).unwrap_err().contains("is no certificate"));
    }
}
