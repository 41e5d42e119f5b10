//! A description's variables, and their values for a version and an architecture.
//!
//! Owns the precedence: a default, then the rows of `versions:` from the shortest matching key to the longest. A
//! recipe's own values override these and are left to [`Description`](super::description::Description).

use std::collections::BTreeMap;

use crate::base::arch::Arch;

/// The default of a variable, before `versions:` applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Default {
    /// None: only versions in the table have a value.
    Unset,
    /// The same for all architectures.
    Plain(String),
    /// By architecture, such as the upstream project's spelling of it.
    ByArch(BTreeMap<Arch, String>),
}

/// The variables of a description.
#[derive(Clone, Debug, std::default::Default)]
pub struct Values {
    /// Defaults of all variables, by name.
    pub defaults: BTreeMap<String, Default>,
    /// Changed variables, by a version or its beginning.
    pub versions: BTreeMap<String, BTreeMap<String, String>>,
}

impl Values {
    /// The value of each variable; `None` if neither a default nor a row has one.
    pub(crate) fn at(&self, version: &str, arch: Arch) -> BTreeMap<String, Option<String>> {
        let of_default = |default: &Default| match default {
            Default::Unset => None,
            Default::Plain(value) => Some(value.clone()),
            Default::ByArch(values) => values.get(&arch).cloned(),
        };
        let mut values: BTreeMap<String, Option<String>> =
            self.defaults.iter().map(|(name, default)| (name.clone(), of_default(default))).collect();
        // A prefix sorts before the keys that it begins, so the longest key comes last.
        for (_, row) in self.versions.iter().filter(|(key, _)| begins(version, key)) {
            values.extend(row.iter().map(|(name, value)| (name.clone(), Some(value.clone()))));
        }
        values
    }

    /// Names of all variables, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.defaults.keys().map(String::as_str)
    }
}

/// Whether a key of `versions:` applies to a version: it is the version, or whole parts of its beginning (`v1.3` does
/// not apply to `v1.34.4`).
fn begins(version: &str, key: &str) -> bool {
    version.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-', '+']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_key_of_a_version_wins_for_each_variable() {
        let row =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let values = Values {
            defaults: BTreeMap::from([
                ("cni".into(), Default::Plain("v1".into())),
                ("etcd".into(), Default::Unset),
                ("machine".into(), Default::ByArch(BTreeMap::from([(Arch::Arm64, "armv8".into())]))),
            ]),
            versions: BTreeMap::from([
                ("v1.34".into(), row(&[("cni", "v7"), ("etcd", "a")])),
                ("v1.34.4".into(), row(&[("etcd", "b")])),
            ]),
        };
        for (version, cni, etcd) in [
            ("v1.34.4", "v7", Some("b")),
            ("v1.34.4-rc.0", "v7", Some("b")),
            ("v1.34.40", "v7", Some("a")),
            ("v1.3", "v1", None),
            ("v1.345.0", "v1", None),
        ] {
            let values = values.at(version, Arch::Amd64);
            assert_eq!(values["cni"].as_deref(), Some(cni), "{version}");
            assert_eq!(values["etcd"].as_deref(), etcd, "{version}");
        }
        assert_eq!(values.at("v1", Arch::Arm64)["machine"].as_deref(), Some("armv8"));
        assert_eq!(values.at("v1", Arch::Amd64)["machine"], None);
    }
}
