//! The closure of a tree: every URL, digest, image, sysext and file that it refers to, and whether that is inside.
//!
//! ```text
//! groups ─▶ profiles ─▶ configs, initrds ─▶ files and units ─▶ URLs, images …
//!                       loaders' scripts    sysexts ─▶ units, manifests, lists ─▶ …
//! ```
//! Owns what each kind of file refers to ([`boot`] what loaders load, [`machine`] what a machine's files name), where that
//! leads, and the graph of it. Nothing is fetched: what is outside is told with the way to it. What a program asks for that
//! no text names is not seen. Leaves the bytes of files to `tree` and `verify`, what a boot alone would fetch to
//! `ignition::closure`.

mod boot;
mod graph;
mod images;
mod kubeadm;
mod machine;
mod overlay;
mod place;
mod reference;
mod walk;

pub use graph::{Edge, Graph, Kind, Outcome, Spot};
pub use walk::{Options, prove};
