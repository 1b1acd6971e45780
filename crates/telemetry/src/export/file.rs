//! Traces in a file, one line of OTLP JSON a batch (OpenTelemetry, `protocol/file-exporter.md`).

use std::{io, path::Path};

use keepgate_files::Rotated;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::ExportError;

/// The size at which the file is rotated, in bytes.
const MAX_SIZE: u64 = 64 << 20;
/// Rotated files that are kept.
const KEPT: usize = 1;

/// The file.
pub(super) struct TraceFile(Rotated);

impl TraceFile {
    /// Opens the file, readable by its owner alone; the lines in it stay.
    pub(super) fn open(path: &Path) -> Result<Self, ExportError> {
        let opened = Rotated::open(path, MAX_SIZE, KEPT);
        opened.map(Self).map_err(|source| ExportError::File {
            path: path.to_path_buf(),
            source,
        })
    }

    /// Appends one batch.
    pub(super) fn write(&mut self, batch: &ExportTraceServiceRequest) -> io::Result<()> {
        self.0.write_line(&serde_json::to_string(batch)?)
    }
}
