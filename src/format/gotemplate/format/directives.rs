//! The format of `printf`: the text between `%` and the verb, and the value that it applies to.

use super::printer::{Flags, Printer};
use crate::format::gotemplate::datum::{Data, Datum};
use crate::format::gotemplate::unicode::{self, BROKEN};

/// Largest width or precision; a larger one is ignored.
const WIDEST: i64 = 1_000_000;

/// Walks through a format and consumes its values.
pub(super) struct Directives<'f, 'v, 'd> {
    format: &'f [u8],
    at: usize,
    values: &'v [Datum<'d>],
    next: usize,
    /// Whether a value was selected by number, as in `%[2]d`.
    reordered: bool,
    good_index: bool,
}

impl<'f, 'v, 'd> Directives<'f, 'v, 'd> {
    pub(crate) fn new(format: &'f [u8], values: &'v [Datum<'d>]) -> Self {
        Directives { format, at: 0, values, next: 0, reordered: false, good_index: true }
    }

    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    /// Prints the format's text and every directive, then the unused values.
    pub(crate) fn print_all(mut self, printer: &mut Printer) {
        while self.at < self.format.len() && !printer.is_full() {
            let rest = &self.format[self.at..];
            let literal = memchr::memchr(b'%', rest).unwrap_or(rest.len());
            printer.put(&rest[..literal]);
            self.at += literal + 1;
            if literal < rest.len() {
                self.print_one(printer);
            }
        }
        self.print_unused(printer);
    }

    /// Prints one directive, whose percent sign has been read.
    fn print_one(&mut self, printer: &mut Printer) {
        printer.flags = Flags::default();
        self.good_index = true;
        self.flags(&mut printer.flags);
        let after_index = self.index();
        let after_index = self.width(after_index, printer);
        let after_index = self.precision(after_index, printer);
        if !after_index {
            self.index();
        }
        let (verb, width) = unicode::first(&self.format[self.at..]);
        if width == 0 {
            return printer.put(b"%!(NOVERB)");
        }
        self.at += width;
        self.apply(verb.unwrap_or(BROKEN), printer);
    }

    /// Reads a width, which may be a value. Returns whether an index has not been used yet.
    fn width(&mut self, after_index: bool, printer: &mut Printer) -> bool {
        if !self.star() {
            printer.flags.width = self.number();
            // Bad index, as in `%[3]2d`.
            self.good_index &= !after_index || printer.flags.width.is_none();
            return after_index;
        }
        match self.integer_value() {
            Some(width) => {
                printer.flags.width = Some(width.unsigned_abs() as usize);
                if width < 0 {
                    (printer.flags.minus, printer.flags.zero) = (true, false);
                }
            }
            None => printer.put(b"%!(BADWIDTH)"),
        }
        false
    }

    /// Reads a precision, likewise. A point at the end of the format is taken for the verb.
    fn precision(&mut self, after_index: bool, printer: &mut Printer) -> bool {
        if self.peek() != Some(b'.') || self.at + 1 >= self.format.len() {
            return after_index;
        }
        self.at += 1;
        // Bad index, as in `%[3].2d`.
        self.good_index &= !after_index;
        let after_index = self.index();
        if !self.star() {
            printer.flags.precision = Some(self.number().unwrap_or(0));
            return after_index;
        }
        let precision = self.integer_value();
        printer.flags.precision = precision.and_then(|precision| usize::try_from(precision).ok());
        if printer.flags.precision.is_none() {
            printer.put(b"%!(BADPREC)");
        }
        false
    }

    fn apply(&mut self, verb: char, printer: &mut Printer) {
        if verb == '%' {
            return printer.put(b"%");
        }
        if !self.good_index {
            return printer.put_text(&format!("%!{verb}(BADINDEX)"));
        }
        let Some(value) = self.values.get(self.next) else {
            return printer.put_text(&format!("%!{verb}(MISSING)"));
        };
        if matches!(verb, 'v' | 'w') {
            let flags = &mut printer.flags;
            (flags.go_syntax, flags.sharp, flags.plus) = (flags.sharp, false, false);
        }
        printer.argument(value, verb);
        self.next += 1;
    }

    fn flags(&mut self, flags: &mut Flags) {
        while let Some(flag) = self.peek() {
            match flag {
                b'#' => flags.sharp = true,
                b'0' => flags.zero = true,
                b'+' => flags.plus = true,
                b'-' => flags.minus = true,
                b' ' => flags.space = true,
                _ => return,
            }
            self.at += 1;
        }
    }

    fn star(&mut self) -> bool {
        let found = self.peek() == Some(b'*');
        self.at += usize::from(found);
        found
    }

    /// Reads a number in the format. If it is far too large, the rest of the format is consumed too.
    fn number(&mut self) -> Option<usize> {
        let (number, length) = number(&self.format[self.at..]);
        self.at += length;
        number
    }

    /// The next value, if it is a whole number that can be a width or precision.
    fn integer_value(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        let number = match value.data {
            Data::Int(number) => number,
            Data::Byte(number) => number.into(),
            _ => return None,
        };
        (-WIDEST..=WIDEST).contains(&number).then_some(number)
    }

    /// Reads an index such as `[3]`, the number of the next value, from 1. Returns whether there was a readable number.
    fn index(&mut self) -> bool {
        if self.peek() != Some(b'[') {
            return false;
        }
        self.reordered = true;
        let inner = &self.format[self.at + 1..];
        let Some(length) = memchr::memchr(b']', inner).filter(|_| inner.len() > 1) else {
            self.at += 1;
            self.good_index = false;
            return false;
        };
        self.at += length + 2;
        let number = match number(&inner[..length]) {
            (Some(number), read) if read == length => number,
            _ => {
                self.good_index = false;
                return false;
            }
        };
        match number.checked_sub(1).filter(|index| *index < self.values.len()) {
            Some(index) => self.next = index,
            None => self.good_index = false,
        }
        true
    }

    /// Prints the values that no verb used, unless values were selected by number.
    fn print_unused(&self, printer: &mut Printer) {
        if self.reordered || self.next >= self.values.len() {
            return;
        }
        printer.flags = Flags::default();
        printer.put(b"%!(EXTRA ");
        for (index, value) in self.values[self.next..].iter().enumerate() {
            if index > 0 {
                printer.put(b", ");
            }
            printer.put_text(value.data.type_name());
            if !matches!(value.data, Data::Nil) {
                printer.put(b"=");
                printer.argument(value, 'v');
            }
        }
        printer.put(b")");
    }
}

/// The decimal number at the start of a text, and the length to skip: the whole text if the number is out of bounds.
fn number(text: &[u8]) -> (Option<usize>, usize) {
    let mut number = None;
    for (index, byte) in text.iter().enumerate() {
        if !byte.is_ascii_digit() {
            return (number, index);
        }
        let before = number.unwrap_or(0);
        if before > WIDEST as usize {
            return (None, text.len());
        }
        number = Some(before * 10 + usize::from(byte - b'0'));
    }
    (number, text.len())
}
