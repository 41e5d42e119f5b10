//! `prebake disk inject`

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::contents::{ContentArgs, judged};
use super::{Misuse, OutputArgs, PlatformArg, input};
use crate::base::count::counted;
use crate::base::error::Result;
use crate::base::size::Bytes;
use crate::disk::make::Wish;
use crate::disk::payload::Payload;
use crate::format::disk::Format;

/// Put Ignition, sysexts, files and kernel arguments into a disk image
///
/// All of it goes to the partition OEM: config.ign is Flatcar's Ignition config on the first boot, sysexts are linked to
/// /etc/extensions by a layer below yours, images lie in /oem/images, kernel arguments take effect on the first boot
/// already. An earlier injection is replaced. `remove` gives the stock content back.
///
/// The image may be raw or qcow2, packed with bzip2, gzip, zstd or xz, or come from standard input (-).
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
    /// The platform's extension, oem-ID.raw, as published beside the image
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl InjectArgs {
    pub(super) fn run(self) -> Result<()> {
        let mut payload = Payload::default();
        if let Some(PlatformArg(platform)) = self.platform {
            if platform.extension && self.extension.is_none() {
                return Err(Misuse::NoExtension(platform).into());
            }
            payload.platform(platform, self.extension.as_deref())?;
        }
        if self.no_autologin || (self.platform.is_some() && !self.autologin) {
            payload.drop_autologin();
        }
        self.contents.add(&mut payload)?;
        if self.contents.is_empty() && self.platform.is_none() && !self.no_autologin {
            return Err(Misuse::Nothing.into());
        }
        let injection = judged(payload)?;
        let wish = Wish {
            injection: Some(&injection),
            platform: self.platform.map(|platform| platform.0),
            length: self.size.map(|size| size.0),
            epoch: self.epoch,
            ..Wish::of_format(Format::Raw)
        };
        let made = self.output.make(input(&self.disk)?, wish)?;
        let path = self.output.output.display();
        if self.json {
            let room = made.room.map(|room| {
                json!({"length": room.length, "there": room.there, "reserve": room.reserve, "free": room.free})
            });
            say!(
                "{:#}",
                json!({
                    "file": path.to_string(), "bytes": made.bytes, "disk_bytes": made.disk_bytes,
                    "platform": made.platform, "injected": made.injected, "replaced": !made.removed.is_empty(),
                    "room": room, "advice": made.advice, "findings": made.findings,
                })
            );
            return Ok(());
        }
        let platform = made.platform.unwrap_or_else(|| "generic".into());
        let room = made.room.map_or_else(String::new, |room| format!("; {room}"));
        let replaced = if made.removed.is_empty() { "" } else { ", replacing an earlier injection" };
        say!("{path}: {platform}, {} on OEM{replaced}{room}", counted(made.injected.len() as u64, "file"));
        Ok(())
    }
}
