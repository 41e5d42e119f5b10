//! System extensions: a folder of data in `sysext/NAME/` becomes an image that `systemd-sysext` merges.
//!
//! ```text
//! description ─┐                     ┌─ base: what the release has
//! components  ─┼─image─▶ Assembled   merge ──rules──▶ breaches
//! files/      ─┘    └────▶ extension ─┘ └─ the node's config
//! ```
//! `description` says what a folder holds and which components it needs, `schema` reads its `sysext.yaml`; `image`
//! puts the fetched components, the `files/` and the generated files together; `packaging` says what the image is made
//! with. `extension` is any extension that is looked at, `merge` all that meet on a node, and `rules` knows what goes wrong
//! there; `release` is the file by which systemd judges an image; `unit` parses systemd units as far as a check needs;
//! `values` knows what a version is made of. Fetching is `source`'s, bytes of images are `format`'s.

pub mod base;
pub mod ddi;
pub mod description;
pub mod extension;
pub mod identify;
pub mod image;
pub mod inspect;
pub mod known;
pub mod lint;
pub mod merge;
pub mod order;
pub mod packaging;
pub mod release;
pub mod rules;
pub mod schema;
pub mod signing;
pub mod template;
pub mod unit;
pub mod values;
