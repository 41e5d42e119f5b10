//! System extensions: a folder of data in `sysext/NAME/` becomes an image that `systemd-sysext` merges.
//!
//! `description` says what a folder holds and which components it needs, `schema` reads its `sysext.yaml`; `image`
//! puts the fetched components, the `files/` and the generated files together; `packaging` says what the image is made
//! with; `rules` knows what must not be in one; `release` is the file by which systemd judges it; `unit` parses systemd
//! units as far as a check needs; `values` knows what a version is made of. Fetching is `source`'s, bytes of images are
//! `format`'s.

pub mod ddi;
pub mod description;
pub mod image;
pub mod inspect;
pub mod packaging;
pub mod published;
pub mod release;
pub mod rules;
pub mod schema;
pub mod signing;
pub mod template;
pub mod unit;
pub mod values;
