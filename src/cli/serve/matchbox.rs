//! Flags of `prebake serve` for Matchbox's data directories.

use clap::Args;

#[derive(Args)]
pub struct MatchboxArgs {}
