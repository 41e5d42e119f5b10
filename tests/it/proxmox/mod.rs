//! Proxmox VE: the way to a template, killed at each call and by strangers on the wire, scripts, and the cards of machines.
//!
//! The judge is `tests/peers/proxmox/pve.py`: a small Proxmox VE that holds every call against the schema of the real one's API viewer.

mod kills;
mod macs;
mod pve;
mod script;
mod strangers;
mod upload;
