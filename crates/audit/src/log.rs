//! The writing end of a log.

use std::cell::RefCell;
use std::fmt;
use std::fs::{DirBuilder, File, TryLockError};
use std::future::Future;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use self::batch::Batch;
use self::disk::is_full;
use self::recover::Recovered;
use self::shared::{Handling, Shared};
use self::store::Store;
use self::writer::{Desk, Writer, watch};
use crate::health::Health;
use crate::key::{KeyError, Keys, PublicKey, origin_of};
use crate::record::{self, LogNote, Record, Stamp};
use crate::settings::Settings;

mod batch;
mod disk;
mod pace;
mod recover;
mod shared;
mod store;
mod tail;
mod writer;

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes this log.
    #[error("another process writes this log: `{directory}`")]
    Locked {
        /// The log's directory.
        directory: PathBuf,
    },
    /// A key is missing, unreadable or of another log.
    #[error("failed to use the log's key")]
    Key(#[source] KeyError),
    /// The log's or the node's name is empty, too long or has characters that a checkpoint cannot hold.
    #[error("not a name for a log or a node: `{name}`")]
    Name {
        /// The name.
        name: String,
    },
    /// The log belongs to another origin than the settings say.
    #[error("the log belongs to another origin: `{found}`")]
    Origin {
        /// The origin the key was made for.
        found: String,
    },
    /// What stands in the directory does not agree with its signed checkpoint. Nothing is written to such a log.
    #[error("the log does not agree with its checkpoint, {what}: `{path}`")]
    Damaged {
        /// What does not agree.
        what: String,
        /// Where.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("failed to {doing}: `{path}`")]
    File {
        /// What was being done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The system gave no thread or no random bytes.
    #[error("failed to {doing}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// Why a record was not kept. The call it stands for must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The disk is full, or down to its reserve.
    #[error("the audit log is full")]
    Full,
    /// The record was not durable within the append timeout, or the queue is full. It may still be written later.
    #[error("the audit log is too slow")]
    Slow,
    /// Writing failed.
    #[error("the audit log failed")]
    Failed,
    /// The log was closed.
    #[error("the audit log is closed")]
    Closed,
}

/// Where a record stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Index of the record, from 0; the same as its member `seq`.
    pub index: u64,
}

/// The wait for a record to be durable. Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "the record is durable only when this has resolved"]
pub struct Append(Wait);

#[derive(Debug)]
enum Wait {
    Refused(AppendError),
    Queued {
        desk: Arc<Desk>,
        batch: Arc<Batch>,
        place: u32,
        turn: Whose,
    },
}

/// Who writes the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Whoever waits, but others who are ready may add theirs first.
    Soon,
    /// Whoever waits, now.
    Ours,
    /// The log's own thread.
    Theirs,
}

impl Drop for Append {
    fn drop(&mut self) {
        // A record nobody waits for any more is written all the same.
        if let Wait::Queued {
            desk,
            batch,
            place,
            turn: Whose::Soon | Whose::Ours,
        } = &self.0
            && batch.known(*place).is_none()
        {
            desk.call();
        }
    }
}

impl Future for Append {
    type Output = Result<Position, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Wait::Refused(error) => Poll::Ready(Err(*error)),
            Wait::Queued {
                desk,
                batch,
                place,
                turn,
            } => {
                if let Some(fate) = batch.known(*place) {
                    return Poll::Ready(fate);
                }
                match turn {
                    Whose::Soon => {
                        // The tasks that are ready now put their records to ours: one write for all of them.
                        *turn = Whose::Ours;
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    Whose::Ours => desk.write(),
                    Whose::Theirs => {}
                }
                batch.poll(*place, context)
            }
        }
    }
}

impl Append {
    /// Waits on this thread; for callers without a runtime.
    ///
    /// # Errors
    ///
    /// [`AppendError`] when the record was not kept.
    pub fn wait(mut self) -> Result<Position, AppendError> {
        struct Unpark(Thread);
        impl Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match Pin::new(&mut self).poll(&mut context) {
                Poll::Ready(fate) => return fate,
                Poll::Pending => thread::park(),
            }
        }
    }
}

/// A handle on a log; clones share it. The last handle to go ends the writer in the background; [`Log::close`] waits for it.
#[derive(Debug, Clone)]
pub struct Log(Arc<Open>);

#[derive(Debug)]
struct Open {
    shared: Arc<Shared>,
    desk: Arc<Desk>,
    stamp: Stamp,
    public: PublicKey,
    digest_key: DigestKey,
    /// Counts records, from a random start, for their ids.
    events: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// The secret of the digests; shows nothing of itself.
struct DigestKey(Zeroizing<[u8; 32]>);

impl fmt::Debug for DigestKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DigestKey")
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.close();
    }
}

thread_local! {
    /// Where records are put together before they are queued, so that the queue is locked only to copy them.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Log {
    /// Opens the log, creating directory and keys at the first start; puts it in order after a crash; starts the writer.
    ///
    /// Blocks while it reads and writes files.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; nothing is written to a log that does not agree with its checkpoint.
    pub fn open(settings: Settings) -> Result<Self, OpenError> {
        let directory = settings.directory.clone();
        check_names(&settings)?;
        make_directory(&directory)?;
        let lock = lock(&directory)?;
        store::remove_spares(&directory).map_err(recover::file("clean", &directory))?;
        let new = recover::is_new(&directory)?;
        let keys = load_keys(&directory, &settings.origin, new)?;
        let recovered = recover::recover(&directory, &keys.public)?;
        let note = found(
            &recovered,
            settings.heartbeat.as_secs(),
            keys.public.origin(),
        );

        let [boot, events, own_events] = random()?;
        let stamp = Stamp {
            node: settings.node.clone(),
            boot_id: format!("{boot:016x}"),
        };
        let shared = Arc::new(Shared::new(settings.queue_bytes));
        let origin = settings.origin.clone();
        let store = Store::new(
            directory.clone(),
            settings.durability,
            origin,
            keys.signer,
            recovered.found,
        );
        let timeout = settings.append_timeout;
        let mut writer = Writer::new(
            Arc::clone(&shared),
            store,
            settings,
            stamp.clone(),
            own_events,
            lock,
        );
        match writer.begin(note) {
            // Operators are served on a full disk too, and calls once there is room.
            Err(error) if !new && is_full(&error) => writer.begin_later(note, &error),
            begun => begun.map_err(recover::file("begin", &directory))?,
        }
        let watched = Arc::clone(&shared);
        start("audit-watch", move || watch(&watched, timeout))?;
        let desk = Arc::new(Desk::new(Arc::clone(&shared), writer));
        let manned = Arc::clone(&desk);
        let writer = start("audit-writer", move || manned.run())?;
        Ok(Self(Arc::new(Open {
            shared,
            desk,
            stamp,
            public: keys.public,
            digest_key: DigestKey(keys.digest),
            events: AtomicU64::new(events),
            writer: Mutex::new(Some(writer)),
        })))
    }

    /// Queues a record at once and gives the wait for its durability. Needs no runtime and never blocks.
    pub fn append(&self, record: &Record<'_>) -> Append {
        // Who is already known to be full or slow is not waited for again; but what ends a call is kept if it can be.
        let status = &self.0.shared.status;
        if !record.kind.may_use_reserve() {
            if status.full.load(Ordering::Relaxed) {
                return Append(Wait::Refused(AppendError::Full));
            }
            if status.slow.load(Ordering::Relaxed) {
                return Append(Wait::Refused(AppendError::Slow));
            }
            if status.failing.load(Ordering::Relaxed) {
                return Append(Wait::Refused(AppendError::Failed));
            }
        }
        let desk = &self.0.desk;
        let turn = if desk.is_open_to_callers() {
            Whose::Soon
        } else {
            Whose::Theirs
        };
        let handling = Handling {
            posted: false,
            driven: turn != Whose::Theirs,
            kept: record.kind.may_use_reserve(),
        };
        match self.queue(record, handling) {
            Ok((batch, place)) => Append(Wait::Queued {
                desk: Arc::clone(desk),
                batch,
                place,
                turn,
            }),
            Err(error) => {
                if record.kind.may_use_reserve() && error == AppendError::Slow {
                    self.post(record);
                }
                Append(Wait::Refused(error))
            }
        }
    }

    /// Queues a record nobody waits for. Never blocks; what cannot be kept is counted and makes [`Log::health`] bad
    /// until the loss itself stands in the log.
    pub fn post(&self, record: &Record<'_>) {
        let handling = Handling {
            posted: true,
            driven: false,
            kept: true,
        };
        if self.queue(record, handling).is_err() {
            self.0.shared.status.lose(1);
        }
    }

    fn queue(
        &self,
        record: &Record<'_>,
        handling: Handling,
    ) -> Result<(Arc<Batch>, u32), AppendError> {
        let event = record::scatter(self.0.events.fetch_add(1, Ordering::Relaxed));
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let seq_at = record::write(record, None, &self.0.stamp, event, scratch);
            self.0.shared.push(scratch, seq_at, handling)
        })
    }

    /// How the log is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.shared.health()
    }

    /// Writes what is queued, a `log.closed` record and a last checkpoint. Blocks until done; later appends are refused.
    pub fn close(&self) {
        self.0.shared.close();
        let writer = self
            .0
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the audit log's writer has panicked");
        }
    }

    /// Keyed digest (BLAKE3 in keyed mode, 256 bits) of `bytes`, apart for each tenant and domain such as `args`,
    /// `session`: `b3:` and base64url. The key never leaves the log's directory.
    #[must_use]
    pub fn digest(&self, tenant: &str, domain: &str, bytes: &[u8]) -> String {
        let mut hasher = blake3::Hasher::new_keyed(&self.0.digest_key.0);
        // Lengths first: no tenant and domain run into each other or into the bytes.
        for part in [tenant, domain] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(bytes);
        let mut text = String::with_capacity(46);
        text.push_str("b3:");
        BASE64_URL_SAFE_NO_PAD.encode_string(hasher.finalize().as_bytes(), &mut text);
        text
    }

    /// The key that verifies this log.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.0.public.clone()
    }
}

/// What the log says of itself when it is opened.
fn found<'a>(recovered: &Recovered, heartbeat_s: u64, origin: &'a str) -> LogNote<'a> {
    LogNote {
        cut_bytes: Some(recovered.cut_bytes).filter(|&bytes| bytes > 0),
        heartbeat_s: Some(heartbeat_s),
        origin: Some(origin),
        rebuilt: Some(recovered.rebuilt).filter(|&rebuilt| rebuilt),
        unsigned: Some(recovered.unsigned).filter(|&records| records > 0),
        lost: None,
    }
}

/// Loads the keys, or makes those of a new log; reports keys without records.
fn load_keys(directory: &Path, origin: &str, new: bool) -> Result<Keys, OpenError> {
    if new && origin_of(directory).map_err(OpenError::Key)?.is_some() {
        tracing::error!(
            directory = %directory.display(),
            "the audit log has keys but no records: it was removed, unless the first start was cut off; a new one begins"
        );
    }
    let keys = Keys::load_or_create(directory, origin, new).map_err(OpenError::Key)?;
    if keys.public.origin() != origin {
        return Err(OpenError::Origin {
            found: keys.public.origin().to_owned(),
        });
    }
    Ok(keys)
}

/// Refuses names that cannot stand in a checkpoint or would make every record too long.
fn check_names(settings: &Settings) -> Result<(), OpenError> {
    let origin = &settings.origin;
    let is_name = |text: &str| {
        !text
            .chars()
            .any(|letter| letter.is_whitespace() || letter.is_control() || letter == '+')
    };
    if origin.is_empty() || origin.len() > MAX_NAME || !is_name(origin) {
        return Err(OpenError::Name {
            name: origin.clone(),
        });
    }
    if settings.node.len() > MAX_NAME {
        return Err(OpenError::Name {
            name: settings.node.clone(),
        });
    }
    Ok(())
}

/// Longest name of a log or a node, in bytes.
const MAX_NAME: usize = 256;

fn make_directory(directory: &Path) -> Result<(), OpenError> {
    let private = directory.join("private");
    for (path, mode) in [(directory, 0o750), (private.as_path(), 0o700)] {
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .map_err(recover::file("make", path))?;
    }
    Ok(())
}

/// Takes the lock that makes this process the only one to write. It ends with the process, however that ends.
fn lock(directory: &Path) -> Result<File, OpenError> {
    let path = directory.join("lock");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o640)
        .open(&path);
    let file = file.map_err(recover::file("open", &path))?;
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            // Whoever looks whether it is held has it for a moment.
            Err(TryLockError::WouldBlock) if tries < LOOKS => tries += 1,
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Locked {
                    directory: directory.into(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(recover::file("lock", &path)(source)),
        }
        thread::sleep(LOOK);
    }
}

/// Tries to take the lock, and the time between two.
const LOOKS: u32 = 5;
const LOOK: Duration = Duration::from_millis(20);

/// Whether a process writes to the log of `directory`, in whichever namespace it runs. Takes the lock for a moment, which a start
/// at that time waits for.
///
/// # Errors
/// [`OpenError::File`] when the lock cannot be looked at: nobody knows then.
pub fn is_in_use(directory: &Path) -> Result<bool, OpenError> {
    let path = directory.join("lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(recover::file("open", &path)(error)),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(recover::file("lock", &path)(source)),
    }
}

fn random() -> Result<[u64; 3], OpenError> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|source| OpenError::System {
        doing: "get random bytes",
        source: io::Error::other(source),
    })?;
    let (words, _none) = bytes.as_chunks::<8>();
    let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
    Ok(std::array::from_fn(|_| words.next().unwrap_or_default()))
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(run).map_err(|source| OpenError::System {
        doing: "start a thread",
        source,
    })
}

#[cfg(test)]
mod tests;
