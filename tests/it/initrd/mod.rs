//! Tests of initrds of many members, with GNU cpio, the real compressors and a Linux kernel as judges.

pub(crate) mod layouts;
mod unpack;
