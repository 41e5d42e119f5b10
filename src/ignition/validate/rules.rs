//! Every message about a config in one place: the message in Ignition's words, the hint in prebake's.

/// A kind of defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The defect, in the words of Ignition or Butane.
    pub message: &'static str,
    /// The way out; empty if the message says it.
    pub hint: &'static str,
}

macro_rules! rules {
    ($($name:ident: $message:literal, $hint:literal;)*) => {
        $(pub(crate) const $name: Rule = Rule { message: $message, hint: $hint };)*
    };
}

rules! {
    DUPLICATE: "duplicate entry defined", "remove one of the two, or give them different names";

    PATH_MISSING: "path not specified", "give an absolute path";
    PATH_RELATIVE: "path not absolute", "start the path with `/`";
    PATH_DIRTY: "path is not fully simplified", "write it without `.`, `..`, doubled or final slashes";
    ILLEGAL_MODE: "illegal file mode", "modes go from 0 to 0o7777 (4095 in JSON, which has no octal numbers)";
    SPECIAL_BITS: "setuid/setgid/sticky bits are not supported or functional in spec versions older than 3.6.0",
        "set them with a unit, or use spec 3.6.0 where the target has Ignition 2.26";
    ID_AND_NAME: "cannot set both id and name", "keep one of them; after a merge the other comes from the parent";
    OVERWRITE_WITHOUT_SOURCE: "overwrite must be false if source is unspecified",
        "give `contents`, or drop `overwrite`";
    DIRECTORY_BELOW_LINK: "directory path includes link in config", "name the path without going through the link";
    FILE_BELOW_LINK: "file path includes link in config", "name the path without going through the link";
    LINK_BELOW_LINK: "link path includes link in config", "name the path without going through the link";
    LINK_WITHOUT_TARGET: "link target is required", "give `target`";
    HARD_LINK_TO_DIRECTORY: "hard link target is a directory", "make it a symbolic link";
    HARD_LINK_OWNER: "user/group ignored for hard link", "set the owner at the link's target";
    UNIT_CONFLICT: "path conflicts with systemd unit or dropin", "write the unit under `systemd` or the file, not both";

    COMPRESSION: "invalid compression method", "use `gzip`, or nothing";
    HASH_WITHOUT_SOURCE: "source must be specified if verification is specified", "give `source`, or drop the hash";
    HASH_MALFORMED: "malformed hash specifier", "write `sha512-` or `sha256-` and the hex digits";
    HASH_UNKNOWN: "unrecognized hash function", "use sha512, or sha256 from spec 3.1.0 on";
    HASH_SIZE: "incorrect size for hash sum", "sha512 has 128 hex digits, sha256 has 64";
    SOURCE_REQUIRED: "source is required", "give a URL";
    INVALID_URL: "unable to parse url", "check the host, the port and every `%`";
    INVALID_SCHEME: "invalid url scheme",
        "Ignition fetches http, https, tftp, s3, data, gs from spec 3.2.0, arn from 3.4.0; `oem:` is broken on Stable and LTS";
    S3_ARN: "invalid S3 ARN format", "write `arn:PARTITION:s3:REGION:ACCOUNT:BUCKET/KEY`";
    S3_VERSION: "invalid S3 object VersionId", "give a version or drop `versionId`";
    HEADER_NAME: "HTTP header name can't be empty", "";
    HEADER_VALUE: "unable to parse HTTP header", "give a value; null removes the parent's header";
    HEADER_SCHEME: "cannot use HTTP headers with this source scheme", "headers go with http and https only";

    PROXY: "proxies must be http(s)", "";
    PROXY_PLAIN: "insecure plaintext HTTP proxy specified for HTTPS resources", "use an https proxy";

    UNIT_EXTENSION: "invalid systemd unit extension",
        "end it in .service, .socket, .device, .mount, .automount, .swap, .target, .path, .timer, .snapshot, .slice or .scope";
    DROPIN_EXTENSION: "invalid systemd drop-in extension", "end it in .conf";

    DEVICE_REQUIRED: "disk device is required", "give `device`";
    NUMBERS_COLLIDE: "partition numbers collide", "";
    PARTITIONS_OVERLAP: "partitions overlap", "check start and size; both count MiB";
    NUMBERLESS_BESIDE_ABSENT:
        "shouldExist is false for a partition and other partition(s) has start or size 0",
        "give every partition of this disk a number";
    LABELS_COLLIDE: "cannot use the same partition label twice", "";
    ABSENT_WITH_OTHERS: "shouldExist specified false with other options also specified",
        "keep only the number, or drop `shouldExist`";
    NUMBER_OR_LABEL: "a partition number >= 1 or a label must be specified", "";
    PARTITION_LABEL_LONG: "partition labels may not exceed 36 characters", "the limit counts bytes, not letters";
    PARTITION_LABEL_COLON: "partition label will be truncated to text before the colon", "";
    GUID: "doesn't match the form \"01234567-89AB-CDEF-EDCB-A98765432101\"", "";

    RAID_LEVEL_REQUIRED: "raid level is required", "";
    RAID_LEVEL: "unrecognized raid level", "use linear, raid0, raid1, raid4, raid5, raid6 or raid10";
    RAID_SPARES: "spares unsupported for linear and raid0 arrays", "";
    RAID_DEVICES: "raid devices required", "";

    FORMAT: "invalid filesystem format", "use ext4, btrfs, xfs, swap or vfat; none from spec 3.3.0 on";
    FORMAT_REQUIRED:
        "format cannot be empty when path, label, uuid, wipeFilesystem, options, or mountOptions is specified",
        "give `format`";
    LABEL_NEEDS_FORMAT: "filesystem must specify format if label is specified", "give `format`";
    LABEL_EXT4: "filesystem labels cannot be longer than 16 characters when using ext4", "the limit counts bytes, not letters";
    LABEL_BTRFS: "filesystem labels cannot be longer than 256 characters when using btrfs", "the limit counts bytes, not letters";
    LABEL_XFS: "filesystem labels cannot be longer than 12 characters when using xfs", "the limit counts bytes, not letters";
    LABEL_SWAP: "filesystem labels cannot be longer than 15 characters when using swap", "the limit counts bytes, not letters";
    LABEL_VFAT: "filesystem labels cannot be longer than 11 characters when using vfat", "the limit counts bytes, not letters";
    PARTITIONS_OVERWRITTEN: "filesystem overwrites partitioned device", "put it on one of the partitions";
    IMPLICIT_WIPE: "device matches disk with wipeTable enabled; filesystem will be wiped",
        "set `wipe_filesystem: true` if that is intended";

    LUKS_NAME: "device names cannot contain slashes", "";
    LUKS_LABEL: "luks device labels cannot be longer than 47 characters", "the limit counts bytes, not letters";
    LUKS_KEY_FILE: "invalid key-file source", "";
    CEX_WITH_CLEVIS: "cannot use cex with clevis", "";
    CEX_WITH_KEY_FILE: "cannot use key file with cex", "";
    CLEVIS_CUSTOM_WITH_OTHERS: "cannot use custom clevis config with tpm2, tang, or threshold", "";
    CLEVIS_PIN_REQUIRED: "missing required custom clevis pin", "";
    CLEVIS_PIN: "unsupported clevis pin", "use tpm2, tang or sss; spec 3.6.0 takes any";
    CLEVIS_CONFIG_REQUIRED: "missing required custom clevis config", "";
    TANG_THUMBPRINT: "thumbprint is required", "run `tang-show-keys` on the server";
    TANG_ADVERTISEMENT: "advertisement is not valid JSON", "";
}

/// The rule for a faulty data URL, in the words of the library that found the fault.
pub(crate) fn data_url(message: &'static str) -> Rule {
    Rule {
        message,
        hint: "Ignition takes `data:[TYPE/SUBTYPE][;base64],DATA`, percent-encoded unless base64",
    }
}
