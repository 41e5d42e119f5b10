//! Tests of disk images of Flatcar, with their judges: sgdisk, btrfs-progs, e2fsprogs, mtools, qemu-img, the compressors, GRUB's
//! parser, and machines that boot from them.

mod boots;
mod devices;
mod grub;
pub(crate) mod image;
mod inputs;
mod lengths;
pub(crate) mod made;
mod outputs;
mod root;
mod tables;
mod verbs;
