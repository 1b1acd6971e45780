//! File descriptors of connections to servers: bounded, so that what is left opens the log, the store and the operators'
//! listener however much is asked of servers.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Descriptors left; the limit is the process's, as the descriptors are.
static LEFT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Bounds the descriptors of connections to servers from now on. Meant for the start, before there are any.
pub fn limit(most: usize) {
    LEFT.store(most, Ordering::Relaxed);
}

/// Whether an error came of a table of descriptors that is full, the process's or the machine's.
pub(crate) fn is_exhausted(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let number = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error);
        if number.is_some_and(|number| {
            [nix::errno::Errno::EMFILE, nix::errno::Errno::ENFILE]
                .iter()
                .any(|errno| *errno as i32 == number)
        }) {
            return true;
        }
        next = error.source();
    }
    false
}

/// One descriptor of the share; given back when dropped.
#[derive(Debug)]
pub(crate) struct Descriptor(());

impl Descriptor {
    /// Takes one.
    ///
    /// # Errors
    /// When none is left.
    pub(crate) fn take() -> io::Result<Self> {
        LEFT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(1)
        })
        .map(|_| Self(()))
        .map_err(|_| io::Error::other("no file descriptor is left for connections to servers"))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        LEFT.fetch_add(1, Ordering::Relaxed);
    }
}
