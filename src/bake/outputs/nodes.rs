//! `boot/nodes.json`: which network card is which node, and its address, for a server that lends addresses.
//!
//! Groups say it where Matchbox is an output; this file is written where it is not, so that a node's name and `ip:` hold
//! whatever loaders a tree is for.

use super::Built;
use crate::machine::dhcp::Dhcp;
use crate::tree::manifest::Role;
use crate::tree::names::NODES;
use crate::tree::nodes;
use crate::tree::row::Row;

/// The output whose groups say the same.
const GROUPS: &str = "matchbox";

/// The file, where a tree needs it.
pub(super) fn row(built: &Built<'_>) -> Option<Row> {
    let hosts = Dhcp::hosts(built.recipe);
    if hosts.is_empty() || built.recipe.has_output(GROUPS) {
        return None;
    }
    Some(Row::text(NODES.into(), Role::Boot, nodes::write(hosts)))
}
