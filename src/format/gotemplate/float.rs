//! Floating-point numbers in text, as Go's `strconv.FormatFloat` writes them.

/// More digits than any `f64` has, before or after its point; further digits are zeros.
const MOST_DIGITS: usize = 1100;

/// Formats a number in one of Go's formats: `e E f g G b x X`. Without a precision, with as many digits as distinguish
/// it from its neighbours.
pub(super) fn format(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-Inf" } else { "+Inf" }.into();
    }
    let magnitude = value.abs();
    let text = match verb {
        'b' => binary(magnitude),
        'x' | 'X' => hexadecimal(magnitude, precision),
        'f' => Decimal::fixed(magnitude, precision).positional(precision),
        'g' | 'G' => general(magnitude, precision),
        _ => {
            let decimal = Decimal::significant(magnitude, precision.map(|precision| precision + 1));
            let digits = decimal.digits.len();
            decimal.scientific(precision.unwrap_or(digits.saturating_sub(1)))
        }
    };
    let text = if verb.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text };
    if value.is_sign_negative() { format!("-{text}") } else { text }
}

/// `0.DIGITS × 10^point`, without zeros at the end; no digits for zero.
struct Decimal {
    digits: Vec<u8>,
    point: i32,
}

impl Decimal {
    /// This many digits, rounded half to even, or the fewest that suffice.
    fn significant(value: f64, digits: Option<usize>) -> Self {
        let text = match digits {
            Some(digits) => format!("{:.*e}", digits.clamp(1, MOST_DIGITS) - 1, value),
            None => format!("{value:e}"),
        };
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).collect();
        Decimal { digits, point: exponent.parse().unwrap_or(0) + 1 }.trimmed()
    }

    /// This many digits after the point.
    fn fixed(value: f64, digits: Option<usize>) -> Self {
        let Some(digits) = digits else { return Decimal::significant(value, None) };
        let text = format!("{:.*}", digits.min(MOST_DIGITS), value);
        let whole = text.find('.').unwrap_or(text.len());
        let all: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).collect();
        let zeros = all.iter().take_while(|digit| **digit == b'0').count();
        Decimal { digits: all[zeros..].to_vec(), point: whole as i32 - zeros as i32 }.trimmed()
    }

    fn trimmed(mut self) -> Self {
        let length = self.digits.iter().rposition(|digit| *digit != b'0').map_or(0, |last| last + 1);
        self.digits.truncate(length);
        if length == 0 {
            self.point = 0;
        }
        self
    }

    fn digit(&self, index: i64) -> char {
        let digit = usize::try_from(index).ok().and_then(|index| self.digits.get(index));
        digit.map_or('0', |digit| char::from(*digit))
    }

    /// Positional form, such as `12.50`.
    fn positional(&self, precision: Option<usize>) -> String {
        let point = i64::from(self.point);
        let precision =
            precision.map_or((self.digits.len() as i64 - point).max(0), |precision| precision as i64);
        let mut text: String = (0..point).map(|index| self.digit(index)).collect();
        if text.is_empty() {
            text.push('0');
        }
        if precision > 0 {
            text.push('.');
            text.extend((point..point + precision).map(|index| self.digit(index)));
        }
        text
    }

    /// Scientific form, such as `1.25e+01`.
    fn scientific(&self, precision: usize) -> String {
        let mut text = String::from(self.digit(0));
        if precision > 0 {
            text.push('.');
            text.extend((1..=precision as i64).map(|index| self.digit(index)));
        }
        let exponent = if self.digits.is_empty() { 0 } else { self.point - 1 };
        format!("{text}e{}", signed(exponent))
    }
}

/// An exponent with its sign and at least two digits.
fn signed(exponent: i32) -> String {
    format!("{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `%g`: scientific if the exponent is small or beyond the precision.
fn general(value: f64, precision: Option<usize>) -> String {
    let precision = precision.map(|precision| precision.max(1));
    let decimal = Decimal::significant(value, precision);
    let (digits, point) = (decimal.digits.len() as i64, i64::from(decimal.point));
    let threshold = match precision {
        None => 6,
        Some(precision) if precision as i64 > digits && digits >= point => digits,
        Some(precision) => precision as i64,
    };
    let exponent = point - 1;
    if exponent < -4 || exponent >= threshold {
        return decimal.scientific(digits.max(1) as usize - 1);
    }
    decimal.positional(Some((digits - point).max(0) as usize))
}

const MANTISSA_BITS: u32 = 52;

/// The mantissa with its leading bit, and the exponent of that bit.
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let mantissa = bits & ((1 << MANTISSA_BITS) - 1);
    match (bits >> MANTISSA_BITS) as i32 & 0x7ff {
        0 => (mantissa, -1022),
        exponent => (mantissa | 1 << MANTISSA_BITS, exponent - 1023),
    }
}

/// `%b`, such as `4503599627370496p-52`.
fn binary(value: f64) -> String {
    let (mantissa, exponent) = parts(value);
    format!("{mantissa}p{:+}", exponent - MANTISSA_BITS as i32)
}

/// `%x`, such as `0x1.8p+01`.
fn hexadecimal(value: f64, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = parts(value);
    if mantissa == 0 {
        exponent = 0;
    } else {
        let shift = mantissa.leading_zeros() - (63 - MANTISSA_BITS);
        mantissa <<= shift;
        exponent -= shift as i32;
    }
    // 13 hexadecimal digits hold the 52 bits after the leading one.
    if let Some(precision) = precision.filter(|precision| *precision < 13) {
        let cut = MANTISSA_BITS - 4 * precision as u32;
        let (kept, lost, half) = (mantissa >> cut, mantissa & ((1 << cut) - 1), 1 << (cut - 1));
        mantissa = (kept + u64::from(lost > half || lost == half && kept & 1 == 1)) << cut;
        if mantissa >> (MANTISSA_BITS + 1) > 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let (leading, fraction) = (mantissa >> MANTISSA_BITS, mantissa & ((1 << MANTISSA_BITS) - 1));
    let digits = format!("{fraction:013x}");
    let digits = match precision {
        None => digits.trim_end_matches('0').to_owned(),
        Some(precision) => {
            let filled = digits.clone() + &"0".repeat(precision.saturating_sub(digits.len()));
            filled[..precision].to_owned()
        }
    };
    let point = if digits.is_empty() { "" } else { "." };
    format!("0x{leading}{point}{digits}p{}", signed(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_read_as_go_writes_them() {
        let cases: &[(f64, char, Option<usize>, &str)] = &[
            (3.0, 'g', None, "3"),
            (100000.0, 'g', None, "100000"),
            (1000000.0, 'g', None, "1e+06"),
            (123456789.0, 'g', None, "1.23456789e+08"),
            (9007199254740993.0, 'g', None, "9.007199254740992e+15"),
            (1e-6, 'g', None, "1e-06"),
            (0.0001, 'g', None, "0.0001"),
            (-0.0, 'g', None, "-0"),
            (1e100, 'g', None, "1e+100"),
            (100.0, 'g', Some(3), "100"),
            (1234.5, 'g', Some(2), "1.2e+03"),
            (1234.5, 'g', Some(10), "1234.5"),
            (0.125, 'f', Some(2), "0.12"),
            (0.375, 'f', Some(2), "0.38"),
            (2.5, 'f', Some(0), "2"),
            (9.996, 'f', Some(2), "10.00"),
            (1234.5678, 'e', Some(3), "1.235e+03"),
            (0.0, 'e', Some(6), "0.000000e+00"),
            (1.0, 'b', None, "4503599627370496p-52"),
            (1.5, 'x', None, "0x1.8p+00"),
            (1.999, 'x', Some(1), "0x1.0p+01"),
            (5e-324, 'X', None, "0X1P-1074"),
            (f64::NEG_INFINITY, 'g', None, "-Inf"),
        ];
        for (value, verb, precision, expected) in cases {
            assert_eq!(format(*value, *verb, *precision), *expected, "{value} {verb} {precision:?}");
        }
    }
}
