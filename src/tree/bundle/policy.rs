//! Which bundles a site takes: by what was said now, and by what it remembers.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;
use super::open::{Bundle, Demand, Front};
use super::site::Site;
use crate::trust::signers::Trust;

/// What holds for every bundle that is opened, today's and tomorrow's.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Who must have signed, as was said now.
    pub trust: Option<Trust>,
    /// The store in which the site remembers whom it believes.
    pub store: PathBuf,
    /// Take a bundle without a signature, and one of signers of whom nothing is known.
    pub allow_unsigned: bool,
    /// Take a bundle after its last day.
    pub allow_expired: bool,
}

/// A bundle that was taken.
pub struct Taken {
    /// The bundle.
    pub bundle: Bundle,
    /// What the site knew of bundles of its name.
    pub site: Option<Site>,
    /// By whose keys it was judged, if by anybody's.
    pub trust: Option<Trust>,
}

impl Policy {
    /// Opens a bundle if it is to be believed now.
    pub fn open(&self, path: &Path) -> Result<Taken, Error> {
        let front = Front::read(path)?;
        let site = match front.claimed_name() {
            Some(name) => Site::load(&self.store, &name)?,
            None => None,
        };
        let demand = Demand {
            trust: self.trust.clone(),
            site: site.as_ref().map(Site::trust).transpose()?,
            allow_unsigned: self.allow_unsigned,
            allow_expired: self.allow_expired,
            now: SystemTime::now(),
        };
        let bundle = front.judge(&demand)?;
        let trust = demand.site.or(demand.trust);
        Ok(Taken { bundle, site, trust })
    }
}
