//! Where a cluster's files lie beside its tree: keys, private part, records.
//!
//! ```text
//! OUTPUT/kubeconfig                 0600  for `kubectl`; there before any machine has power
//! OUTPUT/NAME/BUILD-ID, current           the tree, as each build publishes it
//! OUTPUT/.NAME/                     0700
//!   pki/                                  authorities and keys, by kubeadm's names below /etc/kubernetes/pki
//!   recipe/NAME.yaml, *.bu                the recipe and its layers, written anew each time
//!   private/NAME/                         what the guard gives to each machine once
//!   addons/NAME/                          manifests that were vendored, if the description's directory cannot be written
//!   state.json                            how far the cluster is
//!   machines.json                         what the boot server saw of each machine
//!   lock                                  held by the process that forms it
//! ```

use std::path::{Path, PathBuf};

/// The directories of one cluster below an output directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    output: PathBuf,
    name: String,
}

impl Place {
    /// The place of the cluster `name` below `output`.
    pub fn new(output: &Path, name: &str) -> Place {
        Place { output: output.to_owned(), name: name.to_owned() }
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Directory of the trees.
    pub fn output(&self) -> &Path {
        &self.output
    }

    /// The newest tree.
    pub fn tree(&self) -> PathBuf {
        self.output.join(&self.name).join("current")
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.output.join("kubeconfig")
    }

    /// Everything that is not published.
    pub fn own(&self) -> PathBuf {
        self.output.join(format!(".{}", self.name))
    }

    /// Authorities and keys.
    pub fn pki(&self) -> PathBuf {
        self.own().join("pki")
    }

    /// The recipe; its layers are beside it.
    pub fn recipe(&self) -> PathBuf {
        self.own().join("recipe").join(format!("{}.yaml", self.name))
    }

    /// Directory of the private parts, by name.
    pub fn private(&self) -> PathBuf {
        self.own().join("private")
    }

    /// Vendored manifests for which there is no place beside the description.
    pub fn addons(&self) -> PathBuf {
        self.own().join("addons")
    }

    /// Record of how far the cluster is.
    pub fn state(&self) -> PathBuf {
        self.own().join("state.json")
    }

    /// The boot server's record of the machines.
    pub fn machines(&self) -> PathBuf {
        self.own().join("machines.json")
    }

    /// Held by the process that forms the cluster.
    pub fn lock(&self) -> PathBuf {
        self.own().join("lock")
    }
}
