//! What a recipe sets for a sysext: the Kubernetes version that it names, the pause image that goes with it, and what
//! stands beside the sysext's own name, which wins.

use std::collections::BTreeMap;

use super::{Found, KUBERNETES};
use crate::arch::Arch;
use crate::recipe::Recipe;
use crate::report::Finding;
use crate::yaml::decode::Spanned;

/// The variable that Kubernetes decides for all.
const PAUSE: &str = "pause";

/// What a recipe sets for its sysexts.
pub(super) struct Settings<'r> {
    kubernetes: Option<&'r Spanned<String>>,
    /// The pause image's tag that kubeadm wants at this version, for every sysext with a variable of that name:
    /// kubeadm and containerd must agree on it, or a node without a registry can start no pod.
    pause: Option<Result<String, String>>,
}

impl<'r> Settings<'r> {
    pub(super) fn new(recipe: &'r Recipe, sysext: Option<&Found>) -> Self {
        let mut settings =
            Settings { kubernetes: recipe.kubernetes.as_ref().map(|k| &k.version), pause: None };
        let Some(sysext) =
            sysext.filter(|sysext| sysext.description.values.names().any(|name| name == PAUSE))
        else {
            return settings;
        };
        // What is wrong with its own settings is told when its turn comes.
        let arch = recipe.release.archs.first().copied().unwrap_or(Arch::Amd64);
        let variables = settings.of(sysext).ok();
        let variables = variables.and_then(|overrides| sysext.description.variables(arch, &overrides).ok());
        settings.pause = variables.map(|variables| {
            let version = variables.get("version").unwrap_or_default();
            variables.get(PAUSE).map(str::to_owned).ok_or_else(|| version.to_owned())
        });
        settings
    }

    pub(super) fn of(&self, sysext: &Found) -> Result<BTreeMap<String, String>, Finding> {
        let Found { wish, description, .. } = sysext;
        let mut overrides = wish.values();
        let name = description.name.as_str();
        if let (Some(version), KUBERNETES) = (self.kubernetes, name) {
            if let Some(other) = wish.set.get("version").filter(|other| other.value != version.value) {
                let text = format!("`kubernetes:` sets version {} of this sysext", version.value);
                let finding = Finding::error(text).at(other.place.clone());
                return Err(finding.related(version.place.clone(), "here"));
            }
            overrides.insert("version".to_owned(), version.value.clone());
        }
        let wanted = description.values.names().any(|name| name == PAUSE) && !overrides.contains_key(PAUSE);
        match &self.pause {
            Some(Ok(tag)) if wanted && name != KUBERNETES => {
                overrides.insert(PAUSE.to_owned(), tag.clone());
            }
            Some(Err(version)) if wanted && name != KUBERNETES => {
                let text = format!(
                    "`{name}` needs the tag of Kubernetes {version}'s pause image, which is not known"
                );
                let hint = format!(
                    "`kubeadm config images list --kubernetes-version {version}` says it: write it as \
                     `{{name: {name}, set: {{pause: TAG}}}}`, or into `versions:` of sysext/kubernetes"
                );
                return Err(Finding::error(text).at(wish.name.place.clone()).hint(hint));
            }
            _ => {}
        }
        Ok(overrides)
    }
}
