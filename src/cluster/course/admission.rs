//! The right to join, which a teardown took: it is given back to a cluster that runs and gets further machines.

use std::time::Instant;

use tokio::task::JoinHandle;

use super::{AGAIN, Run};
use crate::cluster::api::retire::admit;

/// The state of the right to join.
#[derive(Default)]
pub(super) struct Admission {
    is_given: bool,
    /// The running work: in return what was missing, or why it is not given.
    running: Option<JoinHandle<Result<Vec<&'static str>, String>>>,
    /// When it last failed, and why.
    failed: Option<(Instant, String)>,
}

impl Run {
    /// Lets machines join, once the API server answers and nodes are awaited.
    pub(super) async fn admit(&mut self) {
        if let Some(done) = self.admission.running.take_if(|running| running.is_finished()) {
            match done.await.unwrap_or_else(|fault| Err(fault.to_string())) {
                Ok(made) => {
                    self.admission.is_given = true;
                    if !made.is_empty() {
                        let text = format!("machines can join again: {} are back", made.join(" and "));
                        self.course.line(None, &text);
                    }
                }
                Err(why) => {
                    if self.admission.failed.as_ref().is_none_or(|(_, known)| *known != why) {
                        self.course.line(None, &why);
                    }
                    self.admission.failed = Some((Instant::now(), why));
                }
            }
        }
        let rests = self.admission.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < AGAIN);
        // A cluster without nodes is one that kubeadm has not finished yet: it makes them itself.
        let is_due =
            !self.snapshot.nodes.is_empty() && self.snapshot.knows_nodes() && !self.are_nodes_ready();
        if !is_due || self.admission.is_given || self.admission.running.is_some() || rests {
            return;
        }
        let connection = self.course.connection.clone();
        let work = async move { admit(&connection).await.map_err(|error| error.to_string()) };
        self.admission.running = Some(tokio::spawn(work));
    }
}
