//! A disk by the path of its device file.

/// Whether a text is the path of a file below /dev, and stays there.
pub(crate) fn is_device(text: &str) -> bool {
    text.strip_prefix("/dev/")
        .is_some_and(|path| path.split('/').all(|part| !["", ".", ".."].contains(&part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_stays_below_dev() {
        for path in ["/dev/sda", "/dev/disk/by-id/usb-A\\x20B-0:0"] {
            assert!(is_device(path), "{path}");
        }
        for path in
            ["sda", "/dev", "/dev/", "/dev/disk/", "/dev//sda", "/dev/../etc/x", "/dev/disk/..", "/dev/./sda"]
        {
            assert!(!is_device(path), "{path}");
        }
    }
}
