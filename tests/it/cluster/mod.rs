//! Tests of clusters: from their description to the moment when they are ready.

mod doctor;
mod flagship;
mod generate;
mod init;
mod power;
mod units;
