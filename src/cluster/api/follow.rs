//! Follows a cluster by watches, through losses of its API server.
//!
//! One round is: ask `/readyz` until it is well, then watch, with a look at `/readyz` now and then so that an address whose machine
//! lost its power is found dead before TCP finds it. A round ends with the first thing that no longer answers, and the next one begins
//! with fresh connections.

use std::fmt::Debug;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::Request;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1 as core;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::change::{Change, Kind, Set, Workload};
use super::client::{Connection, Trouble};
use super::objects;

/// Time between two tries of an API server that does not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// How long `/readyz` may take before the server counts as silent. Control planes that start on slow disks take seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// Time between two looks at `/readyz` while all is well. With [`PATIENCE`], an address that went dead is told within half a minute.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Changes that may wait to be read. Watches stand still beyond it, so that memory stays flat.
const BACKLOG: usize = 64;
/// Objects of one page of a list.
const PAGE: u32 = 100;
/// The namespace of the control plane.
pub(super) const SYSTEM: &str = "kube-system";

/// Follows a cluster until it is dropped.
#[derive(Debug)]
pub struct Follower {
    changes: mpsc::Receiver<Change>,
    task: JoinHandle<()>,
}

impl Follower {
    /// Begins; nothing needs to answer yet. Must be called within a runtime.
    pub fn new(connection: &Connection) -> Follower {
        let (sender, changes) = mpsc::channel(BACKLOG);
        let task = tokio::spawn(follow(connection.clone(), sender));
        Follower { changes, task }
    }

    /// The next change. It may be dropped and called again without losing any.
    pub async fn next(&mut self) -> Change {
        match self.changes.recv().await {
            Some(change) => change,
            // The task ends with the follower, or with the runtime.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(connection: Connection, sender: mpsc::Sender<Change>) {
    let mut told = None;
    loop {
        let Err(trouble) = round(&connection, &sender, &mut told).await;
        if told.as_ref() != Some(&trouble) {
            let _ = sender.send(Change::Lost(trouble.clone())).await;
            told = Some(trouble);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// From the first answer to the loss of the server, which is what it returns.
async fn round(
    connection: &Connection,
    sender: &mpsc::Sender<Change>,
    told: &mut Option<Trouble>,
) -> Result<std::convert::Infallible, Trouble> {
    let client = connection.client().map_err(|error| Trouble::of(&error))?;
    ready(&client).await?;
    let version = client.apiserver_version().await.map_err(|error| Trouble::of(&error))?.git_version;
    let _ = sender.send(Change::Answers { version }).await;
    *told = None;
    let nodes = watch::<core::Node, _>(
        Api::all(client.clone()),
        "nodes",
        sender,
        |it| Some(it.into()),
        Change::Nodes,
    );
    let pods = Api::namespaced(client.clone(), SYSTEM);
    let pods = watch::<core::Pod, _>(pods, "pods", sender, |it| Some(it.into()), Change::Pods);
    let deployments = workloads::<Deployment>(&client, Kind::Deployment, sender, |it| Some(it.into()));
    let daemon_sets = workloads::<DaemonSet>(&client, Kind::DaemonSet, sender, |it| Some(it.into()));
    let stateful_sets = workloads::<StatefulSet>(&client, Kind::StatefulSet, sender, |it| Some(it.into()));
    let jobs = workloads::<Job>(&client, Kind::Job, sender, objects::job);
    tokio::select! {
        trouble = nodes => Err(trouble),
        trouble = pods => Err(trouble),
        trouble = deployments => Err(trouble),
        trouble = daemon_sets => Err(trouble),
        trouble = stateful_sets => Err(trouble),
        trouble = jobs => Err(trouble),
        trouble = heartbeat(&client) => Err(trouble),
    }
}

/// Watches one kind of workloads in all namespaces.
async fn workloads<K>(
    client: &Client,
    kind: Kind,
    sender: &mpsc::Sender<Change>,
    convert: impl Fn(K) -> Option<Workload>,
) -> Trouble
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Debug
        + Send
        + 'static,
{
    watch(Api::<K>::all(client.clone()), kind.plural(), sender, convert, |set| Change::Workloads(kind, set))
        .await
}

/// Watches until nothing answers any more. `kube` lists and watches again by itself when a watch has run its time, and begins with
/// [`watcher::Event::Init`] each time that it cannot know what it missed.
async fn watch<K, T>(
    api: Api<K>,
    what: &'static str,
    sender: &mpsc::Sender<Change>,
    convert: impl Fn(K) -> Option<T>,
    wrap: impl Fn(Set<T>) -> Change,
) -> Trouble
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let stream = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
    let mut stream = pin!(stream);
    let mut listed = Vec::new();
    let mut blind = None;
    loop {
        let set = match stream.next().await {
            Some(Ok(watcher::Event::Init)) => {
                listed.clear();
                continue;
            }
            Some(Ok(watcher::Event::InitApply(object))) => {
                listed.extend(convert(object));
                continue;
            }
            Some(Ok(watcher::Event::InitDone)) => Some(Set::All(std::mem::take(&mut listed))),
            Some(Ok(watcher::Event::Apply(object))) => convert(object).map(Set::One),
            Some(Ok(watcher::Event::Delete(object))) => convert(object).map(Set::Gone),
            // Too old a version of the list: everything is listed anew.
            Some(Err(watcher::Error::WatchError(status))) if status.code == 410 => continue,
            Some(Err(error)) => {
                let trouble = Trouble::of(&error);
                if trouble.is_network || trouble.is_refusal {
                    return trouble;
                }
                if blind.as_ref() != Some(&trouble) {
                    let _ = sender.send(Change::Blind { what, trouble: trouble.clone() }).await;
                    blind = Some(trouble);
                }
                continue;
            }
            None => return Trouble::silent(PATIENCE),
        };
        let Some(set) = set else { continue };
        blind = None;
        // An error means that nobody reads any more, and that this task is about to be ended.
        let _ = sender.send(wrap(set)).await;
    }
}

/// Returns once the server is not well any more.
async fn heartbeat(client: &Client) -> Trouble {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if let Err(trouble) = ready(client).await {
            return trouble;
        }
    }
}

/// Whether the API server is ready to serve, etcd and all.
pub(super) async fn ready(client: &Client) -> Result<(), Trouble> {
    let Ok(request) = Request::get("/readyz?verbose").body(Vec::new()) else { return Ok(()) };
    match tokio::time::timeout(PATIENCE, client.request_text(request)).await {
        Err(_) => Err(Trouble::silent(PATIENCE)),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(not_ready(&error).unwrap_or_else(|| Trouble::of(&error))),
    }
}

/// The checks that failed, of an answer that has a line such as `[-]etcd failed: reason withheld` for each.
fn not_ready(error: &kube::Error) -> Option<Trouble> {
    let kube::Error::Api(status) = error else { return None };
    let lines = status.message.lines().filter_map(|line| line.trim().strip_prefix("[-]"));
    let failed: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    let is_etcd = failed.iter().any(|check| check.starts_with("etcd"));
    let hint = if is_etcd { ETCD } else { STARTS };
    (!failed.is_empty()).then(|| Trouble {
        why: format!("it answers, and is not ready: {}", failed.join(", ")),
        hint: Some(hint.to_owned()),
        is_network: true,
        is_refusal: false,
    })
}

/// The places to look at if the API server misses etcd.
const ETCD: &str = "etcd has no quorum or no answer: look at `crictl logs` of etcd on the controllers, and whether most of them are up";
/// The places to look at if other checks fail.
const STARTS: &str = "it may be starting; `crictl logs` of kube-apiserver on the controllers says more";
