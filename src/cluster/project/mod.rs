//! From a description to an ordinary recipe and its layers: everything that `bake` needs, and nothing that it has to know.
//!
//! ```text
//! common.bu, ROLE.bu     templates     every member; every controller or worker
//! cluster.bu             facts         mirrors, proxies, time
//! NODE.bu                facts         name, card, addresses, routes, disk, and what the node runs at its first boot
//! NODE.private.bu        secrets       authorities, tokens, configs with them
//! ```
//! All but the last are public, and none of them depends on keys: the same description gives the same bytes, hence the same
//! BUILD-ID, whatever the keys are. Owns the recipe and the layers; leaves templates to `templates`, keys to `pki`, kubeadm's configs
//! to `kubeadm`, and building to `bake`.

mod facts;
mod pods;
mod private;
mod recipe;
mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::disk;
use crate::base::error::{Advice, Exit, Result};
use crate::base::finding::{Finding, Findings};
use crate::base::unfinished::Unfinished;
use crate::cluster::description::{Cluster, Node, Role, Secret, Storage};
use crate::cluster::kubeadm;
use crate::cluster::pki::Pki;
use crate::cluster::place::Place;
use crate::cluster::templates::matchbox::{self, Adds};
use crate::cluster::templates::variables::{Scope, Values, Variable};
use crate::cluster::templates::{Filled, Templates, fill};

pub use private::{Foreign, private};

/// The sources of a project, besides the description.
pub struct Given<'a> {
    /// The cluster's keys.
    pub pki: &'a Pki,
    /// Its bootstrap token.
    pub token: &'a Secret,
    /// Templates.
    pub templates: &'a Templates,
    /// Container images of the network plugin and of add-ons, which nodes carry besides Kubernetes' own.
    pub images: &'a [String],
    /// How fast the machines are.
    pub pace: kubeadm::Pace,
}

/// Reasons why a description becomes no recipe.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A member that is installed would need its secrets on its disk.
    #[error("{}: {} cannot be installed: prebake gives secrets only to machines that boot from it", name.place, name.value)]
    Installed {
        /// The member, with its place in the description.
        name: crate::base::yaml::decode::Spanned<String>,
    },
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        Some("give it a `state:` disk, which keeps what a power cut must not take; the system itself is booted from here".into())
    }
}

/// The role as templates, profiles and people call it.
pub(crate) const fn role(role: Role) -> &'static str {
    match role {
        Role::Controller => "controller",
        Role::Worker => "worker",
    }
}

/// Nodes that boot alike.
struct Class<'c> {
    /// Name of their profile.
    name: String,
    role: Role,
    nodes: Vec<&'c Node>,
}

/// The classes of a cluster, in the order of their first nodes: by role, and apart where kernel arguments differ.
fn classes(cluster: &Cluster) -> Vec<Class<'_>> {
    let args = |node: &Node| node.kernel_args.iter().map(|arg| arg.value.clone()).collect::<Vec<_>>();
    let mut classes: Vec<Class<'_>> = Vec::new();
    for node in &cluster.nodes {
        let same = |class: &&mut Class<'_>| class.role == node.role && args(class.nodes[0]) == args(node);
        if let Some(class) = classes.iter_mut().find(same) {
            class.nodes.push(node);
            continue;
        }
        let role_name = role(node.role);
        let name = match node.kernel_args.is_empty() {
            true => role_name.to_owned(),
            // A profile's name is no node's otherwise.
            false => format!("{role_name}-as-{}", node.name.value),
        };
        classes.push(Class { name, role: node.role, nodes: vec![node] });
    }
    classes
}

/// Files of a project, by their names in its directory.
#[derive(Default)]
struct Files(BTreeMap<String, File>);

struct File {
    bytes: zeroize::Zeroizing<Vec<u8>>,
    is_secret: bool,
}

impl Files {
    fn add(&mut self, name: impl Into<String>, text: impl Into<Vec<u8>>, is_secret: bool) {
        self.0.insert(name.into(), File { bytes: zeroize::Zeroizing::new(text.into()), is_secret });
    }
}

/// Layers of one node, besides those of its profile.
#[derive(Default)]
struct Layers {
    public: Vec<String>,
    private: Vec<String>,
}

/// Writes the recipe of a cluster and its layers below [`Place::recipe`]; what is there already is left alone, and what is no longer
/// wanted is removed. Returns doubts.
///
/// # Errors
/// A template that cannot be filled in, or that says what would not count; a directory that cannot be written.
pub fn write(cluster: &Cluster, place: &Place, given: &Given<'_>) -> Result<Vec<Finding>> {
    let (files, warnings) = files(cluster, place, given)?;
    place_files(disk::directory_of(&place.recipe()), &files)?;
    shipped_beside(cluster, disk::directory_of(&place.recipe()))?;
    Ok(warnings)
}

fn files(cluster: &Cluster, place: &Place, given: &Given<'_>) -> Result<(Files, Vec<Finding>)> {
    if let Some(node) = cluster.nodes.iter().find(|node| matches!(node.storage, Storage::Installed(_))) {
        return Err(Error::Installed { name: node.name.clone() }.into());
    }
    let mut files = Files::default();
    let (mut findings, mut warnings) = (Vec::new(), Vec::new());
    let shared = shared_values(cluster);
    let mut layers: BTreeMap<&str, Layers> = BTreeMap::new();
    let classes = classes(cluster);
    let mut profiles = Vec::new();
    for class in &classes {
        let mut of_profile = Vec::new();
        for (name, template) in [
            ("common", "ignition/common.yaml.tmpl".to_owned()),
            (role(class.role), format!("ignition/{}.yaml.tmpl", role(class.role))),
        ] {
            let Some(template) = given.templates.get(&template) else { continue };
            let filled: Vec<(&Node, Result<Filled, Findings>)> = {
                let fill = |node: &&'_ Node| fill(template, &node_values(node, given).and(&shared));
                let first = fill(&class.nodes[0]);
                let is_own = first.as_ref().is_ok_and(is_of_node);
                let rest = class.nodes.iter().skip(1).filter(|_| is_own).map(|node| (*node, fill(node)));
                std::iter::once((class.nodes[0], first)).chain(rest).collect()
            };
            for (node, filled) in filled {
                let filled = match filled {
                    Ok(filled) => filled,
                    Err(Findings(told)) => {
                        note(&mut findings, told);
                        continue;
                    }
                };
                if !is_of_node(&filled) {
                    let file = format!("{name}.bu");
                    files.add(&file, filled.text, false);
                    of_profile.push(file);
                    break;
                }
                let is_secret = filled.is_secret();
                let own = layers.entry(&node.name.value).or_default();
                let end = if is_secret { ".private.bu" } else { ".bu" };
                let file = format!("{}.{name}{end}", node.name.value);
                files.add(&file, filled.text, is_secret);
                if is_secret { own.private.push(file) } else { own.public.push(file) }
            }
        }
        of_profile.push(facts::CLUSTER.to_owned());
        let adds = match profile_adds(cluster, class, given, &shared) {
            Ok(adds) => adds,
            Err(Findings(told)) => {
                note(&mut findings, told);
                Adds::default()
            }
        };
        profiles.push(recipe::Profile { class, layers: of_profile, adds });
    }
    files.add(facts::CLUSTER, facts::of_cluster(cluster), false);
    let pods = pods::of(cluster);
    let mut uuids = BTreeMap::new();
    for node in &cluster.nodes {
        let name = node.name.value.as_str();
        let values = node_values(node, given).and(&shared);
        let kubeadm = match secrets::kubeadm(cluster, node, given, values) {
            Ok(kubeadm) => kubeadm,
            Err(secrets::Error::Template(Findings(told))) => {
                note(&mut findings, told);
                continue;
            }
            Err(secrets::Error::Other(error)) => return Err(error),
        };
        let public = facts::of_node(cluster, node, &pods, &kubeadm)?;
        let own = layers.entry(name).or_default();
        let file = format!("{name}.bu");
        files.add(&file, public, false);
        own.public.insert(0, file);
        let file = format!("{name}.private.bu");
        let earlier = disk::directory_of(&place.recipe()).join(&file);
        if let Some(text) = secrets::layer_of_node(cluster, node, given, &kubeadm, &earlier)? {
            files.add(&file, text.as_bytes(), true);
            own.private.insert(0, file);
        }
        match group_uuid(node, given, &shared) {
            Ok(uuid) => uuids.extend(uuid.map(|uuid| (name, uuid))),
            Err(Findings(told)) => note(&mut findings, told),
        }
    }
    beside(place, given, &shared, &mut files, (&mut findings, &mut warnings));
    let (text, told) = recipe::text(cluster, given.images, &profiles, &layers, &uuids);
    note(&mut findings, told);
    files.add(format!("{}.yaml", cluster.name.value), text, false);
    let (files, more) = Findings::settle(findings, files)?;
    warnings.extend(more);
    Ok((files, warnings))
}

/// Records findings, each once: a template is filled in for many nodes.
fn note(findings: &mut Vec<Finding>, told: Vec<Finding>) {
    for finding in told {
        let same = |old: &Finding| old.message == finding.message && old.place == finding.place;
        if !findings.iter().any(same) {
            findings.push(finding);
        }
    }
}

/// Whether a filled template belongs to one node.
fn is_of_node(filled: &Filled) -> bool {
    let of = |name: &&str| Variable::find(name).is_some_and(|variable| variable.of != Scope::Cluster);
    filled.uses.iter().any(of)
}

/// The variables that are the same for all of a cluster.
fn shared_values(cluster: &Cluster) -> Values {
    use crate::flatcar::version::VersionWish;
    let endpoint = cluster.endpoint();
    let address = endpoint.rsplit_once(':').map_or(endpoint.as_str(), |(address, _)| address);
    let flatcar = match &cluster.flatcar {
        VersionWish::Latest => crate::flatcar::board::CURRENT.to_owned(),
        VersionWish::Exactly(version) => version.to_string(),
    };
    Values::default()
        .with("BOOTSTRAP_IP", cluster.bootstrap.ip.value.to_string())
        .with("CLUSTER_NAME", cluster.name.value.as_str())
        .with("CONTROL_PLANE_VIP", address)
        .with("K8S_VERSION", cluster.kubernetes.value.trim_start_matches('v'))
        .with("FLATCAR_VERSION", flatcar)
        .with("POD_SUBNET", cluster.pods.value.to_string())
        .with("SERVICE_SUBNET", cluster.services.value.to_string())
        .with("SSH_KEY", ssh_key(cluster))
}

/// The first key that is written in the description or in a file that it names.
fn ssh_key(cluster: &Cluster) -> String {
    let key = |text: &str| {
        let is_key = |line: &&str| line.contains(' ') && !line.starts_with('#');
        text.lines().map(str::trim).find(is_key).map(str::to_owned)
    };
    let written = cluster.ssh_keys.iter().filter(|key| !key.value.starts_with("github:"));
    let mut keys = written.filter_map(|said| match said.value.contains(' ') {
        true => Some(said.value.clone()),
        false => key(&fs::read_to_string(cluster.directory.join(&said.value)).ok()?),
    });
    keys.next().unwrap_or_default()
}

/// The variables of one node.
fn node_values(node: &Node, given: &Given<'_>) -> Values {
    Values::default()
        .with("NODE_NAME", node.name.value.as_str())
        .with("NODE_IP", node.ip.value.to_string())
        .with("NODE_MAC", node.mac.value.to_string())
        .with("NODE_ROLE", role(node.role))
        .with("KUBEADM_TOKEN", given.token.0.as_str())
}

/// Additions of a person's profile to that of a role.
fn profile_adds(
    cluster: &Cluster,
    class: &Class<'_>,
    given: &Given<'_>,
    shared: &Values,
) -> Result<Adds, Findings> {
    let role = role(class.role);
    let template = given.templates.get(&format!("profiles/{role}.json.tmpl"));
    let Some(template) = template.filter(|template| template.replaced) else { return Ok(Adds::default()) };
    let filled = fill(template, shared)?;
    let server = cluster.bootstrap.ip.value.to_string();
    matchbox::profile(template, &filled.text, role, &server, &cluster.directory)
}

/// The UUID that a person's group adds to a node.
fn group_uuid(node: &Node, given: &Given<'_>, shared: &Values) -> Result<Option<String>, Findings> {
    let template = given.templates.get("groups/node.json.tmpl");
    let Some(template) = template.filter(|template| template.replaced) else { return Ok(None) };
    let filled = fill(template, &node_values(node, given).and(shared))?;
    if filled.is_secret() {
        let place = crate::base::finding::Place { source: template.source.clone(), line: 1, column: 1 };
        let finding = Finding::error("groups are public, and this one names the bootstrap token").at(place);
        return Err(finding.hint("layers below ignition/ that name it are private").into());
    }
    let (ip, mac) = (node.ip.value.to_string(), node.mac.value.to_string());
    matchbox::group(template, &filled.text, [&node.name.value, &ip, &mac, role(node.role)])
}

/// Files that are part of no tree: for a bootstrap machine that runs Flatcar, and for a dnsmasq of one's own.
fn beside(
    place: &Place,
    given: &Given<'_>,
    shared: &Values,
    files: &mut Files,
    (findings, warnings): (&mut Vec<Finding>, &mut Vec<Finding>),
) {
    if let Some(template) =
        given.templates.get("profiles/bootstrap.json.tmpl").filter(|template| template.replaced)
    {
        findings.push(matchbox::bootstrap(template));
    }
    for (template, file, of) in [
        ("ignition/bootstrap.yaml.tmpl", "bootstrap.bu", "for a bootstrap machine that runs Flatcar"),
        (
            "dnsmasq.conf.tmpl",
            "dnsmasq.conf",
            "for a dnsmasq of one's own; prebake's own DHCP server does not read it",
        ),
    ] {
        let Some(template) = given.templates.get(template) else { continue };
        match fill(template, shared) {
            Ok(filled) => files.add(file, filled.text, false),
            Err(Findings(told)) => note(findings, told),
        }
        if template.replaced {
            let path = disk::directory_of(&place.recipe()).join(file);
            warnings.push(Finding::warning(format!(
                "{} is written to {}, {of}",
                template.source.name,
                path.display()
            )));
        }
    }
}

/// Makes a directory hold exactly these files, as far as they are of a project.
fn place_files(directory: &Path, files: &Files) -> Result<(), disk::Error> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(disk::Error::io("create", directory))?;
    for (name, file) in &files.0 {
        let path = directory.join(name);
        let mode = if file.is_secret { 0o600 } else { 0o644 };
        let is_there = fs::read(&path).is_ok_and(|there| there == **file.bytes)
            && fs::metadata(&path).is_ok_and(|there| there.permissions().mode() & 0o777 & !mode == 0);
        if is_there {
            continue;
        }
        let write = || {
            use std::io::Write;
            let mut new = Unfinished::in_directory(directory, mode)?;
            new.write_all(&file.bytes)?;
            new.replace(&path)
        };
        write().map_err(disk::Error::io("write", &path))?;
    }
    let of_project = |name: &str| name.ends_with(".bu");
    let names: BTreeSet<&str> = files.0.keys().map(String::as_str).collect();
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for entry in entries.map_err(disk::Error::io("list", directory))? {
        let name = entry.file_name().to_string_lossy().into_owned();
        if of_project(&name) && !names.contains(name.as_str()) {
            fs::remove_file(entry.path()).map_err(disk::Error::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// Lets the recipe find the folders of sysexts that lie beside or above the description, as if it were there.
fn shipped_beside(cluster: &Cluster, directory: &Path) -> Result<(), disk::Error> {
    let link = directory.join("sysext");
    let all = std::path::absolute(&cluster.directory).unwrap_or_else(|_| cluster.directory.clone());
    let folder: Option<PathBuf> =
        all.ancestors().map(|above| above.join("sysext")).find(|folder| folder.is_dir());
    if fs::read_link(&link).ok() == folder {
        return Ok(());
    }
    if link.is_symlink() {
        fs::remove_file(&link).map_err(disk::Error::io("remove", &link))?;
    }
    match folder {
        Some(folder) => std::os::unix::fs::symlink(folder, &link).map_err(disk::Error::io("link", &link)),
        None => Ok(()),
    }
}
