//! Kubeconfigs: how they are written, and whether one that lies there is of this cluster.

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::authority::{Authority, Client};
use super::error::Error;
use super::store::read_private;
use crate::base::disk;
use crate::base::unfinished::Unfinished;
use crate::machine::yaml;

/// A kubeconfig that lasts less is made anew.
const SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// The text of a kubeconfig, with the key of its user. It is not printed, and overwritten when it is dropped.
pub struct Kubeconfig(Zeroizing<String>);

impl fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kubeconfig(…)")
    }
}

/// The result of writing the administrator's kubeconfig.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// One is there that will do.
    Kept,
    /// There was none.
    Made,
    /// The one that was there ends soon, or has another address of the API server.
    Renewed,
}

/// The parts that are written and read; others of a file that somebody merged are left alone.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    #[serde(default)]
    clusters: Vec<Cluster>,
    #[serde(default)]
    contexts: Vec<Context>,
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    users: Vec<User>,
}

#[derive(Deserialize, Serialize)]
struct Cluster {
    name: String,
    cluster: Server,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Server {
    #[serde(default)]
    certificate_authority_data: String,
    #[serde(default)]
    server: String,
}

#[derive(Deserialize, Serialize)]
struct Context {
    name: String,
    context: Pair,
}

#[derive(Deserialize, Serialize)]
struct Pair {
    #[serde(default)]
    cluster: String,
    #[serde(default)]
    user: String,
}

#[derive(Deserialize, Serialize)]
struct User {
    name: String,
    user: Credentials,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Credentials {
    #[serde(default)]
    client_certificate_data: String,
    /// Only written.
    #[serde(skip_deserializing)]
    client_key_data: Hidden,
}

/// A text that is overwritten when it is dropped.
#[derive(Default)]
struct Hidden(Zeroizing<String>);

impl Serialize for Hidden {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl Kubeconfig {
    /// One with a single context, which is called like the cluster.
    pub(super) fn new(
        name: &str,
        endpoint: &str,
        user: &str,
        authority: &[u8],
        client: &Client,
    ) -> Kubeconfig {
        let user = format!("{user}@{name}");
        let cluster = Server {
            certificate_authority_data: STANDARD.encode(authority),
            server: format!("https://{endpoint}"),
        };
        let credentials = Credentials {
            client_certificate_data: STANDARD.encode(&client.certificate),
            client_key_data: Hidden(Zeroizing::new(STANDARD.encode(client.key.as_bytes()))),
        };
        let file = File {
            api_version: "v1".into(),
            kind: "Config".into(),
            clusters: vec![Cluster { name: name.into(), cluster }],
            contexts: vec![Context {
                name: name.into(),
                context: Pair { cluster: name.into(), user: user.clone() },
            }],
            current_context: name.into(),
            users: vec![User { name: user, user: credentials }],
        };
        Kubeconfig(Zeroizing::new(yaml::document(&file)))
    }

    /// The file's whole text (YAML), with the private key.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Writes one for its owner's eyes: readers see the old one or the new one.
pub(super) fn write(path: &Path, kubeconfig: &Kubeconfig) -> Result<(), Error> {
    use std::io::Write;
    let directory = disk::directory_of(path);
    disk::create_directories(directory)?;
    let mut file =
        Unfinished::in_directory(directory, 0o600).map_err(disk::Error::io("create a file in", directory))?;
    file.write_all(kubeconfig.text().as_bytes()).map_err(disk::Error::io("write", path))?;
    Ok(disk::finish(file, path)?)
}

/// The end of a user's certificate in a text that [`Kubeconfig::new`] made for this authority and address.
pub(super) fn end(
    text: &str,
    authority: &Authority,
    name: &str,
    endpoint: &str,
    user: &str,
) -> Option<SystemTime> {
    let file: File = serde_yaml::from_str(text).ok()?;
    let ([cluster], [found]) = (file.clusters.as_slice(), file.users.as_slice()) else { return None };
    let fits = cluster.cluster.certificate_authority_data == STANDARD.encode(authority.certificate())
        && cluster.cluster.server == format!("https://{endpoint}")
        && found.name == format!("{user}@{name}");
    let certificate = STANDARD.decode(&found.user.client_certificate_data).ok().filter(|_| fits)?;
    authority.end_of(&certificate)
}

/// Judges a kubeconfig that may lie there: whether it is kept or made anew.
pub(super) fn look(
    path: &Path,
    (authority, certificate): (&Authority, &Path),
    name: &str,
    endpoint: &str,
    now: SystemTime,
) -> Result<Written, Error> {
    let Some((bytes, _)) = read_private(path)? else { return Ok(Written::Made) };
    let strange = |why| Error::NoKubeconfig { path: path.to_owned(), why };
    let text = str::from_utf8(&bytes).map_err(|_| strange("it is not a text"))?;
    let file: File = serde_yaml::from_str(text).map_err(|_| strange("it does not have the form of one"))?;
    // Of a file that somebody merged clusters into, the context of this one counts.
    let named = |name: &str| {
        file.contexts.iter().find(|context| context.name == name).map(|context| &context.context)
    };
    let context = named(name).or_else(|| named(&file.current_context)).ok_or(strange("it has no context"))?;
    let cluster =
        file.clusters.iter().find(|cluster| cluster.name == context.cluster).map(|found| &found.cluster);
    let cluster = cluster.ok_or(strange("its context names no cluster"))?;
    let decoded = |text: &str| STANDARD.decode(text.trim()).unwrap_or_default();
    if !authority.is_of(&decoded(&cluster.certificate_authority_data)) {
        return Err(Error::Disagree { kubeconfig: path.to_owned(), authority: certificate.to_owned() });
    }
    let user = file.users.iter().find(|user| user.name == context.user).map(|found| &found.user);
    let ends = user.and_then(|user| authority.end_of(&decoded(&user.client_certificate_data)));
    let is_alone = file.clusters.len() == 1 && file.contexts.len() == 1 && file.users.len() == 1;
    let lasts = ends.is_some_and(|ends| ends > now + SOON);
    let fits = cluster.server == format!("https://{endpoint}");
    match (lasts && fits, is_alone) {
        (true, _) => Ok(Written::Kept),
        (false, true) => Ok(Written::Renewed),
        (false, false) => {
            Err(strange("other clusters were merged into it, and this one's part is out of date"))
        }
    }
}
