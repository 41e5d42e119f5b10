//! Suggestions for verbs that do not exist: what was probably mistyped, or what other programs call it.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::serve::is_matchbox_flag;
use crate::base::finding::nearest;

/// Words that people know from other programs, each with our commands for the same.
const ELSEWHERE: [(&str, &[&str]); 46] = [
    ("butane", &["ignition transpile"]),
    ("cache", &["store"]),
    ("cert", &["key tls"]),
    ("certificate", &["key tls"]),
    ("check", &["plan", "verify", "sysext lint"]),
    ("clean", &["store gc"]),
    ("compile", &["build"]),
    ("config", &["ignition"]),
    ("dd", &["disk write"]),
    ("deps", &["plan"]),
    ("describe", &["explain"]),
    ("dnsmasq", &["serve --dnsmasq"]),
    ("download", &["fetch"]),
    ("export", &["bundle create"]),
    ("extension", &["sysext"]),
    ("flash", &["disk write"]),
    ("freeze", &["lock"]),
    ("image", &["disk", "sysext", "initrd", "bundle"]),
    ("img", &["disk"]),
    ("install", &["lock", "build"]),
    ("keygen", &["key generate"]),
    ("list", &["store ls", "sysext ls"]),
    ("make", &["build"]),
    ("matchbox", &["serve --matchbox"]),
    ("monitor", &["status --watch"]),
    ("outdated", &["lock --update"]),
    ("pack", &["bundle create"]),
    ("package", &["bundle create"]),
    ("pki", &["key tls"]),
    ("ps", &["status"]),
    ("pull", &["fetch"]),
    ("pve", &["proxmox"]),
    ("qm", &["proxmox script"]),
    ("run", &["serve"]),
    ("start", &["serve"]),
    ("sync", &["fetch"]),
    ("template", &["proxmox upload"]),
    ("top", &["status --watch"]),
    ("unpack", &["bundle import", "initrd extract", "disk extract", "sysext extract"]),
    ("up", &["serve"]),
    ("update", &["lock --update"]),
    ("upgrade", &["lock --update"]),
    ("upload", &["proxmox upload"]),
    ("wait", &["status --wait"]),
    ("watch", &["status --watch"]),
    ("why", &["explain"]),
];

/// Mends what clap says of a command line that it refuses. Its usage line names options that only the environment set, such
/// as `--store <DIR>`, and its suggestions for an unknown verb resemble that by letters at best (`biuld`: bundle).
pub(super) fn improve(error: &mut clap::Error, command: &mut Command, arguments: &[OsString]) {
    command.build();
    let unknown = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(word)) => Some(word.to_lowercase()),
        _ => None,
    };
    let parent = parent(command, arguments, unknown.as_deref());
    if error.get(ContextKind::Usage).is_some() {
        let usage = parent
            .iter()
            .try_fold(&*command, |at, name| at.find_subcommand(name))
            .map(|verb| verb.clone().render_usage());
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage.unwrap_or_default()));
    }
    if error.kind() == ErrorKind::UnknownArgument {
        improve_flag(error, command, &parent, arguments);
    }
    let Some(word) = unknown else { return };
    let names = suggestions(command, &parent, &word);
    error.remove(ContextKind::SuggestedSubcommand);
    let tips = names.iter().map(|name| format!("try `prebake {name}`").into()).collect::<Vec<_>>();
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
}

/// Mends what clap says of a flag with one dash, as Go's programs have them: it reads each letter as a flag of its own, and
/// names one of them, whatever was typed.
fn improve_flag(error: &mut clap::Error, command: &Command, parent: &[String], arguments: &[OsString]) {
    let Some(ContextValue::String(letter)) = error.get(ContextKind::InvalidArg) else { return };
    let Some(letter) = letter.strip_prefix('-').filter(|letter| letter.chars().count() == 1) else { return };
    let words = arguments.iter().skip(1).take_while(|word| *word != "--").filter_map(|word| word.to_str());
    let mut names = words.filter_map(|word| {
        let name = word.strip_prefix('-')?.split('=').next()?;
        // As a run of letters, at least three of them are a word.
        (!name.starts_with('-') && name.chars().count() > 2 && name.contains(letter)).then_some(name)
    });
    let Some(name) = names.next().map(str::to_owned) else { return };
    let at = parent.iter().try_fold(command, |at, name| at.find_subcommand(name)).unwrap_or(command);
    error.insert(ContextKind::InvalidArg, ContextValue::String(format!("-{name}")));
    // It speaks of values such as `-a`.
    error.remove(ContextKind::Suggested);
    error.remove(ContextKind::SuggestedArg);
    match flag_like(at, &name) {
        Some(near) => {
            error.insert(ContextKind::SuggestedArg, ContextValue::String(format!("--{near}")));
        }
        None if is_matchbox_flag(&name) => {
            let tips = tips_of_matchbox(&name, parent).into_iter().map(Into::into).collect();
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
        None => {}
    }
}

/// The flag of a verb that has this name, or nearly.
fn flag_like<'c>(verb: &'c Command, name: &str) -> Option<&'c str> {
    let flags = || verb.get_arguments().filter(|flag| !flag.is_hide_set()).filter_map(clap::Arg::get_long);
    flags().find(|flag| *flag == name).or_else(|| nearest(name, flags()))
}

/// The way out for a flag of Matchbox where another verb than `serve` was named, or none.
fn tips_of_matchbox(name: &str, parent: &[String]) -> Vec<String> {
    let mut tips = vec![format!("`prebake serve -{name}=…`: `prebake serve` takes the place of `matchbox`")];
    // The container's ENTRYPOINT.
    if parent.first().is_some_and(|verb| verb == "cluster") {
        tips.push("of the container, `--entrypoint /prebake` before the image and `serve` behind it".into());
    }
    tips
}

/// The verbs of a command line, up to the unknown word.
fn parent(command: &Command, arguments: &[OsString], unknown: Option<&str>) -> Vec<String> {
    let (mut at, mut names) = (command, Vec::new());
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        if Some(argument.to_lowercase().as_str()) == unknown {
            break;
        }
        if let Some(verb) = at.find_subcommand(argument) {
            names.push(verb.get_name().to_owned());
            at = verb;
        }
    }
    names
}

/// Commands that may have been meant, without the word `prebake`: the nearest spelling, else the word's meaning elsewhere,
/// else verbs of this name below other verbs.
fn suggestions(command: &Command, parent: &[String], word: &str) -> Vec<String> {
    let at = parent.iter().try_fold(command, |at, name| at.find_subcommand(name)).unwrap_or(command);
    let below = |name: &str| [parent, &[name.to_owned()]].concat().join(" ");
    let spelt = near(at, word);
    if !spelt.is_empty() {
        return spelt.into_iter().map(below).collect();
    }
    let elsewhere = ELSEWHERE.iter().filter(|(known, _)| *known == word).flat_map(|(_, ours)| *ours);
    let elsewhere: Vec<String> = elsewhere.map(|&ours| ours.to_owned()).collect();
    if !elsewhere.is_empty() {
        return elsewhere;
    }
    let mut named = Vec::new();
    for verb in command.get_subcommands() {
        let inner = verb.get_subcommands().filter(|inner| inner.get_name() == word);
        named.extend(inner.map(|inner| format!("{} {}", verb.get_name(), inner.get_name())));
        if !parent.is_empty() && is_called(verb, word) {
            named.push(verb.get_name().to_owned());
        }
    }
    named
}

fn is_called(verb: &Command, word: &str) -> bool {
    verb.get_name() == word || verb.get_all_aliases().any(|alias| alias == word)
}

/// Verbs whose name or alias begins with the word, or is nearest to it and at most a third of its letters away.
fn near<'c>(command: &'c Command, word: &str) -> Vec<&'c str> {
    let begun = command.get_subcommands().filter(|verb| word.len() >= 3 && verb.get_name().starts_with(word));
    let begun: Vec<&str> = begun.map(Command::get_name).collect();
    if !begun.is_empty() {
        return begun;
    }
    let distance = |verb: &Command| {
        let names = std::iter::once(verb.get_name()).chain(verb.get_all_aliases());
        names.map(|name| strsim::damerau_levenshtein(name, word)).min().unwrap_or(usize::MAX)
    };
    let farthest = (word.chars().count() / 3).max(1);
    let verbs = command.get_subcommands().map(|verb| (distance(verb), verb.get_name()));
    let verbs: Vec<_> = verbs.filter(|(distance, _)| *distance <= farthest).collect();
    let nearest = verbs.iter().map(|(distance, _)| *distance).min();
    verbs.into_iter().filter(|(distance, _)| Some(*distance) == nearest).map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn suggested(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        let command = Cli::command();
        let word = line.rsplit(' ').next().unwrap();
        suggestions(&command, &parent(&command, &words, Some(word)), word)
    }

    /// On 2026-11-30 `prebake -address=…` gave "unexpected argument '-a'", and `serve -adress=…` "use '-- -a'".
    #[test]
    fn a_flag_with_one_dash_is_named_as_it_was_typed_with_the_way_out() {
        for (line, typed, tip) in [
            ("prebake -address=:8080 -data-path=/d", "'-address'", "`prebake serve -address=…`"),
            ("prebake -log-level debug", "'-log-level'", "`prebake serve -log-level=…`"),
            ("prebake cluster -address=:8080", "'-address'", "--entrypoint /prebake"),
            ("prebake serve -adress=:8080", "'-adress'", "'--address'"),
            ("prebake serve -matchbox lib", "'-matchbox'", "'--matchbox'"),
            ("prebake serve -rpc-adress=:8081", "'-rpc-adress'", "'--rpc-address'"),
        ] {
            if line.contains("cluster") && !cfg!(feature = "cluster") {
                continue;
            }
            let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
            let mut command = Cli::command();
            let mut error = command.try_get_matches_from_mut(words.iter()).unwrap_err();
            improve(&mut error, &mut Cli::command(), &words);
            let told = error.render().to_string();
            assert!(told.contains(&format!("unexpected argument {typed} found")), "{line}: {told}");
            assert!(told.contains(tip) && !told.contains("to pass"), "{line}: {told}");
        }
    }

    /// On 2026-11-28 `biuld` gave "bundle, build", `watch` gave "fetch" and `version` "verify" (ux.md, §2).
    #[test]
    fn an_unknown_verb_gets_what_was_meant_and_nothing_that_only_looks_alike() {
        const VALIDATE: &[&str] = match cfg!(feature = "cluster") {
            true => &["cluster validate", "ignition validate"],
            false => &["ignition validate"],
        };
        for (line, expected) in [
            ("prebake biuld", &["build"][..]),
            ("prebake Servre", &["serve"]),
            ("prebake watch", &["status --watch"]),
            ("prebake ls", &["nodes ls", "store ls", "sysext ls"]),
            ("prebake gc", &["store gc"]),
            ("prebake validate", VALIDATE),
            ("prebake inject", &["disk inject", "initrd inject"]),
            ("prebake image", &["disk", "sysext", "initrd", "bundle"]),
            ("prebake comp", &["completions"]),
            ("prebake sysext bulid", &["sysext build"]),
            ("prebake sysext plan", &["plan"]),
            ("prebake sysext gc", &["store gc"]),
            ("prebake xyzzy", &[]),
        ] {
            assert_eq!(suggested(&line.to_lowercase()), expected, "{line}");
        }
    }

    #[test]
    fn each_suggestion_is_a_command_that_exists_for_a_word_that_is_none() {
        let command = Cli::command();
        for (word, ours) in ELSEWHERE {
            for line in ours {
                let mut at = &command;
                for name in line.split(' ') {
                    match name.strip_prefix("--") {
                        None => at = at.find_subcommand(name).unwrap(),
                        Some(long) => {
                            assert!(at.get_arguments().any(|a| a.get_long() == Some(long)), "{line}")
                        }
                    }
                }
            }
            let is_verb = command.get_subcommands().any(|verb| is_called(verb, word));
            assert!(!is_verb, "`{word}` is a verb by now");
        }
    }
}
