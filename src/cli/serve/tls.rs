//! Flags of `prebake serve` for HTTPS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;

use super::rpc::File;
use crate::base::error::{Advice, Exit, Result};
use crate::serve::http::listen::{self, Listener};
use crate::serve::http::tls::authority::Authority;
use crate::serve::http::tls::{Error, Identity, Tls};
use crate::serve::notice::Notices;
use crate::serve::process::confine::Files;
use crate::serve::process::service;

/// Heading of these options.
const HEADING: &str = "HTTPS";

/// Address and certificate for HTTPS. `--tls-only` has Matchbox's names too.
#[derive(Args)]
pub(crate) struct TlsArgs {
    /// Serve HTTPS at this address, beside plain HTTP
    #[arg(help_heading = HEADING, long, value_name = "HOST:PORT")]
    tls_address: Option<String>,
    /// Serve HTTPS at --address, and no HTTP
    #[arg(
        help_heading = HEADING,
        long = "tls-only",
        alias = "web-ssl",
        env = "MATCHBOX_WEB_SSL",
        hide_env = true,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = flag
    )]
    only: Option<bool>,
    /// The certificate in PEM, followed by those of its issuers; reloaded when it is replaced
    #[arg(
        help_heading = HEADING,
        long,
        value_name = "FILE",
        alias = "web-cert-file",
        env = "MATCHBOX_WEB_CERT_FILE",
        hide_env = true
    )]
    #[arg(requires = "tls_key", conflicts_with = "tls_generate")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key in PEM
    #[arg(help_heading = HEADING, long, value_name = "FILE", alias = "web-key-file", env = "MATCHBOX_WEB_KEY_FILE", hide_env = true)]
    #[arg(requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Issue the certificate by an authority in this directory, which is made where it is missing. Machines must trust
    /// its ca.crt: `trust_ca:` in the recipe
    #[arg(help_heading = HEADING, long, value_name = "DIR")]
    tls_generate: Option<PathBuf>,
    /// A name or address under which machines reach this server; may be repeated. Without it, the address listened on
    #[arg(help_heading = HEADING, long, value_name = "NAME", requires = "tls_generate")]
    tls_name: Vec<String>,
}

/// Flags that contradict each other.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UsageError {
    /// HTTPS without a certificate.
    #[error("HTTPS needs a certificate")]
    NoCertificate,
    /// A certificate without HTTPS.
    #[error("a certificate was given, but HTTPS is not enabled")]
    Nowhere,
    /// HTTPS at two addresses.
    #[error("--tls-only serves HTTPS at --address, but --tls-address gives another address for it")]
    Twice,
}

impl Advice for UsageError {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            UsageError::NoCertificate => "add --tls-cert and --tls-key, or --tls-generate".into(),
            UsageError::Nowhere => "add --tls-address HOST:PORT, or --tls-only".into(),
            UsageError::Twice => "leave one of them out".into(),
        })
    }
}

/// Parses a boolean as Go's `strconv.ParseBool` does, because Matchbox accepts `-web-ssl=false` and
/// `MATCHBOX_WEB_SSL=1`.
fn flag(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        // To Matchbox an empty variable counts as unset.
        "" | "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("it is neither true nor false".into()),
    }
}

impl TlsArgs {
    /// Whether HTTPS is spoken at --address, and HTTP nowhere.
    pub(crate) fn is_only(&self) -> bool {
        self.only == Some(true)
    }

    /// The files of the certificate that is given.
    pub(crate) fn files(&self) -> Vec<File> {
        let file = |flag, path: &Option<PathBuf>, holds| Some(File { flag, path: path.clone()?, holds });
        let certificate = file("--tls-cert", &self.tls_cert, "the server's certificate");
        certificate.into_iter().chain(file("--tls-key", &self.tls_key, "its key")).collect()
    }

    /// Checks whether the flags fit together.
    ///
    /// # Errors
    /// The contradiction between them.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        let is_spoken = self.tls_address.is_some() || self.is_only();
        let has_certificate = self.tls_cert.is_some() || self.tls_generate.is_some();
        match (is_spoken, has_certificate) {
            (true, false) => Err(UsageError::NoCertificate),
            // Matchbox accepts a certificate that it is told not to use.
            (false, true) if self.only.is_none() => Err(UsageError::Nowhere),
            _ if self.tls_address.is_some() && self.is_only() => Err(UsageError::Twice),
            _ => Ok(()),
        }
    }

    /// Listens for HTTPS if it is requested, unless a service manager opened the socket; `plain` is the address for
    /// HTTP. Certificates stay readable.
    pub(crate) fn listener(
        &self,
        plain: &str,
        inherited: Option<Listener>,
        notices: &Notices,
        files: &mut Files,
    ) -> Result<Option<Listener>> {
        let own = self.tls_address.as_deref().map(|address| listen::host_of(address, "https")).transpose()?;
        let address = own.or(self.is_only().then_some(plain));
        let Some(address) = address else {
            return if inherited.is_some() { Err(service::Error::NoCertificate.into()) } else { Ok(None) };
        };
        let listener = inherited.map_or_else(|| Listener::bind(address), Ok)?;
        let Some(identity) = self.identity(address, listener.address().ok())? else { return Ok(None) };
        let tls = Tls::new(identity, notices.clone())?;
        for note in tls.notes() {
            tell!("warning: {note}");
        }
        tls.directories().iter().for_each(|directory| files.read(directory));
        Ok(Some(listener.secured(Arc::new(tls))))
    }

    fn identity(&self, address: &str, bound: Option<SocketAddr>) -> Result<Option<Identity>> {
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            return Ok(Some(Identity::Files { certificate: certificate.clone(), key: key.clone() }));
        }
        let Some(directory) = &self.tls_generate else { return Ok(None) };
        let own = bound.map(|bound| bound.ip()).filter(|ip| !ip.is_unspecified());
        let names = match (self.tls_name.is_empty(), own) {
            (false, _) => self.tls_name.clone(),
            (true, Some(ip)) => vec![ip.to_string()],
            (true, None) => return Err(Error::Nameless { address: address.into() }.into()),
        };
        let authority = Authority::open(directory, SystemTime::now())?;
        tell!("machines must trust {}", authority.certificate().display());
        Ok(Some(Identity::Issued { authority: Box::new(authority), names }))
    }
}
