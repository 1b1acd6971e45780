//! Text: the JSON in it is walked over as data, the rest is prose.

use aho_corasick::AhoCorasick;

use super::{
    super::{
        cursor::Cursor,
        encoded::runs,
        pattern::{self, MASK},
        records,
        text::{NESTED, brackets, documents, folded, names, parsed, unescaped},
    },
    pass::{Pass, VALUE},
};

impl Pass<'_> {
    /// What is left of a text; `None` if nothing is changed. Text that `is_shown` to somebody is withheld as soon as it names
    /// a field in prose; text within data only where it says what the field is.
    pub(super) fn text(&mut self, text: &str, is_shown: bool) -> Option<String> {
        let said = self.looked_into(text, is_shown)?;
        (said != text).then_some(said)
    }

    fn looked_into(&mut self, text: &str, is_shown: bool) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        if text.trim_start().starts_with('"')
            && let Some(inner) = parsed(text).and_then(|raw| raw.string())
        {
            // A document that is a string. Not followed for ever.
            return self.deeper(text, |pass| {
                let said = pass.text(&inner, is_shown)?;
                Some(keepgate_mcp::encode::escape(&said))
            });
        }
        let found = documents(text);
        if found.doubtful && (self.wants_structure() || self.may_hold_more(text)) {
            return self.withheld(text);
        }
        if found.ranges.is_empty() {
            return match self.prose(text, is_shown) {
                Prose::Same => None,
                Prose::Left(said) => Some(said),
                Prose::Withheld => self.withheld(text),
            };
        }
        self.deeper(text, |pass| pass.mixed(text, &found.ranges, is_shown))
    }

    /// Whether something is named by its place, which must be found wherever a structure is.
    fn wants_structure(&self) -> bool {
        let rules = self.rules;
        self.known.is_none() && !(rules.pointers.is_empty() && rules.caps.is_empty())
    }

    /// Whether a text that cannot be read to its end may hold more records than may be let through.
    fn may_hold_more(&self, text: &str) -> bool {
        let cap = self.rules.cap.filter(|_| self.known.is_none());
        cap.is_some_and(|cap| brackets(text) > cap)
    }

    fn withheld(&mut self, text: &str) -> Option<String> {
        if text != MASK {
            self.redacted += 1;
        }
        Some(MASK.to_owned())
    }

    fn deeper(
        &mut self,
        text: &str,
        work: impl FnOnce(&mut Self) -> Option<String>,
    ) -> Option<String> {
        if self.nested == NESTED {
            return self.withheld(text);
        }
        self.nested += 1;
        let said = work(self);
        self.nested -= 1;
        said
    }

    /// Documents with prose around them.
    fn mixed(&mut self, text: &str, ranges: &[(usize, usize)], is_shown: bool) -> Option<String> {
        let before = (self.redacted, self.cut);
        let mut out = String::with_capacity(text.len());
        let (mut copied, mut records) = (0, 0_u64);
        let cap = self.rules.cap.filter(|_| ranges.len() > 1);
        for (from, to) in ranges {
            let prose = text.get(copied..*from).unwrap_or_default();
            if !self.beside(prose, is_shown, &mut out) {
                return self.withheld(text);
            }
            copied = *to;
            let document = text.get(*from..*to).unwrap_or_default();
            // Of several documents each is a record, as in an array.
            let is_record = cap.is_some() && records::is_one(document);
            records += u64::from(is_record);
            if is_record && cap.is_some_and(|cap| records > cap) {
                self.cut += 1;
                let rest = text.get(copied..).unwrap_or_default();
                copied += usize::from(rest.starts_with('\n'));
                continue;
            }
            let written = self.aside(|pass| pass.root(&mut Cursor::new(document.as_bytes())));
            match written.map(String::from_utf8) {
                None => out.push_str(document),
                Some(Ok(written)) => out.push_str(&written),
                Some(Err(_)) => return self.withheld(text),
            }
        }
        let prose = text.get(copied..).unwrap_or_default();
        if !self.beside(prose, is_shown, &mut out) {
            return self.withheld(text);
        }
        ((self.redacted, self.cut) != before).then_some(out)
    }

    /// Writes what is left of the prose beside a document. False if the text cannot be let through.
    fn beside(&mut self, prose: &str, is_shown: bool, out: &mut String) -> bool {
        match self.prose(prose, is_shown) {
            Prose::Same => out.push_str(prose),
            Prose::Left(said) => out.push_str(&said),
            Prose::Withheld => return false,
        }
        true
    }

    fn prose(&mut self, text: &str, is_shown: bool) -> Prose {
        match self.encoded(text) {
            None => self.plain_prose(text, is_shown),
            Some(said) => match self.plain_prose(&said, is_shown) {
                Prose::Same => Prose::Left(said),
                changed @ (Prose::Left(_) | Prose::Withheld) => changed,
            },
        }
    }

    /// The text with what is left of each text in base64 in it; `None` if nothing changed.
    fn encoded(&mut self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut copied = 0;
        for run in runs(text) {
            let said = self.deeper(&run.inner, |pass| pass.text(&run.inner, true));
            let Some(said) = said else { continue };
            out.push_str(text.get(copied..run.from).unwrap_or_default());
            if said == MASK {
                out.push_str(MASK);
            } else {
                out.push_str(&run.encode(&said));
            }
            copied = run.to;
        }
        if copied == 0 {
            return None;
        }
        out.push_str(text.get(copied..).unwrap_or_default());
        Some(out)
    }

    fn plain_prose(&mut self, text: &str, is_shown: bool) -> Prose {
        let plain = unescaped(text);
        if self.names_field(text, is_shown)
            || plain
                .as_deref()
                .is_some_and(|plain| self.names_field(plain, is_shown))
        {
            return Prose::Withheld;
        }
        let mut said = None;
        if let Some((masked, places)) = pattern::masked(&self.rules.patterns, text) {
            self.redacted += places;
            said = Some(masked);
        }
        // Escapes hide nothing from who reads broken JSON.
        let plain = said.as_deref().map_or(plain, unescaped);
        if plain.is_some_and(|plain| pattern::holds(&self.rules.patterns, &plain)) {
            return Prose::Withheld;
        }
        if let Some(known) = self.known.filter(|_| is_shown) {
            if known.more && text.trim().len() >= *VALUE.start() && text != MASK {
                return Prose::Withheld;
            }
            let ranges = values(&known.values, said.as_deref().unwrap_or(text));
            if let Some((masked, places)) =
                pattern::replaced(said.as_deref().unwrap_or(text), ranges)
            {
                self.redacted += places;
                said = Some(masked);
            }
        }
        said.map_or(Prose::Same, Prose::Left)
    }

    fn names_field(&self, text: &str, is_shown: bool) -> bool {
        let fields = &self.rules.fields;
        if fields.is_empty() {
            return false;
        }
        let text = folded(text);
        fields
            .iter()
            .any(|(field, _)| names(&text, field, !is_shown))
    }
}

/// What is left of prose.
enum Prose {
    Same,
    Left(String),
    Withheld,
}

/// Where known values stand as words of their own.
fn values(known: &AhoCorasick, text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let is_inner = |at: Option<usize>| {
        at.and_then(|at| bytes.get(at))
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
    };
    let found = known.find_iter(text);
    let found = found.map(|found| (found.start(), found.end()));
    found
        .filter(|(from, to)| !is_inner(from.checked_sub(1)) && !is_inner(Some(*to)))
        .collect()
}
