//! The contract of a tree is written once: no source has the words of `tree/names.rs` as literals of its own.
//!
//! Read from the text of the sources, without their unit tests. A word that is put together from pieces is not seen.

use std::fs;
use std::path::Path;

use crate::world::repository;

/// Files whose constants are words for all roofs that stand on theirs, and those roofs. Roofs below `tree` may not use its names,
/// and have other words that look alike, such as Flatcar's `.sig`.
const HOMES: [(&str, &[&str]); 3] = [
    ("tree/names.rs", &["tree", "bake", "serve", "cli"]),
    ("sysext/place.rs", &["sysext", "initrd", "tree", "bake", "serve", "cli"]),
    ("initrd/overlay.rs", &["initrd", "tree", "bake", "serve", "cli"]),
];

/// Endings that files of many kinds have: alone they name nothing of a tree.
const COMMON: [&str; 3] = [".json", ".raw", ".list"];

/// A literal, with its line.
struct Literal {
    line: usize,
    text: String,
}

/// The string literals of a source, without comments and without what is compiled for tests alone.
fn literals(source: &str) -> Vec<Literal> {
    let mut found = Vec::new();
    // The code with blanks for strings, comments and characters, in which braces can be counted.
    let mut code = String::new();
    let mut at = 0;
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let is_word = source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some((begin, end, length)) = string(rest).filter(|_| !is_word || first == '"') {
            found.push((at, rest[begin..end].to_owned()));
            length
        } else if let Some(length) = character(rest) {
            length
        } else {
            code.push(first);
            at += first.len_utf8();
            continue;
        };
        code.extend(std::iter::repeat_n(' ', length));
        at += length;
    }
    let tests = tests(&code);
    let is_test = |at: usize| tests.iter().any(|range| range.contains(&at));
    let line = |at: usize| source[..at].matches('\n').count() + 1;
    let literal = |(at, text)| Literal { line: line(at), text };
    found.into_iter().filter(|(at, _)| !is_test(*at)).map(literal).collect()
}

/// Where a string begins and ends that stands here, and how long it is with its quotes.
fn string(text: &str) -> Option<(usize, usize, usize)> {
    let plain = text.strip_prefix('b').unwrap_or(text);
    let raw = plain.strip_prefix('r');
    let body = raw.unwrap_or(plain).trim_start_matches('#');
    let hashes = raw.map_or(0, |raw| raw.len() - body.len());
    let body = body.strip_prefix('"').filter(|_| raw.is_some() || plain.starts_with('"'))?;
    let begin = text.len() - body.len();
    let close = format!("\"{}", "#".repeat(hashes));
    let mut escaped = false;
    let end = body.char_indices().find(|(at, c)| {
        let is_end = !escaped && body[*at..].starts_with(&close);
        escaped = raw.is_none() && *c == '\\' && !escaped;
        is_end
    });
    let end = begin + end?.0;
    Some((begin, end, end + close.len()))
}

/// How long a character in quotes is that stands here; nothing for a lifetime.
fn character(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let skip = if rest.starts_with('\\') { 2 } else { rest.chars().next()?.len_utf8() };
    let end = rest.get(skip..)?.find('\'')?;
    (end == 0 || rest.starts_with('\\')).then_some(1 + skip + end + 1)
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

fn sources(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, found);
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

#[test]
fn what_builder_server_closure_and_bundle_share_is_written_in_one_place() {
    let root = repository("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let of_home = |(home, roofs): (&'static str, &'static [&'static str])| {
        let source = read(&root.join(home));
        let words = words(home, &literals(&source), &source);
        assert!(words.len() > 1, "{home} has no words");
        (home, roofs, words)
    };
    let homes = HOMES.map(of_home);
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let roof = name.split('/').next().unwrap();
        let may = |(home, roofs, _): &&(&str, &[&str], Vec<String>)| roofs.contains(&roof) && *home != name;
        let known: Vec<_> = homes.iter().filter(may).collect();
        for Literal { line, text } in literals(&read(&path)) {
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
