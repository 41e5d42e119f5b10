//! Tests of published trees: verified, compared, walked for their closure, packed into bundles, signed, and changed by `inject`.

mod airgap;
mod bundle;
mod closure;
mod diff;
mod inject;
mod provenance;
mod prune;
mod sbom;
mod verify;
