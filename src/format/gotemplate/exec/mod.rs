//! Runs a tree over data, by the rules of Go's `text/template` (exec.go).
//!
//! Blocks and template calls are frames on a stack on the heap, so that recursion ends where Go ends it, at 100,000
//! calls, and does not overflow the thread's stack. Only parentheses recurse, and the parser limits them.

mod eval;
mod range;

use super::ast::{Branch, Call, Located, Node, Range, Tree};
use super::datum::{Data, Datum};
use super::format::{self, Refusal};
use super::functions::NO_VALUE;
use super::quote::quote;
use super::value::Value;
use super::{Error, Limits};
use range::Items;

/// Deepest nesting of template calls; Go's `maxExecDepth`.
const DEEPEST_CALL: usize = 100_000;

/// Renders the template without a name.
pub(super) fn render(tree: &Tree, text: &[u8], data: &Value, limits: Limits) -> Result<Vec<u8>, Error> {
    let mut run = Run {
        tree,
        text,
        frames: Vec::new(),
        variables: Vec::new(),
        base: 0,
        calls: 0,
        place: None,
        out: Vec::new(),
        room: limits.written,
        steps: limits.steps,
    };
    run.enter_template(b"", Datum::plain(data));
    run.finish()?;
    Ok(run.out)
}

type Result<T, E = Error> = std::result::Result<T, E>;

struct Run<'a> {
    tree: &'a Tree,
    text: &'a [u8],
    frames: Vec<Frame<'a>>,
    /// All declared variables; the current template sees those from `base` on, the first of which is `$`.
    variables: Vec<(&'a str, Datum<'a>)>,
    base: usize,
    /// Number of frames that are template calls.
    calls: usize,
    /// The node that is being evaluated, for messages.
    place: Option<&'a dyn Located>,
    out: Vec<u8>,
    /// Bytes that may still be written; below it, steps that may still be taken.
    room: usize,
    steps: u64,
}

/// A list of nodes that is being executed.
struct Frame<'a> {
    nodes: std::slice::Iter<'a, Node>,
    dot: Datum<'a>,
    /// Number of variables outside of the block.
    outside: usize,
    role: Role<'a>,
}

enum Role<'a> {
    /// An arm of `if` or `with`.
    Branch,
    Loop(Loop<'a>),
    /// The `else` of a loop, which `break` leaves like the loop itself.
    LoopElse,
    Template {
        name: &'a [u8],
        caller_base: usize,
    },
}

struct Loop<'a> {
    range: &'a Range,
    items: Items<'a>,
    /// Number of variables before an iteration, including the loop's own.
    variables: usize,
}

impl<'a> Run<'a> {
    fn finish(&mut self) -> Result<()> {
        while let Some(frame) = self.frames.last_mut() {
            match frame.nodes.next() {
                Some(node) => self.node(node)?,
                None => self.end_of_list()?,
            }
        }
        Ok(())
    }

    /// Fails with the place and message that Go would give.
    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        let at = self.place.map_or(0, |place| place.at());
        let before = &self.text[..at];
        let template = self.frames.iter().rev().find_map(|frame| match frame.role {
            Role::Template { name, .. } => Some(quote(name)),
            _ => None,
        });
        Err(Error::Execute {
            line: 1 + memchr::memchr_iter(b'\n', before).count(),
            column: at - memchr::memrchr(b'\n', before).map_or(0, |end| end + 1),
            template: template.unwrap_or_default(),
            action: self.place.map(|place| place.to_string()).unwrap_or_default(),
            message: message.into(),
        })
    }

    /// Counts steps, and fails if none are left.
    fn step(&mut self, steps: u64) -> Result<()> {
        match self.steps.checked_sub(steps) {
            Some(left) => self.steps = left,
            None => return self.fail("too many steps"),
        }
        Ok(())
    }

    fn refused<T>(&self, refusal: Refusal) -> Result<T> {
        match refusal {
            Refusal::TooLong => self.fail("too much text"),
            Refusal::Address => self.fail("%p prints an address in memory"),
        }
    }

    fn write(&mut self, text: &[u8]) -> Result<()> {
        match self.room.checked_sub(text.len()) {
            Some(left) => self.room = left,
            None => return self.refused(Refusal::TooLong),
        }
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn dot(&self) -> Datum<'a> {
        self.frames.last().map_or(Datum::NOTHING, |frame| frame.dot.clone())
    }

    fn node(&mut self, node: &'a Node) -> Result<()> {
        self.step(1)?;
        match node {
            Node::Text(text) => self.write(text),
            Node::Action(pipe) => {
                let value = self.pipeline(&self.dot(), pipe)?;
                if pipe.variables.is_empty() { self.print(&value) } else { Ok(()) }
            }
            Node::Branch(branch) => self.enter_branch(branch),
            Node::Range(range) => self.enter_range(range),
            Node::Call(call) => self.enter_call(call),
            Node::Break => {
                self.leave_until(|role| matches!(role, Role::Loop(_) | Role::LoopElse));
                self.leave();
                Ok(())
            }
            Node::Continue => {
                self.leave_until(|role| matches!(role, Role::Loop(_)));
                self.end_of_list()
            }
        }
    }

    fn print(&mut self, value: &Datum<'a>) -> Result<()> {
        match &value.data {
            Data::Nil => self.write(NO_VALUE.as_bytes()),
            Data::Text(text) => self.write(text),
            _ => match format::print(std::slice::from_ref(value), self.room) {
                Ok(text) => self.write(&text),
                Err(refusal) => self.refused(refusal),
            },
        }
    }

    fn enter_branch(&mut self, branch: &'a Branch) -> Result<()> {
        let outside = self.variables.len();
        let dot = self.dot();
        for (pipe, list) in &branch.arms {
            let value = self.pipeline(&dot, pipe)?;
            if value.data.is_true() {
                let dot = if branch.with { value } else { dot };
                self.enter(*list, dot, outside, Role::Branch);
                return Ok(());
            }
        }
        match branch.otherwise {
            Some(list) => self.enter(list, dot, outside, Role::Branch),
            None => self.variables.truncate(outside),
        }
        Ok(())
    }

    fn enter_range(&mut self, range: &'a Range) -> Result<()> {
        let outside = self.variables.len();
        let dot = self.dot();
        let value = self.pipeline(&dot, &range.pipe)?;
        let items = match Items::of(&value, range.pipe.variables.len()) {
            Ok(items) => items,
            Err(message) => return self.fail(message),
        };
        if items.is_empty() {
            match range.otherwise {
                Some(list) => self.enter(list, dot, outside, Role::LoopElse),
                None => self.variables.truncate(outside),
            }
            return Ok(());
        }
        let variables = self.variables.len();
        self.frames.push(Frame {
            nodes: [].iter(),
            dot,
            outside,
            role: Role::Loop(Loop { range, items, variables }),
        });
        self.end_of_list()
    }

    fn enter_call(&mut self, call: &'a Call) -> Result<()> {
        self.place = Some(call);
        if !self.tree.defined.contains_key(&call.name) {
            return self.fail(format!("template {} not defined", quote(&call.name)));
        }
        // The text itself is a template too, but is not a call.
        if self.calls > DEEPEST_CALL {
            return self.fail(format!("exceeded maximum template depth ({DEEPEST_CALL})"));
        }
        let dot = match &call.pipe {
            Some(pipe) => self.pipeline(&self.dot(), pipe)?,
            None => Datum::NOTHING,
        };
        self.enter_template(&call.name, dot);
        Ok(())
    }

    fn enter_template(&mut self, name: &'a [u8], dot: Datum<'a>) {
        let Some(list) = self.tree.defined.get(name) else { return };
        let (outside, caller_base) = (self.variables.len(), self.base);
        self.base = outside;
        self.calls += 1;
        self.variables.push(("$", dot.clone()));
        self.enter(*list, dot, outside, Role::Template { name, caller_base });
    }

    fn enter(&mut self, list: usize, dot: Datum<'a>, outside: usize, role: Role<'a>) {
        self.frames.push(Frame { nodes: self.tree.lists[list].iter(), dot, outside, role });
    }

    /// Starts the next iteration of a loop, or leaves the block.
    fn end_of_list(&mut self) -> Result<()> {
        let Some(Frame { nodes, dot, role: Role::Loop(turn), .. }) = self.frames.last_mut() else {
            self.leave();
            return Ok(());
        };
        let Some((key, item)) = turn.items.next() else {
            self.leave();
            return Ok(());
        };
        *nodes = self.tree.lists[turn.range.body].iter();
        *dot = item.clone();
        let pipe = &turn.range.pipe;
        self.variables.truncate(turn.variables);
        // The declared variables are the last ones; the key's comes first.
        let declared = self.variables.len() - if pipe.assigns { 0 } else { pipe.variables.len() };
        let values = if pipe.variables.len() > 1 { [Some(key), Some(item)] } else { [Some(item), None] };
        for (index, (name, value)) in pipe.variables.iter().zip(values.into_iter().flatten()).enumerate() {
            if pipe.assigns {
                self.assign(name, value)?;
            } else {
                self.variables[declared + index].1 = value;
            }
        }
        self.step(1)
    }

    fn leave_until(&mut self, found: impl Fn(&Role) -> bool) {
        while self.frames.last().is_some_and(|frame| !found(&frame.role)) {
            self.leave();
        }
    }

    fn leave(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        self.variables.truncate(frame.outside);
        if let Role::Template { caller_base, .. } = frame.role {
            self.base = caller_base;
            self.calls -= 1;
        }
    }
}
