//! Codecs: bytes in, bytes out, no policy.
//!
//! Every writer takes a [`tree::Tree`], the same value for a cpio, a squashfs image and what comes later; every reader
//! of foreign bytes has limits and names what it refuses. What belongs into an image is decided elsewhere (`sysext`,
//! `output`).

pub mod archive;
pub mod checksums;
pub mod cpio;
pub mod erofs;
pub mod gotemplate;
pub mod gpt;
pub mod grub;
pub mod image;
pub mod ipxe;
pub mod limited;
pub mod oci_archive;
pub mod pe;
pub mod squashfs;
pub mod tar;
pub mod tree;
pub mod verity;
