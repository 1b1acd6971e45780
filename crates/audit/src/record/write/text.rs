//! Strings of records.

/// Writes `value` as a JSON string with no other escapes than RFC 8785 §3.2.2.2 demands.
pub(super) fn write_string(value: &str, buffer: &mut Vec<u8>) {
    buffer.push(b'"');
    let mut rest = value.as_bytes();
    // Runs that need no escape, the rule, are copied whole.
    while let Some(plain) = rest
        .iter()
        .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
    {
        let (before, from) = rest.split_at(plain);
        buffer.extend_from_slice(before);
        if let Some((&byte, after)) = from.split_first() {
            write_escape(byte, buffer);
            rest = after;
        }
    }
    buffer.extend_from_slice(rest);
    buffer.push(b'"');
}

fn write_escape(byte: u8, buffer: &mut Vec<u8>) {
    let short = match byte {
        b'"' => b'"',
        b'\\' => b'\\',
        0x08 => b'b',
        b'\t' => b't',
        b'\n' => b'n',
        0x0c => b'f',
        b'\r' => b'r',
        other => {
            buffer.extend_from_slice(b"\\u00");
            buffer.extend_from_slice(&hex(other));
            return;
        }
    };
    buffer.extend_from_slice(&[b'\\', short]);
}

pub(super) fn hex(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| {
        if nibble < 10 {
            b'0' + nibble
        } else {
            b'a' + (nibble - 10)
        }
    };
    [digit(byte >> 4), digit(byte & 0xf)]
}
