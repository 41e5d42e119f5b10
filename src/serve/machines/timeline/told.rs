//! What a boot script told a machine to load, so that what follows can be held against it.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::stage::Stage;
use crate::arch::Arch;
use crate::manifest::Role;
use crate::serve::site::{Profile, Site};

/// Where the sysext that calls back lies in a tree.
const REPORTING: &str = "assets/sysext/report/";

/// What a machine was told by its last script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// To boot what is installed on its disk: nothing is loaded from here.
    pub from_disk: bool,
    /// The files it is to fetch from this server, in order.
    pub loads: Vec<Load>,
    /// What the kernel is made for, where that can be said.
    pub arch: Option<Arch>,
    /// Whether the kernel arguments name an initrd, which the kernel needs under UEFI.
    pub names_initrd: bool,
    /// Whether the machine's system can be expected to call back.
    pub reports: bool,
}

/// A file that a script names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Path on this server, without a leading slash.
    pub path: String,
    /// Kernel or initrd.
    pub stage: Stage,
    /// Its length in bytes, where the manifest says it.
    pub size: Option<u64>,
}

impl Told {
    /// What the script of a profile tells.
    pub fn of(site: &Site, profile: &Profile) -> Told {
        let Some(boot) = &profile.boot else { return Told::default() };
        let initrds = boot.initrd.iter().map(|url| (Stage::Initrd, url));
        let all = std::iter::once((Stage::Kernel, &boot.kernel)).chain(initrds);
        let load = |(stage, url): (Stage, &String)| {
            let path = local_path(url)?;
            let size = site.asset(&path).map(|asset| asset.size);
            Some(Load { path, stage, size })
        };
        let kernel = local_path(&boot.kernel);
        let mut reporting = site.manifest.files.range(REPORTING.to_owned()..);
        Told {
            from_disk: false,
            loads: all.filter_map(load).collect(),
            arch: kernel.and_then(|path| arch_of(site, &path)),
            names_initrd: boot.args.iter().any(|arg| arg.starts_with("initrd=")),
            reports: reporting.next().is_some_and(|(path, _)| path.starts_with(REPORTING)),
        }
    }

    /// To boot from the disk.
    pub fn disk() -> Told {
        Told { from_disk: true, ..Told::default() }
    }

    /// What a path is to this machine.
    pub fn stage_of(&self, path: &str) -> Option<Stage> {
        self.loads.iter().find(|load| load.path == path).map(|load| load.stage)
    }

    /// The files of a stage.
    pub fn of_stage(&self, stage: Stage) -> impl Iterator<Item = &Load> {
        self.loads.iter().filter(move |load| load.stage == stage)
    }
}

/// What a published file is to any machine, for those that no script of ours told anything.
pub fn stage_of(site: &Site, path: &str) -> Option<Stage> {
    let role = site.manifest.files.get(path).map(|file| file.role);
    match role.or_else(|| site.manifest.joined.get(path).map(|joined| joined.role))? {
        Role::Kernel | Role::UnifiedKernel => Some(Stage::Kernel),
        Role::BaseInitrd | Role::Overlay | Role::Initrd | Role::EarlyInitrd => Some(Stage::Initrd),
        Role::Ignition => Some(Stage::Ignition),
        _ => None,
    }
}

/// The path of a URL that leads here; none if it names a server of its own, which may be any other.
fn local_path(url: &str) -> Option<String> {
    if url.contains("://") {
        return None;
    }
    let path = url.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
    Some(percent_decode_str(path).decode_utf8_lossy().into_owned())
}

/// The architecture of a kernel: as its manifest says, else as its path has it in Flatcar's spelling.
fn arch_of(site: &Site, path: &str) -> Option<Arch> {
    let known = site.manifest.files.get(path).and_then(|file| file.arch);
    known.or_else(|| Arch::ALL.into_iter().find(|arch| path.split('/').any(|part| part == arch.board())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_on_this_server_are_expected() {
        assert_eq!(local_path("/assets/a%20b?x=1").as_deref(), Some("assets/a b"));
        assert_eq!(local_path("assets/a").as_deref(), Some("assets/a"));
        assert_eq!(local_path("http://elsewhere/assets/a"), None);
    }
}
