//! Positions of a bundle's members, derived from the index: no archive is searched.

use super::index::{Index, Member};
use super::{Extent, INDEX};
use crate::format::tar::{Contents, END, Header, padding};
use std::collections::HashMap;

/// A bundle's members in the order of the file, each with its position.
#[derive(Clone, Debug)]
pub struct Layout {
    places: Vec<Place>,
    /// Number of members before those that the index names: the signatures and the index itself.
    front: usize,
    epoch: u64,
    /// Length of the file in bytes.
    length: u64,
}

/// Position of one member. Offsets are in bytes from the beginning of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its path in the archive.
    pub path: String,
    /// Offset of its header.
    pub header: u64,
    /// Offset of its data.
    pub data: u64,
    /// Length of the data at this offset; 0 for a link, whose data lie elsewhere.
    pub size: u64,
    /// Mode 0755 instead of 0644.
    pub executable: bool,
    /// Index of the earlier member with the same bytes, if this one is a link to it.
    pub same_as: Option<usize>,
}

impl Place {
    /// Offset after the data and their padding.
    pub(crate) fn end(&self) -> u64 {
        self.data + self.size + padding(self.size)
    }
}

impl Layout {
    /// Lays a bundle out: the files before the index, by path and size; the index; its members. A later member with the
    /// bytes and mode of an earlier one is a link to it.
    ///
    /// Returns `None` if the sizes add up to more than a file can have.
    pub(crate) fn new(signatures: &[(&str, u64)], index: &Index) -> Option<Layout> {
        let index_size = index.to_bytes().len() as u64;
        let front = signatures.iter().copied().chain([(INDEX, index_size)]);
        let mut layout =
            Layout { places: Vec::new(), front: signatures.len() + 1, epoch: index.epoch, length: 0 };
        for (path, size) in front {
            layout.push(path, size, false, None)?;
        }
        let mut first: HashMap<&Member, usize> = HashMap::new();
        for (path, member) in &index.members {
            let same_as = first.get(member).copied();
            layout.push(path, member.size, member.executable, same_as)?;
            first.entry(member).or_insert(layout.places.len() - 1);
        }
        layout.length = layout.length.checked_add(END)?;
        i64::try_from(layout.length).ok()?;
        Some(layout)
    }

    fn push(&mut self, path: &str, size: u64, executable: bool, same_as: Option<usize>) -> Option<()> {
        let mut place = Place {
            path: path.to_owned(),
            header: self.length,
            data: self.length,
            size: if same_as.is_some() { 0 } else { size },
            executable,
            same_as,
        };
        place.data = place.header.checked_add(self.header(&place).len() as u64)?;
        self.length = place.data.checked_add(place.size)?.checked_add(padding(place.size))?;
        self.places.push(place);
        Some(())
    }

    /// The bytes of a member's header.
    pub(crate) fn header(&self, place: &Place) -> Vec<u8> {
        let contents = match place.same_as {
            Some(first) => Contents::SameAs(&self.places[first].path),
            None => Contents::Data(place.size),
        };
        Header { path: &place.path, executable: place.executable, contents, epoch: self.epoch }.to_bytes()
    }

    /// The signatures and the index.
    pub(crate) fn front(&self) -> &[Place] {
        &self.places[..self.front]
    }

    /// The members that the index names, sorted by path.
    pub(crate) fn members(&self) -> &[Place] {
        &self.places[self.front..]
    }

    /// Position of a member's bytes, whether it is a link or not.
    pub(crate) fn extent(&self, path: &str, member: &Member) -> Option<Extent> {
        let found = self.members().binary_search_by(|place| place.path.as_str().cmp(path)).ok()?;
        let place = &self.members()[found];
        let data = place.same_as.map_or(place, |first| &self.places[first]);
        Some(Extent { start: data.data, size: member.size, sha256: member.sha256 })
    }

    /// Length of the file in bytes, with the two blocks of zeros that end it.
    pub fn length(&self) -> u64 {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::tree::bundle::index::tests::index;

    #[test]
    fn places_are_where_a_tar_reader_finds_the_members() {
        let long = format!("trees/a/{}/{}", "d".repeat(120), "f".repeat(120));
        let contents: &[(&str, &[u8])] = &[
            ("README", b"read"),
            ("trees/a/manifest.json", b"{}"),
            ("trees/a/one", &[1; 700]),
            ("trees/a/two", &[1; 700]),
            (&long, b"long"),
        ];
        let index = index(contents);
        let layout = Layout::new(&[("signatures/A.minisig", 5)], &index).unwrap();
        let mut file = vec![0; layout.length() as usize];
        for place in layout.front().iter().chain(layout.members()) {
            let header = layout.header(place);
            file[place.header as usize..][..header.len()].copy_from_slice(&header);
            if let Some((_, bytes)) = contents.iter().find(|(path, _)| *path == place.path)
                && place.same_as.is_none()
            {
                file[place.data as usize..][..bytes.len()].copy_from_slice(bytes);
            }
        }
        let mut seen = Vec::new();
        for entry in tar::Archive::new(file.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let link = entry.link_name_bytes().map(|name| String::from_utf8(name.into_owned()).unwrap());
            if let Some(member) = index.members.get(&path) {
                let extent = layout.extent(&path, member).unwrap();
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                let ours = &file[extent.start as usize..][..extent.size as usize];
                assert!(link.is_some() || bytes == ours, "{path}");
                assert!(path == "SHA256SUMS" || contents.contains(&(path.as_str(), ours)), "{path}");
            }
            seen.push((path, link));
        }
        let names: Vec<_> = seen.iter().map(|(path, _)| path.as_str()).collect();
        let members = index.members.keys().map(String::as_str);
        let expected: Vec<_> = ["signatures/A.minisig", INDEX].into_iter().chain(members).collect();
        assert_eq!(names, expected);
        let links: Vec<_> = seen.into_iter().filter_map(|(path, link)| Some((path, link?))).collect();
        assert_eq!(links, [("trees/a/two".to_owned(), "trees/a/one".to_owned())]);
    }

    #[test]
    fn sizes_beyond_any_file_have_no_layout() {
        let mut index = index(&[("README", b"1")]);
        for size in [u64::MAX, u64::MAX - 600, i64::MAX as u64] {
            index.members.insert("keys/bomb".into(), Member { size, ..Member::of(b"") });
            assert!(Layout::new(&[], &index).is_none(), "{size}");
        }
    }
}
