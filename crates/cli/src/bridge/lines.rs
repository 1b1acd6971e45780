//! Lines of standard input, each within a bound.

use std::io::BufRead;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::MAX_MESSAGE;

/// Lines that wait to be carried.
const INBOX: usize = 16;

/// A line of the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its line break; never empty.
    Text(Bytes),
    /// More than [`MAX_MESSAGE`] bytes; they were passed over.
    TooLong,
}

/// Reads lines on a thread of its own until the input or the receiver ends.
pub(crate) fn read_lines(
    mut input: impl BufRead + Send + 'static,
) -> std::io::Result<mpsc::Receiver<Line>> {
    let (lines, receiver) = mpsc::channel(INBOX);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            // An input that cannot be read has ended.
            while let Ok(Some(line)) = next(&mut input) {
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        })?;
    Ok(receiver)
}

/// The next line that is not empty; `None` at the end.
fn next(input: &mut impl BufRead) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut is_long = false;
    loop {
        let chunk = input.fill_buf()?;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        is_long = is_long || line.len() + part.len() > MAX_MESSAGE;
        if is_long {
            line = Vec::new();
        } else {
            line.extend_from_slice(part);
        }
        let used = end.map_or(chunk.len(), |end| end + 1);
        let is_over = chunk.is_empty();
        input.consume(used);
        if !is_over && end.is_none() {
            continue;
        }
        if is_long {
            return Ok(Some(Line::TooLong));
        }
        if !line.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Line::Text(line.into())));
        }
        if is_over {
            return Ok(None);
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_within_a_bound() {
        let long = "x".repeat(MAX_MESSAGE + 1);
        let text = format!("{{}}\n\n  \r\n[1]\r\n{long}\nlast");
        // A small buffer, so that lines come in pieces.
        let mut input = std::io::BufReader::with_capacity(7, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = next(&mut input).unwrap() {
            lines.push(line);
        }
        let text = |text: &'static str| Line::Text(Bytes::from_static(text.as_bytes()));
        assert_eq!(
            lines,
            [text("{}"), text("[1]\r"), Line::TooLong, text("last")]
        );
    }
}
