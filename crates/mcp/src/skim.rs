//! Outlines of messages that cannot be read, or are too long to be held: the members of the message itself, found by brackets
//! and strings alone, in pieces and without a copy. Enough to know which call a text answers, so that this call fails at once
//! and no other one does.

use memchr::memchr2;

use crate::{Id, Limits, fold::folded, id::MAX_ID, json};

/// Longest key that is compared; no name of JSON-RPC is as long, with every character escaped.
const MAX_KEY: usize = 64;

/// The id in an outline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutlinedId {
    /// No id, or null.
    Missing,
    /// One id.
    Read(Id),
    /// Several, a spelling that readers take in different ways, or a value that is no id.
    Unclear,
}

/// Members of a message, as far as they were found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The id.
    pub id: OutlinedId,
    names_version: bool,
    has_method: bool,
    has_outcome: bool,
}

impl Outline {
    /// Reads a whole text.
    pub fn of(text: &[u8]) -> Self {
        let mut skim = Skim::default();
        skim.feed(text);
        skim.finish()
    }

    /// Whether some reader could take the text for an answer, where nothing but messages comes. One with neither `result` nor
    /// `error` can be nothing else.
    pub fn may_answer(&self) -> bool {
        let has_id = self.id != OutlinedId::Missing;
        self.has_outcome || (self.names_version && has_id && !self.has_method)
    }

    /// As [`Self::may_answer`], where programs also print lines for people: a line of a JSON log may have a member `error`.
    pub fn may_answer_among_noise(&self) -> bool {
        self.may_answer() && (self.names_version || self.id != OutlinedId::Missing)
    }
}

/// Place within a text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before its first bracket.
    #[default]
    Start,
    /// Between values and brackets.
    Between,
    /// In a string.
    String,
    /// In a string, after a backslash.
    Escape,
    /// Behind its last bracket, or in what is no message.
    Over,
}

/// Reads a text in pieces. Holds a key and an id at most.
#[derive(Debug, Default)]
pub struct Skim {
    place: Place,
    depth: usize,
    /// Depth of the members of a message: two in a batch.
    base: usize,
    /// A key is next, not a value.
    is_key: bool,
    /// The last key, with its quotes.
    key: Vec<u8>,
    /// The value of an id, while it is read.
    value: Option<Vec<u8>>,
    id: Option<Vec<u8>>,
    is_unclear: bool,
    names_version: bool,
    has_method: bool,
    has_outcome: bool,
}

impl Skim {
    /// Reads on.
    pub fn feed(&mut self, mut text: &[u8]) {
        while let Some((&byte, after)) = text.split_first() {
            text = match self.place {
                Place::Over => return,
                Place::Start => {
                    self.start(byte);
                    after
                }
                Place::Escape => {
                    self.keep(&[byte]);
                    self.place = Place::String;
                    after
                }
                Place::String => self.string(text),
                Place::Between => {
                    self.between(byte);
                    after
                }
            };
        }
    }

    /// The outline of what was read.
    pub fn finish(self) -> Outline {
        let id = match self.id.as_deref() {
            _ if self.is_unclear => OutlinedId::Unclear,
            None | Some(b"null") => OutlinedId::Missing,
            Some(text) => json::parse(text, &Limits::request())
                .ok()
                .and_then(Id::from_echo)
                .map_or(OutlinedId::Unclear, OutlinedId::Read),
        };
        Outline {
            id,
            names_version: self.names_version,
            has_method: self.has_method,
            has_outcome: self.has_outcome,
        }
    }

    fn start(&mut self, byte: u8) {
        match byte {
            // A byte order mark is no part of the text.
            0xEF | 0xBB | 0xBF => {}
            _ if byte.is_ascii_whitespace() => {}
            b'{' | b'[' => {
                self.base = if byte == b'{' { 1 } else { 2 };
                self.depth = 1;
                self.is_key = true;
                self.place = Place::Between;
            }
            _ => self.place = Place::Over,
        }
    }

    /// Reads on in a string, and returns what is left behind it.
    fn string<'a>(&mut self, text: &'a [u8]) -> &'a [u8] {
        let Some(end) = memchr2(b'"', b'\\', text) else {
            self.keep(text);
            return &[];
        };
        let (inside, after) = text.split_at_checked(end + 1).unwrap_or((text, &[]));
        self.keep(inside);
        if inside.last() == Some(&b'\\') {
            self.place = Place::Escape;
        } else {
            self.place = Place::Between;
            if self.depth == self.base {
                self.is_key = false;
            }
        }
        after
    }

    fn between(&mut self, byte: u8) {
        let is_outside = self.depth == self.base;
        if is_outside && self.is_key && !matches!(byte, b'"' | b'}' | b',') {
            // Something like JSON, as programs print it for people.
            if !byte.is_ascii_whitespace() {
                self.place = Place::Over;
            }
            return;
        }
        match byte {
            b'"' => {
                if is_outside && self.is_key {
                    self.key.clear();
                }
                self.keep(&[byte]);
                self.place = Place::String;
            }
            b':' if is_outside && self.value.is_none() => self.name(),
            b',' if is_outside => self.end_member(),
            b'{' | b'[' => {
                self.keep(&[byte]);
                self.depth += 1;
                // A message of a batch begins.
                if self.depth == self.base {
                    self.is_key = true;
                }
            }
            b'}' | b']' => {
                if is_outside {
                    self.end_member();
                } else {
                    self.keep(&[byte]);
                }
                self.depth -= 1;
                if self.depth == 0 {
                    self.place = Place::Over;
                }
            }
            _ => self.keep(&[byte]),
        }
    }

    /// Keeps a piece of a key or of the value of an id, and of no other.
    fn keep(&mut self, piece: &[u8]) {
        let (kept, most) = match &mut self.value {
            Some(value) => (value, MAX_ID),
            None if self.is_key && self.depth == self.base => (&mut self.key, MAX_KEY),
            None => return,
        };
        // One more than may be there, so that what is too long is known for it.
        let room = (most + 1).saturating_sub(kept.len());
        kept.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }

    /// A key has ended.
    fn name(&mut self) {
        let Some(key) = json::parse(&self.key, &Limits::request())
            .ok()
            .and_then(|key| key.string().map(|key| key.into_owned()))
        else {
            return;
        };
        match &*folded(&key) {
            "id" => {
                self.is_unclear |= self.id.is_some() || key != "id";
                self.value = Some(Vec::new());
            }
            "jsonrpc" => self.names_version = true,
            "method" => self.has_method = true,
            "result" | "error" => self.has_outcome = true,
            _ => {}
        }
    }

    fn end_member(&mut self) {
        if let Some(value) = self.value.take() {
            self.id = Some(value.trim_ascii().to_vec());
        }
        self.is_key = true;
    }
}

#[cfg(test)]
mod tests {
    use super::{Outline, OutlinedId, Skim};
    use crate::Id;

    /// The id, and whether it may be an answer: on a stream, and among noise.
    fn outlined(text: &str) -> (OutlinedId, bool, bool) {
        let outline = Outline::of(text.as_bytes());
        let (alone, among) = (outline.may_answer(), outline.may_answer_among_noise());
        (outline.id, alone, among)
    }

    /// Texts, the id (nothing if there is none, `?` if it is unclear), and whether it may be an answer.
    const OUTLINES: [(&str, &str, bool, bool); 37] = [
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{"id":8}}"#,
            "7",
            true,
            true,
        ),
        (
            r#"{"result":{"method":"m","id":8},"id" : 7 }"#,
            "7",
            true,
            true,
        ),
        (
            r#"{"result":{"a":["}",{"id":8}],"b":"\"id\":9"},"id":7}"#,
            "7",
            true,
            true,
        ),
        // Texts, escapes, other spellings.
        (r#"{"id":"7","result":{}}"#, "\"7\"", true, true),
        (r#"{"id":"\u0037","error":{}}"#, "\"7\"", true, true),
        (r#"{"\u0069d":7,"error":{}}"#, "7", true, true),
        (r#"{"id":7.0,"result":{}}"#, "7", true, true),
        (r#"{"id":1.2E1,"result":{}}"#, "12", true, true),
        (r#"{"id":"a,}","result":{}}"#, "\"a,}\"", true, true),
        // Not one id.
        (r#"{"id":7,"result":{},"id":8}"#, "?", true, true),
        (r#"{"ID":7,"result":{}}"#, "?", true, true),
        (r#"{"id":7.5,"result":{}}"#, "?", true, true),
        (r#"{"id":{"id":7},"result":{}}"#, "?", true, true),
        (r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, "", true, true),
        (r#"{"jsonrpc":"2.0","result":{}}"#, "", true, true),
        // What no parser reads.
        (r#"{"id":7,"result":{"a":NaN,"b":'x'"#, "7", true, true),
        (r#"{"jsonrpc":"2.0","id":7,"res"#, "7", true, true),
        (r#"{"jsonrpc":"2.0","id":7"#, "", false, false),
        (r#"{"id":7,"res\u0075lt":{}}"#, "7", true, true),
        (r#"{"id":7,"Error":{}}"#, "7", true, true),
        ("\u{feff} {\"id\":7,\"result\":{}}", "7", true, true),
        // Neither result nor error.
        (r#"{"jsonrpc":"2.0","id":7}"#, "7", true, true),
        (r#"{"jsonrpc":"2.0","id":7,"acme":1}"#, "7", true, true),
        // Notifications and questions.
        (
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"result":1}}"#,
            "7",
            false,
            false,
        ),
        (
            r#"{"jsonrpc":"2.0","method":"m","params":{"id":8}}"#,
            "",
            false,
            false,
        ),
        // A batch.
        (
            r#"[{"jsonrpc":"2.0","id":7,"result":{}},{"method":"m"}]"#,
            "7",
            true,
            true,
        ),
        (
            r#"[{"id":7,"result":{}},{"id":8,"result":{}}]"#,
            "?",
            true,
            true,
        ),
        (r#"[{"method":"a"}]"#, "", false, false),
        // Noise.
        (r#"{"result":{}}"#, "", true, false),
        (r#"{"level":"error","error":"boom"}"#, "", true, false),
        (r#"{"id":7,"level":"info"}"#, "7", false, false),
        (
            "{'jsonrpc': '2.0', 'id': 7, 'result': {}}",
            "",
            false,
            false,
        ),
        ("[INFO] {\"id\":7,\"result\":{}}", "", false, false),
        ("started {\"id\":7,\"result\":{}}", "", false, false),
        ("{}", "", false, false),
        ("", "", false, false),
        ("}]", "", false, false),
    ];

    #[test]
    fn outlines_have_the_members_of_the_message_and_of_no_other_object() {
        for (text, id, alone, among) in OUTLINES {
            let id = match id {
                "" => OutlinedId::Missing,
                "?" => OutlinedId::Unclear,
                id => OutlinedId::Read(Id::from_json(id).expect("an id")),
            };
            assert_eq!(outlined(text), (id, alone, among), "{text}");
        }
    }

    #[test]
    fn what_is_held_is_bounded() {
        let long = "9".repeat(1 << 20);
        let mut skim = Skim::default();
        skim.feed(format!(r#"{{"{long}":1,"id":{long},"result":{long}"#).as_bytes());
        assert!(skim.key.capacity() + skim.value.as_ref().map_or(0, Vec::capacity) < 1 << 12);
        assert!(skim.id.as_ref().map_or(0, Vec::capacity) < 1 << 12);
        assert_eq!(skim.finish().id, OutlinedId::Unclear);
    }

    proptest::proptest! {
        #[test]
        fn an_outline_is_the_same_whatever_the_pieces(
            text in r#"[\[{]?\{?("id":(7|"7"|null|\{\}),)?["\\:,\[\]{}a1 ]{0,20}("result":\{)?["\\:,\[\]{}a1é]{0,20}"#,
            length in 1_usize..9,
        ) {
            let mut skim = Skim::default();
            for piece in text.as_bytes().chunks(length) {
                skim.feed(piece);
            }
            proptest::prop_assert_eq!(skim.finish(), Outline::of(text.as_bytes()));
        }
    }
}
