//! GRUB's script language: words and kernel arguments, quoted where GRUB would read something else.

/// A word that GRUB's script language takes literally. Between single quotes every character but the quote stands for
/// itself.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A kernel argument as a word of a `linux` command, quoted if necessary: in an unquoted word, GRUB ends the command at
/// `;`, `&` and `|`, expands `$`, and matches file names to `*` and `[`.
///
/// GRUB joins the words anew: it escapes quotes, which the kernel does not undo, and puts quotes around a word with
/// blanks, which the kernel does not take as part of the value. So quotes around a value are left to GRUB: `a="b c"`
/// arrives as `"a=b c"`.
pub fn kernel_arg(arg: &str) -> String {
    let unquoted =
        arg.split_once("=\"").and_then(|(key, value)| Some(format!("{key}={}", value.strip_suffix('"')?)));
    let word = unquoted.filter(|word| !word.contains('"')).unwrap_or_else(|| arg.to_owned());
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/=@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word,
        false => quote(&word),
    }
}

/// Whether an argument reaches the kernel changed if GRUB passes it on.
pub(crate) fn rewrites(arg: &str) -> bool {
    arg.contains(['"', '\'', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    // Reported in tectonic-installer#1317 and poseidon/matchbox#92.
    #[test]
    fn kernel_arguments_are_quoted_where_grub_would_read_something_else() {
        for (arg, word) in [
            ("console=ttyS0,115200n8", "console=ttyS0,115200n8"),
            ("foo=a&b", "'foo=a&b'"),
            ("r={a}", "'r={a}'"),
            ("a=$b", "'a=$b'"),
            ("a=*", "'a=*'"),
            ("#a", "'#a'"),
            ("a=b'c", r"'a=b'\''c'"),
            (r#"sshkey="ssh-ed25519 AAA me@x""#, "'sshkey=ssh-ed25519 AAA me@x'"),
            (r#"a="b""#, "a=b"),
            (r#"a="b"c"d""#, r#"'a="b"c"d"'"#),
            ("", "''"),
        ] {
            assert_eq!(kernel_arg(arg), word, "{arg}");
        }
    }
}
