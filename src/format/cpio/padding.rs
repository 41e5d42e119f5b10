//! The zeros between an initrd and an overlay behind it.

/// Zeros between a base of this length and an overlay: up to the multiple of four that a plain archive must begin at, and four
/// more, since the kernel finds the end of an lz4 archive by a block of length zero (`lib/decompress_unlz4.c`).
pub fn padding(base: u64) -> u64 {
    4 + (4 - base % 4) % 4
}
