//! Selects the group of a machine, by Matchbox's rules.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;
use std::sync::Arc;

use super::labels::Labels;
use crate::tree::names;
use crate::tree::records::{Group, IDENTITIES};

/// Groups in matching order, with an index that finds the first match without trying them all.
#[derive(Debug, Default)]
pub struct Groups {
    ordered: Vec<Arc<Group>>,
    /// The sets of selector keys, with the largest sets first.
    sets: Vec<KeySet>,
    /// The selector values of groups for one machine.
    identities: HashSet<String>,
}

/// All groups with the same selector keys. One look-up finds the only one of them that can be selected.
#[derive(Debug)]
struct KeySet {
    keys: Vec<String>,
    /// Maps the values of the keys to the position of the first group with them.
    by_values: HashMap<String, usize>,
}

impl Groups {
    /// Sorts groups: more selectors first, then by the selectors as text, the greatest first, as Matchbox does (its own
    /// comment says the reverse), then by file name.
    pub(crate) fn new(mut ordered: Vec<Arc<Group>>) -> Self {
        ordered.sort_by_cached_key(|group| {
            let mut pairs: Vec<String> = group.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
            pairs.sort();
            (Reverse(group.selector.len()), Reverse(pairs.join(",")), names::group(&group.id))
        });
        let pairs = ordered.iter().flat_map(|group| &group.selector);
        let pairs = pairs.filter(|(key, _)| IDENTITIES.contains(&key.as_str()));
        let identities = pairs.map(|(key, value)| identity(key, value)).collect();
        let mut sets: Vec<KeySet> = Vec::new();
        let mut known: HashMap<Vec<&String>, usize> = HashMap::new();
        for (place, group) in ordered.iter().enumerate() {
            let keys: Vec<&String> = group.selector.keys().collect();
            let set = *known.entry(keys).or_insert_with_key(|keys| {
                let keys = keys.iter().map(|key| (*key).clone()).collect();
                sets.push(KeySet { keys, by_values: HashMap::new() });
                sets.len() - 1
            });
            sets[set].by_values.entry(joined(group.selector.values().map(String::as_str))).or_insert(place);
        }
        Groups { ordered, sets, identities }
    }

    /// The first group whose selectors all equal the labels. An absent label counts as empty.
    pub(crate) fn select(&self, labels: &Labels) -> Option<&Group> {
        let mut found: Option<(usize, usize)> = None;
        for (keys, place) in self.matches(labels) {
            match found {
                // Sets are sorted by their number of keys, so the following ones are less specific.
                Some((most, _)) if keys < most => break,
                Some((_, first)) if place > first => {}
                _ => found = Some((keys, place)),
            }
        }
        found.map(|(_, place)| &*self.ordered[place])
    }

    /// Whether any group is for the machine with this MAC address or UUID, regardless of its other selectors.
    pub(crate) fn names(&self, mac: Option<&str>, uuid: Option<&str>) -> bool {
        let is_known = |key, value: &str| self.identities.contains(&identity(key, value));
        mac.is_some_and(|mac| is_known("mac", mac)) || uuid.is_some_and(|uuid| is_known("uuid", uuid))
    }

    /// The labels that decide which group is selected: those that any group names, and its MAC address or UUID.
    pub(crate) fn relevant(&self, labels: &Labels) -> Labels {
        let named = |key: &str| self.sets.iter().any(|set| set.keys.iter().any(|known| known == key));
        let id = ["mac", "uuid"].into_iter().find(|key| !labels.get(key).is_empty());
        let kept = labels.iter().filter(|(key, _)| id == Some(key) || named(key));
        labels.only(kept.map(|(key, value)| (key.to_owned(), value.to_owned())))
    }

    /// The matching group of each set of keys, if there is one: the number of keys, and its position.
    fn matches(&self, labels: &Labels) -> impl Iterator<Item = (usize, usize)> {
        self.sets.iter().filter_map(|set| {
            let values = joined(set.keys.iter().map(|key| labels.get(key)));
            Some((set.keys.len(), *set.by_values.get(&values)?))
        })
    }

    /// All groups, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Group> {
        self.ordered.iter().map(|group| &**group)
    }
}

fn identity(key: &str, value: &str) -> String {
    format!("{key}={}", value.to_lowercase())
}

/// Values joined into a text that no other values produce.
fn joined<'v>(values: impl Iterator<Item = &'v str>) -> String {
    values.fold(String::new(), |mut all, value| {
        // Writing to a string cannot fail.
        let _ = write!(all, "{}:{value}", value.len());
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(id: &str, selector: &[(&str, &str)]) -> Arc<Group> {
        let selector = selector.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Arc::new(Group { id: id.into(), profile: id.into(), selector, ..Group::default() })
    }

    fn chosen(groups: &[Arc<Group>], query: &str) -> Option<String> {
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
        // Pairs are sorted as text, where `a-b=` comes before `a=`.
        let tie = [group("x", &[("a", "1"), ("a-b", "1")]), group("y", &[("a-b", "1"), ("b", "1")])];
        assert_eq!(chosen(&tie, "a=1&a-b=1&b=1").as_deref(), Some("y"));
    }

    #[test]
    fn of_equal_selectors_the_first_file_name_wins() {
        // `a-b.json` comes before `a.json`.
        let twins = [group("a", &[("x", "1")]), group("a-b", &[("x", "1")]), group("b", &[("x", "1")])];
        assert_eq!(chosen(&twins, "x=1").as_deref(), Some("a-b"));
    }

    #[test]
    fn ten_thousand_groups_cost_one_look_at_each_set_of_keys() {
        let mac = |n: usize| format!("52:54:00:00:{:02x}:{:02x}", n / 256, n % 256);
        let mut groups: Vec<_> = (0..10_000).map(|n| group(&mac(n), &[("mac", &mac(n))])).collect();
        groups.push(group("default", &[]));
        groups.push(group("installed", &[("mac", &mac(7)), ("os", "installed")]));
        let groups = Groups::new(groups);
        assert_eq!(groups.sets.len(), 3);
        let id = |query: &str| groups.select(&Labels::parse(query)).unwrap().id.clone();
        assert_eq!(id(&format!("mac={}", mac(9_999))), mac(9_999));
        assert_eq!(id(&format!("os=installed&mac={}", mac(7))), "installed");
        assert_eq!(id("mac=52:54:00:ff:ff:ff"), "default");
        assert!(groups.matches(&Labels::parse(&format!("mac={}", mac(7)))).count() <= 3);
    }

    proptest::proptest! {
        #[test]
        fn the_index_finds_what_asking_every_group_finds(
            selectors in proptest::collection::vec(
                proptest::collection::btree_map("[abc]|a-", "[xy]?", 0..4), 0..30),
            labels in proptest::collection::btree_map("[abcd]|a-", "[xyz]?", 0..4),
        ) {
            let groups = selectors.into_iter().enumerate().map(|(n, selector)| {
                Arc::new(Group { id: n.to_string(), selector, ..Group::default() })
            });
            let groups = Groups::new(groups.collect());
            let query: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let labels = Labels::parse(&query.join("&"));
            let matches = |group: &&Group| group.selector.iter().all(|(k, v)| labels.get(k) == v);
            assert_eq!(groups.select(&labels), groups.iter().find(matches));
        }
    }
}
