//! The contract of a tree is written once: no source has the words of `tree/names.rs` as literals of its own.
//!
//! Read from the text of the sources, without their unit tests. A word that is put together from pieces is not seen.

use super::rust::Source;
use super::texts;

/// Files whose constants are words for all roofs that stand on theirs, and those roofs. Roofs below `tree` may not use its names,
/// and have other words that look alike, such as Flatcar's `.sig`.
const HOMES: [(&str, &[&str]); 3] = [
    ("tree/names.rs", &["tree", "bake", "serve", "cli"]),
    ("sysext/place.rs", &["sysext", "initrd", "disk", "tree", "bake", "serve", "cli"]),
    ("initrd/overlay.rs", &["initrd", "tree", "bake", "serve", "cli"]),
];

/// Endings that files of many kinds have: alone they name nothing of a tree.
const COMMON: [&str; 3] = [".json", ".raw", ".list"];

/// A literal, with its line.
struct Literal {
    line: usize,
    text: String,
}

/// The string literals of a source, without those of what is compiled for tests alone.
fn literals(source: &str) -> Vec<Literal> {
    let Source { code, literals } = Source::read(source);
    let tests = tests(&code);
    let is_test = |at: usize| tests.iter().any(|range| range.contains(&at));
    let line = |at: usize| source[..at].matches('\n').count() + 1;
    let kept = literals.into_iter().filter(|literal| !is_test(literal.at));
    kept.map(|literal| Literal { line: line(literal.at), text: literal.text }).collect()
}

/// Ranges of the code that are compiled for tests alone.
fn tests(code: &str) -> Vec<std::ops::Range<usize>> {
    let marks = code.match_indices("#[cfg(test)]");
    let range = |(at, _): (usize, &str)| {
        let (mut depth, mut end) = (0, code.len());
        for (index, c) in code[at..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if matches!(c, '}' | ';') && depth == 0 {
                end = at + index + 1;
                break;
            }
        }
        at..end
    };
    marks.map(range).collect()
}

/// The parts of a home's literals that stay the same whatever is put into them.
fn words(home: &str, literals: &[Literal], source: &str) -> Vec<String> {
    let mut words = Vec::new();
    let lines: Vec<&str> = source.lines().collect();
    for Literal { line, text } in literals {
        // Other literals of other rooms say other things.
        let is_constant = home == "tree/names.rs" || lines[line - 1].contains("const ");
        // Scripts are longer than a name, and begin with one by chance.
        if !is_constant || text.contains(char::is_whitespace) || text.contains(['\\', '$', '#']) {
            continue;
        }
        match text.contains('{') {
            false => words.push(text.clone()),
            true => words.extend(fixed(text).filter(|part| part.contains(['/', '='])).map(str::to_owned)),
        }
    }
    words.retain(|word| {
        let letters = word.chars().filter(|c| c.is_ascii_alphanumeric()).count();
        letters > 1 && !COMMON.contains(&word.as_str()) && !word.chars().all(|c| c.is_ascii_uppercase())
    });
    words
}

/// The text between the placeholders of a format.
fn fixed(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').enumerate().map(|(index, part)| match index {
        0 => part,
        _ => part.split_once('}').map_or("", |(_, rest)| rest),
    })
}

/// Whether a literal has a word where it names something.
fn has(literal: &str, word: &str) -> bool {
    // Sentences may say where something lies, as long as it is not a path that a program takes.
    let is_sentence = literal.contains(' ') && !literal.contains("\\n") && !literal.contains('\n');
    let is_folder = word.bytes().all(|byte| byte.is_ascii_lowercase());
    let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    literal.match_indices(word).any(|(at, _)| {
        let (before, after) = (&literal[..at], &literal[at + word.len()..]);
        let begins = !before.ends_with(|c: char| is_letter(c) || c == '.');
        let ends = !after.starts_with(is_letter);
        if is_folder {
            // The first of a path: `ignition/x`, `/ignition/x`, `{base}/ignition/x`.
            let root = before.strip_suffix('/').unwrap_or(before);
            let is_first = !root.ends_with(|c: char| is_letter(c) || ".:/".contains(c));
            let is_last = !is_sentence && before.ends_with("}/") && after.is_empty();
            return is_last
                || is_first && after.strip_prefix('/').is_some_and(|rest| !rest.starts_with([' ', ',']));
        }
        if word.starts_with('.') {
            return !is_sentence && ends && !after.starts_with('.') && !before.ends_with([' ', '`']);
        }
        !is_sentence && begins && ends && !after.starts_with(".")
    })
}

#[test]
fn what_builder_server_closure_and_bundle_share_is_written_in_one_place() {
    let read = |name: &str| texts::read(&format!("src/{name}"));
    let of_home = |(home, roofs): (&'static str, &'static [&'static str])| {
        let source = read(home);
        let words = words(home, &literals(&source), &source);
        assert!(words.len() > 1, "{home} has no words");
        (home, roofs, words)
    };
    let homes = HOMES.map(of_home);
    let mut wrong = Vec::new();
    let of_tests = |name: &str| name.split('/').any(|part| matches!(part, "tests" | "tests.rs"));
    for file in texts::files("src", "rs") {
        let name = file.strip_prefix("src/").unwrap();
        if of_tests(name) {
            continue;
        }
        let roof = name.split('/').next().unwrap();
        let may = |(home, roofs, _): &&(&str, &[&str], Vec<String>)| roofs.contains(&roof) && *home != name;
        let known: Vec<_> = homes.iter().filter(may).collect();
        for Literal { line, text } in literals(&read(name)) {
            for (home, _, words) in &known {
                let found = words.iter().filter(|word| has(&text, word));
                wrong.extend(
                    found.map(|word| format!("src/{name}:{line}: `{word}` of src/{home} in {text:?}")),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "say it by its name:\n{}", wrong.join("\n"));
}

#[test]
fn a_word_of_a_tree_is_seen_in_whatever_a_literal_makes_of_it() {
    for (literal, word) in [
        ("groups/{}.json", "groups"),
        ("/profiles/{id}.json", "profiles"),
        ("{base}/ignition/{id}", "ignition"),
        ("chain boot/ipxe/menu.ipxe", "boot"),
        ("{output}/current", "current"),
        ("{id}.ign", ".ign"),
        ("SHA256SUMS", "SHA256SUMS"),
        ("{directory}/SHA256SUMS", "SHA256SUMS"),
        ("prebake.url={url}", "prebake.url"),
        ("{}/boot.ipxe", "/boot.ipxe"),
        ("/ipxe?uuid={uuid}", "/ipxe"),
    ] {
        assert!(has(literal, word), "{literal}");
    }
    for (literal, word) in [
        ("groups", "groups"),
        ("below groups/ for each machine", "groups"),
        ("/usr/lib/systemd/boot/efi", "boot"),
        ("https://example/boot/x", "boot"),
        ("reboot/x", "boot"),
        ("files that end in .ign", ".ign"),
        ("SHA256SUMS.gpg", "SHA256SUMS"),
        ("prebake.urls", "prebake.url"),
        ("/boot.ipxe.0", "/boot.ipxe"),
        ("say `prebake.url` there", "prebake.url"),
    ] {
        assert!(!has(literal, word), "{literal}");
    }
    let source = "const A: &str = \"a\\\"b\"; // \"no\"\nfn f<'a>() { g('\"', r#\"c\"d\"#, b\"e\") }\n\
                  #[cfg(test)]\nmod tests {\n    fn h() { k(\"{\") }\n}\nconst Z: &str = \"z\";\n";
    let found: Vec<_> = literals(source).into_iter().map(|literal| (literal.line, literal.text)).collect();
    let expected = [(1, "a\\\"b"), (2, "c\"d"), (2, "e"), (7, "z")];
    assert_eq!(found, expected.map(|(line, text)| (line, text.to_owned())));
}
