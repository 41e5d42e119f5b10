//! Collects the findings about one config while it is decoded and checked.

use prebake_text::count::counted;
use prebake_text::finding::{Finding, Severity};

use super::tree::{Origin, Step};

/// Most findings that are kept. A config with more has the same fault many times.
const MAX_FINDINGS: usize = 1000;

/// Findings in the order in which they were added.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    beyond: usize,
    failed: bool,
}

impl Report {
    /// Adds a finding that already has its place.
    pub fn push(&mut self, finding: Finding) {
        if self.is_full() {
            return self.leave_out(finding.severity);
        }
        self.failed |= finding.severity == Severity::Error;
        self.findings.push(finding);
    }

    /// Whether further findings are dropped. Callers then skip computing a place and the nearest key, which would be
    /// slow in a text that may be one line of megabytes with a finding at every word.
    pub fn is_full(&self) -> bool {
        self.findings.len() >= MAX_FINDINGS
    }

    /// Counts a finding that is dropped.
    pub fn leave_out(&mut self, severity: Severity) {
        self.failed |= severity == Severity::Error;
        self.beyond += 1;
    }

    /// Adds an error at the steps below an origin; its position is the origin's.
    pub fn error(&mut self, origin: &Origin, steps: &[Step], message: impl Into<String>) {
        match self.is_full() {
            true => self.leave_out(Severity::Error),
            false => self.push(located(Finding::error(message), origin, steps)),
        }
    }

    /// Adds a warning at the steps below an origin.
    pub fn warning(&mut self, origin: &Origin, steps: &[Step], message: impl Into<String>) {
        match self.is_full() {
            true => self.leave_out(Severity::Warning),
            false => self.push(located(Finding::warning(message), origin, steps)),
        }
    }

    /// Whether there was an error.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// All findings; a last one states the number of dropped ones, if any.
    pub fn finish(mut self) -> Vec<Finding> {
        if self.beyond > 0 {
            let severity = if self.failed { Severity::Error } else { Severity::Warning };
            let rest = Finding::warning(format!("and {}", counted(self.beyond, "more finding")));
            self.findings.push(Finding { severity, ..rest });
        }
        self.findings
    }
}

/// Sets a finding's place to the origin's, and its path to the origin's with the steps below it, in the same spelling.
pub(crate) fn located(mut finding: Finding, origin: &Origin, steps: &[Step]) -> Finding {
    finding.place = origin.place();
    finding.path = origin.path().map(|mut path| {
        let yaml = origin.is_yaml();
        for step in steps {
            let step = match *step {
                Step::Json(name) if yaml => Step::Yaml(name),
                step => step,
            };
            path += &step.to_string();
        }
        path
    });
    finding
}

#[cfg(test)]
mod tests {
    use crate::{Checked, Config, Transpile, transpile};
    use prebake_text::finding::Source;

    /// Formerly, the place of each of 300,000 unknown keys was searched from the beginning of their one line, which
    /// took minutes.
    #[test]
    fn of_very_many_unknown_keys_the_first_thousand_are_told_and_the_others_counted() {
        let keys = |from: &str, between: &str| {
            let keys: Vec<String> = (0..300_000).map(|number| format!("{from}k{number}{from}: 1")).collect();
            keys.join(between)
        };
        let ignition = format!("{{\"ignition\": {{\"version\": \"3.4.0\"}}, {}}}", keys("\"", ", "));
        let butane = format!("variant: flatcar\nversion: 1.1.0\n{}\n", keys("", "\n"));
        let read = Config::parse(&Source::new("x.ign", ignition)).unwrap();
        let translated = transpile(&Source::new("x.bu", butane), &Transpile::default()).unwrap();
        for Checked { warnings, .. } in [read, translated] {
            assert_eq!(warnings.len(), super::MAX_FINDINGS + 1);
            assert_eq!(warnings.last().unwrap().message, "and 299000 more findings");
        }
    }
}
