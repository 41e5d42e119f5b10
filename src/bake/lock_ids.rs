//! The ids of inputs in a lock.

use crate::bake::extensions::Selected;
use crate::base::arch::Arch;

/// Id in the lock of a stock file of the release.
pub(crate) fn stock_id(arch: Arch, file: &str) -> String {
    format!("flatcar/{arch}/{file}")
}

/// Architecture and name of the stock file with this id: the inverse of [`stock_id`].
pub(crate) fn stock_of(id: &str) -> Option<(Arch, &str)> {
    Arch::ALL.into_iter().find_map(|arch| Some((arch, id.strip_prefix(&stock_id(arch, ""))?)))
}

/// Id in the lock of a sysext's component.
pub(crate) fn component_id(sysext: &Selected, component: &str) -> String {
    format!("sysext/{}/{}/{component}", sysext.id(), sysext.arch)
}
