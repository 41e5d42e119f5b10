//! A failure as a program reads it: the one document on standard output of a verb with --json that failed.

use serde_json::{Value, json};

use crate::base::error::Error;
use crate::base::finding::{Finding, Findings, Place, Severity};

/// The document for an error.
pub(super) fn document(error: &Error, hint: Option<&str>) -> Value {
    let mut chain = error.chain();
    let Some(Findings(all)) = error.findings() else {
        return of_parts(error.exit() as u8, &chain, hint, Vec::new());
    };
    // Excerpts and carets are for people; programs have the places.
    let messages = all.iter().map(|finding| finding.message.as_str()).collect::<Vec<_>>().join("; ");
    chain.iter_mut().filter(|text| text.contains("\n  --> ")).for_each(|text| text.clone_from(&messages));
    of_parts(error.exit() as u8, &chain, hint, all.iter().map(finding).collect())
}

/// The document for a command line that cannot be used.
pub(super) fn of_usage(error: &clap::Error) -> Value {
    let text = error.render().to_string();
    let message = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    of_parts(error.exit_code().try_into().unwrap_or(2), &[message], tip, Vec::new())
}

fn of_parts(exit: u8, chain: &[String], hint: Option<&str>, findings: Vec<Value>) -> Value {
    let (message, causes) = chain.split_first().map_or(("", chain), |(first, rest)| (first.as_str(), rest));
    json!({"error": {"exit": exit, "message": message, "causes": causes, "hint": hint, "findings": findings}})
}

/// A finding as JSON.
pub(super) fn finding(finding: &Finding) -> Value {
    let place =
        |place: &Place| json!({"file": place.source.name, "line": place.line, "column": place.column});
    let related = finding.related.iter().map(|(at, why)| json!({"place": place(at), "message": why}));
    json!({
        "severity": match finding.severity { Severity::Error => "error", Severity::Warning => "warning" },
        "message": finding.message,
        "path": finding.path,
        "place": finding.place.as_ref().map(place),
        "hint": finding.hint,
        "related": related.collect::<Vec<_>>(),
    })
}
