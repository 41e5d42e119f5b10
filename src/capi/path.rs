//! Places in a value: paths of keys and numbers of items, such as `["spec", "networkDevices", "0"]`.

use serde_json::Value;

/// The value at a path.
pub(super) fn at<'v>(value: &'v Value, path: &[impl AsRef<str>]) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Array(items) => items.get(key.as_ref().parse::<usize>().ok()?),
        _ => value.get(key.as_ref()),
    })
}

/// The same, to change it.
pub(super) fn at_mut<'v>(value: &'v mut Value, path: &[impl AsRef<str>]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Array(items) => items.get_mut(key.as_ref().parse::<usize>().ok()?),
        _ => value.get_mut(key.as_ref()),
    })
}

/// The paths that a path with `*` for each item of a list stands for, as far as they are there.
pub(super) fn expanded(value: &Value, path: &[&str]) -> Vec<Vec<String>> {
    let Some((first, rest)) = path.split_first() else { return vec![Vec::new()] };
    let inner: Vec<(String, &Value)> = match value {
        Value::Array(items) if *first == "*" => {
            items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect()
        }
        _ => value.get(*first).map(|inner| ((*first).to_owned(), inner)).into_iter().collect(),
    };
    let below = |(key, inner): (String, &Value)| {
        let tails = expanded(inner, rest);
        tails
            .into_iter()
            .map(move |tail| std::iter::once(key.clone()).chain(tail).collect())
            .collect::<Vec<_>>()
    };
    inner.into_iter().flat_map(below).collect()
}
