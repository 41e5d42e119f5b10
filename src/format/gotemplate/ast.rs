//! A parsed template.
//!
//! Lists of nodes are stored side by side and refer to each other by index, so that no code follows the nesting of
//! blocks by recursion: a template may nest them to any depth. Parentheses do nest, and the parser limits them.
//!
//! `Display` writes a node as Go's error messages do.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write as _};

use super::functions::Function;
use super::number::Number;
use super::quote::quote;

/// An element of the template with a position, which messages can show.
pub(super) trait Located: Display {
    /// Byte offset in the text that Go uses for the node: for a chain of fields, the last field's.
    fn at(&self) -> usize;
}

/// Index of a list of nodes in [`Tree::lists`].
pub(super) type ListId = usize;

#[derive(Debug, Default)]
pub(super) struct Tree {
    pub lists: Vec<Vec<Node>>,
    /// Lists by template name; the text itself has the empty name.
    pub defined: BTreeMap<Vec<u8>, ListId>,
}

impl Tree {
    /// Whether a key of the data may decide which parts are rendered. May be true when the key does not, never the
    /// reverse.
    pub(crate) fn decides_by(&self, key: &str) -> bool {
        let nodes = || self.lists.iter().flatten();
        nodes().any(|node| node.pipes().any(|pipe| pipe.mentions(key, false)))
            && nodes().any(|node| match node {
                // `and` and `or` skip arguments that no longer matter.
                Node::Action(pipe) => pipe.chooses() && pipe.mentions(key, true),
                node => node.pipes().any(|pipe| pipe.mentions(key, true)),
            })
    }
}

impl Node {
    fn pipes(&self) -> impl Iterator<Item = &Pipe> {
        let (arms, one): (&[(Pipe, ListId)], Option<&Pipe>) = match self {
            Node::Action(pipe) => (&[], Some(pipe)),
            Node::Branch(branch) => (&branch.arms, None),
            Node::Range(range) => (&[], Some(&range.pipe)),
            Node::Call(call) => (&[], call.pipe.as_ref()),
            Node::Text(_) | Node::Break | Node::Continue => (&[], None),
        };
        arms.iter().map(|(pipe, _)| pipe).chain(one)
    }
}

impl Pipe {
    fn operands(&self) -> impl Iterator<Item = &Operand> {
        self.commands.iter().flat_map(|command| std::iter::once(&command.first).chain(&command.rest))
    }

    /// Whether the pipeline names a key of the data, or (with `or_variable`) a variable, which may hold the key's
    /// value.
    fn mentions(&self, key: &str, or_variable: bool) -> bool {
        self.operands().any(|operand| operand.term.mentions(key, or_variable))
    }

    /// Whether it calls a function that does not evaluate all its arguments.
    fn chooses(&self) -> bool {
        self.operands().any(|operand| match &operand.term {
            Term::Function(function) => ["and", "or"].contains(&function.name()),
            Term::Pipe(pipe) => pipe.chooses(),
            Term::Chain { base, .. } => matches!(&base.term, Term::Pipe(pipe) if pipe.chooses()),
            _ => false,
        })
    }
}

impl Term {
    fn mentions(&self, key: &str, or_variable: bool) -> bool {
        let is_key = |fields: &[String]| fields.first().is_some_and(|first| first == key);
        match self {
            Term::Field(fields) => is_key(fields),
            Term::Variable { name, fields } => is_key(fields) || or_variable && name != "$",
            Term::Text { text, .. } => text == key.as_bytes(),
            Term::Pipe(pipe) => pipe.mentions(key, or_variable),
            Term::Chain { base, fields } => is_key(fields) || base.term.mentions(key, or_variable),
            Term::Dot | Term::Nil | Term::Bool(_) | Term::Number { .. } | Term::Function(_) => false,
        }
    }
}

#[derive(Debug)]
pub(super) enum Node {
    Text(Vec<u8>),
    Action(Pipe),
    Branch(Branch),
    Range(Range),
    Call(Call),
    Break,
    Continue,
}

/// `if` or `with`, including its `else if` or `else with` arms.
#[derive(Debug)]
pub(super) struct Branch {
    /// Whether the value becomes the dot.
    pub with: bool,
    /// Not empty.
    pub arms: Vec<(Pipe, ListId)>,
    pub otherwise: Option<ListId>,
}

#[derive(Debug)]
pub(super) struct Range {
    pub pipe: Pipe,
    pub body: ListId,
    pub otherwise: Option<ListId>,
}

/// `template`, and the call that `block` leaves in its place.
#[derive(Debug)]
pub(super) struct Call {
    pub at: usize,
    pub name: Vec<u8>,
    pub pipe: Option<Pipe>,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub at: usize,
    /// `=` instead of `:=`.
    pub assigns: bool,
    /// Names with their `$`.
    pub variables: Vec<String>,
    /// Not empty.
    pub commands: Vec<Command>,
}

#[derive(Debug)]
pub(super) struct Command {
    pub at: usize,
    pub first: Operand,
    pub rest: Vec<Operand>,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub at: usize,
    pub term: Term,
}

#[derive(Debug)]
pub(super) enum Term {
    Dot,
    Nil,
    Bool(bool),
    Number { number: Number, written: String },
    Text { text: Vec<u8>, written: String },
    Field(Vec<String>),
    Variable { name: String, fields: Vec<String> },
    Function(Function),
    Pipe(Pipe),
    Chain { base: Box<Operand>, fields: Vec<String> },
}

impl Located for Pipe {
    fn at(&self) -> usize {
        self.at
    }
}

impl Display for Pipe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.variables.is_empty() {
            write!(f, "{} {} ", self.variables.join(", "), if self.assigns { "=" } else { ":=" })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                f.write_str(" | ")?;
            }
            command.fmt(f)?;
        }
        Ok(())
    }
}

impl Located for Command {
    fn at(&self) -> usize {
        self.at
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.first.fmt_nested(f)?;
        for operand in &self.rest {
            f.write_char(' ')?;
            operand.fmt_nested(f)?;
        }
        Ok(())
    }
}

impl Operand {
    fn fmt_nested(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Pipe(pipe) => write!(f, "({pipe})"),
            _ => self.fmt(f),
        }
    }
}

impl Located for Operand {
    fn at(&self) -> usize {
        self.at
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fields = match &self.term {
            Term::Dot => return f.write_char('.'),
            Term::Nil => return f.write_str("nil"),
            Term::Bool(value) => return value.fmt(f),
            Term::Number { written, .. } | Term::Text { written, .. } => return f.write_str(written),
            Term::Function(function) => return f.write_str(function.name()),
            Term::Pipe(pipe) => return pipe.fmt(f),
            Term::Field(fields) => fields,
            Term::Variable { name, fields } => {
                f.write_str(name)?;
                fields
            }
            Term::Chain { base, fields } => {
                base.fmt_nested(f)?;
                fields
            }
        };
        fields.iter().try_for_each(|field| write!(f, ".{field}"))
    }
}

impl Located for Call {
    fn at(&self) -> usize {
        self.at
    }
}

impl Display for Call {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{template {}", quote(&self.name))?;
        if let Some(pipe) = &self.pipe {
            write!(f, " {pipe}")?;
        }
        f.write_str("}}")
    }
}
