//! From `cluster.yaml` to a running Kubernetes cluster.
//!
//! ```text
//! cluster.yaml ─▶ Cluster ─┬─ pki ─────▶ authorities, kubeconfig         (once; before any machine has power)
//!   description            ├─ kubeadm ──▶ a config for each machine
//!                          ├─ project ──▶ recipe, public layers, private part ─▶ bake ─▶ tree ─▶ serve
//!                          ├─ power ────▶ BMCs, or a person at the rack
//!                          └─ api ──────▶ API server, nodes, add-ons, ready
//! ```
//! A cluster is a recipe: [`project`] writes an ordinary one, and nothing in `bake` knows clusters, so that lock, verification,
//! bundles, closure and diff hold for it unchanged. The public tree holds nothing of the cluster's keys: they are in its private
//! part, which is made anew wherever the authorities are. Owns the description of a cluster, its keys, the configs of its machines,
//! and the way to the moment when it is ready. Leaves building to `bake`, answers to machines to `serve`, and words and screens to
//! `cli`.

pub mod api;
pub mod course;
pub mod description;
pub mod doctor;
pub mod etcd;
mod group;
pub mod hold;
pub mod kubeadm;
pub mod pki;
pub mod place;
pub mod power;
pub mod project;
pub mod rehearsal;
pub mod sops;
pub mod templates;
