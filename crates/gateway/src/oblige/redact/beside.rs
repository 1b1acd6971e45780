//! Values whose name stands beside them: `{"name": "SSN__c", "value": ..}`, and the columns of tables.
//!
//! They are replaced also where the name asks for removal: a row without one of its items is another row.

use std::sync::Arc;

use super::{
    super::{
        cursor::{Cursor, Kind, decoded},
        steps,
        text::folded,
    },
    Rules,
};

/// A longer text is no name.
const NAME_MOST: usize = 256;

/// What the members of an object say of their siblings.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// A member's text is a redacted name: those that are called values are its.
    pub(super) names: bool,
    /// Which columns of the rows beside it a list of columns names.
    pub(super) columns: Columns,
}

/// Indexes of the items that are redacted in each row, in order. Shared: each row of a table has them, however many there are of both.
#[derive(Debug, Clone, Default)]
pub(super) struct Columns(Option<Arc<[u64]>>);

impl Columns {
    fn new(indexes: Vec<u64>) -> Self {
        Self((!indexes.is_empty()).then(|| indexes.into()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(super) fn has(&self, index: u64) -> bool {
        let indexes = self.0.as_deref();
        indexes.is_some_and(|indexes| {
            steps::add(indexes.len().ilog2() as usize + 1);
            indexes.binary_search(&index).is_ok()
        })
    }
}

/// Whether a member of this name may hold what a sibling names.
pub(super) fn is_value(name: &str) -> bool {
    let name = folded(name);
    let is_one = |end: &str| name.ends_with(end);
    matches!(&*name, "val" | "vals" | "data") || is_one("value") || is_one("values")
}

/// Whether a member of this name may hold the rows of a table.
pub(super) fn is_rows(name: &str) -> bool {
    let name = folded(name);
    let ends = [
        "rows", "row", "data", "values", "records", "items", "results",
    ];
    ends.iter().any(|end| name.ends_with(end))
}

fn is_header(name: &str) -> bool {
    let name = folded(name);
    let ends = ["columns", "fields", "headers", "header", "names", "schema"];
    ends.iter().any(|end| name.ends_with(end))
}

impl Rules {
    /// What the members of `object` say of one another.
    pub(super) fn beside(&self, object: &Cursor<'_>) -> Beside {
        let mut beside = Beside::default();
        let mut at = object.clone();
        at.open();
        while let Some(key) = at.member() {
            match at.kind() {
                Kind::String => beside.names |= self.is_name(at.value()),
                Kind::Array if beside.columns.is_empty() && is_header(&decoded(key)) => {
                    beside.columns = self.columns(&at);
                    at.value();
                }
                Kind::Array | Kind::Object | Kind::Number | Kind::Word => {
                    at.value();
                }
            }
        }
        beside
    }

    /// Which items of a list of columns, texts or objects that have the name in them, are redacted names.
    pub(super) fn columns(&self, list: &Cursor<'_>) -> Columns {
        let mut at = list.clone();
        let (mut columns, mut index) = (Vec::new(), 0);
        at.open();
        while at.item() {
            let named = match at.kind() {
                Kind::String => self.is_name(at.clone().value()),
                Kind::Object => self.is_named(&at),
                Kind::Array | Kind::Number | Kind::Word => false,
            };
            if named {
                columns.push(index);
            }
            index += 1;
            at.value();
        }
        Columns::new(columns)
    }

    /// Whether a member's text is a redacted name. Looks at nothing deeper: a list of columns in a column names none of its
    /// own row.
    fn is_named(&self, object: &Cursor<'_>) -> bool {
        let mut at = object.clone();
        at.open();
        while at.member().is_some() {
            let is_text = at.kind() == Kind::String;
            let value = at.value();
            if is_text && self.is_name(value) {
                return true;
            }
        }
        false
    }

    /// The columns of rows whose first one is their header.
    pub(super) fn header(&self, rows: &Cursor<'_>) -> Columns {
        let mut at = rows.clone();
        at.open();
        if !self.fields.is_empty() && at.item() && at.kind() == Kind::Array {
            self.columns(&at)
        } else {
            Columns::default()
        }
    }

    /// Whether a string, given with its quotes, is a redacted name, perhaps behind the names of what it is of.
    fn is_name(&self, string: &[u8]) -> bool {
        if string.len() > NAME_MOST * 6 {
            return false;
        }
        let text = decoded(string);
        let text = folded(text.trim());
        let last = text.rsplit('.').next();
        let mut fields = self.fields.iter();
        fields.any(|(field, _)| *field == text || Some(&**field) == last)
    }
}
