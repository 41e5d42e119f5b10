//! The variables of a template, and their form in its text: clusterctl puts values in by `envsubst` before anybody reads YAML.
//!
//! Values are written as `${NAME}` in texts of ours, and become clusterctl's placeholders at the end, each with its default: clusterctl
//! takes a default from the place that it stands at, and none from another one. A `$` for the machine is doubled (drone/envsubst,
//! `parse/scan.go`: `$$` is a `$`).

/// A variable of a template, or of the components of a provider.
#[derive(Debug)]
pub struct Variable {
    /// Its name, as of an environment variable.
    pub name: &'static str,
    /// How it stands in the text.
    pub form: Form,
    /// Its value if nobody gives one. Some have theirs from the recipe.
    pub default: Default,
    /// Its meaning, in a sentence.
    pub about: &'static str,
    /// A value.
    pub example: &'static str,
}

/// The form of a value in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A text, in quotes.
    Text,
    /// A text that brings its own quotes where it needs some: an empty one cannot be a default otherwise, as clusterctl takes none for
    /// empty (`simple_processor.go`).
    Bare,
    /// A number.
    Number,
    /// A list in brackets, which the value brings: `[10.0.0.10-10.0.0.20]`.
    List,
    /// The items of a list, with commas: `KEY, KEY`.
    Items,
}

/// The value of a variable that nobody gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// None: clusterctl asks for it.
    Needed,
    /// The same, and it must be kept from everybody, though it is in the text that clusterctl prints.
    Secret,
    /// This.
    Is(&'static str),
    /// The recipe's; where it says nothing, clusterctl asks.
    Recipe,
    /// clusterctl's own: an argument, or a number of machines.
    Clusterctl,
    /// None, and no template has it: the provider's components want it at `clusterctl init`.
    Components {
        /// Whether it must be kept from everybody.
        secret: bool,
    },
}

impl Variable {
    /// Whether its value must be kept from everybody.
    pub fn is_secret(&self) -> bool {
        matches!(self.default, Default::Secret | Default::Components { secret: true })
    }
}

/// Those that templates of all providers have.
pub const COMMON: &[Variable] = &[
    Variable {
        name: "CLUSTER_NAME",
        form: Form::Text,
        default: Default::Clusterctl,
        about: "Name of the cluster: the argument of `clusterctl generate cluster`.",
        example: "prod",
    },
    Variable {
        name: "KUBERNETES_VERSION",
        form: Form::Text,
        default: Default::Recipe,
        about: "Version of Kubernetes (`--kubernetes-version`). The image of the machines has the recipe's, and no other one.",
        example: "v1.34.4",
    },
    Variable {
        name: "CONTROL_PLANE_MACHINE_COUNT",
        form: Form::Number,
        default: Default::Clusterctl,
        about: "Number of control planes (`--control-plane-machine-count`, 1 without).",
        example: "3",
    },
    Variable {
        name: "WORKER_MACHINE_COUNT",
        form: Form::Number,
        default: Default::Clusterctl,
        about: "Number of workers (`--worker-machine-count`, 0 without).",
        example: "3",
    },
    Variable {
        name: "POD_CIDR",
        form: Form::Text,
        default: Default::Recipe,
        about: "Network of the pods. A network plugin's manifests may name it, too.",
        example: "192.168.0.0/16",
    },
    Variable {
        name: "SERVICE_CIDR",
        form: Form::Text,
        default: Default::Is("10.96.0.0/12"),
        about: "Network of the services.",
        example: "10.96.0.0/12",
    },
    Variable {
        name: "VM_SSH_KEYS",
        form: Form::Items,
        default: Default::Needed,
        about: "SSH public keys that log in to the machines, with commas between them. Cluster API breaks its YAML at ` #` or `: ` in the comment of a key: \
            shorten it. Not asked for where the recipe has keys.",
        example: "ssh-ed25519 AAAA… ops, ssh-ed25519 AAAA… me",
    },
];

/// Those of templates in which kube-vip holds the address of the control plane.
pub const VIP: &[Variable] = &[
    Variable {
        name: "CONTROL_PLANE_ENDPOINT_IP",
        form: Form::Text,
        default: Default::Needed,
        about: "Address of the control plane, which kube-vip gives to one of its machines. None of the machines' own.",
        example: "10.0.0.9",
    },
    Variable {
        name: "VIP_NETWORK_INTERFACE",
        form: Form::Bare,
        default: Default::Is("\"\""),
        about: "Card that has that address; empty for the one with the default route.",
        example: "eth0",
    },
];

/// The variable, and the value that it has in a template if nobody gives one.
#[derive(Debug)]
pub struct Filled {
    /// The variable.
    pub variable: &'static Variable,
    /// Its default, by itself or by the recipe.
    pub default: Option<String>,
}

impl Filled {
    fn placeholder(&self) -> String {
        match &self.default {
            Some(value) => format!("${{{}:={value}}}", self.variable.name),
            None => format!("${{{}}}", self.variable.name),
        }
    }
}

/// A text with clusterctl's placeholders in the place of ours. `$` of all else is for the machine.
pub(super) fn written(text: &str, variables: &[Filled]) -> String {
    let mut written = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        written.push_str(&rest[..at]);
        rest = &rest[at..];
        let named = rest.strip_prefix("${").and_then(|named| named.split_once('}'));
        let known = named.and_then(|(name, after)| {
            Some((variables.iter().find(|filled| filled.variable.name == name)?, after))
        });
        let Some((filled, after)) = known else {
            let is_read = rest[1..].starts_with(['$', '{']);
            written.push_str(if is_read { "$$" } else { "$" });
            rest = &rest[1..];
            continue;
        };
        let unquoted = after.strip_prefix('"').filter(|_| written.ends_with('"'));
        rest = match (filled.variable.form, unquoted) {
            (Form::Text, _) | (_, None) => {
                written.push_str(&filled.placeholder());
                after
            }
            (form, Some(after)) => {
                written.pop();
                match form {
                    Form::Items => written.push_str(&format!("[{}]", filled.placeholder())),
                    _ => written.push_str(&filled.placeholder()),
                }
                after
            }
        };
    }
    written.push_str(rest);
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(name: &str, default: Option<&str>) -> Filled {
        let all = COMMON.iter().chain(VIP);
        let variable = all.into_iter().find(|variable| variable.name == name).unwrap();
        Filled { variable, default: default.map(str::to_owned) }
    }

    #[test]
    fn placeholders_stand_as_their_form_wants_and_what_a_machine_expands_is_doubled() {
        let variables = [
            filled("CLUSTER_NAME", None),
            filled("WORKER_MACHINE_COUNT", None),
            filled("VM_SSH_KEYS", None),
            filled("VIP_NETWORK_INTERFACE", Some("\"\"")),
            filled("KUBERNETES_VERSION", Some("v1.34.4")),
        ];
        for (text, expected) in [
            ("name: \"${CLUSTER_NAME}-workers\"", "name: \"${CLUSTER_NAME}-workers\""),
            ("replicas: \"${WORKER_MACHINE_COUNT}\"", "replicas: ${WORKER_MACHINE_COUNT}"),
            ("keys: \"${VM_SSH_KEYS}\"", "keys: [${VM_SSH_KEYS}]"),
            ("value: \"${VIP_NETWORK_INTERFACE}\"", "value: ${VIP_NETWORK_INTERFACE:=\"\"}"),
            ("version: \"${KUBERNETES_VERSION}\"", "version: \"${KUBERNETES_VERSION:=v1.34.4}\""),
            ("x ${NODE_NAME} $(y) $z $1 $", "x $${NODE_NAME} $(y) $z $1 $"),
            ("echo $$ $${X}", "echo $$$ $$$${X}"),
            ("${", "$${"),
        ] {
            assert_eq!(written(text, &variables), expected);
        }
    }
}
