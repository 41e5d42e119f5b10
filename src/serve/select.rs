//! Which group answers a machine, by Matchbox's rules.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::labels::{Labels, normal_mac};

/// A group that may match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its file name without `.json`.
    pub id: String,
    /// The profile it gives.
    pub profile: String,
    /// All of these must hold; none match every machine.
    pub selector: BTreeMap<String, String>,
    /// What templates and `/metadata` know of it.
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

/// Groups in the order they are asked in.
#[derive(Debug, Default)]
pub struct Groups(Vec<Group>);

impl Groups {
    /// Orders groups: more selectors first, then by the selectors as text, the greatest first, as Matchbox does (its own
    /// comment says the reverse), then by file name.
    pub fn new(mut groups: Vec<Group>) -> Self {
        groups.sort_by_cached_key(|group| {
            let pairs: Vec<String> = group.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
            (Reverse(group.selector.len()), Reverse(pairs.join(",")), group.id.clone())
        });
        Groups(groups)
    }

    /// The first group whose selectors all equal the labels. A label that is absent counts as empty.
    pub fn select(&self, labels: &Labels) -> Option<&Group> {
        self.0.iter().find(|group| group.selector.iter().all(|(key, value)| labels.get(key) == value))
    }

    /// All groups, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Group> {
        self.0.iter()
    }
}

impl Group {
    /// Normalises the selector's MAC; a MAC that is none makes the group useless.
    pub fn normalise(&mut self) -> Result<(), String> {
        for (key, value) in self.selector.iter_mut().filter(|(key, _)| key.eq_ignore_ascii_case("mac")) {
            *value =
                normal_mac(value).ok_or_else(|| format!("selector {key}: `{value}` is not a MAC address"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: &str, selector: &[(&str, &str)]) -> Group {
        let selector = selector.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Group { id: id.into(), profile: id.into(), selector, metadata: Default::default() }
    }

    fn chosen(groups: &[Group], query: &str) -> Option<String> {
        Groups::new(groups.to_vec()).select(&Labels::parse(query)).map(|group| group.id.clone())
    }

    #[test]
    fn the_most_specific_group_wins_and_the_default_comes_last() {
        let groups = [
            group("default", &[]),
            group("etcd", &[("role", "etcd")]),
            group("etcd-1", &[("mac", "52:54:00:00:00:01"), ("role", "etcd")]),
        ];
        assert_eq!(chosen(&groups, "role=etcd&mac=52-54-00-00-00-01").as_deref(), Some("etcd-1"));
        assert_eq!(chosen(&groups, "role=etcd&mac=52-54-00-00-00-02").as_deref(), Some("etcd"));
        assert_eq!(chosen(&groups, "role=worker").as_deref(), Some("default"));
        assert_eq!(chosen(&groups[1..], "role=worker"), None);
    }

    #[test]
    fn a_tie_goes_to_the_greatest_selector_and_an_absent_label_is_empty() {
        let tie = [group("a", &[("rack", "r1")]), group("b", &[("slot", "s1")])];
        assert_eq!(chosen(&tie, "rack=r1&slot=s1").as_deref(), Some("b"));
        assert_eq!(chosen(&[group("fresh", &[("os", "")])], "mac=").as_deref(), Some("fresh"));
    }
}
