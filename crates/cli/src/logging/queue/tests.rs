//! A reader that stalls, and one that goes on.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

const PATIENCE: Duration = Duration::from_secs(60);

/// A pipe nobody reads until `go`.
struct Stalled {
    go: Receiver<()>,
    open: bool,
    written: Sender<Vec<u8>>,
}

impl Write for Stalled {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.open {
            self.go.recv().unwrap();
            self.open = true;
        }
        self.written.send(bytes.to_vec()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn lines_are_dropped_and_counted_while_nobody_reads_and_none_waits() {
    let queue = LogQueue::default();
    let (go, gone) = channel();
    let (written, read) = channel();
    let (reported, reports) = channel();
    let out = Stalled {
        go: gone,
        open: false,
        written,
    };
    let writer = queue.clone();
    std::thread::spawn(move || {
        writer.write(out, |count| {
            if count > 0 {
                reported.send(count).unwrap()
            }
        })
    });
    let line = [b'x'; 1000];
    let lines = 4 * MAX_BYTES / line.len();
    for _ in 0..lines {
        (&queue).write_all(&line).unwrap();
    }
    let dropped = queue.dropped();
    assert!(dropped > 0 && (dropped as usize) < lines, "{dropped}");
    assert!(queue.0.state().bytes <= MAX_BYTES);
    assert!(!queue.flush(Duration::from_millis(1)), "nobody reads");
    go.send(()).unwrap();
    assert_eq!(reports.recv_timeout(PATIENCE).unwrap(), dropped);
    assert!(queue.flush(PATIENCE));
    let bytes: usize = read.try_iter().map(|batch| batch.len()).sum();
    assert_eq!(bytes, (lines - dropped as usize) * line.len());
    assert_eq!(queue.0.state().bytes, 0);
}

#[test]
fn short_lines_are_bounded_too() {
    let queue = LogQueue::default();
    for _ in 0..MAX_BYTES {
        queue.push(b"\n");
    }
    assert!(queue.0.state().lines.len() <= MAX_BYTES / LINE);
}
