//! One walk over one message, which writes what is left of it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use keepgate_mcp::encode;

use super::{
    super::{
        cursor::{Cursor, Kind, decoded},
        pattern::{self, MASK},
        place::{Frame, Inner},
        pointer::Places,
        records, steps,
        text::{LENIENT, parsed, plain},
    },
    Fate, Known, Rewritten, Rules, Values,
    beside::{Beside, Columns, is_rows, is_value},
};

/// What stands in place of content that cannot be looked into.
const WITHHELD: &str = "[withheld: cannot be looked into]";
/// What was redacted is also looked for in the prose beside it: values of so many bytes.
pub(super) const VALUE: std::ops::RangeInclusive<usize> = 5..=256;

/// The walk.
pub(super) struct Pass<'a> {
    pub(super) rules: &'a Rules,
    /// What an earlier walk redacted, to be found in prose.
    pub(super) known: Option<&'a Known>,
    pub(super) out: Vec<u8>,
    /// How deep in JSON text inside JSON text.
    pub(super) nested: u8,
    pub(super) redacted: usize,
    pub(super) cut: u64,
    values: Values,
    /// The columns to redact in the rows that come next, and in the row.
    rows: Columns,
    row: Columns,
}

/// An object while it is written.
struct Open<'a> {
    frame: Frame,
    /// Where it begins, here and there.
    whole: Cursor<'a>,
    start: usize,
    is_empty: bool,
    /// `_meta`, which is written last.
    meta: Option<&'a [u8]>,
    cut: u64,
    masked_keys: BTreeSet<String>,
    /// Its keys, and the next number of each masked one; looked up once.
    keys: Option<BTreeSet<String>>,
    numbers: BTreeMap<String, u64>,
    /// What its members say of one another; looked up once.
    beside: Option<Beside>,
}

impl<'a> Pass<'a> {
    /// A walk for `rules`; one that also looks for `known` values.
    pub(super) fn over(rules: &'a Rules, known: Option<&'a Known>) -> Self {
        Self {
            rules,
            known,
            out: Vec::new(),
            nested: 0,
            redacted: 0,
            cut: 0,
            values: Values::default(),
            rows: Columns::default(),
            row: Columns::default(),
        }
    }

    /// Walks over a JSON-RPC message: what is left of it, and the values that were redacted in it. `None` if nothing changed.
    pub(super) fn message(mut self, message: &[u8]) -> Option<(Rewritten, Values)> {
        let frame = Inner::Frame(Frame::Message);
        self.out.reserve(message.len());
        self.value(&mut Cursor::new(message), frame, &Places::default());
        if self.redacted == 0 && self.cut == 0 {
            return None;
        }
        let rewritten = Rewritten {
            bytes: self.out,
            redacted: self.redacted,
            cut: self.cut,
        };
        Some((rewritten, self.values))
    }

    /// Writes aside what `work` writes; `None` if it changed nothing.
    pub(super) fn aside(&mut self, work: impl FnOnce(&mut Self)) -> Option<Vec<u8>> {
        let before = (self.redacted, self.cut);
        let out = std::mem::take(&mut self.out);
        work(self);
        let written = std::mem::replace(&mut self.out, out);
        ((self.redacted, self.cut) != before).then_some(written)
    }

    fn value(&mut self, at: &mut Cursor<'_>, inner: Inner, places: &Places) {
        match (inner, at.kind()) {
            (Inner::Frame(frame), Kind::Object) => self.object(at, frame, places),
            (Inner::Frame(_), Kind::Array) => self.array(at, inner, places),
            (Inner::Root, _) => self.root(at),
            (_, Kind::Object) => self.object(at, Frame::Data, places),
            (_, Kind::Array) => self.array(at, Inner::Data, places),
            (Inner::Copy, _) | (_, Kind::Word) => self.copy(at.value()),
            (Inner::Text | Inner::Frame(_), Kind::String) => self.string(at.value(), true),
            (Inner::Blob | Inner::Data, Kind::String) => self.string(at.value(), false),
            (_, Kind::Number) => self.number(at.value()),
        }
    }

    fn copy(&mut self, value: &[u8]) {
        steps::add(value.len() / 16 + 1);
        self.out.extend_from_slice(value);
    }

    fn say(&mut self, text: &str) {
        self.copy(encode::escape(text).as_bytes());
    }

    fn replace(&mut self, value: &[u8]) {
        if decoded(value) != MASK {
            self.redacted += 1;
            self.gather(value);
        }
        self.say(MASK);
    }

    /// Data that pointers begin at.
    pub(super) fn root(&mut self, at: &mut Cursor<'_>) {
        let places = self.rules.root();
        if self.rules.fate(&places) == Fate::Keep {
            return self.value(at, Inner::Data, &places);
        }
        // The whole of it. An object stays one: the protocol wants it.
        let is_object = at.kind() == Kind::Object;
        let value = at.value();
        if !is_object {
            return self.replace(value);
        }
        if parsed_is_empty(value) {
            return self.copy(value);
        }
        self.redacted += 1;
        self.gather(value);
        self.copy(b"{}");
    }

    fn object(&mut self, at: &mut Cursor<'_>, frame: Frame, places: &Places) {
        let mut open = Open {
            frame,
            whole: at.clone(),
            start: self.out.len(),
            is_empty: true,
            meta: None,
            cut: self.cut,
            masked_keys: BTreeSet::new(),
            keys: None,
            numbers: BTreeMap::new(),
            beside: None,
        };
        self.out.push(b'{');
        at.open();
        let mut is_replaced = false;
        while let Some(key) = at.member() {
            if is_replaced {
                at.value();
            } else {
                is_replaced = !self.member(at, &mut open, key, places);
            }
        }
        if is_replaced {
            self.out.truncate(open.start);
            self.copy(br#"{"type":"text","text":"#);
            self.say(WITHHELD);
        } else if frame == Frame::Result {
            self.meta(&mut open);
        }
        self.out.push(b'}');
    }

    /// Writes one member. False if the whole object cannot be let through.
    fn member<'t>(
        &mut self,
        at: &mut Cursor<'t>,
        open: &mut Open<'t>,
        key: &'t [u8],
        places: &Places,
    ) -> bool {
        let name = decoded(key);
        let inner = open.frame.inner(&name);
        let is_data = inner == Inner::Data;
        let here = if is_data {
            self.rules.enter(places, &name)
        } else {
            Places::default()
        };
        let by_name = is_data.then(|| self.rules.fate_of(&name));
        let fate = self.rules.fate(&here).max(by_name.unwrap_or(Fate::Keep));
        let fate = fate.max(self.by_sibling(at, open, &name, is_data));
        if fate == Fate::Remove {
            self.redacted += 1;
            self.gather(at.value());
            self.rows = Columns::default();
            return true;
        }
        if open.frame == Frame::Result && *name == *"_meta" && self.rules.caps_something() {
            open.meta = Some(at.value());
            return true;
        }
        if inner == Inner::Blob && at.kind() == Kind::String {
            return self.blob(at.value(), open, key, &name);
        }
        self.comma(open);
        if is_data {
            self.key(key, &name, open);
        } else {
            self.copy(key);
        }
        self.out.push(b':');
        match fate {
            Fate::Replace => self.replace(at.value()),
            Fate::Keep | Fate::Remove => self.value(at, inner, &here),
        }
        self.rows = Columns::default();
        true
    }

    /// What becomes of a member by what stands beside it; of the rows of a table, notes the columns.
    fn by_sibling(
        &mut self,
        at: &Cursor<'_>,
        open: &mut Open<'_>,
        name: &str,
        is_data: bool,
    ) -> Fate {
        let (is_value, is_rows) = (is_value(name), at.kind() == Kind::Array && is_rows(name));
        if self.rules.fields.is_empty() || !is_data || !(is_value || is_rows) {
            return Fate::Keep;
        }
        let rules = self.rules;
        let beside = open.beside.get_or_insert_with(|| rules.beside(&open.whole));
        if is_value && beside.names {
            return Fate::Replace;
        }
        if is_rows {
            self.rows.clone_from(&beside.columns);
        }
        Fate::Keep
    }

    fn comma(&mut self, open: &mut Open<'_>) {
        if !std::mem::replace(&mut open.is_empty, false) {
            self.out.push(b',');
        }
    }

    /// A key of data: a name may be what a pattern means, and two names must not become one.
    fn key(&mut self, key: &[u8], name: &str, open: &mut Open<'_>) {
        let Some((masked, places)) = pattern::masked(&self.rules.patterns, name) else {
            return self.copy(key);
        };
        self.redacted += places;
        let keys = open.keys.get_or_insert_with(|| keys(&open.whole));
        let number = open.numbers.entry(masked.clone()).or_insert(1);
        let said = loop {
            let said = match *number {
                1 => masked.clone(),
                number => format!("{masked} ({number})"),
            };
            *number += 1;
            if !keys.contains(&said) && open.masked_keys.insert(said.clone()) {
                break said;
            }
        };
        self.say(&said);
    }

    /// A member in base64. What is text in it is text; what cannot be looked into is withheld where something is to be found.
    /// False if the whole block is.
    fn blob(&mut self, value: &[u8], open: &mut Open<'_>, key: &[u8], name: &str) -> bool {
        let said = match &plain(&decoded(value)) {
            Some(text) => self.text(text, true),
            None if self.rules.finds() => {
                self.redacted += 1;
                // An image is nothing without its data; what a resource is can still be said.
                if name == "data" {
                    return false;
                }
                if !has(&open.whole, "text") {
                    self.comma(open);
                    self.copy(b"\"text\":");
                    self.say(WITHHELD);
                }
                return true;
            }
            None => None,
        };
        self.comma(open);
        self.copy(key);
        self.out.push(b':');
        match said {
            Some(text) => self.say(&LENIENT.encode(text)),
            None => self.copy(value),
        }
        true
    }

    /// The end of a result: its `_meta`, and in it how many records were cut.
    fn meta(&mut self, open: &mut Open<'_>) {
        let cut = self.cut - open.cut;
        let meta = open.meta.take();
        let text = meta.and_then(|meta| std::str::from_utf8(meta).ok());
        let told = (cut > 0).then(|| records::told(text.and_then(parsed), cut));
        let Some(meta) = told.as_deref().or(text) else {
            return;
        };
        self.comma(open);
        self.copy(b"\"_meta\":");
        self.object(
            &mut Cursor::new(meta.as_bytes()),
            Frame::Data,
            &Places::default(),
        );
    }

    fn array(&mut self, at: &mut Cursor<'_>, inner: Inner, places: &Places) {
        let longest = self.rules.longest(places).unwrap_or(u64::MAX);
        let cap = self.rules.cap.unwrap_or(u64::MAX);
        let is_content = inner == Inner::Frame(Frame::Block);
        let row = std::mem::take(&mut self.row);
        let mut rows = std::mem::take(&mut self.rows);
        let mut headers = 0;
        if inner == Inner::Data && rows.is_empty() {
            rows = self.rules.header(at);
            headers = 1;
        }
        let (mut index, mut records, mut is_first) = (0_u64, 0_u64, true);
        self.out.push(b'[');
        at.open();
        while at.item() {
            let is_record = if inner == Inner::Data {
                matches!(at.kind(), Kind::Object | Kind::Array)
            } else {
                is_content && cap < u64::MAX && records::is_record(at.clone().value())
            };
            records += u64::from(is_record);
            if index >= longest || (is_record && records > cap) {
                self.cut += 1;
                index += 1;
                at.value();
                continue;
            }
            let here = if places.is_dead() {
                Places::default()
            } else {
                self.rules.enter(places, &index.to_string())
            };
            let mut fate = self.rules.fate(&here);
            match at.kind() {
                Kind::Array if index >= headers => self.row.clone_from(&rows),
                Kind::Array | Kind::Object => {}
                // One row, not in an array of its own.
                Kind::String | Kind::Number | Kind::Word if headers == 0 && rows.has(index) => {
                    fate = fate.max(Fate::Replace);
                }
                Kind::String | Kind::Number | Kind::Word => {}
            }
            if row.has(index) {
                fate = fate.max(Fate::Replace);
            }
            index += 1;
            if fate == Fate::Remove {
                self.redacted += 1;
                self.gather(at.value());
                self.row = Columns::default();
                continue;
            }
            if !std::mem::replace(&mut is_first, false) {
                self.out.push(b',');
            }
            match fate {
                Fate::Replace => self.replace(at.value()),
                Fate::Keep | Fate::Remove => self.value(at, inner, &here),
            }
            self.row = Columns::default();
        }
        self.out.push(b']');
    }

    fn string(&mut self, value: &[u8], is_shown: bool) {
        match self.text(&decoded(value), is_shown) {
            Some(text) => self.say(&text),
            None => self.copy(value),
        }
    }

    /// A number may be what a pattern means.
    fn number(&mut self, value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        if !self.rules.patterns.is_empty() && pattern::holds(&self.rules.patterns, &text) {
            self.replace(value);
        } else {
            self.copy(value);
        }
    }

    /// Keeps the texts and numbers of a value that is redacted.
    fn gather(&mut self, value: &[u8]) {
        let mut at = Cursor::new(value);
        if self.known.is_some() || self.values.more {
            return;
        }
        match at.kind() {
            Kind::Object => {
                at.open();
                while at.member().is_some() {
                    self.gather(at.value());
                }
            }
            Kind::Array => {
                at.open();
                while at.item() {
                    self.gather(at.value());
                }
            }
            Kind::String => {
                let text = decoded(value);
                let text = text.trim();
                if VALUE.contains(&text.len()) && text != MASK {
                    self.values.note(text);
                }
            }
            Kind::Number if VALUE.contains(&value.len()) => {
                self.values.note(&String::from_utf8_lossy(value));
            }
            Kind::Number | Kind::Word => {}
        }
    }
}

/// The keys of an object.
fn keys(object: &Cursor<'_>) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut at = object.clone();
    at.open();
    while let Some(key) = at.member() {
        keys.insert(decoded(key).into_owned());
        at.value();
    }
    keys
}

fn has(object: &Cursor<'_>, name: &str) -> bool {
    let mut at = object.clone();
    at.open();
    while let Some(key) = at.member() {
        if decoded(key) == name {
            return true;
        }
        at.value();
    }
    false
}

fn parsed_is_empty(object: &[u8]) -> bool {
    let mut at = Cursor::new(object);
    at.open();
    at.member().is_none()
}
