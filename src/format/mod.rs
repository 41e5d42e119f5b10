//! Codecs: bytes in, bytes out, no policy, no network, no Flatcar.
//!
//! ```text
//!                                               ┌─▶ cpio          an initrd's member, or an overlay
//!   a directory ─┐                              ├─▶ squashfs ─┐
//!   archive ─────┼─▶ tree::Tree (sorted paths) ─┤             ├─▶ verity ─▶ gpt   a signed disk image
//!   text, link ──┘                              └─▶ erofs ────┘
//!   blobs ──▶ oci_archive     index ──▶ tar (a bundle's headers)     program, sections ──▶ pe (a unified kernel image)
//!
//!                                          ┌─▶ gpt, btrfs, ext4, fat   what is in it, and what is put there
//!   a disk image ─▶ unpack (bz2, …) ─▶ sparse::Sink ─▶ disk (qcow2, vmdk, vhd, ova, gce, zst), or a file with holes
//! ```
//! Every writer of a file system takes a [`tree::Tree`] and gives the same bytes for the same tree, whatever the number of
//! threads; its `REVISION` enters step keys. Every reader takes bytes of strangers: it has limits, checks a length before it
//! allocates by it, and names the file that it refuses. [`image`] has what the readers of images share. Beside file systems
//! there are the languages of loaders ([`grub`], [`ipxe`]), Go's templates ([`gotemplate`]) and checksum files ([`checksums`]).
//!
//! Leaves the choice of an image's contents to `sysext` and `initrd`, and the meaning of a file in a tree to `tree`.

pub mod archive;
pub mod btrfs;
pub mod bz2;
pub mod checksums;
pub mod cpio;
pub mod disk;
pub mod erofs;
pub mod ext4;
pub mod fat;
pub(crate) mod fields;
pub mod gotemplate;
pub mod gpt;
pub mod grub;
pub(crate) mod holes;
pub mod image;
pub mod ipxe;
pub(crate) mod limited;
pub(crate) mod oci_archive;
pub mod pe;
pub mod sparse;
pub mod squashfs;
pub mod tar;
pub mod tree;
pub mod unpack;
pub(crate) mod verity;
