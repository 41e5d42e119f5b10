//! The certificates in PEM files (RFC 7468), as OpenSSL, Go and Matchbox read them: among other blocks and texts.
//!
//! A file that holds no certificate, and one of whose blocks is broken, are two faults, and are told apart by line. Labels
//! are those that OpenSSL has written in its time. Leaves files to their readers, and certificates to
//! [`certificate`](super::certificate).

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

/// Labels of certificates.
const LABELS: [&[u8]; 3] = [b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"];

/// A block of a file.
pub(crate) struct Block {
    /// The line of its beginning, from 1 on.
    pub line: usize,
    /// Its bytes; `None` if it is no base64, or has no end.
    pub certificate: Option<CertificateDer<'static>>,
}

/// The blocks of certificates among other blocks and texts, in their order.
pub(crate) fn blocks(bytes: &[u8]) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Vec<u8>)> = None;
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if let Some(label) = label_of(line, b"-----BEGIN ") {
            // The one before it has no end.
            blocks.extend(open.take().map(|(line, _)| Block { line, certificate: None }));
            open = LABELS.contains(&label).then(|| (index + 1, Vec::new()));
        } else if label_of(line, b"-----END ").is_some() {
            blocks.extend(open.take().map(|(line, body)| Block { line, certificate: decoded(&body) }));
        } else if let Some((_, body)) = &mut open {
            body.extend_from_slice(line);
            body.push(b'\n');
        }
    }
    blocks.extend(open.map(|(line, _)| Block { line, certificate: None }));
    blocks
}

fn label_of<'l>(line: &'l [u8], begin: &[u8]) -> Option<&'l [u8]> {
    line.strip_prefix(begin)?.strip_suffix(b"-----")
}

fn decoded(body: &[u8]) -> Option<CertificateDer<'static>> {
    let block = [b"-----BEGIN CERTIFICATE-----\n", body, b"-----END CERTIFICATE-----\n"].concat();
    CertificateDer::from_pem_slice(&block).ok().filter(|certificate| !certificate.is_empty())
}

/// The fault of a file without a block of a certificate.
pub(crate) fn without_blocks(bytes: &[u8]) -> String {
    match bytes {
        // A sequence with a length of two bytes.
        [0x30, 0x82, ..] => {
            "it is a certificate in DER, and not in PEM; `openssl x509 -inform DER` converts it".into()
        }
        _ => "it contains no PEM certificate".into(),
    }
}

/// The fault of a block.
pub(crate) fn broken(line: usize) -> String {
    format!("the certificate that begins in line {line} is broken: it is no base64, or has no END line")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_blocks_have_a_line_and_spoil_no_other() {
        let good = "-----BEGIN CERTIFICATE-----\r\nMAA=\r\n-----END CERTIFICATE-----\r\n";
        let old = good.replace("CERTIFICATE", "X509 CERTIFICATE").replace('\r', "");
        let broken = "# text\n-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n";
        let endless = "-----BEGIN TRUSTED CERTIFICATE-----\nMAA=\n";
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        let text = [broken, good, key, endless, &old, endless].concat();
        let found: Vec<_> = blocks(text.as_bytes());
        let found: Vec<_> = found.iter().map(|block| (block.line, block.certificate.is_some())).collect();
        assert_eq!(found, [(2, false), (5, true), (11, false), (13, true), (16, false)]);
        assert!(blocks(key.as_bytes()).is_empty() && blocks(b"").is_empty());
    }
}
