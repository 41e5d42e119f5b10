//! Go's formatted printing (package fmt), for the types that a template can hold.
//!
//! `print`, `println` and what an action shows are the verb `%v`; `printf` has them all. A verb that does not fit is no
//! error but shows up in the text: `%!d(string=x)`.

mod directives;
mod printer;

use super::datum::{Data, Datum};
use directives::Directives;
use printer::Printer;

/// Why something could not be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is longer than there is room for.
    TooLong,
    /// `%p` shows where Go's memory holds a list or map, which is nothing to serve.
    Address,
}

/// The values with spaces between those that are no strings (`fmt.Sprint`).
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

/// The values with spaces between them and a line end (`fmt.Sprintln`).
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

/// The values as a format tells (`fmt.Sprintf`).
pub(super) fn printf(format: &[u8], values: &[Datum], room: usize) -> Result<Vec<u8>, Refusal> {
    let mut printer = Printer::new(room);
    Directives::new(format, values).print_all(&mut printer);
    printer.finish()
}

/// A value for a message of Go's that has `%v` or `%s` in it.
pub(super) fn shown(data: &Data, verb: char) -> String {
    /// Enough to tell what it is.
    const ROOM: usize = 1 << 16;
    let mut printer = Printer::new(ROOM);
    printer.value(data, verb);
    String::from_utf8_lossy(&printer.into_text()).into_owned()
}
