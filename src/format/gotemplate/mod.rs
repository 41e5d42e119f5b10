//! Go's text/template as Matchbox uses it: default delimiters, no functions beyond the built-in ones, and a missing key
//! is an error (`missingkey=error`).
//!
//! Owns the language, its printing and its messages; Go itself is the judge of all three (`tests/it/format/gotemplate/mod.rs`).
//! Leaves to `serve` which data a template sees.
//!
//! Bytes become tokens (`lex`), tokens a tree (`parse`, `ast`), and the tree with data bytes again (`exec`, which calls
//! `functions`, which print by `format`). The facts are those of Go's packages text/template, text/template/parse, fmt
//! and strconv as of Go 1.26.
//!
//! Three things differ. Complex numbers and `%p` are refused; what is beyond [`Limits`] is too, where Go would go on; and
//! the capacity of a list beyond 512 elements, to which `slice` may reach, is not Go's.

mod ast;
mod datum;
mod escape;
mod exec;
mod float;
mod format;
mod functions;
mod lex;
mod number;
mod parse;
mod quote;
mod unicode;
mod value;

use crate::base::error::{Advice, Exit};

pub use value::Value;

/// Limits for parsing and rendering a template.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest template, in bytes.
    pub text: usize,
    /// Bytes that it may write, to its output and into texts at run time.
    pub written: usize,
    /// Nodes and commands that it may execute.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { text: 8 << 20, written: 64 << 20, steps: 10_000_000 }
    }
}

/// Reasons why a template cannot be parsed or rendered, in the words of Go's text/template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a valid template.
    #[error("template: :{line}: {message}")]
    Parse {
        /// Line number, from 1.
        line: usize,
        /// The problem, in Go's words.
        message: String,
    },
    /// The template does not fit the data.
    #[error("template: :{line}:{column}: executing {template} at <{action}>: {message}")]
    Execute {
        /// Line number, from 1.
        line: usize,
        /// Number of bytes before it in its line.
        column: usize,
        /// The quoted name of the template, `""` for the text itself.
        template: String,
        /// The part of the action that failed.
        action: String,
        /// The problem, in Go's words.
        message: String,
    },
    /// The template is too long.
    #[error("template: {size} bytes are more than the limit of {limit}")]
    TooLong {
        /// Length in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl Error {
    /// The line of the template, from 1, if the error has one.
    pub fn line(&self) -> Option<usize> {
        match self {
            Error::Parse { line, .. } | Error::Execute { line, .. } => Some(*line),
            Error::TooLong { .. } => None,
        }
    }

    /// The problem, without its place.
    pub fn message(&self) -> String {
        match self {
            Error::Parse { message, .. } => message.clone(),
            Error::Execute { action, message, .. } => format!("at <{action}>: {message}"),
            Error::TooLong { .. } => self.to_string(),
        }
    }
}

impl Advice for Error {
    fn exit(&self) -> Exit {
        Exit::Config
    }

    fn hint(&self) -> Option<String> {
        let Error::Execute { message, .. } = self else { return None };
        if message.starts_with("map has no entry for key") {
            return Some("`index . \"KEY\"` looks up a key that may be missing".into());
        }
        let number = message.contains("incompatible types for comparison") && message.contains("float64");
        number.then(|| "numbers of the data are floats: compare them with `3.0`, not with `3`".into())
    }
}

/// A number of the data as an action and Go's `%v` print it: `3`, `1e+06`.
pub(crate) fn number(value: f64) -> String {
    float::format(value, 'g', None)
}

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    text: Vec<u8>,
    tree: ast::Tree,
    limits: Limits,
}

impl Template {
    /// Parses a template. Its text need not be UTF-8: text outside of actions is passed on unchanged.
    pub fn parse(text: &[u8]) -> Result<Template, Error> {
        Template::parse_within(text, Limits::default())
    }

    /// Like [`Template::parse`], with other limits.
    pub fn parse_within(text: &[u8], limits: Limits) -> Result<Template, Error> {
        if text.len() > limits.text {
            return Err(Error::TooLong { size: text.len(), limit: limits.text });
        }
        Ok(Template { text: text.to_vec(), tree: parse::parse(text)?, limits })
    }

    /// Whether the value of a key of the data may decide which parts are rendered: the key, or (if it is used at all) a
    /// variable, occurs where a branch, a loop or another template is chosen.
    pub(crate) fn may_be_decided_by(&self, key: &str) -> bool {
        self.tree.decides_by(key)
    }

    /// Renders the template; the data is its dot and `$`.
    pub fn render(&self, data: &Value) -> Result<Vec<u8>, Error> {
        exec::render(&self.tree, &self.text, data, self.limits)
    }
}

#[cfg(test)]
mod tests;
