//! Finds the profiles that no machine would get.

use super::Outputs;
use crate::bake::recipe::{Profile, Recipe};
use crate::base::finding::Finding;

impl Outputs {
    /// A warning for each profile that no node boots, that is not the default, and that people cannot choose in a menu.
    pub(crate) fn unmatched_profiles(&self, recipe: &Recipe) -> Vec<Finding> {
        if self.formats().any(|format| format.offers_every_profile()) {
            return Vec::new();
        }
        let is_matched = |name: &String| {
            let of_node = recipe.nodes.iter().any(|node| node.profile.value == *name);
            of_node || recipe.default_profile.as_ref() == Some(name)
        };
        let unmatched = recipe.profiles.iter().filter(|(name, _)| !is_matched(name));
        let warning = |(name, profile): (&String, &Profile)| {
            Finding::warning(format!("no machine boots the profile `{name}`")).at(profile.place.clone()).hint(
                "name it in `nodes:` or as `default_profile`, or offer it in a menu: `ipxe: {menu: {}}`",
            )
        };
        unmatched.map(warning).collect()
    }
}
