//! `prebake cluster serve`

use std::path::Path;
use std::sync::Arc;

use clap::Args;

use super::Described;
use super::generate::PaceArg;
use super::serving::{self, ServingArgs};
use crate::base::error::{Advice, Exit, Result};
use crate::base::unfinished;
use crate::cluster::hold::Hold;
use crate::cluster::pki::JOINING_RENEWED;
use crate::cluster::place::Place;
use crate::cluster::templates::Templates;

/// Serve what `generate` or `init` made: for machines that boot over the network each time, and for later installations
///
/// The same server as in `init`: HTTP on port 8080, TFTP, and DHCP or proxyDHCP, with the configs with secrets for each machine. Credentials
/// to join with last a day and are made anew each hour. `prebake serve` of the same tree serves it, too, but makes nothing anew.
#[derive(Args)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    described: Described,
    #[command(flatten)]
    serving: ServingArgs,
    #[command(flatten)]
    pace: PaceArg,
}

/// There is nothing to serve.
#[derive(Debug, thiserror::Error)]
#[error("there is no tree at {0}")]
struct NoTree(String);

impl Advice for NoTree {
    fn exit(&self) -> Exit {
        Exit::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("`prebake cluster generate` makes it; --output names another place".into())
    }
}

impl ServeArgs {
    /// Runs the verb.
    pub(super) fn run(self) -> Result<()> {
        let cluster = super::load(&self.described.path())?;
        let place = Place::new(&self.described.output, &cluster.name.value);
        if !place.tree().exists() {
            return Err(NoTree(place.tree().display().to_string()).into());
        }
        let hold = Hold::take(&place, "serve")?;
        let signals = unfinished::end_on_signals();
        let templates = Arc::new(Templates::load(self.described.templates())?);
        serving::renew(&cluster, &place, &templates, self.pace.pace())?;
        signals.into_iter().for_each(unfinished::Ending::stop);
        let reads: Vec<&Path> = self.described.templates().into_iter().collect();
        let Some(ready) = self.serving.prepare(&cluster, &place, &reads, false)? else { return Ok(()) };
        let renew = serving::renewal(Arc::new(cluster), place, templates, self.pace.pace());
        ready.run(move |_| async move {
            let _hold = hold;
            loop {
                tokio::time::sleep(JOINING_RENEWED).await;
                if let Err(error) = renew() {
                    tell!("warning: what machines join with cannot be made anew: {error}");
                }
            }
        })
    }
}
