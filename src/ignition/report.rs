//! Where findings about one config gather while it is decoded and checked.

use super::tree::{Origin, Step};
use crate::report::{Finding, Severity};

/// Most findings that are kept. A config with more has one fault many times.
const MAX_FINDINGS: usize = 1000;

/// Findings in the order they were made.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    beyond: usize,
    failed: bool,
}

impl Report {
    /// Notes a finding that already has its place.
    pub fn push(&mut self, finding: Finding) {
        self.failed |= finding.severity == Severity::Error;
        match self.findings.len() < MAX_FINDINGS {
            true => self.findings.push(finding),
            false => self.beyond += 1,
        }
    }

    /// Notes an error at the steps below an origin; the position is the origin's.
    pub fn error(&mut self, origin: &Origin, steps: &[Step], message: impl Into<String>) {
        self.push(located(Finding::error(message), origin, steps));
    }

    /// Notes a warning likewise.
    pub fn warning(&mut self, origin: &Origin, steps: &[Step], message: impl Into<String>) {
        self.push(located(Finding::warning(message), origin, steps));
    }

    /// Whether an error was noted.
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// All findings, the last one saying how many more there were.
    pub fn finish(mut self) -> Vec<Finding> {
        if self.beyond > 0 {
            let severity = if self.failed { Severity::Error } else { Severity::Warning };
            let rest = Finding::warning(format!("and {} more findings", self.beyond));
            self.findings.push(Finding { severity, ..rest });
        }
        self.findings
    }
}

/// Says where: the origin's place, and its path with the steps below it in the same spelling.
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
