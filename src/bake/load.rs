//! The load of a boot: all that it puts into a machine's memory, part by part, and the memory that it needs for that.

use std::collections::BTreeMap;

use crate::bake::artifacts::Boot;
use crate::bake::boot::Delivery;
use crate::bake::lock_ids;
use crate::bake::outputs::Built;
use crate::bake::recipe::Layout;
use crate::base::size::Bytes;
use crate::flatcar::{board, memory};

/// Name of the part that is Flatcar's own initrd.
pub(crate) const FLATCAR: &str = "Flatcar";
/// Name of the part that is the config, and whatever else is neither Flatcar's nor an extension's.
pub(crate) const CONFIG: &str = "config";

/// The load of a boot. Lengths are in bytes.
#[derive(Debug)]
pub struct Load {
    /// Id of the boot.
    pub boot: String,
    /// Parts of what the firmware or the loader fetches: Flatcar, extensions, config, early initrds.
    pub initrds: Vec<(String, u64)>,
    /// Extensions that the started system fetches.
    pub fetched: Vec<(String, u64)>,
    /// Memory that a machine needs for all of it.
    pub needed: Bytes,
    /// Memory of the smallest machine that boots this, as far as the recipe has it.
    pub smallest: Option<Bytes>,
}

/// The load of each boot; empty without the stock initrd, which is then not booted. `extensions` gives a boot's extensions with
/// their lengths.
pub(crate) fn loads(built: &Built<'_>, extensions: impl Fn(&Boot) -> Vec<(String, u64)>) -> Vec<Load> {
    let base = |arch| Some(built.lock.inputs.get(&lock_ids::stock_id(arch, board::INITRD))?.size);
    let mut smallest: BTreeMap<&str, Bytes> = BTreeMap::new();
    for node in &built.recipe.nodes {
        if let (Some(memory), Some(boot)) = (&node.memory, built.boot_of(node)) {
            let least = smallest.entry(&boot.id).or_insert(memory.value);
            *least = memory.value.min(*least);
        }
    }
    let load = |boot: &Boot| {
        let extensions = extensions(boot);
        let of_extensions: u64 = extensions.iter().map(|(_, size)| size).sum();
        let early = || boot.early.iter().map(|(name, initrd)| (name.clone(), initrd.size));
        let base = match boot.delivery {
            // Base and overlay are one file, and are loaded also where the lock has no base of its own.
            Delivery::Initrd(Layout::Single) => base(boot.arch).unwrap_or(0).min(boot.made.size),
            _ => base(boot.arch)?,
        };
        let own = match boot.delivery {
            Delivery::Initrd(Layout::Single) => boot.made.size - base,
            Delivery::Initrd(_) => boot.made.size,
            Delivery::Fetched(_) => 0,
        };
        let sizes = early().map(|(_, size)| size).chain([base, own]);
        let needed = memory::needed(sizes, boot.fetched);
        let mut initrds: Vec<_> = early().chain([(FLATCAR.to_owned(), base)]).collect();
        let fetched = match boot.delivery {
            Delivery::Initrd(_) => {
                initrds.extend(extensions);
                initrds.push((CONFIG.to_owned(), own.saturating_sub(of_extensions)));
                Vec::new()
            }
            Delivery::Fetched(_) => extensions,
        };
        let smallest = smallest.get(boot.id.as_str()).copied();
        Some(Load { boot: boot.id.clone(), initrds, fetched, needed, smallest })
    };
    built.artifacts.boots.iter().filter_map(load).collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::bake::artifacts::Artifacts;
    use crate::bake::outputs;
    use crate::bake::recipe::Recipe;
    use crate::base::arch::Arch;
    use crate::base::digest::{Object, Sha256};
    use crate::base::finding::Source;
    use crate::flatcar::version::Version;
    use crate::source::input::Entry;
    use crate::tree::lock::Lock;

    const MIB: u64 = 1 << 20;

    /// Memory that a boot needs with a base of 1000 MiB, an early initrd of 64 MiB and 2000 MiB built for it.
    fn needed(delivery: &Delivery, fetched_mib: u64) -> Bytes {
        let text = "schema: 1\nname: x\nrelease: {channel: stable}\nprofiles: {w: {}}\n";
        let source = Source::new("r.yaml", text);
        let (recipe, outputs) = Recipe::parse(&source, PathBuf::new(), outputs::read).unwrap();
        let object = |size| Object { sha256: Sha256::of(b""), size };
        let mut lock = Lock::empty();
        let base = lock_ids::stock_id(Arch::Amd64, board::INITRD);
        lock.inputs = BTreeMap::from([(base, Entry::plain("http://h.invalid", object(1000 * MIB)))]);
        let boot = Boot {
            id: "w".into(),
            arch: Arch::Amd64,
            profile: "w".into(),
            node: None,
            kernel_args: Vec::new(),
            ignition: Vec::new(),
            installed: None,
            generic: None,
            delivery: delivery.clone(),
            made: object(2000 * MIB),
            step: Sha256::of(b""),
            fetched: fetched_mib * MIB,
            early: vec![("ucode.cpio".into(), object(64 * MIB))],
        };
        let (recipe, outputs, lock, version) = (&recipe, &outputs, &lock, Version([4593, 2, 5]));
        let artifacts = Artifacts { boots: vec![boot], ..Artifacts::default() };
        loads(&Built { recipe, outputs, lock, version, artifacts }, |_| Vec::new())[0].needed
    }

    #[test]
    fn a_boot_needs_twice_of_all_that_is_loaded_early_initrds_included() {
        for (delivery, loaded) in [
            (Delivery::Initrd(Layout::Overlay), 64 + 1000 + 2000),
            (Delivery::Initrd(Layout::Virtual), 64 + 1000 + 2000),
            (Delivery::Initrd(Layout::Single), 64 + 2000),
        ] {
            assert_eq!(needed(&delivery, 0), Bytes(2 * loaded * MIB), "{delivery:?}");
        }
        let fetched = Delivery::Fetched("http://h.invalid".parse().unwrap());
        assert_eq!(needed(&fetched, 1700), Bytes(2 * 1700 * MIB), "the base takes less");
    }
}
