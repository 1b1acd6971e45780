//! The keys of the objects still open, and the judgement over them when an object closes.

use std::borrow::Cow;

use smallvec::SmallVec;

use super::scan::{Place, Watched};
use super::text;
use crate::error::{DecodeError, DecodeFault};
use crate::fold::folded;
use crate::steps;

/// Keys of objects up to this size are compared pair by pair; larger objects are sorted, so that no choice of keys is slow.
const PAIRWISE: usize = 12;

/// The members of `params` and `_meta` we or a policy read, of what clients and servers ask. Another spelling of one of them is
/// refused even when it stands alone: a peer that ignores case would read what we did not.
const PARAMS: Names<37> = Names::new([
    "_meta",
    "name",
    "arguments",
    "uri",
    "ref",
    "argument",
    "context",
    "cursor",
    "level",
    "task",
    "taskId",
    "requestId",
    "requestState",
    "inputResponses",
    "inputRequests",
    "notifications",
    "progressToken",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/subscriptionId",
    "mode",
    "url",
    "message",
    "elicitationId",
    "requestedSchema",
    "messages",
    "systemPrompt",
    "includeContext",
    "modelPreferences",
    "maxTokens",
    "tools",
    "status",
]);

/// The members of `result` that we, a policy or an obligation read.
const RESULT: Names<25> = Names::new([
    "_meta",
    "resultType",
    "inputRequests",
    "requestState",
    "content",
    "structuredContent",
    "isError",
    "nextCursor",
    "tools",
    "prompts",
    "resources",
    "resourceTemplates",
    "tasks",
    "task",
    "roots",
    "contents",
    "messages",
    "completion",
    "cacheScope",
    "capabilities",
    "protocolVersion",
    "supportedVersions",
    "serverInfo",
    "instructions",
    "action",
]);

/// The members of an item of a list.
const ITEM: Names<9> = Names::new([
    "name",
    "uri",
    "uriTemplate",
    "taskId",
    "inputSchema",
    "outputSchema",
    "annotations",
    "execution",
    "description",
]);

/// The members of `capabilities` in an answer.
const CAPABILITIES: Names<7> = Names::new([
    "tasks",
    "tools",
    "prompts",
    "resources",
    "logging",
    "completions",
    "extensions",
]);

/// The members of a question within a result.
const QUESTION: Names<2> = Names::new(["method", "params"]);

/// The members of `error`.
const ERROR: Names<3> = Names::new(["code", "message", "data"]);

/// The members of `error.data`.
const DATA: Names<1> = Names::new(["elicitations"]);

/// The members of a JSON-RPC message.
const ROOT: Names<6> = Names::new(["jsonrpc", "id", "method", "params", "result", "error"]);

/// Names by their length: most keys are compared with none of them, and others with one or two.
struct Names<const COUNT: usize> {
    names: [&'static str; COUNT],
    /// The names of each length, a bit for each place in `names`.
    by_length: [u64; 64],
}

impl<const COUNT: usize> Names<COUNT> {
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    const fn new(names: [&'static str; COUNT]) -> Self {
        let mut by_length = [0; 64];
        let mut left: &[&str] = &names;
        let mut bit = 1;
        while let [name, rest @ ..] = left {
            // A longer name, or one more than there are bits, does not compile.
            assert!(bit != 0);
            by_length[name.len()] |= bit;
            bit <<= 1;
            left = rest;
        }
        Self { names, by_length }
    }

    /// Whether `key` is another spelling of one of the names, equal to it but for case.
    fn has_variant(&self, key: &[u8]) -> bool {
        if !key.is_ascii() {
            let folded = fold(key);
            return self
                .names
                .iter()
                .any(|name| folded.eq_ignore_ascii_case(name));
        }
        let mut left = self.by_length.get(key.len()).copied().unwrap_or(0);
        while left != 0 {
            let name = self.names.get(left.trailing_zeros() as usize);
            let name = name.map_or(&[][..], |name| name.as_bytes());
            if name == key {
                return false;
            }
            // No two names are spellings of one another.
            if name.eq_ignore_ascii_case(key) {
                return true;
            }
            left &= left - 1;
        }
        false
    }
}

/// Whether `key` is another spelling of a member that is read in an object at `place`.
fn is_variant(place: Place, key: &[u8]) -> bool {
    match place {
        Place::Params | Place::Meta | Place::Watched(Watched::Asked) => PARAMS.has_variant(key),
        Place::Result => RESULT.has_variant(key),
        Place::Error => ERROR.has_variant(key),
        Place::Watched(Watched::Data) => DATA.has_variant(key),
        Place::Watched(Watched::Item) => ITEM.has_variant(key),
        Place::Watched(Watched::Question) => QUESTION.has_variant(key),
        Place::Watched(Watched::Capabilities) => CAPABILITIES.has_variant(key),
        // Members of the message are compared where they are read; names of questions are the server's own.
        Place::Root
        | Place::Watched(Watched::Questions | Watched::Items | Watched::Elicitations)
        | Place::Elsewhere => false,
    }
}

/// Whether `key` is another spelling of a member of a message.
pub(super) fn is_root_variant(key: &[u8]) -> bool {
    ROOT.has_variant(key)
}

/// A key of an object still open.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// The first eight bytes, zeros after the end: settles most comparisons without touching the text.
    prefix: u64,
    start: u32,
    len: u32,
    /// The decoded text is in the arena, because the key has escapes.
    decoded: bool,
    /// Where the key's opening quote is in the text.
    pub(super) quote: u32,
}

/// Where the keys of one object begin, and what is known of them.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    base: usize,
    arena: usize,
    /// One bit for each hash seen.
    seen: u64,
    /// Two keys share a bit, so they may be equal.
    suspicious: bool,
}

#[cfg(test)]
thread_local! {
    /// How often the text of a key was looked at: what an adversary would drive up.
    pub(super) static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// The keys of all objects still open, innermost last.
#[derive(Default)]
pub(super) struct Keys {
    open: SmallVec<[Key; 32]>,
    arena: Vec<u8>,
}

impl Keys {
    /// Starts an object.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            base: self.open.len(),
            arena: self.arena.len(),
            seen: 0,
            suspicious: false,
        }
    }

    /// Remembers the key whose quotes are at `quote` and `end - 1` of a text the scanner passed.
    pub(super) fn push(
        &mut self,
        source: &[u8],
        quote: usize,
        end: usize,
        escaped: bool,
        mark: &mut Mark,
    ) -> Key {
        let (start, len, prefix) = if escaped {
            let start = self.arena.len();
            let inner = source.get(quote + 1..end - 1).unwrap_or_default();
            // The scanner passed the string, so this cannot fail.
            let _ = text::unescape(inner, &mut self.arena);
            let len = self.arena.len() - start;
            (start, len, prefix(&self.arena, start, len))
        } else {
            let len = end - quote - 2;
            (quote + 1, len, prefix(source, quote + 1, len))
        };
        let key = Key {
            prefix,
            start: super::scan::narrow(start),
            len: super::scan::narrow(len),
            decoded: escaped,
            quote: super::scan::narrow(quote),
        };
        // Equal keys have equal hashes; the constant is the golden ratio, which spreads.
        let hash = (key.prefix ^ u64::from(key.len)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        mark.suspicious |= mark.seen >> hash & 1 == 1;
        mark.seen |= 1 << hash;
        self.open.push(key);
        key
    }

    /// The decoded text of a key.
    pub(super) fn text<'a>(&'a self, source: &'a [u8], key: Key) -> &'a [u8] {
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        steps::add(key.len as usize / 8 + 1);
        let source = if key.decoded { &self.arena } else { source };
        let start = key.start as usize;
        source
            .get(start..start + key.len as usize)
            .unwrap_or_default()
    }

    /// Ends an object: refuses equal keys, then forgets all of them.
    pub(super) fn close(&mut self, source: &[u8], mark: Mark) -> Result<(), DecodeError> {
        let count = self.open.len() - mark.base;
        if mark.suspicious || count > PAIRWISE {
            self.equal(source, mark.base)?;
        }
        self.open.truncate(mark.base);
        self.arena.truncate(mark.arena);
        Ok(())
    }

    fn equal(&self, source: &[u8], base: usize) -> Result<(), DecodeError> {
        let open = self.open.get(base..).unwrap_or_default();
        let same = |one: &Key, two: &Key| {
            one.prefix == two.prefix
                && one.len == two.len
                && self.text(source, *one) == self.text(source, *two)
        };
        if open.len() <= PAIRWISE {
            let mut rest = open;
            while let [earlier @ .., later] = rest {
                rest = earlier;
                if earlier.iter().any(|earlier| same(earlier, later)) {
                    return Err(fault(DecodeFault::DuplicateKey, later.quote));
                }
            }
            return Ok(());
        }
        let mut sorted = open.to_vec();
        sorted.sort_unstable_by(|one, two| {
            (one.prefix, one.len)
                .cmp(&(two.prefix, two.len))
                .then_with(|| self.text(source, *one).cmp(self.text(source, *two)))
                .then(one.quote.cmp(&two.quote))
        });
        for pair in sorted.windows(2) {
            if let [one, two] = pair
                && same(one, two)
            {
                return Err(fault(DecodeFault::DuplicateKey, two.quote));
            }
        }
        Ok(())
    }

    /// Refuses keys of the innermost object that are another spelling of one that is read at `place`, and keys that differ in
    /// case only, but for `error.data`, most of which nobody reads.
    pub(super) fn case_variants(
        &self,
        source: &[u8],
        mark: Mark,
        place: Place,
    ) -> Result<(), DecodeError> {
        let open = self.open.get(mark.base..).unwrap_or_default();
        let variant = open
            .iter()
            .find(|key| is_variant(place, self.text(source, **key)));
        if let Some(key) = variant {
            return Err(fault(DecodeFault::CaseVariantKey, key.quote));
        }
        if place == Place::Watched(Watched::Data) {
            return Ok(());
        }
        let plain =
            open.len() <= PAIRWISE && open.iter().all(|key| self.text(source, *key).is_ascii());
        if !plain {
            return self.folded_variants(source, open);
        }
        let mut rest = open;
        while let [earlier @ .., later] = rest {
            rest = earlier;
            let text = self.text(source, *later);
            let differs = |earlier: &Key| {
                // Bit 5 is all that case changes in ASCII letters.
                earlier.len == later.len
                    && (earlier.prefix ^ later.prefix) & !0x2020_2020_2020_2020 == 0
                    && self.text(source, *earlier).eq_ignore_ascii_case(text)
            };
            if earlier.iter().any(differs) {
                return Err(fault(DecodeFault::CaseVariantKey, later.quote));
            }
        }
        Ok(())
    }

    fn folded_variants(&self, source: &[u8], open: &[Key]) -> Result<(), DecodeError> {
        let mut folded: Vec<(Cow<'_, str>, u32)> = open
            .iter()
            .map(|key| (fold(self.text(source, *key)), key.quote))
            .collect();
        folded.sort_unstable();
        for pair in folded.windows(2) {
            if let [(one, _), (two, quote)] = pair
                && one == two
            {
                return Err(fault(DecodeFault::CaseVariantKey, *quote));
            }
        }
        Ok(())
    }
}

fn fold(key: &[u8]) -> Cow<'_, str> {
    folded(simdutf8::basic::from_utf8(key).unwrap_or_default())
}

/// The first eight bytes of `len` bytes at `start`, zeros after the end.
fn prefix(source: &[u8], start: usize, len: usize) -> u64 {
    let from = source.get(start..).unwrap_or_default();
    match from.first_chunk::<8>() {
        Some(chunk) if len >= 8 => u64::from_le_bytes(*chunk),
        Some(chunk) => u64::from_le_bytes(*chunk) & ((1 << (len * 8)) - 1),
        None => {
            let bytes = from.iter().take(len).rev();
            bytes.fold(0, |word, byte| word << 8 | u64::from(*byte))
        }
    }
}

fn fault(fault: DecodeFault, offset: u32) -> DecodeError {
    DecodeError {
        fault,
        offset: offset as usize,
    }
}
