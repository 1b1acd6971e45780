//! Rules as they are kept with a session over a restart.

use keepgate_policy::PatternClass;
use serde::{Deserialize, Serialize};

use super::{super::pointer::Pointer, Rules};

/// Rules in words.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenRules {
    patterns: Vec<String>,
    fields: Vec<(String, bool)>,
    pointers: Vec<(String, bool)>,
    cap: Option<u64>,
    caps: Vec<(String, u64)>,
}

impl Rules {
    /// The rules in words.
    pub(crate) fn written(&self) -> WrittenRules {
        let Self {
            patterns,
            fields,
            pointers,
            cap,
            caps,
        } = self;
        WrittenRules {
            patterns: patterns
                .iter()
                .map(|class| class.word().to_owned())
                .collect(),
            fields: fields.clone(),
            pointers: texts(pointers),
            cap: *cap,
            caps: texts(caps),
        }
    }
}

fn texts<T: Copy>(pointers: &[(Pointer, T)]) -> Vec<(String, T)> {
    let texts = pointers.iter();
    texts.map(|(pointer, it)| (pointer.text(), *it)).collect()
}

fn pointers<T>(texts: Vec<(String, T)>) -> Option<Vec<(Pointer, T)>> {
    let pointers = texts.into_iter();
    pointers
        .map(|(text, it)| Some((Pointer::parse(&text)?, it)))
        .collect()
}

impl WrittenRules {
    /// The rules; `None` for those this version does not have.
    pub(crate) fn rules(self) -> Option<Rules> {
        let class = |word: String| {
            let mut all = PatternClass::ALL.into_iter();
            all.find(|class| class.word() == word)
        };
        Some(Rules {
            patterns: self
                .patterns
                .into_iter()
                .map(class)
                .collect::<Option<_>>()?,
            fields: self.fields,
            pointers: pointers(self.pointers)?,
            cap: self.cap,
            caps: pointers(self.caps)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use keepgate_policy::PatternClass;

    use super::{super::super::pointer::Pointer, Rules, WrittenRules};

    #[test]
    fn rules_are_read_as_they_were_written() {
        let pointer = |text| Pointer::parse(text).unwrap();
        let whole = Rules {
            patterns: PatternClass::ALL.to_vec(),
            fields: vec![("ssn".to_owned(), true), ("ü/~*".to_owned(), false)],
            pointers: vec![
                (pointer(""), true),
                (pointer("/items/*/**/a~1b~0c/**"), false),
                (pointer("/~01/"), true),
            ],
            cap: Some(7),
            caps: vec![(pointer("/**/rows"), 3)],
        };
        for rules in [whole, Rules::default()] {
            let text = serde_json::to_string(&rules.written()).unwrap();
            let read: WrittenRules = serde_json::from_str(&text).unwrap();
            assert_eq!(read.rules(), Some(rules), "{text}");
        }
    }

    #[test]
    fn unknown_rules_are_no_rules() {
        let patterns = r#"{"patterns":["dna"],"fields":[],"pointers":[],"cap":null,"caps":[]}"#;
        let pointers =
            r#"{"patterns":[],"fields":[],"pointers":[["a",true]],"cap":null,"caps":[]}"#;
        for text in [patterns, pointers] {
            let read: WrittenRules = serde_json::from_str(text).unwrap();
            assert_eq!(read.rules(), None, "{text}");
        }
        let more = r#"{"patterns":[],"fields":[],"pointers":[],"cap":null,"caps":[],"hash":[]}"#;
        assert!(serde_json::from_str::<WrittenRules>(more).is_err());
    }
}
