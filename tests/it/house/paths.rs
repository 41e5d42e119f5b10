//! Documents and comments name files that are there: links of documents, and paths below the repository in code.

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

/// The targets of a document's links, without anchors.
fn links(line: &str) -> Vec<&str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.map(|target| target.split('#').next().unwrap_or_default());
    targets.filter(|target| !target.is_empty() && !target.contains("://")).collect()
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
            let dead = links(&line).into_iter().filter(|target| !folder.join(target).exists());
            missing.extend(dead.map(|target| format!("{file}:{number}: {target}")));
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
    assert_eq!(links("[a](b.md#c), [d](https://e), [f](#g) and [h](../i)"), ["b.md", "../i"]);
}
