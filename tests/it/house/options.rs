//! Options: one name has one meaning, one value, one short form and one heading, whichever verb has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use clap::{Arg, Command, CommandFactory};
use prebake::cli::Cli;

use super::texts::files;
use crate::world::repository;

/// The document with the table of options.
const PAGE: &str = "docs/guides/options.md";

/// Options that have two values: a file for some verbs and a directory for others, because that is what those verbs make; and the
/// server, which is asked at a URL and has a name in a certificate.
const TWO_VALUES: [&str; 2] = ["output", "server"];

/// Options that have two headings, by what the verb does with them: signs or judges, delivers or judges.
const TWO_HEADINGS: [&str; 2] = ["base-url", "rotation"];

/// Most verbs that the page names for an option.
const MANY: usize = 9;

/// What a verb has by an option's name.
struct Use {
    verb: String,
    short: Option<char>,
    value: String,
    heading: String,
    help: String,
}

impl Use {
    fn of(verb: &str, argument: &Arg) -> Use {
        let takes = argument.get_num_args().is_none_or(|range| range.takes_values())
            && argument.get_action().takes_values();
        let value = argument.get_value_names().filter(|_| takes);
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        Use {
            verb: verb.to_owned(),
            short: argument.get_short(),
            value: value.map(|names| names.join(" ")).unwrap_or_default(),
            heading: argument.get_help_heading().unwrap_or("Options").to_owned(),
            help,
        }
    }
}

/// Every visible option of every verb, by its long name.
fn options() -> BTreeMap<String, Vec<Use>> {
    fn below(command: &Command, verb: &str, found: &mut BTreeMap<String, Vec<Use>>) {
        for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
            if let Some(long) = argument.get_long() {
                found.entry(long.to_owned()).or_default().push(Use::of(verb, argument));
            }
        }
        for inner in command.get_subcommands() {
            below(inner, format!("{verb} {}", inner.get_name()).trim_start(), found);
        }
    }
    let mut found = BTreeMap::new();
    below(&Cli::command(), "", &mut found);
    found
}

/// On 2026-11-28, `--nodes` was a number for `status` and a file elsewhere, `--key` had four meanings, and headings leaked onto
/// the options that followed (ux.md, 1.19 and §2).
#[test]
fn an_option_has_one_value_one_short_form_and_one_heading_for_all_verbs() {
    let mut wrong = Vec::new();
    for (long, uses) in options() {
        let differing = |what: &str, values: BTreeSet<String>, wrong: &mut Vec<String>| {
            if values.len() > 1 {
                let verbs: Vec<&str> = uses.iter().map(|each| each.verb.as_str()).collect();
                wrong.push(format!("--{long} has several {what}: {values:?}, for {verbs:?}"));
            }
        };
        if !TWO_VALUES.contains(&long.as_str()) {
            differing("values", uses.iter().map(|each| each.value.clone()).collect(), &mut wrong);
        }
        let shorts = uses.iter().filter_map(|each| each.short).map(String::from).collect();
        differing("short forms", shorts, &mut wrong);
        // A verb with few options has them under no heading of their own.
        let headings =
            uses.iter().filter(|each| each.heading != "Options" && !TWO_HEADINGS.contains(&long.as_str()));
        differing("headings", headings.map(|each| each.heading.clone()).collect(), &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `next_help_heading` holds for all arguments that follow it, those of other structs among them, which put `plan --locked` under
/// "Delivery" (ux.md, §2).
#[test]
fn headings_stand_at_each_option_and_leak_onto_no_other() {
    for path in files("src/cli", "rs") {
        let text = fs::read_to_string(repository(&path)).unwrap();
        assert!(!text.contains("next_help_heading"), "{path}: give each argument its `help_heading`");
    }
}

/// The table as it has to be: meanings are kept from the page, and come from the help where the page has none.
fn table(page: &str) -> String {
    let told: BTreeMap<&str, &str> = page
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `--")?.split(" | ");
            let name = cells.next()?.split(['`', ' ', '=']).next()?;
            Some((name, cells.nth(1)?))
        })
        .collect();
    let mut rows = String::new();
    for (long, uses) in options() {
        let verbs: BTreeSet<&str> = uses.iter().map(|each| each.verb.as_str()).collect();
        if verbs.len() < 2 {
            continue;
        }
        let short =
            uses.iter().find_map(|each| each.short).map(|short| format!(", `-{short}`")).unwrap_or_default();
        let values: BTreeSet<String> = uses.iter().map(|each| each.value.replace('|', "\\|")).collect();
        let values: Vec<String> =
            values.into_iter().filter(|value| !value.is_empty()).map(|value| format!("`{value}`")).collect();
        let meaning = told
            .get(long.as_str())
            .map_or_else(|| uses[0].help.replace('|', "\\|"), |told| (*told).to_owned());
        let verbs = match verbs.len() {
            ..=MANY => verbs.into_iter().collect::<Vec<_>>().join(", "),
            _ => "many".to_owned(),
        };
        rows += &format!("| `--{long}`{short} | {} | {meaning} | {verbs} |\n", values.join(" or "));
    }
    rows
}

#[test]
fn the_guide_has_every_option_that_several_verbs_share() {
    let page = fs::read_to_string(repository(PAGE)).unwrap();
    let (head, rest) = page.split_once("|---|---|---|---|\n").unwrap();
    let end = rest.find("\n\n").map_or(rest.len(), |at| at + 1);
    let (old, tail) = rest.split_at(end);
    let new = table(old);
    if std::env::var_os("PREBAKE_BLESS").is_some() {
        fs::write(repository(PAGE), format!("{head}|---|---|---|---|\n{new}{tail}")).unwrap();
        return;
    }
    assert_eq!(old, new, "{PAGE} is out of step: PREBAKE_BLESS=1 cargo test --test it options");
}

#[test]
fn summaries_are_no_sentences_and_global_options_come_last() {
    fn below(command: &Command, verb: &str) {
        let about = command.get_about().unwrap_or_else(|| panic!("`{verb}` has no summary")).to_string();
        assert!(!about.ends_with('.'), "`{verb}`: {about}");
        let help = command.clone().render_long_help().to_string();
        let headings: Vec<&str> =
            help.lines().filter(|line| line.ends_with(':') && !line.starts_with(' ')).collect();
        assert_eq!(headings.last(), Some(&"Global options:"), "`{verb}`:\n{help}");
        let last: Vec<&str> = help.lines().filter(|line| line.trim_start().starts_with('-')).collect();
        assert!(
            last.last().is_some_and(|line| line.contains("-h, --help") || line.contains("-V, --version")),
            "{help}"
        );
        for inner in command.get_subcommands() {
            below(inner, format!("{verb} {}", inner.get_name()).trim_start());
        }
    }
    let mut prebake = Cli::command();
    prebake.build();
    below(&prebake, "");
}
