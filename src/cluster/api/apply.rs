//! Applies objects as `kubectl apply --server-side` does, in waves: namespaces, definitions, all else, and what webhooks must let pass.
//!
//! Nothing is guessed about dependencies. An object that fails for a reason that passes by itself (a kind that is not served yet, a
//! webhook whose pods are not up, an API server that is away) is tried again, after the others, until its time is over; all else is
//! an error at once.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{ApiResource, Scope, pinned_kind};
use serde_json::Value;
use tokio::time::Instant;

use super::client::{Connection, Trouble};
use super::objects::MANAGER;
use crate::addon::Addon;
use crate::addon::manifest::Document;
use crate::base::count::counted;
use crate::base::error::{Advice, Exit};

/// How long an add-on may take to be applied. Webhooks answer once their pods run, which may have to pull images first.
pub const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Pauses between two tries: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Objects that an error names.
const NAMED: usize = 20;

/// Objects that could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No client.
    #[error(transparent)]
    Client(#[from] super::client::Error),
    /// The API server refuses objects.
    #[error("the add-on {addon} cannot be applied: {} refused{}", counted(refused.len(), "object"), listed(refused))]
    Refused {
        /// Name of the add-on.
        addon: String,
        /// Each object with its place, and the cause.
        refused: Vec<Refused>,
    },
    /// Time is over.
    #[error("the add-on {addon} is not applied within {}: {} left{}", humantime::format_duration(*limit), counted(left.len(), "object"), listed(left))]
    Late {
        /// Name of the add-on.
        addon: String,
        /// The limit.
        limit: Duration,
        /// Each object that is left, with the last cause.
        left: Vec<Refused>,
    },
}

/// An object that was not applied.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Kind, namespace and name.
    pub object: String,
    /// `FILE:LINE`.
    pub place: String,
    /// The API server's refusal, or the last of its errors.
    pub why: String,
}

fn listed(refused: &[Refused]) -> String {
    let line = |it: &Refused| format!("\n  {}: {}: {}", it.place, it.object, it.why);
    let more = refused.len().saturating_sub(NAMED);
    let more = if more > 0 { format!("\n  and {more} more") } else { String::new() };
    refused.iter().take(NAMED).map(line).collect::<String>() + &more
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        match self {
            Error::Client(error) => error.exit(),
            Error::Refused { .. } => Exit::Failed,
            Error::Late { .. } => Exit::TimedOut,
        }
    }

    fn hint(&self) -> Option<String> {
        let list = match self {
            Error::Client(error) => return error.hint(),
            Error::Refused { refused, .. } => refused,
            Error::Late { left, .. } => left,
        };
        let says = |text: &str| list.iter().any(|it| it.why.contains(text));
        Some(match () {
            () if says("immutable") => {
                "fields of it cannot change: delete the object with kubectl, or give the new one another name".into()
            }
            () if says("webhook") => {
                "the pods behind the webhook do not answer: `kubectl get pods -A` shows them; their images may be missing".into()
            }
            () if says("no such kind") => {
                "a definition (CustomResourceDefinition) of that kind belongs among the manifests, or the kind is of another version of Kubernetes".into()
            }
            () if says("not declared in schema") => "`kubectl explain` shows the fields that there are".into(),
            () => "`kubectl apply --server-side --dry-run=server -f FILE` shows the same for one file".into(),
        })
    }
}

/// The result of applying an add-on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Objects.
    pub objects: usize,
    /// Those that were not there, or otherwise.
    pub changed: usize,
}

/// A failed try.
enum Failure {
    /// It may pass by itself.
    Passing(String),
    Final(String),
}

/// The objects of one wave are applied before those of the next are tried.
fn wave(document: &Document) -> u8 {
    match document.kind.as_str() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        _ => 2,
    }
}

/// Order within a wave: what pods need before they start, then pods, then what would stand in the way of all that comes before,
/// and last the objects of kinds that an add-on brings itself.
fn rank(document: &Document) -> u8 {
    match document.kind.as_str() {
        "PriorityClass" | "RuntimeClass" | "StorageClass" | "ResourceQuota" | "LimitRange" => 0,
        "ServiceAccount" | "Secret" | "ConfigMap" => 1,
        "ClusterRole" | "Role" => 2,
        "ClusterRoleBinding" | "RoleBinding" => 3,
        "Service" | "PersistentVolume" | "PersistentVolumeClaim" => 4,
        "APIService" => 6,
        "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration" | "ValidatingAdmissionPolicy" => 7,
        "ValidatingAdmissionPolicyBinding" => 8,
        _ if is_builtin(&document.api_version) => 5,
        _ => 9,
    }
}

/// Whether Kubernetes itself serves a version of objects.
fn is_builtin(api_version: &str) -> bool {
    let group = api_version.split_once('/').map_or("", |(group, _)| group);
    !group.contains('.') || group.ends_with(".k8s.io") && !group.contains(".x-k8s.io")
}

/// Applies an add-on; `tell` gets a line for what people would notice. Objects that are as they should be stay untouched.
///
/// # Errors
/// The API server refuses objects, or does not take them within the limit.
pub async fn apply(
    connection: &Connection,
    addon: &Addon,
    limit: Duration,
    tell: &mut (dyn FnMut(String) + Send),
) -> Result<Applied, Error> {
    let client = connection.client().map_err(|error| connection.failed(&error))?;
    let mut applier =
        Applier { client, kinds: HashMap::new(), deadline: Instant::now() + limit, done: Applied::default() };
    let mut documents: Vec<&Document> = addon.documents.iter().collect();
    documents.sort_by_key(|document| (wave(document), rank(document)));
    for wave in documents.chunk_by(|a, b| wave(a) == wave(b)) {
        if let Err((is_final, left)) = applier.wave(wave, tell).await {
            let addon = addon.name.clone();
            return Err(match is_final {
                true => Error::Refused { addon, refused: left },
                false => Error::Late { addon, limit, left },
            });
        }
    }
    Ok(applier.done)
}

/// Where objects of a kind go.
#[derive(Clone)]
struct Route {
    resource: ApiResource,
    is_namespaced: bool,
}

struct Applier {
    client: Client,
    /// Kinds that the server has told. One that it did not know a moment ago may be there now, so nothing is kept of those.
    kinds: HashMap<(String, String), Route>,
    deadline: Instant,
    done: Applied,
}

impl Applier {
    /// Applies all objects of a wave, again and again; in case of failure, whether it is final, and the objects.
    async fn wave(
        &mut self,
        documents: &[&Document],
        tell: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), (bool, Vec<Refused>)> {
        let mut open: Vec<&Document> = documents.to_vec();
        let mut pause = PAUSES.0;
        let mut said = String::new();
        loop {
            let (mut refused, mut passing) = (Vec::new(), Vec::new());
            let mut left = Vec::new();
            for document in open.iter().copied() {
                let place = format!("{}:{}", document.place.source.name, document.place.line);
                let failed = |why| Refused { object: document.identity(), place, why };
                match self.one(document, tell).await {
                    Ok(()) => {}
                    Err(Failure::Final(why)) => refused.push(failed(why)),
                    Err(Failure::Passing(why)) => {
                        passing.push(failed(why));
                        left.push(document);
                    }
                }
            }
            if !refused.is_empty() {
                return Err((true, refused));
            }
            let Some(first) = passing.first() else { return Ok(()) };
            if Instant::now() + pause >= self.deadline {
                return Err((false, passing));
            }
            let line = format!("{} must wait: {}", first.object, first.why);
            // Short waits are usual, and of no interest.
            if line != said && pause > PAUSES.0 * 4 {
                tell(line.clone());
                said = line;
            }
            let is_progress = left.len() < open.len();
            open = left;
            tokio::time::sleep(pause).await;
            pause = if is_progress { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
        }
    }

    async fn one(
        &mut self,
        document: &Document,
        tell: &mut (dyn FnMut(String) + Send),
    ) -> Result<(), Failure> {
        let route = self.route(document).await?;
        let mut value = document.value.clone();
        let namespace = document.namespace.as_deref().unwrap_or(&document.home);
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            // The server's own; a manifest that was exported with kubectl has them.
            for key in
                ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"]
            {
                metadata.remove(key);
            }
            match route.is_namespaced {
                true => drop(metadata.insert("namespace".into(), namespace.into())),
                false => drop(metadata.remove("namespace")),
            }
        }
        let api: Api<DynamicObject> = match route.is_namespaced {
            true => Api::namespaced_with(self.client.clone(), namespace, &route.resource),
            false => Api::all_with(self.client.clone(), &route.resource),
        };
        let before = api.get_opt(&document.name).await.map_err(|error| failure(&error))?;
        let params = PatchParams::apply(MANAGER);
        let after = match api.patch(&document.name, &params, &Patch::Apply(&value)).await {
            Err(kube::Error::Api(status)) if status.code == 409 && status.message.contains("conflict") => {
                // The description says how it shall be; what somebody else changed is told, and goes.
                tell(format!("{}: taken over: {}", document.identity(), one_line(&status.message)));
                api.patch(&document.name, &params.clone().force(), &Patch::Apply(&value)).await
            }
            other => other,
        };
        let after = after.map_err(|error| failure(&error))?;
        // Before a definition is awaited: the next try of it finds what this one wrote.
        self.done.changed += usize::from(!before.is_some_and(|before| is_same(before, after)));
        if document.kind == "CustomResourceDefinition" {
            self.established(&document.name).await?;
        }
        self.done.objects += 1;
        Ok(())
    }

    async fn route(&mut self, document: &Document) -> Result<Route, Failure> {
        let key = (document.api_version.clone(), document.kind.clone());
        if let Some(route) = self.kinds.get(&key) {
            return Ok(route.clone());
        }
        let (group, version) = document.api_version.split_once('/').unwrap_or(("", &document.api_version));
        let kind = GroupVersionKind::gvk(group, version, &document.kind);
        let unknown = || {
            Failure::Passing(format!(
                "the server has no such kind: {} of {}",
                document.kind, document.api_version
            ))
        };
        let (resource, capabilities) = match pinned_kind(&self.client, &kind).await {
            Ok(found) => found,
            Err(kube::Error::Discovery(_)) => return Err(unknown()),
            Err(kube::Error::Api(status)) if status.code == 404 => return Err(unknown()),
            Err(error) => return Err(failure(&error)),
        };
        let route = Route { resource, is_namespaced: capabilities.scope == Scope::Namespaced };
        self.kinds.insert(key, route.clone());
        Ok(route)
    }

    /// Whether a definition is served; its objects are refused before that.
    async fn established(&self, name: &str) -> Result<(), Failure> {
        let definitions: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let definition = definitions.get(name).await.map_err(|error| failure(&error))?;
        let conditions = definition.status.and_then(|status| status.conditions).unwrap_or_default();
        let condition = |name: &str| conditions.iter().find(|condition| condition.type_ == name);
        if condition("Established").is_some_and(|condition| condition.status == "True") {
            return Ok(());
        }
        let refused = condition("NamesAccepted").filter(|condition| condition.status == "False");
        let why = refused.and_then(|condition| condition.message.clone());
        Err(Failure::Passing(why.unwrap_or_else(|| "it is not established yet".into())))
    }
}

/// Whether an object is as it was before it was applied. Its version says nothing: controllers write its status at the same time, and
/// the API server itself notes who had which fields before, when an object of no fields but its name (a Namespace) is applied again.
fn is_same(before: DynamicObject, after: DynamicObject) -> bool {
    let own = |mut object: DynamicObject| {
        object.metadata.managed_fields = None;
        object.metadata.resource_version = None;
        object.metadata.generation = None;
        if let Some(fields) = object.data.as_object_mut() {
            fields.remove("status");
        }
        (object.metadata, object.data)
    };
    own(before) == own(after)
}

/// Texts of answers that pass by themselves, whatever their code.
const PASSING: &[&str] = &[
    "failed calling webhook",
    "no endpoints available",
    "because it is being terminated",
    "no matches for kind",
    "the object has been modified",
    "etcdserver:",
    "unable to create new content in namespace",
];
/// Texts of answers that never pass, although their code says so.
const FINAL: &[&str] =
    &["not declared in schema", "failed to create typed", "denied the request", "strict decoding"];

fn failure(error: &kube::Error) -> Failure {
    let kube::Error::Api(status) = error else {
        let trouble = Trouble::of(error);
        return if trouble.is_network { Failure::Passing(trouble.why) } else { Failure::Final(trouble.why) };
    };
    let why = match status.message.trim() {
        "" => Trouble::of(error).why,
        message => one_line(message),
    };
    let says = |texts: &[&str]| texts.iter().any(|text| why.contains(text));
    // A namespace that another manifest brings.
    let lacks_namespace = status.code == 404 && why.starts_with("namespaces ");
    let passes = lacks_namespace || matches!(status.code, 429 | 500 | 502 | 503 | 504) || says(PASSING);
    if passes && !says(FINAL) { Failure::Passing(why) } else { Failure::Final(why) }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
