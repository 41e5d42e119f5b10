//! The one integration test crate. Each module is a layer of `docs/architecture.md`.

mod images;
