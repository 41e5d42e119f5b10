//! Go's formatted printing (package fmt), for the types that a template can hold.
//!
//! `print`, `println` and what an action shows are the verb `%v`; `printf` has them all. A verb that does not fit is no
//! error but shows up in the text: `%!d(string=x)`.

use super::datum::{Data, Datum};
use super::float;
use super::quote::{fits_backquotes, quoted};
use super::unicode::{self, BROKEN};

/// Longest width or precision; a greater one is as good as none.
const WIDEST: i64 = 1_000_000;

/// Why something could not be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is longer than there is room for.
    TooLong,
    /// `%p` shows where Go's memory holds a list or map, which is nothing to serve.
    Address,
}

/// Between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    width: Option<usize>,
    precision: Option<usize>,
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    /// `%#v`: Go syntax; the sharp itself is taken away then.
    go_syntax: bool,
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
    let mut directives = Directives { format, at: 0, values, next: 0, reordered: false, good_index: true };
    while directives.at < format.len() && printer.refused.is_none() {
        let literal = memchr::memchr(b'%', &format[directives.at..]).unwrap_or(format.len() - directives.at);
        printer.put(&format[directives.at..directives.at + literal]);
        directives.at += literal;
        if directives.at < format.len() {
            directives.at += 1;
            directives.print_one(&mut printer);
        }
    }
    directives.print_unused(&mut printer);
    printer.finish()
}

/// A value for a message of Go's that has `%v` or `%s` in it.
pub(super) fn shown(data: &Data, verb: char) -> String {
    /// Enough to tell what it is.
    const ROOM: usize = 1 << 16;
    let mut printer = Printer::new(ROOM);
    printer.value(data, verb);
    String::from_utf8_lossy(&printer.out).into_owned()
}

/// Walks a format and hands out its values.
struct Directives<'f, 'v, 'd> {
    format: &'f [u8],
    at: usize,
    values: &'v [Datum<'d>],
    next: usize,
    /// Whether a value was named by number, as in `%[2]d`.
    reordered: bool,
    good_index: bool,
}

impl Directives<'_, '_, '_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    /// Prints one directive; its percent sign is past.
    fn print_one(&mut self, printer: &mut Printer) {
        printer.flags = Flags::default();
        self.good_index = true;
        self.flags(&mut printer.flags);
        let mut after_index = self.index();
        if self.star() {
            match self.integer_value() {
                Some(width) => {
                    printer.flags.width = Some(width.unsigned_abs() as usize);
                    if width < 0 {
                        printer.flags.minus = true;
                        printer.flags.zero = false;
                    }
                }
                None => printer.put(b"%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            printer.flags.width = self.number();
            if after_index && printer.flags.width.is_some() {
                self.good_index = false;
            }
        }
        // A point that ends the format is taken for the verb.
        if self.peek() == Some(b'.') && self.at + 1 < self.format.len() {
            self.at += 1;
            if after_index {
                self.good_index = false;
            }
            after_index = self.index();
            if self.star() {
                let precision = self.integer_value();
                printer.flags.precision = precision.and_then(|precision| usize::try_from(precision).ok());
                if printer.flags.precision.is_none() {
                    printer.put(b"%!(BADPREC)");
                }
                after_index = false;
            } else {
                printer.flags.precision = Some(self.number().unwrap_or(0));
            }
        }
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

    /// A number in the format. One that is far too great takes the rest of the format with it.
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

    /// `[3]`: the value to go on with, from 1. Whether there was a number that could be read.
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

    /// What no verb asked for, unless values were picked by number.
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

/// The decimal number that text begins with, and how much to pass over: all of it where the number is out of bounds.
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

/// Takes up text until there is no more room.
struct Printer {
    out: Vec<u8>,
    room: usize,
    flags: Flags,
    refused: Option<Refusal>,
}

impl Printer {
    fn new(room: usize) -> Self {
        Printer { out: Vec::new(), room, flags: Flags::default(), refused: None }
    }

    fn finish(self) -> Result<Vec<u8>, Refusal> {
        self.refused.map_or(Ok(self.out), Err)
    }

    fn has_room(&mut self, length: usize) -> bool {
        if length > self.room - self.out.len() {
            self.refused.get_or_insert(Refusal::TooLong);
        }
        self.refused.is_none()
    }

    fn put(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len()) {
            self.out.extend_from_slice(bytes);
        }
    }

    fn put_text(&mut self, text: &str) {
        self.put(text.as_bytes());
    }

    /// A value that was handed to a function.
    fn argument(&mut self, value: &Datum, verb: char) {
        let data = &value.data;
        let is_collection = matches!(data, Data::List(_) | Data::Map(_) | Data::Strings(_));
        match (verb, data) {
            ('T' | 'v', Data::Nil) => self.pad(b"<nil>"),
            (_, Data::Nil) => self.put_text(&format!("%!{verb}(<nil>)")),
            ('T', _) => self.text(data.type_name().as_bytes()),
            ('p', _) if is_collection => {
                self.refused.get_or_insert(Refusal::Address);
            }
            ('w' | 'p', _) => self.bad_verb(data, verb),
            _ => self.value(data, verb),
        }
    }

    /// A value or, in a list or map, an element.
    fn value(&mut self, data: &Data, verb: char) {
        match data {
            Data::Nil if self.flags.go_syntax => self.put(b"interface {}(nil)"),
            Data::Nil => self.put(b"<nil>"),
            Data::Bool(value) => match verb {
                't' | 'v' => self.pad(value.to_string().as_bytes()),
                _ => self.bad_verb(data, verb),
            },
            Data::Int(value) => self.integer(data, value.unsigned_abs(), *value < 0, verb),
            Data::Byte(value) => {
                let sharp = self.flags.sharp;
                let go_syntax = verb == 'v' && self.flags.go_syntax;
                self.flags.sharp |= go_syntax;
                self.integer(data, (*value).into(), false, if go_syntax { 'x' } else { verb });
                self.flags.sharp = sharp;
            }
            Data::Float(value) => self.float(data, *value, verb),
            Data::Text(text) => self.string(data, text, verb),
            Data::List(list) => {
                self.open(data, "[");
                for (index, item) in list.iter().enumerate() {
                    self.separate(index);
                    self.value(&item.data, verb);
                }
                self.close("]");
            }
            Data::Map(members) => {
                let members = members.iter().map(|(key, value)| (key, Datum::element(value).data));
                self.members(data, members, verb);
            }
            Data::Strings(members) => {
                let members = members.iter().map(|(key, value)| (key, Datum::string(value).data));
                self.members(data, members, verb);
            }
        }
    }

    fn members<'a>(&mut self, map: &Data, members: impl Iterator<Item = (&'a String, Data<'a>)>, verb: char) {
        self.open(map, "map[");
        for (index, (key, value)) in members.enumerate() {
            if self.refused.is_some() {
                return;
            }
            self.separate(index);
            self.value(&Datum::string(key).data, verb);
            self.put(b":");
            self.value(&value, verb);
        }
        self.close("]");
    }

    fn open(&mut self, data: &Data, mark: &str) {
        match self.flags.go_syntax {
            true => self.put_text(&format!("{}{{", data.type_name())),
            false => self.put_text(mark),
        }
    }

    fn separate(&mut self, index: usize) {
        if index > 0 {
            self.put_text(if self.flags.go_syntax { ", " } else { " " });
        }
    }

    fn close(&mut self, mark: &str) {
        self.put_text(if self.flags.go_syntax { "}" } else { mark });
    }

    fn bad_verb(&mut self, data: &Data, verb: char) {
        self.put_text(&format!("%!{verb}({}=", data.type_name()));
        self.value(data, 'v');
        self.put(b")");
    }

    fn string(&mut self, data: &Data, text: &[u8], verb: char) {
        match verb {
            'v' if self.flags.go_syntax => self.quoted(text),
            'v' | 's' => self.text(text),
            'q' => self.quoted(text),
            'x' => self.hexadecimal(text, "0x", |byte| format!("{byte:02x}")),
            'X' => self.hexadecimal(text, "0X", |byte| format!("{byte:02X}")),
            _ => self.bad_verb(data, verb),
        }
    }

    /// Cut to the precision, in characters.
    fn cut<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        match self.flags.precision {
            None => text,
            Some(precision) => {
                let length = unicode::characters(text).take(precision).map(|(_, bytes)| bytes.len()).sum();
                &text[..length]
            }
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.pad(self.cut(text));
    }

    fn quoted(&mut self, text: &[u8]) {
        let text = self.cut(text);
        if self.flags.sharp && fits_backquotes(text) {
            return self.pad(&[b"`", text, b"`"].concat());
        }
        self.pad(quoted(text, '"', self.flags.plus).as_bytes());
    }

    /// Bytes in hexadecimal, with a prefix for each where they are spaced.
    fn hexadecimal(&mut self, text: &[u8], prefix: &str, digits: impl Fn(&u8) -> String) {
        let text = &text[..self.flags.precision.map_or(text.len(), |precision| precision.min(text.len()))];
        if text.is_empty() {
            return self.padding(self.flags.width.unwrap_or(0));
        }
        if !self.has_room(text.len()) {
            return;
        }
        let (between, before) = match (self.flags.space, self.flags.sharp) {
            (true, true) => (format!(" {prefix}"), prefix),
            (true, false) => (" ".to_owned(), ""),
            (false, true) => (String::new(), prefix),
            (false, false) => (String::new(), ""),
        };
        let digits: Vec<String> = text.iter().map(digits).collect();
        self.pad(format!("{before}{}", digits.join(&between)).as_bytes());
    }

    fn integer(&mut self, data: &Data, magnitude: u64, negative: bool, verb: char) {
        // What `int64` bits say when they are read as a character.
        let point = if negative { u64::MAX } else { magnitude };
        let character = u32::try_from(point).ok().and_then(char::from_u32).unwrap_or(BROKEN);
        let digits = match verb {
            'v' | 'd' => magnitude.to_string(),
            'b' => format!("{magnitude:b}"),
            'o' | 'O' => format!("{magnitude:o}"),
            'x' => format!("{magnitude:x}"),
            'X' => format!("{magnitude:X}"),
            'c' => return self.pad(character.to_string().as_bytes()),
            'q' => {
                return self.pad(quoted(character.to_string().as_bytes(), '\'', self.flags.plus).as_bytes());
            }
            'U' => {
                let bits = if negative { magnitude.wrapping_neg() } else { magnitude };
                return self.code_point(bits);
            }
            _ => return self.bad_verb(data, verb),
        };
        let signed = negative || self.flags.plus || self.flags.space;
        let length = match self.flags {
            Flags { precision: Some(0), .. } if magnitude == 0 => {
                let zero = std::mem::take(&mut self.flags.zero);
                self.padding(self.flags.width.unwrap_or(0));
                self.flags.zero = zero;
                return;
            }
            Flags { precision: Some(precision), .. } => precision,
            // The zeros stand behind the sign.
            Flags { zero: true, minus: false, width: Some(width), .. } => width.saturating_sub(signed.into()),
            _ => 0,
        };
        if !self.has_room(length) {
            return;
        }
        let digits = format!("{digits:0>length$}");
        let prefix = match verb {
            'O' if self.flags.sharp && !digits.starts_with('0') => "0o0",
            'O' => "0o",
            'b' if self.flags.sharp => "0b",
            'o' if self.flags.sharp && !digits.starts_with('0') => "0",
            'x' if self.flags.sharp => "0x",
            'X' if self.flags.sharp => "0X",
            _ => "",
        };
        self.pad_with_spaces(format!("{}{prefix}{digits}", self.sign(negative)).as_bytes());
    }

    fn sign(&self, negative: bool) -> &'static str {
        match self.flags {
            _ if negative => "-",
            Flags { plus: true, .. } => "+",
            Flags { space: true, .. } => " ",
            _ => "",
        }
    }

    /// `U+0041`, with the sharp flag `U+0041 'A'`.
    fn code_point(&mut self, bits: u64) {
        let digits = self.flags.precision.unwrap_or(0).max(4);
        if !self.has_room(digits) {
            return;
        }
        let character =
            u32::try_from(bits).ok().and_then(char::from_u32).filter(|c| unicode::is_printable(*c));
        let shown = character.filter(|_| self.flags.sharp).map_or(String::new(), |c| format!(" '{c}'"));
        self.pad_with_spaces(format!("U+{bits:0digits$X}{shown}").as_bytes());
    }

    fn float(&mut self, data: &Data, value: f64, verb: char) {
        let (format, precision) = match verb {
            'v' => ('g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => (verb, None),
            'f' | 'F' => ('f', Some(6)),
            'e' | 'E' => (verb, Some(6)),
            _ => return self.bad_verb(data, verb),
        };
        let precision = self.flags.precision.or(precision);
        if !self.has_room(precision.unwrap_or(0)) {
            return;
        }
        let text = float::format(value, format, precision);
        if !value.is_finite() {
            return self.pad_with_spaces(text.as_bytes());
        }
        let unsigned = text.trim_start_matches('-');
        let unsigned = match self.flags.sharp && format != 'b' {
            true => with_point(unsigned, format, precision),
            false => unsigned.to_owned(),
        };
        let sign = self.sign(text.starts_with('-'));
        match self.flags {
            Flags { zero: true, minus: false, width: Some(width), .. }
                if !sign.is_empty() && width > sign.len() + unsigned.len() =>
            {
                self.put_text(sign);
                self.padding(width - sign.len() - unsigned.len());
                self.put_text(&unsigned);
            }
            _ => self.pad(format!("{sign}{unsigned}").as_bytes()),
        }
    }

    fn pad_with_spaces(&mut self, text: &[u8]) {
        let zero = std::mem::take(&mut self.flags.zero);
        self.pad(text);
        self.flags.zero = zero;
    }

    /// Fills up to the width, which counts characters.
    fn pad(&mut self, text: &[u8]) {
        let Some(width) = self.flags.width else { return self.put(text) };
        let padding = width.saturating_sub(unicode::characters(text).count());
        if self.flags.minus {
            self.put(text);
            self.padding(padding);
        } else {
            self.padding(padding);
            self.put(text);
        }
    }

    fn padding(&mut self, length: usize) {
        let fill = if self.flags.zero && !self.flags.minus { b'0' } else { b' ' };
        if self.has_room(length) {
            self.out.resize(self.out.len() + length, fill);
        }
    }
}

/// The sharp flag: a decimal point in any case, and the zeros that `%g` leaves out.
fn with_point(number: &str, format: char, precision: Option<usize>) -> String {
    let exponent = if matches!(format, 'x' | 'X') { ['p', 'P'] } else { ['e', 'E'] };
    let (mantissa, tail) = number.split_at(number.find(exponent).unwrap_or(number.len()));
    let wanted = match format {
        'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    let significant = mantissa.trim_start_matches(['0', '.']).chars().filter(|c| *c != '.').count();
    let (point, counted) = match (mantissa.contains('.'), mantissa) {
        (true, _) => ("", significant),
        // A zero before the point counts once.
        (false, "0") => (".", 1),
        (false, _) => (".", significant),
    };
    format!("{mantissa}{point}{}{tail}", "0".repeat(wanted.saturating_sub(counted)))
}
