//! Kernel arguments: those that a recipe may add to the arguments that a PXE boot needs.
//!
//! Refuses arguments that would break the boot, silently change it, or not arrive as written. Sources: Flatcar's
//! bootengine (`diskless-generator`, `ignition-generator`), its `ssh-key-proc-cmdline`, and the kernel's
//! `lib/cmdline.c` (`next_arg`).

use std::collections::BTreeMap;

use crate::base::finding::{Finding, Place, Source};
use crate::base::yaml::decode::Spanned;
use crate::tree::names::{CARD_ARG, CONFIG_ARGS, FIRST_BOOT_ARGS, INITRD_ARG, OEM_ARGS, SERVER_ARG};
use crate::tree::secrets::{masked_place, masked_text};

/// Upper limit for a profile's own arguments, in bytes. x86 and arm64 kernels take 2048 in all (`COMMAND_LINE_SIZE`)
/// and silently cut off the rest; names of initrds, the server's address and the loader's own words need some of these.
const MAX_BYTES: usize = 1536;

/// Arguments that are refused, with the reason.
struct Refused {
    keys: &'static [&'static str],
    why: &'static str,
    hint: &'static str,
}

const REFUSED: &[Refused] = &[
    Refused {
        keys: &["root"],
        why: "makes Flatcar expect a root disk; PXE boots run from memory",
        hint: LEAVE,
    },
    Refused {
        keys: &["usr", "mount.usr", "verity.usr", "verity.usrhash"],
        why: "turns Flatcar's PXE mode off",
        hint: LEAVE,
    },
    Refused { keys: &[INITRD_ARG], why: "is written by prebake, one for each initrd", hint: LEAVE },
    Refused {
        keys: &FIRST_BOOT_ARGS,
        why: "is written by prebake, as PXE needs it; with `detected` Ignition would look for a disk and fail",
        hint: LEAVE,
    },
    Refused {
        keys: &CONFIG_ARGS,
        why: "makes Ignition ignore the config in the overlay; nothing merges the two",
        hint: "merge that config as a layer: `ignition.config.merge` takes its URL",
    },
    Refused { keys: &[SERVER_ARG], why: "is added by the server that boots the machine", hint: LEAVE },
    Refused { keys: &[CARD_ARG], why: "names one machine's card, which its loader adds", hint: LEAVE },
];

const LEAVE: &str = "leave it out";

/// Arguments that count once: the kernel or systemd takes the last and ignores the others.
const SINGLE: &[&str] = &[
    "rootfstype",
    "rootflags",
    OEM_ARGS[0],
    "flatcar.release_file_server_url",
    "systemd.unit",
    "init",
    "rdinit",
];

/// The findings on the arguments of one profile.
pub(super) fn findings(args: &[Spanned<String>]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = args.iter().filter_map(fault).collect();
    let mut seen: BTreeMap<&str, &Spanned<String>> = BTreeMap::new();
    for arg in args {
        let key = key(&arg.value);
        // Repeating the same word is always a slip; for some keys, so is a second value.
        let name = if SINGLE.contains(&key) { key } else { arg.value.as_str() };
        if let Some(first) = seen.insert(name, arg) {
            let text = match first.value == arg.value {
                true => format!("kernel argument `{}` is given twice", shown(&arg.value)),
                false => {
                    let (last, first) = (shown(&arg.value), shown(&first.value));
                    format!("`{last}` overrides `{first}`: only the last `{key}` counts")
                }
            };
            let finding = Finding::error(text).at(place(arg)).hint("keep one of them");
            findings.push(finding.related(place(first), "first given here"));
        }
    }
    let bytes: usize = args.iter().map(|arg| arg.value.len() + 1).sum();
    if let Some(last) = args.last().filter(|_| bytes > MAX_BYTES) {
        let text =
            format!("the kernel arguments of this profile have {bytes} bytes, and at most {MAX_BYTES} fit");
        let finding = Finding::error(text).at(place(last));
        findings.push(finding.hint("the kernel cuts off the rest; put settings into the Ignition config"));
    }
    findings
}

/// Why a recipe refuses an argument; `None` if it takes it.
pub(crate) fn fault_of(arg: &str) -> Option<String> {
    let place = Place { source: Source::new("kernel_args", arg), line: 1, column: 1 };
    let finding = fault(&Spanned { value: arg.to_owned(), place })?;
    Some(match finding.hint {
        Some(hint) => format!("{}; {hint}", finding.message),
        None => finding.message,
    })
}

/// An argument as messages show it: findings end up in logs, and it may contain a secret.
fn shown(arg: &str) -> String {
    let key = key(arg);
    let plain = key.len() < arg.len()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
        && masked_text(key).is_none();
    match masked_text(arg) {
        Some(_) if plain => format!("{key}=…"),
        Some(masked) => masked,
        None => arg.to_owned(),
    }
}

/// Place of an argument; its line is shown only if it has no secret.
fn place(arg: &Spanned<String>) -> Place {
    let line = arg.place.source.line(arg.place.line).unwrap_or_default();
    match masked_text(&arg.value).or_else(|| masked_text(line)) {
        Some(_) => masked_place(&arg.place),
        None => arg.place.clone(),
    }
}

fn key(arg: &str) -> &str {
    arg.split('=').next().unwrap_or_default()
}

fn fault(arg: &Spanned<String>) -> Option<Finding> {
    let text = arg.value.as_str();
    let says = |why: &str, hint: &str| {
        let finding = Finding::error(format!("kernel argument `{}` {why}", shown(text).escape_debug()));
        Some(finding.at(place(arg)).hint(hint))
    };
    if text.is_empty() {
        return says("is empty", LEAVE);
    }
    if text.chars().any(char::is_control) {
        return says("has a control character in it", "a newline would end the line of a boot script");
    }
    // iPXE's `command_terminators` and comments (src/core/exec.c), if they are a word of their own.
    if matches!(text, "&&" | "||" | ";") || text.starts_with('#') {
        return says("ends the command in a boot script", LEAVE);
    }
    if text.matches('"').count() % 2 == 1 {
        return says(
            "has an opening quote without a closing one",
            "the kernel would read everything that follows as part of it",
        );
    }
    if has_bare_blank(text) {
        let hint = "write two list items, or put the value in double quotes: 'key=\"a b\"'";
        return says("has a blank outside of quotes, so it is two arguments", hint);
    }
    let key = key(text);
    if let Some(refused) = REFUSED.iter().find(|refused| refused.keys.contains(&key)) {
        return says(refused.why, refused.hint);
    }
    let value = text.split_once('=').map(|(_, value)| value);
    match (key, value) {
        ("sshkey", Some(value)) if !(value.len() > 2 && value.starts_with('"') && value.ends_with('"')) => {
            says(
                "is not in double quotes, and Flatcar then ignores it",
                "write 'sshkey=\"ssh-ed25519 AAAA…\"', or use `ssh_keys:`",
            )
        }
        ("rootfstype", value) if !matches!(value, Some("tmpfs" | "btrfs")) => {
            says("is not one that Flatcar can make in memory", "tmpfs (the default) or btrfs")
        }
        (key, Some("pxe")) if key == OEM_ARGS[0] => {
            says("is an old name that Flatcar rewrites", "leave it out, or write flatcar.oem.id=metal")
        }
        _ => None,
    }
}

fn has_bare_blank(text: &str) -> bool {
    let mut quoted = false;
    text.chars().any(|c| {
        quoted ^= c == '"';
        !quoted && c.is_whitespace()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::finding::Source;

    fn said(args: &[&str]) -> Vec<String> {
        let source = Source::new("r.yaml", "");
        let place = |line| Place { source: source.clone(), line, column: 1 };
        let spanned =
            |(line, arg): (usize, &&str)| Spanned { value: (*arg).to_owned(), place: place(line + 1) };
        let args: Vec<_> = args.iter().enumerate().map(spanned).collect();
        findings(&args).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn what_people_add_is_taken() {
        let fine = [
            "console=tty0",
            "console=ttyS0,115200n8",
            "quiet",
            "flatcar.autologin=ttyS0",
            "sshkey=\"ssh-ed25519 AAAA me@x\"",
            "rootfstype=btrfs",
            "rootflags=size=80%",
            "ip=dhcp",
            "module_blacklist=a,b",
            "dyndbg=\"file x +p\"",
        ];
        assert_eq!(said(&fine), Vec::<String>::new());
    }

    #[test]
    fn what_breaks_or_silently_changes_a_boot_is_refused() {
        for bad in [
            "",
            "a\nb",
            "||",
            ";",
            "#a",
            "root=/dev/sda",
            "usr=x",
            "mount.usr=x",
            "initrd=x",
            "flatcar.first_boot=detected",
            "ignition.config.url=http://x",
            "flatcar.config.url=http://x",
            "prebake.url=http://x",
            "prebake.mac=52:54:00:00:00:01",
            "sshkey=ssh-ed25519",
            "sshkey=\"\"",
            "console=tty0 quiet",
            "a=\"b",
            "rootfstype=ext4",
            "rootfstype",
            "flatcar.oem.id=pxe",
        ] {
            assert_eq!(said(&[bad]).len(), 1, "{bad:?}: {:?}", said(&[bad]));
        }
    }

    #[test]
    fn a_refused_argument_shows_no_secret_in_its_message_nor_in_its_line() {
        for (args, shown) in [
            ("rd.iscsi.password=Zug4aBcD3f x", "rd.iscsi.password=…"),
            ("ignition.config.url=http://me:Zug4aBcD3f@h/x", "ignition.config.url=…"),
            ("systemd.unit=a systemd.unit=b x.password=Zug4aBcD3f", ""),
            ("systemd.set_credential=db.password:Zug4aBcD3f \t", "systemd.set_credential=…"),
        ] {
            let line = format!("kernel_args: ['{args}', '{args}']");
            let source = Source::new("r.yaml", &*line);
            let place = Place { source, line: 1, column: 15 };
            let arg = Spanned { value: args.to_owned(), place };
            let text = findings(&[arg.clone(), arg]).iter().map(Finding::to_string).collect::<String>();
            assert!(text.contains(shown) && text.contains("r.yaml:1:15"), "{text}");
            assert!(!text.contains("Zug4"), "{text}");
        }
    }

    #[test]
    fn contradictions_are_told_at_the_second() {
        assert_eq!(
            said(&["quiet", "console=a", "console=b", "quiet"]),
            ["kernel argument `quiet` is given twice"]
        );
        assert_eq!(
            said(&["rootfstype=tmpfs", "rootfstype=btrfs"]),
            ["`rootfstype=btrfs` overrides `rootfstype=tmpfs`: only the last `rootfstype` counts"]
        );
    }

    #[test]
    fn more_than_the_kernel_takes_is_refused() {
        let long = format!("a={}", "x".repeat(1600));
        assert_eq!(
            said(&[&long]),
            ["the kernel arguments of this profile have 1603 bytes, and at most 1536 fit"]
        );
    }
}
