//! `install:` of a profile: the disk to install Flatcar to, and when to install it again.

use std::fmt::Write;

use super::keys::INSTALL;
use crate::base::size::Bytes;
use crate::base::yaml::Node as Yaml;
use crate::base::yaml::decode::Decoder;
use crate::flatcar::version::Version;
use crate::machine::base_url::BaseUrl;
use crate::machine::device::is_device;
use crate::tree::names::{INSTALL_CONFIG, INSTALL_SERVER, INSTALL_STOCK, INSTALL_VERSION};

/// The sysext that installs, and the one that reports; neither is of use on an installed system.
pub(crate) const SYSEXTS: [&str; 2] = ["install", "report"];

/// Lower limit: on a smaller disk no installation fits, since the disk image of 4593 unpacks to 7.88 GiB.
const MIN_SIZE: Bytes = Bytes(8 << 30);

/// A two-stage installation: a machine boots from memory, installs Flatcar to its disk and boots from that.
#[derive(Debug)]
pub struct Install {
    /// A device file, preferably one of /dev/disk/by-id.
    device: Option<String>,
    /// Model as `lsblk` prints it.
    model: Option<String>,
    /// Serial number as `lsblk` prints it.
    serial: Option<String>,
    /// Lower limit for the size of the disk.
    min_size: Bytes,
    /// A disk with an installation of the same generation is left alone.
    pub generation: u32,
    /// Whether other contents of the disk may be overwritten.
    wipe: bool,
    /// URL of the tree, if the server that boots the machine does not pass it.
    base_url: Option<BaseUrl>,
}

impl Install {
    /// Reads the options. At least one of them must identify the disk.
    pub(crate) fn read(decoder: &Decoder, node: &Yaml) -> Self {
        let fields = decoder.fields(node, &INSTALL);
        // Becomes a value in single quotes in a shell script.
        let text = |key| {
            let node = fields.get(key)?;
            let text = decoder.string(node)?;
            if text.is_empty() || text.contains('\'') || text.chars().any(char::is_control) {
                decoder.error(node, format!("`{key}` must be plain text without quotes"));
            }
            Some(text)
        };
        let (device, model, serial) = (text("device"), text("model"), text("serial"));
        if let (Some(device), Some(node)) = (&device, fields.get("device"))
            && !is_device(device)
        {
            decoder.error(node, format!("`{device}` is not a device such as /dev/disk/by-id/nvme-…"));
        }
        if device.is_none() && model.is_none() && serial.is_none() {
            decoder.error(node, "`install` needs a `device`, `model` or `serial` to identify the disk");
        }
        let min_size = fields.get("min_size").and_then(|node| decoder.parsed(node));
        let generation = fields.get("generation").and_then(|node| decoder.parsed(node));
        let wipe = fields.get("wipe").and_then(|node| decoder.boolean(node));
        let base_url = fields.get("base_url").and_then(|node| decoder.parsed(node));
        let (min_size, generation) = (min_size.unwrap_or(MIN_SIZE), generation.unwrap_or(1));
        Install { device, model, serial, min_size, generation, wipe: wipe.unwrap_or(false), base_url }
    }

    /// The file that the `install` sysext reads: `stock` is the directory of the disk images in the tree, `config` the
    /// Ignition config of the installed system, `base_url` the fallback if `install` has none.
    pub(crate) fn conf(
        &self,
        version: Version,
        stock: &str,
        config: &str,
        base_url: Option<&BaseUrl>,
    ) -> String {
        let or_empty = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut conf = String::new();
        for (key, value) in [
            (INSTALL_VERSION, version.to_string()),
            (INSTALL_STOCK, stock.to_owned()),
            (INSTALL_CONFIG, config.to_owned()),
            ("GENERATION", self.generation.to_string()),
            ("WIPE", if self.wipe { "yes" } else { "no" }.to_owned()),
            (INSTALL_SERVER, self.base_url.as_ref().or(base_url).map(BaseUrl::to_string).unwrap_or_default()),
            ("DEVICE", or_empty(&self.device)),
            ("MODEL", or_empty(&self.model)),
            ("SERIAL", or_empty(&self.serial)),
            ("MIN_BYTES", self.min_size.0.to_string()),
        ] {
            let _ = writeln!(conf, "{key}='{value}'");
        }
        conf
    }
}
