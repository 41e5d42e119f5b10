//! Tests of disk images of Flatcar, with their judges: sgdisk, btrfs-progs, qemu-img, the compressors, GRUB's parser, and machines
//! that boot from them.

mod boots;
mod grub;
mod image;
pub(crate) mod made;
mod tables;
mod verbs;
