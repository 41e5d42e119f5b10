//! The commands that the documents show: each is one that this prebake takes.

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;
use clap::error::ErrorKind;
use prebake::cli::Cli;

use crate::world::repository;

/// Every document that shows commands, and the texts in them.
fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = vec![repository("README.md"), repository("CONTRIBUTING.md"), repository("action.yml")];
    for directory in ["docs", "docs/guides", "docs/formats"] {
        let entries = fs::read_dir(repository(directory)).unwrap();
        paths.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|e| e == "md")),
        );
    }
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// The command lines in a document: in its blocks of code, lines in which the program is called.
fn commands(document: &str, is_markdown: bool) -> Vec<(usize, String)> {
    let mut commands = Vec::new();
    let mut lines = document.lines().enumerate().peekable();
    let mut in_block = !is_markdown;
    while let Some((number, line)) = lines.next() {
        if is_markdown && line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let indented = is_markdown && line.starts_with("    ");
        if !in_block && !indented {
            continue;
        }
        let mut whole = line.to_owned();
        while whole.ends_with('\\') {
            whole.pop();
            whole += lines.next().map_or("", |(_, next)| next.trim_start());
        }
        commands.extend(calls(&whole).into_iter().map(|call| (number + 1, call)));
    }
    commands
}

/// The calls of the program in a line of shell.
fn calls(line: &str) -> Vec<String> {
    let code =
        line.split(" #").next().unwrap_or_default().replace("$(prebake ", "\nprebake ").replace(")\"", "\n");
    let parts = code.split(['|', ';', '\n']).flat_map(|part| part.split("&&"));
    let call = |part: &str| {
        // Some blocks say behind a wide gap what a call is for.
        let part = part.trim().split("   ").next()?.trim_start_matches(['-', '>', '$', '!', ' ']);
        let part = part.strip_prefix("run: ").unwrap_or(part);
        let part = part.trim_start_matches("if ").trim_start_matches("sudo ");
        // Variables for the one command.
        let mut words =
            part.split_whitespace().skip_while(|word| word.contains('=') && !word.starts_with('-'));
        (words.next()? == "prebake").then(|| words.collect::<Vec<_>>().join(" "))
    };
    parts.filter_map(call).collect()
}

/// The call with each of the shell's variables set to 1, and each list of words to none.
fn with_variables(call: &str) -> String {
    let mut parts = call.split('$');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('{').and_then(|braced| braced.split_once('}')) {
            Some(braced) => braced,
            None => part
                .split_at(part.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(part.len())),
        };
        whole += if name.ends_with("[@]") { "" } else { "1" };
        whole += rest;
    }
    whole
}

/// The words of a call as a shell would hand them on, as far as documents need that: quotes and redirections.
fn words(call: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in call.chars() {
        match (letter, quote) {
            ('"' | '\'', None) => quote = Some(letter),
            (_, Some(open)) if letter == open => quote = None,
            (' ', None) => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    let is_redirection = |word: &String| word.contains('>') || word.starts_with('<');
    words
        .into_iter()
        .take_while(|word| !is_redirection(word) && word != "&")
        .filter(|word| !word.is_empty())
        .collect()
}

#[test]
fn every_command_in_the_documents_is_one_that_this_prebake_takes() {
    let mut checked = 0;
    let mut stale = Vec::new();
    for (path, text) in documents() {
        let is_markdown = path.extension().is_some_and(|extension| extension == "md");
        for (line, call) in commands(&text, is_markdown) {
            let call = with_variables(&call);
            let words = words(&call);
            // A synopsis, not a call: `[--flag]`, `A | B`, `…`.
            if call.contains(['[', '…', '{']) || call.contains("...") {
                continue;
            }
            let parsed = Cli::command().try_get_matches_from(std::iter::once("prebake".into()).chain(words));
            checked += 1;
            if let Err(error) = parsed
                && !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
            {
                stale.push(format!("{}:{line}: prebake {call}\n  {error}", path.display()));
            }
        }
    }
    assert!(stale.is_empty(), "{}", stale.join("\n"));
    assert!(checked > 60, "only {checked} commands were found");
}

#[test]
fn the_check_of_commands_finds_a_stale_one() {
    let document = "text\n```sh\nexport X=1; PREBAKE_STORE=s prebake build r.yaml \\\n  --no-such-flag | cat # why\n```\n";
    assert_eq!(commands(document, true), [(3, "build r.yaml --no-such-flag".to_owned())]);
    assert!(Cli::command().try_get_matches_from(["prebake", "build", "r.yaml", "--no-such-flag"]).is_err());
    assert_eq!(words("plan 'a b' \"c\" > out"), ["plan", "a b", "c"]);
    assert_eq!(with_variables("x \"$A_1\" ${B}c \"${more[@]}\" $C"), "x \"1\" 1c \"\" 1");
}

/// The verbs that have nothing to report to a program, and why.
const WITHOUT_JSON: [(&str, &str); 12] = [
    ("boot", "is a machine's console; its server tells /status"),
    ("capi convert", "prints manifests"),
    ("capi run", "becomes the program that it runs"),
    ("cluster rehearse", "starts machines, and shows what the verb inside says"),
    ("cluster serve", "tells /status, /events and /metrics"),
    ("cluster wait", "says by its exit code what it has to; `cluster status` shows the cluster"),
    ("completions", "prints a script"),
    ("ignition merge", "prints a config, which is JSON"),
    ("ignition transpile", "prints a config, which is JSON"),
    ("man", "prints pages for troff, or makes them"),
    ("schema", "prints a schema, which is JSON"),
    ("serve", "tells /status, /events and /metrics"),
];

#[test]
fn every_verb_that_reports_something_has_json() {
    fn below(command: &clap::Command, name: &str, without: &mut Vec<String>) {
        let verbs: Vec<_> = command.get_subcommands().filter(|verb| verb.get_name() != "help").collect();
        for verb in &verbs {
            below(verb, format!("{name} {}", verb.get_name()).trim_start(), without);
        }
        let has_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        if verbs.is_empty() && !has_json {
            without.push(name.to_owned());
        }
    }
    let mut without = Vec::new();
    below(&Cli::command(), "", &mut without);
    without.sort();
    assert_eq!(without, WITHOUT_JSON.map(|(verb, _)| verb));
}
