//! The memory that a machine needs to boot into RAM, and the sizes that people write.
//!
//! The kernel unpacks all initrds into a file system that may fill half of the memory, while the files as loaded still
//! occupy the other half (Linux, Documentation/filesystems/ramfs-rootfs-initramfs.rst; tmpfs's default size). The
//! base's payload is an already compressed squashfs and overlays are stored uncompressed, so the unpacked size is about
//! the loaded size. Payload that does not fit is cut off, and the boot continues without it.

use crate::base::size::Bytes;

/// Flatcar's own requirement for a PXE boot (its documentation, "Booting with PXE").
const FLATCAR: Bytes = Bytes(3 << 30);

/// Memory that a machine needs to load and unpack these initrds, and then to fetch this much into the root, which is a
/// file system of its own with the same limit.
pub(crate) fn needed(initrds: impl IntoIterator<Item = u64>, fetched: u64) -> Bytes {
    let loaded = initrds.into_iter().fold(0, u64::saturating_add);
    FLATCAR.max(Bytes(loaded.max(fetched).saturating_mul(2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_need_a_unit() {
        for (text, expected) in [
            ("8GiB", Some(8 << 30)),
            ("4096 MiB", Some(4 << 30)),
            ("16GB", Some(16_000_000_000)),
            ("8", None),
            ("8G", None),
            ("-1GiB", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(text.parse().ok(), expected.map(Bytes), "{text}");
        }
    }

    #[test]
    fn twice_the_initrds_and_never_less_than_flatcar_itself() {
        assert_eq!(needed([1000, 1000], 0), FLATCAR);
        assert_eq!(needed([1 << 30, 1 << 30], 0), Bytes(4 << 30));
        assert_eq!(needed([u64::MAX, 1], 0), Bytes(u64::MAX));
    }

    #[test]
    fn what_is_fetched_lies_in_another_file_system_than_what_is_loaded() {
        assert_eq!(needed([1 << 30], 1 << 30), FLATCAR);
        assert_eq!(needed([1 << 30], 2 << 30), Bytes(4 << 30));
    }
}
