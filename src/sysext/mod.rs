//! System extensions: a folder of data in `sysext/NAME/` becomes an image that `systemd-sysext` merges.
//!
//! ```text
//! description ─┐                     ┌─ base: the files of the release
//! components  ─┼─image─▶ Assembled   merge ──rules──▶ breaches
//! files/      ─┘    └────▶ extension ─┘ └─ the node's config
//! ```
//! Owns one extension, and the faults of several that meet on a node. [`folder`] finds a sysext's folder, on the disk or
//! [`shipped`] in the binary; [`description`] is its value and [`schema`] reads its `sysext.yaml`; [`image`] puts fetched components, `files/` and generated files together; [`packaging`] chooses the
//! image's form, and [`ddi`] signs it. [`extension`] is any extension that is looked at, [`merge`] all that meet, and [`rules`]
//! the faults; [`release`] is the file by which systemd judges an image, [`unit`](mod@unit) parses systemd units as far as a
//! check needs, [`values`] knows the parts of a version, and [`known`] is the table of Kubernetes' images.
//!
//! Leaves fetching to `source`, bytes of images to `format`, and the choice of extensions to `bake::extensions`.

pub mod base;
pub mod ddi;
pub mod description;
pub mod extension;
pub mod folder;
pub mod identify;
pub mod image;
pub mod inspect;
pub mod keys;
pub mod known;
pub(crate) mod lint;
pub mod merge;
pub(crate) mod order;
pub mod packaging;
pub(crate) mod place;
pub mod release;
pub mod rules;
pub mod schema;
pub mod shipped;
pub mod signing;
pub(crate) mod template;
pub mod unit;
pub(crate) mod values;
