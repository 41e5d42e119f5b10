//! A cluster to begin with: the example of `cluster.yaml` with a name and keys filled in.

use super::{Error, Scaffold, quoted, scalar};

/// The example that the repository has.
const EXAMPLE: &str = include_str!("../../../cluster.yaml.example");
/// The file, which every verb of `prebake cluster` reads if none is named.
pub(crate) const FILE: &str = "cluster.yaml";
/// The schema for editors, and its place in the repository.
const SCHEMA: &str = "cluster.schema.json";
const OF_REPOSITORY: &str = "docs/formats/cluster.schema.json";
/// The line of the example's header that is done.
const COPY: &str = "#   cp ";

/// Files that Git leaves out: trees, keys and the kubeconfig. The lock stays.
const IGNORED: &str = "/output/\n";

/// The description and the files around it.
pub(crate) fn scaffold(name: &str, keys: &[String]) -> Result<Scaffold, Error> {
    let mut scaffold = Scaffold::default();
    scaffold.text(FILE, filled(name, keys))?;
    scaffold.text(".gitignore", IGNORED)?;
    scaffold.text(SCHEMA, include_str!("../../../docs/formats/cluster.schema.json"))?;
    Ok(scaffold)
}

/// The example with these values. Without a key nobody may log in: the example's own is nobody's.
fn filled(name: &str, keys: &[String]) -> String {
    let keys = match keys {
        [] => "# ssh_authorized_key: ssh-ed25519 AAAA… you@host".to_owned(),
        [key] => format!("ssh_authorized_key: {}", scalar(key)),
        keys => {
            let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
            format!("ssh_authorized_key: [{}]", keys.join(", "))
        }
    };
    let line = |line: &str| {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        match text.split(':').next().unwrap_or_default() {
            "name" if indent.len() == 2 => format!("{indent}name: {}", scalar(name)),
            "ssh_authorized_key" => format!("{indent}{keys}"),
            _ => line.replace(OF_REPOSITORY, SCHEMA),
        }
    };
    let lines = EXAMPLE.lines().filter(|line| !line.starts_with(COPY)).map(line);
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}
