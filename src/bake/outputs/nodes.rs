//! `boot/nodes.json`: maps network cards to nodes and their addresses, for a server that gives addresses.
//!
//! Where Matchbox is an output, its groups state the same; otherwise this file does, so a node's name and `ip:` work
//! with any boot loader.

use super::Built;
use crate::machine::dhcp::Dhcp;
use crate::tree::manifest::Role;
use crate::tree::names::NODES;
use crate::tree::nodes;
use crate::tree::row::Row;

/// The output whose groups state the same.
const GROUPS: &str = "matchbox";

/// The row of the file, if the tree needs it.
pub(super) fn row(built: &Built<'_>) -> Option<Row> {
    let hosts = Dhcp::hosts(built.recipe);
    if hosts.is_empty() || built.recipe.has_output(GROUPS) {
        return None;
    }
    Some(Row::text(NODES.into(), Role::Boot, nodes::write(hosts)))
}
