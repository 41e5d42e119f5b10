//! The modules of `src/`, read from their text: which names of other modules each of them uses. A member of the workspace lies in them
//! like any other folder: there `crate` is its face, and everywhere its name.
//!
//! Words are followed through imports, re-exports, globs, and chains of `super`. Not seen: a method that one file gives the type of
//! another, a path in a string (`serde(with = "…")`), and names that a macro puts together.

use std::collections::{BTreeMap, BTreeSet};

use super::rust::Source;

/// The names of a path, in order.
pub type Path = Vec<String>;

/// The files of a crate, and of the members of its workspace below them.
pub struct Crate {
    /// By path: of each file, and of each module in braces.
    modules: BTreeMap<Path, Module>,
    /// Where each member lies, by its name in paths.
    members: BTreeMap<String, Path>,
}

/// One scope of names.
struct Module {
    /// `serve/http/server.rs`
    file: String,
    items: BTreeSet<String>,
    uses: Vec<Use>,
    mentions: Vec<Mention>,
}

/// A leaf of an import.
struct Use {
    path: Path,
    /// As which name; nothing where it is all of a module.
    name: Option<String>,
    line: usize,
    is_test: bool,
}

/// A path in the code, or one word that may come out of a glob.
struct Mention {
    path: Path,
    line: usize,
    is_test: bool,
}

/// A name that one file has from this crate.
pub struct Reference {
    /// The file that uses it, below `src/`.
    pub file: String,
    /// Where, counted from 1.
    pub line: usize,
    /// Whether only tests use it here.
    pub is_test: bool,
    /// The name from the root on, as it was written.
    pub written: Path,
    /// The file that defines it; nothing where a module is imported, whose names are told where they are used.
    pub definer: Option<String>,
    /// The name in that file.
    pub name: String,
}

/// A word or a sign of a text.
struct Token<'t> {
    text: &'t str,
    line: usize,
}

impl Token<'_> {
    fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

impl Crate {
    /// Reads the files, each with its path below `src/`. A member's manifest is among them.
    pub fn read(files: impl IntoIterator<Item = (String, String)>) -> Crate {
        let mut read = Crate { modules: BTreeMap::new(), members: BTreeMap::new() };
        let mut of_tests = BTreeSet::new();
        for (file, text) in files {
            if let Some(folder) = file.strip_suffix("/Cargo.toml") {
                let name = text.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap();
                let name = name.trim_end_matches('"').replace('-', "_");
                read.members.insert(name, home(folder));
            // Another crate, which uses the first as everybody may.
            } else if file != "main.rs" {
                read.file(file, &tokens(&Source::read(&text).code), &mut of_tests);
            }
        }
        for (path, module) in &mut read.modules {
            if (1..=path.len()).any(|length| of_tests.contains(&path[..length])) {
                module.uses.iter_mut().for_each(|one| one.is_test = true);
                module.mentions.iter_mut().for_each(|one| one.is_test = true);
            }
        }
        read
    }

    /// The files, in order.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.modules.values().map(|module| module.file.as_str())
    }

    /// Every name of this crate that a file uses from another scope.
    pub fn references(&self) -> Vec<Reference> {
        let mut found = Vec::new();
        for (scope, module) in &self.modules {
            for one in &module.uses {
                let mut path = one.path.clone();
                path.extend(one.name.is_none().then(|| "*".to_owned()));
                found.extend(self.reference(module, scope, &path, one.line, one.is_test, true));
            }
            for one in &module.mentions {
                // A word alone is an own or an imported name, which is told already, or comes out of a glob.
                if one.path.len() > 1 || !self.is_named(scope, &one.path[0]) {
                    found.extend(self.reference(module, scope, &one.path, one.line, one.is_test, false));
                }
            }
        }
        found
    }

    fn reference(
        &self,
        module: &Module,
        scope: &[String],
        path: &[String],
        line: usize,
        is_test: bool,
        is_use: bool,
    ) -> Option<Reference> {
        let written = self.written(scope, path, 0)?;
        let mut lengths = (1..=path.len()).rev();
        let (length, defined) =
            lengths.find_map(|length| Some((length, self.resolve(scope, &path[..length], 0)?)))?;
        let (definer, rest) = self.part(&defined);
        let name = rest.first().or(path.get(length)).cloned();
        let is_module = is_use && length == path.len() && rest.is_empty();
        Some(Reference {
            file: module.file.clone(),
            line,
            is_test,
            written,
            definer: (!is_module).then(|| self.modules[definer].file.clone()),
            name: name.unwrap_or_else(|| path[path.len() - 1].clone()),
        })
    }

    fn file(&mut self, file: String, tokens: &[Token<'_>], of_tests: &mut BTreeSet<Path>) {
        /// A part of the text that a `{` opened.
        struct Block {
            is_module: bool,
            is_test: bool,
        }
        let home = home(&file);
        self.scope(home.clone(), &file);
        let mut blocks: Vec<Block> = Vec::new();
        let mut scopes = vec![home];
        let (mut opened, mut test_next) = (None, false);
        let text = |at: usize| tokens.get(at).map_or("", |token| token.text);
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let scope = &scopes[scopes.len() - 1];
            let is_test = test_next || blocks.last().is_some_and(|block| block.is_test);
            let at_top = blocks.iter().all(|block| block.is_module);
            let previous = at.checked_sub(1).map_or("", text);
            let mut next = at + 1;
            match token.text {
                "cfg" if previous == "[" => {
                    let attribute = tokens[at..].iter().take_while(|token| token.text != "]");
                    let words: Vec<&str> = attribute.map(|token| token.text).collect();
                    test_next |=
                        words.contains(&"test") && !words.iter().any(|word| ["not", "any"].contains(word));
                }
                "{" => {
                    blocks.push(Block { is_module: opened.is_some(), is_test });
                    scopes.extend(opened.take());
                    test_next = false;
                }
                "}" => {
                    if blocks.pop().is_some_and(|block| block.is_module) {
                        scopes.pop();
                    }
                    test_next = false;
                }
                ";" => test_next = false,
                "use" if text(at + 1) != "<" => {
                    let uses = &mut self.modules.get_mut(scope).unwrap().uses;
                    let mut tell = |path: Path, name| {
                        uses.push(Use { path, name, line: token.line, is_test });
                    };
                    next = leaves(tokens, at + 1, Vec::new(), &mut tell);
                }
                "mod" if matches!(text(at + 2), "{" | ";") => {
                    let name = text(at + 1).to_owned();
                    self.modules.get_mut(scope).unwrap().items.insert(name.clone());
                    let path = [scope.as_slice(), &[name]].concat();
                    if is_test {
                        of_tests.insert(path.clone());
                    }
                    if text(at + 2) == "{" {
                        self.scope(path.clone(), &file);
                        opened = Some(path);
                    }
                    next = at + 2;
                }
                "macro_rules" => {
                    self.modules.get_mut(scope).unwrap().items.insert(text(at + 2).to_owned());
                    next = at + 3;
                }
                "struct" | "enum" | "union" | "trait" | "type" | "fn" | "static" | "const"
                    if at_top
                        && tokens.get(at + 1).is_some_and(Token::is_word)
                        && !matches!(text(at + 1), "fn" | "unsafe" | "extern" | "async" | "mut") =>
                {
                    self.modules.get_mut(scope).unwrap().items.insert(text(at + 1).to_owned());
                    next = at + 2;
                }
                _ if token.is_word() && !matches!(previous, "." | "::" | "fn") => {
                    let mut path = vec![token.text.to_owned()];
                    while text(next) == "::" && tokens.get(next + 1).is_some_and(Token::is_word) {
                        path.push(text(next + 1).to_owned());
                        next += 2;
                    }
                    // A small word alone is mostly a variable or a field.
                    let first = token.text.chars().next();
                    if path.len() > 1 || first.is_some_and(char::is_uppercase) || text(next) == "(" {
                        let mention = Mention { path, line: token.line, is_test };
                        self.modules.get_mut(scope).unwrap().mentions.push(mention);
                    }
                }
                _ => {}
            }
            at = next;
        }
    }

    fn scope(&mut self, path: Path, file: &str) {
        let module =
            Module { file: file.to_owned(), items: BTreeSet::new(), uses: Vec::new(), mentions: Vec::new() };
        self.modules.insert(path, module);
    }

    /// The module that a path from the root leads into, and what is left of it there.
    fn part<'p>(&self, path: &'p [String]) -> (&'p [String], &'p [String]) {
        let length = (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length]));
        path.split_at(length.unwrap_or(0))
    }

    fn is_named(&self, scope: &[String], name: &str) -> bool {
        let module = &self.modules[scope];
        let is_it = |one: &Use| one.name.as_deref() == Some(name);
        module.items.contains(name) || module.uses.iter().any(is_it)
    }

    /// A path that says by itself where it begins, from the root on.
    fn absolute(&self, scope: &[String], path: &[String]) -> Option<Path> {
        if path[0] == "crate" {
            let member = self.members.values().find(|member| scope.starts_with(member));
            return Some([member.map_or(&[][..], Path::as_slice), &path[1..]].concat());
        }
        let ups = path.iter().take_while(|name| *name == "super" || *name == "self").count();
        let up = path[..ups].iter().filter(|name| *name == "super").count();
        let from = scope.get(..scope.len().checked_sub(up)?)?;
        (ups > 0).then(|| [from, &path[ups..]].concat())
    }

    /// A path from the root on, through re-exports as they are written.
    fn written(&self, scope: &[String], path: &[String], depth: usize) -> Option<Path> {
        if let Some(path) = self.absolute(scope, path) {
            return Some(path);
        }
        let module = &self.modules[scope];
        if module.items.contains(&path[0]) {
            return Some([scope, path].concat());
        }
        match module.uses.iter().find(|one| one.name.as_ref() == Some(&path[0])) {
            Some(one) if depth < DEEPEST => {
                Some([self.written(scope, &one.path, depth + 1)?, path[1..].to_vec()].concat())
            }
            Some(_) => None,
            None => self.resolve(scope, &path[..1], 0).map(|first| [&first, &path[1..]].concat()),
        }
    }

    /// Where the name at the end of a path is defined, from the root on.
    fn resolve(&self, scope: &[String], path: &[String], depth: usize) -> Option<Path> {
        match self.absolute(scope, path) {
            Some(path) => self.defined(path, depth),
            None => {
                let first = self.lookup(scope, &path[0], depth)?;
                self.defined([&first, &path[1..]].concat(), depth)
            }
        }
    }

    fn defined(&self, path: Path, depth: usize) -> Option<Path> {
        let (module, rest) = self.part(&path);
        let Some(name) = rest.first() else { return Some(path) };
        let found = self.lookup(module, name, depth)?;
        match found.len() == module.len() + 1 && found.starts_with(module) && found.last() == Some(name) {
            true => Some(path),
            false => self.defined([&found, &rest[1..]].concat(), depth + 1),
        }
    }

    fn lookup(&self, scope: &[String], name: &str, depth: usize) -> Option<Path> {
        // Globs may lead in a circle.
        if depth > DEEPEST {
            return None;
        }
        let module = &self.modules[scope];
        let here = [scope, &[name.to_owned()]].concat();
        if module.items.contains(name) || self.modules.contains_key(&here) {
            return Some(here);
        }
        if let Some(one) = module.uses.iter().find(|one| one.name.as_deref() == Some(name)) {
            return self.resolve(scope, &one.path, depth + 1);
        }
        let of_glob = |glob: &Use| {
            let from = self.resolve(scope, &glob.path, depth + 1)?;
            self.modules.contains_key(&from).then(|| self.lookup(&from, name, depth + 1))?
        };
        let mut globs = module.uses.iter().filter(|one| one.name.is_none());
        globs.find_map(of_glob).or_else(|| self.members.get(name).cloned())
    }
}

/// Whether one of two files lies on the way to the other: a module and the face of its folder.
pub fn is_face(one: &str, other: &str) -> bool {
    let (one, other) = (home(one), home(other));
    one.starts_with(&other) || other.starts_with(&one)
}

/// Names that lead through more imports than this lead in a circle.
const DEEPEST: usize = 12;

/// The path of a file's module.
fn home(file: &str) -> Path {
    let path = file.strip_suffix(".rs").unwrap_or(file);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// Tells the leaves of an import such as `a::{b, c::d as e, f::*}`; returns where it ends.
fn leaves(
    tokens: &[Token<'_>],
    mut at: usize,
    mut path: Path,
    tell: &mut dyn FnMut(Path, Option<String>),
) -> usize {
    loop {
        let Some(token) = tokens.get(at) else { return at };
        at += 1;
        match token.text {
            "::" => {}
            "*" => {
                tell(path, None);
                return at;
            }
            "{" => {
                while tokens.get(at).is_some_and(|token| token.text != "}") {
                    at = match tokens[at].text {
                        "," => at + 1,
                        _ => leaves(tokens, at, path.clone(), tell),
                    };
                }
                return at + 1;
            }
            name => {
                if name != "self" || path.is_empty() {
                    path.push(name.to_owned());
                }
                let after = tokens.get(at).map_or("", |token| token.text);
                if after == "::" {
                    continue;
                }
                let mut known = path.last().cloned();
                if after == "as" {
                    known = tokens.get(at + 1).map(|token| token.text.to_owned());
                    at += 2;
                }
                tell(path, known);
                return at;
            }
        }
    }
}

/// The words and signs of a text that is [`Source::code`].
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            _ if is_part(first) => rest.find(|c| !is_part(c)).unwrap_or(rest.len()),
            // A lifetime is no name.
            '\'' => 1 + rest[1..].find(|c| !is_part(c)).unwrap_or(rest.len() - 1),
            _ if rest.starts_with("::") || rest.starts_with("..") => 2,
            _ => first.len_utf8(),
        };
        line += usize::from(first == '\n');
        if !first.is_whitespace() && first != '\'' {
            found.push(Token { text: &rest[..length], line });
        }
        at += length;
    }
    found
}
