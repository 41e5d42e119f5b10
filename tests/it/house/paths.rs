//! Documents and comments name files that are there: links of documents, and paths below the repository in code.

use std::fs;

use super::texts;

/// Folders that a path of this repository begins with. Recipes, sysexts and templates are left out: documents give names of users' own.
const FOLDERS: [&str; 6] = ["src/", "tests/", "docs/", "benches/", "fuzz/", "packaging/"];

/// Ends of file names that this repository has; a path in `src/` that ends otherwise is another project's.
const ENDS: [&str; 7] = ["rs", "md", "json", "sh", "toml", "txt", "yaml"];

/// Paths of this repository in a line: of files, and with `folders` of folders, too.
fn paths(line: &str, folders: bool) -> Vec<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find(is_part) {
        // Longer words begin elsewhere, such as `$X/src` or `https:` before `//docs.rs`.
        let is_whole = !rest[..start].ends_with(['$', '{', '}', '<', '>', '=', '~', '%', '*', ':', '@']);
        let tail = &rest[start..];
        let end = tail.find(|c| !is_part(c)).unwrap_or(tail.len());
        let word = tail[..end].trim_end_matches(['.', '/', '-']);
        let is_pattern = tail[end..].starts_with(['*', '{', '<', '…', '$']);
        let is_named = FOLDERS.iter().any(|folder| word.starts_with(folder));
        let is_meant = match word.rsplit('/').next().and_then(|name| name.rsplit_once('.')) {
            Some((_, end)) => ENDS.contains(&end),
            None => folders && ["src/", "tests/it/"].iter().any(|folder| word.starts_with(folder)),
        };
        if is_whole && is_named && !is_pattern && is_meant {
            found.push(word);
        }
        rest = &tail[end..];
    }
    found
}

/// The links of a document within the repository: a path, which may be empty, and the heading that is meant in it.
fn links(line: &str) -> Vec<(&str, Option<&str>)> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    targets
        .map(|target| target.split_once('#').map_or((target, None), |(path, head)| (path, Some(head))))
        .collect()
}

/// The anchor that GitHub makes of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn lines(file: &str) -> Vec<(usize, String)> {
    texts::read(file).lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
}

fn judge(missing: &[String]) {
    assert!(missing.is_empty(), "files are named that are not there:\n{}", missing.join("\n"));
}

#[test]
fn links_in_documents_lead_to_files() {
    let mut missing = Vec::new();
    for file in texts::documents() {
        let folder = texts::root().join(&file).parent().unwrap().to_owned();
        for (number, line) in lines(&file) {
            for (path, head) in links(&line) {
                let target = if path.is_empty() { texts::root().join(&file) } else { folder.join(path) };
                let is_there = target.exists();
                let has_head = head.is_none_or(|head| {
                    let text = fs::read_to_string(&target).unwrap_or_default();
                    text.lines().any(|line| line.starts_with('#') && anchor(line) == head)
                });
                if !is_there || !has_head {
                    missing.push(format!("{file}:{number}: {path}#{}", head.unwrap_or_default()));
                }
            }
        }
    }
    judge(&missing);
}

#[test]
fn paths_of_this_repository_in_documents_and_comments_are_there() {
    let mut files = texts::documents();
    for (folder, extension) in
        [("src", "rs"), ("tests/it", "rs"), ("benches", "rs"), ("fuzz", "md"), ("tests/lab", "md")]
    {
        files.extend(texts::files(folder, extension));
    }
    files.push("Cargo.toml".to_owned());
    let mut missing = Vec::new();
    for file in files {
        for (number, line) in lines(&file) {
            let is_text = match file.rsplit('.').next() {
                Some("rs") => line.trim_start().starts_with("//"),
                Some("toml") => line.contains('#'),
                _ => true,
            };
            if is_text {
                let gone = paths(&line, file.ends_with("md"))
                    .into_iter()
                    .filter(|path| !texts::root().join(path).exists());
                missing.extend(gone.map(|path| format!("{file}:{number}: {path}")));
            }
        }
    }
    judge(&missing);
}

#[test]
fn paths_are_told_from_words_addresses_and_patterns() {
    let line = "`src/quirks.rs`, tests/it/x.rs. https://h/src/a.rs ../docs/b.md docs/*.md src/x/ src/{a,b}.rs src/c.c";
    assert_eq!(paths(line, true), ["src/quirks.rs", "tests/it/x.rs", "src/x"]);
    assert_eq!(paths(line, false), ["src/quirks.rs", "tests/it/x.rs"]);
    assert_eq!(
        links("[a](b.md#c), [d](https://e), [f](#g) and [h](../i)"),
        [("b.md", Some("c")), ("", Some("g")), ("../i", None)]
    );
    assert_eq!(anchor("## `private/`: what a Site's tree-part is"), "private-what-a-sites-tree-part-is");
}

/// Another program of the same run may make it, as kubectl once did for its cache: a test then waited for ever.
#[test]
fn no_test_counts_on_an_absent_path_outside_of_its_own_directory() {
    let path = ["/non", "existent"].concat();
    for file in texts::files("tests", "rs") {
        assert!(!texts::read(&file).contains(&path), "{file}: take a path of the test's own directory");
    }
}
