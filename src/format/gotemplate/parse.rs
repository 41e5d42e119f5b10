//! Turns tokens into a tree by the grammar of Go's `text/template/parse` (parse.go), with its messages.
//!
//! Go descends into blocks by recursion; here open blocks are kept on a stack on the heap, so their nesting uses no
//! stack of the thread. As in Go, messages name the line of the last token that was read, including look-ahead.

use super::Error;
use super::ast::{Branch, Call, Command, ListId, Node, Operand, Pipe, Range, Term, Tree};
use super::functions::Function;
use super::lex::{Keyword, Kind, Lexer, Token};
use super::number;
use super::quote::{quote, unquote};

/// Deepest nesting of parentheses. Go allows 10,000; each takes a part of the thread's stack.
const MOST_PARENTHESES: usize = 200;

/// Parses a whole text.
pub(super) fn parse(text: &[u8]) -> Result<Tree, Error> {
    let mut parser = Parser {
        lexer: Lexer::new(text),
        ahead: Vec::new(),
        line: 0,
        tree: Tree::default(),
        list: Vec::new(),
        open: Vec::new(),
        scope: Scope::default(),
    };
    parser.text()?;
    Ok(parser.tree)
}

type Result<T, E = Error> = std::result::Result<T, E>;

struct Parser<'t> {
    lexer: Lexer<'t>,
    /// Tokens that were read and put back; the last one is the next.
    ahead: Vec<Token<'t>>,
    /// Line of the last token from the lexer.
    line: usize,
    tree: Tree,
    /// The nodes of the innermost open list.
    list: Vec<Node>,
    open: Vec<Open>,
    scope: Scope,
}

/// State of the definition that is being parsed.
struct Scope {
    /// Variables that are in scope.
    variables: Vec<String>,
    /// Number of open loops.
    ranges: usize,
    parentheses: usize,
    /// Line where the current action began; 0 outside of actions.
    action_line: usize,
}

impl Default for Scope {
    fn default() -> Self {
        Scope { variables: vec!["$".to_owned()], ranges: 0, parentheses: 0, action_line: 0 }
    }
}

/// A block without its end so far.
struct Open {
    construct: Construct,
    /// The nodes before it in the surrounding list.
    outside: Vec<Node>,
}

enum Construct {
    /// `if` and `with`: the arms read so far, and the pipeline of the current arm; `None` in the `else`.
    Branch {
        with: bool,
        arms: Vec<(Pipe, ListId)>,
        arm: Option<Pipe>,
        variables: usize,
    },
    /// In its `else` if the body has been read.
    Range {
        pipe: Pipe,
        body: Option<ListId>,
        variables: usize,
    },
    Define {
        name: Vec<u8>,
        outside: Scope,
    },
    /// A definition and its call. Go reports an `else` at the line where the block's action ends.
    Block {
        call: Call,
        line: usize,
        outside: Scope,
    },
}

/// Context of a pipeline, in the words of messages.
const COMMAND: &str = "command";
const PARENTHESES: &str = "parenthesized pipeline";

impl<'t> Parser<'t> {
    fn next(&mut self) -> Token<'t> {
        self.ahead.pop().unwrap_or_else(|| {
            let token = self.lexer.next();
            self.line = token.line;
            token
        })
    }

    fn put_back(&mut self, token: Token<'t>) {
        self.ahead.push(token);
    }

    fn next_word(&mut self) -> Token<'t> {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    fn peek_word(&mut self) -> Kind {
        let token = self.next_word();
        let kind = token.kind.clone();
        self.put_back(token);
        kind
    }

    fn fail<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(Error::Parse { line: self.line, message: message.into() })
    }

    fn unexpected<T>(&self, token: &Token, context: &str) -> Result<T> {
        let Kind::Error(reason) = &token.kind else {
            return self.fail(format!("unexpected {} in {context}", token.shown()));
        };
        let started = match self.scope.action_line {
            0 => String::new(),
            line if line == token.line => String::new(),
            line if reason.ends_with(" action") => format!(" started at :{line}"),
            line => format!(" in action started at :{line}"),
        };
        self.fail(format!("{reason}{started}"))
    }

    fn expect_right_delimiter(&mut self, context: &str) -> Result<()> {
        let token = self.next_word();
        match token.kind {
            Kind::RightDelimiter => Ok(()),
            _ => self.unexpected(&token, context),
        }
    }

    /// Parses the whole text with its definitions.
    fn text(&mut self) -> Result<()> {
        loop {
            let token = self.next_word();
            match token.kind {
                Kind::Text => self.list.push(Node::Text(token.text.to_vec())),
                Kind::LeftDelimiter => self.action(token)?,
                Kind::End if self.open.is_empty() => break,
                Kind::End => return self.fail("unexpected EOF"),
                _ => return self.unexpected(&token, "input"),
            }
        }
        let root = self.close_list();
        self.define(Vec::new(), root)
    }

    /// Parses an action after its left delimiter.
    fn action(&mut self, delimiter: Token<'t>) -> Result<()> {
        let token = self.next_word();
        if token.kind == Kind::Keyword(Keyword::Define) && self.open.is_empty() {
            return self.open_definition();
        }
        self.scope.action_line = delimiter.line;
        match token.kind {
            Kind::Keyword(Keyword::If) => return self.open_branch(false),
            Kind::Keyword(Keyword::With) => return self.open_branch(true),
            Kind::Keyword(Keyword::Range) => return self.open_range(),
            Kind::Keyword(Keyword::Block) => return self.open_block(),
            Kind::Keyword(Keyword::Else) => return self.otherwise(),
            Kind::Keyword(Keyword::End) => self.end()?,
            Kind::Keyword(Keyword::Template) => self.template()?,
            Kind::Keyword(Keyword::Break) => self.leave_range("break", Node::Break)?,
            Kind::Keyword(Keyword::Continue) => self.leave_range("continue", Node::Continue)?,
            _ => {
                self.put_back(token);
                let pipe = self.pipeline(COMMAND, Kind::RightDelimiter)?;
                self.list.push(Node::Action(pipe));
            }
        }
        self.scope.action_line = 0;
        Ok(())
    }

    fn leave_range(&mut self, word: &str, node: Node) -> Result<()> {
        self.expect_right_delimiter(&format!("{{{{{word}}}}}"))?;
        if self.scope.ranges == 0 {
            return self.fail(format!("{{{{{word}}}}} outside {{{{range}}}}"));
        }
        self.list.push(node);
        Ok(())
    }

    fn template(&mut self) -> Result<()> {
        let (at, name) = self.template_name("template clause")?;
        let pipe = match self.peek_word() {
            Kind::RightDelimiter => {
                self.next_word();
                None
            }
            _ => Some(self.pipeline("template clause", Kind::RightDelimiter)?),
        };
        self.list.push(Node::Call(Call { at, name, pipe }));
        Ok(())
    }

    fn template_name(&mut self, context: &str) -> Result<(usize, Vec<u8>)> {
        let token = self.next_word();
        match token.kind {
            Kind::String | Kind::RawString => Ok((token.at, self.unquote(&token)?)),
            _ => self.unexpected(&token, context),
        }
    }

    fn unquote(&self, token: &Token) -> Result<Vec<u8>> {
        unquote(token.text).map_or_else(|| self.fail("invalid syntax"), Ok)
    }

    fn open_definition(&mut self) -> Result<()> {
        // From here on, tokens belong to the definition.
        let outside = std::mem::take(&mut self.scope);
        let (_, name) = self.template_name("define clause")?;
        self.expect_right_delimiter("define clause")?;
        self.open(Construct::Define { name, outside });
        Ok(())
    }

    fn open_block(&mut self) -> Result<()> {
        let (at, name) = self.template_name("block clause")?;
        let pipe = Some(self.pipeline("block clause", Kind::RightDelimiter)?);
        let outside = std::mem::take(&mut self.scope);
        self.open(Construct::Block { call: Call { at, name, pipe }, line: self.line, outside });
        Ok(())
    }

    fn open_branch(&mut self, with: bool) -> Result<()> {
        let variables = self.scope.variables.len();
        let pipe = self.pipeline(if with { "with" } else { "if" }, Kind::RightDelimiter)?;
        self.open(Construct::Branch { with, arms: Vec::new(), arm: Some(pipe), variables });
        Ok(())
    }

    fn open_range(&mut self) -> Result<()> {
        let variables = self.scope.variables.len();
        let pipe = self.pipeline("range", Kind::RightDelimiter)?;
        self.scope.ranges += 1;
        self.open(Construct::Range { pipe, body: None, variables });
        Ok(())
    }

    fn open(&mut self, construct: Construct) {
        let outside = std::mem::take(&mut self.list);
        self.open.push(Open { construct, outside });
    }

    fn close_list(&mut self) -> ListId {
        self.tree.lists.push(std::mem::take(&mut self.list));
        self.tree.lists.len() - 1
    }

    /// Parses `else`, `else if` and `else with`.
    fn otherwise(&mut self) -> Result<()> {
        let following = self.next_word();
        match following.kind {
            Kind::RightDelimiter | Kind::Keyword(Keyword::If | Keyword::With) => {}
            _ => return self.unexpected(&following, "else"),
        }
        self.scope.action_line = 0;
        let list = self.close_list();
        let context = match self.open.last_mut().map(|open| &mut open.construct) {
            None => return self.fail("unexpected {{else}}"),
            Some(Construct::Define { .. }) => return self.fail("unexpected {{else}} in define clause"),
            Some(Construct::Block { line, .. }) => {
                let message = "unexpected {{else}} in block clause".to_owned();
                return Err(Error::Parse { line: *line, message });
            }
            Some(Construct::Branch { arm: None, .. } | Construct::Range { body: Some(_), .. }) => {
                return self.fail("expected end; found {{else}}");
            }
            Some(Construct::Range { body, .. }) => {
                *body = Some(list);
                self.scope.ranges -= 1;
                None
            }
            Some(Construct::Branch { with, arms, arm, .. }) => {
                arms.extend(arm.take().map(|pipe| (pipe, list)));
                Some(if *with { (Keyword::With, "with") } else { (Keyword::If, "if") })
            }
        };
        match (&following.kind, context) {
            (Kind::RightDelimiter, _) => Ok(()),
            (Kind::Keyword(word), Some((keyword, context))) if *word == keyword => {
                let pipe = self.pipeline(context, Kind::RightDelimiter)?;
                if let Some(Open { construct: Construct::Branch { arm, .. }, .. }) = self.open.last_mut() {
                    *arm = Some(pipe);
                }
                Ok(())
            }
            _ => self.unexpected(&following, "input"),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.expect_right_delimiter("end")?;
        let Some(Open { construct, outside }) = self.open.pop() else {
            return self.fail("unexpected {{end}}");
        };
        let list = self.close_list();
        self.list = outside;
        match construct {
            Construct::Branch { with, mut arms, arm, variables } => {
                let otherwise = if arm.is_none() { Some(list) } else { None };
                arms.extend(arm.map(|pipe| (pipe, list)));
                self.scope.variables.truncate(variables);
                self.list.push(Node::Branch(Branch { with, arms, otherwise }));
            }
            Construct::Range { pipe, body, variables } => {
                let (body, otherwise) = match body {
                    Some(body) => (body, Some(list)),
                    None => {
                        self.scope.ranges -= 1;
                        (list, None)
                    }
                };
                self.scope.variables.truncate(variables);
                self.list.push(Node::Range(Range { pipe, body, otherwise }));
            }
            Construct::Define { name, outside } => {
                self.define(name, list)?;
                self.scope = outside;
            }
            Construct::Block { call, outside, .. } => {
                self.define(call.name.clone(), list)?;
                self.scope = outside;
                self.list.push(Node::Call(call));
            }
        }
        Ok(())
    }

    /// Adds a definition. An empty one yields to any other; a second non-empty one is an error.
    fn define(&mut self, name: Vec<u8>, list: ListId) -> Result<()> {
        let is_empty = |list: ListId| self.tree.lists[list].iter().all(is_blank);
        match self.tree.defined.get(&name) {
            Some(other) if !is_empty(*other) => match is_empty(list) {
                true => Ok(()),
                false => self.fail(format!("template: multiple definition of template {}", quote(&name))),
            },
            _ => {
                self.tree.defined.insert(name, list);
                Ok(())
            }
        }
    }

    /// Parses declarations and commands up to and including an end token.
    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe> {
        let first = self.next_word();
        let at = first.at;
        self.put_back(first);
        let mut pipe = Pipe { at, assigns: false, variables: Vec::new(), commands: Vec::new() };
        while self.declaration(&mut pipe, context)? {}
        loop {
            let token = self.next_word();
            match token.kind {
                _ if token.kind == end => break,
                Kind::Bool
                | Kind::Character
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Keyword(Keyword::Dot | Keyword::Nil)
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParenthesis => {
                    self.put_back(token);
                    let command = self.command()?;
                    // A template may have a million pipelines of one command.
                    if pipe.commands.is_empty() {
                        pipe.commands.reserve_exact(1);
                    }
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        let constant = |command: &Command| {
            matches!(
                command.first.term,
                Term::Bool(_) | Term::Dot | Term::Nil | Term::Number { .. } | Term::Text { .. }
            )
        };
        match pipe.commands.iter().skip(1).position(constant) {
            Some(index) => self.fail(format!("non executable command in pipeline stage {}", index + 2)),
            None => Ok(pipe),
        }
    }

    /// Parses `$x :=`, `$x =`, and in a loop `$i,` before either. Returns whether another one may follow.
    fn declaration(&mut self, pipe: &mut Pipe, context: &str) -> Result<bool> {
        let variable = self.next_word();
        if variable.kind != Kind::Variable {
            self.put_back(variable);
            return Ok(false);
        }
        let after = self.next();
        let following = if after.kind == Kind::Space { self.next_word() } else { after.clone() };
        let listed = following.kind == Kind::Other && following.text == b",";
        if !listed && !matches!(following.kind, Kind::Assign | Kind::Declare) {
            if after.kind == Kind::Space {
                self.put_back(following);
            }
            self.put_back(after);
            self.put_back(variable);
            return Ok(false);
        }
        let name = String::from_utf8_lossy(variable.text).into_owned();
        self.scope.variables.push(name.clone());
        pipe.variables.push(name);
        if !listed {
            pipe.assigns = following.kind == Kind::Assign;
            return Ok(false);
        }
        if context != "range" || pipe.variables.len() > 1 {
            return self.fail(format!("too many declarations in {context}"));
        }
        match self.peek_word() {
            Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis => Ok(true),
            _ => self.fail("range can only initialize variables"),
        }
    }

    /// Parses operands up to and including a pipe, or up to the end of the pipeline.
    fn command(&mut self) -> Result<Command> {
        let first = self.next_word();
        let at = first.at;
        self.put_back(first);
        // Most commands are one operand: no room is kept for more.
        let (mut operand, mut rest) = (None, Vec::new());
        loop {
            self.peek_word();
            match self.operand()? {
                first if operand.is_none() => operand = first,
                more => rest.extend(more),
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelimiter | Kind::RightParenthesis => self.put_back(token),
                Kind::Pipe => {}
                _ => return self.unexpected(&token, "operand"),
            }
            break;
        }
        match operand {
            Some(first) => Ok(Command { at, first, rest }),
            None => self.fail("empty command"),
        }
    }

    /// Parses a term and the fields that follow it without a space; `None` if no term begins here.
    fn operand(&mut self) -> Result<Option<Operand>> {
        let Some(operand) = self.term()? else { return Ok(None) };
        let mut fields = Vec::new();
        let mut at = None;
        loop {
            let token = self.next();
            if token.kind != Kind::Field {
                self.put_back(token);
                break;
            }
            at.get_or_insert(token.at);
            fields.push(field_name(&token));
        }
        let Some(at) = at else { return Ok(Some(operand)) };
        let term = match operand.term {
            Term::Field(mut names) => {
                names.append(&mut fields);
                Term::Field(names)
            }
            Term::Variable { name, .. } => Term::Variable { name, fields },
            Term::Function(_) | Term::Pipe(_) | Term::Chain { .. } => {
                Term::Chain { base: Box::new(operand), fields }
            }
            Term::Bool(_) | Term::Text { .. } | Term::Number { .. } | Term::Nil | Term::Dot => {
                let shown = quote(operand.to_string().as_bytes());
                return self.fail(format!("unexpected . after term {shown}"));
            }
        };
        Ok(Some(Operand { at, term }))
    }

    fn term(&mut self) -> Result<Option<Operand>> {
        let token = self.next_word();
        let written = || String::from_utf8_lossy(token.text).into_owned();
        let term = match token.kind {
            Kind::Identifier => match Function::named(&written()) {
                Some(function) => Term::Function(function),
                None => return self.fail(format!("function {} not defined", quote(token.text))),
            },
            Kind::Keyword(Keyword::Dot) => Term::Dot,
            Kind::Keyword(Keyword::Nil) => Term::Nil,
            Kind::Variable => {
                let name = written();
                if !self.scope.variables.iter().rev().any(|declared| *declared == name) {
                    return self.fail(format!("undefined variable {}", quote(token.text)));
                }
                Term::Variable { name, fields: Vec::new() }
            }
            Kind::Field => Term::Field(vec![field_name(&token)]),
            Kind::Bool => Term::Bool(token.text == b"true"),
            Kind::Character | Kind::Number => {
                let number = match token.kind {
                    Kind::Character => number::character(token.text),
                    _ => number::number(&written()),
                };
                match number {
                    Ok(number) => Term::Number { number, written: written() },
                    Err(message) => return self.fail(message),
                }
            }
            Kind::LeftParenthesis => {
                if self.scope.parentheses == MOST_PARENTHESES {
                    return self.fail("max expression depth exceeded");
                }
                self.scope.parentheses += 1;
                let pipe = self.pipeline(PARENTHESES, Kind::RightParenthesis)?;
                self.scope.parentheses -= 1;
                Term::Pipe(pipe)
            }
            Kind::String | Kind::RawString => Term::Text { text: self.unquote(&token)?, written: written() },
            _ => {
                self.put_back(token);
                return Ok(None);
            }
        };
        // For parentheses Go's node is the pipeline, which begins after the parenthesis.
        let at = if let Term::Pipe(pipe) = &term { pipe.at } else { token.at };
        Ok(Some(Operand { at, term }))
    }
}

/// The field's name without its dot.
fn field_name(token: &Token) -> String {
    String::from_utf8_lossy(&token.text[1..]).into_owned()
}

/// Whether a node is only white space.
fn is_blank(node: &Node) -> bool {
    match node {
        Node::Text(text) => std::str::from_utf8(text).is_ok_and(|text| text.chars().all(char::is_whitespace)),
        _ => false,
    }
}
