//! Traces in a file, one line of OTLP JSON a batch (OpenTelemetry, `protocol/file-exporter.md`).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;

use super::ExportError;

/// The size at which the file is put aside as `<name>.1` and begun anew, in bytes.
const LARGEST: u64 = 64 << 20;

/// The file.
pub(super) struct TraceFile {
    path: PathBuf,
    file: File,
    size: u64,
}

impl TraceFile {
    /// Opens the file, readable by its owner alone; what stands in it stays.
    pub(super) fn open(path: &Path) -> Result<Self, ExportError> {
        let failed = |source| ExportError::File {
            path: path.to_path_buf(),
            source,
        };
        let file = opened(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        Ok(Self {
            path: path.to_path_buf(),
            file,
            size,
        })
    }

    /// Appends one batch.
    pub(super) fn write(&mut self, batch: &ExportTraceServiceRequest) -> io::Result<()> {
        let mut line = serde_json::to_vec(batch)?;
        line.push(b'\n');
        if self.size > 0 && self.size + line.len() as u64 > LARGEST {
            let mut aside = self.path.clone().into_os_string();
            aside.push(".1");
            fs::rename(&self.path, aside)?;
            self.file = opened(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(&line)?;
        self.size += line.len() as u64;
        Ok(())
    }
}

fn opened(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
}
