//! `prebake disk inject`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::contents::{ContentArgs, judged};
use super::output::OutputArgs;
use super::source::{SourceArgs, as_json};
use super::{Misuse, PlatformArg};
use crate::base::count::counted;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::disk::make::Wish;
use crate::disk::payload::Payload;
use crate::disk::platform::GENERIC;
use crate::format::disk::Format;

/// Put Ignition, sysexts, files and kernel arguments into a disk image
///
/// All of it goes to the partition OEM: config.ign is Flatcar's Ignition config on the first boot, sysexts are linked to
/// /etc/extensions by a layer below yours, images lie in /oem/images, kernel arguments take effect on the first boot
/// already. An earlier injection is replaced. `remove` gives the stock content back. --on-root puts sysexts and images on
/// ROOT, which needs `debugfs` of e2fsprogs.
///
/// The image may be raw, qcow2, vmdk, vhd, an OVA or Google's tar.gz, packed with bzip2, gzip, zstd or xz, or come from
/// standard input (-).
#[derive(Args)]
pub(super) struct InjectArgs {
    /// The image, such as flatcar_production_image.bin.bz2
    #[arg(value_name = "IMAGE")]
    disk: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
    /// Make a generic image one for this platform, such as proxmoxve
    #[arg(long, value_name = "ID")]
    platform: Option<PlatformArg>,
    /// The platform's extension, oem-ID.raw, as published beside the image; oem-ID.raw.sig is judged if it lies beside it
    #[arg(long, value_name = "FILE", requires = "platform")]
    extension: Option<PathBuf>,
    /// Length of the disk; ROOT gets all that this adds, at its first boot
    #[arg(long, value_name = "SIZE")]
    size: Option<Bytes>,
    /// Take the platform's automatic login at consoles away (it is taken away with --platform, too)
    #[arg(long)]
    no_autologin: bool,
    /// Keep that login in an image that is made with --platform
    #[arg(long, requires = "platform", conflicts_with = "no_autologin")]
    autologin: bool,
    #[command(flatten)]
    contents: ContentArgs,
    /// Seconds since 1970 that new files carry
    #[arg(long, env = "SOURCE_DATE_EPOCH", default_value_t = 0, value_name = "SECONDS")]
    epoch: u64,
    #[command(flatten)]
    source: SourceArgs,
}

impl InjectArgs {
    pub(super) fn run(self) -> Result<()> {
        let mut payload = Payload::default();
        if let Some(PlatformArg(platform)) = self.platform {
            if platform.extension && self.extension.is_none() {
                return Err(Misuse::NoExtension(platform).into());
            }
            self.extension.iter().try_for_each(|extension| self.source.judge(extension))?;
            payload.platform(platform, self.extension.as_deref())?;
        }
        if self.no_autologin || (self.platform.is_some() && !self.autologin) {
            payload.drop_autologin();
        }
        self.contents.add(&mut payload)?;
        if self.contents.is_empty() && self.platform.is_none() && !self.no_autologin {
            return Err(Misuse::Nothing.into());
        }
        let (injection, told) = judged(payload)?;
        let wish = Wish {
            injection: Some(&injection),
            platform: self.platform.map(|platform| platform.0),
            length: self.size.map(|size| size.0),
            epoch: self.epoch,
            digest: self.source.common.json,
            ..Wish::of_format(Format::Raw)
        };
        let (made, format, signed) = self.output.make(self.source.open(&self.disk)?, wish)?;
        let path = self.output.output.display();
        if self.source.common.json {
            say!(
                "{:#}",
                json!({
                    "file": path.to_string(), "bytes": made.bytes, "sha256": made.sha256,
                    "disk_bytes": made.disk_bytes, "platform": made.platform.as_deref().unwrap_or(GENERIC), "injected": made.injected,
                    "format": format.name(), "removed": made.removed,
                    "on_root": made.on_root, "replaced": !made.removed.is_empty(), "room": made.room,
                    "advice": made.advice, "findings": told.iter().chain(&made.findings).collect::<Vec<_>>(),
                    "signature": as_json(signed.as_ref()),
                })
            );
            return Ok(());
        }
        let platform = made.platform.as_deref().unwrap_or(GENERIC);
        let room = made.room.map_or_else(String::new, |room| format!("; {room}"));
        let gone: Vec<&str> =
            made.removed.iter().filter(|path| !made.injected.contains(path)).map(String::as_str).collect();
        let replaced = match (made.removed.is_empty(), gone.is_empty()) {
            (true, _) => String::new(),
            (false, true) => ", in place of an earlier injection".into(),
            (false, false) => format!(", in place of an earlier injection with {}", gone.join(", ")),
        };
        let on_root = match made.on_root.len() {
            0 => String::new(),
            count => format!(", {count} on ROOT"),
        };
        say!(
            "{path}: {} for {platform}, {} on OEM{on_root}{replaced}{room}",
            format.name(),
            counted(made.injected.len() as u64, "file")
        );
        Ok(())
    }
}
