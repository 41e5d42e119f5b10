//! Tests of the codecs, with their judges: GNU cpio, squashfs-tools, the kernel, and Go's own text/template; for disk images
//! bzip2 and lbzip2, btrfs-progs, GRUB, e2fsprogs, mtools and qemu-img.

pub(crate) mod archives;
mod btrfs;
mod bz2;
mod containers;
mod ext4;
mod fat;
pub(crate) mod gotemplate;
pub(crate) mod images;
mod squashfs;
