//! Flags of `prebake serve` for HTTPS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::{ArgGroup, Args};

use crate::error::Result;
use crate::serve::http::listen::Listener;
use crate::serve::http::tls::authority::Authority;
use crate::serve::http::tls::{Error, Identity, Tls};
use crate::serve::notice::Notices;
use crate::serve::process::confine::Files;
use crate::serve::process::service;

/// Where HTTPS is spoken, and with which certificate. `--tls-only` goes by Matchbox's names, too.
#[derive(Args)]
#[command(
    next_help_heading = "HTTPS",
    group = ArgGroup::new("tls-where").args(["tls_address", "only"]).requires("tls-who"),
    group = ArgGroup::new("tls-who").args(["tls_cert", "tls_generate"]).requires("tls-where"),
)]
pub struct TlsArgs {
    /// Where to speak HTTPS, beside plain HTTP
    #[arg(long, value_name = "HOST:PORT")]
    tls_address: Option<String>,
    /// Speak HTTPS at --address, and HTTP nowhere
    #[arg(long = "tls-only", alias = "web-ssl", env = "MATCHBOX_WEB_SSL", hide_env = true)]
    pub only: bool,
    /// The certificate in PEM, those of its issuers behind it; looked at again when it is replaced
    #[arg(
        long,
        value_name = "FILE",
        alias = "web-cert-file",
        env = "MATCHBOX_WEB_CERT_FILE",
        hide_env = true
    )]
    #[arg(requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's key in PEM
    #[arg(long, value_name = "FILE", alias = "web-key-file", env = "MATCHBOX_WEB_KEY_FILE", hide_env = true)]
    #[arg(requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Issue the certificate by an authority in this directory, which is made where it is missing. Machines must trust
    /// its ca.crt: `trust_ca:` in the recipe
    #[arg(long, value_name = "DIR")]
    tls_generate: Option<PathBuf>,
    /// A name or address under which machines reach this server; may be repeated. Without it, the address listened on
    #[arg(long, value_name = "NAME", requires = "tls_generate")]
    tls_name: Vec<String>,
}

impl TlsArgs {
    /// Listens for HTTPS, if it is asked for, unless a service manager did so; `plain` is where HTTP would be spoken.
    /// Certificates stay readable.
    pub fn listener(
        &self,
        plain: &str,
        inherited: Option<Listener>,
        notices: &Notices,
        files: &mut Files,
    ) -> Result<Option<Listener>> {
        let address = self.tls_address.as_deref().or(self.only.then_some(plain));
        let Some(address) = address else {
            return if inherited.is_some() { Err(service::Error::NoCertificate.into()) } else { Ok(None) };
        };
        let listener = inherited.map_or_else(|| Listener::bind(address), Ok)?;
        let Some(identity) = self.identity(address, listener.address().ok())? else { return Ok(None) };
        let tls = Tls::new(identity, notices.clone())?;
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
        eprintln!("machines must trust {}", authority.certificate().display());
        Ok(Some(Identity::Issued { authority: Box::new(authority), names }))
    }
}
