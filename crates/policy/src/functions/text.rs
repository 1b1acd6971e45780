//! Functions on texts.

use regorus::Value;

use super::{Answer, text_at};

/// Longest text looked through, in bytes.
const MAX_TEXT: usize = 4 * 1024 * 1024;

/// `strings.count`: how often the second text is in the first, without overlaps; an empty one is before and after every
/// character. The evaluator's own counts overlaps, and panics where nothing is looked for.
pub(super) fn count(values: &[Value]) -> Answer {
    let (text, wanted) = (text_at(values, 0, MAX_TEXT)?, text_at(values, 1, MAX_TEXT)?);
    let found = if wanted.is_empty() {
        text.chars().count() + 1
    } else {
        text.matches(wanted).count()
    };
    Ok(Value::from(u64::try_from(found).unwrap_or(u64::MAX)))
}
