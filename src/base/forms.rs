//! Forms of texts that several kinds of files have, for the tables of their keys.

use crate::base::arch::Arch;
use crate::base::yaml::keys::{Form, Value};

/// A name that becomes part of file names, URLs and Matchbox ids.
pub(crate) static NAME: Form =
    Form { name: "name", pattern: "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$", numeric: true };
/// A path, relative to the directory of the file that names it.
pub(crate) static PATH: Form = Form { name: "path", pattern: "", numeric: true };
/// A device file.
pub(crate) static DEVICE: Form = Form { name: "device file", pattern: "^/dev/", numeric: false };
/// An amount of memory.
pub(crate) static SIZE: Form =
    Form { name: "size", pattern: "^\\+?[0-9]+\\s*(KiB|MiB|GiB|TiB|GB|MB)$", numeric: false };
/// A SHA-256 in hex.
pub(crate) static SHA256: Form = Form { name: "SHA-256", pattern: "^[0-9A-Fa-f]{64}$", numeric: true };
/// A fingerprint of an OpenPGP key.
pub(crate) static FINGERPRINT: Form =
    Form { name: "fingerprint", pattern: "^\\s*([0-9A-Fa-f]\\s*){40}$", numeric: true };
/// A URL of http or https.
pub(crate) static URL: Form = Form { name: "URL", pattern: "^[Hh][Tt][Tt][Pp][Ss]?:", numeric: false };
/// A container image, by tag or digest.
pub(crate) static IMAGE: Form = Form { name: "image", pattern: "^\\S+$", numeric: true };

/// An architecture, in each spelling that [`Arch`] reads.
pub(crate) const ARCH: Value = Value::Words(&[
    (Arch::Amd64.go(), "64-bit x86"),
    (Arch::Amd64.board(), ""),
    (Arch::Amd64.systemd(), ""),
    (Arch::Amd64.uname(), ""),
    (Arch::Arm64.go(), "64-bit ARM"),
    (Arch::Arm64.board(), ""),
    (Arch::Arm64.uname(), ""),
]);
