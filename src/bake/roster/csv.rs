//! Tables of spreadsheets: a line of headings in any order, then a machine a line. Commas, semicolons (as Excel writes them
//! where the comma is the decimal point), tabs or bars; RFC 4180's quotes; LF, CRLF or CR.

use std::sync::Arc;

use ::csv::{ReaderBuilder, StringRecord};

use super::{Field, Row, Rows};
use crate::base::finding::{Finding, Place, Source};

/// Characters that may separate values, the most usual first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// Reads a table's machines.
pub(super) fn read(source: &Arc<Source>, rows: &mut Rows) {
    let (skipped, text, said) = without_hint(&source.text);
    let head = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let fields = |delimiter: &u8| {
        let cells = head.split(char::from(*delimiter)).map(|cell| cell.trim_matches(['"', ' ']));
        cells.filter(|cell| Field::of(cell).is_some()).count()
    };
    // The first of the best.
    let best = DELIMITERS.iter().rev().max_by_key(|delimiter| fields(delimiter)).copied().unwrap_or(b',');
    let mut reader = ReaderBuilder::new()
        .delimiter(said.unwrap_or(best))
        .has_headers(false)
        .flexible(true)
        .trim(::csv::Trim::All)
        .from_reader(text.as_bytes());
    let place = |record: &StringRecord| {
        let line = record.position().map_or(1, ::csv::Position::line);
        Place { source: source.clone(), line: usize::try_from(line).unwrap_or(1) + skipped, column: 1 }
    };
    let lines: Vec<&str> = source.text.lines().collect();
    let mut columns: Option<Vec<Option<Field>>> = None;
    for record in reader.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                let finding = Finding::error(format!("this is not a table: {error}"));
                let line = error.position().map_or(1, ::csv::Position::line);
                let line = usize::try_from(line).unwrap_or(1) + skipped;
                rows.findings.push(finding.at(Place { source: source.clone(), line, column: 1 }));
                return;
            }
        };
        let place = place(&record);
        if record.iter().all(str::is_empty) || record.get(0).is_some_and(|cell| cell.starts_with('#')) {
            continue;
        }
        let Some(columns) = &columns else {
            match headings(&record, &place, rows) {
                Some(found) => columns = Some(found),
                None => return,
            }
            continue;
        };
        if record.len() > columns.len() {
            let text =
                format!("this line has {} values, and there are {} columns", record.len(), columns.len());
            let finding = Finding::error(text).at(place.clone());
            rows.findings.push(finding.hint("put a value that contains the separator in double quotes"));
            continue;
        }
        let mut row = Row::new(place.clone(), true);
        let line = lines.get(place.line - 1).copied().unwrap_or_default();
        let mut from = 0;
        for (cell, field) in record.iter().zip(columns) {
            let found = line.get(from..).and_then(|rest| rest.find(cell)).filter(|_| !cell.is_empty());
            from = found.map_or(from, |at| from + at + cell.len());
            let before = line.get(..from.saturating_sub(cell.len())).unwrap_or_default();
            let column = if found.is_some() { before.chars().count() + 1 } else { 1 };
            if let Some(field) = field {
                row.put(*field, cell, &Place { column, ..place.clone() });
            }
        }
        rows.push(row);
    }
    if columns.is_none() {
        rows.findings.push(Finding::error(format!("{} is empty", source.name)));
    }
}

/// The text behind Excel's first line `sep=;`, how many lines that is, and the separator that it states.
fn without_hint(text: &str) -> (usize, &str, Option<u8>) {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    match first.trim().trim_matches('"').strip_prefix("sep=").map(str::as_bytes) {
        Some([separator]) => (1, rest, Some(*separator)),
        _ => (0, text, None),
    }
}

/// The fields of the columns.
fn headings(record: &StringRecord, place: &Place, rows: &mut Rows) -> Option<Vec<Option<Field>>> {
    let columns: Vec<Option<Field>> = record.iter().map(Field::of).collect();
    if !columns.iter().any(|field| matches!(field, Some(Field::Mac | Field::Uuid))) {
        let finding = Finding::error("no column is called `mac` or `uuid`").at(place.clone());
        let hint =
            "the first line names the columns: name, mac, ip, profile, uuid, arch, memory, in any order";
        rows.findings.push(finding.hint(hint));
        return None;
    }
    for (index, field) in columns.iter().enumerate() {
        if field.is_some() && columns[..index].contains(field) {
            let text = format!("the column `{}` is there twice", record.get(index).unwrap_or_default());
            rows.findings.push(Finding::error(text).at(place.clone()));
        }
    }
    let unknown: Vec<&str> = record
        .iter()
        .zip(&columns)
        .filter(|(cell, field)| field.is_none() && !cell.is_empty())
        .map(|(c, _)| c)
        .collect();
    if !unknown.is_empty() {
        let text = format!("columns that are not used: {}", unknown.join(", "));
        rows.findings.push(Finding::warning(text).at(place.clone()));
    }
    Some(columns)
}
