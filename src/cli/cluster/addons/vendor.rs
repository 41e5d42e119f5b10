//! `prebake cluster addons vendor`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::super::reach::description;
use crate::addon::record;
use crate::addon::vendor::{Place, Vendored, Wish, vendor};
use crate::base::error::Result;
use crate::cli::project::block_on;
use crate::cluster::api::addons::{DIRECTORY, way_out};
use crate::cluster::description::Cluster;

/// Fetch the manifests of an add-on into a directory beside the description, with a record of their digests
///
/// Known by name are calico, cert-manager, cilium, flannel, gpu-operator, kured, longhorn, metallb, nebraska and rook; --url and
/// --chart take any other. Charts are rendered by the `helm` that is installed here, once: the result is what is applied, and its
/// images are those that are locked. To vendor another version, run it again.
#[derive(Args)]
pub(crate) struct VendorArgs {
    /// The add-on, and its version if another one than the usual is wanted
    #[arg(value_name = "NAME[@VERSION]")]
    name: String,
    /// The cluster's description [default: /config/cluster.yaml if it is there, else cluster.yaml]
    #[arg(value_name = "CLUSTER")]
    file: Option<PathBuf>,
    /// A manifest to fetch; several in the order in which they are applied
    #[arg(long, value_name = "URL", conflicts_with = "chart")]
    url: Vec<String>,
    /// A chart to render: REPOSITORY-URL/NAME, oci://…, or a directory or archive
    #[arg(long, value_name = "CHART")]
    chart: Option<String>,
    /// Values of the chart
    #[arg(long, value_name = "FILE")]
    values: Vec<PathBuf>,
    /// One value of the chart
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Namespace of the chart's release
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Print what was vendored as JSON
    #[arg(long)]
    json: bool,
}

impl VendorArgs {
    /// Fetches, and says what came.
    pub(crate) fn run(self) -> Result<()> {
        let file = description(self.file.as_deref());
        let cluster = match &file {
            Some(file) => Some(Cluster::load(file)?.0),
            None => None,
        };
        let (name, version) = match self.name.split_once('@') {
            Some((name, version)) => (name, Some(version.trim_start_matches('v').to_owned())),
            None => (self.name.as_str(), None),
        };
        let from = match (self.chart, self.url.is_empty()) {
            (Some(chart), _) => Some(Place::Chart(chart)),
            (None, false) => Some(Place::Urls(self.url)),
            (None, true) => None,
        };
        let wish = Wish {
            name: name.to_owned(),
            version,
            from,
            values: self.values,
            settings: self.settings,
            namespace: self.namespace,
            kubernetes: cluster.as_ref().map(|cluster| cluster.kubernetes.value.clone()),
            pods: cluster.as_ref().map(|cluster| cluster.pods.value.to_string()),
            images: Vec::new(),
            way_out: way_out(name),
        };
        let beside = file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let directory = beside.join(DIRECTORY).join(name);
        let Vendored { record, images, remark } = block_on(async { Ok(vendor(&wish, &directory).await?) })?;
        let lock = directory.join(record::NAME);
        if self.json {
            let document =
                json!({"directory": directory, "record": record, "images": images, "remark": remark});
            say!("{document:#}");
            return Ok(());
        }
        let version = if record.version.is_empty() { String::new() } else { format!(" {}", record.version) };
        say!("{name}{version} is in {}, recorded in {}", directory.display(), lock.display());
        for image in &images {
            say!("  {image}");
        }
        if !remark.is_empty() {
            tell!("note: {remark}");
        }
        Ok(())
    }
}
