//! The closure of a tree: every URL, digest, image, sysext and file that it refers to, and whether each is inside the
//! tree.
//!
//! ```text
//! groups ─▶ profiles ─▶ configs, initrds ─▶ files and units ─▶ URLs, images …
//!                       loaders' scripts    sysexts ─▶ units, manifests, lists ─▶ …
//! ```
//! Owns the references of each kind of file ([`boot`] for loaders' files, [`machine`] for a machine's files), their
//! targets, and the graph of both. Nothing is fetched: an outside reference is reported with the path that leads to it.
//! A request that a program makes without any text naming it is not seen. Leaves the bytes of files to `tree` and
//! `verify`, and a single boot's fetches to `ignition::closure`.

mod boot;
mod graph;
mod images;
mod kubeadm;
mod machine;
mod overlay;
mod place;
mod reference;
mod walk;

pub(crate) use graph::{Edge, Graph, Outcome};
pub(crate) use walk::{Options, prove};
