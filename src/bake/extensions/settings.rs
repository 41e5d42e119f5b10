//! The values that a recipe sets for a sysext: the Kubernetes version that it states, the pause image that belongs to
//! it, and the values beside the sysext's own name, which win.

use std::collections::BTreeMap;

use super::{Found, KUBERNETES, PauseFrom};
use crate::bake::kubernetes::{self, kubeadm};
use crate::bake::recipe::Recipe;
use crate::base::arch::Arch;
use crate::base::finding::Finding;
use crate::base::yaml::decode::Spanned;
use crate::tree::lock;

/// The variable whose value follows from Kubernetes for all sysexts.
const PAUSE: &str = "pause";

/// The values that a recipe sets for its sysexts.
pub(super) struct Settings<'r> {
    kubernetes: Option<&'r Spanned<String>>,
    /// The pause image's tag that kubeadm of this version wants, for every sysext with a variable of that name: kubeadm
    /// and containerd must agree on it, or a node without a registry can start no pod.
    pause: Option<Pause>,
}

/// A tag, if it is known, and its source.
struct Pause {
    tag: Option<String>,
    from: PauseFrom,
}

impl<'r> Settings<'r> {
    pub(super) fn new(recipe: &'r Recipe, sysext: Option<&Found>, kubeadm: Option<&lock::Kubeadm>) -> Self {
        let kubernetes = recipe.kubernetes.as_ref();
        let mut settings = Settings { kubernetes: kubernetes.map(|k| &k.version), pause: None };
        let Some(sysext) =
            sysext.filter(|sysext| sysext.description.values.names().any(|name| name == PAUSE))
        else {
            return settings;
        };
        // Faults of its own settings are reported when its turn comes.
        let arch = recipe.release.archs.first().copied().unwrap_or(Arch::Amd64);
        let overrides = settings.of(sysext).ok().map(|(overrides, _)| overrides);
        let variables = overrides.and_then(|overrides| sysext.description.variables(arch, &overrides).ok());
        settings.pause = variables.map(|variables| {
            let written = variables.get(PAUSE).map(str::to_owned);
            // Nodes that carry the images of kubeadm's list have the pause image of that list.
            let carries = kubernetes.is_some_and(|kubernetes| kubernetes.images.is_some());
            let is_kubeadms = carries && !sysext.wish.set.contains_key(PAUSE) && {
                let lists = sysext.description.images(&variables);
                !lists.is_ok_and(|lists| kubernetes::is_complete(&lists))
            };
            let said = kubeadm.filter(|said| Some(said.version.as_str()) == variables.get("version"));
            match (said.and_then(|said| kubeadm::pause(&said.images)), written) {
                (Some(tag), None) => Pause { tag: Some(tag), from: PauseFrom::Kubeadm },
                (Some(tag), Some(_)) if is_kubeadms => Pause { tag: Some(tag), from: PauseFrom::Kubeadm },
                (None, None) => Pause { tag: None, from: PauseFrom::Open },
                (None, Some(tag)) if is_kubeadms => Pause { tag: Some(tag), from: PauseFrom::Open },
                (_, Some(tag)) => Pause { tag: Some(tag), from: PauseFrom::Written },
            }
        });
        settings
    }

    /// The values for a sysext, and the source of the pause image's tag among them.
    pub(super) fn of(&self, sysext: &Found) -> Result<(BTreeMap<String, String>, PauseFrom), Finding> {
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
        let mut from = PauseFrom::Written;
        if let Some(pause) = self.pause.as_ref().filter(|_| wanted && name != KUBERNETES) {
            overrides.extend(pause.tag.clone().map(|tag| (PAUSE.to_owned(), tag)));
            from = pause.from;
        }
        Ok((overrides, from))
    }
}
