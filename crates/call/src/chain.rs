//! An error with its causes, as people read it.

use std::error::Error;

/// Returns the error and its causes on one line, outermost first, with `: ` between them.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        source = cause.source();
    }
    line
}
