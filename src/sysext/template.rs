//! Templates in sysext descriptions: text with `{variable}`, where `{{` and `}}` stand for the braces themselves.

use std::collections::BTreeMap;

use crate::base::arch::Arch;
use crate::base::finding::nearest;

/// Variables that every description has. `arch` has the spelling of Go and Kubernetes.
pub(crate) const BUILT_IN: [&str; 4] = ["version", "arch", "arch_uname", "arch_systemd"];

/// Variables for one build of a sysext. A name may be known without a value, if only other versions have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, Option<String>>);

/// Reasons why a template does not expand.
enum Fault<'t> {
    /// The name of a variable without a value.
    Unset(&'t str),
    /// Any other problem, in words.
    Wrong(String),
}

impl Variables {
    /// The built-in variables and the description's own.
    pub(crate) fn new(version: &str, arch: Arch, own: BTreeMap<String, Option<String>>) -> Self {
        let built_in = BUILT_IN.into_iter().zip([version, arch.go(), arch.uname(), arch.systemd()]);
        let mut all = own;
        all.extend(built_in.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))));
        Variables(all)
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_deref()
    }

    /// All variables with a value, sorted by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)))
    }

    /// Replaces the variables of a text; an error describes the problem.
    pub(crate) fn expand(&self, template: &str) -> Result<String, String> {
        self.fill(template).map_err(|fault| match fault {
            Fault::Wrong(why) => why,
            Fault::Unset(name) => {
                let version = self.get("version").unwrap_or_default();
                let arch = self.get("arch").unwrap_or_default();
                format!("`{{{name}}}` has no value for version {version} on {arch}: add it to `versions:`, or set it")
            }
        })
    }

    /// Like [`Variables::expand`], but returns `None` if a variable has no value.
    pub(crate) fn expand_if_set(&self, template: &str) -> Result<Option<String>, String> {
        match self.fill(template) {
            Ok(text) => Ok(Some(text)),
            Err(Fault::Unset(_)) => Ok(None),
            Err(Fault::Wrong(why)) => Err(why),
        }
    }

    fn fill<'t>(&self, template: &'t str) -> Result<String, Fault<'t>> {
        let mut text = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(brace) = rest.find(['{', '}']) {
            text += &rest[..brace];
            let here = &rest[brace..];
            if here.starts_with("{{") || here.starts_with("}}") {
                text += &here[..1];
                rest = &here[2..];
                continue;
            }
            let name = here.strip_prefix('{').and_then(|open| open.split_once('}'));
            let Some((name, after)) = name else {
                let why = format!("`{template}` has an unmatched brace; write a literal brace twice");
                return Err(Fault::Wrong(why));
            };
            let value = self.0.get(name).ok_or_else(|| Fault::Wrong(self.unknown(name)))?;
            text += value.as_deref().ok_or(Fault::Unset(name))?;
            rest = after;
        }
        Ok(text + rest)
    }

    fn unknown(&self, name: &str) -> String {
        match nearest(name, self.0.keys().map(String::as_str)) {
            Some(near) => format!("unknown variable `{{{name}}}`: did you mean `{{{near}}}`?"),
            None => {
                let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                format!("unknown variable `{{{name}}}`: known are {}", known.join(", "))
            }
        }
    }
}

/// Whether a value may be part of URLs, paths and file names: letters, digits and `. _ + ~ -`, at most 128 bytes, no
/// `..` and no dot or dash at the beginning.
pub(crate) fn is_plain_value(value: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+~-".contains(c);
    (1..=128).contains(&value.len())
        && value.chars().all(plain)
        && !value.contains("..")
        && !value.starts_with(['.', '-'])
}
