//! systemd units as far as a build can judge them: the syntax of systemd.syntax(7), and the section that a unit's kind
//! requires. Leaves unknown keys to systemd, which warns about them and goes on.

/// A unit's defect and its line (from 1).
pub(crate) type Fault = (usize, String);

/// One `Key=value` of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Line, from 1.
    pub line: usize,
    /// Name of the section that contains it.
    pub section: String,
    /// Name of the key.
    pub key: String,
    /// The value, with continuation lines joined by blanks.
    pub value: String,
}

/// Kinds of unit that a sysext may contain, each with its required section.
const KINDS: [(&str, Option<&str>); 9] = [
    (".service", Some("Service")),
    (".socket", Some("Socket")),
    (".timer", Some("Timer")),
    (".path", Some("Path")),
    (".mount", Some("Mount")),
    (".automount", Some("Automount")),
    (".swap", Some("Swap")),
    (".target", None),
    (".slice", None),
];

/// Whether a path inside an image is a unit or a drop-in that systemd reads.
pub(crate) fn is_unit(path: &str) -> bool {
    let Some(rest) = unit_path(path) else { return false };
    match rest.split_once('/') {
        None => KINDS.iter().any(|(suffix, _)| rest.ends_with(suffix)),
        Some((dir, file)) => dir.ends_with(".d") && file.ends_with(".conf"),
    }
}

/// Whether a name is that of a unit that a target can uphold: without a path, and not a template without an instance.
pub(crate) fn is_startable(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let of_kind = |(suffix, _): &(&str, _)| {
        name.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty() && !stem.ends_with('@'))
    };
    name.chars().all(plain) && KINDS.iter().any(of_kind)
}

/// A drop-in for a target that keeps units running, as far as each one's own `Restart=` allows. Links in `.wants` would
/// be read before extensions are merged.
pub(crate) fn upholds(units: &[String]) -> String {
    format!("[Unit]\nUpholds={}\n", units.join(" "))
}

/// The path below the directory of system units, for either such directory below `/usr`.
pub(crate) fn unit_path(path: &str) -> Option<&str> {
    ["usr/lib/systemd/system/", "usr/local/lib/systemd/system/"].iter().find_map(|dir| path.strip_prefix(dir))
}

/// The assignments of a unit or drop-in, in the order of its lines, without faulty lines.
pub fn assignments(text: &str) -> Vec<Assignment> {
    let mut assignments: Vec<Assignment> = Vec::new();
    let mut section = String::new();
    let mut continued = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let plain = line.strip_suffix('\\').unwrap_or(line).trim_end();
        if std::mem::replace(&mut continued, line.ends_with('\\')) {
            if let Some(last) = assignments.last_mut() {
                // Appended in place: a value with 100,000 continuation lines would otherwise be copied as often.
                last.value.push(' ');
                last.value.push_str(plain);
                last.value.truncate(last.value.trim_end().len());
            }
        } else if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.to_owned();
        } else if let Some((key, value)) = plain.split_once('=') {
            let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
            assignments.push(Assignment { line: number, section: section.clone(), key, value });
        }
    }
    assignments
}

/// The faults of a unit or drop-in at a path, in the order of its lines.
pub fn faults(path: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut sections = Vec::new();
    let mut continued = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        let comment = line.starts_with(['#', ';']);
        // Only comments may come between a continued line and the next one; an empty line ends it.
        if comment || std::mem::replace(&mut continued, line.ends_with('\\')) || line.is_empty() {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            match section.strip_suffix(']') {
                Some(name) if !name.is_empty() => sections.push(name),
                _ => faults.push((number, format!("`{line}` is not a section header like `[Name]`"))),
            }
        } else if line.split_once('=').is_none_or(|(key, _)| key.trim().is_empty()) {
            faults.push((number, format!("`{line}` is neither `[Section]` nor `Key=value`")));
        } else if sections.is_empty() {
            faults.push((number, "an assignment before the first `[Section]`".into()));
        }
    }
    let drop_in = unit_path(path).is_some_and(|rest| rest.contains('/'));
    let needed =
        KINDS.iter().find(|(suffix, _)| !drop_in && path.ends_with(suffix)).and_then(|(_, needed)| *needed);
    if let Some(section) = needed.filter(|section| !sections.contains(section)) {
        faults.push((text.lines().count().max(1), format!("the section `[{section}]` is missing")));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Formerly, a value was copied for each of its continuation lines, which took minutes for a text of 1 MB.
    #[test]
    fn a_value_goes_on_for_as_many_lines_as_it_likes() {
        let text = format!("[Service]\nExecStart=/bin/x \\\n{}  end \n", "a \\\n\t\\\n".repeat(100_000));
        let [only] = assignments(&text).try_into().unwrap();
        let Assignment { line, value, .. } = &only;
        assert_eq!((*line, value.len()), (2, "/bin/x".len() + 2 * 100_000 + " end".len()));
        assert!(value.starts_with("/bin/x a a") && value.ends_with("a end"), "{}", &value[..20]);
    }

    const PATH: &str = "usr/lib/systemd/system/a.service";

    #[test]
    fn a_unit_with_comments_and_continued_lines_has_no_faults() {
        let text = "# c\n[Unit]\nAfter=b.service\n\n[Service]\nExecStart=/bin/x \\\n; c\n  --flag=[no section] \\\n  last\nRestart=\n";
        assert_eq!(faults(PATH, text), []);
    }

    #[test]
    fn every_fault_is_told_with_its_line() {
        let text = "Early=1\n[Unit\n=x\nword\n";
        let lines: Vec<usize> = faults(PATH, text).iter().map(|fault| fault.0).collect();
        assert_eq!(lines, [1, 2, 3, 4, 4]);
    }

    #[test]
    fn only_whole_units_need_the_section_of_their_kind() {
        assert_eq!(faults("usr/lib/systemd/system/a.service.d/10-x.conf", "[Unit]\nAfter=b\n"), []);
        assert_eq!(faults("usr/lib/systemd/system/a.target", "[Unit]\n"), []);
        assert_eq!(faults(PATH, "[Unit]\nAfter=b\n")[0].1, "the section `[Service]` is missing");
    }

    #[test]
    fn continued_lines_are_one_value() {
        let text = "[Service]\nExecStart=/bin/x \\\n; c\n  --flag \\\n  last\nRestart=\n";
        let values: Vec<_> = assignments(text).into_iter().map(|a| (a.line, a.key, a.value)).collect();
        let expected = [(2, "ExecStart", "/bin/x --flag last"), (6, "Restart", "")];
        assert_eq!(values, expected.map(|(line, key, value)| (line, key.to_owned(), value.to_owned())));
    }

    #[test]
    fn units_and_drop_ins_are_told_from_other_files() {
        for (path, expected) in [
            (PATH, true),
            ("usr/local/lib/systemd/system/k3s.service", true),
            ("usr/lib/systemd/system/multi-user.target.d/10-a.conf", true),
            ("usr/lib/systemd/system/multi-user.target.d/a.service", false),
            ("usr/share/a.service", false),
        ] {
            assert_eq!(is_unit(path), expected, "{path}");
        }
    }
}
