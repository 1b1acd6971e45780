//! The search in one string.

use zeroize::Zeroizing;

use super::{
    At, CERTAIN, CUTS, Cut, FOLLOWED, MIDDLE, Mask, Written,
    automaton::{ROOT, State},
    encode::Alphabet,
    escape::{self, LONGEST},
    reading::{Reading, Texts},
    steps,
};

/// A range that holds a secret.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: usize,
    to: usize,
    /// A neighbour of the same alphabet may hold bits of it.
    is_base64: bool,
}

/// Maximum length of the beginning of an escape that is kept, as it is written: nesting makes escapes long.
const MAX_TAIL: usize = 64;

/// The beginning of an escape that the end of a text cut, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    bytes: [u8; MAX_TAIL],
    length: usize,
}

impl Tail {
    const NONE: Self = Self {
        bytes: [0; MAX_TAIL],
        length: 0,
    };

    /// The beginning of an escape at the end of `source`; `None` if it is too long.
    fn new(cut: &[u8]) -> Option<Self> {
        let mut tail = Self::NONE;
        tail.bytes.get_mut(..cut.len())?.copy_from_slice(cut);
        tail.length = cut.len();
        Some(tail)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

/// State at the end of a text that ends within a pattern, and the beginning of an escape after it.
type Open = (State, Tail);

/// Findings of a search.
struct Searched {
    ranges: Vec<Range>,
    /// The state at the end.
    last: State,
    /// The state where an escape begins that the end cuts.
    stopped: State,
}

/// The part at the beginning of a text that goes on with a pattern which began elsewhere.
#[derive(Debug, Clone, Copy, Default)]
struct Followed {
    bytes: usize,
    /// The pattern goes on after the text.
    open: Option<State>,
    /// The pattern goes on within an escape that the end of the text cuts.
    stopped: Option<State>,
}

/// The same of a text as it is written.
#[derive(Debug, Clone, Copy, Default)]
struct Resumed {
    bytes: usize,
    open: [Option<Open>; 2],
}

/// A string and where it is.
struct Place<'a> {
    texts: &'a Texts<'a>,
    source: &'a [u8],
    written: Written,
    at: At,
}

impl Place<'_> {
    /// The beginning of an escape at the end, from `stop` in a reading.
    fn tail(&self, reading: Reading<'_>, stop: usize) -> Option<Tail> {
        if stop == reading.text().len() {
            return None;
        }
        let begins = if stop > 0 { reading.taken(stop) } else { 0 };
        Tail::new(self.source.get(begins..)?)
    }
}

/// Findings in a text.
#[derive(Default)]
struct Found {
    /// In the text as it is written.
    ranges: Vec<(usize, usize)>,
    open: Vec<Open>,
}

impl Found {
    /// The ranges in order, those that touch made one, each without half an escape or half a character at its ends.
    fn merged(mut self, texts: &Texts<'_>) -> Vec<(usize, usize)> {
        self.ranges.sort();
        let mut merged: Vec<(usize, usize)> = Vec::with_capacity(self.ranges.len());
        for range in self.ranges {
            steps::add(1);
            let (mut from, mut to) = texts.whole(range);
            while let Some(&(begins, ends)) = merged.last()
                && from <= ends
            {
                (from, to) = (from.min(begins), to.max(ends));
                merged.pop();
            }
            merged.push((from, to));
        }
        merged
    }
}

impl Mask {
    /// The ranges of a key, string or number that hold a secret: what it holds, what goes on elsewhere, and what began
    /// elsewhere.
    pub(super) fn value(
        &self,
        source: &[u8],
        written: Written,
        at: At,
        cuts: &mut Vec<Cut>,
    ) -> Vec<(usize, usize)> {
        if source.is_empty() {
            return Vec::new();
        }
        let texts = Texts::new(source, written);
        let mut found = Found::default();
        let place = Place {
            texts: &texts,
            source,
            written,
            at,
        };
        self.resume(&place, &mut found, cuts);
        for reading in texts.readings() {
            self.read(&place, reading, &mut found);
        }
        for (state, tail) in std::mem::take(&mut found.open) {
            let cut = Cut {
                state,
                tail,
                paths: [at.here, at.next],
                left: FOLLOWED,
            };
            follow_later(cuts, cut);
        }
        found.merged(&texts)
    }

    /// Finds what a reading holds, what its end cuts, and what it begins within.
    fn read(&self, place: &Place<'_>, reading: Reading<'_>, found: &mut Found) {
        let text = reading.text();
        let stop = escape::unfinished(text);
        let searched = self.search(text, stop);
        let mut ranges = searched.ranges;
        let cut = place.tail(reading, stop);
        let stopped = cut.map(|cut| (searched.stopped, stop, cut));
        let ends = [Some((searched.last, text.len(), Tail::NONE)), stopped];
        for (state, at, tail) in ends.into_iter().flatten() {
            let depth = self.automaton.depth_of(state);
            if depth >= CERTAIN {
                add(&mut ranges, (at - depth, text.len()), false);
                found.open.push((state, tail));
            }
        }
        let first = ranges.first().map_or(text.len(), |range| range.from);
        finished(reading, ranges, &mut found.ranges);
        self.begun(reading, 0, (stop, cut), found);
        if !reading.has_escapes() {
            return;
        }
        // What is left of an escape that was cut before may come first. Few texts have the middle of a pattern there, and
        // one made to have many does not cost more.
        let left = text.iter().take(LONGEST - 1).enumerate();
        let left = left.take_while(|(at, byte)| at < &first && escape::builds(**byte));
        left.filter(|(at, _)| self.begun(reading, at + 1, (stop, cut), found))
            .take(2)
            .for_each(drop);
    }

    /// Finds the middle of a pattern after the first bytes of a text. Returns whether there was one to follow.
    fn begun(
        &self,
        reading: Reading<'_>,
        skipped: usize,
        (stop, cut): (usize, Option<Tail>),
        found: &mut Found,
    ) -> bool {
        steps::add(1);
        let text = reading.text().get(skipped..).unwrap_or_default();
        let Some(head) = text.first_chunk::<MIDDLE>() else {
            return false;
        };
        let mut is_middle = false;
        for state in self.middles.states(*head) {
            is_middle = true;
            let followed = self.follow(state, text, MIDDLE, stop.saturating_sub(skipped));
            let is_open = followed.open.is_some() || followed.stopped.is_some();
            if followed.bytes > 0 && (!is_open || followed.bytes >= CERTAIN) {
                let range = reading.in_joined((0, skipped + followed.bytes));
                found.ranges.push(reading.in_source(range));
                let open = &mut found.open;
                open.extend(followed.open.map(|state| (state, Tail::NONE)));
                open.extend(followed.stopped.zip(cut));
            }
        }
        is_middle
    }

    /// Goes on with what was cut before.
    fn resume(&self, place: &Place<'_>, found: &mut Found, cuts: &mut Vec<Cut>) {
        let mut before: Option<((State, Tail), Resumed)> = None;
        let mut bytes = 0;
        cuts.retain_mut(|cut| {
            let is_here = cut.paths.contains(&place.at.here);
            // Half an escape goes on where it was, or it is none.
            let resumed = if cut.tail.length > 0 && !is_here {
                Resumed::default()
            } else {
                // The same beginning in many places is followed once.
                let key = (cut.state, cut.tail);
                let same = before.filter(|(known, _)| *known == key);
                let resumed = same.map_or_else(
                    || self.resumed(place, cut.state, cut.tail.bytes()),
                    |(_, resumed)| resumed,
                );
                before = Some((key, resumed));
                resumed
            };
            // Place in the message a byte or two may be the same by chance.
            if resumed.bytes > 0 && (is_here || resumed.bytes >= CERTAIN) {
                bytes = bytes.max(resumed.bytes);
                found.open.extend(resumed.open.into_iter().flatten());
                if resumed.bytes >= CERTAIN {
                    return false;
                }
            }
            cut.left -= u8::from(place.at.counts);
            cut.left > 0
        });
        if bytes > 0 {
            found.ranges.push((0, bytes));
        }
    }

    /// Goes on with a pattern after `tail`, the beginning of an escape.
    fn resumed(&self, place: &Place<'_>, state: State, tail: &[u8]) -> Resumed {
        if tail.is_empty() {
            let readings = place.texts.readings();
            let each = readings.map(|reading| self.resumed_in(place, reading, state));
            return each.max_by_key(|resumed| resumed.bytes).unwrap_or_default();
        }
        let source = Zeroizing::new([tail, place.source].concat());
        let whole = Place {
            texts: &Texts::new(&source, place.written),
            source: &source,
            ..*place
        };
        let last = whole.texts.readings().next();
        let resumed = last.map(|last| self.resumed_in(&whole, last, state));
        let mut resumed = resumed.unwrap_or_default();
        resumed.bytes = resumed.bytes.saturating_sub(tail.len());
        resumed
    }

    fn resumed_in(&self, place: &Place<'_>, reading: Reading<'_>, state: State) -> Resumed {
        let text = reading.text();
        let stop = escape::unfinished(text);
        let followed = self.follow(state, text, 0, stop);
        if followed.bytes == 0 {
            return Resumed::default();
        }
        Resumed {
            bytes: reading.taken(followed.bytes),
            open: [
                followed.open.map(|state| (state, Tail::NONE)),
                followed.stopped.zip(place.tail(reading, stop)),
            ],
        }
    }

    /// Finds every secret in a text, and what of one stands at `stop` and at its end.
    fn search(&self, text: &[u8], stop: usize) -> Searched {
        let mut ranges = Vec::new();
        let (mut state, mut at) = (ROOT, 0);
        let mut stopped = ROOT;
        loop {
            if state == ROOT {
                match self.filter.find(text, at) {
                    Some(next) => at = next,
                    None => break,
                }
            }
            if at == stop {
                stopped = self.automaton.open(state);
            }
            let Some(&byte) = text.get(at) else {
                break;
            };
            state = self.automaton.next(state, byte);
            at += 1;
            let length = usize::from(self.automaton.ends_of(state));
            if length > 0 {
                add(
                    &mut ranges,
                    (at - length, at),
                    self.automaton.is_base64(state),
                );
            }
        }
        Searched {
            ranges,
            last: self.automaton.open(state),
            stopped,
        }
    }

    /// Goes on with what `state` stands for over a text of which `at` bytes are in it already.
    fn follow(&self, mut state: State, text: &[u8], mut at: usize, stop: usize) -> Followed {
        let mut followed = Followed::default();
        let goes_on = |state: State, at: usize| {
            let open = self.automaton.open(state);
            (self.automaton.depth_of(open) > at).then_some(open)
        };
        loop {
            if at == stop
                && stop < text.len()
                && let Some(open) = goes_on(state, at)
            {
                followed.stopped = Some(open);
            }
            let Some(&byte) = text.get(at) else {
                break;
            };
            state = self.automaton.next(state, byte);
            at += 1;
            if usize::from(self.automaton.ends_of(state)) > at {
                followed.bytes = at;
            }
            if self.automaton.depth_of(state) <= at {
                break;
            }
        }
        if at == text.len() {
            followed.open = goes_on(state, at);
        }
        if followed.open.is_some() || followed.stopped.is_some() {
            followed.bytes = text.len();
        }
        followed
    }
}

/// Adds a range whose end is not before that of any known, those that touch made one: so many hold no memory.
fn add(ranges: &mut Vec<Range>, (mut from, mut to): (usize, usize), mut is_base64: bool) {
    while let Some(last) = ranges.last()
        && from <= last.to
    {
        steps::add(1);
        from = from.min(last.from);
        to = to.max(last.to);
        is_base64 |= last.is_base64;
        ranges.pop();
    }
    ranges.push(Range {
        from,
        to,
        is_base64,
    });
}

/// Puts the ranges in the text as it is written into `found`, each with the neighbours that may hold a part of its secret.
fn finished(reading: Reading<'_>, ranges: Vec<Range>, found: &mut Vec<(usize, usize)>) {
    let text = reading.joined();
    let mut floor = 0;
    for range in ranges {
        let (from, to) = reading.in_joined((range.from, range.to));
        let (mut before, mut after) = (0, 0);
        if range.is_base64 {
            let over = |byte: &&u8| Alphabet::Base64.extends_over(**byte);
            // Not into another line, and not over what is masked already.
            let (begin, _) = reading.line(from);
            let (_, end) = reading.line(to.saturating_sub(1));
            let left = text.get(begin.max(floor)..from).unwrap_or_default();
            let right = text.get(to.max(floor)..end).unwrap_or_default();
            before = left.iter().rev().take_while(over).count();
            after = right.iter().take_while(over).count();
            steps::add(before + after);
        }
        floor = to.max(floor) + after;
        found.push(reading.in_source((from - before, floor)));
    }
}

/// Notes a cut; the oldest makes room.
fn follow_later(cuts: &mut Vec<Cut>, cut: Cut) {
    let is_known = |known: &Cut| {
        known.state == cut.state && known.paths == cut.paths && known.tail == cut.tail
    };
    cuts.retain(|known| !is_known(known));
    if cuts.len() == CUTS {
        cuts.remove(0);
    }
    cuts.push(cut);
}
