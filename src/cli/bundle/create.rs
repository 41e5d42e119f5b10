//! `prebake bundle create`

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use indicatif::HumanBytes;

use super::{Error, as_json, read_rotation, signed_by};
use crate::base::arch::Arch;
use crate::base::clock::LAST;
use crate::base::disk;
use crate::base::error::Result;
use crate::cli::outputs::{self, Kept};
use crate::cli::signing::SignArgs;
use crate::tree::bundle::create::Contents;
use crate::tree::bundle::index::name_flaw;
use crate::tree::bundle::signatures::Signatures;

/// Pack published trees into one file
///
/// The same trees give the same bytes on any machine at any time. The private part of a tree is never packed. Files that
/// several trees share are in the bundle once.
#[derive(Args)]
pub(crate) struct CreateArgs {
    /// A published tree, such as output/edge/current; once for each
    #[arg(value_name = "TREE", required = true)]
    trees: Vec<PathBuf>,
    /// Where the bundle is written; it appears when it is complete
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Name under which sites remember it [default: the tree's name]
    #[arg(long)]
    name: Option<String>,
    /// Sequence number among the bundles of its name: raise it each time, so that sites refuse older ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    sequence: u64,
    /// Expiry: a day in UTC, such as 2027-03-31, or a time from now, such as 30d, which counts to the end of its day
    #[arg(long, value_name = "DATE|TIME", value_parser = expiry)]
    expires: Option<SystemTime>,
    /// Pack prebake-amd64 and prebake-arm64 of this directory, as `make dist` leaves them
    #[arg(long, value_name = "DIR")]
    with_binaries: Option<PathBuf>,
    /// Pack this public key below keys/, such as the release signer's or a colleague's; repeat for each
    #[arg(long = "pack-key", alias = "key", value_name = "FILE")]
    keys: Vec<PathBuf>,
    /// Carry the statement that a key follows another, as `prebake key rotate` makes it; once for each
    #[arg(long = "rotation", value_name = "FILE", help_heading = "Signing")]
    rotations: Vec<PathBuf>,
    #[command(flatten)]
    sign: SignArgs,
    /// Make an unsigned bundle; sites accept it only with --allow-unsigned
    #[arg(long, help_heading = "Signing")]
    unsigned: bool,
    /// Print the result as JSON on stdout
    #[arg(long)]
    json: bool,
}

impl CreateArgs {
    /// Packs the trees, signs and writes the bundle.
    pub(crate) fn run(self) -> Result<()> {
        let read = self.keys.iter().chain(&self.rotations).map(PathBuf::as_path);
        let binaries: Vec<PathBuf> = self.binaries().into_iter().map(|(_, path)| path).collect();
        let read = read.chain(self.sign.files()).chain(binaries.iter().map(PathBuf::as_path));
        let kept = Kept { inputs: read.collect(), places: Vec::new() };
        outputs::judge(&[("--output", &self.output)], &kept)?;
        let keys = self.sign.keys()?;
        match (keys.is_empty(), self.unsigned) {
            (true, false) => return Err(Error::Unsigned.into()),
            (false, true) => return Err(Error::Signed.into()),
            _ => {}
        }
        let mut contents = Contents::default();
        let manifests = self.trees.iter().map(|tree| contents.tree(tree)).collect::<Result<Vec<_>>>()?;
        let name = match (&self.name, &manifests[..]) {
            (Some(name), _) => name,
            (None, [only]) => &only.name,
            (None, _) => return Err(Error::Nameless.into()),
        };
        if let Some(flaw) = name_flaw(name) {
            return Err(Error::Name { name: name.clone(), flaw }.into());
        }
        self.add_binaries(&mut contents)?;
        self.add_keys(&mut contents)?;
        let draft = contents.finish(name, self.sequence, self.expires)?;
        let (index, mut signatures) = (draft.index().to_bytes(), Signatures::default());
        for key in &keys {
            signatures.sign(key, &index, draft.index().epoch);
        }
        for rotation in &self.rotations {
            signatures.rotate(read_rotation(rotation)?);
        }
        let bytes = draft.write(&signatures, &self.output)?;
        if let Some(expires) = self.expires.filter(|expires| *expires <= SystemTime::now()) {
            let date = crate::base::clock::date(expires);
            tell!("warning: the bundle expired already, at {date}: sites take it only with --allow-expired");
        }
        if self.json {
            say!("{:#}", as_json(&self.output, bytes, draft.index(), &signatures));
            return Ok(());
        }
        let members = draft.index().members.len();
        say!("{}: {members} members, {}", self.output.display(), HumanBytes(bytes));
        for tree in draft.index().trees() {
            say!("  tree      {} {}", tree.name, tree.build_id());
        }
        say!("  name      {name}, number {}", self.sequence);
        match self.expires {
            Some(time) => say!("  expires   {}", crate::base::clock::date(time)),
            None => say!("  expires   never"),
        }
        say!("  signature {}", signed_by(&signatures));
        Ok(())
    }

    /// The binaries to pack that exist.
    fn binaries(&self) -> Vec<(Arch, PathBuf)> {
        let Some(directory) = &self.with_binaries else { return Vec::new() };
        let place = |arch: Arch| (arch, directory.join(format!("prebake-{arch}")));
        Arch::ALL.into_iter().map(place).filter(|(_, path)| path.exists()).collect()
    }

    fn add_binaries(&self, contents: &mut Contents) -> Result<()> {
        let Some(directory) = &self.with_binaries else { return Ok(()) };
        let there = self.binaries();
        if there.is_empty() {
            return Err(Error::NoBinaries { directory: directory.display().to_string() }.into());
        }
        there.iter().try_for_each(|(arch, path)| contents.binary(*arch, path))
    }

    fn add_keys(&self, contents: &mut Contents) -> Result<()> {
        let mut names = BTreeSet::new();
        for path in &self.keys {
            let name = path.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| Error::KeyName { path: path.display().to_string() })?;
            if !names.insert(name) {
                return Err(Error::SameName { name: name.into() }.into());
            }
            contents.key(name, std::fs::read(path).map_err(disk::Error::io("read", path))?);
        }
        Ok(())
    }
}

/// Seconds per day.
const DAY: u64 = 24 * 3600;

fn expiry(text: &str) -> Result<SystemTime, String> {
    let date = match text.len() {
        10 => humantime::parse_rfc3339(&format!("{text}T00:00:00Z")),
        _ => humantime::parse_rfc3339(text),
    };
    if let Ok(time) = date {
        return Ok(time);
    }
    let span = humantime::parse_duration(text)
        .map_err(|_| "a day such as 2027-03-31, or a time such as 30d".to_owned())?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let end = now.checked_add(span).map(|end| end.as_secs().div_ceil(DAY) * DAY);
    let end = end.filter(|end| *end <= LAST.as_secs()).ok_or("that is after the year 9999")?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_day_or_a_time_from_now_to_the_end_of_its_day() {
        let text = |wanted: &str| crate::base::clock::date(expiry(wanted).unwrap());
        assert_eq!(text("2027-03-31"), "2027-03-31T00:00:00Z");
        assert_eq!(text("2027-03-31T12:30:00Z"), "2027-03-31T12:30:00Z");
        let (before, month) = (SystemTime::now(), Duration::from_secs(30 * DAY));
        let end = expiry("30d").unwrap();
        assert!(end >= before + month && end <= SystemTime::now() + month + Duration::from_secs(DAY));
        assert!(text("30d").ends_with("T00:00:00Z"));
        for bad in ["", "soon", "2027-13-01", "30", "9000y", "99999999999999999999d"] {
            assert!(expiry(bad).is_err(), "{bad}");
        }
    }
}
