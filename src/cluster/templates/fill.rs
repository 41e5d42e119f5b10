//! Filling in a template.
//!
//! A variable is `${NAME}`, `{{NAME}}` or `{{ .NAME }}`, in capitals; `$${NAME}` is `${NAME}` for the machine's own shell. Text that
//! is plainly the shell's stays as it is: `$NAME`, `$(…)`, names with small letters, `${NAME…}` with anything behind the name,
//! variables that the template itself assigns or reads, and those of every shell and service. Any other name in capitals is a slip. A
//! template with actions of Go's text/template (`{{ if eq .NODE_ROLE "worker" }}`) is one; other braces, such as a format of
//! `docker ps`, stay.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Template;
use super::variables::{Values, Variable};
use crate::base::finding::{Finding, Findings, Place, Source, meant};
use crate::format::gotemplate;

/// A template with its variables filled in.
pub struct Filled {
    /// The template's text with values for variables.
    pub text: String,
    /// The variables that it names.
    pub uses: BTreeSet<&'static str>,
}

impl Filled {
    /// Whether it names a secret, so that it must not be public.
    pub(crate) fn is_secret(&self) -> bool {
        self.uses.iter().any(|name| Variable::find(name).is_some_and(|variable| variable.secret))
    }
}

/// Fills a template in.
///
/// # Errors
/// All names at once that are no variables, or none of this template, and what Go's text/template refuses.
pub fn fill(template: &Template, values: &Values) -> Result<Filled, Findings> {
    let source = &template.source;
    let mut filler =
        Filler { source, name: template.name, values, uses: BTreeSet::new(), findings: Vec::new() };
    let is_go = actions(&source.text).any(|action| is_control(action.inside));
    let text = match is_go {
        true => filler.go(),
        false => filler.fill(&source.text, true),
    };
    let Filler { uses, findings, .. } = filler;
    Ok(Findings::settle(findings, Filled { text, uses })?.0)
}

struct Filler<'t> {
    source: &'t Arc<Source>,
    name: &'static str,
    values: &'t Values,
    uses: BTreeSet<&'static str>,
    findings: Vec<Finding>,
}

/// A variable in a text.
struct Hit<'t> {
    /// Bytes of the spelling.
    at: usize,
    end: usize,
    name: &'t str,
    /// Whether it is meant for the machine's shell.
    escaped: bool,
}

impl Filler<'_> {
    fn fill(&mut self, text: &str, braces: bool) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut done = 0;
        while let Some(hit) = next(text, done, braces) {
            filled.push_str(&text[done..hit.at]);
            done = hit.end;
            let spelling = &text[hit.at..hit.end];
            if hit.escaped {
                filled.push_str(&spelling[1..]);
                continue;
            }
            match self.value(hit.name, hit.at, spelling) {
                Some(value) => indented(&mut filled, value, text[hit.end..].starts_with('\n')),
                None => filled.push_str(spelling),
            }
        }
        filled.push_str(&text[done..]);
        filled
    }

    /// Evaluates it as Go does, after the spellings without a dot got theirs.
    fn go(&mut self) -> String {
        let text = &self.source.text;
        let mut dotted = String::with_capacity(text.len());
        let mut done = 0;
        for action in actions(text) {
            for (at, name) in fields(action.inside) {
                self.value(name, action.at + at, "");
            }
            if let Some(name) = bare(action.inside)
                && self.value(name, action.at, "").is_some()
            {
                dotted.push_str(&text[done..action.at]);
                dotted.push_str(&format!("{{{{ .{name} }}}}"));
                done = action.end;
            }
        }
        dotted.push_str(&text[done..]);
        // A shell's own variable is never within an action, and a value may look like one.
        let filled = self.fill(&dotted, false);
        if !self.findings.is_empty() {
            return filled;
        }
        let data: serde_json::Map<_, _> = self
            .values
            .names()
            .filter_map(|name| Some((name.to_owned(), self.values.get(name)?.into())))
            .collect();
        let rendered = gotemplate::Template::parse(filled.as_bytes())
            .and_then(|template| template.render(&gotemplate::Value::from(serde_json::Value::from(data))));
        match rendered.map(String::from_utf8) {
            Ok(Ok(text)) => return text,
            Ok(Err(_)) => {
                self.findings.push(Finding::error(format!("{} does not become text", self.source.name)))
            }
            Err(error) => {
                let place = error.line().map(|line| Place { source: self.source.clone(), line, column: 1 });
                let finding = Finding::error(error.message());
                self.findings.push(match place {
                    Some(place) => finding.at(place),
                    None => finding,
                });
            }
        }
        filled
    }

    /// The value of a name; nothing for a name that is the shell's, and for one that is refused.
    fn value(&mut self, name: &str, at: usize, spelling: &str) -> Option<&str> {
        if let Some(value) = self.values.get(name) {
            let variable = Variable::find(name).map(|variable| variable.name);
            self.uses.extend(variable);
            return Some(value);
        }
        let known = Variable::find(name);
        if known.is_none() && spelling.starts_with('$') && is_shells(name, &self.source.text) {
            return None;
        }
        let finding = match known {
            Some(_) => {
                let text = format!("templates/{} has no variable `{name}`", self.name);
                Finding::error(text)
                    .hint(format!("it has {}", self.values.names().collect::<Vec<_>>().join(", ")))
            }
            None => {
                let near = meant(name, self.values.names(), "variables are ");
                let shell = if spelling.starts_with('$') {
                    format!("; write `${spelling}` for what the machine's own shell shall read")
                } else {
                    String::new()
                };
                Finding::error(format!("there is no variable `{name}`")).hint(format!("{near}{shell}"))
            }
        };
        let place = place(self.source, at);
        if !self.findings.iter().any(|old| old.place.as_ref() == Some(&place)) {
            self.findings.push(finding.at(place));
        }
        None
    }
}

/// Appends a value. One of several lines that is alone on its line gives each of them the indentation of that.
fn indented(filled: &mut String, value: &str, ends_line: bool) {
    let line = filled.rsplit('\n').next().unwrap_or_default();
    let alone = ends_line && line.chars().all(|letter| letter == ' ');
    if !alone || !value.contains('\n') {
        filled.push_str(value);
        return;
    }
    let indent = line.to_owned();
    let mut lines = value.trim_end_matches('\n').split('\n');
    filled.push_str(lines.next().unwrap_or_default());
    for line in lines {
        filled.push('\n');
        if !line.is_empty() {
            filled.push_str(&indent);
            filled.push_str(line);
        }
    }
}

/// The next variable at or behind a byte.
fn next(text: &str, from: usize, braces: bool) -> Option<Hit<'_>> {
    let mut at = from;
    loop {
        at += text[at..].find(['$', '{'])?;
        let rest = &text[at..];
        if let Some(name) = rest.strip_prefix('$').and_then(shell) {
            return Some(Hit { at, end: at + 4 + name, name: &rest[3..3 + name], escaped: true });
        }
        if let Some(name) = shell(rest) {
            return Some(Hit { at, end: at + 3 + name, name: &rest[2..2 + name], escaped: false });
        }
        if braces
            && rest.starts_with("{{")
            && let Some(action) = actions(rest).next().filter(|action| action.at == 0)
            && let Some(name) = bare(action.inside).or_else(|| bare(action.inside.trim().strip_prefix('.')?))
        {
            return Some(Hit { at, end: at + action.end, name, escaped: false });
        }
        at += 1;
    }
}

/// The length of the name in `${NAME}`.
fn shell(text: &str) -> Option<usize> {
    let (length, rest) = capitals(text.strip_prefix("${")?)?;
    rest.starts_with('}').then_some(length)
}

/// The length of a name in capitals at the beginning, and what follows it.
fn capitals(text: &str) -> Option<(usize, &str)> {
    let is_part = |letter: &u8| letter.is_ascii_uppercase() || letter.is_ascii_digit() || *letter == b'_';
    let length = text.bytes().take_while(is_part).count();
    text.bytes().next().filter(u8::is_ascii_uppercase).map(|_| (length, &text[length..]))
}

/// An action of a Go template, or what looks like one.
struct Action<'t> {
    at: usize,
    end: usize,
    inside: &'t str,
}

/// All actions of a text, each within a line.
fn actions(text: &str) -> impl Iterator<Item = Action<'_>> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let at = from + text.get(from..)?.find("{{")?;
            let inside = &text[at + 2..];
            let line = inside.find('\n').unwrap_or(inside.len());
            match inside[..line].find("}}") {
                Some(length) => {
                    from = at + length + 4;
                    return Some(Action { at, end: from, inside: &inside[..length] });
                }
                None => from = at + 2,
            }
        }
    })
}

/// The one name in capitals that an action consists of.
fn bare(inside: &str) -> Option<&str> {
    let inside = inside.trim();
    let (length, rest) = capitals(inside)?;
    rest.is_empty().then(|| &inside[..length])
}

/// Whether an action is one of Go's that a person writes on purpose.
fn is_control(inside: &str) -> bool {
    const WORDS: [&str; 8] = ["if", "else", "end", "range", "with", "define", "template", "block"];
    let inside = inside.trim_start_matches('-').trim_end_matches('-').trim();
    inside.starts_with("/*") || WORDS.contains(&inside.split_whitespace().next().unwrap_or_default())
}

/// The fields `.NAME` in an action, by where they begin, counted from the braces.
fn fields(inside: &str) -> Vec<(usize, &str)> {
    let starts = inside.match_indices('.').filter(|(at, _)| {
        inside[..*at]
            .chars()
            .next_back()
            .is_none_or(|before| before.is_whitespace() || "(-!|".contains(before))
    });
    starts
        .filter_map(|(at, _)| {
            capitals(&inside[at + 1..]).map(|(length, _)| (at + 2, &inside[at + 1..at + 1 + length]))
        })
        .collect()
}

/// Variables that a shell or a service of systemd has by itself.
const SHELLS: [&str; 32] = [
    "BASHPID",
    "BASH_SOURCE",
    "CREDENTIALS_DIRECTORY",
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "EUID",
    "EXIT_CODE",
    "EXIT_STATUS",
    "FUNCNAME",
    "HOME",
    "HOSTNAME",
    "IFS",
    "INVOCATION_ID",
    "KUBECONFIG",
    "LANG",
    "LINENO",
    "LOGNAME",
    "LOGS_DIRECTORY",
    "MAINPID",
    "NOTIFY_SOCKET",
    "OLDPWD",
    "OPTARG",
    "PATH",
    "PIPESTATUS",
    "PWD",
    "RANDOM",
    "REPLY",
    "RUNTIME_DIRECTORY",
    "SECONDS",
    "SERVICE_RESULT",
    "STATE_DIRECTORY",
    "USER",
];
/// Commands and settings that assign variables without an equals sign right behind them.
const ASSIGNERS: [&str; 9] =
    ["read", "for", "local", "declare", "export", "readonly", "getopts", "mapfile", "readarray"];

/// Whether a name belongs to a shell: to each, to Flatcar's metadata, or because the text itself assigns it.
fn is_shells(name: &str, text: &str) -> bool {
    // `/run/metadata/flatcar` has these.
    if SHELLS.contains(&name) || name.starts_with("COREOS_") {
        return true;
    }
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.lines().any(|line| {
        let assigns = line.split_whitespace().any(|word| ASSIGNERS.contains(&word));
        line.match_indices(name).any(|(at, _)| {
            let (before, after) = (&line[..at], &line[at + name.len()..]);
            let whole =
                !before.ends_with(|c| is_part(c) || c == '$' || c == '{') && !after.starts_with(is_part);
            whole && (after.starts_with('=') || after.starts_with("+=") || assigns)
        })
    })
}

fn place(source: &Arc<Source>, at: usize) -> Place {
    let before = &source.text[..at.min(source.text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { source: source.clone(), line, column }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values() -> Values {
        Values::default()
            .with("CLUSTER_NAME", "edge")
            .with("NODE_NAME", "c1")
            .with("NODE_ROLE", "worker")
            .with("KUBEADM_CONFIG", "a: 1\nb:\n  c: 2\n")
    }

    fn filled(text: &str) -> Result<String, Findings> {
        let template =
            Template { name: "ignition/worker.yaml.tmpl", source: Source::new("t", text), replaced: true };
        fill(&template, &values()).map(|filled| filled.text)
    }

    #[test]
    fn the_three_spellings_of_the_seed_are_one_variable() {
        let text = "${CLUSTER_NAME} {{CLUSTER_NAME}} {{ .CLUSTER_NAME }} {{.NODE_NAME}} {{ NODE_NAME }}";
        assert_eq!(filled(text).unwrap(), "edge edge edge c1 c1");
    }

    #[test]
    fn what_is_plainly_the_shells_stays() {
        for text in [
            "$CLUSTER_NAME $(hostname) ${name} ${CLUSTER_NAME:-x} ${ARRAY[0]} ${#LIST} ${mac:hexhyp}",
            "LEASE=1\necho ${LEASE}",
            "while read -r ADDRESS; do echo ${ADDRESS}; done",
            "for DISK in a b; do echo ${DISK}; done",
            "cp x ${STATE_DIRECTORY}/y; echo ${HOME} ${COREOS_PUBLIC_IPV4}",
            "docker ps --format '{{.Names}} {{.Status}}'",
            "{ echo; } {{ }} $ ${ ${}",
        ] {
            assert_eq!(filled(text).unwrap(), text);
        }
        assert_eq!(filled("echo $${CLUSTER_NAME} ${CLUSTER_NAME}").unwrap(), "echo ${CLUSTER_NAME} edge");
    }

    #[test]
    fn an_unknown_variable_is_an_error_with_its_place_and_the_nearest_name() {
        let Err(Findings(findings)) =
            filled("a\n  b ${CLUSTR_NAME} {{ .NODE_NAM }}\n${KUBEADM_TOKEN} ${NODE_NAM:-x}\n")
        else {
            panic!("three findings expected");
        };
        let told: Vec<String> = findings
            .iter()
            .map(|finding| {
                let place = finding.place.as_ref().unwrap();
                format!(
                    "{}:{} {} ({})",
                    place.line,
                    place.column,
                    finding.message,
                    finding.hint.as_deref().unwrap_or_default()
                )
            })
            .collect();
        assert_eq!(told.len(), 3, "{told:#?}");
        assert!(told[0].starts_with("2:5 there is no variable `CLUSTR_NAME` (did you mean `CLUSTER_NAME`?; write `$${CLUSTR_NAME}`"), "{told:#?}");
        assert!(
            told[1].starts_with("2:20 there is no variable `NODE_NAM` (did you mean `NODE_NAME`?)"),
            "{told:#?}"
        );
        assert!(told[2].contains("has no variable `KUBEADM_TOKEN`"), "{told:#?}");
    }

    #[test]
    fn actions_of_go_decide_and_their_slips_are_told_too() {
        let text = "{{ if eq .NODE_ROLE \"worker\" }}w {{CLUSTER_NAME}} ${NODE_NAME}{{ else }}c{{ end }}";
        assert_eq!(filled(text).unwrap(), "w edge c1");
        let Err(Findings(findings)) = filled("{{ if eq .NODE_ROL \"worker\" }}{{ end }}") else { panic!() };
        assert_eq!(findings[0].hint.as_deref(), Some("did you mean `NODE_ROLE`?"));
        assert!(filled("{{ if }}{{ end }}").is_err());
    }

    #[test]
    fn a_value_of_several_lines_is_indented_where_it_stands_alone() {
        assert_eq!(filled("x: |\n  ${KUBEADM_CONFIG}\ny\n").unwrap(), "x: |\n  a: 1\n  b:\n    c: 2\ny\n");
    }
}
