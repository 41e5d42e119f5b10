//! A recipe to begin with: one of those that ship, with a name, a channel, keys and machines filled in.

use std::path::PathBuf;

use super::{Error, Scaffold, quoted, scalar};
use crate::bake::outputs;
use crate::bake::recipe::Recipe;
use crate::base::error::Result;
use crate::base::finding::{Finding, Findings, Source};
use crate::machine::node::Mac;
use crate::tree::names::{CURRENT, PRIVATE};

/// Directory of recipes, as in the documents.
pub(crate) const RECIPES: &str = "recipes";

/// A recipe that ships, with the layers of its profiles, by name.
struct Model {
    name: &'static str,
    recipe: &'static str,
    layers: &'static [(&'static str, &'static str)],
    /// A layer of one node, and the node's name in it.
    node_layer: Option<(&'static str, &'static str)>,
    /// Its header, in place of the one for those who read the recipe in the repository.
    header: &'static str,
}

const EDGE: Model = Model {
    name: "edge",
    recipe: include_str!("../../../recipes/edge.yaml"),
    layers: &[("base.bu", include_str!("../../../recipes/edge/base.bu"))],
    node_layer: None,
    header: "# Machines that boot Flatcar over the network and run from memory.\n",
};

const KUBERNETES: Model = Model {
    name: "kubernetes",
    recipe: include_str!("../../../recipes/kubernetes.yaml"),
    layers: &[
        ("base.bu", include_str!("../../../recipes/kubernetes/base.bu")),
        ("control.bu", include_str!("../../../recipes/kubernetes/control.bu")),
        ("worker.bu", include_str!("../../../recipes/kubernetes/worker.bu")),
    ],
    node_layer: Some(("worker-1", include_str!("../../../recipes/kubernetes/worker-1.bu"))),
    header: "\
# Kubernetes over PXE: kubeadm and kubelet as a system extension beside Flatcar.
# A control plane starts by itself. Workers join nothing by themselves: a join needs a token, which is a secret, and what is
# built here is public. Log in to the control plane, run `sudo kubeadm token create --print-join-command`, and run with `sudo`
# what it prints on each worker; or give workers a unit that joins, with the token in a `private:` layer.
",
};

/// The profile of machines that are named without one.
pub(crate) const WORKER: &str = "worker";
/// The profile of the machines that start a Kubernetes cluster.
pub(crate) const CONTROL: &str = "control";

/// Wishes for a new recipe.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// The recipe's name.
    pub name: String,
    /// Flatcar's channel.
    pub channel: String,
    /// Keys that may log in: lines of `authorized_keys`, or `github:USER`.
    pub ssh_keys: Vec<String>,
    /// Whether its machines run Kubernetes.
    pub kubernetes: bool,
    /// Its machines.
    pub nodes: Vec<NodeWish>,
}

/// A machine that is named from the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NodeWish {
    /// Its name, or one by its profile and number.
    pub name: Option<String>,
    /// Its card.
    pub mac: Mac,
    /// [`WORKER`] or [`CONTROL`].
    pub profile: &'static str,
}

/// The recipe's path in a new directory.
pub(crate) fn path_of(name: &str) -> String {
    format!("{RECIPES}/{name}.yaml")
}

/// The recipe and its layers.
///
/// # Errors
/// Findings in what was filled in, such as a name with a blank.
pub(crate) fn scaffold(wish: &Wish) -> Result<Scaffold> {
    let model = if wish.kubernetes { KUBERNETES } else { EDGE };
    let nodes = named(&wish.nodes);
    let source = Source::new(path_of(&wish.name), filled(&model, wish, &nodes));
    Recipe::parse(&source, PathBuf::from(RECIPES), outputs::read)
        .map_err(|findings| by_option(findings, wish, &nodes))?;
    let mut scaffold = Scaffold::default();
    scaffold.text(&source.name, source.text.as_str())?;
    let name = &wish.name;
    for (file, text) in model.layers {
        scaffold.text(&format!("{RECIPES}/{name}/{file}"), *text)?;
    }
    if let Some((example, text)) = model.node_layer {
        for (node, _) in &nodes {
            let path = format!("{RECIPES}/{name}/{node}.bu");
            scaffold.text(&path, text.replace(example, node))?;
        }
    }
    Ok(scaffold)
}

/// Findings in a recipe that is not written, about the options that its lines were made of.
fn by_option(Findings(findings): Findings, wish: &Wish, nodes: &[(String, &NodeWish)]) -> Findings {
    let option = |finding: &Finding| {
        let place = finding.place.as_ref()?;
        let line = place.source.line(place.line)?;
        let is_node =
            |(name, _): &&(String, &NodeWish)| line.starts_with(&format!("  - {{name: {},", scalar(name)));
        let of_node = |(_, node): &(String, &NodeWish)| {
            let option = if node.profile == CONTROL { "--control" } else { "--worker" };
            let name = node.name.as_ref().map_or(String::new(), |name| format!("{name}="));
            format!("{option} {name}{}", node.mac)
        };
        // Of two nodes by one name, the later one is found.
        let node = nodes.iter().rfind(|node| is_node(node) && line.contains(&node.1.mac.to_string()));
        match line.split(':').next()? {
            "name" => Some(format!("--name {}", wish.name)),
            "ssh_keys" => Some("--ssh-key".to_owned()),
            "release" => Some(format!("--channel {}", wish.channel)),
            _ => node.map(of_node),
        }
    };
    let about = |mut finding: Finding| {
        if let Some(option) = option(&finding) {
            finding.message = format!("{option}: {}", finding.message);
            (finding.place, finding.path) = (None, None);
            finding.related.clear();
        }
        finding
    };
    Findings(findings.into_iter().map(about).collect())
}

/// The machines, each with a name.
fn named(nodes: &[NodeWish]) -> Vec<(String, &NodeWish)> {
    let mut named: Vec<(String, &NodeWish)> = Vec::new();
    for node in nodes {
        let taken = |name: &String| {
            let given = nodes.iter().filter_map(|node| node.name.as_ref());
            given.chain(named.iter().map(|(name, _)| name)).any(|other| other == name)
        };
        let numbered = (1..).map(|number| format!("{}-{number}", node.profile)).find(|name| !taken(name));
        let name = node.name.clone().or(numbered).unwrap_or_default();
        named.push((name, node));
    }
    named
}

/// The line by which editors find the schema of recipes; [`add_surroundings`] writes it.
pub(super) const MODELINE: &str = "# yaml-language-server: $schema=recipe.schema.json";

/// The text of a model with everything filled in. Lines of the model that are not known stay as they are.
fn filled(model: &Model, wish: &Wish, nodes: &[(String, &NodeWish)]) -> String {
    let body = model.recipe.find("\nschema:").map_or(0, |before| before + 1);
    let mut lines = vec![MODELINE.to_owned()];
    lines.extend(model.header.lines().map(str::to_owned));
    let mut nodes_told = false;
    let renamed = |line: &str| {
        // Guides of the repository are not beside a new recipe.
        let line = match line
            .split_once(" (docs/guides/")
            .and_then(|(said, rest)| Some((said, rest.split_once(')')?.1)))
        {
            Some((said, rest)) => format!("{said}{rest}"),
            None => line.to_owned(),
        };
        let line = line.replace("channel: stable", &format!("channel: {}", scalar(&wish.channel)));
        let line = line.replace(&format!("{}/", model.name), &format!("{}/", wish.name));
        line.replace(&format!("{}.yaml", model.name), &format!("{}.yaml", wish.name))
    };
    for line in model.recipe[body..].lines() {
        let is_node = line.starts_with("  - {name: ") || line == "nodes:";
        if line.starts_with("name: ") {
            lines.push(format!("name: {}", scalar(&wish.name)));
        } else if line.starts_with("# ssh_keys: ") && !wish.ssh_keys.is_empty() {
            let keys: Vec<String> = wish.ssh_keys.iter().map(|key| quoted(key)).collect();
            lines.push(format!("ssh_keys: [{}]", keys.join(", ")));
        } else if is_node && wish.nodes.is_empty() {
            // Nobody's address stays as an example.
            lines.push(format!("# {}", renamed(line)));
        } else if is_node && line != "nodes:" {
            if !nodes_told {
                lines.extend(nodes.iter().map(|(name, node)| entry(model, wish, name, node)));
            }
            nodes_told = true;
        } else {
            lines.push(renamed(line));
        }
    }
    lines.join("\n") + "\n"
}

/// The line of a machine.
fn entry(model: &Model, wish: &Wish, name: &str, node: &NodeWish) -> String {
    let layer = match model.node_layer {
        Some(_) => format!(", ignition: [{}/{name}.bu]", wish.name),
        None => String::new(),
    };
    format!("  - {{name: {}, mac: \"{}\", profile: {}{layer}}}", scalar(name), node.mac, node.profile)
}

/// The content of `.gitignore`, but for the names of the tree's contract.
const IGNORED: &str = "\
# Published trees; their recipe and lock make the same again.
/output/
# The store, where CI keeps it in the working directory.
/.prebake/
# Secrets: layers that `private:` names, and keys.
*.key
";

const GITHUB: &str = "\
# Plans each pull request and builds each push, never moving the lock: commit RECIPE.lock, which `prebake lock` writes.
name: prebake
on:
  pull_request:
  push: {branches: [main]}
permissions: {contents: read}
jobs:
  build:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@v4
      # Put in the repository that you have prebake from, and a commit of it.
      - uses: OWNER/prebake@REF
        with:
          recipe: RECIPE.yaml
          mode: ${{ github.event_name == 'pull_request' && 'plan' || 'build' }}
";

const GITLAB: &str = "\
# Plans each merge request and builds the main branch, never moving the lock: commit RECIPE.lock, which `prebake lock` writes.
variables:
  PREBAKE_STORE: $CI_PROJECT_DIR/.prebake/store
.prebake:
  # Put in an image with prebake in it.
  image: registry.example.net/prebake
  cache: {key: {files: [RECIPE.lock], prefix: prebake}, fallback_keys: [prebake], paths: [.prebake/store]}
plan:
  extends: .prebake
  rules: [{if: $CI_PIPELINE_SOURCE == \"merge_request_event\"}]
  script: [prebake plan RECIPE.yaml --locked]
build:
  extends: .prebake
  rules: [{if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH}]
  script: [prebake build RECIPE.yaml --locked --junit junit.xml]
  artifacts: {reports: {junit: junit.xml}}
";

/// The service that builds pushed commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ci {
    /// GitHub's workflows.
    Github,
    /// GitLab's pipelines.
    Gitlab,
}

impl Ci {
    /// The CI file, and what nobody but its owner can fill in there.
    pub(crate) fn gap(self) -> (&'static str, &'static str) {
        match self {
            Ci::Github => (GITHUB_FILE, "put your copy of prebake in place of OWNER/prebake@REF"),
            Ci::Gitlab => (GITLAB_FILE, "put in an image with prebake in it"),
        }
    }
}

/// Paths of the CI files, which the services prescribe.
const GITHUB_FILE: &str = ".github/workflows/prebake.yml";
const GITLAB_FILE: &str = ".gitlab-ci.yml";

/// Adds the files around a recipe: `.gitignore`, the schema for editors, and the CI file if one is wanted.
pub(crate) fn add_surroundings(scaffold: &mut Scaffold, name: &str, ci: Option<Ci>) -> Result<(), Error> {
    scaffold.text(".gitignore", format!("{IGNORED}{PRIVATE}/\n"))?;
    let schema = include_str!("../../../docs/formats/recipe.schema.json");
    scaffold.text(&format!("{RECIPES}/recipe.schema.json"), schema)?;
    let filled = |text: &str| text.replace("RECIPE", &format!("{RECIPES}/{name}"));
    match ci {
        Some(Ci::Github) => scaffold.text(GITHUB_FILE, filled(GITHUB)),
        Some(Ci::Gitlab) => scaffold.text(GITLAB_FILE, filled(GITLAB)),
        None => Ok(()),
    }
}

/// Words of the units that are about the repository's own example.
const EDGE_TREE: &str = "/srv/prebake/edge/current";
const GUIDE: &str = "docs/guides/airgap.md imports; `edge` is its name";

/// Adds systemd's units for the server of the recipe's tree.
pub(crate) fn add_units(scaffold: &mut Scaffold, recipe: &str) -> Result<(), Error> {
    for (name, text) in [
        ("service", include_str!("../../../templates/systemd/prebake-serve.service")),
        ("socket", include_str!("../../../templates/systemd/prebake-serve.socket")),
    ] {
        let text = text.replace(EDGE_TREE, &format!("/srv/prebake/{recipe}/{CURRENT}"));
        let text = text.replace(
            GUIDE,
            &format!("`prebake bundle import` puts into /srv/prebake; `{recipe}` is its name"),
        );
        scaffold.text(&format!("systemd/prebake-serve.{name}"), text)?;
    }
    Ok(())
}
