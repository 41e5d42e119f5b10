//! Which bundles a verb takes, and what the site knows of them.

use std::path::Path;
use std::time::SystemTime;

use clap::Args;

use crate::bundle::open::Front;
use crate::bundle::site::Site;
use crate::bundle::{Bundle, Demand};
use crate::cli::signing::TrustArgs;
use crate::error::Result;
use crate::trust::Trust;

/// Whom to believe about a bundle.
#[derive(Args)]
pub struct DemandArgs {
    #[command(flatten)]
    trust: TrustArgs,
    /// Take a bundle that nobody signed, or nobody of whom anything is known: whoever brought it is believed
    #[arg(long, help_heading = "Trust")]
    allow_unsigned: bool,
    /// Take a bundle after the day on which it expires
    #[arg(long, help_heading = "Trust")]
    allow_expired: bool,
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

impl DemandArgs {
    /// Opens a bundle if it is to be believed: by the keys on the command line, and by those that the site remembers, which
    /// lie in its store.
    pub fn open(&self, path: &Path, store: &Path) -> Result<Taken> {
        let front = Front::read(path)?;
        let site = match front.claimed_name() {
            Some(name) => Site::load(store, &name)?,
            None => None,
        };
        let demand = Demand {
            trust: self.trust.trust()?,
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
