//! Flags of `prebake serve` for HTTPS.

use clap::Args;

#[derive(Args)]
pub struct TlsArgs {}
