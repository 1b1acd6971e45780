//! The part of a child's standard error that gets into our log.

use std::sync::Arc;

use super::*;

const SECRET: &str = "s3cr3t-0123456789-abcdef";

/// Masks the secret, as the mask of a credential does.
fn redact() -> Redact {
    Arc::new(|text: &str| {
        let masked = text.replace(SECRET, "***");
        let masked = masked.replace("two\nlines\nof-one", "***");
        (masked != text).then_some(masked)
    })
}

async fn entries(source: &[u8], cap: usize, redact: Option<Redact>) -> Vec<Entry> {
    let mut entries = Vec::new();
    read(source, cap, redact, |entry| entries.push(entry)).await;
    entries
}

async fn lines(source: &str, cap: usize, redact: Option<Redact>) -> Vec<(String, bool)> {
    let entries = entries(source.as_bytes(), cap, redact).await;
    let line = |entry| match entry {
        Entry::Line { text, cut } => (text, cut),
        Entry::Dropped { lines, bytes } => panic!("dropped {lines} lines, {bytes} bytes"),
    };
    entries.into_iter().map(line).collect()
}

#[tokio::test]
async fn stderr_is_logged_in_lines_that_cannot_lie() {
    let source =
        "one\ntwo\x1b[31m\r\n\n\u{202e}three\n  \tfour  \nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nlast";
    let expected = [
        ("one", false),
        ("two\\u{1b}[31m", false),
        ("", false),
        ("\\u{202e}three", false),
        ("  \tfour  ", false),
        ("xxxxxxxxxxxxxxxxxxxx", true),
        ("last", false),
    ];
    let expected = expected.map(|(line, cut)| (line.to_owned(), cut));
    assert_eq!(lines(source, 20, None).await, expected);
    assert_eq!(lines(source, 20, Some(redact())).await, expected);
}

#[tokio::test]
async fn nothing_unseen_gets_through() {
    for hidden in [
        '\0',
        '\r',
        '\u{7f}',
        '\u{85}',
        '\u{ad}',
        '\u{61c}',
        '\u{115f}',
        '\u{180e}',
        '\u{200b}',
        '\u{200d}',
        '\u{200e}',
        '\u{2028}',
        '\u{2029}',
        '\u{202a}',
        '\u{202e}',
        '\u{2060}',
        '\u{2066}',
        '\u{2069}',
        '\u{206f}',
        '\u{3164}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{fff9}',
        '\u{e0001}',
        '\u{e0041}',
    ] {
        let source = format!("a{hidden}b\n");
        let shown = &lines(&source, 100, None).await[0].0;
        assert!(shown.is_ascii() && shown.contains("\\u{"), "{shown}");
    }
    assert_eq!(
        lines("Grüße 漢字 😀\n", 100, None).await[0].0,
        "Grüße 漢字 😀"
    );
}

#[tokio::test]
async fn a_secret_is_masked_over_line_ends_reads_and_the_cap() {
    let (head, tail) = SECRET.split_at(9);
    let (middle, end) = tail.split_at(7);
    let table = [
        ("whole", format!("token={SECRET}\n")),
        ("two lines", format!("{head}\n{tail}\n")),
        ("three lines", format!("a\n{head}\n{middle}\n{end}\nb\n")),
        ("indented no more", format!("x {head}\r\n{tail} y\n")),
        ("at the cap", format!("{}{SECRET}\n", "x".repeat(55))),
        ("at the end", format!("{head}\n{tail}")),
        ("with ends of its own", "two\nlines\nof-one\n".to_owned()),
    ];
    for (case, source) in table {
        for chunk in [1, 7, 4096] {
            let mut logged = Vec::new();
            let source = Slow(source.as_bytes(), chunk);
            read(source, 64, Some(redact()), |entry| logged.push(entry)).await;
            let logged = format!("{logged:?}");
            for part in [head, middle, end, "of-one"] {
                assert!(!logged.contains(part), "{case}, {chunk}: {logged}");
            }
        }
    }
    // What has nothing to do with it is logged as it is.
    let logged = lines("one\ntwo\nthree\n", 64, Some(redact())).await;
    assert_eq!(logged.len(), 3);
    assert_eq!(logged[1].0, "two");
}

/// Gives so many bytes a read.
struct Slow<'a>(&'a [u8], usize);

impl AsyncRead for Slow<'_> {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let count = this.1.min(this.0.len()).min(buffer.remaining());
        let (now, later) = this.0.split_at(count);
        buffer.put_slice(now);
        this.0 = later;
        std::task::Poll::Ready(Ok(()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_dropped_and_counted() {
    for line in [
        "\n",
        "x\n",
        "an ordinary line of a log\n",
        &format!("{}\n", "y".repeat(10_000)),
    ] {
        let many = 50_000;
        let source = line.repeat(many);
        let (mut lines, mut bytes, mut dropped) = (0_u64, 0, 0);
        for entry in entries(source.as_bytes(), 4096, Some(redact())).await {
            match entry {
                Entry::Line { text, .. } => {
                    lines += 1;
                    bytes += text.len() as u64;
                }
                Entry::Dropped { lines, .. } => dropped += lines,
            }
        }
        assert_eq!(lines + dropped, many as u64);
        // The clock stands still: what passes is what may pass at once.
        assert!(
            lines <= LINES.most && bytes <= BYTES.most,
            "{lines} {bytes}"
        );
        assert!(lines > 0);
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_pause_lines_pass_again() {
    let mut bucket = LINES;
    bucket.take(bucket.most);
    assert!(!bucket.has(1));
    bucket.refill(Duration::from_millis(10));
    assert!(bucket.has(1) && !bucket.has(2));
    bucket.refill(Duration::MAX);
    assert!(bucket.has(bucket.most) && !bucket.has(bucket.most + 1));
}
