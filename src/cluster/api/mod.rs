//! The cluster's API: what it tells, what is put into it, and the moment when all is ready.
//!
//! ```text
//! kubeconfig ─▶ Connection ─┬─ follow ──▶ Change… ─▶ Snapshot ─▶ wait     (watches; nothing is asked again and again)
//!                           ├─ apply ◀── manifests of add-ons            (server-side, in waves)
//!                           ├─ labels ◀── what a kubelet may not say of its node
//!                           └─ certificates
//! ```
//! Owns all that knows Kubernetes' API types: outside of this room there are [`change::Change`]s and a [`snapshot::Snapshot`] only. Leaves
//! the order of forming a cluster to those who call, and words on screens to `cli`.

pub mod addons;
pub mod apply;
pub mod certificates;
pub mod change;
pub mod client;
pub mod follow;
pub mod labels;
pub mod management;
mod objects;
pub mod retire;
pub mod snapshot;
pub mod wait;
