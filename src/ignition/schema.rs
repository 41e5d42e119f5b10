//! The fields of a config: one table for Ignition 3.0.0 to 3.7.0-experimental and for Butane.
//!
//! Decoding, output, merging, raising, lowering and the check for duplicates use these tables, so a rule about a field
//! is written here and nowhere else. Fields are in the order of Ignition's Go structs, which is the order of output.

use super::spec::Spec;
use crate::spec::Spec::{V3_1, V3_2, V3_3, V3_4, V3_5, V3_7Experimental as V3_7};

/// The schema of a record.
#[derive(Debug)]
pub(crate) struct Schema {
    /// For debugging.
    pub name: &'static str,
    /// The key that distinguishes items in a list of these records.
    pub key: Key,
    /// Fields in the order of output.
    pub fields: &'static [Field],
}

/// Ignition's `Key()` of a list item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// Never in a keyed list.
    None,
    /// The text of this field; empty if it is absent.
    Field(&'static str),
    /// `number:N`, else `label:L`, else empty.
    Partition,
}

/// One field of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field {
    /// The name in Ignition's JSON; Butane spells it in snake case.
    pub name: &'static str,
    /// Type of the value.
    pub ty: Type,
    /// The first spec that has the field. Butane has the fields of the spec that it emits.
    pub since: Spec,
    /// Whether Go's struct holds the value itself and not a pointer, so that absent and zero are the same.
    pub plain: Plain,
    /// The formats that have the field: Ignition, Butane, or both.
    pub home: Home,
    /// The way in which a parent's list and a child's list are merged.
    pub joins: Joins,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    Text,
    Int,
    Flag,
    Record(&'static Schema),
    Texts,
    Records(&'static Schema),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Never,
    Always,
    /// Plain up to and including this spec, a pointer later.
    UpTo(Spec),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Both,
    Ignition,
    Butane,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joins {
    /// Merged by key within this list.
    Keyed,
    /// Merged by key across all lists of the record with the same word: an entry can move from one to another.
    Shared(&'static str),
    /// Appended; repeats are allowed.
    Appended,
}

impl Field {
    const fn new(name: &'static str, ty: Type) -> Field {
        Field { name, ty, since: Spec::V3_0, plain: Plain::Never, home: Home::Both, joins: Joins::Keyed }
    }

    const fn since(mut self, spec: Spec) -> Field {
        self.since = spec;
        self
    }

    const fn plain(mut self) -> Field {
        self.plain = Plain::Always;
        self
    }

    const fn plain_up_to(mut self, spec: Spec) -> Field {
        self.plain = Plain::UpTo(spec);
        self
    }

    const fn only(mut self, home: Home) -> Field {
        self.home = home;
        self
    }

    const fn butane(self) -> Field {
        self.only(Home::Butane)
    }

    const fn shared(mut self, handle: &'static str) -> Field {
        self.joins = Joins::Shared(handle);
        self
    }

    const fn appended(mut self) -> Field {
        self.joins = Joins::Appended;
        self
    }

    /// Whether Go's struct of this spec holds the value itself.
    pub fn is_plain(&self, spec: Spec) -> bool {
        match self.plain {
            Plain::Never => false,
            Plain::Always => true,
            Plain::UpTo(last) => spec <= last,
        }
    }

    /// Whether Ignition's JSON of this spec has the field.
    pub fn in_ignition(&self, spec: Spec) -> bool {
        self.home != Home::Butane && self.since <= spec
    }

    /// Whether the Butane that emits this spec has the field.
    pub fn in_butane(&self, spec: Spec) -> bool {
        self.home != Home::Ignition && self.since <= spec
    }
}

impl Schema {
    /// Index of the field that Butane spells this way.
    pub fn yaml_field(&self, key: &str, spec: Spec) -> Option<usize> {
        self.fields.iter().position(|field| field.in_butane(spec) && snake_chars(field.name).eq(key.chars()))
    }
}

/// Butane's spelling of a name: `sizeMiB` is `size_mib`, `typeGuid` is `type_guid`.
pub(crate) fn snake_case(name: &str) -> String {
    snake_chars(name).collect()
}

fn snake_chars(name: &str) -> impl Iterator<Item = char> {
    let unit = name.ends_with("MiB");
    let stem = name.strip_suffix("MiB").unwrap_or(name);
    let chars = stem.chars().flat_map(|c| {
        let bar = c.is_ascii_uppercase().then_some('_');
        bar.into_iter().chain([c.to_ascii_lowercase()])
    });
    chars.chain(if unit { "_mib" } else { "" }.chars())
}

const fn text(name: &'static str) -> Field {
    Field::new(name, Type::Text)
}

const fn int(name: &'static str) -> Field {
    Field::new(name, Type::Int)
}

const fn flag(name: &'static str) -> Field {
    Field::new(name, Type::Flag)
}

const fn texts(name: &'static str) -> Field {
    Field::new(name, Type::Texts)
}

const fn record(name: &'static str, schema: &'static Schema) -> Field {
    Field::new(name, Type::Record(schema))
}

const fn records(name: &'static str, schema: &'static Schema) -> Field {
    Field::new(name, Type::Records(schema))
}

const fn part(name: &'static str, fields: &'static [Field]) -> Schema {
    Schema { name, key: Key::None, fields }
}

const fn keyed(name: &'static str, key: &'static str, fields: &'static [Field]) -> Schema {
    Schema { name, key: Key::Field(key), fields }
}

/// The whole config.
pub(crate) static CONFIG: Schema = part(
    "config",
    &[
        text("variant").plain().butane(),
        text("version").plain().butane(),
        record("ignition", &IGNITION),
        record("kernelArguments", &KERNEL_ARGUMENTS).since(V3_3),
        record("passwd", &PASSWD),
        record("storage", &STORAGE),
        record("systemd", &SYSTEMD),
    ],
);

pub(crate) static IGNITION: Schema = part(
    "ignition",
    &[
        record("config", &IGNITION_CONFIG),
        record("proxy", &PROXY).since(V3_1),
        record("security", &SECURITY),
        record("timeouts", &TIMEOUTS),
        text("version").plain().only(Home::Ignition),
    ],
);

pub(crate) static IGNITION_CONFIG: Schema =
    part("ignition.config", &[records("merge", &CONFIG_REFERENCE), record("replace", &CONFIG_REFERENCE)]);

pub(crate) static PROXY: Schema = part("proxy", &[text("httpProxy"), text("httpsProxy"), texts("noProxy")]);

pub(crate) static SECURITY: Schema = part("security", &[record("tls", &TLS)]);

pub(crate) static TLS: Schema = part("tls", &[records("certificateAuthorities", &AUTHORITY)]);

pub(crate) static TIMEOUTS: Schema = part("timeouts", &[int("httpResponseHeaders"), int("httpTotal")]);

/// The contents of a file, an appended part or a key.
pub(crate) static RESOURCE: Schema = keyed(
    "resource",
    "source",
    &[
        text("compression"),
        records("httpHeaders", &HTTP_HEADER).since(V3_1),
        text("source"),
        text("inline").butane(),
        text("local").since(V3_1).butane(),
        record("verification", &VERIFICATION),
    ],
);

/// A config that is merged or replaces this one. 3.0 had no compression here.
pub(crate) static CONFIG_REFERENCE: Schema = keyed(
    "config reference",
    "source",
    &[
        text("compression").since(V3_1),
        records("httpHeaders", &HTTP_HEADER).since(V3_1),
        text("source"),
        text("inline").since(V3_1).butane(),
        text("local").since(V3_1).butane(),
        record("verification", &VERIFICATION),
    ],
);

/// A certificate authority. In 3.0 its source was required.
pub(crate) static AUTHORITY: Schema = keyed(
    "certificate authority",
    "source",
    &[
        text("compression").since(V3_1),
        records("httpHeaders", &HTTP_HEADER).since(V3_1),
        text("source").plain_up_to(Spec::V3_0),
        text("inline").since(V3_1).butane(),
        text("local").since(V3_1).butane(),
        record("verification", &VERIFICATION),
    ],
);

/// A header of a fetch request.
pub(crate) static HTTP_HEADER: Schema = keyed("HTTP header", "name", &[text("name").plain(), text("value")]);

pub(crate) static VERIFICATION: Schema = part("verification", &[text("hash")]);

pub(crate) static KERNEL_ARGUMENTS: Schema = part(
    "kernelArguments",
    &[texts("shouldExist").shared("argument"), texts("shouldNotExist").shared("argument")],
);

pub(crate) static PASSWD: Schema = part("passwd", &[records("groups", &GROUP), records("users", &USER)]);

pub(crate) static GROUP: Schema = keyed(
    "group",
    "name",
    &[
        int("gid"),
        text("name").plain(),
        text("passwordHash"),
        flag("shouldExist").since(V3_2),
        flag("system"),
    ],
);

pub(crate) static USER: Schema = keyed(
    "user",
    "name",
    &[
        text("gecos"),
        texts("groups"),
        text("homeDir"),
        text("name").plain(),
        flag("noCreateHome"),
        flag("noLogInit"),
        flag("noUserGroup"),
        text("passwordHash"),
        text("primaryGroup"),
        texts("sshAuthorizedKeys"),
        texts("sshAuthorizedKeysLocal").since(V3_4).butane(),
        text("shell"),
        flag("shouldExist").since(V3_2),
        flag("system"),
        int("uid"),
    ],
);

pub(crate) static STORAGE: Schema = part(
    "storage",
    &[
        records("directories", &DIRECTORY).shared("node"),
        records("disks", &DISK),
        records("files", &FILE).shared("node"),
        records("filesystems", &FILESYSTEM),
        records("links", &LINK).shared("node"),
        records("luks", &LUKS).since(V3_2),
        records("raid", &RAID),
        records("trees", &TREE).since(V3_1).butane(),
    ],
);

pub(crate) static OWNER: Schema = part("owner", &[int("id"), text("name")]);

pub(crate) static DIRECTORY: Schema = keyed(
    "directory",
    "path",
    &[record("group", &OWNER), flag("overwrite"), text("path").plain(), record("user", &OWNER), int("mode")],
);

pub(crate) static FILE: Schema = keyed(
    "file",
    "path",
    &[
        record("group", &OWNER),
        flag("overwrite"),
        text("path").plain(),
        record("user", &OWNER),
        records("append", &RESOURCE).appended(),
        record("contents", &RESOURCE),
        int("mode"),
    ],
);

pub(crate) static LINK: Schema = keyed(
    "link",
    "path",
    &[
        record("group", &OWNER),
        flag("overwrite"),
        text("path").plain(),
        record("user", &OWNER),
        flag("hard"),
        text("target").plain_up_to(V3_2),
    ],
);

pub(crate) static TREE: Schema = part(
    "tree",
    &[
        record("group", &OWNER).since(V3_7),
        text("local").plain(),
        text("path"),
        record("user", &OWNER).since(V3_7),
        int("fileMode").since(V3_7),
        int("dirMode").since(V3_7),
    ],
);

pub(crate) static DISK: Schema =
    keyed("disk", "device", &[text("device").plain(), records("partitions", &PARTITION), flag("wipeTable")]);

pub(crate) static PARTITION: Schema = Schema {
    name: "partition",
    key: Key::Partition,
    fields: &[
        text("guid"),
        text("label"),
        int("number").plain(),
        flag("resize").since(V3_2),
        flag("shouldExist"),
        int("sizeMiB"),
        int("startMiB"),
        text("typeGuid"),
        flag("wipePartitionEntry"),
    ],
};

pub(crate) static FILESYSTEM: Schema = keyed(
    "filesystem",
    "device",
    &[
        text("device").plain(),
        text("format"),
        text("label"),
        texts("mountOptions").since(V3_1).appended(),
        texts("options").appended(),
        text("path"),
        text("uuid"),
        flag("wipeFilesystem"),
        flag("withMountUnit").since(V3_1).butane(),
    ],
);

pub(crate) static RAID: Schema = keyed(
    "raid",
    "name",
    &[
        texts("devices"),
        text("level").plain_up_to(V3_2),
        text("name").plain(),
        texts("options").appended(),
        int("spares"),
    ],
);

pub(crate) static LUKS: Schema = keyed(
    "luks",
    "name",
    &[
        record("cex", &CEX).since(V3_5),
        record("clevis", &CLEVIS),
        text("device"),
        flag("discard").since(V3_4),
        record("keyFile", &RESOURCE),
        text("label"),
        text("name").plain(),
        texts("openOptions").since(V3_4),
        texts("options").appended(),
        text("uuid"),
        flag("wipeVolume"),
    ],
);

pub(crate) static CEX: Schema = part("cex", &[flag("enabled")]);

pub(crate) static CLEVIS: Schema = part(
    "clevis",
    &[record("custom", &CLEVIS_CUSTOM), records("tang", &TANG), int("threshold"), flag("tpm2")],
);

pub(crate) static CLEVIS_CUSTOM: Schema = part(
    "clevis.custom",
    &[text("config").plain_up_to(V3_2), flag("needsNetwork"), text("pin").plain_up_to(V3_2)],
);

pub(crate) static TANG: Schema =
    keyed("tang", "url", &[text("advertisement").since(V3_4), text("thumbprint"), text("url").plain()]);

pub(crate) static SYSTEMD: Schema =
    part("systemd", &[records("units", &UNIT), records("quadlets", &QUADLET).since(V3_7).butane()]);

pub(crate) static UNIT: Schema = keyed(
    "unit",
    "name",
    &[
        text("contents"),
        text("contentsLocal").since(V3_4).butane(),
        records("dropins", &DROPIN),
        flag("enabled"),
        flag("mask"),
        text("name").plain(),
    ],
);

pub(crate) static DROPIN: Schema = keyed(
    "drop-in",
    "name",
    &[text("contents"), text("contentsLocal").since(V3_4).butane(), text("name").plain()],
);

pub(crate) static QUADLET: Schema = part(
    "quadlet",
    &[
        text("contents"),
        text("contentsLocal"),
        text("name").plain(),
        flag("rootful"),
        records("dropins", &DROPIN),
    ],
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn butane_spells_fields_in_snake_case() {
        let pairs = [
            ("sizeMiB", "size_mib"),
            ("typeGuid", "type_guid"),
            ("httpResponseHeaders", "http_response_headers"),
            ("sshAuthorizedKeysLocal", "ssh_authorized_keys_local"),
            ("tpm2", "tpm2"),
        ];
        for (json, yaml) in pairs {
            assert_eq!(snake_case(json), yaml);
        }
    }

    #[test]
    fn a_field_is_known_from_the_spec_that_brought_it() {
        assert_eq!(UNIT.yaml_field("contents_local", Spec::V3_3), None);
        assert!(UNIT.yaml_field("contents_local", Spec::V3_4).is_some());
        assert_eq!(IGNITION.yaml_field("version", Spec::V3_4), None);
    }
}
