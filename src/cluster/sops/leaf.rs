//! A leaf as SOPS seals it: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.

use std::str::FromStr;

use aes_gcm::aead::generic_array::GenericArray;
use aes_gcm::aead::generic_array::typenum::U32;
use aes_gcm::aead::{AeadInPlace, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Tag};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::base::yaml::Style;

/// SOPS' nonces have 32 bytes.
type Cipher = AesGcm<Aes256, U32>;

/// Beginning of every sealed leaf.
pub(super) const BEGINNING: &str = "ENC[AES256_GCM,";

/// A sealed leaf.
pub(super) struct Sealed {
    data: Vec<u8>,
    nonce: [u8; 32],
    tag: [u8; 16],
    kind: Kind,
}

/// Type of a leaf.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Integer,
    Float,
    Flag,
    Bytes,
    Time,
    Comment,
}

const KINDS: [(&str, Kind); 7] = [
    ("str", Kind::Text),
    ("int", Kind::Integer),
    ("float", Kind::Float),
    ("bool", Kind::Flag),
    ("bytes", Kind::Bytes),
    ("time", Kind::Time),
    ("comment", Kind::Comment),
];

/// A leaf in clear text.
pub(super) struct Leaf {
    /// Its text as YAML has it.
    pub text: String,
    /// Quoted for a text, plain for everything else.
    pub style: Style,
    /// Its bytes in the MAC.
    pub hashed: Zeroizing<String>,
}

/// The text has another form.
pub(super) struct NotSealed;

impl FromStr for Sealed {
    type Err = NotSealed;

    fn from_str(text: &str) -> Result<Self, NotSealed> {
        let parse = || {
            let inner = text.strip_prefix(BEGINNING)?.strip_prefix("data:")?.strip_suffix(']')?;
            let (data, rest) = inner.split_once(",iv:")?;
            let (nonce, rest) = rest.split_once(",tag:")?;
            let (tag, kind) = rest.split_once(",type:")?;
            let bytes = |text: &str| STANDARD.decode(text).ok();
            let kind = KINDS.iter().find(|(name, _)| *name == kind)?.1;
            Some(Sealed {
                data: bytes(data).filter(|data| !data.is_empty())?,
                nonce: bytes(nonce)?.try_into().ok()?,
                tag: bytes(tag)?.try_into().ok()?,
                kind,
            })
        };
        parse().ok_or(NotSealed)
    }
}

impl Sealed {
    /// Whether it is a comment.
    pub fn is_comment(&self) -> bool {
        self.kind == Kind::Comment
    }

    /// Judges it without a use for its text.
    pub fn authentic(&self, key: &[u8; 32], path: &str) -> Result<(), &'static str> {
        self.opened(key, path).map(drop)
    }

    /// Its bytes, if they were sealed with this key at this path.
    fn opened(&self, key: &[u8; 32], path: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        let mut data = Zeroizing::new(self.data.clone());
        let cipher = Cipher::new(GenericArray::from_slice(key));
        let (nonce, tag) = (GenericArray::from_slice(&self.nonce), Tag::from_slice(&self.tag));
        match cipher.decrypt_in_place_detached(nonce, path.as_bytes(), &mut data, tag) {
            Ok(()) => Ok(data),
            Err(_) => Err("it was changed, or moved here from another key"),
        }
    }

    /// Opens it.
    pub fn open(&self, key: &[u8; 32], path: &str) -> Result<Leaf, &'static str> {
        let bytes = self.opened(key, path)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| "it is not text")?;
        let leaf = |text: &str, style, hashed: &str| Leaf {
            text: text.to_owned(),
            style,
            hashed: Zeroizing::new(hashed.to_owned()),
        };
        match self.kind {
            Kind::Text | Kind::Bytes => Ok(leaf(text, Style::Quoted, text)),
            // As `strconv.Atoi` and `strconv.Itoa`.
            Kind::Integer => {
                let number: i64 = text.parse().map_err(|_| "it is not the number that it says it is")?;
                let number = number.to_string();
                Ok(leaf(&number, Style::Plain, &number))
            }
            Kind::Float => {
                let number = float(text).ok_or("it is not the number that it says it is")?;
                Ok(leaf(&number, Style::Plain, &number))
            }
            Kind::Flag => match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(leaf("true", Style::Plain, "True")),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(leaf("false", Style::Plain, "False")),
                _ => Err("it is not the flag that it says it is"),
            },
            Kind::Time => Ok(leaf(text, Style::Plain, text)),
            Kind::Comment => Err("a comment is in the place of a value"),
        }
    }
}

/// The path with which a leaf is sealed: its keys, each followed by a colon.
pub(super) fn path(keys: &[String]) -> String {
    keys.join(":") + ":"
}

/// A number as `strconv.FormatFloat(number, 'f', -1, 64)` writes it.
fn float(text: &str) -> Option<String> {
    let number: f64 = text.parse().ok()?;
    Some(if number.is_nan() {
        "NaN".into()
    } else if number.is_infinite() {
        if number > 0.0 { "+Inf".into() } else { "-Inf".into() }
    } else {
        number.to_string()
    })
}

/// A clear leaf's bytes in the MAC: of what gopkg.in/yaml.v3 reads, as SOPS' `ToBytes` writes it.
pub(super) fn hashed(text: &str, style: Style) -> String {
    if style != Style::Plain {
        return text.to_owned();
    }
    let digits = text.replace('_', "");
    let (sign, bare) = match digits.strip_prefix('-') {
        Some(bare) => ("-", bare),
        None => ("", digits.strip_prefix('+').unwrap_or(&digits)),
    };
    let radix = [("0x", 16), ("0o", 8), ("0b", 2)]
        .into_iter()
        .find_map(|(lead, radix)| Some((bare.strip_prefix(lead)?, radix)));
    // A leading zero is octal in YAML 1.1.
    let radix = radix.or_else(|| {
        let octal =
            bare.len() > 1 && bare.starts_with('0') && bare.bytes().all(|digit| matches!(digit, b'0'..=b'7'));
        octal.then_some((bare, 8))
    });
    let integer = match radix {
        Some((digits, radix)) => i64::from_str_radix(&format!("{sign}{digits}"), radix).ok(),
        None if bare.starts_with(|c: char| c.is_ascii_digit()) => format!("{sign}{bare}").parse().ok(),
        None => None,
    };
    match text {
        "true" | "True" | "TRUE" => return "True".into(),
        "false" | "False" | "FALSE" => return "False".into(),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return "+Inf".into(),
        "-.inf" | "-.Inf" | "-.INF" => return "-Inf".into(),
        ".nan" | ".NaN" | ".NAN" => return "NaN".into(),
        _ => {}
    }
    if let Some(integer) = integer {
        return integer.to_string();
    }
    // `1.5`, `.5`, `1e3`, but no `inf` and no `1.2.3`.
    let numeric = bare.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    let begins = bare.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if let Some(number) =
        float(&digits).filter(|_| numeric && begins && bare.contains(|c: char| c.is_ascii_digit()))
    {
        return number;
    }
    match is_date(text) {
        true => format!("{text}T00:00:00Z"),
        false => text.to_owned(),
    }
}

/// Whether a text is `2026-01-31`, which YAML takes for a time.
fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == 3
        && parts
            .iter()
            .zip([4, 2, 2])
            .all(|(part, width)| part.len() == width && part.bytes().all(|digit| digit.is_ascii_digit()))
}
