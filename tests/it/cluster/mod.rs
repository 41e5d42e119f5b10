//! Tests of clusters: from their description to the moment when they are ready.

mod flagship;
mod generate;
mod power;
mod units;
