//! The one pass over a body: grammar, caps, keys, and where the members of a message are.

use smallvec::SmallVec;

use super::key::{Key, Keys, is_root_variant};
use super::{Limits, MAX_DEPTH, MAX_NUMBER, text};
use crate::error::{DecodeError, DecodeFault};
use crate::steps;

/// A stretch of the text, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Which object of a message a member belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The message itself.
    Root,
    /// `params`
    Params,
    /// `result`
    Result,
    /// `error`
    Error,
    /// `params._meta` or `result._meta`
    Meta,
    /// Within one of these, where members are read by name and their places are not kept.
    Watched(Watched),
    /// Anywhere else: only grammar and equal keys are judged.
    Elsewhere,
}

/// The part of a result or an error whose members decide: what is shown, and what a person is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// `error.data`
    Data,
    /// `error.data.elicitations`
    Elicitations,
    /// `result.inputRequests`
    Questions,
    /// One of those.
    Question,
    /// The parameters of a question or an elicitation.
    Asked,
    /// A list of a result.
    Items,
    /// One of its items.
    Item,
    /// `result.capabilities`
    Capabilities,
}

/// A member of `params`, `result`, `error` or `_meta`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Member {
    pub(crate) place: Place,
    /// The key with its quotes.
    pub(crate) key: Span,
    pub(crate) value: Span,
}

/// Where the parts of one message are, counted from its first byte.
#[derive(Debug, Clone, Default)]
pub(crate) struct Envelope {
    pub(crate) jsonrpc: Option<Span>,
    pub(crate) id: Option<Span>,
    pub(crate) method: Option<Span>,
    pub(crate) params: Option<Span>,
    pub(crate) result: Option<Span>,
    pub(crate) error: Option<Span>,
    pub(crate) members: SmallVec<[Member; 12]>,
}

/// Reads one text once.
pub(crate) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    nodes: usize,
    /// Where the message being read starts.
    origin: usize,
    envelope: Envelope,
    keys: Keys,
}

type Step = Result<(), DecodeError>;

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        if text.len() > limits.bytes || u32::try_from(text.len()).is_err() {
            return Err(fault(DecodeFault::TooLarge, limits.bytes.min(text.len())));
        }
        if text.starts_with(b"\xef\xbb\xbf") {
            return Err(fault(DecodeFault::ByteOrderMark, 0));
        }
        if simdutf8::basic::from_utf8(text).is_err() {
            // The fast check does not say where; the slow one does, and only refused bodies pay for it.
            let offset = std::str::from_utf8(text)
                .err()
                .map_or(0, |error| error.valid_up_to());
            return Err(fault(DecodeFault::Utf8, offset));
        }
        Ok(Self {
            text,
            at: 0,
            depth: limits.depth.min(MAX_DEPTH),
            nodes: limits.nodes,
            origin: 0,
            envelope: Envelope::default(),
            keys: Keys::default(),
        })
    }

    /// The next byte that is not space, without taking it.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        self.space();
        self.text.get(self.at).copied()
    }

    /// Takes the byte just peeked.
    pub(crate) fn advance(&mut self) {
        self.at += 1;
    }

    /// One value of any kind and nothing after it.
    pub(crate) fn document(&mut self) -> Result<Span, DecodeError> {
        self.space();
        let start = self.at;
        self.value(1, Place::Elsewhere)?;
        let span = self.span(start);
        self.end()?;
        Ok(span)
    }

    /// One message (an object): where it stands in the text, and where its parts are.
    pub(crate) fn message(&mut self, depth: usize) -> Result<(Span, Envelope), DecodeError> {
        if self.peek() != Some(b'{') {
            let start = self.at;
            self.value(depth, Place::Elsewhere)?;
            return Err(fault(DecodeFault::NotAnObject, start));
        }
        self.origin = self.at;
        let start = self.at;
        self.value(depth, Place::Root)?;
        let span = Span {
            start: narrow(start),
            end: narrow(self.at),
        };
        Ok((span, std::mem::take(&mut self.envelope)))
    }

    /// Nothing but space may follow.
    pub(crate) fn end(&mut self) -> Step {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault(DecodeFault::TrailingBytes)),
        }
    }

    pub(crate) fn fault(&self, kind: DecodeFault) -> DecodeError {
        fault(kind, self.at)
    }

    /// What is wrong at a byte the grammar has no place for, or at the end.
    fn unexpected(&self) -> DecodeError {
        match self.text.get(self.at) {
            Some(_) => self.fault(DecodeFault::UnexpectedCharacter),
            None => self.fault(DecodeFault::UnexpectedEnd),
        }
    }

    fn span(&self, start: usize) -> Span {
        Span {
            start: narrow(start - self.origin),
            end: narrow(self.at - self.origin),
        }
    }

    fn space(&mut self) {
        // Most text has no space here; one comparison says so.
        while let Some(byte) = self.text.get(self.at)
            && *byte <= b' '
            && matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
        {
            steps::add(1);
            self.at += 1;
        }
    }

    fn value(&mut self, depth: usize, place: Place) -> Step {
        let Some(left) = self.nodes.checked_sub(1) else {
            return Err(self.fault(DecodeFault::TooManyNodes));
        };
        self.nodes = left;
        steps::add(1);
        match self.text.get(self.at) {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'{') if place == Place::Elsewhere => self.object(depth),
            Some(b'{') => self.watched(depth, place),
            Some(b'[') => self.array(depth, place),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) | None => Err(self.unexpected()),
        }
    }

    fn word(&mut self, word: &[u8]) -> Step {
        for expected in word {
            if self.text.get(self.at) != Some(expected) {
                return Err(self.unexpected());
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Step {
        let start = self.at;
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        match self.text.get(self.at) {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            Some(_) | None => return Err(self.fault(DecodeFault::InvalidNumber)),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        // A digit here means a leading zero.
        if self.at - start > MAX_NUMBER || self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            return Err(fault(DecodeFault::InvalidNumber, start));
        }
        Ok(())
    }

    fn digits(&mut self) -> Step {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        steps::add(self.at - start);
        if self.at == start {
            return Err(self.fault(DecodeFault::InvalidNumber));
        }
        Ok(())
    }

    /// Passes over a string; says whether it has escapes.
    fn string(&mut self) -> Result<bool, DecodeError> {
        let mut escaped = false;
        self.at += 1;
        loop {
            let from = self.at;
            self.at = text::plain_end(self.text, from);
            steps::add((self.at - from) / 8 + 1);
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.fault(DecodeFault::ControlCharacter)),
                None => return Err(self.fault(DecodeFault::UnexpectedEnd)),
            }
        }
    }

    fn escape(&mut self) -> Step {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => self.unicode_escape(),
            Some(_) => Err(self.fault(DecodeFault::InvalidEscape)),
            None => Err(self.fault(DecodeFault::UnexpectedEnd)),
        }
    }

    fn unicode_escape(&mut self) -> Step {
        let rest = self.text.get(self.at + 2..).unwrap_or_default();
        let Some((first, rest)) = text::hex_unit(rest) else {
            return Err(self.fault(DecodeFault::InvalidEscape));
        };
        match first {
            0xd800..0xdc00 => {
                let second = rest.strip_prefix(b"\\u").and_then(text::hex_unit);
                if !second.is_some_and(|(unit, _)| (0xdc00..0xe000).contains(&unit)) {
                    return Err(self.fault(DecodeFault::LoneSurrogate));
                }
                self.at += 12;
            }
            0xdc00..0xe000 => return Err(self.fault(DecodeFault::LoneSurrogate)),
            _ => self.at += 6,
        }
        Ok(())
    }

    fn deeper(&self, depth: usize) -> Step {
        if depth > self.depth {
            return Err(self.fault(DecodeFault::TooDeep));
        }
        Ok(())
    }

    fn array(&mut self, depth: usize, place: Place) -> Step {
        let inner = match place {
            Place::Watched(Watched::Elicitations) => Place::Watched(Watched::Asked),
            Place::Watched(Watched::Items) => Place::Watched(Watched::Item),
            Place::Root
            | Place::Params
            | Place::Result
            | Place::Error
            | Place::Meta
            | Place::Watched(_)
            | Place::Elsewhere => Place::Elsewhere,
        };
        self.deeper(depth)?;
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            self.value(depth + 1, inner)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(_) | None => return Err(self.unexpected()),
            }
        }
    }

    /// An object nobody looks things up in: grammar and equal keys.
    fn object(&mut self, depth: usize) -> Step {
        if self.opens_empty(depth)? {
            return Ok(());
        }
        let mut mark = self.keys.mark();
        loop {
            let quote = self.at;
            let escaped = self.key()?;
            self.keys
                .push(self.text, quote, self.at, escaped, &mut mark);
            self.colon()?;
            self.value(depth + 1, Place::Elsewhere)?;
            if self.closes()? {
                return self.keys.close(self.text, mark);
            }
        }
    }

    /// An object of the message we look things up in: where its members are, and keys that differ in case only.
    fn watched(&mut self, depth: usize, place: Place) -> Step {
        if self.opens_empty(depth)? {
            return Ok(());
        }
        let mut mark = self.keys.mark();
        loop {
            let quote = self.at;
            let escaped = self.key()?;
            let name = self.span(quote);
            let key = self
                .keys
                .push(self.text, quote, self.at, escaped, &mut mark);
            self.colon()?;
            let start = self.at;
            let inner = self.place_of(place, key)?;
            self.value(depth + 1, inner)?;
            self.record(place, key, name, start);
            if self.closes()? {
                // Equal keys first: they are the plainer fault.
                let judged = self.keys.case_variants(self.text, mark, place);
                return self.keys.close(self.text, mark).and(judged);
            }
        }
    }

    /// Takes the opening brace; says whether the object ends at once.
    fn opens_empty(&mut self, depth: usize) -> Result<bool, DecodeError> {
        self.deeper(depth)?;
        self.at += 1;
        let empty = self.peek() == Some(b'}');
        self.at += usize::from(empty);
        Ok(empty)
    }

    /// Passes over a key; says whether it has escapes.
    fn key(&mut self) -> Result<bool, DecodeError> {
        match self.text.get(self.at) {
            Some(b'"') => self.string(),
            Some(_) | None => Err(self.unexpected()),
        }
    }

    fn colon(&mut self) -> Step {
        if self.peek() != Some(b':') {
            return Err(self.unexpected());
        }
        self.at += 1;
        self.space();
        Ok(())
    }

    /// Takes what follows a member; says whether it ends the object.
    fn closes(&mut self) -> Result<bool, DecodeError> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                self.space();
                Ok(false)
            }
            Some(b'}') => {
                self.at += 1;
                Ok(true)
            }
            Some(_) | None => Err(self.unexpected()),
        }
    }

    /// Which place the value of that key opens.
    fn place_of(&self, place: Place, key: Key) -> Result<Place, DecodeError> {
        Ok(match (place, self.keys.text(self.text, key)) {
            (Place::Root, b"params") => Place::Params,
            (Place::Root, b"result") => Place::Result,
            (Place::Root, b"error") => Place::Error,
            (Place::Root, b"jsonrpc" | b"id" | b"method") => Place::Elsewhere,
            (Place::Root, other) => {
                let variant = is_root_variant(other);
                let kind = if variant {
                    DecodeFault::CaseVariantKey
                } else {
                    DecodeFault::UnknownMember
                };
                return Err(fault(kind, key.quote as usize));
            }
            (Place::Params | Place::Result, b"_meta") => Place::Meta,
            (Place::Result, b"inputRequests") => Place::Watched(Watched::Questions),
            (Place::Result, b"capabilities") => Place::Watched(Watched::Capabilities),
            (
                Place::Result,
                b"tools" | b"prompts" | b"resources" | b"resourceTemplates" | b"tasks" | b"roots",
            ) => Place::Watched(Watched::Items),
            (Place::Error, b"data") => Place::Watched(Watched::Data),
            (Place::Watched(Watched::Data), b"elicitations") => {
                Place::Watched(Watched::Elicitations)
            }
            (Place::Watched(Watched::Questions), _) => Place::Watched(Watched::Question),
            (Place::Watched(Watched::Question), b"params") => Place::Watched(Watched::Asked),
            (
                Place::Params
                | Place::Result
                | Place::Error
                | Place::Meta
                | Place::Watched(_)
                | Place::Elsewhere,
                _,
            ) => Place::Elsewhere,
        })
    }

    /// Keeps where the value that started at `start` and ends here is, if its place is one we look things up in.
    fn record(&mut self, place: Place, key: Key, name: Span, start: usize) {
        let value = self.span(start);
        match place {
            Place::Watched(_) | Place::Elsewhere => {}
            Place::Root => {
                let slot = match self.keys.text(self.text, key) {
                    b"jsonrpc" => &mut self.envelope.jsonrpc,
                    b"id" => &mut self.envelope.id,
                    b"method" => &mut self.envelope.method,
                    b"params" => &mut self.envelope.params,
                    b"result" => &mut self.envelope.result,
                    _ => &mut self.envelope.error,
                };
                *slot = Some(value);
            }
            Place::Params | Place::Result | Place::Error | Place::Meta => {
                self.envelope.members.push(Member {
                    place,
                    key: name,
                    value,
                })
            }
        }
    }
}

/// The body is shorter than 4 GiB, so every offset fits.
pub(super) fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

fn fault(fault: DecodeFault, offset: usize) -> DecodeError {
    DecodeError { fault, offset }
}
