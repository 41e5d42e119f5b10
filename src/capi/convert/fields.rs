//! Single fields: each row of the table `words::MOVES` applied to one object.

use serde_json::{Map, Value, json};

use super::super::manifests::{Object, is_template, unmask};
use super::super::path::{at, at_mut, expanded};
use super::super::words::{FIELDS, How, MOVES, Move, SHAPES, Shape, VERSIONS};
use crate::base::finding::{Finding, meant};

/// Moves an object's fields, and its version.
pub(super) fn convert(value: &mut Value, object: &Object, findings: &mut Vec<Finding>) {
    let shapes = SHAPES.iter().filter(|(group, kind, ..)| *group == object.group && *kind == object.kind);
    for (_, _, shape, root) in shapes {
        let mut moving = Moving { object, root, findings };
        for row in MOVES.iter().filter(|row| row.shape == *shape) {
            moving.apply(value, row);
        }
        moving.strangers(value, *shape);
    }
    let row =
        VERSIONS.iter().find(|(group, lead, ..)| *group == object.group && object.kind.starts_with(lead));
    if let (Some((group, _, old, new)), Some(Value::String(version))) = (row, value.get_mut("apiVersion"))
        && *version == format!("{group}/{old}")
    {
        *version = format!("{group}/{new}");
    }
}

struct Moving<'m> {
    object: &'m Object,
    root: &'m [&'m str],
    findings: &'m mut Vec<Finding>,
}

impl Moving<'_> {
    /// Applies a row wherever its old field is.
    fn apply(&mut self, value: &mut Value, row: &Move) {
        let from: Vec<&str> = self.root.iter().copied().chain(row.from.split('.')).collect();
        for path in expanded(value, &from) {
            // The numbers of items that the stars stood for.
            let numbers: Vec<&String> =
                path.iter().zip(&from).filter(|(_, part)| **part == "*").map(|(at, _)| at).collect();
            let to: Vec<Vec<String>> = row
                .to
                .iter()
                .map(|to| {
                    let mut numbers = numbers.iter();
                    let part = |part: &str| match part {
                        "*" => numbers.next().map_or_else(String::new, |at| (*at).clone()),
                        _ => part.to_owned(),
                    };
                    self.root.iter().map(|part| (*part).to_owned()).chain(to.split('.').map(part)).collect()
                })
                .collect();
            self.one(value, row, &path, &to);
        }
    }

    /// Moves one field.
    fn one(&mut self, value: &mut Value, row: &Move, from: &[String], to: &[Vec<String>]) {
        let Some(old) = at(value, from).cloned() else { return };
        let is_null = old.is_null();
        let new = match row.how {
            How::Gone | How::Told => {
                let why = format!("`{}` is left out: today's API has no such field", from.join("."));
                let finding = match row.how == How::Told && !asks_nothing(&old) {
                    true => Finding::error(why),
                    false => Finding::warning(why + ", and nothing is lost"),
                };
                self.tell(finding, from, row.words);
                None
            }
            How::Same => Some(old),
            How::Seconds if is_null => None,
            How::Seconds => match seconds(&old) {
                Ok((seconds, is_exact)) => {
                    if !is_exact {
                        let why = format!(
                            "`{}` is {}, which is rounded to {seconds} s",
                            from.join("."),
                            old.as_str().unwrap_or_default()
                        );
                        self.tell(Finding::warning(why), from, "today's API counts whole seconds");
                    }
                    Some(seconds.into())
                }
                Err(why) => {
                    let why = format!("`{}` is left as it is: {why}", from.join("."));
                    let hint = format!("write `{}` with whole seconds", row.to.join("` and `"));
                    self.tell(Finding::error(why), from, &hint);
                    return;
                }
            },
            How::Arguments => match arguments(&old) {
                Some(list) => Some(list),
                None => return,
            },
            How::Reference => match self.reference(&old, from) {
                Some(reference) => Some(reference),
                None if to.iter().any(|to| to == from) => return,
                None => Some(old),
            },
            How::List => Some(Value::Array(vec![old])),
            How::Network => return self.network(value, from, to),
        };
        if let [to] = to
            && to == from
        {
            if let (Some(place), Some(new)) = (at_mut(value, from), new) {
                *place = new;
            }
            return;
        }
        let Some(new) = new else {
            remove(value, from, self.root.len());
            return;
        };
        // `target` counted alone; nothing else may stand in two places.
        let taken = to.iter().find(|to| at(value, to).is_some_and(|there| *there != new));
        if let Some(taken) = taken.filter(|_| row.how != How::List) {
            let why = format!("`{}` is left as it is: `{}` is there, too", from.join("."), taken.join("."));
            self.tell(Finding::error(why), from, "keep one of the two");
            return;
        }
        if let Some(taken) = taken {
            let why = format!("`{}` is replaced: `{}` counted alone", taken.join("."), from.join("."));
            self.tell(Finding::warning(why), taken, "add its nodes again if machines shall run there, too");
        }
        if let Some(to) = to.iter().find(|to| !is_free(value, to)) {
            let why = format!(
                "`{}` is left as it is: there is no place for `{}` in what is there",
                from.join("."),
                to.join(".")
            );
            self.tell(Finding::error(why), from, "write the parts above it as mappings");
            return;
        }
        for to in to {
            set(value, from, to, new.clone());
        }
        remove(value, from, self.root.len());
    }

    /// A reference by group, kind and name, if it is one of the older form.
    fn reference(&mut self, old: &Value, from: &[String]) -> Option<Value> {
        let map = old.as_object()?;
        let old_keys = ["apiVersion", "namespace", "uid", "resourceVersion", "fieldPath"];
        if !map.keys().any(|key| old_keys.contains(&key.as_str())) {
            return None;
        }
        let mut new = Map::new();
        for (key, value) in map {
            match key.as_str() {
                "apiVersion" => {
                    let group = value
                        .as_str()
                        .map_or("", |text| text.rsplit_once('/').map_or("", |(group, _)| group));
                    if !map.contains_key("apiGroup") {
                        new.insert("apiGroup".into(), group.into());
                    }
                }
                "namespace" => {
                    let own = self.object.namespace.as_deref();
                    let there = value.as_str().map(unmask);
                    if there.as_deref() != own {
                        let why = format!(
                            "`{}.namespace` is left out: what is referred to is in the object's own namespace",
                            from.join(".")
                        );
                        self.tell(Finding::error(why), from, "put both into one namespace");
                    }
                }
                key if old_keys.contains(&key) => {}
                key => {
                    new.insert(key.to_owned(), value.clone());
                }
            }
        }
        if !new.contains_key("apiGroup") {
            self.tell(
                Finding::error(format!("`{}` names no API group", from.join("."))),
                from,
                "write `apiGroup`",
            );
        }
        Some(Value::Object(new))
    }

    /// The devices of a machine as one list: `net0` first.
    fn network(&mut self, value: &mut Value, from: &[String], to: &[Vec<String>]) {
        let (Some(old), Some(to)) = (at(value, from).cloned(), to.first()) else { return };
        let is_default = from.last().is_some_and(|last| last == "default");
        let devices: Vec<Value> = match old {
            Value::Object(map) if is_default => vec![device(Some("net0"), &map)],
            Value::Array(items) if !is_default => items
                .iter()
                .map(|item| item.as_object().map_or_else(|| item.clone(), |map| device(None, map)))
                .collect(),
            Value::Null => Vec::new(),
            _ => {
                let why =
                    format!("`{}` is left as it is: it has another form than it must have", from.join("."));
                self.tell(Finding::error(why), from, "write the devices as items of `networkDevices`");
                return;
            }
        };
        let names = |devices: &[Value]| -> Vec<String> {
            devices.iter().filter_map(|device| device.get("name")?.as_str().map(str::to_owned)).collect()
        };
        let mut seen = at(value, to).and_then(Value::as_array).map(|there| names(there)).unwrap_or_default();
        for name in names(&devices) {
            if seen.contains(&name) {
                let why =
                    format!("`{}` is left as it is: two devices are named {}", from.join("."), unmask(&name));
                self.tell(Finding::error(why), from, "keep one of the two, or give them two names");
                return;
            }
            seen.push(name);
        }
        let is_list = at(value, to).is_none_or(|there| there.is_null() || there.is_array());
        let is_taken = is_list && is_free(value, to);
        if !(devices.is_empty() || is_taken) {
            let why =
                format!("`{}` is left as it is: `{}` is there, and no list", from.join("."), to.join("."));
            self.tell(Finding::error(why), from, "write the devices as items of `networkDevices`");
            return;
        }
        match at_mut(value, to) {
            Some(Value::Array(there)) => {
                let at = if is_default { 0 } else { there.len() };
                there.splice(at..at, devices);
            }
            _ if devices.is_empty() => {}
            _ => set(value, from, to, Value::Array(devices)),
        }
        remove(value, from, self.root.len());
    }

    /// Tells of keys that are no fields of today, in parts that people write by hand.
    fn strangers(&mut self, value: &Value, shape: Shape) {
        for (_, path, fields) in FIELDS.iter().filter(|(of, ..)| *of == shape) {
            let parts: Vec<&str> =
                self.root.iter().copied().chain(path.split('.').filter(|part| !part.is_empty())).collect();
            for path in expanded(value, &parts) {
                let Some(map) = at(value, &path).and_then(Value::as_object) else { continue };
                for key in map.keys().filter(|key| !fields.contains(&key.as_str()) && !is_template(key)) {
                    let mut place = path.clone();
                    place.push(key.clone());
                    // Rows that could not be moved are told already.
                    let is_told = MOVES
                        .iter()
                        .any(|row| row.shape == shape && row.from.split('.').next_back() == Some(key));
                    if !is_told {
                        let why =
                            format!("`{}` is no field of today's {}", place.join("."), self.object.kind);
                        self.tell(
                            Finding::error(why),
                            &place,
                            &meant(key, fields.iter().copied(), "fields: "),
                        );
                    }
                }
            }
        }
    }

    fn tell(&mut self, finding: Finding, path: &[String], hint: &str) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let finding = finding.at(self.object.place(&path));
        self.findings.push(match hint.is_empty() {
            true => finding,
            false => finding.hint(hint),
        });
    }
}

/// A device of today: its name first, its pools in one list.
fn device(name: Option<&str>, old: &Map<String, Value>) -> Value {
    let mut new = Map::new();
    if let Some(name) = name {
        new.insert("name".into(), name.into());
        // As `Convert_v1alpha1_NetworkSpec_To_v1alpha2_NetworkSpec`: the default device had both default routes.
        new.insert("defaultIPv4".into(), true.into());
        new.insert("defaultIPv6".into(), true.into());
    } else if let Some(name) = old.get("name") {
        new.insert("name".into(), name.clone());
    }
    let mut pools: Vec<Value> = Vec::new();
    for (key, value) in old {
        match key.as_str() {
            "name" => {}
            "ipv4PoolRef" | "ipv6PoolRef" if value.is_null() => {}
            "ipv4PoolRef" => pools.insert(0, value.clone()),
            "ipv6PoolRef" => pools.push(value.clone()),
            _ => {
                new.insert(key.clone(), value.clone());
            }
        }
    }
    if !pools.is_empty() {
        new.insert("ipPoolRef".into(), Value::Array(pools));
    }
    Value::Object(new)
}

/// A list of `name` and `value`, of a mapping.
fn arguments(old: &Value) -> Option<Value> {
    let map = old.as_object()?;
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    Some(map.iter().map(|(name, value)| json!({"name": name, "value": text(value)})).collect())
}

/// Whole seconds of a duration as Go writes it (`time.ParseDuration`), such as `1h30m`, and whether they are exact. Parts of a second
/// are dropped, as `ConvertToSeconds` drops them; but what would become 0 becomes 1, since 0 means that there is no limit.
fn seconds(value: &Value) -> Result<(i32, bool), String> {
    const SECOND: u128 = 1_000_000_000;
    const UNITS: [(&str, u128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", SECOND),
        ("m", 60 * SECOND),
        ("h", 3600 * SECOND),
    ];
    let text = value.as_str().ok_or("it is no duration such as `10m`")?;
    if is_template(text) {
        return Err(format!("{} is a variable, which holds a duration and not seconds", unmask(text)));
    }
    let wrong = || format!("`{text}` is no duration such as `10m`");
    if text == "0" {
        return Ok((0, true));
    }
    let (mut rest, mut total) = (text, 0_u128);
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let end = after.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        total = total.saturating_add(nanoseconds(number, *factor).ok_or_else(wrong)?);
        rest = after;
    }
    let whole = i32::try_from(total / SECOND).map_err(|_| wrong())?;
    match (text.is_empty(), total % SECOND == 0, whole) {
        (true, ..) => Err(wrong()),
        (_, true, whole) => Ok((whole, true)),
        (_, false, whole) => Ok((whole.max(1), false)),
    }
}

/// Nanoseconds of a decimal number of a unit; `None` if it is no number, or one that no duration has.
fn nanoseconds(number: &str, factor: u128) -> Option<u128> {
    // More digits than these are years, or less than a nanosecond.
    const DIGITS: usize = 18;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && part.is_empty()) || whole.len() > DIGITS || part.len() > DIGITS {
        return None;
    }
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    Some(number(whole)? * factor + number(part)? * factor / scale)
}

/// Whether a value asks for nothing, so that nothing is lost with it.
fn asks_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(asks_nothing),
        _ => false,
    }
}

/// Whether [`set`] can write a field: all that is there above it are mappings, or nothing.
fn is_free(value: &Value, to: &[String]) -> bool {
    let mut value = value;
    for key in to {
        let next = match value {
            Value::Null => return true,
            Value::Object(map) => map.get(key),
            Value::Array(items) => match key.parse::<usize>().ok().and_then(|at| items.get(at)) {
                Some(item) => Some(item),
                None => return false,
            },
            _ => return false,
        };
        let Some(next) = next else { return true };
        value = next;
    }
    true
}

/// Sets a field, with the mappings above it. A new key takes the place of the old field's, where the two paths part.
fn set(value: &mut Value, from: &[String], to: &[String], new: Value) {
    let mut value = value;
    let mut is_shared = true;
    for (depth, key) in to.iter().enumerate() {
        is_shared &= from.get(..depth) == to.get(..depth);
        let is_last = depth + 1 == to.len();
        if value.is_null() {
            *value = Value::Object(Map::new());
        }
        let next = match value {
            Value::Array(items) => key.parse::<usize>().ok().and_then(|at| items.get_mut(at)),
            Value::Object(map) => {
                if !map.contains_key(key) {
                    let beside = from.get(depth).filter(|_| is_shared);
                    let at = beside
                        .and_then(|beside| map.keys().position(|key| key == beside))
                        .unwrap_or(map.len());
                    map.shift_insert(at, key.clone(), Value::Null);
                }
                map.get_mut(key)
            }
            _ => None,
        };
        let Some(next) = next else { return };
        if is_last {
            *next = new;
            return;
        }
        value = next;
    }
}

/// Removes a field, and the mappings above it that it leaves empty, down to this depth.
fn remove(value: &mut Value, path: &[String], depth: usize) {
    let Some((last, above)) = path.split_last() else { return };
    if let Some(Value::Object(map)) = at_mut(value, above) {
        map.shift_remove(last);
        if map.is_empty() && above.len() > depth {
            remove(value, above, depth);
        }
    }
}
