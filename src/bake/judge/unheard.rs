//! Profiles whose machines nobody hears of once they have loaded.

use crate::bake::recipe::{Recipe, name_of};
use crate::base::finding::Finding;
use crate::tree::names::REPORTING;

/// The output from which `prebake serve` boots machines, and knows which.
const SERVED: &str = "matchbox";

/// A warning about the profiles without the sysext `report`: a kernel that panics looks like a machine that boots. Nothing is
/// said of profiles that install, which bring it, and of those that need no network.
pub(crate) fn warning(recipe: &Recipe) -> Option<Finding> {
    let silent = recipe.profiles.iter().filter(|(_, profile)| {
        let mut names = recipe.sysexts_of(profile).into_iter().map(|sysext| name_of(&sysext.name));
        profile.install.is_none() && profile.diskless.is_none() && !names.any(|name| name == REPORTING)
    });
    let silent: Vec<String> = silent.map(|(name, _)| format!("`{name}`")).collect();
    if silent.is_empty() || !recipe.has_output(SERVED) {
        return None;
    }
    let names = silent.join(", ");
    Some(Finding::warning(format!(
        "without the sysext `report` nobody hears whether machines of {names} boot"
    )))
}
