//! Prints values by the verbs of Go's fmt.

use super::Refusal;
use crate::format::gotemplate::datum::{Data, Datum};
use crate::format::gotemplate::float;
use crate::format::gotemplate::quote::{fits_backquotes, quoted};
use crate::format::gotemplate::unicode::{self, BROKEN};

/// The flags between `%` and the verb.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    pub width: Option<usize>,
    pub precision: Option<usize>,
    pub minus: bool,
    pub plus: bool,
    pub sharp: bool,
    pub space: bool,
    pub zero: bool,
    /// `%#v`: Go syntax; `sharp` is cleared then.
    pub go_syntax: bool,
}

/// Collects text until there is no more room.
pub(super) struct Printer {
    out: Vec<u8>,
    room: usize,
    pub flags: Flags,
    refused: Option<Refusal>,
}

impl Printer {
    pub(crate) fn new(room: usize) -> Self {
        Printer { out: Vec::new(), room, flags: Flags::default(), refused: None }
    }

    pub(crate) fn finish(self) -> Result<Vec<u8>, Refusal> {
        self.refused.map_or(Ok(self.out), Err)
    }

    /// The text so far, even if some of it had no room.
    pub(crate) fn into_text(self) -> Vec<u8> {
        self.out
    }

    pub(crate) fn is_full(&self) -> bool {
        self.refused.is_some()
    }

    fn has_room(&mut self, length: usize) -> bool {
        if length > self.room - self.out.len() {
            self.refused.get_or_insert(Refusal::TooLong);
        }
        self.refused.is_none()
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if self.has_room(bytes.len()) {
            self.out.extend_from_slice(bytes);
        }
    }

    pub(crate) fn put_text(&mut self, text: &str) {
        self.put(text.as_bytes());
    }

    /// Prints an argument of a function.
    pub(crate) fn argument(&mut self, value: &Datum, verb: char) {
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

    /// Prints a value or, in a list or map, an element.
    pub(crate) fn value(&mut self, data: &Data, verb: char) {
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

    /// The text cut to the precision, in characters.
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

    /// Prints bytes in hexadecimal, with a prefix for each if the space flag is set.
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
        // The bits of an `int64`, read as a character.
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
            // The zeros follow the sign.
            Flags { zero: true, minus: false, width: Some(width), .. } => width.saturating_sub(signed.into()),
            _ => 0,
        };
        if !self.has_room(length) {
            return;
        }
        let digits = zeros(length.saturating_sub(digits.chars().count())) + &digits;
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

    /// Prints `U+0041`, or `U+0041 'A'` with the sharp flag.
    fn code_point(&mut self, bits: u64) {
        let digits = self.flags.precision.unwrap_or(0).max(4);
        if !self.has_room(digits) {
            return;
        }
        let character =
            u32::try_from(bits).ok().and_then(char::from_u32).filter(|c| unicode::is_printable(*c));
        let shown = character.filter(|_| self.flags.sharp).map_or(String::new(), |c| format!(" '{c}'"));
        let hexadecimal = format!("{bits:X}");
        let filled = zeros(digits.saturating_sub(hexadecimal.len()));
        self.pad_with_spaces(format!("U+{filled}{hexadecimal}{shown}").as_bytes());
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

    /// Pads the text to the width, which counts characters.
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

/// A string of zeros; widths in `format!` end at 65,535.
fn zeros(many: usize) -> String {
    "0".repeat(many)
}

/// Applies the sharp flag: always a decimal point, and the zeros that `%g` leaves out.
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
        // A zero before the point counts as one digit.
        (false, "0") => (".", 1),
        (false, _) => (".", significant),
    };
    format!("{mantissa}{point}{}{tail}", "0".repeat(wanted.saturating_sub(counted)))
}
