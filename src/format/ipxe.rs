//! An image line of iPXE's commands: `kernel [OPTIONS] URI [ARGUMENTS]`, and likewise for `initrd`, `imgfetch` and
//! `chain`.
//!
//! Matchbox writes a profile's `kernel` and each `initrd` after those words unchanged, so a "path" in a profile may be
//! a whole line of this kind. iPXE parses it as follows (src/hci/commands/image_cmd.c, src/core/getopt.c,
//! src/core/exec.c): blanks separate words, and there is no quoting; options come first, `--name X`, `--name=X`, `-n X`
//! or `-nX`; everything after the URI belongs to the image.

/// The parts of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image<'l> {
    /// Value of `--name`.
    pub name: Option<&'l str>,
    /// URI of the file.
    pub uri: &'l str,
    /// The words after the URI: a kernel's arguments, or the path at which an initrd's file is placed.
    pub args: Vec<&'l str>,
}

/// An option: its name, its letter, and whether it has a value.
type Opt = (&'static str, char, bool);

const NAME: Opt = ("name", 'n', true);
/// `replace` is for `chain` and `imgexec` only; accepting it everywhere does no harm.
const OPTIONS: [Opt; 4] = [NAME, ("timeout", 't', true), ("autofree", 'a', false), ("replace", 'r', false)];

impl<'l> Image<'l> {
    /// Parses the line after the command's name.
    ///
    /// # Errors
    /// The part that iPXE would refuse, in words.
    pub fn parse(line: &'l str) -> Result<Image<'l>, String> {
        let mut words = line.split_ascii_whitespace();
        let mut name = None;
        let uri = loop {
            let word = words.next().ok_or("it names no file")?;
            let given = match (word.strip_prefix("--"), word.strip_prefix('-')) {
                (Some(""), _) => break words.next().ok_or("it names no file")?,
                (Some(long), _) => {
                    let (key, value) =
                        long.split_once('=').map_or((long, None), |(key, value)| (key, Some(value)));
                    let option = OPTIONS.iter().find(|(known, ..)| *known == key);
                    let option = option.ok_or_else(|| unknown(word))?;
                    match (option.2, value) {
                        (true, None) => Some((option, words.next().ok_or_else(|| lacking(word))?)),
                        (true, Some(value)) => Some((option, value)),
                        (false, _) => None,
                    }
                }
                (None, Some("")) | (None, None) => break word,
                (None, Some(letters)) => short(letters, word, &mut words)?,
            };
            if let Some((option, value)) = given
                && *option == NAME
            {
                name = Some(value);
            }
        };
        Ok(Image { name, uri, args: words.collect() })
    }

    /// The name for `initrd=`: the given one, else the last part of the path.
    pub fn called(&self) -> &'l str {
        let path = self.uri.split(['?', '#']).next().unwrap_or_default();
        self.name.unwrap_or_else(|| path.rsplit('/').next().unwrap_or_default())
    }

    /// The URI's scheme and host, if it has them, and its path with everything after it.
    pub fn host_and_path(&self) -> (Option<&'l str>, &'l str) {
        let Some((scheme, rest)) = self.uri.split_once("://") else { return (None, self.uri) };
        let end = scheme.len() + "://".len() + rest.find('/').unwrap_or(rest.len());
        (Some(&self.uri[..end]), &self.uri[end..])
    }
}

/// Whether iPXE may expand a line with variables to this text: `${…}` stands for anything.
pub fn stands_for(line: &str, text: &str) -> bool {
    let mut literals = line.split("${").enumerate().map(|(index, part)| match index {
        0 => part,
        _ => part.split_once('}').map_or("", |(_, literal)| literal),
    });
    let Some(mut rest) = literals.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut literals: Vec<&str> = literals.collect();
    let Some(last) = literals.pop() else { return rest.is_empty() };
    for literal in literals {
        let Some(at) = rest.find(literal) else { return false };
        rest = &rest[at + literal.len()..];
    }
    rest.ends_with(last)
}

/// Parses letters after one dash. The first letter that takes a value has the rest of the word as its value, or the
/// next word.
fn short<'l>(
    letters: &'l str,
    word: &str,
    words: &mut impl Iterator<Item = &'l str>,
) -> Result<Option<(&'static Opt, &'l str)>, String> {
    for (at, letter) in letters.char_indices() {
        let option = OPTIONS.iter().find(|(_, known, _)| *known == letter);
        let option = option.ok_or_else(|| unknown(word))?;
        if option.2 {
            let rest = &letters[at + letter.len_utf8()..];
            let value = if rest.is_empty() { words.next().ok_or_else(|| lacking(word))? } else { rest };
            return Ok(Some((option, value)));
        }
    }
    Ok(None)
}

fn unknown(word: &str) -> String {
    format!("iPXE has no option `{word}` for images")
}

fn lacking(word: &str) -> String {
    format!("nothing follows `{word}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_before_the_uri_and_arguments_behind_it() {
        for (line, name, uri, args) in [
            ("/a/i", None, "/a/i", ""),
            ("--name main /a/i", Some("main"), "/a/i", ""),
            ("--name=main /a/i", Some("main"), "/a/i", ""),
            ("-n main  http://h:1/a/i", Some("main"), "http://h:1/a/i", ""),
            ("-nmain /a/i", Some("main"), "/a/i", ""),
            ("-an main /a/i", Some("main"), "/a/i", ""),
            ("--autofree --timeout 5000 --name m tftp://h/i", Some("m"), "tftp://h/i", ""),
            ("--timeout=5000 /a/i /etc/x mode=0644", None, "/a/i", "/etc/x mode=0644"),
            ("/a/k quiet --name later initrd=main", None, "/a/k", "quiet --name later initrd=main"),
            ("-- --name", None, "--name", ""),
        ] {
            let image = Image::parse(line).unwrap();
            assert_eq!((image.name, image.uri, image.args.join(" ").as_str()), (name, uri, args), "{line}");
        }
        for bad in ["", "  ", "--name", "--name a", "-n", "--nam a /i", "-x /i", "--"] {
            assert!(Image::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_image_is_called_by_its_name_or_its_file() {
        let called = |line| Image::parse(line).unwrap().called();
        assert_eq!(called("--name main /a/i.gz"), "main");
        assert_eq!(called("http://h/a/i.gz?x=/y"), "i.gz");
        let parts = |line| Image::parse(line).unwrap().host_and_path();
        assert_eq!(parts("--name x http://h:80/a?b"), (Some("http://h:80"), "/a?b"));
        assert_eq!(parts("assets/a"), (None, "assets/a"));
        assert_eq!(parts("http://h"), (Some("http://h"), ""));
    }

    #[test]
    fn a_variable_stands_for_anything() {
        for (line, text, stands) in [
            ("a/k", "a/k", true),
            ("a/k", "a/kk", false),
            ("a/${buildarch}/k", "a/arm64/k", true),
            ("a/${buildarch}/k", "a/arm64/i", false),
            ("${a}-${b:hexhyp}.gz", "x-1-2.gz", true),
            ("a/${b}", "a/", true),
            ("a/${b", "a/c", true),
        ] {
            assert_eq!(stands_for(line, text), stands, "{line} {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_line_is_read_or_refused_and_never_panics(line in "((--?)(name|n|a|t|timeout|ü)?|=|/|[a-zü]|://| ){0,20}") {
            if let Ok(image) = Image::parse(&line) {
                image.called();
                image.host_and_path();
            }
        }
    }
}
