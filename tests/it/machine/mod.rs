//! Tests of a machine's identity: several network cards, networks without a router.

mod cards;
