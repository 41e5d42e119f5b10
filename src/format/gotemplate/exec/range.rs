//! The items of a `range` loop.

use std::collections::btree_map;

use crate::format::gotemplate::datum::{Data, Datum, List};
use crate::format::gotemplate::format::shown;
use crate::format::gotemplate::value::Value;

/// The remaining keys and elements.
pub(super) enum Items<'a> {
    /// Whole numbers from 0 on.
    Ints(std::ops::Range<i64>),
    Bytes(std::ops::Range<u8>),
    List(List<'a>, std::ops::Range<usize>),
    Map(btree_map::Iter<'a, String, Value>),
    Strings(btree_map::Iter<'a, String, String>),
}

impl<'a> Items<'a> {
    /// The items of a value, for a loop with this many variables.
    pub(crate) fn of(value: &Datum<'a>, variables: usize) -> Result<Self, String> {
        match &value.data {
            Data::Int(_) | Data::Byte(_) if variables > 1 => {
                Err(format!("can't use {} to iterate over more than one variable", shown(&value.data, 'v')))
            }
            Data::Int(end) => Ok(Items::Ints(0..*end)),
            Data::Byte(end) => Ok(Items::Bytes(0..*end)),
            Data::List(list) => Ok(Items::List(*list, 0..list.len())),
            Data::Map(members) => Ok(Items::Map(members.iter())),
            Data::Strings(members) => Ok(Items::Strings(members.iter())),
            // Like an empty map.
            Data::Nil => Ok(Items::Ints(0..0)),
            other => Err(format!("range can't iterate over {}", shown(other, 'v'))),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Items::Ints(left) => left.is_empty(),
            Items::Bytes(left) => left.is_empty(),
            Items::List(_, left) => left.is_empty(),
            Items::Map(left) => left.len() == 0,
            Items::Strings(left) => left.len() == 0,
        }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = (Datum<'a>, Datum<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self {
            // A number has no keys; `of` has refused loops that ask for them.
            Items::Ints(left) => (Datum::NOTHING, Data::Int(left.next()?).into()),
            Items::Bytes(left) => (Datum::NOTHING, Data::Byte(left.next()?).into()),
            Items::List(list, left) => {
                let index = left.next()?;
                (Data::Int(index as i64).into(), list.get(index)?)
            }
            Items::Map(left) => left.next().map(|(key, item)| (Datum::string(key), Datum::element(item)))?,
            Items::Strings(left) => {
                left.next().map(|(key, item)| (Datum::string(key), Datum::string(item)))?
            }
        })
    }
}
