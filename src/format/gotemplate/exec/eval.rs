//! Evaluates pipelines, commands and operands.

use super::{Result, Run};
use crate::format::gotemplate::ast::{Command, Located, Operand, Pipe, Term};
use crate::format::gotemplate::datum::{Data, Datum, Text};
use crate::format::gotemplate::functions::{Arity, Failure, Function};
use crate::format::gotemplate::number::Number;
use crate::format::gotemplate::quote::quote;

/// Bytes that a function may process in one step.
const BYTES_PER_STEP: usize = 64;

/// A function call as it is written.
struct Call<'a> {
    function: Function,
    /// Position of the function's name.
    at: &'a dyn Located,
    arguments: &'a [Operand],
    /// Result of the previous command, which is the last argument.
    last: Option<Datum<'a>>,
    /// The node that a message names when the function fails.
    whole: &'a dyn Located,
}

impl<'a> Run<'a> {
    /// Returns the value of the last command. Variables that it declares exist until the end of the block.
    pub(super) fn pipeline(&mut self, dot: &Datum<'a>, pipe: &'a Pipe) -> Result<Datum<'a>> {
        self.place = Some(pipe);
        let mut last = None;
        for command in &pipe.commands {
            self.step(1)?;
            last = Some(self.command(dot, command, last)?.unboxed());
        }
        let value = last.unwrap_or(Datum::NOTHING);
        for name in &pipe.variables {
            if pipe.assigns {
                self.assign(name, value.clone())?;
            } else {
                self.variables.push((name, value.clone()));
            }
        }
        Ok(value)
    }

    /// Sets the innermost variable of a name.
    pub(super) fn assign(&mut self, name: &str, value: Datum<'a>) -> Result<()> {
        let mut visible = self.variables[self.base..].iter_mut();
        match visible.rfind(|variable| variable.0 == name) {
            Some(variable) => variable.1 = value,
            None => return self.fail(format!("undefined variable: {name}")),
        }
        Ok(())
    }

    fn command(
        &mut self,
        dot: &Datum<'a>,
        command: &'a Command,
        last: Option<Datum<'a>>,
    ) -> Result<Datum<'a>> {
        let first = &command.first;
        let has_arguments = !command.rest.is_empty() || last.is_some();
        match &first.term {
            Term::Function(function) => self.call(
                dot,
                Call { function: *function, at: first, arguments: &command.rest, last, whole: command },
            ),
            Term::Pipe(pipe) => {
                self.takes_no_arguments(first, has_arguments)?;
                self.pipeline(dot, pipe)
            }
            _ => self.operand(dot, first, has_arguments),
        }
    }

    fn takes_no_arguments(&self, operand: &Operand, has_arguments: bool) -> Result<()> {
        match has_arguments {
            true => self.fail(format!("can't give argument to non-function {operand}")),
            false => Ok(()),
        }
    }

    /// Evaluates an operand that is neither a function nor a pipeline.
    fn operand(&mut self, dot: &Datum<'a>, operand: &'a Operand, has_arguments: bool) -> Result<Datum<'a>> {
        self.place = Some(operand);
        match &operand.term {
            Term::Field(names) => return self.fields(dot.clone(), names, has_arguments),
            Term::Variable { name, fields } => {
                let visible = &self.variables[self.base..];
                let Some((_, value)) = visible.iter().rfind(|variable| variable.0 == name) else {
                    return self.fail(format!("undefined variable: {name}"));
                };
                let value = value.clone();
                if !fields.is_empty() {
                    return self.fields(value, fields, has_arguments);
                }
                self.takes_no_arguments(operand, has_arguments)?;
                return Ok(value);
            }
            Term::Chain { base, fields } => {
                let value = self.argument(dot, base)?;
                return self.fields(value, fields, has_arguments);
            }
            _ => self.takes_no_arguments(operand, has_arguments)?,
        }
        match &operand.term {
            Term::Dot => Ok(dot.clone()),
            Term::Bool(value) => Ok(Data::Bool(*value).into()),
            Term::Number { number: Number::Int(number), .. } => Ok(Data::Int(*number).into()),
            Term::Number { number: Number::Float(number), .. } => Ok(Data::Float(*number).into()),
            Term::Number { number: Number::TooBig, written } => self.fail(format!("{written} overflows int")),
            Term::Text { text, .. } => Ok(Data::Text(Text::Borrowed(text)).into()),
            _ => self.fail(format!("{operand} is not a command")),
        }
    }

    /// Follows a chain of fields.
    fn fields(&self, mut value: Datum<'a>, names: &[String], has_arguments: bool) -> Result<Datum<'a>> {
        for (index, name) in names.iter().enumerate() {
            value = self.field(&value, name, has_arguments && index + 1 == names.len())?;
        }
        Ok(value)
    }

    fn field(&self, value: &Datum<'a>, name: &str, has_arguments: bool) -> Result<Datum<'a>> {
        let found = match &value.data {
            Data::Nil if value.boxed => {
                return self.fail(format!("nil pointer evaluating interface {{}}.{name}"));
            }
            Data::Nil => {
                return self.fail(format!("nil data; no entry for key {}", quote(name.as_bytes())));
            }
            Data::Map(_) | Data::Strings(_) if has_arguments => {
                return self.fail(format!("{name} is not a method but has arguments"));
            }
            Data::Map(members) => members.get(name).map(Datum::element),
            Data::Strings(members) => members.get(name).map(|text| Datum::string(text)),
            _ => {
                return self.fail(format!("can't evaluate field {name} in type {}", value.type_name()));
            }
        };
        match found {
            Some(value) => Ok(value),
            None => self.fail(format!("map has no entry for key {}", quote(name.as_bytes()))),
        }
    }

    /// Evaluates an argument of any type.
    fn argument(&mut self, dot: &Datum<'a>, operand: &'a Operand) -> Result<Datum<'a>> {
        self.place = Some(operand);
        match &operand.term {
            Term::Nil => Ok(Datum::NOTHING),
            Term::Pipe(pipe) => self.pipeline(dot, pipe),
            Term::Function(function) => self.call(
                dot,
                Call { function: *function, at: operand, arguments: &[], last: None, whole: operand },
            ),
            _ => self.operand(dot, operand, false),
        }
    }

    /// Evaluates the format of `printf`, the one argument that must be a string.
    fn text_argument(&mut self, dot: &Datum<'a>, operand: &'a Operand) -> Result<Datum<'a>> {
        match operand.term {
            Term::Nil => {
                self.place = Some(operand);
                self.fail("cannot assign nil to string")
            }
            Term::Bool(_) | Term::Number { .. } => {
                self.place = Some(operand);
                self.fail(format!("expected string; found {operand}"))
            }
            _ => {
                let value = self.argument(dot, operand)?;
                self.text(value)
            }
        }
    }

    fn text(&self, value: Datum<'a>) -> Result<Datum<'a>> {
        match &value.data {
            Data::Text(_) => Ok(value),
            Data::Nil if !value.boxed => self.fail("invalid value; expected string"),
            Data::Nil => self.fail("wrong type for value; expected string; got interface {}"),
            other => self.fail(format!("wrong type for value; expected string; got {}", other.type_name())),
        }
    }

    fn call(&mut self, dot: &Datum<'a>, call: Call<'a>) -> Result<Datum<'a>> {
        self.place = Some(call.at);
        let (function, name) = (call.function, call.function.name());
        let given = call.arguments.len() + usize::from(call.last.is_some());
        match function.arity() {
            Arity::Exactly(wanted) if given != wanted => {
                return self.fail(format!("wrong number of args for {name}: want {wanted} got {given}"));
            }
            Arity::AtLeast(least) if given < least => {
                let got = call.arguments.len();
                return self
                    .fail(format!("wrong number of args for {name}: want at least {least} got {got}"));
            }
            _ => {}
        }
        if let Function::And | Function::Or = function {
            return self.short_circuit(dot, call);
        }
        let mut values = Vec::with_capacity(given);
        for operand in call.arguments {
            values.push(match (function, values.len()) {
                (Function::Printf, 0) => self.text_argument(dot, operand)?,
                _ => self.argument(dot, operand)?,
            });
        }
        let written = match (function, call.arguments.first(), &call.last) {
            (Function::Call, Some(first), _) => first.to_string(),
            (Function::Call, None, Some(Datum { data: Data::Text(text), .. })) => {
                String::from_utf8_lossy(text).into_owned()
            }
            (Function::Call, None, Some(last)) => format!("<{} Value>", last.data.type_name()),
            _ => String::new(),
        };
        if let Some(last) = call.last {
            values.push(match (function, values.len()) {
                (Function::Printf, 0) => self.text(last)?,
                _ => last,
            });
        }
        let bytes =
            values.iter().map(|value| if let Data::Text(text) = &value.data { text.len() } else { 0 });
        self.step((bytes.sum::<usize>() / BYTES_PER_STEP) as u64)?;
        match function.call(&values, self.room, &written) {
            Ok(value) => {
                // A text made at run time stays in memory as long as a variable holds it.
                if let Data::Text(Text::Owned(text)) = &value.data {
                    self.room = self.room.saturating_sub(text.len());
                }
                Ok(value)
            }
            Err(failure) => {
                self.place = Some(call.whole);
                match failure {
                    Failure::Call(message) => self.fail(format!("error calling {name}: {message}")),
                    Failure::Refused(refusal) => self.refused(refusal),
                }
            }
        }
    }

    /// `and` and `or`: returns the first argument that decides, else the last; no further one is evaluated.
    fn short_circuit(&mut self, dot: &Datum<'a>, call: Call<'a>) -> Result<Datum<'a>> {
        let mut value = Datum::NOTHING;
        for operand in call.arguments {
            value = self.argument(dot, operand)?;
            if value.data.is_true() == (call.function == Function::Or) {
                return Ok(value);
            }
        }
        Ok(call.last.unwrap_or(value))
    }
}
