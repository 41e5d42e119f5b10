//! The guides against the program: the words that people look up in troubleshooting are said somewhere, and the index has every page.

use super::rust::Source;
use super::texts::{files, read};

const TROUBLESHOOTING: &str = "docs/guides/troubleshooting.md";

/// The first cells of a table below a heading.
fn first_cells(document: &str, heading: &str) -> Vec<String> {
    let section = document.split(&format!("## {heading}\n")).nth(1).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| "));
    rows.skip(1).map(|row| row.split(" | ").next().unwrap().to_owned()).collect()
}

/// The texts in backticks, each in the parts that stand around `…`.
fn quoted(cell: &str) -> Vec<String> {
    let code = cell.split('`').skip(1).step_by(2);
    let parts = code.flat_map(|code| code.split('…')).map(|part| part.trim().to_owned());
    parts.filter(|part| part.len() > 3).collect()
}

#[test]
fn words_that_people_look_up_in_troubleshooting_are_said_by_the_program() {
    let guide = read(TROUBLESHOOTING);
    // A message may be made of two literals; formats have their values in braces.
    let literals: Vec<String> = files("src", "rs")
        .iter()
        .flat_map(|file| Source::read(&read(file)).literals)
        .map(|literal| literal.text)
        .collect();
    let own = quoted(&first_cells(&guide, "Messages of prebake").join(" "));
    assert!(own.len() > 10, "{own:?}");
    let unsaid = own.iter().filter(|words| !literals.iter().any(|literal| literal.contains(words.as_str())));
    assert_eq!(unsaid.collect::<Vec<_>>(), Vec::<&String>::new());

    let screen = quoted(&first_cells(&guide, "On the screen of the machine").join(" "));
    let own = screen
        .iter()
        .filter_map(|words| words.split_once(": ").filter(|(who, _)| who.starts_with("prebake-")));
    let mut known = 0;
    for (program, words) in own {
        let folder = if program == "prebake-install" { "install" } else { "report" };
        let said = read(&format!("sysext/{folder}/files/usr/libexec/{program}")).replace("\\`", "");
        assert!(said.contains(words), "{program} does not say {words:?}");
        known += 1;
    }
    assert!(known > 3);
}

#[test]
fn the_index_of_the_documents_has_every_guide_and_every_format() {
    let index = read("docs/README.md");
    let pages = files("docs/guides", "md").into_iter().chain(files("docs/formats", "md"));
    let missing: Vec<String> =
        pages.filter(|page| !index.contains(&format!("({})", page.trim_start_matches("docs/")))).collect();
    assert_eq!(missing, Vec::<String>::new());
    assert!(read("README.md").contains("(docs/README.md)"));
}
