//! The files that a boot script told a machine to load, to compare with what it then fetches.

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::stage::Stage;
use crate::base::arch::Arch;
use crate::format::ipxe::{Image, stands_for};
use crate::serve::site::Site;
use crate::tree::manifest::Role;
use crate::tree::names::{INITRD_ARG, arg_value};
use crate::tree::records::Profile;

/// The instructions in a machine's last script.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Whether it boots from its disk, so that nothing is loaded from here.
    pub from_disk: bool,
    /// The files to fetch, in order.
    pub loads: Vec<Load>,
    /// The kernel's architecture, if known.
    pub arch: Option<Arch>,
    /// Whether the kernel arguments name an initrd, as the kernel requires under UEFI.
    pub names_initrd: bool,
    /// Whether the machine's system is expected to report.
    pub reports: bool,
}

/// A file that a script names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Path on the server, without a leading slash. iPXE's variables in it match anything.
    pub path: String,
    /// Scheme and host, if the script names them: this server by one of its names, or any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The stage in which it is loaded: kernel or initrd.
    pub stage: Stage,
    /// Its length in bytes, if the manifest has it.
    pub size: Option<u64>,
}

impl Told {
    /// The instructions of a profile's script; `id` is the profile's as groups name it.
    pub(crate) fn of(site: &Site, id: &str, profile: &Profile) -> Told {
        let Some(boot) = &profile.boot else { return Told::default() };
        let initrds = boot.initrd.iter().map(|line| (Stage::Initrd, line));
        let all = std::iter::once((Stage::Kernel, &boot.kernel)).chain(initrds);
        // iPXE loads nothing that it does not recognize as an image.
        let images = all.filter_map(|(stage, line)| Some((stage, Image::parse(line).ok()?)));
        let load = |(stage, image): (Stage, Image<'_>)| {
            let (host, path) = place(&image);
            let size = site.asset(&path).filter(|_| host.is_none()).map(|asset| asset.size);
            Load { path, host, stage, size }
        };
        let loads: Vec<Load> = images.map(load).collect();
        let kernel = loads.iter().find(|load| load.stage == Stage::Kernel);
        let words = Image::parse(&boot.kernel).map(|kernel| kernel.args).unwrap_or_default();
        let words = words.into_iter().chain(boot.args.iter().flat_map(|arg| arg.split_whitespace()));
        let names_initrd = words.into_iter().any(|word| arg_value(word, INITRD_ARG).is_some());
        let arch = kernel.and_then(|load| arch_of(site, &load.path));
        Told { from_disk: false, loads, arch, names_initrd, reports: site.reporting.contains(id) }
    }

    /// The instruction to boot from disk.
    pub(crate) fn disk() -> Told {
        Told { from_disk: true, ..Told::default() }
    }

    /// The stage of a path in these instructions.
    pub(crate) fn stage_of(&self, path: &str) -> Option<Stage> {
        self.loads.iter().find(|load| load.is(path)).map(|load| load.stage)
    }

    /// The files of a stage.
    pub(crate) fn of_stage(&self, stage: Stage) -> impl Iterator<Item = &Load> {
        self.loads.iter().filter(move |load| load.stage == stage)
    }
}

impl Load {
    /// Whether a path is that of this file.
    pub(crate) fn is(&self, path: &str) -> bool {
        stands_for(&self.path, path)
    }
}

/// The stage of a published file, for machines that got no script from us.
pub(crate) fn stage_of(site: &Site, path: &str) -> Option<Stage> {
    let role = site.manifest.files.get(path).map(|file| file.role);
    match role.or_else(|| site.manifest.joined.get(path).map(|joined| joined.role))? {
        Role::Kernel | Role::UnifiedKernel => Some(Stage::Kernel),
        Role::BaseInitrd | Role::Overlay | Role::Initrd | Role::EarlyInitrd => Some(Stage::Initrd),
        Role::Ignition => Some(Stage::Ignition),
        _ => None,
    }
}

/// The host in an image's URI, if any, and the plain path on it.
fn place(image: &Image<'_>) -> (Option<String>, String) {
    let (host, path) = image.host_and_path();
    let path = path.split(['?', '#']).next().unwrap_or_default().trim_start_matches('/');
    (host.map(str::to_owned), percent_decode_str(path).decode_utf8_lossy().into_owned())
}

/// A kernel's architecture: from the manifest, else from a path component with Flatcar's name for it.
fn arch_of(site: &Site, path: &str) -> Option<Arch> {
    let known = site.manifest.files.get(path).and_then(|file| file.arch);
    known.or_else(|| Arch::ALL.into_iter().find(|arch| path.split('/').any(|part| part == arch.board())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_image_is_its_uri_without_options_and_query() {
        let place = |line| place(&Image::parse(line).unwrap());
        assert_eq!(place("/assets/a%20b?x=1"), (None, "assets/a b".into()));
        assert_eq!(place("--name main assets/a"), (None, "assets/a".into()));
        let elsewhere = (Some("http://elsewhere:80".to_owned()), "assets/a".to_owned());
        assert_eq!(place("--name=a http://elsewhere:80/assets/a?x"), elsewhere);
    }
}
