//! Inputs of clusterctl from a file such as `clusterctl.yaml`: variables, as clusterctl's own reader would make them, and providers.
//!
//! clusterctl reads the file with viper (cmd/clusterctl/client/config/reader_viper.go): keys without regard to case, scalars by YAML 1.2's
//! core schema of Go's yaml.v3, each turned into text by `GetString`; a variable of the environment stands over the file's. Here the
//! variables go into its environment instead, so that no file holds them. Owns what a value becomes. Leaves opening the file.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::index::Named;
use crate::base::finding::{Finding, Findings, Place, Source};
use crate::base::yaml::{Kind, Node, Style};

/// Longest `NAME=VALUE` that a program can be given, in bytes: `MAX_ARG_STRLEN` of execve(2), with its NUL.
const LONGEST: usize = 128 << 10;
/// Keys that clusterctl reads as structures; a variable of the environment cannot stand for them.
const STRUCTURES: [&str; 3] = ["cert-manager", "images", "overridesfolder"];
/// Names by which the loader, shells and runtimes change how programs run, and which clusterctl would never take from its file: ld.so(8),
/// bash(1), environ(7), Node.js' and Go's runtimes.
const FOREIGN: [&str; 24] = [
    "PATH",
    "HOME",
    "SHELL",
    "IFS",
    "ENV",
    "CDPATH",
    "SHELLOPTS",
    "PROMPT_COMMAND",
    "PS0",
    "PS1",
    "PS4",
    "KUBECONFIG",
    "TMPDIR",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "NODE_OPTIONS",
    "NODE_PATH",
    "GODEBUG",
    "GOTRACEBACK",
    "GCONV_PATH",
    "LOCPATH",
    "HOSTALIASES",
    "GLIBC_TUNABLES",
];
/// Beginnings of such names.
const FOREIGN_BEGINNINGS: [&str; 13] = [
    "LD_",
    "DYLD_",
    "BASH",
    "XDG_",
    "SOPS_",
    "PREBAKE_",
    "PYTHON",
    "PERL",
    "RUBY",
    "GIT_",
    "SSL_CERT_",
    "JAVA_",
    "MALLOC_",
];
/// Parts of the names of variables that hold secrets.
const SECRET: [&str; 6] = ["SECRET", "PASSWORD", "PASSWD", "PRIVATE_KEY", "CREDENTIALS", "API_KEY"];

/// A file's inputs.
#[derive(Default)]
pub struct Inputs {
    /// Variables in the order of the file.
    pub variables: Vec<Variable>,
    /// Providers that it adds.
    pub providers: Vec<Named>,
}

/// A variable with its value.
pub struct Variable {
    /// As the environment spells it.
    pub name: String,
    /// Its value, which may be a secret.
    pub value: Zeroizing<String>,
    /// Its place.
    pub place: Place,
}

/// Its name alone.
impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Variable({})", self.name)
    }
}

/// Whether a variable of this name holds a secret, as far as a name can say that. `PROXMOX_TOKEN` is the name of a token.
pub fn is_secret(name: &str) -> bool {
    SECRET.iter().any(|part| name.contains(part)) || (name.ends_with("_TOKEN") && name != "PROXMOX_TOKEN")
}

/// Reads the inputs from a tree in clear text.
///
/// # Errors
/// All findings, without lines of the file.
pub fn read(root: &Node, source: &Arc<Source>) -> Result<Inputs, Findings> {
    let mut inputs = Inputs::default();
    let mut findings = Vec::new();
    let entries: &[(Node, Node)] = match &root.kind {
        Kind::Mapping(entries) => entries,
        _ if root.is_null() => &[],
        _ => {
            let finding =
                Finding::error(format!("{} is no file of clusterctl: it must be a mapping", source.name));
            return Err(finding.at(root.place(source)).without_lines().into());
        }
    };
    for (key, value) in entries {
        let name = key.scalar().unwrap_or_default();
        let lower = name.to_ascii_lowercase();
        let done = match lower.as_str() {
            "providers" => providers(value, source).map(|mut named| inputs.providers.append(&mut named)),
            _ if STRUCTURES.contains(&lower.as_str()) => Err(Finding::error(format!(
                "`{name}` is read by clusterctl from a file on disk alone, and this file's content never goes there"
            ))
            .at(key.place(source))
            .hint("keep it in a clear file of its own: `clusterctl --config FILE`")),
            _ => variable(name, value, source).and_then(|variable| match variable {
                Some(variable) if inputs.variables.iter().any(|other| other.name == variable.name) => {
                    Err(Finding::error(format!("`{name}` is there twice: clusterctl does not regard case"))
                        .at(key.place(source)))
                }
                variable => {
                    inputs.variables.extend(variable);
                    Ok(())
                }
            }),
        };
        findings.extend(done.err().map(Finding::without_lines));
    }
    Findings::settle(findings, inputs).map(|(inputs, _)| inputs)
}

/// A variable; nothing of a null, which clusterctl counts as not set.
fn variable(name: &str, value: &Node, source: &Arc<Source>) -> Result<Option<Variable>, Finding> {
    let wrong = |why: String| Finding::error(why).at(value.place(source));
    let spelt = name.to_ascii_uppercase().replace('-', "_");
    let is_name =
        spelt.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase() || byte.is_ascii_digit())
            && spelt.bytes().next().is_some_and(|first| first.is_ascii_uppercase());
    if !is_name {
        return Err(wrong(format!("`{name}` is no name of a variable"))
            .hint("names have letters, digits and `_`, and begin with a letter, such as PROXMOX_URL"));
    }
    if FOREIGN.contains(&spelt.as_str()) || FOREIGN_BEGINNINGS.iter().any(|lead| spelt.starts_with(lead)) {
        return Err(wrong(format!(
            "`{name}` is no variable of a template: in the environment it changes how programs run"
        ))
        .hint("take it out, and set it in the shell"));
    }
    let text = match &value.kind {
        Kind::Scalar(..) if value.is_null() => return Ok(None),
        Kind::Scalar(text, style) => Zeroizing::new(match (style, value.tag.as_deref()) {
            (Style::Plain, None) => spelling(text).map_err(|why| {
                wrong(format!("`{name}` is plain text that clusterctl reads as {why}"))
                    .hint("put the value in quotes")
            })?,
            (_, None | Some("!!str")) => text.clone(),
            (_, Some(_)) => {
                return Err(wrong(format!("`{name}` has a tag, which clusterctl may read otherwise"))
                    .hint("take the tag out, and put the value in quotes"));
            }
        }),
        kind => {
            let what = if matches!(kind, Kind::Sequence(_)) { "list" } else { "mapping" };
            return Err(wrong(format!(
                "`{name}` is a {what}, of which clusterctl makes an empty text without a word"
            ))
            .hint(format!("write it as a text, as templates want it: `{name}: \"[a, b]\"`")));
        }
    };
    if text.contains('\0') {
        return Err(wrong(format!("`{name}` has a NUL byte, which no variable can have")));
    }
    if spelt.len() + text.len() + 2 > LONGEST {
        return Err(wrong(format!(
            "`{name}` is longer than the {} KiB that a program's variable may have",
            LONGEST >> 10
        ))
        .hint("templates take no such texts; keep large files in a ConfigMap or Secret"));
    }
    Ok(Some(Variable { name: spelt, value: text, place: value.place(source) }))
}

/// The text that Go's yaml.v3 and `cast.ToString` make of a plain scalar.
fn spelling(text: &str) -> Result<String, &'static str> {
    match text {
        "true" | "True" | "TRUE" => return Ok("true".into()),
        "false" | "False" | "FALSE" => return Ok("false".into()),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Ok("+Inf".into()),
        "-.inf" | "-.Inf" | "-.INF" => return Ok("-Inf".into()),
        ".nan" | ".NaN" | ".NAN" => return Ok("NaN".into()),
        _ => {}
    }
    let is_number = text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first));
    if !is_number {
        return Ok(text.to_owned());
    }
    if is_time(text) {
        return Err("a time, and prints in another form");
    }
    let bare = text.replace('_', "");
    if let Some(number) = integer(&bare) {
        return Ok(number);
    }
    // `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$` of resolve.go; Rust's parser takes more.
    let is_float = bare.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte))
        && bare.bytes().any(|byte| byte.is_ascii_digit());
    match bare.parse::<f64>().ok().filter(|float| is_float && float.is_finite()) {
        // FormatFloat(…, 'f', -1, 64) has no exponent, and neither has Rust's.
        Some(float) => Ok(float.to_string()),
        None => Ok(text.to_owned()),
    }
}

/// A whole number as Go's `ParseInt(…, 0, 64)` reads it.
fn integer(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, lower.get(2..)?),
        Some("0o") => (8, lower.get(2..)?),
        Some("0b") => (2, lower.get(2..)?),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, lower.get(1..)?),
        _ => (10, lower.as_str()),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = u64::from_str_radix(digits, radix).ok()?;
    // A number below zero has 63 bits.
    (sign.is_empty() || number <= i64::MIN.unsigned_abs()).then(|| match number {
        0 => "0".into(),
        _ => format!("{sign}{number}"),
    })
}

/// Whether yaml.v3 takes it for a time: `2006-1-2`, with or without a time of day behind it.
fn is_time(text: &str) -> bool {
    let mut parts = text.splitn(3, '-');
    let (Some(year), Some(month), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let is_digits = |text: &str, lengths: &[usize]| {
        lengths.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let day = rest.split(['T', 't', ' ']).next().unwrap_or_default();
    is_digits(year, &[4]) && is_digits(month, &[1, 2]) && is_digits(day, &[1, 2])
}

/// The providers that a file adds: each a name, a URL and a type.
fn providers(node: &Node, source: &Arc<Source>) -> Result<Vec<Named>, Finding> {
    let wrong = |node: &Node, why: &str| Finding::error(format!("`providers`: {why}")).at(node.place(source));
    let Kind::Sequence(items) = &node.kind else {
        return Err(wrong(node, "this must be a list of `name`, `url` and `type`"));
    };
    let mut named = Vec::new();
    for item in items {
        let text = |key: &str| item.get(key).and_then(Node::scalar).filter(|text| !text.is_empty());
        let (Some(name), Some(url), Some(kind)) = (text("name"), text("url"), text("type")) else {
            return Err(wrong(item, "each needs `name`, `url` and `type`"));
        };
        // The addresses go into a file without secrets, for clusterctl reads them nowhere else.
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        if rest.split('/').next().is_some_and(|host| host.contains('@')) || url.contains('?') {
            return Err(wrong(
                item,
                "the URL has a login or a query, and clusterctl reads URLs from a file on disk alone",
            )
            .hint("take the login out: clusterctl asks GitHub with GITHUB_TOKEN, which may be in the encrypted file"));
        }
        named.push(Named { name: name.to_owned(), url: url.to_owned(), kind: kind.to_owned() });
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::yaml;

    fn of(text: &str) -> Result<Inputs, Findings> {
        let source = Source::new("clusterctl.yaml", text);
        read(&yaml::parse(&source).unwrap(), &source)
    }

    /// Judged against clusterctl 1.12.10, whose `generate yaml` prints what it read: see tests/it/capi.
    #[test]
    fn scalars_become_what_clusterctl_makes_of_them() {
        for (text, meant) in [
            ("true", "true"),
            ("True", "true"),
            ("yes", "yes"),
            ("on", "on"),
            ("0644", "420"),
            ("0o17", "15"),
            ("0x1F", "31"),
            ("-0b11", "-3"),
            ("1_000", "1000"),
            ("1e3", "1000"),
            ("0.50", "0.5"),
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1-10.0.0.9", "10.0.0.1-10.0.0.9"),
            ("v1.34.4", "v1.34.4"),
            ("18446744073709551615", "18446744073709551615"),
            ("'0644'", "0644"),
            ("\"[10.0.0.1-10.0.0.9]\"", "[10.0.0.1-10.0.0.9]"),
        ] {
            let inputs = of(&format!("X: {text}\n")).unwrap();
            assert_eq!(inputs.variables[0].value.as_str(), meant, "{text}");
        }
    }

    #[test]
    fn names_are_the_environments_and_a_null_is_not_set() {
        let inputs = of("proxmox-url: https://pve\nEMPTY: ''\nNONE:\nproviders:\n- {name: in-cluster, url: 'https://e.org/c.yaml', type: IPAMProvider}\n")
            .unwrap();
        let names: Vec<&str> = inputs.variables.iter().map(|variable| variable.name.as_str()).collect();
        assert_eq!(names, ["PROXMOX_URL", "EMPTY"]);
        assert_eq!(inputs.providers[0].name, "in-cluster");
        assert!(of("").unwrap().variables.is_empty());
    }

    #[test]
    fn what_clusterctl_would_lose_or_misread_is_told_without_the_value() {
        for (text, named) in [
            ("NODE_IP_RANGES: [hunter2-10.0.0.9]\n", "is a list"),
            ("X: {a: hunter2}\n", "is a mapping"),
            ("X: 2024-01-01\n", "reads as a time"),
            ("X: !!binary hunter2\n", "has a tag"),
            ("a.b: hunter2\n", "no name of a variable"),
            ("_X: hunter2\n", "no name of a variable"),
            ("1X: hunter2\n", "no name of a variable"),
            ("x: hunter2\nX: hunter2\n", "is there twice"),
            ("images: {all: {repository: hunter2}}\n", "from a file on disk alone"),
            (
                "providers:\n- {name: a, url: 'https://u:hunter2@e.org/c', type: IPAMProvider}\n",
                "a login or a query",
            ),
            ("- hunter2\n", "must be a mapping"),
            ("X: \"hunter2\\0\"\n", "NUL"),
        ] {
            let findings = of(text).err().unwrap_or_else(|| panic!("{text} was taken"));
            let told = findings.to_string();
            assert!(told.contains(named) && !told.contains("hunter2"), "{text}: {told}");
        }
    }

    /// Review of issue 20: a file of secrets set the variables of Python, git and Go.
    #[test]
    fn no_variable_of_the_loader_a_shell_or_a_runtime_is_taken() {
        for name in [
            "LD_PRELOAD",
            "ld-preload",
            "DYLD_INSERT_LIBRARIES",
            "PATH",
            "Path",
            "IFS",
            "ENV",
            "BASH_ENV",
            "BASH_FUNC_x",
            "SHELLOPTS",
            "BASHOPTS",
            "PROMPT_COMMAND",
            "PS4",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "PERL5OPT",
            "RUBYOPT",
            "NODE_OPTIONS",
            "GIT_SSH_COMMAND",
            "SSL_CERT_FILE",
            "GODEBUG",
            "HOME",
            "XDG_CONFIG_HOME",
        ] {
            let told =
                of(&format!("{name}: hunter2\n")).err().unwrap_or_else(|| panic!("{name}")).to_string();
            assert!(told.contains("changes how programs run") && !told.contains("hunter2"), "{name}: {told}");
        }
        for name in
            ["GITHUB_TOKEN", "PROXMOX_URL", "NODE_IP_RANGES", "HTTPS_PROXY", "EXP_MACHINE_POOL", "AWS_REGION"]
        {
            assert!(of(&format!("{name}: x\n")).is_ok(), "{name}");
        }
    }

    #[test]
    fn names_say_whether_they_hold_a_secret() {
        for name in ["PROXMOX_SECRET", "GITHUB_TOKEN", "ADMIN_PASSWORD"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["PROXMOX_TOKEN", "PROXMOX_URL", "VM_SSH_KEYS"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
