//! Flags of `prebake serve` for configs that hold secrets.

use clap::Args;

#[derive(Args)]
pub struct GuardArgs {}
