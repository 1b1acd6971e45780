//! References within a schema's own document; others lead nowhere.

use std::{borrow::Cow, collections::HashMap};

use crate::json::{Kind, Raw};

/// Most references that lead elsewhere than to `$defs` or `definitions`: each costs a walk from the root.
const MAX_POINTERS: usize = 64;

/// The schemas that references of one document lead to.
pub(super) struct References<'a> {
    root: Raw<'a>,
    definitions: HashMap<String, Raw<'a>>,
    pointers: usize,
}

impl<'a> References<'a> {
    /// Those of a document.
    pub(super) fn new(root: Raw<'a>) -> Self {
        let mut definitions = HashMap::new();
        for holder in ["$defs", "definitions"] {
            for (name, schema) in root.member(holder).into_iter().flat_map(Raw::members) {
                let name = name.string().unwrap_or_default();
                definitions.insert(format!("#/{holder}/{name}"), schema);
            }
        }
        Self {
            root,
            definitions,
            pointers: 0,
        }
    }

    /// The schema a `$ref` leads to.
    pub(super) fn schema(&mut self, reference: &str) -> Option<Raw<'a>> {
        if reference == "#" {
            return Some(self.root);
        }
        if let Some(schema) = self.definitions.get(reference) {
            return Some(*schema);
        }
        self.pointers += 1;
        if self.pointers > MAX_POINTERS {
            return None;
        }
        reference
            .strip_prefix("#/")?
            .split('/')
            .try_fold(self.root, |value, step| {
                let step = step.replace("~1", "/").replace("~0", "~");
                let step: Cow<'_, str> = percent_encoding::percent_decode_str(&step)
                    .decode_utf8()
                    .ok()?;
                match value.kind() {
                    Kind::Array => value.items().nth(step.parse().ok()?),
                    Kind::Object | Kind::Null | Kind::Bool | Kind::Number | Kind::String => {
                        value.member(&step)
                    }
                }
            })
    }
}
