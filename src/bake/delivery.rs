//! How a boot's config and sysexts come to the machine.
//!
//! Mostly they lie in its initrd. Where a release loses what lies there, or the recipe asks for it, the machine fetches
//! them: the config by `ignition.config.url=`, and each sysext as a file that the config names with its digest, in the
//! place and under the link that Flatcar's documentation gives sysexts which Ignition downloads.
//!
//! Owns that choice, and what contradicts it in a recipe. Which releases lose an injected config is for `quirks` to know, how
//! a config is completed for `steps::config`.

use std::fmt;

use crate::bake::outputs::Outputs;
use crate::bake::recipe::{Carriage, ConfigFrom, Layout, Profile, Recipe};
use crate::base::error::{Advice, Exit};
use crate::base::finding::{Finding, Place};
use crate::flatcar::quirks::{self, PxeFault, Window};
use crate::flatcar::version::Version;
use crate::ignition::{Config, closure};
use crate::machine::base_url::BaseUrl;
use crate::tree::manifest::Role;
use crate::tree::names::{OEM_ARGS, arg_value};

/// Reasons why nothing can be delivered to the machines of a recipe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The release is one of those that lose an injected config.
    #[error("{place}: Flatcar {version} loses a config that is injected through a second initrd")]
    InjectionLost {
        /// The Flatcar version.
        version: Version,
        /// The releases of its channel that lose it.
        window: Window,
        /// Place where the recipe asks for the release.
        place: Place,
    },
    /// Machines have to fetch, and no URL is given.
    #[error("{place}: {why}, but the URL of the tree is not known")]
    NoBaseUrl {
        /// Why a machine has to fetch its config.
        why: Why,
        /// Place where the recipe asks for that.
        place: Place,
    },
}

/// Why a machine has to fetch its config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The recipe asks for it.
    Asked,
    /// The release loses an injected config.
    Lost(Version),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Asked => f.write_str("machines fetch their config from a URL"),
            Why::Lost(version) => {
                write!(f, "machines must fetch their config, since Flatcar {version} loses an injected one")
            }
        }
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Error::InjectionLost { window: Window { from, before }, .. } => format!(
                "have machines fetch config and sysexts by HTTP, with `--auto` or `config_from: auto` in the recipe; or \
                 choose another channel, or a version of this one before {from} or from {before} on"
            ),
            Error::NoBaseUrl { .. } => {
                "give `--base-url http://10.0.0.1:8080`, or `base_url:` in the recipe; the URL of the outputs is used if \
                 all have the same"
                    .into()
            }
        })
    }
}

/// URL from which the machines of a recipe fetch; `None` where their initrds carry everything.
pub(crate) fn fetched_from(
    recipe: &Recipe,
    outputs: &Outputs,
    version: Version,
) -> Result<Option<BaseUrl>, Error> {
    let of_release = || recipe.release.channel.place.clone();
    let asked = recipe.config_from.as_ref();
    let why = match asked.map_or(ConfigFrom::default(), |asked| asked.value) {
        ConfigFrom::Url => Why::Asked,
        asked => match (quirks::drops_injected_config(version), asked) {
            (None, _) => return Ok(None),
            (Some(window), ConfigFrom::Overlay) => {
                return Err(Error::InjectionLost { version, window, place: of_release() });
            }
            (Some(_), _) => Why::Lost(version),
        },
    };
    let place = || asked.map_or_else(of_release, |asked| asked.place.clone());
    let base_url = recipe.base_url.as_ref().or_else(|| outputs.base_url());
    base_url.cloned().map(Some).ok_or_else(|| Error::NoBaseUrl { why, place: place() })
}

/// Faults of a release that keep the machines of a recipe from booting.
pub fn release_faults(recipe: &Recipe, version: Version) -> Vec<Finding> {
    let Some((fault, Window { before, .. })) = quirks::pxe_fault(version) else { return Vec::new() };
    let of_release = &recipe.release.channel.place;
    let otherwise = format!("choose {before} or newer, or another channel");
    match fault {
        PxeFault::EmergencyShell => {
            let text = format!("Flatcar {version} ends in the emergency shell when it boots by PXE");
            vec![Finding::error(text).at(of_release.clone()).hint(otherwise)]
        }
        PxeFault::UnknownPlatform => {
            let names = |profile: &&Profile| {
                let mut args = profile.kernel_args.iter().map(|arg| arg.value.as_str());
                args.any(|arg| OEM_ARGS.iter().any(|key| arg_value(arg, key).is_some()))
            };
            let without = recipe.profiles.values().filter(|profile| !names(profile));
            let finding = |profile: &Profile| {
                let text = format!(
                    "Flatcar {version} ends in the emergency shell when it boots by PXE: its Ignition knows no platform `pxe`"
                );
                let hint =
                    format!("add `{}=metal` to `kernel_args` of this profile; or {otherwise}", OEM_ARGS[0]);
                Finding::error(text).at(profile.place.clone()).hint(hint)
            };
            without.map(finding).collect()
        }
    }
}

/// Settings of a recipe's profiles that contradict this delivery.
pub(crate) fn contradictions(
    recipe: &Recipe,
    outputs: &Outputs,
    fetched_from: Option<&BaseUrl>,
) -> Vec<Finding> {
    let of_profile = |profile| {
        let layout = match fetched_from {
            Some(_) => no_layout(profile),
            None => judge_layout(recipe, outputs, profile),
        };
        layout.into_iter().chain(needs_network(recipe, profile, fetched_from))
    };
    recipe.profiles.values().flat_map(of_profile).collect()
}

/// A layout joins files to an initrd, so it makes no sense where an initrd carries nothing.
fn no_layout(profile: &Profile) -> Option<Finding> {
    let layout = profile.layout.as_ref().filter(|layout| layout.value != Layout::Overlay)?;
    let text =
        "this layout joins an overlay to the release's initrd, but config and sysexts are fetched here";
    Some(Finding::error(text).at(layout.place.clone()).hint("leave `layout` out"))
}

/// Layouts that an output cannot serve.
fn judge_layout(recipe: &Recipe, outputs: &Outputs, profile: &Profile) -> Option<Finding> {
    let has_base = || outputs.stock_files().iter().any(|(_, role)| *role == Role::BaseInitrd);
    let layout = profile.layout.as_ref()?;
    let finding = match layout.value {
        Layout::Overlay => return None,
        _ if !has_base() => {
            Finding::error("this layout joins the release's initrd, but no output publishes that")
                .hint("add `pxe` to `outputs`")
        }
        Layout::Virtual if recipe.has_output("matchbox") => {
            Finding::warning("only `prebake serve` serves a virtual initrd; real Matchbox has no such file")
                .hint("choose `single` if another server than `prebake serve` is to serve the tree")
        }
        Layout::Virtual => {
            let output = outputs.by_tftp()?;
            let text = format!("`{output}` loads by TFTP, but a TFTP server cannot serve a virtual initrd");
            Finding::warning(text)
                .hint("choose `single`, or give that output the `base_url` of `prebake serve`")
        }
        Layout::Single => return None,
    };
    Some(finding.at(layout.place.clone()))
}

/// Reasons why a profile that must boot without a network would need one.
fn needs_network(recipe: &Recipe, profile: &Profile, fetched_from: Option<&BaseUrl>) -> Vec<Finding> {
    let Some(place) = &profile.diskless else { return Vec::new() };
    let as_assets = recipe.images_of(profile).is_some_and(|images| images.carriage.value == Carriage::Asset);
    let reasons = [
        (
            fetched_from.is_some(),
            "its config and sysexts are fetched, because of the release or of `config_from`",
            "choose a release that keeps an injected config: any stable or LTS, alpha from 4669, beta from 4628.1.0",
        ),
        (as_assets, "its container images are fetched from the server", "carry them: `images: sysext`"),
        (profile.install.is_some(), "an installation fetches the disk image", "leave out one of the two"),
    ];
    let finding = |(_, why, hint): (bool, &str, &str)| {
        Finding::error(format!("this profile cannot boot without a network: {why}"))
            .at(place.clone())
            .hint(hint)
    };
    reasons.into_iter().filter(|(applies, ..)| *applies).map(finding).collect()
}

/// Remote files in the config of a profile that must boot without a network.
pub(crate) fn remote_sources(profile: &Profile, config: &Config) -> Vec<Finding> {
    let Some(said) = &profile.diskless else { return Vec::new() };
    let finding = |remote: closure::Remote| {
        let finding = Finding::error(format!("{} is fetched during the boot", remote.url));
        let finding = finding.hint("`prebake ignition closure --inline` puts it into the config");
        let finding = finding.related(said.clone(), "but this profile must boot without a network");
        Finding { place: remote.place, path: remote.path, ..finding }
    };
    closure::remotes(config).into_iter().map(finding).collect()
}
