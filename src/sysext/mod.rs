//! System extensions: a folder of data in `sysext/NAME/` becomes an image that `systemd-sysext` merges.
//!
//! `description` reads `sysext.yaml` and says which components are needed; `image` puts the fetched components, the
//! `files/` and the generated files together and writes the image; `rules` knows what must not be in one; `unit`
//! parses systemd units as far as a check needs. Fetching is `source`'s, bytes of images are `format`'s.

pub mod description;
pub mod image;
pub mod release;
pub mod rules;
pub mod template;
pub mod unit;
