//! OEM's grub.cfg, which Flatcar's GRUB sources: its settings, and prebake's lines in it.

use crate::base::count::counted;
use crate::disk::Error;
use crate::disk::platform::AUTOLOGIN;

/// The line before those of prebake, which goes on, and the one after them.
const BEGIN: &str = "# prebake begin";
const END: &str = "# prebake end";

/// The value that a line `KEYvalue` assigns, without quotes; the last one counts.
pub(super) fn assigned(text: &str, key: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(key));
    let value = values.next_back()?.trim().trim_matches(['"', '\'']).to_owned();
    (!value.is_empty()).then_some(value)
}

/// Whether an argument of this name logs in at consoles; the second is of CoreOS.
pub fn is_autologin(key: &str) -> bool {
    key == AUTOLOGIN || key == "coreos.autologin"
}

/// Whether an argument of this name says which platform it is, as GRUB does by OEM's grub.cfg; the second is of CoreOS.
pub fn names_platform(key: &str) -> bool {
    ["flatcar.oem.id", "coreos.oem.id"].contains(&key)
}

/// A line `set linux_append=…` without [`AUTOLOGIN`], in all its forms; `None` for other lines, and those without it.
pub(super) fn autologin_free(line: &str) -> Option<String> {
    let value = line.trim_start().strip_prefix("set linux_append=")?;
    let indent = &line[..line.len() - line.trim_start().len()];
    let is_autologin = |word: &str| is_autologin(word.split('=').next().unwrap_or(word));
    let quote = value.chars().next().filter(|c| ['"', '\''].contains(c)).map_or(String::new(), String::from);
    let inner = value.trim_end().trim_matches(['"', '\'']);
    let words: Vec<&str> = inner.split_whitespace().collect();
    let kept: Vec<&str> = words.iter().copied().filter(|word| !is_autologin(word)).collect();
    (kept.len() < words.len()).then(|| format!("{indent}set linux_append={quote}{}{quote}", kept.join(" ")))
}

/// A grub.cfg without automatic logins.
pub(super) fn without_autologin(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (body, end) = line.strip_suffix('\n').map_or((line, ""), |body| (body, "\n"));
        match autologin_free(body) {
            Some(line) => out += &line,
            None => out += body,
        }
        out += end;
    }
    out
}

/// Judges kernel arguments: whether GRUB passes them on as they are.
///
/// # Errors
/// One is empty, or has a quote, a backslash, a blank or a control character.
pub fn judge_arguments<'a>(arguments: impl IntoIterator<Item = &'a String>) -> Result<(), Error> {
    for argument in arguments {
        let refused = |why| Err(Error::Argument { argument: argument.escape_debug().to_string(), why });
        // GRUB splits the variable at blanks when it is used, and escapes quotes, which the kernel does not undo.
        match () {
            _ if argument.is_empty() => return refused("it is empty"),
            _ if argument.contains(['"', '\'', '\\']) => {
                return refused("GRUB passes quotes and backslashes on changed");
            }
            _ if argument.contains(|c: char| c.is_whitespace() || c.is_control()) => {
                return refused("it has a blank or control character");
            }
            _ => {}
        }
    }
    Ok(())
}

/// A grub.cfg with kernel arguments after the platform's own: `linux_append` is extended, never set anew
/// (coreos/docs#1240).
pub(super) fn with_arguments(text: &str, arguments: &[String]) -> Result<String, Error> {
    judge_arguments(arguments)?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.,:/=@%+ ".contains(c);
    let joined = arguments.join(" ");
    let value = match joined.chars().all(is_plain) {
        true => format!("\"$linux_append {joined}\""),
        // Between single quotes nothing is expanded.
        false => format!("\"$linux_append \"'{joined}'"),
    };
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    Ok(format!(
        "{text}{end}{BEGIN}: `prebake disk remove` takes these {} out\nset linux_append={value}\n{END}\n",
        counted(3_u32, "line")
    ))
}

/// A grub.cfg without prebake's block, all other bytes as they are.
pub(super) fn without_block(text: &[u8]) -> Vec<u8> {
    let mut is_inside = false;
    let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| {
        let line = line.trim_ascii();
        let is_ours = is_inside || line.starts_with(BEGIN.as_bytes());
        is_inside = is_ours && line != END.as_bytes();
        !is_ours
    });
    lines.flatten().copied().collect()
}
