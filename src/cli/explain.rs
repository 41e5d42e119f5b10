//! `prebake explain`

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::project::block_on;
use super::say::seen;
use super::serve::named_assets;
use super::status::ServerArgs;
use crate::base::count::counted;
use crate::base::error::{Advice, Exit, Result};
use crate::serve::endpoint::explain::{Explanation, explain};
use crate::serve::endpoint::request::{Request, World};
use crate::serve::loaders::Loaders;
use crate::serve::machines::monitor::Monitor;
use crate::serve::notice::Notices;
use crate::serve::site::content::{Additions, Content};
use crate::serve::site::datadir::Settings;
use crate::serve::site::labels::Labels;
use crate::tree::names::{ASSETS, Endpoint};
use crate::tree::open::Tree;
use crate::tree::records::normal_mac;

/// Show which group and profile a machine gets, why, and what it would receive
///
/// Asks a tree or a running server; the server also knows the machine's history. Exit code 1 if a machine that was named gets
/// nothing, as no group matches it; with --strict 3 if anything looks wrong.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// A build, such as output/kubernetes/current; without it, a server is asked
    tree: Option<PathBuf>,
    /// Machines that are served beside those of the tree, as `prebake serve --nodes`
    #[arg(long, value_name = "FILE", requires = "tree")]
    nodes: Option<PathBuf>,
    /// A Matchbox data directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "tree")]
    matchbox: Option<PathBuf>,
    /// Directory that the server has below /assets/, as `prebake serve --assets-path`; the data directory's own assets/ if
    /// absent, '' for none
    #[arg(long, value_name = "DIR", requires = "matchbox")]
    assets_path: Option<OsString>,
    /// The machine's MAC address
    #[arg(long, value_parser = mac)]
    mac: Option<String>,
    /// The machine's SMBIOS UUID
    #[arg(long)]
    uuid: Option<String>,
    /// Another label of the machine, such as arch=arm64 or serial=X
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    #[command(flatten)]
    server: ServerArgs,
    /// Fail if anything looks wrong, too
    #[arg(long)]
    strict: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The end of an explanation that is no success.
#[derive(Debug, thiserror::Error)]
enum Unexplained {
    #[error("a tree or data directory and a server were named, and only one of them can be asked")]
    Both,
    #[error("this machine gets nothing: no group matches it")]
    Nothing,
    #[error("{} about what this machine gets", counted(*.0, "warning"))]
    Doubts(usize),
}

impl Advice for Unexplained {
    fn exit(&self) -> Exit {
        match self {
            Unexplained::Both => Exit::Usage,
            Unexplained::Nothing => Exit::Failed,
            Unexplained::Doubts(_) => Exit::Config,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Unexplained::Both => Some("leave out one of the two".into()),
            // The explanation has the way out.
            Unexplained::Nothing | Unexplained::Doubts(_) => None,
        }
    }
}

fn mac(text: &str) -> Result<String, String> {
    normal_mac(text).ok_or_else(|| "not a MAC address".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

impl ExplainArgs {
    /// Prints the explanation.
    pub(crate) fn run(self) -> Result<()> {
        if (self.tree.is_some() || self.matchbox.is_some()) && self.server.is_named() {
            return Err(Unexplained::Both.into());
        }
        let query = self.query();
        let explanation: Explanation = match self.content()? {
            Some(content) => {
                let site = content.site();
                let monitor = Monitor::open(None)?;
                let request = Request {
                    method: &hyper::Method::GET,
                    path: Endpoint::Explain.path(),
                    query: &query,
                    scheme: "http",
                    headers: &hyper::HeaderMap::new(),
                    body: "",
                    now: SystemTime::now(),
                    peer: IpAddr::from([127, 0, 0, 1]),
                };
                explain(
                    &World { site: &site, monitor: &monitor, guard: None, loaders: &Loaders::default() },
                    &request,
                    &Labels::parse(&query),
                )
            }
            None => {
                let server = self.server.connect()?;
                block_on(async {
                    Ok(server.document(&format!("{}?{query}", Endpoint::Explain.path())).await?)
                })?
            }
        };
        match self.json {
            true => say!("{}", serde_json::to_string_pretty(&explanation).unwrap_or_default()),
            false => say_part!("{}", seen(&explanation.to_string())),
        }
        if query.is_empty() {
            tell!("no machine was named: name one with --mac, --uuid or --label");
        }
        match explanation.doubts.len() {
            _ if explanation.group.is_none() && !query.is_empty() => Err(Unexplained::Nothing.into()),
            0 => Ok(()),
            count if self.strict => Err(Unexplained::Doubts(count).into()),
            _ => Ok(()),
        }
    }

    /// The content on this disk, if a path was given.
    fn content(&self) -> Result<Option<Content>> {
        let notices: Notices = Arc::new(|_| {});
        Ok(match (&self.tree, &self.matchbox) {
            (Some(tree), _) => {
                let additions = Additions { nodes: self.nodes.clone(), ..Additions::default() };
                Some(Content::tree(tree, Box::new(Tree::directory), additions, notices)?)
            }
            (None, Some(directory)) => {
                let own = || Some(directory.join(ASSETS)).filter(|path| path.is_dir());
                let assets = named_assets(self.assets_path.clone()).unwrap_or_else(own);
                let settings = Settings { assets, ..Settings::default() };
                Some(Content::directory(directory, settings, notices)?)
            }
            (None, None) => None,
        })
    }

    /// The query string of the machine's request.
    fn query(&self) -> String {
        let known = [("mac", &self.mac), ("uuid", &self.uuid)];
        let known = known.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
        let others = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let pairs = known.chain(others).map(|(key, value)| format!("{}={}", encode(key), encode(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}
