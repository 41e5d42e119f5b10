//! From tokens to events, as gopkg.in/yaml.v3 parses them: the states are those of its `parserc.go` (MIT), which
//! follows libyaml.

use super::scan::{Fault, Mark, Scanner, Token, TokenKind, Trace};
use super::{Position, Style};

/// Kind of an event.
pub(super) enum EventKind {
    DocumentStart,
    DocumentEnd,
    StreamEnd,
    Alias(String),
    Scalar(String, Style, Trace),
    SequenceStart,
    SequenceEnd,
    MappingStart,
    MappingEnd,
}

/// An event, with the anchor and tag before it and its positions.
pub(super) struct Event {
    pub kind: EventKind,
    pub anchor: Option<String>,
    /// An explicit tag: `!!str` for the core schema, else `!name`.
    pub tag: Option<String>,
    pub start: Position,
    pub end: Position,
}

/// State of the parser: what it expects next.
#[derive(Clone, Copy, PartialEq)]
enum State {
    StreamStart,
    ImplicitDocumentStart,
    DocumentStart,
    DocumentContent,
    DocumentEnd,
    BlockNode,
    /// `- …`; whether it is the first.
    BlockSequenceEntry(bool),
    IndentlessSequenceEntry,
    BlockMappingKey(bool),
    BlockMappingValue,
    FlowSequenceEntry(bool),
    /// A mapping of one pair inside a flow sequence.
    PairKey,
    PairValue,
    PairEnd,
    FlowMappingKey(bool),
    FlowMappingValue,
    FlowMappingEmptyValue,
    End,
}

/// The prefix of the core schema's tags.
const CORE: &str = "tag:yaml.org,2002:";

/// The parser of one text.
pub(super) struct Parser<'t> {
    scanner: Scanner<'t>,
    state: State,
    states: Vec<State>,
    /// Starts of the open collections.
    marks: Vec<Mark>,
    tags: Vec<(String, String)>,
}

impl<'t> Parser<'t> {
    /// Begins a text without control characters; `traces` as for [`Scanner::new`].
    pub fn new(text: &'t str, traces: bool) -> Self {
        let scanner = Scanner::new(text, traces);
        Parser { scanner, state: State::StreamStart, states: Vec::new(), marks: Vec::new(), tags: Vec::new() }
    }

    /// The next event; after the last one, the last one again.
    pub fn next(&mut self) -> Result<Event, Fault> {
        match self.state {
            State::StreamStart => {
                self.scanner.peek()?;
                self.scanner.take();
                self.state = State::ImplicitDocumentStart;
                self.next()
            }
            State::ImplicitDocumentStart => self.document_start(true),
            State::DocumentStart => self.document_start(false),
            State::DocumentContent => self.document_content(),
            State::DocumentEnd => self.document_end(),
            State::BlockNode => self.node(true, false),
            State::BlockSequenceEntry(first) => self.block_sequence_entry(first),
            State::IndentlessSequenceEntry => self.indentless_sequence_entry(),
            State::BlockMappingKey(first) => self.block_mapping_key(first),
            State::BlockMappingValue => self.block_mapping_value(),
            State::FlowSequenceEntry(first) => self.flow_sequence_entry(first),
            State::PairKey => self.pair_key(),
            State::PairValue => self.pair_value(),
            State::PairEnd => {
                let start = self.scanner.peek()?.start;
                self.state = State::FlowSequenceEntry(false);
                Ok(event(EventKind::MappingEnd, start, start))
            }
            State::FlowMappingKey(first) => self.flow_mapping_key(first),
            State::FlowMappingValue => self.flow_mapping_value(),
            State::FlowMappingEmptyValue => {
                let start = self.scanner.peek()?.start;
                self.empty(State::FlowMappingKey(false), start)
            }
            State::End => {
                let start = self.scanner.peek()?.start;
                Ok(event(EventKind::StreamEnd, start, start))
            }
        }
    }

    fn pop(&mut self) -> State {
        self.states.pop().unwrap_or(State::End)
    }

    /// Takes the next token if it is of this kind.
    fn take_if(&mut self, kind: &TokenKind) -> Result<Option<Token>, Fault> {
        match self.scanner.peek()?.kind == *kind {
            true => Ok(self.scanner.take()),
            false => Ok(None),
        }
    }

    fn document_start(&mut self, implicit: bool) -> Result<Event, Fault> {
        while !implicit && self.take_if(&TokenKind::DocumentEnd)?.is_some() {}
        let token = self.scanner.peek()?;
        let start = token.start;
        match &token.kind {
            TokenKind::StreamEnd => {
                self.state = State::End;
                return Ok(event(EventKind::StreamEnd, start, start));
            }
            TokenKind::Version(..) | TokenKind::TagDirective(..) | TokenKind::DocumentStart => {}
            _ if implicit => {
                self.directives()?;
                self.states.push(State::DocumentEnd);
                self.state = State::BlockNode;
                return Ok(event(EventKind::DocumentStart, start, start));
            }
            _ => {}
        }
        self.directives()?;
        if self.take_if(&TokenKind::DocumentStart)?.is_none() {
            let at = self.scanner.peek()?.start;
            return Err(fault("did not find expected <document start>", at, None));
        }
        self.states.push(State::DocumentEnd);
        self.state = State::DocumentContent;
        Ok(event(EventKind::DocumentStart, start, start))
    }

    /// Reads `%YAML` and `%TAG`, and defines the handles that need no `%TAG`.
    fn directives(&mut self) -> Result<(), Fault> {
        let mut versioned = false;
        loop {
            let Token { kind, start, .. } = self.scanner.peek()?;
            let start = *start;
            match kind {
                TokenKind::Version(..) if versioned => {
                    return Err(fault("found duplicate %YAML directive", start, None));
                }
                TokenKind::Version(1, 1) => versioned = true,
                TokenKind::Version(..) => {
                    return Err(fault("found incompatible YAML document", start, None));
                }
                TokenKind::TagDirective(handle, _) if self.tags.iter().any(|(known, _)| known == handle) => {
                    return Err(fault("found duplicate %TAG directive", start, None));
                }
                TokenKind::TagDirective(handle, prefix) => {
                    let tag = (handle.clone(), prefix.clone());
                    self.tags.push(tag);
                }
                _ => break,
            }
            self.scanner.take();
        }
        for (handle, prefix) in [("!", "!"), ("!!", CORE)] {
            if !self.tags.iter().any(|(known, _)| known == handle) {
                self.tags.push((handle.into(), prefix.into()));
            }
        }
        Ok(())
    }

    fn document_content(&mut self) -> Result<Event, Fault> {
        let Token { kind, start, .. } = self.scanner.peek()?;
        let start = *start;
        match kind {
            TokenKind::Version(..)
            | TokenKind::TagDirective(..)
            | TokenKind::DocumentStart
            | TokenKind::DocumentEnd
            | TokenKind::StreamEnd => {
                let state = self.pop();
                self.empty(state, start)
            }
            _ => self.node(true, false),
        }
    }

    fn document_end(&mut self) -> Result<Event, Fault> {
        let start = self.scanner.peek()?.start;
        self.take_if(&TokenKind::DocumentEnd)?;
        self.tags.clear();
        self.state = State::DocumentStart;
        Ok(event(EventKind::DocumentEnd, start, start))
    }

    fn node(&mut self, block: bool, indentless: bool) -> Result<Event, Fault> {
        let start = self.scanner.peek()?.start;
        if let TokenKind::Alias(name) = &self.scanner.peek()?.kind {
            let name = name.clone();
            let end = self.scanner.take().map_or(start, |token| token.end);
            self.state = self.pop();
            return Ok(event(EventKind::Alias(name), start, end));
        }
        let mut properties = Properties::default();
        while properties.wants(&self.scanner.peek()?.kind) {
            if let Some(token) = self.scanner.take() {
                properties.add(token);
            }
        }
        let tag = match &properties.tag {
            Some((handle, suffix, at)) => {
                let tag = self.resolve(handle, suffix, *at, start)?;
                // For Go, `!` is no tag at all.
                Some(tag).filter(|tag| tag != "!")
            }
            None => None,
        };
        let anchor = properties.anchor;
        let made = |kind, end: Mark| Event { anchor, tag, ..event(kind, start, end) };
        let Token { kind, end, .. } = self.scanner.peek()?;
        let end = *end;
        let (kind, state) = match kind {
            TokenKind::BlockEntry if indentless => (EventKind::SequenceStart, State::IndentlessSequenceEntry),
            TokenKind::Scalar(..) => {
                let Some(Token { kind: TokenKind::Scalar(text, style, trace), .. }) = self.scanner.take()
                else {
                    unreachable!("it was looked at")
                };
                self.state = self.pop();
                return Ok(made(EventKind::Scalar(text, style, trace), end));
            }
            TokenKind::FlowSequenceStart => (EventKind::SequenceStart, State::FlowSequenceEntry(true)),
            TokenKind::FlowMappingStart => (EventKind::MappingStart, State::FlowMappingKey(true)),
            TokenKind::BlockSequenceStart if block => {
                (EventKind::SequenceStart, State::BlockSequenceEntry(true))
            }
            TokenKind::BlockMappingStart if block => (EventKind::MappingStart, State::BlockMappingKey(true)),
            _ if properties.last.is_some() => {
                self.state = self.pop();
                let end = properties.last.unwrap_or(start);
                return Ok(made(EventKind::Scalar(String::new(), Style::Plain, Trace::new()), end));
            }
            _ => {
                let at = self.scanner.peek()?.start;
                let context = if block { "while parsing a block node" } else { "while parsing a flow node" };
                return Err(fault("did not find expected node content", at, Some((context, start))));
            }
        };
        self.state = state;
        Ok(made(kind, end))
    }

    fn resolve(&self, handle: &str, suffix: &str, at: Mark, start: Mark) -> Result<String, Fault> {
        let prefix = match self.tags.iter().find(|(known, _)| known == handle) {
            Some((_, prefix)) => prefix.as_str(),
            None if handle.is_empty() => "",
            None => {
                return Err(fault("found undefined tag handle", at, Some(("while parsing a node", start))));
            }
        };
        let tag = format!("{prefix}{suffix}");
        Ok(match tag.strip_prefix(CORE) {
            Some(name) => format!("!!{name}"),
            None => tag,
        })
    }

    /// A null where no text is written.
    fn empty(&mut self, state: State, at: Mark) -> Result<Event, Fault> {
        self.state = state;
        Ok(event(EventKind::Scalar(String::new(), Style::Plain, Trace::new()), at, at))
    }

    /// A node, after which the state follows; or a null, if the next token is one that ends it.
    fn node_or_empty(
        &mut self,
        ends: &[TokenKind],
        at: Mark,
        then: State,
        form: (bool, bool),
    ) -> Result<Event, Fault> {
        if ends.contains(&self.scanner.peek()?.kind) {
            return self.empty(then, at);
        }
        self.states.push(then);
        self.node(form.0, form.1)
    }

    /// Enters a collection: its first token opens it.
    fn enter(&mut self, first: bool) -> Result<(), Fault> {
        if first {
            let start = self.scanner.peek()?.start;
            self.marks.push(start);
            self.scanner.take();
        }
        Ok(())
    }

    /// Leaves a collection at its last token.
    fn leave(&mut self, kind: EventKind) -> Result<Event, Fault> {
        let (start, end) = (self.scanner.peek()?.start, self.scanner.peek()?.end);
        self.scanner.take();
        self.marks.pop();
        self.state = self.pop();
        Ok(event(kind, start, end))
    }

    /// The fault of a collection that does not continue as it must.
    fn astray(&mut self, context: &'static str, problem: &str) -> Fault {
        let at = match self.scanner.peek() {
            Ok(token) => token.start,
            Err(fault) => return fault,
        };
        fault(problem, at, self.marks.last().map(|mark| (context, *mark)))
    }

    fn block_sequence_entry(&mut self, first: bool) -> Result<Event, Fault> {
        self.enter(first)?;
        if let Some(entry) = self.take_if(&TokenKind::BlockEntry)? {
            let ends = [TokenKind::BlockEntry, TokenKind::BlockEnd];
            return self.node_or_empty(&ends, entry.end, State::BlockSequenceEntry(false), (true, false));
        }
        match self.scanner.peek()?.kind {
            TokenKind::BlockEnd => self.leave(EventKind::SequenceEnd),
            _ => Err(self.astray("while parsing a block collection", "did not find expected '-' indicator")),
        }
    }

    fn indentless_sequence_entry(&mut self) -> Result<Event, Fault> {
        if let Some(entry) = self.take_if(&TokenKind::BlockEntry)? {
            let ends = [TokenKind::BlockEntry, TokenKind::Key, TokenKind::Value, TokenKind::BlockEnd];
            return self.node_or_empty(&ends, entry.end, State::IndentlessSequenceEntry, (true, false));
        }
        let start = self.scanner.peek()?.start;
        self.state = self.pop();
        Ok(event(EventKind::SequenceEnd, start, start))
    }

    fn block_mapping_key(&mut self, first: bool) -> Result<Event, Fault> {
        self.enter(first)?;
        if let Some(key) = self.take_if(&TokenKind::Key)? {
            let ends = [TokenKind::Key, TokenKind::Value, TokenKind::BlockEnd];
            return self.node_or_empty(&ends, key.end, State::BlockMappingValue, (true, true));
        }
        match self.scanner.peek()?.kind {
            TokenKind::BlockEnd => self.leave(EventKind::MappingEnd),
            _ => Err(self.astray("while parsing a block mapping", "did not find expected key")),
        }
    }

    fn block_mapping_value(&mut self) -> Result<Event, Fault> {
        let then = State::BlockMappingKey(false);
        match self.take_if(&TokenKind::Value)? {
            Some(value) => {
                let ends = [TokenKind::Key, TokenKind::Value, TokenKind::BlockEnd];
                self.node_or_empty(&ends, value.end, then, (true, true))
            }
            None => {
                let start = self.scanner.peek()?.start;
                self.empty(then, start)
            }
        }
    }

    fn flow_sequence_entry(&mut self, first: bool) -> Result<Event, Fault> {
        self.enter(first)?;
        if self.scanner.peek()?.kind != TokenKind::FlowSequenceEnd {
            if !first && self.take_if(&TokenKind::FlowEntry)?.is_none() {
                let problem = "did not find expected ',' or ']'";
                return Err(self.astray("while parsing a flow sequence", problem));
            }
            if let Some(key) = self.take_if(&TokenKind::Key)? {
                self.state = State::PairKey;
                return Ok(event(EventKind::MappingStart, key.start, key.end));
            }
            if self.scanner.peek()?.kind != TokenKind::FlowSequenceEnd {
                self.states.push(State::FlowSequenceEntry(false));
                return self.node(false, false);
            }
        }
        self.leave(EventKind::SequenceEnd)
    }

    fn pair_key(&mut self) -> Result<Event, Fault> {
        let ends = [TokenKind::Value, TokenKind::FlowEntry, TokenKind::FlowSequenceEnd];
        if ends.contains(&self.scanner.peek()?.kind) {
            // Go takes the token that ends the key together with the key.
            let end = self.scanner.take().map(|token| token.end);
            let at = end.unwrap_or(self.scanner.peek()?.start);
            return self.empty(State::PairValue, at);
        }
        self.states.push(State::PairValue);
        self.node(false, false)
    }

    fn pair_value(&mut self) -> Result<Event, Fault> {
        let ends = [TokenKind::FlowEntry, TokenKind::FlowSequenceEnd];
        match self.take_if(&TokenKind::Value)? {
            Some(value) => self.node_or_empty(&ends, value.start, State::PairEnd, (false, false)),
            None => {
                let start = self.scanner.peek()?.start;
                self.empty(State::PairEnd, start)
            }
        }
    }

    fn flow_mapping_key(&mut self, first: bool) -> Result<Event, Fault> {
        self.enter(first)?;
        if self.scanner.peek()?.kind != TokenKind::FlowMappingEnd {
            if !first && self.take_if(&TokenKind::FlowEntry)?.is_none() {
                return Err(self.astray("while parsing a flow mapping", "did not find expected ',' or '}'"));
            }
            if self.take_if(&TokenKind::Key)?.is_some() {
                let at = self.scanner.peek()?.start;
                let ends = [TokenKind::Value, TokenKind::FlowEntry, TokenKind::FlowMappingEnd];
                return self.node_or_empty(&ends, at, State::FlowMappingValue, (false, false));
            }
            if self.scanner.peek()?.kind != TokenKind::FlowMappingEnd {
                self.states.push(State::FlowMappingEmptyValue);
                return self.node(false, false);
            }
        }
        self.leave(EventKind::MappingEnd)
    }

    fn flow_mapping_value(&mut self) -> Result<Event, Fault> {
        let then = State::FlowMappingKey(false);
        let value = self.take_if(&TokenKind::Value)?;
        let start = self.scanner.peek()?.start;
        match value {
            Some(_) => {
                let ends = [TokenKind::FlowEntry, TokenKind::FlowMappingEnd];
                self.node_or_empty(&ends, start, then, (false, false))
            }
            None => self.empty(then, start),
        }
    }
}

/// An anchor and a tag before a node, in either order and each at most once.
#[derive(Default)]
struct Properties {
    anchor: Option<String>,
    tag: Option<(String, String, Mark)>,
    /// End of the last one.
    last: Option<Mark>,
}

impl Properties {
    fn wants(&self, kind: &TokenKind) -> bool {
        match kind {
            TokenKind::Anchor(_) => self.anchor.is_none(),
            TokenKind::Tag(..) => self.tag.is_none(),
            _ => false,
        }
    }

    fn add(&mut self, token: Token) {
        self.last = Some(token.end);
        match token.kind {
            TokenKind::Anchor(name) => self.anchor = Some(name),
            TokenKind::Tag(handle, suffix) => self.tag = Some((handle, suffix, token.start)),
            _ => {}
        }
    }
}

fn event(kind: EventKind, start: Mark, end: Mark) -> Event {
    Event { kind, anchor: None, tag: None, start: start.place, end: end.place }
}

fn fault(problem: &str, at: Mark, context: Option<(&'static str, Mark)>) -> Fault {
    let context = context.map(|(words, mark)| (words, mark.place));
    Fault { problem: problem.to_owned(), at: at.place, context }
}
