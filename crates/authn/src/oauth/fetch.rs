//! How documents of issuers are fetched: by whoever may open sockets.

use std::{error::Error, fmt, future::Future, pin::Pin};

/// A document on its way.
pub type Fetching<'a> = Pin<Box<dyn Future<Output = Result<Vec<u8>, FetchError>> + Send + 'a>>;

/// Fetches a document of an issuer.
///
/// An implementation gives the body of a plain 200 answer to a GET, and nothing else: it follows no redirect, sends no
/// credential, reads at most `cap` bytes, and gives up after a few seconds.
pub trait Fetch: fmt::Debug + Send + Sync {
    /// Fetches `url`, an `https` URL (or an `http` one on loopback) that was checked before.
    fn fetch<'a>(&'a self, url: &'a str, cap: usize) -> Fetching<'a>;
}

/// A document could not be had. For the log alone.
#[derive(Debug, thiserror::Error)]
#[error("failed to fetch the document")]
pub struct FetchError(#[source] pub Box<dyn Error + Send + Sync>);
