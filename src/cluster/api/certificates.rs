//! When certificates expire: of the kubeconfig, of the API server as it presents itself, and of authorities on disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::client::Connection;

/// How long the API server may take to present its certificate.
const PATIENCE: Duration = Duration::from_secs(5);

/// A certificate and its last day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expiry {
    /// Its part: `kubeconfig`, `authority`, `API server`, or the name of its file.
    pub of: String,
    /// Its subject.
    pub subject: String,
    /// The second after which it is void, in RFC 3339.
    pub expires: String,
    /// Days until then; negative if it is expired.
    pub days: i64,
}

/// The certificates of a kubeconfig, and that of its API server if it answers.
pub async fn of_connection(connection: &Connection, now: SystemTime) -> Vec<Expiry> {
    let mut found = Vec::new();
    if let Some(pem) = connection.client_certificate() {
        found.extend(of_pem("kubeconfig", pem, now).into_iter().next());
    }
    for der in connection.config().root_cert.iter().flatten() {
        found.extend(of_der("authority", der, now));
    }
    found.extend(
        tokio::time::timeout(PATIENCE, served(connection))
            .await
            .ok()
            .flatten()
            .and_then(|der| of_der("API server", &der, now)),
    );
    found
}

/// The certificates below a directory of kubeadm's layout, each by its path there.
pub fn of_directory(directory: &Path, now: SystemTime) -> Vec<Expiry> {
    let mut found = Vec::new();
    for part in ["", "etcd"] {
        let Ok(entries) = std::fs::read_dir(directory.join(part)) else { continue };
        let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "crt"));
        paths.sort();
        for path in paths {
            let name = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
            if let Ok(pem) = std::fs::read(&path) {
                found.extend(of_pem(&name, &pem, now));
            }
        }
    }
    found
}

fn of_pem(of: &str, pem: &[u8], now: SystemTime) -> Vec<Expiry> {
    let chain = Certificate::load_pem_chain(pem).unwrap_or_default();
    chain.iter().map(|certificate| expiry(of, certificate, now)).collect()
}

fn of_der(of: &str, der: &[u8], now: SystemTime) -> Option<Expiry> {
    Some(expiry(of, &Certificate::from_der(der).ok()?, now))
}

fn expiry(of: &str, certificate: &Certificate, now: SystemTime) -> Expiry {
    const DAY: i64 = 24 * 60 * 60;
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let left = seconds(end) - seconds(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    Expiry {
        of: of.to_owned(),
        subject: certificate.tbs_certificate.subject.to_string(),
        expires: crate::base::clock::date(UNIX_EPOCH + end),
        days: left.div_euclid(DAY),
    }
}

/// The certificate that the API server presents, if the kubeconfig's authority vouches for it.
async fn served(connection: &Connection) -> Option<Vec<u8>> {
    let config = connection.config();
    let mut roots = RootCertStore::empty();
    for der in config.root_cert.iter().flatten() {
        roots.add(CertificateDer::from(der.clone())).ok()?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    let host = config.cluster_url.host()?.trim_matches(['[', ']']).to_owned();
    let port = config.cluster_url.port_u16().unwrap_or(443);
    let name = config.tls_server_name.clone().unwrap_or_else(|| host.clone());
    let stream = TcpStream::connect((host, port)).await.ok()?;
    let stream =
        TlsConnector::from(Arc::new(tls)).connect(ServerName::try_from(name).ok()?, stream).await.ok()?;
    let (_, session) = stream.get_ref();
    session.peer_certificates()?.first().map(|der| der.to_vec())
}
