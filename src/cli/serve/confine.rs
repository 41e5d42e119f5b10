//! Flags of `prebake serve` for what the process may still do.

use clap::Args;

#[derive(Args)]
pub struct ConfineArgs {}
