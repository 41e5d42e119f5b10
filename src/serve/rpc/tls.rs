//! A client by the certificate that it showed: its common name for the log, and its digest, by which places are shared out.
//!
//! Leaves the judgement of certificates to `http::tls`, which lets in none that its authorities do not vouch for.

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use crate::base::digest::Sha256;
use crate::trust::certificate::common_name;

/// The name of a certificate without a common name, and of one that cannot be read.
const NAMELESS: &str = "a certificate without a name";

/// The common name of the first certificate of a chain.
pub(crate) fn name_of(chain: Option<&[CertificateDer<'_>]>) -> String {
    let first = chain.and_then(<[_]>::first).and_then(|first| Certificate::from_der(first).ok());
    let common = first.as_ref().and_then(common_name);
    common.filter(|name| !name.is_empty()).unwrap_or_else(|| NAMELESS.into())
}

/// The digest of the first certificate of a chain.
pub(crate) fn digest_of(chain: Option<&[CertificateDer<'_>]>) -> Sha256 {
    Sha256::of(chain.and_then(<[_]>::first).map_or(&[][..], |first| first))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair};

    use super::*;

    fn of(names: &[&str]) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "site");
        names.iter().for_each(|name| params.distinguished_name.push(DnType::CommonName, *name));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        name_of(Some(&[certificate.der().clone()]))
    }

    #[test]
    fn a_client_has_the_common_name_of_its_certificate() {
        assert_eq!(of(&["terraform ü"]), "terraform ü");
        assert_eq!([of(&[]), of(&[""]), name_of(None), name_of(Some(&[]))], [NAMELESS; 4]);
        assert_eq!(name_of(Some(&[CertificateDer::from_slice(b"no DER")])), NAMELESS);
    }
}
