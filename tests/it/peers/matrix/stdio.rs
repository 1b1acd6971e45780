//! Child processes that are sloppy: behaviours of `sloppy-stdio.mjs`.

pub(super) const ROWS: [(&str, &str); 8] = [
    ("text and blank lines on standard output", "banner"),
    ("lines end in CR LF", "crlf"),
    (
        "a notification of 7 MiB before an answer",
        "long-notification",
    ),
    (
        "an answer of 7 MiB over `limits.result`, on stdio",
        "long-answer",
    ),
    ("2024-11-05, whatever is asked for, on stdio", "2024-11-05"),
    ("the answer comes in pieces", "pieces"),
    ("ids come back as texts, on stdio", "text-id"),
    (
        "`error: null`, `_meta: null` and unknown members, on stdio",
        "nulls",
    ),
];
