//! The ways to read a text: as it is, and with its escapes resolved until nothing changes, and its lines joined.
//!
//! Escapes nest and mix: JSON in a string of JSON, a URL in it, a URL in that URL, each character written as its writer
//! liked. So encodings are no patterns. A text is read as its readers would, again and again, and searched as it is, read
//! once, and read to the end. Each pass is linear, and there are [`DEEPEST`] of them at most.

use super::{
    Written,
    breaks::Joined,
    escape,
    view::{View, continues},
};

/// Maximum number of passes after that of the message's own JSON.
pub(super) const DEEPEST: usize = 8;

/// A text and everything it is read as.
pub(super) struct Texts<'a> {
    source: &'a [u8],
    /// Each of the one before.
    escapes: Vec<View>,
    /// Number of them that make the text as it is.
    own: usize,
    /// Of the last one.
    lines: Joined,
    /// Escapes that a line break cut.
    cut: Vec<View>,
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Reading<'a> {
    texts: &'a Texts<'a>,
    /// Number of passes; `None` for the last text, with its lines joined.
    passes: Option<usize>,
}

impl<'a> Texts<'a> {
    pub(super) fn new(source: &'a [u8], written: Written) -> Self {
        let mut escapes = Vec::new();
        if written == Written::AsJson {
            escapes.extend(View::json(source));
        }
        let own = escapes.len();
        read(source, &mut escapes);
        let lines = Joined::new(last(source, &escapes));
        let mut texts = Self {
            source,
            escapes,
            own,
            lines,
            cut: Vec::new(),
        };
        let joined = texts.joined();
        if !texts.lines.is_same() && escape::next(joined).is_some() {
            let mut cut = Vec::new();
            read(joined, &mut cut);
            texts.cut = cut;
        }
        texts
    }

    /// The last text, then the others.
    pub(super) fn readings(&'a self) -> impl Iterator<Item = Reading<'a>> {
        let passes = self.escapes.len() - self.own;
        let exact = [
            (passes > 0 || !self.cut.is_empty()).then_some(self.own),
            (passes > 1).then_some(self.own + 1),
        ];
        let exact = exact.into_iter().flatten().map(Some);
        std::iter::once(None).chain(exact).map(|passes| Reading {
            texts: self,
            passes,
        })
    }

    /// The text that is read to the end.
    pub(super) fn text(&self) -> &[u8] {
        last(self.joined(), &self.cut)
    }

    fn joined(&self) -> &[u8] {
        self.lines.text(last(self.source, &self.escapes))
    }

    /// A range of the source without half an escape, of any pass, or half a character at its ends.
    pub(super) fn whole(&self, range: (usize, usize)) -> (usize, usize) {
        let (mut from, mut to) = whole(&self.escapes, range);
        while from > 0 && continues(self.source, from) {
            from -= 1;
        }
        while continues(self.source, to) {
            to += 1;
        }
        (from, to)
    }
}

/// Reads on from the last of the views.
fn read(source: &[u8], views: &mut Vec<View>) {
    for _ in 0..DEEPEST {
        let Some(view) = View::new(last(source, views)) else {
            return;
        };
        views.push(view);
    }
}

fn last<'t>(source: &'t [u8], views: &'t [View]) -> &'t [u8] {
    views.last().map_or(source, View::text)
}

/// A range of the text before the first of these views without half an escape of any of them at its ends.
fn whole(views: &[View], range: (usize, usize)) -> (usize, usize) {
    let Some((first, others)) = views.split_first() else {
        return range;
    };
    let range = first.inside(first.whole(range));
    first.range(whole(others, range))
}

/// The range before the first of these views that a range after the last one was.
fn back(views: &[View], range: (usize, usize)) -> (usize, usize) {
    views
        .iter()
        .rev()
        .fold(range, |range, view| view.range(range))
}

impl<'a> Reading<'a> {
    /// The text.
    pub(super) fn text(self) -> &'a [u8] {
        match self.passes {
            Some(passes) => last(self.texts.source, self.views(passes)),
            None => self.texts.text(),
        }
    }

    fn views(self, passes: usize) -> &'a [View] {
        self.texts.escapes.get(..passes).unwrap_or_default()
    }

    /// Whether escapes were resolved.
    pub(super) fn has_escapes(self) -> bool {
        !self.texts.escapes.is_empty() || !self.texts.cut.is_empty()
    }

    /// The text as it was before escapes that a line break cut were resolved.
    pub(super) fn joined(self) -> &'a [u8] {
        match self.passes {
            Some(_) => self.text(),
            None => self.texts.joined(),
        }
    }

    /// The range of [`Self::joined`] that a range of the text was.
    pub(super) fn in_joined(self, range: (usize, usize)) -> (usize, usize) {
        match self.passes {
            Some(_) => range,
            None => back(&self.texts.cut, range),
        }
    }

    /// The line of [`Self::joined`] that holds `place`.
    pub(super) fn line(self, place: usize) -> (usize, usize) {
        let length = self.joined().len();
        match self.passes {
            Some(_) => (0, length),
            None => self.texts.lines.line(place, length),
        }
    }

    /// The range of the source that a range of [`Self::joined`], which is not empty, was.
    pub(super) fn in_source(self, range: (usize, usize)) -> (usize, usize) {
        match self.passes {
            Some(passes) => back(self.views(passes), range),
            None => back(&self.texts.escapes, self.texts.lines.range(range)),
        }
    }

    /// Number of bytes of the source that the first bytes of the text took, which are not none.
    pub(super) fn taken(self, bytes: usize) -> usize {
        self.in_source(self.in_joined((0, bytes))).1
    }
}
