//! Nodes of a recipe, judged beside what else it says.

use super::Recipe;
use crate::base::finding::Finding;
use crate::base::reader::Reader;

impl Reader<'_> {
    /// Checks a recipe's nodes together, beyond what each states of itself.
    pub(crate) fn check_nodes(&self, recipe: &Recipe) {
        self.check_together(&recipe.nodes);
        for node in &recipe.nodes {
            let name = node.name.value.as_str();
            let taken = recipe.release.archs.iter().any(|arch| recipe.default_name(*arch) == name);
            if taken && recipe.default_profile.is_some() {
                let text = format!("a node cannot be called `{name}` beside a `default_profile`");
                let finding = Finding::error(text).at(node.name.place.clone());
                self.decoder.push(finding.hint(format!("both would be the group `{name}`")));
            }
            self.known_profile(recipe, &node.profile);
        }
    }
}
