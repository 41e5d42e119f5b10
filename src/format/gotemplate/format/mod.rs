//! Go's formatted printing (package fmt), for the types that a template can hold.
//!
//! `print`, `println` and the output of actions use the verb `%v`; `printf` has all verbs. A verb that does not fit is
//! not an error but shows up in the text: `%!d(string=x)`.

mod directives;
mod printer;

use super::datum::{Data, Datum};
use directives::Directives;
use printer::Printer;

/// Reasons why a value could not be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is longer than the remaining room.
    TooLong,
    /// `%p` prints a list's or map's address in Go's memory, which must not be served.
    Address,
}

/// Prints the values, with spaces between those that are not strings (`fmt.Sprint`).
pub(super) fn print(values: &[Datum], room: usize) -> Result<Vec<u8>, Refusal> {
    let mut printer = Printer::new(room);
    let is_text = |value: &Datum| matches!(value.data, Data::Text(_));
    for (index, value) in values.iter().enumerate() {
        if index > 0 && !is_text(value) && !is_text(&values[index - 1]) {
            printer.put(b" ");
        }
        printer.argument(value, 'v');
    }
    printer.finish()
}

/// Prints the values with spaces between them and a line end (`fmt.Sprintln`).
pub(super) fn println(values: &[Datum], room: usize) -> Result<Vec<u8>, Refusal> {
    let mut printer = Printer::new(room);
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            printer.put(b" ");
        }
        printer.argument(value, 'v');
    }
    printer.put(b"\n");
    printer.finish()
}

/// Prints the values by a format (`fmt.Sprintf`).
pub(super) fn printf(format: &[u8], values: &[Datum], room: usize) -> Result<Vec<u8>, Refusal> {
    let mut printer = Printer::new(room);
    Directives::new(format, values).print_all(&mut printer);
    printer.finish()
}

/// A value for one of Go's messages that contain `%v` or `%s`.
pub(super) fn shown(data: &Data, verb: char) -> String {
    /// Enough to recognise the value.
    const ROOM: usize = 1 << 16;
    let mut printer = Printer::new(ROOM);
    printer.value(data, verb);
    String::from_utf8_lossy(&printer.into_text()).into_owned()
}
