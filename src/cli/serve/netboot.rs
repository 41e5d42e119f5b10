//! Flags of `prebake serve` for DHCP and TFTP.

use clap::Args;

#[derive(Args)]
pub struct NetbootArgs {}
