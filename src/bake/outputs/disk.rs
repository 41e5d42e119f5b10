//! Disk: the stock disk image with its signature, where the stock `flatcar-install -b` finds and verifies it, and
//! images that are ready for platforms: `disk/BOOT/PLATFORM.EXT`, each with the boot's config, sysexts and kernel
//! arguments.
//!
//! All are made of the one generic image, which is decoded once. Owns the options, and which images there are. Leaves
//! making one to [`steps::disk_image`](crate::bake::steps::disk_image), and what a platform needs to
//! [`disk::platform`](crate::disk::platform).

use super::{Built, Options, OutputFormat};
use crate::bake::artifacts::Boot;
use crate::bake::boot::BootWish;
use crate::bake::recipe::{Carriage, Recipe};
use crate::bake::steps::disk_image::{self, Standing, Wanted};
use crate::bake::steps::{Planned, Step};
use crate::base::error::{Advice, Result};
use crate::base::finding::{Finding, Findings, Place, nearest};
use crate::base::size::Bytes;
use crate::base::yaml::Node as Yaml;
use crate::base::yaml::decode::Spanned;
use crate::disk::layout::{LAYOUTS, Layout, Variant};
use crate::disk::oem;
use crate::disk::platform::{PLATFORMS, Platform};
use crate::flatcar::board::{DISK, VERSION_TXT};
use crate::flatcar::version::{Version, VersionWish};
use crate::format::disk::Format;
use crate::machine::base_url::BaseUrl;
use crate::tree::manifest::Role;
use crate::tree::names::{self, OEM_ARGS, arg_value, card_args, report_arg};
use crate::tree::row::Row;

/// The output `disk`.
#[derive(Debug)]
struct Disk {
    /// The platforms that images are made for, each with its place.
    platforms: Vec<Spanned<&'static Platform>>,
    /// The formats of all images; `None` for those of each platform.
    formats: Option<Vec<Format>>,
    /// Length of the disks.
    size: Option<Spanned<Bytes>>,
    /// Whether whoever is at a console is logged in where that is stock.
    autologin: bool,
    /// Whether sysexts go to ROOT, because OEM is too small.
    on_root: bool,
    /// How the config of an image stands to user data of the platform.
    config: Standing,
    /// URL that machines report to, since no loader passes it to them.
    base_url: Option<BaseUrl>,
    /// Keys that have no effect, as there are no platforms.
    idle: Vec<Spanned<&'static str>>,
}

pub(super) fn read(options: &Options<'_>) -> Option<Box<dyn OutputFormat>> {
    let decoder = options.decoder;
    let given = options.get("platforms");
    let platforms = given.map(|node| {
        distinct(options, node, ("platform", "`platforms`"), Platform::of, || {
            PLATFORMS.iter().map(|platform| platform.id)
        })
    });
    let formats = options.get("formats");
    let formats = formats.map(|node| {
        let known = || Format::ALL.into_iter().map(|(_, name, _)| name);
        let formats = distinct(options, node, ("format", "`formats`"), Format::named, known);
        if formats.is_empty() {
            decoder.error(
                node,
                "`formats` needs at least one format; without the key each platform has its own",
            );
        }
        formats.into_iter().map(|format| format.value).collect()
    });
    let size = options.get("size").and_then(|node| Some(decoder.spanned(node, decoder.parsed(node)?)));
    let autologin = options.get("autologin").and_then(|node| decoder.boolean(node)).unwrap_or(false);
    let on_root = options.get("on_root").and_then(|node| decoder.boolean(node)).unwrap_or(false);
    let config: Option<Standing> = options.parsed("config");
    let base_url = options.parsed("base_url");
    let mut idle = Vec::new();
    if given.is_none() {
        let is_base = config == Some(Standing::Base);
        let flags = [(autologin, "autologin"), (on_root, "on_root"), (is_base, "config")];
        let given = flags.into_iter().filter_map(|(is_given, key)| is_given.then_some(key));
        let others = ["formats", "size", "base_url"].into_iter().chain(given);
        idle.extend(others.filter_map(|key| Some(decoder.spanned(options.get(key)?, key))));
    }
    Some(Box::new(Disk {
        platforms: platforms.unwrap_or_default(),
        formats,
        size,
        autologin,
        on_root,
        config: config.unwrap_or(Standing::Own),
        base_url,
        idle,
    }))
}

/// The items of a list that names some of a table's rows, each once. `kind` is what a row is, `list` the list's name.
fn distinct<T: Copy, I: Iterator<Item = &'static str>>(
    options: &Options<'_>,
    node: &Yaml,
    (kind, list): (&str, &str),
    row: impl Fn(&str) -> Option<T>,
    known: impl Fn() -> I,
) -> Vec<Spanned<T>> {
    let decoder = options.decoder;
    let mut seen: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for name in decoder.strings(node, list) {
        let finding = |text: String| Finding::error(text).at(name.place.clone());
        match row(&name.value) {
            _ if seen.contains(&name.value) => {
                decoder.push(finding(format!("`{}` is listed twice", name.value)));
            }
            None => {
                let finding = finding(format!("unknown {kind} `{}`", name.value));
                decoder.push(match nearest(&name.value, known()) {
                    Some(near) => finding.hint(format!("did you mean `{near}`?")),
                    None => finding.hint(format!("{kind}s: {}", known().collect::<Vec<_>>().join(", "))),
                });
            }
            Some(row) => rows.push(Spanned { value: row, place: name.place.clone() }),
        }
        seen.push(name.value);
    }
    rows
}

impl OutputFormat for Disk {
    fn stock_files(&self) -> &'static [(&'static str, Role)] {
        &[(DISK, Role::DiskImage), (VERSION_TXT, Role::Version)]
    }

    fn stock_inputs(&self) -> Vec<String> {
        self.platforms.iter().filter_map(|platform| disk_image::extension(platform.value)).collect()
    }

    fn steps<'p>(&self, planned: &Planned<'_, 'p>) -> Result<Vec<Step<'p>>> {
        if self.platforms.is_empty() {
            return Ok(Vec::new());
        }
        let version = planned.lock.version();
        let layout = version.map_or(&LAYOUTS[0], |Version([major, ..])| Layout::of_release(major));
        Findings::settle(self.sizes(&[layout]).collect(), ())?;
        let mut steps = Vec::new();
        for arch in planned.recipe.release.archs.iter().copied() {
            let decoded = disk_image::stock(arch, planned.lock);
            let key = decoded.key;
            steps.push(decoded);
            for boot in planned.boots.iter().filter(|boot| boot.arch == arch) {
                for (platform, format) in self.images() {
                    let wanted = Wanted {
                        platform: platform.value,
                        format,
                        size: self.size.as_ref().map(|size| size.value.0),
                        autologin: self.autologin,
                        on_root: self.on_root,
                        config: self.config,
                        arguments: self.arguments(planned.recipe, boot, platform.value),
                    };
                    steps.push(disk_image::step(planned, boot, wanted, layout, key)?);
                }
            }
        }
        Ok(steps)
    }

    fn base_url(&self) -> Option<&BaseUrl> {
        self.base_url.as_ref()
    }

    fn offers_every_profile(&self) -> bool {
        !self.platforms.is_empty()
    }

    fn leaves_user_data(&self) -> bool {
        !self.platforms.is_empty() && self.config == Standing::Base
    }

    fn check(&self, recipe: &Recipe) -> Vec<Finding> {
        if self.platforms.is_empty() {
            return Vec::new();
        }
        let layouts: Vec<&Layout> = match recipe.release.version {
            VersionWish::Exactly(Version([major, ..])) => vec![Layout::of_release(major)],
            VersionWish::Latest => LAYOUTS.iter().collect(),
        };
        let mut findings: Vec<Finding> = self.sizes(&layouts).collect();
        findings.extend(unpassed(recipe));
        findings
    }

    fn warnings(&self, recipe: &Recipe) -> Vec<Finding> {
        let idle = self.idle.iter().map(|key| {
            let text = format!("`{}` is for the images of platforms, and there is no `platforms`", key.value);
            Finding::warning(text).at(key.place.clone()).hint("name the platforms: `platforms: [qemu]`")
        });
        let mut warnings: Vec<Finding> = idle.collect();
        if !self.platforms.is_empty() {
            warnings.extend(without_secrets(recipe));
            warnings.extend(self.unfetched(recipe));
        }
        warnings
    }

    fn emit(&self, built: &Built<'_>) -> Vec<Row> {
        let row = |boot: &Boot, (platform, format): (&Spanned<&'static Platform>, Format)| {
            let image = built.made(&disk_image::id(&boot.id, platform.value, format))?;
            Some(Row {
                arch: Some(boot.arch),
                step: Some(image.step),
                ..Row::stored(
                    names::disk_image(&boot.id, platform.value.id, format.extension()),
                    Role::PlatformImage,
                    image.object,
                )
                .of(boot)
            })
        };
        let boots = built.artifacts.boots.iter();
        boots.flat_map(|boot| self.images().filter_map(move |image| row(boot, image))).collect()
    }
}

impl Disk {
    /// Platform and format of each image of a boot.
    fn images(&self) -> impl Iterator<Item = (&Spanned<&'static Platform>, Format)> {
        self.platforms.iter().flat_map(|platform| {
            let formats = self.formats.as_deref().unwrap_or(platform.value.formats);
            formats.iter().map(move |format| (platform, *format))
        })
    }

    /// Lengths that a platform refuses whichever of these layouts the release has.
    fn sizes(&self, layouts: &[&Layout]) -> impl Iterator<Item = Finding> {
        let place = |platform: &Spanned<&'static Platform>| -> Place {
            self.size.as_ref().map_or(&platform.place, |size| &size.place).clone()
        };
        self.platforms.iter().filter_map(move |platform| {
            let judged = layouts.iter().map(|layout| self.length(platform.value, layout));
            let refused: Vec<_> = judged.map_while(|judged| judged.err()).collect();
            let first = refused.first().filter(|_| refused.len() == layouts.len())?;
            let finding = Finding::error(first.to_string()).at(place(platform));
            Some(match first.hint() {
                Some(hint) => finding.hint(hint),
                None => finding,
            })
        })
    }

    /// The length of a platform's disks in bytes.
    fn length(&self, platform: &Platform, layout: &Layout) -> Result<u64, crate::disk::Error> {
        let asked = self.size.as_ref().map(|size| size.value.0);
        let needed = layout.table(Variant::Base).length;
        match asked.filter(|asked| *asked < needed) {
            Some(asked) => Err(crate::disk::Error::Small {
                subject: format!("`disk` for {}", platform.id),
                asked,
                needed,
            }),
            None => platform.length(layout, asked),
        }
    }

    /// The kernel arguments of a boot, but for the platform's own.
    fn arguments(&self, recipe: &Recipe, boot: &BootWish, platform: &Platform) -> Vec<String> {
        // GRUB says which platform it is by what OEM's grub.cfg sets.
        let is_platform = |arg: &String| OEM_ARGS.iter().any(|key| arg_value(arg, key).is_some());
        let own = boot.kernel_args.iter().filter(|arg| platform.oem_id.is_empty() || !is_platform(arg));
        let mut args: Vec<String> = own.cloned().collect();
        if let Some(base_url) = &self.base_url {
            args.push(report_arg(base_url));
            // No loader says over which card a machine boots, and an image that several machines share cannot name it.
            let node = recipe.nodes.iter().find(|node| boot.node.as_deref() == Some(&node.name.value));
            if let Some(mac) = node.and_then(|node| node.mac.as_ref()) {
                let [card, _] = card_args(&mac.to_string(), &mac.value.hyphened());
                args.push(card);
            }
        }
        args
    }

    /// A warning where machines could fetch their container images from no server.
    fn unfetched(&self, recipe: &Recipe) -> Option<Finding> {
        let images = recipe.kubernetes.as_ref()?.images.as_ref()?;
        let is_asset = images.carriage.value == Carriage::Asset && self.base_url.is_none();
        let text = "machines fetch their container images from a server, and their disk images name none";
        is_asset.then(|| {
            Finding::warning(text)
                .at(images.carriage.place.clone())
                .hint("add `base_url` to the options of `disk`, or carry the images: `images: sysext`")
        })
    }
}

/// Kernel arguments that cannot go through OEM's grub.cfg.
fn unpassed(recipe: &Recipe) -> impl Iterator<Item = Finding> {
    let args = recipe.profiles.values().flat_map(|profile| &profile.kernel_args);
    args.filter_map(|arg| {
        let error = oem::judge_arguments([&arg.value]).err()?;
        Some(
            Finding::error(error.to_string())
                .at(arg.place.clone())
                .hint("put the setting into the Ignition config"),
        )
    })
}

/// Warnings about boots whose secrets are on no image: what is published is for all.
fn without_secrets(recipe: &Recipe) -> impl Iterator<Item = Finding> {
    let of_profiles = recipe.profiles.iter().map(|(name, profile)| (name, &profile.private));
    let of_nodes = recipe.nodes.iter().map(|node| (&node.name.value, &node.private));
    of_profiles.chain(of_nodes).filter_map(|(name, private)| {
        let text = format!(
            "the disk images of `{name}` are without its private layers: all that is published is public"
        );
        Some(Finding::warning(text).at(private.first()?.place.clone()).hint(
            "have a unit fetch the secrets, or make an image that stays closed with `prebake disk inject`",
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bake::outputs::keys::{DISK_FORMATS, DISK_PLATFORMS};

    #[test]
    fn the_table_of_keys_has_every_platform_and_format() {
        let platforms: Vec<&str> = PLATFORMS.iter().map(|platform| platform.id).collect();
        assert_eq!(DISK_PLATFORMS.iter().map(|(id, _)| *id).collect::<Vec<_>>(), platforms);
        let named =
            |(id, name): &(&str, &str)| Platform::of(id).is_some_and(|platform| platform.name == *name);
        assert!(DISK_PLATFORMS[1..].iter().all(named));
        assert_eq!(DISK_FORMATS.map(|(name, _)| name), Format::ALL.map(|(_, name, _)| name));
    }
}
