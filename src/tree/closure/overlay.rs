//! The files that prebake put into an initrd, as far as the closure needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Seek};

use super::machine;
use crate::base::digest::{Hashing, Sha256};
use crate::base::error::Result;
use crate::base::{disk, unfinished};
use crate::format::cpio;
use crate::initrd::overlay::{CONFIG, MOUNTED, OEM};
use crate::initrd::seal::Seal;
use crate::initrd::segments::{Limits, Segments};
use crate::sysext::place::IMAGE_END;
use crate::tree::inject::overlay_offset;
use crate::tree::names::below;

/// Upper limit for a config, in bytes.
const MAX_CONFIG: u64 = 256 << 20;

/// A file of an overlay.
pub(super) enum Member {
    /// The Ignition config.
    Config(Vec<u8>),
    /// The image of a sysext: its digest, and a copy, unless it is as long as one of the published sysexts.
    Sysext(Sha256, Option<tempfile::NamedTempFile>),
    /// Any other text.
    Other(Vec<u8>),
    /// A file that is not a text.
    Data,
}

/// The files of the overlay in an initrd of `size` bytes, by their paths; a base before it is skipped. `published` has
/// the lengths of the tree's own sysexts.
pub(super) fn members(
    mut initrd: impl Read + Seek,
    subject: &str,
    size: u64,
    published: &BTreeSet<u64>,
) -> Result<BTreeMap<String, Member>> {
    let failed = |error| disk::Error::io("read", subject.as_ref())(error);
    let seal = Seal::at_end(&mut initrd, size).map_err(failed)?;
    let mut members = BTreeMap::new();
    let mut segments =
        Segments::new(subject, initrd, Limits::default()).starting_at(overlay_offset(seal, size));
    segments.next(&mut |_, member, body| {
        if member.link.is_none() {
            members.insert(member.path.clone(), Member::take(member, body, published).map_err(failed)?);
        }
        Ok(())
    })?;
    Ok(members)
}

/// Path of an overlay's file on the machine that booted it.
pub(super) fn on_machine(path: &str) -> String {
    let in_oem = below(path, OEM);
    in_oem.map_or_else(|| format!("/{path}"), |rest| format!("{MOUNTED}/{rest}"))
}

impl Member {
    fn take(member: &cpio::Member, body: &mut dyn Read, published: &BTreeSet<u64>) -> io::Result<Member> {
        let path = member.path.as_str();
        let mut bytes = Vec::new();
        if path == CONFIG {
            body.take(MAX_CONFIG).read_to_end(&mut bytes)?;
            return Ok(Member::Config(bytes));
        }
        if path.starts_with(OEM) && path.ends_with(IMAGE_END) {
            if published.contains(&member.size.into()) {
                return Ok(Member::Sysext(Sha256::of_reader(body)?.0, None));
            }
            let mut copy = Hashing::new(unfinished::scratch(IMAGE_END)?);
            io::copy(body, &mut copy)?;
            let (copy, sha256, _) = copy.finish();
            return Ok(Member::Sysext(sha256, Some(copy)));
        }
        body.take(machine::MAX_TEXT + 1).read_to_end(&mut bytes)?;
        Ok(if bytes.len() as u64 > machine::MAX_TEXT { Member::Data } else { Member::Other(bytes) })
    }
}
