//! What the command line says of itself to shells and to `man`.

use std::collections::BTreeSet;
use std::process::Command;

use clap::CommandFactory;
use prebake::cli::Cli;

use crate::format::images::judge;
use crate::world::{Run, World};

/// Asks a real bash what it would complete, as readline asks: by the function that was registered for the command.
const ASK_BASH: &str = r#"
eval "$("$PREBAKE" completions bash)"
function=$(complete -p prebake | sed 's/.* -F \([^ ]*\) .*/\1/')
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
"$function" prebake "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

fn completed(words: &[&str]) -> Vec<String> {
    let output = Command::new("bash")
        .args(["--norc", "-euc", ASK_BASH, "bash"])
        .args(words)
        .env("PREBAKE", env!("CARGO_BIN_EXE_prebake"))
        .output()
        .unwrap();
    let run = Run::of(output).ok();
    assert_eq!(run.stderr, "");
    run.stdout.lines().map(str::to_owned).collect()
}

/// Every verb, verbs below verbs included, as the name of its page.
fn pages() -> BTreeSet<String> {
    fn below(command: &clap::Command, name: &str, pages: &mut BTreeSet<String>) {
        pages.insert(format!("{name}.1"));
        for verb in command.get_subcommands() {
            below(verb, &format!("{name}-{}", verb.get_name()), pages);
        }
    }
    let mut pages = BTreeSet::new();
    below(&Cli::command(), "prebake", &mut pages);
    pages
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn bash_completes_verbs_their_verbs_options_and_values() {
    assert_eq!(completed(&["prebake", "bui"]), ["build"]);
    assert_eq!(completed(&["prebake", "sysext", "lin"]), ["lint"]);
    assert_eq!(completed(&["prebake", "build", "--off"]), ["--offline"]);
    assert_eq!(completed(&["prebake", "completions", "f"]), ["fish"]);
    let all = completed(&["prebake", ""]);
    for verb in Cli::command().get_subcommands() {
        assert!(all.iter().any(|word| word == verb.get_name()), "{} is not in {all:?}", verb.get_name());
    }
}

#[test]
fn there_are_completions_for_each_shell() {
    let world = World::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = world.prebake(&["completions", shell]).ok().stdout;
        assert!(script.contains("sysext"), "{shell}: {script}");
    }
}

#[test]
fn each_verb_has_a_manual_page_that_groff_sets_without_a_warning() {
    let world = World::new();
    world.prebake(&["man", "--output", "man1"]).ok();
    assert_eq!(world.names("man1").into_iter().collect::<BTreeSet<_>>(), pages());
    if !judge("groff", "groff-base") {
        return;
    }
    for page in pages() {
        let path = world.path("man1").join(&page);
        // Without the strokes of a typewriter (-cbou), so that words can be found.
        let groff = ["-man", "-ww", "-Tutf8", "-P-cbou"];
        let output = Command::new("groff").args(groff).arg(&path).output().unwrap();
        let run = Run::of(output).ok();
        assert_eq!(run.stderr, "", "{page}");
        assert!(run.stdout.contains("SYNOPSIS"), "{page}: {}", run.stdout);
    }
}

#[test]
fn a_manual_page_is_printed_for_a_verb_and_nothing_for_what_is_none() {
    let world = World::new();
    let page = world.prebake(&["man", "initramfs", "inject"]).ok().stdout;
    assert!(page.contains("prebake\\-initrd\\-inject"), "{page}");
    world.prebake(&["man", "sysext", "bulid"]).fails(2, &["no verb `sysext bulid`", "prebake --help"]);
}
