//! Cluster API without a network: which providers there are, the manifests of the flavor `flatcar` for each, the components that a
//! management cluster runs; inputs of clusterctl, older manifests, and what is wrong with a cluster.
//!
//! ```text
//! provider ──▶ flavor ──▶ cluster-template-flatcar.yaml ─┐
//!    │          ▲                                         ├─▶ a repository of clusterctl, below `capi/` of a tree ─▶ index
//!    │      variables (names, defaults, words)            │
//!    └──────▶ components (URLs, directories, files) ──────┘
//! clusterctl.yaml (opened by others) ─▶ inputs ─▶ the environment of clusterctl
//! manifests, templates ─┬─ words ──▶ convert ─▶ patch: today's fields in the same text
//!                       └─ doctor ◀─ index, facts of an image and of an API server, as plain data
//! ```
//! Owns facts and texts, the fields of Cluster API and of its Proxmox provider, and the verdicts about them. Leaves fetching components to
//! `addon`, what a recipe asks for and the tree to `bake`, opening encrypted files and asking an API server to `cluster`, and running
//! `clusterctl` to `cli`.

pub mod components;
pub mod convert;
pub mod doctor;
pub mod flavor;
pub mod index;
pub mod inputs;
pub mod manifests;
mod patch;
mod path;
pub mod provider;
pub mod variables;
pub mod words;
