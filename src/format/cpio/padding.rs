//! The zeros between an initrd and an overlay behind it.

/// Zeros between a base of this length and an overlay: up to a multiple of four, at which a plain archive must begin,
/// and four more, since the kernel finds the end of an lz4 archive by a block of length zero
/// (`lib/decompress_unlz4.c`).
pub(crate) fn padding(base: u64) -> u64 {
    4 + (4 - base % 4) % 4
}
