//! Tests of the codecs, with their judges: GNU cpio, squashfs-tools, the kernel, and Go's own text/template.

pub(crate) mod archives;
pub(crate) mod gotemplate;
pub(crate) mod images;
mod squashfs;
