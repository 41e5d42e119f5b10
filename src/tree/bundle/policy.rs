//! Decides which bundles a site accepts, by the options of this run and by what the site remembers.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Error;
use super::open::{Bundle, Demand, Front};
use super::site::Site;
use crate::trust::signers::Trust;

/// Conditions for every bundle that is opened, now and later.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Keys that must have signed, as given for this run.
    pub trust: Option<Trust>,
    /// The store in which the site remembers the keys it trusts.
    pub store: PathBuf,
    /// Accept a bundle without a signature, or by signers of whom nothing is known.
    pub allow_unsigned: bool,
    /// Accept a bundle after its expiry.
    pub allow_expired: bool,
}

/// A bundle that was accepted.
pub(crate) struct Taken {
    /// The open bundle.
    pub bundle: Bundle,
    /// The site's memory of bundles of its name.
    pub site: Option<Site>,
    /// Keys by which it was judged, if it was.
    pub trust: Option<Trust>,
}

impl Policy {
    /// Opens a bundle if the policy accepts it now.
    pub(crate) fn open(&self, path: &Path) -> Result<Taken, Error> {
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
